import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { endsWith, mkondo, takesCalls } from '../cli/mkondo-process.js'
import { until } from '../support/until.js'

// The recipe "Add a vendor" of CONTRIBUTING.md, followed to the letter with the toy vendors of examples/vendors, in a copy
// of the repository. It fails when the recipe no longer suffices: then mend the code, not the list of files below.

const ROOT = packageRoot()
const TOYS = join(ROOT, 'examples/vendors')
/** Files outside a vendor's folder that may change, at most three. */
const OUTSIDE = ['.env.example', 'schema/agent.schema.json', 'src/vendors/list.ts']

/** Of what a command that failed has printed, from its end. */
const OUTPUT_CHARS = 4000

const NOT_COPIED = /^(?:node_modules|\.git|\.build|\.data|\.tap|coverage|findings)$/
/** Made of the sources, and not kept. */
const MADE = /^(?:dist|node_modules)$/

const tree = mkdtempSync(join(tmpdir(), 'mkondo-vendors-'))
t.teardown(() => rmSync(tree, { recursive: true, force: true }))
for (const name of readdirSync(ROOT).filter((name) => !NOT_COPIED.test(name)))
  cpSync(join(ROOT, name), join(tree, name), { recursive: true, preserveTimestamps: true })
symlinkSync(join(ROOT, 'node_modules'), join(tree, 'node_modules'))

async function run(command: string, args: readonly string[], own: NodeJS.ProcessEnv = {}): Promise<string> {
  const { PATH = '', HOME = '' } = process.env
  const options = { cwd: tree, env: { PATH, HOME, ...own }, maxBuffer: 64 * 1024 * 1024 }
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, options)
    return stdout + stderr
  } catch (thrown) {
    const { stdout, stderr } = thrown as { readonly stdout: string; readonly stderr: string }
    const printed = (stdout + stderr).split('\n').filter((line) => !/# SKIP|^ *ok /.test(line))
    throw new Error(`${[command, ...args].join(' ')}: ${printed.join('\n').slice(-OUTPUT_CHARS)}`)
  }
}

/** Hashes of all files that are kept, by path. */
function kept(): ReadonlyMap<string, string> {
  const files = readdirSync(tree, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(tree.length + 1))
    .filter((file) => !MADE.test(file.split('/')[0] ?? ''))
  return new Map(
    files.map((file) => [
      file,
      createHash('sha256')
        .update(readFileSync(join(tree, file)))
        .digest('hex'),
    ]),
  )
}

/** Files that differ, new and deleted ones too. */
function changes(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): readonly string[] {
  return [...new Set([...before.keys(), ...after.keys()])].filter((file) => before.get(file) !== after.get(file)).sort()
}

/** The recipe's steps: the vendor's folder, its lines in the list, and `npm run documents`. */
async function follow(folder: string): Promise<void> {
  const at = join(tree, 'src/vendors', folder)
  cpSync(join(TOYS, folder), at, { recursive: true })
  const [, name] = /^export const (\w+) = vendor\(/m.exec(readFileSync(join(at, 'facts.ts'), 'utf8')) ?? []
  if (name === undefined) throw new Error(`${folder}/facts.ts declares no vendor`)
  const list = join(tree, 'src/vendors/list.ts')
  const listed = readFileSync(list, 'utf8')
  writeFileSync(
    list,
    `import { ${name} } from './${folder}/facts.js'\n${listed.replace('] as const', `  ${name},\n] as const`)}`,
  )
  await run(process.execPath, ['scripts/build.mjs'])
  await run(process.execPath, ['scripts/documents.mjs'])
}

const folders = readdirSync(TOYS, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? entry.name : []))

await t.test('a vendor changes three files outside its folder', async (t) => {
  t.ok(folders.length >= 3, folders.join(', '))
  let before = kept()
  for (const folder of folders) {
    await follow(folder)
    const after = kept()
    const changed = changes(before, after)
    t.same(
      changed.filter((file) => !file.startsWith(`src/vendors/${folder}/`)),
      OUTSIDE,
      folder,
    )
    t.comment(`${folder}: ${changed.join(', ')}`)
    before = after
  }
})

t.test('the vendors follow the import rules', async (t) => {
  const cruise = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs')
  const output = await run(process.execPath, [cruise, 'src/vendors', '--config'])
  t.match(output, /no dependency violations found/)
})

/** Tests that find the vendors in the list, and those of their tests that are about toys. */
const OF_ALL_VENDORS: readonly (readonly [file: string, only?: RegExp])[] = [
  ['backends/service-conformance', / toy-/],
  ['backends/conformance.slow', /^toy-/],
  ['backends/refused-wishes', / toy-|^every service/],
  ['backends/refused-session-wishes', /^toy-|^each option of/],
  ['documents/blocks'],
  ['documents/agent-file'],
  ['config/settings'],
  ['cli/command-line.slow'],
]

t.test('the tests of all vendors pass with the new vendors', async (t) => {
  let output = ''
  for (const [file, only] of OF_ALL_VENDORS) {
    const env = { TAP_TIMEOUT: '200', ...(only === undefined ? {} : { TAP_GREP: String(only) }) }
    const printed = await run(process.execPath, [`dist/test/${file}.test.js`], env)
    t.ok(/^# \{ total: \d+, pass: \d+/m.test(printed), file)
    output += printed
  }
  for (const folder of folders)
    t.ok(new RegExp(`^ok \\d+ - (?:\\w+ )?${folder}(?! .*# SKIP)`, 'm').test(output), `${folder} is among them`)
})

t.test("the vendors' doubles hear, answer and speak to a caller", async (t) => {
  const main = join(tree, 'dist/src/cli/main.js')
  const doubles = ['toy-recogniser', 'toy-model', 'toy-voice'].map((name) =>
    mkondo(['double', name, '--port', '0'], {}, undefined, main),
  )
  for (const double of doubles) endsWith(t, double)
  const printed = (): string => doubles.flatMap(({ lines }) => lines).join('\n')
  await until(() => printed().match(/^For the gateway:/gm)?.length === doubles.length, 180_000, 'three doubles')
  await until(() => printed().match(/^export TOY_\w+_URL=/gm)?.length === doubles.length, 10_000, 'their addresses')
  const variables = Object.fromEntries(
    [...printed().matchAll(/^export (TOY_\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value] as const),
  )
  const yaml = readFileSync(join(ROOT, 'agents/order-status.yaml'), 'utf8').replace(
    /^backend: .*$/m,
    'backend: cascade\nbackends: { cascade: { stt: toy-recogniser, llm: toy-model, tts: toy-voice } }',
  )
  const folder = t.testdir({ agents: { 'order-status.yaml': yaml }, data: {} })
  const folders = { AGENTS_DIR: join(folder, 'agents'), DATA_DIR: join(folder, 'data') }
  const env = { ...variables, ...folders, PORT: '0', OPS_PORT: '0', MEDIA_WORKERS: '1' }
  const gateway = mkondo(['serve', '--with-shop'], env, undefined, main)
  endsWith(t, gateway)
  const { port, ops_port: opsPort } = await takesCalls(gateway, 180_000)
  const call = mkondo(
    ['call', '--order', '4127', '--from', '+254700000001', '--expect', 'Order 4127 is out for delivery'],
    { PORT: String(port), OPS_PORT: String(opsPort) },
    undefined,
    main,
  )
  const code = await call.exit
  t.match(call.lines.join('\n'), /is out for delivery": yes/)
  t.equal(code, 0, call.lines.join('\n'))
})

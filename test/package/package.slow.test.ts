import { execFile, spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { until } from '../support/until.js'

/**
 * What somebody gets who installs the package: `npm pack` on a copy of the sources, unpacked in an empty project beside
 * the dependencies that the package names, and nothing of ours. Fetching those from a registry is npm's part.
 */

t.setTimeout(240_000)

interface Result {
  readonly code: number
  readonly output: string
}

function run(cwd: string, program: string, ...args: readonly string[]): Promise<Result> {
  return new Promise((resolve) => {
    const env = { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '' }
    execFile(program, args, { cwd, env, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr })
    })
  })
}

const root = packageRoot()
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly files: readonly string[]
  readonly dependencies: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, unknown>>
}
const folder = t.testdir()
const sources = join(folder, 'sources')
const project = join(folder, 'project')
const installed = join(project, 'node_modules', 'mkondo')

t.before(async () => {
  for (const name of [...manifest.files.filter((file) => !/^!|^dist/.test(file)), 'src', 'examples', 'scripts'])
    cpSync(join(root, name), join(sources, name), { recursive: true })
  for (const name of ['package.json', 'package-lock.json', 'tsconfig.json', 'README.md', 'LICENSE'])
    cpSync(join(root, name), join(sources, name))
  symlinkSync(join(root, 'node_modules'), join(sources, 'node_modules'))
  mkdirSync(join(project, 'node_modules'), { recursive: true })
  writeFileSync(join(project, 'package.json'), '{ "name": "shop", "version": "1.0.0", "type": "module" }\n')
  for (const name of [...Object.keys(manifest.dependencies), '@types/node', 'undici-types']) {
    if (!existsSync(join(root, 'node_modules', name))) continue
    mkdirSync(dirname(join(project, 'node_modules', name)), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), join(project, 'node_modules', name))
  }
})

t.test('npm pack builds the package, with its types and without sources, tests and source maps', async (t) => {
  const packed = await run(sources, 'npm', 'pack', '--pack-destination', folder)
  t.equal(packed.code, 0, packed.output)
  const [archive = ''] = readdirSync(folder).filter((name) => name.endsWith('.tgz'))
  t.equal((await run(folder, 'tar', 'xzf', archive)).code, 0)
  cpSync(join(folder, 'package'), installed, { recursive: true })
  mkdirSync(join(project, 'node_modules', '.bin'))
  symlinkSync(join('..', 'mkondo', 'dist', 'src', 'cli', 'main.js'), join(project, 'node_modules', '.bin', 'mkondo'))
  const files = readdirSync(installed, { recursive: true }) as readonly string[]
  t.ok(files.includes('templates/survey/agent.yaml'))
  t.same(
    files.filter((file) => /\.js\.map$|\.test\.|^src|^test|^bench/.test(file)),
    [],
  )
})

t.test('each of its entries can be imported, and has types for both ways of finding modules', async (t) => {
  const entries = Object.keys(manifest.exports)
    .filter((name) => !name.includes('*') && !name.endsWith('.json'))
    .map((name) => name.replace(/^\./, 'mkondo'))
  t.ok(entries.length >= 4)
  for (const entry of entries) {
    const { code, output } = await run(
      project,
      'node',
      '-e',
      `import('${entry}').then((all) => { if (Object.keys(all).length === 0) throw new Error('is empty') })`,
    )
    // The face of a backend is types alone.
    if (entry !== 'mkondo/backend') t.equal(code, 0, `${entry}: ${output}`)
  }
  writeFileSync(
    join(project, 'agent.ts'),
    [
      "import { defineAgent, defineTool } from 'mkondo'",
      "import type { Backend } from 'mkondo/backend'",
      "import * as registry from 'mkondo/registry'",
      "import * as conformance from 'mkondo/conformance'",
      "export const tool = defineTool({ name: 'a', description: 'A.', run: () => 1 })",
      "export default defineAgent({ version: 1, name: 'a', instructions: 'Be brief.', tools: [tool] })",
      'export type Mine = Backend',
      'export const all = [registry, conformance]',
      '// @ts-expect-error: types are there, so this is a mistake',
      'defineTool({ name: 1 })',
      '',
    ].join('\n'),
  )
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  for (const [module, resolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ] as const) {
    const { code, output } = await run(
      project,
      ...['node', tsc, 'agent.ts', '--noEmit', '--strict', '--skipLibCheck', '--types', 'node', '--target', 'es2023'],
      ...['--lib', 'es2023', '--module', module, '--moduleResolution', resolution],
    )
    t.equal(code, 0, `${resolution}: ${output}`)
  }
})

t.test('npx mkondo init, check and simulate work in the project', async (t) => {
  const init = await run(project, 'npx', '--no-install', 'mkondo', 'init', 'my-line', '--template', 'appointments')
  t.equal(init.code, 0, init.output)
  const made = join(project, 'my-line')
  const check = await run(made, 'npx', '--no-install', 'mkondo', 'check')
  t.equal(check.code, 0, check.output)
  t.match(check.output, /ok +agents: my-line on embedded/)
  const simulated = await run(made, 'npx', '--no-install', 'mkondo', 'simulate')
  t.equal(simulated.code, 0, simulated.output)
  t.match(
    (await run(project, 'npx', '--no-install', 'mkondo', 'check')).output,
    /ok +agents: order-status on embedded, support/,
  )
})

t.test('npx mkondo serve takes calls and ends when it is told to, npx mkondo demo passes', async (t) => {
  const env = { PATH: process.env['PATH'] ?? '', PORT: '0', OPS_PORT: '0', DATA_DIR: join(project, 'data') }
  const gateway = spawn('node', [join(project, 'node_modules', '.bin', 'mkondo'), 'serve'], { cwd: project, env })
  let printed = ''
  for (const stream of [gateway.stdout, gateway.stderr])
    stream.on('data', (text: Buffer) => (printed += text.toString()))
  const ended = new Promise((resolve) => gateway.once('exit', resolve))
  await until(() => printed.includes('"msg":"taking calls"'), 30_000, 'it to take calls')
  t.match(printed, /SHOP_API_URL is not set: the shipped agents use the demo's orders API/)
  gateway.kill('SIGTERM')
  t.equal(await ended, 0, printed)
  const demo = await run(project, 'npx', '--no-install', 'mkondo', 'demo')
  t.equal(demo.code, 0, demo.output)
  t.match(demo.output, /3 of 3 callers heard the right status/)
})

t.test('the pruning command of docs/RELEASES.md leaves the one binary that this Node loads', async (t) => {
  const page = readFileSync(join(root, 'docs', 'RELEASES.md'), 'utf8')
  const [, block = ''] = /```sh\n(find node_modules\/uWebSockets\.js[^]*?)```/.exec(page) ?? []
  const place = join(folder, 'pruned')
  const bin = join('node_modules', 'uWebSockets.js', 'dist', 'bin')
  mkdirSync(join(place, bin), { recursive: true })
  // Their names are enough to see which ones go.
  for (const name of readdirSync(join(root, bin))) writeFileSync(join(place, bin, name), '')
  t.ok(readdirSync(join(place, bin)).length > 20)
  const { code, output } = await run(place, 'bash', '-c', block)
  t.equal(code, 0, output)
  t.same(readdirSync(join(place, bin)), [`uws_${process.platform}_${process.arch}_${process.versions.modules}.node`])
})

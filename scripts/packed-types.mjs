// Checks that a strict TypeScript program can import every entry of the packed package. The script installs the archive
// in an empty folder, and compiles a program with all declarations of the package and its dependencies. The program
// also contains agents: vendors' options must compile, and misspelt options must not. The exit code is 0 if there is no
// error.
//
//   node scripts/packed-types.mjs
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Compiler options of the programs: module resolution as in Node and as in bundlers, and further strictness. */
const PROGRAMS = [
  { module: 'nodenext', moduleResolution: 'nodenext' },
  { module: 'preserve', moduleResolution: 'bundler', exactOptionalPropertyTypes: true },
]

const AGENTS = `import type { AgentInput } from 'mkondo'
const base = { version: 1, name: 'a', instructions: 'Be brief.' } as const
export const agents: AgentInput[] = [
  { ...base, backends: { cascade: { llm: { service: 'gemini', thinkingLevel: 'low' } } } },
  // @ts-expect-error: misspelt
  { ...base, backends: { cascade: { llm: { service: 'gemini', thinkingLevl: 'low' } } } },
  { ...base, backends: { cascade: { stt: { service: 'realtime', dialect: 'vllm' } } } },
  // @ts-expect-error: no such dialect
  { ...base, backends: { cascade: { stt: { service: 'realtime', dialect: 'beta' } } } },
  { ...base, backends: { gemini: { temperature: 1 }, 'module:own-backend': { anything: 1 } } },
  // @ts-expect-error: misspelt
  { ...base, backends: { gemini: { tempreature: 1 } } },
  { ...base, voice: { 'openai-live': 'marin', gemini: 'Kore' } },
  // @ts-expect-error: no such voice
  { ...base, voice: { 'openai-live': 'nova' } },
]
`

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const { exports, devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const folder = mkdtempSync(join(tmpdir(), 'mkondo-types-'))

function run(command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ended with ${status}\n${stdout}${stderr}`)
  return stdout
}

try {
  const archive = run('npm', ['pack', '--silent', '--pack-destination', folder], root).trim().split('\n').at(-1)
  writeFileSync(join(folder, 'package.json'), '{ "name": "program", "version": "1.0.0", "type": "module" }')
  const tools = ['typescript', '@types/node'].map((name) => `${name}@${devDependencies[name]}`)
  const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--silent']
  run('npm', ['install', ...quiet, `./${archive}`, ...tools], folder)
  const entries = Object.keys(exports).filter((entry) => exports[entry].types !== undefined)
  const lines = entries.map((entry, i) => `export * as entry${i} from '${join('mkondo', entry)}'\n`)
  writeFileSync(join(folder, 'program.ts'), lines.join('') + AGENTS)
  for (const options of PROGRAMS) {
    const usual = { strict: true, noEmit: true, target: 'es2023', types: ['node'], skipLibCheck: false }
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: { ...usual, ...options }, files: ['program.ts'] }),
    )
    run('npx', ['tsc'], folder)
  }
  console.log(`${entries.length} entries compile in a strict program, as Node and as bundlers find them`)
} finally {
  rmSync(folder, { recursive: true })
}

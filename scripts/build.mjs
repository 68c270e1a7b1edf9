// Builds dist/: a clean folder (a deleted test must not run again), TypeScript, and the WebAssembly kernels from their text form or from
// AssemblyScript.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createRequire } from 'node:module'
import wabt from 'wabt'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const outDir = resolve(root, process.argv[2] ?? 'dist')
const keep = process.argv.includes('--keep')

if (!keep) rmSync(outDir, { recursive: true, force: true })

const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
// A folder that is kept is built again often: only what changed since the last time is compiled.
const incremental = keep ? ['--incremental', '--tsBuildInfoFile', join(outDir, '.tsbuildinfo')] : []
const compiled = spawnSync(process.execPath, [tsc, '-p', root, '--outDir', outDir, ...incremental], { stdio: 'inherit' })

// Types of the package's entries (`exports` in package.json), for agents and backends written in TypeScript. Not wanted
// of a build for tests.
let typed = 0
if (!keep) {
  const options = '--declaration --emitDeclarationOnly --module nodenext --target es2023 --strict --exactOptionalPropertyTypes '
    + '--noUncheckedIndexedAccess --verbatimModuleSyntax --skipLibCheck --types node'
  const entries = ['index.ts', 'backends/backend.ts', 'backends/registry.ts', 'backends/conformance.ts'].map((file) => join(root, 'src', file))
  const declared = spawnSync(process.execPath, [tsc, ...entries, '--rootDir', root, '--outDir', outDir, ...options.split(' ')], { cwd: root, stdio: 'inherit' })
  typed = declared.status ?? 1
}

/** Every `.wat` below src/ becomes a `.wasm` at the same place below the output folder. */
const assembler = await wabt()
const features = { simd: true, bulk_memory: true, sat_float_to_int: true }
for (const entry of readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith('.wat')) continue
  const source = join(entry.parentPath, entry.name)
  const target = join(outDir, relative(root, source)).replace(/\.wat$/, '.wasm')
  mkdirSync(dirname(target), { recursive: true })
  const parsed = assembler.parseWat(entry.name, readFileSync(source, 'utf8'), features)
  writeFileSync(target, parsed.toBinary({}).buffer)
  parsed.destroy()
}

/** Every folder below src/ with an asconfig.json is AssemblyScript and becomes a `.wasm` beside itself below the output folder. */
for (const entry of readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })) {
  if (entry.name !== 'asconfig.json') continue
  const folder = entry.parentPath
  const target = join(outDir, relative(root, folder)) + '.wasm'
  // It may import from the folder above.
  const sources = [folder, dirname(folder)].flatMap((at) => readdirSync(at, { withFileTypes: true }).filter((file) => file.isFile()).map((file) => join(at, file.name)))
  if (keep && existsSync(target) && sources.every((file) => statSync(file).mtimeMs < statSync(target).mtimeMs)) continue
  const { main: compile } = await import('assemblyscript/asc')
  const { error, stderr } = await compile(['index.ts', '--baseDir', folder, '--config', join(folder, 'asconfig.json'), '--outFile', target])
  if (error !== null) {
    console.error(`${relative(root, folder)}: ${error.message}\n${stderr.toString()}`)
    process.exit(1)
  }
}

const bin = join(outDir, 'src/cli/main.js')
if (existsSync(bin)) chmodSync(bin, 0o755)
process.exit(compiled.status === 0 ? typed : compiled.status ?? 1)

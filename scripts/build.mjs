// Builds dist/: esbuild strips the types file by file (`npm run typecheck` checks them), AssemblyScript compiles the
// WebAssembly kernels, Vite builds the console, and the resampler's filters are computed with libsamplerate. An output
// is built again only if it is older than its source, this script or package-lock.json. Outputs without a source are
// deleted, so that a deleted test does not run again.
//
//   node scripts/build.mjs [--types]
//
// --types adds files that only the package needs. They are the declarations of its entries (`exports` in package.json),
// for agents and backends in TypeScript, and the tested versions (docs/adr/0019-exact-versions.md).
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const startedAt = Date.now()
/** Shows the current step and the elapsed time in one line, if standard error is a terminal. */
const progress = (what) => {
  const elapsed = ((Date.now() - startedAt) / 1000).toFixed(1)
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${what === '' ? '' : `build: ${what}, ${elapsed} s`}`)
}

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const outDir = join(root, 'dist')
const SOURCES = ['src', 'test', 'bench', 'examples', 'grafana']

const files = (folder) =>
  !existsSync(folder)
    ? []
    : readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name))
const consoleFolder = join(root, 'src', 'console')
const sources = SOURCES.flatMap((folder) => files(join(root, folder))).filter(
  // Excludes the packages of the bench's peers, which contain TypeScript sources. test/examples/vendors.slow.test.ts
  // builds the example vendors.
  (file) =>
    ![consoleFolder, join(root, 'examples', 'vendors')].some((folder) => file.startsWith(folder + '/')) &&
    !file.includes('/node_modules/', root.length),
)

/** Folders with an asconfig.json contain AssemblyScript. Each folder becomes one `.wasm` file, without JavaScript. */
const kernels = sources.filter((file) => basename(file) === 'asconfig.json').map(dirname)
const inKernel = (file) => kernels.some((folder) => file.startsWith(folder + '/'))
const modules = sources.filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts') && !inKernel(file))
/**
 * Files that are copied unchanged: numbers that a module reads from its own folder, and the module that every version
 * of Node must parse.
 */
const data = sources.filter((file) => file.endsWith('.f32') || file.endsWith('.cjs'))
const built = (file) => join(outDir, relative(root, file))

/** Time of a file's last change or move. A moved file keeps its modification time, so `mtime` would be too early. */
const changedAt = (file) => statSync(file).ctimeMs
const isCurrent = (target, inputs) =>
  existsSync(target) && inputs.every((file) => changedAt(file) < statSync(target).mtimeMs)

const how = Math.max(...[import.meta.filename, join(root, 'package-lock.json')].map(changedAt))
const stale = modules.filter((file) => {
  const target = built(file).replace(/\.ts$/, '.js')
  return !isCurrent(target, [file]) || statSync(target).mtimeMs < how
})
if (stale.length > 0) {
  progress('modules')
  await build({
    entryPoints: stale,
    outbase: root,
    outdir: outDir,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    sourcemap: true,
    tsconfigRaw: { compilerOptions: { verbatimModuleSyntax: true } },
    logLevel: 'warning',
  })
}
for (const file of data) copyFileSync(file, built(file))

for (const folder of kernels) {
  const target = built(folder) + '.wasm'
  // A kernel may import from the folder above it.
  const inputs = [folder, dirname(folder)].flatMap((at) =>
    readdirSync(at, { withFileTypes: true })
      .filter((file) => file.isFile())
      .map((file) => join(at, file.name)),
  )
  if (isCurrent(target, inputs)) continue
  progress(relative(root, folder))
  const { main: compile } = await import('assemblyscript/asc')
  const { error, stderr } = await compile([
    'index.ts',
    '--baseDir',
    folder,
    '--config',
    join(folder, 'asconfig.json'),
    '--outFile',
    target,
  ])
  if (error !== null) {
    console.error(`${relative(root, folder)}: ${error.message}\n${stderr.toString()}`)
    process.exit(1)
  }
  // If a declaration is beside the folder, the kernel also becomes a module, for a layer that must not read files.
  if (existsSync(folder + '.wasm.d.ts')) {
    const code = readFileSync(target).toString('base64')
    writeFileSync(target + '.js', `export default Uint8Array.from(atob('${code}'), (c) => c.charCodeAt(0))\n`)
  }
}

// Computed here, because the filters of the resampler take 250 ms, which each start of the gateway would need.
const filters = join(outDir, 'src/media/resample/polyphase-rows.json')
const derivation = join(root, 'scripts/polyphase-rows.mjs')
if (!isCurrent(filters, [derivation, join(root, 'package-lock.json')])) {
  const rows = await (await import(derivation)).polyphaseRows()
  const bytes = ({ buffer }) => Buffer.from(buffer).toString('base64')
  writeFileSync(filters, JSON.stringify(rows.map((row) => ({ ...row, coefficients: bytes(row.coefficients) }))))
}

const consoleOut = join(outDir, 'console')
// Only the console's own files count: from other folders it imports only types.
if (!isCurrent(join(consoleOut, 'index.html'), [...files(consoleFolder), join(root, 'package-lock.json')])) {
  const vite = await import('vite')
  await vite.build({
    root: consoleFolder,
    configFile: false,
    logLevel: 'warn',
    // Each asset is a separate file, because the page's content security policy forbids inline content.
    build: { outDir: consoleOut, emptyOutDir: true, assetsInlineLimit: 0, modulePreload: false, target: 'es2022' },
  })
}

const kept = new Set([
  ...data.map(built),
  filters,
  ...files(consoleOut),
  ...modules.flatMap((file) => ['.js', '.js.map', '.d.ts'].map((end) => built(file).replace(/\.ts$/, end))),
  ...kernels.flatMap((folder) => [built(folder) + '.wasm', built(folder) + '.wasm.js']),
])
for (const file of files(outDir)) {
  if (!kept.has(file)) rmSync(file)
}

chmodSync(join(outDir, 'src/cli/main.js'), 0o755)

if (process.argv.includes('--types')) {
  writeFileSync(join(outDir, 'tested-versions.json'), `${JSON.stringify(testedVersions(), null, 1)}\n`)
  progress('types')
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const options =
    '--declaration --emitDeclarationOnly --module nodenext --target es2023 --lib es2023 --strict --exactOptionalPropertyTypes ' +
    '--noUncheckedIndexedAccess --verbatimModuleSyntax --skipLibCheck --types node'
  const entries = [
    'index.ts',
    'backends/backend.ts',
    'backends/transport.ts',
    'backends/load-backend.ts',
    'backends/conformance.ts',
    'core/webassembly.d.ts',
  ].map((file) => join(root, 'src', file))
  const declared = spawnSync(
    process.execPath,
    [tsc, ...entries, '--rootDir', root, '--outDir', outDir, ...options.split(' ')],
    { cwd: root, stdio: 'inherit' },
  )
  progress('')
  process.exit(declared.status ?? 1)
}
progress('')

/**
 * The locked versions of indirect dependencies, in the form of npm's `overrides`: a name with its version. If a package
 * has packages below it, the name has an object with these packages, and with the package's own version at `.`.
 */
function testedVersions() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const { dependencies, optionalDependencies } = packages['']
  const own = { ...dependencies, ...optionalDependencies }
  const tree = {}
  for (const [path, { version, dev }] of Object.entries(packages)) {
    if (path === '' || dev === true || own[path.replace('node_modules/', '')] !== undefined) continue
    let at = tree
    for (const name of path.split(/(?:^|\/)node_modules\//).slice(1)) at = at[name] ??= {}
    at['.'] = version
  }
  const written = (at) =>
    Object.fromEntries(
      Object.entries(at).map(([name, one]) => {
        if (typeof one === 'string') return [name, one]
        return [name, Object.keys(one).join() === '.' ? one['.'] : written(one)]
      }),
    )
  return written(tree)
}

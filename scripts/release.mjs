// Makes what a release publishes, into a folder: `mkondo`, and for each platform and version of Node a package with the one
// binary of uWebSockets.js that loads there, of which npm installs one (docs/RELEASES.md, "The package"). A clone keeps
// `uws-pack`, which has all binaries in one package; they are taken from there.
//
//   node scripts/release.mjs FOLDER [--as-built]
//
// --as-built packs dist/ as it is, and does not build it first.
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The versions of Node that Mkondo runs on and `uws-pack` has binaries for, by the number in the binaries' names. */
const NODE_OF_ABI = { 115: 20, 127: 22 }
/** Loaded only where a setting, an agent or a command asks for it (src/gateway/on-demand.ts); who does installs it. */
const ON_DEMAND =
  /^(@opentelemetry\/|@modelcontextprotocol\/|@aws-sdk\/|@grpc\/|protobufjs$|bullmq$|soundswallower$|@echogarden\/)/

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const [out, ...flags] = process.argv.slice(2)
if (out === undefined || flags.some((flag) => flag !== '--as-built')) {
  console.error('node scripts/release.mjs FOLDER [--as-built]')
  process.exit(2)
}

function run(command, args, cwd) {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ended with ${status}\n${stdout}${stderr}`)
  return stdout
}

const json = (file) => JSON.parse(readFileSync(file, 'utf8'))
const write = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)
const pack = (to, ...folders) =>
  run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', to, ...folders], root)
    .trim()
    .split('\n')

const work = mkdtempSync(join(tmpdir(), 'mkondo-release-'))
try {
  mkdirSync(out, { recursive: true })
  if (flags.length === 0) run(process.execPath, ['scripts/build.mjs', '--types'], root)
  const binaries = binaryPackages()
  const mkondo = publishedMkondo(binaries)
  const archives = pack(resolve(out), ...binaries.map(({ folder }) => folder), mkondo)
  for (const archive of archives) console.log(join(out, archive))
} finally {
  rmSync(work, { recursive: true })
}

/** A folder for each binary: its package, with the module of `uws-pack` that loads it. */
function binaryPackages() {
  const source = join(root, 'node_modules/uWebSockets.js')
  const { version, repository } = json(join(source, 'package.json'))
  return readdirSync(join(source, 'dist/bin')).flatMap((file) => {
    const [, os, cpu, abi] = /^uws_([a-z0-9]+)_([a-z0-9]+)_(\d+)\.node$/.exec(file) ?? []
    const node = NODE_OF_ABI[abi]
    if (node === undefined) return []
    // The name that src/edge/uws.ts imports.
    const name = `mkondo-uws-${os}-${cpu}-node${node}`
    const folder = join(work, name)
    for (const part of ['LICENSE', 'dist/index.mjs', 'dist/uws.mjs', `dist/bin/${file}`])
      cpSync(join(source, part), join(folder, part))
    // The binary is uWebSockets.js itself, under Apache-2.0, whose text this package has.
    cpSync(join(root, 'node_modules/@opentelemetry/api/LICENSE'), join(folder, 'LICENSE-uWebSockets.js'))
    write(join(folder, 'package.json'), {
      name,
      version,
      description: `The binary of uWebSockets.js for ${os} ${cpu} and Node ${node}, as uws-pack ${version} has it`,
      license: 'MIT AND Apache-2.0',
      type: 'module',
      exports: './dist/index.mjs',
      repository,
      os: [os],
      cpu: [cpu],
      ...(os === 'linux' ? { libc: ['glibc'] } : {}),
      engines: { node: `^${node}` },
    })
    return [{ name, version, folder }]
  })
}

/** The folder of Mkondo's own package as it is published: what is in it is what `npm pack` puts into it. */
function publishedMkondo(binaries) {
  const [archive] = pack(work, '.')
  run('tar', ['-xzf', archive], work)
  const folder = join(work, 'package')
  const manifest = json(join(folder, 'package.json'))
  const { 'uWebSockets.js': _, ...dependencies } = { ...manifest.dependencies, ...manifest.optionalDependencies }
  const onDemand = Object.keys(dependencies).filter((name) => ON_DEMAND.test(name))
  const only = (names) => Object.fromEntries(names.map((name) => [name, dependencies[name]]))
  write(join(folder, 'package.json'), {
    ...manifest,
    dependencies: only(Object.keys(dependencies).filter((name) => !onDemand.includes(name))),
    optionalDependencies: Object.fromEntries(binaries.map(({ name, version }) => [name, version])),
    peerDependencies: only(onDemand),
    peerDependenciesMeta: Object.fromEntries(onDemand.map((name) => [name, { optional: true }])),
  })
  return folder
}

// Cuts a release.
//
//   npm run release -- --next X.Y.Z      sets the version, and joins the fragments of changes/ to its section of CHANGELOG.md,
//                                        to be read and committed
//   npm run release [-- FOLDER]          checks the commit, and makes into FOLDER (release/X.Y.Z): the archives, the SBOM, the
//                                        notes and the checksums of all of them
//   node scripts/release.mjs --pack FOLDER [--as-built]
//                                        makes the archives alone, of a tree that is not released; --as-built packs dist/ as
//                                        it is, and does not build it first
//
// The archives are `mkondo`, and for each platform and version of Node a package with the one binary of uWebSockets.js that
// loads there, of which npm installs one (docs/RELEASES.md, "The package"). A clone keeps `uws-pack`, which has all binaries
// in one package; they are taken from there.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { joined, sectionOf } from './changelog.mjs'

/** The versions of Node that Mkondo runs on and `uws-pack` has binaries for, by the number in the binaries' names. */
const NODE_OF_ABI = { 115: 20, 127: 22 }
/** Loaded only where a setting, an agent or a command asks for it (src/gateway/on-demand.ts); who does installs it. */
const ON_DEMAND =
  /^(@opentelemetry\/|@modelcontextprotocol\/|@aws-sdk\/|@grpc\/|protobufjs$|bullmq$|soundswallower$|@echogarden\/)/

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')

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

const inRoot = (file) => join(root, file)
const git = (...args) => run('git', args, root).trim()
const fragments = () =>
  existsSync(inRoot('changes'))
    ? readdirSync(inRoot('changes'))
        .filter((name) => name.endsWith('.md'))
        .toSorted()
    : []

/** Sets the version, and joins the fragments to its section of the changelog. */
function next(version) {
  if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error(`the version is '${version}'; allowed: X.Y.Z`)
  const changelog = inRoot('CHANGELOG.md')
  const files = fragments()
  const changes = files.map((name) => ({
    name: `changes/${name}`,
    text: readFileSync(inRoot(`changes/${name}`), 'utf8'),
  }))
  const today = new Date().toISOString().slice(0, 10)
  writeFileSync(changelog, joined(readFileSync(changelog, 'utf8'), { version, date: today, changes }))
  for (const name of files) rmSync(inRoot(`changes/${name}`))
  if (json(inRoot('package.json')).version !== version) run('npm', ['version', '--no-git-tag-version', version], root)
  console.log(`${files.length} changes are in CHANGELOG.md, below ${version}: read them, and commit`)
}

/** What a commit must fulfil to be released; each check gives what is wrong, or null. */
const CHECKS = {
  'nothing is uncommitted': () => git('status', '--porcelain') || null,
  'the version is not released yet': (version) => {
    const tagged = git('tag', '--list', `v${version}`) === '' ? null : git('rev-list', '-n', '1', `v${version}`)
    return tagged === null || tagged === git('rev-parse', 'HEAD') ? null : `v${version} is ${tagged}`
  },
  'CHANGELOG.md has its section': (version) =>
    sectionOf(readFileSync(inRoot('CHANGELOG.md'), 'utf8'), version) === null ? `no section ${version}` : null,
  'every change is in CHANGELOG.md': () =>
    fragments().length === 0 ? null : `changes/ has ${fragments().length}: npm run release -- --next X.Y.Z joins them`,
  'samples of the forms that it writes are kept': (version) =>
    existsSync(inRoot(`test/releases/${version}/samples.json.gz`)) ? null : 'npm run samples makes them',
  'every licence is allowed': () => faultOf('scripts/sbom.mjs', '--check'),
  // A table of days that a test would compare with the calendar fails by itself; a release is looked at.
  'no default model ends soon': () => faultOf('scripts/build.mjs') ?? faultOf('scripts/default-models.mjs'),
}

/** What a script says is wrong; null where nothing is. */
function faultOf(...script) {
  const { status, stderr } = spawnSync(process.execPath, script, { cwd: root, encoding: 'utf8' })
  return status === 0 ? null : stderr
}

/** Everything that a release publishes, into one folder. */
function release(to) {
  const { version } = json(inRoot('package.json'))
  const folder = resolve(to ?? inRoot(`release/${version}`))
  const wrong = Object.entries(CHECKS).flatMap(([name, check]) => {
    const found = check(version)
    console.log(`${found === null ? 'ok    ' : 'NOT OK'} ${name}${found === null ? '' : `: ${found.trim()}`}`)
    return found === null ? [] : [name]
  })
  if (wrong.length > 0) throw new Error(`${version} is not released`)
  // What an earlier attempt has left would be among the checksums.
  if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`)
  archives(folder, { build: true })
  run(process.execPath, ['scripts/sbom.mjs', join(folder, `mkondo-${version}.cdx.json`)], root)
  const notes = sectionOf(readFileSync(inRoot('CHANGELOG.md'), 'utf8'), version)
  writeFileSync(join(folder, 'NOTES.md'), `# Mkondo ${version}\n\nCommit ${git('rev-parse', 'HEAD')}\n\n${notes}\n`)
  const files = readdirSync(folder).toSorted()
  const sums = files.map(
    (file) =>
      `${createHash('sha256')
        .update(readFileSync(join(folder, file)))
        .digest('hex')}  ${file}\n`,
  )
  writeFileSync(join(folder, 'SHA256SUMS'), sums.join(''))
  for (const file of [...files, 'SHA256SUMS']) console.log(join(folder, file))
}

/** The archives, made into `folder`. */
function archives(folder, { build }) {
  const work = mkdtempSync(join(tmpdir(), 'mkondo-release-'))
  try {
    mkdirSync(folder, { recursive: true })
    if (build) run(process.execPath, ['scripts/build.mjs', '--types'], root)
    const binaries = binaryPackages(work)
    return pack(resolve(folder), ...binaries.map((one) => one.folder), publishedMkondo(work, binaries))
  } finally {
    rmSync(work, { recursive: true })
  }
}

/** A folder for each binary: its package, with the module of `uws-pack` that loads it. */
function binaryPackages(work) {
  const source = join(root, 'node_modules/uWebSockets.js')
  const { version, repository } = json(join(source, 'package.json'))
  return readdirSync(join(source, 'dist/bin')).flatMap((file) => {
    const [, os, cpu, abi] = /^uws_([a-z0-9]+)_([a-z0-9]+)_(\d+)\.node$/.exec(file) ?? []
    const node = NODE_OF_ABI[abi]
    if (node === undefined) return []
    // The name that src/edge/http/uws.ts imports.
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
function publishedMkondo(work, binaries) {
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

const [first, ...others] = process.argv.slice(2)
try {
  if (first === '--next' && others.length === 1) next(others[0])
  else if (first === '--pack' && others.length > 0 && others.slice(1).every((flag) => flag === '--as-built')) {
    for (const archive of archives(others[0], { build: others.length === 1 })) console.log(join(others[0], archive))
  } else if (others.length === 0 && first?.startsWith('-') !== true) release(first)
  else {
    console.error(
      'npm run release [-- FOLDER], or -- --next X.Y.Z; node scripts/release.mjs --pack FOLDER [--as-built]',
    )
    process.exitCode = 2
  }
} catch (thrown) {
  console.error(thrown.message)
  process.exitCode = 1
}

// Makes a release.
//
//   npm run release -- --next X.Y.Z
//       Sets the version, also in the commands of documents and deploy files. Moves the fragments of changes/ to the version's
//       section of CHANGELOG.md. A person then reads and commits the result.
//   npm run release [-- FOLDER] [-- --without STEP]
//       Checks the commit, and writes the archives, the SBOM, the notes and all checksums to FOLDER (default: release/X.Y.Z).
//       Each step of .ci/more must have passed on this commit. --without STEP (may be given more than once) allows a step that
//       was skipped; the notes name it with its reason.
//   node scripts/release.mjs --pack FOLDER [--as-built]
//       Makes only the archives, even of a tree that is not a release. --as-built packs dist/ without a new build.
//
// The archives are `mkondo`, and one package per platform and version of Node. Each of these packages has the one
// matching binary of uWebSockets.js, and npm installs one package (docs/RELEASES.md, "The package"). The binaries come
// from `uws-pack`, which a clone installs and which contains all binaries.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { joined, sectionOf } from './changelog.mjs'
import { openSteps, resultLines, resultsOf, STEPS } from './ci/steps.mjs'

/** Supported versions of Node for which `uws-pack` has binaries, by the ABI number in the binaries' names. */
const NODE_OF_ABI = { 115: 20, 127: 22 }
/**
 * Packages that are loaded only if a setting, an agent or a command needs them (src/gateway/on-demand.ts). Operators
 * who need such a package install it.
 */
const ON_DEMAND =
  /^(@opentelemetry\/|@modelcontextprotocol\/|@aws-sdk\/|@grpc\/|protobufjs$|bullmq$|soundswallower$|@echogarden\/)/
/** Packages of `mkondo knowledge import`: development packages in a clone, and optional peer packages in a release. */
const READERS = /^(unpdf|mammoth|linkedom|read-excel-file|@mozilla\/readability)$/

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

/** Files with commands that contain the version's image or archive: `mkondo:X.Y.Z`, `mkondo-X.Y.Z.tgz`. */
const NAMING_VERSION = ['deploy/README.md', 'deploy/compose.yaml', 'deploy/kubernetes.yaml', 'docs/RELEASES.md']

/** Sets the version, and moves the fragments to the version's section of the changelog. */
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
  const before = json(inRoot('package.json')).version
  if (before !== version) run('npm', ['version', '--no-git-tag-version', version], root)
  for (const file of NAMING_VERSION.map(inRoot).filter((each) => existsSync(each))) {
    const text = readFileSync(file, 'utf8')
    writeFileSync(
      file,
      text
        .replaceAll(`mkondo:${before}`, `mkondo:${version}`)
        .replaceAll(`mkondo-${before}.tgz`, `mkondo-${version}.tgz`),
    )
  }
  console.log(`${files.length} changes are in CHANGELOG.md, below ${version}: read them, and commit`)
}

/** Conditions for the release of a commit. Each check returns the fault; null if there is no fault. */
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
  // Checked at a release, not in a test: such a test would begin to fail on a certain day without a change of the code.
  'no default model ends soon': () => faultOf('scripts/build.mjs') ?? faultOf('scripts/default-models.mjs'),
  'each step of .ci/more has passed on this commit': (_version, without) => openSteps(moreResults(), without),
}

/** Results of .ci/more for the commit that is released. */
const moreResults = () => resultsOf(git('rev-parse', 'HEAD'), root)

/** @returns the standard error of a failed script; null if the script succeeds */
function faultOf(...script) {
  const { status, stderr } = spawnSync(process.execPath, script, { cwd: root, encoding: 'utf8' })
  return status === 0 ? null : stderr
}

/** Writes all files of a release to one folder. */
function release(to, without) {
  const { version } = json(inRoot('package.json'))
  const folder = resolve(to ?? inRoot(`release/${version}`))
  const wrong = Object.entries(CHECKS).flatMap(([name, check]) => {
    const found = check(version, without)
    console.log(`${found === null ? 'ok    ' : 'NOT OK'} ${name}${found === null ? '' : `: ${found.trim()}`}`)
    return found === null ? [] : [name]
  })
  if (wrong.length > 0) throw new Error(`${version} is not released`)
  // Files of an earlier attempt would be included in the checksums.
  if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`)
  archives(folder, { build: true })
  run(process.execPath, ['scripts/sbom.mjs', join(folder, `mkondo-${version}.cdx.json`)], root)
  const notes = sectionOf(readFileSync(inRoot('CHANGELOG.md'), 'utf8'), version)
  const head = `# Mkondo ${version}\n\nCommit ${git('rev-parse', 'HEAD')}`
  const more = `Steps of .ci/more on this commit:\n\n${resultLines(moreResults()).join('\n')}`
  writeFileSync(join(folder, 'NOTES.md'), `${head}\n\n${notes}\n\n${more}\n`)
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

/** Makes the archives in `folder`. @returns their names */
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

/** Makes a package folder for each binary, with the module of `uws-pack` that loads the binary. */
function binaryPackages(work) {
  const source = join(root, 'node_modules/uWebSockets.js')
  const { version, repository } = json(join(source, 'package.json'))
  return readdirSync(join(source, 'dist/bin')).flatMap((file) => {
    const [, os, cpu, abi] = /^uws_([a-z0-9]+)_([a-z0-9]+)_(\d+)\.node$/.exec(file) ?? []
    const node = NODE_OF_ABI[abi]
    if (node === undefined) return []
    // src/edge/http/uws.ts imports this name.
    const name = `mkondo-uws-${os}-${cpu}-node${node}`
    const folder = join(work, name)
    for (const part of ['LICENSE', 'dist/index.mjs', 'dist/uws.mjs', `dist/bin/${file}`])
      cpSync(join(source, part), join(folder, part))
    // The binary is uWebSockets.js, licensed under Apache-2.0. @opentelemetry/api contains the text of this licence.
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

/**
 * Makes the folder of Mkondo's own package from the files of `npm pack`, with the manifest of the published package.
 * @returns the folder
 */
function publishedMkondo(work, binaries) {
  const [archive] = pack(work, '.')
  run('tar', ['-xzf', archive], work)
  const folder = join(work, 'package')
  const manifest = json(join(folder, 'package.json'))
  const {
    'uWebSockets.js': _,
    '@btc-vision/uwebsockets.js': __,
    ...dependencies
  } = { ...manifest.dependencies, ...manifest.optionalDependencies }
  const readers = Object.entries(manifest.devDependencies).filter(([name]) => READERS.test(name))
  Object.assign(dependencies, Object.fromEntries(readers))
  const onDemand = Object.keys(dependencies).filter((name) => ON_DEMAND.test(name) || READERS.test(name))
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

const OPTIONS = {
  next: { type: 'string' },
  pack: { type: 'string' },
  'as-built': { type: 'boolean', default: false },
  without: { type: 'string', multiple: true, default: [] },
}

/** @returns the one thing that is asked for */
function asked() {
  const { values, positionals } = parseArgs({ options: OPTIONS, allowPositionals: true })
  const { next: version, pack: to, 'as-built': asBuilt, without } = values
  const unknown = without.filter((step) => !(step in STEPS))
  if (unknown.length > 0)
    throw new Error(`--without ${unknown.join(', ')}: the steps are ${Object.keys(STEPS).join(', ')}`)
  const isPlain = positionals.length === 0 && without.length === 0
  if (version !== undefined && to === undefined && !asBuilt && isPlain) return () => next(version)
  if (to !== undefined && version === undefined && isPlain)
    return () => archives(to, { build: !asBuilt }).forEach((archive) => console.log(join(to, archive)))
  if (version === undefined && to === undefined && !asBuilt && positionals.length <= 1)
    return () => release(positionals[0], without)
  throw new Error('these options do not belong together')
}

function main() {
  let action
  try {
    action = asked()
  } catch (thrown) {
    console.error(
      `release: ${thrown.message}\nnpm run release [-- FOLDER] [--without STEP], or -- --next X.Y.Z; ` +
        'node scripts/release.mjs --pack FOLDER [--as-built]',
    )
    return 2
  }
  try {
    action()
    return 0
  } catch (thrown) {
    console.error(thrown.message)
    return 1
  }
}

process.exitCode = main()

// Does what a new user does in the first hour, by README, docs/QUICKSTART.md and docs/RELEASES.md. Each command is a separate
// process, in an empty folder:
//
// 1. clone, `npm ci`, then create, edit, check and simulate a new agent, and call it on a model
// 2. run every command of the pages, unchanged (pages-as-written.mjs)
// 3. at the same time, install the package in an empty project, and create and call an agent there
//
// Prints the time of each command, and the time until the first answer of the new agent. The exit code is 0 if everything
// passed.
//
//   node scripts/first-hour.mjs
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { elapsed, failed, killAll, run, seconds, stays, stop } from './processes.mjs'
import { runPages } from './pages-as-written.mjs'

/**
 * Maximum time from `npm ci` to the first answer of the new agent. A longer time is reported, but is not a failure,
 * because it depends on the machine.
 */
const HEARD_WITHIN_MS = 180_000
const GREETING = 'Hello, this is the line of the bookshop. What is your order number?'
const ANSWER = 'Order 4127 is packed'
const NOT_INSTALLED = /not installed: npm install (.+)/
/** Any free ports, because the gateway of the pages uses the default ports. */
const ANY_PORTS = { PORT: '0', OPS_PORT: '0' }

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const folder = mkdtempSync(join(tmpdir(), 'mkondo-first-hour-'))
const clone = join(folder, 'mkondo')
const elsewhere = join(folder, 'elsewhere')

/** Replaces a text in a file. @throws Error if the file does not contain the text */
function edit(file, from, to) {
  const text = readFileSync(file, 'utf8')
  const edited = text.replace(from, to)
  if (edited === text) throw new Error(`${file} has no ${from} to edit`)
  writeFileSync(file, edited)
}

/** Creates a new agent, then edits, checks and simulates it. */
async function ownAgent(at, name) {
  await run(at, `npx mkondo init ${name} --template order-status --yes`)
  const made = join(at, name)
  edit(join(made, `agents/${name}.yaml`), /^greeting:\n  en: .*$/m, `greeting:\n  en: ${GREETING}`)
  edit(join(made, `agents/tools/${name}.mjs`), "4127: { status: 'out_for_delivery'", "4127: { status: 'packed'")
  edit(join(made, 'scenarios/first-call.yaml'), 'Order 4127 is out for delivery', ANSWER)
  edit(join(made, 'scenarios/simu-ya-kwanza.yaml'), 'Agizo 4127 liko njiani', 'Agizo 4127 limefungashwa')
  await run(made, 'npx mkondo check', { env: ANY_PORTS, expected: new RegExp(`ok +agents: ${name} on embedded`) })
  await run(made, 'npx mkondo simulate', { expected: /^2 passed/m })
  return made
}

/** Creates an agent outside the clone, and runs the commands that `mkondo init` prints, unchanged. */
async function outsideAgent(at, name) {
  const [, printed] = (await run(at, `npx mkondo init ../${name} --template order-status --yes`)).split('\nNext:\n')
  let cwd = at
  for (const [, command] of printed.matchAll(/^ {2}((?:cd|npx) .*?)(?: +#.*)?$/gm)) {
    if (command.startsWith('cd ')) cwd = join(cwd, command.slice(3))
    else if (command === 'npx mkondo serve')
      await stop(await stays(cwd, command, /"msg":"taking calls"/, ANY_PORTS), 'SIGINT')
    else await run(cwd, command, { env: ANY_PORTS })
  }
  if (cwd === at) throw failed('npx mkondo init: printed no folder', printed)
  // The manifest that `mkondo init` writes must also work with npm.
  await run(cwd, 'npm install --prefer-offline --no-audit --no-fund && npx --no mkondo version')
}

/** Calls the new agent on the double of OpenAI Realtime. @returns the time of the agent's first heard answer */
async function callOwnAgent(made, name) {
  const double = await stays(
    made,
    'npx mkondo double openai --agents-dir agents --port 0',
    /^export OPENAI_BASE_URL=\S+$/m,
  )
  const variables = Object.fromEntries(
    [...double.output.matchAll(/^export (\w+)=(\S+)$/gm)].map(([, variable, value]) => [variable, value]),
  )
  const env = { ...variables, ...ANY_PORTS }
  await run(made, 'npx mkondo check', { env, expected: /backend openai.* is ready/ })
  const gateway = await stays(made, 'npx mkondo serve', /"msg":"taking calls"/, env)
  const { port, ops_port: opsPort } = JSON.parse(
    gateway.output.split('\n').find((line) => line.includes('"msg":"taking calls"')),
  )
  let heardMs = null
  const ports = { PORT: String(port), OPS_PORT: String(opsPort) }
  const line = `npx mkondo call --agent ${name} --order 4127 --expect '${ANSWER}' --expect-tool lookup_order`
  const output = await run(made, line, {
    env: ports,
    // Only the agent's words and actions count. The caller may misunderstand them, because digits get lost on a busy
    // machine.
    codes: [0, 1],
    expected: /outcome contained.* backend openai\b[^]*expected "Order 4127 is packed": yes[^]*tool lookup_order: yes/,
    onOutput: (text) => {
      if (text.includes(GREETING)) heardMs ??= performance.now()
    },
  })
  if (heardMs === null) throw failed(`${line}: the edited greeting was not heard`, output)
  // npx ends by the signal, so its exit code does not count. The gateway's log line shows a regular end.
  await stop(gateway, 'SIGTERM')
  if (!gateway.output.includes('"msg":"stopped"'))
    throw failed('npx mkondo serve: did not stop after SIGTERM', gateway.output)
  await stop(double, 'SIGTERM')
  return heardMs
}

/**
 * Fails if an installed package differs from package-lock.json: a new release of a package must not affect this test.
 */
function installsWhatWasTested() {
  const packagesOf = (file) => Object.entries(JSON.parse(readFileSync(file, 'utf8')).packages)
  // Packages are compared by their checksum, because npm chooses a package's folder by the other installed packages.
  const tested = new Set(packagesOf(join(clone, 'package-lock.json')).map(([, { integrity }]) => integrity))
  const others = packagesOf(join(elsewhere, 'node_modules/.package-lock.json')).filter(
    ([path, { integrity }]) => !/^node_modules\/mkondo(-uws-|$)/.test(path) && !tested.has(integrity ?? ''),
  )
  if (others.length > 0)
    throw new Error(`not as tested: ${others.map(([path, { version }]) => `${path} ${version}`).join(', ')}`)
}

/** Imports each entry of the package, and checks the entries' types with both kinds of module resolution. */
async function useTypes() {
  const { exports: exported } = JSON.parse(readFileSync(join(clone, 'package.json'), 'utf8'))
  const entries = Object.keys(exported)
    .filter((entry) => !entry.includes('*') && !entry.endsWith('.json'))
    .map((entry) => entry.replace(/^\./, 'mkondo'))
  writeFileSync(
    join(elsewhere, 'entries.js'),
    // `mkondo/backend` exports only types.
    `for (const entry of ${JSON.stringify(entries)}) {
      const names = Object.keys(await import(entry))
      if (names.length === 0 && entry !== 'mkondo/backend') throw new Error(entry + ' is empty')
      console.log(entry)
    }`,
  )
  await run(elsewhere, 'node entries.js', { expected: /^mkondo\n[^]*\nmkondo\/conformance\n/ })
  writeFileSync(
    join(elsewhere, 'agent.ts'),
    [
      "import { defineAgent, defineTool } from 'mkondo'",
      "import type { Backend } from 'mkondo/backend'",
      "import * as transport from 'mkondo/transport'",
      "import * as registry from 'mkondo/registry'",
      "import * as conformance from 'mkondo/conformance'",
      "export const tool = defineTool({ name: 'a', description: 'A.', run: () => 1 })",
      "export default defineAgent({ version: 1, name: 'a', instructions: 'Be brief.', tools: [tool] })",
      'export type Mine = Backend',
      'export const all = [transport, registry, conformance]',
      '// @ts-expect-error: types are there, so this is a mistake',
      'defineTool({ name: 1 })',
      '',
    ].join('\n'),
  )
  const tsc = `node ${join(clone, 'node_modules/typescript/bin/tsc')} agent.ts --noEmit --strict --skipLibCheck`
  const types = `--types node --typeRoots ${join(clone, 'node_modules/@types')} --target es2023 --lib es2023`
  await Promise.all(
    [
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ].map(([module, resolution]) =>
      run(elsewhere, `${tsc} ${types} --module ${module} --moduleResolution ${resolution}`),
    ),
  )
}

async function firstHour() {
  console.log('     at     took  command')
  if (existsSync(join(root, '.git'))) {
    // The checkout may belong to another user.
    writeFileSync(join(folder, 'gitconfig'), '[safe]\n\tdirectory = *\n')
    await run(folder, `git clone -q '${root}' mkondo`, { env: { GIT_CONFIG_GLOBAL: join(folder, 'gitconfig') } })
  } else {
    console.log('no git repository here: its files are copied')
    const built = /^(node_modules|dist|\.build|\.data|\.tap|coverage)$/
    for (const name of readdirSync(root).filter((one) => !built.test(one)))
      cpSync(join(root, name), join(clone, name), { recursive: true })
  }
  const newMs = performance.now()
  await run(clone, 'npm ci --prefer-offline --no-audit --no-fund')
  // If a command is missing once, npx does not find it after a later build either. So `npm ci` itself has to build.
  await run(clone, 'npx mkondo version')
  const made = await ownAgent(clone, 'my-line')
  const heardMs = (await callOwnAgent(made, 'my-line')) - newMs
  const late = heardMs > HEARD_WITHIN_MS ? `; NOT MET, at most ${seconds(HEARD_WITHIN_MS)}` : ''
  console.log(`From npm ci to the first heard answer of one's own agent: ${seconds(heardMs)}${late}`)

  rmSync(made, { recursive: true })
  await outsideAgent(clone, 'outside-line')
  await run(clone, `node scripts/release.mjs --pack '${join(folder, 'release')}'`)
  await Promise.all([runPages(clone), usePackage()])
  console.log(`The first hour took ${elapsed()}`)
}

/** Checks that the data of the last release can be upgraded to the installed package. */
async function upgradeFromLastRelease() {
  const samples = join(clone, 'test/releases')
  // This release may have its own samples, which are not samples of an earlier release.
  const { version } = JSON.parse(readFileSync(join(clone, 'package.json'), 'utf8'))
  const releases = readdirSync(samples).filter((name) => /^\d+\.\d+\.\d+$/.test(name) && name !== version)
  const last = releases.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  const { files } = JSON.parse(gunzipSync(readFileSync(join(samples, last, 'samples.json.gz'))).toString())
  for (const [path, base64] of Object.entries(files)) {
    const file = join(elsewhere, 'last-release', path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, Buffer.from(base64, 'base64'))
  }
  // Exit code 1: a default has changed. Exit code 2: the package cannot read a stored form.
  await run(elsewhere, `npx mkondo upgrade --check --from ${last}`, {
    env: { ...ANY_PORTS, DATA_DIR: 'last-release' },
    codes: [0, 1],
    expected: /stored: [1-9]\d* of the form "call record" are read[^]*is as it was/,
  })
}

/**
 * Uses only the package, as an operator without the sources does. Runs at the same time as the pages, because both
 * mostly wait for calls.
 */
async function usePackage() {
  mkdirSync(elsewhere)
  writeFileSync(join(elsewhere, 'package.json'), '{ "name": "shop", "version": "1.0.0", "type": "module" }\n')
  const ours = `mkondo-uws-${process.platform}-${process.arch}-node${process.versions.node.split('.')[0]}-`
  const archives = readdirSync(join(folder, 'release')).filter(
    (name) => /^mkondo-\d/.test(name) || name.startsWith(ours),
  )
  const installed = join(elsewhere, 'node_modules/mkondo')
  const page = readFileSync(join(clone, 'docs/RELEASES.md'), 'utf8')
  const [, tested] = /```sh\n(npm pkg set [^]*?)npm install/.exec(page) ?? []
  await run(elsewhere, tested.trim().replace(/mkondo-[\d.]+\.tgz/, `../release/${archives[0]}`))
  // Only this platform's binary is installed. The other binaries are not published, and npm omits optional packages
  // that the registry does not have.
  const paths = archives.map((archive) => `../release/${archive}`).join(' ')
  await run(elsewhere, `npm install --prefer-offline --no-audit --no-fund ${paths}`)
  installsWhatWasTested()
  const files = readdirSync(installed, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(installed, join(entry.parentPath, entry.name)))
  // The only files of src in the package are the vendors' pages.
  const foreign = files.filter(
    (file) =>
      /\.js\.map$|\.test\.|^src|^test|^bench|^node_modules/.test(file) &&
      !/^src\/vendors\/[^/]*\/?README\.md$/.test(file),
  )
  if (foreign.length > 0) throw new Error(`the package has ${foreign.join(', ')}`)
  await useTypes()
  // The offline recogniser and voice are separate packages. `check` prints the command that installs them.
  const lacking = await run(elsewhere, 'npx mkondo check', { env: ANY_PORTS, codes: [2], expected: NOT_INSTALLED })
  const [, packages] = NOT_INSTALLED.exec(lacking)
  await run(elsewhere, `npm install --prefer-offline --no-audit --no-fund ${packages}`)
  await run(elsewhere, 'npx mkondo check', {
    env: ANY_PORTS,
    expected: /ok +agents: order-status on embedded, support/,
  })
  await upgradeFromLastRelease()
  await callOwnAgent(await ownAgent(elsewhere, 'my-other-line'), 'my-other-line')
  await run(elsewhere, 'npx mkondo demo', { expected: /3 of 3 callers were told the right status/ })
}

function clear() {
  killAll()
  rmSync(folder, { recursive: true, force: true })
}
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    clear()
    process.exit(1)
  })

try {
  await firstHour()
} catch (thrown) {
  console.log(`not ok - the first hour: ${thrown.message}`)
  process.exitCode = 1
} finally {
  clear()
}

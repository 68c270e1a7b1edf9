// `npm run dev`: runs a gateway and watches the sources. After an edit below src/ or examples/, the script builds and
// starts the gateway again. After an edit of an agent's file, the next call uses the new file without a restart
// (AGENTS_WATCH). If a build fails, the old gateway continues to run. Arguments after `--` are arguments of `mkondo
// serve` (default: --with-shop).
//
//   npm run dev
//   npm run dev -- --processes 2
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { watch } from 'chokidar'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const SETTLE_MS = 150
/** Maximum time for the gateway to end, in milliseconds. Then it is killed, because its calls are only test calls. */
const END_MS = 2000

const given = process.argv.slice(2)
const args = [join(root, 'dist/src/cli/main.js'), 'serve', ...(given.length > 0 ? given : ['--with-shop'])]
const say = (text) => console.error(`dev: ${text}`)

let gateway = null
let stopping = false
let timer = null
let busy = false
let again = false

const build = () =>
  new Promise((done) => {
    const child = spawn(process.execPath, [join(root, 'scripts/build.mjs')], { stdio: 'inherit' })
    child.once('close', (code) => done(code === 0))
  })

function start() {
  const child = spawn(process.execPath, args, { stdio: 'inherit', env: { DRAIN_TIMEOUT: '0', ...process.env } })
  gateway = child
  child.once('close', (code) => {
    if (gateway !== child) return
    gateway = null
    if (stopping) process.exit(code ?? 0)
    say(`the gateway ended with ${code}: it starts again after the next edit`)
  })
}

function stop() {
  const child = gateway
  gateway = null
  if (child === null) return Promise.resolve()
  return new Promise((done) => {
    const kill = setTimeout(() => child.kill('SIGKILL'), END_MS)
    child.once('close', () => {
      clearTimeout(kill)
      done()
    })
    child.kill('SIGTERM')
  })
}

async function edited(what) {
  if (busy) {
    again = true
    return
  }
  busy = true
  do {
    again = false
    const startedMs = performance.now()
    if (!(await build())) {
      say(`${what}: does not build; the gateway goes on as it was`)
      continue
    }
    await stop()
    start()
    say(`${what}: built and started again in ${Math.round(performance.now() - startedMs)} ms`)
  } while (again)
  busy = false
}

const watcher = watch(
  ['src', 'examples'].map((folder) => join(root, folder)),
  {
    ignoreInitial: true,
    ignored: (path, stats) => stats?.isFile() === true && !/\.(ts|json)$/.test(path),
  },
)
watcher.on('all', (event, path) => {
  if (event === 'addDir' || event === 'unlinkDir') return
  clearTimeout(timer)
  timer = setTimeout(() => void edited(path.slice(root.length + 1)), SETTLE_MS)
})
for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    stopping = true
    if (gateway === null) process.exit(0)
    gateway.kill(signal)
  })

// Before `ready`, an edit would not cause a build.
await once(watcher, 'ready')
if (await build()) start()
else say('does not build: it starts after the next edit')

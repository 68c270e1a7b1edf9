// Runs the built test files and says what failed.
//
//   node scripts/test.mjs                 all of test/ but *.slow.test.ts
//   node scripts/test.mjs --slow          the *.slow.test.ts
//   node scripts/test.mjs FILE            this one, with everything that it prints
//   node scripts/test.mjs FILE|FOLDER...  these
//
// Every file runs alone with `node dist/test/….test.js` too. What a file's place and name mean here:
//   - *.spoken.test.ts and *.slow.test.ts: real-time calls whose result depends on the processor being free: for
//     recognised speech, or because a gateway whose ticks have no slack refuses calls. A process of its own, at a higher
//     priority, one at a time; those that mostly wait (LONG) beside others;
//   - everything else: the files of a folder share processes (PER_PROCESS), one file after another, because a process
//     that loads the sources costs half a second of CPU time; those in ALONE have one of their own. JOBS at a time.
// Ends with the line `N passed, N failed, N skipped` and exits with 0 only when nothing failed. A file that ends
// without a result is a failure.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
/**
 * Folders and files whose files have a process of their own: they start others, send them signals, or look at all that
 * their own process has.
 */
const ALONE = ['bench', 'cli', 'console', 'fleet', 'grafana', 'package', 'scripts', 'security/secrets.test.ts']
/** Files of a folder that share a process. Fewer, and more time goes into loading; more, and the last one ends late. */
const PER_PROCESS = 13
/** Processes beside the real-time calls. Most wait for sockets and clocks more than they compute: three keep two cores busy. */
const JOBS = 3
/**
 * Of the long files: seconds alone on a quiet machine of two cores, by which the longest start first, and the share of a
 * core that they use, in percent. Real-time calls of several files run at the same time while their shares make up no more
 * than REAL_TIME_PERCENT. 0: the result does not depend on time, and the file runs beside them. A file that is not here
 * has a share of 100.
 */
const LONG = {
  'test/backends/embedded/number-in-parts.slow.test.ts': [8, 45],
  'test/bench/production.slow.test.ts': [17, 30],
  'test/bench/run.test.ts': [27, 0],
  'test/bench/turns.test.ts': [18, 0],
  'test/cli/call-out.test.ts': [20, 0],
  'test/cli/call.test.ts': [27, 0],
  'test/cli/doubles.slow.test.ts': [75, 85],
  'test/cli/eight-callers.slow.test.ts': [45, 70],
  'test/cli/end-to-end.slow.test.ts': [45, 65],
  'test/cli/failover.slow.test.ts': [60, 50],
  'test/cli/init.slow.test.ts': [32, 70],
  'test/cli/killed.test.ts': [14, 0],
  'test/cli/models.slow.test.ts': [100, 65],
  'test/cli/processes.slow.test.ts': [25, 80],
  'test/cli/roll.slow.test.ts': [60, 100],
  'test/cli/serve.slow.test.ts': [29, 30],
  'test/cli/simulate.slow.test.ts': [30, 70],
  'test/cli/simulate.test.ts': [19, 0],
  'test/console/pages.slow.test.ts': [55, 50],
  'test/console/softphone.slow.test.ts': [105, 45],
  'test/documents/quickstart.slow.test.ts': [110, 100],
  'test/fleet/called-back.slow.test.ts': [48, 30],
  'test/fleet/fleet.slow.test.ts': [240, 100],
  'test/fleet/redis-store.slow.test.ts': [8, 20],
  'test/gateway/erase.slow.test.ts': [4, 0],
  'test/grafana/proof.slow.test.ts': [32, 40],
  'test/media/echo-recorded.slow.test.ts': [4, 0],
  'test/media/vad-quality.slow.test.ts': [30, 0],
  'test/media/voice-derivation.slow.test.ts': [60, 0],
  'test/scripts/dev.slow.test.ts': [22, 0],
  'test/speech/recorded-level.slow.test.ts': [25, 0],
  'test/workers/echo-lines.slow.test.ts': [125, 90],
  'test/workers/guilty-calls.slow.test.ts': [60, 75],
  'test/workers/mixed-tracks.slow.test.ts': [40, 70],
  'test/workers/number-in-parts-recorded.slow.test.ts': [115, 100],
  'test/workers/openai-calls.slow.test.ts': [26, 35],
  'test/workers/put-on-hold.slow.test.ts': [46, 20],
}
const REAL_TIME_PERCENT = 100
/**
 * What fails while the host of this virtual machine gives more than this share of its processors to others, or while fixed
 * work takes this many times the processor time of the run's best moments (another guest on the same core), says nothing,
 * like a run of the bench whose generator is late; nor does a real-time file that fails beside others, whose shares were
 * measured on another machine. It runs again when all others are over, with nothing beside it, and each run is printed.
 */
const STOLEN_MAX = 0.01
const SLOWNESS_MAX = 1.5
const RUNS_MAX = 3
/** Of one subtest without a limit of its own, and of a process: a hung file is ended and is a failure. */
const SUBTEST_TIMEOUT_S = 120
const PROCESS_TIMEOUT_S = 600
/** Where the duration of each unit is kept, so that the longest starts first the next time. */
const TIMES = join(root, '.build', 'test-times.json')
const TOGETHER = join('scripts', 'test-together.mjs')

const wanted = process.argv.slice(2).filter((argument) => argument !== '--slow')
const slow = process.argv.includes('--slow')
process.chdir(root)

const allFiles = readdirSync('test', { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
  .map((entry) => join(entry.parentPath, entry.name))
  .sort()
const built = (file) => join('dist', file.replace(/\.ts$/, '.js'))

const files =
  wanted.length > 0
    ? [...new Set(wanted.flatMap(filesOf))]
    : allFiles.filter((file) => file.endsWith('.slow.test.ts') === slow)
if (wanted.length > 0 && files.length === 1) {
  spawn(process.execPath, [built(files[0])], { stdio: 'inherit' }).once('close', (code) => process.exit(code ?? 1))
  await new Promise(() => undefined)
}

const times = existsSync(TIMES) ? JSON.parse(readFileSync(TIMES, 'utf8')) : {}
const isRealTime = (file) => /\.(slow|spoken)\.test\.ts$/.test(file)
const isAlone = (file) =>
  isRealTime(file) || ALONE.some((path) => file === `test/${path}` || file.startsWith(`test/${path}/`))
const shared = new Map()
for (const file of files.filter((file) => !isAlone(file))) {
  const folder = file.split('/')[1]
  shared.set(folder, [...(shared.get(folder) ?? []), file])
}
const units = [
  ...[...shared].flatMap(([folder, of]) => {
    const parts = Math.ceil(of.length / PER_PROCESS)
    return Array.from({ length: parts }, (_, part) => {
      const its = of.filter((_, i) => i % parts === part)
      const name = `test/${folder}/ (${its.length} files${parts > 1 ? `, part ${part + 1} of ${parts}` : ''})`
      return { name, command: [process.execPath, TOGETHER, ...its.map(built)], files: its, seconds: 60, percent: 0 }
    })
  }),
  ...files.filter(isAlone).map((file) => {
    const [seconds, percent] = LONG[file] ?? [15, isRealTime(file) ? 100 : 0]
    return { name: file, command: [process.execPath, built(file)], files: [file], seconds, percent }
  }),
]
// The longest first.
const durationOf = ({ name, seconds }) => times[name] ?? seconds
units.sort((a, b) => durationOf(b) - durationOf(a))

const startedAt = Date.now()
const hostBefore = processorTimes()
const sum = { passed: 0, failed: 0, skipped: 0 }
const skips = []
/** Each process, and whether another one ran while it did. */
const running = new Map()
const broken = []
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const child of running.keys()) child.kill('SIGKILL')
    process.exit(1)
  })
}

/** The processor time of fixed work, ms, each half second: it says how fast the host is, whatever else runs here. */
const paces = []
/** 32 MiB: no cache of a core has it. */
const memory = new Uint32Array(8 * 1024 * 1024).fill(1)
setInterval(() => paces.push(paceMs()), 500).unref()

/** Units that run again, alone. */
const again = []
const perform = async (unit, runs = 1) => {
  const before = processorTimes()
  const from = paces.length
  const { isBeside, ...result } = await run(unit)
  const stolen = stolenSince(before)
  const slowness = quantile(paces.slice(from), 0.75) / quantile(paces, 0.1)
  const isVoid = stolen > STOLEN_MAX || slowness > SLOWNESS_MAX || (unit.percent > 0 && isBeside)
  if (result.code === 0 || !isVoid || runs === RUNS_MAX) return report(unit, result)
  console.log(
    `VOID   ${unit.name}: ${isBeside ? 'other files ran beside it' : 'nothing ran beside it'}, the host took ` +
      `${(100 * stolen).toFixed(1)} % of the processors away, and work took ${slowness.toFixed(2)} times as long as at ` +
      `best; it runs again\n${result.text}`,
  )
  again.push([unit, runs + 1])
}
const background = units.filter(({ percent }) => percent === 0)
const lane = async () => {
  for (let unit = background.shift(); unit !== undefined; unit = background.shift()) await perform(unit)
}
const realTime = units.filter(({ percent }) => percent > 0)
const calls = async () => {
  const busy = new Set()
  let percent = 0
  while (realTime.length > 0 || busy.size > 0) {
    const at = realTime.findIndex((unit) => percent === 0 || percent + unit.percent <= REAL_TIME_PERCENT)
    if (at < 0) {
      await Promise.race(busy)
      continue
    }
    const [unit] = realTime.splice(at, 1)
    percent += unit.percent
    const done = perform(unit).then(() => {
      percent -= unit.percent
      busy.delete(done)
    })
    busy.add(done)
  }
}
// Where calls are all that there is, nothing that computes runs beside them.
if (slow) {
  await calls()
  await Promise.all([lane(), lane()])
} else await Promise.all([calls(), ...Array.from({ length: JOBS }, lane)])
for (const [unit, runs] of again) await perform(unit, runs)

mkdirSync(dirname(TIMES), { recursive: true })
writeFileSync(TIMES, JSON.stringify(times, null, 1))
for (const line of skips) console.log(`skipped: ${line}`)
for (const name of broken) console.log(`failed: ${name}`)
console.log(
  `in ${Math.round((Date.now() - startedAt) / 1000)} s; fixed work took ${quantile(paces, 0.1).toFixed(2)}, ` +
    `${quantile(paces, 0.5).toFixed(2)} and ${quantile(paces, 0.9).toFixed(2)} ms (best, half, worst tenth), the host took ` +
    `${(100 * stolenSince(hostBefore)).toFixed(1)} % away`,
)
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`)
process.exit(sum.failed === 0 && sum.passed > 0 ? 0 : 1)

/** Processor time that fixed work takes, ms, two or three: half of it waits for memory, which a host's guests share too. */
function paceMs() {
  const before = process.cpuUsage()
  let state = 1
  for (let i = 0; i < 1_000_000; i++) state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
  for (let i = 0; i < 10_000; i++)
    state = (Math.imul(state, 1103515245) + 12345 + memory[state % memory.length]) & 0x7fffffff
  const { user, system } = process.cpuUsage(before)
  return state < 0 ? 0 : (user + system) / 1000
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length * share)] ?? 1
}

/** Since the machine's start, in ticks of the kernel: of all processors, and what the host gave to others (proc(5)). */
function processorTimes() {
  if (!existsSync('/proc/stat')) return { all: 0, stolen: 0 }
  const times = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0].split(/\s+/).slice(1, 9).map(Number)
  return { all: times.reduce((sum, time) => sum + time, 0), stolen: times[7] ?? 0 }
}

/** The share of the processors that the host gave to others. */
function stolenSince(before) {
  const { all, stolen } = processorTimes()
  return (stolen - before.stolen) / Math.max(1, all - before.all)
}

/** What a process printed, both streams in order, and how it ended. */
function run({ command: [file, ...args], percent }) {
  return new Promise((done) => {
    const began = Date.now()
    const chunks = []
    const [program, programArgs] = percent > 0 ? [file, args] : ['nice', ['-n', '10', file, ...args]]
    const child = spawn(program, programArgs, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP_TIMEOUT: String(SUBTEST_TIMEOUT_S) },
    })
    const me = { isBeside: running.size > 0 }
    for (const other of running.values()) other.isBeside = true
    running.set(child, me)
    child.stdout.on('data', (chunk) => chunks.push(chunk))
    child.stderr.on('data', (chunk) => chunks.push(chunk))
    // tap says what hangs when it gets SIGALRM.
    const timers = [
      setTimeout(() => child.kill('SIGALRM'), PROCESS_TIMEOUT_S * 1000),
      setTimeout(() => child.kill('SIGKILL'), (PROCESS_TIMEOUT_S + 10) * 1000),
    ]
    child.once('close', (code, signal) => {
      running.delete(child)
      timers.forEach(clearTimeout)
      done({ ...me, code, signal, seconds: (Date.now() - began) / 1000, text: Buffer.concat(chunks).toString() })
    })
  })
}

/**
 * Counts a unit's asserts by the summary of tap, `# { total: 5, pass: 4, fail: 1, skip: 1 }`, and prints what failed.
 */
function report(unit, { code, signal, seconds, text }) {
  times[unit.name] = Math.round(seconds * 10) / 10
  const summary = text.match(/^# \{ total: .*\}$/m)?.[0]
  const count = (key) => Number(summary?.match(new RegExp(`\\b${key}: (\\d+)`))?.[1] ?? 0)
  // A file that ended without a summary or with an error after it counts as one failure at least.
  const isWell = code === 0 && summary !== undefined && count('pass') + count('skip') + count('todo') > 0
  const failed = isWell ? count('fail') : Math.max(1, count('fail'))
  sum.passed += count('pass')
  sum.failed += failed
  sum.skipped += count('skip')
  let file = unit.name
  for (const line of text.split('\n')) {
    file = /^# Subtest: (test\/.*)$/.exec(line)?.[1] ?? file
    if (/^\s*ok \d+ .*# SKIP/.test(line)) skips.push(`${file}: ${line.trim().replace(/^ok \d+ - /, '')}`)
  }
  console.log(
    `${failed === 0 ? 'ok    ' : 'NOT OK'} ${seconds.toFixed(1).padStart(5)} s  ${unit.name}  ${count('pass')}`,
  )
  if (failed === 0) return
  const names =
    unit.files.length > 1
      ? unit.files.filter((file) => !new RegExp(`^ok \\d+ - ${file.replaceAll('.', '\\.')}`, 'm').test(text))
      : [unit.name]
  broken.push(...names)
  const end = signal === null ? `exit code ${code}` : `ended by ${signal}`
  console.log(
    `--- ${names.join(', ')}: ${end}\n${unit.files.length > 1 ? partsOf(text, names) : text}\n--- end of ${names.join(', ')}`,
  )
}

/** The parts of a shared process's output that are of the given files; all of it when none can be told apart. */
function partsOf(text, names) {
  const parts = text
    .split(/^(?=# Subtest: )/m)
    .filter((part) => names.some((name) => part.startsWith(`# Subtest: ${name}\n`)))
  return parts.length === 0 ? text : parts.join('')
}

/** The test files that an argument names: a file, in test/ or built, or a folder. */
function filesOf(name) {
  const path = relative(root, resolve(name))
    .replace(/^dist\//, '')
    .replace(/\.js$/, '.ts')
  const found = allFiles.filter((file) => file === path || file.startsWith(path + '/'))
  if (found.length > 0) return found
  console.error(`no test file ${name}; allowed: a path such as ${allFiles[0]}, or a folder of test/`)
  process.exit(2)
}

// Runs the built test files and says what failed.
//
//   node scripts/test.mjs                 all of test/ but *.slow.test.ts, and the types
//   node scripts/test.mjs --slow          the *.slow.test.ts
//   node scripts/test.mjs FILE            this one, with everything that it prints
//   node scripts/test.mjs FILE|FOLDER...  these
//
// Every file runs alone with `node dist/test/….test.js` too. What a file's place and name mean here:
//   - the folders of the pure layers (TOGETHER): the files of a folder share a process, one after another;
//   - *.spoken.test.ts: real-time calls whose result depends on the processor being free: for recognised speech, or
//     because a gateway whose ticks have no slack refuses calls. One file at a time, at a higher priority;
//   - everything else: a process of its own, JOBS at a time.
// Ends with the line `N passed, N failed, N skipped` and exits with 0 only when nothing failed. A file that ends
// without a result is a failure.
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const TOGETHER = ['call', 'config', 'core', 'escalation', 'media', 'sautikit']
/**
 * Files beside the spoken one. Most wait for sockets, processes and clocks more than they compute: three keep two cores
 * busy.
 */
const JOBS = 3
/** Of one subtest without a limit of its own, and of a process: a hung file is ended and is a failure. */
const SUBTEST_TIMEOUT_S = 120
const PROCESS_TIMEOUT_S = 600
/** The folders whose files take longest, where no earlier run says which do. */
const LONG = ['grafana', 'cli', 'simulator', 'workers', 'bench']
/** Where the duration of each unit is kept, so that the longest starts first the next time. */
const TIMES = join(root, '.build', 'test-times.json')

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
const isTogether = (file) => !/\.(slow|spoken)\.test\.ts$/.test(file) && TOGETHER.includes(file.split('/')[1])
const units = [
  ...(slow || wanted.length > 0
    ? []
    : [{ name: 'types', command: ['npm', 'run', '-s', 'typecheck'], spoken: false, files: [] }]),
  ...TOGETHER.map((folder) => {
    const shared = files.filter((file) => isTogether(file) && file.startsWith(`test/${folder}/`))
    return {
      name: `test/${folder}/ (${shared.length} files)`,
      command: [process.execPath, join('scripts', 'test-together.mjs'), ...shared.map(built)],
      spoken: false,
      files: shared,
    }
  }).filter((unit) => unit.files.length > 0),
  ...files
    .filter((file) => !isTogether(file))
    .map((file) => ({
      name: file,
      command: [process.execPath, built(file)],
      spoken: /\.(slow|spoken)\.test\.ts$/.test(file),
      files: [file],
    })),
]
// The longest first; before all of them those that nothing is known of: types, shared processes and long folders
// foremost. Seconds.
const durationOf = ({ name, files: [file] }) =>
  times[name] ?? (file === undefined || isTogether(file) || LONG.includes(file.split('/')[1]) ? 2000 : 1000)
units.sort((a, b) => durationOf(b) - durationOf(a))

const startedAt = Date.now()
const sum = { passed: 0, failed: 0, skipped: 0 }
const skips = []
const running = new Set()
const broken = []
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    for (const child of running) child.kill('SIGKILL')
    process.exit(1)
  })
}

const take = (spoken) => {
  const at = units.findIndex((unit) => unit.spoken === spoken)
  return at < 0 ? undefined : units.splice(at, 1)[0]
}
const lane = async (spoken) => {
  for (let unit = take(spoken); unit !== undefined; unit = take(spoken)) report(unit, await run(unit))
}
await Promise.all([lane(true), ...Array.from({ length: JOBS }, () => lane(false))])

mkdirSync(dirname(TIMES), { recursive: true })
writeFileSync(TIMES, JSON.stringify(times, null, 1))
for (const line of skips) console.log(`skipped: ${line}`)
for (const name of broken) console.log(`failed: ${name}`)
console.log(`in ${Math.round((Date.now() - startedAt) / 1000)} s`)
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`)
process.exit(sum.failed === 0 && sum.passed > 0 ? 0 : 1)

/** What a process printed, both streams in order, and how it ended. */
function run({ command: [file, ...args], spoken }) {
  return new Promise((done) => {
    const began = Date.now()
    const chunks = []
    const [program, programArgs] = spoken ? [file, args] : ['nice', ['-n', '10', file, ...args]]
    const child = spawn(program, programArgs, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP_TIMEOUT: String(SUBTEST_TIMEOUT_S) },
    })
    running.add(child)
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
      done({ code, signal, seconds: (Date.now() - began) / 1000, text: Buffer.concat(chunks).toString() })
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
  const isTap = unit.files.length > 0
  // A file that ended without a summary or with an error after it counts as one failure at least.
  const isWell = code === 0 && (!isTap || (summary !== undefined && count('pass') + count('skip') + count('todo') > 0))
  const failed = isWell ? count('fail') : Math.max(1, count('fail'))
  sum.passed += isTap ? count('pass') : Number(isWell)
  sum.failed += failed
  sum.skipped += count('skip')
  const skipped = text
    .split('\n')
    .filter((line) => /^\s*ok \d+ .*# SKIP/.test(line))
    .map((line) => line.trim().replace(/^ok \d+ - /, ''))
  skips.push(...skipped.map((line) => `${unit.name}: ${line}`))
  console.log(
    `${failed === 0 ? 'ok    ' : 'NOT OK'} ${seconds.toFixed(1).padStart(5)} s  ${unit.name}${isTap ? `  ${count('pass')}` : ''}`,
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

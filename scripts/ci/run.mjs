// The steps of `.ci/run` and `.ci/more`, their results, and the end of their output, which names each test that failed.
import { availableParallelism, loadavg } from 'node:os'
import { runOf } from './command.mjs'
import { readLane } from './lane-output.mjs'

const MINUTE_MS = 60_000
/** Time from the start until the run ends its step and reports. The hosted CI and the judge allow 90 minutes. */
const RUN_MS = 75 * MINUTE_MS
/** Time for all second runs together, and number of them for each file. */
const AGAIN_MS = 15 * MINUTE_MS
const AGAIN_TRIES = 2
/** If more files fail, none is run again: then the change or the machine has a fault. */
const FLAKY_FILES_MAX = 6
/** Maximum number of lines of the report, and numbers of failures and files in it. */
const REPORT_LINES = 40
const REPORTED_FAILURES = 7
const REPORTED_FILES = 5
/** Number of the last lines of a failed command in the report, and their maximum length. */
const LAST_LINES = 3
const LAST_COLUMNS = 160

/**
 * Files of the slow lane without sockets, threads and waits. Another run has the same result, so they run once.
 */
const DETERMINISTIC = [
  'call/pairs',
  'fleet/gateway-simulation',
  'fleet/ownership-simulation',
  'media/dtmf-tones',
  'media/recorded-voices',
].map((name) => `test/${name}.slow.test.ts`)

/** A run of steps, one after another. */
export class Run {
  /** Rows of test/quarantine.yaml: `file` and `test` of each test that does not refuse a change. */
  quarantine = []
  /** Further lines at the head of the report. */
  notes = []
  #startedMs = performance.now()
  #runMs
  #againMs
  #passed = 0
  #skipped = 0
  #failures = []
  #failed = 0
  #flaky = []
  #quarantined = []
  #skippedSteps = []
  #steps = []
  #files = []

  /** @param limits  times in ms: `runMs` of the run, and `againMs` of all second runs */
  constructor({ runMs = RUN_MS, againMs = AGAIN_MS } = {}) {
    this.#runMs = runMs
    this.#againMs = againMs
  }

  /** Runs a command that passes if it exits with 0. @returns true if it passed */
  async check(name, command, options) {
    const { code, last, end } = await this.#step(name, command, options)
    if (code === 0) return true
    this.#fail({ file: null, test: `${name}: ${command.join(' ')}`, excerpt: endOf({ code, last, end }) })
    return false
  }

  /**
   * Runs a test command, and adds its counts.
   * @param options.isRunAgain  true: files that failed run again, alone (scripts/tests/slow.mjs: one file is one process)
   */
  async tests(name, command, options = {}) {
    const { code, output, last, end } = await this.#step(name, command, options)
    const lane = readLane(output)
    if (lane === null || end !== null) {
      this.#fail({ file: null, test: `${name} ended without a result`, excerpt: endOf({ code, last, end }) })
      for (const failure of lane?.failures ?? []) this.#fail(failure)
      return
    }
    this.#passed += lane.passed
    this.#skipped += lane.skipped
    this.#files.push(...lane.files)
    const files = new Set(lane.failures.map(({ file }) => file))
    const open = [...files].filter((file) => !this.#isQuarantined(file, lane.failures))
    const isRunAgain = (file) =>
      options.isRunAgain === true && file !== null && !DETERMINISTIC.includes(file) && open.length <= FLAKY_FILES_MAX
    for (const file of open) {
      const failures = lane.failures.filter((failure) => failure.file === file)
      if (isRunAgain(file) && (await this.#passesAlone(file))) this.#flaky.push({ ...failures[0], file })
      else for (const failure of failures) this.#fail(failure)
    }
    // A process may fail although each of its tests passed. A failure that the output does not name is not forgiven.
    const unnamed = lane.failed - lane.failures.length
    if (unnamed > 0) this.#fail({ file: null, test: `${name}: ${unnamed} failures without a name`, excerpt: [] })
    else if (code !== 0 && lane.failures.length === 0)
      this.#fail({ file: null, test: name, excerpt: [`exit code: ${code}`] })
  }

  /** Counts a step that this machine cannot run. */
  skip(name, reason) {
    this.#skipped++
    this.#skippedSteps.push(`SKIPPED ${name}: ${reason}`)
    console.log(`--- SKIPPED ${name}: ${reason}`)
  }

  /** Numbers of all tests so far. */
  get counts() {
    return { passed: this.#passed, failed: this.#failed, skipped: this.#skipped }
  }

  /** Prints the report. @returns the exit code of the run */
  end() {
    for (const line of this.#report()) console.log(line)
    console.log(`${this.#passed} passed, ${this.#failed} failed, ${this.#skipped} skipped`)
    return this.#failed === 0 && this.#passed > 0 ? 0 : 1
  }

  /** @returns the lines of the report except the last line. Failures come before other results if lines run out */
  #report() {
    const head = [...this.#head()]
    const more = this.#failed - REPORTED_FAILURES
    const failed = [
      ...this.#failures.slice(0, REPORTED_FAILURES).flatMap((failure) => linesOf('FAILED', failure)),
      ...(more > 0 ? [`FAILED ${more} more: search the output for "not ok"`] : []),
    ]
    const others = [
      ...this.#quarantined.map((failure) => linesOf('QUARANTINED', failure)),
      ...this.#flaky.map((failure) => linesOf('FLAKY', failure)),
    ]
    const room = REPORT_LINES - 1 - head.length - failed.length
    const shown =
      others.flat().length <= room ? others.flat() : others.map(([title]) => title).slice(0, Math.max(0, room))
    return [...head, ...shown, ...failed]
  }

  *#head() {
    yield '=== report'
    const minutes = (ms) => (ms / MINUTE_MS).toFixed(1)
    yield `minutes: ${this.#steps.map(({ name, ms }) => `${name} ${minutes(ms)}`).join(', ')}; all ${minutes(performance.now() - this.#startedMs)}`
    const longest = this.#files.toSorted((a, b) => b.seconds - a.seconds).slice(0, REPORTED_FILES)
    if (longest.length > 0)
      yield `longest: ${longest.map(({ name, seconds }) => `${name} ${seconds.toFixed(0)} s`).join(', ')}`
    const load = loadavg().map((value) => value.toFixed(1))
    yield `load: ${load.join(' ')} on ${availableParallelism()} processors`
    yield* this.notes
    yield* this.#skippedSteps
  }

  #fail(failure) {
    this.#failed++
    this.#failures.push(failure)
  }

  /** @returns true if each failed test of this file is quarantined */
  #isQuarantined(file, failures) {
    const its = failures.filter((failure) => failure.file === file)
    const isListed = ({ test }) =>
      this.quarantine.some((row) => row.file === file && (test === row.test || test.startsWith(`${row.test} > `)))
    if (!its.every(isListed)) return false
    this.#quarantined.push(...its)
    return true
  }

  async #passesAlone(file) {
    for (let i = 1; i <= AGAIN_TRIES && this.#againMs > 0; i++) {
      const { code, ms } = await this.#step(`again ${file}`, ['node_modules/.bin/tap', file], {
        limitMs: this.#againMs,
      })
      this.#againMs -= ms
      if (code === 0) return true
    }
    return false
  }

  /**
   * @returns the exit code, the output, the duration in ms, and `end`: why the run ended the command; null if it ended
   * itself
   */
  async #step(name, command, { limitMs = Infinity, cwd, env = process.env } = {}) {
    console.log(`--- ${command.join(' ')}`)
    const beganMs = performance.now()
    const leftMs = Math.min(limitMs, this.#startedMs + this.#runMs - beganMs)
    if (leftMs <= 0) return { code: null, output: '', last: '', ms: 0, end: 'no time was left' }
    const result = await runOf(command, { cwd, env, limitMs: leftMs })
    const ms = performance.now() - beganMs
    this.#steps.push({ name, ms })
    return { ...result, ms }
  }
}

/** @returns the last lines that a command printed, and how it ended */
function endOf({ code, last, end }) {
  const lines = last.split('\n').filter((line) => line.trim() !== '')
  return [...lines.slice(-LAST_LINES).map((line) => line.slice(0, LAST_COLUMNS)), end ?? `exit code: ${code}`]
}

function linesOf(state, { file, test, excerpt }) {
  const title = [file, test].filter((part) => part !== null && part !== '').join(' > ')
  return [`${state} ${title}`, ...excerpt.map((line) => `    ${line}`)]
}

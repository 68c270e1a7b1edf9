import { availableParallelism } from 'node:os'
import { runCase } from './case.js'
import type { BenchOptions } from './options.js'
import { measureIdle } from './idle.js'
import { LEVELS, MESSAGE_LENGTHS_MS, isConversation } from './protocol.js'
import type { Level } from './protocol.js'
import type { Capacity, CaseOptions, CaseResult, IdleResult } from './results.js'
import { SUBJECTS, isGateway, missingPackage } from './subjects.js'
import type { Subject } from './subjects.js'

/** Target for the added latency in ms (docs/LATENCY.md). */
export const ADDED_P99_MS_MAX = 20
/** Number of calls with which a ramp begins, the factor of its steps, and the maximum number of calls. */
const RAMP_FROM_CALLS = 50
const RAMP_STEP = 1.5
const RAMP_CALLS_MAX = 5000
const RAMP_HALVINGS = 2
/** Number of tries of a ramp's step. A step may fail only because of a momentary disturbance. */
const RAMP_TRIES = 2
const QUICK_RAMP_STEPS = 3

/** Levels of a quick run. If the machine is busy, the last levels are left out. */
const QUICK_LEVELS: readonly Level[] = ['L0', 'L2-prod', 'L2', 'L3', 'L1']

/**
 * Time in ms after which no case of a quick run begins, so that the run ends within three minutes even on a busy
 * machine.
 */
const QUICK_BEGIN_MS_MAX = 150_000

type Say = (line: string) => void

/** Remaining time of a run. Only a quick run has a limit. */
export class TimeLeft {
  readonly leftOut: string[] = []
  readonly #endsAtMs: number

  /** @param nowMs start time of the run, by `performance.now()` */
  constructor(quick: boolean, nowMs: number) {
    this.#endsAtMs = quick ? nowMs + QUICK_BEGIN_MS_MAX : Infinity
  }

  /** True if `what` may still begin. Otherwise it is recorded as left out. */
  mayBegin(what: string, nowMs = performance.now()): boolean {
    if (nowMs < this.#endsAtMs) return true
    this.leftOut.push(what)
    return false
  }

  /** Notes for the report: one line, or no line. */
  notes(): readonly string[] {
    return this.leftOut.length === 0
      ? []
      : [`a quick run has three minutes; left out: ${[...new Set(this.leftOut)].join(', ')}`]
  }
}

interface Skipped {
  readonly name: string
  readonly why: string
}

/** Subjects that were requested and can run. Requested subjects that cannot run are listed with the reason. */
export function chooseSubjects(options: BenchOptions): {
  readonly subjects: readonly Subject[]
  readonly skipped: readonly Skipped[]
} {
  const asked = SUBJECTS.filter((subject) => options.subjects.length === 0 || options.subjects.includes(subject.name))
  const skipped: Skipped[] = []
  const subjects = asked.filter((subject) => {
    if (options.quick && options.subjects.length === 0 && !subject.quick) {
      skipped.push({ name: subject.name, why: 'not part of a quick run' })
      return false
    }
    const missing = missingPackage(subject)
    if (missing !== null)
      skipped.push({ name: subject.name, why: `${missing} is not installed; node bench/peers/install.mjs does it` })
    return missing === null
  })
  return { subjects, skipped }
}

/** Default percentage of calls whose line has an echo, at levels that resemble production. */
const PRODUCTION_ECHO_PERCENT = 30

/**
 * Factor for the number of calls at each level. An echo can carry more calls than a bridge. With few calls, an echo's
 * cost would be mostly the fixed cost of two clocks.
 */
const CALLS_FACTOR: Readonly<Record<Level, number>> = {
  L0: 3,
  L1: 1.5,
  L2: 1,
  'L2-prod': 1,
  'L2-prod-repeat': 1,
  'L2-cascade': 1,
  L3: 1,
}

function callsFor(options: BenchOptions, subject: Subject, level: Level): number {
  return Math.min(
    subject.callsMax(level),
    options.callsAsked ? options.calls : Math.round(options.calls * CALLS_FACTOR[level]),
  )
}

/**
 * Percentage of calls whose line has an echo. It is 0 if the callers' own words come back all the time. The echo would
 * contain these words too, so the audio that comes back could not be judged.
 */
function lineEchoPercent({ lineEchoPercent: asked, track }: BenchOptions, level: Level): number {
  return level === 'L2-prod-repeat'
    ? 0
    : (asked ?? (isConversation(level) && track === 'inbound_track' ? PRODUCTION_ECHO_PERCENT : 0))
}

function caseOptions(options: BenchOptions, subject: Subject, level: Level): CaseOptions {
  return {
    subject: subject.name,
    level,
    calls: callsFor(options, subject, level),
    workers: options.workers,
    generators: options.generators,
    // A peer always has one process.
    processes: isGateway(subject) ? options.processes : 1,
    messageMs: isGateway(subject) ? options.messageMs : null,
    seconds: options.seconds,
    seed: options.seed,
    memory: true,
    profileDir: options.profileDir,
    pin: options.pin,
    steady: false,
    edgeTls: options.edgeTls && isGateway(subject),
    lineEchoPercent: lineEchoPercent(options, level),
    truthEvery: 1,
    dutyPercent: 100,
    track: isGateway(subject) && isConversation(level) ? options.track : 'inbound_track',
    latenessMsMax: options.latenessMsMax,
  }
}

/**
 * Runs every subject at every level that it supports. Each round runs all of them, so that a busy minute of the machine
 * affects all equally.
 */
export async function runCases(
  options: BenchOptions,
  subjects: readonly Subject[],
  time: TimeLeft,
  say: Say,
): Promise<{ readonly cases: CaseResult[]; readonly notes: string[] }> {
  const levels = options.levels.length > 0 ? options.levels : options.quick ? QUICK_LEVELS : LEVELS
  const results: CaseResult[] = []
  const notes: string[] = []
  for (let round = 1; round <= options.repeat; round++) {
    for (const level of levels) {
      for (const subject of subjects.filter((candidate) => candidate.levels.includes(level))) {
        if (!time.mayBegin(`${level} ${subject.name}`)) continue
        const wanted = caseOptions(options, subject, level)
        say(`${level} ${subject.name}, ${wanted.calls} calls, ${wanted.seconds} s, run ${round} of ${options.repeat}`)
        const result = await runCase(subject, { ...wanted, memory: round === 1 })
        results.push(result)
        tell(result, say)
        if (result.verdict !== 'held' && options.callsAsked && round === 1) {
          const note = await findWhatHolds(result, subject, results, say)
          notes.push(`${level} ${subject.name}: ${note}`)
          say(`  ${note}`)
        }
      }
    }
  }
  return { cases: results, notes }
}

function tell(result: CaseResult, say: Say): void {
  const { speed } = result
  if (speed === null) say(`  ${result.verdict}: ${result.reasons.join('; ')}`)
  else
    say(
      `  ${speed.cpuMsPerCallSecond.toFixed(2)} ms of CPU per call and second, added latency p99 ${speed.addedMs?.p99.toFixed(1) ?? '-'} ms`,
    )
}

/** If the requested number of calls did not hold, finds a number that holds. */
async function findWhatHolds(failed: CaseResult, subject: Subject, results: CaseResult[], say: Say): Promise<string> {
  let { calls } = failed.options
  for (let step = 0; step < 3 && calls >= 4; step++) {
    calls = Math.floor(calls / 2)
    const result = await runCase(subject, { ...failed.options, calls, memory: false })
    if (result.verdict !== 'held') continue
    results.push(result)
    tell(result, say)
    return `${failed.options.calls} calls did not hold on this machine; ${calls} did`
  }
  return `${failed.options.calls} calls did not hold on this machine, nor did ${calls}: something other than their number is wrong, or the machine was too busy`
}

/** Size of a gateway. */
interface Size {
  readonly workers: number
  readonly processes: number
}

/** Finds the highest number of calls at which `subject` stays below 20 ms with correct audio. */
export async function findCapacity(
  options: BenchOptions,
  subject: Subject,
  level: Level,
  { workers, processes }: Size,
  time: TimeLeft,
  say: Say,
): Promise<Capacity> {
  const steps: CaseResult[] = []
  const limitMs = ADDED_P99_MS_MAX
  const why = (result: CaseResult): string | null => {
    if (result.speed === null) return `${result.verdict}: ${result.reasons.join('; ')}`
    const p99 = result.speed.addedMs?.p99 ?? Infinity
    return p99 < limitMs ? null : `p99 added latency ${p99.toFixed(1)} ms`
  }
  const attempt = async (calls: number): Promise<string | null> => {
    let reason: string | null = null
    if (!time.mayBegin(`ramp of ${subject.name} at ${calls} calls`)) return 'no time was left in a quick run'
    for (let attemptNumber = 0; attemptNumber < (options.quick ? 1 : RAMP_TRIES); attemptNumber++) {
      const result = await runCase(subject, {
        ...caseOptions(options, subject, level),
        calls,
        workers,
        processes,
        memory: false,
        seconds: Math.min(options.seconds, 6),
      })
      steps.push(result)
      reason = why(result)
      say(`  ${level} ${subject.name} with ${calls} calls, ${sizeWords({ workers, processes })}: ${reason ?? 'held'}`)
      if (reason === null) return null
    }
    return reason
  }
  let held = 0
  let failed = Infinity
  let beyond = `the ramp ends at ${RAMP_CALLS_MAX} calls`
  for (
    let calls = options.quick ? options.calls : Math.min(RAMP_FROM_CALLS, subject.callsMax(level) / 5);
    calls <= RAMP_CALLS_MAX;
    calls = Math.ceil(calls * RAMP_STEP)
  ) {
    const reason = await attempt(calls)
    if (reason === null) {
      held = calls
      // A quick run makes only a few steps. A long run continues the search.
      if (!options.quick || steps.length < QUICK_RAMP_STEPS) continue
      beyond = `not tried, a quick run takes ${QUICK_RAMP_STEPS} steps`
      break
    }
    failed = calls
    beyond = reason
    break
  }
  for (let halving = 0; halving < RAMP_HALVINGS && !options.quick && failed < Infinity; halving++) {
    const middle = Math.floor((held + failed) / 2)
    if (middle - held < 10) break
    const reason = await attempt(middle)
    if (reason === null) held = middle
    else {
      failed = middle
      beyond = reason
    }
  }
  const at80 =
    held === 0 || options.quick
      ? null
      : await runCase(subject, {
          ...caseOptions(options, subject, level),
          calls: Math.max(1, Math.floor(held * 0.8)),
          workers,
          processes,
          memory: true,
        })
  return { subject: subject.name, level, workers, processes, calls: held, limitMs, beyond, steps, at80 }
}

/**
 * Measures sizes of a gateway: one process with 1, 2, 4, ... media workers, up to the number of cores; then 2, 4, ...
 * processes with one worker each, on one port.
 */
export async function scaleOut(options: BenchOptions, subject: Subject, time: TimeLeft, say: Say): Promise<Capacity[]> {
  const sizes: Size[] = []
  for (let workers = 1; workers <= availableParallelism(); workers *= 2) sizes.push({ workers, processes: 1 })
  for (let processes = 2; processes <= availableParallelism(); processes *= 2) sizes.push({ workers: 1, processes })
  const capacities: Capacity[] = []
  for (const size of sizes) capacities.push(await findCapacity(options, subject, 'L2', size, time, say))
  return capacities
}

export function sizeWords({ workers, processes }: Size): string {
  const each = `${workers} media worker${workers === 1 ? '' : 's'}`
  return processes === 1 ? each : `${processes} processes of ${each}`
}

/**
 * Two small numbers of calls. The line through their costs shows the cost that does not depend on the number of calls.
 */
const FEW_CALLS = [10, 40] as const

/** Measures the gateway without calls, with a realtime backend and with the embedded backend, and with few calls. */
export async function measureFew(
  options: BenchOptions,
  subject: Subject,
  time: TimeLeft,
  say: Say,
): Promise<{ readonly idle: IdleResult[]; readonly few: CaseResult[] }> {
  const idle: IdleResult[] = []
  const few: CaseResult[] = []
  for (let round = 1; round <= options.repeat; round++) {
    for (const backend of options.quick ? ['openai'] : ['openai', 'embedded']) {
      if (!time.mayBegin(`idle gateway with ${backend}`)) continue
      say(`gateway without calls, backend ${backend}, ${options.seconds} s, run ${round} of ${options.repeat}`)
      idle.push(await measureIdle(backend, options.seconds))
    }
    // A quick run does not have enough time for two more runs.
    for (const calls of options.quick && options.cases ? [] : FEW_CALLS) {
      if (!time.mayBegin(`${calls} calls at L2-prod`)) continue
      const wanted = { ...caseOptions(options, subject, 'L2-prod'), calls, memory: false, steady: true }
      say(`L2-prod ${subject.name}, ${calls} calls, ${wanted.seconds} s, run ${round} of ${options.repeat}`)
      const result = await runCase(subject, wanted)
      few.push(result)
      tell(result, say)
    }
  }
  return { idle, few }
}

/** Numbers of calls at which growth would show. */
const GROWTH_CALLS = [500, 1000, 2000] as const
const GROWTH_LEVELS = ['L0', 'L1', 'L2'] as const
const GROWTH_GENERATORS = 2
const GROWTH_TRUTH_EVERY = 20
const GROWTH_SECONDS_MAX = 6

/** Measures the gateway with many calls. One call in twenty is judged completely. */
export async function measureGrowth(
  options: BenchOptions,
  subject: Subject,
  time: TimeLeft,
  say: Say,
): Promise<CaseResult[]> {
  const results: CaseResult[] = []
  const levels = GROWTH_LEVELS.filter((level) => options.levels.length === 0 || options.levels.includes(level))
  for (const level of levels) {
    for (const calls of options.callsAsked ? [options.calls] : GROWTH_CALLS) {
      if (!time.mayBegin(`${calls} calls at ${level}`)) continue
      const wanted = {
        ...caseOptions(options, subject, level),
        calls,
        generators: Math.max(options.generators, GROWTH_GENERATORS),
        truthEvery: GROWTH_TRUTH_EVERY,
        dutyPercent: options.dutyPercent,
        seconds: Math.min(options.seconds, GROWTH_SECONDS_MAX),
        memory: false,
      }
      say(`${level} ${subject.name}, ${calls} calls, ${wanted.dutyPercent} % of the time, ${wanted.seconds} s`)
      const result = await runCase(subject, wanted)
      results.push(result)
      tell(result, say)
    }
  }
  return results
}

/**
 * Least-squares line through points, and the share of the points' spread that it explains; null for fewer than two
 * different positions.
 */
export function lineThrough(
  points: readonly (readonly [x: number, y: number])[],
): { readonly slope: number; readonly atZero: number; readonly rSquared: number } | null {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const xMean = mean(points.map(([x]) => x))
  const yMean = mean(points.map(([, y]) => y))
  const sum = (value: (x: number, y: number) => number): number =>
    points.reduce((total, [x, y]) => total + value(x - xMean, y - yMean), 0)
  const [xx, xy, yy] = [sum((x) => x * x), sum((x, y) => x * y), sum((_x, y) => y * y)]
  if (points.length < 2 || xx === 0) return null
  const slope = xy / xx
  return { slope, atZero: yMean - slope * xMean, rSquared: yy === 0 ? 1 : (xy * xy) / (xx * yy) }
}

/**
 * Measures the gateway at L2 with each length of messages to the backend. Fewer messages cost less, but audio waits
 * longer.
 */
export async function sweepMessages(
  options: BenchOptions,
  subject: Subject,
  time: TimeLeft,
  say: Say,
): Promise<CaseResult[]> {
  const results: CaseResult[] = []
  for (let round = 1; round <= options.repeat; round++) {
    for (const messageMs of MESSAGE_LENGTHS_MS) {
      if (!time.mayBegin(`messages of ${messageMs} ms`)) continue
      const wanted = { ...caseOptions(options, subject, 'L2'), messageMs, memory: false }
      say(
        `L2 ${subject.name} with messages of ${messageMs} ms, ${wanted.calls} calls, ${wanted.seconds} s, run ${round} of ${options.repeat}`,
      )
      const result = await runCase(subject, wanted)
      results.push(result)
      tell(result, say)
    }
  }
  return results
}

/**
 * Number of calls at which the main threads would be full. It is calculated from the CPU time per call of the busiest
 * main thread, in the largest run that held. Each process has one main thread, for any number of workers.
 */
export function mainThreadFullAt(capacity: Capacity): number | null {
  const largest = capacity.steps
    .filter((step) => step.speed !== null)
    .toSorted((a, b) => b.options.calls - a.options.calls)[0]
  if (largest?.speed === null || largest?.speed === undefined) return null
  return Math.floor((1000 * capacity.processes) / largest.speed.mainMsPerCallSecond)
}

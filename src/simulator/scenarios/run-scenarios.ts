import { messageOf } from '../../core/errors.js'
import { type Finding, findingsOf, type ObservedCall } from './judge.js'
import type { CallMode, Scenario } from './scenario.js'

/** One run of one scenario. */
export interface ScenarioRun {
  readonly scenario: Scenario
  readonly mode: CallMode
  readonly seed: number
  /** 1 for the first of several runs of the same scenario. */
  readonly repetition: number
}

export interface ScenarioResult extends ScenarioRun {
  readonly status: 'passed' | 'failed' | 'skipped'
  readonly findings: readonly Finding[]
  /** Why it was skipped. */
  readonly skipped: string | null
  /** Real duration of the run. */
  readonly realMs: number
  readonly call: ObservedCall | null
}

/** A run that is not possible here, and why. */
interface SkippedRun extends ScenarioRun {
  readonly skipped: string
}

interface RunPlan {
  readonly runs: readonly ScenarioRun[]
  readonly skipped: readonly SkippedRun[]
}

interface PlanOptions {
  /** Mode for all runs; null: text, or audio for scenarios that need it. */
  readonly mode: CallMode | null
  /** Why a mode cannot be used, by mode. */
  readonly unavailable: Readonly<Partial<Record<CallMode, string>>>
  readonly repeat: number
  /** Added to every scenario's seed. */
  readonly seed: number
}

/** The runs for these scenarios and options. */
export function planOf(scenarios: readonly Scenario[], options: PlanOptions): RunPlan {
  const runs: ScenarioRun[] = []
  const skipped: SkippedRun[] = []
  for (const scenario of scenarios) {
    const mode = scenario.mode ?? options.mode ?? (options.unavailable.text === undefined ? 'text' : 'audio')
    const why = options.mode !== null && mode !== options.mode ? `it needs mode ${mode}` : options.unavailable[mode]
    for (let repetition = 1; repetition <= options.repeat; repetition++) {
      const run = { scenario, mode, seed: (scenario.seed + options.seed + repetition - 1) % 0x8000_0000, repetition }
      if (why === undefined) runs.push(run)
      else skipped.push({ ...run, skipped: why })
    }
  }
  return { runs, skipped }
}

interface RunOptions {
  /** How many calls at once. */
  readonly jobs: number
  readonly place: (run: ScenarioRun) => Promise<ObservedCall>
  readonly onResult: (result: ScenarioResult) => void
  readonly signal: AbortSignal | null
}

/**
 * Runs all calls of a plan, `jobs` at a time. Text calls run first and take seconds; spoken calls run after them,
 * because other work would disturb their real-time pace. A call that cannot be placed is a failed run and does not stop
 * the others.
 * @returns the results in the order of the plan, the skipped runs last
 */
export async function runScenarios(plan: RunPlan, options: RunOptions): Promise<ScenarioResult[]> {
  const results = new Map<ScenarioRun, ScenarioResult>()
  for (const mode of ['text', 'audio'] as const) {
    const queue = plan.runs.filter((run) => run.mode === mode)
    const worker = async (): Promise<void> => {
      for (let run = queue.shift(); run !== undefined && options.signal?.aborted !== true; run = queue.shift()) {
        const result = await runOne(run, options.place)
        results.set(run, result)
        options.onResult(result)
      }
    }
    await Promise.all(Array.from({ length: Math.min(options.jobs, queue.length) }, worker))
  }
  const skipped = plan.skipped.map((run): ScenarioResult => ({
    ...run,
    status: 'skipped',
    findings: [],
    realMs: 0,
    call: null,
  }))
  for (const result of skipped) options.onResult(result)
  return [...plan.runs.flatMap((run) => results.get(run) ?? []), ...skipped]
}

async function runOne(run: ScenarioRun, place: RunOptions['place']): Promise<ScenarioResult> {
  const startedMs = performance.now()
  let call: ObservedCall | null = null
  let findings: readonly Finding[]
  try {
    call = await place(run)
    findings = findingsOf(call, run.scenario.expect)
  } catch (thrown) {
    findings = [{ what: `the call could not be simulated: ${messageOf(thrown)}`, nearMs: null }]
  }
  return {
    ...run,
    status: findings.length === 0 ? 'passed' : 'failed',
    findings,
    skipped: null,
    realMs: performance.now() - startedMs,
    call,
  }
}

import { messageOf } from '../../core/errors.js'
import { type Finding, findingsOf, type ObservedCall } from './judge.js'
import type { CallMode, Scenario } from './scenario.js'

/** One run of one scenario. */
export interface ScenarioRun {
  readonly scenario: Scenario
  readonly mode: CallMode
  readonly seed: number
  /** Number of the run of a scenario: 1 for the first run, 2 for the second, … */
  readonly repetition: number
  /** Reason why the scenario cannot run here; null if it can. */
  readonly skipped: string | null
}

export interface ScenarioResult extends ScenarioRun {
  readonly status: 'passed' | 'failed' | 'skipped'
  readonly findings: readonly Finding[]
  /** Real duration of the run in ms. */
  readonly realMs: number
  readonly call: ObservedCall | null
}

interface PlanOptions {
  /** Mode for all runs; null: text, or audio for scenarios that need it. */
  readonly mode: CallMode | null
  /** Reason why a mode cannot be used, by mode; `placed`: reason why no spoken call can be placed. */
  readonly unavailable: Readonly<Partial<Record<CallMode | 'placed', string>>>
  /** Returns the reason why a scenario cannot run here in any mode; null if it can. */
  readonly without: (scenario: Scenario) => string | null
  readonly repeat: number
  /** Added to every scenario's seed. */
  readonly seed: number
}

/** @returns the planned runs for these scenarios and options */
export function planOf(scenarios: readonly Scenario[], options: PlanOptions): ScenarioRun[] {
  return scenarios.flatMap((scenario) => {
    const mode = scenario.mode ?? options.mode ?? (options.unavailable.text === undefined ? 'text' : 'audio')
    const placed = scenario.placed === null ? undefined : options.unavailable.placed
    const why =
      options.mode !== null && mode !== options.mode ? `it needs mode ${mode}` : (options.unavailable[mode] ?? placed)
    return Array.from({ length: options.repeat }, (_, index): ScenarioRun => {
      const seed = (scenario.seed + options.seed + index) % 0x8000_0000
      return { scenario, mode, seed, repetition: index + 1, skipped: why ?? options.without(scenario) }
    })
  })
}

interface RunOptions {
  /** Maximum number of simultaneous calls. */
  readonly jobs: number
  readonly place: (run: ScenarioRun) => Promise<ObservedCall>
  readonly onResult: (result: ScenarioResult) => Promise<void> | void
  readonly signal: AbortSignal | null
}

/**
 * Runs all calls of a plan, `jobs` at a time. Text calls run first and take seconds. Spoken calls run after the text
 * calls, because they run in real time and other work would disturb them. A call that cannot be placed is a failed run
 * and does not stop the other calls.
 * @returns the results in the order of the plan, the skipped runs last
 */
export async function runScenarios(plan: readonly ScenarioRun[], options: RunOptions): Promise<ScenarioResult[]> {
  const results = new Map<ScenarioRun, ScenarioResult>()
  for (const mode of ['text', 'audio'] as const) {
    const queue = plan.filter((run) => run.skipped === null && run.mode === mode)
    const worker = async (): Promise<void> => {
      for (let run = queue.shift(); run !== undefined && options.signal?.aborted !== true; run = queue.shift()) {
        const result = await runOne(run, options.place)
        results.set(run, result)
        await options.onResult(result)
      }
    }
    await Promise.all(Array.from({ length: Math.min(options.jobs, queue.length) }, worker))
  }
  const skipped = plan
    .filter((run) => run.skipped !== null)
    .map((run): ScenarioResult => ({ ...run, status: 'skipped', findings: [], realMs: 0, call: null }))
  for (const result of skipped) await options.onResult(result)
  return [...plan.flatMap((run) => results.get(run) ?? []), ...skipped]
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
    realMs: performance.now() - startedMs,
    call,
  }
}

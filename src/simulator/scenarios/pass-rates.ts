import type { ScenarioResult } from './run-scenarios.js'

/** Number of standard deviations around the mean that contain 95 % of a normal distribution. */
const Z = 1.959_964

/** The share of runs that passed, and the interval in which the share of infinitely many runs lies. */
interface PassRate {
  readonly runs: number
  readonly passed: number
  /** Number of failed runs that are not evidence about the agent, because a model failed or its judge was unclear. */
  readonly undecided: number
  /** Share, 0 to 1. */
  readonly rate: number
  /** The 95 % interval of the rate. */
  readonly low: number
  readonly high: number
}

/**
 * The 95 % interval of a share by E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
 * Journal of the American Statistical Association 22 (1927), 209-212. Unlike the usual interval, it holds for few runs
 * and for shares near 0 and 1. See Brown, Cai, DasGupta, "Interval estimation for a binomial proportion", Statistical
 * Science 16 (2001), 101-133.
 * @param runs  at least 1
 */
export function wilsonInterval(passed: number, runs: number): { readonly low: number; readonly high: number } {
  const rate = passed / runs
  const middle = rate + (Z * Z) / (2 * runs)
  const half = Z * Math.sqrt((rate * (1 - rate)) / runs + (Z * Z) / (4 * runs * runs))
  const whole = 1 + (Z * Z) / runs
  return { low: Math.max(0, (middle - half) / whole), high: Math.min(1, (middle + half) / whole) }
}

/** @returns the rate of the runs that were not skipped; null if all were skipped */
export function passRate(results: readonly ScenarioResult[]): PassRate | null {
  const ran = results.filter(({ status }) => status !== 'skipped')
  if (ran.length === 0) return null
  const passed = ran.filter(({ status }) => status === 'passed').length
  const undecided = ran.filter(({ status, call }) => status === 'failed' && isUndecided(call?.models)).length
  return { runs: ran.length, passed, undecided, rate: passed / ran.length, ...wilsonInterval(passed, ran.length) }
}

function isUndecided(models: NonNullable<ScenarioResult['call']>['models']): boolean {
  if (models === undefined) return false
  const { callerFault, judgeFault, criteria } = models
  return callerFault !== null || judgeFault !== null || criteria.some(({ verdict }) => verdict === 'unclear')
}

/** Estimated share of scenarios whose next `k` runs all pass. */
interface PassAll {
  readonly k: number
  /** Share, 0 to 1. */
  readonly rate: number
}

/**
 * pass^k by S. Yao, N. Shinn, P. Razavi, K. Narasimhan, "τ-bench" (arXiv 2406.12045, 2024): the mean over scenarios of
 * C(passed, k) / C(runs, k). It is an unbiased estimate of the probability that k new runs of a scenario all pass.
 * @returns the values for k = 1, 2, 4, … up to the smallest number of runs of a scenario; empty without runs
 */
export function passAllOf(rates: readonly Pick<PassRate, 'runs' | 'passed'>[]): PassAll[] {
  if (rates.length === 0) return []
  const most = Math.min(...rates.map(({ runs }) => runs))
  const ks = [most]
  for (let k = 1; k < most; k *= 2) ks.push(k)
  return ks
    .sort((a, b) => a - b)
    .map((k) => ({ k, rate: rates.reduce((sum, rate) => sum + chosenAllPass(rate, k), 0) / rates.length }))
}

/** C(passed, k) / C(runs, k), without large numbers. */
function chosenAllPass({ runs, passed }: Pick<PassRate, 'runs' | 'passed'>, k: number): number {
  let share = 1
  for (let at = 0; at < k; at++) share *= Math.max(0, passed - at) / (runs - at)
  return share
}

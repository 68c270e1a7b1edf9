import type { ScenarioResult } from './run-scenarios.js'

/** 95 % of a normal distribution lie within this many deviations of its mean. */
const Z = 1.959_964

/** The share of runs that passed, and the interval in which the share of endlessly many would lie. */
interface PassRate {
  readonly runs: number
  readonly passed: number
  /** Failed runs that say nothing about the agent: a model failed, or its judge was unclear. */
  readonly undecided: number
  /** 0 to 1. */
  readonly rate: number
  /** The 95 % interval of the rate. */
  readonly low: number
  readonly high: number
}

/**
 * The interval of a share by E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
 * American Statistical Association 22 (1927), 209-212. It holds for few runs and for shares near 0 and 1, where the usual one does
 * not (Brown, Cai, DasGupta, "Interval estimation for a binomial proportion", Statistical Science 16 (2001), 101-133).
 * @param runs  at least 1
 */
export function wilsonInterval(passed: number, runs: number): { readonly low: number; readonly high: number } {
  const rate = passed / runs
  const middle = rate + (Z * Z) / (2 * runs)
  const half = Z * Math.sqrt((rate * (1 - rate)) / runs + (Z * Z) / (4 * runs * runs))
  const whole = 1 + (Z * Z) / runs
  return { low: Math.max(0, (middle - half) / whole), high: Math.min(1, (middle + half) / whole) }
}

/** The rate of the runs that were not skipped; null: there are none. */
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

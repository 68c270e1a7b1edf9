/**
 * Decides from counts whether calls of the second version fail more often than calls of the first version. The test
 * stays valid if it is repeated after every call. The method is the E-variable for two Bernoulli streams of R. Turner,
 * A. Ly, P. Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional stopping",
 * Journal of Statistical Planning and Inference 230 (2024), 106116. The prior over alternatives is fixed. In all these
 * alternatives the second version is worse.
 *
 * If both versions fail equally often, the chance that the E-variable ever reaches 1 / alpha is at most alpha (Ville's
 * inequality). This is exact even if the failure rate changes during the day, because each call's version is chosen at
 * random.
 */

/** Calls of one version. */
export interface ArmCounts {
  readonly calls: number
  /** Number of these calls that failed. */
  readonly failed: number
}

/**
 * RATES: failure rates of the first version in the prior, 0 to 1. WORSE_BY: amounts by which the second version's rate
 * is higher in the prior, 0 to 1.
 */
const RATES = [0.02, 0.05, 0.1, 0.17, 0.27, 0.4, 0.6]
const WORSE_BY = [0.1, 0.2]

const PRIOR = RATES.flatMap((rate) => WORSE_BY.map((by) => ({ first: rate, second: rate + by })))

/** Changes of the logarithm of the evidence by one call, for one point of the prior. */
interface Steps {
  readonly firstFailed: number
  readonly firstPassed: number
  readonly secondFailed: number
  readonly secondPassed: number
}

function stepsFor(share: number): Steps[] {
  return PRIOR.map(({ first, second }) => {
    const mixed = (1 - share) * first + share * second
    return {
      firstFailed: Math.log(first / mixed),
      firstPassed: Math.log((1 - first) / (1 - mixed)),
      secondFailed: Math.log(second / mixed),
      secondPassed: Math.log((1 - second) / (1 - mixed)),
    }
  })
}

/** Steps of the last used share. They are kept because the figures of one agent are calculated one after another. */
let known: { readonly share: number; readonly steps: readonly Steps[] } = { share: NaN, steps: [] }

/**
 * Evidence that the second version fails more often. 1 means that there is no evidence. 20 means that this evidence has
 * a chance of at most 5 % if the versions are equally good.
 * @param share  probability with which a call got the second version, above 0 and below 1
 */
export function evidenceOfWorse(first: ArmCounts, second: ArmCounts, share: number): number {
  if (known.share !== share) known = { share, steps: stepsFor(share) }
  let sum = 0
  for (const { firstFailed, firstPassed, secondFailed, secondPassed } of known.steps)
    sum += Math.exp(
      first.failed * firstFailed +
        second.failed * secondFailed +
        (first.calls - first.failed) * firstPassed +
        (second.calls - second.failed) * secondPassed,
    )
  return sum / known.steps.length
}

// How slow this machine is now: its processors, and what else they do.

/** Rounds of the sample, and their duration in ms on the reference machine (2 cores of 2.1 GHz, Node 20) when it is idle. */
const ROUNDS = 200_000_000
const REFERENCE_MS = 300
/** The limits end what hangs: at more than this, nothing would be left to end. */
const SLOWNESS_MAX = 4

/** @returns how many times longer than on the idle reference machine a computation takes now: from 1 to SLOWNESS_MAX */
export function slowness() {
  const beganMs = performance.now()
  let x = 1
  for (let i = 0; i < ROUNDS; i++) x = (Math.imul(x, 1_664_525) + 1_013_904_223) | 0
  // The result is used, so that the loop is not optimised away.
  const tookMs = performance.now() - beganMs + (x === 0 ? 1 : 0)
  return Math.min(Math.max(tookMs / REFERENCE_MS, 1), SLOWNESS_MAX)
}

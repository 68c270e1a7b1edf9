/** Settings of a gateway whose callers in a test all have one number. */
export const SAME_CALLER = {
  CALLER_CALLS: '20000',
  CALLER_CALLS_PER_MINUTE: '6000',
  WITHHELD_CALLS_PERCENT: '100',
  HUMAN_CALLS_PER_MINUTE: '6000',
  FALLBACK_DIALS_PER_MINUTE: '6000',
}

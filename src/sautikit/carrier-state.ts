/** The carrier's call states, normalised from its many spellings. */
export type CarrierState =
  | 'ringing' | 'answered' | 'stream-started' | 'stream-stopped' | 'stream-error' | 'dial-completed'
  | 'completed' | 'failed' | 'busy' | 'no-answer' | 'unknown'

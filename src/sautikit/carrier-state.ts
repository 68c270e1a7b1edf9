/** The carrier's call states, normalised from its many spellings. */
export type CarrierState =
  | 'ringing' | 'answered' | 'stream-started' | 'stream-stopped' | 'stream-error' | 'dial-completed'
  | 'completed' | 'failed' | 'busy' | 'no-answer' | 'unknown'

/**
 * First match wins, so what is contained in another word comes after it: `noanswer` before `answer`,
 * `disconnect` before `connect`. Patterns see letters only, in lower case, without
 * a leading `call`.
 */
const STATES: readonly (readonly [RegExp, CarrierState])[] = [
  // About something else than the leg itself, however it ended: `call.supervision.ended` is no hang-up.
  [/supervis|record|conference|transcri/, 'unknown'],
  [/stream.*(error|fail)/, 'stream-error'],
  [/stream.*(stop|ended|end$|clos|disconnect|complet)/, 'stream-stopped'],
  [/stream.*(start|open|connect)/, 'stream-started'],
  [/stream/, 'unknown'],
  [/^dial(ing|ling)$|dialstart/, 'ringing'],
  // Whatever became of the dialled leg: the caller's leg asks how to go on.
  [/dial/, 'dial-completed'],
  [/noanswer|notanswered|unanswered|nouserresponse|missed/, 'no-answer'],
  [/busy/, 'busy'],
  [/fail|error|reject|declin|cancel|congest|unavailable|unreachable|unallocated|notfound/, 'failed'],
  [/hangup|hungup|complet|^end$|ended|terminat|disconnect|finish|normalclearing/, 'completed'],
  [/ringing|^ring$|initiat|incoming|^queued$|^setup$|^start(ed)?$/, 'ringing'],
  [/answer|inprogress|^active$|connect|establish|bridge/, 'answered'],
]

/** The state that the carrier's word means, case and separators aside; `unknown` for an absent or strange word. */
export function carrierState(raw: string | null | undefined): CarrierState {
  if (raw === null || raw === undefined) return 'unknown'
  const letters = raw.slice(0, 64).toLowerCase().replace(/[^a-z]/g, '').replace(/^call(?=.)/, '')
  for (const [pattern, state] of STATES) {
    if (pattern.test(letters)) return state
  }
  return 'unknown'
}

/** True when the caller's leg is over: such a webhook never gets an answer with verbs in it. */
export function isTerminal(state: CarrierState): boolean {
  return state === 'completed' || state === 'failed' || state === 'busy' || state === 'no-answer'
}

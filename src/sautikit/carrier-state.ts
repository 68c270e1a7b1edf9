/** The carrier's call states, normalised from its many spellings. */
export const CARRIER_STATES = [
  'ringing',
  'answered',
  'stream-started',
  'stream-stopped',
  'stream-error',
  'dial-completed',
  'completed',
  'failed',
  'refused',
  'busy',
  'no-answer',
  'unknown',
] as const
export type CarrierState = (typeof CARRIER_STATES)[number]

/**
 * Patterns for states; the first match is used. If a word is part of another word, the longer word comes first:
 * `noanswer` before `answer`, `disconnect` before `connect`. Patterns are matched with letters only, in lower case,
 * without a leading `call`.
 */
const STATES: readonly (readonly [RegExp, CarrierState])[] = [
  // States that are not about the leg itself: `call.supervision.ended` is not a hang-up.
  [/supervis|record|conference|transcri/, 'unknown'],
  [/stream.*(error|fail)/, 'stream-error'],
  [/stream.*(stop|ended|end$|clos|disconnect|complet)/, 'stream-stopped'],
  [/stream.*(start|open|connect)/, 'stream-started'],
  [/stream/, 'unknown'],
  [/^dial(ing|ling)$|dialstart/, 'ringing'],
  // After any result of the dialled leg, the caller's leg requests its next document.
  [/dial/, 'dial-completed'],
  [/noanswer|notanswered|unanswered|nouserresponse|missed/, 'no-answer'],
  [/busy/, 'busy'],
  [/reject|declin|refuse/, 'refused'],
  [/fail|error|cancel|congest|unavailable|unreachable|unallocated|notfound/, 'failed'],
  [/hangup|hungup|complet|^end$|ended|terminat|disconnect|finish|normalclearing/, 'completed'],
  [/ringing|^ring$|initiat|incoming|^queued$|^setup$|^start(ed)?$/, 'ringing'],
  [/answer|inprogress|^active$|connect|establish|bridge/, 'answered'],
]

/**
 * @returns the state for the carrier's text, without regard to case and separators; `unknown` for an absent or unknown
 * text
 */
export function carrierState(raw: string | null | undefined): CarrierState {
  if (raw === null || raw === undefined) return 'unknown'
  const letters = raw
    .slice(0, 64)
    .toLowerCase()
    .replace(/[^a-z]/g, '')
    .replace(/^call(?=.)/, '')
  for (const [pattern, state] of STATES) {
    if (pattern.test(letters)) return state
  }
  return 'unknown'
}

/** True if the caller's leg has ended. The answer to such a webhook never contains verbs. */
export function isTerminal(state: CarrierState): boolean {
  return state === 'completed' || state === 'failed' || state === 'refused' || state === 'busy' || state === 'no-answer'
}

/** State of the human who was added to a running call. */
export type HumanEvent = 'joined' | 'busy' | 'no-answer' | 'declined' | 'failed' | 'left'

/**
 * Endings of `call.supervision.*` events, which the vendor does not document. So other telephony APIs' endings are
 * accepted too. The first entry that the word contains decides.
 */
const WORDS: readonly (readonly [part: string, event: HumanEvent])[] = [
  ['busy', 'busy'],
  ['no_answer', 'no-answer'],
  ['no-answer', 'no-answer'],
  ['timeout', 'no-answer'],
  ['declin', 'declined'],
  ['reject', 'declined'],
  ['fail', 'failed'],
  ['error', 'failed'],
  ['left', 'left'],
  ['end', 'left'],
  ['stop', 'left'],
  ['complete', 'left'],
  ['join', 'joined'],
  ['answer', 'joined'],
  ['connect', 'joined'],
  ['active', 'joined'],
]

/** @returns the human's state in a `call.supervision.*` event; null for any other kind, and for unknown endings */
export function humanEvent(kind: string | null): HumanEvent | null {
  const word = /^call\.supervision\.(.+)$/i.exec(kind ?? '')?.[1]?.toLowerCase()
  if (word === undefined) return null
  return WORDS.find(([part]) => word.includes(part))?.[1] ?? null
}

/** @returns the human's state, from the state of the outbound leg to the human; null while the leg rings */
export function humanLeg(state: CarrierState): HumanEvent | null {
  switch (state) {
    case 'answered':
      return 'joined'
    case 'busy':
      return 'busy'
    case 'no-answer':
      return 'no-answer'
    case 'failed':
      return 'failed'
    case 'refused':
      return 'declined'
    case 'completed':
      return 'left'
    // The leg's webhook may have no state. The leg requests its document only after the human has answered, so the
    // human has joined.
    case 'unknown':
      return 'joined'
    default:
      return null
  }
}

/** Facts that the gateway knows when a POST arrives at the voice URL. */
export interface VoicePost {
  readonly state: CarrierState
  /** The envelope's kind; null for the PBX's own bodies. The carrier may ignore the answer to an event. */
  readonly kind: string | null
  readonly direction: 'inbound' | 'outbound' | null
  /**
   * False if the SID may be the call's REST id, as in some events. If such a SID opened the call, the PBX's own post
   * would open the call a second time.
   */
  readonly sidOfPbx: boolean
  /** True if this call's document has already been the answer to a post that is not an event. */
  readonly served: boolean
  /** True if any node of the fleet has answered this SID before. The call may be running or ended. */
  readonly known: boolean
  /** Phase of the call; null if no call with this SID runs on this node. */
  readonly phase: 'waiting' | 'streaming' | 'cut' | 'after' | 'ended' | null
  /** True if the call has ended because its stream never opened. */
  readonly unopened: boolean
  /**
   * `pending`: a human was requested and the carrier has not fetched the Dial yet; `dialing`: the carrier has fetched
   * the Dial.
   */
  readonly escalation: 'none' | 'pending' | 'dialing'
}

/**
 * `open-stream`: admit the call and answer with its Stream document. `repeat-document`: send the call's document again.
 * `resume-stream`: send a new Stream in place of the lost stream; the call continues. `offer-again`: send a Stream
 * again, in place of a stream that could not be opened. `fall-back`: send words and a human, because the gateway no
 * longer waits for the call's stream. `continue`: answer with the next document of the call (a Dial, or words after a
 * failed Dial). `empty`: record the post and answer `<Response></Response>`.
 */
export type VoiceDecision =
  'open-stream' | 'repeat-document' | 'resume-stream' | 'offer-again' | 'fall-back' | 'continue' | 'empty'

/**
 * Decides what a POST to the voice URL means. Any POST may be repeated or late, so the answer depends
 * on the call, not on the order of arrival.
 *
 * | SID     | post                                    | decision |
 * |---------|-----------------------------------------|----------|
 * | unknown | an event: a call comes in and rings     | open-stream (by the PBX's SID): it may be the only first webhook |
 * | waiting | an event: a call comes in and rings     | repeat-document |
 * | any     | any other event                         | empty: its answer may not be read, a Dial would be lost |
 * | unknown | ringing, answered, no state             | open-stream |
 * | unknown | completed                               | open-stream: some first posts say so during set-up |
 * | unknown | anything else                           | empty: the call is not here |
 * | known   | completed                               | empty |
 * | known   | failed, busy, no-answer while dialing   | continue: the dialled leg failed, the caller gets words |
 * | known   | failed, busy, no-answer otherwise       | empty |
 * | cut     | stream-stopped, stream-error            | resume-stream: its stream was lost, and the carrier asks for the next document |
 * | waiting | stream-error                            | offer-again: its stream could not be opened, and the carrier asks for the next document |
 * | ended   | stream-error, if its stream never came   | fall-back: the carrier gave up after the gateway had ended the call |
 * | waiting | stream-stopped                          | repeat-document: a balancer lost the answer and repeats the question |
 * | known   | stream-started                          | empty: it comes late, and a Dial in its answer would be lost |
 * | known   | anything else while pending or dialing  | continue |
 * | waiting | ringing or no state; answered, if only events were given the document | repeat-document |
 * | known   | any other post                          | empty: a second Stream would fork the call again, and fail |
 */
export function decideVoicePost(post: VoicePost): VoiceDecision {
  const { state, known, escalation } = post
  if (post.kind !== null) {
    if (state !== 'ringing' || post.direction === 'outbound') return 'empty'
    if (!known) return post.sidOfPbx ? 'open-stream' : 'empty'
    return post.phase === 'waiting' ? 'repeat-document' : 'empty'
  }
  if (!known) {
    const first = state === 'ringing' || state === 'answered' || state === 'unknown' || state === 'completed'
    return first ? 'open-stream' : 'empty'
  }
  if (isTerminal(state)) return escalation === 'dialing' && state !== 'completed' ? 'continue' : 'empty'
  if (post.phase === 'cut' && (state === 'stream-stopped' || state === 'stream-error')) return 'resume-stream'
  if (post.phase === 'waiting' && state === 'stream-error') return 'offer-again'
  if (post.phase === 'waiting' && state === 'stream-stopped') return 'repeat-document'
  if (post.unopened && state === 'stream-error') return 'fall-back'
  if (state === 'stream-started') return 'empty'
  if (escalation !== 'none' && post.phase !== 'ended') return 'continue'
  const again = state === 'ringing' || state === 'unknown' || (state === 'answered' && !post.served)
  return again && post.phase === 'waiting' ? 'repeat-document' : 'empty'
}

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
 * First match wins, so a word that is part of another comes after it: `noanswer` before `answer`,
 * `disconnect` before `connect`. Patterns see letters only, in lower case, without
 * a leading `call`.
 */
const STATES: readonly (readonly [RegExp, CarrierState])[] = [
  // These describe something other than the leg itself: `call.supervision.ended` is not a hang-up.
  [/supervis|record|conference|transcri/, 'unknown'],
  [/stream.*(error|fail)/, 'stream-error'],
  [/stream.*(stop|ended|end$|clos|disconnect|complet)/, 'stream-stopped'],
  [/stream.*(start|open|connect)/, 'stream-started'],
  [/stream/, 'unknown'],
  [/^dial(ing|ling)$|dialstart/, 'ringing'],
  // Whatever the result of the dialled leg, the caller's leg asks for its next document.
  [/dial/, 'dial-completed'],
  [/noanswer|notanswered|unanswered|nouserresponse|missed/, 'no-answer'],
  [/busy/, 'busy'],
  [/reject|declin|refuse/, 'refused'],
  [/fail|error|cancel|congest|unavailable|unreachable|unallocated|notfound/, 'failed'],
  [/hangup|hungup|complet|^end$|ended|terminat|disconnect|finish|normalclearing/, 'completed'],
  [/ringing|^ring$|initiat|incoming|^queued$|^setup$|^start(ed)?$/, 'ringing'],
  [/answer|inprogress|^active$|connect|establish|bridge/, 'answered'],
]

/** The state that the carrier's word means, case and separators aside; `unknown` for an absent or strange word. */
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

/** True when the caller's leg is over: the answer to such a webhook never has verbs. */
export function isTerminal(state: CarrierState): boolean {
  return state === 'completed' || state === 'failed' || state === 'refused' || state === 'busy' || state === 'no-answer'
}

/** The state of the human who was added to a live call. */
export type HumanEvent = 'joined' | 'busy' | 'no-answer' | 'declined' | 'failed' | 'left'

/**
 * The vendor documents that `call.supervision.*` events exist but not their endings, so those of other telephony
 * APIs are accepted too; the first entry that the word contains decides.
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

/** The human's state in a `call.supervision.*` event; null for any other kind, and for unknown words. */
export function humanEvent(kind: string | null): HumanEvent | null {
  const word = /^call\.supervision\.(.+)$/i.exec(kind ?? '')?.[1]?.toLowerCase()
  if (word === undefined) return null
  return WORDS.find(([part]) => word.includes(part))?.[1] ?? null
}

/** The human's state, from the state of the outbound leg that we placed to them; null while it rings. */
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
    // The leg's webhook may have no state; it asks for its document when somebody has answered.
    case 'unknown':
      return 'joined'
    default:
      return null
  }
}

/** Known facts when a POST arrives at the voice URL. */
export interface VoicePost {
  readonly state: CarrierState
  /** The envelope's kind; null for the PBX's own bodies. An event's answer may not be read. */
  readonly kind: string | null
  readonly direction: 'inbound' | 'outbound' | null
  /** False when an event may name the call by its REST id: the PBX's own post would then open the call twice. */
  readonly sidOfPbx: boolean
  /** True when a post that is not an event has got this call's document. */
  readonly served: boolean
  /** True when this SID was answered before, here or anywhere in the fleet, live or ended. */
  readonly known: boolean
  /** The phase of its call; null when no call of that SID is live here. */
  readonly phase: 'waiting' | 'streaming' | 'cut' | 'after' | 'ended' | null
  /** True when it has ended because its stream never came. */
  readonly unopened: boolean
  /** `pending`: a human was asked for and the carrier has not yet fetched the Dial; `dialing`: it has. */
  readonly escalation: 'none' | 'pending' | 'dialing'
}

/**
 * `open-stream`: admit the call and answer its Stream document. `repeat-document`: the same document again.
 * `resume-stream`: the call goes on with a new Stream, in place of the one that was lost. `offer-again`: it gets a Stream
 * again, in place of one that could not be opened. `fall-back`: words, and a human: nobody waits for its stream any more. `continue`: answer with the next document of the call (a Dial, words
 * after a failed Dial). `empty`: take note and answer `<Response></Response>`.
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
 * | waiting | the same                                | repeat-document |
 * | any     | any other event                         | empty: its answer may not be read, a Dial would be lost |
 * | unknown | ringing, answered, no state             | open-stream |
 * | unknown | completed                               | open-stream: some first posts say so during set-up |
 * | unknown | anything else                           | empty: nothing of that call is here |
 * | known   | completed                               | empty |
 * | known   | failed, busy, no-answer while dialing   | continue: the dialled leg failed, the caller gets words |
 * | known   | failed, busy, no-answer otherwise       | empty |
 * | cut     | stream-stopped, stream-error            | resume-stream: its stream was lost, and the carrier asks |
 * | waiting | stream-error                            | offer-again: its stream could not be opened, and the carrier asks |
 * | ended   | stream-error, if its stream never came   | fall-back: the carrier has given it up after everybody else |
 * | waiting | stream-stopped                          | repeat-document: a balancer sends the question again whose answer it lost |
 * | known   | stream-started                          | empty: it comes late, and a Dial in its answer would be lost |
 * | known   | anything else while pending or dialing  | continue |
 * | waiting | ringing or no state; answered, if only events were given the document | repeat-document |
 * | known   | the rest                                | empty: a second Stream would fork the call again, and fail |
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

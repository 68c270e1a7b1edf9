import { isTerminal } from './carrier-state.js'
import type { CarrierState } from './carrier-state.js'

/** What is known when a POST arrives at the voice URL. */
export interface VoicePost {
  readonly state: CarrierState
  /** The envelope's kind; null for the PBX's own bodies. An event's answer may not be read. */
  readonly kind: string | null
  readonly direction: 'inbound' | 'outbound' | null
  /** False where an event may name the call by its REST id: the PBX's own post would open it a second time. */
  readonly sidOfPbx: boolean
  /** True when a post that is no event was given this call's document. */
  readonly served: boolean
  /** True when this SID was answered before, here or anywhere in the fleet, live or ended. */
  readonly known: boolean
  /** Where its call stands; null when no call of that SID is live here. */
  readonly phase: 'waiting' | 'streaming' | 'after' | 'ended' | null
  /** `pending`: a human was asked for and the carrier has not yet fetched the Dial; `dialing`: it has. */
  readonly escalation: 'none' | 'pending' | 'dialing'
}

/**
 * `open-stream`: admit the call and answer its Stream document. `repeat-document`: the same document again.
 * `continue`: answer what the call goes on with (a Dial, words after a failed Dial). `empty`: take note and
 * answer `<Response></Response>`.
 */
export type VoiceDecision = 'open-stream' | 'repeat-document' | 'continue' | 'empty'

/**
 * What a POST to the voice URL means. Any POST may be a repetition and any may come late, so the answer depends
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
  if (escalation !== 'none' && post.phase !== 'ended') return 'continue'
  const again = state === 'ringing' || state === 'unknown' || (state === 'answered' && !post.served)
  return again && post.phase === 'waiting' ? 'repeat-document' : 'empty'
}

import type { Handoff } from '../call/documents/handoff.js'

/**
 * Events for receivers, with their meaning. A new event needs a line in this table, a line in docs/MESSAGES.md, and a
 * call of `tell`.
 */
export const MESSAGE_TYPES = {
  'call.started': "a call's stream is open; `data` says who called whom",
  'call.ended': 'a call is over; `data` is its record',
  'call.analysed': 'a call was analysed; `data` is its record with `analysis`',
  'call.refused': "a caller was turned away; `data` is the record, with the caller's whole number",
  'escalation.requested': 'a caller needs a human; `data` is the handoff packet',
  'escalation.settled': 'the caller reached a human, or every attempt failed; `data` is the handoff packet',
  'callback.requested': 'a caller was promised a call back; `data` is the handoff packet',
  'caller.erased': 'a caller was erased here; `data.callSids` are the calls to erase too',
  'canary.stopped': 'a canary was worse than its agent and gets no more calls; `data` has the figures',
  'campaign.row': 'a row of a campaign, or a promised call back, is over; `data` is the row',
  'campaign.paused': 'a campaign has paused itself; `data` is the campaign',
  'tool.waiting.done': 'a tool that waits has its outcome, and the caller has not heard it; `data` has the outcome',
  'recording.ready': "the carrier's data on an ended call has arrived; `data` is the record with this data",
} as const
type MessageType = keyof typeof MESSAGE_TYPES

/** An event for receivers. */
export interface Message {
  /**
   * Id of the message. All tries have this id, even after a restart, so that a receiver can drop a repeated message.
   */
  readonly id: string
  readonly type: MessageType
  /**
   * SID of the call, or id of another subject; it consists of letters, digits, `_` and `-`. Messages about one subject
   * are sent in order.
   */
  readonly callSid: string
  /** Time of the event, ISO 8601, UTC. */
  readonly time: string
  readonly agent: string
  /** Our own number, unmasked; null if NUMBERS_FILE does not list it. */
  readonly number: string | null
  /** Outcome of the call; null before its end. */
  readonly outcome: string | null
  /** A document of the call, such as its record or its handoff packet. */
  readonly data: object
}

/** An event as its source reports it. */
export type MessageNews = Pick<Message, 'type' | 'callSid' | 'agent' | 'data'> &
  Partial<Pick<Message, 'id' | 'number' | 'outcome'>>

/** One event of an escalation. */
export interface HandoffNews {
  /** Kind of event as HANDOFF_URL receives it. For all other receivers, `escalation.` replaces `handoff.`. */
  readonly kind: 'handoff.requested' | 'handoff.settled' | 'callback.requested'
  /** Id, unique for each event. */
  readonly id: string
  /** URL of the agent's own webhook; null for HANDOFF_URL. */
  readonly url: string | null
  readonly handoff: Handoff
  /** False if the caller wants the words of the call deleted after the human has received them. */
  readonly keepsWords: boolean
}

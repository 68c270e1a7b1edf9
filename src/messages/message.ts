import type { Handoff } from '../call/documents/handoff.js'

/** Events that receivers get, and when. A new one is a line here, a line in docs/MESSAGES.md, and a call of `tell`. */
export const MESSAGE_TYPES = {
  'call.started': "a call's stream is open; `data` says who called whom",
  'call.ended': 'a call is over; `data` is its record',
  'call.analysed': 'it is known what a call was about; `data` is its record with `analysis`',
  'call.refused': "a caller was turned away; `data` is the record, with the caller's whole number",
  'escalation.requested': 'a human is wanted for a caller; `data` is the handoff packet',
  'escalation.settled': 'the caller reached a human, or every attempt failed; `data` is the handoff packet',
  'callback.requested': 'a caller was promised a call back; `data` is the handoff packet',
  'caller.erased': 'a caller was erased here; `data.callSids` are the calls to erase too',
  'campaign.row': 'a row of a campaign, or a promised call back, is over; `data` is the row',
  'campaign.paused': 'a campaign has paused itself; `data` is the campaign',
  'tool.waiting.done': 'a tool that waits has its outcome, and the caller has not heard it; `data` has the outcome',
  'recording.ready': "the carrier's data on an ended call have come; `data` is the record with them",
} as const
type MessageType = keyof typeof MESSAGE_TYPES

/** An event for receivers. */
export interface Message {
  /** The same with every try, and after a restart: a receiver drops what it has had. */
  readonly id: string
  readonly type: MessageType
  /** Or the id of what else it is about, in letters, digits, `_` and `-`: messages about it keep their order. */
  readonly callSid: string
  /** ISO 8601, UTC. */
  readonly time: string
  readonly agent: string
  /** Our own number, whole; null where NUMBERS_FILE does not have it. */
  readonly number: string | null
  /** Null before the end of the call. */
  readonly outcome: string | null
  /** A document of the call, such as its record or its handoff packet. */
  readonly data: object
}

/** An event as its source reports it. */
export type MessageNews = Pick<Message, 'type' | 'callSid' | 'agent' | 'data'> &
  Partial<Pick<Message, 'id' | 'number' | 'outcome'>>

/** One event of an escalation. */
export interface HandoffNews {
  /** As HANDOFF_URL gets it; receivers get `escalation.` for `handoff.`. */
  readonly kind: 'handoff.requested' | 'handoff.settled' | 'callback.requested'
  /** Unique for each event. */
  readonly id: string
  /** The agent's own webhook; null for HANDOFF_URL. */
  readonly url: string | null
  readonly handoff: Handoff
  /** False: the caller wants no words of the call kept once the human has them. */
  readonly keepsWords: boolean
}

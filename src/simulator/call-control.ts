import type { Caller } from './caller.js'
import type { EndedBy, PlaceCallOptions, SimulatedCallResult, SimulatorEvent, StreamRecord, WebhookRecord } from './call-options.js'
import type { Verb } from './voice-document.js'

/** A simulator event without what the call adds to each. */
export type CallEvent = SimulatorEvent extends infer E ? E extends SimulatorEvent ? Omit<E, 'callSid' | 'atMs'> : never : never

/** The media socket of a call, open or over. */
export interface StreamOutcome {
  readonly openedAtMs: number
  record(startedMs: number): StreamRecord
}

/** What the verbs may do with the call they run in. */
export interface CallControl {
  readonly callSid: string
  readonly options: PlaceCallOptions
  readonly caller: Caller
  readonly ended: boolean
  /** Resolves when the call is over, whoever ended it. */
  readonly ending: Promise<void>
  streamOutcome: StreamOutcome | null
  readonly dials: SimulatedCallResult['dials'][number][]
  emit(event: CallEvent): void
  end(by: EndedBy, why: string): void
  answer(): void
  complain(complaint: string): void
  noteVerb(name: string, text?: string): void
  /** The next key that the caller has pressed and no verb has taken; null for none. */
  takeKey(): string | null
  /** Stands in a conference room; resolves when the room closes or the call ends. */
  stayInRoom(room: string, endOnExit: boolean): Promise<void>
  /** Posts to the voice URL; the document of the answer, or null when there was none to run. */
  postVoice(more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null>
  postForDocument(kind: WebhookRecord['url'], url: string, more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null>
  /** The result waits for it. */
  keep(background: Promise<unknown>): void
  postNotice(kind: WebhookRecord['url'], url: string | null, more: Readonly<Record<string, string>>): void
}

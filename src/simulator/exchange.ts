/**
 * What one simulated call is for the rest of the carrier: its REST API, its records, its conference rooms. A call without
 * an exchange stands alone, as in most tests.
 */

/** A call as the exchange handles it. */
export interface ExchangeLeg {
  readonly callSid: string
  readonly from: string
  readonly to: string
  readonly direction: 'inbound' | 'outbound'
  readonly clientRequestId: string | null
  /** Somebody has taken the call. */
  readonly answered: boolean
  readonly ended: boolean
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
  /** Rings a human who is then heard on this leg; false when one is rung or on it already. */
  supervise(number: string): boolean
  stopSupervision(): void
  /** Another leg has come into this one's room. */
  joinedBy(other: ExchangeLeg): void
  /** Posts an event in the carrier's envelope to the number's events URL. */
  postEvent(kind: string, data: Readonly<Record<string, unknown>>): void
}

/** What is known of a call when it is over. */
export interface LegEnd {
  readonly status: 'completed' | 'failed' | 'no_answer' | 'busy'
  readonly hangupCause: string
  readonly answeredWallMs: number | null
  readonly endedWallMs: number
  /** Both sides of it as a WAV file; null when it was not recorded. */
  readonly recording: Uint8Array | null
}

export interface RoomEntry {
  readonly leg: ExchangeLeg
  /** The room closes when this leg goes. */
  readonly endOnExit: boolean
}

export interface Exchange {
  began(leg: ExchangeLeg, startedWallMs: number): void
  over(leg: ExchangeLeg, end: LegEnd): void
  /** Resolves when the room closes; `left` is called by a leg that goes before. */
  enter(room: string, entry: RoomEntry): { readonly closed: Promise<void>; left(): void }
}

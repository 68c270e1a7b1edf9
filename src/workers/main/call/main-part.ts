import type { CallCheckpoint } from '../../../call/documents/checkpoint.js'
import type { KeptState } from '../../../call/documents/kept-call.js'
import type { CallRecord } from '../../../call/documents/record.js'
import type { LegRateHz } from '../../../core/units.js'
import type { CarrierState, HumanEvent } from '../../../sautikit/carrier-state.js'
import type { Log } from '../../../telemetry/log.js'
import type { Handlers } from '../../shared/by-type.js'
import type { FromCall } from '../../shared/call-messages.js'
import type { CallEffects } from '../../shared/effects.js'
import type { CallAgent } from './call-agent.js'
import type { CallBacks } from '../call-backs.js'
import type { CallContinuity, KeptNow } from './call-continuity.js'
import type { CallOrigin } from './call-origin.js'
import type { CallEnding } from './call-record.js'
import type { CallStream } from './call-stream.js'
import type { continuationOf } from '../kept-call.js'
import type { LiveCall } from '../live-call.js'
import type { MainThreadContext } from '../main-thread-context.js'
import type { RecordingConsent } from './recording-consent.js'
import type { SessionState } from './session-state.js'

/** Things of one call that its parts on the main thread work on. */
export interface MainThings {
  /** Its URLs are read late, because the edge sets them with the first document. */
  readonly call: Pick<LiveCall, 'callSid' | 'afterStreamUrl' | 'humanUrl' | 'continueUrl'>
  readonly origin: CallOrigin
  /** The agent that has the call now. */
  readonly agent: CallAgent
  readonly session: SessionState
  readonly stream: CallStream
  readonly continuity: CallContinuity
  readonly consent: RecordingConsent
  readonly effects: CallEffects
  readonly callBacks: CallBacks
  readonly legRateHz: LegRateHz
  readonly log: Log
  readonly context: MainThreadContext
}

/**
 * One thing that the main thread's half of a call does. It declares what it takes and hears; `main-parts.ts` lists the parts. A part
 * knows no other part.
 */
export interface MainPart {
  /** Messages of the worker's half that it takes. */
  readonly messages?: Handlers<FromCall>
  /** Something of it is not over: the call does not end before. Absent: nothing. */
  readonly active?: boolean
  /** The call goes on from what a lost node or stream left. @param goesOn  who goes on with it */
  resume?(before: KeptState, goesOn: ReturnType<typeof continuationOf>): void
  /** A session begins on a worker, perhaps after another. @returns the checkpoint from which it goes on; null: from nothing */
  begun?(checkpoint: CallCheckpoint | null): CallCheckpoint | null
  /** The stream has opened. */
  opened?(nowMs: number): void
  /** The stream is closed. */
  closed?(nowMs: number): void
  /** The call goes on without a stream, if at all. */
  withoutStream?(): void
  carrierState?(state: CarrierState): void
  /** An event of a human who was added to this call. */
  human?(event: HumanEvent): void
  /** Once a tick of the main thread, after the playout. */
  wake?(nowMs: number): void
  /** A worker's half is gone: it died, handed the call over, or came to its end. */
  lost?(): void
  /** No session runs any more, and none follows. */
  ended?(): void
  /** The call is forced to its end. @param sends  true: receivers get a message about what is not over */
  abandon?(sends: boolean): void
  /** The call is over, and this is its record. */
  recorded?(record: CallRecord): void
  /** The call is over here, with or without a record: what it holds is freed. */
  release?(): void
  /** Its state that another node needs to go on. */
  keeps?(): Partial<KeptNow>
  /** Its share of the call's record. @param streamed  the call has had a stream */
  inRecord?(streamed: boolean): Partial<CallEnding>
}

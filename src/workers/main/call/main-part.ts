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

/** Objects of one call that its parts on the main thread use. */
export interface MainThings {
  /** Read the URLs when they are needed, not earlier: the edge sets them with the first document. */
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
 * Part of the main thread's half of a call, for one subject, such as the escalation. `main-parts.ts` lists the parts,
 * which do not know each other.
 */
export interface MainPart {
  /** Handlers of the messages from the worker's half that this part takes. */
  readonly messages?: Handlers<FromCall>
  /** True while the part has work: the call does not end before the work is done. False if absent. */
  readonly active?: boolean
  /**
   * Continues from the state left by a lost node or stream.
   * @param goesOn  `agent` or `human`: the side that continues the call
   */
  resume?(before: KeptState, goesOn: ReturnType<typeof continuationOf>): void
  /**
   * Called when a session begins on a worker, perhaps after an earlier session.
   * @returns the checkpoint from which the session continues; null for a new session
   */
  begun?(checkpoint: CallCheckpoint | null): CallCheckpoint | null
  /** Called when the stream has opened. */
  opened?(nowMs: number): void
  /** Called when the stream is closed. */
  closed?(nowMs: number): void
  /** Called when the call has lost its stream and cannot get another. The call may still continue without a stream. */
  withoutStream?(): void
  carrierState?(state: CarrierState): void
  /** Handles an event of a human who was added to this call. */
  human?(event: HumanEvent): void
  /** Called once per tick of the main thread, after the playout. */
  wake?(nowMs: number): void
  /** Called when the worker's half no longer exists, because it died, handed the call over, or ended. */
  lost?(): void
  /** Called when no session runs and no other session follows. */
  ended?(): void
  /** Called when the call is forced to its end. @param sends  true: receivers get a message about unfinished work */
  abandon?(sends: boolean): void
  /** Called with the record of the ended call. */
  recorded?(record: CallRecord): void
  /** Called when the call is over on this node, with or without a record. The part then frees its resources. */
  release?(): void
  /** The part's state that another node needs to continue. */
  keeps?(): Partial<KeptNow>
  /** Returns the part's fields in the call's record. @param streamed  the call has had a stream */
  inRecord?(streamed: boolean): Partial<CallEnding>
}

import type { Backend, BackendEvent } from '../../backends/backend.js'
import type { CallSession } from '../../call/call-session.js'
import type { CallOutput } from '../../call/events.js'
import type { PhraseAudio } from '../../speech/phrase-store.js'
import type { SpeechClient } from '../../speech/speech-client.js'
import type { Handlers } from '../shared/by-type.js'
import type { CallStart, ToCall } from '../shared/call-messages.js'
import type { SharedCall } from '../shared/shared-call.js'
import type { CallSpeech } from './call-speech.js'
import type { CallToolRunner, CallTools } from './call-tools.js'
import type { CallerIntake } from './caller-intake.js'
import type { ModelBriefing } from './model-briefing.js'
import type { SecretKeys } from './secret-keys.js'
import type { WorkerContext } from './worker-context.js'
import type { ToolCallEvent } from './worker-door.js'

/** Things of one call that its parts work on. */
export interface WorkerThings {
  readonly start: CallStart
  readonly context: WorkerContext
  readonly shared: SharedCall
  readonly session: CallSession
  readonly backend: Backend
  /** The agent's voice on its way out. */
  readonly speech: CallSpeech
  readonly intake: CallerIntake
  /** The tools that run. */
  readonly tools: CallTools
  /** The model's instructions and tools now. */
  readonly briefing: ModelBriefing
  readonly keys: SecretKeys
  readonly services: PartServices
  /** Aborted at the end of the call. */
  readonly signal: AbortSignal
}

/** Services of the worker for one call, beside its start data. */
export interface PartServices {
  readonly speech: SpeechClient | null
  readonly tools: CallToolRunner
  /** Voice of the gateway's own phrases. */
  readonly voice: string
  /** A phrase of the agent's as a person recorded it, or in the voice of its backend, if it was spoken before. */
  readonly ownPhrase?: (text: string, language: string) => PhraseAudio | null
}

export type OutputHandlers = Handlers<CallOutput, [nowMs: number]>

/**
 * One thing that the worker's half of a call carries out. It declares what it takes; `worker-parts.ts` lists the parts. A part
 * knows no other part.
 */
export interface WorkerPart {
  /** Outputs of the session that it carries out. */
  readonly outputs?: OutputHandlers
  /** Messages of the main thread that it takes. */
  readonly messages?: Handlers<ToCall>
  /** Events of the backend that it hears, before the session does. */
  readonly events?: Handlers<BackendEvent>
  /** Tools that it runs itself, by name. Called in a microtask, not while the session is left. */
  readonly ownTools?: Readonly<Record<string, (callId: string, args: Readonly<Record<string, unknown>>) => void>>
  /** The call begins: the backend is connected next. */
  begin?(): void
  /** A DTMF digit came, as sound or from the carrier. */
  digit?(digit: string): void
  /** @returns a tool call of the backend's as the session gets it */
  toolCall?(event: ToolCallEvent): ToolCallEvent
  /** Once a tick of the call, after all else. */
  tick?(): void
  /** The call is over on this worker: it frees what it holds. */
  end?(): void
}

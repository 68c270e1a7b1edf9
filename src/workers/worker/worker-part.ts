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

/** Objects of one call that its parts use. */
export interface WorkerThings {
  readonly start: CallStart
  readonly context: WorkerContext
  readonly shared: SharedCall
  readonly session: CallSession
  readonly backend: Backend
  /** The agent's voice from the backend to the playout. */
  readonly speech: CallSpeech
  readonly intake: CallerIntake
  /** Tools that run now. */
  readonly tools: CallTools
  /** The model's present instructions and tools. */
  readonly briefing: ModelBriefing
  readonly keys: SecretKeys
  readonly services: PartServices
  /** Signal that is aborted at the end of the call. */
  readonly signal: AbortSignal
}

/** Services of the worker for one call, besides the call's start data. */
export interface PartServices {
  readonly speech: SpeechClient | null
  readonly tools: CallToolRunner
  /** Voice of the gateway's own phrases. */
  readonly voice: string
  /**
   * Returns an agent's phrase; null if there is no sound for it. The sound is a person's recording, or the backend's
   * own speech if the backend has spoken the phrase before.
   */
  readonly ownPhrase?: (text: string, language: string) => PhraseAudio | null
}

export type OutputHandlers = Handlers<CallOutput, [nowMs: number]>

/**
 * Part of the worker half of a call, responsible for one subject. It declares its outputs, messages and events;
 * `worker-parts.ts` lists the parts. Parts do not know each other.
 */
export interface WorkerPart {
  /** Handlers of the session outputs that this part carries out. */
  readonly outputs?: OutputHandlers
  /** Handlers of the main thread's messages to this part. */
  readonly messages?: Handlers<ToCall>
  /** Handlers of backend events. They run before the session gets the event. */
  readonly events?: Handlers<BackendEvent>
  /** Tools that the part runs itself, by name. They are called in a microtask, when the session has returned. */
  readonly ownTools?: Readonly<Record<string, (callId: string, args: Readonly<Record<string, unknown>>) => void>>
  /** Called when the call begins; the backend is connected afterwards. */
  begin?(): void
  /** Takes a DTMF digit, from its sound or from the carrier. */
  digit?(digit: string): void
  /** @returns the backend's tool call in the form that the session gets */
  toolCall?(event: ToolCallEvent): ToolCallEvent
  /** Called after all other work of a tick of the call. */
  tick?(): void
  /** Called when the call is over on this worker. The part then frees its resources. */
  end?(): void
}

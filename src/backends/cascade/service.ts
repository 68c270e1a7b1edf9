import type { BackendUsage } from '../../call/backend-events.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz, SampleRateHz } from '../../core/units.js'
import type { Pronunciation } from '../../speech/spoken/pronunciations.js'
import type { ToolSpec } from '../backend.js'
import type { Told } from '../told.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { Wishes } from '../wishes.js'
import type { HttpHosts } from './http-hosts.js'
import type { TurnSound } from './turn-sound.js'

/**
 * The contracts of a cascade's three services: `SpeechToText`, `LanguageModel` and `TextToSpeech`. The cascade handles
 * the turns, the conversation, the replay and the heard part of an answer. A service handles its protocol: connection,
 * framing, keepalive, error codes. A service never reconnects by itself. A method throws faults only if its comment
 * says so.
 */

/** Context of every service of one call. */
export interface ServiceContext {
  /** First words of fault messages, such as `cascade`. */
  readonly name: string
  /** Languages that the caller may speak, such as `sw`, `en`; the most likely language is first. Empty if not known. */
  readonly languages: readonly string[]
  /** Names that the caller is likely to say, in addition to the terms of the agent's file. Absent: no names. */
  readonly vocabulary?: readonly string[]
  /** Voice that the agent's file names; null: the service's default voice. */
  readonly voice: string | null
  /** Sample rate of the caller's audio in Hz. */
  readonly inputRateHz: SampleRateHz
  readonly legRateHz: LegRateHz
  readonly nowMs: Clock
  /** Reports the usage for which the service charges, after a request or a session. */
  readonly used: (usage: BackendUsage) => void
  /** Counts a message of the service that could not be read. */
  readonly malformed: () => void
  /**
   * Called before the service itself sends a further request to a model.
   * @returns false if the call has sent too many requests
   */
  readonly asks: () => boolean
  /** Counts a conversation that was too long for the model, so that its oldest half was left out. */
  readonly shortened: () => void
  /** Reports an optional field that the service has refused. The service's later requests omit the field. */
  readonly wishRefused: (field: string) => void
  /** Optional fields of this service's requests. Each service of the call has its own object. */
  readonly wishes: Wishes
  /** The HTTP services of this call. */
  readonly http: HttpHosts
}

/** One service for one part of the cascade. */
export interface ServiceFactory<Service> {
  /** Name of the service in messages and counters. */
  readonly service: string
  /** Name of the service's model in price lists. */
  readonly model: string
  /** Sample rates of caller audio that the service accepts. Absent: all rates. */
  readonly rates?: readonly SampleRateHz[]
  make(context: ServiceContext): Service
}

/** Methods of all services. */
export interface ServiceLife {
  /**
   * Makes the service ready; called once, first.
   * @param probe  true if the phone call is just beginning, so that there is time to test the API key; false if the
   * caller waits
   * @throws ServiceFault, or the reason of an aborted signal
   */
  open(signal: AbortSignal, probe: boolean): Promise<void>
  /** Announces that the service will be used in a moment, so that the service opens closed connections again. */
  warm?(): void
  /** Closes the service. Idempotent. No event follows. */
  close(): void
}

export interface Word {
  readonly text: string
  /** Language, such as `sw`. */
  readonly language?: string
}

/**
 * Values with which a recogniser states how certain the words are, as means over the turn. A value is absent if the
 * recogniser does not report it.
 */
export interface Evidence {
  /** Probability from 0 to 1 that the turn contains no speech. */
  readonly noSpeech?: number
  /** Mean of the logarithms of the tokens' probabilities; at most 0. */
  readonly logprob?: number
  /** Ratio of the text's characters to the bytes of the compressed text. */
  readonly compression?: number
}

/** Recognised words of a turn so far. */
export interface Heard {
  /** All words, including words that may still change. */
  readonly text: string
  /**
   * The text word by word; absent if the service does not report words. A language is present for all words or for no
   * word.
   */
  readonly words?: readonly Word[]
  readonly evidence?: Evidence
}

export interface SttListener {
  /** Reports new or changed words of the turn. */
  words(turn: number, heard: Heard): void
  /**
   * Reports the words of a finished part of a turn. Used by services that cannot recognise speech while it is spoken.
   */
  part(turn: number, text: string): void
  /** Reports the text of a finalized turn; '' if the turn has no words. */
  final(turn: number, heard: Heard): void
  /** @param turn the turn that will get no `final`; null if the recogniser and all its open turns are lost */
  failed(turn: number | null, fault: VendorFault): void
}

/**
 * A recogniser. Turns have rising numbers and do not overlap. A turn may begin before the `final` of the previous turn.
 */
export interface SpeechToText extends ServiceLife {
  /**
   * Texts that the recogniser got in advance. Some recognisers return these texts as recognised words. If a recognised
   * text contains only these texts, the caller did not speak it. Absent: no texts.
   */
  readonly told?: Told
  listen(listener: SttListener): void
  /**
   * Starts a turn, because the caller begins to speak. `sound` contains the samples of `audio`, for services that need
   * the whole turn at once.
   */
  begin(turn: number, sound: TurnSound): void
  /** Adds samples of the turn that began last; copies them before the method returns. Not called between turns. */
  audio(pcm: Int16Array): void
  /**
   * Ends a turn. The caller stopped speaking `silenceMs` before the end of the audio. Exactly one `final` or `failed`
   * follows, even if the service sends no answer.
   */
  finalize(turn: number, silenceMs: number): void
  /** Discards the turn as noise. No event follows for this turn. */
  abandon(turn: number): void
}

// The conversation in the form of `/chat/completions`. For other services it is converted to their forms.

interface ToolCallMessage {
  readonly id: string
  readonly type: 'function'
  readonly function: { readonly name: string; readonly arguments: string }
}

export type ChatMessage =
  | { readonly role: 'system' | 'user'; readonly content: string }
  | { readonly role: 'assistant'; readonly content: string | null; readonly tool_calls?: ToolCallMessage[] }
  | { readonly role: 'tool'; readonly tool_call_id: string; readonly content: string }

export interface ModelRequest {
  readonly messages: ChatMessage[]
  readonly tools: readonly ToolSpec[]
  /** Language of the call, such as `sw-KE`; absent or empty if not known. */
  readonly language?: string
  /**
   * Seed with which a service gives the same answer again, if the service supports seeds. Some services ignore the
   * seed. Absent: no seed.
   */
  readonly seed?: number
}

/** A piece of a tool call. The arguments may come in fragments. */
export interface CallPiece {
  /** The service's index of the tool call; the first index is 0 or 1. Absent if the tool call comes in one piece. */
  readonly index?: number
  readonly id?: string
  readonly function?: { readonly name?: string; readonly arguments?: string }
  /** Data that must be sent back to the service with the tool call, such as signatures of the model's reasoning. */
  readonly extra_content?: Readonly<Record<string, unknown>>
}

/** A piece of a model's answer, as it arrives. */
export interface ModelDelta {
  readonly text?: string
  readonly calls?: readonly CallPiece[]
  /** Reason why the service ended the answer here: its limit of length, or a filter. */
  readonly cut?: 'length' | 'filter'
}

export interface LanguageModel extends ServiceLife {
  /** Requests an answer. If `signal` is aborted, the request ends. @throws ServiceFault */
  answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta>
}

/** A piece of spoken text and its time from the beginning of the utterance, in milliseconds. */
export interface Mark {
  readonly text: string
  readonly fromMs: number
  readonly toMs: number
}

/** Listener to one utterance. No event follows `done`, `failed` or `cancel`. */
export interface SpeechListener {
  /** Receives samples. The memory is valid only until this method returns. */
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz): void
  /** Reports that the next samples belong to the text with this index. Only for voices with input `clauses`. */
  clause(index: number): void
  /** Receives the next spoken words or characters, with spaces. They may differ from the written text. */
  marks(marks: readonly Mark[]): void
  /** Reports that the last sample was delivered. */
  done(): void
  /** @param lost true if the connection and all its utterances are lost */
  failed(fault: VendorFault, lost: boolean): void
}

/** One utterance that is being spoken: an answer, or a fixed text. */
export interface Utterance {
  /** @param piece the next words; a space follows them if the utterance continues */
  text(piece: string): void
  /** Ends the text of the utterance. */
  end(): void
  /**
   * Cancels the utterance at once; no event follows. Also allowed after `done`, while the sound is still playing.
   * @param playedMs milliseconds of the utterance's sound that the caller heard; null if not known
   * @param heard called later with the spoken words, by services that report them
   */
  cancel(playedMs: number | null, heard?: (text: string) => void): void
}

/** Voice, speed and language of an utterance. */
export interface SpeechManner {
  /** Language, such as `sw`; empty if not known. */
  readonly language: string
  /**
   * The agent's voice in this language. Absent: the session's voice. Only services that can change the voice between
   * utterances use this field.
   */
  readonly voice?: string
  /**
   * Factor for the voice's own speed; 1 for the normal speed. A service with a narrower range uses the nearest speed.
   */
  readonly speed: number
  /** Names that the voice needs in another spelling. The texts already contain this spelling. Absent: no names. */
  readonly pronunciations?: readonly Pronunciation[]
}

/**
 * @returns the speed to request from a service; 1 if the service refuses other speeds
 * @param own  speed in the agent's options for the service
 */
export function askedSpeed(
  wishes: Wishes,
  own: number | undefined,
  manner: SpeechManner,
  [slowest, fastest]: readonly [slowest: number, fastest: number],
): number {
  const asked = Math.min(fastest, Math.max(slowest, (own ?? 1) * manner.speed))
  return wishes.of({ speed: asked === 1 ? undefined : asked }).speed ?? 1
}

export interface TextToSpeech extends ServiceLife {
  /**
   * Kind of text that the voice accepts. `clauses`: each text is spoken separately. `words`: texts of any length form
   * continuous speech. `sentences`: texts form continuous speech, but each text must be a whole sentence or clause.
   */
  readonly input: 'clauses' | 'sentences' | 'words'
  /**
   * Sets the listener for the loss of a connection between utterances. Absent if the service has no permanent
   * connection.
   */
  lost?(listener: (fault: VendorFault) => void): void
  /** Prepares the utterance, so that the first text can be spoken at once. */
  begin(manner: SpeechManner, listener: SpeechListener): Utterance
}

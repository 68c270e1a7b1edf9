import type { BackendUsage } from '../../call/backend-events.js'
import type { Clock } from '../../core/clock.js'
import type { LegRateHz, SampleRateHz } from '../../core/units.js'
import type { Pronunciation } from '../../speech/spoken/pronunciations.js'
import type { ToolSpec } from '../backend.js'
import type { Told } from '../told.js'
import type { VendorFault } from '../transport/vendor-fault.js'
import type { HttpHosts } from './http-hosts.js'
import type { TurnSound } from './turn-sound.js'

/**
 * The contracts of a cascade's three services: `SpeechToText`, `LanguageModel` and `TextToSpeech`. The cascade owns turns,
 * the conversation, replay and what counts as heard; a service owns its wire: connection, framing, keepalive, the vendor's
 * error codes. It never connects anew by itself, and reports no fault by throwing except where it says so.
 */

/** Context of every service of one call. */
export interface ServiceContext {
  /** Begins the text of faults: `cascade`. */
  readonly name: string
  /** Languages that the caller may speak, the most likely first: `sw`, `en`. Empty: not known. */
  readonly languages: readonly string[]
  /** Names that the caller is likely to say, beside the terms of the agent's file. Absent: none. */
  readonly vocabulary?: readonly string[]
  /** The voice that the agent names; null: the service's default. */
  readonly voice: string | null
  /** Rate of the caller's samples. */
  readonly inputRateHz: SampleRateHz
  readonly legRateHz: LegRateHz
  readonly nowMs: Clock
  /** Called with the usage that a request or a session is charged for. */
  readonly used: (usage: BackendUsage) => void
  /** Counts a message of the service that could not be read. */
  readonly malformed: () => void
  /** Counts a conversation whose oldest half was left out, because it was too long for the model. */
  readonly shortened: () => void
  /** Counts an optional field that a model refused, and that its later requests leave out. */
  readonly wishRefused: () => void
  /** The HTTP services of this call. */
  readonly http: HttpHosts
}

/** One service for one part of the cascade. */
export interface ServiceFactory<Service> {
  /** In messages and counters: `soniox`. */
  readonly service: string
  /** Its model, as it is priced. */
  readonly model: string
  /** Rates of the caller's samples that it takes. Absent: any. */
  readonly rates?: readonly SampleRateHz[]
  make(context: ServiceContext): Service
}

/** Methods of all services. */
export interface ServiceLife {
  /**
   * Makes the service ready; called once, first.
   * @param probe  the call begins, and nobody waits yet: find out whether the key is good. False: be ready soon
   * @throws ServiceFault, or the reason of an aborted signal
   */
  open(signal: AbortSignal, probe: boolean): Promise<void>
  /** The service will be used in a moment: open what was closed in the meantime. */
  warm?(): void
  /** Idempotent. No event follows. */
  close(): void
}

export interface Word {
  readonly text: string
  /** `sw` */
  readonly language?: string
}

/** How sure a recogniser is that there were words, as a mean over the turn; a figure that it does not tell is absent. */
export interface Evidence {
  /** Probability that nobody spoke, 0 to 1. */
  readonly noSpeech?: number
  /** Mean logarithm of the tokens' probabilities, 0 at most. */
  readonly logprob?: number
  /** Characters to bytes of the compressed text. */
  readonly compression?: number
}

/** Recognised words of a turn so far. */
export interface Heard {
  /** All words, the uncertain ones too. */
  readonly text: string
  /** The same word by word; absent where the service does not tell. Each word has a language, or none has. */
  readonly words?: readonly Word[]
  readonly evidence?: Evidence
}

export interface SttListener {
  /** More words of a turn, or other ones than before. */
  words(turn: number, heard: Heard): void
  /** Words of a part of a turn, of services that recognise no running speech. */
  part(turn: number, text: string): void
  /** The text of a finalized turn; empty where there was none. */
  final(turn: number, heard: Heard): void
  /**
   * @param turn  the turn that will have no final; null: the recogniser is lost, and all its open turns
   */
  failed(turn: number | null, fault: VendorFault): void
}

/** Turns are numbered upwards and do not overlap, but one may begin before the final of the one before has come. */
export interface SpeechToText extends ServiceLife {
  /** A text of nothing else is not the caller's. Absent: nothing. */
  readonly told?: Told
  listen(listener: SttListener): void
  /** The caller speaks. `sound` holds what `audio` is given, for services that want it at once. */
  begin(turn: number, sound: TurnSound): void
  /** Samples of the turn that began last; copied before return. Nothing comes between turns. */
  audio(pcm: Int16Array): void
  /**
   * The caller stopped, `silenceMs` before the end of the audio. Exactly one `final` or `failed` follows, even if the
   * service says nothing.
   */
  finalize(turn: number, silenceMs: number): void
  /** The turn was noise: no event of it follows. */
  abandon(turn: number): void
}

// The conversation in the shape of OpenAI's chat completions, which the other services' shapes are made from.

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
  /** Language of the call: `sw-KE`; absent or empty: not known. */
  readonly language?: string
  /** So that the same request has the same answer, as far as the service can; Anthropic's takes none. Absent: none. */
  readonly seed?: number
}

/** A piece of a tool call: arguments come in fragments. */
export interface CallPiece {
  /** The service's number of the call, from 0 or from 1; absent for a call that comes whole. */
  readonly index?: number
  readonly id?: string
  readonly function?: { readonly name?: string; readonly arguments?: string }
  /** Data that the service wants back with the call: signatures of its reasoning. */
  readonly extra_content?: Readonly<Record<string, unknown>>
}

/** A piece of a model's answer, as it arrives. */
export interface ModelDelta {
  readonly text?: string
  readonly calls?: readonly CallPiece[]
  /** The service ended the answer here: it is at its longest, or a filter refused the rest. */
  readonly cut?: 'length' | 'filter'
}

export interface LanguageModel extends ServiceLife {
  /** An abort of `signal` ends the request. @throws ServiceFault */
  answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta>
}

/** A piece of spoken text and when it sounds, since the beginning of its utterance. */
export interface Mark {
  readonly text: string
  readonly fromMs: number
  readonly toMs: number
}

/** Listener to one utterance; nothing comes after `done`, `failed` or `cancel`. */
export interface SpeechListener {
  /** The memory is valid only during the call. */
  audio(pcm: Int16Array, sampleRateHz: SampleRateHz): void
  /** Clauses only: the samples that follow are those of the `index`-th text. */
  clause(index: number): void
  /** The words or characters that follow those of the call before, with spaces; as they are spoken, which may differ from the text. */
  marks(marks: readonly Mark[]): void
  /** The last sample was delivered. */
  done(): void
  /** @param lost  the connection is gone, and all of its utterances */
  failed(fault: VendorFault, lost: boolean): void
}

/** One utterance that is being spoken: an answer, or a fixed text. */
export interface Utterance {
  /** @param piece  the next words; with the space that follows them, unless they end the utterance */
  text(piece: string): void
  /** No text follows. */
  end(): void
  /**
   * Takes effect at once: no event follows. Also after `done`, while its sound is being played.
   * @param playedMs  how much of its sound the caller heard; null where that is not known
   * @param heard  called later, by services that know them, with the words that sounded until then
   */
  cancel(playedMs: number | null, heard?: (text: string) => void): void
}

/** How an utterance is spoken. */
export interface SpeechManner {
  /** `sw`; empty: not known. */
  readonly language: string
  /** The agent's voice in that language; absent: the session's. For services that can change it between utterances. */
  readonly voice?: string
  /** Times the voice's own speed; 1 is that speed. A service whose range is narrower takes the nearest. */
  readonly speed: number
  /** The service has refused what is only wished: it gets no speed, and speaks at its own. Absent: false. */
  readonly plain?: boolean
  /** Names that are said in another way than they are written; they are in the texts already. Absent: none. */
  readonly pronunciations?: readonly Pronunciation[]
}

/** The speed that a service is asked for. @param own  that of the agent's options for the service */
export function askedSpeed(
  own: number | undefined,
  { speed, plain = false }: SpeechManner,
  [slowest, fastest]: readonly [slowest: number, fastest: number],
): number {
  return plain ? 1 : Math.min(fastest, Math.max(slowest, (own ?? 1) * speed))
}

export interface TextToSpeech extends ServiceLife {
  /**
   * `clauses`: each text is spoken by itself. `words`: texts of any length are one flow of speech. `sentences`: they are
   * one flow too, but each is to be a whole sentence or clause.
   */
  readonly input: 'clauses' | 'sentences' | 'words'
  /** Sets the listener for a connection that is lost while nothing is spoken; absent where there is none. */
  lost?(listener: (fault: VendorFault) => void): void
  /** True if a request in this manner has parts that are only wished; absent: none has. */
  wishes?(manner: SpeechManner): boolean
  /** Prepares the utterance, so that its first text is spoken at once. */
  begin(manner: SpeechManner, listener: SpeechListener): Utterance
}

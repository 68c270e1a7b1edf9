import { type DoubleOptions, type DoubleSession, SocketDouble } from './double.js'

export interface ServiceDoubleOptions extends DoubleOptions {
  /** Delay in ms of the messages after the end of a turn. */
  readonly finalMs?: number
  /** Recognises the speech; used instead of the script. The text is empty for speech without words. */
  readonly understand?: (pcm: Int16Array, sampleRateHz: number) => Promise<string>
  /**
   * With `understand`: duration of speech in ms after which the words so far are sent. They are also sent in each
   * pause. Default: 600 ms.
   */
  readonly interimMs?: number
  /** Delay in ms of the first sound of an utterance after its first text. */
  readonly firstSoundMs?: number
  /** Time in ms between two pieces of 100 ms, unless the script sets another time. Default: 0, all at once. */
  readonly paceMs?: number
  /** @returns the language of a word, for services that report languages. Default: the first of the language hints */
  readonly languageOf?: (word: string) => string
}

/** Deliberate faults of a recogniser or a voice. */
export type ServiceFaults = typeof NO_SERVICE_FAULTS

export const NO_SERVICE_FAULTS = {
  /** True: the end of a turn gets no answer. Some services behave like this after very little audio. */
  noAnswer: false,
  /** True: the answer to the end of a turn is empty, although words arrived before. */
  emptyAnswer: false,
  /** True: the recogniser sends no words. */
  deaf: false,
  /** Number of reported words of a turn after which the connection breaks. It breaks only once. */
  breaksAfterWords: null as number | null,
  /** Duration of sound in ms after which the voice's connection breaks. It breaks only once. */
  breaksAfterSoundMs: null as number | null,
  /** True: the sound of a cancelled utterance continues until the cancel is acknowledged. */
  lateSound: false,
  /** True: the voice accepts texts and sends no sound. */
  mute: false,
  /** True: the voice accepts texts, sends silence, and reports the texts as spoken. */
  unspoken: false,
  /** True: the voice does not answer a cancel. */
  noAcknowledgement: false,
}

/** A vendor's recogniser, voice, or both, on loopback. */
export abstract class ServiceDouble<Session extends DoubleSession = DoubleSession> extends SocketDouble<Session> {
  readonly options: ServiceDoubleOptions
  readonly faults: ServiceFaults = { ...NO_SERVICE_FAULTS }
  callerAudioMs = 0
  /** Duration in ms of the audio that was only counted, because its turn was too long. */
  unheardMs = 0
  /** Texts of the utterances that have ended. */
  readonly spoken: string[] = []
  cancelled = 0
  keepalives = 0

  constructor(options: ServiceDoubleOptions = {}) {
    super(options)
    this.options = options
  }
}

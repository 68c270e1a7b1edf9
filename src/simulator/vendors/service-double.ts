import { type DoubleOptions, type DoubleSession, SocketDouble } from './double.js'

export interface ServiceDoubleOptions extends DoubleOptions {
  /** Delay of what follows the end of a turn. */
  readonly finalMs?: number
  /** Understands what is said, in place of the script. Empty where there are no words. */
  readonly understand?: (pcm: Int16Array, sampleRateHz: number) => Promise<string>
  /** Delay of the first sound of an utterance after its first text. */
  readonly firstSoundMs?: number
  /** Between two pieces of 100 ms, unless the script says otherwise. Default: 0 ms, all at once. */
  readonly paceMs?: number
  /** The language that Soniox tells of a word. Default: the first of the hints. */
  readonly languageOf?: (word: string) => string
}

/** Deliberate faults of a recogniser or a voice. */
export type ServiceFaults = typeof NO_SERVICE_FAULTS

export const NO_SERVICE_FAULTS = {
  /** The end of a turn is not answered, as services do with little audio. */
  noAnswer: false,
  /** The answer to the end of a turn has no words, although words came before. */
  emptyAnswer: false,
  /** The recogniser says nothing at all. */
  deaf: false,
  /** The connection breaks when this many words of a turn were reported; once. */
  breaksAfterWords: null as number | null,
  /** The voice's connection breaks after this much sound; once. */
  breaksAfterSoundMs: null as number | null,
  /** Sound of a cancelled utterance goes on until its acknowledgement. */
  lateSound: false,
  /** The voice takes texts and says nothing. */
  mute: false,
  /** It takes texts, makes no sound, and says that they were spoken. */
  unspoken: false,
  /** It does not answer a cancel. */
  noAcknowledgement: false,
}

/** A vendor's recogniser, voice, or both, on loopback. */
export abstract class ServiceDouble<Session extends DoubleSession = DoubleSession> extends SocketDouble<Session> {
  readonly options: ServiceDoubleOptions
  readonly faults: ServiceFaults = { ...NO_SERVICE_FAULTS }
  callerAudioMs = 0
  /** Audio of turns that were too long. */
  unheardMs = 0
  /** Texts of the utterances that are over. */
  readonly spoken: string[] = []
  cancelled = 0
  keepalives = 0

  constructor(options: ServiceDoubleOptions = {}) {
    super(options)
    this.options = options
  }
}

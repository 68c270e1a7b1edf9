import type { Pronunciation } from './spoken/pronunciations.js'
import type { MessagePort } from 'node:worker_threads'
import { GatewayError, type ErrorCode } from '../core/errors.js'
import type { SampleRateHz } from '../core/units.js'

/**
 * The messages between a call's media worker and a speech worker, over the call's MessagePort. The client chooses ids.
 * Samples are transferred; other data is structured-cloned.
 */

/** Sample rate of the recogniser's telephone model, which is CMU's. */
export const RECOGNISER_RATE_HZ = 8000

/**
 * True if speech was refused because other utterances use the decoders or the voice. The request may be tried again.
 */
export const isSpeechBusy = (error: unknown): boolean => error instanceof GatewayError && error.code === 'SPEECH_BUSY'

/**
 * Reasons why speech was not recognised. `queue-full`: too many utterances waited for a decoder. `late`: no decoder
 * became free in time. `wordless`: the utterance had no words for a long time, and another caller needed its decoder.
 * `first-digit`: the first digit of a number was not recognised, because no decoder was free.
 */
export const SPEECH_REFUSALS = ['queue-full', 'late', 'wordless', 'first-digit'] as const
export type SpeechRefusal = (typeof SPEECH_REFUSALS)[number]

/**
 * A word that is not in the recogniser's dictionary, and its pronunciation in ARPAbet phones, for example `M AH K OW`.
 */
export type DictionaryEntry = readonly [word: string, phones: string]

/**
 * A second recognition of an utterance that may be a number. If no decoder is free for it, the first result is used.
 *
 * If the caller may say any number, an utterance of two or more words that are all digits is decoded again by
 * `grammar`. It is decoded in one piece, with its own mean sound. If the second result has other digits, the result of
 * the utterance is empty. This needs 27 ms for a second of speech.
 *
 * If the caller may say only known numbers, an uncertain utterance is decoded again with wider beams. If at least one
 * of the two results has two digits or more, the second result is used. This needs 1.6 times the time of the first
 * recognition, for at most 6 s of speech.
 */
export interface DigitCheck {
  /** JSGF document of all numbers; null if the caller may say only known numbers. */
  readonly grammar: string | null
  /** Words that are digits. */
  readonly digits: readonly string[]
}

/** Recognised words of one utterance. */
export interface Recognised {
  /** Words of the grammar; empty if nothing was recognised. */
  readonly text: string
  /** Match between the sound and these words, 0 to 1; absent means 1. */
  readonly fit?: number
  /** Duration in ms of each word of `text`; absent if unknown. */
  readonly wordMs?: readonly number[]
}

/** Recognised words so far. */
export interface PartlyRecognised extends Recognised {
  /** Duration in ms of the part of the utterance that the words cover. */
  readonly ofMs: number
}

export type SpeechRequest =
  /** Speaks `text`, sentence by sentence. The answer is `speech` for each sentence, then `spoken` or `failed`. */
  | {
      readonly type: 'speak'
      readonly id: number
      readonly text: string
      readonly voice: string
      readonly pronunciations: readonly Pronunciation[]
    }
  /** Stops the speech with this `id`. No further message about it follows. */
  | { readonly type: 'cancel'; readonly id: number }
  /**
   * Synthesises the sentences of `text` into the prompt cache while the worker is idle. This message gets no answer.
   */
  | {
      readonly type: 'prepare'
      readonly text: string
      readonly voice: string
      readonly pronunciations: readonly Pronunciation[]
    }
  /**
   * Reports that the caller started to speak. The answers are `partial` during the utterance, then `heard` or `failed`
   * after `utterance-end`.
   */
  | {
      readonly type: 'utterance-start'
      readonly id: number
      readonly grammar: string
      readonly words: readonly DictionaryEntry[]
      /**
       * True: the utterance gets a decoder only if one is free, and only until another utterance needs the decoder. If
       * no decoder is free, or if it is lost, the answer is SPEECH_BUSY.
       */
      readonly spare: boolean
      readonly check: DigitCheck | null
    }
  /** Samples of the current utterance, 8 kHz mono. */
  | { readonly type: 'frame'; readonly id: number; readonly pcm: Int16Array }
  | { readonly type: 'utterance-end'; readonly id: number }
  /** Reports that the result is no longer needed. No further message with this `id` follows. */
  | { readonly type: 'utterance-abandon'; readonly id: number }

export type SpeechReply =
  /**
   * First message of a session whose utterances are recognised by another thread. `port` leads to that thread; it
   * accepts all requests except requests to speak.
   */
  | { readonly type: 'recogniser'; readonly port: MessagePort }
  | {
      readonly type: 'speech'
      readonly id: number
      readonly pcm: Int16Array
      readonly sampleRateHz: SampleRateHz
      /** The sentence as it was written, before its figures became words. */
      readonly text: string
      readonly last: boolean
    }
  | { readonly type: 'spoken'; readonly id: number }
  /** Recognised words so far, about three times in a second of the utterance; before `heard`. */
  | ({ readonly type: 'partial'; readonly id: number } & PartlyRecognised)
  | ({ readonly type: 'heard'; readonly id: number } & Recognised)
  | { readonly type: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }

/** `workerData` of a speech worker. */
export interface SpeechWorkerOptions {
  /** False: the thread only recognises, and does not load the voice. */
  readonly speaks: boolean
  /** Number of decoders. Each needs about 28 MB and 190 ms. They are created when a session or a probe needs them. */
  readonly decoders: number
  /** Counts of refusals in all threads of the pool, Int32. They are in the order of `SPEECH_REFUSALS`. */
  readonly refusals: SharedArrayBuffer
  /** Memory for samples in the prompt cache, in bytes. */
  readonly promptCacheBytes: number
  /** `homeCountry` of the main thread. */
  readonly country: string
}

/**
 * One task of the speech pool: a call's session, which lasts until its port closes, or a probe. `decoders`: true if the
 * decoders are created now; false if they are created when a caller first speaks.
 */
export type SpeechTask =
  | { readonly type: 'session'; readonly port: MessagePort; readonly decoders: boolean }
  | { readonly type: 'probe'; readonly decoders: boolean }

/**
 * Result of a task. It is null for a session. For a probe it is the worker's counters, when the models are in memory.
 */
export type SpeechTaskResult = SpeechWorkerStats | null

/** One speech worker's counters, as a probe returns them. */
export interface SpeechWorkerStats {
  /**
   * Number of sessions. `decodersLeased`: number of decoders in use. `utterancesWaiting`: number of utterances that
   * wait for a decoder.
   */
  readonly sessions: number
  readonly decodersLeased: number
  readonly utterancesWaiting: number
  readonly utterancesRefused: number
  readonly sentencesMade: number
  readonly sentencesFromCache: number
  readonly samplesDropped: number
}

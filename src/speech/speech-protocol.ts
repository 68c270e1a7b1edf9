import type { Pronunciation } from './spoken/pronunciations.js'
import type { MessagePort } from 'node:worker_threads'
import type { ErrorCode } from '../core/errors.js'
import type { SampleRateHz } from '../core/units.js'

/**
 * The messages between a call's media worker and a speech worker, over the call's MessagePort. Ids are chosen by
 * the client and are unique within a port. Everything is structured-cloned; samples are transferred.
 */

/** Rate of the recogniser's model, CMU's telephone model. */
export const RECOGNISER_RATE_HZ = 8000

/** A word that the recogniser's dictionary lacks, and its pronunciation in ARPAbet phones, for example `M AH K OW`. */
export type DictionaryEntry = readonly [word: string, phones: string]

/**
 * A second reading of an utterance that may be a number. It needs a free decoder; without one the first reading counts.
 *
 * Where any number may be said: of an utterance whose words are all digits, two or more, by `grammar`, in one piece, with
 * the mean of its own sound. Where it finds other digits, nothing was recognised. Takes 27 ms for a second of speech.
 *
 * Where only known numbers may be said, of an utterance that is unsure: with wider beams. Where either reading has
 * two digits or more, the second one counts. Takes 1.6 times as long as the first, of 6 s at most.
 */
export interface DigitCheck {
  /** A JSGF document; null: only known numbers may be said. */
  readonly grammar: string | null
  /** The words for the digits. */
  readonly digits: readonly string[]
}

/** Recognised words of one utterance. */
export interface Recognised {
  /** Words of the grammar; empty when nothing was recognised. */
  readonly text: string
  /** How well the sound fits these words, 0 to 1; missing means 1. */
  readonly fit?: number
  /** How long each word of `text` lasts, in milliseconds; missing where that is not known. */
  readonly wordMs?: readonly number[]
}

/** Recognised words so far. */
export interface PartlyRecognised extends Recognised {
  /** How much of the utterance it is of, in milliseconds. */
  readonly ofMs: number
}

export type SpeechRequest =
  /** Speak `text`, sentence by sentence. Answered by `speech` for each sentence, then `spoken` or `failed`. */
  | {
      readonly type: 'speak'
      readonly id: number
      readonly text: string
      readonly voice: string
      readonly pronunciations: readonly Pronunciation[]
    }
  /** Stop speaking; nothing of `id` follows. */
  | { readonly type: 'cancel'; readonly id: number }
  /** Put the sentences of `text` into the prompt cache when the worker is idle. No answer. */
  | {
      readonly type: 'prepare'
      readonly text: string
      readonly voice: string
      readonly pronunciations: readonly Pronunciation[]
    }
  /**
   * The caller started to speak. Answered by `partial` while it lasts, then by `heard` or `failed`, after
   * `utterance-end`.
   */
  | {
      readonly type: 'utterance-start'
      readonly id: number
      readonly grammar: string
      readonly words: readonly DictionaryEntry[]
      /** Only if a decoder is free, else SPEECH_BUSY, and until another utterance needs it: its words are then empty. */
      readonly spare: boolean
      readonly check: DigitCheck | null
    }
  /** 8 kHz mono samples of the current utterance. */
  | { readonly type: 'frame'; readonly id: number; readonly pcm: Int16Array }
  | { readonly type: 'utterance-end'; readonly id: number }
  /** The result is no longer wanted; nothing of `id` follows. */
  | { readonly type: 'utterance-abandon'; readonly id: number }

export type SpeechReply =
  | {
      readonly type: 'speech'
      readonly id: number
      readonly pcm: Int16Array
      readonly sampleRateHz: SampleRateHz
      /** The sentence as written, before it was spelt out for the voice. */
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
  /** Decoders, about 28 MB and 190 ms each; created when a session or a probe wants them. */
  readonly decoders: number
  /** Samples that the prompt cache may hold, in bytes. */
  readonly promptCacheBytes: number
  /** `homeCountry` of the main thread. */
  readonly country: string
}

/**
 * One task of the speech pool: either a call's session, which lasts until its port closes, or a probe. `decoders`: the
 * decoders are created now; else when a caller first speaks.
 */
export type SpeechTask =
  | { readonly type: 'session'; readonly port: MessagePort; readonly decoders: boolean }
  | { readonly type: 'probe'; readonly decoders: boolean }

/** A session resolves with null, a probe with the worker's counters, once the models that it wants are in memory. */
export type SpeechTaskResult = SpeechWorkerStats | null

/** One speech worker's counters, as a probe returns them. */
export interface SpeechWorkerStats {
  /** Sessions, decoders in use, and utterances that wait for one: gauges. */
  readonly sessions: number
  readonly decodersLeased: number
  readonly utterancesWaiting: number
  readonly utterancesRefused: number
  readonly sentencesMade: number
  readonly sentencesFromCache: number
  readonly samplesDropped: number
}

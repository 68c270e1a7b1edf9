import { setImmediate } from 'node:timers/promises'
import type { MessagePort } from 'node:worker_threads'
import { GatewayError, messageOf } from '../core/errors.js'
import { SPEECH_SAYINGS_MAX, SPEECH_UTTERANCES_PER_CALL_MAX, SPEECH_UTTERANCE_SAMPLES_MAX } from '../core/limits.js'
import { samplesToMs } from '../core/units.js'
import { joined } from '../media/pcm.js'
import type { DecoderRequest, DecoderSet, LeasedDecoder } from './decoder-set.js'
import { LEVEL_SAMPLES, amplified, gainOf } from './level.js'
import { RECOGNISER_RATE_HZ, isSpeechBusy } from './speech-protocol.js'
import type { DictionaryEntry, DigitCheck, Recognised, SpeechReply, SpeechRequest } from './speech-protocol.js'
import type { Synthesiser } from './synthesiser.js'

/**
 * Maximum time in ms that an utterance waits for a decoder after the utterance's end. After this time the agent tells
 * the caller that the words were not understood.
 */
const DECODER_LATE_MS = 2000

/** Decoders and voice that all sessions of one speech worker share. */
export interface SpeechEngine {
  readonly decoders: DecoderSet
  /** Voice; null in a thread that only recognises. */
  readonly synthesiser: Synthesiser | null
  /**
   * Number of samples that were dropped, in all sessions. They belonged to no utterance, or came after an utterance's
   * maximum duration.
   */
  samplesDropped: number
}

/**
 * One call in a speech worker. Passes the requests from its port to the shared decoders and the shared synthesiser, and
 * passes their results back. When the port closes, it releases its decoders and its speech.
 */
export class SpeechSession {
  readonly #port: MessagePort
  readonly #engine: SpeechEngine
  readonly #utterances = new Map<number, Utterance>()
  readonly #sayings = new Map<number, () => void>()
  #closed = false
  /** Resolves when the port has closed and everything is released. */
  readonly over: Promise<void>

  constructor(port: MessagePort, engine: SpeechEngine) {
    this.#port = port
    this.#engine = engine
    port.on('message', (request: SpeechRequest) => {
      try {
        this.#receive(request)
      } catch {
        // An uncaught exception would end the worker with all its sessions. With this handler, only this call loses its
        // session.
        port.close()
      }
    })
    this.over = new Promise((resolve) => {
      port.once('close', () => {
        this.#release()
        resolve()
      })
    })
  }

  #release(): void {
    this.#closed = true
    for (const stop of this.#sayings.values()) stop()
    this.#sayings.clear()
    for (const utterance of [...this.#utterances.values()]) this.#drop(utterance)
  }

  #reply(message: SpeechReply, transfer: ArrayBuffer[] = []): void {
    if (!this.#closed) this.#port.postMessage(message, transfer)
  }

  #fail(id: number, error: unknown): void {
    const code = error instanceof GatewayError ? error.code : 'SPEECH_FAULT'
    this.#reply({ type: 'failed', id, code, message: messageOf(error) })
  }

  #drop(utterance: Utterance): void {
    this.#utterances.delete(utterance.id)
    utterance.backlog = []
    utterance.whole = []
    clearTimeout(utterance.late)
    utterance.request.cancel()
    utterance.lease?.release()
    utterance.lease = null
  }

  #start({ id, grammar, words, spare, check }: Extract<SpeechRequest, { type: 'utterance-start' }>): void {
    if (spare && this.#engine.decoders.isSingle) {
      this.#reply({ type: 'heard', id, text: '' })
      return
    }
    const request = this.#engine.decoders.request(grammar, words, { spare })
    const utterance: Utterance = {
      id,
      spare,
      request,
      late: undefined,
      lease: null,
      backlog: [],
      gain: null,
      samples: 0,
      partialAtSamples: 0,
      decoded: 0,
      ended: false,
      grammar,
      words,
      check,
      whole: [],
    }
    this.#utterances.set(id, utterance)
    request.lease.then(
      (lease) => {
        if (this.#utterances.get(id) !== utterance) {
          lease.release()
          return
        }
        clearTimeout(utterance.late)
        utterance.lease = lease
        if (utterance.ended) this.#finish(utterance)
        else this.#decodeBacklog(utterance)
      },
      (error: unknown) => {
        if (this.#utterances.get(id) !== utterance) return
        this.#utterances.delete(id)
        clearTimeout(utterance.late)
        this.#fail(id, spare && isSpeechBusy(error) ? this.#engine.decoders.refused('first-digit') : error)
      },
    )
  }

  /** Waits for a decoder if the utterance has ended without one. */
  #awaitDecoder(utterance: Utterance): void {
    const { decoders } = this.#engine
    const wait = (): void => {
      if (utterance.lease !== null || !this.#isWanted(utterance)) return
      utterance.late = setTimeout(() => {
        if (!this.#isWanted(utterance)) return
        this.#drop(utterance)
        this.#fail(utterance.id, decoders.refused('late'))
      }, DECODER_LATE_MS).unref()
    }
    // The wait begins when the decoders have been created. Before that, no other utterance occupies them.
    decoders.prepare().then(wait, wait)
  }

  /** True if another caller got the utterance's decoder. The utterance has then ended. */
  #lostDecoder(utterance: Utterance): boolean {
    if (utterance.lease?.isTaken !== true) return false
    const error = this.#engine.decoders.refused(utterance.spare ? 'first-digit' : 'wordless')
    if (utterance.spare) {
      this.#drop(utterance)
      this.#fail(utterance.id, error)
    } else this.#settle(utterance, { text: '' })
    return true
  }

  #frame(id: number, pcm: Int16Array): void {
    const utterance = this.#utterances.get(id)
    if (utterance === undefined || utterance.ended || utterance.samples + pcm.length > SPEECH_UTTERANCE_SAMPLES_MAX) {
      this.#engine.samplesDropped += pcm.length
      return
    }
    utterance.samples += pcm.length
    utterance.backlog.push(pcm)
    this.#decodeBacklog(utterance)
  }

  #decodeBacklog(utterance: Utterance): void {
    const waits = utterance.samples < LEVEL_SAMPLES && !utterance.ended
    if (utterance.lease === null || utterance.backlog.length === 0 || waits) return
    const pcm = joined(utterance.backlog)
    utterance.backlog = []
    utterance.gain ??= gainOf(pcm)
    if (utterance.check !== null) utterance.whole.push(pcm)
    this.#decode(utterance, amplified(pcm, utterance.gain))
  }

  #decode(utterance: Utterance, pcm: Float32Array): void {
    const { lease } = utterance
    if (lease === null || this.#lostDecoder(utterance)) return
    try {
      lease.decode(pcm)
      utterance.decoded += pcm.length
      if (utterance.decoded - utterance.partialAtSamples < PARTIAL_SAMPLES) return
      utterance.partialAtSamples = utterance.decoded
      const ofMs = samplesToMs(utterance.decoded, RECOGNISER_RATE_HZ)
      const soFar = lease.partial()
      this.#reply({ type: 'partial', id: utterance.id, ofMs, ...soFar })
      // A long noise must not occupy a decoder that another caller needs.
      lease.yields(soFar.text === '' && utterance.decoded >= WORDLESS_SAMPLES)
    } catch (error) {
      this.#drop(utterance)
      this.#fail(utterance.id, error)
    }
  }

  #finish(utterance: Utterance): void {
    this.#decodeBacklog(utterance)
    if (!this.#isWanted(utterance) || this.#lostDecoder(utterance)) return
    const { lease } = utterance
    if (lease === null) {
      this.#awaitDecoder(utterance)
      return
    }
    let heard: Recognised
    try {
      heard = lease.finish()
    } catch (error) {
      this.#drop(utterance)
      this.#fail(utterance.id, error)
      return
    }
    lease.release()
    utterance.lease = null
    const { check } = utterance
    if (check === null) this.#settle(utterance, heard)
    else if (check.grammar !== null) {
      if (areDigits(heard.text, check)) this.#confirmDigits(utterance, check.grammar, heard)
      else this.#settle(utterance, heard)
    } else if ((heard.fit ?? 1) < SURE_FIT_MIN && utterance.samples <= SEARCHED_AGAIN_MAX)
      this.#searchWider(utterance, check, heard)
    else this.#settle(utterance, heard)
  }

  #settle(utterance: Utterance, heard: Recognised): void {
    this.#drop(utterance)
    this.#reply({ type: 'heard', id: utterance.id, ...heard })
  }

  /** Runs the second recognition of a `DigitCheck`, if a decoder is free for it. Otherwise `heard` is the result. */
  #readAgain(
    utterance: Utterance,
    heard: Recognised,
    grammar: string,
    beam: 'usual' | 'wide',
    read: (lease: LeasedDecoder) => Recognised | null | Promise<Recognised | null>,
  ): void {
    this.#engine.decoders.request(grammar, utterance.words, { spare: true, beam }).lease.then(
      async (lease) => {
        try {
          if (!this.#isWanted(utterance)) return
          const counts = await read(lease)
          if (counts !== null) this.#settle(utterance, counts)
        } catch (error) {
          this.#drop(utterance)
          this.#fail(utterance.id, error)
        } finally {
          lease.release()
        }
      },
      () => {
        if (this.#isWanted(utterance)) this.#settle(utterance, heard)
      },
    )
  }

  #isWanted(utterance: Utterance): boolean {
    return this.#utterances.get(utterance.id) === utterance
  }

  #confirmDigits(utterance: Utterance, grammar: string, heard: Recognised): void {
    this.#readAgain(utterance, heard, grammar, 'usual', (lease) => {
      lease.decodeWhole(amplified(joined(utterance.whole), utterance.gain ?? 1))
      return lease.finish().text === heard.text ? heard : { text: '' }
    })
  }

  /** The audio is decoded in pieces, because other callers need the thread too. */
  #searchWider(utterance: Utterance, check: DigitCheck, heard: Recognised): void {
    const pcm = joined(utterance.whole)
    this.#readAgain(utterance, heard, utterance.grammar, 'wide', async (lease) => {
      for (let at = 0; at < pcm.length; at += PARTIAL_SAMPLES) {
        lease.decode(amplified(pcm.subarray(at, at + PARTIAL_SAMPLES), utterance.gain ?? 1))
        await setImmediate()
        if (!this.#isWanted(utterance)) return null
      }
      const again = lease.finish()
      // If the words are equal, the match of the first result is used. The text is '' if another utterance took the
      // decoder.
      const differs = again.text !== '' && again.text !== heard.text
      return differs && (hasDigits(heard.text, check) || hasDigits(again.text, check)) ? again : heard
    })
  }

  #speak({ id, text, voice, pronunciations }: Extract<SpeechRequest, { readonly type: 'speak' }>): void {
    const { synthesiser } = this.#engine
    if (synthesiser === null) {
      this.#fail(id, new GatewayError('SPEECH_FAULT', 'this thread has no voice'))
      return
    }
    if (this.#sayings.size >= SPEECH_SAYINGS_MAX) {
      this.#fail(id, new GatewayError('SPEECH_BUSY', `${SPEECH_SAYINGS_MAX} texts of this call are being spoken`))
      return
    }
    this.#sayings.set(
      id,
      synthesiser.speak(
        { text, voice, pronunciations },
        {
          sentence: (speech, sentence, last) =>
            this.#reply(
              { type: 'speech', id, pcm: speech.pcm, sampleRateHz: speech.sampleRateHz, text: sentence, last },
              // The samples are a copy made by the synthesiser, so their buffer can be transferred.
              [speech.pcm.buffer as ArrayBuffer],
            ),
          done: () => {
            this.#sayings.delete(id)
            this.#reply({ type: 'spoken', id })
          },
          failed: (error) => {
            this.#sayings.delete(id)
            this.#fail(id, error)
          },
        },
      ),
    )
  }

  #receive(request: SpeechRequest): void {
    switch (request.type) {
      case 'speak':
        this.#speak(request)
        return
      case 'cancel':
        this.#sayings.get(request.id)?.()
        this.#sayings.delete(request.id)
        return
      case 'prepare':
        this.#engine.synthesiser?.prepare(request)
        return
      case 'utterance-start':
        // The client has this limit too. Here it protects other calls from a client that exceeds it.
        if (this.#utterances.size >= SPEECH_UTTERANCES_PER_CALL_MAX) {
          this.#fail(request.id, new GatewayError('SPEECH_BUSY', 'this call has too many utterances under way'))
          return
        }
        this.#start(request)
        return
      case 'frame':
        this.#frame(request.id, request.pcm)
        return
      case 'utterance-end': {
        const utterance = this.#utterances.get(request.id)
        if (utterance === undefined || utterance.ended) return
        utterance.ended = true
        this.#finish(utterance)
        return
      }
      case 'utterance-abandon': {
        const utterance = this.#utterances.get(request.id)
        if (utterance !== undefined) this.#drop(utterance)
        return
      }
    }
  }
}

interface Utterance {
  readonly id: number
  readonly spare: boolean
  /** Timer that ends the wait for a decoder after the utterance's end. */
  late: NodeJS.Timeout | undefined
  readonly request: DecoderRequest
  lease: LeasedDecoder | null
  /** Audio that arrived before a decoder was free, or before there was enough audio for `gain`. */
  backlog: Int16Array[]
  /** Factor that brings the audio to the level that the recogniser needs; null until it is known. */
  gain: number | null
  samples: number
  /** Number of samples that the last partial result covers. */
  partialAtSamples: number
  decoded: number
  ended: boolean
  readonly grammar: string
  readonly words: readonly DictionaryEntry[]
  readonly check: DigitCheck | null
  /** All audio so far; filled only if the utterance may be recognised twice. */
  whole: Int16Array[]
}

/**
 * Minimum match of a sure result. If the caller may say only known numbers, an utterance with a lower match is searched
 * again with wider beams. The first search may have dropped the right digits. Test (`npm run bench -- --recognition`):
 * 640 spoken numbers, each of which is one of eight known numbers. With the second search, 636 are right and none is
 * wrong. Without it, 626 are right and one is wrong. If the limit is lower, fewer numbers are right.
 */
const SURE_FIT_MIN = 0.88
/**
 * Maximum duration in samples of an utterance that is searched again. The search needs 1.6 times the time of the first
 * search, and the caller waits.
 */
const SEARCHED_AGAIN_MAX = 6 * RECOGNISER_RATE_HZ

/** True if the text consists of two or more digits, without other words. */
function areDigits(text: string, { digits }: DigitCheck): boolean {
  const words = text.split(' ')
  return words.length > 1 && words.every((word) => digits.includes(word))
}

/** True if the text contains two or more digits, perhaps among other words. */
function hasDigits(text: string, { digits }: DigitCheck): boolean {
  return text.split(' ').filter((word) => digits.includes(word)).length > 1
}

/**
 * Number of samples between two partial results. The pause that ends a number contains two results, because its last
 * digit must be known at that time. A result costs about 0.2 ms of CPU time. Decoding the samples between two results
 * costs 9 ms.
 */
const PARTIAL_SAMPLES = 0.3 * RECOGNISER_RATE_HZ
/** Duration in samples of sound without a word after which it is probably not speech. */
const WORDLESS_SAMPLES = 2 * RECOGNISER_RATE_HZ

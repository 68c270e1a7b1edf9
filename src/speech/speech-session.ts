import { setImmediate } from 'node:timers/promises'
import type { MessagePort } from 'node:worker_threads'
import { GatewayError, messageOf } from '../core/errors.js'
import { SPEECH_SAYINGS_MAX, SPEECH_UTTERANCES_PER_CALL_MAX, SPEECH_UTTERANCE_SAMPLES_MAX } from '../core/limits.js'
import { samplesToMs } from '../core/units.js'
import { joined } from '../media/pcm.js'
import type { DecoderRequest, DecoderSet, LeasedDecoder } from './decoder-set.js'
import { LEVEL_SAMPLES, amplified, gainOf } from './level.js'
import { RECOGNISER_RATE_HZ } from './speech-protocol.js'
import type { DictionaryEntry, DigitCheck, Recognised, SpeechReply, SpeechRequest } from './speech-protocol.js'
import type { Synthesiser } from './synthesiser.js'

/** Decoders and voice that all sessions of one speech worker share. */
export interface SpeechEngine {
  readonly decoders: DecoderSet
  readonly synthesiser: Synthesiser
  /** Samples without an utterance or beyond the longest one, over all sessions. */
  samplesDropped: number
}

/**
 * One call in a speech worker: turns the requests of its port into work for the shared decoders and the shared
 * synthesiser, and their results into replies. It releases everything when the port closes.
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
        // An uncaught exception would end the worker with every session on it. This call sees a lost session.
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
    utterance.request.cancel()
    utterance.lease?.release()
    utterance.lease = null
  }

  #start({ id, grammar, words, spare, check }: Extract<SpeechRequest, { type: 'utterance-start' }>): void {
    const request = this.#engine.decoders.request(grammar, words, { spare })
    const utterance: Utterance = {
      id,
      request,
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
        utterance.lease = lease
        if (utterance.ended) this.#finish(utterance)
        else this.#decodeBacklog(utterance)
      },
      (error: unknown) => {
        if (this.#utterances.get(id) !== utterance) return
        this.#utterances.delete(id)
        this.#fail(id, error)
      },
    )
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
    if (lease === null) return
    try {
      lease.decode(pcm)
      utterance.decoded += pcm.length
      if (utterance.decoded - utterance.partialAtSamples < PARTIAL_SAMPLES) return
      utterance.partialAtSamples = utterance.decoded
      const ofMs = samplesToMs(utterance.decoded, RECOGNISER_RATE_HZ)
      this.#reply({ type: 'partial', id: utterance.id, ofMs, ...lease.partial() })
    } catch (error) {
      this.#drop(utterance)
      this.#fail(utterance.id, error)
    }
  }

  #finish(utterance: Utterance): void {
    this.#decodeBacklog(utterance)
    const { lease } = utterance
    if (lease === null) return
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

  /** The second reading of a `DigitCheck`, with a decoder that no other caller needs; without one `heard` counts. */
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

  /** In pieces: other callers speak too. */
  #searchWider(utterance: Utterance, check: DigitCheck, heard: Recognised): void {
    const pcm = joined(utterance.whole)
    this.#readAgain(utterance, heard, utterance.grammar, 'wide', async (lease) => {
      for (let at = 0; at < pcm.length; at += PARTIAL_SAMPLES) {
        lease.decode(amplified(pcm.subarray(at, at + PARTIAL_SAMPLES), utterance.gain ?? 1))
        await setImmediate()
        if (!this.#isWanted(utterance)) return null
      }
      const again = lease.finish()
      // The same words keep the fit of the first reading. '' too where the decoder was taken away.
      const differs = again.text !== '' && again.text !== heard.text
      return differs && (hasDigits(heard.text, check) || hasDigits(again.text, check)) ? again : heard
    })
  }

  #speak({ id, text, voice, pronunciations }: Extract<SpeechRequest, { readonly type: 'speak' }>): void {
    if (this.#sayings.size >= SPEECH_SAYINGS_MAX) {
      this.#fail(id, new GatewayError('SPEECH_BUSY', `${SPEECH_SAYINGS_MAX} texts of this call are being spoken`))
      return
    }
    this.#sayings.set(
      id,
      this.#engine.synthesiser.speak(
        { text, voice, pronunciations },
        {
          sentence: (speech, sentence, last) =>
            this.#reply(
              { type: 'speech', id, pcm: speech.pcm, sampleRateHz: speech.sampleRateHz, text: sentence, last },
              // The samples are a copy of the synthesiser's, so their buffer can be transferred.
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
        this.#engine.synthesiser.prepare(request)
        return
      case 'utterance-start':
        // The client has the same bound; this one protects the other calls.
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
  readonly request: DecoderRequest
  lease: LeasedDecoder | null
  /** Audio from before a decoder was free, or before there was enough for `gain`. */
  backlog: Int16Array[]
  /** Brings it to the recogniser's level; null until it is known. */
  gain: number | null
  samples: number
  /** Samples that the last partial result covers. */
  partialAtSamples: number
  decoded: number
  ended: boolean
  readonly grammar: string
  readonly words: readonly DictionaryEntry[]
  readonly check: DigitCheck | null
  /** The audio so far, where it may be read twice. */
  whole: Int16Array[]
}

/**
 * Where only known numbers may be said, speech that fits its words less well than this is searched again, with wider
 * beams: the right digits may have been given up on the way. Of 640 numbers, each one of eight that are known, 636 come out
 * right and none wrong, where 626 and one did (`npm run bench -- --recognition`); with a lower limit fewer do.
 */
const SURE_FIT_MIN = 0.88
/** The search takes 1.6 times as long as the first one, and its caller waits. */
const SEARCHED_AGAIN_MAX = 6 * RECOGNISER_RATE_HZ

/** Two digits or more, and nothing else. */
function areDigits(text: string, { digits }: DigitCheck): boolean {
  const words = text.split(' ')
  return words.length > 1 && words.every((word) => digits.includes(word))
}

/** Two digits or more, perhaps among other words. */
function hasDigits(text: string, { digits }: DigitCheck): boolean {
  return text.split(' ').filter((word) => digits.includes(word)).length > 1
}

/**
 * Speech between two partial results: twice within the pause that ends a number, whose last digit must be known by then.
 * One costs about 0.2 ms, decoding as much speech 9.
 */
const PARTIAL_SAMPLES = 0.3 * RECOGNISER_RATE_HZ

import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { GatewayError, messageOf } from '../core/errors.js'
import {
  CONNECT_ATTEMPT_MS,
  SPEECH_SAYINGS_MAX,
  SPEECH_UTTERANCES_PER_CALL_MAX,
  SPEECH_UTTERANCE_SAMPLES_MAX,
} from '../core/limits.js'
import { samplesToMs } from '../core/units.js'
import { joined } from '../media/pcm.js'
import { useCountry } from '../sautikit/phone.js'
import { DecoderSet } from './decoder-set.js'
import type { DecoderRequest, LeasedDecoder } from './decoder-set.js'
import { loadFlite } from './flite.js'
import { LEVEL_SAMPLES, amplified, gainOf } from './level.js'
import { RECOGNISER_RATE_HZ } from './speech-protocol.js'
import type {
  DictionaryEntry,
  DigitCheck,
  Recognised,
  SpeechReply,
  SpeechRequest,
  SpeechTask,
  SpeechTaskResult,
  SpeechWorkerOptions,
  SpeechWorkerStats,
} from './speech-protocol.js'
import { Synthesiser } from './synthesiser.js'

/**
 * A speech worker, which `start-speech-worker.ts` loads. Only speech workers recognise and synthesise. The models are loaded once for all
 * sessions: the voice's at once, the recogniser's when it is wanted. Requests that arrive before that wait in the
 * session's port.
 */

// Set by SpeechPool.
const options = workerData as SpeechWorkerOptions
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
useCountry(options.country)
const loading = load()
// Every task reports a failure of `loading`. Without a handler here the failure would end the thread before the first
// task.
loading.catch(() => undefined)
/** From the third run on a sentence takes half the time of the first one. */
const WARM_UP_RUNS = 3
let sessions = 0

async function load(): Promise<SpeechEngine> {
  const flite = await loadFlite()
  const decoders = new DecoderSet(options.decoders)
  const synthesiser = new Synthesiser(flite, {
    cacheBytes: options.promptCacheBytes,
    quiet: () => decoders.stats.leased === 0,
  })
  // The first runs compile the module's functions.
  for (let i = 0; i < WARM_UP_RUNS; i++) flite.speak('One moment please, I am looking for your order.', 'slt')
  return { decoders, synthesiser, samplesDropped: 0 }
}

export default async function speechTask(task: SpeechTask): Promise<SpeechTaskResult> {
  if (task.type === 'probe') {
    const engine = await loading
    if (task.decoders) await engine.decoders.prepare()
    return statsOf(engine)
  }
  sessions++
  try {
    const engine = await loading
    // A failure is reported by the first utterance, which tries again.
    if (task.decoders) engine.decoders.prepare().catch(() => undefined)
    await runSession(task.port, engine)
  } finally {
    sessions--
    task.port.close()
  }
  return null
}

function statsOf(engine: SpeechEngine): SpeechWorkerStats {
  const { decoders, synthesiser } = engine
  return {
    sessions,
    decodersLeased: decoders.stats.leased,
    utterancesWaiting: decoders.stats.waiting,
    utterancesRefused: decoders.stats.refused,
    sentencesMade: synthesiser.stats.sentencesMade,
    sentencesFromCache: synthesiser.stats.sentencesFromCache,
    samplesDropped: engine.samplesDropped,
  }
}

/** What all sessions of one speech worker share. */
interface SpeechEngine {
  readonly decoders: DecoderSet
  readonly synthesiser: Synthesiser
  /** Samples without an utterance or beyond the longest one, over all sessions. */
  samplesDropped: number
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

/**
 * One call in a speech worker: turns the requests of its port into work for the shared decoders and the shared
 * synthesiser, and their results into replies. It releases everything when the port closes, and resolves then.
 */
function runSession(port: MessagePort, engine: SpeechEngine): Promise<void> {
  const utterances = new Map<number, Utterance>()
  const sayings = new Map<number, () => void>()
  let closed = false

  function reply(message: SpeechReply, transfer: ArrayBuffer[] = []): void {
    if (!closed) port.postMessage(message, transfer)
  }

  function fail(id: number, error: unknown): void {
    const code = error instanceof GatewayError ? error.code : 'SPEECH_FAULT'
    reply({ type: 'failed', id, code, message: messageOf(error) })
  }

  function drop(utterance: Utterance): void {
    utterances.delete(utterance.id)
    utterance.backlog = []
    utterance.whole = []
    utterance.request.cancel()
    utterance.lease?.release()
    utterance.lease = null
  }

  function start({ id, grammar, words, spare, check }: Extract<SpeechRequest, { type: 'utterance-start' }>): void {
    const request = engine.decoders.request(grammar, words, { spare })
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
    utterances.set(id, utterance)
    request.lease.then(
      (lease) => {
        if (utterances.get(id) !== utterance) {
          lease.release()
          return
        }
        utterance.lease = lease
        if (utterance.ended) finish(utterance)
        else decodeBacklog(utterance)
      },
      (error: unknown) => {
        if (utterances.get(id) !== utterance) return
        utterances.delete(id)
        fail(id, error)
      },
    )
  }

  function frame(id: number, pcm: Int16Array): void {
    const utterance = utterances.get(id)
    if (utterance === undefined || utterance.ended || utterance.samples + pcm.length > SPEECH_UTTERANCE_SAMPLES_MAX) {
      engine.samplesDropped += pcm.length
      return
    }
    utterance.samples += pcm.length
    utterance.backlog.push(pcm)
    decodeBacklog(utterance)
  }

  function decodeBacklog(utterance: Utterance): void {
    const waits = utterance.samples < LEVEL_SAMPLES && !utterance.ended
    if (utterance.lease === null || utterance.backlog.length === 0 || waits) return
    const pcm = joined(utterance.backlog)
    utterance.backlog = []
    utterance.gain ??= gainOf(pcm)
    if (utterance.check !== null) utterance.whole.push(pcm)
    decode(utterance, amplified(pcm, utterance.gain))
  }

  function decode(utterance: Utterance, pcm: Float32Array): void {
    const { lease } = utterance
    if (lease === null) return
    try {
      lease.decode(pcm)
      utterance.decoded += pcm.length
      if (utterance.decoded - utterance.partialAtSamples < PARTIAL_SAMPLES) return
      utterance.partialAtSamples = utterance.decoded
      const ofMs = samplesToMs(utterance.decoded, RECOGNISER_RATE_HZ)
      reply({ type: 'partial', id: utterance.id, ofMs, ...lease.partial() })
    } catch (error) {
      drop(utterance)
      fail(utterance.id, error)
    }
  }

  function finish(utterance: Utterance): void {
    decodeBacklog(utterance)
    const { lease } = utterance
    if (lease === null) return
    let heard: Recognised
    try {
      heard = lease.finish()
    } catch (error) {
      drop(utterance)
      fail(utterance.id, error)
      return
    }
    lease.release()
    utterance.lease = null
    const { check } = utterance
    if (check === null) settle(utterance, heard)
    else if (check.grammar !== null) {
      if (areDigits(heard.text, check)) confirmDigits(utterance, check.grammar, heard)
      else settle(utterance, heard)
    } else if ((heard.fit ?? 1) < SURE_FIT_MIN && utterance.samples <= SEARCHED_AGAIN_MAX)
      searchWider(utterance, check, heard)
    else settle(utterance, heard)
  }

  function settle(utterance: Utterance, heard: Recognised): void {
    drop(utterance)
    reply({ type: 'heard', id: utterance.id, ...heard })
  }

  /** The second reading of a `DigitCheck`, with a decoder that no other caller needs; without one `heard` counts. */
  function readAgain(
    utterance: Utterance,
    heard: Recognised,
    grammar: string,
    beam: 'usual' | 'wide',
    read: (lease: LeasedDecoder) => Recognised | null | Promise<Recognised | null>,
  ): void {
    engine.decoders.request(grammar, utterance.words, { spare: true, beam }).lease.then(
      async (lease) => {
        try {
          if (!isWanted(utterance)) return
          const counts = await read(lease)
          if (counts !== null) settle(utterance, counts)
        } catch (error) {
          drop(utterance)
          fail(utterance.id, error)
        } finally {
          lease.release()
        }
      },
      () => {
        if (isWanted(utterance)) settle(utterance, heard)
      },
    )
  }

  function isWanted(utterance: Utterance): boolean {
    return utterances.get(utterance.id) === utterance
  }

  function confirmDigits(utterance: Utterance, grammar: string, heard: Recognised): void {
    readAgain(utterance, heard, grammar, 'usual', (lease) => {
      lease.decodeWhole(amplified(joined(utterance.whole), utterance.gain ?? 1))
      return lease.finish().text === heard.text ? heard : { text: '' }
    })
  }

  /** In pieces: other callers speak too. */
  function searchWider(utterance: Utterance, check: DigitCheck, heard: Recognised): void {
    const pcm = joined(utterance.whole)
    readAgain(utterance, heard, utterance.grammar, 'wide', async (lease) => {
      for (let at = 0; at < pcm.length; at += PARTIAL_SAMPLES) {
        lease.decode(amplified(pcm.subarray(at, at + PARTIAL_SAMPLES), utterance.gain ?? 1))
        await setImmediate()
        if (!isWanted(utterance)) return null
      }
      const again = lease.finish()
      // The same words keep the fit of the first reading. '' too where the decoder was taken away.
      const differs = again.text !== '' && again.text !== heard.text
      return differs && (hasDigits(heard.text, check) || hasDigits(again.text, check)) ? again : heard
    })
  }

  function speak({ id, text, voice, pronunciations }: Extract<SpeechRequest, { readonly type: 'speak' }>): void {
    if (sayings.size >= SPEECH_SAYINGS_MAX) {
      fail(id, new GatewayError('SPEECH_BUSY', `${SPEECH_SAYINGS_MAX} texts of this call are being spoken`))
      return
    }
    sayings.set(
      id,
      engine.synthesiser.speak(
        { text, voice, pronunciations },
        {
          sentence: (speech, sentence, last) =>
            reply(
              { type: 'speech', id, pcm: speech.pcm, sampleRateHz: speech.sampleRateHz, text: sentence, last },
              // The samples are a copy of the synthesiser's, so their buffer can be transferred.
              [speech.pcm.buffer as ArrayBuffer],
            ),
          done: () => {
            sayings.delete(id)
            reply({ type: 'spoken', id })
          },
          failed: (error) => {
            sayings.delete(id)
            fail(id, error)
          },
        },
      ),
    )
  }

  function receive(request: SpeechRequest): void {
    switch (request.type) {
      case 'speak':
        speak(request)
        return
      case 'cancel':
        sayings.get(request.id)?.()
        sayings.delete(request.id)
        return
      case 'prepare':
        engine.synthesiser.prepare(request)
        return
      case 'utterance-start':
        // The client has the same bound; this one protects the other calls.
        if (utterances.size >= SPEECH_UTTERANCES_PER_CALL_MAX) {
          fail(request.id, new GatewayError('SPEECH_BUSY', 'this call has too many utterances under way'))
          return
        }
        start(request)
        return
      case 'frame':
        frame(request.id, request.pcm)
        return
      case 'utterance-end': {
        const utterance = utterances.get(request.id)
        if (utterance === undefined || utterance.ended) return
        utterance.ended = true
        finish(utterance)
        return
      }
      case 'utterance-abandon': {
        const utterance = utterances.get(request.id)
        if (utterance !== undefined) drop(utterance)
        return
      }
    }
  }

  return new Promise((resolve) => {
    port.on('message', (request: SpeechRequest) => {
      try {
        receive(request)
      } catch {
        // An uncaught exception would end the worker with every session on it. This call sees a lost session.
        port.close()
      }
    })
    port.once('close', () => {
      closed = true
      for (const stop of sayings.values()) stop()
      sayings.clear()
      for (const utterance of [...utterances.values()]) drop(utterance)
      resolve()
    })
  })
}

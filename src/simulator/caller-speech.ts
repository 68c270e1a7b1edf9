import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { GatewayError } from '../core/errors.js'
import type { LegRateHz } from '../core/units.js'
import type { Flite } from '../speech/flite.js'
import { requireSpeech } from '../speech/speech-packages.js'
import { RECOGNISER_RATE_HZ } from '../speech/speech-protocol.js'
import type { CallerVoice } from './choices.js'
import type { AgentVocabulary } from './vocabulary.js'
import { atSpeechLevel, convertRate } from './line.js'
import { voicedExtent } from './speech-spans.js'

/** Silence kept around the voice, so that the sound is not cut in the middle of a wave. */
const MARGIN_MS = 60

/**
 * Speaks `text` as a caller says it: at `SPEECH_LEVEL_DBFS`, at the leg's rate, without the silence that the
 * synthesiser adds around it. Synchronous, about 20 ms for each second of speech: call it on a worker thread.
 */
export function speakAs(flite: Flite, text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Int16Array {
  const speech = flite.speak(spelledOut(text), voice, pace === 1 ? {} : { stretch: 1 / pace })
  return fitToLeg(speech.pcm, speech.sampleRateHz, sampleRateHz)
}

/** Converts a recording to a caller's voice. @throws RangeError for rates other than 8 and 16 kHz. */
export function fitToLeg(pcm: Int16Array, fromHz: number, toHz: LegRateHz): Int16Array {
  const levelled = atSpeechLevel(convertRate(pcm, fromHz, toHz), toHz)
  const { from, to } = voicedExtent(levelled, toHz)
  const margin = Math.round((MARGIN_MS * toHz) / 1000)
  return levelled.slice(Math.max(0, from - margin), to + margin)
}

/** Spells out long numbers digit by digit, with the short pauses that people make. */
function spelledOut(text: string): string {
  return text.replace(/\d{3,}/g, (digits) => [...digits].join(', '))
}

export interface SpeakRequest {
  readonly text: string
  readonly voice: CallerVoice
  readonly sampleRateHz: LegRateHz
  readonly pace: number
}

/** Bound of the requests that wait for the thread. Further pieces of speech are not recognised. */
const REQUESTS_WAITING_MAX = 400
/** Number of sentences whose sound is cached. */
const SPOKEN_KEPT_MAX = 500

/** What simulated people speak and hear with. */
export type PeopleSpeech = Pick<CallerSpeech, 'hearsAtHz' | 'speak' | 'hear'>

/** Synthesis and recognition for the simulated people of one process, on a thread of its own. */
export class CallerSpeech {
  /** Rate of the sound that `hear` takes. */
  readonly hearsAtHz: LegRateHz = RECOGNISER_RATE_HZ
  readonly #pool: Piscina
  readonly #spoken = new Map<string, Promise<Int16Array>>()
  #closed = false

  /**
   * Starts the thread and waits until the voices are loaded (0.1 s), with a vocabulary the recogniser too (0.5-1 s).
   * @param vocabulary null: nothing is recognised
   * @throws GatewayError SPEECH_FAULT, or CONFIG_INVALID when the voices are not installed
   */
  static async start(vocabulary: AgentVocabulary | null): Promise<CallerSpeech> {
    requireSpeech()
    const speech = new CallerSpeech(vocabulary)
    try {
      await speech.hear(new Int16Array(0))
      return speech
    } catch (cause) {
      await speech.close()
      throw new GatewayError('SPEECH_FAULT', 'the voices of the simulated callers could not be loaded', { cause })
    }
  }

  private constructor(vocabulary: AgentVocabulary | null) {
    this.#pool = new Piscina({
      filename: fileURLToPath(new URL('./caller-speech-worker.js', import.meta.url)),
      ...{ minThreads: 1, maxThreads: 1, idleTimeout: Infinity, recordTiming: false },
      ...{ workerData: vocabulary, execArgv: [] },
    })
    // Of a thread that died without a request, where another one has started.
    this.#pool.on('error', () => undefined)
  }

  /**
   * Speech at the leg's rate; `pace` 1.2 is a fifth faster. Each sentence is synthesised once and the array is shared,
   * so do not write to it.
   */
  speak(text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Promise<Int16Array> {
    const key = `${voice} ${sampleRateHz} ${pace} ${text}`
    const known = this.#spoken.get(key)
    if (known !== undefined) return known
    const request: SpeakRequest = { text, voice, sampleRateHz, pace }
    const spoken = this.#run<Int16Array>('speak', request)
    if (this.#spoken.size < SPOKEN_KEPT_MAX) {
      this.#spoken.set(key, spoken)
      spoken.catch(() => this.#spoken.delete(key))
    }
    return spoken
  }

  /**
   * The words in `pcm` (its memory moves to the thread); empty if the recogniser is not sure or has too much to
   * do.
   */
  hear(pcm: Int16Array): Promise<string> {
    if (this.#pool.queueSize >= REQUESTS_WAITING_MAX) return Promise.resolve('')
    return this.#run<string>('hear', pcm, [pcm.buffer as ArrayBuffer])
  }

  async #run<Result>(name: 'speak' | 'hear', task: unknown, transferList: ArrayBuffer[] = []): Promise<Result> {
    // A pool that was ended would start another thread.
    if (this.#closed) throw new GatewayError('SPEECH_FAULT', 'the speech thread has ended')
    return (await this.#pool.run(task, { name, transferList })) as Result
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#pool.destroy()
  }
}

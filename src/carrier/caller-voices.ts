import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { GatewayError } from '../core/errors.js'
import type { LegRateHz } from '../core/units.js'
import type { Flite } from '../speech/flite.js'
import { requireSpeech } from '../speech/speech-packages.js'
import type { CallerVoice } from './choices.js'
import { atSpeechLevel, convertRate } from './line.js'
import { voicedExtent } from './speech-spans.js'

/** Silence in ms kept around the voice, so that the sound is not cut within a wave. */
const MARGIN_MS = 60

/**
 * Speaks `text` as a caller does: at `SPEECH_LEVEL_DBFS`, at the leg's rate, without silence around it. Synchronous,
 * about 20 ms for each second: call it on a worker thread.
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

/** Maximum number of sentences whose sound is cached. */
const SPOKEN_KEPT_MAX = 500

/** Voices of callers, of the carrier and of the people that the carrier rings, on a separate thread. */
export class CallerVoices {
  readonly #pool: Piscina
  readonly #spoken = new Map<string, Promise<Int16Array>>()
  #closed = false

  /**
   * Starts the thread and waits until the voices are loaded (0.1 s).
   * @throws GatewayError SPEECH_FAULT, or CONFIG_INVALID if the voices are not installed
   */
  static load(): Promise<CallerVoices> {
    requireSpeech()
    return new CallerVoices(new URL('./caller-voices-worker.js', import.meta.url), null).ready()
  }

  /** @param worker  exports `ready` and `speak` */
  protected constructor(worker: URL, workerData: unknown) {
    this.#pool = new Piscina({
      filename: fileURLToPath(worker),
      ...{ minThreads: 1, maxThreads: 1, idleTimeout: Infinity, recordTiming: false },
      ...{ workerData, execArgv: [] },
    })
    // The error of a thread that died without a request is ignored, because a new thread has started.
    this.#pool.on('error', () => undefined)
  }

  /** @throws GatewayError SPEECH_FAULT */
  protected async ready(): Promise<this> {
    try {
      await this.run('ready', null)
      return this
    } catch (cause) {
      await this.close()
      throw new GatewayError('SPEECH_FAULT', 'the voices of the simulated callers could not be loaded', { cause })
    }
  }

  /**
   * Speech at the leg's rate; `pace` 1.2 is a fifth faster. Each sentence is synthesised once. The returned array is
   * shared, so do not write to the array.
   */
  speak(text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Promise<Int16Array> {
    const key = `${voice} ${sampleRateHz} ${pace} ${text}`
    const known = this.#spoken.get(key)
    if (known !== undefined) return known
    const request: SpeakRequest = { text, voice, sampleRateHz, pace }
    const spoken = this.run<Int16Array>('speak', request)
    if (this.#spoken.size < SPOKEN_KEPT_MAX) {
      this.#spoken.set(key, spoken)
      spoken.catch(() => this.#spoken.delete(key))
    }
    return spoken
  }

  /** Requests that wait for the thread. */
  protected get waiting(): number {
    return this.#pool.queueSize
  }

  protected async run<Result>(name: string, task: unknown, transferList: ArrayBuffer[] = []): Promise<Result> {
    // A pool that has been ended would start a new thread for a request.
    if (this.#closed) throw new GatewayError('SPEECH_FAULT', 'the speech thread has ended')
    return (await this.#pool.run(task, { name, transferList })) as Result
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#pool.destroy()
  }
}

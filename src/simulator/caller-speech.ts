import { Worker } from 'node:worker_threads'
import { GatewayError } from '../core/errors.js'
import type { LegRateHz } from '../core/units.js'
import type { Flite } from '../speech/flite.js'
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

export type SpeechRequest =
  | {
      readonly id: number
      readonly type: 'speak'
      readonly text: string
      readonly voice: CallerVoice
      readonly sampleRateHz: LegRateHz
      readonly pace: number
    }
  | { readonly id: number; readonly type: 'hear'; readonly pcm: Int16Array }

export type SpeechReply =
  | { readonly type: 'ready' }
  | { readonly type: 'spoken'; readonly id: number; readonly pcm: Int16Array }
  | { readonly type: 'heard'; readonly id: number; readonly text: string }
  | { readonly type: 'failed'; readonly id: number; readonly message: string }

/** The bundled model of the recogniser is the 8 kHz telephone model. */
export const RECOGNISER_RATE_HZ = 8000
/** Bound of the requests that wait for the thread. Further pieces of speech are not recognised. */
const REQUESTS_WAITING_MAX = 400
/** Number of sentences whose sound is cached. */
const SPOKEN_KEPT_MAX = 500

interface Waiting {
  resolve(value: Int16Array | string): void
  reject(error: Error): void
}

/** What simulated people speak and hear with. */
export type PeopleSpeech = Pick<CallerSpeech, 'hearsAtHz' | 'speak' | 'hear'>

/** Synthesis and recognition for the simulated people of one process, on a thread of its own. */
export class CallerSpeech {
  /** Rate of the sound that `hear` takes. */
  readonly hearsAtHz: LegRateHz = RECOGNISER_RATE_HZ
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #spoken = new Map<string, Promise<Int16Array>>()
  #lastId = 0
  #fault: GatewayError | null = null

  /**
   * Starts the thread and waits until the voices are loaded (0.1 s), with a vocabulary the recogniser too (0.5-1 s).
   * @param vocabulary null: nothing is recognised
   * @throws GatewayError SPEECH_FAULT
   */
  static async start(vocabulary: AgentVocabulary | null): Promise<CallerSpeech> {
    const worker = new Worker(new URL('./caller-speech-thread.js', import.meta.url), {
      workerData: vocabulary,
      execArgv: [],
    })
    await new Promise<void>((resolve, reject) => {
      // The first one says that it is ready.
      worker.once('message', () => {
        resolve()
      })
      worker.once('error', (cause) => {
        reject(new GatewayError('SPEECH_FAULT', 'the voices of the simulated callers could not be loaded', { cause }))
      })
    })
    worker.removeAllListeners('error')
    return new CallerSpeech(worker)
  }

  private constructor(worker: Worker) {
    this.#worker = worker
    worker.on('message', (reply: SpeechReply) => {
      this.#onReply(reply)
    })
    worker.on('error', (cause) => {
      this.#fail(new GatewayError('SPEECH_FAULT', 'the speech thread died', { cause }))
    })
    worker.on('exit', () => {
      this.#fail(new GatewayError('SPEECH_FAULT', 'the speech thread has ended'))
    })
  }

  /**
   * Speech at the leg's rate; `pace` 1.2 is a fifth faster. Each sentence is synthesised once and the array is shared,
   * so do not write to it.
   */
  speak(text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Promise<Int16Array> {
    const key = `${voice} ${sampleRateHz} ${pace} ${text}`
    const known = this.#spoken.get(key)
    if (known !== undefined) return known
    const spoken = this.#ask((id) => ({ id, type: 'speak', text, voice, sampleRateHz, pace })) as Promise<Int16Array>
    if (this.#spoken.size < SPOKEN_KEPT_MAX) this.#spoken.set(key, spoken)
    return spoken
  }

  /**
   * The words in `pcm` (its memory moves to the thread); empty if the recogniser is not sure or has too much to
   * do.
   */
  hear(pcm: Int16Array): Promise<string> {
    if (this.#waiting.size >= REQUESTS_WAITING_MAX) return Promise.resolve('')
    return this.#ask((id) => ({ id, type: 'hear', pcm }), [pcm.buffer as ArrayBuffer]) as Promise<string>
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #ask(request: (id: number) => SpeechRequest, transfer: ArrayBuffer[] = []): Promise<Int16Array | string> {
    if (this.#fault !== null) return Promise.reject(this.#fault)
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#worker.postMessage(request(id), transfer)
    })
  }

  #onReply(reply: SpeechReply): void {
    if (reply.type === 'ready') return
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if (reply.type === 'spoken') waiting?.resolve(reply.pcm)
    else if (reply.type === 'heard') waiting?.resolve(reply.text)
    else waiting?.reject(new GatewayError('SPEECH_FAULT', reply.message))
  }

  #fail(fault: GatewayError): void {
    this.#fault ??= fault
    for (const waiting of this.#waiting.values()) waiting.reject(this.#fault)
    this.#waiting.clear()
  }
}

import { Worker } from 'node:worker_threads'
import { GatewayError } from '../core/errors.js'
import type { LegRateHz } from '../core/units.js'
import type { EarVocabulary } from './ear-vocabulary.js'
import type { SpeechReply, SpeechRequest, SpeechThreadData } from './speech-protocol.js'
import type { CallerVoice } from './voices.js'

/** Pieces of speech that wait for an ear at most; more are not listened to, and counted. */
const REQUESTS_WAITING_MAX = 400
/** Different sentences kept as sound. */
const SPOKEN_KEPT_MAX = 500

/** Voices and ears of the simulated people of one process. */
export interface CallerSpeech {
  /** Speech at the leg's rate; `pace` 1.2 is a fifth faster. The same sentence is synthesised once; the array is shared: do not write to it. */
  speak(text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace?: number): Promise<Int16Array>
  /** What was said in `pcm` (8 kHz, given away); an empty string when the ear is not sure. */
  hear(pcm: Int16Array): Promise<string>
  close(): Promise<void>
}

interface Waiting {
  resolve(value: Int16Array | string): void
  reject(error: Error): void
}

/** `CallerSpeech` on a thread of its own. */
export class SpeechService implements CallerSpeech {
  /** How long loading took: compiled voices, then recogniser and grammar. */
  readonly voicesMs: number
  readonly earMs: number
  piecesUnheard = 0
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #spoken = new Map<string, Promise<Int16Array>>()
  #lastId = 0
  #fault: GatewayError | null = null

  /**
   * Starts the thread and waits until voices (and the ear, with a vocabulary) are loaded: 0.1 s, or 0.5-1 s.
   * @throws GatewayError SPEECH_FAULT
   */
  static async start(vocabulary: EarVocabulary | null): Promise<SpeechService> {
    const workerData: SpeechThreadData = { vocabulary }
    const worker = new Worker(new URL('speech-thread.js', import.meta.url), { workerData, execArgv: [] })
    const ready = await new Promise<Extract<SpeechReply, { type: 'ready' }>>((resolve, reject) => {
      worker.once('message', (reply: SpeechReply) => {
        if (reply.type === 'ready') resolve(reply)
      })
      worker.once('error', (cause) => {
        reject(new GatewayError('SPEECH_FAULT', 'the voices of the simulated callers could not be loaded', { cause }))
      })
    })
    worker.removeAllListeners('error')
    return new SpeechService(worker, ready)
  }

  private constructor(worker: Worker, loaded: { readonly voicesMs: number; readonly earMs: number }) {
    this.voicesMs = loaded.voicesMs
    this.earMs = loaded.earMs
    this.#worker = worker
    worker.on('message', (reply: SpeechReply) => { this.#onReply(reply) })
    worker.on('error', (cause) => { this.#fail(new GatewayError('SPEECH_FAULT', 'the speech thread died', { cause })) })
    worker.on('exit', () => { this.#fail(new GatewayError('SPEECH_FAULT', 'the speech thread has ended')) })
  }

  speak(text: string, voice: CallerVoice, sampleRateHz: LegRateHz, pace = 1): Promise<Int16Array> {
    const key = `${voice} ${sampleRateHz} ${pace} ${text}`
    const known = this.#spoken.get(key)
    if (known !== undefined) return known
    const spoken = this.#ask((id) => ({ id, type: 'speak', text, voice, sampleRateHz, pace })) as Promise<Int16Array>
    if (this.#spoken.size < SPOKEN_KEPT_MAX) this.#spoken.set(key, spoken)
    return spoken
  }

  hear(pcm: Int16Array): Promise<string> {
    if (this.#waiting.size >= REQUESTS_WAITING_MAX) {
      this.piecesUnheard++
      return Promise.resolve('')
    }
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

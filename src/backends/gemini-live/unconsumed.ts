import { BACKEND_WAITING_AUDIO_MS } from '../../core/limits.js'
import { samplesOf } from '../../media/pcm.js'
import { CallerAudio } from '../failover/caller-audio.js'

/** Messages to Gemini that are kept to be sent again to the session that resumes: 10 s in messages of 20 ms, and texts. */
const GEMINI_UNCONSUMED_MESSAGES_MAX = 600

/** One message to send again: JSON, or the bytes of caller audio, which are valid until the next one. */
type Unconsumed = { readonly json: string } | { readonly audio: Buffer }

/**
 * The newest messages of one connection, so that the session that resumes it can be sent exactly what the service had
 * not consumed. Messages are numbered as the service does it: the setup is 0 (a public client of Vertex AI's, 2026-09;
 * the API's documentation does not say). Bounded: at most BACKEND_WAITING_AUDIO_MS of audio and
 * GEMINI_UNCONSUMED_MESSAGES_MAX messages.
 */
export class UnconsumedMessages {
  /** Number of the newest message. */
  #newest = -1
  /** Number of the oldest message that is kept. */
  #oldest = 0
  readonly #audio: CallerAudio
  /** Position in the audio after each message that is kept: a message without audio does not move it. */
  #ends: number[] = []
  readonly #texts = new Map<number, string>()
  /** The last two messages that the service reported as consumed; see `consumed`. */
  #reported = -1

  constructor(sampleRateHz: number) {
    this.#audio = new CallerAudio(sampleRateHz, BACKEND_WAITING_AUDIO_MS)
  }

  /** A connection begins: its setup is message 0. */
  begin(): void {
    this.#forgetTo(this.#newest)
    this.#newest = 0
    this.#oldest = 1
    this.#reported = 0
  }

  sentText(json: string): void {
    this.#texts.set(this.#newest + 1, json)
    this.#sent()
  }

  sentAudio(bytes: Buffer, length: number): void {
    this.#audio.push(samplesOf(bytes.subarray(0, length)))
    this.#sent()
  }

  /**
   * The service's state of the session holds the messages up to `index`. What it reported before the last time is
   * forgotten: a session that resumes may have been connected with the state before this one.
   */
  consumed(index: number): void {
    this.#forgetTo(this.#reported)
    this.#reported = Math.min(index, this.#newest)
  }

  /** Number of the newest message. */
  get newest(): number {
    return this.#newest
  }

  /** The messages after `index`, in order; null when one of them is no longer kept. */
  after(index: number): Iterable<Unconsumed> | null {
    if (index + 1 < this.#oldest || index > this.#newest) return null
    return this.#from(index + 1)
  }

  release(): void {
    this.#forgetTo(this.#newest)
    this.#audio.release()
  }

  *#from(first: number): Generator<Unconsumed> {
    for (let index = first; index <= this.#newest; index++) {
      const json = this.#texts.get(index)
      if (json !== undefined) {
        yield { json }
        continue
      }
      const at = index - this.#oldest
      const end = this.#ends[at] ?? 0
      const begin = at === 0 ? this.#audio.oldest : (this.#ends[at - 1] ?? 0)
      const samples = new Int16Array(end - begin)
      this.#audio.read(begin, samples)
      yield { audio: Buffer.from(samples.buffer) }
    }
  }

  #sent(): void {
    this.#newest++
    this.#ends.push(this.#audio.written)
    if (this.#ends.length > GEMINI_UNCONSUMED_MESSAGES_MAX) this.#forgetTo(this.#oldest)
    // Audio beyond the bound was dropped with its messages.
    while (this.#ends.length > 0 && (this.#ends[0] ?? 0) < this.#audio.oldest) this.#forgetTo(this.#oldest)
  }

  #forgetTo(index: number): void {
    const count = Math.min(index - this.#oldest + 1, this.#ends.length)
    if (count <= 0) return
    this.#audio.forget(this.#ends[count - 1] ?? 0)
    for (let i = 0; i < count; i++) this.#texts.delete(this.#oldest + i)
    this.#ends.splice(0, count)
    this.#oldest += count
  }
}

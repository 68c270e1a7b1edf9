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
  /** Number of the oldest message that is kept. */
  #oldest = 0
  readonly #audio: CallerAudio
  /** Each message that is kept: its text, null for audio, and the position in the audio after it. */
  readonly #kept: { readonly json: string | null; readonly end: number }[] = []
  /** The last two messages that the service reported as consumed; see `consumed`. */
  #reported = -1

  constructor(sampleRateHz: number) {
    this.#audio = new CallerAudio(sampleRateHz, BACKEND_WAITING_AUDIO_MS)
  }

  /** A connection begins: its setup is message 0. */
  begin(): void {
    this.#forgetTo(this.newest)
    this.#oldest = 1
    this.#reported = 0
  }

  sentText(json: string): void {
    this.#sent(json)
  }

  sentAudio(bytes: Buffer, length: number): void {
    this.#audio.push(samplesOf(bytes.subarray(0, length)))
    this.#sent(null)
  }

  /**
   * The service's state of the session holds the messages up to `index`. What it reported before the last time is
   * forgotten: a session that resumes may have been connected with the state before this one.
   */
  consumed(index: number): void {
    this.#forgetTo(this.#reported)
    this.#reported = Math.min(index, this.newest)
  }

  /** Number of the newest message. */
  get newest(): number {
    return this.#oldest + this.#kept.length - 1
  }

  /** The messages after `index`, in order; null when one of them is no longer kept. */
  after(index: number): Iterable<Unconsumed> | null {
    if (index + 1 < this.#oldest || index > this.newest) return null
    return this.#from(index + 1)
  }

  release(): void {
    this.#forgetTo(this.newest)
    this.#audio.release()
  }

  *#from(first: number): Generator<Unconsumed> {
    let begin = first === this.#oldest ? this.#audio.oldest : (this.#kept[first - this.#oldest - 1]?.end ?? 0)
    for (const { json, end } of this.#kept.slice(first - this.#oldest)) {
      const samples = new Int16Array(json === null ? end - begin : 0)
      this.#audio.read(begin, samples)
      yield json === null ? { audio: Buffer.from(samples.buffer) } : { json }
      begin = end
    }
  }

  #sent(json: string | null): void {
    this.#kept.push({ json, end: this.#audio.written })
    if (this.#kept.length > GEMINI_UNCONSUMED_MESSAGES_MAX) this.#forgetTo(this.#oldest)
    // Audio beyond the bound was dropped with its messages.
    while (this.#kept.length > 0 && (this.#kept[0]?.end ?? 0) < this.#audio.oldest) this.#forgetTo(this.#oldest)
  }

  #forgetTo(index: number): void {
    const forgotten = this.#kept.splice(0, Math.max(0, index - this.#oldest + 1))
    this.#audio.forget(forgotten.at(-1)?.end ?? 0)
    this.#oldest += forgotten.length
  }
}

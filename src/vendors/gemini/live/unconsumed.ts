import { BACKEND_WAITING_AUDIO_MS } from '../../../core/limits.js'
import { samplesOf } from '../../../media/pcm.js'
import { CallerAudio } from '../../../backends/failover/caller-audio.js'

/** Maximum number of messages stored for the session that resumes: 10 s of audio in messages of 20 ms, and texts. */
const GEMINI_UNCONSUMED_MESSAGES_MAX = 600

/** One message to send again: JSON, or the bytes of caller audio, which are valid until the next message. */
type Unconsumed = { readonly json: string } | { readonly audio: Buffer }

/**
 * The newest messages of one connection. A session that resumes the connection gets the messages that the service had
 * not consumed.
 *
 * Messages have the service's numbers: the setup is 0. These numbers are known from a public client of Vertex AI
 * (2026-09), because the API's documentation does not mention them. The bounds are BACKEND_WAITING_AUDIO_MS of audio
 * and GEMINI_UNCONSUMED_MESSAGES_MAX messages.
 */
export class UnconsumedMessages {
  /** Number of the oldest stored message. */
  #oldest = 0
  readonly #audio: CallerAudio
  /** Each stored message: its text (null for audio) and the audio position after the message. */
  readonly #kept: { readonly json: string | null; readonly end: number }[] = []
  /** The last two messages that the service reported as consumed; see `consumed`. */
  #reported = -1

  constructor(sampleRateHz: number) {
    this.#audio = new CallerAudio(sampleRateHz, BACKEND_WAITING_AUDIO_MS)
  }

  /** Starts a connection: its setup is message 0. */
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
   * Records that the service's state contains the messages up to `index`. Drops only messages up to the previous
   * report: a resuming session may use the state at that report.
   */
  consumed(index: number): void {
    this.#forgetTo(this.#reported)
    this.#reported = Math.min(index, this.newest)
  }

  /** Number of the newest message. */
  get newest(): number {
    return this.#oldest + this.#kept.length - 1
  }

  /** @returns the messages after `index`, in order; null if one of these messages was dropped */
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
    // Audio above the bound was dropped, so the messages of this audio are dropped too.
    while (this.#kept.length > 0 && (this.#kept[0]?.end ?? 0) < this.#audio.oldest) this.#forgetTo(this.#oldest)
  }

  #forgetTo(index: number): void {
    const forgotten = this.#kept.splice(0, Math.max(0, index - this.#oldest + 1))
    this.#audio.forget(forgotten.at(-1)?.end ?? 0)
    this.#oldest += forgotten.length
  }
}

import { msToSamples, samplesToMs, BYTES_PER_SAMPLE } from '../../core/units.js'
import { bytesOfSamples } from '../../media/pcm.js'

interface CallerUplinkOptions {
  readonly sampleRateHz: number
  /** How much audio goes into one message. */
  readonly messageMs: number
  /** How much may wait while `send` refuses; beyond this the oldest is dropped. */
  readonly waitingMsMax: number
  /** How much audio from before `open` is kept at most, so that the onset of speech is not lost. */
  readonly preRollMs: number
  /** Sends the first `length` bytes (s16le). False: not now; they are offered again later. */
  readonly send: (pcm: Buffer, length: number) => boolean
}

interface Batch {
  readonly bytes: Buffer
  length: number
}

/**
 * Collects the caller's frames into messages for a backend, and keeps messages that cannot be sent yet.
 *
 *     closed --open--> open     the kept audio is sent, then each message when it is full
 *     open   --close--> closed  only the last `preRollMs` are kept, and nothing is sent
 *     open, and `send` refuses: up to `waitingMsMax` wait; older audio is dropped and counted
 *
 * Batches are reused, so a silent or streaming call allocates nothing here.
 */
export class CallerUplink {
  /** Audio dropped because it had waited too long. */
  droppedMs = 0
  messages = 0
  readonly #options: CallerUplinkOptions
  readonly #batchBytes: number
  readonly #waitingMax: number
  readonly #preRollMax: number
  readonly #waiting: Batch[] = []
  readonly #spare: Batch[] = []
  #filling: Batch
  #open = false
  #pcm: Int16Array | null = null
  #pcmBytes: Buffer = Buffer.alloc(0)
  #sentBytes = 0

  constructor(options: CallerUplinkOptions) {
    this.#options = options
    this.#batchBytes = msToSamples(options.messageMs, options.sampleRateHz) * BYTES_PER_SAMPLE
    this.#waitingMax = Math.ceil(options.waitingMsMax / options.messageMs)
    this.#preRollMax = Math.ceil(options.preRollMs / options.messageMs)
    this.#filling = this.#batch()
  }

  get batchBytes(): number {
    return this.#batchBytes
  }

  /** Audio sent since the last call of this method. */
  takeSentMs(): number {
    const ms = samplesToMs(this.#sentBytes / BYTES_PER_SAMPLE, this.#options.sampleRateHz)
    this.#sentBytes = 0
    return ms
  }

  /** Sends the newest `keptMs` of the kept audio, in whole messages, and from now on each full message. */
  open(keptMs = Infinity): void {
    const kept = Math.ceil(keptMs / this.#options.messageMs)
    if (!this.#open) while (this.#waiting.length > kept) this.#recycle(this.#waiting.shift())
    this.#open = true
    this.#drain()
  }

  /** Offers waiting messages again, when the other side may be able to take them. */
  retry(): void {
    if (this.#open) this.#drain()
  }

  /** Sends nothing more; the newest audio is kept for the next `open`. */
  close(): void {
    this.#open = false
    while (this.#waiting.length > this.#preRollMax) this.#recycle(this.#waiting.shift())
  }

  /** Drops all waiting audio. */
  clear(): void {
    while (this.#waiting.length > 0) this.#recycle(this.#waiting.shift())
    this.#filling.length = 0
  }

  push(pcm: Int16Array): void {
    const bytes = this.#bytesOf(pcm)
    // A frame as long as a message is sent without a copy.
    if (
      this.#open &&
      this.#filling.length === 0 &&
      this.#waiting.length === 0 &&
      bytes.length === this.#batchBytes &&
      this.#offer(bytes, bytes.length)
    )
      return
    let from = 0
    while (from < bytes.length) {
      const batch = this.#filling
      const length = Math.min(bytes.length - from, this.#batchBytes - batch.length)
      batch.bytes.set(from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length), batch.length)
      batch.length += length
      from += length
      if (batch.length === this.#batchBytes) this.#full()
    }
  }

  /** Sends a message that is not full yet: the caller has stopped and waits for an answer. */
  flush(): void {
    if (this.#filling.length > 0) this.#full()
  }

  /** A call passes the same array for every frame, so the view of its bytes is kept. */
  #bytesOf(pcm: Int16Array): Buffer {
    if (pcm === this.#pcm) return this.#pcmBytes
    const { buffer, byteOffset, byteLength } = bytesOfSamples(pcm)
    const bytes = Buffer.from(buffer, byteOffset, byteLength)
    if (buffer === pcm.buffer) {
      this.#pcm = pcm
      this.#pcmBytes = bytes
    }
    return bytes
  }

  #full(): void {
    const batch = this.#filling
    // The usual case: nothing waits, and the message is sent from its batch.
    if (this.#open && this.#waiting.length === 0 && this.#offer(batch.bytes, batch.length)) {
      batch.length = 0
      return
    }
    this.#waiting.push(batch)
    if (this.#open) this.#drain()
    const max = this.#open ? this.#waitingMax : this.#preRollMax
    while (this.#waiting.length > max) {
      const oldest = this.#waiting.shift()
      if (this.#open && oldest !== undefined) {
        this.droppedMs += samplesToMs(oldest.length / BYTES_PER_SAMPLE, this.#options.sampleRateHz)
      }
      this.#recycle(oldest)
    }
    this.#filling = this.#spare.pop() ?? this.#batch()
  }

  #drain(): void {
    for (;;) {
      const batch = this.#waiting[0]
      if (batch === undefined || !this.#offer(batch.bytes, batch.length)) return
      this.#waiting.shift()
      this.#recycle(batch)
    }
  }

  #offer(bytes: Buffer, length: number): boolean {
    if (!this.#options.send(bytes, length)) return false
    this.messages++
    this.#sentBytes += length
    return true
  }

  #recycle(batch: Batch | undefined): void {
    if (batch === undefined || this.#spare.length > this.#preRollMax) return
    batch.length = 0
    this.#spare.push(batch)
  }

  #batch(): Batch {
    return { bytes: Buffer.allocUnsafeSlow(this.#batchBytes), length: 0 }
  }
}

import { msToSamples, samplesToMs, BYTES_PER_SAMPLE } from '../../core/units.js'
import { bytesOfSamples } from '../../media/pcm.js'

interface CallerUplinkOptions {
  readonly sampleRateHz: number
  /** How much audio goes into one message. */
  readonly messageMs: number
  /** How much may wait while the other side takes none; beyond it the oldest goes. */
  readonly waitingMsMax: number
  /** How much is kept from before `open`, so that the first sound of speech is not lost. */
  readonly preRollMs: number
  /** Takes the first `length` bytes (s16le) now, or answers false: they are offered again later. */
  readonly send: (pcm: Buffer, length: number) => boolean
}

interface Batch {
  readonly bytes: Buffer
  length: number
}

/**
 * The caller's audio on its way to a backend: frames become messages, and messages wait while nobody takes them.
 *
 *     closed --open--> open: what was kept goes first, then each message as it fills
 *     open   --close--> closed: only the last `preRollMs` are kept, and nothing is sent
 *     open, send refuses: up to `waitingMsMax` wait, the oldest go and are counted
 *
 * Batches are used again, so a call that is silent or streaming allocates nothing here.
 */
export class CallerUplink {
  /** Audio thrown away because it had waited too long. */
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

  /** Audio handed over since this was last asked. */
  takeSentMs(): number {
    const ms = samplesToMs(this.#sentBytes / BYTES_PER_SAMPLE, this.#options.sampleRateHz)
    this.#sentBytes = 0
    return ms
  }

  /** What was kept may go, and what comes follows it. */
  open(): void {
    this.#open = true
    this.#drain()
  }

  /** Offers again what waits, when the other side may have become able to take it. */
  retry(): void {
    if (this.#open) this.#drain()
  }

  /** Nothing more is sent; the newest is kept for the next `open`. */
  close(): void {
    this.#open = false
    while (this.#waiting.length > this.#preRollMax) this.#recycle(this.#waiting.shift())
  }

  /** Forgets everything that waits. */
  clear(): void {
    while (this.#waiting.length > 0) this.#recycle(this.#waiting.shift())
    this.#filling.length = 0
  }

  push(pcm: Int16Array): void {
    const bytes = this.#bytesOf(pcm)
    // A frame that is a message goes out from where it lies.
    if (this.#open && this.#filling.length === 0 && this.#waiting.length === 0 && bytes.length === this.#batchBytes && this.#offer(bytes, bytes.length)) return
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

  /** Sends what there is without waiting for a full message: the caller has stopped and waits. */
  flush(): void {
    if (this.#filling.length > 0) this.#full()
  }

  /** A call gives its frames in one array, again and again: the view of its bytes is made once. */
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
    // The usual case: nothing waits and the message goes out of the batch it was filled in.
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

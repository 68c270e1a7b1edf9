import { msToSamples, samplesToMs, BYTES_PER_SAMPLE } from '../../core/units.js'
import { bytesOfSamples } from '../../media/pcm.js'

/**
 * The time after the caller's last voice in which a service with its own turn detection may end the turn. Only then do
 * long messages delay the answer: the service decides when it has heard enough silence.
 */
export interface TurnEnd {
  readonly fromMs: number
  readonly toMs: number
}

/** How much audio goes into one message: always `messageMs`; around the end of a turn, where it is known, one frame. */
interface MessageLength {
  readonly messageMs: number
  readonly turnEnd: TurnEnd | null
}

/**
 * Three frames: 2.7 times cheaper than one, for 40 ms of delay within speech. Where the gateway marks the turns, the last
 * message is sent at once when the caller stops.
 */
const MESSAGE_MS = 60
/** The gateway's voice detection and a service's may put the last voice this far apart. */
const LAST_VOICE_DOUBT_MS = 300

/** @param silenceMs  the silence after which the service ends a turn */
export function turnEndAfter(silenceMs: number): TurnEnd {
  return { fromMs: Math.max(0, silenceMs - LAST_VOICE_DOUBT_MS), toMs: silenceMs + LAST_VOICE_DOUBT_MS }
}

/**
 * @param setMs  the length that was set for all messages; undefined for the one that suits the call
 * @param turnEnd  when the service ends turns; null where the gateway does
 */
export function messageLength(setMs: number | undefined, turnEnd: TurnEnd | null): MessageLength {
  return setMs === undefined ? { messageMs: MESSAGE_MS, turnEnd } : { messageMs: setMs, turnEnd: null }
}

export interface CallerUplinkOptions extends MessageLength {
  readonly sampleRateHz: number
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
 * With a `turnEnd`, what was collected is sent at each frame in which the turn may end. So the service ends it as early
 * as with messages of one frame, and most of the call goes in long messages:
 *
 *     long  --`turnEnd.fromMs` of frames without voice since the last one with voice--> short
 *     short --a frame with voice, `turnEnded`, or `turnEnd.toMs` after the last voice--> long
 *
 * Between `turnBegan` and `turnEnded`, when the service hears speech, silence stays short beyond `toMs`. A frame of
 * which it is not known whether it has voice is sent at once too.
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
  /** Frames without voice since the last one with voice; Infinity when no end of a turn is near. */
  #quietMs = Infinity
  /** The service hears speech. */
  #turnOpen = false

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

  /** The service hears speech, also where the gateway does not. */
  turnBegan(): void {
    this.#turnOpen = true
    // The gateway may have heard no voice: the end of this turn is near whenever it hears none.
    if (this.#quietMs === Infinity) this.#quietMs = 0
  }

  /** The service has ended the turn: nothing waits for silence any more. */
  turnEnded(): void {
    this.#turnOpen = false
    this.#quietMs = Infinity
  }

  /** @param voiced  the frame has voice; undefined when this is not known */
  push(pcm: Int16Array, voiced?: boolean): void {
    const bytes = this.#bytesOf(pcm)
    const now = this.#turnMayEnd(pcm.length, voiced)
    // A frame that is a message by itself is sent without a copy.
    if (
      this.#open &&
      this.#filling.length === 0 &&
      this.#waiting.length === 0 &&
      (bytes.length === this.#batchBytes || (now && bytes.length < this.#batchBytes)) &&
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
    if (now) this.#sendCollected()
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

  /** Whether the service may end the caller's turn with this frame. */
  #turnMayEnd(samples: number, voiced: boolean | undefined): boolean {
    const { turnEnd, sampleRateHz } = this.#options
    if (turnEnd === null) return false
    if (voiced !== false) {
      this.#quietMs = 0
      return voiced === undefined
    }
    this.#quietMs += samplesToMs(samples, sampleRateHz)
    return this.#quietMs > turnEnd.fromMs && (this.#turnOpen || this.#quietMs <= turnEnd.toMs)
  }

  /** Sends a message that is not full yet, unless `send` refuses: then it goes on filling. */
  #sendCollected(): void {
    const batch = this.#filling
    if (!this.#open || batch.length === 0) return
    this.#drain()
    if (this.#waiting.length === 0 && this.#offer(batch.bytes, batch.length)) batch.length = 0
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

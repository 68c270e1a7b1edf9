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

/**
 * Three frames: 2.7 times cheaper than one, for 40 ms of delay within speech. Where the gateway marks the turns, the last
 * message is sent at once when the caller stops.
 */
export const MESSAGE_MS = 60
/** The gateway's voice detection and a service's may put the last voice this far apart. */
const LAST_VOICE_DOUBT_MS = 300

/** Longer than the pauses within speech, and than the silence that usual turn detection waits for. */
const PAUSE_AFTER_MS = 800
/** More than the 300 ms before speech that OpenAI's service keeps, and than the gateway's voice detection may be late. */
const PAUSE_PRE_ROLL_MS = 400

/** Empty batches of one size that a thread keeps: some 0.7 MB of audio at 24 kHz. What is more is left to the collector. */
const SPARE_BATCHES_MAX = 256

// Shared by all calls of a thread. What a pause kept is sent at once, as one message; empty batches go to whichever call
// needs one next, by their bytes: an agent's file or a setting names the few lengths there are.
let joined = Buffer.alloc(0)
const spareBatches = new Map<number, Batch[]>()

/**
 * Collects the caller's frames into messages for a backend, and keeps messages that cannot be sent yet.
 *
 *     closed --open--> open     the kept audio is sent, then each message when it is full
 *     open   --close--> closed  only the last `preRollMs` are kept, and nothing is sent
 *     open, and `send` refuses: up to `waitingMsMax` wait; older audio is dropped and counted
 *
 * With a `turnEnd`, the collected audio is sent at each frame in which the turn may end. So the service ends it as
 * early as with messages of one frame, and most of the call goes in long messages:
 *
 *     long  --`turnEnd.fromMs` of frames without voice since the last one with voice--> short
 *     short --a frame with voice, `turnEnded`, or `turnEnd.toMs` after the last voice--> long
 *
 * Between `turnBegan` and `turnEnded`, when the service hears speech, silence stays short beyond `toMs`. A frame of
 * which it is not known whether it has voice is sent at once too.
 *
 * With a `pause`, silence between turns is not sent:
 *
 *     open   --silence, and no turn is open--> paused  `told`; only the last PAUSE_PRE_ROLL_MS are kept
 *     paused --a frame that may have voice, or `turnBegan`--> open, with the kept audio as one message
 *
 * Batches are reused by all calls of the thread, so a silent or streaming call allocates nothing here.
 */
export class CallerUplink {
  /** Audio dropped because it had waited too long. */
  droppedMs = 0
  messages = 0
  /** Silence that was not sent because no turn was open. */
  silenceMs = 0
  // Each in a field of its own: objects that were made by spreading others have a shape each, which reads slowly.
  readonly #messageMs: number
  readonly #sampleRateHz: number
  readonly #turnEnd: TurnEnd | null
  readonly #send: CallerUplinkOptions['send']
  readonly #batchBytes: number
  readonly #waitingMax: number
  readonly #preRollMax: number
  readonly #pausedMax: number
  readonly #pause: UplinkPause | null
  readonly #waiting: Batch[] = []
  readonly #spares: Batch[]
  #filling: Batch
  #open = false
  #pcm: Int16Array | null = null
  #pcmBytes: Buffer = Buffer.alloc(0)
  #sentBytes = 0
  /** Frames without voice since the last one with voice; Infinity when no end of a turn is near. */
  #quietMs = Infinity
  /** The service hears speech. */
  #turnOpen = false
  #paused = false
  /** Frames without voice since the last one that may have had voice. */
  #silentMs = 0
  /** The service has ended a turn in this session; and one since the last voice. */
  #reports = false
  #turnOver = false

  constructor(options: CallerUplinkOptions) {
    this.#messageMs = options.messageMs
    this.#sampleRateHz = options.sampleRateHz
    this.#turnEnd = options.turnEnd
    this.#send = options.send
    this.#batchBytes = msToSamples(options.messageMs, options.sampleRateHz) * BYTES_PER_SAMPLE
    this.#waitingMax = Math.ceil(options.waitingMsMax / options.messageMs)
    this.#preRollMax = Math.ceil(options.preRollMs / options.messageMs)
    this.#pause = options.pause ?? null
    this.#pausedMax = Math.ceil(PAUSE_PRE_ROLL_MS / options.messageMs)
    this.#spares = sparesOf(this.#batchBytes)
    this.#filling = this.#batch()
  }

  /** Audio sent since the last call of this method. */
  takeSentMs(): number {
    const ms = samplesToMs(this.#sentBytes / BYTES_PER_SAMPLE, this.#sampleRateHz)
    this.#sentBytes = 0
    return ms
  }

  /** Sends the newest `keptMs` of the kept audio, in whole messages, and from now on each full message. */
  open(keptMs = Infinity): void {
    const kept = Math.ceil(keptMs / this.#messageMs)
    if (!this.#open) while (this.#waiting.length > kept) this.#recycle(this.#waiting.shift())
    this.#open = true
    this.#paused = false
    this.#drain()
  }

  /** Offers waiting messages again, when the other side may be able to take them. */
  retry(): void {
    if (this.#open) this.#drain()
  }

  /** Sends nothing more; the newest audio is kept for the next `open`. */
  close(): void {
    this.#open = this.#paused = false
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
    if (this.#paused) this.#resume()
  }

  /** The service has ended the turn: nothing waits for silence any more. */
  turnEnded(): void {
    this.#turnOpen = false
    this.#reports = this.#turnOver = true
    this.#quietMs = Infinity
  }

  /** @param voiced  the frame has voice; undefined when this is not known */
  push(pcm: Int16Array, voiced?: boolean): void {
    const bytes = this.#bytesOf(pcm)
    const now = this.#turnMayEnd(pcm.length, voiced)
    if (this.#pause !== null) this.#countSilence(pcm.length, voiced)
    // A frame that is a message by itself is sent without a copy.
    if (
      this.#open &&
      this.#filling.length === 0 &&
      this.#waiting.length === 0 &&
      (bytes.length === this.#batchBytes || (now && bytes.length < this.#batchBytes)) &&
      this.#offer(bytes, bytes.length)
    )
      return this.#pauseInSilence()
    let from = 0
    while (from < bytes.length) {
      const batch = this.#filling
      const length = Math.min(bytes.length - from, this.#batchBytes - batch.length)
      batch.bytes.set(from === 0 && length === bytes.length ? bytes : bytes.subarray(from, from + length), batch.length)
      batch.length += length
      from += length
      if (batch.length === this.#batchBytes) this.#full()
    }
    if (this.#paused && voiced !== false) this.#resume()
    else if (now) this.#sendCollected()
    this.#pauseInSilence()
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

  /** True if the service may end the caller's turn with this frame. */
  #turnMayEnd(samples: number, voiced: boolean | undefined): boolean {
    const turnEnd = this.#turnEnd
    if (turnEnd === null) return false
    if (voiced !== false) {
      this.#quietMs = 0
      return voiced === undefined
    }
    this.#quietMs += samplesToMs(samples, this.#sampleRateHz)
    return this.#quietMs > turnEnd.fromMs && (this.#turnOpen || this.#quietMs <= turnEnd.toMs)
  }

  #countSilence(samples: number, voiced: boolean | undefined): void {
    if (voiced === false) {
      this.#silentMs += samplesToMs(samples, this.#sampleRateHz)
    } else {
      this.#silentMs = 0
      this.#turnOver = false
    }
  }

  #pauseInSilence(): void {
    const pause = this.#pause
    if (pause === null || !this.#open || this.#turnOpen || this.#waiting.length > 0) return
    if (this.#silentMs < (this.#turnOver ? PAUSE_AFTER_MS : pause.unreportedMs)) return
    if (!this.#reports && pause.told === undefined) return
    this.#open = false
    this.#paused = true
    pause.told?.()
  }

  /** Sends what the pause kept as one message. */
  #resume(): void {
    this.#open = true
    this.#paused = false
    let length = this.#filling.length
    for (const batch of this.#waiting) length += batch.length
    if (joined.length < length) joined = Buffer.allocUnsafeSlow(length)
    let at = 0
    for (const batch of this.#waiting) at += batch.bytes.copy(joined, at, 0, batch.length)
    this.#filling.bytes.copy(joined, at, 0, this.#filling.length)
    // Refused, they wait as they are.
    if (this.#offer(joined, length)) this.clear()
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
    const max = this.#open ? this.#waitingMax : this.#paused ? this.#pausedMax : this.#preRollMax
    while (this.#waiting.length > max) {
      const oldest = this.#waiting.shift()
      if (oldest !== undefined) {
        const ms = samplesToMs(oldest.length / BYTES_PER_SAMPLE, this.#sampleRateHz)
        if (this.#open) this.droppedMs += ms
        else if (this.#paused) this.silenceMs += ms
      }
      this.#recycle(oldest)
    }
    this.#filling = this.#batch()
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
    if (!this.#send(bytes, length)) return false
    this.messages++
    this.#sentBytes += length
    return true
  }

  #recycle(batch: Batch | undefined): void {
    if (batch === undefined || this.#spares.length >= SPARE_BATCHES_MAX) return
    batch.length = 0
    this.#spares.push(batch)
  }

  #batch(): Batch {
    return this.#spares.pop() ?? { bytes: Buffer.allocUnsafeSlow(this.#batchBytes), length: 0 }
  }
}

/**
 * Silence that need not be sent, because the service has ended the turn. The audio stops when the gateway has heard no
 * voice for `PAUSE_AFTER_MS` since the last voice, and when the service hears none either. It goes on with the first
 * frame that has voice or of which this is not known, and with `PAUSE_PRE_ROLL_MS` from before it.
 */
export interface UplinkPause {
  /** The same silence where the service reported no turn since the last voice: it may still wait for the turn's end. */
  readonly unreportedMs: number
  /**
   * Tells the service that no audio follows for now, so that it waits for none. Without it the audio stops only in a
   * session that has reported the end of a turn before: another service may report none, and wait for silence.
   */
  readonly told?: () => void
}

/** How much audio goes into one message: always `messageMs`; around the end of a turn, where it is known, one frame. */
interface MessageLength {
  readonly messageMs: number
  readonly turnEnd: TurnEnd | null
}

/** @param turnEnd  when the service ends turns; null where the gateway does: then it sends speech only anyway */
export function silencePause(turnEnd: TurnEnd | null, told?: () => void): UplinkPause | null {
  if (turnEnd === null) return null
  return { unreportedMs: Math.max(PAUSE_AFTER_MS, turnEnd.toMs), ...(told === undefined ? {} : { told }) }
}

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
  /** Where silence between turns is not sent; null or absent: all audio is sent while open. */
  readonly pause?: UplinkPause | null
  /** Sends the first `length` bytes (s16le). False: not now; they are offered again later. */
  readonly send: (pcm: Buffer, length: number) => boolean
}

interface Batch {
  readonly bytes: Buffer
  length: number
}

function sparesOf(batchBytes: number): Batch[] {
  const spares = spareBatches.get(batchBytes) ?? []
  spareBatches.set(batchBytes, spares)
  return spares
}

import { msToSamples, samplesToMs, BYTES_PER_SAMPLE } from '../../core/units.js'
import { bytesOfSamples } from '../../media/pcm.js'

/**
 * Time after the caller's last voice in which a service with its own turn detection may end the turn. Only in this time
 * do long messages delay the answer.
 */
export interface TurnEnd {
  readonly fromMs: number
  readonly toMs: number
}

/**
 * Duration of a message in ms. Messages of three frames need 2.7 times less CPU time than messages of one frame. They
 * delay speech by 40 ms. When the caller stops, the last message is sent at once.
 */
export const MESSAGE_MS = 60
/** Maximum difference in ms between the times of the last voice that the gateway and a service find. */
const LAST_VOICE_DOUBT_MS = 300

/**
 * Minimum time in ms without voice that counts as a pause. It is longer than pauses within speech and longer than the
 * silence that turn detection usually requires.
 */
const PAUSE_AFTER_MS = 800
/**
 * Duration in ms of the audio before speech that is sent after a pause. It is longer than the 300 ms that services
 * keep, and longer than the delay of the gateway's VAD.
 */
const PAUSE_PRE_ROLL_MS = 400

/**
 * Maximum number of empty batches of one size that a thread keeps: about 0.7 MB of audio at 24 kHz. Further batches are
 * garbage-collected.
 */
const SPARE_BATCHES_MAX = 256

// Buffers that all calls of a thread share. `joined` contains the audio that was stored during a pause and is sent as
// one message. `spareBatches` contains empty batches, by their number of bytes. There are only a few sizes, because
// agents' files or a setting determine the sizes.
let joined = Buffer.alloc(0)
const spareBatches = new Map<number, Batch[]>()

/**
 * Collects the caller's frames into messages for a backend, and keeps messages that cannot be sent yet.
 *
 *     closed --open--> open: the kept audio is sent, then each message when it is full
 *     open   --close--> closed: only the last `preRollMs` are kept, and nothing is sent
 *     open   --`send` refuses--> open: up to `waitingMsMax` of audio waits; older audio is dropped and counted
 *
 * With a `turnEnd`, the collected audio is sent at each frame in which the turn may end. So the service can end the
 * turn as early as with messages of one frame. The rest of the call is sent in long messages:
 *
 *     long  --`turnEnd.fromMs` of frames without voice since the last voice--> short
 *     short --a frame with voice, `turnEnded`, or `turnEnd.toMs` after the last voice--> long
 *
 * Between `turnBegan` and `turnEnded` the service hears speech, so messages stay short even after `toMs`. If it is not
 * known whether a frame has voice, the frame is also sent at once.
 *
 * With a `pause`, silence between turns is not sent:
 *
 *     open   --silence, and no turn is open--> paused: calls `told`; only the last PAUSE_PRE_ROLL_MS are kept
 *     paused --a frame that may have voice, or `turnBegan`--> open: the kept audio is sent as one message
 *
 * All calls of the thread reuse batches, so a silent or streaming call does not allocate memory here.
 */
export class CallerUplink {
  /** Duration of audio that was dropped because it had waited too long, in milliseconds. */
  droppedMs = 0
  messages = 0
  /** Duration of silence that was not sent because no turn was open, in milliseconds. */
  silenceMs = 0
  // Each option is copied to its own field, because objects made by spreading have different shapes, and fields of such
  // objects are slow to read.
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
  /** Time in ms since the last frame with voice; Infinity if no end of a turn is expected. */
  #quietMs = Infinity
  /** True while the service detects speech. */
  #turnOpen = false
  #paused = false
  /** Time in milliseconds since the last frame that may have contained voice. */
  #silentMs = 0
  /**
   * True if the service has ended a turn in this session; and true if the service has ended a turn since the last
   * voice.
   */
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

  /** @returns the milliseconds of audio sent since the last call of this method */
  takeSentMs(): number {
    const ms = samplesToMs(this.#sentBytes / BYTES_PER_SAMPLE, this.#sampleRateHz)
    this.#sentBytes = 0
    return ms
  }

  /**
   * Sends the newest `keptMs` of the stored audio, in whole messages. Afterwards sends each message when it is full.
   */
  open(keptMs = Infinity): void {
    const kept = Math.ceil(keptMs / this.#messageMs)
    if (!this.#open) while (this.#waiting.length > kept) this.#recycle(this.#waiting.shift())
    this.#open = true
    this.#paused = false
    this.#drain()
  }

  /** Offers waiting messages again. Called when the receiver may accept messages again. */
  retry(): void {
    if (this.#open) this.#drain()
  }

  /** Stops sending. The newest audio is stored and sent after the next `open`. */
  close(): void {
    this.#open = this.#paused = false
    while (this.#waiting.length > this.#preRollMax) this.#recycle(this.#waiting.shift())
  }

  /** Drops all waiting audio. */
  clear(): void {
    while (this.#waiting.length > 0) this.#recycle(this.#waiting.shift())
    this.#filling.length = 0
  }

  /** Records that the service has detected speech; the gateway's VAD may have detected none. */
  turnBegan(): void {
    this.#turnOpen = true
    // From now on, silence may end this turn, even if the gateway's VAD found no voice.
    if (this.#quietMs === Infinity) this.#quietMs = 0
    if (this.#paused) this.#resume()
  }

  /** Records that the service has ended the turn, and no longer waits for silence. */
  turnEnded(): void {
    this.#turnOpen = false
    this.#reports = this.#turnOver = true
    this.#quietMs = Infinity
  }

  /** @param voiced  true if the frame contains voice; undefined if not known */
  push(pcm: Int16Array, voiced?: boolean): void {
    const bytes = this.#bytesOf(pcm)
    const now = this.#turnMayEnd(pcm.length, voiced)
    if (this.#pause !== null) this.#countSilence(pcm.length, voiced)
    // If each frame is a message, the frame is sent without a copy.
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

  /** Sends a message that is not full yet. Called when the caller has stopped and waits for an answer. */
  flush(): void {
    if (this.#filling.length > 0) this.#full()
  }

  /** Each call passes all its frames in one array, so the view of the array's bytes is stored. */
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

  /** Sends the audio stored during the pause as one message. */
  #resume(): void {
    this.#open = true
    this.#paused = false
    let length = this.#filling.length
    for (const batch of this.#waiting) length += batch.length
    if (joined.length < length) joined = Buffer.allocUnsafeSlow(length)
    let at = 0
    for (const batch of this.#waiting) at += batch.bytes.copy(joined, at, 0, batch.length)
    this.#filling.bytes.copy(joined, at, 0, this.#filling.length)
    // If `send` refuses the message, the audio stays in the queue.
    if (this.#offer(joined, length)) this.clear()
  }

  /** Sends a message that is not full yet. If `send` refuses the message, further audio is added to the message. */
  #sendCollected(): void {
    const batch = this.#filling
    if (!this.#open || batch.length === 0) return
    this.#drain()
    if (this.#waiting.length === 0 && this.#offer(batch.bytes, batch.length)) batch.length = 0
  }

  #full(): void {
    const batch = this.#filling
    // In the usual case no message waits, and this message is sent directly from its batch.
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
 * Option not to send the silence after a turn. The audio stops when the gateway's VAD has found no voice for
 * `PAUSE_AFTER_MS` and the service detects no speech. The audio resumes when a frame may contain voice.
 * `PAUSE_PRE_ROLL_MS` of earlier audio is sent before this frame.
 */
export interface UplinkPause {
  /**
   * Silence in ms after which the audio stops, if the service has reported no end of a turn since the last voice. The
   * service may still be waiting for the turn's end.
   */
  readonly unreportedMs: number
  /**
   * Informs the service that no audio follows for now, so that the service does not wait. If this method is absent, the
   * audio stops only in a session that has reported the end of a turn. A session without such a report may be waiting
   * for silence.
   */
  readonly told?: () => void
}

/**
 * Duration of audio in one message: `messageMs`. If `turnEnd` is set, messages near the end of a turn have one frame.
 */
interface MessageLength {
  readonly messageMs: number
  readonly turnEnd: TurnEnd | null
}

/**
 * @param turnEnd  silence at which the service ends turns; null if the gateway ends turns, because then only speech is
 * sent
 */
export function silencePause(turnEnd: TurnEnd | null, told?: () => void): UplinkPause | null {
  if (turnEnd === null) return null
  return { unreportedMs: Math.max(PAUSE_AFTER_MS, turnEnd.toMs), ...(told === undefined ? {} : { told }) }
}

/** @param silenceMs  silence after which the service ends a turn, in ms */
export function turnEndAfter(silenceMs: number): TurnEnd {
  return { fromMs: Math.max(0, silenceMs - LAST_VOICE_DOUBT_MS), toMs: silenceMs + LAST_VOICE_DOUBT_MS }
}

/**
 * @param setMs  configured duration of all messages in ms; undefined if the duration is chosen for the call
 * @param turnEnd  silence at which the service ends turns; null if the gateway ends turns
 */
export function messageLength(setMs: number | undefined, turnEnd: TurnEnd | null): MessageLength {
  return setMs === undefined ? { messageMs: MESSAGE_MS, turnEnd } : { messageMs: setMs, turnEnd: null }
}

export interface CallerUplinkOptions extends MessageLength {
  readonly sampleRateHz: number
  /** Maximum audio in ms that waits while `send` refuses; the oldest audio above this limit is dropped. */
  readonly waitingMsMax: number
  /** Maximum audio in ms from before `open` that is stored, so that the onset of speech is not lost. */
  readonly preRollMs: number
  /** Option not to send silence between turns. If it is null or absent, all audio is sent while open. */
  readonly pause?: UplinkPause | null
  /**
   * Sends the first `length` bytes (s16le).
   * @returns false if sending is not possible now; the bytes are then offered again later
   */
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

import { WebSocket } from 'ws'
import { attribute, openSocket, post } from '../edge/gateway.js'

const FRAME_SAMPLES = 320
const FRAME_MS = 20
/** Frames after which the carrier's sound comes back on its other track. */
const EAR_FRAMES = 3

interface LightCallerOptions {
  readonly url: string
  readonly agent: string
  readonly callSid: string
  /** E.164; its last two digits tell the scripted backend what to do. */
  readonly from: string
  /** Sends both tracks, interleaved. */
  readonly stereo: boolean
}

/**
 * A caller that needs almost no CPU: it does not analyse what it hears, all callers share one synthesised sentence and
 * one timer. It speaks on request and is silent otherwise, in frames of 20 ms.
 */
export class LightCaller {
  readonly callSid: string
  /** Samples of the agent that came so far. */
  heardSamples = 0
  closed = false
  readonly #socket: WebSocket
  readonly #stereo: boolean
  #words: Int16Array | null = null
  #at = 0
  #played: Int16Array[] = []

  private constructor(options: LightCallerOptions, socket: WebSocket) {
    this.callSid = options.callSid
    this.#stereo = options.stereo
    this.#socket = socket
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) return
      this.heardSamples += data.length / 2
      if (this.#stereo) this.#keep(new Int16Array(new Uint8Array(data).buffer))
    })
    socket.on('close', () => {
      this.closed = true
    })
  }

  /** Rings, and opens its socket; rejects when it is refused. */
  static async ring(options: LightCallerOptions): Promise<LightCaller> {
    const answer = await post(`${options.url}/voice/${options.agent}`, {
      form: {
        sessionId: options.callSid,
        callerNumber: options.from,
        destinationNumber: '+254709000000',
        callSessionState: 'Ringing',
        direction: 'inbound',
      },
    })
    return new LightCaller(options, await openSocket(attribute(answer.text, 'url')))
  }

  say(words: Int16Array): void {
    this.#words = words
    this.#at = 0
  }

  /** Nothing of the agent is being played. */
  get silent(): boolean {
    return this.#played.length === 0
  }

  hangUp(): void {
    this.#socket.close(1000)
  }

  /** The next 20 ms. */
  tick(): void {
    if (this.closed || this.#socket.readyState !== WebSocket.OPEN) return
    const frame = new Int16Array(FRAME_SAMPLES)
    if (this.#words !== null) {
      frame.set(this.#words.subarray(this.#at, this.#at + FRAME_SAMPLES))
      this.#at += FRAME_SAMPLES
      if (this.#at >= this.#words.length) this.#words = null
    }
    const out = this.#stereo ? this.#both(frame) : frame
    this.#socket.send(new Uint8Array(out.buffer))
  }

  #keep(samples: Int16Array): void {
    // While nothing is played silence goes out; it is what delays the sound as a carrier's buffer does.
    if (this.#played.length === 0) for (let i = 0; i < EAR_FRAMES; i++) this.#played.push(new Int16Array(FRAME_SAMPLES))
    for (let at = 0; at < samples.length; at += FRAME_SAMPLES) {
      const frame = new Int16Array(FRAME_SAMPLES)
      frame.set(samples.subarray(at, at + FRAME_SAMPLES))
      this.#played.push(frame)
    }
  }

  #both(left: Int16Array): Int16Array {
    const right = this.#played.shift()
    const mixed = new Int16Array(2 * FRAME_SAMPLES)
    for (let i = 0; i < FRAME_SAMPLES; i++) {
      mixed[2 * i] = left[i] as number
      mixed[2 * i + 1] = right?.[i] ?? 0
    }
    return mixed
  }
}

/** Ticks all callers by one timer that keeps real time; the returned function stops it. */
export function tickAll(callers: readonly LightCaller[]): () => void {
  let dueMs = performance.now()
  const timer = setInterval(() => {
    while (performance.now() >= dueMs) {
      for (const caller of callers) caller.tick()
      dueMs += FRAME_MS
    }
  }, 5)
  return () => clearInterval(timer)
}

import { messageOf } from './api.js'
import workletUrl from './phone-worklet.ts?worker&url'

/** Reason why there is no microphone. */
export type MicrophoneFault = 'insecure' | 'unsupported' | 'denied' | 'missing' | 'busy' | { readonly other: string }

export interface LineEvents {
  /** Messages of the gateway about the call. They are plain JSON with a `type`. */
  readonly news: (news: Readonly<Record<string, unknown>>) => void
  readonly connected: (connected: boolean) => void
  /** Loudness of the microphone or of the played sound, 0 to 1, for each 20 ms. */
  readonly level: (who: 'you' | 'them', level: number) => void
}

const RECONNECT_MS = 1000

/** Socket of the softphone and the sound of its call. A lost socket is opened again. */
export class PhoneLine {
  readonly #events: LineEvents
  #socket: WebSocket | null = null
  #timer = 0
  #closed = false
  #sound: Sound | null = null
  muted = false

  constructor(events: LineEvents) {
    this.#events = events
    this.#connect()
  }

  get connected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  /**
   * Opens the sound. Call this in the handler of a click, because browsers allow sound only there.
   * @returns the reason why there is no microphone; null if there is one
   */
  async openSound(options: {
    readonly microphone: boolean
    readonly headphones: boolean
  }): Promise<MicrophoneFault | null> {
    this.closeSound()
    const sound = await Sound.open((frame) => this.#spoken(frame)).catch(() => null)
    this.#sound = sound
    if (!options.microphone) return null
    if (!isSecureContext || navigator.mediaDevices === undefined) return 'insecure'
    if (sound === null) return 'unsupported'
    try {
      await sound.listen(options.headphones)
      return null
    } catch (thrown) {
      return faultOf(thrown)
    }
  }

  closeSound(): void {
    this.#sound?.close()
    this.#sound = null
  }

  send(message: Readonly<Record<string, unknown>>): void {
    if (this.connected) this.#socket?.send(JSON.stringify(message))
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    this.closeSound()
    this.#socket?.close()
  }

  #connect(): void {
    const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/phone`)
    socket.binaryType = 'arraybuffer'
    this.#socket = socket
    socket.addEventListener('open', () => this.#events.connected(true))
    socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === 'string') {
        this.#events.news(JSON.parse(data) as Readonly<Record<string, unknown>>)
        return
      }
      this.#events.level('them', levelOf(new Int16Array(data)))
      this.#sound?.play(data)
    })
    socket.addEventListener('close', () => {
      this.closeSound()
      this.#events.connected(false)
      if (!this.#closed) this.#timer = window.setTimeout(() => this.#connect(), RECONNECT_MS)
    })
  }

  #spoken(frame: ArrayBuffer): void {
    const samples = new Int16Array(frame)
    if (this.muted) samples.fill(0)
    this.#events.level('you', levelOf(samples))
    if (this.connected) this.#socket?.send(frame)
  }
}

/** Delay in s of sound that is played without a worklet. */
const SCHEDULED_LEAD_S = 0.12
const CALL_RATE_HZ = 16_000
/**
 * Maximum time in ms to wait for the loudspeaker. On a machine without a loudspeaker, Firefox waits for ever. After
 * this time the call has no sound.
 */
const LOUDSPEAKER_WAIT_MS = 2000

/** Audio graph of one call. */
class Sound {
  readonly #context: AudioContext
  /**
   * Null if the page cannot use worklets, for example over plain HTTP. The user then hears the agent, but the
   * microphone is not used.
   */
  readonly #loudspeaker: AudioWorkletNode | null
  #scheduledS = 0
  readonly #onSpoken: (frame: ArrayBuffer) => void
  #microphone: MediaStream | null = null

  static async open(onSpoken: (frame: ArrayBuffer) => void): Promise<Sound> {
    const context = new AudioContext({ latencyHint: 'interactive' })
    await Promise.race([context.resume(), new Promise((resolve) => setTimeout(resolve, LOUDSPEAKER_WAIT_MS))])
    await context.audioWorklet?.addModule(workletUrl)
    return new Sound(context, onSpoken)
  }

  private constructor(context: AudioContext, onSpoken: (frame: ArrayBuffer) => void) {
    this.#context = context
    this.#onSpoken = onSpoken
    this.#loudspeaker =
      context.audioWorklet === undefined
        ? null
        : new AudioWorkletNode(context, 'mkondo-loudspeaker', { numberOfInputs: 0, outputChannelCount: [1] })
    this.#loudspeaker?.connect(context.destination)
  }

  /** @throws DOMException of `getUserMedia` */
  async listen(headphones: boolean): Promise<void> {
    this.#microphone = await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: !headphones, noiseSuppression: false, autoGainControl: false },
    })
    const node = new AudioWorkletNode(this.#context, 'mkondo-microphone', { numberOfOutputs: 0, channelCount: 1 })
    node.port.onmessage = ({ data }: MessageEvent<ArrayBuffer>): void => this.#onSpoken(data)
    this.#context.createMediaStreamSource(this.#microphone).connect(node)
  }

  play(frame: ArrayBuffer): void {
    // Frames are dropped while the audio context does not run, because the worklet would collect them.
    if (this.#context.state !== 'running') return
    if (this.#loudspeaker !== null) this.#loudspeaker.port.postMessage(frame, [frame])
    else this.#schedule(new Int16Array(frame))
  }

  #schedule(frame: Int16Array): void {
    const buffer = this.#context.createBuffer(1, frame.length, CALL_RATE_HZ)
    buffer.copyToChannel(
      Float32Array.from(frame, (sample) => sample / 32_768),
      0,
    )
    const source = this.#context.createBufferSource()
    source.buffer = buffer
    source.connect(this.#context.destination)
    const nowS = this.#context.currentTime
    const late = this.#scheduledS < nowS || this.#scheduledS > nowS + 4 * SCHEDULED_LEAD_S
    const atS = late ? nowS + SCHEDULED_LEAD_S : this.#scheduledS
    source.start(atS)
    this.#scheduledS = atS + buffer.duration
  }

  close(): void {
    for (const track of this.#microphone?.getTracks() ?? []) track.stop()
    this.#context.close().catch(() => undefined) // it is closed already
  }
}

function faultOf(thrown: unknown): MicrophoneFault {
  const name = thrown instanceof DOMException ? thrown.name : ''
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'denied'
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'missing'
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy'
  return { other: messageOf(thrown) }
}

/** Loudness: 0 at -60 dBFS and below, 1 at full scale. */
function levelOf(samples: Int16Array): number {
  let sum = 0
  for (const sample of samples) sum += sample * sample
  const db = 10 * Math.log10(sum / Math.max(1, samples.length) / 32_768 ** 2 + 1e-12)
  return Math.max(0, Math.min(1, (db + 60) / 60))
}

import { msToSamples, type LegRateHz } from '../../../core/units.js'
import { ChannelLayout, Reframer } from '../../../media/reframer.js'
import { StereoTimeline } from '../../../media/stereo-timeline.js'
import type { StreamTrack } from '../../../sautikit/actions.js'
import type { RecordingSink } from '../../../telemetry/archive/archive.js'

/** Audio of one recording in one write: 64 KB at 16 kHz. */
const RECORDING_BATCH_MS = 1000

/** Hears the agent as the caller does. */
export type AgentHearer = Pick<CallRecorder, 'agent' | 'agentCut'>

interface CallRecorderOptions {
  readonly rateHz: LegRateHz
  readonly track: StreamTrack
  /** When the stream opened: the recording begins there. */
  readonly openedAtMs: number
  /** For a listener, who hears it at once: how much is written at a time, and how long late audio is waited for. */
  readonly live?: { readonly batchMs: number; readonly holdMs: number }
  /** True: the caller knows of the recording already. False: nothing is kept unless `announced` is called. */
  readonly announced: boolean
}

/**
 * The recording of one call, or what a listener hears of it: the caller's audio from the socket and the agent's from playout become stereo rows, which
 * go to the archive's thread one second at a time. It runs on the main thread, which has both voices even when the
 * worker dies; it only copies samples and waits for nothing.
 *
 * On a mixed line (`both_tracks` in one channel) the left side holds both voices, as the carrier sent them.
 */
export class CallRecorder {
  readonly path: string
  /** Rows that the archive would not take. */
  rowsDropped = 0
  readonly #sink: RecordingSink
  readonly #timeline: StereoTimeline
  readonly #layout: ChannelLayout
  readonly #reframer: Reframer
  readonly #frame: Int16Array
  /** Packets that wait until their number of channels is known. */
  readonly #held: { readonly bytes: Uint8Array; readonly arrivalMs: number }[] = []
  readonly #batch: number
  #rows = 0
  #announced: boolean
  #over = false

  constructor(sink: RecordingSink, options: CallRecorderOptions) {
    const { rateHz, track, openedAtMs, live } = options
    this.path = sink.path
    this.#announced = options.announced
    this.#sink = sink
    this.#timeline = new StereoTimeline({
      sampleRateHz: rateHz,
      zeroMs: openedAtMs,
      ...(live === undefined ? {} : { holdMs: live.holdMs }),
    })
    this.#layout = new ChannelLayout({ sampleRateHz: rateHz, track })
    this.#reframer = new Reframer({ sampleRateHz: rateHz, channels: 1 })
    this.#frame = new Int16Array(this.#reframer.frameSamples)
    this.#batch = msToSamples(live?.batchMs ?? RECORDING_BATCH_MS, rateHz)
  }

  /** The caller now knows of the recording, so it may be kept. */
  announced(): void {
    this.#announced = true
    this.#sink.announced()
  }

  /** True when the recording is kept: the caller knows of it, and the archive has not failed. */
  get kept(): boolean {
    return this.#announced && !this.#sink.failed
  }

  /** Samples that did not fit into the timeline. */
  get samplesDropped(): number {
    return this.#timeline.callerDropped + this.#timeline.agentDropped
  }

  /** Bytes from the carrier's socket, which are not changed; of a private line they become silence. */
  caller(received: Uint8Array, arrivalMs: number, isPrivate: boolean): void {
    if (this.#over) return
    const bytes = isPrivate ? new Uint8Array(received.byteLength) : received
    this.#layout.observe(bytes.length, arrivalMs)
    const { channels } = this.#layout
    if (channels === 0) {
      // This lasts CHANNEL_DECISION_MS_MAX at most.
      this.#held.push({ bytes: bytes.slice(), arrivalMs })
      return
    }
    if (channels !== this.#reframer.channels) this.#reframer.setChannels(channels)
    if (this.#held.length > 0) for (const packet of this.#held.splice(0)) this.#place(packet.bytes, packet.arrivalMs)
    this.#place(bytes, arrivalMs)
  }

  /** The caller's audio since then, as far as it is not written yet, is replaced by silence. */
  callerUnheard(fromMs: number): void {
    if (!this.#over) this.#timeline.callerUnheard(fromMs)
  }

  /** Samples that were sent to the carrier, which plays them from `playedAtMs` on. */
  agent(samples: Int16Array, playedAtMs: number): void {
    if (!this.#over) this.#timeline.agent(samples, playedAtMs)
  }

  /** The carrier discards what it has not played yet. */
  agentCut(nowMs: number): void {
    if (!this.#over) this.#timeline.agentCut(nowMs)
  }

  /** Called once a tick: writes the rows that are final. */
  pump(nowMs: number): void {
    if (this.#over || this.#timeline.ready(nowMs) < this.#batch) return
    this.#write(this.#batch)
  }

  /** The caller does not want to be recorded: what there is of it is deleted. */
  refused(): void {
    if (this.#over) return
    this.#over = true
    this.#announced = false
    this.#sink.discard()
  }

  /** The stream is over. Idempotent. */
  end(nowMs: number): void {
    if (this.#over) return
    for (let rows = this.#timeline.rest(nowMs); rows > 0; rows = this.#timeline.rest(nowMs))
      this.#write(Math.min(rows, this.#batch))
    this.#over = true
    if (this.#announced) this.#sink.end()
    else this.#sink.discard()
  }

  #place(bytes: Uint8Array, arrivalMs: number): void {
    this.#reframer.push(bytes)
    while (this.#reframer.next(this.#frame, null)) this.#timeline.caller(this.#frame, arrivalMs)
  }

  #write(rows: number): void {
    const out = new Int16Array(2 * rows)
    this.#timeline.take(rows, out)
    if (!this.#sink.write(this.#rows, out)) this.rowsDropped += rows
    this.#rows += rows
  }
}

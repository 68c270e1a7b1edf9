import { RECORDING_BATCH_MS } from '../core/limits.js'
import { msToSamples, type LegRateHz } from '../core/units.js'
import { ChannelLayout, Reframer } from '../media/reframer.js'
import { StereoTimeline } from '../media/stereo-timeline.js'
import type { StreamTrack } from '../sautikit/actions.js'
import type { RecordingSink } from '../telemetry/archive/archive.js'

interface CallRecorderOptions {
  readonly rateHz: LegRateHz
  readonly track: StreamTrack
  /** When the stream opened: the recording begins there. */
  readonly openedAtMs: number
  /** The caller knows already. False: nothing is kept unless `announced` is called. */
  readonly announced: boolean
}

/**
 * The recording of one call: what its socket gave and what playout sent become rows of two voices, which leave for the
 * archive's thread a second at a time. Lives on the main thread, because it has both voices whatever becomes of the
 * worker; it copies samples and waits for nothing.
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
  /** Packets that wait until it is known whether they are stereo. */
  readonly #held: { readonly bytes: Uint8Array; readonly arrivalMs: number }[] = []
  readonly #batch: number
  #rows = 0
  #announced: boolean
  #over = false

  constructor(sink: RecordingSink, options: CallRecorderOptions) {
    const { rateHz, track, openedAtMs } = options
    this.path = sink.path
    this.#announced = options.announced
    this.#sink = sink
    this.#timeline = new StereoTimeline({ sampleRateHz: rateHz, zeroMs: openedAtMs })
    this.#layout = new ChannelLayout({ sampleRateHz: rateHz, track })
    this.#reframer = new Reframer({ sampleRateHz: rateHz, channels: 1 })
    this.#frame = new Int16Array(this.#reframer.frameSamples)
    this.#batch = msToSamples(RECORDING_BATCH_MS, rateHz)
  }

  /** The caller knows of the recording: it may be kept. */
  announced(): void {
    this.#announced = true
    this.#sink.announced()
  }

  /** There is, or will be, something to listen to. */
  get kept(): boolean {
    return this.#announced && !this.#sink.failed
  }

  /** Samples that found no place in time. */
  get samplesDropped(): number {
    return this.#timeline.callerDropped + this.#timeline.agentDropped
  }

  /** Bytes of the carrier's socket; only read. */
  caller(bytes: Uint8Array, arrivalMs: number): void {
    if (this.#over) return
    this.#layout.observe(bytes.length, arrivalMs)
    const { channels } = this.#layout
    if (channels === 0) {
      // For CHANNEL_DECISION_MS_MAX at most.
      this.#held.push({ bytes: bytes.slice(), arrivalMs })
      return
    }
    if (channels !== this.#reframer.channels) this.#reframer.setChannels(channels)
    if (this.#held.length > 0) for (const packet of this.#held.splice(0)) this.#place(packet.bytes, packet.arrivalMs)
    this.#place(bytes, arrivalMs)
  }

  /** Samples that were sent to the carrier, which plays them from `playedAtMs` on. */
  agent(samples: Int16Array, playedAtMs: number): void {
    if (!this.#over) this.#timeline.agent(samples, playedAtMs)
  }

  /** The carrier throws away what it has. */
  agentCut(nowMs: number): void {
    if (!this.#over) this.#timeline.agentCut(nowMs)
  }

  /** Once a tick: lets go of what is final. */
  pump(nowMs: number): void {
    if (this.#over || this.#timeline.ready(nowMs) < this.#batch) return
    this.#write(this.#batch)
  }

  /** The stream is over. Idempotent. */
  end(nowMs: number): void {
    if (this.#over) return
    for (let rows = this.#timeline.rest(nowMs); rows > 0; rows = this.#timeline.rest(nowMs)) this.#write(Math.min(rows, this.#batch))
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

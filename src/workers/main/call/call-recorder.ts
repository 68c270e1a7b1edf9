import { msToSamples, type LegRateHz } from '../../../core/units.js'
import { ChannelLayout, Reframer } from '../../../media/reframer.js'
import { StereoTimeline } from '../../../media/stereo-timeline.js'
import type { StreamTrack } from '../../../sautikit/actions.js'
import type { RecordingSink } from '../../../telemetry/archive/archive.js'

/** Duration in ms of the audio that a recording writes at a time. At 16 kHz this is 64 KB. */
const RECORDING_BATCH_MS = 1000

/** Receives the agent's audio as the caller hears it. */
export type AgentHearer = Pick<CallRecorder, 'agent' | 'agentCut'>

interface CallRecorderOptions {
  readonly rateHz: LegRateHz
  readonly track: StreamTrack
  /** Time in ms at which the stream opened; the recording begins then. */
  readonly openedAtMs: number
  /**
   * Set if the receiver is a listener, who hears the audio live. `batchMs`: duration in ms of the audio in one write.
   * `holdMs`: maximum wait in ms for late audio.
   */
  readonly live?: { readonly batchMs: number; readonly holdMs: number }
  /**
   * True: the caller already knows of the recording. False: the recording is stored only after a call of `announced`.
   */
  readonly announced: boolean
}

/**
 * Recording of one call, or audio for a listener. Caller audio from the socket and agent audio from playout become
 * stereo rows. The rows go to the archive's thread, one second at a time. The recorder runs on the main thread, which
 * has both voices even if the worker dies. The recorder only copies samples and never waits.
 *
 * On a mixed line (`both_tracks` in one channel) the left channel contains both voices, as the carrier sent them.
 */
export class CallRecorder {
  readonly path: string
  /** Rows that the archive refused. */
  rowsDropped = 0
  readonly #sink: RecordingSink
  readonly #timeline: StereoTimeline
  readonly #layout: ChannelLayout
  readonly #reframer: Reframer
  readonly #frame: Int16Array
  /** Packets that wait until the number of channels of the stream is known. */
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

  /** Notes that the caller knows of the recording, so the recording may be stored. */
  announced(): void {
    this.#announced = true
    this.#sink.announced()
  }

  /** True if the recording is stored: the caller knows of it, and the archive has not failed. */
  get kept(): boolean {
    return this.#announced && !this.#sink.failed
  }

  /** Number of samples that were dropped because they did not fit into the timeline. */
  get samplesDropped(): number {
    return this.#timeline.callerDropped + this.#timeline.agentDropped
  }

  /**
   * Takes bytes from the carrier's socket without changing them. While the line is private, silence is recorded instead
   * of these bytes.
   */
  caller(received: Uint8Array, arrivalMs: number, isPrivate: boolean): void {
    if (this.#over) return
    const bytes = isPrivate ? new Uint8Array(received.byteLength) : received
    this.#layout.observe(bytes.length, arrivalMs)
    const { channels } = this.#layout
    if (channels === 0) {
      // A packet waits at most CHANNEL_DECISION_MS_MAX.
      this.#held.push({ bytes: bytes.slice(), arrivalMs })
      return
    }
    if (channels !== this.#reframer.channels) this.#reframer.setChannels(channels)
    if (this.#held.length > 0) for (const packet of this.#held.splice(0)) this.#place(packet.bytes, packet.arrivalMs)
    this.#place(bytes, arrivalMs)
  }

  /** Replaces the caller's audio from `fromMs` on by silence, if it has not been written yet. */
  callerUnheard(fromMs: number): void {
    if (!this.#over) this.#timeline.callerUnheard(fromMs)
  }

  /** Takes samples that were sent to the carrier, which plays them from `playedAtMs`. */
  agent(samples: Int16Array, playedAtMs: number): void {
    if (!this.#over) this.#timeline.agent(samples, playedAtMs)
  }

  /** Notes that the carrier discards the audio that it has not played yet. */
  agentCut(nowMs: number): void {
    if (!this.#over) this.#timeline.agentCut(nowMs)
  }

  /** Writes the rows that are final. Called once a tick. */
  pump(nowMs: number): void {
    if (this.#over || this.#timeline.ready(nowMs) < this.#batch) return
    this.#write(this.#batch)
  }

  /** Deletes the recording so far: the caller refused it. */
  refused(): void {
    if (this.#over) return
    this.#over = true
    this.#announced = false
    this.#sink.discard()
  }

  /** Ends the recording with its stream. Idempotent. */
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

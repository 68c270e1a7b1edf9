import { frameSamples, samplesToMs, type LegRateHz } from '../../src/core/units.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { bytesOfSamples } from '../../src/media/pcm.js'
import { Playout, type SampleSource } from '../../src/media/playout/playout.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { PlayoutQueue } from '../../src/carrier/playout-queue.js'
import { seededRandom } from '../../src/carrier/random.js'
import { TalkingAgent } from '../vad/interruptions.js'

/** Piece of the agent's speech. */
export interface Piece {
  readonly atMs: number
  readonly samples: Int16Array
}

interface AgentCall {
  readonly track: ForkedTrack
  readonly rate: LegRateHz
  readonly vadBank: VadBank
  readonly pieces: readonly Piece[]
  readonly lastMs: number
  readonly seed: number
  /**
   * Returns the audio that the carrier forks at tick `n`. `frame` is the agent's frame that was played to the caller at
   * the same tick.
   */
  readonly fork: (frame: Int16Array, n: number) => Int16Array
  /** Delay in ms from the carrier's tick to the gateway. */
  readonly delayMsAt: (nowMs: number) => number
  /** Disturbances of the audio between the carrier and the gateway. */
  readonly disturbances?: readonly Disturbance[]
  /**
   * Time in ms of a barge-in. It is handled as the session does: silence at the onset, then speech again 700 ms later.
   */
  readonly pauseAtMs?: number
}

/**
 * Kinds of disturbance.
 * - `carrier`: the carrier pauses in both directions.
 * - `lost`: audio that the carrier forked is lost.
 * - `held`: audio is delayed in both directions, and then comes all at once.
 * - `waits`: like `held`, but only in the direction to the caller.
 * - `route`: from this time on, audio takes longer to reach us, or takes as long as before again.
 */
export const DISTURBED = ['carrier', 'lost', 'held', 'route', 'waits'] as const
export interface Disturbance {
  readonly what: (typeof DISTURBED)[number]
  readonly atMs: number
  readonly ms: number
}

export interface Heard {
  /**
   * `onsetsAtMs`: media times in ms of the frames at which the session silenced the agent. `commitsAtMs`: media times
   * at which it ended the agent's turn.
   */
  readonly onsetsAtMs: number[]
  readonly commitsAtMs: number[]
  readonly digits: string
  readonly frames: readonly Int16Array[]
  readonly echoDelayMs: number | null
}

/**
 * Runs a call whose agent is heard as an echo in the caller's audio. The call runs on its own clock. It contains our
 * playout, the carrier's queue with its hold-back and its own tick phase, the delay of the way back, and the caller's
 * path.
 */
export function callWithAgent(call: AgentCall): Heard {
  const { rate, pauseAtMs = NaN } = call
  const random = seededRandom(call.seed)
  const F = frameSamples(rate)
  const path = new CallerPath({ sampleRateHz: rate, track: call.track, vadBank: call.vadBank })
  const playout = new Playout({ sampleRateHz: rate })
  const queue = new PlayoutQueue()
  const speech = new Speech(call.pieces)
  const out = new Int16Array(playout.outSamplesMax)
  // The session decides with an agent's defaults. Here the agent never stops speaking, so that decisions in pauses are
  // judged too.
  const session = new TalkingAgent()
  const heard = { onsetsAtMs: [] as number[], commitsAtMs: [] as number[], digits: '', frames: [] as Int16Array[] }
  const back: { readonly dueMs: number; readonly frame: Int16Array }[] = []
  let referenced = 0
  let carrierMs = 13 * random()
  let frames = 0
  const disturbances = [...(call.disturbances ?? [])]
  const waiting: Uint8Array[] = []
  let [lostUntilMs, heldUntilMs, waitsUntilMs, longerMs] = [0, 0, 0, 0]
  for (let now = 0; now < call.lastMs; now += 5) {
    speech.reach(now)
    if (now >= (disturbances[0]?.atMs ?? Infinity)) {
      const { what, ms } = disturbances.shift() as Disturbance
      if (what === 'carrier') carrierMs += ms
      else if (what === 'lost') lostUntilMs = now + ms
      else if (what === 'held') heldUntilMs = waitsUntilMs = now + ms
      else if (what === 'waits') waitsUntilMs = now + ms
      else longerMs = longerMs > 0 ? 0 : ms
    }
    if (now === pauseAtMs) playout.pause(now)
    if (now === pauseAtMs + 700) playout.resume(now)
    if (now % 10 === 0) {
      const samples = playout.pump(now + 4 * random(), speech, out)
      if (samples > 0) waiting.push(bytesOfSamples(out.slice(0, samples)))
      if (now >= waitsUntilMs) for (const bytes of waiting.splice(0)) queue.push(bytes)
    }
    if (now >= carrierMs) {
      carrierMs += 20
      const frame = new Int16Array(F)
      queue.tick(frame)
      const forked = call.fork(frame, frames++)
      const dueMs = Math.max(back.at(-1)?.dueMs ?? 0, heldUntilMs, now + longerMs + call.delayMsAt(now) + 3 * random())
      if (now >= lostUntilMs) back.push({ dueMs, frame: forked })
    }
    if (now % 10 !== 5) continue
    for (; referenced + F <= speech.taken; referenced += F) {
      const endMs = playout.speechEndMs - samplesToMs(speech.taken - referenced, rate)
      path.playedReference(speech.copy(referenced, F), endMs)
    }
    while (back.length > 0 && (back[0]?.dueMs ?? Infinity) <= now)
      path.push(bytesOfSamples(back.shift()?.frame as Int16Array), now)
    while (path.pull(now)) {
      heard.frames.push(path.frame.slice())
      heard.digits += path.digit ?? ''
      session.frame(path)
      if (session.pausesAtMs.length > heard.onsetsAtMs.length) heard.onsetsAtMs.push(path.mediaMs)
      if (session.commitsAtMs.length > heard.commitsAtMs.length) heard.commitsAtMs.push(path.mediaMs)
    }
  }
  const { echoDelayMs } = path
  path.release()
  return { ...heard, echoDelayMs }
}

/** The agent's speech. A piece of speech comes all at once when it begins. */
class Speech implements SampleSource {
  taken = 0
  readonly #all: Int16Array
  readonly #pieces: readonly Piece[]
  #ready = 0
  #next = 0

  constructor(pieces: readonly Piece[]) {
    this.#pieces = pieces
    this.#all = new Int16Array(pieces.reduce((sum, { samples }) => sum + samples.length, 0))
    let at = 0
    for (const { samples } of pieces) {
      this.#all.set(samples, at)
      at += samples.length
    }
  }

  reach(nowMs: number): void {
    for (let piece = this.#pieces[this.#next]; piece !== undefined && piece.atMs <= nowMs;) {
      this.#ready += piece.samples.length
      piece = this.#pieces[++this.#next]
    }
  }

  copy(from: number, samples: number): Int16Array {
    return this.#all.slice(from, from + samples)
  }

  replace(samples: Int16Array, count: number): void {
    this.#all.set(samples.subarray(0, count), this.taken)
  }

  available(): number {
    return this.#ready - this.taken
  }

  peek(out: Int16Array, samples: number): number {
    const count = Math.min(samples, this.available())
    out.set(this.#all.subarray(this.taken, this.taken + count))
    return count
  }

  consume(samples: number): void {
    this.taken += samples
  }
}

import { BYTES_PER_SAMPLE, samplesToMs, type LegRateHz } from '../../../core/units.js'
import { Views } from '../../../core/views.js'
import { Playout } from '../../../media/playout/playout.js'
import { KILL_AUDIO } from '../../../sautikit/stream-messages.js'
import type { AgentHearer } from './call-recorder.js'
import type { MediaSink } from '../live-call.js'
import { Time, Word } from '../../shared/shared-call-layout.js'
import type { SharedCall } from '../../shared/shared-call.js'

// Shared by all calls, which are sent one after the other: 1 s at 16 kHz, five times what playout gives at once.
const outgoing = new Int16Array(16_000)
const outgoingBytes = new Views(new Uint8Array(outgoing.buffer))

/**
 * The main thread's end of a call's speech: reads the worker's words in the shared memory, sends what is due
 * (`Playout`), and publishes how much was sent and when it will have been played. It continues while the worker is
 * dead.
 */
export class PlayoutClock {
  readonly #shared: SharedCall
  readonly #rateHz: LegRateHz
  readonly #playout: Playout
  readonly #waitingSound: () => Int16Array | null
  #waitingSeen = 0
  #clearsSeen = 0
  #pausedSeen = false
  #moreSeen = 0
  #writtenSeen = 0
  #underrunsSeen = 0
  /** Nothing is due before this time, unless one of the words above has changed. */
  #playAtMs = -Infinity

  /** @param waitingSound  of the agent that has the call, at the leg's rate */
  constructor(shared: SharedCall, rateHz: LegRateHz, waitingSound: () => Int16Array | null = () => null) {
    this.#waitingSound = waitingSound
    this.#shared = shared
    this.#rateHz = rateHz
    this.#playout = new Playout({ sampleRateHz: rateHz })
  }

  /** Underruns within an item, ever. */
  get underruns(): number {
    return this.#playout.underruns
  }

  /** Those since this was asked last. */
  newUnderruns(): number {
    const before = this.#underrunsSeen
    this.#underrunsSeen = this.underruns
    return this.underruns - before
  }

  /** The session is gone, and its pause with it: the samples in the ring are played. */
  letGo(): void {
    Atomics.store(this.#shared.words, Word.paused, 0)
    Atomics.store(this.#shared.words, Word.more, 0)
    Atomics.store(this.#shared.words, Word.waiting, 0)
  }

  /** Sends what is due. @returns false when the socket refused it, because too much already waits there */
  pump(nowMs: number, sink: MediaSink, hearer: AgentHearer | null): boolean {
    const { words, times, outbound } = this.#shared
    const playout = this.#playout
    if (this.#nothingToPlay(nowMs)) return true
    // Read before the pump, so that samples written meanwhile count as new.
    this.#writtenSeen = outbound.writtenGlance
    if (words[Word.clears] !== this.#clearsSeen) {
      this.#clearsSeen = Atomics.load(words, Word.clears)
      this.#pausedSeen = false
      playout.clear(nowMs)
      hearer?.agentCut(nowMs)
      sink.sendText(KILL_AUDIO)
    }
    const paused = words[Word.paused] === 1
    if (paused !== this.#pausedSeen) {
      this.#pausedSeen = paused
      if (paused) playout.pause(nowMs)
      else playout.resume(nowMs)
    }
    // Read before the samples are counted, because the worker publishes the end of speech after its last sample.
    if (words[Word.more] !== this.#moreSeen) this.#moreSeen = Atomics.load(words, Word.more)
    playout.speechEnded = this.#moreSeen === 0
    if (words[Word.waiting] !== this.#waitingSeen) {
      this.#waitingSeen = words[Word.waiting] as number
      playout.background = this.#waitingSeen === 1 ? this.#waitingSound() : null
    }
    const waited = playout.backgroundSamples
    const samples = playout.pump(nowMs, outbound, outgoing)
    this.#playAtMs = playout.dueMs
    if (samples === 0) return true
    if (playout.backgroundSamples !== waited) {
      const { waitingSent } = this.#shared
      for (let i = 0; i < samples; i++) waitingSent[(waited + i) & (waitingSent.length - 1)] = outgoing[i] as number
      times[Time.waitingZeroMs] = playout.playoutEndMs - samplesToMs(playout.backgroundSamples, this.#rateHz)
      Atomics.store(words, Word.waitingSent, playout.backgroundSamples | 0)
      return this.#send(samples, sink, hearer)
    }
    const sent = outbound.consumed
    times[Time.sampleZeroMs] = playout.speechEndMs - samplesToMs(sent, this.#rateHz)
    times[Time.playoutEndMs] = playout.playoutEndMs
    times[Time.lastSentAtMs] = playout.lastSentAtMs
    Atomics.store(words, Word.dated, sent | 0)
    return this.#send(samples, sink, hearer)
  }

  /** The people who listen, and the recording, hear what the caller hears. */
  #send(samples: number, sink: MediaSink, hearer: AgentHearer | null): boolean {
    const taken = sink.sendAudio(outgoingBytes.at(0, samples * BYTES_PER_SAMPLE))
    hearer?.agent(outgoing.subarray(0, samples), this.#playout.playoutEndMs - samplesToMs(samples, this.#rateHz))
    return taken
  }

  /**
   * True at most ticks. The words are read without Atomics; what this misses is found at the next tick. The word that
   * the worker writes with each frame is read last, because it is seldom in the cache.
   */
  #nothingToPlay(nowMs: number): boolean {
    const { words, outbound } = this.#shared
    return (
      nowMs < this.#playAtMs &&
      words[Word.clears] === this.#clearsSeen &&
      words[Word.more] === this.#moreSeen &&
      words[Word.waiting] === this.#waitingSeen &&
      (words[Word.paused] === 1) === this.#pausedSeen &&
      (this.#playAtMs < Infinity || outbound.writtenGlance === this.#writtenSeen)
    )
  }
}

import { BYTES_PER_SAMPLE, samplesToMs, type LegRateHz } from '../../../core/units.js'
import { Views } from '../../../core/views.js'
import { Playout } from '../../../media/playout/playout.js'
import { KILL_AUDIO } from '../../../sautikit/stream-messages.js'
import type { AgentHearer } from './call-recorder.js'
import type { MediaSink } from '../live-call.js'
import { SOUND_DUCKED, SOUND_FULL, SOUND_PAUSED, Time, Word } from '../../shared/shared-call-layout.js'
import type { SharedCall } from '../../shared/shared-call.js'

// Buffer shared by all calls, because calls are sent one after another. It holds 1 s at 16 kHz, three times as much as
// playout gives at once.
const outgoing = new Int16Array(16_000)
const outgoingBytes = new Views(new Uint8Array(outgoing.buffer))

/**
 * Main thread's end of a call's speech. It reads the worker's shared words, sends the samples that are due (`Playout`),
 * and publishes their number and playing time. It works even while the worker is dead.
 */
export class PlayoutClock {
  readonly #shared: SharedCall
  readonly #rateHz: LegRateHz
  readonly #playout: Playout
  readonly #waitingSound: () => Int16Array | null
  #waitingSeen = 0
  #clearsSeen = 0
  #soundSeen: number = SOUND_FULL
  #moreSeen = 0
  #writtenSeen = 0
  #underrunsSeen = 0
  /** Time in ms of the next due audio. A change of a shared word listed before this field makes playout act earlier. */
  #playAtMs = -Infinity

  /** @param waitingSound  the present agent's waiting sound, at the leg's rate */
  constructor(shared: SharedCall, rateHz: LegRateHz, waitingSound: () => Int16Array | null = () => null) {
    this.#waitingSound = waitingSound
    this.#shared = shared
    this.#rateHz = rateHz
    this.#playout = new Playout({ sampleRateHz: rateHz })
  }

  /** Total number of underruns in the middle of an item. */
  get underruns(): number {
    return this.#playout.underruns
  }

  /** Returns the number of underruns since its last call. */
  newUnderruns(): number {
    const before = this.#underrunsSeen
    this.#underrunsSeen = this.underruns
    return this.underruns - before
  }

  /** Ends a pause that a dead session ordered: the samples in the ring are played. */
  letGo(): void {
    Atomics.store(this.#shared.words, Word.sound, SOUND_FULL)
    Atomics.store(this.#shared.words, Word.more, 0)
    Atomics.store(this.#shared.words, Word.waiting, 0)
  }

  /** Sends due samples. @returns false if the socket refused the samples because too many bytes wait in it */
  pump(nowMs: number, sink: MediaSink, hearer: AgentHearer | null): boolean {
    const { words, times, outbound } = this.#shared
    const playout = this.#playout
    if (this.#nothingToPlay(nowMs)) return true
    // This count is read before the pump, so that samples written during the pump count as new.
    this.#writtenSeen = outbound.writtenGlance
    if (words[Word.clears] !== this.#clearsSeen) {
      this.#clearsSeen = Atomics.load(words, Word.clears)
      this.#soundSeen = SOUND_FULL
      playout.clear(nowMs)
      hearer?.agentCut(nowMs)
      sink.sendText(KILL_AUDIO)
    }
    const sound = words[Word.sound] as number
    if (sound !== this.#soundSeen) {
      this.#soundSeen = sound
      playout.ducked = sound === SOUND_DUCKED
      if (sound === SOUND_PAUSED) playout.pause(nowMs)
      else playout.resume(nowMs)
    }
    // This word is read before the samples are counted, because the worker publishes the end of speech after its last
    // sample.
    if (words[Word.more] !== this.#moreSeen) this.#moreSeen = Atomics.load(words, Word.more)
    playout.speechEnded = this.#moreSeen === 0
    playout.lineBurstMs = words[Word.lineBurstMs] as number
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

  /** Listeners and the recording hear the audio that the caller hears. */
  #send(samples: number, sink: MediaSink, hearer: AgentHearer | null): boolean {
    const taken = sink.sendAudio(outgoingBytes.at(0, samples * BYTES_PER_SAMPLE))
    hearer?.agent(outgoing.subarray(0, samples), this.#playout.playoutEndMs - samplesToMs(samples, this.#rateHz))
    return taken
  }

  /**
   * True in most ticks. The words are read without Atomics, so a change may be seen one tick late. The word that
   * changes with each frame is read last, because it is rarely in the cache.
   */
  #nothingToPlay(nowMs: number): boolean {
    const { words, outbound } = this.#shared
    return (
      nowMs < this.#playAtMs &&
      words[Word.clears] === this.#clearsSeen &&
      words[Word.more] === this.#moreSeen &&
      words[Word.waiting] === this.#waitingSeen &&
      words[Word.sound] === this.#soundSeen &&
      (this.#playAtMs < Infinity || outbound.writtenGlance === this.#writtenSeen)
    )
  }
}

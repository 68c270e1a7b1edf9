import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import { energyOf } from '../pcm.js'
import { HALF_BAND_HISTORY, echoKernel } from './echo-kernel.js'
import { ECHO_DELAY_MS_MAX, SEARCH_PEAKS, SEARCH_SAMPLES } from './echo-limits.js'

/** Number of samples per millisecond at 8 kHz, the matcher's rate on all legs. */
const PER_MS = 8
const NARROW_FRAME = FRAME_MS * PER_MS
// Energy per sample below which a frame is silent, on either side: -66 dBFS.
const SILENT_ENERGY = 16 * 16

/**
 * Content of a frame of the caller's side:
 * - `clear`: the frame cannot contain the agent's speech;
 * - `own`: the frame contains almost only the agent's speech;
 * - `mixed`: the frame contains the agent's speech and another sound, which has the share `foreignShare` of the power;
 * - `unknown`: the frame may contain the agent's speech at an unknown delay. Levels must decide.
 */
export type EchoMatch = 'clear' | 'own' | 'mixed' | 'unknown'

/** Possible delay of the agent's speech in the present run. */
interface Candidate {
  /** Delay in samples. */
  lag: number
  /**
   * Power of the frames that were compared at this delay. `left`: the part of this power that did not match. Older
   * frames have less weight.
   */
  power: number
  left: number
  frames: number
  /**
   * Number of frames that match this delay very well. Such a frame leaves far less unexplained power than at the best
   * delay, and has the usual level of the agent's speech.
   */
  alike: number
  /** Number of searches that ended at this delay. */
  found: number
}

/**
 * Finds our own speech, sample for sample, in a stream into which the carrier mixes both parties. A frame is compared
 * with the sent audio: five taps, 1/8 ms apart, are fitted to explain level and delay. The unexplained rest is the
 * caller. So a caller is detected even while the agent is equally loud; levels alone cannot do this.
 *
 * The delay is constant within a run of speech. Each run has its own delay, because the carrier's hold-back and tick
 * start again. The delay is found by correlation over all delays. A vowel fits nearly as well one pitch period too
 * late. So several candidates are kept until one of them leaves almost no rest:
 *
 * | state     | treatment of a frame                                    | next state                            |
 * |-----------|---------------------------------------------------------|---------------------------------------|
 * | searching | compared at all candidates; the search continues        | a candidate fits for 2 frames -> held |
 * | held      | compared at all candidates; other voices are detected   | it fits for longer -> settled         |
 * | settled   | compared at the best candidate; if that fails, searched | a better candidate -> held or settled |
 *
 * A new run begins with searching, and so does the audio after `disturbed`. If audio is delayed only on its way to the
 * caller, this class does not see the gap. But frames then stop fitting, and another delay at the same level leaves
 * almost no rest.
 *
 * All work is at 8 kHz. A frame costs nothing while we are silent, and 5 us (8 kHz) to 10 us while we talk. Half of
 * this time is for removing our speech. A search costs 25 us. While another voice is heard over ours, at most every
 * second frame searches.
 */
export class EchoMatcher {
  /** True if the agent's speech has been found in the stream. Its copy is then expected. */
  proven = false
  /** Share of other sound in the power of the last matched frame, 0 to 1. */
  foreignShare = 1
  /** Level in dB of the agent's speech in the stream, relative to the level at which it was sent. */
  gainDb = 0
  framesMatched = 0
  searches = 0
  /**
   * Distance in ms by which the delay moved at the last matched frame, although `disturbed` was not called; usually 0.
   */
  movedMs = 0
  readonly #sent: SentSpeech
  readonly #canceller: EchoCanceller
  readonly #heardHistory = new Int16Array(HALF_BAND_HISTORY)
  /**
   * Start of the caller's next frame, in samples at 8 kHz. It is counted from samples, because arrival times are not
   * exact.
   */
  #heardAt = -Infinity
  /** Candidates, best candidate first. */
  #candidates: Candidate[] = []
  /**
   * Candidate whose copy is removed from the last matched frame. Usually it is the best candidate; a newer candidate
   * replaces it with a far better match. `#leaves`: maximum share of unexplained power at this candidate.
   */
  #explains: Candidate | null = null
  #leaves = 1
  #state: 'searching' | 'held' | 'settled' = 'searching'
  #searchesLeft = SEARCHES
  #sinceSearch = 0
  #searchEvery = SEARCH_EVERY
  #sinceFollowed = 0
  #nextLag = NaN
  /** Number of frames since the agent's speech was last found in a frame. */
  #missed = 0
  /** Time until which the delay may move after `disturbed`, on the time axis of `#heardAt`. */
  #movesUntil = -Infinity
  /** Unexplained power of the last matched frame at the best delay; 0 until the delay is known. */
  #bestLeaves = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sent = new SentSpeech(options)
    this.#canceller = new EchoCanceller(this.#sent)
  }

  /**
   * Delay of the last matched run of speech in ms, relative to the times passed to this class; null before the first
   * match.
   */
  get delayMs(): number | null {
    const best = this.#candidates[0]
    return this.proven && best !== undefined ? best.lag / PER_MS : null
  }

  /**
   * Time in ms at which the end of the last matched frame was sent; null until the agent's speech was found. The
   * loudspeaker's echo comes at a constant delay after it.
   */
  get sentAtMs(): number | null {
    const lag = this.#explains?.lag
    return this.proven && lag !== undefined ? (this.#heardAt - lag) / PER_MS : null
  }

  /**
   * Adds 20 ms that the carrier plays from about `playedAtMs`. A jump of `playedAtMs` between two calls begins a new
   * run of speech.
   */
  reference(frame: Int16Array, playedAtMs: number): void {
    if (this.#sent.add(frame, playedAtMs)) this.#beginRun()
  }

  /**
   * Reports that the delay may move from now on: audio was lost or delayed, or the clock of `match` was corrected.
   * @param ms  maximum move in ms, in either direction
   */
  disturbed(ms: number): void {
    // Delayed audio on the path to the caller returns later than delayed audio on the path to the gateway.
    this.#movesUntil = this.#heardAt + Math.max(0, this.#candidates[0]?.lag ?? 0) + (ms + MOVES_WITHIN_MS) * PER_MS
    this.#beginRun()
  }

  /**
   * Compares a frame with the agent's speech. Call this method for every frame of the caller's side, in order.
   * @param capturedAtMs time of the frame's end
   */
  match(frame: Int16Array, capturedAtMs: number): EchoMatch {
    const now = Math.round((capturedAtMs - FRAME_MS) * PER_MS)
    const sent = this.#sent
    const between = (this.#heardAt - LAG_MAX) * sent.step > sent.soundEnd
    // The carrier's samples have no gaps, whatever their arrival times. So the position is counted in samples while the
    // agent's speech is in the stream.
    if (Math.abs(now - this.#heardAt) > (between ? HEARD_JUMP_BETWEEN : HEARD_JUMP)) this.#heardAt = now
    const at = this.#heardAt
    this.#heardAt += NARROW_FRAME
    this.foreignShare = 1
    this.movedMs = 0
    if ((at - LAG_MAX) * sent.step > sent.soundEnd) {
      this.#heardHistory.fill(0)
      return 'clear'
    }
    echoKernel.history.set(this.#heardHistory)
    echoKernel.takes(frame)
    const power = kernel.matchFrame(sent.wide)
    for (let i = 0; i < HALF_BAND_HISTORY; i++)
      this.#heardHistory[i] = frame[frame.length - HALF_BAND_HISTORY + i] as number
    // The frame is too quiet for a comparison. If the agent's speech is known to be in the stream, sound above 4 kHz in
    // this frame is the agent's.
    if (power < SILENT_ENERGY * NARROW_FRAME) {
      return energyOf(frame) < SILENT_ENERGY * frame.length
        ? 'clear'
        : this.#state === 'searching'
          ? 'unknown'
          : 'mixed'
    }

    const best = this.#candidates[0]
    this.#leaves = this.#bestLeaves = 0
    let share = best === undefined ? 1 : this.#try(at, best, power)
    this.#bestLeaves = this.#state === 'searching' ? 0 : share
    this.#explains = best ?? null
    this.#leaves = Math.min(OWN_SHARE, EXPLAINS_SHARE * share)
    if (this.#state === 'settled' && share < SURE_SHARE) {
      this.#searchesLeft = Math.min(SEARCHES, this.#searchesLeft + 1)
      this.#searchEvery = SEARCH_EVERY
    }
    if (this.#state === 'settled' && share < OWN_SHARE && best !== undefined) this.#follow(at, best)
    // If more power than usual is unexplained, the candidate may be wrong by one pitch period.
    if (this.#state !== 'settled' || share >= (this.#isExact ? OWN_SHARE : SURE_SHARE)) {
      share = Math.min(share, this.#explore(at, power))
    }
    this.foreignShare = share
    if (share < OWN_SHARE && this.proven) {
      this.framesMatched++
      this.#missed = 0
      return 'own'
    }
    if (this.#state !== 'searching' && share > DOUBLE_TALK_SHARE && ++this.#missed > MISSED_FRAMES_MAX) this.#unlearn()
    return this.#state === 'searching' ? 'unknown' : 'mixed'
  }

  /**
   * Removes the agent's speech from the last matched frame, in place. The caller's speech stays, with a residue 30 to
   * 45 dB below the agent's speech.
   * @returns the remaining power, relative to the peak of the agent's speech; filters and codecs leave up to 0.004
   */
  cancel(frame: Int16Array): number {
    const lag = this.#explains?.lag
    return lag === undefined ? 1 : this.#canceller.cancel(frame, (this.#heardAt - NARROW_FRAME - lag) * this.#sent.step)
  }

  /**
   * Tries all other candidates and searches for new candidates.
   * @returns the minimum unexplained share of the power
   */
  #explore(at: number, power: number): number {
    const known = this.#candidates.length
    let least = 1
    this.#sinceSearch++
    const due =
      (this.#searchesLeft > 0 && power > SEARCH_ENERGY * NARROW_FRAME) ||
      at < this.#movesUntil ||
      this.#sinceSearch >= (this.#bestLeaves >= OWN_SHARE ? SEARCH_EVERY_MISSED : this.#searchEvery)
    if (due) least = this.#search(at, power)
    // The frame probably matches badly because the caller talks over the agent. So the other candidates are tried only
    // sometimes.
    for (let i = 1; i < known && (due || this.#state !== 'settled' || !this.#isExact); i++) {
      const candidate = this.#candidates[i]
      if (candidate !== undefined) least = Math.min(least, this.#try(at, candidate, power))
    }
    this.#choose()
    return least
  }

  #search(at: number, power: number): number {
    this.#sinceSearch = 0
    if (this.#state === 'settled') this.#searchEvery = Math.min(SEARCH_EVERY_MAX, 2 * this.#searchEvery)
    this.#searchesLeft = Math.max(0, this.#searchesLeft - 1)
    this.searches++
    // The remaining power distinguishes the delays far better than the correlation.
    let lag = NaN
    let share = 1
    const count = searchLags(this.#sent, at)
    for (let i = 0; i < count; i++) {
      const left = this.#fit(at, lags[i] as number, power)
      if (left >= share) continue
      share = left
      lag = lags[i] as number
    }
    if (share === 1) return 1
    const same = this.#candidates.find((candidate) => Math.abs(candidate.lag - lag) <= AGREE_SAMPLES)
    if (same !== undefined) {
      same.found++
      if (share < this.#fit(at, same.lag, power)) same.lag = lag
      return share
    }
    const candidate = { lag, power: 0, left: 0, frames: 0, alike: 0, found: 1 }
    this.#try(at, candidate, power)
    if (candidate.frames === 0 || share > DOUBLE_TALK_SHARE) return share
    if (this.#candidates.length === CANDIDATES) this.#candidates.pop()
    this.#candidates.push(candidate)
    return share
  }

  /** True if the best candidate explains all power except the small part that a line adds. */
  get #isExact(): boolean {
    const best = this.#candidates[0]
    return best !== undefined && best.left < SURE_SHARE * best.power
  }

  /** Moves the best candidate to the front and decides if it is reliable. */
  #choose(): void {
    const candidates = this.#candidates
    const trusted = this.#state === 'searching' ? undefined : candidates[0]
    candidates.sort(byLeftOver)
    const best = candidates[0]
    if (best === undefined || best.frames === 0) return
    const share = best.left / best.power
    let holds = share < OWN_SHARE && best.frames >= HELD_FRAMES
    // At the end of a word only its echo from the loudspeaker sounds, at another delay and another level.
    if (trusted !== undefined && best !== trusted && best.power < RIVAL_POWER_MIN * trusted.power)
      holds &&= best.alike >= HELD_FRAMES
    if (!holds && trusted !== undefined) {
      // The caller is talking over the agent, so a poor match does not make another delay more likely.
      candidates.splice(candidates.indexOf(trusted), 1)
      candidates.unshift(trusted)
      return
    }
    holds ||= this.proven && share < DOUBLE_TALK_SHARE && best.found >= FOUND_OFTEN
    if (!holds) return
    const second = candidates[1]
    const clear = share < SURE_SHARE || second === undefined || second.left / second.power > 3 * share
    const settled = best.frames >= SETTLED_FRAMES && clear
    // The first proof that the agent's speech is in the stream must be stronger than the similarity of two vowels.
    if (!this.proven && share > SURE_SHARE && !settled) return
    if (trusted !== undefined && this.#heardAt >= this.#movesUntil)
      this.movedMs = Math.abs(best.lag - trusted.lag) / PER_MS
    this.#state = settled ? 'settled' : 'held'
    this.proven = true
  }

  /**
   * Compares the frame with the audio sent `candidate.lag` samples earlier.
   * @returns the unexplained share of the power
   */
  #try(at: number, candidate: Candidate, power: number): number {
    const share = this.#fit(at, candidate.lag, power)
    // The echo of the previous run's end contains no information about this run's delay.
    if ((at - candidate.lag) * this.#sent.step < this.#sent.runStart) return share
    candidate.power = candidate.power * REMEMBER + power
    candidate.left = candidate.left * REMEMBER + share * power
    candidate.frames++
    const best = this.#explains
    const gainDb = 10 * Math.log10(power / kernel.middlePower())
    const alike =
      share < Math.min(SURE_SHARE, ALIKE_SHARE * this.#bestLeaves) && Math.abs(gainDb - this.gainDb) < ALIKE_DB
    if (alike) candidate.alike++
    const isNear =
      this.#state === 'searching' ||
      alike ||
      at < this.#movesUntil ||
      (best !== null && Math.abs(candidate.lag - best.lag) < PERIOD_MAX)
    if (share < this.#leaves && isNear) {
      this.#explains = candidate
      this.#leaves = share
    }
    // The soft end of a run may match by chance, and so may a vowel at a wrong delay. Such frames contain no
    // information about the gain.
    const tellsGain = !this.proven || (this.#state !== 'searching' && candidate === this.#candidates[0])
    if (tellsGain && share < (this.proven && this.#isExact ? SURE_SHARE : OWN_SHARE))
      this.gainDb += (gainDb - this.gainDb) * (this.proven ? GAIN_LEARN : 1)
    return share
  }

  /**
   * Adjusts the delay. The two clocks differ by some samples per minute, and the first estimate may be slightly wrong.
   */
  #follow(at: number, best: Candidate): void {
    if (++this.#sinceFollowed < FOLLOW_EVERY) return
    this.#sinceFollowed = 0
    const lag = refineLag(this.#sent, at, best.lag)
    // A new lag is used only if the next frame leads to it too.
    if (lag === this.#nextLag) best.lag = lag
    this.#nextLag = lag
  }

  /**
   * Forgets the delay after seconds of talk without the agent's speech. Either the match was by chance, or the carrier
   * has stopped mixing.
   */
  #unlearn(): void {
    this.proven = false
    this.#missed = 0
    this.#state = 'searching'
    this.#candidates = []
  }

  #beginRun(): void {
    const last = this.#candidates[0]
    this.#candidates = last === undefined ? [] : [{ lag: last.lag, power: 0, left: 0, frames: 0, alike: 0, found: 0 }]
    this.#state = 'searching'
    this.#nextLag = NaN
    this.#searchesLeft = SEARCHES
    this.#searchEvery = SEARCH_EVERY
  }

  /**
   * @returns the unexplained share of the frame's power, 0 to 1, if the frame is compared with the audio sent `lag`
   * samples earlier
   */
  #fit(at: number, lag: number, power: number): number {
    this.#sent.copyNarrow(at - lag - MIDDLE, NARROW_FRAME + TAPS - 1)
    const explained = kernel.fit(this.#sent.wide, SILENT_ENERGY)
    return explained < 0 ? 1 : Math.min(1, Math.max(0, 1 - explained / power))
  }
}

/** Sorts candidates by their unexplained share. Candidates that were not tried come last. */
function byLeftOver(a: Candidate, b: Candidate): number {
  return (a.frames === 0 ? 2 : a.left / a.power) - (b.frames === 0 ? 2 : b.left / b.power)
}

const HEARD_JUMP = 500 * PER_MS
const HEARD_JUMP_BETWEEN = 20 * PER_MS
const TAPS = 5
const MIDDLE = 2
// Maximum unexplained share of a frame that counts as the agent's own speech. With this limit, a caller 6 dB below the
// agent is detected. The share that a telephone codec and a filter add is at least 15 dB smaller.
const OWN_SHARE = 0.2
// Maximum unexplained share at the right delay, except on a bad line. If the delay is wrong by one pitch period, a
// vowel leaves a larger share.
const SURE_SHARE = 0.02
// Maximum unexplained share of a delay while another voice is heard. If several searches end at such a delay, it is
// trusted.
const DOUBLE_TALK_SHARE = 0.8
const FOUND_OFTEN = 3
const EXPLAINS_SHARE = 0.5
// Maximum error of a delay that is wrong by one pitch period; the pitch is 50 Hz or more. A loudspeaker's echo comes
// later than this.
const PERIOD_MAX = 20 * PER_MS
const HELD_FRAMES = 2
const SETTLED_FRAMES = 5
// Maximum time in ms from the arrival of delayed audio to the move of the delay. It covers what the carrier and the
// gateway hold back.
const MOVES_WITHIN_MS = 200
const MISSED_FRAMES_MAX = 100
const CANDIDATES = 4
const AGREE_SAMPLES = 3
const REMEMBER = 0.95
const RIVAL_POWER_MIN = 0.5
// Maximum difference in dB between two levels of the carrier's copy. A loudspeaker's echo differs by more.
const ALIKE_DB = 3
const ALIKE_SHARE = 0.1
// Minimum energy per sample of a frame for a search: -50 dBFS. At the beginning of a run, the line's noise may sound
// alone for longer than the searches last.
const SEARCH_ENERGY = 104 * 104
// Number of consecutive searches at the beginning of a run. If they fail, a search follows every 160 ms (`SEARCH_EVERY`
// frames).
const SEARCHES = 12
const SEARCH_EVERY = 8
// Number of frames from one search to the next while a known delay does not match. The caller may be speaking, or the
// delay may have moved. Chosen with `bench/echo --tuning --disturbed waits --ms 200`.
const SEARCH_EVERY_MISSED = 2
// Maximum number of frames between searches. The number doubles while the searches find no better delay than a proven
// one.
const SEARCH_EVERY_MAX = 64
const GAIN_LEARN = 0.1
const FOLLOW_EVERY = 4

// --- the search for a delay ----------------------------------------------------------------------

// Minimum lag. It is negative, because the echo may come earlier than expected if the carrier does not hold audio back
// for as long as assumed.
const LAG_MIN = -250 * PER_MS
const LAG_MAX = (ECHO_DELAY_MS_MAX + 60) * PER_MS

/**
 * Finds the delays at which a frame resembles the sent audio most, and writes them to `lags`. The search first uses
 * samples at 2 kHz. They contain most of a voice's power, and this search is 16 times cheaper. The result is then
 * refined to one sample. Several delays are kept, because a vowel resembles itself one pitch period later.
 *
 * @param at  start of the frame of `match`, on the time axis of `sent`, at 8 kHz
 * @returns the number of delays; 0 if no audio was sent
 */
function searchLags(sent: SentSpeech, at: number): number {
  sent.copyNarrow(at - LAG_MAX, SEARCH_SAMPLES)
  const count = kernel.search(sent.wide, COARSE_SHIFTS, (SILENT_ENERGY / COARSE) * COARSE_FRAME)
  for (let i = 0; i < count; i++) lags[i] = LAG_MAX - COARSE * (echoKernel.peaks[i] as number)
  for (let i = 0; i < count; i++) lags[i] = refineLag(sent, at, lags[i] as number)
  return count
}

/** @returns the best delay near `lag`, exact to one sample */
function refineLag(sent: SentSpeech, at: number, lag: number): number {
  sent.copyNarrow(at - lag - REFINE, NARROW_FRAME + 2 * REFINE)
  const shift = kernel.refine(sent.wide, REFINE)
  return shift === 0 ? lag : lag + REFINE - shift
}

const COARSE = 4
const COARSE_FRAME = NARROW_FRAME / COARSE
const COARSE_SHIFTS = (LAG_MAX - LAG_MIN) / COARSE
const REFINE = 6
const lags = new Int32Array(SEARCH_PEAKS)
const kernel = echoKernel.exports

// --- removing our own speech ---------------------------------------------------------------------

/** Removes the agent's speech from frames in which it was changed only by its level, filters and codecs. */
class EchoCanceller {
  readonly #sent: SentSpeech
  /** Peak power of the agent's speech on the caller's side; decays from frame to frame. */
  #ownPower = 0

  constructor(sent: SentSpeech) {
    this.#sent = sent
  }

  /**
   * @param frame  at the leg's rate, changed in place
   * @param from  the frame's position in the sent audio, in samples
   * @returns the remaining power, relative to the agent's peak
   */
  cancel(frame: Int16Array, from: number): number {
    const taps = this.#sent.step * TAPS_8K
    this.#sent.copy(from - taps / 2, frame.length + taps)
    echoKernel.takes(frame)
    this.#ownPower *= OWN_DECAY
    const left = echoKernel.frame
    const explained = kernel.cancel(this.#sent.wide, SILENT_ENERGY)
    if (explained >= 0) {
      this.#ownPower = Math.max(this.#ownPower, explained)
      if (frame.length === left.length) frame.set(left)
      else for (let i = 0; i < frame.length; i++) frame[i] = left[i] as number
    }
    return energyOf(frame) / Math.max(1, this.#ownPower)
  }
}

// Number of taps at 8 kHz. It is greater than in the search, because filters and codecs on the path spread a sample
// over several samples.
const TAPS_8K = 8
// Factor by which the peak power decays per frame of 20 ms: 1 dB.
const OWN_DECAY = 0.8

// --- the sent audio ------------------------------------------------------------------------------

/**
 * Audio sent in the last 2 s, on the time axis of the carrier's playout. It consists of runs; within a run the
 * carrier's delay is constant.
 */
class SentSpeech {
  /** Number of the leg's samples per sample at 8 kHz. */
  readonly step: 1 | 2
  /** 1 for a leg of 16 kHz, otherwise 0. */
  readonly wide: 0 | 1
  /**
   * Beginning of the newest run, in samples of the leg. `soundEnd`: end of the last audible frame. `#end`: end of all
   * sent audio.
   */
  runStart = -Infinity
  soundEnd = -Infinity
  #end = -Infinity
  readonly #sampleRateHz: LegRateHz
  /** Memory of the samples; null until it is needed. */
  #samples: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sampleRateHz = options.sampleRateHz
    this.step = options.sampleRateHz === 16000 ? 2 : 1
    this.wide = this.step === 2 ? 1 : 0
  }

  /**
   * Adds 20 ms that are played from about `playedAtMs`.
   * @returns true if a new run begins with this audio
   */
  add(frame: Int16Array, playedAtMs: number): boolean {
    const samples = (this.#samples ??= new Int16Array(SENT_SAMPLES))
    const at = Math.round((playedAtMs * this.#sampleRateHz) / 1000)
    const begins = Math.abs(at - this.#end) > RUN_JUMP * this.step
    if (begins) {
      // Samples between the runs become zero. Samples after a cut in the last run become zero too, because they were
      // never played.
      for (let i = Math.max(this.#end, at - SENT_SAMPLES); i < at; i++) samples[indexOf(i)] = 0
      this.runStart = at
      this.#end = at
      this.soundEnd = Math.min(this.soundEnd, at)
    }
    const first = indexOf(this.#end)
    if (first + frame.length <= SENT_SAMPLES) samples.set(frame, first)
    else for (let i = 0; i < frame.length; i++) samples[indexOf(first + i)] = frame[i] as number
    this.#end += frame.length
    if (energyOf(frame) > SILENT_ENERGY * frame.length) this.soundEnd = this.#end
    return begins
  }

  /**
   * Copies `length` samples from position `from`, at the leg's rate, to the kernel. Unsent and forgotten samples are
   * zeros.
   */
  copy(from: number, length: number): void {
    const out = echoKernel.sentPart
    const samples = this.#samples
    const known = samples === null ? 0 : Math.max(0, Math.min(length, this.#end - from))
    const forgotten = Math.max(0, Math.min(known, this.#end - SENT_SAMPLES - from))
    const first = indexOf(from)
    for (let i = 0; i < forgotten; i++) out[i] = 0
    for (let i = forgotten; samples !== null && i < known;) {
      const part = indexOf(first + i)
      const count = Math.min(known - i, SENT_SAMPLES - part)
      out.set(samples.subarray(part, part + count), i)
      i += count
    }
    out.fill(0, known, length)
  }

  /** Copies the leg's samples that correspond to `length` samples at 8 kHz. */
  copyNarrow(from: number, length: number): void {
    if (this.step === 1) this.copy(from, length)
    else this.copy(2 * from - HALF_BAND_HISTORY, 2 * length + HALF_BAND_HISTORY)
  }
}

function indexOf(position: number): number {
  return position & (SENT_SAMPLES - 1)
}

// Capacity in samples: 2 s at 16 kHz.
const SENT_SAMPLES = 32_768
const RUN_JUMP = 1 * PER_MS

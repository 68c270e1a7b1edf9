import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import { energyOf } from '../pcm.js'
import { HALF_BAND_HISTORY, echoKernel } from './echo-kernel.js'
import { ECHO_DELAY_MS_MAX, SEARCH_PEAKS, SEARCH_SAMPLES } from './echo-limits.js'

/** The matcher works at 8 kHz whatever the leg's rate. */
const PER_MS = 8
const NARROW_FRAME = FRAME_MS * PER_MS
// -66 dBFS, on either side.
const SILENT_ENERGY = 16 * 16

/**
 * Content of a frame of the caller's side:
 * - `clear`: none of our own speech can be in it;
 * - `own`: our own speech and next to nothing else;
 * - `mixed`: our speech was found in it; `foreignShare` is the share of the power that is somebody else's;
 * - `unknown`: our speech may be in it, at a delay that is not known (yet). Levels must decide.
 */
export type EchoMatch = 'clear' | 'own' | 'mixed' | 'unknown'

/** A delay that may be the right one for the run of speech that plays. */
interface Candidate {
  /** In samples. */
  lag: number
  /** Power of the frames that were compared at this delay, and the power that did not fit; older frames count less. */
  power: number
  left: number
  frames: number
  /** In how many it left next to nothing, and far less than the best, at the level at which our speech comes back. */
  alike: number
  /** How often a search ended here. */
  found: number
}

/**
 * Finds our own speech, sample for sample, in a stream into which the carrier mixes both parties. The sent audio is
 * known, so a frame is compared with it: five taps are fitted (1/8 ms apart: level, and a delay that is no whole number
 * of samples), and the rest, which they cannot explain, is the caller. So a caller is heard over an agent of the same
 * loudness; levels alone cannot do that.
 *
 * The delay is one number of samples for a whole run of speech, but another for each run: the carrier's hold-back and
 * its tick begin anew. It is found by correlating over all delays. A vowel fits nearly as well a period of its pitch
 * too late, so several candidates are kept until one of them leaves next to nothing over:
 *
 * | state     | treatment of a frame                                               | leaves by                       |
 * |-----------|--------------------------------------------------------------------|---------------------------------|
 * | searching | laid beside all candidates, and a new one is looked for            | one holds for 2 frames -> held  |
 * | held      | the same; somebody else's voice is now distinguished from ours     | it holds for longer -> settled  |
 * | settled   | laid beside one; a new one is looked for when it does not fit      | a better one -> that one        |
 *
 * A new run begins with searching, and so does the audio after `disturbed`. Audio that waits only on its way to the
 * caller is not seen from here: then frames do not fit, and another delay leaves next to nothing of them, at the same
 * level. All of this happens at 8 kHz; a frame costs nothing while we are silent, 5 (8 kHz) to 10 us while we talk, half
 * of it to take us out, and a search 25 us; searches are bounded: one in two frames while somebody else is heard over us.
 */
export class EchoMatcher {
  /** True once our own speech was found in the stream: from then on it is bound to be in it. */
  proven = false
  /** 0 to 1, of the frame that was matched last. */
  foreignShare = 1
  /** How much louder or softer our speech comes back. */
  gainDb = 0
  framesMatched = 0
  searches = 0
  /** By how much the delay was found to have moved with the frame that was matched last, without `disturbed`; mostly 0. */
  movedMs = 0
  readonly #sent: SentSpeech
  readonly #canceller: EchoCanceller
  readonly #heardHistory = new Int16Array(HALF_BAND_HISTORY)
  /** Where the next frame of the caller's side begins, counted at 8 kHz, as its time of arrival is not exact. */
  #heardAt = -Infinity
  /** The best one first. */
  #candidates: Candidate[] = []
  /**
   * The one that is taken out of the frame that was matched last: the best, or one that leaves far less of this frame,
   * `#leaves` of its power, also before it has held for long enough to be the delay of the run.
   */
  #explains: Candidate | null = null
  #leaves = 1
  #state: 'searching' | 'held' | 'settled' = 'searching'
  #searchesLeft = SEARCHES
  #sinceSearch = 0
  #searchEvery = SEARCH_EVERY
  #sinceFollowed = 0
  #nextLag = NaN
  /** Frames without anything of ours since the last that was ours. */
  #missed = 0
  /** Until here the delay may become another one, as in `#heardAt`: `disturbed`. */
  #movesUntil = -Infinity
  /** Rest of the last matched frame at the best delay; 0 while the delay is not known. */
  #bestLeaves = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sent = new SentSpeech(options)
    this.#canceller = new EchoCanceller(this.#sent)
  }

  /** The delay of the run of speech that was matched last, against the times that were given; null before any. */
  get delayMs(): number | null {
    const best = this.#candidates[0]
    return this.proven && best !== undefined ? best.lag / PER_MS : null
  }

  /**
   * When what ends with the frame that was matched last was sent; null before any is proven. Whatever moves the delay,
   * an echo of the caller's loudspeaker comes as long after this as ever.
   */
  get sentAtMs(): number | null {
    const lag = this.#explains?.lag
    return this.proven && lag !== undefined ? (this.#heardAt - lag) / PER_MS : null
  }

  /** 20 ms that the carrier plays from about `playedAtMs` on. A jump in these times begins a new run of speech. */
  reference(frame: Int16Array, playedAtMs: number): void {
    if (this.#sent.add(frame, playedAtMs)) this.#beginRun()
  }

  /**
   * The delay may be another one from now on: audio was lost or held up on its way, or the clock of `match` was set
   * right.
   * @param ms by how much at most, earlier or later
   */
  disturbed(ms: number): void {
    // Audio that waited on its way to the caller comes back later than audio that waited on its way to us.
    this.#movesUntil = this.#heardAt + Math.max(0, this.#candidates[0]?.lag ?? 0) + (ms + MOVES_WITHIN_MS) * PER_MS
    this.#beginRun()
  }

  /** Call for every frame of the caller's side, in order. @param capturedAtMs the frame's end */
  match(frame: Int16Array, capturedAtMs: number): EchoMatch {
    const now = Math.round((capturedAtMs - FRAME_MS) * PER_MS)
    const sent = this.#sent
    const between = (this.#heardAt - LAG_MAX) * sent.step > sent.soundEnd
    // The carrier's samples have no gaps, whenever they arrive: while our speech is among them they are counted.
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
    // Too little power to compare. A hiss above 4 kHz is ours if our speech is known to be in the stream.
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
    // One that leaves more may be a period of the pitch off.
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
   * Takes our own speech out of the frame that was just matched, in place; for `own` and `mixed` frames. What is left
   * is the caller, and a residue 30 to 45 dB below what was there.
   *
   * @returns what is left, against the power of our own speech at its peak: 0.004 and less is what filters and codecs
   * made of the hiss in it
   */
  cancel(frame: Int16Array): number {
    const lag = this.#explains?.lag
    return lag === undefined ? 1 : this.#canceller.cancel(frame, (this.#heardAt - NARROW_FRAME - lag) * this.#sent.step)
  }

  /** Tries all the other candidates and looks for new ones. @returns the least share that is left over */
  #explore(at: number, power: number): number {
    const known = this.#candidates.length
    let least = 1
    this.#sinceSearch++
    const due =
      (this.#searchesLeft > 0 && power > SEARCH_ENERGY * NARROW_FRAME) ||
      at < this.#movesUntil ||
      this.#sinceSearch >= (this.#bestLeaves >= OWN_SHARE ? SEARCH_EVERY_MISSED : this.#searchEvery)
    if (due) least = this.#search(at, power)
    // A caller who talks over us is the likelier reason: others are asked now and then.
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
    // The rest distinguishes them far better than their likeness.
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

  /** The best one leaves over no more than what a line adds. */
  get #isExact(): boolean {
    const best = this.#candidates[0]
    return best !== undefined && best.left < SURE_SHARE * best.power
  }

  /** The best one to the front; decides whether it is good enough to rely on. */
  #choose(): void {
    const candidates = this.#candidates
    const trusted = this.#state === 'searching' ? undefined : candidates[0]
    candidates.sort(byLeftOver)
    const best = candidates[0]
    if (best === undefined || best.frames === 0) return
    const share = best.left / best.power
    let holds = share < OWN_SHARE && best.frames >= HELD_FRAMES
    // At the end of a word only its echo out of a loudspeaker sounds, and that has another delay; but another level too.
    if (trusted !== undefined && best !== trusted && best.power < RIVAL_POWER_MIN * trusted.power)
      holds &&= best.alike >= HELD_FRAMES
    if (!holds && trusted !== undefined) {
      // The caller talks over it: no reason to believe in another delay.
      candidates.splice(candidates.indexOf(trusted), 1)
      candidates.unshift(trusted)
      return
    }
    holds ||= this.proven && share < DOUBLE_TALK_SHARE && best.found >= FOUND_OFTEN
    if (!holds) return
    const second = candidates[1]
    const clear = share < SURE_SHARE || second === undefined || second.left / second.power > 3 * share
    const settled = best.frames >= SETTLED_FRAMES && clear
    // The first proof that our speech is in the stream must be stronger than the likeness of two vowels.
    if (!this.proven && share > SURE_SHARE && !settled) return
    if (trusted !== undefined && this.#heardAt >= this.#movesUntil)
      this.movedMs = Math.abs(best.lag - trusted.lag) / PER_MS
    this.#state = settled ? 'settled' : 'held'
    this.proven = true
  }

  /** Compares the frame with what was sent `candidate.lag` before. @returns the share of the power that does not fit */
  #try(at: number, candidate: Candidate, power: number): number {
    const share = this.#fit(at, candidate.lag, power)
    // The rest of the run before says nothing about the delay of this one.
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
    // The end of our speech in a run is soft, and fits by accident; so does a vowel at a wrong delay.
    const tellsGain = !this.proven || (this.#state !== 'searching' && candidate === this.#candidates[0])
    if (tellsGain && share < (this.proven && this.#isExact ? SURE_SHARE : OWN_SHARE))
      this.gainDb += (gainDb - this.gainDb) * (this.proven ? GAIN_LEARN : 1)
    return share
  }

  /** The clocks of both sides differ by some samples a minute, and the first frames may have been a little off. */
  #follow(at: number, best: Candidate): void {
    if (++this.#sinceFollowed < FOLLOW_EVERY) return
    this.#sinceFollowed = 0
    const lag = refineLag(this.#sent, at, best.lag)
    // A new lag counts only when the next frame agrees.
    if (lag === this.#nextLag) best.lag = lag
    this.#nextLag = lag
  }

  /** Seconds of talk without our speech in it: the match was an accident, or the carrier does not mix any more. */
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

  /** @returns the share of the frame that what was sent `lag` samples before does not explain, 0 to 1 */
  #fit(at: number, lag: number, power: number): number {
    this.#sent.copyNarrow(at - lag - MIDDLE, NARROW_FRAME + TAPS - 1)
    const explained = kernel.fit(this.#sent.wide, SILENT_ENERGY)
    return explained < 0 ? 1 : Math.min(1, Math.max(0, 1 - explained / power))
  }
}

/** Those that were never tried come last. */
function byLeftOver(a: Candidate, b: Candidate): number {
  return (a.frames === 0 ? 2 : a.left / a.power) - (b.frames === 0 ? 2 : b.left / b.power)
}

const HEARD_JUMP = 500 * PER_MS
const HEARD_JUMP_BETWEEN = 20 * PER_MS
const TAPS = 5
const MIDDLE = 2
// A caller 6 dB below our own speech is heard over it; what a telephone codec and a filter add is 15 dB and more below.
const OWN_SHARE = 0.2
// Rest at the right delay, unless the line is a bad one; a vowel a period too late leaves more.
const SURE_SHARE = 0.02
// Under the voice of somebody else a delay is believed when the search ends there again and again.
const DOUBLE_TALK_SHARE = 0.8
const FOUND_OFTEN = 3
const EXPLAINS_SHARE = 0.5
// A wrong delay is a period of the pitch off, 50 Hz and more; what a loudspeaker sends back comes later.
const PERIOD_MAX = 20 * PER_MS
const HELD_FRAMES = 2
const SETTLED_FRAMES = 5
// Hold-back of the carrier and of us, after the waiting audio has come.
const MOVES_WITHIN_MS = 200
const MISSED_FRAMES_MAX = 100
const CANDIDATES = 4
const AGREE_SAMPLES = 3
const REMEMBER = 0.95
const RIVAL_POWER_MIN = 0.5
// The copy that a carrier mixes keeps its level; the echo of a loudspeaker is softer by more.
const ALIKE_DB = 3
const ALIKE_SHARE = 0.1
// -50 dBFS. When a run begins, the line may be all that is heard for longer than the searches last.
const SEARCH_ENERGY = 104 * 104
// One after the other when a run begins, one in 160 ms when those found nothing.
const SEARCHES = 12
const SEARCH_EVERY = 8
// While a known delay does not fit: a caller, or it has moved. Chosen by `bench/echo --tuning --disturbed waits --ms 200`.
const SEARCH_EVERY_MISSED = 2
// Twice as long each time while a delay that held finds no better one.
const SEARCH_EVERY_MAX = 64
const GAIN_LEARN = 0.1
const FOLLOW_EVERY = 4

// --- the search for a delay ----------------------------------------------------------------------

// The carrier may hold audio back, so that we expect the echo too late: then its lag is negative.
const LAG_MIN = -250 * PER_MS
const LAG_MAX = (ECHO_DELAY_MS_MAX + 60) * PER_MS

/**
 * The delays at which a frame resembles most what was sent, into `lags`: at 2 kHz, where a voice has most of its power
 * and a search is 16 times cheaper, then to a sample. Several, as a vowel resembles itself a period of the pitch later.
 *
 * @param at where the frame of `match` begins, on the time axis of `sent`, at 8 kHz
 * @returns how many; 0 where nothing was sent
 */
function searchLags(sent: SentSpeech, at: number): number {
  sent.copyNarrow(at - LAG_MAX, SEARCH_SAMPLES)
  const count = kernel.search(sent.wide, COARSE_SHIFTS, (SILENT_ENERGY / COARSE) * COARSE_FRAME)
  for (let i = 0; i < count; i++) lags[i] = LAG_MAX - COARSE * (echoKernel.peaks[i] as number)
  for (let i = 0; i < count; i++) lags[i] = refineLag(sent, at, lags[i] as number)
  return count
}

/** The delay to a sample, of those near `lag`. */
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

// --- taking our own speech out -------------------------------------------------------------------

/** Removes our own speech from frames in which only level, filters and codecs have changed it. */
class EchoCanceller {
  readonly #sent: SentSpeech
  /** Power of our own speech on the caller's side: the peak, which decays from frame to frame. */
  #ownPower = 0

  constructor(sent: SentSpeech) {
    this.#sent = sent
  }

  /**
   * @param frame at the leg's rate, changed in place
   * @param from where in what was sent it begins, in samples of the leg
   * @returns what is left, against the power of our own speech at its peak
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

// More than it takes to find our speech: filters and codecs on the way spread a sample.
const TAPS_8K = 8
// 1 dB in 20 ms.
const OWN_DECAY = 0.8

// --- what was sent -------------------------------------------------------------------------------

/**
 * Audio that we sent in the last 2 s, on the time axis on which the carrier plays it. It comes in runs: within one the
 * carrier's delay is one number of samples.
 */
class SentSpeech {
  /** Samples of the leg in one at 8 kHz. */
  readonly step: 1 | 2
  /** 1 where there are two. */
  readonly wide: 0 | 1
  /**
   * Beginning of the newest run, end of all that was sent and of the last of it that made a sound: samples of the leg.
   */
  runStart = -Infinity
  soundEnd = -Infinity
  #end = -Infinity
  readonly #sampleRateHz: LegRateHz
  /** Made when first needed. */
  #samples: Int16Array | null = null

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#sampleRateHz = options.sampleRateHz
    this.step = options.sampleRateHz === 16000 ? 2 : 1
    this.wide = this.step === 2 ? 1 : 0
  }

  /** 20 ms that are played from about `playedAtMs` on. @returns true when a new run begins with them */
  add(frame: Int16Array, playedAtMs: number): boolean {
    const samples = (this.#samples ??= new Int16Array(SENT_SAMPLES))
    const at = Math.round((playedAtMs * this.#sampleRateHz) / 1000)
    const begins = Math.abs(at - this.#end) > RUN_JUMP * this.step
    if (begins) {
      // Before the end of the last run: that one was cut off, and its rest was never played.
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

  /** `length` samples at the leg's rate from `from` on, to the kernel; zeros where nothing was sent or is not known any more. */
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

  /** As many of them as `length` samples at 8 kHz are made of. */
  copyNarrow(from: number, length: number): void {
    if (this.step === 1) this.copy(from, length)
    else this.copy(2 * from - HALF_BAND_HISTORY, 2 * length + HALF_BAND_HISTORY)
  }
}

function indexOf(position: number): number {
  return position & (SENT_SAMPLES - 1)
}

// 2 s at 16 kHz.
const SENT_SAMPLES = 32_768
const RUN_JUMP = 1 * PER_MS

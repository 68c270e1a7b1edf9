import { ECHO_DELAY_MS_MAX } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import { BAND_DB_MIN, BANDS, bandLevels, WINDOW } from './band-levels.js'
import { narrow8k } from './narrow.js'

export class LoudspeakerEcho {
  delaySlots: number | null = null
  score = 0
  dominates = false
  readonly #sent = new Uint8Array(SLOTS * BANDS)
  readonly #sentBits = new Uint32Array(SLOTS)
  readonly #sentLoud = new Uint8Array(SLOTS)
  readonly #sentMean = new Float32Array(BANDS).fill(-60)
  #newestSlot = -Infinity
  readonly #sentWindow = new Float32Array(WINDOW + 2 * SLOT)
  readonly #heardWindow = new Float32Array(WINDOW)
  readonly #heardMean = new Float32Array(BANDS).fill(-60)
  readonly #agreement = new Float32Array(LAGS).fill(0.5)
  readonly #noise = new Float32Array(BANDS).fill(-60)
  readonly #coupling = new Float32Array(BANDS)
  readonly #couplingFrames = new Uint16Array(BANDS)
  readonly #expectedMean = new Float32Array(BANDS).fill(-60)
  #near = false
  readonly #heardLast = new Float32Array(BANDS)
  #refined = 0
  #home = 0
  #runSlot = -Infinity
  #loudSlot = -Infinity
  #runSeen = -Infinity
  readonly #fits = new Float32Array(LAGS)
  #learning = true
  #gain = 0
  #steady = 0
  #best = -1
  #learnt = 0
  #halfSent = new Float32Array(6)
  #halfHeard = new Float32Array(6)

  reference(frame: Int16Array, startMs: number): void {
    const slot = Math.round(startMs / SLOT_MS)
    if (slot <= this.#newestSlot) return
    const w = this.#sentWindow
    if (slot > this.#loudSlot + RUN_SLOTS) this.#runSlot = slot
    if (slot !== this.#newestSlot + 1) {
      w.fill(0)
      for (let s = Math.max(this.#newestSlot + 1, slot - SLOTS); s < slot; s++) {
        this.#sent.fill(0, index(s) * BANDS, index(s) * BANDS + BANDS)
        this.#sentBits[index(s)] = 0
        this.#sentLoud[index(s)] = 0
      }
    }
    w.copyWithin(0, 2 * SLOT)
    narrow8k(frame, this.#halfSent, scratch)
    w.set(scratch, WINDOW)
    for (let half = 0; half < 2; half++) {
      bandLevels(w, SLOT * (half + 1), levels)
      const at = index(slot + half)
      let most = BAND_DB_MIN
      let total = 0
      let bits = 0
      for (let b = 0; b < BANDS; b++) {
        const db = levels[b] as number
        if (db > most) most = db
        total += 10 ** (db / 10)
      }
      const spread = 10 * Math.log10(total) + SPREAD_DB
      for (let b = 0; b < BANDS; b++) {
        const db = Math.max(levels[b] as number, BITS_DB_MIN)
        if (db > (this.#sentMean[b] as number)) bits |= 1 << b
        if (most > LOUD_DB) this.#sentMean[b] = (this.#sentMean[b] as number) + (db - (this.#sentMean[b] as number)) * 0.02
        this.#sent[at * BANDS + b] = code(Math.max(levels[b] as number, spread))
      }
      this.#sentBits[at] = bits
      this.#sentLoud[at] = most > LOUD_DB ? 1 : 0
    }
    if (this.#sentLoud[index(slot + 1)] === 1) this.#loudSlot = slot + 1
    this.#newestSlot = slot + 1
  }

  /** -1: nothing known; 0: echo; 1: near end */
  heard(frame: Int16Array, capturedAtMs: number): number {
    const slot = Math.round(capturedAtMs / SLOT_MS) - 1
    const w = this.#heardWindow
    w.copyWithin(0, 160)
    narrow8k(frame, this.#halfHeard, scratch)
    w.set(scratch, WINDOW - 160)
    let any = false
    for (let lag = 0; lag < LAGS && !any; lag++) any = this.#loud(slot - lag - LAG_MIN)
    if (!any) {
      this.score = 0
      this.#near = false
      return -1
    }
    bandLevels(w, 0, levels)
    let most = BAND_DB_MIN
    let bits = 0
    for (let b = 0; b < BANDS; b++) {
      const db = levels[b] as number
      const change = db - (this.#heardLast[b] as number)
      changes[b] = change > 12 ? 12 : change < -12 ? -12 : change
      this.#heardLast[b] = db
      if (db > most) most = db
      if (Math.max(db, BITS_DB_MIN) > (this.#heardMean[b] as number)) bits |= 1 << b
      const n = this.#noise[b] as number
      this.#noise[b] = db < n ? n + (db - n) * 0.2 : n + Math.min(0.04, (db - n) * 0.1)
    }
    if (most > HEARD_LOUD_DB) {
      for (let b = 0; b < BANDS; b++)
        this.#heardMean[b] =
          (this.#heardMean[b] as number) + (Math.max(levels[b] as number, BITS_DB_MIN) - (this.#heardMean[b] as number)) * 0.03
      this.#align(slot, bits)
    }
    if (this.delaySlots === null) return -1
    if (this.#runSeen !== this.#runSlot && slot - this.delaySlots - REFINE >= this.#runSlot - 2 * REFINE) {
      this.#runSeen = this.#runSlot
      this.#refined = 0
      this.#home += (this.delaySlots - this.#home) * 0.3
      this.#home = Math.round(this.#home)
      this.delaySlots = this.#home
      this.#fits.fill(0)
    }
    if (most > HEARD_LOUD_DB) this.#refine(slot, this.delaySlots)
    return this.#judge(slot, this.delaySlots)
  }

  #align(slot: number, bits: number): void {
    const agreement = this.#agreement
    let best = 0
    for (let lag = 0; lag < LAGS; lag++) {
      const s = slot - lag - LAG_MIN
      const same = s > this.#newestSlot || s <= this.#newestSlot - SLOTS ? 0.5 : 1 - popcount(bits ^ (this.#sentBits[index(s)] as number)) / BANDS
      agreement[lag] = (agreement[lag] as number) + (same - (agreement[lag] as number)) * FORGET
      if ((agreement[lag] as number) > (agreement[best] as number)) best = lag
    }
    let second = 0
    for (let lag = 0; lag < LAGS; lag++) {
      if (Math.abs(lag - best) > 6 && (agreement[lag] as number) > second) second = agreement[lag] as number
    }
    const gap = (agreement[best] as number) - second
    const lag = this.delaySlots
    let rival = 0
    if (lag !== null)
      for (let l = Math.max(0, lag - LAG_MIN - 6); l <= Math.min(LAGS - 1, lag - LAG_MIN + 6); l++)
        rival = Math.max(rival, agreement[l] as number)
    if (gap > GAP_MIN && Math.abs(best - this.#best) <= 3 && (agreement[best] as number) > rival + (lag === null ? 0 : 0.05)) this.#steady++
    else this.#steady = 0
    this.#best = best
    if (this.#steady < (lag === null ? STEADY_MIN : 3 * STEADY_MIN)) return
    this.#steady = 0
    this.delaySlots = best + LAG_MIN
    this.#home = best + LAG_MIN
    this.#refined = 0
    this.#fits.fill(0)
    this.#learnt = 0
    this.#learning = true
    this.#couplingFrames.fill(0)
    this.#gain = 0
  }

  /** Rises and falls tell the delay more exactly than levels. */
  #refine(slot: number, lag: number): void {
    const fits = this.#fits
    const from = Math.max(LAG_MIN, this.#home - REFINE)
    const to = Math.min(LAG_MIN + LAGS - 1, this.#home + REFINE)
    let best = lag
    this.#refined++
    const rate = Math.max(REFINE_LEARN, 1 / this.#refined) * (this.#near ? 0.3 : 1)
    for (let l = from; l <= to; l++) {
      const at = index(slot - l) * BANDS
      const before = index(slot - l - 2) * BANDS
      let fit = 0
      for (let b = 0; b < BANDS; b++) {
        const d = (this.#sent[at + b] as number) - (this.#sent[before + b] as number)
        fit += (d > 24 ? 24 : d < -24 ? -24 : d) * (changes[b] as number)
      }
      const i = l - LAG_MIN
      fits[i] = (fits[i] as number) + (fit - (fits[i] as number)) * rate
      if ((fits[i] as number) > (fits[best - LAG_MIN] as number)) best = l
    }
    if (this.#refined >= 8 && best !== lag && (fits[best - LAG_MIN] as number) > 1.1 * (fits[lag - LAG_MIN] as number)) this.delaySlots = best
  }

  #judge(slot: number, lag: number): number {
    let loudest = BAND_DB_MIN
    for (let b = 0; b < BANDS; b++) expected[b] = 0
    const wide = this.#refined < REFINED_MIN
    const back = wide ? REFINE + 1 : BACK
    const flat = wide ? REFINE + 1 : 0
    for (let k = -back; k <= TAIL + flat; k++) {
      const s = slot - lag - k
      if (s > this.#newestSlot || s <= this.#newestSlot - SLOTS) continue
      const at = index(s) * BANDS
      const less = k > flat ? 2 * TAIL_DB * (k - flat) : 0
      for (let b = 0; b < BANDS; b++) {
        const v = (this.#sent[at + b] as number) - less
        if (v > (expected[b] as number)) expected[b] = v
      }
    }
    let audible = 0
    let over = 0
    let mean = 0
    let heardPower = 0
    let echoPower = 0
    for (let b = 0; b < BANDS; b++) {
      const p = (expected[b] as number) / 2 + BAND_DB_MIN
      if (p > loudest) loudest = p
      expected[b] = p
      const noise = this.#noise[b] as number
      const own = 10 ** ((p + (this.#coupling[b] as number) + this.#gain) / 10)
      const e = own + 10 ** (noise / 10)
      const h = levels[b] as number
      heardPower += 10 ** (h / 10)
      echoPower += own
      const d = h - 10 * Math.log10(e)
      excess[b] = d
      if (h < noise + 6) continue
      audible++
      mean += d
      if (d > OVER_DB) over += Math.min(OVER_DB_MAX, d) - OVER_DB
    }
    this.dominates = 4 * echoPower > heardPower
    if (loudest < LOUD_DB) return 0
    this.score += (over / Math.max(4, audible) - this.score) * SCORE_LEARN
    const learning = this.#learnt < LEARN_FRAMES || (this.#learning && this.#learnt < LEARN_FRAMES_MAX && this.score > NEAR_OFF)
    this.#learning = learning
    this.#near = !learning && this.score > (this.#near ? NEAR_OFF : NEAR_ON)
    const near = this.#near
    this.#learnt++
    const share = near ? 0.1 : 1
    // common gain: automatic gain control
    if (audible > 4 && !learning) {
      const m = clip(mean / audible, 4)
      this.#gain = clip(this.#gain + m * (m < 0 ? 0.06 : 0.04 * share), 15)
    }
    for (let b = 0; b < BANDS; b++) {
      const p = expected[b] as number
      const usual = this.#expectedMean[b] as number
      this.#expectedMean[b] = usual + (p - usual) * 0.03
      if (p < usual) continue
      const d = excess[b] as number
      const count = this.#couplingFrames[b] as number
      if (count === 0) {
        this.#coupling[b] = (levels[b] as number) - p - this.#gain
        this.#couplingFrames[b] = 1
      } else {
        if (count < 1000) this.#couplingFrames[b] = count + 1
        const rate = Math.max(0.03, 1 / (count + 1))
        this.#coupling[b] = (this.#coupling[b] as number) + rate * share * (learning ? d : clip(d, 6))
      }
    }
    return near ? 1 : 0
  }

  #loud(slot: number): boolean {
    return slot <= this.#newestSlot && slot > this.#newestSlot - SLOTS && this.#sentLoud[index(slot)] === 1
  }
}

const clip = (v: number, to: number): number => (v > to ? to : v < -to ? -to : v)
const code = (db: number): number => Math.round(Math.max(0, Math.min(127, db - BAND_DB_MIN)) * 2)
function index(slot: number): number {
  return ((slot % SLOTS) + SLOTS) % SLOTS
}
function popcount(v: number): number {
  let x = v - ((v >>> 1) & 0x55555555)
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333)
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

const SLOT_MS = 10
const SLOT = 80
const SLOTS = 256
const LAG_MIN = -4
const LAGS = ECHO_DELAY_MS_MAX / SLOT_MS + 6 - LAG_MIN
const SPREAD_DB = -40
const BITS_DB_MIN = -75
const LOUD_DB = -55
const HEARD_LOUD_DB = -70
const FORGET = 0.04
const GAP_MIN = 0.07
const STEADY_MIN = 12
const LEARN_FRAMES = 25
const LEARN_FRAMES_MAX = 75
const RUN_SLOTS = 30
const REFINED_MIN = 20
const REFINE = 5
const REFINE_LEARN = 0.02
const BACK = 2
const TAIL = 6
const TAIL_DB = 2
const OVER_DB = 8
const OVER_DB_MAX = 28
const SCORE_LEARN = 0.12
const NEAR_ON = 1.6
const NEAR_OFF = 0.8
void FRAME_MS
const scratch = new Float32Array(160)
const levels = new Float32Array(BANDS)
const expected = new Float32Array(BANDS)
const changes = new Float32Array(BANDS)
const excess = new Float32Array(BANDS)

import { frameSamples, type LegRateHz } from '../core/units.js'
import {
  DOMINANCE_MIN,
  EVENNESS_MIN,
  HITS_TO_REPORT,
  DTMF_DBFS_MIN,
  MISSES_TO_RELEASE,
  OCTAVE_LEAK,
  OCTAVE_MAX,
  OFF_FREQUENCY_MAX,
  PHASE_BLUR_RAD,
  PURITY_MIN,
  REVERSE_TWIST_MAX,
  TWIST_MAX,
} from './vad/detection-limits.js'

/** Frequencies of DTMF digits, ITU-T Q.23. */
const ROWS_HZ = [697, 770, 852, 941] as const
const COLUMNS_HZ = [1209, 1336, 1477, 1633] as const
const DIGITS = '123A456B789C*0#D'

/** @returns the digit of an index, which is row x 4 + column */
export function digitOf(place: number): string {
  return DIGITS.charAt(place)
}

/** @returns the two frequencies of a digit: the row's frequency, then the column's */
export function tonesOf(digit: string): readonly [number, number] {
  const place = DIGITS.indexOf(digit)
  return [ROWS_HZ[place >> 2] ?? 0, COLUMNS_HZ[place & 3] ?? 0]
}

// Number of samples in a block of 10 ms. A window is two blocks. On legs of 16 kHz, the audio is first reduced to 8
// kHz.
const RATE_HZ = 8000
const BLOCK = 80
const WINDOW = 160

/**
 * Finds DTMF digits in the caller's channel (the carrier's stream does not report them). A digit is reported once, as
 * soon as two windows of 20 ms agree; the second window overlaps half of the first. So 30 ms of a tone are enough, and
 * the shortest valid digit (40 ms) is found at any position in the frames. A digit counts again after a gap of 40 ms,
 * but not after a gap of 20 ms.
 *
 * The code in vad/caller-kernel/ decides in the same way.
 * @see ITU-T Q.24 for the limits; each block has Goertzel filters, and the results of two blocks are added after a turn
 * of the older block's phase
 */
export class DtmfDetector {
  /** True during a digit, and during a sound that may become a digit. Such a frame does not count as voice. */
  active = false
  /** Number of digits reported so far. */
  digits = 0
  readonly #step: 1 | 2
  readonly #frameBlocks = 2
  /** Samples of the window at 8 kHz, the older block first. */
  readonly #window = new Float64Array(WINDOW)
  /** Goertzel sums of the older block, (re, im) for each of the 8 tones. `#newer`: sums of the newer block. */
  readonly #older = new Float64Array(16)
  readonly #newer = new Float64Array(16)
  readonly #power = new Float64Array(8)
  #olderEnergy = 0
  #idle = true
  #candidate = -1
  #hits = 0
  #down = -1
  #misses = 0

  constructor(options: { readonly sampleRateHz: LegRateHz }) {
    this.#step = options.sampleRateHz === 16000 ? 2 : 1
    if (frameSamples(options.sampleRateHz) !== this.#frameBlocks * BLOCK * this.#step) throw new RangeError('frame')
  }

  /**
   * @param frame 20 ms at the leg's rate
   * @returns the digit recognised in this frame; null if there is none
   */
  detect(frame: Int16Array, levelDbfs: number): string | null {
    if (levelDbfs < DTMF_DBFS_MIN) {
      this.#rest()
      return null
    }
    let digit: string | null = null
    this.active = false
    for (let block = 0; block < this.#frameBlocks; block++) {
      this.#load(frame, block * BLOCK * this.#step)
      const heard = this.#classify()
      if (heard >= 0) this.active = true
      digit = this.#follow(heard) ?? digit
    }
    this.active ||= this.#down >= 0
    return digit
  }

  /** Handles a silent frame. Its two blocks contain no digit, and the window begins again after them. */
  #rest(): void {
    this.active = false
    if (!this.#idle) {
      this.#idle = true
      this.#window.fill(0)
      this.#older.fill(0)
      this.#newer.fill(0)
      this.#olderEnergy = 0
    }
    for (let block = 0; block < this.#frameBlocks; block++) this.#follow(-1)
  }

  #load(frame: Int16Array, from: number): void {
    this.#idle = false
    const window = this.#window
    window.copyWithin(0, BLOCK)
    if (this.#step === 1) {
      for (let i = 0; i < BLOCK; i++) window[BLOCK + i] = frame[from + i] as number
    } else {
      // Halves the rate by the mean of two samples. The mean weakens 4 kHz and above enough that no digit is found
      // there.
      for (let i = 0; i < BLOCK; i++) {
        window[BLOCK + i] = ((frame[from + 2 * i] as number) + (frame[from + 2 * i + 1] as number)) / 2
      }
    }
  }

  /** @returns the index of the digit in the window, which is row x 4 + column; -1 if there is no digit */
  #classify(): number {
    const older = this.#older
    const newer = this.#newer
    older.set(newer)
    goertzel4(this.#window, BLOCK, BLOCK, TONES, 0, newer)
    goertzel4(this.#window, BLOCK, BLOCK, TONES, 4, newer)
    const energy = energyOf(this.#window, BLOCK)
    const olderEnergy = this.#olderEnergy
    const total = energy + olderEnergy
    this.#olderEnergy = energy

    for (let tone = 0; tone < 8; tone++) {
      const turnRe = TURN[2 * tone] as number
      const turnIm = TURN[2 * tone + 1] as number
      const oldRe = older[2 * tone] as number
      const oldIm = older[2 * tone + 1] as number
      const re = oldRe * turnRe - oldIm * turnIm + (newer[2 * tone] as number)
      const im = oldRe * turnIm + oldIm * turnRe + (newer[2 * tone + 1] as number)
      this.#power[tone] = re * re + im * im
    }
    if (Math.min(energy, olderEnergy) < EVENNESS_MIN * Math.max(energy, olderEnergy)) return -1
    const row = strongest(this.#power, 0)
    const column = strongest(this.#power, 4)
    if (row < 0 || column < 0) return -1
    const rowPower = this.#tonePower(row)
    const columnPower = this.#tonePower(column)
    if ((rowPower + columnPower) * (2 / WINDOW) < PURITY_MIN * total) return -1
    if (columnPower > rowPower * TWIST_MAX || rowPower > columnPower * REVERSE_TWIST_MAX) return -1
    if (powerAt(this.#window, 2 * (DTMF_TONES_HZ[row] as number)) > OCTAVE_MAX * rowPower + OCTAVE_LEAK * columnPower)
      return -1
    if (powerAt(this.#window, 2 * (DTMF_TONES_HZ[column] as number)) > OCTAVE_MAX * columnPower) return -1
    return row * 4 + column - 4
  }

  /**
   * @returns the power of a tone. Its frequency may differ slightly from the frequency of its filter; 0 if the
   * difference is too large
   */
  #tonePower(tone: number): number {
    const turnRe = TURN[2 * tone] as number
    const turnIm = TURN[2 * tone + 1] as number
    const oldRe = this.#older[2 * tone] as number
    const oldIm = this.#older[2 * tone + 1] as number
    const re = oldRe * turnRe - oldIm * turnIm
    const im = oldRe * turnIm + oldIm * turnRe
    const newRe = this.#newer[2 * tone] as number
    const newIm = this.#newer[2 * tone + 1] as number
    const phase = Math.abs(Math.atan2(newIm * re - newRe * im, newRe * re + newIm * im))
    const allowed =
      (2 * Math.PI * OFF_FREQUENCY_MAX * (DTMF_TONES_HZ[tone] as number) * BLOCK) / RATE_HZ + PHASE_BLUR_RAD
    if (phase > allowed) return 0
    // `phase` is half of the angle by which the tone turns during the window, relative to its filter. The filter's sum
    // is then a sinc of `phase`.
    const loss = phase < 0.01 ? 1 : Math.sin(phase) / phase
    return (this.#power[tone] as number) / (loss * loss)
  }

  #follow(heard: number): string | null {
    if (heard < 0 || heard !== this.#candidate) {
      this.#candidate = heard
      this.#hits = 0
    }
    this.#misses = heard >= 0 && heard === this.#down ? 0 : this.#misses + 1
    if (this.#misses >= MISSES_TO_RELEASE) this.#down = -1
    if (heard < 0 || ++this.#hits < HITS_TO_REPORT || heard === this.#down) return null
    this.#down = heard
    this.#misses = 0
    this.digits++
    return digitOf(heard)
  }
}

/** Frequencies in Hz of the four rows, then of the four columns. */
export const DTMF_TONES_HZ: readonly number[] = [...ROWS_HZ, ...COLUMNS_HZ]
/** Constants of each tone with the angle w per sample: 2 cos(w), cos(w), sin(w). */
const TONES = Float64Array.from({ length: 24 }, (_, i) => {
  const w = (2 * Math.PI * (DTMF_TONES_HZ[Math.floor(i / 3)] as number)) / RATE_HZ
  return i % 3 === 0 ? 2 * Math.cos(w) : i % 3 === 1 ? Math.cos(w) : Math.sin(w)
})
/** Phase change of each tone per block, (re, im). */
const TURN = Float64Array.from({ length: 16 }, (_, i) => {
  const angle = (2 * Math.PI * (DTMF_TONES_HZ[i >> 1] as number) * BLOCK) / RATE_HZ
  return i % 2 === 0 ? Math.cos(angle) : Math.sin(angle)
})

/**
 * Runs four Goertzel filters in parallel, in an order in which the processor need not wait for the result of any one
 * filter. The results have the phase of the last sample.
 */
function goertzel4(
  x: Float64Array,
  from: number,
  length: number,
  tones: Float64Array,
  first: number,
  out: Float64Array,
): void {
  const c0 = tones[3 * first] as number
  const c1 = tones[3 * first + 3] as number
  const c2 = tones[3 * first + 6] as number
  const c3 = tones[3 * first + 9] as number
  let a0 = 0,
    a1 = 0,
    a2 = 0,
    a3 = 0
  let b0 = 0,
    b1 = 0,
    b2 = 0,
    b3 = 0
  for (let i = from; i < from + length; i++) {
    const sample = x[i] as number
    const n0 = sample - b0 + c0 * a0
    const n1 = sample - b1 + c1 * a1
    const n2 = sample - b2 + c2 * a2
    const n3 = sample - b3 + c3 * a3
    b0 = a0
    b1 = a1
    b2 = a2
    b3 = a3
    a0 = n0
    a1 = n1
    a2 = n2
    a3 = n3
  }
  goertzelEnd(out, first, tones, a0, b0)
  goertzelEnd(out, first + 1, tones, a1, b1)
  goertzelEnd(out, first + 2, tones, a2, b2)
  goertzelEnd(out, first + 3, tones, a3, b3)
}

function goertzelEnd(out: Float64Array, tone: number, tones: Float64Array, a: number, b: number): void {
  out[2 * tone] = a - b * (tones[3 * tone + 1] as number)
  out[2 * tone + 1] = b * (tones[3 * tone + 2] as number)
}

function powerAt(x: Float64Array, hz: number): number {
  const c = 2 * Math.cos((2 * Math.PI * hz) / RATE_HZ)
  let a = 0,
    b = 0
  for (let i = 0; i < x.length; i++) {
    const n = (x[i] as number) + c * a - b
    b = a
    a = n
  }
  return a * a + b * b - c * a * b
}

function energyOf(x: Float64Array, from: number): number {
  let sum = 0
  for (let i = from; i < x.length; i++) sum += (x[i] as number) ** 2
  return sum
}

/** @returns the strongest of the four tones from index `first`; -1 if another tone is nearly as strong */
function strongest(power: Float64Array, first: number): number {
  let best = first
  for (let i = first + 1; i < first + 4; i++) if ((power[i] as number) > (power[best] as number)) best = i
  const needed = (power[best] as number) / DOMINANCE_MIN
  for (let i = first; i < first + 4; i++) if (i !== best && (power[i] as number) > needed) return -1
  return (power[best] as number) > 0 ? best : -1
}

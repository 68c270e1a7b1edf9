import {
  DOMINANCE_MIN, EVENNESS_MIN, HITS_TO_REPORT, KEY_DBFS_MIN, MISSES_TO_RELEASE, OCTAVE_LEAK, OCTAVE_MAX, OFF_FREQUENCY_MAX, PHASE_BLUR_RAD,
  PURITY_MIN, REVERSE_TWIST_MAX, TWIST_MAX,
} from '../judge-limits'
import { BLOCK, OLDER_BLOCK, OLDER_TONES, Stream } from './stream'
import { energyOf, largest } from './vectors'

/**
 * Keys, decided as ../dtmf.ts does. There each tone has a Goertzel filter, which waits for itself at every sample. Here the same
 * sums are taken directly, of all tones and both blocks of a frame at once: with the phase counted from the middle of the block, its
 * cosine is even and its sine odd there, so that samples which lie alike on either side share a product.
 */

const HALF = BLOCK / 2
const WINDOW = 2 * BLOCK
const RATE_HZ = 8000

/** For each place before the middle, the outermost first: cosines and sines of the eight tones there. */
export const KEY_TABLE = memory.data(40 * 64, 16)
/** How far each tone turns in one block: eight cosines, eight sines. */
export const KEY_TURNS = memory.data(64, 16)
/** Frequencies of the tones, f64. */
export const KEY_HZ = memory.data(64, 16)

// A frame at 8 kHz, where it has to be halved first.
const NARROW = memory.data(160 << 2, 16)
// Sums and differences of samples on either side of the middle: those of the first block, then of the second.
const FOLDED = memory.data(160 << 2, 16)
const FOLDED_BLOCK: usize = BLOCK << 2
const FOLDED_DIFFERENCES: usize = HALF << 2
const FIRST_TONES = memory.data(64, 16)
const SECOND_TONES = memory.data(64, 16)
const POWERS = memory.data(32, 16)

/** The key that is recognised in this frame, as row x 4 + column, each press once; -1 for none. Sets `keyActive`. */
export function takeKeys(stream: usize, wave: usize, wide: bool, levelDbfs: f64): i32 {
  const s = changetype<Stream>(stream)
  keyActive = false
  if (levelDbfs < KEY_DBFS_MIN) {
    // Both blocks are misses. Nothing that comes is as even as what this leaves.
    s.olderEnergy = 0
    follow(s, -1)
    return follow(s, -1)
  }
  const first = wide ? halved(wave) : wave
  const second = first + (BLOCK << 2)
  fold(first, FOLDED)
  fold(second, FOLDED + FOLDED_BLOCK)
  sumTones()
  const energy = energyOf(first, BLOCK)
  const nextEnergy = energyOf(second, BLOCK)
  const heard = classify(stream + OLDER_TONES, FIRST_TONES, s.olderEnergy, energy, stream + OLDER_BLOCK, first)
  const heardNext = classify(FIRST_TONES, SECOND_TONES, energy, nextEnergy, first, second)
  s.olderEnergy = nextEnergy
  copy(stream + OLDER_TONES, SECOND_TONES, 64)
  copy(stream + OLDER_BLOCK, second, BLOCK << 2)
  const key = follow(s, heard)
  const nextKey = follow(s, heardNext)
  keyActive = heard >= 0 || heardNext >= 0 || s.down > 0
  return nextKey >= 0 ? nextKey : key
}

/** A key sounds in the frame that was taken last, or what may become one. */
export let keyActive: bool = false

/** The sum of each two: 4 kHz and up are weakened enough not to be taken for keys. */
function halved(wave: usize): usize {
  for (let to = NARROW; to < NARROW + (160 << 2); to += 16, wave += 32) {
    const a = v128.load(wave), b = v128.load(wave, 16)
    v128.store(to, f32x4.add(v128.shuffle<f32>(a, b, 0, 2, 4, 6), v128.shuffle<f32>(a, b, 1, 3, 5, 7)))
  }
  return NARROW
}

function fold(block: usize, to: usize): void {
  let from = block + FOLDED_BLOCK
  for (const end = block + FOLDED_DIFFERENCES; block < end; block += 16, to += 16) {
    from -= 16
    const later = v128.load(from)
    const mirrored = v128.shuffle<f32>(later, later, 3, 2, 1, 0)
    const here = v128.load(block)
    v128.store(to, f32x4.add(here, mirrored))
    v128.store(to, f32x4.sub(here, mirrored), FOLDED_DIFFERENCES)
  }
}

/** Of both blocks the real parts of the eight tones, then the imaginary ones. */
function sumTones(): void {
  const zero = f32x4.splat(0)
  let rowRe = zero, columnRe = zero, rowIm = zero, columnIm = zero
  let nextRowRe = zero, nextColumnRe = zero, nextRowIm = zero, nextColumnIm = zero
  let table = KEY_TABLE
  for (let at = FOLDED; at < FOLDED + FOLDED_DIFFERENCES; at += 4, table += 64) {
    const rowCos = v128.load(table), columnCos = v128.load(table, 16)
    const rowSin = v128.load(table, 32), columnSin = v128.load(table, 48)
    const sum = v128.load_splat<f32>(at), difference = v128.load_splat<f32>(at, FOLDED_DIFFERENCES)
    rowRe = f32x4.add(rowRe, f32x4.mul(sum, rowCos))
    columnRe = f32x4.add(columnRe, f32x4.mul(sum, columnCos))
    rowIm = f32x4.add(rowIm, f32x4.mul(difference, rowSin))
    columnIm = f32x4.add(columnIm, f32x4.mul(difference, columnSin))
    const nextSum = v128.load_splat<f32>(at, FOLDED_BLOCK), nextDifference = v128.load_splat<f32>(at, FOLDED_BLOCK + FOLDED_DIFFERENCES)
    nextRowRe = f32x4.add(nextRowRe, f32x4.mul(nextSum, rowCos))
    nextColumnRe = f32x4.add(nextColumnRe, f32x4.mul(nextSum, columnCos))
    nextRowIm = f32x4.add(nextRowIm, f32x4.mul(nextDifference, rowSin))
    nextColumnIm = f32x4.add(nextColumnIm, f32x4.mul(nextDifference, columnSin))
  }
  v128.store(FIRST_TONES, rowRe)
  v128.store(FIRST_TONES, columnRe, 16)
  v128.store(FIRST_TONES, rowIm, 32)
  v128.store(FIRST_TONES, columnIm, 48)
  v128.store(SECOND_TONES, nextRowRe)
  v128.store(SECOND_TONES, nextColumnRe, 16)
  v128.store(SECOND_TONES, nextRowIm, 32)
  v128.store(SECOND_TONES, nextColumnIm, 48)
}

/** The key in a window of two blocks, as row x 4 + column; -1 for none. */
function classify(older: usize, newer: usize, olderEnergy: f32, energy: f32, olderBlock: usize, newerBlock: usize): i32 {
  const total = <f64>energy + <f64>olderEnergy
  if (total === 0 || min(energy, olderEnergy) < EVENNESS_MIN * max(energy, olderEnergy)) return -1
  const row = strongest(older, newer, 0)
  if (row < 0) return -1
  const column = strongest(older, newer, 4)
  if (column < 0) return -1
  const rowPower = tonePower(older, newer, row)
  const columnPower = tonePower(older, newer, column)
  if ((rowPower + columnPower) * (2.0 / WINDOW) < PURITY_MIN * total) return -1
  if (columnPower > rowPower * TWIST_MAX || rowPower > columnPower * REVERSE_TWIST_MAX) return -1
  if (octavePower(olderBlock, newerBlock, row) > OCTAVE_MAX * rowPower + OCTAVE_LEAK * columnPower) return -1
  if (octavePower(olderBlock, newerBlock, column) > OCTAVE_MAX * columnPower) return -1
  return row * 4 + column - 4
}

/** The strongest of the four tones from `first` on; -1 when another is nearly as strong. */
function strongest(older: usize, newer: usize, first: usize): i32 {
  const at = first << 2
  const turnRe = v128.load(KEY_TURNS + at), turnIm = v128.load(KEY_TURNS + at, 32)
  const oldRe = v128.load(older + at), oldIm = v128.load(older + at, 32)
  const re = f32x4.add(f32x4.sub(f32x4.mul(oldRe, turnRe), f32x4.mul(oldIm, turnIm)), v128.load(newer + at))
  const im = f32x4.add(f32x4.add(f32x4.mul(oldRe, turnIm), f32x4.mul(oldIm, turnRe)), v128.load(newer + at, 32))
  const power = f32x4.add(f32x4.mul(re, re), f32x4.mul(im, im))
  v128.store(POWERS + at, power)
  const strong = i32x4.bitmask(f32x4.gt(power, f32x4.splat(largest(power) * <f32>(1 / DOMINANCE_MIN))))
  return popcnt(strong) === 1 ? <i32>first + ctz(strong) : -1
}

/** The power of a tone that may be a little off its filter's frequency; 0 when it is too far off. */
function tonePower(older: usize, newer: usize, tone: i32): f64 {
  const at = <usize>tone << 2
  const turnRe = <f64>load<f32>(KEY_TURNS + at), turnIm = <f64>load<f32>(KEY_TURNS + at, 32)
  const oldRe = <f64>load<f32>(older + at), oldIm = <f64>load<f32>(older + at, 32)
  const re = oldRe * turnRe - oldIm * turnIm
  const im = oldRe * turnIm + oldIm * turnRe
  const newRe = <f64>load<f32>(newer + at), newIm = <f64>load<f32>(newer + at, 32)
  const phase = Math.abs(Math.atan2(newIm * re - newRe * im, newRe * re + newIm * im))
  const allowed = (2 * Math.PI * OFF_FREQUENCY_MAX * hertz(tone) * BLOCK) / RATE_HZ + PHASE_BLUR_RAD
  if (phase > allowed) return 0
  // A tone that turns by `phase` in a block turns by twice that in the window, which the filter sums to a sinc.
  const loss = phase < 0.01 ? 1 : Math.sin(phase) / phase
  return <f64>load<f32>(POWERS + at) / (loss * loss)
}

function hertz(tone: i32): f64 {
  return load<f64>(KEY_HZ + (<usize>tone << 3))
}

/** A Goertzel filter over the window: only what may be a key comes this far. */
function octavePower(olderBlock: usize, newerBlock: usize, tone: i32): f64 {
  const c = 2 * Math.cos((2 * Math.PI * 2 * hertz(tone)) / RATE_HZ)
  let a: f64 = 0, b: f64 = 0
  for (let block = 0; block < 2; block++) {
    let at = block === 0 ? olderBlock : newerBlock
    for (const end = at + (BLOCK << 2); at < end; at += 4) {
      const n = <f64>load<f32>(at) + c * a - b
      b = a
      a = n
    }
  }
  return a * a + b * b - c * a * b
}

function follow(s: Stream, heard: i32): i32 {
  if (heard < 0 || heard !== s.candidate) {
    s.candidate = heard
    s.hits = 0
  }
  s.misses = heard >= 0 && heard === s.down - 1 ? 0 : s.misses + 1
  if (s.misses >= MISSES_TO_RELEASE) s.down = 0
  if (heard < 0 || ++s.hits < HITS_TO_REPORT || heard === s.down - 1) return -1
  s.down = heard + 1
  s.misses = 0
  return heard
}

/** Whole vectors: a call to the engine's own copy would cost more. */
function copy(to: usize, from: usize, bytes: usize): void {
  for (const end = from + bytes; from < end; from += 16, to += 16) v128.store(to, v128.load(from))
}

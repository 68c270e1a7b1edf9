/**
 * What a caller's frame is judged by, in AssemblyScript (ADR 0007): compiled to caller-kernel.wasm, run by ../caller-kernel.ts. Vectors are of
 * four f32 where nothing else is said, and all memory is addressed in bytes.
 */
import { ODDS_BEGIN, ODDS_ON, VOICE_DBFS_MIN } from '../judge-limits'
import { takeFeatures } from './features'
import { keyActive, takeKeys } from './keys'
import { isPureTone } from './pure-tone'
import { LEAST_DB, LEVELS_BYTES, PARTS, STREAM_BYTES, Stream } from './stream'
import { odds } from './units'

// Where things lie.
export { INPUTS } from './features'
export { KEY_HZ, KEY_TABLE, KEY_TURNS } from './keys'
export { STREAM_BYTES } from './stream'
export { MODEL } from './units'
/** A frame goes here, s16: 320 samples, or 160. */
export const FRAME = memory.data(320 << 1, 16)
/** Nothing else is from here on. */
export const FREE: usize = __heap_base

const WAVE = memory.data(320 << 2, 16)

/** Makes the block at `stream` that of a call that begins; `bandsAbove` is `bandsAboveThemselves` of its first frame. */
export function begin(stream: usize, bandsAbove: i32): void {
  memory.fill(stream, 0, STREAM_BYTES)
  for (let at: usize = 0; at < LEVELS_BYTES * PARTS; at += 16) v128.store(stream + at, f32x4.splat(f32.MAX_VALUE), LEAST_DB)
  const s = changetype<Stream>(stream)
  s.newness = 1
  s.bandsAbove = bandsAbove
}

/** The sum of squares of `FRAME`, exactly. */
export function energy(wide: bool): f64 {
  let sums = i64x2.splat(0)
  for (let at = FRAME, end = FRAME + (wide ? 640 : 320); at < end; at += 16) {
    const x = v128.load(at)
    // Two squares are 2^31 at most, which is no i32 but a u32.
    const squares = i32x4.dot_i16x8_s(x, x)
    sums = i64x2.add(sums, i64x2.add(i64x2.extend_low_i32x4_u(squares), i64x2.extend_high_i32x4_u(squares)))
  }
  return <f64>(i64x2.extract_lane(sums, 0) + i64x2.extract_lane(sums, 1))
}

/** `FRAME` is speech. */
export function isSpeech(stream: usize, wide: bool): bool {
  toWave(wide)
  return takeVoice(stream, wide)
}

/**
 * Everything about `FRAME`. Bit 0: the caller's voice, neither key nor tone nor silence. The other bits: 1 + row x 4 + column of the key
 * that was recognised in it, or 0.
 */
export function judge(stream: usize, wide: bool, levelDbfs: f64): i32 {
  toWave(wide)
  const key = takeKeys(stream, WAVE, wide, levelDbfs)
  const speech = takeVoice(stream, wide)
  const voiced = speech && levelDbfs > VOICE_DBFS_MIN && !keyActive && !isPureTone(FRAME, wide)
  return (key + 1) << 1 | (voiced ? 1 : 0)
}

function takeVoice(stream: usize, wide: bool): bool {
  const s = changetype<Stream>(stream)
  takeFeatures(stream, WAVE, wide)
  s.speaking = odds() > (s.speaking ? <f32>ODDS_ON : <f32>ODDS_BEGIN)
  return s.speaking
}

/** `FRAME` as f32, smaller by as much as the splits make it larger: by a power of two, so exactly. */
function toWave(wide: bool): void {
  const scale = f32x4.splat(wide ? f32(1.0 / 8) : f32(1.0 / 4))
  const end = FRAME + (wide ? 640 : 320)
  let to = WAVE
  for (let from = FRAME; from < end; from += 16, to += 32) {
    const x = v128.load(from)
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(x)), scale))
    v128.store(to, f32x4.mul(f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(x)), scale), 16)
  }
}

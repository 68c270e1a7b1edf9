/**
 * What is kept of one stream between its frames, in one block so that it comes into the cache in one go. The block begins with this
 * class; the vectors lie behind it. `begin` (index.ts) makes a block new.
 */
@unmanaged
export class Stream {
  // In double precision, so that minutes of small steps add up as they do in the twin: what is usual, and the sums of windows.
  softFifth: f64
  median: f64
  loudTenth: f64
  usualScore: f64
  higherScore: f64
  highScore: f64
  longSum: f64
  longSquares: f64
  shortSum: f64
  shortSquares: f64

  frames: i32
  bandsAbove: i32
  speaking: bool
  part: i32
  framesInPart: i32
  lag: i32
  change: f32
  changeSlow: f32
  steady: f32
  steadyPitch: f32
  pitchQuick: f32
  pitchMean: f32
  pitchSlow: f32
  moved: f32
  score: f32
  scoreQuick: f32
  scoreSlow: f32
  voiced: f32
  hold: f32
  newness: f32

  // Keys, as dtmf.ts has them.
  candidate: i32
  hits: i32
  down: i32
  misses: i32
  olderEnergy: f32
}

/** Six bands, all of them together, and one lane that is not used: two vectors. */
export const LEVELS_BYTES: usize = 32
export const PARTS = 5
export const LAGS = 24
export const LAG_MIN = 5
export const LAG_MAX = 28
export const HISTORY_SAMPLES = 92
export const LOW_SAMPLES = 40
export const CORRELATIONS = 5
export const CORRELATION_BYTES: usize = 96
export const LONG_WINDOW = 64
export const SHORT_WINDOW = 16
export const BLOCK = 80

// Where the vectors begin, in bytes behind the block's own address.
/** States of the all-passes: six splits, (even, odd). */
export const SPLITS: usize = (offsetof<Stream>() + 15) & ~15
export const SMOOTH_DB: usize = SPLITS + 48
export const OVER: usize = SMOOTH_DB + LEVELS_BYTES
export const OVER_MEAN: usize = OVER + LEVELS_BYTES
export const QUICK_DB: usize = OVER_MEAN + LEVELS_BYTES
export const USUAL_DB: usize = QUICK_DB + LEVELS_BYTES
/** The least smoothed level in each part of the window. */
export const LEAST_DB: usize = USUAL_DB + LEVELS_BYTES
/** The last scores and those of what has a pitch, the newest first: ten of twelve are looked at. */
export const SCORES: usize = LEAST_DB + LEVELS_BYTES * PARTS
export const VOICED_SCORES: usize = SCORES + 48
/** What is below 1 kHz, at 2 kHz, the newest last. */
export const HISTORY: usize = VOICED_SCORES + 48
export const CORRELATION_RING: usize = HISTORY + (HISTORY_SAMPLES << 2)
/** What the correlation sums up for the newest 24 samples, at each lag. */
export const NEWEST_PRODUCTS: usize = CORRELATION_RING + CORRELATION_BYTES * CORRELATIONS
export const LEVELS: usize = NEWEST_PRODUCTS + CORRELATION_BYTES
/** Sums of the older block at the eight tones: real parts, then imaginary ones. */
export const OLDER_TONES: usize = LEVELS + (LONG_WINDOW << 2)
export const OLDER_BLOCK: usize = OLDER_TONES + 64
/** Of a block: whole lines of the cache. */
export const STREAM_BYTES: usize = (OLDER_BLOCK + (BLOCK << 2) + 63) & ~63

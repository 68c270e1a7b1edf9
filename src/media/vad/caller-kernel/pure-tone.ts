import { IMPURITY_MAX } from '../judge-limits'

/** Tones, decided as ../tone-guard.ts does, to the bit: all sums are of whole numbers that a double holds exactly. */

const SAMPLES: usize = 160
// The long and the short step of the twin, in samples at 8 kHz.
const LONG_STEP: usize = 7
const SHORT_STEP: usize = 3

// The frame as f64: every other sample of 16 kHz.
const SPREAD = memory.data(160 << 3, 16)

export function isPureTone(frame: usize, wide: bool): bool {
  const step: usize = wide ? 16 : 8
  for (let to = SPREAD; to < SPREAD + (SAMPLES << 3); to += 32, frame += step) {
    // Four samples: of 16 kHz the lower halves of what is read as four numbers of 32 bits.
    const four = wide ? i32x4.shr_s(i32x4.shl(v128.load(frame), 16), 16) : v128.load16x4_s(frame)
    v128.store(to, f64x2.convert_low_i32x4_s(four))
    v128.store(to, f64x2.convert_low_i32x4_s(v128.shuffle<i64>(four, four, 1, 0)), 16)
  }
  return impurity(LONG_STEP) < IMPURITY_MAX && impurity(SHORT_STEP) < IMPURITY_MAX
}

/** The share of the power that is no sum of two sines: see the twin. */
function impurity(step: usize): f64 {
  const d = step << 3
  let pp = f64x2.splat(0), qq = pp, rr = pp, pq = pp, pr = pp, qr = pp
  const end = SPREAD + ((SAMPLES - 4 * step) << 3)
  for (let at = SPREAD; at < end; at += 16) {
    const p = f64x2.add(v128.load(at + 4 * d), v128.load(at))
    const q = f64x2.add(v128.load(at + 3 * d), v128.load(at + d))
    const r = v128.load(at + 2 * d)
    pp = f64x2.add(pp, f64x2.mul(p, p))
    qq = f64x2.add(qq, f64x2.mul(q, q))
    rr = f64x2.add(rr, f64x2.mul(r, r))
    pq = f64x2.add(pq, f64x2.mul(p, q))
    pr = f64x2.add(pr, f64x2.mul(p, r))
    qr = f64x2.add(qr, f64x2.mul(q, r))
  }
  return impurityOf(sum(pp), sum(qq), sum(rr), sum(pq), sum(pr), sum(qr))
}

function impurityOf(pp: f64, qq: f64, rr: f64, pq: f64, pr: f64, qr: f64): f64 {
  if (rr === 0) return 1
  const determinant = qq * rr - qr * qr
  let a = 0.0
  let b = -pr / rr
  // One tone alone makes q and r proportional; then b does all the work.
  if (determinant > 1e-6 * qq * rr) {
    a = (qr * pr - rr * pq) / determinant
    b = (qr * pq - qq * pr) / determinant
  }
  return max(0, pp + a * pq + b * pr) / (rr * (2 + 2 * a * a + b * b))
}

function sum(v: v128): f64 {
  return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1)
}

/** Small things on vectors of four f32. */

export function sum(v: v128): f32 {
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1))
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1)
}

export function largest(v: v128): f32 {
  const pairs = f32x4.pmax(v, v128.shuffle<f32>(v, v, 2, 3, 0, 1))
  return f32x4.extract_lane(f32x4.pmax(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0)
}

/** Each lane and those to its left. */
export function sumsFromLeft(v: v128): v128 {
  const zero = f32x4.splat(0)
  const pairs = f32x4.add(v, v128.shuffle<f32>(zero, v, 0, 4, 5, 6))
  return f32x4.add(pairs, v128.shuffle<f32>(zero, pairs, 0, 1, 4, 5))
}

/** Each lane and those to its right. */
export function sumsFromRight(v: v128): v128 {
  const zero = f32x4.splat(0)
  const pairs = f32x4.add(v, v128.shuffle<f32>(v, zero, 1, 2, 3, 4))
  return f32x4.add(pairs, v128.shuffle<f32>(pairs, zero, 2, 3, 4, 5))
}

/** The sum of squares of `samples`, a multiple of 4. */
export function energyOf(from: usize, samples: i32): f32 {
  let sums = f32x4.splat(0)
  const end = from + (<usize>samples << 2)
  for (; from < end; from += 16) {
    const x = v128.load(from)
    sums = f32x4.add(sums, f32x4.mul(x, x))
  }
  return sum(sums)
}

/** Moves a leaky mean by a share of the way. The least bit of an addition keeps it from dying away into denormal numbers, which are slow. */
export function towards(mean: f32, value: f32, share: f32): f32 {
  return mean + (value - mean) * share + f32(1e-25)
}

/** The same of four means. */
export function towardsFour(mean: v128, value: v128, share: f32): v128 {
  return f32x4.add(f32x4.add(mean, f32x4.mul(f32x4.sub(value, mean), f32x4.splat(share))), f32x4.splat(1e-25))
}

/**
 * 10 log10(x), x > 0. With x = m 2^e, m within sqrt(1/2) to sqrt(2), ln m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.1716: four terms of
 * its series leave less than 2 s^9 / 9 (1 - s^2), 3e-8, which is 1.3e-7 dB; f32 itself is not that fine.
 */
export function decibels(x: v128): v128 {
  // The bits of sqrt(1/2): what is above counts for the next exponent.
  const bits = i32x4.sub(x, i32x4.splat(0x3f3504f3))
  const exponent = i32x4.shr_s(bits, 23)
  const m = i32x4.sub(x, i32x4.shl(exponent, 23))
  const one = f32x4.splat(1)
  const s = f32x4.div(f32x4.sub(m, one), f32x4.add(m, one))
  const s2 = f32x4.mul(s, s)
  const series = f32x4.add(one, f32x4.mul(s2, f32x4.add(f32x4.splat(1.0 / 3), f32x4.mul(s2,
    f32x4.add(f32x4.splat(1.0 / 5), f32x4.mul(s2, f32x4.splat(1.0 / 7)))))))
  // 20 / ln 10 and 10 log10 2
  return f32x4.add(f32x4.mul(f32x4.mul(s, f32x4.splat(8.685889638065037)), series),
    f32x4.mul(f32x4.convert_i32x4_s(exponent), f32x4.splat(3.010299956639812)))
}

import type { SampleRateHz } from '../../core/units.js'
import { IMPURITY_MAX, TONE_LEFT_MIN } from './detection-limits.js'

// Longer of the two steps in µs. It distinguishes low harmonics, but not harmonics that are 1 / 875 µs apart. So the
// frame must also be a tone at the shorter step.
const LONG_STEP_US = 875
const SHORT_STEP_US = 375

/**
 * True if the frame is one or two pure tones, such as dial tone, ringback, busy tone or fax tone. Classic voice
 * detectors classify these tones as speech. caller-kernel/ makes equal decisions.
 * @param faultyDbfs  level after `LineFilter` on a faulty line; null on other lines. On a faulty line a constant is
 * ignored, and mains hum does not count as a tone
 */
export function isPureTone(frame: Int16Array, sampleRateHz: SampleRateHz, faultyDbfs: number | null = null): boolean {
  // At 8 kHz every sample is used; at higher rates, every second or third sample. This gives enough equations for two
  // unknowns.
  const stride = sampleRateHz / 8000
  return (
    !(faultyDbfs !== null && isHum(frame, stride, faultyDbfs)) &&
    toneImpurity(frame, (LONG_STEP_US * sampleRateHz) / 1e6, stride, faultyDbfs !== null) < IMPURITY_MAX &&
    toneImpurity(frame, (SHORT_STEP_US * sampleRateHz) / 1e6, stride, faultyDbfs !== null) < IMPURITY_MAX
  )
}

/** True if the line's filter has removed most of the frame. The constant offset of the frame is not counted. */
function isHum(frame: Int16Array, stride: number, levelDbfs: number): boolean {
  let sum = 0
  let squares = 0
  for (let n = 0; n < frame.length; n += stride) {
    sum += frame[n] as number
    squares += (frame[n] as number) * (frame[n] as number)
  }
  const count = frame.length / stride
  return 32_768 * 32_768 * 10 ** (levelDbfs / 10) < TONE_LEFT_MIN * (squares / count - (sum / count) * (sum / count))
}

/**
 * Computes the share of the power that two sines cannot explain. Any sum of two sines obeys x(n) + x(n-4d) + a (x(n-d)
 * + x(n-3d)) + b x(n-2d) = 0 for every step d, at any phases. With a constant offset the sum is constant. Least squares
 * find the best a and b. The power that remains, divided by the gain of this formula for noise, is the power that is
 * not a tone.
 */
function toneImpurity(frame: Int16Array, d: number, stride: number, centred: boolean): number {
  let pp = 0,
    qq = 0,
    rr = 0,
    pq = 0,
    pr = 0,
    qr = 0,
    pSum = 0,
    qSum = 0,
    rSum = 0,
    count = 0
  for (let n = 4 * d; n < frame.length; n += stride) {
    const p = (frame[n] as number) + (frame[n - 4 * d] as number)
    const q = (frame[n - d] as number) + (frame[n - 3 * d] as number)
    const r = frame[n - 2 * d] as number
    pp += p * p
    qq += q * q
    rr += r * r
    pq += p * q
    pr += p * r
    qr += q * r
    pSum += p
    qSum += q
    rSum += r
    count++
  }
  if (centred) {
    pp -= (pSum * pSum) / count
    qq -= (qSum * qSum) / count
    rr -= (rSum * rSum) / count
    pq -= (pSum * qSum) / count
    pr -= (pSum * rSum) / count
    qr -= (qSum * rSum) / count
  }
  if (rr <= 0) return 1
  const determinant = qq * rr - qr * qr
  let a = 0
  let b = -pr / rr
  // If there is only one tone, q and r are proportional. Then b alone explains the tone.
  if (determinant > 1e-6 * qq * rr) {
    a = (qr * pr - rr * pq) / determinant
    b = (qr * pq - qq * pr) / determinant
  }
  return Math.max(0, pp + a * pq + b * pr) / (rr * (2 + 2 * a * a + b * b))
}

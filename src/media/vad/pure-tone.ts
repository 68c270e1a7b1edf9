import type { SampleRateHz } from '../../core/units.js'
import { IMPURITY_MAX } from './detection-limits.js'

// A long step tells low harmonics from each other. It cannot tell harmonics apart that lie 1 / 875 us from one another,
// so a frame has to pass for a tone at a second step too.
const LONG_STEP_US = 875
const SHORT_STEP_US = 375

/**
 * True when the frame is one or two pure tones: dial tone, ringback, busy, a fax's whistle. Classic voice detectors
 * take all of these for speech. Its twin is in caller-kernel/.
 */
export function isPureTone(frame: Int16Array, sampleRateHz: SampleRateHz): boolean {
  // Every sample at 8 kHz, every second or third one above: enough equations for two unknowns.
  const stride = sampleRateHz / 8000
  return (
    toneImpurity(frame, (LONG_STEP_US * sampleRateHz) / 1e6, stride) < IMPURITY_MAX &&
    toneImpurity(frame, (SHORT_STEP_US * sampleRateHz) / 1e6, stride) < IMPURITY_MAX
  )
}

/**
 * Any sum of two sines obeys x(n) + x(n-4d) + a (x(n-d) + x(n-3d)) + b x(n-2d) = 0 for every step d, whatever their
 * phases. The best a and b are found by least squares; what they leave over, divided by how much they would amplify
 * noise, is the power of what is not tone, against the whole.
 */
function toneImpurity(frame: Int16Array, d: number, stride: number): number {
  let pp = 0,
    qq = 0,
    rr = 0,
    pq = 0,
    pr = 0,
    qr = 0
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
  }
  if (rr === 0) return 1
  const determinant = qq * rr - qr * qr
  let a = 0
  let b = -pr / rr
  // One tone alone makes q and r proportional; then b does all the work.
  if (determinant > 1e-6 * qq * rr) {
    a = (qr * pr - rr * pq) / determinant
    b = (qr * pq - qq * pr) / determinant
  }
  return Math.max(0, pp + a * pq + b * pr) / (rr * (2 + 2 * a * a + b * b))
}

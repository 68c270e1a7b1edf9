import { dbOfBits } from './decibels.js'

/** Bands of equal width by ear from 150 to 3700 Hz: what every telephone carries. */
export const BANDS = 32
/** 32 ms at 8 kHz. */
export const WINDOW = 256
/** Of a band without sound, dB. */
export const BAND_DB_MIN = -96

/**
 * Level of each band of a window, in dB: a sine of full scale has about 0 in its band.
 *
 * @param samples at 8 kHz; `WINDOW` of them from `from` on are read
 * @param out written: `BANDS` levels, `BAND_DB_MIN` and more
 * @returns the sum of their powers, 1 for a band of 0 dB
 */
export function bandLevels(samples: Float32Array, from: number, out: Float32Array): number {
  transform(samples, from)
  binPowers()
  let sum = 0
  for (let band = 0; band < BANDS; band++) {
    let power = 0
    for (let bin = edges[band] as number; bin < (edges[band + 1] as number); bin++) power += bins[bin] as number
    const scaled = Math.max(POWER_MIN, power * SCALE)
    bandPowers[band] = scaled
    sum += scaled
  }
  for (let band = 0; band < BANDS; band++) out[band] = dbOfBits(bandPowerBits[band] as number)
  return sum
}

/**
 * The discrete Fourier transform of the windowed samples, into `real` and `imaginary`: a complex one of half the length,
 * with the even samples as its real part and the odd ones as its imaginary part. Each pass after the first joins two of
 * the usual radix-2 passes, so that numbers are loaded and stored half as often.
 */
function transform(samples: Float32Array, from: number): void {
  for (let pair = 0; pair < HALF; pair += 2) {
    const near = from + 2 * (reversed[pair] as number)
    const far = near + HALF
    const at = near - from
    const nearReal = (samples[near] as number) * (window[at] as number)
    const nearImaginary = (samples[near + 1] as number) * (window[at + 1] as number)
    const farReal = (samples[far] as number) * (window[at + HALF] as number)
    const farImaginary = (samples[far + 1] as number) * (window[at + HALF + 1] as number)
    real[pair] = nearReal + farReal
    imaginary[pair] = nearImaginary + farImaginary
    real[pair + 1] = nearReal - farReal
    imaginary[pair + 1] = nearImaginary - farImaginary
  }
  for (let m = 2; m < HALF; m *= 4) {
    const step = WINDOW / (4 * m)
    for (let first = 0; first < m; first++) {
      const c1 = cosines[2 * first * step] as number
      const s1 = sines[2 * first * step] as number
      const c2 = cosines[first * step] as number
      const s2 = sines[first * step] as number
      for (let a = first; a < HALF; a += 4 * m) {
        const b = a + m
        const c = b + m
        const d = c + m
        const bReal = (real[b] as number) * c1 + (imaginary[b] as number) * s1
        const bImaginary = (imaginary[b] as number) * c1 - (real[b] as number) * s1
        const dReal = (real[d] as number) * c1 + (imaginary[d] as number) * s1
        const dImaginary = (imaginary[d] as number) * c1 - (real[d] as number) * s1
        const p0Real = (real[a] as number) + bReal
        const p0Imaginary = (imaginary[a] as number) + bImaginary
        const p1Real = (real[a] as number) - bReal
        const p1Imaginary = (imaginary[a] as number) - bImaginary
        const q0Real = (real[c] as number) + dReal
        const q0Imaginary = (imaginary[c] as number) + dImaginary
        const q1Real = (real[c] as number) - dReal
        const q1Imaginary = (imaginary[c] as number) - dImaginary
        const t0Real = q0Real * c2 + q0Imaginary * s2
        const t0Imaginary = q0Imaginary * c2 - q0Real * s2
        // A quarter of a turn further: times -i.
        const t1Real = q1Imaginary * c2 - q1Real * s2
        const t1Imaginary = -(q1Real * c2 + q1Imaginary * s2)
        real[a] = p0Real + t0Real
        imaginary[a] = p0Imaginary + t0Imaginary
        real[c] = p0Real - t0Real
        imaginary[c] = p0Imaginary - t0Imaginary
        real[b] = p1Real + t1Real
        imaginary[b] = p1Imaginary + t1Imaginary
        real[d] = p1Real - t1Real
        imaginary[d] = p1Imaginary - t1Imaginary
      }
    }
  }
}

/** Four times the powers of the real transform, from the complex one; a bin and its mirror from the same numbers. */
function binPowers(): void {
  for (let bin = 1; bin <= HALF / 2; bin++) {
    const mirror = HALF - bin
    const evenReal = (real[bin] as number) + (real[mirror] as number)
    const evenImaginary = (imaginary[bin] as number) - (imaginary[mirror] as number)
    const oddReal = (imaginary[bin] as number) + (imaginary[mirror] as number)
    const oddImaginary = (real[mirror] as number) - (real[bin] as number)
    const c = cosines[bin] as number
    const s = sines[bin] as number
    const turnedReal = c * oddReal + s * oddImaginary
    const turnedImaginary = c * oddImaginary - s * oddReal
    const re = evenReal + turnedReal
    const im = evenImaginary + turnedImaginary
    const mirrorRe = evenReal - turnedReal
    const mirrorIm = evenImaginary - turnedImaginary
    bins[bin] = re * re + im * im
    bins[mirror] = mirrorRe * mirrorRe + mirrorIm * mirrorIm
  }
}

const HALF = WINDOW / 2
const FROM_HZ = 150
const TO_HZ = 3700
// A sine of amplitude A has the power (A * WINDOW / 4)^2 in its bin under this window, and some beside it. A quarter of
// that, because `bins` are four times the powers.
const SCALE = 1 / (4 * ((32_768 * WINDOW) / 4) ** 2)
const POWER_MIN = 10 ** (BAND_DB_MIN / 10)

// Tables and scratch of all calls of a thread; nothing in the scratch outlives a call.
const window = Float64Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / WINDOW))
const cosines = Float64Array.from({ length: HALF }, (_, i) => Math.cos((2 * Math.PI * i) / WINDOW))
const sines = Float64Array.from({ length: HALF }, (_, i) => Math.sin((2 * Math.PI * i) / WINDOW))
const reversed = Uint8Array.from({ length: HALF }, (_, i) => {
  let to = 0
  for (let bit = 1; bit < HALF; bit *= 2) to = 2 * to + (i & bit ? 1 : 0)
  return to
})
const real = new Float64Array(HALF)
const imaginary = new Float64Array(HALF)
const bins = new Float64Array(HALF)
const bandPowers = new Float32Array(BANDS)
const bandPowerBits = new Int32Array(bandPowers.buffer)

/** First bin of each band and the end of the last: equal steps of mel, one bin at least. */
const edges = bandEdges()

function bandEdges(): readonly number[] {
  const mel = (hz: number) => Math.log(1 + hz / 700)
  const all: number[] = []
  for (let band = 0; band <= BANDS; band++) {
    const at = mel(FROM_HZ) + ((mel(TO_HZ) - mel(FROM_HZ)) * band) / BANDS
    const bin = Math.round((700 * (Math.exp(at) - 1) * WINDOW) / 8000)
    all.push(Math.max(bin, (all[band - 1] ?? 0) + 1))
  }
  return all
}

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
 */
export function bandLevels(samples: Float32Array, from: number, out: Float32Array): void {
  // A real transform by a complex one of half the length: even samples are its real part, odd ones its imaginary part.
  for (let i = 0; i < HALF; i++) {
    const to = reversed[i] as number
    real[to] = (samples[from + 2 * i] as number) * (window[2 * i] as number)
    imaginary[to] = (samples[from + 2 * i + 1] as number) * (window[2 * i + 1] as number)
  }
  transform()
  for (let band = 0; band < BANDS; band++) {
    let power = 0
    for (let bin = edges[band] as number; bin < (edges[band + 1] as number); bin++) power += powerOfBin(bin)
    out[band] = Math.max(BAND_DB_MIN, TEN_LOG10_2 * Math.log2(power + 1e-9) + SCALE_DB)
  }
}

/** Of the real transform, from the complex one. @param bin 1 to `HALF` - 1 */
function powerOfBin(bin: number): number {
  const evenReal = 0.5 * ((real[bin] as number) + (real[HALF - bin] as number))
  const evenImaginary = 0.5 * ((imaginary[bin] as number) - (imaginary[HALF - bin] as number))
  const oddReal = 0.5 * ((imaginary[bin] as number) + (imaginary[HALF - bin] as number))
  const oddImaginary = 0.5 * ((real[HALF - bin] as number) - (real[bin] as number))
  const c = cosines[bin] as number
  const s = sines[bin] as number
  const re = evenReal + c * oddReal + s * oddImaginary
  const im = evenImaginary + c * oddImaginary - s * oddReal
  return re * re + im * im
}

/** In place, of samples in bit-reversed order. */
function transform(): void {
  for (let size = 2; size <= HALF; size *= 2) {
    const half = size / 2
    const step = WINDOW / size
    for (let first = 0; first < half; first++) {
      const c = cosines[first * step] as number
      const s = sines[first * step] as number
      for (let a = first; a < HALF; a += size) {
        const b = a + half
        const re = (real[b] as number) * c + (imaginary[b] as number) * s
        const im = (imaginary[b] as number) * c - (real[b] as number) * s
        real[b] = (real[a] as number) - re
        imaginary[b] = (imaginary[a] as number) - im
        real[a] = (real[a] as number) + re
        imaginary[a] = (imaginary[a] as number) + im
      }
    }
  }
}

const HALF = WINDOW / 2
const FROM_HZ = 150
const TO_HZ = 3700
const TEN_LOG10_2 = 10 * Math.log10(2)
// A sine of amplitude A has the power (A * WINDOW / 4)^2 in its bin under this window, and some beside it.
const SCALE_DB = -20 * Math.log10((32_768 * WINDOW) / 4)

// Tables and scratch of all calls of a thread; nothing in the scratch outlives a call.
const window = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * (i + 0.5)) / WINDOW))
const cosines = Float32Array.from({ length: HALF }, (_, i) => Math.cos((2 * Math.PI * i) / WINDOW))
const sines = Float32Array.from({ length: HALF }, (_, i) => Math.sin((2 * Math.PI * i) / WINDOW))
const reversed = Uint8Array.from({ length: HALF }, (_, i) => {
  let to = 0
  for (let bit = 1; bit < HALF; bit *= 2) to = 2 * to + (i & bit ? 1 : 0)
  return to
})
const real = new Float32Array(HALF)
const imaginary = new Float32Array(HALF)

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

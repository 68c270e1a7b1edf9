/**
 * Number of taps on each side of a sample. `PHASES`: number of positions between two samples that have a filter of
 * their own.
 */
const HALF_TAPS = 12
const PHASES = 256

/**
 * Resamples a stream between any two rates: voices at 22,050 Hz, recordings at 44,100 Hz. The filter is a windowed sinc
 * of 24 taps at the lower rate. It is flat up to 0.8 of the band, which is more than a telephone line carries.
 */
export class RateConverter {
  readonly #step: number
  readonly #half: number
  readonly #kernel: Float32Array
  /** Input samples that later output still needs. At the start they are silence. */
  #kept: Float32Array
  /** Position of the next output sample, counted in samples of `#kept`. */
  #position: number

  constructor(fromHz: number, toHz: number) {
    this.#step = fromHz / toHz
    const cutoff = Math.min(1, toHz / fromHz) * 0.92
    this.#half = Math.ceil(HALF_TAPS / Math.min(1, toHz / fromHz))
    const taps = 2 * this.#half
    this.#kernel = new Float32Array(taps * (PHASES + 1))
    for (let phase = 0; phase <= PHASES; phase++) {
      let sum = 0
      for (let tap = 0; tap < taps; tap++) {
        const x = tap - this.#half + 1 - phase / PHASES
        const sinc = x === 0 ? cutoff : Math.sin(Math.PI * x * cutoff) / (Math.PI * x)
        const window = 0.5 + 0.5 * Math.cos((Math.PI * x) / this.#half)
        const value = Math.abs(x) >= this.#half ? 0 : sinc * window
        this.#kernel[phase * taps + tap] = value
        sum += value
      }
      // The filter of every phase gets a gain of 1 at 0 Hz. Otherwise a constant input would become a hum.
      for (let tap = 0; tap < taps; tap++)
        this.#kernel[phase * taps + tap] = (this.#kernel[phase * taps + tap] as number) / sum
    }
    this.#kept = new Float32Array(this.#half)
    this.#position = this.#half
  }

  /** Converts the next samples. If output depends on later input, it is returned when that input comes. */
  process(pcm: Int16Array): Int16Array {
    const input = new Float32Array(this.#kept.length + pcm.length)
    input.set(this.#kept)
    input.set(pcm, this.#kept.length)
    const taps = 2 * this.#half
    const last = input.length - this.#half - 1
    const count = Math.max(0, Math.floor((last - this.#position) / this.#step) + 1)
    const out = new Int16Array(count)
    for (let n = 0; n < count; n++) {
      const position = this.#position + n * this.#step
      const left = Math.floor(position)
      const phase = Math.round((position - left) * PHASES)
      let sum = 0
      for (let tap = 0; tap < taps; tap++)
        sum += (input[left - this.#half + 1 + tap] as number) * (this.#kernel[phase * taps + tap] as number)
      out[n] = sum > 32767 ? 32767 : sum < -32768 ? -32768 : Math.round(sum)
    }
    const next = this.#position + count * this.#step
    const from = Math.max(0, Math.floor(next) - this.#half)
    this.#kept = input.slice(from)
    this.#position = next - from
    return out
  }

  /** Returns the samples that still need later input; the later input is taken as silence. */
  flush(): Int16Array {
    return this.process(new Int16Array(this.#half + 1))
  }
}

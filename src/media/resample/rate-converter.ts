/** Taps on each side of a sample, and positions between two samples for which the filter is kept. */
const HALF_TAPS = 12
const PHASES = 256

/**
 * Resamples a stream between any two rates, for sound that is not at a rate of the gateway: voices at 22,050 Hz, recordings at 44,100 Hz.
 * A windowed sinc, 24 taps at the lower of the two rates; flat to 0.8 of the band, which is more than a telephone line
 * passes.
 */
export class RateConverter {
  readonly #step: number
  readonly #half: number
  readonly #kernel: Float32Array
  /** Input that later output still needs; silence at the start. */
  #kept: Float32Array
  /** Position of the next output sample, in samples of `#kept`. */
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
      // Every phase has unit gain at 0 Hz: otherwise a constant would become a hum.
      for (let tap = 0; tap < taps; tap++)
        this.#kernel[phase * taps + tap] = (this.#kernel[phase * taps + tap] as number) / sum
    }
    this.#kept = new Float32Array(this.#half)
    this.#position = this.#half
  }

  /** Converts the next samples. Output that depends on later input is returned with that input. */
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

  /** The last samples, computed with silence after them. */
  flush(): Int16Array {
    return this.process(new Int16Array(this.#half + 1))
  }
}

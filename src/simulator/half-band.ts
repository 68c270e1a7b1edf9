/**
 * Doubles or halves a sample rate, frame by frame. The simulator's own filter and no copy of the gateway's resampler:
 * the carrier converts with something else too, and equal faults on both sides would hide each other.
 */
const HALF_TAPS = 23
/** Pass band of telephony ends at 3.4 kHz; the transition is 3.4-4.6 kHz at 16 kHz. */
const taps = windowedSinc(HALF_TAPS)

/** A low pass at a quarter of the rate, Blackman-windowed; every second tap but the middle one is 0. */
function windowedSinc(half: number): Float64Array {
  const filter = new Float64Array(2 * half + 1)
  let sum = 0
  for (let i = -half; i <= half; i++) {
    const sinc = i === 0 ? 0.5 : Math.sin(Math.PI * i / 2) / (Math.PI * i)
    const phase = Math.PI * (i + half + 1) / (half + 1)
    const value = sinc * (0.42 - 0.5 * Math.cos(phase) + 0.08 * Math.cos(2 * phase))
    filter[i + half] = value
    sum += value
  }
  return filter.map((value) => value / sum)
}

function clamp(value: number): number {
  return Math.max(-32_768, Math.min(32_767, Math.round(value)))
}

/** One direction of one leg. Delay: 23 samples of the higher rate (1.4 ms at 16 kHz). */
export class HalfBand {
  readonly #history = new Float64Array(2 * HALF_TAPS)

  /** @param out twice as long as `frame`, overwritten. */
  double(frame: Int16Array, out: Int16Array): void {
    const high = new Float64Array(out.length)
    for (let i = 0; i < frame.length; i++) high[2 * i] = 2 * (frame[i] as number)
    this.#filter(high, out, 1)
  }

  /** @param out half as long as `frame`, overwritten. */
  halve(frame: Int16Array, out: Int16Array): void {
    this.#filter(Float64Array.from(frame), out, 2)
  }

  #filter(high: Float64Array, out: Int16Array, step: 1 | 2): void {
    const past = this.#history.length
    const line = new Float64Array(past + high.length)
    line.set(this.#history)
    line.set(high, past)
    for (let i = 0; i < out.length; i++) {
      let sum = 0
      const at = i * step
      for (let j = 0; j < taps.length; j++) sum += (taps[j] as number) * (line[at + j] as number)
      out[i] = clamp(sum)
    }
    this.#history.set(line.subarray(line.length - past))
  }
}

/** A whole recording at another of the two rates; the filter's delay is taken out. */
export function convertRate(pcm: Int16Array, fromHz: number, toHz: number): Int16Array {
  if (fromHz === toHz) return pcm
  const filter = new HalfBand()
  const padding = new Int16Array(2 * HALF_TAPS)
  const padded = new Int16Array(pcm.length + padding.length + (pcm.length & 1))
  padded.set(pcm)
  if (fromHz * 2 === toHz) {
    const out = new Int16Array(padded.length * 2)
    filter.double(padded, out)
    return out.slice(HALF_TAPS, HALF_TAPS + pcm.length * 2)
  }
  if (fromHz === toHz * 2) {
    const out = new Int16Array(padded.length / 2)
    filter.halve(padded, out)
    return out.slice((HALF_TAPS + 1) / 2, (HALF_TAPS + 1) / 2 + Math.floor(pcm.length / 2))
  }
  throw new RangeError(`cannot convert ${fromHz} Hz to ${toHz} Hz: one has to be twice the other`)
}

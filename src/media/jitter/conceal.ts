/**
 * Bridges 20 ms that have not come: the last pitch period of the frame before again and again, fading to silence.
 * @see ITU-T G.711 appendix I, of which this is the first and simplest step
 * @param samples holds the frame before, of `out.length` samples, from `from` on; read only
 * @param out  20 ms, overwritten
 */
export function concealFrame(samples: Int16Array, from: number, out: Int16Array): void {
  const end = from + out.length
  const period = pitchPeriod(samples, end, out.length)
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.round((samples[end - period + (i % period)] as number) * (1 - i / out.length))
  }
}

/** The lag, 2.5 to 12.5 ms, at which the end of the 20 ms before `end` resembles itself most. */
function pitchPeriod(samples: Int16Array, end: number, length: number): number {
  const window = Math.floor(length * 0.375)
  let best = Math.floor(length / 8)
  let bestLikeness = 0
  for (let lag = Math.floor(length / 8); lag <= Math.floor(length * 0.625); lag++) {
    let product = 0
    let energy = 1
    for (let i = end - window; i < end; i++) {
      const then = samples[i - lag] as number
      product += (samples[i] as number) * then
      energy += then * then
    }
    const likeness = product > 0 ? (product * product) / energy : 0
    // A multiple of the period is as alike as the period; the shortest wins unless a longer one is clearly better.
    if (likeness > bestLikeness * 1.05) {
      best = lag
      bestLikeness = likeness
    }
  }
  return best
}

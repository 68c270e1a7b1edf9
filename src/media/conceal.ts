/**
 * Bridges 20 ms that have not come: the last pitch period of `last` again and again, fading to silence.
 * @see ITU-T G.711 appendix I, of which this is the first and simplest step
 * @param last the frame before; read only
 * @param out  as long as `last`, overwritten
 */
export function concealFrame(last: Int16Array, out: Int16Array): void {
  const period = pitchPeriod(last)
  const from = last.length - period
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.round((last[from + (i % period)] as number) * (1 - i / out.length))
  }
}

/** The lag, 2.5 to 12.5 ms, at which the end of the frame resembles itself most. */
function pitchPeriod(frame: Int16Array): number {
  const length = frame.length
  const window = Math.floor(length * 0.375)
  let best = Math.floor(length / 8)
  let bestLikeness = 0
  for (let lag = Math.floor(length / 8); lag <= Math.floor(length * 0.625); lag++) {
    let product = 0
    let energy = 1
    for (let i = length - window; i < length; i++) {
      const then = frame[i - lag] as number
      product += (frame[i] as number) * then
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

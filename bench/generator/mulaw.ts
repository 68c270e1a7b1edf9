/** G.711 µ-law, for the one peer that speaks nothing else. */

const BIAS = 0x84
const CLIP = 32_635

export function encodeMulaw(sample: number): number {
  const sign = sample < 0 ? 0x80 : 0
  const magnitude = Math.min(Math.abs(sample), CLIP) + BIAS
  const exponent = Math.max(0, 31 - Math.clz32(magnitude >> 7))
  const mantissa = (magnitude >> (exponent + 3)) & 0x0f
  return ~(sign | (exponent << 4) | mantissa) & 0xff
}

/** Samples by code. */
export const MULAW_SAMPLES = Int16Array.from({ length: 256 }, (_, code) => {
  const bits = ~code & 0xff
  const magnitude = ((((bits & 0x0f) << 3) + BIAS) << ((bits >> 4) & 0x07)) - BIAS
  return (bits & 0x80) === 0 ? magnitude : -magnitude
})

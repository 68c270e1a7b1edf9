import { BYTES_PER_SAMPLE } from '../core/units.js'

/** Samples in the gateway: s16, mono by default. Levels are in dB relative to full scale. */

/** Level of silence in dBFS. It is below the minimum rms of s16 samples. */
export const LEVEL_DBFS_MIN = -96

/**
 * Maximum peak that counts as silence: -60 dBFS, which is inaudible. A service once sent 11 s of such sound before it
 * spoke.
 */
const SILENT_PEAK_MAX = 32

/** True if a sample exceeds SILENT_PEAK_MAX. */
export function hasSound(samples: Int16Array, from = 0, to = samples.length): boolean {
  for (let i = from; i < to; i++) {
    const sample = samples[i] as number
    if (sample > SILENT_PEAK_MAX || sample < -SILENT_PEAK_MAX) return true
  }
  return false
}

export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/**
 * @returns the bytes as samples: a view if possible (even address, little-endian machine), otherwise a copy. An odd
 * last byte is ignored. The function allocates memory, so use it for whole messages only.
 */
export function samplesOf(bytes: Uint8Array): Int16Array {
  const length = Math.floor(bytes.length / BYTES_PER_SAMPLE)
  if (LITTLE_ENDIAN && bytes.byteOffset % BYTES_PER_SAMPLE === 0) {
    return new Int16Array(bytes.buffer, bytes.byteOffset, length)
  }
  const samples = new Int16Array(length)
  readSamples(bytes, 0, samples, 0, length)
  return samples
}

/** @returns the s16le bytes of samples: a view of their memory on a little-endian machine, otherwise a copy */
export function bytesOfSamples(samples: Int16Array): Uint8Array {
  if (LITTLE_ENDIAN) return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength)
  const bytes = new Uint8Array(samples.byteLength)
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i] as number
    bytes[2 * i] = sample & 0xff
    bytes[2 * i + 1] = (sample >> 8) & 0xff
  }
  return bytes
}

/** Reads `length` s16le samples from byte `from`, with any alignment, into `out` from sample `to`. */
export function readSamples(bytes: Uint8Array, from: number, out: Int16Array, to: number, length: number): void {
  let at = from
  for (let i = 0; i < length; i++) {
    out[to + i] = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    at += 2
  }
}

/** Sum of squares; exact in a double for more than 8 million samples. */
export function energyOf(samples: Int16Array, from = 0, to = samples.length): number {
  // Four sums are used, because each addition to a single sum would have to wait for the previous addition. All numbers
  // are whole, so the order of the additions does not matter.
  let sum0 = 0,
    sum1 = 0,
    sum2 = 0,
    sum3 = 0
  let i = from
  for (; i + 3 < to; i += 4) {
    const a = samples[i] as number
    const b = samples[i + 1] as number
    const c = samples[i + 2] as number
    const d = samples[i + 3] as number
    sum0 += a * a
    sum1 += b * b
    sum2 += c * c
    sum3 += d * d
  }
  for (; i < to; i++) sum0 += (samples[i] as number) ** 2
  return sum0 + sum1 + sum2 + sum3
}

/** Rms level in dBFS: 0 for a full-scale square wave, -3.01 for a full-scale sine, -96 for silence. */
export function levelDbfs(samples: Int16Array): number {
  return dbfsOfEnergy(energyOf(samples), samples.length)
}

/** @returns the level in dBFS of `samples` samples whose sum of squares is `energy` */
export function dbfsOfEnergy(energy: number, samples: number): number {
  if (energy <= 0 || samples === 0) return LEVEL_DBFS_MIN
  return Math.max(LEVEL_DBFS_MIN, 10 * Math.log10(energy / samples / (32768 * 32768)))
}

/** Maximum magnitude, 0 to 32768. */
export function peakOf(samples: Int16Array): number {
  let peak = 0
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i] as number
    const magnitude = sample < 0 ? -sample : sample
    if (magnitude > peak) peak = magnitude
  }
  return peak
}

/**
 * Multiplies `samples[from..to)` in place by a gain that changes linearly. It is `startGain` at the first sample and
 * would reach `endGain` at `to`. Samples that become too large are clipped, not wrapped.
 */
export function rampGain(samples: Int16Array, from: number, to: number, startGain: number, endGain: number): void {
  const step = (endGain - startGain) / Math.max(1, to - from)
  let gain = startGain
  for (let i = from; i < to; i++) {
    const value = Math.round((samples[i] as number) * gain)
    samples[i] = value > 32767 ? 32767 : value < -32768 ? -32768 : value
    gain += step
  }
}

/** Fades from silence to full level over `samples[from..to)`, in place. */
export function fadeIn(samples: Int16Array, from: number, to: number): void {
  rampGain(samples, from, to, 0, 1)
}

/** Fades from full level to silence over `samples[from..to)`, in place. */
export function fadeOut(samples: Int16Array, from: number, to: number): void {
  rampGain(samples, from, to, 1, 0)
}

// Bias of G.711 mu-law. The code has 8 segments, each twice as wide as the previous segment. With the bias, their
// borders are powers of two.
const MU_LAW_BIAS = 0x84
const MU_LAW_CLIP = 32635

/** Samples by mu-law byte. @see ITU-T G.711, table 2a */
const MU_LAW_DECODED = Int16Array.from({ length: 256 }, (_, byte) => {
  const code = ~byte & 0xff
  const magnitude = ((((code & 0x0f) << 3) + MU_LAW_BIAS) << ((code & 0x70) >> 4)) - MU_LAW_BIAS
  return (code & 0x80) === 0 ? magnitude : -magnitude
})

/**
 * Expands mu-law bytes into `out`, which must be at least as long as `bytes`.
 * @returns the number of samples
 */
export function decodeMuLaw(bytes: Uint8Array, out: Int16Array): number {
  for (let i = 0; i < bytes.length; i++) out[i] = MU_LAW_DECODED[bytes[i] as number] as number
  return bytes.length
}

/**
 * Compresses samples to mu-law in `out`, which must be at least as long as `samples`.
 * @returns the number of bytes
 */
export function encodeMuLaw(samples: Int16Array, out: Uint8Array): number {
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i] as number
    const sign = sample < 0 ? 0x80 : 0
    const magnitude = Math.min(MU_LAW_CLIP, sample < 0 ? -sample : sample) + MU_LAW_BIAS
    // The segment follows from the position of the highest bit, 7 to 14.
    const segment = 24 - Math.clz32(magnitude)
    out[i] = ~(sign | (segment << 4) | ((magnitude >> (segment + 3)) & 0x0f)) & 0xff
  }
  return samples.length
}

/** Samples by A-law byte. The code has 8 segments; the first two have equal widths. @see ITU-T G.711, table 1a */
const A_LAW_DECODED = Int16Array.from({ length: 256 }, (_, byte) => {
  const code = byte ^ 0x55
  const segment = (code & 0x70) >> 4
  const step = ((code & 0x0f) << 4) + 8
  const magnitude = segment === 0 ? step : (step + 0x100) << (segment - 1)
  return (code & 0x80) === 0 ? -magnitude : magnitude
})

/**
 * Expands A-law bytes into `out`, which must be at least as long as `bytes`.
 * @returns the number of samples
 */
export function decodeALaw(bytes: Uint8Array, out: Int16Array): number {
  for (let i = 0; i < bytes.length; i++) out[i] = A_LAW_DECODED[bytes[i] as number] as number
  return bytes.length
}

/** A-law bytes by sample without its lowest 4 bits. The lowest sample comes first. */
const A_LAW_ENCODED = Uint8Array.from({ length: 4096 }, (_, index) => {
  const sample = index - 2048
  const magnitude = sample < 0 ? ~sample : sample
  // The segment follows from the position of the highest bit, 4 to 10. The first segment, below them, is as wide as the
  // second.
  const segment = magnitude < 16 ? 0 : 28 - Math.clz32(magnitude)
  const step = (magnitude >> Math.max(0, segment - 1)) & 0x0f
  return ((sample < 0 ? 0 : 0x80) | (segment << 4) | step) ^ 0x55
})

/**
 * Compresses samples to A-law in `out` from index `at`; `out` must be long enough.
 * @returns the number of bytes
 */
export function encodeALaw(samples: Int16Array, out: Uint8Array, at = 0): number {
  for (let i = 0; i < samples.length; i++) out[at + i] = A_LAW_ENCODED[((samples[i] as number) >> 4) + 2048] as number
  return samples.length
}

/** G.711 codecs at 8 kHz, by the names that services use. */
export const G711 = {
  pcmu: { encode: encodeMuLaw, decode: decodeMuLaw },
  pcma: { encode: encodeALaw, decode: decodeALaw },
} as const

/** Joins the pieces into one new array, in order. */
export function joined(pieces: readonly Int16Array[]): Int16Array {
  const all = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

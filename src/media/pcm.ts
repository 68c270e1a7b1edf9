import { BYTES_PER_SAMPLE } from '../core/units.js'

/** Samples as the gateway handles them: s16, mono unless said otherwise. Levels are in dB against full scale. */

/** Level of silence: below the smallest rms that s16 can hold. */
export const LEVEL_DBFS_MIN = -96

/** The highest peak of silence, which nobody hears: -60 dBFS. A vendor was seen to send 11 s of it before it spoke. */
const SILENT_PEAK_MAX = 32

/** True if a sample is above SILENT_PEAK_MAX; looks no further than the first. */
export function hasSound(samples: Int16Array, from = 0, to = samples.length): boolean {
  for (let i = from; i < to; i++) {
    const sample = samples[i] as number
    if (sample > SILENT_PEAK_MAX || sample < -SILENT_PEAK_MAX) return true
  }
  return false
}

export const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1

/**
 * The bytes as samples without a copy where memory allows (even address, little-endian machine), else a copy. An
 * odd byte at the end is left out. Allocates a view: for whole messages, not for each frame.
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

/** The s16le bytes of samples; a view of the same memory on a little-endian machine, else a copy. */
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

/** Reads `length` s16le samples at byte `from`, whatever its alignment, into `out` at sample `to`. */
export function readSamples(bytes: Uint8Array, from: number, out: Int16Array, to: number, length: number): void {
  let at = from
  for (let i = 0; i < length; i++) {
    out[to + i] = (bytes[at] as number) | ((bytes[at + 1] as number) << 8)
    at += 2
  }
}

/** Sum of squares; exact in a double for more than 8 million samples. */
export function energyOf(samples: Int16Array, from = 0, to = samples.length): number {
  // Four sums: additions to one sum would wait for each other. All are whole numbers, so their order does not matter.
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

/** Rms level: 0 for a full-scale square wave, -3.01 for a full-scale sine, -96 for silence. */
export function levelDbfs(samples: Int16Array): number {
  return dbfsOfEnergy(energyOf(samples), samples.length)
}

/** The level of `samples` samples that have this sum of squares. */
export function dbfsOfEnergy(energy: number, samples: number): number {
  if (energy <= 0 || samples === 0) return LEVEL_DBFS_MIN
  return Math.max(LEVEL_DBFS_MIN, 10 * Math.log10(energy / samples / (32768 * 32768)))
}

/** Largest magnitude, 0 to 32768. */
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
 * Multiplies `samples[from..to)` in place by a gain that goes in a straight line from `startGain` (first sample)
 * towards `endGain` (reached at `to`). Gains above 1 are clipped, not wrapped.
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

/** From silence to full over `samples[from..to)`, in place. */
export function fadeIn(samples: Int16Array, from: number, to: number): void {
  rampGain(samples, from, to, 0, 1)
}

/** From full to silence over `samples[from..to)`, in place. */
export function fadeOut(samples: Int16Array, from: number, to: number): void {
  rampGain(samples, from, to, 1, 0)
}

// G.711 mu-law: 8 segments, each twice as wide as the one before; the bias makes their borders powers of two.
const MU_LAW_BIAS = 0x84
const MU_LAW_CLIP = 32635

/** The sample of each mu-law byte. @see ITU-T G.711, table 2a */
const MU_LAW_DECODED = Int16Array.from({ length: 256 }, (_, byte) => {
  const code = ~byte & 0xff
  const magnitude = ((((code & 0x0f) << 3) + MU_LAW_BIAS) << ((code & 0x70) >> 4)) - MU_LAW_BIAS
  return (code & 0x80) === 0 ? magnitude : -magnitude
})

/** Expands mu-law bytes into `out`, which is at least as long; returns how many. */
export function decodeMuLaw(bytes: Uint8Array, out: Int16Array): number {
  for (let i = 0; i < bytes.length; i++) out[i] = MU_LAW_DECODED[bytes[i] as number] as number
  return bytes.length
}

/** Compresses samples to mu-law in `out`, which is at least as long; returns how many. */
export function encodeMuLaw(samples: Int16Array, out: Uint8Array): number {
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i] as number
    const sign = sample < 0 ? 0x80 : 0
    const magnitude = Math.min(MU_LAW_CLIP, sample < 0 ? -sample : sample) + MU_LAW_BIAS
    // The segment is the place of the highest bit, 7 to 14.
    const segment = 24 - Math.clz32(magnitude)
    out[i] = ~(sign | (segment << 4) | ((magnitude >> (segment + 3)) & 0x0f)) & 0xff
  }
  return samples.length
}

/** The sample of each A-law byte: 8 segments, the first two as wide. @see ITU-T G.711, table 1a */
const A_LAW_DECODED = Int16Array.from({ length: 256 }, (_, byte) => {
  const code = byte ^ 0x55
  const segment = (code & 0x70) >> 4
  const step = ((code & 0x0f) << 4) + 8
  const magnitude = segment === 0 ? step : (step + 0x100) << (segment - 1)
  return (code & 0x80) === 0 ? -magnitude : magnitude
})

/** Expands A-law bytes into `out`, which is at least as long; returns how many. */
export function decodeALaw(bytes: Uint8Array, out: Int16Array): number {
  for (let i = 0; i < bytes.length; i++) out[i] = A_LAW_DECODED[bytes[i] as number] as number
  return bytes.length
}

/** Compresses samples to A-law in `out` from `at` on, which has room for as many bytes; returns how many. */
export function encodeALaw(samples: Int16Array, out: Uint8Array, at = 0): number {
  for (let i = 0; i < samples.length; i++) {
    const sample = samples[i] as number
    const magnitude = (sample < 0 ? ~sample : sample) >> 4
    // The segment is the place of the highest bit, 4 to 10; below it the first segment is as wide as the second.
    const segment = magnitude < 16 ? 0 : 28 - Math.clz32(magnitude)
    const step = (magnitude >> Math.max(0, segment - 1)) & 0x0f
    out[at + i] = ((sample < 0 ? 0 : 0x80) | (segment << 4) | step) ^ 0x55
  }
  return samples.length
}

/** G.711 at 8 kHz, by the names that services use. */
export const G711 = {
  pcmu: { encode: encodeMuLaw, decode: decodeMuLaw },
  pcma: { encode: encodeALaw, decode: decodeALaw },
} as const

/** A copy of the pieces, one after the other. */
export function joined(pieces: readonly Int16Array[]): Int16Array {
  const all = new Int16Array(pieces.reduce((sum, piece) => sum + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    all.set(piece, at)
    at += piece.length
  }
  return all
}

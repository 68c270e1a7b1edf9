/** Seeded signals for tests: the same on every machine. Amplitudes are in s16 units, times in milliseconds. */
import { joined } from '../../src/media/pcm.js'
import { seededRandom } from '../../src/carrier/random.js'

export { seededRandom }

interface SignalShape {
  readonly sampleRateHz: number
  readonly ms: number
  readonly amplitude: number
}

export function silence(sampleRateHz: number, ms: number): Int16Array {
  return new Int16Array(Math.round((sampleRateHz * ms) / 1000))
}

/** One or more sines together, each of `amplitude`. */
export function tone(frequenciesHz: readonly number[], { sampleRateHz, ms, amplitude }: SignalShape): Int16Array {
  return Int16Array.from({ length: Math.round((sampleRateHz * ms) / 1000) }, (_, i) => {
    let sum = 0
    for (const hz of frequenciesHz) sum += Math.sin((2 * Math.PI * hz * i) / sampleRateHz)
    return clip(sum * amplitude)
  })
}

/** A sine that goes through all frequencies from 50 Hz to `toHz`. */
export function sweep(toHz: number, { sampleRateHz, ms, amplitude }: SignalShape): Int16Array {
  const length = Math.round((sampleRateHz * ms) / 1000)
  let phase = 0
  return Int16Array.from({ length }, (_, i) => {
    phase += (2 * Math.PI * (50 + ((toHz - 50) * i) / length)) / sampleRateHz
    return clip(amplitude * Math.sin(phase))
  })
}

/** White noise; `amplitude` is its rms. */
export function whiteNoise({ sampleRateHz, ms, amplitude }: SignalShape, seed: number): Int16Array {
  const random = seededRandom(seed)
  return Int16Array.from({ length: Math.round((sampleRateHz * ms) / 1000) }, () =>
    clip((random() * 2 - 1) * Math.sqrt(3) * amplitude),
  )
}

/** Pink noise (Paul Kellet's filter); `amplitude` is its rms. It is a simple approximation of street noise. */
export function pinkNoise({ sampleRateHz, ms, amplitude }: SignalShape, seed: number): Int16Array {
  const random = seededRandom(seed)
  const raw = new Float64Array(Math.round((sampleRateHz * ms) / 1000))
  let b0 = 0,
    b1 = 0,
    b2 = 0,
    squares = 0
  for (let i = 0; i < raw.length; i++) {
    const white = random() * 2 - 1
    b0 = 0.99765 * b0 + white * 0.099046
    b1 = 0.963 * b1 + white * 0.2965164
    b2 = 0.57 * b2 + white * 1.0526913
    const pink = b0 + b1 + b2 + white * 0.1848
    raw[i] = pink
    squares += pink * pink
  }
  const scale = amplitude / Math.sqrt(squares / raw.length)
  return scaled(raw, scale)
}

function scaled(raw: Float64Array, factor: number): Int16Array {
  const samples = new Int16Array(raw.length)
  for (let i = 0; i < raw.length; i++) samples[i] = clip((raw[i] as number) * factor)
  return samples
}

/**
 * Signal with the properties of speech that detectors use: a gliding pitch with harmonics to 3.6 kHz under two moving
 * formants, breath, syllables of 120 to 300 ms, unvoiced bursts, and pauses. `amplitude` is the loudest peak.
 */
export function speechLike({ sampleRateHz, ms, amplitude }: SignalShape, seed: number): Int16Array {
  const random = seededRandom(seed)
  const length = Math.round((sampleRateHz * ms) / 1000)
  const raw = new Float64Array(length)
  let at = 0
  while (at < length) {
    const syllable = Math.round((sampleRateHz * (120 + 180 * random())) / 1000)
    const pitchHz = 90 + 130 * random()
    const glide = (random() - 0.5) * 0.4
    const formant1Hz = 300 + 500 * random()
    const formant2Hz = 900 + 1400 * random()
    let phase = 0
    for (let i = 0; i < syllable && at + i < length; i++) {
      const part = i / syllable
      const hz = pitchHz * (1 + glide * part)
      phase += (2 * Math.PI * hz) / sampleRateHz
      let value = 0
      for (let harmonic = 1; harmonic * hz < 3600; harmonic++) {
        const f = harmonic * hz
        const gain =
          bell(f, formant1Hz * (1 + 0.2 * part), 160) +
          0.5 * bell(f, formant2Hz * (1 - 0.2 * part), 220) +
          0.2 * bell(f, 2700, 300) +
          0.04
        value += gain * Math.sin(harmonic * phase + harmonic * harmonic)
      }
      raw[at + i] = (value + 0.15 * (random() * 2 - 1)) * Math.sin(Math.PI * part) ** 0.5
    }
    at += syllable
    const burst = Math.round((sampleRateHz * 60 * random()) / 1000)
    for (let i = 0; i < burst && at + i < length; i++) raw[at + i] = 0.3 * (random() * 2 - 1)
    at += burst + Math.round((sampleRateHz * (random() < 0.2 ? 400 : 40) * random()) / 1000)
  }
  let peak = 1e-9
  for (const value of raw) peak = Math.max(peak, Math.abs(value))
  return scaled(raw, amplitude / peak)
}

/** Two signals on one line; as long as the longer signal. */
export function mix(a: Int16Array, b: Int16Array): Int16Array {
  return Int16Array.from({ length: Math.max(a.length, b.length) }, (_, i) => clip((a[i] ?? 0) + (b[i] ?? 0)))
}

export const concatenate = (...parts: readonly Int16Array[]): Int16Array => joined(parts)

/** Whole frames of `length` samples; remaining samples are left out. */
export function framesOf(samples: Int16Array, length: number): Int16Array[] {
  return Array.from({ length: Math.floor(samples.length / length) }, (_, i) =>
    samples.slice(i * length, (i + 1) * length),
  )
}

/** The s16le bytes of samples, as the carrier sends them. */
export function bytesOf(samples: Int16Array): Uint8Array {
  return new Uint8Array(samples.buffer.slice(samples.byteOffset, samples.byteOffset + samples.byteLength))
}

/**
 * True if both arrays have equal samples. tap's own comparison, key by key, takes a tenth of a second for one second of
 * audio.
 */
export function sameSamples(a: Int16Array, b: Int16Array): boolean {
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
}

/** Power of one frequency in dB against a full-scale sine, over the whole of `samples`, with a Blackman window. */
export function toneLevelDb(samples: Int16Array, hz: number, sampleRateHz: number): number {
  let re = 0,
    im = 0,
    weight = 0
  for (let i = 0; i < samples.length; i++) {
    const x = (2 * Math.PI * i) / (samples.length - 1)
    const w = 0.42 - 0.5 * Math.cos(x) + 0.08 * Math.cos(2 * x)
    const angle = (2 * Math.PI * hz * i) / sampleRateHz
    re += w * (samples[i] as number) * Math.cos(angle)
    im += w * (samples[i] as number) * Math.sin(angle)
    weight += w
  }
  return 20 * Math.log10(Math.max(1e-12, (2 * Math.hypot(re, im)) / weight / 32768))
}

function bell(x: number, centre: number, width: number): number {
  const off = (x - centre) / width
  const squared = off * off
  // Too small to affect the sum; most terms are.
  return squared > 40 ? 0 : Math.exp(-squared)
}

function clip(value: number): number {
  return Math.max(-32768, Math.min(32767, Math.round(value)))
}

import { isSampleRateHz } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { readSamples } from '../../media/pcm.js'

/** Rate of raw samples when no other rate is set, and the rate after resampling. */
export const TTS_RATE_HZ = 24_000

/** Longest WAV header. */
const HEADER_BYTES_MAX = 4096
const RATE_HZ_MIN = 8000
const RATE_HZ_MAX = 48_000

/** The body is in a format that cannot be played; the message says which. */
export class UnplayableSpeech extends Error {}

/**
 * Reads the body of an `/audio/speech` answer as it arrives: raw samples, or a WAV file from servers that ignore
 * `response_format`. A chunk may end in the middle of a sample or of the header.
 */
export class SpeechBody {
  #rateHz: number
  #format: 'unknown' | 'samples' = 'unknown'
  #rest: Buffer = Buffer.alloc(0)
  #converter: RateConverter | null = null

  /** @param rateHz  of raw samples */
  constructor(rateHz: number) {
    this.#rateHz = rateHz
  }

  /** Rate of the samples that `push` returns; valid once it has returned some. */
  get sampleRateHz(): SampleRateHz {
    return isSampleRateHz(this.#rateHz) ? this.#rateHz : TTS_RATE_HZ
  }

  /** @throws UnplayableSpeech for a body that is neither raw samples nor a WAV file */
  push(chunk: Uint8Array): Int16Array {
    this.#rest =
      this.#rest.length === 0
        ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
        : Buffer.concat([this.#rest, chunk])
    if (this.#format === 'unknown' && !this.#sniff()) return new Int16Array(0)
    const samples = new Int16Array(this.#rest.length >> 1)
    readSamples(this.#rest, 0, samples, 0, samples.length)
    this.#rest = Buffer.from(this.#rest.subarray(samples.length * 2))
    return this.#converter === null ? samples : this.#converter.process(samples)
  }

  end(): Int16Array {
    return this.#converter?.flush() ?? new Int16Array(0)
  }

  /** @returns true when samples begin at the start of `#rest` */
  #sniff(): boolean {
    const head = this.#rest
    if (head.length < 4) return false
    const mark = head.toString('latin1', 0, 4)
    if (
      mark.startsWith('ID3') ||
      mark === 'OggS' ||
      mark === 'fLaC' ||
      (head[0] === 0xff && ((head[1] as number) & 0xf6) === 0xf2)
    ) {
      throw new UnplayableSpeech('it answers with compressed audio, although raw samples (pcm) were requested')
    }
    if (mark === 'RIFF') {
      const dataAt = this.#header(head)
      if (dataAt === 0) return false
      this.#rest = head.subarray(dataAt)
    }
    if (this.#rateHz < RATE_HZ_MIN || this.#rateHz > RATE_HZ_MAX)
      throw new UnplayableSpeech(`its samples have ${this.#rateHz} Hz; 8,000 to 48,000 are allowed`)
    if (!isSampleRateHz(this.#rateHz)) this.#converter = new RateConverter(this.#rateHz, TTS_RATE_HZ)
    this.#format = 'samples'
    return true
  }

  /** Reads the chunks of a WAV file up to its samples. @returns their offset; 0 while it is not known */
  #header(file: Buffer): number {
    let at = 12
    while (at + 8 <= file.length) {
      const name = file.toString('latin1', at, at + 4)
      const bytes = file.readUInt32LE(at + 4)
      if (name === 'data') return at + 8
      if (name === 'fmt ') {
        if (at + 24 > file.length) return 0
        const [format, channels, bits] = [
          file.readUInt16LE(at + 8),
          file.readUInt16LE(at + 10),
          file.readUInt16LE(at + 22),
        ]
        if ((format !== 1 && format !== 0xfffe) || channels !== 1 || bits !== 16) {
          throw new UnplayableSpeech(
            `it answers with a WAV file of ${channels} channels and ${bits} bits; 1 channel and 16 bits are required`,
          )
        }
        this.#rateHz = file.readUInt32LE(at + 12)
      }
      at += 8 + bytes + (bytes & 1)
    }
    if (file.length > HEADER_BYTES_MAX) throw new UnplayableSpeech('it answers with a WAV file without samples')
    return 0
  }
}

/** Taps on each side of a sample, and positions between two samples for which the filter is kept. */
const HALF_TAPS = 12
const PHASES = 256

/**
 * Resamples speech between any two rates, for voices at rates that media/resample does not cover (22,050 Hz is common).
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

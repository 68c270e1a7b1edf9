import { isSampleRateHz } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { readSamples } from '../../media/pcm.js'
import { RateConverter } from './rate-converter.js'
import { TTS_RATE_HZ } from './options.js'

/** A WAV header that has not ended after this is none. */
const HEADER_BYTES_MAX = 4096
const RATE_HZ_MIN = 8000
const RATE_HZ_MAX = 48_000

/** What a body turned out to be that cannot be played. */
export class UnplayableSpeech extends Error {}

/**
 * The body of an answer of `/audio/speech`, as it arrives: raw samples, or a WAV file where a server does not care for
 * `response_format`. A chunk may end in the middle of a sample, or of the header.
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

  /** The rate of what `push` returns; known after it returned something. */
  get sampleRateHz(): SampleRateHz {
    return isSampleRateHz(this.#rateHz) ? this.#rateHz : TTS_RATE_HZ
  }

  /** @throws UnplayableSpeech for a body that is neither samples nor such a file */
  push(chunk: Uint8Array): Int16Array {
    this.#rest = this.#rest.length === 0 ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length) : Buffer.concat([this.#rest, chunk])
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
    if (mark.startsWith('ID3') || mark === 'OggS' || mark === 'fLaC' || (head[0] === 0xff && ((head[1] as number) & 0xf6) === 0xf2)) {
      throw new UnplayableSpeech('it answers with compressed audio, and raw samples (pcm) were asked for')
    }
    if (mark === 'RIFF') {
      const dataAt = this.#header(head)
      if (dataAt === 0) return false
      this.#rest = head.subarray(dataAt)
    }
    if (this.#rateHz < RATE_HZ_MIN || this.#rateHz > RATE_HZ_MAX) throw new UnplayableSpeech(`its samples have ${this.#rateHz} Hz; allowed are 8,000 to 48,000`)
    if (!isSampleRateHz(this.#rateHz)) this.#converter = new RateConverter(this.#rateHz, TTS_RATE_HZ)
    this.#format = 'samples'
    return true
  }

  /** Reads the chunks of a WAV file up to its samples. @returns where those begin; 0 while that is not known */
  #header(file: Buffer): number {
    let at = 12
    while (at + 8 <= file.length) {
      const name = file.toString('latin1', at, at + 4)
      const bytes = file.readUInt32LE(at + 4)
      if (name === 'data') return at + 8
      if (name === 'fmt ') {
        if (at + 24 > file.length) return 0
        const [format, channels, bits] = [file.readUInt16LE(at + 8), file.readUInt16LE(at + 10), file.readUInt16LE(at + 22)]
        if ((format !== 1 && format !== 0xfffe) || channels !== 1 || bits !== 16) {
          throw new UnplayableSpeech(`it answers with a WAV file of ${channels} channels and ${bits} bits; wanted are 1 and 16`)
        }
        this.#rateHz = file.readUInt32LE(at + 12)
      }
      at += 8 + bytes + (bytes & 1)
    }
    if (file.length > HEADER_BYTES_MAX) throw new UnplayableSpeech('it answers with a WAV file without samples')
    return 0
  }
}

import { isSampleRateHz } from '../../core/units.js'
import type { SampleRateHz } from '../../core/units.js'
import { joined } from '../../media/pcm.js'
import { RateConverter } from '../../media/resample/rate-converter.js'
import { channelOf, decodeSamples, wavHead, type SampleFormat } from '../../media/wav.js'

/** Sample rate in Hz of raw samples if no other rate is set. Sound with an unusual rate is resampled to this rate. */
export const TTS_RATE_HZ = 24_000

/** Maximum size of a WAV header in bytes. */
const HEADER_BYTES_MAX = 4096
/** Maximum size of a JSON document in characters: a minute of speech at 24 kHz in base64, and the fields around it. */
const DOCUMENT_CHARS_MAX = 4 * 1024 * 1024
/**
 * Number of leading bytes that show the kind of a body. In raw speech, these bytes are never all printable characters.
 */
const SNIFFED_BYTES = 48
const RATE_HZ_MIN = 8000
const RATE_HZ_MAX = 48_000
/** Maximum depth of nested documents, or of nested encodings. A body with a greater depth is not speech. */
const NESTED_MAX = 1

/** Error for a body whose format cannot be played; the message names the format. */
export class UnplayableSpeech extends Error {}

type Body = 'unknown' | 'raw' | 'wav' | 'base64' | 'document'

/**
 * Reads the body of an `/audio/speech` answer as it arrives. The kind of body is found from its content, not from the
 * HTTP header. Kinds: raw samples (s16, mono), a WAV file, base64 of raw samples or of a WAV file, or a JSON document
 * with base64. A chunk may end within a sample or within a WAV header. Data that is not sound is never returned as
 * samples.
 */
export class SpeechBody {
  #rateHz: number
  #body: Body = 'unknown'
  #format: SampleFormat
  #rest: Buffer = Buffer.alloc(0)
  #converter: RateConverter | null = null
  /** Reads the decoded base64. */
  #inner: SpeechBody | null = null
  readonly #depth: number
  #samples = 0

  /** @param rateHz  rate of raw samples, 8,000 to 48,000 */
  constructor(rateHz: number, depth = 0) {
    this.#rateHz = rateHz
    this.#depth = depth
    this.#format = { encoding: 'integer', bits: 16, channels: 1, rateHz }
  }

  /** Rate of the samples that `push` returns; valid after `push` has returned samples. */
  get sampleRateHz(): SampleRateHz {
    if (this.#inner !== null) return this.#inner.sampleRateHz
    return isSampleRateHz(this.#rateHz) ? this.#rateHz : TTS_RATE_HZ
  }

  /** @throws UnplayableSpeech if the body is not sound or cannot be read */
  push(chunk: Uint8Array): Int16Array {
    this.#rest =
      this.#rest.length === 0
        ? Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length)
        : Buffer.concat([this.#rest, chunk])
    const samples = this.#read(false)
    // The remaining bytes are copied, because their memory may be used again after this method returns.
    this.#rest = Buffer.from(this.#rest)
    return samples
  }

  /**
   * Ends the body.
   * @throws UnplayableSpeech if the body contained no sound
   */
  end(): Int16Array {
    const samples = joined([this.#read(true), this.#inner?.end() ?? this.#converter?.flush() ?? new Int16Array(0)])
    if (this.#samples === 0 && samples.length === 0) throw new UnplayableSpeech('it answers with no sound')
    return samples
  }

  #read(complete: boolean): Int16Array {
    if (this.#body === 'unknown') this.#sniff(complete)
    switch (this.#body) {
      case 'unknown':
        return new Int16Array(0)
      case 'document':
        return this.#document(complete)
      case 'base64':
        return this.#base64()
      case 'wav':
        if (!this.#header(complete)) return new Int16Array(0)
        this.#body = 'raw'
        break
      case 'raw':
    }
    return this.#decoded()
  }

  #sniff(complete: boolean): void {
    const head = this.#rest
    if (head.length < 4) return
    const mark = head.toString('latin1', 0, 4)
    if (COMPRESSED.test(mark) || head.toString('latin1', 4, 8) === 'ftyp' || isMp3(head))
      throw new UnplayableSpeech('it answers with compressed audio, although raw samples (pcm) were requested')
    // If a body is not text, its first 12 bytes show its kind.
    if (head.length < SNIFFED_BYTES && !complete && (head.length < 12 || isText(head))) return
    if (/^(?:RIFX|FORM|\.snd)$/.test(mark))
      throw new UnplayableSpeech('it answers with a file of big-endian samples; WAV or raw samples (pcm) can be played')
    if (/^(?:RIFF|RF64|BW64)$/.test(mark)) this.#body = 'wav'
    else if (head.length >= 12 && isText(head)) this.#body = this.#textual(head)
    else {
      this.#body = 'raw'
      this.#checkRate()
    }
  }

  #textual(head: Buffer): Body {
    const text = head.toString('latin1', 0, 400).trimStart()
    if (this.#depth > NESTED_MAX) throw new UnplayableSpeech('it answers with text in place of sound')
    if (/^[{["]/.test(text)) return 'document'
    if (/^(?:data:audio\/[\w.+-]+(?:;[\w=.-]+)*;base64,)?[A-Za-z0-9+/_\-\r\n]{12,}=*\s*$/.test(text)) return 'base64'
    throw new UnplayableSpeech('it answers with text in place of sound')
  }

  /** Decodes whole groups of four characters. */
  #base64(): Int16Array {
    this.#inner ??= new SpeechBody(this.#rateHz, this.#depth + 1)
    const text = this.#rest
      .toString('latin1')
      .replace(/^data:[^,]*,/, '')
      .replace(/\s+/g, '')
    const whole = text.length - (text.length % 4)
    this.#rest = Buffer.from(text.slice(whole), 'latin1')
    return this.#count(whole === 0 ? new Int16Array(0) : this.#inner.push(Buffer.from(text.slice(0, whole), 'base64')))
  }

  #document(complete: boolean): Int16Array {
    if (this.#rest.length > DOCUMENT_CHARS_MAX)
      throw new UnplayableSpeech('it answers with a JSON document that is too long')
    if (!complete) return new Int16Array(0)
    let value: unknown
    try {
      value = JSON.parse(this.#rest.toString('utf8'))
    } catch {
      throw new UnplayableSpeech('it answers with text in place of sound')
    }
    this.#rest = Buffer.alloc(0)
    const sound = soundIn(value)
    if (sound === null) throw new UnplayableSpeech('it answers with a JSON document without sound')
    this.#inner = new SpeechBody(this.#rateHz, this.#depth + 1)
    return this.#count(this.#inner.push(Buffer.from(sound, 'base64')))
  }

  /** @returns false if the header is not complete yet */
  #header(complete: boolean): boolean {
    const head = wavHead(this.#rest)
    if (typeof head !== 'string') {
      this.#format = head.format
      this.#rateHz = head.format.rateHz
      this.#rest = this.#rest.subarray(head.dataAt)
      this.#checkRate()
      return true
    }
    if (/^format/.test(head)) throw new UnplayableSpeech(`it answers with a WAV file that cannot be read: ${head}`)
    if (complete || this.#rest.length > HEADER_BYTES_MAX)
      throw new UnplayableSpeech('it answers with a WAV file without samples')
    return false
  }

  #checkRate(): void {
    if (isSampleRateHz(this.#rateHz)) return
    if (this.#rateHz < RATE_HZ_MIN || this.#rateHz > RATE_HZ_MAX)
      throw new UnplayableSpeech(`its samples have ${this.#rateHz} Hz; 8,000 to 48,000 are allowed`)
    this.#converter = new RateConverter(this.#rateHz, TTS_RATE_HZ)
  }

  #decoded(): Int16Array {
    const { bits, channels } = this.#format
    const frame = (bits / 8) * channels
    const whole = this.#rest.length - (this.#rest.length % frame)
    const interleaved = decodeSamples(this.#rest.subarray(0, whole), this.#format)
    this.#rest = this.#rest.subarray(whole)
    const samples = channels === 2 ? channelOf({ channels: 2, samples: interleaved }, 0) : interleaved
    return this.#count(this.#converter === null ? samples : this.#converter.process(samples))
  }

  #count(samples: Int16Array): Int16Array {
    this.#samples += samples.length
    return samples
  }
}

/** First bytes of ID3 tags, Ogg, FLAC, Matroska, AMR and CAF. */
const COMPRESSED = /^(?:ID3|OggS|fLaC|\x1aE\xdf\xa3|#!AM|caff)/

function isMp3(head: Buffer): boolean {
  return head[0] === 0xff && ((head[1] ?? 0) & 0xe6) === 0xe2
}

function isText(bytes: Buffer): boolean {
  return bytes
    .subarray(0, SNIFFED_BYTES)
    .every((byte) => (byte >= 0x20 && byte < 0x7f) || byte === 9 || byte === 10 || byte === 13)
}

/**
 * @returns the longest base64 text in a service's document, from the fields `audio`, `data` or `audio_content` at any
 * depth
 */
function soundIn(value: unknown, depth = 0): string | null {
  if (typeof value === 'string')
    return /^(?:data:audio\/[^,]*,)?[A-Za-z0-9+/_-]{64,}=*$/.test(value) ? value.replace(/^data:[^,]*,/, '') : null
  if (typeof value !== 'object' || value === null || depth > 4) return null
  const found = Object.values(value).flatMap((part) => soundIn(part, depth + 1) ?? [])
  return found.sort((a, b) => b.length - a.length)[0] ?? null
}

import { GatewayError } from '../core/errors.js'
import { BYTES_PER_SAMPLE, isSampleRateHz, SAMPLE_RATES_HZ, type SampleRateHz } from '../core/units.js'
import { decodeALaw, decodeMuLaw, samplesOf, bytesOfSamples } from './pcm.js'
import { RateConverter } from './resample/rate-converter.js'

/** Sound from a WAV file, always as s16. */
interface WavAudio {
  readonly sampleRateHz: SampleRateHz
  readonly channels: 1 | 2
  /** Samples, interleaved if there are two channels. */
  readonly samples: Int16Array
}

const ALLOWED =
  'allowed are PCM of 8 to 32 bits, floating point, A-law and mu-law, with 4,000 to 384,000 Hz and 1 to 8 channels; ' +
  '`ffmpeg -i FILE -ar 16000 -ac 1 FILE.wav` makes one'

const FORMAT_PCM = 0x0001
const FORMAT_FLOAT = 0x0003
const FORMAT_A_LAW = 0x0006
const FORMAT_MU_LAW = 0x0007
/** Format code of extensible files. In these files the real format is in the first two bytes of the sub-format GUID. */
const FORMAT_EXTENSIBLE = 0xfffe
const HEADER_BYTES = 44

const RATE_HZ_MIN = 4000
const RATE_HZ_MAX = 384_000
const CHANNELS_MAX = 8

/**
 * Reads a WAV file (RIFF, RF64, BW64). Chunks other than `fmt ` and `data` are skipped. A truncated file gives the
 * sound that it contains. A file whose sizes were never written, because the recorder died, is read in the same way.
 * Other rates are converted to the next higher rate of the gateway, at most 24,000 Hz. More than two channels are mixed
 * to their mean.
 * @param bytes  the whole file; the samples are a copy
 * @throws GatewayError WAV_INVALID, with the found format and the allowed formats
 */
export function parseWav(bytes: Uint8Array): WavAudio {
  const head = wavHead(bytes)
  if (typeof head === 'string') throw invalid(head)
  const { format, dataAt, dataBytes } = head
  const samples = decodeSamples(bytes.subarray(dataAt, dataAt + dataBytes), format)
  return { ...playable(samples, format), channels: format.channels === 2 ? 2 : 1 }
}

/** Encoding of a file's samples. */
export interface SampleFormat {
  readonly encoding: 'integer' | 'float' | 'pcma' | 'pcmu'
  /** Bits of one sample: 8, 16, 24, 32, or 64 for `float`. */
  readonly bits: number
  /** Number of channels, 1 to 8. */
  readonly channels: number
  /** Sample rate, 4,000 to 384,000. */
  readonly rateHz: number
}

interface WavHead {
  readonly format: SampleFormat
  readonly dataAt: number
  /** Size in bytes of the sound, as the file states it. If the stated size is impossible, it is the actual size. */
  readonly dataBytes: number
}

/**
 * Finds the format and the sound of a file.
 * @param bytes the file, or its beginning
 * @returns the head; a string that names the fault if the file is unreadable
 */
export function wavHead(bytes: Uint8Array): WavHead | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12 || !/^(?:RIFF|RF64|BW64)$/.test(textAt(bytes, 0)) || textAt(bytes, 8) !== 'WAVE')
    return `not a RIFF WAVE file (${bytes.length} bytes)`
  let format: SampleFormat | string | null = null
  let long: number | null = null
  for (let at = 12; at + 8 <= bytes.length;) {
    const id = textAt(bytes, at)
    const start = at + 8
    const declared = view.getUint32(at + 4, true)
    const left = bytes.length - start
    if (id === 'ds64' && left >= 16) long = Number(view.getBigUint64(start + 8, true))
    if (id === 'fmt ') {
      format = formatOf(view, start, Math.min(declared, left))
      if (typeof format === 'string') return format
    }
    if (id === 'data') {
      if (format === null) return 'its sound comes before its format'
      const size = declared === 0xffffffff ? (long ?? left) : declared
      // If the recorder died, the size here is 0 although sound follows the header.
      const unfinished = size === 0 && !isChunk(bytes, start)
      return { format, dataAt: start, dataBytes: unfinished ? left : Math.min(size, left) }
    }
    // Chunks begin at even positions. The size of a chunk excludes the padding byte; some programs omit the byte.
    const next = start + declared
    at = declared % 2 === 1 && !(isChunk(bytes, next) && !isChunk(bytes, next + 1)) ? next + 1 : next
  }
  return format === null ? 'it has no format' : 'it has no sound'
}

/**
 * Converts samples of any format to s16, interleaved if there are two channels. More channels are mixed to their mean.
 * @param bytes only whole frames are read
 */
export function decodeSamples(bytes: Uint8Array, format: SampleFormat): Int16Array {
  const { channels } = format
  const width = format.bits / 8
  const count = Math.floor(bytes.length / width / channels) * channels
  const samples = new Int16Array(count)
  if (format.encoding === 'pcma' || format.encoding === 'pcmu') {
    const decode = format.encoding === 'pcma' ? decodeALaw : decodeMuLaw
    decode(bytes.subarray(0, count), samples)
  } else if (format.encoding === 'integer' && width === 2) {
    samples.set(samplesOf(bytes).subarray(0, count))
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const read = reader(view, format)
    for (let i = 0; i < count; i++) samples[i] = read(i * width)
  }
  if (channels <= 2) return samples
  return Int16Array.from({ length: count / channels }, (_, frame) => {
    let sum = 0
    for (let channel = 0; channel < channels; channel++) sum += samples[frame * channels + channel] as number
    return Math.round(sum / channels)
  })
}

/**
 * Makes a function that reads one sample as s16. It uses the sample's upper bits; a fraction of full scale is
 * multiplied and clipped.
 */
function reader(view: DataView, { encoding, bits }: SampleFormat): (at: number) => number {
  if (encoding === 'float') {
    const value = bits === 64 ? (at: number) => view.getFloat64(at, true) : (at: number) => view.getFloat32(at, true)
    return (at) => {
      const sample = Math.round(value(at) * 32768)
      return sample > 32767 ? 32767 : sample < -32768 ? -32768 : Number.isNaN(sample) ? 0 : sample
    }
  }
  if (bits === 8) return (at) => (view.getUint8(at) - 128) << 8
  // Only the two most significant bytes of 24 or 32 bits are read.
  return (at) => view.getInt16(at + bits / 8 - 2, true)
}

/** Converts the samples to a rate of the gateway. */
function playable(
  samples: Int16Array,
  { rateHz, channels }: SampleFormat,
): { readonly sampleRateHz: SampleRateHz; readonly samples: Int16Array } {
  if (isSampleRateHz(rateHz)) return { sampleRateHz: rateHz, samples }
  const sampleRateHz = SAMPLE_RATES_HZ.find((rate) => rate >= rateHz) ?? 24_000
  const convert = (mono: Int16Array): Int16Array => {
    const converter = new RateConverter(rateHz, sampleRateHz)
    const parts = [converter.process(mono), converter.flush()] as const
    const out = new Int16Array(Math.round((mono.length * sampleRateHz) / rateHz))
    out.set(parts[0].subarray(0, out.length))
    out.set(parts[1].subarray(0, Math.max(0, out.length - parts[0].length)), Math.min(out.length, parts[0].length))
    return out
  }
  if (channels !== 2) return { sampleRateHz, samples: convert(samples) }
  const [left, right] = ([0, 1] as const).map((side) => convert(channelOf({ channels: 2, samples }, side)))
  return {
    sampleRateHz,
    samples: Int16Array.from(
      { length: 2 * (left?.length ?? 0) },
      (_, i) => (i % 2 === 0 ? left : right)?.[i >> 1] ?? 0,
    ),
  }
}

/** A whole WAV file of 16-bit PCM. */
export function writeWav(audio: {
  readonly sampleRateHz: number
  readonly channels: 1 | 2
  readonly samples: Int16Array
}): Uint8Array {
  const file = new Uint8Array(HEADER_BYTES + audio.samples.byteLength)
  file.set(
    wavHeader({ sampleRateHz: audio.sampleRateHz, channels: audio.channels, dataBytes: audio.samples.byteLength }),
  )
  file.set(bytesOfSamples(audio.samples), HEADER_BYTES)
  return file
}

/**
 * The 44 bytes before the samples of a 16-bit PCM file. A recorder writes them first with `dataBytes` 0, and again at the
 * end.
 */
export function wavHeader(options: {
  readonly sampleRateHz: number
  readonly channels: 1 | 2
  readonly dataBytes: number
}): Uint8Array {
  const { sampleRateHz, channels, dataBytes } = options
  const header = new Uint8Array(HEADER_BYTES)
  const view = new DataView(header.buffer)
  setText(header, 0, 'RIFF')
  view.setUint32(4, HEADER_BYTES - 8 + dataBytes, true)
  setText(header, 8, 'WAVE')
  setText(header, 12, 'fmt ')
  view.setUint32(16, 16, true)
  view.setUint16(20, FORMAT_PCM, true)
  view.setUint16(22, channels, true)
  view.setUint32(24, sampleRateHz, true)
  view.setUint32(28, sampleRateHz * channels * BYTES_PER_SAMPLE, true)
  view.setUint16(32, channels * BYTES_PER_SAMPLE, true)
  view.setUint16(34, 8 * BYTES_PER_SAMPLE, true)
  setText(header, 36, 'data')
  view.setUint32(40, dataBytes, true)
  return header
}

/** @returns one channel of interleaved samples; channel 0 is the left channel. Mono is returned unchanged. */
export function channelOf(audio: Pick<WavAudio, 'channels' | 'samples'>, channel: 0 | 1): Int16Array {
  if (audio.channels === 1) return audio.samples
  const out = new Int16Array(audio.samples.length / 2)
  for (let i = 0; i < out.length; i++) out[i] = audio.samples[2 * i + channel] as number
  return out
}

/** @returns the format; a string that names the fault if it cannot be read */
function formatOf(view: DataView, at: number, size: number): SampleFormat | string {
  if (size < 16) return `its format has ${size} bytes, not 16 or more`
  const declared = view.getUint16(at, true)
  const tag = declared === FORMAT_EXTENSIBLE && size >= 26 ? view.getUint16(at + 24, true) : declared
  const channels = view.getUint16(at + 2, true)
  const rateHz = view.getUint32(at + 4, true)
  const written = view.getUint16(at + 14, true)
  const frameBytes = view.getUint16(at + 12, true)
  // Samples of 20 bits are stored in 24 bits. The frame size shows the number of stored bits.
  const bits = channels > 0 && frameBytes % channels === 0 && frameBytes > 0 ? (8 * frameBytes) / channels : written
  const encoding = ENCODINGS[tag]
  const known =
    encoding !== undefined &&
    (encoding === 'float' ? [32, 64] : encoding === 'integer' ? [8, 16, 24, 32] : [8]).includes(bits)
  if (!known || channels < 1 || channels > CHANNELS_MAX || rateHz < RATE_HZ_MIN || rateHz > RATE_HZ_MAX)
    return `format ${tag}, ${written} bits, ${rateHz} Hz, ${channels} channels`
  return { encoding, bits, channels, rateHz }
}

const ENCODINGS: Readonly<Record<number, SampleFormat['encoding']>> = {
  [FORMAT_PCM]: 'integer',
  [FORMAT_FLOAT]: 'float',
  [FORMAT_A_LAW]: 'pcma',
  [FORMAT_MU_LAW]: 'pcmu',
}

/** True if a chunk may begin here. A chunk begins with four letters and a size. */
function isChunk(bytes: Uint8Array, at: number): boolean {
  return at + 8 <= bytes.length && /^[A-Za-z][A-Za-z0-9_ ]{3}$/.test(textAt(bytes, at))
}

function invalid(found: string): GatewayError {
  return new GatewayError('WAV_INVALID', `cannot read this WAV file: ${found}; ${ALLOWED}`)
}

function textAt(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4))
}

function setText(bytes: Uint8Array, at: number, text: string): void {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i)
}

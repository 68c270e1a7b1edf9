import { GatewayError } from '../core/errors.js'
import { BYTES_PER_SAMPLE, isSampleRateHz, type SampleRateHz } from '../core/units.js'
import { decodeMuLaw, samplesOf, bytesOfSamples } from './pcm.js'

/** Sound out of a WAV file, always as s16. */
interface WavAudio {
  readonly sampleRateHz: SampleRateHz
  readonly channels: 1 | 2
  /** Interleaved when there are two channels. */
  readonly samples: Int16Array
}

const ALLOWED = 'allowed are 16-bit PCM at 8000, 16000 or 24000 Hz and 8-bit mu-law at 8000 Hz, mono or stereo'

const FORMAT_PCM = 0x0001
const FORMAT_MU_LAW = 0x0007
/** The real format is in the first two bytes of the sub-format GUID. */
const FORMAT_EXTENSIBLE = 0xfffe
const HEADER_BYTES = 44

/**
 * Reads a RIFF WAVE file. Chunks other than `fmt ` and `data` are passed over; a file that was cut off, or whose sizes
 * were never filled in (a recorder that died), gives what is there.
 * @param bytes the whole file; the samples are a copy
 * @throws GatewayError WAV_INVALID, saying what was found and what is allowed
 */
export function parseWav(bytes: Uint8Array): WavAudio {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12 || textAt(bytes, 0) !== 'RIFF' || textAt(bytes, 8) !== 'WAVE') {
    throw invalid(`not a RIFF WAVE file (${bytes.length} bytes)`)
  }
  let format: WavFormat | null = null
  for (let at = 12; at + 8 <= bytes.length;) {
    const id = textAt(bytes, at)
    const start = at + 8
    const declared = view.getUint32(at + 4, true)
    const size = Math.min(declared, bytes.length - start)
    if (id === 'fmt ') format = parseFormat(view, start, size)
    if (id === 'data') {
      if (format === null) throw invalid('its sound comes before its format')
      return parseData(format, bytes.subarray(start, start + size))
    }
    // Chunks begin at even places; the byte that fills one up is not in its size.
    at = start + declared + (declared % 2)
  }
  throw invalid(format === null ? 'it has no format' : 'it has no sound')
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
 * The 44 bytes before the samples of a 16-bit PCM file. A recorder writes them with `dataBytes` 0 at first and again
 * when it is done.
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

/** One channel of interleaved samples: 0 is the left. Mono is given back as it is. */
export function channelOf(audio: WavAudio, channel: 0 | 1): Int16Array {
  if (audio.channels === 1) return audio.samples
  const out = new Int16Array(audio.samples.length / 2)
  for (let i = 0; i < out.length; i++) out[i] = audio.samples[2 * i + channel] as number
  return out
}

interface WavFormat {
  readonly muLaw: boolean
  readonly channels: 1 | 2
  readonly sampleRateHz: SampleRateHz
}

function parseFormat(view: DataView, at: number, size: number): WavFormat {
  if (size < 16) throw invalid(`its format has ${size} bytes, not 16 or more`)
  const declared = view.getUint16(at, true)
  const tag = declared === FORMAT_EXTENSIBLE && size >= 26 ? view.getUint16(at + 24, true) : declared
  const channels = view.getUint16(at + 2, true)
  const sampleRateHz = view.getUint32(at + 4, true)
  const bits = view.getUint16(at + 14, true)
  const muLaw = tag === FORMAT_MU_LAW && bits === 8 && sampleRateHz === 8000
  const pcm = tag === FORMAT_PCM && bits === 16
  if ((!muLaw && !pcm) || (channels !== 1 && channels !== 2) || !isSampleRateHz(sampleRateHz)) {
    throw invalid(`format ${tag}, ${bits} bits, ${sampleRateHz} Hz, ${channels} channels`)
  }
  return { muLaw, channels, sampleRateHz }
}

function parseData(format: WavFormat, data: Uint8Array): WavAudio {
  const { channels, sampleRateHz, muLaw } = format
  const count = Math.floor(data.length / (muLaw ? 1 : BYTES_PER_SAMPLE) / channels) * channels
  const samples = new Int16Array(count)
  if (muLaw) decodeMuLaw(data.subarray(0, count), samples)
  else samples.set(samplesOf(data).subarray(0, count))
  return { sampleRateHz, channels, samples }
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

/**
 * Codecs of telephones: the RTP payload of 20 ms of sound. G.711 is coded in this file. ffmpeg codes the other codecs,
 * which takes long: all sent sound is encoded before a call, and all received sound is decoded after it.
 */
import { bytesOfSamples, decodeALaw, decodeMuLaw, encodeALaw, encodeMuLaw, samplesOf } from '../../src/media/pcm.js'
import { ffmpeg, PCM_8K } from './ffmpeg.js'

/** Number of samples in 20 ms at 8 kHz, the rate of all sound in this file. */
const FRAME = 160
const AS_PCM = ['-ar', '8000', '-ac', '1', '-f', 's16le', 'pipe:1']

export interface WireCodec {
  /** Payload type of RTP. */
  readonly payload: number
  /** Name of the codec in SDP. */
  readonly rtpmap: string
  /** Number of RTP clock ticks in 20 ms. */
  readonly ticks: number
  /** True if each packet can be decoded separately on arrival. */
  readonly isPlain: boolean
  /** Returns a payload for each 20 ms, the last filled up with silence; there may be one more. */
  readonly encode: (pcm: Int16Array) => Uint8Array[]
  /** Returns the sound of a call's payloads, in order: 20 ms each. */
  readonly decode: (payloads: readonly Uint8Array[]) => Int16Array
}

type Coding = (from: Int16Array, to: Uint8Array) => void
type Decoding = (from: Uint8Array, to: Int16Array) => void

function g711(payload: number, rtpmap: string, encode: Coding, decode: Decoding): WireCodec {
  return {
    ...{ payload, rtpmap, ticks: FRAME, isPlain: true },
    encode: (pcm) => {
      const bytes = new Uint8Array(FRAME * Math.ceil(pcm.length / FRAME))
      encode(filled(pcm), bytes)
      return pieces(bytes, FRAME)
    },
    decode: (payloads) => {
      const bytes = Buffer.concat(payloads)
      const pcm = new Int16Array(bytes.length)
      decode(bytes, pcm)
      return pcm
    },
  }
}

/**
 * Codec with packets of one length.
 * @param bytes  size in bytes of 20 ms
 * @param coded  ffmpeg arguments that encode PCM
 * @param format  ffmpeg's name for the input format
 */
function fixed(payload: number, rtpmap: string, bytes: number, coded: readonly string[], format: string): WireCodec {
  return {
    ...{ payload, rtpmap, ticks: FRAME, isPlain: false },
    encode: (pcm) => pieces(ffmpeg(bytesOfSamples(filled(pcm)), ...PCM_8K, ...coded, 'pipe:1'), bytes),
    decode: (payloads) => samplesOf(ffmpeg(Buffer.concat(payloads), '-f', format, '-i', 'pipe:0', ...AS_PCM)),
  }
}

const OPUS: WireCodec = {
  ...{ payload: 107, rtpmap: 'opus/48000/2', ticks: 960, isPlain: false },
  encode: (pcm) => {
    const coded = ['-c:a', 'libopus', '-application', 'voip', '-b:a', '24k', '-frame_duration', '20', '-f', 'ogg']
    // The first two packets are the file's headers.
    return oggPackets(ffmpeg(bytesOfSamples(filled(pcm)), ...PCM_8K, ...coded, 'pipe:1')).slice(2)
  },
  decode: (payloads) => samplesOf(ffmpeg(oggOf(payloads), '-f', 'ogg', '-i', 'pipe:0', ...AS_PCM)),
}

export const WIRE_CODECS = {
  ulaw: g711(0, 'PCMU/8000', encodeMuLaw, decodeMuLaw),
  alaw: g711(8, 'PCMA/8000', encodeALaw, decodeALaw),
  gsm: fixed(3, 'GSM/8000', 33, ['-f', 'gsm', '-c:a', 'libgsm'], 'gsm'),
  // Its RTP clock follows RFC 3551, half of its rate.
  g722: fixed(9, 'G722/8000', 160, ['-ar', '16000', '-f', 'g722'], 'g722'),
  opus: OPUS,
} as const
export type PhoneCodec = keyof typeof WIRE_CODECS

function filled(pcm: Int16Array): Int16Array {
  const whole = new Int16Array(FRAME * Math.ceil(pcm.length / FRAME))
  whole.set(pcm)
  return whole
}

function pieces(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from({ length: Math.floor(bytes.length / length) }, (_, i) =>
    bytes.subarray(i * length, (i + 1) * length),
  )
}

// --- Ogg, RFC 3533 and 7845 ------------------------------------------------------------------------------------

const PAGE_HEAD_BYTES = 27
const SEGMENT_BYTES = 255

/** Packets of an Ogg file with one stream. */
function oggPackets(file: Buffer): Uint8Array[] {
  const packets: Uint8Array[] = []
  let parts: Buffer[] = []
  for (let at = 0; at < file.length;) {
    const segments = file[at + PAGE_HEAD_BYTES - 1] as number
    const table = file.subarray(at + PAGE_HEAD_BYTES, at + PAGE_HEAD_BYTES + segments)
    at += PAGE_HEAD_BYTES + segments
    for (const length of table) {
      parts.push(file.subarray(at, at + length))
      at += length
      if (length === SEGMENT_BYTES) continue
      packets.push(Buffer.concat(parts))
      parts = []
    }
  }
  return packets
}

/** Ogg file of Opus packets of 20 ms, one page each. */
function oggOf(packets: readonly Uint8Array[]): Buffer {
  const head = Buffer.from('OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0', 'latin1')
  const tags = Buffer.from('OpusTags\0\0\0\0\0\0\0\0', 'latin1')
  const all = [head, tags, ...packets]
  return Buffer.concat(
    all.map((packet, i) => {
      const type = i === 0 ? 2 : i === all.length - 1 ? 4 : 0
      return oggPage(packet, type, i, Math.max(0, i - 1) * OPUS.ticks)
    }),
  )
}

function oggPage(packet: Uint8Array, type: number, sequence: number, granule: number): Buffer {
  const whole = Math.floor(packet.length / SEGMENT_BYTES)
  const page = Buffer.alloc(PAGE_HEAD_BYTES + whole + 1)
  page.write('OggS', 'latin1')
  page[5] = type
  page.writeBigUInt64LE(BigInt(granule), 6)
  page.writeUInt32LE(1, 14)
  page.writeUInt32LE(sequence, 18)
  page[PAGE_HEAD_BYTES - 1] = whole + 1
  page.fill(SEGMENT_BYTES, PAGE_HEAD_BYTES, PAGE_HEAD_BYTES + whole)
  page[PAGE_HEAD_BYTES + whole] = packet.length % SEGMENT_BYTES
  const bytes = Buffer.concat([page, packet])
  bytes.writeUInt32LE(oggChecksum(bytes), 22)
  return bytes
}

/** CRC-32 with the polynomial 0x04c11db7, unreflected, from 0. */
function oggChecksum(bytes: Uint8Array): number {
  let sum = 0
  for (const byte of bytes) {
    sum ^= byte << 24
    for (let bit = 0; bit < 8; bit++) sum = sum < 0 ? (sum << 1) ^ 0x04c11db7 : sum << 1
  }
  return sum >>> 0
}

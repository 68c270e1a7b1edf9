import type { LegRateHz } from '../../src/core/units.js'
import { decodeMuLaw, encodeMuLaw } from '../../src/media/pcm.js'
import type { Opening } from '../protocol.js'
import { sequenceByte } from './received-audio.js'

type HeardText =
  | { readonly type: 'audio'; readonly samples: number }
  | { readonly type: 'clear' }
  | { readonly type: 'reply'; readonly frame: Buffer }
  | { readonly type: 'other' }

/** Form of audio in messages: raw samples, or the JSON of Twilio. */
export interface Line {
  readonly rateHz: LegRateHz
  /**
   * Creates one masked message with these samples. The calling code owns the message and may write a number into it.
   */
  frame(samples: Int16Array, call: string): Buffer
  /** Writes the number of the frame into a message. */
  number(frame: Buffer, number: number): void
  /**
   * Adds samples to the samples of a message, except where the message has its number.
   * @returns a copy; null if the line does not support this
   */
  withSamples(frame: Buffer, added: Int16Array): Buffer | null
  /** Messages that are sent at the start of a call. */
  greeting(call: string): readonly Buffer[]
  /** Copies the samples of a binary message. @returns the number of samples */
  samples(bytes: Buffer, from: number, to: number, out: Int16Array): number
  text(bytes: Buffer, from: number, to: number, out: Int16Array): HeardText
}

export function lineFor(opening: Opening, sequence: boolean, rateHz: LegRateHz): Line {
  return opening === 'twilio' ? new TwilioLine() : new PcmLine(sequence, rateHz)
}

const PCM_HEADER_BYTES = 8

class PcmLine implements Line {
  readonly rateHz: LegRateHz
  readonly #sequence: boolean

  constructor(sequence: boolean, rateHz: LegRateHz) {
    this.rateHz = rateHz
    this.#sequence = sequence
  }

  frame(samples: Int16Array): Buffer {
    return maskedFrame(OPCODE.binary, new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength))
  }

  number(frame: Buffer, number: number): void {
    if (this.#sequence) patchMasked(frame, PCM_HEADER_BYTES, sequenceByte(this.rateHz), number)
  }

  withSamples(frame: Buffer, added: Int16Array): Buffer {
    const mixed = Buffer.from(frame)
    const numberAt = this.#sequence ? sequenceByte(this.rateHz) / 2 : -2
    for (let i = 0; i < added.length; i++) {
      if (i === numberAt || i === numberAt + 1) continue
      const at = PCM_HEADER_BYTES + 2 * i
      const low = MASK[(2 * i) & 3] as number
      const high = MASK[(2 * i + 1) & 3] as number
      const bits = ((frame[at] as number) ^ low) | (((frame[at + 1] as number) ^ high) << 8)
      const sample = (bits << 16) >> 16
      const sum = Math.max(-32768, Math.min(32767, sample + (added[i] as number)))
      mixed[at] = (sum & 0xff) ^ low
      mixed[at + 1] = ((sum >> 8) & 0xff) ^ high
    }
    return mixed
  }

  greeting(): readonly Buffer[] {
    return []
  }

  samples(bytes: Buffer, from: number, to: number, out: Int16Array): number {
    const count = Math.min((to - from) >> 1, out.length)
    bytes.copy(new Uint8Array(out.buffer), 0, from, from + count * 2)
    return count
  }

  text(bytes: Buffer, from: number, to: number): HeardText {
    return bytes.toString('latin1', from, to).includes('killAudio') ? { type: 'clear' } : { type: 'other' }
  }
}

/** Number of digits of the timestamp, with leading zeros, so that it can be overwritten in place. */
const TIMESTAMP_DIGITS = 10

class TwilioLine implements Line {
  readonly rateHz = 8000

  frame(samples: Int16Array, call: string): Buffer {
    const bytes = Buffer.alloc(samples.length)
    encodeMuLaw(samples, bytes)
    const payload = bytes.toString('base64')
    return maskedFrame(
      OPCODE.text,
      Buffer.from(
        `{"event":"media","media":{"timestamp":"${'0'.repeat(TIMESTAMP_DIGITS)}","track":"inbound","chunk":"1",` +
          `"payload":"${payload}"},"streamSid":"${call}"}`,
      ),
    )
  }

  number(frame: Buffer, number: number): void {
    let left = number * 20
    for (let digit = TIMESTAMP_DIGITS - 1; digit >= 0; digit--) {
      patchMaskedByte(frame, PCM_HEADER_BYTES, TIMESTAMP_AT + digit, 0x30 + (left % 10))
      left = Math.floor(left / 10)
    }
  }

  greeting(call: string): readonly Buffer[] {
    return [
      { event: 'connected', protocol: 'Call', version: '1.0.0' },
      {
        event: 'start',
        sequenceNumber: '1',
        streamSid: call,
        start: {
          streamSid: call,
          accountSid: 'AC0',
          callSid: call,
          tracks: ['inbound'],
          mediaFormat: { encoding: 'audio/x-mulaw', sampleRate: 8000, channels: 1 },
        },
      },
    ].map((message) => maskedFrame(OPCODE.text, Buffer.from(JSON.stringify(message))))
  }

  /** This line does not support echoes. */
  withSamples(): null {
    return null
  }

  samples(): number {
    return 0
  }

  text(bytes: Buffer, from: number, to: number, out: Int16Array): HeardText {
    const text = bytes.toString('latin1', from, to)
    const at = text.indexOf('"payload":"')
    if (at >= 0) {
      const audio = Buffer.from(text.slice(at + 11, text.indexOf('"', at + 11)), 'base64')
      return { type: 'audio', samples: decodeMuLaw(audio, out) }
    }
    // Answers a mark at once. A carrier would answer it after playing the audio before the mark; the bench does not
    // wait for this.
    if (text.includes('"mark"')) return { type: 'reply', frame: maskedFrame(OPCODE.text, Buffer.from(text)) }
    return text.includes('"clear"') ? { type: 'clear' } : { type: 'other' }
  }
}

const TIMESTAMP_AT = '{"event":"media","media":{"timestamp":"'.length

/**
 * WebSocket frames of this bench. Frames of the client are masked only once. Frames of the server are read without a
 * copy if they are complete in the buffer.
 */

/** Mask of frames. Masking only needs a key that the server cannot predict; the key need not be secret here. */
export const MASK: readonly number[] = [0x5a, 0xc3, 0x19, 0x7e]

export const OPCODE = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const
type Opcode = (typeof OPCODE)[keyof typeof OPCODE]

/** One whole masked frame. */
export function maskedFrame(opcode: Opcode, payload: Uint8Array): Buffer {
  if (payload.length > 0xffff) throw new RangeError(`a bench frame has at most 65535 bytes, not ${payload.length}`)
  const long = payload.length > 125
  const header = long ? 8 : 6
  const frame = Buffer.allocUnsafe(header + payload.length)
  frame[0] = 0x80 | opcode
  frame[1] = 0x80 | (long ? 126 : payload.length)
  if (long) frame.writeUInt16BE(payload.length, 2)
  MASK.forEach((key, i) => {
    frame[header - 4 + i] = key
  })
  for (let i = 0; i < payload.length; i++) frame[header + i] = (payload[i] as number) ^ (MASK[i & 3] as number)
  return frame
}

/** Writes `value` as a little-endian u32 at byte `at` of the payload of a masked frame. `at` is a multiple of 4. */
export function patchMasked(frame: Buffer, headerBytes: number, at: number, value: number): void {
  for (let i = 0; i < 4; i++) frame[headerBytes + at + i] = ((value >>> (8 * i)) & 0xff) ^ (MASK[i] as number)
}

/** Writes one byte at `at` of the payload of a masked frame. */
function patchMaskedByte(frame: Buffer, headerBytes: number, at: number, value: number): void {
  frame[headerBytes + at] = value ^ (MASK[at & 3] as number)
}

/** Maximum size in bytes of a server's frame. A larger frame means that the stream is damaged. */
const FRAME_BYTES_MAX = 1024 * 1024

/**
 * Splits a server's bytes into frames. `onFrame` gets the payload as a part of a buffer, which is valid only during the
 * call. Fragmented messages are not joined, because the servers of this bench do not send them. A fragmented message
 * causes an error.
 */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  readonly #onFrame: (opcode: number, bytes: Buffer, from: number, to: number) => void

  constructor(onFrame: (opcode: number, bytes: Buffer, from: number, to: number) => void) {
    this.#onFrame = onFrame
  }

  /** @param bytes may be overwritten after this call */
  push(bytes: Buffer): void {
    const data = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    let at = 0
    while (data.length - at >= 2) {
      const first = data[at] as number
      let length = data[at + 1] as number
      if ((length & 0x80) !== 0) throw new Error('the server masks its frames')
      let header = 2
      if (length === 126) {
        if (data.length - at < 4) break
        length = data.readUInt16BE(at + 2)
        header = 4
      } else if (length === 127) {
        if (data.length - at < 10) break
        length = Number(data.readBigUInt64BE(at + 2))
        header = 10
      }
      if (length > FRAME_BYTES_MAX) throw new Error(`the server sends a frame of ${length} bytes`)
      if (data.length - at < header + length) break
      if ((first & 0x80) === 0 || (first & 0x0f) === 0) throw new Error('the server sends fragments')
      this.#onFrame(first & 0x0f, data, at + header, at + header + length)
      at += header + length
    }
    // The remaining bytes are copied, because the buffer of the socket is used again.
    this.#rest = at === data.length ? Buffer.alloc(0) : Buffer.from(data.subarray(at))
  }
}

import type { LegRateHz } from '../../src/core/units.js'
import type { Opening } from '../protocol.js'
import { sequenceByte } from './caller.js'
import { OPCODE, maskedFrame, patchMasked, patchMaskedByte } from './framing.js'
import { MULAW_SAMPLES, encodeMulaw } from './mulaw.js'

type HeardText =
  | { readonly type: 'audio'; readonly samples: number }
  | { readonly type: 'clear' }
  | { readonly type: 'reply'; readonly frame: Buffer }
  | { readonly type: 'other' }

/** How audio lies in messages: as raw samples, or in Twilio's JSON. */
export interface Line {
  readonly rateHz: LegRateHz
  /** One masked message with these samples; the caller owns it and may number it. */
  frame(samples: Int16Array, call: string): Buffer
  /** Writes the number of the frame into a message. */
  number(frame: Buffer, number: number): void
  /** Messages that a call begins with. */
  greeting(call: string): readonly Buffer[]
  /** Copies the samples of a binary message. @returns how many. */
  samples(bytes: Buffer, from: number, to: number, out: Int16Array): number
  text(bytes: Buffer, from: number, to: number, out: Int16Array): HeardText
}

export function lineFor(opening: Opening, sequence: boolean): Line {
  return opening === 'twilio' ? new TwilioLine() : new PcmLine(sequence)
}

const PCM_HEADER_BYTES = 8

class PcmLine implements Line {
  readonly rateHz = 16000
  readonly #sequence: boolean

  constructor(sequence: boolean) {
    this.#sequence = sequence
  }

  frame(samples: Int16Array): Buffer {
    return maskedFrame(OPCODE.binary, new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength))
  }

  number(frame: Buffer, number: number): void {
    if (this.#sequence) patchMasked(frame, PCM_HEADER_BYTES, sequenceByte(this.rateHz), number)
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

/** Digits of the timestamp, with leading zeros, so that it can be written over in place. */
const TIMESTAMP_DIGITS = 10

class TwilioLine implements Line {
  readonly rateHz = 8000

  frame(samples: Int16Array, call: string): Buffer {
    const payload = Buffer.from(samples.map((sample) => encodeMulaw(sample))).toString('base64')
    return maskedFrame(OPCODE.text, Buffer.from(
      `{"event":"media","media":{"timestamp":"${'0'.repeat(TIMESTAMP_DIGITS)}","track":"inbound","chunk":"1",`
      + `"payload":"${payload}"},"streamSid":"${call}"}`))
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
        event: 'start', sequenceNumber: '1', streamSid: call,
        start: { streamSid: call, accountSid: 'AC0', callSid: call, tracks: ['inbound'], mediaFormat: { encoding: 'audio/x-mulaw', sampleRate: 8000, channels: 1 } },
      },
    ].map((message) => maskedFrame(OPCODE.text, Buffer.from(JSON.stringify(message))))
  }

  samples(): number {
    return 0
  }

  text(bytes: Buffer, from: number, to: number, out: Int16Array): HeardText {
    const text = bytes.toString('latin1', from, to)
    const at = text.indexOf('"payload":"')
    if (at >= 0) {
      const audio = Buffer.from(text.slice(at + 11, text.indexOf('"', at + 11)), 'base64')
      for (let i = 0; i < audio.length; i++) out[i] = MULAW_SAMPLES[audio[i] as number] as number
      return { type: 'audio', samples: audio.length }
    }
    // A mark comes back when the audio before it was played; nobody waits for it here.
    if (text.includes('"mark"')) return { type: 'reply', frame: maskedFrame(OPCODE.text, Buffer.from(text)) }
    return text.includes('"clear"') ? { type: 'clear' } : { type: 'other' }
  }
}

const TIMESTAMP_AT = '{"event":"media","media":{"timestamp":"'.length

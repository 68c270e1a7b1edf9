/** Client frames that are masked once and server frames that are taken apart without a copy where they lie whole. */

/** Any key is right as long as it is not the server's to predict; nothing here needs to be secret. */
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
  MASK.forEach((key, i) => { frame[header - 4 + i] = key })
  for (let i = 0; i < payload.length; i++) frame[header + i] = (payload[i] as number) ^ (MASK[i & 3] as number)
  return frame
}

/** Writes `value` as little-endian u32 at byte `at` of a masked frame's payload; `at` is a multiple of 4. */
export function patchMasked(frame: Buffer, headerBytes: number, at: number, value: number): void {
  for (let i = 0; i < 4; i++) frame[headerBytes + at + i] = ((value >>> (8 * i)) & 0xff) ^ (MASK[i] as number)
}

/** Writes one byte at `at` of a masked frame's payload. */
export function patchMaskedByte(frame: Buffer, headerBytes: number, at: number, value: number): void {
  frame[headerBytes + at] = value ^ (MASK[at & 3] as number)
}

/** Longest frame that a server may send; more is a broken stream. */
const FRAME_BYTES_MAX = 1024 * 1024

/**
 * Takes the bytes of a server apart. `onFrame` gets the payload as a part of a buffer, valid only during the call.
 * Fragmented messages are not put together: no server here sends any, and one that does fails loudly.
 */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  readonly #onFrame: (opcode: number, bytes: Buffer, from: number, to: number) => void

  constructor(onFrame: (opcode: number, bytes: Buffer, from: number, to: number) => void) {
    this.#onFrame = onFrame
  }

  /** @param bytes may be overwritten after the call */
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
    // What is left is copied: the socket's buffer is used again.
    this.#rest = at === data.length ? Buffer.alloc(0) : Buffer.from(data.subarray(at))
  }
}

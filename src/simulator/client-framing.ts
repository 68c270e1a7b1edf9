import type { Writable } from 'node:stream'
import * as ws from 'ws'

/**
 * The two framing classes of the `ws` package, which exports them but does not type them. Its own client cannot be
 * used: it adds headers, offers extensions and waits for the server's close frame, and the carrier does none of it.
 */
interface FramingClasses {
  readonly Sender: {
    frame(data: Buffer, options: { fin: boolean; mask: boolean; opcode: number; readOnly: boolean }): Buffer[]
  }
  readonly Receiver: new (options: { isServer: boolean; maxPayload: number; maxFragments: number }) => Writable
}

// The package's types leave both classes out; the shape above is that of ws 8.23.
const framing = ws as unknown as FramingClasses

export const OPCODE = { text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const

/** The lineage takes messages of any size; ten minutes of audio in one is where this simulator stops. */
const MESSAGE_BYTES_MAX = 32 * 1024 * 1024
const FRAGMENTS_MAX = 64 * 1024

/** One whole, masked, unfragmented client frame; `payload` is overwritten by its mask. */
export function clientFrame(opcode: number, payload: Buffer): Buffer[] {
  return framing.Sender.frame(payload, { fin: true, mask: true, opcode, readOnly: false })
}

export interface FrameHandlers {
  onMessage(data: Buffer, isBinary: boolean): void
  onPing(data: Buffer): void
  onPong(data: Buffer): void
  /** The server's close frame; 1005 when it carried no code. */
  onClose(code: number, reason: string): void
  onError(error: Error): void
}

/** A parser of server frames: write the socket's bytes into it. */
export function frameParser(handlers: FrameHandlers): Writable {
  const receiver = new framing.Receiver({ isServer: false, maxPayload: MESSAGE_BYTES_MAX, maxFragments: FRAGMENTS_MAX })
  receiver.on('message', (data: Buffer, isBinary: boolean) => { handlers.onMessage(data, isBinary) })
  receiver.on('ping', (data: Buffer) => { handlers.onPing(data) })
  receiver.on('pong', (data: Buffer) => { handlers.onPong(data) })
  receiver.on('conclude', (code: number, reason: Buffer) => { handlers.onClose(code, reason.toString('utf8')) })
  receiver.on('error', (error: Error) => { handlers.onError(error) })
  return receiver
}

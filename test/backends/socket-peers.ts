import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import { RealtimeSocket } from '../../src/backends/transport/vendor-connection.js'
import type { SocketFailure } from '../../src/backends/transport/vendor-connection.js'
import { portOf } from '../support/port-of.js'

export const MIB = 1024 * 1024
export const TEXT = 0x81
const READ_BYTES = 64 * 1024
// Node 24 takes small Buffers from pools of this size too; here they must differ.
Buffer.poolSize = 8 * 1024
for (let bytes = 0; bytes <= READ_BYTES; bytes += 1024) Buffer.allocUnsafe(1024)

/** Records what a socket reports, as copies, because a message's memory is valid only during the call. */
export class SocketRecorder {
  readonly messages: string[] = []
  /** For each message: whether it lay in the buffer that all sockets read into. */
  readonly inPlace: boolean[] = []
  open = false
  closed: { readonly code: number; readonly reason: string; readonly failure: SocketFailure | null } | null = null

  readonly listener = {
    opened: (): void => {
      this.open = true
    },
    message: (data: Buffer): void => {
      this.inPlace.push(data.buffer.byteLength === READ_BYTES)
      this.messages.push(data.toString())
    },
    closed: (code: number, reason: string, failure: SocketFailure | null): void => {
      if (this.closed !== null) throw new Error('closed was called twice')
      this.closed = { code, reason, failure }
    },
  }
}

export function open(
  t: Test,
  url: string,
  pingMs = 60_000,
): { readonly socket: RealtimeSocket; readonly recorder: SocketRecorder } {
  const recorder = new SocketRecorder()
  const socket = new RealtimeSocket(url, { headers: { 'x-key': 'k' }, pingMs }, recorder.listener)
  t.teardown(() => socket.close(1000))
  return { socket, recorder }
}

/** A service made with `ws`. */
export async function serve(t: Test, connected: (peer: WebSocket) => void): Promise<string> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', maxPayload: 8 * MIB })
  await once(server, 'listening')
  server.on('connection', connected)
  t.teardown(() => {
    for (const peer of server.clients) peer.terminate()
    return new Promise<void>((resolve) => server.close(() => resolve()))
  })
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/v1?model=m`
}

/** A service whose bytes the test writes. `first` is sent together with the response to the upgrade. */
export async function serveBytes(t: Test, first: readonly Buffer[], upgraded: (peer: Socket) => void): Promise<string> {
  const server = createServer((peer) => {
    peer.setNoDelay()
    peer.on('error', () => undefined)
    peer.once('data', (request: Buffer) => {
      const key = /sec-websocket-key: (.+)\r\n/i.exec(request.toString())?.[1] ?? ''
      const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
      peer.write(
        Buffer.concat([
          Buffer.from(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
          ),
          ...first,
        ]),
      )
      upgraded(peer)
    })
    t.teardown(() => peer.destroy())
  })
  return `ws://127.0.0.1:${await portOf(t, server)}/`
}

export function frame(first: number, text: string): Buffer {
  const payload = Buffer.from(text, 'latin1')
  const header =
    payload.length < 126 ? [first, payload.length] : [first, 126, payload.length >> 8, payload.length & 255]
  return Buffer.concat([Buffer.from(header), payload])
}

/** Writes bytes so that they arrive in a read of their own. */
export async function write(peer: Socket, bytes: Buffer): Promise<void> {
  await new Promise((resolve) => peer.write(bytes, resolve))
  await polled()
}

/** The event loop looks at its sockets several times: what was written to one of this machine has been read. */
export async function polled(): Promise<void> {
  for (let i = 0; i < 20; i++) await turnOfEventLoop()
}

export const texts = (lengths: readonly number[]): string[] =>
  lengths.map((length, i) => String.fromCharCode(97 + (i % 26)).repeat(length))

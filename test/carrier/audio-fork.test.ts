import { createServer, type Socket } from 'node:net'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocketServer, type WebSocket } from 'ws'
import {
  AudioFork,
  type AudioForkOptions,
  ForkBuffer,
  type ForkClosed,
  HandshakeRefused,
} from '../../src/carrier/audio-fork.js'
import { until } from '../support/until.js'

const FRAME = new Int16Array(320).fill(500)

function optionsFor(port: number, more: Partial<AudioForkOptions> = {}): AudioForkOptions {
  return {
    url: `ws://127.0.0.1:${port}/audio?callSid=HD_1&token=x%2By`,
    timeoutMs: 2000,
    sampleRateHz: 16000,
    channels: 1,
    firstText: '{"streamSid":"ST_1"}',
    ...more,
  }
}

type Teardown = Pick<typeof t, 'teardown'>

interface Accepted {
  readonly raw: Socket
  readonly requestText: string
  readonly received: () => Buffer
  ended: boolean
}

/** A server that answers the upgrade by hand and then only listens: what the client does is seen byte by byte. */
async function rawServer(
  t: Teardown,
  answerHeaders: (key: string) => string,
): Promise<{ port: number; accepted: Promise<Accepted> }> {
  const server = createServer({ allowHalfOpen: true })
  let settle: (accepted: Accepted) => void = () => undefined
  const accepted = new Promise<Accepted>((resolve) => {
    settle = resolve
  })
  server.on('connection', (raw) => {
    let request = ''
    const chunks: Buffer[] = []
    const state: Accepted = { raw, requestText: '', received: () => Buffer.concat(chunks), ended: false }
    raw.on('error', () => undefined)
    raw.on('end', () => {
      state.ended = true
    })
    raw.on('data', (chunk: Buffer) => {
      if (request.includes('\r\n\r\n')) {
        chunks.push(chunk)
        return
      }
      request += chunk.toString('latin1')
      if (!request.includes('\r\n\r\n')) return
      const key = /Sec-WebSocket-Key: (.*)\r\n/.exec(request)?.[1] ?? ''
      raw.write(answerHeaders(key))
      settle(Object.assign(state, { requestText: request }))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(async () => {
    ;(await accepted).raw.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, accepted }
}

function acceptKey(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
}

function switching(more = ''): (key: string) => string {
  return (key) =>
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptKey(key)}\r\n${more}\r\n`
}

async function wsServer(t: Teardown): Promise<{ port: number; socket: Promise<WebSocket> }> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'audio.drachtio.org' })
  await once(server, 'listening')
  const socket = once(server, 'connection').then(([opened]) => opened as WebSocket)
  t.teardown(() => {
    for (const client of server.clients) client.terminate()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, socket }
}

/** Resolves when the client has handled all that was sent to it, and everything that it had sent before is here. */
async function answered(socket: WebSocket): Promise<void> {
  socket.ping()
  await once(socket, 'pong')
}

void t.test("the handshake has exactly drachtio's headers in order", async (t) => {
  const { port, accepted } = await rawServer(t, switching('Sec-WebSocket-Protocol: audio.drachtio.org\r\n'))
  const fork = await AudioFork.connect(optionsFor(port))
  const { requestText } = await accepted
  t.equal(
    requestText.replace(/Key: .*/, 'Key: K'),
    [
      'GET /audio?callSid=HD_1&token=x%2By HTTP/1.1',
      'Pragma: no-cache',
      'Cache-Control: no-cache',
      'Host: 127.0.0.1',
      'Origin: http://127.0.0.1',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'Sec-WebSocket-Key: K',
      'Sec-WebSocket-Protocol: audio.drachtio.org',
      'Sec-WebSocket-Version: 13',
      '',
      '',
    ].join('\r\n'),
  )
  fork.abort()
})

void t.test('an answer without a subprotocol passes, but another name fails', async (t) => {
  const none = await rawServer(t, switching())
  const fork = await AudioFork.connect(optionsFor(none.port))
  fork.abort()
  const other = await rawServer(t, switching('Sec-WebSocket-Protocol: chat\r\n'))
  await t.rejects(AudioFork.connect(optionsFor(other.port)), HandshakeRefused)
  const refusing = await rawServer(t, () => 'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
  await t.rejects(AudioFork.connect(optionsFor(refusing.port)), { name: 'HandshakeRefused', message: /401/ })
  const wrongKey = await rawServer(t, () => switching()('another key'))
  await t.rejects(AudioFork.connect(optionsFor(wrongKey.port)), { message: /Sec-WebSocket-Accept/ })
})

void t.test('audio that waited through a stall arrives as one message', async (t) => {
  const { port, socket: opening } = await wsServer(t)
  const forking = AudioFork.connect(optionsFor(port))
  const socket = await opening
  const messages: (string | number)[] = []
  socket.on('message', (data: Buffer, isBinary) => messages.push(isBinary ? data.length : data.toString()))
  const fork = await forking
  fork.capture(FRAME)
  fork.flush(0)
  fork.stallUntil(1000)
  for (let nowMs = 20; nowMs <= 1020; nowMs += 20) {
    fork.capture(FRAME)
    fork.flush(nowMs)
  }
  await answered(socket)
  t.same(messages.slice(0, 3), ['{"streamSid":"ST_1"}', 640, 32_000], 'text, a frame, one second as one message')
  socket.send(Buffer.alloc(2560, 1))
  socket.send('{"type":"mark","data":{"name":"m1"}}')
  socket.send('{"type":"mark","data":{"name":"m2"}}')
  socket.send('{"type":"killAudio"}')
  socket.send('{"type":"somethingNew"}')
  socket.send('not JSON')
  await answered(socket)
  t.equal(fork.counters.kills, 1)
  t.same(messages.slice(-2), [
    '{"type":"mark","data":{"name":"m1","event":"cleared"}}',
    '{"type":"mark","data":{"name":"m2","event":"cleared"}}',
  ])
  const out = new Int16Array(320)
  t.equal(fork.play(out), 0, 'killed')
  fork.abort()
})

void t.test('a stall of 2.5 s drops 64,016 bytes', (t) => {
  const buffer = new ForkBuffer({ sampleRateHz: 16000, channels: 1 })
  for (let i = 0; i < 126; i++) buffer.write(FRAME)
  t.equal(buffer.bytesDropped, 64_016)
  t.equal(buffer.take()?.length, 16_624)
  t.equal(buffer.take(), null)
  t.end()
})

void t.test('the client closes with 1000 without waiting for an answer', async (t) => {
  const { port, accepted } = await rawServer(t, switching())
  const fork = await AudioFork.connect(optionsFor(port, { firstText: null }))
  const server = await accepted
  fork.close()
  await until(() => server.ended, 10_000, 'the FIN, with the server silent')
  const frames = unmasked(server.received())
  t.same(
    frames.map((frame) => frame.opcode),
    [8],
  )
  t.same([...(frames[0]?.payload ?? [])], [0x03, 0xe8], 'code 1000 and nothing else')
  fork.capture(FRAME)
  fork.flush(0)
})

void t.test('the client echoes a close code and plays queued audio', async (t) => {
  const { port, socket: opening } = await wsServer(t)
  const ends: ForkClosed[] = []
  const fork = await AudioFork.connect(optionsFor(port), (closed) => ends.push(closed))
  const socket = await opening
  socket.send(Buffer.alloc(2560, 1))
  socket.close(4001, 'enough')
  const [code, reason] = (await once(socket, 'close')) as [number, Buffer]
  t.equal(code, 4001, 'the code comes back')
  t.equal(reason.length, 0, 'the reason does not')
  t.match(ends, [{ by: 'gateway', code: 4001, reason: 'enough' }])
  t.equal(fork.play(new Int16Array(320)), 320)
})

void t.test('an abrupt loss leaves no close frame', async (t) => {
  const { port, socket: opening } = await wsServer(t)
  const fork = await AudioFork.connect(optionsFor(port))
  const socket = await opening
  socket.on('error', () => undefined)
  fork.abort()
  const [code] = (await once(socket, 'close')) as [number]
  t.equal(code, 1006)
})

function unmasked(bytes: Buffer): { opcode: number; payload: Buffer }[] {
  const frames = []
  for (let at = 0; at + 6 <= bytes.length;) {
    const length = (bytes[at + 1] as number) & 0x7f
    const mask = bytes.subarray(at + 2, at + 6)
    const payload = Buffer.from(bytes.subarray(at + 6, at + 6 + length)).map(
      (byte, i) => byte ^ (mask[i % 4] as number),
    )
    frames.push({ opcode: (bytes[at] as number) & 0x0f, payload: Buffer.from(payload) })
    at += 6 + length
  }
  return frames
}

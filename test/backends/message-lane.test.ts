import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { FrameScanner, MessageLane } from '../../src/backends/transport/message-lane.js'
import { TlsClient } from '../../src/backends/transport/tls-client.js'
import { until } from '../support/until.js'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { SocketRecorder, MIB, TEXT, frame, open, polled, serve, serveBytes, texts, write } from './socket-peers.js'

/** A WebSocket on a lane, as `RealtimeSocket` makes it. */
function read(
  t: Test,
  url: string,
  take: (data: Buffer, binary: boolean) => void,
  tls: TlsClient | null = null,
): { readonly lane: MessageLane; readonly reader: WebSocket } {
  const lane = new MessageLane(take)
  const reader = new WebSocket(url, {
    perMessageDeflate: false,
    createConnection: ((options: object) => lane.connect(options, tls)) as never,
  })
  t.teardown(() => reader.terminate())
  reader.on('open', () => lane.opened())
  reader.on('message', (data, binary) => take(data as Buffer, binary))
  return { lane, reader }
}

t.test('a paused reader gets all messages in order after resuming', async (t) => {
  let peer: WebSocket | null = null
  const url = await serve(t, (connected) => {
    peer = connected
  })
  const recorder = new SocketRecorder()
  const { reader } = read(t, url, recorder.listener.message)
  await until(() => reader.readyState === WebSocket.OPEN && peer !== null, 5000, 'the socket to open')
  const service = peer as unknown as WebSocket
  const wanted: string[] = []
  const say = (bytes: number): void => {
    wanted.push(`${wanted.length} `.padEnd(bytes, '.'))
    service.send(wanted.at(-1) as string)
  }
  say(100)
  await until(() => recorder.messages.length === 1, 5000, 'the first')
  reader.pause()
  for (let i = 0; i < 3000; i++) say(20 + ((i * 997) % 9000))
  await polled()
  t.equal(recorder.messages.length, 1)
  t.ok(service.bufferedAmount > 0, 'the service has to wait')
  reader.resume()
  say(50)
  await until(() => recorder.messages.length === wanted.length, 10_000, 'all to come')
  t.same(recorder.messages, wanted)
  say(60)
  await until(() => recorder.messages.length === wanted.length, 5000, 'one more')
  t.equal(recorder.inPlace.at(-1), true, 'in place again')
})

t.test('a message does not overtake earlier bytes of a read', async (t) => {
  let peer: Socket | null = null
  const url = await serveBytes(t, [], (upgraded) => {
    peer = upgraded
  })
  const recorder = new SocketRecorder()
  const pausing = new Set(['stop'])
  const take = (data: Buffer): void => {
    recorder.listener.message(data)
    if (pausing.has(data.toString())) reader.pause()
  }
  const { reader } = read(t, url, take)
  await until(() => reader.readyState === WebSocket.OPEN && peer !== null, 5000, 'the socket to open')
  const service = peer as unknown as Socket
  // The rest of a long message is more than `ws` reads without a pause, so the next bytes wait in the stream.
  const long = frame(TEXT, 'l'.repeat(40_000))
  await write(service, long.subarray(0, 9000))
  await write(
    service,
    Buffer.concat([long.subarray(9000), frame(0x01, 'in '), frame(0x80, 'pieces'), frame(TEXT, 'whole')]),
  )
  await until(() => recorder.messages.length === 3, 5000, 'all to come')
  t.same(recorder.messages.slice(1), ['in pieces', 'whole'])
  await write(
    service,
    Buffer.concat([frame(TEXT, 'stop'), frame(TEXT, 'after'), frame(0x89, 'ping'), frame(TEXT, 'last')]),
  )
  await until(() => recorder.messages.length === 4, 5000, 'the message that pauses the reader')
  await polled()
  t.same(recorder.messages.slice(3), ['stop'], 'a reader that pauses within a read gets no more of it')
  reader.resume()
  await until(() => recorder.messages.length === 6, 5000, 'the rest')
  t.same(recorder.messages.slice(3), ['stop', 'after', 'last'])
})

t.test('audio is sent as text at any length', async (t) => {
  let echoes = 0
  const url = await serve(t, (connected) =>
    connected.on('message', (data, binary) => connected.send(data as Buffer, { binary })),
  )
  const heard: string[] = []
  const { lane, reader } = read(t, url, (data) => heard.push(data.toString()))
  await once(reader, 'open')
  const audio = Buffer.from(Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256))
  for (const length of [960, 1, 2, 3, 958, 959, 4800, 90]) {
    const text = `{"a":"${audio.toString('base64', 0, length)}","b":1}`
    // Too short for the header that the lane writes.
    if (text.length < 126) t.equal(lane.sendAudio('{"a":"', audio, length, '","b":1}'), false, `${length} bytes`)
    else t.equal(lane.sendAudio('{"a":"', audio, length, '","b":1}'), true, `${length} bytes`)
    if (text.length < 126) continue
    echoes++
    await until(() => heard.length === echoes, 5000, 'the echo')
    t.equal(heard.at(-1), text)
  }
})

t.test('audio is sent as a binary message at any length', async (t) => {
  const url = await serve(t, (connected) =>
    connected.on('message', (data, binary) => connected.send(data as Buffer, { binary })),
  )
  const heard: { readonly bytes: Buffer; readonly binary: boolean }[] = []
  const { lane, reader } = read(t, url, (data, binary) => heard.push({ bytes: Buffer.from(data), binary }))
  await once(reader, 'open')
  const audio = Buffer.from(Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) % 256))
  const lengths = [960, 126, 127, 129, 4800]
  for (const [index, length] of lengths.entries()) {
    t.equal(lane.sendBytes(audio, length), true, `${length} bytes`)
    await until(() => heard.length === index + 1, 5000, 'the echo')
    t.same(heard.at(-1), { bytes: audio.subarray(0, length), binary: true })
  }
  t.equal(lane.sendBytes(audio, 125), false, 'its header is shorter')
})

interface TlsEcho {
  readonly port: number
  readonly cert: string
  /** For each connection: whether it resumed an earlier session. */
  readonly resumed: boolean[]
  readonly peers: WebSocket[]
}

/** A service over TLS that says back what it gets. */
async function serveTls(t: Test): Promise<TlsEcho> {
  const { key, cert } = selfSigned()
  const https = createHttps({ key, cert })
  const server = new WebSocketServer({ server: https, maxPayload: 8 * MIB })
  const resumed: boolean[] = []
  const peers: WebSocket[] = []
  https.on('secureConnection', (socket) => resumed.push(socket.isSessionReused()))
  server.on('connection', (peer) => {
    peers.push(peer)
    peer.on('message', (data, binary) => peer.send(data as Buffer, { binary }))
  })
  https.listen(0, '127.0.0.1')
  await once(https, 'listening')
  t.teardown(() => {
    for (const peer of server.clients) peer.terminate()
    https.close()
  })
  return { port: (https.address() as AddressInfo).port, cert, resumed, peers }
}

t.test('messages over TLS need a trusted certificate', async (t) => {
  const { port, cert } = await serveTls(t)
  for (const host of ['127.0.0.1', 'localhost']) {
    const recorder = new SocketRecorder()
    const { lane, reader } = read(t, `wss://${host}:${port}/`, recorder.listener.message, new TlsClient(cert))
    await once(reader, 'open')
    const wanted = texts([1, 126, 3888, 3888, 15_000, 16_380, 16_384, 40_000, 65_535, MIB, 3888, 5])
    for (const [i, text] of wanted.entries()) {
      if (!lane.send(text)) reader.send(text)
      await until(() => recorder.messages.length === i + 1, 10_000, `it to come back from ${host}`)
    }
    t.ok(
      recorder.messages.every((text, i) => text === wanted[i]),
      host,
    )
    t.ok(recorder.inPlace[3] === true, 'read in place')
    reader.close(1000)
    await once(reader, 'close')
  }
  const { recorder } = open(t, `wss://127.0.0.1:${port}/`)
  await until(() => recorder.closed !== null, 5000, 'the refusal')
  t.same(recorder.closed?.failure, { kind: 'broken', detail: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
})

t.test('TLS sockets share frame memory without mixing messages', async (t) => {
  const { port, cert, peers } = await serveTls(t)
  const tls = new TlsClient(cert)
  const lines = [0, 1].map(() => {
    const heard: string[] = []
    return {
      heard,
      sent: [] as string[],
      ...read(t, `wss://127.0.0.1:${port}/`, (data) => heard.push(data.toString()), tls),
    }
  })
  for (const { reader } of lines) await once(reader, 'open')
  for (const peer of peers) peer.pause()
  // More than socket and kernel hold, each at once followed by one on the other socket.
  for (let i = 0; i < 400; i++) {
    for (const [which, { lane, reader, sent }] of lines.entries()) {
      const text = `${which}.${i} `.padEnd(20_000, String(which))
      sent.push(text)
      if (!lane.send(text)) reader.send(text)
    }
    if (i % 3 === 0) await polled()
  }
  for (const peer of peers) peer.resume()
  for (const { heard, sent } of lines) {
    await until(() => heard.length === sent.length, 20_000, 'all to come back')
    t.ok(heard.every((text, i) => text === sent[i]))
  }
})

t.test('the next connection to a service resumes its TLS session', async (t) => {
  const { port, cert, resumed } = await serveTls(t)
  const tls = new TlsClient(cert)
  const visit = async (host: string, client: TlsClient): Promise<void> => {
    const heard: string[] = []
    const { lane, reader } = read(t, `wss://${host}:${port}/`, (data) => heard.push(data.toString()), client)
    await once(reader, 'open')
    const text = 'a'.repeat(200)
    lane.send(text)
    // The tickets come before the echo.
    await until(() => heard.length === 1, 5000, 'the echo')
    reader.close(1000)
    await once(reader, 'close')
  }
  await visit('127.0.0.1', tls)
  await visit('127.0.0.1', tls)
  t.same(resumed, [false, true])
  await visit('localhost', tls)
  t.same(resumed, [false, true, false], 'under another name the certificate is checked anew')
  await visit('127.0.0.1', new TlsClient(cert))
  t.same(resumed, [false, true, false, false], 'sessions belong to one client')
})

t.test('no TLS session is kept after a refused certificate', async (t) => {
  const { port, cert, resumed } = await serveTls(t)
  const wrong = new TlsClient(selfSigned('other').cert)
  for (let i = 0; i < 2; i++) {
    const { reader } = read(t, `wss://127.0.0.1:${port}/`, () => undefined, wrong)
    await once(reader, 'error')
  }
  t.notOk(resumed.includes(true))
  t.ok(cert !== '')
})

// How the lane finds the messages in what it reads.

const FINAL = 0x80

/** A frame of a server (RFC 6455, 5.2). */
function serverFrame(first: number, payload: Uint8Array): Buffer {
  const { length } = payload
  const header = length < 126 ? Buffer.from([first, length]) : Buffer.alloc(length < 65_536 ? 4 : 10)
  header[0] = first
  if (length >= 65_536) {
    header[1] = 127
    header.writeBigUInt64BE(BigInt(length), 2)
  } else if (length >= 126) {
    header[1] = 126
    header.writeUInt16BE(length, 2)
  }
  return Buffer.concat([header, payload])
}

interface Found {
  readonly messages: string[]
  readonly others: number
}

/** Scans these pieces; every byte is part of exactly one step. */
function scan(pieces: readonly Uint8Array[]): Found {
  const scanner = new FrameScanner()
  const messages: string[] = []
  let others = 0
  for (const piece of pieces) {
    let at = 0
    while (at < piece.length) {
      const next = scanner.next(piece, at, piece.length)
      assert.ok(next > at && next <= piece.length, 'each step goes forward and stays inside')
      if (scanner.whole) {
        assert.ok(scanner.from > at && scanner.to === next)
        messages.push(Buffer.from(piece).toString('latin1', scanner.from, scanner.to))
      } else {
        others += next - at
      }
      at = next
    }
  }
  return { messages, others }
}

t.test('only a message without a cut is found in place', async (t) => {
  for (const length of [0, 1, 125, 126, 300, 65_535, 65_536]) {
    const cutOne = serverFrame(FINAL | 1, Buffer.alloc(length, 'x'))
    const after = serverFrame(FINAL | 2, Buffer.from('whole again'))
    t.same(scan([Buffer.concat([cutOne, after])]).messages.at(-1), 'whole again')
    const step = cutOne.length > 1000 ? 6481 : 1
    for (let cut = 1; cut < cutOne.length; cut += step) {
      const { messages, others } = scan([cutOne.subarray(0, cut), Buffer.concat([cutOne.subarray(cut), after])])
      assert.deepEqual(
        { messages, others },
        { messages: ['whole again'], others: cutOne.length },
        `${length} bytes, cut at ${cut}`,
      )
    }
  }
})

t.test('in any frames exactly the uncut messages are found', async (t) => {
  const one = fc.oneof(
    fc.record({
      kind: fc.constant('message'),
      binary: fc.boolean(),
      length: fc.oneof(fc.nat(3), fc.nat(140), fc.nat(70_000)),
    }),
    fc.record({ kind: fc.constant('control'), binary: fc.boolean(), length: fc.nat(125) }),
    fc.record({ kind: fc.constant('fragments'), binary: fc.boolean(), length: fc.nat(400) }),
  )
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 12 }), fc.array(fc.nat(), { maxLength: 12 }), (list, cuts) => {
      const parts: { readonly bytes: Buffer; readonly text: string | null }[] = list.flatMap(
        ({ kind, binary, length }, i) => {
          const payload = Buffer.alloc(length, 65 + i)
          const opcode = binary ? 2 : 1
          // A message with a 64-bit length never fits in one read.
          if (kind === 'message')
            return [{ bytes: serverFrame(FINAL | opcode, payload), text: length < 65_536 ? payload.toString() : null }]
          if (kind === 'control') return [{ bytes: serverFrame(FINAL | (binary ? 9 : 10), payload), text: null }]
          return [
            { bytes: serverFrame(opcode, payload), text: null },
            { bytes: serverFrame(FINAL | 9, Buffer.from('in between')), text: null },
            { bytes: serverFrame(0, payload), text: null },
            { bytes: serverFrame(FINAL, Buffer.from('last')), text: null },
          ]
        },
      )
      const stream = Buffer.concat(parts.map(({ bytes }) => bytes))
      const places = [0, ...new Set(cuts.map((cut) => cut % stream.length)), stream.length].toSorted((a, b) => a - b)
      const wanted: string[] = []
      let from = 0
      for (const { bytes, text } of parts) {
        const to = from + bytes.length
        if (text !== null && !places.some((place) => place > from && place < to)) wanted.push(text)
        from = to
      }
      assert.deepEqual(scan(places.slice(1).map((place, i) => stream.subarray(places[i], place))).messages, wanted)
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('nothing is found after a close frame or invalid bytes', async (t) => {
  const plain = serverFrame(FINAL | 1, Buffer.from('plain'))
  const masked = serverFrame(FINAL | 1, Buffer.alloc(9))
  masked[1] = 0x80 | 5
  const huge = Buffer.from([FINAL | 2, 127, 1, 0, 0, 0, 0, 0, 0, 0])
  const invalid: Readonly<Record<string, Buffer>> = {
    'a close frame': serverFrame(FINAL | 8, Buffer.from([3, 232])),
    'a mask': masked,
    'an extension': serverFrame(FINAL | 0x40 | 1, Buffer.from('deflated')),
    'an unknown opcode': serverFrame(FINAL | 3, Buffer.alloc(2)),
    'a continuation of nothing': serverFrame(FINAL, Buffer.alloc(2)),
    'a message inside of another': Buffer.concat([
      serverFrame(1, Buffer.alloc(2)),
      serverFrame(FINAL | 1, Buffer.alloc(2)),
    ]),
    'a fragmented ping': serverFrame(9, Buffer.alloc(2)),
    'a length of 2 ** 56': huge,
  }
  for (const [what, bytes] of Object.entries(invalid)) {
    t.same(scan([Buffer.concat([plain, bytes, plain]), plain]).messages, ['plain'], what)
    t.same(
      scan([plain, ...Array.from(bytes, (byte) => Uint8Array.of(byte)), plain]).messages,
      ['plain'],
      `${what}, byte by byte`,
    )
  }
  const scanner = new FrameScanner()
  scanner.stop()
  t.equal(scanner.next(plain, 0, plain.length), plain.length)
  t.notOk(scanner.whole)
})

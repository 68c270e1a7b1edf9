import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type ClientOptions, WebSocket } from 'ws'
import type { CallSid } from '../../src/core/ids.js'
import { CARRIER_FRAME_BYTES_MAX } from '../../src/core/limits.js'
import { endOfOurs, endOfSocket } from '../../src/edge/public/carrier-socket.js'
import { ClientAddresses } from '../../src/edge/http/client-address.js'
import { MediaSockets } from '../../src/edge/public/media-socket.js'
import { UnsentReplies } from '../../src/edge/http/reply-writer.js'
import { StreamTokens } from '../../src/edge/public/stream-tokens.js'
import { createApp, listen, portOf } from '../../src/edge/http/uws.js'
import { WebhookGuard } from '../../src/edge/public/webhook-guard.js'
import { mintToken } from '../../src/sautikit/token.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { hasDescriptors } from '../support/descriptors.js'
import {
  closeOf,
  type Gateway,
  newSid,
  openSocket,
  rawRequest,
  ring,
  startGateway,
  SUBPROTOCOL,
  upgradeStatus,
} from './gateway.js'
import { ScriptedCalls } from './scripted-calls.js'

const FRAME = Buffer.alloc(640, 1)

async function streaming(gateway: Gateway) {
  const { sid, audioUrl } = await ring(gateway)
  const socket = await openSocket(audioUrl)
  return { sid, audioUrl, socket, call: gateway.calls.get(sid) }
}

/** A call beside the one under test, whose audio must go on whatever happens to the other. */
async function bystander(gateway: Gateway) {
  const other = await streaming(gateway)
  other.call.echo = true
  // A stream without frames ends after five seconds, which a test takes on a busy machine.
  const speaks = setInterval(() => other.socket.send(FRAME), 1000).unref()
  other.socket.once('close', () => clearInterval(speaks))
  return {
    /** Sends one frame and waits for it to come back. */
    check: async (t: Test) => {
      const back = new Promise<Buffer>((resolve) => other.socket.once('message', (data: Buffer) => resolve(data)))
      other.socket.send(FRAME)
      t.same(await back, FRAME, 'the other call is not affected')
      t.equal(other.call.detachedWith, null)
    },
  }
}

t.test('a carrier socket carries audio both ways [8]', async (t) => {
  const gateway = await startGateway(t)
  const { socket, call } = await streaming(gateway)
  t.equal(socket.protocol, SUBPROTOCOL)
  t.equal(socket.extensions, '', 'never compressed')
  t.equal(call.state, 'streaming')
  const back: Buffer[] = []
  socket.on('message', (data: Buffer) => back.push(data))
  const echoed = new Promise<void>((resolve) =>
    socket.on('message', () => {
      if (back.length === 3) resolve()
    }),
  )
  call.echo = true
  socket.send(FRAME)
  socket.send(Buffer.alloc(641, 2))
  socket.send(Buffer.alloc(32_640, 3))
  await echoed
  t.same(
    back.map((data) => data.length),
    [640, 641, 32_640],
  )
  t.same(back[2], Buffer.alloc(32_640, 3))
  socket.close()
  await call.until(() => call.detachedWith !== null)
  t.equal(await gateway.metric('mkondo_carrier_frames_total{direction="in"}'), 3)
  t.equal(await gateway.metric('mkondo_carrier_bytes_total{direction="out"}'), 640 + 641 + 32_640)
  t.equal(await gateway.metric('mkondo_carrier_frames_bad_total{kind="odd"}'), 1)
  t.equal(await gateway.metric('mkondo_stream_setup_seconds_count'), 1)
})

t.test('the offered subprotocol is echoed exactly', async (t) => {
  const gateway = await startGateway(t)
  const { audioUrl } = await ring(gateway)
  const socket = await openSocket(audioUrl, ['foo', 'audio.jambonz.org'])
  t.equal(socket.protocol, 'audio.jambonz.org')
})

t.test('invalid sockets are refused before the upgrade and counted [12]', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const { audioUrl, sid } = await ring(gateway)
  const bare = audioUrl.replace(/\?.*/, '')
  const mint = (claims: {
    purpose?: 'audio' | 'after-stream'
    expiresAtS?: number
    callSid?: string
    secret?: string
  }) =>
    `${bare}?t=${mintToken([claims.secret ?? 'token-secret-of-a-test'], {
      callSid: (claims.callSid ?? sid) as CallSid,
      purpose: claims.purpose ?? 'audio',
      expiresAtS: claims.expiresAtS ?? Math.floor(Date.now() / 1000) + 60,
      nonce: 'abcdefgh',
      epoch: 0,
    })}`
  t.equal(await upgradeStatus(audioUrl, []), 400, 'no subprotocol')
  t.equal(await upgradeStatus(audioUrl, ['foo', 'audio.drachtio.organic']), 400, 'another subprotocol')
  t.equal(await upgradeStatus(bare), 401, 'no token')
  t.equal(await upgradeStatus(`${bare}?t=garbage`), 403, 'no token of ours')
  t.equal(await upgradeStatus(mint({ secret: 'another' })), 403, 'a forged token')
  t.equal(await upgradeStatus(mint({ purpose: 'after-stream' })), 403, 'a token for another purpose')
  t.equal(await upgradeStatus(mint({ expiresAtS: Math.floor(Date.now() / 1000) - 1 })), 403, 'an old token')
  t.equal(await upgradeStatus(mint({ callSid: newSid() })), 403, 'a call that is not here')
  t.equal(gateway.calls.get(sid).state, 'waiting', 'the call was not affected')
  t.equal(await upgradeStatus(audioUrl), 101, 'the token is still valid')
  for (const [reason, count] of [
    ['subprotocol', 2],
    ['token-missing', 1],
    ['token-invalid', 3],
    ['token-expired', 1],
    ['call-unknown', 1],
  ]) {
    t.equal(await gateway.metric(`mkondo_calls_refused_total{reason="${reason}"}`), count, String(reason))
  }
  const logged = gateway.logged().filter((line) => line['msg'] === 'an audio socket was refused')
  t.equal(logged.length, 8)
  t.notOk(JSON.stringify(gateway.logged()).includes('?t='), 'no token in the log')
  await other.check(t)
})

t.test('a token and a call have one socket [11]', async (t) => {
  const gateway = await startGateway(t)
  const { socket, audioUrl, sid, call } = await streaming(gateway)
  t.equal(await upgradeStatus(audioUrl), 403, 'replayed while the socket is open')
  const second = audioUrl.replace(
    /t=.*/,
    `t=${mintToken(['token-secret-of-a-test'], {
      callSid: sid as CallSid,
      purpose: 'audio',
      expiresAtS: Math.floor(Date.now() / 1000) + 60,
      nonce: 'another-nonce',
      epoch: 0,
    })}`,
  )
  t.equal(await upgradeStatus(second), 409, 'a fresh token for the same call')
  t.equal(call.detachedWith, null)
  socket.close()
  await call.until(() => call.detachedWith !== null)
  t.equal(await upgradeStatus(audioUrl), 403, 'replayed after it closed')
  t.equal(await upgradeStatus(second), 409)
})

t.test('text frames are parsed, and garbage is harmless [7]', async (t) => {
  const gateway = await startGateway(t)
  const { socket, call, sid } = await streaming(gateway)
  socket.send(JSON.stringify({ sessionId: sid, streamSid: 'ST1', headers: { tenant: 'demo' } }))
  socket.send('{"type":"mark","data":{"name":"m1","event":"playout"}}{"type":"dtmf","data":{"digit":"5"}}')
  socket.send('no json')
  socket.send('x'.repeat(9000))
  await call.until(() => call.texts.length === 5)
  t.match(call.texts, [
    { type: 'metadata', callSid: sid },
    { type: 'mark', name: 'm1' },
    { type: 'dtmf', digit: '5' },
    { type: 'garbage' },
    { type: 'garbage' },
  ])
  t.equal(call.detachedWith, null, 'the call continues')
  t.equal(await gateway.metric('mkondo_carrier_frames_bad_total{kind="garbage"}'), 2)
  socket.send('{"type":"noise"}')
  await call.until(() => call.texts.length === 6)
  t.equal(await gateway.metric('mkondo_carrier_frames_bad_total{kind="unknown"}'), 1)
})

t.test('handshake headers are passed to the call as metadata', async (t) => {
  const gateway = await startGateway(t)
  const { sid, audioUrl } = await ring(gateway)
  const socket = new WebSocket(audioUrl, [SUBPROTOCOL], {
    perMessageDeflate: false,
    headers: { 'x-call-sid': sid, tenant: 'demo' },
  })
  await once(socket, 'open')
  const call = gateway.calls.get(sid)
  t.match(call.texts, [{ type: 'metadata', callSid: sid }])
})

t.test('an oversized frame ends only its socket [5]', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const { socket, call } = await streaming(gateway)
  socket.on('error', () => socket.terminate())
  socket.send(Buffer.alloc(CARRIER_FRAME_BYTES_MAX))
  await call.until(() => call.bytes === CARRIER_FRAME_BYTES_MAX)
  socket.send(Buffer.alloc(1024 * 1024))
  await call.until(() => call.detachedWith !== null)
  t.equal(call.detachedWith, 1009)
  t.match(call.streamFault, {
    reason: 'carrier-protocol',
    detail: `a frame of more than ${CARRIER_FRAME_BYTES_MAX} bytes`,
  })
  t.equal(await gateway.metric('mkondo_sockets_closed_total{why="too-big"}'), 1)
  await other.check(t)
})

t.test('audio above twice real time ends only its call [4]', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const { socket, call } = await streaming(gateway)
  socket.send(Buffer.alloc(64_000))
  await call.until(() => call.bytes === 64_000)
  t.same(call.hangups, [])
  for (let i = 0; i < 10; i++) socket.send(Buffer.alloc(64_000))
  await call.until(() => call.bytes === 704_000)
  t.same(call.hangups, [], 'exactly twice real time and the burst')
  socket.send(Buffer.alloc(640))
  await call.until(() => call.detachedWith !== null)
  t.match(call.hangups, [{ reason: 'carrier-abuse' }])
  t.equal(await gateway.metric('mkondo_sockets_closed_total{why="carrier-abuse"}'), 1)
  await other.check(t)
})

t.test('excess text frames are dropped and counted', async (t) => {
  const gateway = await startGateway(t)
  const { socket, call } = await streaming(gateway)
  for (let i = 0; i < 600; i++) socket.send('{"type":"noise"}')
  socket.send(FRAME)
  await call.until(() => call.frames === 1)
  t.equal(call.texts.length, 500)
  t.equal(await gateway.metric('mkondo_carrier_frames_bad_total{kind="text-dropped"}'), 100)
  t.same(call.hangups, [])
})

/** One WebSocket frame of a client, masked with zeros. */
function frame(opcode: number, payload: Uint8Array, { fin = true, reserved = 0 } = {}): Buffer {
  const head = Buffer.alloc(payload.length < 126 ? 2 : 10)
  head[0] = (fin ? 0x80 : 0) | reserved | opcode
  head[1] = 0x80 | (payload.length < 126 ? payload.length : 127)
  if (payload.length >= 126) head.writeUInt32BE(payload.length, 6)
  return Buffer.concat([head, Buffer.alloc(4), payload])
}

const closeFrame = (code: number, reason: Uint8Array = Buffer.alloc(0)): Buffer =>
  frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), reason]))

/** A carrier's socket without a WebSocket library, which would let nothing wrong through. */
async function rawStream(gateway: Gateway) {
  const { sid, audioUrl } = await ring(gateway)
  const { pathname, search } = new URL(audioUrl)
  const { socket } = rawRequest(
    gateway.edge.publicPort,
    `GET ${pathname}${search} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n` +
      'Sec-WebSocket-Version: 13\r\n\r\n',
  )
  socket.on('error', () => undefined)
  const call = gateway.calls.get(sid)
  await call.until(() => call.state === 'streaming')
  return { socket, call }
}

t.test('socket faults are distinguished from hang-ups [6]', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const badText = Buffer.from([0xff, 0xfe])
  const cases: readonly (readonly [what: string, sent: Buffer, cause: string, code: number, reason: string | null])[] =
    [
      ['closed 1000', closeFrame(1000), 'carrier', 1000, null],
      ['closed 1001', closeFrame(1001), 'carrier', 1001, null],
      ['closed without a code', frame(8, Buffer.alloc(0)), 'carrier', 1005, null],
      ...[1002, 1003, 1007, 1008, 1009, 1011, 4000].map(
        (code) => [`closed ${code}`, closeFrame(code), 'carrier-error', code, 'carrier-error'] as const,
      ),
      ['closed with an invalid code', closeFrame(999), 'protocol', 1002, 'carrier-protocol'],
      ['closed with an invalid UTF-8 reason', closeFrame(1000, badText), 'protocol', 1002, 'carrier-protocol'],
      ['an unknown opcode', frame(3, FRAME), 'protocol', 1002, 'carrier-protocol'],
      ['a reserved bit', frame(2, FRAME, { reserved: 0x40 }), 'protocol', 1002, 'carrier-protocol'],
      ['a continuation of nothing', frame(0, FRAME), 'protocol', 1002, 'carrier-protocol'],
      ['a ping in fragments', frame(9, Buffer.alloc(1), { fin: false }), 'protocol', 1002, 'carrier-protocol'],
      ['a ping that is too long', frame(9, Buffer.alloc(200)), 'protocol', 1002, 'carrier-protocol'],
      ['HTTP on the socket', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'protocol', 1002, 'carrier-protocol'],
      ['invalid UTF-8 text', frame(1, badText), 'protocol', 1007, 'carrier-protocol'],
      [
        'a frame that is too large',
        frame(2, Buffer.alloc(CARRIER_FRAME_BYTES_MAX + 1)),
        'too-big',
        1009,
        'carrier-protocol',
      ],
      [
        'fragments that are too large together',
        Buffer.concat([2, 0, 0].map((opcode) => frame(opcode, Buffer.alloc(60_000), { fin: false }))),
        'too-big',
        1009,
        'carrier-protocol',
      ],
    ]
  const counts = new Map<string, number>()
  for (const [what, sent, cause, code, reason] of cases) {
    const { socket, call } = await rawStream(gateway)
    socket.write(frame(2, FRAME))
    socket.write(sent)
    await call.until(() => call.detachedWith !== null)
    t.equal(call.detachedWith, code, what)
    t.equal(call.streamFault?.reason ?? null, reason, what)
    t.equal(call.frames, 1, `${what}: the frame before it was heard`)
    counts.set(cause, (counts.get(cause) ?? 0) + 1)
    t.equal(await gateway.metric(`mkondo_sockets_closed_total{why="${cause}"}`), counts.get(cause), what)
    t.match(
      gateway
        .logged()
        .filter(({ msg }) => msg === 'the audio socket closed')
        .at(-1),
      reason === null ? { cause } : { cause, ...call.streamFault },
    )
    socket.destroy()
  }
  for (const [what, end] of [
    ['cut off', (socket: Socket) => socket.destroy()],
    ['reset', (socket: Socket) => socket.resetAndDestroy()],
    ['half closed', (socket: Socket) => socket.end()],
  ] as const) {
    const { socket, call } = await rawStream(gateway)
    end(socket)
    await call.until(() => call.detachedWith !== null)
    t.equal(call.detachedWith, 1006, what)
    t.match(call.streamFault, { reason: 'socket-lost', detail: 'the connection ended without a close frame' }, what)
  }
  t.equal(await gateway.metric('mkondo_sockets_closed_total{why="lost"}'), 3)
  await other.check(t)
})

t.test('unmasked frames affect no other call', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const { socket, call } = await rawStream(gateway)
  socket.write(Buffer.concat([Buffer.from([0x82, 4]), Buffer.alloc(4), Buffer.from([0x82, 0x84]), Buffer.alloc(8)]))
  socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]))
  await call.until(() => call.detachedWith !== null)
  await other.check(t)
})

t.test('invalid HTTP and partial upgrades affect no other call', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  for (const text of [
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc',
    'GET /audio HTTP/1.0\r\n\r\n',
    'GET /audio?t=x HTTP/1.1\r\nHost: a\r\nUpgr',
  ]) {
    const raw = rawRequest(gateway.edge.publicPort, text)
    raw.socket.end() // behind the bytes
    t.notMatch(await raw.answer, /^HTTP\/1\.1 [12]/)
  }
  await other.check(t)
})

t.test('200 calls stream while 200 invalid sockets are refused', async (t) => {
  if (!hasDescriptors(t, 1500)) return
  const gateway = await startGateway(t)
  const rung = await Promise.all(Array.from({ length: 200 }, () => ring(gateway)))
  const stranger = `ws://127.0.0.1:${gateway.edge.publicPort}/audio?t=none`
  const [sockets, refused] = await Promise.all([
    Promise.all(rung.map(({ audioUrl }) => openSocket(audioUrl))),
    Promise.all(rung.map(() => upgradeStatus(stranger))),
  ])
  t.notOk(refused.includes(101))
  t.ok(
    refused.some((status) => status === 0 || status === 429),
    'repeated invalid sockets get no answer',
  )
  t.equal(await gateway.metric('mkondo_sockets_open'), 200)
  for (const socket of sockets) for (let i = 0; i < 5; i++) socket.send(FRAME)
  for (const { sid } of rung) {
    const call = gateway.calls.get(sid)
    await call.until(() => call.frames === 5)
  }
  for (const socket of sockets) socket.terminate()
  for (const { sid } of rung) {
    const call = gateway.calls.get(sid)
    await call.until(() => call.detachedWith !== null)
  }
  t.equal(await gateway.metric('mkondo_sockets_open'), 0)
  t.equal(await gateway.metric('mkondo_sockets_closed_total{why="lost"}'), 200)
})

t.test('a carrier that does not read is closed [9]', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  const { socket, call } = await streaming(gateway)
  socket.pause()
  const frame = new Uint8Array(64_000)
  let sent = 0
  while (call.sink?.sendAudio(frame) === true && sent < 1000) sent++
  t.ok(sent < 1000, `after ${sent * 2} s of audio in the kernel`)
  await call.until(() => call.detachedWith !== null)
  t.match(call.hangups, [{ reason: 'carrier-not-reading' }])
  t.equal(await gateway.metric('mkondo_sockets_closed_total{why="backpressure"}'), 1)
  await other.check(t)
})

t.test('the call chooses the close code and is detached once', async (t) => {
  const gateway = await startGateway(t)
  const { socket, call } = await streaming(gateway)
  const closed = closeOf(socket)
  const sink = call.sink
  sink?.sendText('{"type":"killAudio"}')
  sink?.close(1000)
  sink?.close(1001)
  t.equal(sink?.sendAudio(FRAME), false, 'a closed socket sends nothing')
  t.equal(await closed, 1000)
  t.equal(call.detachedWith, 1000)
})

t.test('shutdown closes every socket with 1001 [10]', async (t) => {
  const gateway = await startGateway(t)
  const some = await Promise.all([streaming(gateway), streaming(gateway), streaming(gateway)])
  const sending = setInterval(() => {
    for (const { socket } of some) socket.send(FRAME)
  }, 1)
  const codes = Promise.all(some.map(({ socket }) => closeOf(socket)))
  await gateway.edge.close()
  t.same(await codes, [1001, 1001, 1001])
  clearInterval(sending)
  t.same(
    some.map(({ call }) => call.detachedWith),
    [1001, 1001, 1001],
  )
  t.same(
    some.map(({ call }) => call.streamFault?.reason),
    ['drain-limit', 'drain-limit', 'drain-limit'],
    'no caller hung up',
  )
})

t.test('a gateway that stops accepting keeps its sockets', async (t) => {
  const gateway = await startGateway(t)
  const other = await bystander(gateway)
  gateway.edge.stopAccepting()
  gateway.edge.stopAccepting()
  const stranger = connect(gateway.edge.publicPort, '127.0.0.1')
  const [error] = (await once(stranger, 'error')) as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNREFUSED')
  t.equal((await fetch(`${gateway.opsUrl}/healthz`)).status, 200)
  await other.check(t)
})

// Only these two are tested without real sockets: they would need half a minute of silence, or a process that ends.
t.test('ping timeouts and shutdowns are not hang-ups', async (t) => {
  t.match(endOfSocket(1006, 'WebSocket timed out from inactivity'), {
    cause: 'carrier-silent',
    fault: { reason: 'carrier-silent' },
  })
  t.match(endOfOurs('shutdown', 1001), { cause: 'shutdown', code: 1001, fault: { reason: 'drain-limit' } })
  t.same(endOfOurs('flushed', 1000), { cause: 'flushed', code: 1000 })
  t.match(endOfSocket(1006, 'words that a later version says'), { cause: 'lost', fault: { reason: 'socket-lost' } })
})

/** Real sockets whose watch runs by a clock of the test: `pass` moves it in the steps of the real timer. */
async function watched(t: Test) {
  let nowMs = 1000
  const clock = () => nowMs
  const log = createLog({ level: 'silent' })
  const calls = new ScriptedCalls()
  const metrics = new Metrics({ version: '0.0.0', processMetrics: false })
  const tokens = new StreamTokens({ tokenSecrets: ['secret'], wallClock: () => Date.now(), clock })
  const guard = new WebhookGuard(
    {
      webhookSecrets: [],
      bareSignatures: false,
      tokenOnly: 'learn',
      publicUrl: null,
      clock,
      wallClock: () => Date.now(),
      log,
      metrics,
    },
    tokens,
  )
  const media = new MediaSockets(
    { calls, clock, log, metrics },
    tokens,
    guard,
    new ClientAddresses([]),
    () => undefined,
    new UnsentReplies({ clock, log, metrics }),
  )
  const app = createApp()
  media.routes(app)
  const port = portOf(await listen(app, { host: '127.0.0.1', port: 0, shared: false, setting: 'PORT' }))
  t.teardown(() => void app.close())
  return {
    metrics,
    stream: async (options: ClientOptions = {}) => {
      const sid = newSid() as CallSid
      calls.prepare({ callSid: sid, agent: 'order-status', from: '', to: '', direction: 'inbound' })
      const socket = await openSocket(`ws://127.0.0.1:${port}/audio?t=${tokens.mint(sid, 'audio')}`, undefined, options)
      const call = calls.get(sid)
      await call.until(() => call.state === 'streaming')
      return {
        socket,
        call,
        /** Sends one frame and waits until the call received it. */
        frame: async (bytes = 640) => {
          const before = call.frames
          socket.send(Buffer.alloc(bytes))
          await call.until(() => call.frames === before + 1)
        },
      }
    },
    pass: (ms: number) => {
      for (let passedMs = 0; passedMs < ms; passedMs += 250) media.sweep((nowMs += 250))
    },
    stall: (ms: number) => {
      media.sweep((nowMs += ms))
    },
  }
}

t.test('two seconds without frames are a hang-up [2]', async (t) => {
  const gateway = await watched(t)
  const left = await gateway.stream()
  const healthy = await gateway.stream()
  await left.frame()
  gateway.pass(1000)
  t.same(left.call.hangups, [])
  const pinged = once(left.socket, 'ping')
  gateway.pass(250)
  await pinged
  // Its pong comes before what is sent later on another connection is answered.
  await healthy.frame()
  healthy.socket.ping()
  await once(healthy.socket, 'pong')
  gateway.pass(750)
  t.same(left.call.hangups, [])
  const closed = closeOf(left.socket)
  gateway.pass(250)
  t.match(left.call.hangups, [{ reason: 'caller-hung-up', speak: false }])
  t.equal(await closed, 1000)
  t.same(healthy.call.hangups, [])
  t.match(await gateway.metrics.render(), /mkondo_sockets_closed_total\{why="carrier-silent"\} 1/)
})

t.test('frames that resume after a stall are not a hang-up', async (t) => {
  const gateway = await watched(t)
  const { call, socket, frame } = await gateway.stream()
  for (let stall = 0; stall < 3; stall++) {
    await frame()
    gateway.pass(1250)
    socket.ping()
    await once(socket, 'pong')
    await frame()
    gateway.pass(1000)
    t.same(call.hangups, [])
  }
})

t.test('a carrier without pongs is closed after five seconds [3]', async (t) => {
  const gateway = await watched(t)
  const silent = await gateway.stream({ autoPong: false })
  const healthy = await gateway.stream()
  await silent.frame()
  for (let second = 0; second < 5; second++) {
    await healthy.frame()
    gateway.pass(1000)
  }
  t.same(silent.call.hangups, [], 'the first sweep only saw a frame arrive')
  const closed = closeOf(silent.socket)
  gateway.pass(250)
  t.match(silent.call.hangups, [{ reason: 'carrier-silent', speak: false }])
  t.equal(await closed, 1000)
  t.equal(silent.call.detachedWith, 1000)
  t.same(healthy.call.hangups, [])
  t.equal(healthy.call.detachedWith, null)
})

t.test('a socket without any data is closed after five seconds', async (t) => {
  const gateway = await watched(t)
  const { call } = await gateway.stream({ autoPong: false })
  gateway.pass(4750)
  t.same(call.hangups, [])
  gateway.pass(250)
  t.match(call.hangups, [{ reason: 'carrier-silent' }])
})

t.test('a stall of the gateway does not close calls', async (t) => {
  const gateway = await watched(t)
  const { call, frame } = await gateway.stream()
  await frame()
  gateway.pass(1000)
  gateway.stall(20_000)
  t.same(call.hangups, [])
  await frame()
  gateway.pass(4000)
  t.same(call.hangups, [])
})

t.test('an empty last frame closes the socket [1]', async (t) => {
  const gateway = await watched(t)
  const done = await gateway.stream()
  const goesOn = await gateway.stream()
  await done.frame()
  done.socket.send(Buffer.alloc(0))
  goesOn.socket.send(Buffer.alloc(0))
  await goesOn.frame()
  // The pong shows that the empty frame has been read.
  done.socket.ping()
  await once(done.socket, 'pong')
  gateway.pass(1000)
  t.equal(done.call.detachedWith, null)
  const closed = closeOf(done.socket)
  gateway.pass(250)
  t.equal(await closed, 1000)
  t.same(done.call.hangups, [], 'the end is not a fault')
  t.equal(done.call.detachedWith, 1000)
  t.equal(goesOn.call.detachedWith, null)
  t.match(await gateway.metrics.render(), /mkondo_sockets_closed_total\{why="flushed"\} 1/)
})

t.test('the carrier is pinged every fifteen seconds', async (t) => {
  const gateway = await watched(t)
  const { socket, frame } = await gateway.stream()
  let pings = 0
  socket.on('ping', () => pings++)
  for (let half = 0; half < 62; half++) {
    gateway.pass(500)
    await frame()
  }
  socket.ping()
  await once(socket, 'pong')
  t.equal(pings, 2)
})

t.test('audio queued during a gateway stall is not abuse', async (t) => {
  const gateway = await watched(t)
  const { call, frame } = await gateway.stream()
  await frame(32_000)
  gateway.stall(25_000)
  for (let second = 0; second < 25; second++) await frame(32_000)
  gateway.pass(1000)
  t.same(call.hangups, [], '25 s of audio at once')
  for (let second = 0; second < 30 && call.detachedWith === null; second++)
    await Promise.race([frame(32_000), call.until(() => call.detachedWith !== null)])
  t.match(call.hangups, [{ reason: 'carrier-abuse' }], 'the same without a stall')
})

t.test('exactly twice real time is accepted; slightly more is not', async (t) => {
  const gateway = await watched(t)
  const { call, frame } = await gateway.stream()
  for (let second = 0; second < 40; second++) {
    await frame(64_000)
    gateway.pass(1000)
  }
  t.same(call.hangups, [])
  for (let second = 0; second < 10 && call.detachedWith === null; second++) {
    const before = call.frames
    for (const bytes of [64_000, 12_800]) {
      if (call.detachedWith === null) await Promise.race([frame(bytes), call.until(() => call.detachedWith !== null)])
    }
    t.ok(call.frames > before || call.detachedWith !== null)
    gateway.pass(1000)
  }
  t.match(call.hangups, [{ reason: 'carrier-abuse' }])
})

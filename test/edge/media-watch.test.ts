import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { ClientOptions } from 'ws'
import type { CallSid } from '../../src/core/ids.js'
import { ClientAddresses } from '../../src/edge/client-address.js'
import { MediaSockets } from '../../src/edge/media-socket.js'
import { StreamTokens } from '../../src/edge/stream-tokens.js'
import { createApp, listen, portOf } from '../../src/edge/uws.js'
import { WebhookGuard } from '../../src/edge/webhook-guard.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { closeOf, newSid, openSocket } from './gateway.js'
import { ScriptedCalls } from './scripted-calls.js'
import { UnsentReplies } from '../../src/edge/reply-writer.js'

/** Real sockets whose watch runs by a clock of the test: `pass` moves it in the steps of the real timer. */
async function watched(t: Test) {
  let nowMs = 1000
  const clock = () => nowMs
  const log = createLog({ level: 'silent' })
  const calls = new ScriptedCalls()
  const metrics = new Metrics({ version: '0.0.0', processMetrics: false })
  const tokens = new StreamTokens({ tokenSecrets: ['secret'], wallClock: () => Date.now() })
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
        /** Sends one frame and waits until the call has it. */
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

t.test('frames that stop on a connection that works are a hang-up, two seconds after the last one', async (t) => {
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

t.test('frames that come again after a stall, and a pong before it, are no hang-up', async (t) => {
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

t.test('a carrier that answers nothing for five seconds is hung up; one that sends is not', async (t) => {
  const gateway = await watched(t)
  const silent = await gateway.stream({ autoPong: false })
  const healthy = await gateway.stream()
  await silent.frame()
  for (let second = 0; second < 5; second++) {
    await healthy.frame()
    gateway.pass(1000)
  }
  t.same(silent.call.hangups, [], 'the first look only saw that a frame had come')
  const closed = closeOf(silent.socket)
  gateway.pass(250)
  t.match(silent.call.hangups, [{ reason: 'carrier-silent', speak: false }])
  t.equal(await closed, 1000)
  t.equal(silent.call.detachedWith, 1000)
  t.same(healthy.call.hangups, [])
  t.equal(healthy.call.detachedWith, null)
})

t.test('a socket on which nothing ever came is hung up after the same time', async (t) => {
  const gateway = await watched(t)
  const { call } = await gateway.stream({ autoPong: false })
  gateway.pass(4750)
  t.same(call.hangups, [])
  gateway.pass(250)
  t.match(call.hangups, [{ reason: 'carrier-silent' }])
})

t.test('a stall of the gateway itself is no silence of its carriers', async (t) => {
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

t.test('after an empty frame and no audio the gateway closes; after audio it does not', async (t) => {
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
  t.same(done.call.hangups, [], 'an end, not a fault')
  t.equal(done.call.detachedWith, 1000)
  t.equal(goesOn.call.detachedWith, null)
  t.match(await gateway.metrics.render(), /mkondo_sockets_closed_total\{why="flushed"\} 1/)
})

t.test('the carrier is pinged each fifteen seconds', async (t) => {
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

t.test('what came while this process stood still is no abuse, before and after its first sweep', async (t) => {
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

t.test('twice real time is accepted for ever, a little more is not', async (t) => {
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

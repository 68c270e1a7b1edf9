import { randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ownDescriptors } from '../../src/edge/descriptors.js'
import {
  attribute,
  type Gateway,
  get,
  newSid,
  openSocket,
  post,
  ringing,
  SECRET,
  startGateway,
} from '../edge/gateway.js'
import { until } from '../support/until.js'

// How many frames and milliseconds a flood costs is measured by `npm run bench -- --flood`; here is what it rests on.
// Strangers have an address of their own, as on the internet.
const STRANGER = '127.0.0.2'
const GET = 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n'

const start = (t: Test, options: Parameters<typeof startGateway>[1] = {}): Promise<Gateway> =>
  startGateway(t, { webhookSecrets: [SECRET], ...options })
const signed = (gateway: Gateway): ReturnType<typeof post> =>
  post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()), sign: { secret: SECRET } })

function forged(): string {
  const body = 'sessionId=HD_x&callSessionState=Ringing'
  return (
    `POST /voice HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n` +
    `X-Sautikit-Signature: t=${Math.floor(Date.now() / 1000)},v1=${'f'.repeat(64)}\r\n\r\n${body}`
  )
}

/** Strangers who send the same again and again, each on a new connection as soon as the last one is closed. */
function flood(t: Test, gateway: Gateway, text: () => string): { closed: number } {
  const seen = { closed: 0 }
  const sockets = new Set<Socket>()
  let open = true
  const again = (): void => {
    const socket = connect({ port: gateway.edge.publicPort, host: '127.0.0.1', localAddress: STRANGER })
    sockets.add(socket)
    socket.on('error', () => socket.destroy()).resume()
    socket.on('close', () => {
      sockets.delete(socket)
      seen.closed++
      if (open) again()
    })
    socket.write(text())
  }
  for (let i = 0; i < 8; i++) again()
  t.teardown(() => {
    open = false
    for (const socket of sockets) socket.destroy()
  })
  return seen
}

t.test('signed webhooks are answered during a flood of strangers', async (t) => {
  for (const [what, text] of [
    ['refused GETs', () => GET.repeat(2000)],
    ['forged signatures', () => forged().repeat(100)],
  ] as const) {
    const gateway = await start(t)
    const strangers = flood(t, gateway, text)
    while (strangers.closed < 200) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 20; i++) {
      const answer = await signed(gateway)
      t.equal(answer.status, 200, what)
      if (i % 5 > 0) continue
      const socket = await openSocket(attribute(answer.text, 'url'))
      socket.terminate()
    }
    t.ok((await gateway.metric('mkondo_unproven_closed_total{why="address"}')) > 100, `${what}: closed, not answered`)
  }
})

t.test('the time spent on unknown addresses is limited [2]', async (t) => {
  let nowMs = 1000
  // Each look at the clock takes a tenth of a millisecond: a request of any kind costs some of them.
  const clock = (): number => (nowMs += 0.1)
  const gateway = await start(t, { clock, trustedProxies: ['127.0.0.2'] })
  const from = (i: number): string => GET.replace('Host: a', `Host: a\r\nX-Forwarded-For: 198.51.${i >> 8}.${i & 255}`)
  t.equal((await signed(gateway)).status, 200)
  const socket = connect({ port: gateway.edge.publicPort, host: '127.0.0.1', localAddress: STRANGER })
  socket.on('error', () => socket.destroy()).resume()
  socket.write(Array.from({ length: 2000 }, (_, i) => from(i)).join(''))
  await new Promise((resolve) => socket.once('close', resolve))
  t.equal(await gateway.metric('mkondo_unproven_closed_total{why="tick"}'), 1)
  t.ok((await gateway.metric('mkondo_webhook_rejected_total{reason="not-found"}')) < 200, 'the rest was not read')
  t.equal((await signed(gateway)).status, 200)
})

t.test('half-open requests are evicted for the carrier [1]', async (t) => {
  for (const [what, addresses, why] of [
    ['one address', 1, 'share'],
    ['many addresses', 40, 'evicted'],
  ] as const) {
    const own = ownDescriptors()
    const strangers: Socket[] = []
    // The strangers' ends are descriptors of this process, too.
    const count = async (): Promise<number> =>
      (await own.count()) - strangers.filter((socket) => !socket.destroyed).length
    const gateway = await start(t, { descriptors: { limit: (await count()) + 300, count } })
    for (let i = 0; i < 500; i++) {
      const localAddress = `127.0.1.${1 + (i % addresses)}`
      const socket = connect({ port: gateway.edge.publicPort, host: '127.0.0.1', localAddress })
      socket.on('error', () => socket.destroy()).resume()
      socket.write('POST /voice HTTP/1.1\r\nHost: a\r\n')
      strangers.push(socket)
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))
      // The carrier has proven nothing before.
      if (i < 470) continue
      const answer = await signed(gateway)
      t.equal(answer.status, 200, what)
      const audio = await openSocket(attribute(answer.text, 'url'))
      audio.terminate()
    }
    t.ok((await gateway.metric(`mkondo_unproven_closed_total{why="${why}"}`)) > 50, what)
    t.equal(await gateway.metric('mkondo_descriptor_pauses_total'), 0, `${what}: the port stays open`)
    for (const stranger of strangers) stranger.destroy()
    await gateway.edge.close()
  }
})

const MB = 1024 * 1024
/** Memory that may come and go in this process beside an attack; without a bound each attack here takes more than twice this. */
const MEMORY_BYTES_MAX = 120 * MB

/** How far the memory of this process has grown at most since now, whoever looks when: the kernel keeps the peak. */
function memory(): { readonly grownBytes: () => number } {
  writeFileSync('/proc/self/clear_refs', '5')
  const peak = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024
  const before = peak()
  return { grownBytes: () => peak() - before }
}

/** Sends requests and reads nothing of what comes back. */
function deaf(t: Test, port: number, requests: string): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.on('error', () => socket.destroy())
  socket.write(requests)
  t.teardown(() => socket.destroy())
  return socket
}

t.test('unread answers with large files use bounded memory', async (t) => {
  const body = Buffer.alloc(300 * 1024, 'a')
  const gateway = await startGateway(t, {
    console: new Map([['/console.js', { contentType: 'text/javascript', body }]]),
  })
  const { grownBytes } = memory()
  const attack = 'GET /console.js HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(300)
  for (let count = 0; count < 4; count++) deaf(t, gateway.edge.opsPort, attack)
  const cuts = (): Promise<number> => gateway.metric('mkondo_replies_cut_total{why="left"}')
  await until(async () => (await cuts()) >= 4 || grownBytes() > MEMORY_BYTES_MAX, 10_000, 'the cuts')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
  t.equal((await get(`${gateway.opsUrl}/console.js`)).text.length, body.length, 'and who reads gets all of it')
})

t.test('unread short answers use bounded memory at both ports', async (t) => {
  const gateway = await startGateway(t)
  const { grownBytes } = memory()
  const ambiguous = 'GET /nowhere HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'
  // The first ones fill what the kernel takes of a connection; then the long ones begin.
  const attack = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(60_000) + ambiguous.repeat(20_000)
  const attackers = [gateway.edge.opsPort, gateway.edge.publicPort].map((port) => deaf(t, port, attack))
  // A socket that reads nothing notices that it was closed when it writes.
  const closed = (): boolean => attackers.every((socket) => socket.destroyed || (socket.write('x'), false))
  await until(() => closed() || grownBytes() > MEMORY_BYTES_MAX, 20_000, 'the ends of the connections')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
})

t.test('a long recording is streamed from the disk [3]', async (t) => {
  const path = join(tmpdir(), `mkondo-${randomUUID()}.wav`)
  const bytes = 200 * MB
  const handle = openSync(path, 'w')
  ftruncateSync(handle, bytes)
  closeSync(handle)
  t.teardown(() => rmSync(path))
  const gateway = await startGateway(t, { recording: () => Promise.resolve({ path, bytes }) })
  const { grownBytes } = memory()
  const socket = deaf(
    t,
    gateway.edge.opsPort,
    'GET /api/calls/HD_00000000beef/recording.wav HTTP/1.1\r\nHost: localhost\r\n\r\n',
  )
  for (let i = 0; i < 200; i++) await get(`${gateway.opsUrl}/healthz`)
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB while nothing is read`)
  let read = 0
  socket.on('data', (chunk: Buffer) => {
    read += chunk.length
  })
  socket.resume()
  await until(() => read > bytes || grownBytes() > MEMORY_BYTES_MAX, 60_000, 'all of it')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
})

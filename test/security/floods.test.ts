import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { SECRET, newSid, openSocket, post, ringing, startGateway, attribute } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { ownDescriptors } from '../../src/edge/descriptors.js'

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

t.test('signed webhooks are answered and audio sockets open while strangers flood the port', async (t) => {
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

t.test(
  'the work for strangers of many addresses ends where its time does, and a known carrier is served',
  async (t) => {
    let nowMs = 1000
    // Each look at the clock takes a tenth of a millisecond: a request of any kind costs some of them.
    const clock = (): number => (nowMs += 0.1)
    const gateway = await start(t, { clock, trustedProxies: ['127.0.0.2'] })
    const from = (i: number): string =>
      GET.replace('Host: a', `Host: a\r\nX-Forwarded-For: 198.51.${i >> 8}.${i & 255}`)
    t.equal((await signed(gateway)).status, 200)
    const socket = connect({ port: gateway.edge.publicPort, host: '127.0.0.1', localAddress: STRANGER })
    socket.on('error', () => socket.destroy()).resume()
    socket.write(Array.from({ length: 2000 }, (_, i) => from(i)).join(''))
    await new Promise((resolve) => socket.once('close', resolve))
    t.equal(await gateway.metric('mkondo_unproven_closed_total{why="tick"}'), 1)
    t.ok((await gateway.metric('mkondo_webhook_rejected_total{reason="not-found"}')) < 200, 'the rest was not read')
    t.equal((await signed(gateway)).status, 200)
  },
)

t.test('half-open heads, of one address or of many, make room for the carrier', async (t) => {
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

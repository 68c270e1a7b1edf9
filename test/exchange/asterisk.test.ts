import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { Asterisk } from '../../src/exchange/asterisk.js'
import { MediaServer } from '../../src/exchange/media-server.js'
import { createLog } from '../../src/telemetry/log.js'
import { until } from '../support/until.js'

const SECRET = 'made-up-secret-of-tests'

interface Interface {
  readonly asterisk: Asterisk
  readonly media: MediaServer
  /** Requests to ring that are not answered yet, and what they had. */
  readonly originates: ServerResponse[]
  readonly orders: string[]
  /** Opens the media socket of the newest phone, as Asterisk does. @returns the status of its handshake, if it is refused */
  readonly opens: () => Promise<WebSocket | number>
  /** Reports the end of its ringing, or its answer, as the dialplan does. */
  readonly reports: (status: string, cause?: number) => Promise<void>
}

/** Asterisk's REST interface. */
async function restInterface(t: Pick<Test, 'teardown'>): Promise<Interface> {
  const originates: ServerResponse[] = []
  const orders: string[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      if (request.method === 'GET') return void response.end('{}')
      orders.push(`${decodeURIComponent(request.url ?? '')} ${body}`)
      originates.push(response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const media = new MediaServer({
    ...{ host: '127.0.0.1', port: 0, secret: SECRET, legsMax: 4 },
    onCall: (leg) => leg.close(),
    status: () => ({}),
  })
  await media.listen()
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const asterisk = new Asterisk({ url, user: 'mkondo', password: SECRET }, media, createLog({ level: 'silent' }))
  t.teardown(async () => {
    asterisk.stop()
    await media.close()
    server.closeAllConnections()
    server.close()
  })
  const id = (): string => /leg=([\w-]+)/.exec(orders.at(-1) ?? '')?.[1] ?? ''
  const opens = async (): Promise<WebSocket | number> => {
    const authorization = `Basic ${Buffer.from(`mkondo:${SECRET}`).toString('base64')}`
    const address = `ws://127.0.0.1:${media.port}/media?leg=${id()}&rung=1`
    const socket = new WebSocket(address, 'media', { headers: { authorization } })
    return new Promise((resolve) => {
      socket.on('open', () => resolve(socket))
      socket.on('unexpected-response', (_request, response) => {
        resolve(response.statusCode ?? 0)
        response.destroy()
      })
      socket.on('error', () => undefined)
    })
  }
  const reports = async (status: string, cause = 0): Promise<void> => {
    const body = new URLSearchParams({ leg: id(), status, cause: String(cause) }).toString()
    await fetch(`http://127.0.0.1:${media.port}/rung`, { method: 'POST', body })
  }
  return { asterisk, media, originates, orders, opens, reports }
}

const NOTHING = { callerId: '', callSid: '', note: '' }

t.test('an unreached phone is reported with its cause', async (t) => {
  const { asterisk, orders, opens, reports } = await restInterface(t)
  for (const [status, cause, outcome] of [
    ['BUSY', 17, 'busy'],
    ['CHANUNAVAIL', 21, 'declined'],
    ['NOANSWER', 21, 'declined'],
    ['NOANSWER', 0, 'no-answer'],
    ['NOANSWER', 19, 'no-answer'],
    ['CONGESTION', 27, 'failed'],
    ['CHANUNAVAIL', 1, 'failed'],
  ] as const) {
    const phone = asterisk.ring('PJSIP/200', 5000, NOTHING)
    const count = orders.length
    await until(() => orders.length > count, 5000, 'a request to ring')
    const socket = (await opens()) as WebSocket
    const closed = once(socket, 'close')
    await reports(status, cause)
    t.match(await phone.answered, { outcome, leg: null }, `${status} ${cause}`)
    await closed
  }
  t.equal(asterisk.counters.dialsFailed, 2)
})

t.test("a rung phone gets the caller's number and the call", async (t) => {
  const { asterisk, orders } = await restInterface(t)
  const sees = { callerId: '+254700000001', callSid: 'HD_1', note: 'Wants money back.' }
  for (const endpoint of ['PJSIP/200', 'DAHDI/g1']) void asterisk.ring(endpoint, 5000, sees)
  await until(() => orders.length === 2, 5000, 'requests to ring')
  const orderOf = (technology: string): string => orders.find((order) => order.includes(technology)) ?? ''
  t.match(orderOf('PJSIP'), '"MKONDO_FROM":"+254700000001","__MKONDO_CALL":"HD_1","__MKONDO_NOTE":"Wants money back."')
  t.match(orderOf('DAHDI'), '"MKONDO_FROM":"+254700000001","__MKONDO_CALL":"","__MKONDO_NOTE":""')
})

t.test('a cancel before the media socket refuses that socket', async (t) => {
  const { asterisk, originates, opens } = await restInterface(t)
  const phone = asterisk.ring('PJSIP/200', 5000, NOTHING)
  await until(() => originates.length === 1, 5000, 'a request to ring')
  phone.cancel()
  t.match(await phone.answered, { outcome: 'no-answer', leg: null })
  t.equal(await opens(), 404)
})

t.test('a cancel or a lost Asterisk ends the ringing', async (t) => {
  const { asterisk, originates, opens } = await restInterface(t)
  const first = asterisk.ring('PJSIP/200', 5000, NOTHING)
  await until(() => originates.length === 1, 5000, 'a request to ring')
  const closed = once((await opens()) as WebSocket, 'close')
  first.cancel()
  t.match(await first.answered, { outcome: 'no-answer' })
  await closed
  const second = asterisk.ring('PJSIP/200', 5000, NOTHING)
  await until(() => originates.length === 2, 5000, 'another request')
  ;((await opens()) as WebSocket).terminate()
  t.match(await second.answered, { outcome: 'failed' })
})

t.test('a failed request to ring ends with outcome failed', async (t) => {
  const { asterisk, originates } = await restInterface(t)
  const phone = asterisk.ring('PJSIP/200', 5000, NOTHING)
  await until(() => originates.length === 1, 5000, 'a request to ring')
  originates[0]?.destroy()
  t.match(await phone.answered, { outcome: 'failed' })
  t.equal(asterisk.counters.dialsFailed, 1)
})

t.test('sound before the answer is reported, but silence is not', async (t) => {
  const { asterisk, originates, opens, reports } = await restInterface(t)
  let sounds = 0
  const phone = asterisk.ring('PJSIP/200', 5000, NOTHING, () => sounds++)
  await until(() => originates.length === 1, 5000, 'a request to ring')
  const socket = (await opens()) as WebSocket
  const answered = async (): Promise<void> => {
    socket.ping()
    await once(socket, 'pong')
  }
  socket.send(Buffer.alloc(640))
  await answered()
  t.equal(sounds, 0)
  socket.send(Buffer.alloc(640, 0x11))
  await answered()
  t.equal(sounds, 0, 'a click')
  for (let i = 0; i < 3; i++) socket.send(Buffer.alloc(640, 0x11))
  await answered()
  t.equal(sounds, 1, 'once')
  await reports('ANSWER')
  const { outcome, leg } = await phone.answered
  t.equal(outcome, 'answered')
  const played = once(socket, 'message')
  leg?.play(new Int16Array(320))
  await played
  phone.cancel()
  t.equal(socket.readyState, socket.OPEN, 'an answered phone is not cancelled')
})

t.test('a REST interface that answers counts as connected', async (t) => {
  const { asterisk } = await restInterface(t)
  t.equal(asterisk.isConnected, false)
  asterisk.start()
  await until(() => asterisk.isConnected, 5000, 'a connection')
})

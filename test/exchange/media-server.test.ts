import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { parseDialRule, endpointOf } from '../../src/exchange/dial-rules.js'
import { asteriskFiles } from '../../src/exchange/dialplan.js'
import { HandoffNotes } from '../../src/exchange/handoff-notes.js'
import { CAUSE, type MediaLeg } from '../../src/exchange/media-leg.js'
import { MediaServer } from '../../src/exchange/media-server.js'
import { until } from '../support/until.js'

const SECRET = 'made-up-secret-of-tests'
const ID = '0f9d1c36-6c7e-4e4e-9c55-0a1d2c3b4a59'
const START = {
  ...{ event: 'MEDIA_START', connection_id: 'mkondo', channel: 'WebSocket/mkondo/0x1', channel_id: '1.1' },
  ...{ format: 'slin16', optimal_frame_size: 640, ptime: 20 },
}

/** The port for Asterisk, and the legs that came in. */
async function served(
  t: Pick<Test, 'teardown'>,
  legsMax = 4,
  onHandoff: ((body: Buffer, signature: string) => boolean) | null = null,
): Promise<{ server: MediaServer; legs: MediaLeg[] }> {
  const legs: MediaLeg[] = []
  const server = new MediaServer({
    ...{ host: '127.0.0.1', port: 0, secret: SECRET, legsMax },
    onCall: (leg) => legs.push(leg),
    onHandoff,
    status: () => ({ liveCalls: 3 }),
  })
  await server.listen()
  t.teardown(() => server.close())
  return { server, legs }
}

const basic = (password: string): { authorization: string } => ({
  authorization: `Basic ${Buffer.from(`mkondo:${password}`).toString('base64')}`,
})

/** Connects as Asterisk's `websocket_client` does. @returns the status of the handshake */
async function asterisk(server: MediaServer, query: string, password = SECRET): Promise<WebSocket | number> {
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/media?${query}`, 'media', { headers: basic(password) })
  return new Promise((resolve) => {
    socket.on('open', () => {
      socket.send(JSON.stringify(START))
      resolve(socket)
    })
    socket.on('unexpected-response', (_request, response) => {
      resolve(response.statusCode ?? 0)
      response.destroy()
    })
    socket.on('error', () => undefined)
  })
}

const after = async (server: MediaServer, id: string): Promise<string> =>
  (await fetch(`http://127.0.0.1:${server.port}/after`, { method: 'POST', body: `leg=${id}` })).text()

t.test('a handoff packet is accepted only with its signature', async (t) => {
  const notes = new HandoffNotes(SECRET, () => true)
  const { server } = await served(t, 4, (body, signature) => notes.take(body, signature))
  const packet = (callSid: string, kind = 'handoff.requested'): string =>
    JSON.stringify({ kind, callSid, handoff: { reason: 'Wants money\r\nback.', summary: `Mkate ${'ä'.repeat(300)}` } })
  const nowS = Math.floor(Date.now() / 1000)
  const post = async (body: string, secret = SECRET, atS = nowS): Promise<number> => {
    const v1 = createHmac('sha256', secret).update(`${body}.${atS}`).digest('hex')
    const headers = { 'x-mkondo-signature': `t=${atS},v1=${v1}` }
    return (await fetch(`http://127.0.0.1:${server.port}/handoff`, { method: 'POST', body, headers })).status
  }
  const late = notes.of('HD_1')
  t.equal(await post(packet('HD_1')), 204)
  t.match(await late, /^Wants money back\. Mkate ä+$/, 'one that is waited for')
  t.equal((await notes.of('HD_1')).length, 200)
  t.equal(await post(packet('HD_2'), 'another'), 401)
  t.equal(await post(packet('HD_2'), SECRET, nowS - 400), 401, 'an old one')
  t.equal(await post(packet('HD_2', 'handoff.settled')), 204)
  t.equal(await notes.of('HD_2'), '')
  const none = await served(t)
  const url = `http://127.0.0.1:${none.server.port}/handoff`
  t.equal((await fetch(url, { method: 'POST', body: '{}' })).status, 404, 'without a secret none are taken')
})

t.test('a media socket without the secret is refused and counted [1]', async (t) => {
  const { server, legs } = await served(t)
  t.equal(await asterisk(server, `leg=${ID}&to=100`, 'another'), 401)
  t.equal(await asterisk(server, 'leg=short&to=100'), 404, 'an id that can be guessed')
  t.equal(await asterisk(server, `leg=${ID}&rung=1`), 404, 'a phone that nobody rang')
  t.same(legs, [])
  t.equal(server.counters.legsRefused, 3)
})

t.test('a refused peer that keeps its connection is disconnected', async (t) => {
  const { server } = await served(t)
  const peer = connect({ port: server.port, host: '127.0.0.1', allowHalfOpen: true })
  peer.write('GET /media HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n')
  peer.resume()
  await once(peer, 'end')
  await server.close()
  t.equal(server.counters.legsRefused, 1)
  peer.destroy()
})

t.test('excess legs and duplicate legs are refused [2]', async (t) => {
  const { server, legs } = await served(t, 1)
  t.ok((await asterisk(server, `leg=${ID}&from=%2B254711000001&to=100`)) instanceof WebSocket)
  t.match(legs, [{ id: ID, from: '+254711000001', to: '100' }])
  t.equal(await asterisk(server, `leg=${ID}&to=100`), 409)
  t.equal(await asterisk(server, `leg=${ID}2&to=100`), 503)
})

t.test('playing starts with the answer and continues with silence', async (t) => {
  const { server, legs } = await served(t)
  const phone = (await asterisk(server, `leg=${ID}&to=100`)) as WebSocket
  const got: string[] = []
  phone.on('message', (data: Buffer, isBinary: boolean) =>
    got.push(isBinary ? `${data.length} bytes` : data.toString()),
  )
  const leg = legs[0] as MediaLeg
  leg.play(new Int16Array(320))
  leg.answer()
  leg.answer()
  leg.play(new Int16Array(320))
  leg.flush()
  await until(() => got.length === 3, 5000, 'three messages')
  t.same(got, ['{"command":"ANSWER"}', '640 bytes', '{"command":"FLUSH_MEDIA"}'])
})

t.test('audio, digits and the end of a phone are forwarded', async (t) => {
  const { server, legs } = await served(t)
  const phone = (await asterisk(server, `leg=${ID}&to=100`)) as WebSocket
  const got: string[] = []
  legs[0]?.listen({
    audio: (bytes) => got.push(`${bytes.length} bytes`),
    digit: (digit) => got.push(digit),
    closed: (why) => got.push(why),
  })
  phone.send(Buffer.alloc(640))
  phone.send(JSON.stringify({ event: 'DTMF_END', digit: '#' }))
  phone.send(JSON.stringify({ event: 'DTMF_END', digit: 'x' }))
  phone.send('not JSON')
  phone.close(1000)
  await until(() => got.length === 3, 5000, 'the end')
  t.same(got, ['640 bytes', '#', 'hung up'])
  await until(() => server.legs === 0, 5000, 'no leg')
})

t.test('a long queue is shortened only by silent frames', async (t) => {
  const { server, legs } = await served(t)
  const phone = (await asterisk(server, `leg=${ID}&to=100`)) as WebSocket
  const frames: number[] = []
  phone.on('message', (data: Buffer, isBinary: boolean) => isBinary && frames.push(data.readInt16LE(0)))
  const leg = legs[0] as MediaLeg
  leg.answer()
  let statuses = 0
  leg.listen({ audio: () => statuses++, digit: () => undefined, closed: () => undefined })
  phone.send(JSON.stringify({ event: 'STATUS', queue_length: 5 }))
  phone.send(Buffer.alloc(2))
  await until(() => statuses === 1, 5000, 'the status')
  for (const level of [0, 900, 0, 0, 800]) leg.play(new Int16Array(320).fill(level))
  await until(() => frames.includes(800), 5000, 'the last frame')
  t.same(frames, [900, 0, 800], 'two of three silent frames are skipped')
  t.equal(server.counters.framesSkipped, 2)
})

t.test('another audio format ends the leg [3]', async (t) => {
  const { server, legs } = await served(t)
  const phone = (await asterisk(server, `leg=${ID}&to=100`)) as WebSocket
  let why = ''
  legs[0]?.listen({ audio: () => undefined, digit: () => undefined, closed: (said) => (why = said) })
  phone.send(JSON.stringify({ ...START, format: 'ulaw' }))
  await once(phone, 'close')
  t.match(why, /ulaw and not slin16/)
  t.equal(server.counters.legsLost, 1)
})

t.test("the dialplan gets a leg's hangup cause once", async (t) => {
  const { server, legs } = await served(t)
  t.equal(await after(server, ID), '', 'of an unknown one nothing: its fallback')
  const phone = (await asterisk(server, `leg=${ID}&to=100`)) as WebSocket
  const leg = legs[0] as MediaLeg
  leg.after = `hangup ${CAUSE.busy}`
  leg.close()
  t.equal(await after(server, ID), 'hangup 17', 'even before its socket has closed')
  await once(phone, 'close')
  await until(() => server.legs === 0, 5000, 'no leg')
  t.equal(await after(server, ID), 'hangup 17')
  t.equal(await after(server, ID), '', 'once')
})

t.test('counts need the secret, and other paths return 404', async (t) => {
  const { server } = await served(t)
  const status = `http://127.0.0.1:${server.port}/status`
  t.equal((await fetch(status)).status, 401)
  t.same(await (await fetch(status, { headers: basic(SECRET) })).json(), { liveCalls: 3 })
  t.equal((await fetch(`http://127.0.0.1:${server.port}/`)).status, 404)
})

t.test('a rung phone is expected by its id', async (t) => {
  const { server, legs } = await served(t)
  const expected: MediaLeg[] = []
  const events = { reported: () => undefined, closed: () => undefined }
  const unexpect = server.expect('mkondo-1111111111', { ...events, opened: (leg) => expected.push(leg) })
  t.ok((await asterisk(server, 'leg=mkondo-1111111111&rung=1')) instanceof WebSocket)
  t.equal(expected[0]?.id, 'mkondo-1111111111')
  t.same(legs, [])
  server.expect('mkondo-2222222222', { ...events, opened: () => undefined })()
  unexpect()
  t.equal(await asterisk(server, 'leg=mkondo-2222222222&rung=1'), 404, 'not any more')
})

t.test('the rule with the longest prefix decides the endpoint', (t) => {
  const rules = ['+254=PJSIP/{number}@trunk', '+254711=PJSIP/201', '20=PJSIP/{number}'].map(parseDialRule)
  t.equal(endpointOf('+254722000001', rules), 'PJSIP/+254722000001@trunk')
  t.equal(endpointOf('+254711000001', rules), 'PJSIP/201')
  t.equal(endpointOf('201', rules), 'PJSIP/201')
  t.equal(endpointOf('+441632960001', rules), null, 'no rule')
  t.equal(endpointOf('+254722000001', []), null, 'no rule at all')
  for (const number of ['+254&PJSIP/999', '201@evil', '2', '+254 722', ''])
    t.equal(endpointOf(number, rules), null, 'not a number')
  for (const text of ['', '=PJSIP/1', '+254', '+254=PJSIP/1&PJSIP/2', '+254=PJSIP/{user}', 'abc=PJSIP/1'])
    t.throws(() => parseDialRule(text), { code: 'CONFIG_INVALID' }, text)
  t.end()
})

t.test('callers cannot write into the dial string', (t) => {
  const { 'extensions.conf': dialplan = '', 'websocket_client.conf': client = '' } = asteriskFiles({
    address: '127.0.0.1:4020',
    secret: null,
  })
  t.match(dialplan, 'from=${URIENCODE(${FILTER(+0-9A-Za-z,${CALLERID(num)})})}')
  t.match(dialplan, 'to=${URIENCODE(${FILTER(+0-9A-Za-z,${EXTEN})})}')
  t.match(dialplan, /60,g\)/, 'the dialplan goes on after the media socket')
  t.match(client, 'password = THE_SECRET_OF_EXCHANGE_SECRET', 'no secret is printed')
  t.match(asteriskFiles({ address: 'x:1', secret: 'abc' })['websocket_client.conf'], 'password = abc')
  t.end()
})

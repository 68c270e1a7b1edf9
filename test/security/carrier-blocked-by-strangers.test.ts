import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WEBHOOK_BODY_BYTES_MAX } from '../../src/core/limits.js'
import { BODIES_PENDING_MAX, BODIES_PER_ADDRESS_MAX } from '../../src/edge/http/http-exchange.js'
import { FAILED_REQUESTS_BURST } from '../../src/edge/public/webhook-guard.js'
import { signBody } from '../support/sign-body.js'
import {
  SECRET,
  attribute,
  newSid,
  post,
  rawRequest,
  refusalOf,
  redirectUrl,
  ringing,
  startGateway,
  upgradeStatus,
} from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { until } from '../support/until.js'
import { hasDescriptors } from '../support/descriptors.js'

// All connections of a test come from 127.0.0.1: as behind a proxy, carrier and strangers have one address. The clock
// stands still, so an address that has failed too often stays so.
const start = (t: Test, options: Parameters<typeof startGateway>[1] = {}): Promise<Gateway> =>
  startGateway(t, { webhookSecrets: [SECRET], publicUrl: 'https://gw.example.com', clock: () => 1000, ...options })

const voiceUrl = (gateway: Gateway): string => `${gateway.url}/voice/order-status`
const signed = (gateway: Gateway): Promise<{ status: number; text: string }> =>
  post(voiceUrl(gateway), { form: ringing(newSid()), sign: { secret: SECRET } })

/**
 * Fails until the address gets no answers any more: their connection is closed (0), or, where it is of a trusted
 * proxy or a signed request has just come on it, the answer says so before (429).
 */
async function exhaust(
  t: Test,
  gateway: Gateway,
  headers: Record<string, string> = {},
  expected: 0 | 429 = 0,
): Promise<void> {
  for (let i = 0; i < FAILED_REQUESTS_BURST; i++) await post(voiceUrl(gateway), { form: ringing(newSid()), headers })
  t.equal(await refusalOf(voiceUrl(gateway), { form: ringing(newSid()), headers }), expected, 'strangers are cut off')
}

function request(body: string, signature: string | null, announced = body.length): string {
  return (
    `POST /voice/order-status HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n` +
    (signature === null ? '' : `X-Sautikit-Signature: ${signature}\r\n`) +
    `Content-Length: ${announced}\r\n\r\n${body}`
  )
}

const formOf = (): string => new URLSearchParams(ringing(newSid())).toString()
const goodSignature = (body: string): string =>
  signBody({ body: new TextEncoder().encode(body), secret: SECRET, timestampS: Math.floor(Date.now() / 1000) })
const forged = (): string => `t=${Math.floor(Date.now() / 1000)},v1=${'f'.repeat(64)}`

t.test('unsigned requests do not limit signed requests of their address [1]', async (t) => {
  const gateway = await start(t)
  await exhaust(t, gateway)
  for (let i = 0; i < 48; i++) {
    t.equal((await signed(gateway)).status, 200)
    await refusalOf(voiceUrl(gateway), { form: ringing(newSid()) })
  }
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="unsigned"}'), FAILED_REQUESTS_BURST)
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="rate-limit"}'), 49, 'the flood itself is refused')
})

t.test('forged signatures do not limit signed requests of their address', async (t) => {
  const gateway = await start(t)
  await exhaust(t, gateway, { 'x-sautikit-signature': forged() })
  for (let i = 0; i < 10; i++) t.equal((await signed(gateway)).status, 200)
})

t.test('pipelined requests from a limited address are not read [3]', async (t) => {
  const gateway = await start(t)
  const body = formOf()
  const raw = rawRequest(gateway.edge.publicPort, request(body, null).repeat(200) + request(body, goodSignature(body)))
  await raw.answer // until the connection is closed
  t.equal(
    await gateway.metric('mkondo_webhook_rejected_total{reason="unsigned"}'),
    FAILED_REQUESTS_BURST,
    'as many as an address has',
  )
  t.equal(await gateway.metric('mkondo_unproven_closed_total{why="address"}'), 1, 'the next one ends the connection')
  t.equal((await signed(gateway)).status, 200, 'another connection is not affected')
})

t.test('a signed request is answered before its connection is closed [2]', async (t) => {
  const gateway = await start(t)
  await exhaust(t, gateway)
  const body = formOf()
  const raw = rawRequest(
    gateway.edge.publicPort,
    request(body, goodSignature(body)) + request(body, null) + request(body, goodSignature(body)),
  )
  const answer = await raw.answer
  t.match(answer, /^HTTP\/1\.1 200 OK[^]*<Stream [^]*HTTP\/1\.1 429 /)
  t.equal(answer.match(/HTTP\/1\.1 /g)?.length, 2)
})

t.test('a token in the URL passes a limited address', async (t) => {
  const gateway = await start(t, { publicUrl: null })
  const document = (await signed(gateway)).text
  await exhaust(t, gateway, {}, 429)
  t.equal((await post(redirectUrl(document))).status, 200, 'after the stream')
  t.equal((await post(attribute(document, 'statusCallback'), { form: { streamEvent: 'stream-started' } })).status, 204)
  t.equal(await upgradeStatus(attribute(document, 'url').replace(/t=[^&]*/, 't=nonsense')), 429, 'a bad one is limited')
  t.equal(await upgradeStatus(attribute(document, 'url')), 101, 'the audio socket')
})

t.test('refused audio sockets cannot flood the log', async (t) => {
  const gateway = await start(t)
  for (let i = 0; i < FAILED_REQUESTS_BURST + 50; i++)
    await upgradeStatus(`${gateway.url.replace('http', 'ws')}/audio?t=nonsense`)
  const warnings = gateway.logged().filter((line) => line['msg'] === 'an audio socket was refused')
  t.equal(warnings.length, FAILED_REQUESTS_BURST)
  t.equal(await gateway.metric('mkondo_calls_refused_total{reason="rate-limit"}'), 50)
})

t.test('2,100 slow bodies do not block a signed webhook [5]', async (t) => {
  if (!hasDescriptors(t, 10_000)) return
  for (const [what, signature] of [
    ['unsigned', null],
    ['forged', forged()],
  ] as const) {
    const gateway = await start(t)
    t.equal((await signed(gateway)).status, 200, 'the carrier is known')
    const sockets: Socket[] = []
    t.teardown(() => sockets.forEach((socket) => socket.destroy()))
    let answered = 0
    for (let i = 0; i < 2100; i++) {
      const socket = connect(gateway.edge.publicPort, '127.0.0.1')
      socket.on('error', () => socket.destroy())
      const over = (): void => {
        socket.off('data', over).off('close', over).resume()
        answered++
      }
      socket.once('data', over).once('close', over)
      await new Promise((resolve) => socket.once('connect', resolve))
      socket.write(request('x', signature, 100))
      sockets.push(socket)
    }
    const share = signature === null ? 0 : BODIES_PER_ADDRESS_MAX
    await until(() => answered >= 2100 - share, 30_000, 'the answers')
    for (let i = 0; i < 5; i++) t.equal((await signed(gateway)).status, 200, what)
    // A body that comes in two pieces, as over a long way, has its place too.
    const body = formOf()
    const text = request(body, goodSignature(body))
    const slow = rawRequest(gateway.edge.publicPort, text.slice(0, -40))
    await signed(gateway)
    slow.socket.write(text.slice(-40))
    const [first] = await new Promise<[Buffer]>((resolve) =>
      slow.socket.once('data', (chunk: Buffer) => resolve([chunk])),
    )
    t.match(first.toString('latin1'), /^HTTP\/1\.1 200 /, `${what}: in two pieces`)
    slow.socket.destroy()
    if (signature !== null) {
      t.ok((await gateway.metric('mkondo_webhook_rejected_total{reason="evicted"}')) > 0, 'what was evicted is counted')
    }
  }
})

t.test('the oldest slow body without a token is evicted', async (t) => {
  if (!hasDescriptors(t, 2 * (BODIES_PENDING_MAX + 500))) return
  const gateway = await start(t, { publicUrl: null, trustedProxies: ['127.0.0.1'] })
  const document = (await signed(gateway)).text
  const open = (text: string): ReturnType<typeof rawRequest> => {
    const raw = rawRequest(gateway.edge.publicPort, text)
    t.teardown(() => raw.socket.destroy())
    return raw
  }
  const from = (address: string, text: string): string =>
    text.replace('Host: a\r\n', `Host: a\r\nX-Forwarded-For: ${address}\r\n`)
  // Its head is read before the strangers come, so it waits longest of all.
  const url = new URL(attribute(document, 'statusCallback'))
  const body = 'streamEvent=stream-started'
  const proven = open(
    from(
      '192.0.2.1',
      `POST ${url.pathname}${url.search} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n` +
        'Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\ns',
    ),
  )
  await signed(gateway)
  for (let i = 0; i < BODIES_PENDING_MAX; i++) {
    const stranger = open(from(`198.51.100.${i % 250}`, request('x', forged(), 100)))
    await new Promise((resolve) => stranger.socket.once('connect', resolve))
  }
  const evicted = (): Promise<number> => gateway.metric('mkondo_webhook_rejected_total{reason="evicted"}')
  await until(async () => (await evicted()) >= 1, 10_000, 'the eviction')
  t.equal(await evicted(), 1, 'one for the one place that the token has')
  const text = formOf()
  const whole = from('203.0.113.1', request(text, goodSignature(text)))
  const slow = open(whole.slice(0, -40))
  t.equal((await signed(gateway)).status, 200)
  slow.socket.write(whole.slice(-40))
  const first = await new Promise<Buffer>((resolve) => slow.socket.once('data', resolve))
  t.match(first.toString('latin1'), /^HTTP\/1\.1 200 /, 'a newcomer has a place')
  proven.socket.write(body.slice(1))
  t.match(await proven.answer, /^HTTP\/1\.1 204 /, 'a good token keeps its place')
})

t.test('an address without proof is limited for any request', async (t) => {
  const gateway = await start(t)
  const statuses = new Set<number>()
  for (let i = 0; i < FAILED_REQUESTS_BURST; i++) {
    const answer =
      i % 2 === 0
        ? await post(`${gateway.url}/nowhere`)
        : await post(voiceUrl(gateway), {
            body: 'x'.repeat(WEBHOOK_BODY_BYTES_MAX + 1),
            headers: { 'x-sautikit-signature': forged() },
          })
    statuses.add(answer.status)
  }
  t.same([...statuses].sort(), [404, 413])
  t.equal(await refusalOf(`${gateway.url}/nowhere`), 0)
  t.ok(BODIES_PER_ADDRESS_MAX < BODIES_PENDING_MAX)
})

t.test('strangers behind a trusted proxy have separate limits [4]', async (t) => {
  const nosecret = { 'x-forwarded-for': '198.51.100.9, 203.0.113.1' }
  const trusting = await start(t, { trustedProxies: ['127.0.0.0/8'] })
  await exhaust(t, trusting, nosecret, 429)
  t.equal(
    (await post(voiceUrl(trusting), { headers: { 'x-forwarded-for': '203.0.113.2' } })).status,
    401,
    'another client',
  )
  t.equal(
    await refusalOf(voiceUrl(trusting), { headers: { 'x-forwarded-for': '192.0.2.1, 203.0.113.1' } }),
    429,
    'what the client wrote itself does not count',
  )
  const strict = await start(t, { trustedProxies: ['10.0.0.0/8'] })
  await exhaust(t, strict, nosecret)
  t.equal(
    await refusalOf(voiceUrl(strict), { headers: { 'x-forwarded-for': '203.0.113.2' } }),
    0,
    'not from a proxy of ours',
  )
})

t.test('a second X-Forwarded-For header is appended to the first', async (t) => {
  const gateway = await start(t, { trustedProxies: ['127.0.0.1'] })
  const statuses: number[] = []
  for (let i = 0; i <= FAILED_REQUESTS_BURST; i++) {
    const raw = rawRequest(
      gateway.edge.publicPort,
      `POST /voice HTTP/1.1\r\nHost: a\r\nConnection: close\r\n` +
        `X-Forwarded-For: 198.51.100.${i % 250}\r\nX-Forwarded-For: 203.0.113.1\r\nContent-Length: 0\r\n\r\n`,
    )
    statuses.push(Number(/^HTTP\/1\.1 (\d+)/.exec(await raw.answer)?.[1]))
  }
  t.equal(statuses.at(-1), 429)
})

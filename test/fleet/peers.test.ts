import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { lookup } from 'node:dns/promises'
import { connect, createServer as createTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { createServer as createHttp } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { CLOCK_SKEW_MS_MAX, PEER_BODY_BYTES_MAX } from '../../src/core/limits.js'
import { PeerListener, SeenRequests } from '../../src/fleet/peer-listener.js'
import type { PeerRefusal, PeerTls } from '../../src/fleet/peer-listener.js'
import { PeerProof } from '../../src/fleet/peer-proof.js'
import type { PeerName } from '../../src/fleet/peer-proof.js'
import { PEER_CONNECT_MS, Peers } from '../../src/fleet/peers.js'
import type { PeerAddress } from '../../src/fleet/peers.js'
import { createLog } from '../../src/telemetry/log.js'
import { createHmac } from 'node:crypto'
import { derivedKey } from '../../src/fleet/secrets.js'
import { portOf } from '../support/port-of.js'

const SECRET = 'a-secret-shared-by-the-fleet'
const GW_1: PeerName = { node: 'gw-1', incarnation: 'one' }
const GW_2: PeerName = { node: 'gw-2', incarnation: 'two' }
/** Longer than any answer on this machine, however busy it is. */
const PATIENT_MS = 10_000

type Pem = ReturnType<typeof selfSigned>

interface Given {
  readonly self?: PeerName
  readonly secrets?: readonly string[]
  readonly tls?: PeerTls | null
  readonly wallClock?: () => number
  readonly connectMs?: number
  readonly connectionsMax?: number
}

function logged(): { readonly lines: Record<string, unknown>[]; readonly log: ReturnType<typeof createLog> } {
  const lines: Record<string, unknown>[] = []
  return {
    lines,
    log: createLog({ destination: { write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) } }),
  }
}

/** The listener of gw-2 on a free port, with the handler `echo`. */
async function listening(t: Test, given: Given & { readonly port?: number; readonly url?: string } = {}) {
  const { lines, log } = logged()
  const asked: unknown[] = []
  const heard: PeerName[] = []
  const listener = new PeerListener({
    self: given.self ?? GW_2,
    secrets: given.secrets ?? [SECRET],
    host: '127.0.0.1',
    port: given.port ?? 0,
    url: given.url ?? null,
    tls: given.tls ?? null,
    ...(given.connectionsMax !== undefined && { connectionsMax: given.connectionsMax }),
    onHeard: (from) => void heard.push(from),
    clock: () => performance.now(),
    wallClock: given.wallClock ?? Date.now,
    log,
  })
  listener.handle('echo', (body, from) => {
    asked.push(body)
    return Promise.resolve({ body, from })
  })
  const url = await listener.listen()
  t.teardown(() => listener.close())
  return { listener, url, asked, heard, lines, peer: { ...(given.self ?? GW_2), url } satisfies PeerAddress }
}

/** The client of gw-1. */
function asking(t: Test, given: Given = {}) {
  const { lines, log } = logged()
  const peers = new Peers({
    self: given.self ?? GW_1,
    secrets: given.secrets ?? [SECRET],
    tls: given.tls ?? null,
    clock: () => performance.now(),
    wallClock: given.wallClock ?? Date.now,
    connectMs: given.connectMs ?? PATIENT_MS,
    log,
  })
  t.teardown(() => {
    peers.close()
  })
  return Object.assign(peers, { lines })
}

interface Sent {
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly headers?: Record<string, string>
}

/** A request as somebody else could write it. */
function sent(url: string, { method = 'POST', path = '/internal/echo', body = '', headers = {} }: Sent) {
  return new Promise<{ readonly status: number; readonly body: string; readonly headers: IncomingMessage['headers'] }>(
    (resolve, reject) => {
      const request = httpRequest(new URL(path, url), { method, headers, agent: false }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.on('end', () => {
          resolve({ status: response.statusCode ?? 0, body: text, headers: response.headers })
        })
      })
      request.on('error', reject).end(body)
    },
  )
}

function signed(body: string, over: { to?: PeerName; timeMs?: number; method?: string; path?: string } = {}) {
  const { to = GW_2, timeMs = Date.now(), method = 'POST', path = '/internal/echo' } = over
  return new PeerProof([SECRET]).signRequest(method, path, Buffer.from(body), { timeMs, from: GW_1, to }).authorization
}

t.test('a node answers another node and knows the sender', async (t) => {
  const { peer, listener, url, heard } = await listening(t)
  const peers = asking(t)
  t.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
  t.same(await peers.ask(peer, 'echo', { sid: 'HD_1', said: 'habari — ✓' }, PATIENT_MS), {
    result: 'answered',
    answer: { body: { sid: 'HD_1', said: 'habari — ✓' }, from: GW_1 },
  })
  t.same(await peers.ping(peer, PATIENT_MS), { result: 'answered', answer: GW_2 })
  t.equal(listener.answered, 2)
  t.same(heard, [GW_1, GW_1], 'and each request says that its sender lives')
  t.equal(peers.counters.answered, 2)
})

t.test("the peer origin uses NODE_URL and the listener's port", async (t) => {
  const { url } = await listening(t, { url: 'http://gw-2.internal' })
  t.match(url, /^http:\/\/gw-2\.internal:\d+$/)
  t.equal((await listening(t, { url: 'http://gw-2.internal:7000' })).url, 'http://gw-2.internal:7000')
  const [, port = ''] = /:(\d+)$/.exec(url) ?? []
  await t.rejects(listening(t, { port: Number(port) }), { code: 'PORT_IN_USE', message: /^INTERNAL_PORT: port \d+/ })
})

/** A port that passes connections on, counts them, and can treat them otherwise. */
async function relay(t: Test, url: string, treat: (socket: Socket, through: () => void) => void) {
  let connections = 0
  const server = createTcp((socket) => {
    connections++
    socket.on('error', () => undefined)
    t.teardown(() => socket.destroy())
    treat(socket, () => {
      const onward = connect(Number(new URL(url).port), '127.0.0.1')
      onward.on('error', () => undefined)
      socket.pipe(onward).pipe(socket)
    })
  })
  return { url: `http://127.0.0.1:${await portOf(t, server)}`, connections: () => connections }
}

t.test('a connection is reused', async (t) => {
  const { peer } = await listening(t)
  const between = await relay(t, peer.url, (_, through) => {
    through()
  })
  const peers = asking(t)
  for (let i = 0; i < 5; i++) {
    t.equal((await peers.ask({ ...peer, url: between.url }, 'echo', i, PATIENT_MS)).result, 'answered')
    await new Promise((resolve) => setImmediate(resolve)) // the socket is free once the parser is done with the answer
  }
  t.equal(between.connections(), 1)
})

t.test('an absent or different node counts as refused', async (t) => {
  const { peer, listener, asked } = await listening(t)
  const peers = asking(t)
  const refused = (reason: string, answeredBy: string | null = null) => ({ result: 'refused', reason, answeredBy })
  const body = 'x'.repeat(200_000) // an answer must be read although its request is not
  for (let i = 0; i < 5; i++)
    t.same(await peers.ask({ ...peer, node: 'gw-7' }, 'echo', body, PATIENT_MS), refused('another-node'))
  t.same(
    await peers.ask({ ...peer, incarnation: 'before' }, 'echo', body, PATIENT_MS),
    refused('another-incarnation', GW_2.incarnation),
  )
  t.same(
    await peers.ping({ ...peer, incarnation: 'before' }, PATIENT_MS),
    refused('another-incarnation', GW_2.incarnation),
  )
  const unknown = await peers.ping({ ...peer, url: 'http://nobody.invalid:9465' }, PATIENT_MS)
  const resolver = await lookup('nobody.invalid').catch((error: NodeJS.ErrnoException) => error.code)
  // A resolver that is away says nothing about the node.
  t.same(unknown, resolver === 'ENOTFOUND' ? refused('host-unknown') : { result: 'failed', reason: 'network' })
  t.same(asked, [], 'no work was done')
  await listener.close()
  t.same(await asking(t).ping(peer, PATIENT_MS), refused('connection-refused'))
  t.same(peers.counters['another-incarnation'], 2)
  if (resolver === 'ENOTFOUND') t.same(peers.lines, [], 'none of it is a fault')
})

t.test('a timeout or a broken connection counts as silent', async (t) => {
  const { peer, asked } = await listening(t)
  const hung = await relay(t, peer.url, () => undefined)
  const reset = await relay(t, peer.url, (socket) => {
    socket.once('data', () => socket.resetAndDestroy())
  })
  const closed = await relay(t, peer.url, (socket) => {
    socket.once('data', () => socket.end())
  })
  const peers = asking(t)
  t.same(await peers.ask({ ...peer, url: hung.url }, 'echo', {}, 60), { result: 'silent', reason: 'timeout' })
  t.same(await peers.ping({ ...peer, url: hung.url }, 60), { result: 'silent', reason: 'timeout' })
  t.same(await peers.ping({ ...peer, url: reset.url }, PATIENT_MS), { result: 'silent', reason: 'reset' })
  t.same(await peers.ping({ ...peer, url: closed.url }, PATIENT_MS), { result: 'silent', reason: 'reset' })
  t.same(asked, [])
  t.equal(reset.connections(), 1, 'nothing is sent twice')
})

t.test('a connection that takes too long counts as silent', async (t) => {
  const hung = await relay(t, 'http://127.0.0.1:1', () => undefined)
  const peers = asking(t, { tls: { ...selfSigned(), ca: selfSigned().cert }, connectMs: PEER_CONNECT_MS })
  const beganMs = performance.now()
  const url = hung.url.replace('http', 'https') // its handshake is never answered
  t.same(await peers.ping({ ...GW_2, url }, 3_600_000), { result: 'silent', reason: 'timeout' })
  t.ok(performance.now() - beganMs >= PEER_CONNECT_MS)
})

t.test('a paused node still reads answers that arrived meanwhile', async (t) => {
  const { peer } = await listening(t)
  const peers = asking(t)
  t.equal((await peers.ping(peer, PATIENT_MS)).result, 'answered')
  const asked = peers.ask(peer, 'echo', {}, 400)
  const untilMs = performance.now() + 500
  while (performance.now() < untilMs);
  t.equal((await asked).result, 'answered')
})

t.test('an untrusted or incompatible peer counts as failed', async (t) => {
  const { peer, listener, asked, lines } = await listening(t)
  const stranger = asking(t, { secrets: ['a-secret-of-somebody-else'] })
  t.same(await stranger.ask(peer, 'echo', 'x'.repeat(200_000), PATIENT_MS), { result: 'failed', reason: 'turned-away' })
  t.match(stranger.lines, [
    { level: 'warn', peer: 'gw-2', request: 'echo', reason: 'turned-away', why: 'status 401: signature' },
  ])
  const late = asking(t, { wallClock: () => Date.now() - CLOCK_SKEW_MS_MAX - 2000 })
  t.same(await late.ping(peer, PATIENT_MS), { result: 'failed', reason: 'turned-away' })
  t.match(late.lines, [{ why: 'status 401: late' }])
  const peers = asking(t)
  t.same(await peers.ask(peer, 'new-request', {}, PATIENT_MS), { result: 'failed', reason: 'unknown-request' })
  listener.handle('break', () => {
    throw new Error('a fault of a test')
  })
  t.same(await peers.ask(peer, 'break', {}, PATIENT_MS), { result: 'failed', reason: 'fault' })
  t.equal(listener.faults, 1)
  t.match(
    lines.find((line) => line['level'] === 'error'),
    { request: 'break', err: { message: 'a fault of a test' } },
  )
  const foreign = createHttp((_, response) => response.end('{"node":"gw-2","incarnation":"two"}'))
  const url = `http://127.0.0.1:${await portOf(t, foreign)}`
  t.same(await peers.ping({ ...peer, url }, PATIENT_MS), { result: 'failed', reason: 'answer-not-proven' })
  t.same(await peers.ping({ ...peer, url: 'http://169.254.169.254' }, PATIENT_MS), {
    result: 'failed',
    reason: 'network',
  })
  t.same(await peers.ask(peer, 'echo', 'x'.repeat(PEER_BODY_BYTES_MAX), PATIENT_MS), {
    result: 'failed',
    reason: 'too-large',
  })
  t.same(asked, [])
  t.notMatch(JSON.stringify([...lines, ...peers.lines, ...late.lines]), /shared-by-the-fleet/)
})

t.test('a malformed answer counts as failed', async (t) => {
  const { listener, peer } = await listening(t)
  const peers = asking(t)
  let answers: unknown
  for (const name of ['yield', 'streams', 'webhook', 'ops']) listener.handle(name, () => Promise.resolve(answers))
  for (const [name, answer, is] of [
    ['yield', { yields: 'perhaps' }, 'failed'],
    ['yield', { yields: 'later', ofALaterRelease: true }, 'answered'],
    ['streams', { HD_1: true }, 'failed'],
    ['webhook', { is: 'answered' }, 'failed'],
    ['ops', { status: 'fine' }, 'failed'],
    ['ops', { status: 404, body: { error: {} } }, 'answered'],
  ] as const) {
    answers = answer
    const asked = await peers.ask(peer, name, {}, PATIENT_MS)
    t.match(asked, is === 'failed' ? { result: is, reason: 'answer-malformed' } : { result: is, answer }, name)
  }
  t.match(peers.lines[0], { why: 'the answer has another form: yields' })
})

t.test('nodes understand each other while a secret is replaced', async (t) => {
  const [old, next] = ['the-secret-of-yesterday', 'the-secret-of-tomorrow']
  const steps = [[old], [old, next], [next, old], [next]]
  for (let step = 1; step < steps.length; step++) {
    for (const [asker = [], answerer = []] of [
      [steps[step - 1], steps[step]],
      [steps[step], steps[step - 1]],
    ]) {
      const { peer } = await listening(t, { secrets: answerer })
      t.equal((await asking(t, { secrets: asker }).ping(peer, PATIENT_MS)).result, 'answered')
    }
  }
  const { peer } = await listening(t, { secrets: [next] })
  t.equal((await asking(t, { secrets: [old] }).ping(peer, PATIENT_MS)).result, 'failed')
})

t.test('a request that fails verification is refused without effect', async (t) => {
  let nowMs = Date.now()
  const { url, listener, asked, heard, lines } = await listening(t, { wallClock: () => nowMs })
  const body = '{"sid":"HD_1"}'
  const refusals: Partial<Record<PeerRefusal, number>> = {}
  const turnedAway = async (what: string, status: number, reason: PeerRefusal, given: Sent) => {
    const found = await sent(url, given)
    refusals[reason] = (refusals[reason] ?? 0) + 1
    t.match({ ...found, body: JSON.parse(found.body) as unknown }, { status, body: { reason } }, what)
  }
  const at = (authorization: string, over: Sent = {}): Sent => ({ body, headers: { authorization }, ...over })
  const good = signed(body)
  const parts = good.split(' ')
  const altered = (at: number, value: string): string => parts.map((part, i) => (i === at ? value : part)).join(' ')

  await turnedAway('no signature', 401, 'unsigned', { body })
  await turnedAway('another scheme', 401, 'unsigned', at('Bearer a-token-of-the-ops-port'))
  await turnedAway('a part too many', 401, 'unsigned', at(`${good} x`))
  await turnedAway('a short MAC', 401, 'unsigned', at(good.slice(0, -1)))
  await turnedAway('the time', 401, 'signature', at(altered(1, String(Date.now() + 1))))
  await turnedAway('the nonce', 401, 'signature', at(altered(2, 'A'.repeat(22))))
  await turnedAway('the sender', 401, 'signature', at(altered(3, 'gw-9')))
  await turnedAway("the sender's run", 401, 'signature', at(altered(4, 'nine')))
  await turnedAway('the receiver', 401, 'signature', at(signed(body, { to: GW_1 }).replace('gw-1 one', 'gw-2 two')))
  await turnedAway('the hash of the body', 401, 'signature', at(altered(7, 'A'.repeat(43))))
  await turnedAway('the MAC', 401, 'signature', at(altered(8, 'A'.repeat(43))))
  await turnedAway('another path', 401, 'signature', at(good, { path: '/internal/ping' }))
  await turnedAway('a query', 401, 'signature', at(good, { path: '/internal/echo?x=1' }))
  await turnedAway('another method', 401, 'signature', at(good, { method: 'PUT' }))
  await turnedAway('another body', 401, 'body', at(signed(body), { body: body.replace('1', '2') }))
  await turnedAway('a body for none', 401, 'body', at(signed('')))
  await turnedAway('another node', 409, 'another-node', at(signed(body, { to: { ...GW_2, node: 'gw-3' } })))
  await turnedAway(
    'another run',
    409,
    'another-incarnation',
    at(signed(body, { to: { ...GW_2, incarnation: 'before' } })),
  )
  for (const awayMs of [-CLOCK_SKEW_MS_MAX - 1, CLOCK_SKEW_MS_MAX + 1])
    await turnedAway('a time far away', 401, 'late', at(signed(body, { timeMs: nowMs + awayMs })))
  await turnedAway('no JSON', 400, 'malformed', at(signed('{"sid":'), { body: '{"sid":' }))
  for (const path of ['/', '/internal/', '/internal/nothing', '/internal/echo/', '/metrics', '/internal/../internal/x'])
    await turnedAway(
      `path ${path}`,
      404,
      'not-found',
      at(signed('', { path: new URL(path, url).pathname }), { path, body: '' }),
    )
  await turnedAway('GET for POST', 404, 'not-found', {
    method: 'GET',
    headers: { authorization: signed('', { method: 'GET' }) },
  })
  const large = ' '.repeat(PEER_BODY_BYTES_MAX + 1)
  await turnedAway('too much', 413, 'too-large', {
    headers: { authorization: signed(large), 'content-length': String(large.length) },
  })
  t.same(asked, [], 'nothing was done')

  const before = heard.length
  const answered = await sent(url, at(good))
  t.equal(answered.status, 200, 'the request itself is good')
  await turnedAway('replayed', 401, 'replayed', at(good))
  nowMs += CLOCK_SKEW_MS_MAX + 1000
  await turnedAway('replayed later', 401, 'late', at(good))
  t.equal(heard.length, before + 1, 'who replays is not heard')
  t.equal(asked.length, 1)

  for (const [reason, count] of Object.entries(refusals))
    t.equal(listener.refused[reason as PeerRefusal], count, `${reason} is counted`)
  t.ok(
    lines.length < Object.values(refusals).reduce((sum, count) => sum + count, 0),
    'and a flood is not logged line by line',
  )
  t.match(lines[0], { level: 'warn', reason: 'unsigned', why: 'the request is not signed', address: '127.0.0.1' })
})

t.test('an answer proves its sender for this request alone', async (t) => {
  const { url } = await listening(t)
  const proof = new PeerProof([SECRET])
  const { authorization, nonce } = proof.signRequest('POST', '/internal/echo', Buffer.from('1'), {
    timeMs: Date.now(),
    from: GW_1,
    to: GW_2,
  })
  const { status, body, headers } = await sent(url, { body: '1', headers: { authorization } })
  const header = String(headers['mkondo-answer'])
  const answer = { status, body: Buffer.from(body), nonce }
  t.same(proof.readAnswer(header, answer), GW_2)
  t.equal(proof.readAnswer(header, { ...answer, status: 409 }), null)
  t.equal(proof.readAnswer(header, { ...answer, body: Buffer.from('{}') }), null)
  t.equal(proof.readAnswer(header, { ...answer, nonce: 'A'.repeat(22) }), null)
  t.equal(proof.readAnswer(header.replace('gw-2', 'gw-1'), answer), null)
  t.equal(proof.readAnswer(null, answer), null)
  t.equal(new PeerProof(['a-secret-of-somebody-else']).readAnswer(header, answer), null)
  t.equal((await sent(url, { body: '1' })).headers['mkondo-answer'], undefined, 'nothing is signed for a stranger')
})

t.test('a full nonce memory does not admit old requests', async (t) => {
  const seen = new SeenRequests(3)
  const at = 1_000_000
  t.equal(seen.isNew('first', at, at), true)
  for (const i of [1, 2, 3]) t.equal(seen.isNew(`later ${i}`, at + i, at + 3), true)
  t.equal(seen.isNew('first', at, at + 4), false, 'forgotten, and refused by its age')
  t.equal(seen.isNew('new, and as old', at, at + 4), false)
  t.equal(seen.isNew('later 3', at + 3, at + 4), false)
  t.equal(seen.isNew('later 4', at + 4, at + 4), true)
  t.equal(seen.isNew('much later', at + 2 * CLOCK_SKEW_MS_MAX, at + 2 * CLOCK_SKEW_MS_MAX), true)
})

t.test('nodes stay connected while strangers take all connections [1]', async (t) => {
  const connectionsMax = 20
  const certificate = selfSigned()
  for (const tls of [null, { cert: certificate.cert, key: certificate.key, ca: certificate.cert }]) {
    const { peer, listener, url } = await listening(t, { tls, connectionsMax })
    const peers = asking(t, { tls })
    t.match(await peers.ping(peer, PATIENT_MS), { result: 'answered' })
    const strangers: Socket[] = []
    t.teardown(() => strangers.forEach((socket) => socket.destroy()))
    for (let i = 0; i < connectionsMax + 100; i++) {
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      socket.on('error', () => socket.destroy()).resume()
      strangers.push(socket)
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))
    }
    t.match(await peers.ping(peer, PATIENT_MS), { result: 'answered' }, 'the connection that was there')
    t.match(await asking(t, { tls }).ping(peer, PATIENT_MS), { result: 'answered' }, 'and a new one')
    t.ok(listener.refused.connections >= 100)
    for (const stranger of strangers) stranger.destroy()
  }
})

t.test('a stranger without a TLS handshake is disconnected', async (t) => {
  const { cert, key } = selfSigned()
  const tls = { cert, key, ca: cert }
  const stranger = async (url: string): Promise<Socket> => {
    const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true })
    t.teardown(() => socket.destroy())
    await once(socket.resume(), 'connect')
    return socket
  }
  const [stays, ends] = [await listening(t, { tls }), await listening(t, { tls })]
  const cut = once(await stranger(stays.url), 'end')
  await stranger(ends.url)
  await ends.listener.close()
  await cut
  t.equal(stays.listener.refused.protocol, 1, 'it is counted once')
})

t.test('bytes that are not HTTP are answered and counted', async (t) => {
  const { url, listener } = await listening(t)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  const said = await new Promise<string>((resolve) => {
    let text = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
    socket.on('close', () => {
      resolve(text)
    })
    socket.write('hello\r\n\r\n')
  })
  t.match(said, /^HTTP\/1\.1 400/)
  t.equal(listener.refused.protocol, 1)
})

t.test('with certificates both sides are verified', async (t) => {
  const [one, two, other] = ['gw-1', 'gw-2', 'another'].map(selfSigned) as [Pem, Pem, Pem]
  const ca = one.cert + two.cert
  const { peer, listener, asked } = await listening(t, { tls: { ...two, ca } })
  t.match(peer.url, /^https:/)
  t.match(await asking(t, { tls: { ...one, ca } }).ask(peer, 'echo', {}, PATIENT_MS), { result: 'answered' })

  const failed = async (what: string, tls: PeerTls | null, url: string, reason: string, why: RegExp) => {
    const peers = asking(t, { tls })
    for (let i = 0; i < 3; i++)
      t.same(await peers.ask({ ...peer, url }, 'echo', {}, PATIENT_MS), { result: 'failed', reason }, what)
    t.match(peers.lines, [{ why }])
  }
  await failed('a client of another authority', { ...other, ca }, peer.url, 'turned-away', /401: certificate/)
  await failed(
    'a server of another authority',
    { ...one, ca: one.cert },
    peer.url,
    'network',
    /SELF_SIGNED|UNABLE|CERT/,
  )
  await failed('a client without a certificate', null, peer.url, 'tls', /https:\/\/, and INTERNAL_TLS_CERT is not set/)
  const plain = await listening(t)
  await failed('a server without TLS', { ...one, ca }, plain.url, 'tls', /http:\/\/, and INTERNAL_TLS_CERT is set/)
  await failed('a server that says it has TLS', { ...one, ca }, plain.url.replace('http', 'https'), 'network', /./)
  t.equal(listener.refused.certificate, 3)
  t.equal(asked.length, 1)
})

t.test('a resumed TLS session does not replace a certificate', async (t) => {
  const [one, two] = [selfSigned('gw-1'), selfSigned('gw-2')]
  const ca = one.cert + two.cert
  const { url, listener } = await listening(t, { tls: { ...two, ca } })
  const statusOf = (session: Buffer | undefined) =>
    new Promise<{ status: string; session: Buffer | undefined; reused: boolean }>((resolve, reject) => {
      let ticket: Buffer | undefined
      const socket: TLSSocket = connectTls({ port: Number(new URL(url).port), host: '127.0.0.1', ca, session }, () => {
        socket.write('GET /internal/ping HTTP/1.1\r\nHost: x\r\n\r\n')
      })
      socket.on('session', (found) => (ticket = found))
      socket.on('error', reject)
      socket.once('data', (data: Buffer) => {
        resolve({ status: data.toString().slice(9, 12), session: ticket, reused: socket.isSessionReused() })
        socket.destroy()
      })
    })
  const first = await statusOf(undefined)
  t.match(first, { status: '401', reused: false })
  t.match(await statusOf(first.session), { status: '401', reused: true })
  t.equal(listener.refused.certificate, 2)
})

t.test('a closing listener finishes the requests under way', async (t) => {
  const { peer, listener } = await listening(t)
  let release = (): void => undefined
  const begun = new Promise<void>((resolve) => {
    listener.handle('slow', () => {
      resolve()
      return new Promise((answer) => {
        release = () => {
          answer('done')
        }
      })
    })
  })
  const asked = asking(t).ask(peer, 'slow', {}, PATIENT_MS)
  await begun
  const closed = listener.close()
  release()
  t.same(await asked, { result: 'answered', answer: 'done' })
  await closed
})

t.test('derived keys follow RFC 5869 and differ by purpose', async (t) => {
  // Extract with a salt of zeros, expand with one block: written out, so that a change of the derivation is noticed.
  const extracted = createHmac('sha256', Buffer.alloc(32)).update('a secret of the fleet').digest()
  const expanded = createHmac('sha256', extracted).update('mkondo peers 1\x01').digest()
  t.same(derivedKey('a secret of the fleet', 'peers'), expanded)
  t.notSame(derivedKey('a secret of the fleet', 'stored-calls'), expanded)
  t.notSame(derivedKey('another secret', 'peers'), expanded)
  t.throws(() => derivedKey('', 'peers'), /secret is set/)
})

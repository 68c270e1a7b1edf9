import { connect } from 'node:net'
import t from 'tap'
import { FAILED_REQUESTS_BURST } from '../../src/edge/public/webhook-guard.js'
import { signBody } from '../support/sign-body.js'
import { SECRET, newSid, rawRequest, refusalOf, ring, ringing, startGateway } from '../edge/gateway.js'

const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'

/** Fault in the head of each, and its content after `Host: a`; the body is `hello`. */
const AMBIGUOUS: readonly (readonly [string, string, body?: string])[] = [
  ['two Content-Lengths that differ', `Content-Length: 5\r\nContent-Length: ${5 + SMUGGLED.length}\r\n`],
  ['two that differ, the long one first', `Content-Length: ${5 + SMUGGLED.length}\r\nContent-Length: 5\r\n`],
  ['two that are equal', 'Content-Length: 5\r\nContent-Length: 5\r\n'],
  ['a list of equal lengths', 'Content-Length:  5 , 5\r\n'],
  ['a list of lengths that differ', 'Content-Length: 5,50\r\n'],
  ['a length with a sign', 'Content-Length: +5\r\n'],
  ['a negative length', 'Content-Length: -5\r\n'],
  ['a length in hexadecimal digits', 'Content-Length: 0x5\r\n'],
  ['a length with letters behind it', 'Content-Length: 5a\r\n'],
  ['an empty length', 'Content-Length: \r\n', ''],
  ['a length that no number holds', 'Content-Length: 18446744073709551621\r\n'],
  ['a length and a transfer coding', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'],
  ['a transfer coding and a length', 'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'],
  ['two transfer codings', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', '0\r\n\r\n'],
  ['a list of transfer codings', 'Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'],
  ['a transfer coding that only looks like chunked', 'Transfer-Encoding: xchunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ['a transfer coding that is none', 'Transfer-Encoding: identity\r\n'],
  ['two Hosts', 'Host: b\r\nContent-Length: 5\r\n'],
  [
    'two Content-Types',
    'Content-Type: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 5\r\n',
  ],
  ['two Authorizations', 'Authorization: Bearer a\r\nAuthorization: Bearer b\r\nContent-Length: 5\r\n'],
]

for (const which of ['public', 'ops'] as const) {
  t.test(`${which} port: an ambiguous request hides no second request`, async (t) => {
    const gateway = await startGateway(t)
    const port = which === 'public' ? gateway.edge.publicPort : gateway.edge.opsPort
    for (const [what, headers, body = 'hello'] of AMBIGUOUS) {
      for (const path of which === 'public'
        ? ['POST /voice/order-status', 'GET /audio', 'GET /nowhere']
        : ['POST /api/drain', 'GET /healthz', 'GET /metrics']) {
        const { answer } = rawRequest(
          port,
          `${path} HTTP/1.1\r\nHost: a\r\n${headers}\r\n${body}${SMUGGLED}${SMUGGLED}`,
        )
        // `answer` comes when the connection is closed, so this fails by its timeout where it stays open.
        const answers = (await answer).match(/HTTP\/1\.1 \d+/g)
        t.same(answers, ['HTTP/1.1 400'], `${path}: ${what}`)
      }
    }
    t.equal(gateway.calls.draining, false)
    t.ok((await gateway.metric(`mkondo_ambiguous_requests_total{port="${which}"}`)) > 0, 'counted')
  })

  t.test(`${which} port: bytes after an ambiguous request are not answered`, async (t) => {
    const gateway = await startGateway(t)
    const port = which === 'public' ? gateway.edge.publicPort : gateway.edge.opsPort
    const { socket, answer } = rawRequest(
      port,
      `POST /voice HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n`,
    )
    socket.once('data', () => socket.write(`hello${SMUGGLED}`))
    t.same((await answer).match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 400'])
  })

  t.test(`${which} port: folded lines and bare LF hide no request`, async (t) => {
    const gateway = await startGateway(t)
    const port = which === 'public' ? gateway.edge.publicPort : gateway.edge.opsPort
    const good =
      which === 'public' ? `GET /voice HTTP/1.1\r\nHost: a\r\n\r\n` : `GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n`
    for (const [what, headers] of [
      ['a folded length', 'Content-Length: 5\r\n 3\r\n'],
      ['a length folded into another header', 'X-A: b\r\n Content-Length: 5\r\n'],
      ['a space before the colon', 'Content-Length : 5\r\n'],
      ['a bare LF in a value', 'X-A: b\nContent-Length: 5\r\n'],
      ['a bare CR in a value', 'X-A: b\rContent-Length: 5\r\n'],
    ] as const) {
      const socket = connect(port, '127.0.0.1')
      let received = ''
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString('latin1')
      })
      socket.on('error', () => socket.destroy())
      socket.write(`POST /voice HTTP/1.1\r\nHost: a\r\n${headers}\r\nhello${SMUGGLED}`)
      await new Promise((resolve) => socket.once('ready', resolve))
      // The server has had its turn when a request that was sent later is answered.
      const later = rawRequest(port, good.replace('Host', 'Connection: close\r\nHost'))
      t.match(await later.answer, /^HTTP\/1\.1 /)
      t.notMatch(received, /HTTP\/1\.1 (?!400)/, what)
      socket.destroy()
    }
    const bare = rawRequest(port, `POST /voice HTTP/1.1\nHost: a\nContent-Length: 5\n\nhello${SMUGGLED}`)
    t.same((await bare.answer).match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 505'], 'bare LF from the first line on')
  })
}

t.test('a repeated signature header is refused', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET] })
  const body = new URLSearchParams(ringing(newSid())).toString()
  const good = signBody({
    body: new TextEncoder().encode(body),
    secret: SECRET,
    timestampS: Math.floor(Date.now() / 1000),
  })
  for (const [first, second] of [
    [good, 'f'.repeat(64)],
    ['f'.repeat(64), good],
    [good, good],
  ]) {
    const raw = rawRequest(
      gateway.edge.publicPort,
      `POST /voice HTTP/1.1\r\nHost: a\r\nX-Sautikit-Signature: ${first}\r\n` +
        `X-Sautikit-Signature: ${second}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    t.match(await raw.answer, /^HTTP\/1\.1 400 [^]*x-sautikit-signature is given twice/)
  }
  t.equal(gateway.calls.started.length, 0)
})

t.test('ambiguous requests count against their address', async (t) => {
  const gateway = await startGateway(t, { clock: () => 1000 })
  await ring(gateway)
  for (let i = 0; i < FAILED_REQUESTS_BURST; i++) {
    await rawRequest(
      gateway.edge.publicPort,
      `POST /voice HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
    ).answer
  }
  t.ok([0, 429].includes(await refusalOf(`${gateway.url}/nowhere`)))
  t.equal(await gateway.metric('mkondo_ambiguous_requests_total{port="public"}'), FAILED_REQUESTS_BURST)
})

t.test('requests with one length, chunked or pipelined still work', async (t) => {
  const gateway = await startGateway(t)
  const json = JSON.stringify(ringing(newSid()))
  const head = 'POST /voice HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n'
  const raw = rawRequest(
    gateway.edge.publicPort,
    `${head}Content-Length: ${json.length}\r\n\r\n${json}` +
      `${head}Transfer-Encoding: Chunked\r\n\r\n${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n` +
      'GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n',
  )
  t.same((await raw.answer).match(/HTTP\/1\.1 \d+/g), ['HTTP/1.1 200', 'HTTP/1.1 200', 'HTTP/1.1 404'])
  t.equal(gateway.calls.started.length, 1)
})

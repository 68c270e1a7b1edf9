import { createServer, type Server } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { Exchange, type ExchangeOptions } from '../../src/exchange/exchange.js'
import { writeWav } from '../../src/media/wav.js'
import { createLog } from '../../src/telemetry/log.js'
import { command } from '../support/command.js'
import { freePort } from '../support/free-ports.js'
import { until } from '../support/until.js'

const SECRET = 'made-up-secret-of-tests'

/** An exchange whose number 100 leads to `voiceUrl`. */
async function exchangeTo(
  t: Pick<Test, 'teardown'>,
  voiceUrl: string,
  callsMax = 5,
  more: Partial<ExchangeOptions> = {},
): Promise<Exchange> {
  const exchange = await Exchange.start({
    ...{ host: '127.0.0.1', port: 0, mediaSecret: SECRET, webhookSecret: null, callsMax, rest: null, ari: null },
    numbers: [{ id: 'num_1', e164: '100', status: 'active', voiceUrl, eventsUrl: null }],
    dialRules: [],
    log: createLog({ level: 'silent' }),
    ...more,
  })
  t.teardown(() => exchange.stop())
  return exchange
}

/** A telephone calls `number` through Asterisk. @returns what the dialplan is told once its media socket has closed */
async function phoneCalls({ port }: Exchange, id: string, number: string): Promise<string> {
  const socket = ringing(port, id, number)
  await once(socket, 'close')
  return afterLeg(port, id)
}

async function afterLeg(port: number, id: string): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/after`, { method: 'POST', body: `leg=${id}` })).text()
}

function ringing(port: number, id: string, number: string): WebSocket {
  const authorization = `Basic ${Buffer.from(`mkondo:${SECRET}`).toString('base64')}`
  const url = `ws://127.0.0.1:${port}/media?leg=${id}&from=%2B254711000001&to=${number}`
  return new WebSocket(url, 'media', { headers: { authorization } })
}

/** A gateway that answers every webhook with one document, once it has it. @param then  status from the second on */
async function gatewayWith(t: Pick<Test, 'teardown'>, document: string | Promise<string>, then = 200): Promise<string> {
  let posts = 0
  const server = createServer((_request, response) => {
    const status = posts++ === 0 ? 200 : then
    void Promise.resolve(document).then((xml) =>
      response.writeHead(status, { 'content-type': 'application/xml' }).end(xml),
    )
  })
  return listening(t, server)
}

/** A document that comes when the test says so. */
function documentLater(): { later: Promise<string>; answer: (xml: string) => void } {
  let answer: (xml: string) => void = () => undefined
  const later = new Promise<string>((resolve) => {
    answer = resolve
  })
  return { later, answer }
}

/** @returns its voice webhook */
async function listening(t: Pick<Test, 'teardown'>, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/voice/any`
}

t.test("the dialplan gets the cause of each call's end [1]", async (t) => {
  const rejects = async (reason: string): Promise<string> =>
    phoneCalls(
      await exchangeTo(t, await gatewayWith(t, `<Response><Reject reason="${reason}"/></Response>`)),
      'a-call-of-the-tests-1',
      '100',
    )
  t.equal(await rejects('busy'), 'hangup 17')
  t.equal(await rejects('rejected'), 'hangup 21')
  const hangsUp = await exchangeTo(t, await gatewayWith(t, '<Response><Hangup/></Response>'))
  t.equal(await phoneCalls(hangsUp, 'a-call-of-the-tests-2', '100'), 'hangup 16')
  t.equal(await phoneCalls(hangsUp, 'a-call-of-the-tests-3', '999'), 'hangup 1', 'a number that is not set up')
  const down = await exchangeTo(t, `http://127.0.0.1:${await freePort()}/voice/any`)
  t.equal(await phoneCalls(down, 'a-call-of-the-tests-4', '100'), '', 'the fallback, for a gateway that is gone')
  t.match(hangsUp.status(), { calls: 1, callsRefused: 1, liveCalls: 0 })
})

t.test('a call above the limit gets the fallback [3]', async (t) => {
  const { later, answer } = documentLater()
  const exchange = await exchangeTo(t, await gatewayWith(t, later), 1)
  const first = ringing(exchange.port, 'a-call-of-the-tests-5', '100')
  await until(() => exchange.status()['liveCalls'] === 1, 5000, 'a call')
  t.equal(await phoneCalls(exchange, 'a-call-of-the-tests-6', '100'), '')
  t.equal(exchange.status()['callsRefused'], 1)
  first.terminate()
  answer('<Response><Hangup/></Response>')
})

t.test('a placed call above the limit is refused with 503 [5]', async (t) => {
  const exchange = await exchangeTo(t, await gatewayWith(t, '<Response><Hangup/></Response>'), 0, {
    rest: { port: 0, key: 'key_of_tests' },
    ari: { url: `http://127.0.0.1:${await freePort()}`, user: 'mkondo', password: SECRET },
  })
  const answer = await fetch(`${exchange.restOrigin ?? ''}/v1/calls`, {
    method: 'POST',
    headers: { authorization: 'Bearer key_of_tests', 'content-type': 'application/json' },
    body: JSON.stringify({ from: '100', to: ['+254720000010'] }),
  })
  t.equal(answer.status, 503)
  t.match(await answer.json(), { error: { code: 'calls.unavailable' } })
  t.match(exchange.status(), { calls: 0, callsRefused: 1 })
})

t.test('the REST API of an exchange has no simulated routes', async (t) => {
  const gateway = await gatewayWith(t, '<Response><Hangup/></Response>')
  const exchange = await exchangeTo(t, gateway, 1, { rest: { port: 0, key: 'key_of_tests' } })
  await phoneCalls(exchange, 'a-call-of-the-tests-30', '100')
  const headers = { authorization: 'Bearer key_of_tests' }
  const ask = (path: string, method = 'GET') => fetch(`${exchange.restOrigin ?? ''}${path}`, { method, headers })
  t.equal((await ask('/v1/wallet')).status, 404)
  t.equal((await ask('/simulator/faults', 'POST')).status, 404)
  const { data } = (await (await ask('/v1/calls')).json()) as { data: Readonly<Record<string, unknown>>[] }
  t.match(data, [{ direction: 'inbound', cost_minor: null, rate_per_minute_minor: null }])
  t.notOk(data.some((call) => 'cost_currency' in call))
})

t.test('a lost media socket leaves the caller to the fallback [6]', async (t) => {
  const lost = async (id: string, lose: (socket: WebSocket) => void): Promise<string> => {
    const { later, answer } = documentLater()
    const exchange = await exchangeTo(t, await gatewayWith(t, later))
    const socket = ringing(exchange.port, id, '100')
    await once(socket, 'open')
    await until(() => exchange.status()['liveCalls'] === 1, 5000, 'a call')
    lose(socket)
    await until(() => exchange.status()['legs'] === 0, 5000, 'no leg')
    answer('<Response><Hangup/></Response>')
    return afterLeg(exchange.port, id)
  }
  const format = JSON.stringify({ event: 'MEDIA_START', format: 'ulaw', optimal_frame_size: 160 })
  t.equal(await lost('a-call-of-the-tests-8', (socket) => socket.send(format)), '', 'another format')
  t.equal(await lost('a-call-of-the-tests-9', (socket) => socket.terminate()), '', 'a socket that broke')
  t.equal(await lost('a-call-of-the-tests-10', (socket) => socket.close(1000)), 'hangup 16', 'a caller who hung up')
})

t.test('a webhook that fails during a call gives the fallback [2]', async (t) => {
  const document = (verbs: string): string => `<Response><GetDigits timeout="0.2"/>${verbs}</Response>`
  const fails = await exchangeTo(t, await gatewayWith(t, document(''), 500))
  t.equal(await phoneCalls(fails, 'a-call-of-the-tests-11', '100'), '')
  const empty = await exchangeTo(t, await gatewayWith(t, '<Response/>'))
  t.equal(await phoneCalls(empty, 'a-call-of-the-tests-12', '100'), 'hangup 16', 'an empty document is an end')
  const dials = '<Response><Dial><Number>+254720000010</Number></Dial>'
  const dialled = await exchangeTo(t, await gatewayWith(t, `${dials}</Response>`, 500))
  t.equal(await phoneCalls(dialled, 'a-call-of-the-tests-13', '100'), '', 'after a Dial')
  const goesOn = await exchangeTo(t, await gatewayWith(t, `${dials}<Hangup/></Response>`, 500))
  t.equal(await phoneCalls(goesOn, 'a-call-of-the-tests-14', '100'), 'hangup 16', 'a verb was left')
})

t.test('a call runs more than twenty documents', async (t) => {
  let posts = 0
  const server = createServer((_request, response) => {
    const verbs = ++posts <= 30 ? '<GetDigits timeout="0.01"/>' : '<Reject reason="busy"/>'
    response.writeHead(200, { 'content-type': 'application/xml' }).end(`<Response>${verbs}</Response>`)
  })
  const exchange = await exchangeTo(t, await listening(t, server))
  t.equal(await phoneCalls(exchange, 'a-call-of-the-tests-15', '100'), 'hangup 17')
})

t.test('keys of a Stream do not answer a later GetDigits', async (t) => {
  let host = ''
  let digits: string | null = null
  let phone: WebSocket | null = null
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const fields = new URLSearchParams(body)
      digits ??= fields.get('Digits')
      const stream = `<Stream url="ws://${host}/audio" connect="true" bidirectionalSamplingRate="16000"/>`
      const verbs = fields.has('Digits') ? '<Hangup/>' : `${stream}<GetDigits timeout="0.3"/>`
      const isFirst = fields.get('callSessionState') === 'Ringing'
      response
        .writeHead(200, { 'content-type': 'application/xml' })
        .end(`<Response>${isFirst || fields.has('Digits') ? verbs : ''}</Response>`)
    })
  })
  const audio = new WebSocketServer({ server })
  audio.on('connection', (socket) => {
    phone?.send(JSON.stringify({ event: 'DTMF_END', digit: '7' }))
    // The key is with the call by then.
    let frames = 0
    socket.on('message', () => ++frames === 15 && socket.close(1000))
  })
  const voiceUrl = await listening(t, server)
  host = new URL(voiceUrl).host
  const exchange = await exchangeTo(t, voiceUrl)
  phone = ringing(exchange.port, 'a-call-of-the-tests-16', '100')
  await once(phone, 'close')
  t.equal(digits, '')
})

t.test('an earlier key press does not end a Record', async (t) => {
  const { later, answer } = documentLater()
  const exchange = await exchangeTo(t, await gatewayWith(t, later))
  const phone = ringing(exchange.port, 'a-call-of-the-tests-17', '100')
  await once(phone, 'open')
  phone.send(JSON.stringify({ event: 'DTMF_END', digit: '#' }))
  await until(() => exchange.status()['liveCalls'] === 1, 5000, 'a call')
  // A ping's answer comes after the key was taken.
  phone.ping()
  await once(phone, 'pong')
  answer('<Response><Record timeout="0.6" playBeep="false"/><Hangup/></Response>')
  const startedMs = performance.now()
  await once(phone, 'close')
  t.ok(performance.now() - startedMs > 500, 'it waited for words')
})

t.test('a Dial without a matching rule rings no phone', async (t) => {
  const dials = '<Response><Dial><Number>+254720000010</Number></Dial><Hangup/></Response>'
  const exchange = await exchangeTo(t, await gatewayWith(t, dials))
  const socket = ringing(exchange.port, 'a-call-of-the-tests-7', '100')
  await until(() => (exchange.status()['dialsRefused'] ?? 0) > 0, 5000, 'a refused number')
  t.equal(exchange.status()['dialsRefused'], 1)
  socket.terminate()
})

t.test('a trunk gets the call and its note on request', async (t) => {
  const numbers = ['+254720000010', '+254720000020'].map((number) => `<Number>${number}</Number>`)
  const dials = `<Response><Dial timeout="1">${numbers.join('')}</Dial><Hangup/></Response>`
  const orderedTo = async (id: string, trunkHeaders: boolean): Promise<string[]> => {
    const orders: string[] = []
    const interface_ = createServer((request, response) => {
      let body = ''
      request.on('data', (chunk: Buffer) => (body += chunk.toString()))
      request.on('end', () => {
        if (request.method === 'POST') orders.push(body)
        response.end('{}')
      })
    })
    const { origin: url } = new URL(await listening(t, interface_))
    const exchange = await exchangeTo(t, await gatewayWith(t, dials), 5, {
      ari: { url, user: 'mkondo', password: SECRET },
      dialRules: [
        { prefix: '+254720000010', endpoint: 'PJSIP/{number}@trunk' },
        { prefix: '+254720000020', endpoint: 'PJSIP/202' },
      ],
      trunkHeaders,
    })
    const phone = ringing(exchange.port, id, '100')
    await until(() => orders.length === 2, 5000, 'two phones that are rung')
    phone.terminate()
    return orders
  }
  const orders = await orderedTo('a-call-of-the-tests-40', false)
  t.match(
    orders.find((order) => order.includes('@trunk')),
    '"__MKONDO_CALL":""',
  )
  t.match(
    orders.find((order) => order.includes('PJSIP/202')),
    '"__MKONDO_CALL":"HD_',
  )
  for (const order of await orderedTo('a-call-of-the-tests-41', true)) t.match(order, /"__MKONDO_CALL":"HD_/)
})

/** What a phone hears until its media socket closes: s16le at 16 kHz. */
async function heardBy(phone: WebSocket): Promise<Int16Array> {
  const all: Buffer[] = []
  phone.on('message', (data: Buffer, isBinary: boolean) => {
    if (isBinary) all.push(data)
  })
  await once(phone, 'close')
  const bytes = new Uint8Array(Buffer.concat(all))
  return new Int16Array(bytes.buffer, 0, bytes.length / 2)
}

t.test("Play is heard at the line's rate", async (t) => {
  const samples = Int16Array.from({ length: 8000 }, (_, i) => 8000 * Math.sin((2 * Math.PI * 600 * i) / 8000))
  const files: Readonly<Record<string, Uint8Array>> = {
    '/tone.wav': writeWav({ sampleRateHz: 8000, channels: 1, samples }),
    '/other.mp3': Buffer.alloc(16_000),
    '/large.wav': writeWav({ sampleRateHz: 8000, channels: 1, samples: new Int16Array(6 * 1024 * 1024).fill(9000) }),
  }
  const sounds = createServer((request, response) => response.end(files[request.url ?? '']))
  const { origin } = new URL(await listening(t, sounds))
  const playing = async (id: string, file: string): Promise<{ heard: Int16Array; ms: number }> => {
    const document = `<Response><Play>${origin}${file}</Play><Hangup/></Response>`
    const exchange = await exchangeTo(t, await gatewayWith(t, document))
    const fromMs = performance.now()
    const heard = await heardBy(ringing(exchange.port, id, '100'))
    return { heard, ms: performance.now() - fromMs }
  }
  const loud = (heard: Int16Array): number => heard.filter((sample) => Math.abs(sample) > 4000).length
  const [wav, other, large] = await Promise.all([
    playing('a-call-of-the-tests-18', '/tone.wav'),
    playing('a-call-of-the-tests-19', '/other.mp3'),
    playing('a-call-of-the-tests-20', '/large.wav'),
  ])
  // Two thirds of a sine are above half of its peak.
  t.ok(Math.abs(loud(wav.heard) - 10_667) < 1000, `a second of tone: ${loud(wav.heard)} loud samples`)
  const crossings = wav.heard.filter((sample, i) => sample > 0 && (wav.heard[i - 1] ?? 0) <= 0).length
  t.ok(Math.abs(crossings - 600) < 10, `${crossings} periods`)
  t.equal(loud(other.heard), 0)
  t.ok(other.ms >= 480, 'another format is silence of half a second')
  t.equal(loud(large.heard), 0, 'a file above the bound is not read')
})

/** A gateway that notes the webhooks it gets, and answers each with the same document. */
function webhooks(document: string): { readonly bodies: URLSearchParams[]; readonly server: Server } {
  const bodies: URLSearchParams[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      bodies.push(new URLSearchParams(body))
      response.writeHead(200, { 'content-type': 'application/xml' }).end(document)
    })
  })
  return { bodies, server }
}

t.test('headers of the INVITE reach each webhook', async (t) => {
  const { bodies, server } = webhooks('<Response><Hangup/></Response>')
  const headers = ['X-Account', 'X-Long', 'X-Missing']
  const exchange = await exchangeTo(t, await listening(t, server), 5, { headers })
  const sent = new URLSearchParams(
    Object.entries({ Account: 'gold, "4127"\r\n\u0007', Long: 'ä'.repeat(500), Other: 'not asked for' }).map(
      ([name, value]): [string, string] => [`h-X-${name}`, Buffer.from(value).toString('base64')],
    ),
  )
  const authorization = `Basic ${Buffer.from(`mkondo:${SECRET}`).toString('base64')}`
  const query = `leg=a-call-of-the-tests-21&from=&to=100&${sent.toString()}`
  const phone = new WebSocket(`ws://127.0.0.1:${exchange.port}/media?${query}`, 'media', { headers: { authorization } })
  await once(phone, 'close')
  await until(() => bodies.length === 2, 5000, 'the first webhook and the last')
  for (const fields of bodies) {
    t.equal(fields.get('SipHeader_X-Account'), 'gold, "4127"')
    t.equal(fields.get('SipHeader_X-Long'), 'ä'.repeat(120))
    t.same(
      [...fields.keys()].filter((name) => name.startsWith('SipHeader_')),
      ['SipHeader_X-Account', 'SipHeader_X-Long'],
    )
  }
})

t.test('a webhook with a broken connection is posted once more [4]', async (t) => {
  let posts = 0
  const server = createServer((request, response) => {
    if (++posts === 1) request.socket.destroy()
    else
      response.writeHead(200, { 'content-type': 'application/xml' }).end('<Response><Reject reason="busy"/></Response>')
  })
  const exchange = await exchangeTo(t, await listening(t, server))
  t.equal(await phoneCalls(exchange, 'a-call-of-the-tests-22', '100'), 'hangup 17')
})

t.test('an unreachable phone is reported with its cause', async (t) => {
  const { bodies, server } = webhooks('<Response/>')
  const exchange = await exchangeTo(t, await listening(t, server), 5, {
    rest: { port: 0, key: 'key_of_tests' },
    ari: { url: `http://127.0.0.1:${await freePort()}`, user: 'mkondo', password: SECRET },
    dialRules: [{ prefix: '+2547', endpoint: 'PJSIP/200' }],
  })
  await fetch(`${exchange.restOrigin ?? ''}/v1/calls`, {
    method: 'POST',
    headers: { authorization: 'Bearer key_of_tests', 'content-type': 'application/json' },
    body: JSON.stringify({ from: '100', to: ['+254720000010'] }),
  })
  await until(() => bodies.length === 2, 5000, 'two webhooks')
  t.match(Object.fromEntries(bodies[1] ?? []), { callSessionState: 'Failed', hangupCause: 'destination_out_of_order' })
})

t.test('the exchange does not start without a secret or number', async (t) => {
  const number = ['--number', '100=order-status']
  t.match(await command(['exchange', ...number], {}), { code: 2, err: /EXCHANGE_SECRET is missing or too weak/ })
  t.match(await command(['exchange', ...number], { env: { EXCHANGE_SECRET: 'short' } }), {
    code: 2,
    err: /EXCHANGE_SECRET/,
  })
  t.match(await command(['exchange'], { env: { EXCHANGE_SECRET: SECRET } }), { code: 2, err: /--number is missing/ })
  t.match(await command(['exchange', '--number', '100'], {}), { code: 2, err: /not NUMBER=AGENT/ })
  t.match(await command(['exchange', '--dial', '+254=PJSIP/1&PJSIP/2'], {}), { code: 2, err: /not PREFIX=ENDPOINT/ })
  for (const names of [['X Account'], ['X-A', 'x-a'], ['A', 'B', 'C', 'D', 'E', 'F']])
    t.match(
      await command(['exchange', ...number, ...names.flatMap((name) => ['--header', name])], {
        env: { EXCHANGE_SECRET: SECRET },
      }),
      {
        code: 2,
        err: /--header: .*at most 5 names, each once, such as X-Account/,
      },
    )
  t.match(await command(['exchange', '--print', '--header', 'X-Account'], {}), {
    code: 0,
    out: /Set\(MKONDO_H0=\$\{PJSIP_HEADER\(read,X-Account\)\}\)[^]*h-X-Account=\$\{URIENCODE\(\$\{BASE64_ENCODE\(\$\{MKONDO_H0:0:120\}\)\}\)\}/,
  })
  t.match(await command(['exchange', '--print'], {}), {
    code: 0,
    out: /\[mkondo-fallback\][^]*type = websocket_client/,
  })
})

import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile, readdir, rename, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import fc from 'fast-check'
import t from 'tap'
import type { Test } from 'tap'
import { parse } from 'yaml'
import { z } from 'zod'
import { readReceivers } from '../../src/config/messages-file.js'
import { packageRoot } from '../../src/config/package-root.js'
import { HttpClient } from '../../src/http/http-client.js'
import { wants } from '../../src/messages/receivers.js'
import { bodyOf } from '../../src/messages/bodies.js'
import { Outbox } from '../../src/messages/outbox.js'
import type { Disk } from '../../src/messages/copies.js'
import type { OutboxOptions } from '../../src/messages/outbox.js'
import type { Message } from '../../src/messages/message.js'
import { MESSAGE_TYPES } from '../../src/messages/message.js'
import { messagesSchema, receiverOf } from '../../src/messages/receivers.js'
import type { Receiver } from '../../src/messages/receivers.js'
import { createLog } from '../../src/telemetry/log.js'
import { startGateway } from '../edge/gateway.js'
import { command } from '../support/command.js'
import { anyText } from '../support/any-text.js'
import { until } from '../support/until.js'
import { portOf } from '../support/port-of.js'

const SECRET = `whsec_${Buffer.from('mkondo-field-test-secret-32bytes').toString('base64')}`
const OTHER = `whsec_${Buffer.from('another-field-test-secret-32-byt').toString('base64')}`
const WORDS = 'order five zebra'

interface Received {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A receiver that answers with each status in turn, the last one for ever; 0 hangs up. */
async function listener(t: Test, ...statuses: number[]): Promise<{ readonly url: string; received: Received[] }> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const status = statuses[Math.min(received.length, statuses.length - 1)] ?? 200
      received.push({ headers: request.headers, body })
      if (status === 0) request.socket.destroy()
      else response.writeHead(status, { location: 'http://127.0.0.1:1/', 'retry-after': '7' }).end('thanks')
    })
  })
  return { url: `http://127.0.0.1:${await portOf(t, server)}/hook`, received }
}

const receiver = (url: string, more: Partial<Receiver> = {}): Receiver => ({
  name: 'crm',
  url,
  secrets: [SECRET],
  events: ['*'],
  ...more,
})

const message = (n: number, more: Partial<Message> = {}): Message => {
  const callSid = more.callSid ?? 'HD_message00001'
  return {
    id: `${callSid}:call.ended:${n}`,
    type: 'call.ended',
    callSid,
    time: '2026-11-25T06:00:00.000Z',
    agent: 'support',
    number: null,
    outcome: 'contained',
    data: { n, said: WORDS },
    ...more,
  }
}

const lines: string[] = []

/** Time that passes when somebody waits for it. */
function virtualTime(): Pick<OutboxOptions, 'wallClock' | 'later'> & { readonly waits: number[] } {
  let nowMs = 1_764_051_000_000
  const waits: number[] = []
  return {
    waits,
    wallClock: () => nowMs,
    later: (ms, run) => {
      waits.push(ms)
      setImmediate(() => {
        nowMs += ms
        run()
      })
    },
  }
}

const open = (options: Partial<OutboxOptions>): Promise<Outbox> =>
  Outbox.open({
    folders: [],
    receivers: [],
    handoff: { url: null, secret: null },
    source: 'urn:mkondo:test',
    log: createLog({ level: 'info', destination: { write: (line: string) => lines.push(line) } }),
    ...virtualTime(),
    ...options,
  })

const drained = (outbox: Outbox): Promise<void> => until(() => outbox.waiting === 0, 10_000, 'an empty outbox')

t.test('the vendor’s package verifies messages with old and new secret', async (t) => {
  const { url, received } = await listener(t, 200)
  const outbox = await open({ receivers: [receiver(url, { secrets: [OTHER, SECRET] })], wallClock: Date.now })
  await outbox.add(message(1))
  await drained(outbox)
  const [got] = received
  for (const secret of [SECRET, OTHER]) {
    const verified = new Webhook(secret).verify(got?.body ?? '', got?.headers as Record<string, string>)
    t.match(verified, {
      specversion: '1.0',
      id: 'HD_message00001:call.ended:1',
      type: 'call.ended',
      source: 'urn:mkondo:test',
      subject: 'HD_message00001',
      time: '2026-11-25T06:00:00.000Z',
      data: { n: 1 },
    })
  }
  t.equal(got?.headers['webhook-id'], 'HD_message00001:call.ended:1')
  t.equal(got?.headers['content-type'], 'application/cloudevents+json')
  t.throws(() => new Webhook(SECRET).verify(`${got?.body ?? ''} `, got?.headers as Record<string, string>))
})

t.test('a signature equals the published vector', (t) => {
  const at = new Date(1_764_051_000_000)
  t.equal(
    new Webhook(SECRET).sign('call_1:call.ended:1', at, '{"type":"call.ended"}'),
    'v1,k2//ZsbbW7m5oX8jD1o5dBeLEGWaP2UIiVQNWQRFy/0=',
  )
  t.end()
})

t.test('HANDOFF_URL gets the old and the standard signature', async (t) => {
  const { url, received } = await listener(t, 200)
  const own = await listener(t, 200)
  const secret = 'a-secret-of-some-length'
  const outbox = await open({ handoff: { url, secret }, wallClock: Date.now })
  const news = message(1, { type: 'escalation.requested', data: { summary: WORDS } })
  await outbox.addHandoff(news, null)
  await outbox.addHandoff(message(2, { type: 'escalation.settled' }), own.url)
  await drained(outbox)
  const [got] = received
  const headers = got?.headers as Record<string, string>
  t.match(JSON.parse(got?.body ?? ''), {
    version: 1,
    kind: 'handoff.requested',
    id: news.id,
    callSid: news.callSid,
    handoff: { summary: WORDS },
  })
  t.equal(headers['idempotency-key'], news.id)
  t.ok(new Webhook(secret, { format: 'raw' }).verify(got?.body ?? '', headers))
  const at = headers['webhook-timestamp'] ?? ''
  const digest = createHmac('sha256', secret)
    .update(`${got?.body ?? ''}.${at}`)
    .digest('hex')
  t.equal(headers['x-mkondo-signature'], `t=${at},v1=${digest}`)
  t.match(JSON.parse(own.received[0]?.body ?? ''), { kind: 'handoff.settled' })
  const silent = await open({})
  await silent.addHandoff(news, null)
  t.equal(silent.waiting, 0, 'without an address nobody is told')
})

t.test('a receiver down for a day gets each message once [1]', async (t) => {
  // It hangs up twice: a connection that breaks is followed by another at once.
  const { url, received } = await listener(t, 503, 0, 0, 429, 500, 500, 502, 503, 200)
  const time = virtualTime()
  const outbox = await open({ receivers: [receiver(url)], ...time })
  await Promise.all([outbox.add(message(1)), outbox.add(message(2))])
  await drained(outbox)
  const ids = received.map(({ headers }) => headers['webhook-id'])
  t.same(ids, [...Array<string>(9).fill(message(1).id), message(2).id])
  t.equal(new Set(received.slice(0, 9).map(({ body }) => body)).size, 1)
  const pauses = time.waits.filter((ms) => ms > 1000)
  for (const [index, seconds] of [5, 60, 300, 1800, 7200, 28_800, 86_400].entries())
    t.ok(
      pauses.some((ms) => Math.abs(ms / 1000 - Math.max(seconds, 7)) <= seconds * 0.11),
      `pause ${index + 1}`,
    )
  t.match(outbox.counts.get('crm'), { delivered: 2, retried: 7, dead: 0 })
})

t.test('refused messages are dead at once and can be retried [2]', async (t) => {
  const refused = await listener(t, 400, 200)
  const moved = await listener(t, 302)
  const down = await listener(t, 500)
  const gone = await listener(t, 410, 200)
  const outbox = await open({
    receivers: [refused, moved, down, gone].map(({ url }, index) => receiver(url, { name: `r${index}` })),
  })
  await outbox.add(message(1))
  await outbox.add(message(2))
  await drained(outbox)
  t.same(
    [refused, moved, down, gone].map(({ received }) => received.length),
    [2, 2, 16, 1],
    'a redirect is not followed, and after 410 nothing is sent',
  )
  const dead = await outbox.list(100)
  t.equal(dead.length, 7)
  t.match(
    dead.find(({ receiver }) => receiver === 'r3'),
    { reason: 'answered 410', nextTryAt: null, tries: 0 },
  )
  t.match(lines.join(), /a message was not accepted/)
  t.notMatch(lines.join() + JSON.stringify(dead), /zebra/)
  for (const { key, receiver } of dead) if (receiver === 'r3') t.ok(await outbox.retry(key))
  await drained(outbox)
  t.equal(gone.received.length, 3)
  t.notOk(await outbox.retry('nobody'))
})

t.test('a receiver that first answers 404 gets its message', async (t) => {
  const { url, received } = await listener(t, 404, 403, 401, 409, 200)
  const outbox = await open({ receivers: [receiver(url)] })
  await outbox.add(message(1))
  await outbox.add(message(2))
  await drained(outbox)
  t.equal(received.length, 6)
  t.equal(new Set(received.slice(0, 5).map(({ headers }) => headers['webhook-id'])).size, 1)
  t.match(outbox.counts.get('crm'), { delivered: 2, retried: 4, dead: 0 })
  const never = await listener(t, 404)
  const patient = await open({ receivers: [receiver(never.url)] })
  await patient.add(message(1))
  await drained(patient)
  t.equal(never.received.length, 8, 'the tries are bounded')
  t.match(await patient.list(1), [{ reason: 'answered 404', nextTryAt: null }])
})

const PAGE = '<!DOCTYPE html><html><head><title>Error</title></head><body>TypeError: order five zebra</body></html>'

for (const [status, body, reason] of [
  [200, '{"ok":false,"error":"channel_not_found"}', 'answered 200, and refused: channel_not_found'],
  [201, '{"success": "false"}', 'answered 201, and refused'],
  [200, '{"error":"order five zebra"}', 'answered 200, and refused'],
  [200, '{"errors":[{"code":"RecordInvalid"}]}', 'answered 200, and refused: RecordInvalid'],
  [202, '{"status":"error"}', 'answered 202, and refused'],
  [200, '{"statusCode":500,"body":"x"}', 'answered 200, and refused'],
  [200, PAGE, 'answered 200, and refused: a page that says so'],
  [
    201,
    '{"SMSMessageData":{"Message":"Sent to 0/1","Recipients":[{"statusCode":403,"status":"InvalidPhoneNumber"}]}}',
    'answered 201, and refused: 403',
  ],
] as const)
  t.test(`a refusal inside ${status} is not a delivery: ${reason}`, async (t) => {
    let asked = 0
    const server = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(status).end(asked++ < 9 ? body : 'ok'))
    })
    const outbox = await open({ receivers: [receiver(`http://127.0.0.1:${await portOf(t, server)}/hook`)] })
    await outbox.add(message(1))
    await drained(outbox)
    t.equal(asked, 8)
    t.match(outbox.counts.get('crm'), { delivered: 0, dead: 1 })
    t.match(await outbox.list(1), [{ reason, nextTryAt: null }])
    t.notMatch(lines.join(), /zebra/)
  })

t.test('an answer that only mentions errors is a delivery', async (t) => {
  const bodies = [
    '',
    'ok',
    '<html><title>Thanks</title></html>',
    '[]',
    '{"ok":true,"error":null}',
    '{"success":true,"errors":[]}',
    '{"ok":true,"error":"none of them"}',
    '{"error":""}',
    '{"status":"success","id":4}',
    '{"SMSMessageData":{"Recipients":[{"statusCode":101},{"statusCode":403}]}}',
    `{"error":"${'x'.repeat(20_000)}"}`,
  ]
  let asked = 0
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.writeHead(200).end(bodies[asked++]))
  })
  const outbox = await open({ receivers: [receiver(`http://127.0.0.1:${await portOf(t, server)}/hook`)] })
  for (const n of bodies.keys()) await outbox.add(message(n))
  await drained(outbox)
  t.match(outbox.counts.get('crm'), { delivered: bodies.length, retried: 0, dead: 0 })
})

/** A script of a sheet and what it has returned, at their own hosts: the requests reach a local server. */
async function script(t: Test, location: string, content: string, contentStatus = 200) {
  const asked: { readonly host: string; readonly method: string; readonly policy: string; readonly sent: string }[] = []
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      if (request.url?.startsWith('/macros/s/') === true) response.writeHead(302, { location }).end()
      else response.writeHead(contentStatus).end(content)
    })
  })
  const origin = `http://127.0.0.1:${await portOf(t, server)}`
  const http = new HttpClient()
  t.teardown(() => http.close())
  const client: NonNullable<OutboxOptions['client']> = {
    send: (request) => {
      const { url, method, policy, headers, body } = request
      asked.push({ host: url.host, method, policy, sent: JSON.stringify([headers, body]) })
      return http.send({ ...request, policy: 'as-written', url: new URL(url.pathname + url.search, origin) })
    },
    close: () => http.close(),
  }
  const outbox = await open({
    receivers: [receiver('https://script.google.com/macros/s/AK/exec', { headers: { 'x-key': 'hidden' } })],
    client,
  })
  await outbox.add(message(1))
  await drained(outbox)
  return { asked, counts: outbox.counts.get('crm'), dead: await outbox.list(1) }
}

const CONTENT = 'https://script.googleusercontent.com/macros/echo?user_content_key=k'

t.test('a redirecting sheet script takes the row once', async (t) => {
  const { asked, counts } = await script(t, CONTENT, '{"ok":true}')
  t.match(counts, { delivered: 1, retried: 0, dead: 0 })
  t.match(asked, [
    { host: 'script.google.com', method: 'POST' },
    { host: 'script.googleusercontent.com', method: 'GET', policy: 'public' },
  ])
  t.equal(asked.length, 2)
  t.notMatch(asked[1]?.sent, /zebra|hidden|webhook-id|signature/, 'nothing of the message goes with the GET')
})

t.test("a sheet script's refusal is not a delivery", async (t) => {
  const { asked, counts, dead } = await script(t, CONTENT, '{"ok":false,"error":"no_sheet"}')
  t.match(counts, { delivered: 0, dead: 1 })
  t.match(dead, [{ reason: 'answered 200, and refused: no_sheet' }])
  t.equal(asked.length, 16)
})

t.test('a script with an unreadable answer is not called again', async (t) => {
  t.match((await script(t, CONTENT, 'gone', 404)).counts, { delivered: 1, retried: 0 })
})

t.test('a redirect to any other host is not followed', async (t) => {
  for (const location of [
    'https://accounts.google.com/ServiceLogin',
    'http://script.googleusercontent.com/macros/echo',
    'https://script.googleusercontent.com:8443/macros/echo',
    'https://script.googleusercontent.com.example.com/',
    'http://169.254.169.254/latest/meta-data',
    '/macros/echo',
  ]) {
    const { asked, counts, dead } = await script(t, location, '{"ok":true}')
    t.equal(asked.length, 1, location)
    t.match(counts, { delivered: 0, dead: 1 }, location)
    t.match(dead, [{ reason: 'answered 302' }], location)
  }
})

t.test('a failing receiver gets one message at a time', async (t) => {
  let up = false
  let together = 0
  let most = 0
  let mostWhileDown = 0
  const server = createServer((_, response) => {
    most = Math.max(most, ++together)
    setImmediate(() => {
      together--
      response.writeHead(up ? 200 : 500).end()
    })
  })
  const port = await portOf(t, server)
  let tries = 0
  const time = virtualTime()
  let pauses: (() => void)[] | null = []
  const outbox = await open({
    receivers: [receiver(`http://127.0.0.1:${port}/`)],
    ...time,
    later: (ms, run) => {
      if (pauses !== null) return void pauses.push(() => time.later?.(ms, run))
      if (++tries === 60) [up, mostWhileDown] = [true, most]
      time.later?.(ms, run)
    },
  })
  for (let n = 0; n < 5; n++) {
    await outbox.add(message(n, { callSid: `HD_message0000${n}` }))
    await until(() => outbox.counts.get('crm')?.retried === n + 1, 10_000, 'a failure')
  }
  most = 0
  const begin = pauses
  pauses = null
  for (const run of begin) run()
  for (let n = 5; n < 30; n++) await outbox.add(message(n, { callSid: `HD_message0000${n}` }))
  await until(() => up, 10_000, 'the receiver')
  t.ok(mostWhileDown <= 1, `${mostWhileDown} at once while it is down`)
  await drained(outbox)
  t.equal(outbox.counts.get('crm')?.delivered, 30)
  t.ok(most > 1 && most <= 8, `${most} at once when it is back`)
})

t.test('simultaneous failures count as one failure [3]', async (t) => {
  const held: (() => void)[] = []
  const server = createServer((request, response) => {
    request.resume()
    if (held.length === 8) return void response.end()
    held.push(() => response.writeHead(503).end())
    if (held.length === 8) for (const refuse of held) refuse()
  })
  const pauses: (() => void)[] = []
  const outbox = await open({
    receivers: [receiver(`http://127.0.0.1:${await portOf(t, server)}/`)],
    wallClock: () => 1_764_051_000_000,
    later: (_, run) => pauses.push(run),
  })
  for (let n = 10; n < 18; n++) await outbox.add(message(n, { callSid: `HD_message000${n}` }))
  await until(() => pauses.length === 8, 10_000, 'the pause of each of the eight')
  await outbox.add(message(18, { callSid: 'HD_message00018' }))
  await until(() => outbox.counts.get('crm')?.delivered === 1, 10_000, 'the message after them')
  for (const run of pauses) run()
  await drained(outbox)
  t.match(outbox.counts.get('crm'), { delivered: 9, retried: 8 })
})

t.test('a message on a closed connection is repeated at once [4]', async (t) => {
  const { url, received } = await listener(t, 0, 200)
  const time = virtualTime()
  const outbox = await open({ receivers: [receiver(url)], ...time })
  await outbox.add(message(1))
  await drained(outbox)
  t.match(outbox.counts.get('crm'), { delivered: 1, retried: 0 })
  t.same(time.waits, [])
  t.same(
    received.map(({ headers }) => headers['webhook-id']),
    [message(1).id, message(1).id],
  )
})

t.test('a process that dies at any step loses no message [5]', async (t) => {
  const wanted = [1, 2, 3].map((n) => message(n, { callSid: n === 3 ? 'HD_message00003' : 'HD_message00001' }))
  for (let steps = 0; steps < 14; steps++) {
    const { url, received } = await listener(t, 500, 200)
    const folder = t.testdir({ outbox: {} })
    const folders = [join(folder, 'outbox')]
    let left = steps
    // After its last step the process does nothing any more: what it waits for never comes.
    const doing: Promise<unknown>[] = []
    const step = async <T>(done: () => Promise<T>): Promise<T> => {
      if (left-- <= 0) return new Promise(() => undefined)
      const last = done()
      doing.push(last)
      return last
    }
    const disk: Disk = {
      write: async (path, text) => {
        await step(() => writeFile(`${path}.part`, text))
        await step(() => rename(`${path}.part`, path))
      },
      read: (path) => step(() => readFile(path, 'utf8')),
      move: (from, to) => step(() => rename(from, to)),
      remove: (path) => step(() => unlink(path)),
    }
    const killed = await open({ folders, receivers: [receiver(url)], disk })
    const added: Promise<unknown>[] = []
    const kept = new Set<string>()
    for (const each of wanted) added.push(killed.add(each).then(() => kept.add(each.id)))
    await until(() => left < 0 || killed.waiting === 0, 10_000, 'the death')
    await Promise.allSettled(doing)
    const next = await open({ folders, receivers: [receiver(url)] })
    // The record of a call whose message was not kept is not final either: the next run ends the call again.
    for (const each of wanted) if (!kept.has(each.id)) await next.add(each)
    await drained(next)
    const ids = new Set(received.filter((_, index) => index > 0).map(({ headers }) => headers['webhook-id']))
    t.same([...ids].sort(), wanted.map(({ id }) => id).sort(), `${steps} steps`)
    t.same(await readdir(folders[0] ?? ''), [], 'and nothing is left')
    await next.close(0)
  }
})

t.test('an erased message is not sent', async (t) => {
  const { url, received } = await listener(t, 503)
  const folder = t.testdir()
  const outbox = await open({
    folders: [join(folder, 'outbox')],
    receivers: [receiver(url)],
    later: () => undefined,
  })
  await outbox.add(message(1))
  await until(() => outbox.counts.get('crm')?.retried === 1, 5000, 'the first try')
  await until(async () => (await readdir(join(folder, 'outbox'))).join().includes('.1.'), 5000, 'its new name')
  for (const name of await readdir(join(folder, 'outbox'))) await unlink(join(folder, 'outbox', name))
  for (const { key } of await outbox.list(10)) await outbox.retry(key)
  await drained(outbox)
  t.equal(outbox.counts.get('crm')?.erased, 1)
  const memory = await open({ receivers: [receiver(url)], later: () => undefined })
  await memory.add(message(2))
  await memory.forget(['HD_message00001'])
  t.equal(memory.waiting, 0)
  t.equal(received[0]?.headers['webhook-id'], message(1).id)
})

t.test('messages that hang at the end are sent after restart [6]', async (t) => {
  const server = createServer(() => undefined)
  const url = `http://127.0.0.1:${await portOf(t, server)}/`
  const folders = [join(t.testdir(), 'outbox')]
  const outbox = await open({ folders, receivers: [receiver(url)] })
  await outbox.add(message(1))
  await outbox.close(50)
  t.match(outbox.counts.get('crm'), { delivered: 0, retried: 0, dead: 0, dropped: 0 })
  await outbox.add(message(2))
  t.equal(outbox.counts.get('crm')?.dropped, 0, 'and so is what a call tells whose end is settled only now')
  const again = await open({ folders, receivers: [] })
  const none = { reason: 'no receiver of that name' }
  t.match(await again.list(10), [none, none], 'a receiver that was taken out gets nothing')
  const nowhere = await open({ receivers: [receiver(url)] })
  await nowhere.close(0)
  await nowhere.add(message(3))
  t.match(nowhere.counts.get('crm'), { dropped: 1 }, 'what can be kept nowhere is counted')
  t.equal(nowhere.waiting, 0)
})

t.test('a receiver gets only the messages of its filters', async (t) => {
  const folder = t.testdir({
    'good.yaml': `receivers:
  - { name: crm, url: https://crm.example.com/hook, secrets: [CRM_SECRET], events: [escalation.*], agents: [support] }
  - { name: sheet, url: https://hooks.example.com/1, unsigned: true, outcomes: [escalated] }
`,
    'numbers.yaml': `receivers:
  - { name: shop, url: '{{env.HOOK_URL}}', unsigned: true, numbers: ['+254720000101'], needs: [data.from] }
`,
    'bodies.yaml': `receivers:
  - { name: a, url: https://a.example.com, unsigned: true, json: { x: '{{env.SECRET}}' } }
  - { name: b, url: https://a.example.com, unsigned: true, json: { x: '{{caller}}' } }
  - { name: c, url: https://a.example.com, unsigned: true, form: { x: '{{data.from | loud}}' } }
  - { name: d, url: https://a.example.com, unsigned: true, flat: true, json: { x: 1 } }
  - { name: handoff, url: https://a.example.com, unsigned: true, headers: { webhook-id: x } }
  - { name: e, url: https://a.example.com, unsigned: true, headers: { x-caller: '{{data.from}}' } }
`,
    'bad.yaml': `receivers:
  - name: Crm!
    url: ftp://crm.example.com
    events: [call.finished]
  - { name: a, url: https://a.example.com, unsigned: true, secret: x }
`,
  })
  const receivers = readReceivers(join(folder, 'good.yaml'), { CRM_SECRET: SECRET }, true)
  t.match(receivers, [{ secrets: [SECRET] }, { secrets: [] }])
  const outbox = await open({ receivers })
  const wanted = (more: Partial<Message>): boolean => outbox.wanted(message(1, more))
  t.notOk(wanted({ outcome: 'contained' }))
  t.ok(wanted({ outcome: 'escalated' }))
  t.ok(wanted({ type: 'escalation.settled', outcome: null, agent: 'support' }))
  t.notOk(wanted({ outcome: 'contained', agent: 'orders', number: '+254720000101' }), 'it is neither')
  const read =
    (name: string, env = {}) =>
    () =>
      readReceivers(join(folder, name), env, false)
  t.throws(read('good.yaml'), { message: /the receiver crm: its secret CRM_SECRET is not set; allowed: whsec_/ })
  t.throws(read('good.yaml', { CRM_SECRET: 'hello-zebra' }), { message: /no secret of a webhook(?!.*zebra)/ })
  for (const pattern of [
    /bad\.yaml:2 .*small letters/,
    /bad\.yaml:3 .*http/,
    /bad\.yaml:4 .*call\.ended/,
    /needs `secrets`/,
    /bad\.yaml:5 .*secret/,
  ])
    t.throws(read('bad.yaml'), { message: pattern })
  t.throws(read('numbers.yaml', { HOOK_URL: 'https://a.example.com' }), {
    message: /shop has numbers, but NUMBERS_FILE is not set/,
  })
  t.throws(() => readReceivers(join(folder, 'numbers.yaml'), {}, true), { message: /\{\{env\.HOOK_URL\}\} is not set/ })
  t.throws(() => readReceivers(join(folder, 'numbers.yaml'), { HOOK_URL: 'zebra' }, true), {
    message: /allowed: an http or https URL(?!.*zebra)/,
  })
  const [shop] = readReceivers(join(folder, 'numbers.yaml'), { HOOK_URL: 'https://a.example.com' }, true)
  const ofShop = await open({ receivers: shop === undefined ? [] : [shop] })
  const called = (number: string | null, from: string): boolean => ofShop.wanted(message(1, { number, data: { from } }))
  t.ok(called('+254720000101', '+254712345678'))
  t.notOk(called('+254720000102', '+254712345678'), 'another number')
  t.notOk(called(null, '+254712345678'), 'no number of NUMBERS_FILE')
  t.notOk(called('+254720000101', '+2547…78'), 'a masked number is none')
  for (const pattern of [
    /bodies\.yaml:2 .*secrets are allowed only in headers/,
    /bodies\.yaml:3 .*has \{\{caller\}\}; allowed: \{\{data\.KEY\}\}/,
    /bodies\.yaml:4 .*allowed after \|: upper, digits, line, slack, whatsapp/,
    /bodies\.yaml:5 .*only one of json, form and flat/,
    /bodies\.yaml:6 .*any name but handoff/,
    /bodies\.yaml:6 .*any header but webhook/,
    /bodies\.yaml:7 .*\{\{env\.NAME\}\} and no other/,
  ])
    t.throws(read('bodies.yaml'), { message: pattern })
  t.throws(read('none.yaml'), { message: /MESSAGES_FILE is .*ENOENT/ })
})

t.test('filters format a text for one line, Slack and WhatsApp', async (t) => {
  const filtered = (filter: string, text: string): string => {
    const { body } = bodyOf({ json: { it: `{{data.said | ${filter}}}` } }, message(1, { data: { said: text } }), 'test')
    return z.object({ it: z.string() }).parse(JSON.parse(body)).it
  }
  t.equal(filtered('line', ' one\ntwo\r\n\tthree \u2028 four      five '), 'one two three four five')
  t.equal(filtered('slack', '<!channel> a & b\n<https://x|y>'), '&lt;!channel&gt; a &amp; b\n&lt;https://x|y&gt;')
  const long = filtered('slack', '<'.repeat(2000))
  t.ok(long.length <= 3000)
  t.match(long, /^(?:&lt;)+…$/, 'no entity is cut')
  t.equal(filtered('whatsapp', 'Order 4127\n\n- late\t\tand     wet'), 'Order 4127 - late and wet')
  t.equal(filtered('whatsapp', ' \n '), '-', 'an empty parameter is refused')
  t.equal(filtered('whatsapp', '😊'.repeat(900)).length, 1023, 'no character is cut in half')
  await fc.assert(
    fc.asyncProperty(anyText(2500), async (text) => {
      const parameter = filtered('whatsapp', text)
      t.ok(parameter !== '' && parameter.length <= 1024 && !/[\n\t\r]| {5}/.test(parameter))
      t.notMatch(filtered('slack', text), /[<>]|&(?!amp;|lt;|gt;)/)
    }),
    { numRuns: 50 },
  )
})

for (const { service, status, body, reason } of [
  { service: 'Slack', status: 400, body: 'invalid_blocks', reason: 'answered 400: invalid_blocks (filter slack)' },
  { service: 'Slack', status: 400, body: 'no_text\n', reason: 'answered 400: no_text (filter slack)' },
  {
    service: 'WhatsApp',
    status: 400,
    body: '{"error":{"message":"(#132018) zebra +254712345678","type":"OAuthException","code":132018}}',
    reason: 'answered 400: 132018 (filter whatsapp)',
  },
  {
    service: 'HubSpot',
    status: 400,
    body: '{"status":"error","category":"VALIDATION_ERROR"}',
    reason: 'answered 400: VALIDATION_ERROR',
  },
  { service: 'Zendesk', status: 422, body: '{"error":"RecordInvalid"}', reason: 'answered 422: RecordInvalid' },
  { service: 'words', status: 400, body: '{"error":"order five zebra"}', reason: 'answered 400' },
  { service: 'a number', status: 400, body: '254712345678', reason: 'answered 400' },
  { service: 'too much', status: 400, body: `no_text${' '.repeat(20_000)}`, reason: 'answered 400' },
])
  t.test(`the refusal's code is shown to the operator: ${service}`, async (t) => {
    const server = createServer((request, response) => {
      request.resume().on('end', () => response.writeHead(status).end(body))
    })
    const folder = t.testdir()
    const open400 = () => open({ folders: [folder], receivers: [receiver(`http://127.0.0.1:${port}/hook`)] })
    const port = await portOf(t, server)
    const outbox = await open400()
    await outbox.add(message(1))
    await drained(outbox)
    t.match(await outbox.list(1), [{ reason, nextTryAt: null }])
    await outbox.close(100)
    t.match(await (await open400()).list(1), [{ reason }], 'it is kept across a restart')
    t.notMatch(lines.join(), /zebra|254712345678/)
  })

t.test('an operator lists, inspects and retries dead messages', async (t) => {
  const { url, received } = await listener(t, 400, 200)
  const outbox = await open({ receivers: [receiver(url)] })
  await outbox.add(message(1))
  await drained(outbox)
  const gateway = await startGateway(t, { outbox })
  const messages = (...argv: string[]) => command(['messages', ...argv, '--ops-url', gateway.opsUrl], { env: {} })
  const listed = await messages('list')
  t.match(listed, { code: 0, out: /call\.ended +crm +0 +none +answered 400[^]*0 wait, 1 are not tried again/ })
  t.notMatch(listed.out, /zebra/)
  const key = (await outbox.list(1))[0]?.key ?? ''
  t.match(JSON.parse((await messages('show', key)).out), { key, receiver: 'crm', callSid: 'HD_message00001' })
  t.match(await messages('show', 'nobody'), { code: 1, err: /NOT_FOUND: no such message waits/ })
  t.match(await messages('retry', 'nobody'), { code: 1, err: /NOT_FOUND: no such message waits/ })
  t.match(await messages('retry', key), { code: 0, out: /it is tried now/ })
  await drained(outbox)
  t.equal(received.length, 2)
  t.match(JSON.parse((await messages('list', '--json')).out), { waiting: 0, dead: 0, messages: [] })
})

/** Published form of requests to the services of docs/MESSAGES.md: other requests are refused. */
const text = z.string().min(1)
const phone = z.string().regex(/^\+\d{7,15}$/)
const SERVICES: Readonly<Record<string, { readonly header?: [string, RegExp]; readonly body: z.ZodType }>> = {
  'text-back': {
    header: ['apikey', /^key-of-the-test$/],
    body: z.strictObject({ username: text, to: phone, message: text.max(1600), from: text.optional() }),
  },
  slack: { body: z.strictObject({ text: text.max(40_000) }) },
  hubspot: {
    header: ['authorization', /^Bearer key-of-the-test$/],
    body: z.strictObject({
      properties: z.strictObject({
        hs_timestamp: z.iso.datetime(),
        hs_call_title: text,
        hs_call_body: text,
        hs_call_direction: z.enum(['INBOUND', 'OUTBOUND']),
        hs_call_duration: z.int(),
        hs_call_status: z.enum(['COMPLETED', 'NO_ANSWER', 'FAILED', 'BUSY', 'CANCELED']),
        hs_call_from_number: text,
        hs_call_to_number: text,
      }),
    }),
  },
  whatsapp: {
    header: ['authorization', /^Bearer key-of-the-test$/],
    body: z.strictObject({
      messaging_product: z.literal('whatsapp'),
      to: z.string().regex(/^\d{7,15}$/),
      type: z.literal('template'),
      template: z.strictObject({
        name: z.string().regex(/^[a-z0-9_]+$/),
        language: z.strictObject({ code: z.string().regex(/^[a-z]{2}(_[A-Z]{2})?$/) }),
        components: z.array(
          z.strictObject({
            type: z.enum(['header', 'body', 'button']),
            // A parameter is one line.
            parameters: z.array(z.strictObject({ type: z.literal('text'), text: text.regex(/^[^\n\t]+$/) })),
          }),
        ),
      }),
    }),
  },
  zendesk: {
    header: ['authorization', /^Basic key-of-the-test$/],
    body: z.strictObject({
      ticket: z.strictObject({
        subject: text,
        comment: z.strictObject({ body: text, public: z.boolean() }),
        external_id: text,
        tags: z.array(z.string().regex(/^[^\s,]+$/)),
      }),
    }),
  },
  sheet: { body: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])) },
}

t.test('each recipe of docs/MESSAGES.md sends what its service publishes', async (t) => {
  const manual = readFileSync(join(packageRoot(), 'docs/MESSAGES.md'), 'utf8')
  const blocks = [...manual.matchAll(/```yaml file=messages\n([^]*?)```/g)].map(([, block = '']) => block)
  const definitions = blocks.flatMap((block) => messagesSchema.parse(parse(block)).receivers)
  const recipes = definitions.filter(({ name, headers, flat, json }) => name !== 'crm' && (headers ?? flat ?? json))
  t.same(recipes.map(({ name }) => name).sort(), Object.keys(SERVICES).sort())
  for (const definition of recipes) {
    const { url, received } = await listener(t, 201)
    const env = new Proxy({}, { get: () => 'key-of-the-test', has: () => true })
    const outbox = await open({ receivers: [{ ...receiverOf({ ...definition, url }, env) }] })
    const packet = {
      callSid: 'HD_message00001',
      reason: 'anataka kuongea na mtu',
      summary: 'Order five is late.',
      from: '+254712345678',
      to: '+254720000101',
      transcript: [
        { role: 'caller', text: 'Habari "ya" asubuhi?' },
        { role: 'agent', text: 'Nzuri.' },
      ],
    }
    const record = { ...packet, direction: 'inbound', outcome: 'contained', startedAt: '2026-11-26T06:00:00.000Z' }
    for (const type of Object.keys(MESSAGE_TYPES) as Message['type'][]) {
      const data = /^(escalation|callback)/.test(type)
        ? packet
        : { ...record, durationMs: 125_000, cost: { amount: 2 } }
      await outbox.add(message(1, { id: type, type, data }))
    }
    await drained(outbox)
    t.ok(received.length > 0, definition.name)
    const { header, body: format } = SERVICES[definition.name] ?? { body: z.never() }
    for (const { headers, body } of received) {
      const isForm = headers['content-type'] === 'application/x-www-form-urlencoded'
      t.equal(isForm, definition.form !== undefined)
      const sent: unknown = isForm ? Object.fromEntries(new URLSearchParams(body)) : JSON.parse(body)
      t.same(format.safeParse(sent).error, undefined, `${definition.name}: ${body}`)
      if (header !== undefined) t.match(headers[header[0]], header[1])
    }
    if (definition.name === 'sheet')
      t.match(JSON.parse(received[0]?.body ?? ''), {
        type: 'call.ended',
        durationS: 125,
        data_cost_amount: 2,
        transcript: 'caller: Habari "ya" asubuhi?\nagent: Nzuri.',
      })
    await outbox.close(0)
  }
})

t.test('docs/MESSAGES.md has every event', (t) => {
  const manual = readFileSync(join(packageRoot(), 'docs/MESSAGES.md'), 'utf8')
  const events = /## Events\n([^]*?)\n## /.exec(manual)?.[1] ?? ''
  for (const type of Object.keys(MESSAGE_TYPES)) t.ok(events.includes(`\`${type}\``), type)
  t.end()
})

t.test("a number's own receivers survive a restart", async (t) => {
  const { url, received } = await listener(t, 503, 200)
  const folders = [join(t.testdir(), 'outbox')]
  const own = receiverOf(
    {
      name: 'owner',
      url,
      unsigned: true,
      events: ['call.ended'],
      headers: { authorization: 'Bearer {{env.TOKEN}}' },
      json: { n: '{{data.n}}', said: 'it was {{data.said}}{{data.nothing}}', none: '{{data.nothing}}' },
    },
    { TOKEN: 'zebra-token' },
  )
  const ofNumber = (number: string): readonly Receiver[] => (number === '+254720000101' ? [own] : [])
  const first = await open({ folders, ofNumber, later: () => undefined })
  await first.add(message(1, { number: '+254720000101' }))
  await first.add(message(2, { number: '+254720000102' }))
  let name = ''
  const isRenamed = async (): Promise<boolean> => {
    name = (await readdir(folders[0] ?? ''))[0] ?? ''
    return name.includes('.1.')
  }
  await until(isRenamed, 5000, 'the first try to be in the name of its file')
  t.notMatch(await readFile(join(folders[0] ?? '', name), 'utf8'), /zebra-token/)
  t.match(await first.list(1), [{ receiver: '+254720000101/owner' }])
  const second = await open({ folders, ofNumber })
  await drained(second)
  t.equal(received.length, 2)
  t.equal(received[1]?.headers.authorization, 'Bearer zebra-token')
  t.equal(received[1]?.headers['content-type'], 'application/json')
  t.same(JSON.parse(received[1]?.body ?? ''), { n: 1, said: `it was ${WORDS}`, none: null })
})

t.test('an erasure is sent to all possible receivers of calls', (t) => {
  const limited = receiver('http://127.0.0.1:1/', { agents: ['order-status'], outcomes: ['failed'] })
  const erased = message(1, { type: 'caller.erased', agent: '', outcome: null })
  t.ok(wants(limited, erased))
  t.notOk(wants({ ...limited, events: ['call.*'] }, erased), 'who wants other events gets those')
  t.notOk(wants(limited, message(1, { agent: 'support' })))
  t.end()
})

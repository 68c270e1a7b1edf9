import { createHmac } from 'node:crypto'
import { readFile, readdir, rename, unlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Webhook } from 'standardwebhooks'
import t from 'tap'
import type { Test } from 'tap'
import { readReceivers } from '../../src/config/messages-file.js'
import { Outbox } from '../../src/messages/outbox.js'
import type { Disk, OutboxOptions } from '../../src/messages/outbox.js'
import type { Message, Receiver } from '../../src/messages/receivers.js'
import { createLog } from '../../src/telemetry/log.js'
import { startGateway } from '../edge/gateway.js'
import { command } from '../support/command.js'
import { until } from '../support/until.js'

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
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, received }
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

t.test(
  'a receiver built with the vendor’s package verifies each message, with the old and the new secret',
  async (t) => {
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
  },
)

t.test('a signature is the one of the published vector', (t) => {
  const at = new Date(1_764_051_000_000)
  t.equal(
    new Webhook(SECRET).sign('call_1:call.ended:1', at, '{"type":"call.ended"}'),
    'v1,k2//ZsbbW7m5oX8jD1o5dBeLEGWaP2UIiVQNWQRFy/0=',
  )
  t.end()
})

t.test('the receiver of HANDOFF_URL gets the body and the signature of before, and the standard one', async (t) => {
  const { url, received } = await listener(t, 200)
  const own = await listener(t, 200)
  const secret = 'a-secret-of-some-length'
  const outbox = await open({ handoff: { url, secret }, wallClock: Date.now })
  const news = message(1, { type: 'handoff.requested', data: { summary: WORDS } })
  await outbox.addHandoff(news, null)
  await outbox.addHandoff(message(2, { type: 'handoff.settled' }), own.url)
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

t.test(
  'a receiver that is down for a day is told in the end, with one id and one body, in the order of the call',
  async (t) => {
    const { url, received } = await listener(t, 503, 0, 429, 500, 500, 502, 503, 200)
    const time = virtualTime()
    const outbox = await open({ receivers: [receiver(url)], ...time })
    await Promise.all([outbox.add(message(1)), outbox.add(message(2))])
    await drained(outbox)
    const ids = received.map(({ headers }) => headers['webhook-id'])
    t.same(ids, [...Array<string>(8).fill(message(1).id), message(2).id])
    t.equal(new Set(received.slice(0, 8).map(({ body }) => body)).size, 1)
    const pauses = time.waits.filter((ms) => ms > 1000)
    for (const [index, seconds] of [5, 60, 300, 1800, 7200, 28_800, 86_400].entries())
      t.ok(
        pauses.some((ms) => Math.abs(ms / 1000 - Math.max(seconds, 7)) <= seconds * 0.11),
        `pause ${index + 1}`,
      )
    t.match(outbox.counts.get('crm'), { delivered: 2, retried: 7, dead: 0 })
  },
)

t.test('what is refused is dead at once, what nobody takes after all tries; either can be tried again', async (t) => {
  const refused = await listener(t, 404, 200)
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
  const dead = outbox.list(100)
  t.equal(dead.length, 7)
  t.match(
    dead.find(({ receiver }) => receiver === 'r3'),
    { reason: 'answered 410', nextTryAt: null, tries: 0 },
  )
  t.match(lines.join(), /a message was not taken/)
  t.notMatch(lines.join() + JSON.stringify(dead), /zebra/)
  for (const { key, receiver } of dead) if (receiver === 'r3') t.ok(await outbox.retry(key))
  await drained(outbox)
  t.equal(gone.received.length, 3)
  t.notOk(await outbox.retry('nobody'))
})

t.test('a receiver that is down is asked by one message at a time, and takes the others when it is back', async (t) => {
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
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  let tries = 0
  const time = virtualTime()
  const outbox = await open({
    receivers: [receiver(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)],
    ...time,
    later: (ms, run) => {
      if (++tries === 60) [up, mostWhileDown] = [true, most]
      time.later?.(ms, run)
    },
  })
  for (let n = 0; n < 5; n++) await outbox.add(message(n, { callSid: `HD_message0000${n}` }))
  await until(() => (outbox.counts.get('crm')?.retried ?? 0) >= 5, 10_000, 'five failures')
  most = 0
  for (let n = 5; n < 30; n++) await outbox.add(message(n, { callSid: `HD_message0000${n}` }))
  await until(() => up, 10_000, 'the receiver')
  t.ok(mostWhileDown <= 1, `${mostWhileDown} at once while it is down`)
  await drained(outbox)
  t.equal(outbox.counts.get('crm')?.delivered, 30)
  t.ok(most > 1 && most <= 8, `${most} at once when it is back`)
})

t.test('a process that dies after any step loses no message, and one that counts ids has each once', async (t) => {
  const { url, received } = await listener(t, 500, 200)
  const wanted = [1, 2, 3].map((n) => message(n, { callSid: n === 3 ? 'HD_message00003' : 'HD_message00001' }))
  for (let steps = 0; steps < 14; steps++) {
    received.length = 0
    const folder = t.testdir({ outbox: {} })
    const folders = [join(folder, 'outbox')]
    let left = steps
    // After its last step the process does nothing any more: what it waits for never comes.
    const step = async <T>(done: () => Promise<T>): Promise<T> => {
      if (left-- <= 0) return new Promise(() => undefined)
      return done()
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
    await new Promise((resolve) => setTimeout(resolve, 5))
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

t.test('what is erased is sent to nobody, on the disk or in memory', async (t) => {
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
  for (const { key } of outbox.list(10)) await outbox.retry(key)
  await drained(outbox)
  t.equal(outbox.counts.get('crm')?.erased, 1)
  const memory = await open({ receivers: [receiver(url)], later: () => undefined })
  await memory.add(message(2))
  memory.forget(['HD_message00001'])
  t.equal(memory.waiting, 0)
  t.equal(received[0]?.headers['webhook-id'], message(1).id)
})

t.test('at the end of the process what hangs is let go, and is there at the next start', async (t) => {
  const server = createServer(() => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const folders = [join(t.testdir(), 'outbox')]
  const outbox = await open({ folders, receivers: [receiver(url)] })
  await outbox.add(message(1))
  await outbox.close(50)
  t.match(outbox.counts.get('crm'), { delivered: 0, retried: 0, dead: 0, dropped: 0 })
  await outbox.add(message(2))
  t.equal(outbox.counts.get('crm')?.dropped, 1, 'nothing new is begun')
  const again = await open({ folders, receivers: [] })
  t.match(again.list(10), [{ reason: 'no receiver of that name' }], 'a receiver that was taken out gets nothing')
})

t.test('a receiver gets what it asked for, and a mistake in the file is named with its line', async (t) => {
  const folder = t.testdir({
    'good.yaml': `receivers:
  - { name: crm, url: https://crm.example.com/hook, secrets: [CRM_SECRET], events: [handoff.*], agents: [support] }
  - { name: sheet, url: https://hooks.example.com/1, unsigned: true, outcomes: [escalated] }
`,
    'bad.yaml': `receivers:
  - name: Crm!
    url: ftp://crm.example.com
    events: [call.finished]
  - { name: a, url: https://a.example.com, unsigned: true, secret: x }
`,
  })
  const receivers = readReceivers(join(folder, 'good.yaml'), { CRM_SECRET: SECRET })
  t.match(receivers, [{ secrets: [SECRET] }, { secrets: [] }])
  const outbox = await open({ receivers })
  const wanted = (more: Partial<Message>): boolean => outbox.wanted(message(1, more))
  t.notOk(wanted({ outcome: 'contained' }))
  t.ok(wanted({ outcome: 'escalated' }))
  t.ok(wanted({ type: 'handoff.settled', outcome: null, agent: 'support' }))
  const read =
    (name: string, env = {}) =>
    () =>
      readReceivers(join(folder, name), env)
  t.throws(read('good.yaml'), { message: /the secret CRM_SECRET of the receiver crm is not set; allowed: whsec_/ })
  t.throws(read('good.yaml', { CRM_SECRET: 'hello-zebra' }), { message: /no secret of a webhook(?!.*zebra)/ })
  for (const pattern of [
    /bad\.yaml:2 .*small letters/,
    /bad\.yaml:3 .*http/,
    /bad\.yaml:4 .*call\.ended/,
    /needs `secrets`/,
    /bad\.yaml:5 .*secret/,
  ])
    t.throws(read('bad.yaml'), { message: pattern })
  t.throws(read('none.yaml'), { message: /MESSAGES_FILE is .*ENOENT/ })
})

t.test('an operator lists what was not taken, looks at one, and has it tried again', async (t) => {
  const { url, received } = await listener(t, 404, 200)
  const outbox = await open({ receivers: [receiver(url)] })
  await outbox.add(message(1))
  await drained(outbox)
  const gateway = await startGateway(t, { outbox })
  const messages = (...argv: string[]) => command(['messages', ...argv, '--ops-url', gateway.opsUrl], { env: {} })
  const listed = await messages('list')
  t.match(listed, { code: 0, out: /call\.ended +crm +0 +none +answered 404[^]*0 wait, 1 are tried no more/ })
  t.notMatch(listed.out, /zebra/)
  const key = outbox.list(1)[0]?.key ?? ''
  t.match(JSON.parse((await messages('show', key)).out), { key, receiver: 'crm', callSid: 'HD_message00001' })
  t.match(await messages('show', 'nobody'), { code: 1, err: /NOT_FOUND: no such message waits/ })
  t.match(await messages('retry', 'nobody'), { code: 1, err: /NOT_FOUND: no such message waits/ })
  t.match(await messages('retry', key), { code: 0, out: /it is tried now/ })
  await drained(outbox)
  t.equal(received.length, 2)
  t.match(JSON.parse((await messages('list', '--json')).out), { waiting: 0, dead: 0, messages: [] })
})

import { createHmac } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { HandoffPost } from '../../src/workers/handoff-post.js'
import type { HandoffNews, HandoffPostOptions } from '../../src/workers/handoff-post.js'
import { createLog } from '../../src/telemetry/log.js'

const SECRET = 'a-secret-of-some-length'
const news = (id: string, url: string | null = null): HandoffNews => ({
  kind: 'handoff.requested',
  id,
  url,
  handoff: {
    version: 1,
    callSid: 'HD_post0000001',
    agent: 'support',
    reason: 'asked',
    summary: 'order five',
    identity: null,
    tried: [],
    transcript: [],
    at: '2026-11-20T12:00:00.000Z',
    from: '+254700000001',
    to: '+254709000000',
    escalation: null,
  },
})

interface Received {
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** A customer's system that answers with each status in turn, the last one for ever; 0 hangs up. */
async function listener(t: Test, ...statuses: number[]): Promise<{ url: string; received: Received[] }> {
  const received: Received[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const status = statuses[Math.min(received.length, statuses.length - 1)] ?? 200
      received.push({ headers: request.headers, body })
      if (status === 0) request.socket.destroy()
      else response.writeHead(status, { location: 'http://127.0.0.1:1/' }).end('thanks')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/handoff`, received }
}

const lines: string[] = []
const post = (options: Partial<HandoffPostOptions>) =>
  new HandoffPost({
    url: null,
    secret: SECRET,
    wallClock: () => 1_751_000_000_000,
    pause: () => Promise.resolve(),
    log: createLog({ level: 'info', destination: { write: (line: string) => lines.push(line) } }),
    ...options,
  })

t.test('the context comes whole, signed over what was sent, under a key of its own', async (t) => {
  const { url, received } = await listener(t, 200)
  const posts = post({ url })
  posts.post(news('HD_post0000001:1'))
  await posts.close(5000)
  t.equal(posts.delivered, 1)
  const [got] = received
  t.match(JSON.parse(got?.body ?? ''), {
    version: 1,
    kind: 'handoff.requested',
    id: 'HD_post0000001:1',
    callSid: 'HD_post0000001',
    handoff: { from: '+254700000001', summary: 'order five' },
  })
  t.equal(got?.headers['idempotency-key'], 'HD_post0000001:1')
  const signature = createHmac('sha256', SECRET)
    .update(`${got?.body ?? ''}.1751000000`)
    .digest('hex')
  t.equal(got?.headers['x-mkondo-signature'], `t=1751000000,v1=${signature}`)
})

t.test('a system that is down for a while is told in the end, once by its key', async (t) => {
  const { url, received } = await listener(t, 503, 0, 429, 200)
  const posts = post({ url })
  posts.post(news('HD_post0000001:1'))
  await posts.close(10_000)
  t.equal(posts.delivered, 1)
  t.equal(posts.retries, 3)
  t.same([...new Set(received.map(({ headers }) => headers['idempotency-key']))], ['HD_post0000001:1'])
  t.equal(new Set(received.map(({ body }) => body)).size, 1)
})

t.test("what is refused or never taken is given up, counted and logged without anybody's words", async (t) => {
  const refused = await listener(t, 400)
  const down = await listener(t, 500)
  const moved = await listener(t, 302)
  const posts = post({})
  for (const { url } of [refused, down, moved]) posts.post(news('HD_post0000001:1', url))
  await posts.close(10_000)
  t.equal(refused.received.length, 1, 'a refusal stays one')
  t.equal(down.received.length, 6)
  t.equal(moved.received.length, 1, 'a redirect is not followed')
  t.equal(posts.failed, 3)
  t.equal(lines.length, 3)
  t.notMatch(lines.join(), /order five|254700000001/)
})

t.test('without an address nobody is told, and an agent may have one of its own', async (t) => {
  const { url, received } = await listener(t, 200)
  const posts = post({ secret: null })
  posts.post(news('1'))
  posts.post(news('2', url))
  await posts.close(5000)
  t.same(
    received.map(({ headers }) => headers['idempotency-key']),
    ['2'],
  )
  t.equal(received[0]?.headers['x-mkondo-signature'], undefined)
})

t.test('at the end of the process what hangs is let go', async (t) => {
  const { url } = await listener(t, 500)
  const posts = post({
    url,
    pause: (_ms, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(new Error('the end')))
      }),
  })
  posts.post(news('1'))
  await posts.close(300)
  t.equal(posts.pending, 0)
  t.equal(posts.failed, 1)
  posts.post(news('2'))
  t.equal(posts.failed, 2, 'and nothing new is begun')
})

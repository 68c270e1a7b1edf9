import t from 'tap'
import { OPS_STREAM_STALLED_MS, UnsentReplies } from '../../src/edge/http/reply-writer.js'
import { UnprovenWork } from '../../src/edge/public/unproven-work.js'
import { REJECTION_LINES_BURST, REJECTION_LINES_PER_S } from '../../src/telemetry/limited-log.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { type Gateway, get, newSid, post, ringing, SECRET, startGateway } from './gateway.js'
import { until } from '../support/until.js'

const MB = 1024 * 1024

function replies() {
  const time = { nowMs: 0 }
  const unsent = new UnsentReplies({
    clock: () => time.nowMs,
    log: createLog({ level: 'silent' }),
    metrics: new Metrics({ version: '0.0.0', processMetrics: false }),
  })
  const cut: string[] = []
  const reply = (name: string) => ({ cut: () => void cut.push(name) })
  return { time, unsent, cut, reply }
}

t.test('only a reader without progress is cut off', (t) => {
  const { time, unsent, cut, reply } = replies()
  const [slow, deaf] = [reply('slow'), reply('deaf')]
  unsent.waits(slow, 1000)
  unsent.waits(deaf, 2000)
  time.nowMs = OPS_STREAM_STALLED_MS - 1000
  unsent.waits(slow, 900)
  unsent.sweep(time.nowMs)
  t.same(cut, [])
  t.equal(unsent.bytes, 2900)
  time.nowMs = OPS_STREAM_STALLED_MS + 1
  unsent.sweep(time.nowMs)
  t.same(cut, ['deaf'])
  t.match(unsent.cuts, { stalled: 1, crowded: 0 })
  unsent.done(slow)
  t.equal(unsent.bytes, 0)
  t.end()
})

t.test('above the limit the most stalled reply is cut off', (t) => {
  const { unsent, cut, reply } = replies()
  const first = reply('first')
  unsent.waits(first, 15 * MB)
  unsent.waits(reply('second'), 15 * MB)
  unsent.waits(first, 14 * MB)
  unsent.waits(reply('third'), 10 * MB)
  t.same(cut, ['second'])
  unsent.waits(reply('huge'), 100 * MB)
  t.same(cut, ['second', 'first', 'third'], 'a single reply may exceed the limit')
  for (let count = 0; count < 256; count++) unsent.waits(reply(`small ${count}`), 1)
  t.equal(cut.at(-1), 'huge')
  t.equal(unsent.bytes, 256)
  unsent.waits(reply('one more'), 1)
  t.equal(cut.at(-1), 'small 0')
  t.end()
})

const secured = { webhookSecrets: [SECRET], publicUrl: 'https://gw.example.com' }

function rejections(gateway: Gateway): Record<string, unknown>[] {
  return gateway.logged().filter((line) => /turned away/.test(String(line['msg'])))
}

t.test('a rejected webhook is logged without its body [1]', async (t) => {
  const gateway = await startGateway(t, secured)
  const form = ringing(newSid())
  await post(`${gateway.url}/voice/order-status`, { form })
  await post(`${gateway.url}/voice/order-status`, { form, sign: { secret: 'whsec_of_another' } })
  await post(`${gateway.url}/voice/order-status`, { form, sign: { secret: SECRET, ageS: 3600 } })
  await post(`${gateway.url}/voice?agent=support`, { body: 'no=call', headers: {}, sign: { secret: SECRET } })
  await post(`${gateway.url}/stream-status?t=forged`, { form })
  await get(`${gateway.url}/nothing`)
  t.match(rejections(gateway), [
    {
      level: 'warn',
      reason: 'unsigned',
      why: 'X-Sautikit-Signature is missing',
      route: 'voice',
      agent: 'order-status',
      status: 401,
      address: /127\.0\.0\.1/,
    },
    { reason: 'signature', why: /fits none of the secrets/, route: 'voice', agent: 'order-status', status: 403 },
    { reason: 'stale', agent: 'order-status' },
    { reason: 'malformed', why: /names no call/, agent: 'support', status: 400 },
    { reason: 'token', route: 'stream-status', agent: null, status: 403 },
    { reason: 'not-found', route: null, agent: null, status: 404 },
  ])
  t.equal(rejections(gateway).length, 6)
  t.notMatch(JSON.stringify(gateway.logged()), /254700000001|whsec|forged/)
})

t.test('the log summarises a flood of rejected webhooks [2]', async (t) => {
  let nowMs = 1_000_000
  const gateway = await startGateway(t, { ...secured, clock: () => nowMs })
  const flood = 40
  const unsigned = (): Promise<unknown> => post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()) })
  for (let i = 0; i < flood; i++) await unsigned()
  t.equal(rejections(gateway).length, REJECTION_LINES_BURST)
  await post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()), sign: { secret: 'whsec_of_another' } })
  t.match(rejections(gateway).at(-1), { reason: 'signature' }, 'another reason is still logged')

  // The flood is over: the sweep logs how many lines were suppressed, as soon as a line is allowed again.
  nowMs += 1000 / REJECTION_LINES_PER_S
  await until(() => rejections(gateway).length >= REJECTION_LINES_BURST + 2, 10_000, 'the line of the sweep')
  t.match(rejections(gateway).at(-1), { level: 'warn', reason: 'unsigned', suppressed: flood - REJECTION_LINES_BURST })
  await unsigned()
  t.equal(rejections(gateway).length, REJECTION_LINES_BURST + 2, 'the sweep used up the line')
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="unsigned"}'), flood + 1, 'all are counted')
})

/** Work on a clock of the test, which a request moves by what it takes. */
function measured() {
  const at = { ms: 1000 }
  const work = new UnprovenWork(() => at.ms)
  return {
    at,
    work,
    stranger: (ms: number) => {
      work.count(() => {
        at.ms += ms
      })
    },
  }
}

t.test('unproven requests get a fifth of the time', (t) => {
  const { at, work, stranger } = measured()
  let done = 0
  // Requests of a tenth of a millisecond that come without a pause, and each time that nothing is left, the rest of a tick.
  const fromMs = at.ms
  while (at.ms < fromMs + 10_000) {
    if (work.spent) at.ms += 1
    else {
      stranger(0.1)
      done++
    }
  }
  t.ok(done * 0.1 < 2100, `${(done * 0.1).toFixed(0)} of 10,000 ms`)
  t.ok(done * 0.1 > 1500)
  t.ok(Math.abs(work.totalMs - done * 0.1) < 1)
  t.end()
})

t.test('proven requests do not count; connections and bodies do', (t) => {
  const { at, work, stranger } = measured()
  work.count(() => {
    at.ms += 50
    work.proved('192.0.2.1')
  })
  t.equal(work.spent, false)
  stranger(50)
  t.equal(work.spent, false, 'not as fifty milliseconds of work')
  for (let i = 0; i < 400; i++) work.connection()
  t.equal(work.spent, true, 'connections count too')
  at.ms += 50
  for (let i = 0; i < 700; i++) work.body(16_000)
  t.equal(work.spent, true, 'and bodies')
  t.end()
})

t.test('an address is known for an hour after a proof', (t) => {
  const { at, work } = measured()
  t.equal(work.isKnown('192.0.2.1'), false)
  work.proved('192.0.2.1')
  t.equal(work.isKnown('192.0.2.1'), true)
  t.equal(work.isKnown('192.0.2.2'), false)
  at.ms += 3_599_000
  t.equal(work.isKnown('192.0.2.1'), true)
  at.ms += 2000
  t.equal(work.isKnown('192.0.2.1'), false)
  t.end()
})

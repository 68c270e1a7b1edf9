import t from 'tap'
import { REJECTION_LINES_BURST, REJECTION_LINES_PER_S } from '../../src/telemetry/limited-log.js'
import { SECRET, get, newSid, post, ringing, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'

const secured = { webhookSecrets: [SECRET], publicUrl: 'https://gw.example.com' }

function rejections(gateway: Gateway): Record<string, unknown>[] {
  return gateway.logged().filter((line) => /turned away/.test(String(line['msg'])))
}

t.test('a rejected webhook is logged with its reason and its agent, and nothing of its body', async (t) => {
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

t.test('a flood of rejected webhooks does not flood the log, whose lines count the suppressed ones', async (t) => {
  let nowMs = 1_000_000
  const gateway = await startGateway(t, { ...secured, clock: () => nowMs })
  const flood = 40
  const unsigned = (): Promise<unknown> => post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()) })
  for (let i = 0; i < flood; i++) await unsigned()
  t.equal(rejections(gateway).length, REJECTION_LINES_BURST)
  await post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()), sign: { secret: 'whsec_of_another' } })
  t.match(rejections(gateway).at(-1), { reason: 'signature' }, 'another reason is not drowned in it')

  // The flood is over: the sweep logs how many lines were suppressed, as soon as a line is allowed again.
  nowMs += 1000 / REJECTION_LINES_PER_S
  while (rejections(gateway).length < REJECTION_LINES_BURST + 2) await new Promise((resolve) => setTimeout(resolve, 5))
  t.match(rejections(gateway).at(-1), { level: 'warn', reason: 'unsigned', suppressed: flood - REJECTION_LINES_BURST })
  await unsigned()
  t.equal(rejections(gateway).length, REJECTION_LINES_BURST + 2, 'that was its line')
  t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="unsigned"}'), flood + 1, 'all are counted')
})

import { Webhook } from 'standardwebhooks'
import t from 'tap'
import { checkToken } from '../../src/sautikit/token.js'
import { SECRET, newSid, post, refusalOf, ring, ringing, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'
import type { ScriptedCall } from './scripted-calls.js'

const SUCCEEDED = { status: 'succeeded', result: { receipt: 'QX1' } }
const ID = 'id-of-one-tool-call-22'

/** A call that has got its document, and the URL of a tool of it. */
async function waits(gateway: Gateway, ttlS = 90): Promise<{ readonly url: string; readonly call: ScriptedCall }> {
  const { sid } = await ring(gateway)
  const call = gateway.calls.get(sid)
  return { url: call.continueUrl?.(ID, ttlS) ?? '', call }
}

t.test("a tool's URL needs no carrier signature and is single-purpose", async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], tokenOnly: 'refuse' })
  const sid = newSid()
  await post(`${gateway.url}/voice/order-status`, { form: ringing(sid), sign: { secret: SECRET } })
  const url = gateway.calls.get(sid).continueUrl?.(ID, 90) ?? ''
  t.equal((await post(url, { json: SUCCEEDED })).status, 200)
  const token = url.split('?t=')[1]
  const secrets = ['token-secret-of-a-test']
  t.match(checkToken(secrets, token, { purpose: 'continue', nowS: 0 }), { result: 'ok', callSid: sid, nonce: ID })
  for (const purpose of ['audio', 'after-stream', 'human', 'stream-status'] as const)
    t.match(checkToken(secrets, token, { purpose, nowS: 0 }), { result: 'wrong-purpose' }, purpose)
})

t.test('an outcome is passed to its call and acknowledged', async (t) => {
  const gateway = await startGateway(t)
  const { url, call } = await waits(gateway)
  t.match(await post(url, { json: SUCCEEDED }), { status: 200, text: /"taken":true/ })
  t.same(call.waitsNews, [{ id: ID, news: SUCCEEDED }])
  for (const [answer, status, code] of [
    ['repeated', 200, null],
    ['conflict', 409, 'CONFLICT'],
    ['late', 410, 'GONE'],
    ['unkept', 503, 'NOT_KEPT'],
  ] as const) {
    call.waitAnswer = answer
    t.match(await post(url, { json: SUCCEEDED }), { status, code }, answer)
  }
})

t.test('an invalid outcome is refused with the values allowed', async (t) => {
  const gateway = await startGateway(t)
  const { url, call } = await waits(gateway)
  let deep: unknown = 1
  for (let level = 0; level < 40; level++) deep = [deep]
  for (const [body, why] of [
    [{ json: { status: 'paid' } }, /status must be progress, succeeded or failed/],
    [{ body: 'status=succeeded' }, /no JSON object/],
    [{ json: { status: 'failed', result: deep } }, /nested deeper than 32/],
  ] as const)
    t.match(await post(url, body), { status: 400, code: 'WEBHOOK_MALFORMED', text: why })
  t.equal((await post(url, { json: { status: 'failed', result: 'x'.repeat(20_000) } })).status, 413)
  t.same(call.waitsNews, [])
})

t.test('wrong-purpose, changed and expired tokens are refused', async (t) => {
  const gateway = await startGateway(t)
  const { url, call } = await waits(gateway)
  t.equal((await post(`${gateway.url}/continue`, { json: SUCCEEDED })).status, 403)
  t.equal((await post(url.replace('?t=w', '?t=h'), { json: SUCCEEDED })).status, 403)
  t.equal(
    (await post((call.afterStreamUrl ?? '').replace('after-stream', 'continue'), { json: SUCCEEDED })).status,
    403,
  )
  const over = call.continueUrl?.(ID, -10) ?? ''
  t.match(await post(over, { json: SUCCEEDED }), { status: 410, code: 'TOKEN_EXPIRED' })
  t.same(call.waitsNews, [])
})

t.test('guessed tokens are cut off; a valid token still works', async (t) => {
  const gateway = await startGateway(t)
  const { url } = await waits(gateway)
  const guess = (number: number): Promise<number> =>
    refusalOf(`${gateway.url}/continue?t=${number}`, { json: SUCCEEDED })
  const guesses = await Promise.all(Array.from({ length: 300 }, (_, number) => guess(number)))
  t.ok(guesses.includes(0), 'connections are closed')
  t.equal((await post(url, { json: SUCCEEDED })).status, 200)
})

t.test('with CONTINUE_SECRETS set, a post needs a signature', async (t) => {
  const secret = `whsec_${Buffer.from('a secret of the shop, 32 bytes..').toString('base64')}`
  const gateway = await startGateway(t, {
    continueSecrets: [`whsec_${Buffer.from('the older one.......').toString('base64')}`, secret],
  })
  const { url, call } = await waits(gateway)
  const body = JSON.stringify(SUCCEEDED)
  const signed = (by: string, at: Date): Record<string, string> => ({
    'webhook-id': 'm1',
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(by).sign('m1', at, body),
  })
  t.match(await post(url, { body }), { status: 401, text: /CONTINUE_SECRETS/ })
  const other = `whsec_${Buffer.from('of somebody else, also long').toString('base64')}`
  t.equal((await post(url, { body, headers: signed(other, new Date()) })).status, 401)
  t.equal((await post(url, { body, headers: signed(secret, new Date(Date.now() - 3_600_000)) })).status, 401, 'too old')
  t.same(call.waitsNews, [])
  t.equal((await post(url, { body, headers: signed(secret, new Date()) })).status, 200)
})

t.test('an outcome after the end of the call gets 410', async (t) => {
  const gateway = await startGateway(t)
  const { url, call } = await waits(gateway)
  gateway.calls.calls.delete(call.callSid)
  t.match(await post(url, { json: SUCCEEDED }), { status: 410, code: 'GONE' })
  gateway.calls.lateAnswer = 'repeated'
  t.equal((await post(url, { json: SUCCEEDED })).status, 200, 'a repetition of an accepted outcome is acknowledged')
})

import t from 'tap'
import type { EdgeOptions } from '../../src/edge/options.js'
import { SECRET, attribute, post, redirectUrl, ringing, newSid, startGateway } from '../edge/gateway.js'
import { ORDER_STATUS } from '../edge/scripted-calls.js'

/**
 * The attack: somebody reads the log of a proxy, which has the URLs of live calls with their tokens, and posts to one:
 * to learn the number of the human who is rung, or to end a call.
 */

const sign = { secret: SECRET }

/** A live call whose agent has asked for a human, and its URLs. */
async function call(
  t: Parameters<typeof startGateway>[0],
  changes: Pick<EdgeOptions, 'tokenOnly'> & Partial<Pick<EdgeOptions, 'webhookSecrets'>>,
) {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], publicUrl: null, ...changes })
  gateway.calls.agents.set('order-status', { ...ORDER_STATUS, conference: true })
  const ring = async () => {
    const sid = newSid()
    const { text } = await post(`${gateway.url}/voice`, { form: ringing(sid), sign })
    const live = gateway.calls.get(sid)
    live.state = 'after'
    live.next = [{ verb: 'dial', numbers: ['+254700000009'] }]
    return {
      sid,
      live,
      after: redirectUrl(text),
      status: attribute(text, 'statusCallback'),
      human: live.humanUrl ?? '',
    }
  }
  return { gateway, ring }
}

t.test('once the carrier has signed a post of a route, a token from a log does nothing there', async (t) => {
  const { gateway, ring } = await call(t, { tokenOnly: 'learn' })
  const first = await ring()
  const form = { sessionId: first.sid, callSessionState: 'StreamStopped' }
  t.match((await post(first.after, { form, sign })).text, /254700000009/, 'the carrier is answered')
  await post(first.status, { form: { ...form, streamEvent: 'stream-started', streamSid: 'ST1' }, sign })
  await post(first.human ?? '', { form: { ...ringing(newSid()), direction: 'outbound' }, sign })

  const { live, after, status, human, sid } = await ring()
  const stolen = { sessionId: sid, callSessionState: 'Completed', streamEvent: 'stream-stopped', streamSid: 'ST2' }
  for (const url of [after, status, human ?? '']) {
    t.match(await post(url, { form: stolen }), { status: 401, code: 'WEBHOOK_UNSIGNED' }, 'unsigned')
    t.match(
      await post(url, { form: stolen, sign: { secret: 'another secret' } }),
      { status: 401, code: 'WEBHOOK_UNSIGNED' },
      'signed by nobody',
    )
    t.match(await post(url, { form: stolen, sign: { secret: SECRET, ageS: 400 } }), { status: 401 }, 'or long ago')
  }
  t.same(live.states, [])
  t.same(live.askers, [], 'the Dial waits for the carrier')
  t.equal(gateway.calls.get(sid), live)
  t.match((await post(after, { form: { sessionId: sid }, sign })).text, /254700000009/)
  const page = await gateway.metrics.render()
  t.match(page, /mkondo_webhook_rejected_total\{[^}]*reason="token-only"[^}]*\} 9\b/)
  t.match(page, /mkondo_webhooks_token_only_total\{[^}]*route="after-stream"[^}]*\} 0\b/)
})

t.test(
  'a carrier that signs no post of a route is answered there, which is counted; other routes do not decide',
  async (t) => {
    const { gateway, ring } = await call(t, { tokenOnly: 'learn' })
    const { sid, after, status, live } = await ring()
    await post(after, { form: { sessionId: sid }, sign })
    t.equal((await post(status, { form: { streamEvent: 'stream-stopped', streamSid: 'ST1' } })).status, 204)
    t.same(live.states, ['stream-stopped'])
    t.match(await gateway.metrics.render(), /mkondo_webhooks_token_only_total\{[^}]*route="stream-status"[^}]*\} 1\b/)
  },
)

t.test(
  'a signature of another secret is no proof that the carrier signs, and a token beside it is enough until then',
  async (t) => {
    const { ring } = await call(t, { tokenOnly: 'learn' })
    const { after, sid } = await ring()
    const form = { sessionId: sid }
    for (let i = 0; i < 2; i++)
      t.equal((await post(after, { form, sign: { secret: 'of a subscription' } })).status, 200)
    t.equal((await post(after, { form })).status, 200)
  },
)

t.test('the setting decides without learning', async (t) => {
  const strict = await (await call(t, { tokenOnly: 'refuse' })).ring()
  t.match(await post(strict.after), { status: 401, code: 'WEBHOOK_UNSIGNED' })
  t.equal((await post(strict.after, { form: { sessionId: strict.sid }, sign })).status, 200)
  const lax = await (await call(t, { tokenOnly: 'accept' })).ring()
  t.equal((await post(lax.after, { form: { sessionId: lax.sid }, sign })).status, 200)
  t.equal((await post(lax.after)).status, 200)
})

t.test('without secrets nothing can be signed, and the token is the proof', async (t) => {
  const { ring } = await call(t, { webhookSecrets: [], tokenOnly: 'refuse' })
  const { after } = await ring()
  t.equal((await post(after)).status, 200)
})

import t from 'tap'
import type { EdgeOptions } from '../../src/edge/options.js'
import {
  attribute,
  type Gateway,
  newSid,
  post,
  type Posted,
  redirectUrl,
  ringing,
  SECRET,
  startGateway,
} from '../edge/gateway.js'
import { ORDER_STATUS } from '../edge/scripted-calls.js'
import { signBody } from '../support/sign-body.js'

const VOICE = '/voice/order-status'
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const formOf = (sid: string): string => new URLSearchParams(ringing(sid)).toString()
const nowS = (): number => Math.floor(Date.now() / 1000)

/** Posts `body` under a signature header that the test has made. */
function postSigned(gateway: Gateway, body: string, signature: string): Promise<Posted> {
  return post(gateway.url + VOICE, { body, headers: { 'x-sautikit-signature': signature } })
}

/** A dated webhook as somebody could have seen it: its time, and the value of its `v1`. */
function captured(body: string, ageS = 30 * 24 * 3600): { readonly time: number; readonly value: string } {
  const time = nowS() - ageS
  return { time, value: signBody({ body: bytes(body), secret: SECRET, timestampS: time }).replace(/^.*v1=/, '') }
}

t.test('a captured dated webhook does not verify as bare', async (t) => {
  for (const bareSignatures of [false, true]) {
    const gateway = await startGateway(t, { webhookSecrets: [SECRET], bareSignatures })
    const body = formOf(newSid())
    const { time, value } = captured(body)
    const answer = await postSigned(gateway, `${body}.${time}`, value)
    t.match(answer, {
      status: 403,
      code: 'WEBHOOK_UNSIGNED',
      text: bareSignatures ? /no time, and the body ends in a dot and digits/ : /SAUTIKIT_BARE_SIGNATURES=true/,
    })
    t.notOk(answer.text.includes('<Stream'), 'no document and no token')
    t.equal(gateway.calls.started.length, 0, 'nobody talks to the agent')
    t.equal(await gateway.metric('mkondo_webhook_rejected_total{reason="bare-signature"}'), 1)
  }
})

t.test('bare signatures are refused unless a setting allows them', async (t) => {
  const closed = await startGateway(t, { webhookSecrets: [SECRET] })
  const body = formOf(newSid())
  const bare = signBody({ body: bytes(body), secret: SECRET, timestampS: null })
  t.match(await postSigned(closed, body, bare), {
    status: 403,
    code: 'WEBHOOK_UNSIGNED',
    text: /SAUTIKIT_BARE_SIGNATURES=true/,
  })
  t.equal(closed.calls.started.length, 0)
  const open = await startGateway(t, { webhookSecrets: [SECRET], bareSignatures: true })
  t.match(
    open.logged().filter((line) => line['level'] === 'warn'),
    [{ msg: /^SAUTIKIT_BARE_SIGNATURES is true/ }],
    'said at start',
  )
  t.equal((await postSigned(open, body, bare)).status, 200)
})

t.test('a dated signature excludes bare ones of its secret', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: ['whsec_of_events', SECRET], bareSignatures: true })
  const bareOf = (body: string, secret: string): string => signBody({ body: bytes(body), secret, timestampS: null })
  const first = formOf(newSid())
  t.equal((await postSigned(gateway, first, bareOf(first, SECRET))).status, 200, 'before')
  t.equal((await post(gateway.url + VOICE, { form: ringing(newSid()), sign: { secret: SECRET } })).status, 200)
  const then = formOf(newSid())
  t.match(await postSigned(gateway, then, bareOf(then, SECRET)), {
    status: 403,
    text: /an earlier signature with this secret had a time/,
  })
  t.equal((await postSigned(gateway, then, bareOf(then, 'whsec_of_events'))).status, 200, 'another secret has not')
})

t.test('mixed, repeated or hidden signature headers are refused', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], bareSignatures: true })
  const body = formOf(newSid())
  const old = captured(body)
  const now = nowS()
  const bare = signBody({ body: bytes(body), secret: SECRET, timestampS: null })
  const other = 'f'.repeat(64)
  const headers: Readonly<Record<string, string>> = {
    'both forms, the bare one first': `${bare},t=${now},v1=${other}`,
    'both forms, the bare one last': `t=${now},v1=${other},${bare}`,
    'a bare value as v1 without a time': `v1=${bare}`,
    'a bare value as v1 with a time': `t=${now},v1=${bare}`,
    'an empty time': `t=,v1=${old.value}`,
    'the old time': `t=${old.time},v1=${old.value}`,
    'two times, the old one first': `t=${old.time},t=${now},v1=${old.value}`,
    'two times, the new one first': `t=${now},t=${old.time},v1=${old.value}`,
    'a time with a sign': `t=+${now},v1=${old.value}`,
    'a time as a list': `t=${now};${old.time},v1=${old.value}`,
    'a new time over the old value': `t=${now},v1=${old.value}`,
    'more values than are compared': `t=${now}${`,v1=${other}`.repeat(8)},v1=${old.value}`,
    'a value of another version': `t=${now},v0=${bare}`,
    'capital letters in the keys': `T=${now},V1=${bare}`,
    'two bare values': `${bare},${bare}`,
    'a bare value in quotes': `"${bare}"`,
    'a bare value and a tab in it': `${bare.slice(0, 32)}\t${bare.slice(32)}`,
  }
  for (const [what, header] of Object.entries(headers))
    t.equal((await postSigned(gateway, body, header)).status, 403, what)
  t.equal(gateway.calls.started.length, 0)
  const good = signBody({ body: bytes(body), secret: SECRET, timestampS: now }).replace(/^.*v1=/, '')
  t.equal(
    (await postSigned(gateway, body, ` t=${now} , v1=${other} , v1=${good} `)).status,
    200,
    "spaces and several v1 are the carrier's",
  )
})

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

t.test('a leaked token stops working once the carrier signs', async (t) => {
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

t.test('a carrier that never signs a route is answered there', async (t) => {
  const { gateway, ring } = await call(t, { tokenOnly: 'learn' })
  const { sid, after, status, live } = await ring()
  await post(after, { form: { sessionId: sid }, sign })
  t.equal((await post(status, { form: { streamEvent: 'stream-stopped', streamSid: 'ST1' } })).status, 204)
  t.same(live.states, ['stream-stopped'])
  t.match(await gateway.metrics.render(), /mkondo_webhooks_token_only_total\{[^}]*route="stream-status"[^}]*\} 1\b/)
})

t.test('a leaked token reveals no number during the audio', async (t) => {
  for (const tokenOnly of ['learn', 'accept'] as const) {
    const { ring } = await call(t, { tokenOnly })
    const { sid, live, after } = await ring()
    live.state = 'streaming'
    for (const callSessionState of ['Answered', 'StreamStopped', 'DialCompleted'])
      for (const by of [{}, { sign: { secret: 'another secret' } }])
        t.match(
          await post(after, { form: { sessionId: sid, callSessionState }, ...by }),
          { status: 401, code: 'WEBHOOK_UNSIGNED', text: /while the stream is open/ },
          `${callSessionState}, ${tokenOnly}`,
        )
    t.same(live.states, [], 'its state is believed no more than its question')
    t.same(live.askers, [], 'the Dial waits for the carrier')
    live.state = 'after'
    t.match(
      (await post(after, { form: { sessionId: sid } })).text,
      /254700000009/,
      'a carrier that does not sign goes on',
    )
  }
})

t.test("a leaked token ends no call and no human's leg", async (t) => {
  for (const tokenOnly of ['learn', 'accept'] as const) {
    const { gateway, ring } = await call(t, { tokenOnly })
    const { sid, live, after, human } = await ring()
    for (const url of [after, human])
      for (const state of ['Completed', 'Hangup', 'Failed', 'Busy', 'NoAnswer', 'Rejected', 'NORMAL_CLEARING'])
        for (const by of [{}, { sign: { secret: 'another secret' } }, { sign: { secret: SECRET, ageS: 400 } }])
          t.match(
            await post(url, { form: { sessionId: sid, callSessionState: state }, ...by }),
            {
              status: 401,
              code: 'WEBHOOK_UNSIGNED',
              text: /the end of a call is accepted only with a valid signature/,
            },
            `${state}, ${tokenOnly}`,
          )
    t.same(live.states, [])
    t.same(live.humans, [])
    t.same(live.askers, [], 'the Dial waits for the carrier')
    t.equal(gateway.calls.get(sid), live)
    t.match(
      (await post(after, { form: { sessionId: sid } })).text,
      /254700000009/,
      'a carrier that does not sign goes on',
    )
    await post(after, { form: { sessionId: sid, callSessionState: 'Completed' }, sign })
    t.same(live.states, ['completed'], 'with a signature the end is believed')
  }
})

t.test('a signature of another secret does not count as signing', async (t) => {
  const { ring } = await call(t, { tokenOnly: 'learn' })
  const { after, sid } = await ring()
  const form = { sessionId: sid }
  for (let i = 0; i < 2; i++) t.equal((await post(after, { form, sign: { secret: 'of a subscription' } })).status, 200)
  t.equal((await post(after, { form })).status, 200)
})

t.test('the settings refuse and accept ignore earlier signatures', async (t) => {
  const strict = await (await call(t, { tokenOnly: 'refuse' })).ring()
  t.match(await post(strict.after), { status: 401, code: 'WEBHOOK_UNSIGNED' })
  t.equal((await post(strict.after, { form: { sessionId: strict.sid }, sign })).status, 200)
  const lax = await (await call(t, { tokenOnly: 'accept' })).ring()
  t.equal((await post(lax.after, { form: { sessionId: lax.sid }, sign })).status, 200)
  t.equal((await post(lax.after)).status, 200)
})

t.test('without secrets the token is the proof', async (t) => {
  const { ring } = await call(t, { webhookSecrets: [], tokenOnly: 'refuse' })
  const { after } = await ring()
  t.equal((await post(after)).status, 200)
})

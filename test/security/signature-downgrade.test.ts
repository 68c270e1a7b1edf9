import t from 'tap'
import { signBody } from '../support/sign-body.js'
import { SECRET, newSid, post, ringing, startGateway } from '../edge/gateway.js'
import type { Gateway, Posted } from '../edge/gateway.js'

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

t.test(
  'a dated webhook that was captured a month ago is not taken as a bare one with its time in the body',
  async (t) => {
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
  },
)

t.test('a time of any number of digits gives no bare signature', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: [SECRET], bareSignatures: true })
  for (const time of ['1', '123456789012', '1790000000000000000']) {
    const body = `${formOf(newSid())}.${time}`
    const answer = await postSigned(gateway, body, signBody({ body: bytes(body), secret: SECRET, timestampS: null }))
    t.equal(answer.status, 403, time)
  }
  t.equal(gateway.calls.started.length, 0)
})

t.test('bare signatures are refused unless the setting asks for them, and the answer names it', async (t) => {
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

t.test('a secret that has signed with a time is not believed without one', async (t) => {
  const gateway = await startGateway(t, { webhookSecrets: ['whsec_of_events', SECRET], bareSignatures: true })
  const bareOf = (body: string, secret: string): string => signBody({ body: bytes(body), secret, timestampS: null })
  const first = formOf(newSid())
  t.equal((await postSigned(gateway, first, bareOf(first, SECRET))).status, 200, 'before')
  t.equal((await post(gateway.url + VOICE, { form: ringing(newSid()), sign: { secret: SECRET } })).status, 200)
  const then = formOf(newSid())
  t.match(await postSigned(gateway, then, bareOf(then, SECRET)), { status: 403, text: /has signed with a time before/ })
  t.equal((await postSigned(gateway, then, bareOf(then, 'whsec_of_events'))).status, 200, 'another secret has not')
})

t.test('headers that mix, repeat or hide the forms prove nothing', async (t) => {
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

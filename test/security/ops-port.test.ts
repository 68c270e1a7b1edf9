import { createHash } from 'node:crypto'
import { request } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { endedRow } from '../../src/call/documents/call-view.js'
import { endedCall } from '../support/record.js'
import { OPS_SLOWED_MAX, OPS_SLOWED_MS } from '../../src/edge/ops/ops-app.js'
import { OPS_WRONG_TOKENS_BURST } from '../../src/edge/ops/ops-guard.js'
import { get, newSid, post, ring, ringing, startGateway } from '../edge/gateway.js'
import { ScriptedCalls } from '../edge/scripted-calls.js'
import type { Gateway } from '../edge/gateway.js'

const OPS_TOKEN = 'ops-token-of-a-test-1'
const READ_TOKEN = 'read-token-of-a-test'

function bearer(token: string): { readonly headers: Readonly<Record<string, string>> } {
  return { headers: { authorization: `Bearer ${token}` } }
}

function statusByHost({ edge }: Gateway, path: string, host: string, method = 'GET'): Promise<number> {
  return new Promise((resolve) => {
    request({ port: edge.opsPort, path, method, headers: { host } }, (response) => {
      response.resume()
      resolve(response.statusCode ?? 0)
    }).end()
  })
}

t.test('DNS rebinding reads nothing from the ops port [4]', async (t) => {
  const console = new Map([['/', { contentType: 'text/html', body: '<!doctype html>' }]])
  const gateway = await startGateway(t, { console })
  for (const path of [
    '/metrics',
    '/metrics/calls',
    '/api/calls',
    '/api/backends',
    '/api/refusals',
    '/healthz',
    '/readyz',
    '/',
  ]) {
    for (const host of ['attacker.example:80', 'localhost.attacker.example', '127.0.0.1.attacker.example']) {
      t.equal(await statusByHost(gateway, path, host), 403, `${path} as ${host}`)
    }
    for (const host of ['localhost:9464', '127.0.0.1', '[::1]:9464'])
      t.equal(await statusByHost(gateway, path, host), 200, `${path} as ${host}`)
  }
  t.equal(await statusByHost(gateway, '/readyz', 'attacker.example', 'HEAD'), 403)
  t.equal(await gateway.metric('mkondo_ops_refused_total{reason="host"}'), 25)

  const guarded = await startGateway(t, { opsToken: OPS_TOKEN, console })
  t.equal(await statusByHost(guarded, '/readyz', 'gw'), 200, 'with a token a balancer may ask by any name')
  t.equal(await statusByHost(guarded, '/metrics', 'gw'), 401, 'and the rest wants the token')
})

t.test('the metrics token ends no call and reads no transcript [3]', async (t) => {
  const gateway = await startGateway(t, { opsToken: OPS_TOKEN, opsReadToken: READ_TOKEN })
  const { sid } = await ring(gateway)
  for (const path of ['/metrics', '/metrics/calls']) {
    for (const token of [READ_TOKEN, OPS_TOKEN])
      t.equal((await get(gateway.opsUrl + path, bearer(token))).status, 200, path)
    t.equal((await get(gateway.opsUrl + path, bearer(`${READ_TOKEN}x`))).status, 401)
    t.equal((await get(gateway.opsUrl + path)).status, 401)
  }
  for (const path of [
    '/api/calls',
    '/api/backends',
    '/api/refusals',
    '/api/fleet/calls',
    `/api/calls/${sid}`,
    `/api/calls/${sid}/transcript`,
    `/api/calls/${sid}/timeline`,
  ]) {
    t.match(
      await get(gateway.opsUrl + path, bearer(READ_TOKEN)),
      { status: 403, code: 'FORBIDDEN', text: /OPS_TOKEN/ },
      path,
    )
    t.equal((await get(gateway.opsUrl + path, bearer(OPS_TOKEN))).status, 200, path)
  }
  for (const path of [
    `/api/calls/${sid}/hangup`,
    `/api/calls/${sid}/escalate`,
    '/api/calls',
    '/api/drain',
    '/api/cordon',
    '/api/uncordon',
  ]) {
    t.match(
      await post(gateway.opsUrl + path, { json: {}, ...bearer(READ_TOKEN) }),
      { status: 403, code: 'FORBIDDEN' },
      path,
    )
  }
  t.same(gateway.calls.get(sid).hangups, [])
  t.equal(gateway.calls.draining, false)
  t.equal((await get(`${gateway.opsUrl}/healthz`, bearer(READ_TOKEN))).status, 200)
  t.equal(await gateway.metric('mkondo_ops_refused_total{reason="token-read-only"}'), 13)
})

t.test('a token for some numbers reaches only their calls', async (t) => {
  const token = 'token-of-one-business-1'
  const [own, others] = ['+254700000002', '+254700000003']
  const charted: (readonly string[] | null)[] = []
  const calls = new ScriptedCalls()
  for (const number of [own, others]) calls.numbers.set(number, 'order-status')
  const digest = createHash('sha256').update(token).digest('hex')
  const gateway = await startGateway(t, {
    calls,
    opsToken: OPS_TOKEN,
    opsNumberTokens: new Map([[digest, new Set([own])]]),
    finder: {
      // An index that takes another's call for theirs.
      find: () =>
        Promise.resolve({
          hits: [own, others].map((number, id) => ({
            id,
            row: endedRow(endedCall({ callSid: `HD_found_${id}`, number })),
          })),
          next: null,
          current: true,
        }),
      chart: (_, numbers) => {
        charted.push(numbers)
        return Promise.resolve({ groups: [], current: true })
      },
      usual: () => Promise.resolve({ calls: 0, of: {} }),
    },
  })
  const called = async (number: string) => {
    const sid = newSid()
    await post(`${gateway.url}/voice/support`, { form: { ...ringing(sid), destinationNumber: number } })
    return sid
  }
  const [mine, theirs] = [await called(own), await called(others)]
  t.equal(calls.started[0]?.agent, 'order-status', 'the number decides, not the path')
  const ask = (path: string) => get(gateway.opsUrl + path, bearer(token))
  const refused = { status: 403, code: 'FORBIDDEN', text: /the right to the calls of its own numbers/ }
  for (const view of ['', '/transcript', '/timeline']) {
    t.equal((await ask(`/api/calls/${mine}${view}`)).status, 200, view)
    t.match(await ask(`/api/calls/${theirs}${view}`), refused, view)
  }
  const { live } = JSON.parse((await ask('/api/fleet/calls')).text) as { live: { callSid: string }[] }
  t.same(
    live.map(({ callSid }) => callSid),
    [mine],
  )
  for (const list of ['fleet/calls', 'charts'])
    t.match(await ask(`/api/${list}?number=${encodeURIComponent(others)}`), refused, list)
  const sidsFound = async (as: string) => {
    const { calls } = JSON.parse((await get(`${gateway.opsUrl}/api/find`, bearer(as))).text) as {
      calls: { callSid: string }[]
    }
    return calls.map(({ callSid }) => callSid)
  }
  t.same(await sidsFound(token), ['HD_found_0'], 'each row that is found is compared with the asker')
  t.same((await sidsFound(OPS_TOKEN)).length, 2)
  t.equal((await ask('/api/charts')).status, 200)
  t.same(charted, [[own]])
  for (const path of ['/api/calls', '/api/agents', '/api/settings', '/api/refusals', '/metrics', '/api/live'])
    t.match(await ask(path), { ...refused, text: /needs OPS_TOKEN/ }, path)
  const command = (path: string) => post(gateway.opsUrl + path, { json: {}, ...bearer(token) })
  t.match(await command(`/api/calls/${theirs}/hangup`), refused)
  for (const path of ['/api/calls', '/api/drain', '/api/erase', '/api/export'])
    t.match(await command(path), { status: 403 }, path)
  t.equal((await command(`/api/calls/${mine}/hangup`)).status, 202)
  t.same(calls.get(theirs).hangups, [])
  t.equal(calls.get(mine).hangups.length, 1)
  const ended = endedCall({ callSid: newSid(), number: own })
  const written = { ...ended, callSid: newSid(), served: 'of-a-newer-build' }
  for (const record of [ended, written as never]) calls.records.set(record.callSid, record)
  const why = (as: string, sid: string) => get(`${gateway.opsUrl}/api/calls/${sid}/why`, bearer(as))
  const usualOf = async (as: string) => (JSON.parse((await why(as, ended.callSid)).text) as { usual: unknown }).usual
  t.same(await usualOf(token), null, 'usual values are of the calls of all numbers')
  t.same(await usualOf(OPS_TOKEN), { calls: 0, of: {} })
  t.match(await why(OPS_TOKEN, mine), { status: 409, code: 'CALL_LIVE' })
  t.match(await why(OPS_TOKEN, written.callSid), { status: 409, code: 'OTHER_NODE', text: /of another version/ })
  const all = await get(`${gateway.opsUrl}/api/fleet/calls?number=${encodeURIComponent(others)}`, bearer(OPS_TOKEN))
  t.match(JSON.parse(all.text), { live: [{ callSid: theirs, number: others }] }, 'OPS_TOKEN may filter by any number')
})

/** A gateway on a clock that stands still until it is set. */
async function guessed(
  t: Test,
): Promise<{ gateway: Gateway; pass: (ms: number) => void; guess: () => Promise<number> }> {
  let nowMs = 1_000_000
  const gateway = await startGateway(t, { opsToken: OPS_TOKEN, opsReadToken: READ_TOKEN, clock: () => nowMs })
  let guesses = 0
  return {
    gateway,
    pass: (ms) => {
      nowMs += ms
    },
    guess: async () =>
      (await post(`${gateway.opsUrl}/api/drain`, { json: {}, ...bearer(`guess-${++guesses}`) })).status,
  }
}

t.test('wrong tokens are slowed, but the right token is not [1]', async (t) => {
  const { gateway, pass, guess } = await guessed(t)
  for (let i = 0; i < OPS_WRONG_TOKENS_BURST; i++) t.equal(await guess(), 401)
  let answered = false
  const slow = guess().then((status) => {
    answered = true
    return status
  })
  // The clock stands still: however long this takes, the guess is not answered while others are.
  await held(gateway, 1)
  for (const token of [READ_TOKEN, OPS_TOKEN])
    t.equal((await get(`${gateway.opsUrl}/metrics`, bearer(token))).status, 200)
  t.equal((await get(`${gateway.opsUrl}/api/calls`)).status, 401, 'no token is no guess')
  t.equal(answered, false)
  pass(OPS_SLOWED_MS)
  t.equal(await slow, 401)
  pass(60_000)
  t.equal(await guess(), 401, 'after a while one is answered at once again')
  t.equal(await gateway.metric('mkondo_ops_slowed_total{result="held"}'), 1)
  t.equal(await gateway.metric('mkondo_ops_refused_total{reason="token-wrong"}'), OPS_WRONG_TOKENS_BURST + 2)
  t.equal(gateway.calls.draining, false)
})

t.test('during a flood of guesses the operator is admitted [2]', async (t) => {
  const { gateway, pass, guess } = await guessed(t)
  for (let i = 0; i < OPS_WRONG_TOKENS_BURST; i++) await guess()
  const waiting = Array.from({ length: OPS_SLOWED_MAX }, guess)
  await held(gateway, OPS_SLOWED_MAX)
  t.equal(await guess(), 429)
  t.equal(await gateway.metric('mkondo_ops_slowed_total{result="cut"}'), 1)
  t.equal((await get(`${gateway.opsUrl}/api/calls`, bearer(OPS_TOKEN))).status, 200)
  pass(OPS_SLOWED_MS)
  t.ok((await Promise.all(waiting)).every((status) => status === 401))
})

t.test('a guesser who disconnects while waiting is forgotten', async (t) => {
  const { gateway, pass, guess } = await guessed(t)
  for (let i = 0; i < OPS_WRONG_TOKENS_BURST; i++) await guess()
  const leaves = new AbortController()
  const gone = fetch(`${gateway.opsUrl}/api/calls`, { ...bearer('guess-and-go'), signal: leaves.signal }).catch(
    () => 'left',
  )
  await held(gateway, 1)
  leaves.abort()
  t.equal(await gone, 'left')
  const waiting = Array.from({ length: OPS_SLOWED_MAX - 1 }, guess)
  await held(gateway, OPS_SLOWED_MAX)
  // One more than there are places finds one as soon as the gateway has noticed; until then it is cut off.
  const all = held(gateway, OPS_SLOWED_MAX + 1)
  while ((await Promise.race([guess(), all.then(() => 'held')])) !== 'held');
  pass(OPS_SLOWED_MS)
  t.ok((await Promise.all(waiting)).every((status) => status === 401))
})

async function held(gateway: Gateway, count: number): Promise<void> {
  while ((await gateway.metric('mkondo_ops_slowed_total{result="held"}')) < count)
    await new Promise((resolve) => setImmediate(resolve))
}

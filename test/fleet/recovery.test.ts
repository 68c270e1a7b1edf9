import { CarrierApiError } from '../../src/sautikit-api/http.js'
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import t from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import { GatewayError } from '../../src/core/errors.js'
import { parseCallSid } from '../../src/core/ids.js'
import { FALLBACK_AFTER_MS, PEER_ANSWER_MS } from '../../src/core/limits.js'
import { CallKeeper } from '../../src/fleet/call-keeper.js'
import { callBack, callBackRefusal } from '../../src/fleet/call-back.js'
import type { StoredCall } from '../../src/fleet/store/call-store.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import type { ProvenWebhook } from '../../src/fleet/proven-webhook.js'
import { Recovery, recoveryPlan } from '../../src/fleet/recovery.js'
import type { RecoveryOptions } from '../../src/fleet/recovery.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { SealedCall } from '../../src/fleet/store/sealed-call.js'
import { createLog } from '../../src/telemetry/log.js'
import type { KeptCall, KeptState } from '../../src/call/documents/kept-call.js'
import { lostResult } from '../../src/workers/main/kept-call.js'
import type { OutboundOrder } from '../../src/workers/main/outbound-calls.js'
import type { Test } from 'tap'
import type { WebSocket } from 'ws'
import { attribute, newSid, openSocket, post, redirectUrl, ringing } from '../edge/gateway.js'
import type { Gateway, Posted } from '../edge/gateway.js'
import { keptCall, keptState } from '../support/kept-call.js'
import { until } from '../support/until.js'
import { fleet } from './nodes.js'
import type { Fleet } from './nodes.js'

// Most of each test is waiting for times that are its subject: they wait beside each other.
t.jobs = 4

const SESSION = keptCall({}).session as NonNullable<KeptCall['session']>
const TALKING = keptCall({})
const CLOSING = keptCall({ session: { ...SESSION, state: 'closing' } })
const BRIDGED = keptCall({ session: { ...SESSION, state: 'bridged' } })

t.test('the kept state decides the recovery plan', (t) => {
  for (const [kept, asked, plan] of [
    [TALKING, true, 'resume'],
    [TALKING, false, 'hang-up'],
    [CLOSING, true, 'words'],
    [CLOSING, false, 'hang-up'],
    [null, true, 'words'],
    [null, false, 'hang-up'],
  ] as const)
    t.equal(recoveryPlan(kept, asked), plan, `${kept?.session?.state ?? 'unreadable'} ${asked}`)
  t.end()
})

/** Where a held caller's carrier asks next; null for any other answer. */
const heldAt = ({ text }: { readonly text: string }, { url }: Gateway): string | null => {
  if (!/<Say>Please hold\.<\/Say><Redirect/.test(text)) return null
  const { pathname, search } = new URL(redirectUrl(text))
  return `${url}${pathname}${search}`
}

/** Final answer for a caller who is asked to wait. */
async function untilHeldNoMore(answer: Posted, gateway: Gateway, sid: string): Promise<Posted> {
  let last = answer
  for (let url = heldAt(last, gateway); url !== null; url = heldAt(last, gateway))
    last = await post(url, { form: ringing(sid) })
  return last
}

const recoveryOf = (recovery: unknown) =>
  agentSchema.parse({ version: 1, name: 'a', instructions: 'x', recovery }).recovery
const ON = recoveryOf('callback')
const NOW_MS = TALKING.preparedWallMs + TALKING.elapsedMs + 5000

t.test('recovery: callback is short for callback: true', (t) => {
  t.same(ON, recoveryOf({ callback: true }))
  t.equal(recoveryOf(undefined).callback, false)
  t.throws(() => recoveryOf('always'))
  t.throws(() => recoveryOf({ callbak: true }))
  t.end()
})

t.test('a refused call back has a reason', (t) => {
  const hours = { timeZone: 'Africa/Nairobi', week: {}, holidays: [] }
  for (const [what, kept, recovery, refusal] of [
    ['a caller who was talking', TALKING, ON, null],
    ['an agent that does not', TALKING, recoveryOf({}), 'off'],
    ['an agent that is gone', TALKING, undefined, 'off'],
    ['a person we rang', keptCall({ direction: 'outbound' }), ON, 'not-inbound'],
    ['a withheld number', keptCall({ from: '' }), ON, 'number-withheld'],
    ['a name for a number', keptCall({ from: 'anonymous' }), ON, 'number-withheld'],
    ['a call that was closing', CLOSING, ON, 'not-in-conversation'],
    ['a caller with a human', BRIDGED, ON, 'not-in-conversation'],
    ['nothing was said yet', keptCall({ session: null }), ON, 'not-begun'],
    ['no stream ever', keptCall({ streamOpenedMs: null }), ON, 'not-begun'],
    ['outside the hours', TALKING, { ...ON, hours }, 'outside-hours'],
  ] as const)
    t.equal(callBackRefusal(kept, recovery, NOW_MS), refusal, what)
  t.equal(callBackRefusal(TALKING, ON, NOW_MS + 24 * 3_600_000), 'too-late')
  t.end()
})

t.test('a call back is placed from the called number [1]', { buffered: true }, async (t) => {
  const orders: OutboundOrder[] = []
  const log = createLog({ level: 'silent' })
  const state = keptState(TALKING)
  const isDoNotCall = (): Promise<boolean> => Promise.resolve(false)
  const options = { recovery: () => ON, isDoNotCall, wallClock: () => NOW_MS, log }
  t.equal(await callBack(state, { ...options, place: (order) => Promise.resolve(orders.push(order)) }), true)
  t.match(orders, [{ to: TALKING.from, from: TALKING.to, recovers: state }])
  t.equal(await callBack(state, { ...options, place: () => Promise.reject(new Error('too many')) }), false)
})

t.test('a caller on the do-not-call list is not called back', { buffered: true }, async (t) => {
  const orders: OutboundOrder[] = []
  const options = {
    recovery: () => ON,
    place: (order: OutboundOrder) => Promise.resolve(orders.push(order)),
    wallClock: () => NOW_MS,
    log: createLog({ level: 'silent' }),
  }
  const listed: string[] = []
  const isDoNotCall = (number: string): Promise<boolean> => Promise.resolve(listed.push(number) > 0)
  t.equal(await callBack(keptState(TALKING), { ...options, isDoNotCall }), false)
  t.same(listed, [TALKING.from])
  t.equal(
    await callBack(keptState(TALKING), { ...options, isDoNotCall: () => Promise.reject(new Error('down')) }),
    false,
  )
  t.same(orders, [])
})

const stateOf = (sid: string) => keptState(keptCall({ callSid: sid, rootSid: sid, agent: 'order-status' }))

t.test('the store is asked several times before a hang-up [2]', { buffered: true }, async (t) => {
  for (const [answers, given, ended] of [
    [[false, false, true], false, 1],
    [[false, false, false, false, true], false, 0],
    [[false, true], true, 0],
  ] as const) {
    const left = [...answers]
    const hungUp: string[] = []
    const node = {
      name: 'gw-1',
      onTakeOver: () => undefined,
      onRequest: () => undefined,
      mayAct: () => Promise.resolve(left.shift() ?? false),
      gaveUp: () => given && left.length < answers.length,
      store: { patient: { once: () => Promise.resolve('gw-2') } },
    }
    const carrier = {
      getCall: () => Promise.resolve({ status: 'in_progress' }),
      hangup: (sid: string) => Promise.resolve(hungUp.push(sid)),
    }
    const options = { node, carrier, log: createLog({ level: 'silent' }), sleep: () => Promise.resolve() }
    const recovery = new Recovery(options as unknown as RecoveryOptions<object>)
    await recovery.streamLost(stateOf('HD_silence00001'), () => true)
    t.equal(hungUp.length, ended)
    t.equal(recovery.counters.failed, ended === 0 && !given ? 1 : 0)
  }
})

t.test('a call unknown to the carrier is not a failure', { buffered: true }, async (t) => {
  for (const [status, failed] of [
    [404, 0],
    [500, 1],
  ] as const) {
    const node = { name: 'gw-1', onTakeOver: () => undefined, onRequest: () => undefined }
    const carrier = { getCall: () => Promise.reject(new CarrierApiError('no such call', { status })) }
    const options = { node, carrier, log: createLog({ level: 'silent' }) }
    const recovery = new Recovery(options as unknown as RecoveryOptions<object>)
    await recovery.streamLost(stateOf('HD_silence00001'), () => true)
    t.equal(recovery.counters.failed, failed, `${status}`)
  }
})

// The longest begin first.

t.test('callers wait while node and store are lost [6]', { buffered: true }, async (t) => {
  const goesOn = async (state: string): Promise<void> => {
    const three = await fleet(t, 3, {}, { kept: stateOf })
    const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
    const sid = newSid()
    const form = ringing(sid)
    const { pathname, search } = new URL(redirectUrl((await post(`${second.url}/voice/order-status`, { form })).text))
    await three.kill(1)
    three.storeDown = state !== 'in between'
    three.storeFault = (op) => (state === 'in between' && op === 'claim' ? { unanswered: true, afterMs: 3000 } : null)
    let answer =
      state === 'StreamStopped'
        ? await post(`${first.url}/voice/order-status`, { form: { ...form, callSessionState: state } })
        : await post(`${first.url}${pathname}${search}`, { form })
    for (const gateway of [third, first]) {
      const again = heldAt(answer, gateway)
      t.type(again, 'string', `${state}: words, and the question again`)
      t.match(answer.text, /<\/Redirect><Say>Too many calls\./, 'a carrier that does not follow it says this')
      three.storeDown &&= gateway === third
      if (gateway === first) three.storeFault = () => null
      answer = await post(again as string, { form })
    }
    t.match((await untilHeldNoMore(answer, first, sid)).text, /<Stream/, state)
  }
  await Promise.all(['after-stream', 'StreamStopped', 'in between'].map(goesOn))
})

t.test('callers hear the fallback after 20 s without store [8]', { buffered: true }, async (t) => {
  let aheadMs = 0
  const two = await fleet(t, 2, { wallClock: () => Date.now() + aheadMs }, { kept: stateOf })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
  const outcome = new URL(first.calls.get(sid).continueUrl?.('id-of-one-tool-call-22', 90) ?? '')
  await two.kill(0)
  two.storeDown = true
  const { pathname, search } = new URL(redirectUrl(document))
  let url: string | null = `${second.url}${pathname}${search}`
  let text = ''
  for (let questions = 0; questions < 4; questions++, aheadMs += 6000) {
    const answer: { readonly text: string } = await post(url, { form: ringing(sid) })
    url = heldAt(answer, second)
    text = answer.text
    if (url === null) break
    t.ok(aheadMs < 20_000, `held after ${aheadMs} ms`)
  }
  t.equal(url, null)
  t.match(text, /All lines are busy/)
  t.ok(aheadMs >= 15_000 && aheadMs < 30_000, `${aheadMs} ms`)
  const forged = new URL(redirectUrl(document))
  for (const since of ['0', '-1', '1e400', 'x', String(Date.now() + 86_400_000)])
    t.notMatch(
      (await post(`${second.url}${forged.pathname}${forged.search}&since=${since}`, { form: ringing(newSid()) })).text,
      /NaN|Infinity/,
      `since=${since}`,
    )
  t.match(await post(`${second.url}${outcome.pathname}${outcome.search}`, { json: { status: 'failed', result: 1 } }), {
    status: 503,
    code: 'MOVING',
  })
  const event = { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } }
  t.equal((await post(`${second.url}/events`, { json: event })).status, 204)
  t.match((await post(`${second.url}/voice/order-status`, { form: ringing(newSid()) })).text, /<Stream/, 'a new caller')
})

t.test('an owner that denies the call counts as gone', { buffered: true }, async (t) => {
  for (const [reply, left] of [
    [{ result: 'answered', answer: { is: 'answered', answer: {} } }, 0],
    [{ result: 'answered', answer: { is: 'not-here' } }, 1],
    [{ result: 'gone' }, 1],
  ] as const) {
    const owner = { node: 'gw-2', incarnation: 'run-2', epoch: 1, nonce: 'theirs' }
    const claim = (_sid: string, owner: unknown) => Promise.resolve({ owner, phase: 'claimed', state: null, log: [] })
    const node = {
      name: 'gw-1',
      onTakeOver: () => undefined,
      onRequest: () => undefined,
      isThisRun: () => false,
      claimFor: () => ({ ...owner, node: 'gw-1', nonce: 'ours' }),
      released: () => undefined,
      ask: () => Promise.resolve(reply),
      store: { patient: { claim, over: () => Promise.resolve('ok') } },
    }
    const options = {
      node,
      takes: () => true,
      kept: () => null,
      noted: () => ({}),
      log: createLog({ level: 'silent' }),
      clock: () => 0,
      sleep: () => Promise.resolve(),
    }
    const recovery = new Recovery(options as unknown as RecoveryOptions<object>)
    const sid = parseCallSid('HD_silence00001')
    const webhook = { route: 'events', callSid: sid, content: { state: 'completed' } } as unknown as ProvenWebhook
    const entry = { owner, phase: 'live', state: null, log: [] } as unknown as StoredCall
    t.same(await recovery.recover(webhook, sid, entry), { is: 'answered', answer: {} })
    await turnOfEventLoop()
    t.equal(recovery.counters.left, left, JSON.stringify(reply))
  }
})

t.test('an after-stream at another node continues the kept call there', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, {}, { kept: stateOf })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
  const url = new URL(redirectUrl(document))
  await two.kill(0)
  const answer = await post(`${second.url}${url.pathname}${url.search}`, { form: ringing(sid) })
  const socket = await openSocket(attribute(answer.text, 'url').replaceAll('&amp;', '&'))
  t.equal(second.calls.get(sid).state, 'streaming', 'the conversation goes on here')
  socket.close()
})

t.test('repeated after-streams of a lost call get one stream [7]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3, {}, { kept: stateOf })
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  const sid = newSid()
  await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  await three.kill(0)
  const form = { ...ringing(sid), callSessionState: 'StreamStopped' }
  const copies = [second, third, second].map(({ url }) => post(`${url}/voice/order-status`, { form }))
  const documents = (await Promise.all(copies)).map(({ text }) => text)
  documents.push((await post(`${second.url}/voice/order-status`, { form })).text)
  for (const document of documents) t.match(document, /<Stream/)
  t.equal(new Set(documents).size, 1)
  const socket = await openSocket(attribute(documents[0] ?? '', 'url').replaceAll('&amp;', '&'))
  t.equal((second.calls.find(sid) ?? third.calls.find(sid))?.state, 'streaming')
  socket.close()
})

t.test("an after-stream at another survivor opens the first survivor's stream", { buffered: true }, async (t) => {
  const three = await fleet(t, 3, {}, { kept: stateOf })
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  const sid = newSid()
  const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
  await three.kill(0)
  const status = new URL(attribute(document, 'statusCallback').replaceAll('&amp;', '&'))
  const stopped = { sessionId: sid, streamEvent: 'stream-stopped', streamSid: 'ST1' }
  await post(`${second.url}${status.pathname}${status.search}`, { form: stopped })
  await until(async () => (await three.store.read(sid))?.owner.node === 'gw-1', 10_000, 'the takeover')
  const asks = new URL(redirectUrl(document))
  const answer = await post(`${third.url}${asks.pathname}${asks.search}`, { form: ringing(sid) })
  t.match(answer.text, /<Stream/)
  t.equal(second.calls.find(sid)?.callSid, sid, 'at the survivor that has it')
})

t.test("a frozen node's ringing caller gets another stream [12]", { buffered: true }, async (t) => {
  const rings = (callSid: string) =>
    keptCall({ callSid, rootSid: callSid, streamOpenedMs: null, streamMs: 0, session: null })
  for (const [kept, comesBack] of [
    [(sid: string) => keptState(rings(sid)), true],
    // Its stream may be open where nobody else sees it.
    [stateOf, false],
  ] as const) {
    const three = await fleet(t, 3, {}, { kept })
    const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
    const sid = newSid()
    await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
    const { owner } = (await three.store.read(sid)) as StoredCall
    await three.store.save(sid, owner, { state: Buffer.from('as it was kept') })
    three.freeze(0)
    const copies = [second, third, second].map(({ url }) => post(`${url}/voice/order-status`, { form: ringing(sid) }))
    for (const { text } of await Promise.all(copies)) t.equal(/<Stream/.test(text), comesBack)
    t.equal((await three.store.read(sid))?.owner.node === owner.node, !comesBack)
    t.equal([second, third].filter(({ calls }) => calls.find(sid) !== undefined).length, comesBack ? 1 : 0)
  }
})

t.test('ringing callers are asked to wait for slow stores [13]', { buffered: true }, async (t) => {
  const kept = (callSid: string) =>
    keptState(keptCall({ callSid, rootSid: callSid, streamOpenedMs: null, streamMs: 0, session: null }))
  const two = await fleet(t, 2, {}, { kept })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  const { owner } = (await two.store.read(sid)) as StoredCall
  await two.store.save(sid, owner, { state: Buffer.from('as it was kept') })
  two.freeze(0)
  let claims = 0
  two.storeFault = (op) => (op === 'claim' && claims++ === 0 ? { unanswered: true, afterMs: 1500 } : null)
  const answer = await post(`${second.url}/voice/order-status`, { form: ringing(sid) })
  t.type(heldAt(answer, second), 'string', 'within the time in which a new caller is answered')
  t.match((await untilHeldNoMore(answer, second, sid)).text, /<Stream/)
})

t.test('a ringing caller waits if node and store are lost', { buffered: true }, async (t) => {
  const owner = { node: 'gw-2', incarnation: 'run-2', epoch: 1, nonce: 'theirs' }
  for (const held of [{ said: 'hold' }, null]) {
    let nowMs = 0
    const node = {
      name: 'gw-1',
      onTakeOver: () => undefined,
      onRequest: () => undefined,
      isThisRun: () => false,
      claimFor: () => owner,
      store: { patient: { claim: () => Promise.reject(new GatewayError('STORE_DOWN', 'it does not answer')) } },
    }
    const options = {
      node,
      takes: () => true,
      held: () => held,
      words: () => ({ said: 'fallback' }),
      noted: () => ({ said: 'busy' }),
      log: createLog({ level: 'silent' }),
      clock: () => nowMs,
      sleep: (ms: number) => Promise.resolve(void (nowMs += ms)),
    }
    const recovery = new Recovery(options as unknown as RecoveryOptions<object>)
    const sid = parseCallSid('HD_silence00001')
    const content = { kind: null, state: 'ringing', direction: 'inbound' }
    const webhook = { route: 'voice', callSid: sid, content, agent: null } as unknown as ProvenWebhook
    const entry = { owner, phase: 'owned', state: null, log: [] } as unknown as StoredCall
    t.same(await recovery.recover(webhook, sid, entry), {
      is: 'answered',
      answer: held ?? { said: 'fallback' },
    })
  }
})

t.test('a slow owner keeps a call whose stream ended', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, {}, { kept: stateOf })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
  const before = two.sent.length
  two.freeze(0, PEER_ANSWER_MS + 500)
  const status = new URL(attribute(document, 'statusCallback').replaceAll('&amp;', '&'))
  const stopped = { sessionId: sid, streamEvent: 'stream-stopped', streamSid: 'ST1' }
  await post(`${second.url}${status.pathname}${status.search}`, { form: stopped })
  await until(() => two.sent.length === before + 2, 10_000, 'both questions to arrive')
  await two.look()
  t.equal((await two.store.read(sid))?.owner.node, 'gw-0')
  t.same(first.calls.get(sid).states, ['stream-stopped'], 'which is told once')
})

t.test('a slow, busy owner alone writes the record', { buffered: true }, async (t) => {
  const records: string[] = []
  const lost = ({ kept }: KeptState): void => void records.push(kept.callSid)
  const two = await fleet(t, 2, {}, { kept: stateOf, lost })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  two.freeze(0, PEER_ANSWER_MS + 500)
  await post(`${second.url}/voice/order-status`, { form: { ...ringing(sid), callSessionState: 'Completed' } })
  await until(() => first.calls.get(sid).states.length > 0, 10_000, 'the owner to be told')
  await two.look()
  t.equal((await two.store.read(sid))?.owner.node, 'gw-0')
  t.same(records, [])
})

t.test('the caller of an unreadable kept call hears words', { buffered: true }, async (t) => {
  const log = createLog({ level: 'silent' })
  const clock = (): number => performance.now()
  const two: Fleet = await fleet(
    t,
    2,
    {},
    {
      // As in production; the nodes of this test write nothing themselves.
      kept: (sid, entry) =>
        new CallKeeper({
          node: 'gw-1',
          alone: false,
          store: two.store,
          secrets: ['secret'],
          clock,
          log,
          tokenOf: () => null,
          inDoubt: () => false,
          lost: () => undefined,
        }).opened(sid, entry),
    },
  )
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const text = (sid: string, changes: object): string => JSON.stringify({ ...stateOf(sid).kept, ...changes })
  const sealed = (sid: string, changes: object, secret = 'secret'): Uint8Array =>
    new SealedCall(sid, [secret]).seal('state', text(sid, changes))
  const sids = Array.from({ length: 5 }, () => newSid())
  const states = [
    (sid: string) => sealed(sid, { version: 2 }),
    (sid: string) => sealed(sid, { version: 0 }),
    (sid: string) => sealed(sid, {}, 'another secret'),
    () => new Uint8Array([1, 2, 3]),
    (sid: string) => sealed(sid, {}),
  ]
  const questions: string[] = []
  for (const [i, sid] of sids.entries()) {
    const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
    const { pathname, search } = new URL(redirectUrl(document))
    questions.push(`${second.url}${pathname}${search}`)
    const owner = (await two.store.read(sid))?.owner
    if (owner === undefined) throw new Error('the call has no owner')
    await two.store.save(sid, owner, { state: states[i]?.(sid) ?? new Uint8Array() })
  }
  await two.kill(0)
  for (const [i, sid] of sids.entries()) {
    const answer = await post(questions[i] ?? '', { form: ringing(sid) })
    t.match(answer.text, i < 4 ? /All lines are busy/ : /<Stream/, `${i}`)
  }
  t.equal(await second.metric('mkondo_calls_recovered_total{result="unreadable"}'), 4)
  t.equal(await second.metric('mkondo_calls_recovered_total{result="words"}'), 4)
})

t.test('a draining survivor forwards the after-stream to an open node', { buffered: true }, async (t) => {
  const three = await fleet(t, 3, {}, { kept: stateOf })
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  const [sid, later] = [newSid(), newSid()]
  const documents: string[] = []
  for (const one of [sid, later])
    documents.push((await post(`${first.url}/voice/order-status`, { form: ringing(one) })).text)
  const asks = (gateway: Gateway, index: number): Promise<{ text: string }> => {
    const url = new URL(redirectUrl(documents[index] ?? ''))
    return post(`${gateway.url}${url.pathname}${url.search}`, { form: ringing(index === 0 ? sid : later) })
  }
  await three.kill(0)
  ;(three.nodes[1] as FleetNode).state = 'draining'
  await three.look()
  const answer = await asks(second, 0)
  t.match(answer.text, /<Stream/)
  t.equal(second.calls.find(sid), undefined)
  // Without NODE_URL the audio goes where the webhook came.
  const audio = new URL(attribute(answer.text, 'url').replaceAll('&amp;', '&'))
  audio.host = new URL(third.url).host
  const socket = await openSocket(audio.href)
  t.equal(third.calls.get(sid).state, 'streaming', 'the conversation goes on at the node that takes calls')
  socket.close()
  t.match(await second.metric('mkondo_calls_recovered_total{result="passed"}'), 1)
  for (const { calls } of [second, third]) calls.failWith = new GatewayError('DRAINING', 'no more calls')
  await three.look()
  t.match((await asks(second, 1)).text, /All lines are busy/, 'one hop at most')
})

/** Outcome that a tool waits for. */
const PENDING = {
  ...{ id: 'id-of-one-tool-call-22', key: 'k', tool: 'pay', callId: 't1', args: {}, pendingId: '' },
  ...{ phase: 'pending' as const, startedWallMs: 0, waitUntilWallMs: 90_000, untilWallMs: 210_000, status: null },
  ...{ settledWallMs: null, result: null, told: false, sent: false },
}

t.test('an outcome reaches the node that resumes the call [18]', { buffered: true }, async (t) => {
  const [talking, left, done] = [newSid(), newSid(), newSid()]
  const records: string[] = []
  const waiting = (sid: string): KeptState => {
    const state = stateOf(sid)
    return { ...state, kept: { ...state.kept, waits: sid === done ? [] : [PENDING] } }
  }
  const lost = ({ kept }: KeptState): void => void records.push(kept.callSid)
  const three = await fleet(t, 3, {}, { kept: waiting, lost })
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  const documents = new Map<string, string>()
  const urls = new Map<string, URL>()
  for (const sid of [talking, left, done]) {
    documents.set(sid, (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text)
    urls.set(sid, new URL(first.calls.get(sid).continueUrl?.(PENDING.id, 90) ?? ''))
  }
  const paid = { status: 'succeeded', result: { receipt: 'QX1' } }
  const posted = ({ url }: Gateway, sid: string) => {
    const { pathname, search } = urls.get(sid) as URL
    return post(`${url}${pathname}${search}`, { json: paid })
  }
  t.equal((await posted(third, talking)).status, 200)
  t.same(first.calls.get(talking).waitsNews, [{ id: PENDING.id, news: paid }], 'at the node that has the call')
  const node = three.nodes[2] as FleetNode
  const ask = node.ask.bind(node)
  node.ask = () => Promise.resolve({ result: 'failed', reason: 'network' })
  t.match(await posted(third, talking), { status: 503, code: 'MOVING' }, 'an owner that lives may take it later')
  node.ask = ask

  await three.kill(0)
  for (const sid of [talking, left, done])
    t.match(await posted(third, sid), { status: 503, code: 'MOVING' }, 'nobody has the call: it is to be sent again')
  const asks = new URL(redirectUrl(documents.get(talking) ?? ''))
  const answer = await post(`${second.url}${asks.pathname}${asks.search}`, { form: ringing(talking) })
  t.match(answer.text, /<Stream/)
  t.equal((await posted(third, talking)).status, 200)
  t.equal(second.calls.get(talking).waitsNews.length, 1, 'where the conversation goes on')
  t.equal(second.calls.resumed.get(talking)?.kept.result, null)

  for (const sid of [left, done])
    await post(`${second.url}/voice/order-status`, { form: { ...ringing(sid), callSessionState: 'Completed' } })
  await until(() => second.calls.find(left) !== undefined && records.length > 0, 10_000, 'both calls to be over')
  t.match(
    second.calls.resumed.get(left)?.kept,
    { result: { endReason: 'process-died' } },
    'no agent goes on: the caller has left',
  )
  t.equal((await posted(third, left)).status, 200)
  t.equal(second.calls.get(left).waitsNews.length, 1, 'where its record is made')
  t.same(records, [done])
  t.match(await posted(third, done), { status: 410, code: 'GONE' }, 'where nothing waits')
})

t.test('another node resumes the calls of a stopping node [16]', { buffered: true }, async (t) => {
  const given: string[] = []
  const two = await fleet(t, 2, {}, { kept: stateOf, lost: ({ kept }) => void given.push(kept.callSid) })
  const sids = [newSid(), newSid(), newSid()]
  const questions = new Map<string, URL>()
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  for (const sid of sids) {
    second.calls.failWith = new GatewayError('CAPACITY', 'full')
    const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
    questions.set(sid, new URL(redirectUrl(document)))
    Object.assign(first.calls.get(sid), { state: 'cut', lostStream: stateOf(sid) })
  }
  second.calls.failWith = null
  first.calls.draining = true
  ;(two.nodes[0] as FleetNode).state = 'draining'
  await two.look()
  const asks = async (gateway: Gateway, sid: string): Promise<string> => {
    const { pathname, search } = questions.get(sid) as URL
    return (await post(`${gateway.url}${pathname}${search}`, { form: ringing(sid) })).text
  }
  const [here, there, twice] = sids as [string, string, string]
  t.match(await asks(first, here), /<Stream/, 'asked at the node that is being stopped')
  t.match(await asks(second, there), /<Stream/, 'asked at the other one')
  const [once, again] = await Promise.all([asks(first, twice), asks(second, twice)])
  for (const answer of [once, again]) t.match(answer, /<Stream/, 'asked twice at once')
  for (const sid of sids) {
    t.equal((await two.store.read(sid))?.owner.node, 'gw-1')
    t.ok(second.calls.find(sid))
    t.ok(two.nodes[0]?.gaveUp(sid))
  }
  t.same(given, [], 'no record is made for them')
})

t.test('a caller waits if no other node is reachable [17]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3, {}, { kept: stateOf })
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  third.calls.failWith = new GatewayError('CAPACITY', 'full')
  ;(three.nodes[2] as FleetNode).state = 'draining'
  const sid = newSid()
  const form = ringing(sid)
  const url = new URL(redirectUrl((await post(`${first.url}/voice/order-status`, { form })).text))
  Object.assign(first.calls.get(sid), { state: 'cut', lostStream: stateOf(sid) })
  first.calls.draining = true
  first.calls.failWith = new GatewayError('DRAINING', 'this node accepts no new calls')
  ;(three.nodes[0] as FleetNode).state = 'draining'
  await three.look()
  await three.kill(1)
  const again = heldAt(await post(`${first.url}${url.pathname}${url.search}`, { form }), third)
  t.type(again, 'string', 'words, and the question again')
  t.equal(first.calls.get(sid).state, 'cut')
  third.calls.failWith = null
  ;(three.nodes[2] as FleetNode).state = 'open'
  ;(three.nodes[1] as FleetNode).state = 'draining'
  await until(
    () => three.nodes[0]?.alive().some(({ name, free }) => name === 'gw-2' && free > 0) === true,
    10_000,
    'room',
  )
  t.match((await untilHeldNoMore(await post(again as string, { form }), third, sid)).text, /<Stream/)
  t.equal(third.calls.find(sid)?.callSid, sid)
  t.equal(second.calls.find(sid), undefined)
})

t.test('a stopping node gives away a waiting call [20]', { buffered: true }, async (t) => {
  const ended = (sid: string): KeptState => {
    const state = stateOf(sid)
    const result = lostResult(state.kept, 'outcome')
    return { ...state, kept: { ...state.kept, result, waits: [PENDING] } }
  }
  const two = await fleet(t, 2, {}, { kept: ended })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sids = [newSid(), newSid()] as const
  second.calls.failWith = new GatewayError('CAPACITY', 'full')
  for (const sid of sids) await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  second.calls.failWith = null
  ;(two.nodes[0] as FleetNode).state = 'draining'
  await two.look()
  t.equal(await first.edge.give(parseCallSid(sids[0])), true)
  t.equal((await two.store.read(sids[0]))?.owner.node, 'gw-1')
  t.ok(second.calls.find(sids[0]))
  t.ok(two.nodes[0]?.gaveUp(sids[0]), 'and this one has given it up')
  ;(two.nodes[1] as FleetNode).state = 'draining'
  await two.look()
  t.equal(await first.edge.give(parseCallSid(sids[1])), false, 'nobody takes it')
  t.equal((await two.store.read(sids[1]))?.owner.node, 'gw-0')
})

t.test("a stopped node's waiting call is taken over [19]", { buffered: true }, async (t) => {
  const ended = (sid: string): KeptState => {
    const state = stateOf(sid)
    return { ...state, kept: { ...state.kept, result: lostResult(state.kept, 'outcome'), waits: [PENDING] } }
  }
  const two = await fleet(t, 2, {}, { kept: ended })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const [node] = two.nodes as readonly [FleetNode, FleetNode]
  const sid = newSid()
  await post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  const url = new URL(first.calls.get(sid).continueUrl?.(PENDING.id, 90) ?? '')
  node.leaveBehind()
  await node.stop()
  await two.kill(0)
  const posted = () => post(`${second.url}${url.pathname}${url.search}`, { json: { status: 'failed', result: 1 } })
  t.match(await posted(), { status: 503, code: 'MOVING' }, 'not yet')
  const takenOver = (): boolean => second.calls.find(sid) !== undefined
  const timePasses = (): boolean => {
    two.aheadMs += 900 // less than what counts as a stall of the event loop
    ;(two.nodes[1] as FleetNode).state = 'open' // a heartbeat
    return takenOver()
  }
  await until(timePasses, 10_000, 'the other to take it over, without a webhook of its carrier')
  t.equal((await posted()).status, 200)
})

t.test('a call without kept state begins anew [14]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  const [first, second, third] = three.gateways as readonly [Gateway, Gateway, Gateway]
  const begins = async (direction: 'inbound' | 'outbound', state: string): Promise<void> => {
    const sid = newSid()
    const form: Record<string, string> = { ...ringing(sid), direction, callSessionState: state }
    const { text } = await post(`${first.url}/voice/order-status`, { form })
    const { pathname, search } = new URL(redirectUrl(text))
    asks.push(async () => {
      const asked = { ...form, callSessionState: 'StreamStopped' }
      const document = await post(`${second.url}${pathname}${search}`, { form: asked })
      t.match(document.text, /<Stream/, `${direction}: a stream`)
      t.match(second.calls.started.at(-1), { callSid: sid, from: form['callerNumber'], direction }, 'with its parties')
      t.match(await three.store.read(sid), { owner: { node: 'gw-1' } })
      t.equal(third.calls.find(sid), undefined)
      t.equal(second.calls.started.filter(({ callSid }) => callSid === sid).length, 1)
    })
  }
  const asks: (() => Promise<void>)[] = []
  await begins('inbound', 'Ringing')
  await begins('outbound', 'Answered')
  await three.kill(0)
  for (const ask of asks) await ask()
  t.equal(await second.metric('mkondo_calls_recovered_total{result="anew"}'), 2)
  t.equal(await second.metric('mkondo_calls_recovered_total{result="words"}'), 0)
})

/** A survivor of `gw-0`, over a store, and what it does at the carrier. */
function survivor(store: MemoryStore, more: Readonly<Record<string, unknown>>) {
  const hungUp: string[] = []
  const node = {
    name: 'gw-1',
    store: { patient: store },
    claimFor: () => ({ node: 'gw-1', incarnation: 'b', nonce: 'claim' }),
    onTakeOver: () => undefined,
    onRequest: () => undefined,
    expect: () => undefined,
    released: () => undefined,
    gaveUp: () => false,
    isThisRun: () => true,
    mayAct: () => Promise.resolve(true),
    confirm: () => Promise.resolve('ok'),
  }
  const carrier = {
    getCall: () => Promise.resolve({ status: 'in-progress' }),
    hangup: (sid: string) => Promise.resolve(void hungUp.push(sid)),
  }
  const options = {
    ...{ node, carrier, log: createLog({ level: 'silent' }), clock: () => 0, sleep: () => Promise.resolve() },
    ...{ takes: () => true, kept: () => null, isElsewhere: () => Promise.resolve(false), noted: () => 'nothing' },
    ...more,
  }
  const recovery = new Recovery(options as unknown as RecoveryOptions<object>)
  const permit = {
    mayAsk: false,
    isLost: ({ node: at }: { readonly node: string }) => at === 'gw-0',
    mayClaim: () => true,
  }
  return { recovery, permit, hungUp }
}

const OF_DEAD = { node: 'gw-0', incarnation: 'a', nonce: 'n' }
const answeredOrder = (sid: string, state: string, kind: string | null = null): ProvenWebhook =>
  ({
    ...{ route: 'voice', callSid: sid, clientRequestId: 'row-a-1', agent: null },
    content: { callSid: sid, direction: 'outbound', kind, state },
  }) as unknown as ProvenWebhook

t.test("a ringing call survives its node's death [15]", async (t) => {
  const store = new MemoryStore(Date.now)
  const [rings, talks, held] = [newSid(), newSid(), newSid()]
  for (const sid of [rings, talks, held]) await store.claim(sid, { ...OF_DEAD, nonce: sid }, 0)
  const hungUp: string[] = []
  const { recovery, permit } = survivor(store, {
    isElsewhere: (sid: string) => Promise.resolve(sid === talks),
    carrier: {
      getCall: (sid: string) => Promise.resolve({ status: sid === rings ? 'ringing' : 'in-progress' }),
      hangup: (sid: string) => Promise.resolve(void hungUp.push(sid)),
    },
  })
  await recovery.takeOver([rings, talks, held], { ...permit, mayAsk: true })
  t.same(hungUp, [held])
  t.match(await store.read(rings), { owner: { node: 'gw-0' } }, 'whoever gets their answer opens it')
  t.match(await store.read(talks), { owner: { node: 'gw-0' } }, 'a node of an earlier version has it without a claim')
  t.match(await store.read(held), { phase: 'over' })
})

t.test('a person who has just answered is not hung up', async (t) => {
  const store = new MemoryStore(Date.now)
  const sid = newSid()
  await store.claim(sid, OF_DEAD, 0)
  const sleeps: number[] = []
  const { recovery, permit, hungUp } = survivor(store, {
    // The webhook of the answer reaches another node meanwhile.
    sleep: async (ms: number) => {
      sleeps.push(ms)
      await store.claim(sid, { node: 'gw-2', incarnation: 'c', nonce: 'theirs' }, 1)
    },
  })
  await recovery.takeOver([sid], permit)
  t.same(sleeps, [FALLBACK_AFTER_MS])
  t.same(hungUp, [])
  t.match(await store.read(sid), { owner: { node: 'gw-2' }, phase: 'claimed' })
})

t.test('a restarted node keeps its ringing call', async (t) => {
  const store = new MemoryStore(Date.now)
  const sid = newSid()
  await store.claim(sid, OF_DEAD, 0)
  let isBack = false
  const { recovery, permit, hungUp } = survivor(store, { sleep: () => Promise.resolve(void (isBack = true)) })
  await recovery.takeOver([sid], { ...permit, mayClaim: () => !isBack })
  t.same(hungUp, [])
  t.match(await store.read(sid), { owner: { node: 'gw-0' } })
})

t.test('a person who answers during a takeover gets an agent', async (t) => {
  for (const state of ['answered', 'unknown']) {
    const store = new MemoryStore(Date.now)
    const sid = parseCallSid(newSid())
    await store.claim(sid, OF_DEAD, 0)
    let answer: unknown
    const { recovery, permit, hungUp } = survivor(store, {
      anew: () => ({ answer: 'a stream', isOpen: true }),
      carrier: {
        getCall: async () => {
          const entry = await store.read(sid)
          if (entry !== null && recovery.has(sid))
            answer = await recovery.recover(answeredOrder(sid, state), sid, entry)
          return { status: 'in-progress' }
        },
        hangup: (ended: string) => Promise.resolve(void hungUp.push(ended)),
      },
    })
    await recovery.takeOver([sid], permit)
    t.same(answer, { is: 'answered', answer: 'a stream' }, state)
    t.same(hungUp, [], state)
    t.match(await store.read(sid), { owner: { node: 'gw-1' }, phase: 'claimed' }, state)
  }
})

t.test('a caller refused at a new beginning leaves no call', async (t) => {
  const store = new MemoryStore(Date.now)
  const sid = parseCallSid(newSid())
  await store.claim(sid, OF_DEAD, 0)
  const entry = (await store.read(sid)) as StoredCall
  const { recovery } = survivor(store, { anew: () => ({ answer: 'all lines are busy', isOpen: false }) })
  const asks = { ...answeredOrder(sid, 'stream-stopped'), route: 'after-stream' } as unknown as ProvenWebhook
  t.same(await recovery.recover(asks, sid, entry), { is: 'answered', answer: 'all lines are busy' })
  t.match(recovery.counters, { anew: 0, words: 1 })
  t.equal(recovery.has(sid), false)
  t.match(await store.read(sid), { phase: 'over' })
})

t.test('a late copy of an answer opens no second stream', async (t) => {
  const store = new MemoryStore(Date.now)
  const sid = parseCallSid(newSid())
  const { owner } = await store.claim(sid, OF_DEAD, 0)
  await store.save(sid, owner, { state: Buffer.from('kept') })
  const entry = await store.read(sid)
  const { recovery } = survivor(store, { kept: () => stateOf(sid) })
  for (const known of [entry, { ...entry, state: null }] as readonly StoredCall[])
    t.same(await recovery.recover(answeredOrder(sid, 'answered'), sid, known), { is: 'answered', answer: 'nothing' })
})

t.test('a caller held in silence is called back once', { buffered: true }, async (t) => {
  const asked: string[] = []
  let status = 'in-progress'
  const one = await fleet(
    t,
    1,
    {},
    {
      carrier: {
        getCall: () => {
          asked.push('get')
          return Promise.resolve({ status, answeredAt: null })
        },
        hangup: (_sid, options) => Promise.resolve(void asked.push(options?.idempotencyKey ?? '')),
      },
      callBack: ({ kept }) => Promise.resolve((asked.push(`ring ${kept.callSid}`), true)),
    },
  )
  const gateway = one.gateways[0] as Gateway
  const sid = newSid()
  await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })
  await gateway.edge.streamLost(stateOf(sid), () => true)
  t.same(asked.splice(0), ['get', `${sid}:lost`, `ring ${sid}`])
  await gateway.edge.streamLost(stateOf(sid), () => true)
  t.same(asked.splice(0), ['get', `${sid}:lost`], 'once')
  const late = newSid()
  await post(`${gateway.url}/voice/order-status`, { form: ringing(late) })
  let cut = true
  const lost = gateway.edge.streamLost(stateOf(late), () => cut)
  cut = false // `completed` came meanwhile
  await lost
  t.same(asked.splice(0), ['get'], 'a late completed cancels it')
  status = 'completed'
  await gateway.edge.streamLost(stateOf(late), () => true)
  t.same(asked.splice(0), ['get'], 'who has left is not rung')
})

t.test('a lost call without resumption gets one record [3]', { buffered: true }, async (t) => {
  const records: string[] = []
  const two = await fleet(
    t,
    2,
    {},
    {
      kept: (sid) => ({ ...stateOf(sid), kept: { ...stateOf(sid).kept, session: CLOSING.session } }),
      lost: ({ kept }) => void records.push(kept.callSid),
    },
  )
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const [words, left] = [newSid(), newSid()]
  const documents = new Map<string, string>()
  for (const sid of [words, left])
    documents.set(sid, (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text)
  await two.kill(0)
  const url = new URL(redirectUrl(documents.get(words) ?? ''))
  const asks = (): Promise<{ text: string }> =>
    post(`${second.url}${url.pathname}${url.search}`, { form: ringing(words) })
  const completed = { ...ringing(left), callSessionState: 'Completed' }
  const leaves = (): Promise<unknown> => post(`${second.url}/voice/order-status`, { form: completed })
  t.match((await asks()).text, /All lines are busy/)
  await Promise.all([leaves(), leaves()])
  await until(() => records.length === 2, 5000, 'the records')
  t.same(records.splice(0).sort(), [words, left].sort())
  await Promise.all([asks(), leaves()])
  t.same(records, [], 'once')
})

t.test('a completed webhook opens nothing while the store is down', { buffered: true }, async (t) => {
  const one = await fleet(t, 1)
  const gateway = one.gateways[0] as Gateway
  const sid = newSid()
  const document = (await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })).text
  const url = new URL(redirectUrl(document))
  gateway.calls.calls.delete(sid)
  one.storeDown = true
  const completed = { ...ringing(sid), callSessionState: 'Completed' }
  const answer = await post(`${gateway.url}/voice/order-status`, { form: completed })
  t.notMatch(answer.text, /<Stream/)
  t.type(heldAt(await post(`${gateway.url}${url.pathname}${url.search}`, { form: ringing(sid) }), gateway), 'string')
})

t.test('an after-stream waits for a silent store and resumes [4]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, {}, { kept: stateOf })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const sid = newSid()
  const document = (await post(`${first.url}/voice/order-status`, { form: ringing(sid) })).text
  const url = new URL(redirectUrl(document))
  await two.kill(0)
  let asked = false
  two.storeDown = true
  two.storeFault = (op, [key]) => {
    asked ||= op === 'read' && key === sid
    return null
  }
  const answer = post(`${second.url}${url.pathname}${url.search}`, { form: ringing(sid) })
  await until(() => asked, 5000, 'the store to be asked')
  two.storeDown = false
  t.match((await answer).text, /<Stream/)
})

t.test('a slow store delays recovery but prevents none [5]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, {}, { kept: stateOf })
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const [before, meanwhile] = [newSid(), newSid()]
  const rings = (sid: string): Promise<{ text: string }> =>
    post(`${first.url}/voice/order-status`, { form: ringing(sid) })
  const asks = async (document: { text: string }, sid: string): Promise<string> => {
    const { pathname, search } = new URL(redirectUrl(document.text))
    const answer = await post(`${second.url}${pathname}${search}`, { form: ringing(sid) })
    return (await untilHeldNoMore(answer, second, sid)).text
  }
  const document = await rings(before)
  two.storeMs = 800
  const other = await rings(meanwhile)
  t.match(other.text, /<Stream/, 'a new caller does not wait for it')
  await until(async () => (await two.store.read(meanwhile))?.phase === 'owned', 10_000, 'the call to be claimed')
  await two.kill(0)
  const answers = await Promise.all([asks(document, before), asks(other, meanwhile)])
  for (const answer of answers) t.match(answer, /<Stream/)
  t.equal(await second.metric('mkondo_calls_recovered_total{result="resumed"}'), 2)
})

t.test('live calls are claimed again after the store is emptied', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = two.gateways as readonly [Gateway, Gateway]
  const post2 = (gateway: Gateway, sid: string, state: string): Promise<{ text: string }> =>
    post(`${gateway.url}/voice/order-status`, { form: { ...ringing(sid), callSessionState: state } })
  const [live, over] = [newSid(), newSid()]
  for (const sid of [live, over]) await post2(first, sid, 'Ringing')
  const owner = two.ownerOf(live)
  const other = owner === 0 ? second : first
  const before = (await two.store.read(live))?.owner
  for (const { calls } of two.gateways) calls.calls.delete(over)

  two.empty()
  t.notMatch((await post2(other, over, 'Completed')).text, /<Stream/, 'also before a heartbeat has shown it')
  t.match(await post2(other, live, 'Completed'), { text: /<Response\/>|<Response><\/Response>/ })
  t.equal(two.call(live).states.at(-1), 'completed', 'its owner is found without the store')
  await two.look()
  const after = (await two.store.read(live))?.owner
  t.match(after, { node: before?.node, incarnation: before?.incarnation, epoch: 2 }, 'the owner has claimed it again')
  t.equal(two.ownerOf(live), owner, 'and it was not given up')
  t.match((await post2(other, newSid(), 'Ringing')).text, /<Stream/, 'a new call is taken all the same')
})

t.test('a first webhook that says completed opens a call', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const form = { ...ringing(newSid()), callSessionState: 'Completed' }
  t.match((await post(`${(two.gateways[0] as Gateway).url}/voice/order-status`, { form })).text, /<Stream/)
})

/** A carrier that has every call, and notes which it is asked to end. */
const carrierOf = (hungUp: string[]) =>
  ({
    getCall: () => Promise.resolve({ status: 'in-progress', answeredAt: null }),
    hangup: (callSid: string) => Promise.resolve(void hungUp.push(callSid)),
  }) as unknown as RecoveryOptions<object>['carrier']

t.test('a failover leaves a call where its stream is [9]', { buffered: true }, async (t) => {
  const hungUp: string[] = []
  const three = await fleet(t, 3, {}, { kept: stateOf, carrier: carrierOf(hungUp) })
  const second = three.gateways[1] as Gateway
  const [dead, ...alive] = three.nodes as readonly [FleetNode, FleetNode, FleetNode]
  const [one, other] = [newSid(), newSid()]
  const sockets: WebSocket[] = []
  for (const sid of [one, other]) {
    const { text } = await post(`${second.url}/voice/order-status`, { form: ringing(sid) })
    sockets.push(await openSocket(attribute(text, 'url').replaceAll('&amp;', '&')))
    await until(() => second.calls.find(sid)?.state === 'streaming', 10_000, 'the stream')
    const { epoch = 0 } = (await three.store.read(sid))?.owner ?? {}
    const { owner } = await three.store.claim(sid, dead.claimFor(null), epoch)
    await three.store.save(sid, owner, {})
  }
  await three.kill(0)
  const entryOf = async (sid: string): Promise<StoredCall> => (await three.store.read(sid)) as StoredCall
  alive[1].streamOver(one, (await entryOf(one)).owner)
  await until(async () => (await entryOf(one)).owner.node === 'gw-1', 10_000, 'the call to be claimed again')
  const timePasses = async (): Promise<boolean> => {
    three.aheadMs += 900 // less than what counts as a stall of the event loop
    for (const node of alive) node.state = 'open' // a heartbeat
    return (await entryOf(other)).owner.node === 'gw-1'
  }
  await until(timePasses, 10_000, 'the other to be claimed again when the dead node is found')
  for (const sid of [one, other]) t.equal(second.calls.get(sid).state, 'streaming')
  t.same(hungUp, [])
  for (const socket of sockets) socket.close()
})

/** Calls of the dead `gw-0` with which `gw-1` goes on without a stream, and which the store does not know to be there. */
async function withoutTakeover(t: Test, calls: number) {
  const hungUp: string[] = []
  const three = await fleet(t, 3, {}, { kept: stateOf, carrier: carrierOf(hungUp) })
  const [dead, second, third] = three.nodes as readonly [FleetNode, FleetNode, FleetNode]
  const sids = Array.from({ length: calls }, () => newSid())
  for (const sid of sids) {
    let epoch = 0
    for (const node of [dead, third, second]) {
      const { owner } = await three.store.claim(sid, node.claimFor(null), epoch++)
      if (node === second) second.expect(sid, owner)
    }
    t.equal(await second.confirm(sid), 'ok')
  }
  await three.kill(0)
  await three.failover(async (replica) => {
    for (const sid of sids) {
      const { owner } = await replica.claim(sid, dead.claimFor(null), 0)
      await replica.save(sid, owner, {})
    }
  })
  const ownerOf = async (sid: string) => ((await three.store.read(sid)) as StoredCall).owner
  return { three, sids, hungUp, second, third, ownerOf }
}

t.test('a failover leaves a call at its new node [10]', { buffered: true }, async (t) => {
  const { three, sids, hungUp, second, third, ownerOf } = await withoutTakeover(t, 2)
  const [one, other] = sids as [string, string]
  third.streamOver(one, await ownerOf(one))
  await until(async () => (await ownerOf(one)).node !== 'gw-0', 10_000, 'the call to be claimed again')
  const timePasses = async (): Promise<boolean> => {
    three.aheadMs += 900 // less than what counts as a stall of the event loop
    for (const node of [second, third]) node.state = 'open' // a heartbeat
    return (await ownerOf(other)).node !== 'gw-0' && third.counters.takeOvers.refused > 0
  }
  await until(timePasses, 10_000, 'the other to be claimed again when the dead node is found')
  for (const sid of sids) {
    t.equal((await ownerOf(sid)).node, 'gw-1')
    t.equal(await second.confirm(sid), 'ok')
    t.ok(second.heldIn(sid, 3), 'what it has signed for the call still counts')
  }
  t.same(hungUp, [])
})

t.test('a call stays at its slow new node [11]', { buffered: true }, async (t) => {
  const { three, sids, hungUp, third, ownerOf } = await withoutTakeover(t, 1)
  const [sid] = sids as [string]
  three.freeze(1, PEER_ANSWER_MS + 200)
  third.streamOver(sid, await ownerOf(sid))
  await until(async () => (await ownerOf(sid)).node !== 'gw-0', 10_000, 'the call to be claimed again')
  t.equal((await ownerOf(sid)).node, 'gw-1')
  t.same(hungUp, [])
})

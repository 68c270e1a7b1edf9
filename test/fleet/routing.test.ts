import { once } from 'node:events'
import t from 'tap'
import { STORE_DEADLINE_MS } from '../../src/core/limits.js'
import { orderKey } from '../../src/fleet/store/call-store.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { outboundCalls } from '../support/outbound-calls.js'
import { endedCall } from '../support/record.js'
import { until } from '../support/until.js'
import { fleet } from './nodes.js'
import type { Fleet } from './nodes.js'
import {
  SECRET,
  attribute,
  newSid,
  openSocket,
  post,
  rawRequest,
  redirectUrl,
  ringing,
  upgradeStatus,
} from '../edge/gateway.js'
import type { Gateway, Posted } from '../edge/gateway.js'
import type { ScriptedCall } from '../edge/scripted-calls.js'
import { claimedOrders } from '../../src/fleet/routing.js'
import type { NewCall } from '../../src/workers/main/live-call.js'
import type { OutboundCarrier } from '../../src/workers/main/outbound-calls.js'

// Most of each test is waiting for times that are its subject: they wait beside each other.
t.jobs = 4

const at = ({ gateways }: Fleet, index: number): Gateway => gateways[index] as Gateway
const voice = (gateway: Gateway, form: Readonly<Record<string, string>>, more = {}): Promise<Posted> =>
  post(`${gateway.url}/voice/order-status`, { form, ...more })
const after = (
  gateway: Gateway,
  document: string,
  form: Readonly<Record<string, string>>,
  sign?: Parameters<typeof post>[1],
): Promise<Posted> => {
  const url = new URL(redirectUrl(document))
  return post(`${gateway.url}${url.pathname}${url.search}`, { form, ...sign })
}
const routed = (gateway: Gateway, result: string): Promise<number> =>
  gateway.metric(`mkondo_webhooks_routed_total{result="${result}"}`)

t.test('an early tool call waits for a slow store [7]', { buffered: true }, async (t) => {
  const one = await fleet(t, 1)
  const [gateway] = one.gateways as readonly [Gateway]
  const [node] = one.nodes as readonly [FleetNode]
  one.storeFault = (op) => (op === 'save' ? { beforeMs: STORE_DEADLINE_MS + 50 } : null)
  const sid = newSid()
  const { text } = await post(`${gateway.url}/voice/order-status`, { form: ringing(sid) })
  const socket = await openSocket(attribute(text, 'url').replaceAll('&amp;', '&'))
  t.same(await Promise.all([node.mayAct(sid, false), node.mayAct(sid, true)]), [true, true])
  socket.close()
})

t.test('a new call stays local unless another node is emptier', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const here = newSid()
  t.match((await voice(at(two, 0), ringing(here))).text, /<Stream/)
  t.equal(two.ownerOf(here), 0)
  at(two, 0).calls.capacity = 2
  await two.look()
  const there = newSid()
  t.match((await voice(at(two, 0), ringing(there))).text, /<Stream/)
  t.equal(two.ownerOf(there), 1, 'half full against empty')
})

t.test('a webhook at any node is answered by the owner', { buffered: true }, async (t) => {
  const three = await fleet(t, 3, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  for (let round = 0; round < 6; round++) {
    const sid = newSid()
    const [first, second, third] = [round % 3, (round + 1) % 3, (round + 2) % 3].map((index) => at(three, index)) as [
      Gateway,
      Gateway,
      Gateway,
    ]
    const document = await voice(first, ringing(sid), sign)
    t.match(
      await voice(second, ringing(sid), sign),
      { status: 200, text: document.text },
      'asked again elsewhere: the same document, no second call',
    )
    t.equal(three.gateways.filter(({ calls }) => calls.find(sid) !== undefined).length, 1)
    const call = three.call(sid)

    await voice(third, { ...ringing(sid), callSessionState: 'Active' }, sign)
    await post(`${second.url}/events`, {
      json: { kind: 'call.answered', event_id: `evt_${sid}`, data: { call_id: sid } },
      ...sign,
    })
    await post(`${third.url}/events`, {
      json: { kind: 'call.answered', event_id: `evt_${sid}`, data: { call_id: sid } },
      ...sign,
    })
    const status = new URL(attribute(document.text, 'statusCallback'))
    await post(`${third.url}${status.pathname}${status.search}`, {
      form: { streamEvent: 'stream-started', streamSid: 'MZ_1', sessionId: sid },
    })
    t.same(
      call.states.slice(-3),
      ['answered', 'answered', 'stream-started'],
      'the state, the event and the stream, each once',
    )

    call.state = 'after'
    call.next = [{ verb: 'dial', numbers: ['+254700000003'] }]
    t.match((await after(second, document.text, ringing(sid))).text, /<Dial/)
    t.same(call.askers, ['after-stream'])
  }
  t.match(await voice(at(three, 0), ringing(newSid())), { status: 401 }, 'nothing that is unsigned goes anywhere')
  const before = await Promise.all(three.gateways.map((gateway) => routed(gateway, 'forwarded')))
  t.ok(before.reduce((sum, value) => sum + value) > 6)
  await post(`${at(three, 1).url}/events`, {
    json: { kind: 'call.answered', event_id: 'e', data: { call_id: newSid() } },
  })
  t.same(await Promise.all(three.gateways.map((gateway) => routed(gateway, 'forwarded'))), before)
})

t.test("an after-stream at another node waits for the socket's end", { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  for (const [index, state] of (['streaming', 'waiting'] as const).entries()) {
    const sid = newSid()
    const document = await voice(at(three, 0), ringing(sid))
    const call = three.call(sid)
    call.state = state
    const askedAtMs = performance.now()
    const answer = await after(
      three.gateways.find(({ calls }) => calls.find(sid) === undefined) as Gateway,
      document.text,
      ringing(sid),
    )
    t.equal(answer.status, 200)
    t.ok(performance.now() - askedAtMs > 350)
    t.equal(call.detachedWith, index === 0 ? 1006 : null)
    t.equal(answer.text.includes('<Stream'), index === 1, 'a stream that could not be opened is offered again')
  }
})

t.test('simultaneous first webhooks at several nodes open a call once', { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  for (let round = 0; round < 20; round++) {
    const sid = newSid()
    const answers = await Promise.all(three.gateways.map((gateway) => voice(gateway, ringing(sid))))
    t.equal(new Set(answers.map(({ text }) => text)).size, 1, 'the same document for each')
    t.match(answers[0]?.text, /<Stream/)
    t.equal(three.gateways.filter(({ calls }) => calls.find(sid) !== undefined).length, 1)
  }
})

t.test('a webhook is verified and parsed only where it arrives', { buffered: true }, async (t) => {
  // Two secrets: the owner would refuse the signature, and the token is forwarded to nobody.
  const two = await fleet(t, 2, (index) => ({
    webhookSecrets: [index === 0 ? SECRET : 'whsec_of_another'],
    publicUrl: 'https://voice.example.com',
    nodeUrl: `https://voice.example.com/p/${index}`,
  }))
  at(two, 0).calls.fill()
  await two.look()
  const sign = { sign: { secret: SECRET } }
  const sid = newSid()
  const document = await voice(at(two, 0), ringing(sid), sign)
  t.match(document.text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
  t.match(
    await voice(at(two, 1), ringing(sid), sign),
    { status: 403 },
    'at the owner itself the same signature is worth nothing',
  )
  two.sent.length = 0
  await post(`${at(two, 0).url}/events`, {
    json: { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } },
    ...sign,
  })
  t.equal(
    (await after(at(two, 0), document.text, { ...ringing(sid), callSessionState: 'Completed' }, sign)).status,
    200,
  )
  t.same(two.call(sid).states.slice(-2), ['answered', 'completed'])
  t.equal(two.sent.length, 2)
  for (const webhook of two.sent) t.notMatch(webhook, /signature|v1=|[?&]t=/, 'neither signature nor token travels')
})

t.test('callers hear the fallback if all nodes are full [17]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  // Node 1 does not know yet that node 0 is full, so its heartbeat would still get the call.
  at(two, 0).calls.fill()
  const sid = newSid()
  t.match((await voice(at(two, 0), ringing(sid))).text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
  await voice(at(two, 0), { ...ringing(sid), callSessionState: 'Active' })
  t.ok(two.call(sid).states.includes('answered'), two.call(sid).states.join(' '))

  void at(two, 1).calls.drain()
  for (const gateway of two.gateways) {
    const refused = await voice(gateway, ringing(newSid()))
    t.match(refused.text, /All lines are busy/)
    t.notMatch(refused.text, /<Stream/)
  }
  t.equal(two.gateways.flatMap(({ calls }) => calls.refusedCalls).length, 2, 'each is refused by one node')
})

t.test("a silent node's new calls go to other nodes [16]", { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  at(two, 0).calls.capacity = 1
  at(two, 0).calls.fill()
  await two.look()
  two.freeze(1)
  const startedMs = performance.now()
  t.match((await voice(at(two, 0), ringing(newSid()))).text, /All lines are busy/, 'nobody else: the fallback')
  t.ok(performance.now() - startedMs < 10_000, 'within what the carrier waits')
  t.ok((await routed(at(two, 0), 'unanswered')) >= 1)

  const three = await fleet(t, 3)
  at(three, 0).calls.fill()
  await three.look()
  await three.kill(1)
  for (let round = 0; round < 4; round++) {
    const sid = newSid()
    t.match((await voice(at(three, 0), ringing(sid))).text, /<Stream/)
    t.equal(three.ownerOf(sid), 2)
  }
})

t.test('a slow node takes a call if others are full', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  at(two, 0).calls.fill()
  await two.look()
  two.freeze(1, 400)
  const sid = newSid()
  t.match((await voice(at(two, 0), ringing(sid))).text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
})

t.test('a silent node is avoided unless others are full [12]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  at(two, 0).calls.capacity = 4
  await voice(at(two, 0), ringing(newSid()))
  await two.look()
  two.freeze(1)
  for (let round = 0; round < 3; round++) {
    const sid = newSid()
    t.match((await voice(at(two, 0), ringing(sid))).text, /<Stream/)
    t.equal(two.ownerOf(sid), 0)
  }
  t.equal(await routed(at(two, 0), 'unanswered'), 1, 'one caller waited')
  await voice(at(two, 0), ringing(newSid()))
  t.equal(await routed(at(two, 0), 'unanswered'), 2, 'full here: the silent one is asked all the same')
})

t.test('a failed placement falls back to the local node', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = two.nodes as [FleetNode, FleetNode]
  at(two, 0).calls.capacity = 4
  await voice(at(two, 0), ringing(newSid()))
  await two.look()
  two.freeze(1)
  two.storeMs = 60
  const slow = newSid()
  // The other node is silent until the time limit, so this node claims the call again, for itself.
  t.match((await voice(at(two, 0), { ...ringing(slow), clientRequestId: 'nobodys-order' })).text, /<Stream/)
  t.match(await two.store.read(slow), { phase: 'owned', owner: { node: 'gw-0', epoch: 2 } })
  two.storeMs = 0

  const claimed = newSid()
  await two.store.claim(claimed, second.claimFor(null), 0)
  t.match((await voice(at(two, 0), ringing(claimed))).text, /<Stream/, 'its claim was not confirmed within a second')
  t.match(await two.store.read(claimed), { phase: 'owned', owner: { node: 'gw-0', epoch: 2 } })

  const lost = newSid()
  await two.store.claim(lost, second.claimFor(null), 0)
  // When this one claims it, another node has claimed it again, and is silent too.
  const claim = first.store.claim.bind(first.store)
  first.store.claim = async (...args) => {
    await two.store.claim(lost, second.claimFor(null), 1)
    return claim(...args)
  }
  t.match((await voice(at(two, 0), ringing(lost))).text, /All lines are busy/)
  t.equal(at(two, 0).calls.find(lost), undefined, 'a call of another node')
  t.equal(await at(two, 0).metric('mkondo_calls_refused_total{reason="no-owner"}'), 1)
  t.match(at(two, 0).calls.refusedCalls, [{ callSid: lost, reason: 'no-owner' }])
})

t.test('a caller of a frozen node gets one stream [8]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  await voice(at(two, 1), ringing(sid)) // whose answer the balancer does not wait for
  t.equal(two.ownerOf(sid), 1)
  two.freeze(1)
  const again = await voice(at(two, 0), ringing(sid))
  t.match(again.text, /<Stream/)
  t.match(await two.store.read(sid), { phase: 'owned', owner: { node: 'gw-0', epoch: 2 } })
  t.equal((await voice(at(two, 0), ringing(sid))).text, again.text)
  t.equal(await two.nodes[1]?.confirm(sid), 'lost', 'the first gives its copy up: nobody makes a record of it')
  t.equal((await voice(at(two, 1), ringing(sid))).text, again.text, 'and answers with it no more')
})

t.test('a draining node remembers a stopped peer for two minutes', { buffered: true }, async (t) => {
  const lone = await fleet(t, 1)
  t.equal(lone.nodes[0]?.takesCallsElsewhere, 'never')
  const it = await fleet(t, 2)
  const [here, other] = it.nodes as readonly [FleetNode, FleetNode]
  t.equal(here.takesCallsElsewhere, 'now')
  await other.stop()
  await until(
    () => {
      here.state = 'open' // a heartbeat
      return here.others().length === 0
    },
    10_000,
    'the other node to be forgotten',
  )
  t.equal(here.takesCallsElsewhere, 'soon')
  it.aheadMs += 121_000
  t.equal(here.takesCallsElsewhere, 'never')
})

/** Its owner has kept something of the call, which nobody can read. */
async function talked({ store }: Fleet, sid: string): Promise<void> {
  const { owner } = (await store.read(sid)) ?? {}
  if (owner === undefined) throw new Error('the call has no owner')
  await store.save(sid, owner, { state: new Uint8Array(1) })
}

t.test("a dead node's call is not opened as new [15]", { buffered: true }, async (t) => {
  const two = await fleet(t, 2, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  const sid = newSid()
  const document = await voice(at(two, 1), ringing(sid), sign)
  t.equal(two.ownerOf(sid), 1)
  await talked(two, sid)
  await two.kill(1)
  t.match(
    (await after(at(two, 0), document.text, ringing(sid))).text,
    /All lines are busy/,
    'its caller hears the words of whoever is there',
  )
  const completed = await voice(at(two, 0), { ...ringing(sid), callSessionState: 'Completed' }, sign)
  t.notMatch(completed.text, /<Stream/)
  t.equal(at(two, 0).calls.find(sid), undefined)
})

t.test('a takeover continues although its claim is answered late [6]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, { webhookSecrets: [SECRET] })
  const sid = newSid()
  const document = await voice(at(two, 1), ringing(sid), { sign: { secret: SECRET } })
  await talked(two, sid)
  await two.kill(1)
  let claims = 0
  two.storeFault = (op) => (op === 'claim' && claims++ === 0 ? { unanswered: true } : null)
  t.match((await after(at(two, 0), document.text, ringing(sid))).text, /All lines are busy/)
  t.match(await two.store.read(sid), { phase: 'over', owner: { node: 'gw-0', epoch: 2 } })
})

t.test('late webhooks do not reopen a taken call', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  const sid = newSid()
  await voice(at(two, 1), ringing(sid), sign)
  await two.kill(1)
  for (const callSessionState of ['Busy', 'Completed', 'Completed'])
    t.equal((await voice(at(two, 0), { ...ringing(sid), callSessionState }, sign)).text, '<Response></Response>')
  t.equal(at(two, 0).calls.find(sid), undefined)
  t.match(await two.store.read(sid), { phase: 'over' })
})

t.test('a delayed claim does not reopen a live call [1]', { buffered: true }, async (t) => {
  const lost: string[] = []
  const two = await fleet(t, 2, {}, { kept: (sid) => (lost.push(sid), null) })
  const sid = newSid()
  const document = await voice(at(two, 1), ringing(sid))
  await talked(two, sid)
  await two.kill(1)
  // The node that sent it has given its answer up, and knows nothing of it.
  await two.store.claim(sid, (two.nodes[0] as FleetNode).claimFor(null), 1)
  const reposts = await voice(at(two, 0), { ...ringing(sid), callSessionState: 'StreamStopped' })
  t.match(reposts.text, /All lines are busy/)
  t.equal(at(two, 0).calls.find(sid), undefined, 'no second call')
  t.same(lost, [sid], 'it is recovered: its state was asked for')
  t.match((await after(at(two, 0), document.text, ringing(sid))).text, /<Response/)
  t.match(await two.store.read(sid), { phase: 'over' })
})

t.test('a node taking a call over does not ask itself', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, { webhookSecrets: [SECRET] })
  const sid = newSid()
  const document = await voice(at(two, 1), ringing(sid), { sign: { secret: SECRET } })
  await talked(two, sid)
  await two.kill(1)
  two.storeFault = (op) => (op === 'claim' ? { afterMs: 1000 } : null)
  const goesOn = after(at(two, 0), document.text, ringing(sid))
  await until(async () => (await two.store.read(sid))?.owner.node === 'gw-0', 5000, 'the takeover')
  const sentBefore = two.sent.length
  const status = new URL(attribute(document.text, 'statusCallback'))
  const form = { sessionId: sid, streamEvent: 'stream-stopped', streamSid: 'ST1' }
  t.equal((await post(`${at(two, 0).url}${status.pathname}${status.search}`, { form })).status, 204)
  t.match((await goesOn).text, /All lines are busy/)
  t.equal(two.sent.length, sentBefore)
})

t.test('the placing node opens its placed call', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  await two.nodes[1]?.reserve('mkondo-order-1', orderKey('mkondo-order-1'))
  const sid = newSid()
  t.match((await voice(at(two, 0), { ...ringing(sid), clientRequestId: 'mkondo-order-1' })).text, /<Stream/)
  t.equal(two.ownerOf(sid), 1)
})

t.test('the placing node opens its call even without the store', { buffered: true }, async (t) => {
  const sids = [newSid(), newSid(), newSid(), newSid()]
  const left = [...sids]
  // The node says to nobody that it places calls.
  const outbound = outboundCalls({
    createCall: () => Promise.resolve({ callSid: left.shift() ?? null, callId: null, status: 'ringing' }),
  })
  const two = await fleet(t, 2, (index) => (index === 1 ? { outbound } : {}))
  const cases: readonly (readonly [string, number, () => unknown])[] = [
    ['the store is away', 0, () => (two.storeDown = true)],
    ['the store is back', 0, () => (two.storeDown = false)],
    [
      'only its claim came through',
      0,
      () => two.store.claim(sids[2] as string, (two.nodes[1] as FleetNode).claimFor(null), 0),
    ],
    [
      'the same, at the node itself',
      1,
      () => two.store.claim(sids[3] as string, (two.nodes[1] as FleetNode).claimFor(null), 0),
    ],
  ]
  // The other one has more room.
  at(two, 1).calls.capacity = 5
  for (const [i, [what, index, happens]] of cases.entries()) {
    const sid = sids[i] as string
    await outbound.place({ agent: 'order-status', to: '+254700000001', from: '+254709000000' })
    await happens()
    const form = { ...ringing(sid), direction: 'outbound' }
    t.notMatch((await voice(at(two, index), form)).text, /<Stream/, `${what}: it rings`)
    t.match((await voice(at(two, index), { ...form, callSessionState: 'Answered' })).text, /<Stream/, what)
    t.equal(two.ownerOf(sid), 1, what)
    t.match(at(two, 1).calls.started.at(-1), { callSid: sid, placed: { to: '+254700000001' } }, 'with its order')
  }
})

t.test('late webhooks of a placed call open nothing [14]', { buffered: true }, async (t) => {
  const sid = newSid()
  const outbound = outboundCalls({
    createCall: () => Promise.resolve({ callSid: sid, callId: null, status: 'ringing' }),
  })
  const two = await fleet(t, 2, (index) => (index === 1 ? { outbound } : {}))
  await outbound.place({ agent: 'order-status', to: '+254700000001', from: '+254709000000' })
  // Another node had the person on the line.
  const { owner } = await two.store.claim(sid, { node: 'gw-2', incarnation: 'i', nonce: 'n' }, 0)
  await two.store.over(sid, owner)
  for (const callSessionState of ['StreamStarted', 'StreamStopped', 'Answered', 'Completed'])
    for (const gateway of two.gateways) {
      const { text } = await voice(gateway, { ...ringing(sid), direction: 'outbound', callSessionState })
      t.equal(text, '<Response></Response>', callSessionState)
      t.equal(two.ownerOf(sid), -1, callSessionState)
    }
  t.equal(outbound.waiting, 0, 'its order has ended')
})

t.test('calls placed by a dying node get an agent [9]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  const sid = newSid()
  await three.nodes[2]?.reserve(sid)
  await three.kill(2)
  const rings = { ...ringing(sid), direction: 'outbound', clientRequestId: 'row-reminders-r1-1' }
  t.match((await voice(at(three, 0), rings)).text, '<Response></Response>', 'it still rings')
  const answers = { ...rings, callSessionState: 'Answered' }
  const documents = await Promise.all([voice(at(three, 0), answers), voice(at(three, 1), answers)])
  t.ok(documents.some(({ text }) => text.includes('<Stream')))
  t.equal(three.gateways.filter(({ calls }) => calls.find(sid) !== undefined).length, 1, 'one node has it')
  const owner = three.ownerOf(sid)
  t.match(await three.store.read(sid), { owner: { node: `gw-${owner}` } }, 'its claim is in the store')
  t.match(at(three, owner).calls.started, [{ callSid: sid, direction: 'outbound' }])
})

for (const callSessionState of ['Answered', ''])
  t.test(`a person hears an agent though their node fails: "${callSessionState}"`, { buffered: true }, async (t) => {
    const three = await fleet(t, 3)
    const asker = three.nodes[0] as FleetNode
    const ask = asker.ask.bind(asker)
    // Its secret is another one, say, and it is alive.
    asker.ask = (owner, ...more) =>
      owner.node === 'gw-2' ? Promise.resolve({ result: 'failed', reason: 'turned-away' }) : ask(owner, ...more)
    const sid = newSid()
    await three.nodes[2]?.reserve(sid)
    const answers = { ...ringing(sid), direction: 'outbound', clientRequestId: 'row-a-1', callSessionState }
    t.match((await voice(at(three, 0), answers)).text, /<Stream/)
    t.not(three.ownerOf(sid), 2)
    const ends = { ...answers, callSessionState: 'Completed' }
    t.equal((await voice(at(three, 0), ends)).text, '<Response></Response>')
  })

t.test("a node owns its earlier run's placed calls [13]", { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = two.nodes as [FleetNode, FleetNode]
  const earlier = { node: 'gw-0', incarnation: 'earlier', nonce: 'n' }
  const [rings, talks, theirs] = [newSid(), newSid(), newSid()]
  for (const sid of [rings, talks]) await two.store.claim(sid, earlier, 0)
  const taken = await two.store.claim(talks, second.claimFor(null), 1)
  await two.store.save(talks, taken.owner, { state: Buffer.from('of the one who took it over') })
  await second.reserve(theirs)
  await two.look()
  for (const sid of [rings, talks, theirs]) await first.reserve(sid)
  t.equal(await first.unreached(rings), 'ok')
  t.match(await two.store.read(rings), { phase: 'over' })
  t.equal(await first.unreached(talks), 'in-doubt', 'who has the person on the line is asked')
  t.equal(await first.unreached(theirs), 'in-doubt', 'nor is it one that another node has placed and that lives')
})

t.test('a node stops acting for a placed call it lost', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = two.nodes as [FleetNode, FleetNode]
  const sid = newSid()
  await first.reserve(sid)
  t.equal(await first.mayAct(sid, false), true, 'it may hang up while it rings')
  t.match((await voice(at(two, 0), ringing(sid))).text, /<Stream/)
  const token = first.token(sid)
  if (token === null) throw new Error('the call has no owner')
  // The other one has its stream.
  const { owner } = await two.store.claim(sid, second.claimFor(null), token.epoch)
  await two.store.save(sid, owner, {})
  second.expect(sid, owner)
  await second.streamOpened(sid, 'nonce-of-its-stream')
  first.lost(sid, token)
  await until(() => first.counters.givenUp.lost === 1, 10_000, 'the loss')
  t.equal(await first.mayAct(sid, false), false)
  t.equal(first.token(sid), null)
})

t.test('a person hears an agent after a lost confirmation', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = two.nodes as [FleetNode, FleetNode]
  const sid = newSid()
  await first.reserve(sid)
  const confirm = first.confirm.bind(first)
  first.confirm = async (callSid) => {
    first.confirm = confirm
    const { owner } = (await two.store.read(sid)) ?? {}
    await two.store.claim(sid, second.claimFor(null), owner?.epoch ?? 0)
    return confirm(callSid)
  }
  const answers = { ...ringing(sid), direction: 'outbound', clientRequestId: 'row-a-2', callSessionState: 'Answered' }
  t.match((await voice(at(two, 0), answers)).text, /<Stream/)
})

t.test('delayed actions wait until the store confirms the owner', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const node = two.nodes[0] as FleetNode
  two.storeDown = true
  const sids = [newSid(), newSid()]
  for (const sid of sids) await voice(at(two, 0), ringing(sid))
  t.equal(await node.mayAct(sids[0] as string, false), false, 'a tool is refused')
  const said: boolean[] = []
  const late = sids.map((sid) => node.mayAct(sid, false, true).then((may) => said.push(may)))
  t.equal(await node.mayAct(sids[0] as string, false), false)
  t.same(said, [])
  // The second is over before the store is back.
  at(two, 0).calls.calls.delete(sids[1] as string)
  node.released(sids[1] as string)
  await late[1]
  two.storeDown = false
  await late[0]
  t.same(said, [true, true])
})

t.test('calls continue and open without the store', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const old = newSid()
  const document = (await voice(at(two, 1), ringing(old))).text
  two.storeDown = true
  two.call(old).state = 'after'
  two.call(old).next = [{ verb: 'dial', numbers: ['+254700000003'] }]
  t.match((await after(at(two, 0), document, ringing(old))).text, /<Dial/, 'every node is asked for it')
  const fresh = newSid()
  t.match((await voice(at(two, 0), ringing(fresh))).text, /<Stream/)
  t.equal(two.ownerOf(fresh), 0)
  t.ok((await routed(at(two, 0), 'without-store')) >= 2)

  two.storeDown = false
  // At another node, and before the call is claimed.
  await voice(at(two, 1), { ...ringing(fresh), callSessionState: 'Active' })
  t.same(
    [two.ownerOf(fresh), at(two, 1).calls.find(fresh)],
    [0, undefined],
    'a call that is not claimed yet is not opened twice',
  )
  await until(async () => (await two.store.read(fresh))?.phase === 'owned', 10_000, 'the claim of that call')
  t.match(await two.store.read(fresh), { owner: { node: 'gw-0', epoch: 1 } })
  await voice(at(two, 1), { ...ringing(fresh), callSessionState: 'Active' })
  t.ok(two.call(fresh).states.includes('answered'))
})

t.test('a full node without the store forwards calls once [4]', { buffered: true }, async (t) => {
  const four = await fleet(t, 4)
  const [first, second] = [at(four, 0), at(four, 1)]
  for (const { calls } of [first, second]) calls.fill()
  at(four, 2).calls.capacity = 2
  at(four, 3).calls.capacity = 10
  await four.look()
  four.storeDown = true
  const sids = Array.from({ length: 12 }, newSid)
  for (const sid of sids) {
    // The carrier repeats itself, at both full nodes at once.
    const answers = await Promise.all([first, second, first].map((gateway) => voice(gateway, ringing(sid))))
    for (const { text } of answers) t.match(text, /<Stream/)
  }
  t.same(
    four.gateways.map(({ calls }) => calls.calls.size),
    [0, 0, 2, 10],
    'each free slot has one call',
  )
  const late = newSid()
  t.match((await voice(first, ringing(late))).text, /All lines are busy/, 'with no free slot anywhere: the fallback')
  t.equal(four.gateways.flatMap(({ calls }) => calls.refusedCalls).length, 1, 'refused by one node')
  const completed = { ...ringing(newSid()), callSessionState: 'Completed' }
  t.notMatch((await voice(first, completed)).text, /<Stream|busy/, 'the end of a call opens nothing anywhere')

  four.storeDown = false
  const owned = async (): Promise<boolean> => {
    const entries = await Promise.all(sids.map((sid) => four.store.read(sid)))
    return entries.every((entry, i) => entry?.owner.node === `gw-${four.ownerOf(sids[i] as string)}`)
  }
  await until(owned, 10_000, 'the claims of the nodes that have them')
})

t.test('a node that becomes full gives the call away [5]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  three.storeFault = (op) => {
    if (op !== 'claim') return null
    at(three, 0).calls.fill()
    return { unanswered: true }
  }
  const sid = newSid()
  t.match((await voice(at(three, 0), ringing(sid))).text, /<Stream/)
  t.ok(three.ownerOf(sid) > 0)
})

t.test('a full node does not take the call of a slow node', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  at(two, 0).calls.fill()
  await two.look()
  const [placed, claimed] = [newSid(), newSid()]
  await two.store.claim(claimed, (two.nodes[1] as FleetNode).claimFor(null), 0)
  two.freeze(1, 2000)
  for (const sid of [placed, claimed])
    t.match((await voice(at(two, 0), ringing(sid))).text, /All lines are busy/, 'nobody answered in time')
  for (const sid of [placed, claimed])
    t.match(await two.store.read(sid), { owner: { node: 'gw-1' }, phase: /claimed|owned/ }, 'the claim stays')
  await until(() => two.ownerOf(placed) === 1, 10_000, 'the slow node to open the call')
  t.match((await voice(at(two, 1), ringing(placed))).text, /<Stream/)
  t.equal(two.nodes[1]?.counters.givenUp.lost, 0)
})

/** Opens the stream of a document at its node; the carrier sends silence. */
async function streamOf(gateway: Gateway, document: string) {
  const { search } = new URL(attribute(document, 'url'))
  const socket = await openSocket(`${gateway.url.replace('http', 'ws')}/audio${search}`)
  const sending = setInterval(() => socket.send(Buffer.alloc(640)), 100)
  socket.once('close', () => clearInterval(sending))
  return socket
}

for (const [what, fault] of [
  ['answered late', { afterMs: 400 }],
  ['carried out late', { beforeMs: 400 }],
] as const)
  t.test(`streams keep their call if a claim is ${what} [2]`, { buffered: true }, async (t) => {
    const three = await fleet(t, 3)
    for (let i = 0; i < 3; i++) await voice(at(three, 0), ringing(newSid()))
    // It is fuller than the others, and so it claims its calls for them.
    at(three, 0).calls.capacity = 10
    await three.look()
    let claims = 0
    three.storeFault = (op) => (op === 'claim' && claims++ < 4 ? fault : null)
    const sids = [newSid(), newSid(), newSid(), newSid()]
    const documents = await Promise.all(sids.map(async (sid) => (await voice(at(three, 0), ringing(sid))).text))
    const sockets = await Promise.all(documents.map((document) => streamOf(at(three, 0), document)))
    // The carrier says so to other nodes, before and after the claim is known to have been for another.
    const opened = sids.map((sid, i) => voice(at(three, 1 + (i % 2)), { ...ringing(sid), callSessionState: 'Active' }))
    await Promise.all(opened)
    for (const sid of sids) {
      await until(async () => (await three.store.read(sid))?.phase === 'owned', 10_000, 'its stream owns the call')
      t.match(await three.store.read(sid), { owner: { node: 'gw-0' } })
      t.equal(three.gateways.filter(({ calls }) => calls.find(sid) !== undefined).length, 1, 'one node has it')
      t.equal(three.call(sid).state, 'streaming')
      t.ok(three.call(sid).states.includes('answered'))
    }
    t.equal(three.nodes[0]?.counters.givenUp.lost, 0)
    for (const socket of sockets) socket.terminate()
  })

t.test('a copy without stream yields to the streaming copy [3]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  two.storeDown = true
  const documents = await Promise.all(two.gateways.map(async (gateway) => (await voice(gateway, ringing(sid))).text))
  const copies = two.gateways.map(({ calls }) => calls.find(sid))
  t.notOk(copies.includes(undefined), 'without the store each opened it')
  const socket = await streamOf(at(two, 1), documents[1] as string)
  two.storeDown = false
  await until(async () => (await two.store.read(sid))?.owner.node === 'gw-1', 10_000, 'the stream to be the claim')
  await until(() => two.nodes[0]?.counters.givenUp.lost === 1, 5000, 'the other to be given up')
  t.equal(two.nodes[1]?.counters.givenUp.lost, 0)
  socket.terminate()
})

t.test('the node that took an outcome answers its repetition', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const [first, second] = [at(two, 0), at(two, 1)]
  const sid = newSid()
  await voice(first, ringing(sid))
  const { pathname, search } = new URL(first.calls.get(sid).continueUrl?.('id-of-one-tool-call-22', 90) ?? '')
  const posted = () => post(`${second.url}${pathname}${search}`, { json: { status: 'succeeded' } })
  t.equal((await posted()).status, 200)
  const owner = (await two.store.read(sid))?.owner
  if (owner === undefined) throw new Error('the call has no owner')
  first.calls.calls.delete(sid)
  first.calls.records.set(sid, endedCall({ callSid: sid }))
  await two.store.over(sid, owner)
  t.match(await posted(), { status: 410, code: 'GONE' })
  first.calls.lateAnswer = 'repeated'
  t.equal((await posted()).status, 200)
  await two.kill(0)
  t.match(await posted(), { status: 410, code: 'GONE' }, 'where nobody knows, it is late')
})

t.test('an outcome reaches the copy waiting for it [10]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  two.storeDown = true
  await Promise.all(two.gateways.map((gateway) => voice(gateway, ringing(sid))))
  const copies = two.gateways.map(({ calls }) => calls.get(sid))
  const [asked, waiting] = copies as [ScriptedCall, ScriptedCall]
  two.storeDown = false
  const { pathname, search } = new URL(waiting.continueUrl?.('id-of-one-tool-call-22', 90) ?? '')
  const posted = () => post(`${at(two, 0).url}${pathname}${search}`, { json: { status: 'succeeded' } })
  asked.waitAnswer = 'late'
  t.equal((await posted()).status, 200, 'this node has a copy of the call that knows of no tool')
  t.match(waiting.waitsNews, [{ id: 'id-of-one-tool-call-22' }])
  two.freeze(1)
  t.match(await posted(), { status: 503, code: 'MOVING' }, 'the node that may wait does not answer')
})

t.test('an outcome is answered by the node that takes it', { buffered: true }, async (t) => {
  const three = await fleet(t, 3)
  const sid = newSid()
  await voice(at(three, 0), ringing(sid))
  const asked = three.call(sid)
  const [other, waiting] = [1, 2].map((index) =>
    at(three, index).calls.prepare(at(three, 0).calls.started[0] as NewCall),
  ) as [ScriptedCall, ScriptedCall]
  asked.waitAnswer = 'late'
  other.waitAnswer = 'unkept'
  const { pathname, search } = new URL(asked.continueUrl?.('id-of-one-tool-call-22', 90) ?? '')
  const posted = () => post(`${at(three, 0).url}${pathname}${search}`, { json: { status: 'succeeded' } })
  three.freeze(2, 100)
  t.equal((await posted()).status, 200, 'though another says sooner that it cannot keep it')
  waiting.waitAnswer = 'late'
  t.match(await posted(), { status: 503, code: 'NOT_KEPT' }, 'nobody else takes it')
})

t.test('an outcome without a waiting call is late [11]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  await voice(at(two, 0), ringing(sid))
  const call = two.call(sid)
  call.waitAnswer = 'late'
  const { pathname, search } = new URL(call.continueUrl?.('id-of-one-tool-call-22', 90) ?? '')
  for (const { url } of two.gateways)
    t.match(await post(`${url}${pathname}${search}`, { json: { status: 'succeeded' } }), { status: 410, code: 'GONE' })
  await two.kill(0)
  two.storeDown = true
  const after = await post(`${at(two, 1).url}${pathname}${search}`, { json: { status: 'succeeded' } })
  t.equal(after.status, 503, 'its owner is gone, and the store does not say so')
})

t.test('a caller who was refused has no call afterwards [19]', { buffered: true }, async (t) => {
  const three = await fleet(t, 3, { webhookSecrets: [SECRET] })
  const sign = { sign: { secret: SECRET } }
  const free = three.gateways.map(({ calls }) => calls.capacity)
  const full = async (is: boolean): Promise<void> => {
    for (const [i, { calls }] of three.gateways.entries()) calls.capacity = is ? 0 : (free[i] as number)
    await three.look()
  }
  for (const storeDown of [false, true]) {
    await full(true)
    three.storeDown = storeDown
    const sids = Array.from({ length: 6 }, newSid)
    for (const [i, sid] of sids.entries())
      t.match((await voice(at(three, i % 3), ringing(sid), sign)).text, /All lines are busy/)
    const [again = ''] = sids
    t.match(
      (await voice(at(three, 0), ringing(again), sign)).text,
      /All lines are busy/,
      'asked again: the words again',
    )
    three.storeDown = false
    await full(false)
    for (const [i, sid] of sids.entries())
      for (const callSessionState of ['Active', 'Completed', 'Completed']) {
        const { text } = await voice(at(three, (i + 1) % 3), { ...ringing(sid), callSessionState }, sign)
        t.equal(text, '<Response></Response>', `${callSessionState}, the store ${storeDown ? 'was down' : 'up'}`)
        t.equal(three.ownerOf(sid), -1)
      }
  }
  const talked = newSid()
  const completed = { ...ringing(talked), callSessionState: 'Completed', durationInSeconds: '34' }
  t.equal((await voice(at(three, 0), completed, sign)).text, '<Response></Response>')
  t.equal(three.ownerOf(talked), -1, 'the end of a call in which somebody talked is not a new call')
})

t.test('only the owner of a call accepts its audio [18]', { buffered: true }, async (t) => {
  const two = await fleet(t, 2, {
    nodeUrl: 'https://voice.example.com/p/7',
    publicUrl: 'https://voice.example.com',
    webhookSecrets: [SECRET],
  })
  const sid = newSid()
  const document = (await voice(at(two, 1), ringing(sid), { sign: { secret: SECRET } })).text
  const audio = new URL(attribute(document, 'url'))
  t.equal(audio.origin + audio.pathname, 'wss://voice.example.com/p/7/audio')
  t.match(redirectUrl(document), /^https:\/\/voice\.example\.com\/after-stream/, 'webhooks may come to any')
  t.equal(await upgradeStatus(`${at(two, 0).url.replace('http', 'ws')}/audio${audio.search}`), 403)
  t.match(at(two, 0).logged().at(-1), { reason: 'call-unknown' })
  t.match(JSON.stringify(await (await fetch(`${at(two, 0).opsUrl}/api/refusals`)).json()), /not at node gw-0.*NODE_URL/)
  const socket = await openSocket(`${at(two, 1).url.replace('http', 'ws')}/audio${audio.search}`)
  socket.terminate()
})

t.test("a socket with an earlier owner's token is refused", { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  const document = (await voice(at(two, 0), ringing(sid))).text
  const audio = new URL(attribute(document, 'url'))
  const token = two.nodes[0]?.token(sid)
  two.nodes[0]?.expect(sid, { ...(token as NonNullable<typeof token>), epoch: 2 })
  t.equal(await upgradeStatus(`${at(two, 0).url.replace('http', 'ws')}/audio${audio.search}`), 403)
  t.match(at(two, 0).logged().at(-1), { reason: 'token-invalid' })
})

t.test('a stream token stays valid after the store is emptied', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const sid = newSid()
  const audio = new URL(attribute((await voice(at(two, 0), ringing(sid))).text, 'url'))
  two.empty()
  await until(
    async () => {
      await two.look()
      return two.nodes[0]?.token(sid)?.epoch === 2
    },
    10_000,
    'the call to be claimed again',
  )
  const socket = await openSocket(`${at(two, 0).url.replace('http', 'ws')}/audio${audio.search}`)
  t.equal(at(two, 0).calls.find(sid)?.state, 'streaming')
  socket.terminate()
})

t.test('a response without a body has no Content-Length', { buffered: true }, async (t) => {
  const two = await fleet(t, 2)
  const body = (sid: string): string =>
    JSON.stringify({ kind: 'call.answered', event_id: `evt ${sid}`, data: { call_id: sid } })
  const head = (text: string, more: string): string =>
    `POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n${more}\r\n${text}`
  const [mine, others] = [newSid(), newSid()]
  await voice(at(two, 0), ringing(mine))
  await voice(at(two, 1), ringing(others))
  const [here, there] = [body(mine), body(others)]
  const { socket, answer } = rawRequest(at(two, 0).edge.publicPort, head(here, ''))
  await once(socket, 'data')
  socket.write(head(there, ''))
  await once(socket, 'data')
  socket.end()
  const text = await answer
  t.equal(text.match(/HTTP\/1\.1 204/g)?.length, 2, text)
  t.notMatch(text, /content-length/i)
})

t.test('other nodes learn of an order before the carrier', { buffered: true }, async (t) => {
  const happened: string[] = []
  const carrier = (callSid: string | null): OutboundCarrier => ({
    createCall: async ({ clientRequestId }) => {
      happened.push(`carrier ${clientRequestId}`)
      return { callSid, callId: null, status: 'queued' }
    },
    hangup: async (sid) => {
      happened.push(`hangup ${sid}`)
    },
    getCall: async () => ({ status: 'ringing', answeredAt: null }),
  })
  const node = {
    reserve: (key: string) => {
      happened.push(`reserve ${key}`)
      return Promise.resolve()
    },
  }
  const call = {
    from: '+254700000001',
    to: '+254700000002',
    voiceCallbackUrl: 'https://voice.example.com/voice/support',
    clientRequestId: 'order-1',
  }
  const orders = claimedOrders(carrier('HD_000000000001'), node)
  t.match(await orders.createCall(call), { callSid: 'HD_000000000001' })
  await orders.hangup('HD_000000000001')
  t.match(await orders.getCall('HD_000000000001'), { status: 'ringing' })
  t.same(happened.splice(0), [
    'reserve order-1',
    'carrier order-1',
    'reserve HD_000000000001',
    'hangup HD_000000000001',
  ])
  // Some carriers say it with the first webhook only, which names the order.
  await claimedOrders(carrier(null), node).createCall({ ...call, clientRequestId: 'order-2' })
  t.same(happened, ['reserve order-2', 'carrier order-2'])
})

import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { CallRecord } from '../../src/call/documents/record.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { STORE_DEADLINE_MS } from '../../src/core/limits.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { CHARGE_TOOL, judge, resumedMs, startFleet } from '../support/fleet.js'
import type { Fleet, FleetCall, FleetNode, FleetOptions } from '../support/fleet.js'
import { until } from '../support/until.js'
import { hasRedis } from '../support/redis.js'

/**
 * Two gateways, Redis and HAProxy as real processes, six calls each time, and a fault. Judged from outside: by the
 * carrier's sockets, webhooks and REST API, and by the keys that an API behind a tool was sent.
 */

const CALLS = 6
/** A caller of a lost node hears the agent again within this, from the carrier's question on. */
const RESUMED_MS_MAX = 3000
/** A caller of a carrier that asks nothing is rung within this. */
const RINGING_MS_MAX = 15_000
/**
 * The longest gap of callers who are not concerned by a fault. Each fault lasts for longer, and so does what would wait
 * for its end; shorter gaps are those of a machine on which gateways start. bench/fleet measures them.
 */
const GAP_MS_MAX = 2000
/** Maximum number of pairs of webhooks that are sent to find ten pairs for which Redis answered in time. */
const PAIRS_MAX = 60

// Each row has a fleet of its own, and mostly waits.
t.jobs = 2

/**
 * One row: a fleet with six calls, on both nodes. The first rows are awaited, because their calls must not notice
 * anything: another fleet that starts beside them would delay webhooks by seconds.
 */
function row(
  title: string,
  options: FleetOptions & { readonly call?: Parameters<Fleet['calls']>[1] },
  happens: (t: Test, fleet: Fleet, calls: readonly FleetCall[]) => Promise<void>,
): Promise<unknown> {
  return t.test(title, { buffered: true }, async (t) => {
    if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
    const fleet = await startFleet(options)
    t.teardown(() => fleet.close())
    const calls = await fleet.calls(CALLS, options.call)
    t.equal(new Set(calls.map(({ owners }) => owners[0])).size, 2, 'both nodes have calls')
    await sleep(1500)
    await happens(t, fleet, calls)
  })
}

async function over(calls: readonly FleetCall[]): Promise<readonly SimulatedCallResult[]> {
  for (const call of calls) call.hangUp()
  return Promise.all(calls.map(({ done }) => done))
}

/** Waits until each caller has a stream, because a caller who hangs up before the stream opens has none. */
async function streaming(calls: readonly FleetCall[]): Promise<void> {
  const all = () => calls.every(({ owners }) => owners.length > 0)
  await until(all, 10_000, 'a stream of each caller').catch(() => undefined)
}

function ownerOf(fleet: Fleet, call: FleetCall | undefined): FleetNode {
  const node = fleet.nodes.find(({ name }) => name === call?.owners.at(-1))
  if (node === undefined) throw new Error('a call without an owner')
  return node
}

/**
 * Nothing happened to these callers: their one stream lasted until they hung up, without a gap. If a stream was cut,
 * the nodes' log lines about the call are printed, and the balancer's lines about audio sockets.
 */
function unconcerned(t: Test, fleet: Fleet, results: readonly SimulatedCallResult[], what: string): void {
  const { cut, failed, slow, gapMs } = judge(results)
  for (const { name, lines } of cut.length > 0 ? fleet.nodes : [])
    for (const line of lines)
      if (cut.some((one) => line.includes(one.slice(0, one.indexOf(':'))))) t.comment(name, line)
  for (const line of cut.length > 0 ? fleet.balancer.lines : [])
    if (line.includes('/audio HTTP')) t.comment('balancer', line)
  t.same({ cut, failed, slow }, { cut: [], failed: [], slow: [] }, what)
  t.ok(gapMs <= GAP_MS_MAX, `${what}: largest gap ${gapMs} ms`)
}

function resumed(t: Test, results: readonly SimulatedCallResult[]): void {
  t.ok(results.length > 0)
  t.same(judge(results).failed, [], 'every webhook was answered')
  for (const result of results) {
    const waited = resumedMs(result)
    t.ok(waited !== null && waited < RESUMED_MS_MAX, `${result.callSid} hears the agent again: ${waited ?? 'never'} ms`)
  }
}

/** A node that was killed is back: no call counts as lost there that went on elsewhere, and each is listed once. */
async function countedOnce(t: Test, victim: FleetNode, calls: readonly FleetCall[]): Promise<void> {
  await victim.start()
  const decided = (): number => victim.lines.filter((line) => line.includes('a call that ended here went on')).length
  const lost = calls.filter(({ owners }) => owners[0] === victim.name)
  await until(() => decided() === lost.length, 30_000, 'what became of its calls').catch(() => undefined)
  t.equal(await victim.metric('mkondo_call_ends_total{backend="embedded",reason="process-died"}'), 0)
  const { ended } = (await (await victim.ops('/api/fleet/calls')).json()) as {
    ended: { callSid: string; endReason: string }[]
  }
  t.same(
    ended.map(({ callSid, endReason }) => `${callSid} ${endReason}`).sort(),
    calls.map(({ callSid }) => `${callSid} caller-hung-up`).sort(),
    'each call has one record',
  )
}

await row('no call has a gap if nothing fails', {}, async (t, fleet, calls) => {
  const [first, second] = fleet.nodes as readonly [FleetNode, FleetNode]
  let pairs = 0
  for (let i = 0; pairs < 10 && i < PAIRS_MAX; i++) {
    const callSid = `HD_twice${String(i).padStart(7, '0')}`
    const sentAtMs = performance.now()
    const answers = await Promise.all([fleet.ring(first, callSid), fleet.ring(second, callSid)])
    t.same(
      answers.map(({ status }) => status),
      [200, 200],
    )
    // On a busy machine Redis answers after the deadline. Then each node opens the call itself.
    if (performance.now() - sentAtMs > STORE_DEADLINE_MS) continue
    pairs++
    const led = answers.map(({ document }) => /<Stream[^>]* url="[^"]*(\/n\/[^/]+\/audio)/.exec(document)?.[1])
    t.match(led[0], /^\/n\/gw-[12]\/audio$/)
    t.equal(led[0], led[1], 'both documents lead to one node')
    // A node's own list: of one call any node tells.
    const lists = await Promise.all(fleet.nodes.map(async (node) => (await node.ops('/api/calls')).text()))
    t.equal(lists.filter((list) => list.includes(callSid)).length, 1, 'which alone has the call')
  }
  t.equal(pairs, 10, 'ten pairs of webhooks were answered with Redis')
  const twin = first.twin('127.0.1.99')
  t.teardown(() => twin.child.kill('SIGKILL'))
  t.equal(await twin.exit, 2, 'a second live node with the name of another ends')
  t.ok(
    twin.lines.includes("mkondo: NODE_NAME is 'gw-1'; allowed: a name that no other live node of the fleet has"),
    twin.lines.slice(-3).join(' / '),
  )
  const later: FleetCall[] = []
  for (let i = 0; i < 8; i++) {
    later.push(fleet.call())
    await sleep(900)
  }
  const all = [...calls, ...later]
  await streaming(all)
  unconcerned(t, fleet, await over(all), 'callers')
})

await row('restarting the nodes in turn cuts no call', {}, async (t, fleet, calls) => {
  const all: FleetCall[] = [...calls]
  let deploying = true
  const arrivals = (async () => {
    while (deploying) {
      const call = fleet.call()
      all.push(call)
      await sleep(700)
    }
  })()
  for (const node of fleet.nodes) {
    const exit = node.drain()
    await sleep(3000)
    for (const call of all) if (call.owners.at(-1) === node.name) call.hangUp()
    // Calls that it took before it knew of the signal.
    const late = setInterval(() => {
      for (const call of all) if (call.owners.at(-1) === node.name) call.hangUp()
    }, 500)
    t.equal(await exit, 0, `${node.name} ends when its calls have ended`)
    clearInterval(late)
    await node.start()
    await sleep(2000)
  }
  deploying = false
  await arrivals
  await streaming(all)
  unconcerned(t, fleet, await over(all), 'callers during a deploy')
  // The first one has been back for long enough to look for calls that it may have left.
  for (const node of fleet.nodes) t.equal(await node.metric('mkondo_takeovers_total'), 0, 'no node was lost')
})

await row('calls continue while redis-server is down for 10 s', {}, async (t, fleet, calls) => {
  const later: FleetCall[] = []
  let away = true
  const arrivals = (async () => {
    while (away) {
      later.push(fleet.call())
      await sleep(900)
    }
  })()
  await fleet.redis.kill()
  await sleep(10_000)
  await fleet.redis.restart()
  away = false
  await arrivals
  await sleep(3000)
  const afterwards = fleet.call()
  later.push(afterwards)
  await until(() => later.every(({ owners }) => owners.length > 0), 5000, 'a stream for each new call').catch(
    () => undefined,
  )
  await sleep(1000)
  unconcerned(t, fleet, await over(calls), 'calls that were live')
  unconcerned(t, fleet, await over(later), 'calls that came meanwhile')
})

const ASKS = { SAUTIKIT_AFTER_STREAM: 'continues' }

void row('callers of a killed node hear the agent again', { env: ASKS }, async (t, fleet, started) => {
  fleet.shop.answerAfter(12_000)
  const buys = fleet.call({ from: '+254700000002' })
  const requests = () => fleet.shop.requests.filter(({ callSid }) => callSid === buys.callSid)
  await until(() => requests().length === 1, 20_000, "the tool's request")
  const calls = [...started, ...(await fleet.calls(4, { afterStream: 'reposts' }))]
  const victim = ownerOf(fleet, buys)
  const isLost = ({ owners }: FleetCall): boolean => owners[0] === victim.name
  const lost = calls.filter(isLost)
  await sleep(1500)
  await victim.kill()
  fleet.shop.answerAfter(0)
  await until(() => [buys, ...lost].every(({ owners }) => owners.length > 1), 6000, 'new streams').catch(
    () => undefined,
  )
  // The agent of the new stream asks for the same again, at once.
  await sleep(4000)
  const results = await over(calls)
  resumed(
    t,
    results.filter((_, i) => isLost(calls[i] as FleetCall)),
  )
  unconcerned(
    t,
    fleet,
    results.filter((_, i) => !isLost(calls[i] as FleetCall)),
    'callers of the other node',
  )
  const [bought] = await over([buys])
  t.ok((bought?.streams[1]?.samplesHeard ?? 0) > 16_000, 'the agent of the new stream is heard')
  t.equal(
    requests().length,
    1,
    requests()
      .map(({ key }) => key)
      .join(', '),
  )
  await countedOnce(t, victim, [...calls, buys])
})

void row(
  'callers of a killed node are called back once',
  {
    call: { afterStream: 'holds' },
    agent: { recovery: 'callback' },
    env: { SAUTIKIT_AFTER_STREAM: 'holds', RECOVERY_PER_MINUTE: '60', OUTBOUND_PREFIXES: '+254' },
  },
  async (t, fleet, calls) => {
    const talks = fleet.call({ from: '+254700000003', afterStream: 'holds' })
    const joined = (): boolean => fleet.carrier.seen.some(({ path }) => path.endsWith(`${talks.callSid}/supervision`))
    await until(joined, 10_000, 'the human to be called')
    await sleep(3000)
    const victim = ownerOf(fleet, talks)
    const lost = calls.filter(({ owners }) => owners[0] === victim.name)
    const killedMs = performance.now()
    await victim.kill()
    const asked = () => fleet.carrier.seen.filter(({ method, path }) => method === 'POST' && path === '/v1/calls')
    await until(() => asked().length >= lost.length, RINGING_MS_MAX, 'the callers to be rung').catch(() => undefined)
    // Time for another ring.
    await sleep(4000)
    t.same(
      asked()
        .map(({ idempotencyKey }) => idempotencyKey)
        .sort(),
      lost.map(({ callSid }) => `recover-${callSid}`).sort(),
      'each of those who talked to the agent is rung once',
    )
    for (const { atMs } of asked()) t.ok(atMs - killedMs < RINGING_MS_MAX, `${Math.round(atMs - killedMs)} ms`)
    for (const { callSid } of lost)
      t.ok(fleet.carrier.workspace.call(callSid)?.leg.ended, `${callSid} was ended by REST, and holds no line`)
    t.notOk(
      fleet.carrier.seen.some(({ path }) => path.endsWith(`${talks.callSid}/hangup`)),
      'the human and the caller are left alone',
    )
    const results = await over(calls)
    unconcerned(
      t,
      fleet,
      results.filter((_, i) => calls[i]?.owners[0] !== victim.name),
      'callers of the other node',
    )
    await over([talks])
  },
)

void row(
  'calls survive losing a gateway and the Redis master [1]',
  { env: ASKS, sentinel: true },
  async (t, fleet, started) => {
    const calls = [...started, ...(await fleet.calls(2, { afterStream: 'reposts' }))]
    const victim = ownerOf(fleet, calls[0])
    const isLost = ({ owners }: FleetCall): boolean => owners[0] === victim.name
    const lost = calls.filter(isLost)
    await sleep(1500)
    await Promise.all([victim.kill(), fleet.redis.kill()])
    await until(() => lost.every(({ owners }) => owners.length > 1), 25_000, 'new streams').catch(() => undefined)
    await sleep(4000)
    const results = await over(calls)
    const ofVictim = results.filter((_, i) => isLost(calls[i] as FleetCall))
    t.ok(ofVictim.length > 3)
    t.same(judge(results).failed, [], 'every webhook was answered')
    for (const result of ofVictim) t.type(resumedMs(result), 'number', `${result.callSid} hears the agent again`)
    unconcerned(
      t,
      fleet,
      results.filter((_, i) => !isLost(calls[i] as FleetCall)),
      'callers of the other node',
    )
  },
)

void row(
  'calls move to another node at every restart [2]',
  { env: { ...ASKS, DRAIN_TIMEOUT: '1s' } },
  async (t, fleet, calls) => {
    for (let restart = 1; restart <= 5; restart++) {
      const node = fleet.nodes[restart % 2] as FleetNode
      const moving = calls.filter(({ owners }) => owners.at(-1) === node.name)
      const streams = moving.map(({ owners }) => owners.length)
      await node.drain()
      const moved = (): boolean => moving.every(({ owners }, i) => owners.length > (streams[i] as number))
      await until(moved, 10_000, 'the next streams').catch(() => undefined)
      await node.start()
      await until(() => calls.every(({ owners, closes }) => owners.length > closes), 10_000, 'streams').catch(
        () => undefined,
      )
    }
    // Each is heard at its last node.
    await sleep(4000)
    const results = await over(calls)
    t.same(judge(results).failed, [], 'every webhook was answered')
    t.ok(
      results.every(({ streams }) => streams.length > 4),
      results.map(({ streams }) => streams.length).join(),
    )
    for (const { callSid, streams } of results) {
      t.equal(streams.at(-1)?.closedBy, 'carrier', `${callSid} lasts until its caller hangs up`)
      t.ok((streams.at(-1)?.samplesHeard ?? 0) > 8000, 'and its agent is heard')
    }
  },
)

void row('every caller hears the agent again after a balancer restart', { env: ASKS }, async (t, fleet, calls) => {
  await fleet.balancer.kill()
  await fleet.balancer.start()
  await until(() => calls.every(({ owners }) => owners.length > 1), 8000, 'new streams').catch(() => undefined)
  await sleep(2000)
  resumed(t, await over(calls))
})

const PAUSED_MS = 25_000
void row('a node standing still for 25 s keeps its calls', {}, async (t, fleet, calls) => {
  const paused = ownerOf(fleet, calls[0])
  const other = fleet.nodes.find((node) => node !== paused) as FleetNode
  paused.pause()
  const meanwhile: FleetCall[] = []
  const untilMs = performance.now() + PAUSED_MS
  while (performance.now() < untilMs) {
    meanwhile.push(fleet.call({ to: () => other }))
    await sleep(1500)
  }
  paused.resume()
  await sleep(5000)
  const results = await over([...calls, ...meanwhile])
  const ofPaused = results.filter((_, i) => calls[i]?.owners[0] === paused.name)
  unconcerned(
    t,
    fleet,
    results.filter((result) => !ofPaused.includes(result)),
    'callers of the other node',
  )
  t.same(judge(ofPaused).cut, [], 'the sockets of the node that stood still are there again')
  t.same(judge(ofPaused).failed, [])
  t.same(
    fleet.carrier.seen.filter(({ method }) => method === 'POST').map(({ method, path }) => `${method} ${path}`),
    [],
    'nobody acted for calls that had an owner',
  )
})

/** An agent that asks for a payment as its greeting (resumable-backend.ts), whose outcome the test posts. */
const CHARGES = { backend: 'module:./resumable-backend.mjs', tools: [CHARGE_TOOL] }
const PAID = JSON.stringify({ status: 'succeeded', result: { receipt: 'QX1' } })

async function wordsAt(node: FleetNode, { callSid }: FleetCall): Promise<string> {
  return (await node.ops(`/api/calls/${callSid}/transcript`)).text()
}

/** Posts the outcome as an API does: again until it is answered otherwise than with 503. @returns every status */
async function outcome(url: string): Promise<readonly number[]> {
  const statuses: number[] = []
  const untilMs = performance.now() + 60_000
  do {
    if (statuses.length > 0) await sleep(500)
    const headers = { 'content-type': 'application/json' }
    const { status } = await fetch(url, { method: 'POST', headers, body: PAID }).catch(() => ({ status: 503 }))
    statuses.push(status)
  } while (statuses.at(-1) === 503 && performance.now() < untilMs)
  return statuses
}

void t.test('an outcome is delivered once while its call moves', { buffered: true }, async (t) => {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy')) return
  const env = { ...ASKS, DRAIN_TIMEOUT: '1s' }
  const fleet = await startFleet({ env, agent: CHARGES })
  t.teardown(() => fleet.close())
  const call = fleet.call({ from: '+254700000004' })
  const asked = async (): Promise<boolean> =>
    call.owners.length > 0 && (await wordsAt(ownerOf(fleet, call), call)).includes('Enter your PIN.')
  await until(asked, 30_000, 'the caller to be asked')
  const { pathname, search } = new URL(fleet.shop.requests[0]?.callback ?? '')
  const path = pathname + search
  const owner = ownerOf(fleet, call)
  const other = fleet.nodes.find((node) => node !== owner) as FleetNode
  const exit = owner.drain()
  await until(() => call.closes > 0, 30_000, 'the stream of the stopped node to close')
  t.equal((await outcome(other.url + path)).at(-1), 200)
  await until(() => call.owners.length > 1, 30_000, 'the stream at the other node')
  await until(async () => (await wordsAt(other, call)).includes('It is paid.'), 30_000, 'the outcome to be told')
  t.same(await outcome(other.url + path), [200], 'posted once more, it is the same')
  t.equal(await exit, 0)
  await sleep(1000)
  const [result] = await over([call])
  t.ok((result?.streams[1]?.samplesHeard ?? 0) > 0, 'the caller hears it')
  t.equal(fleet.shop.requests.length, 1, 'and is asked for the money once')
  let record: Partial<CallRecord> = {}
  const ended = async (): Promise<boolean> => {
    record = (await (await other.ops(`/api/calls/${call.callSid}`)).json()) as CallRecord
    return record.endReason !== undefined
  }
  await until(ended, 30_000, 'the record')
  t.match(record.waits, [{ tool: 'charge', status: 'succeeded', told: true }])
  t.equal(record.transcript?.filter(({ text }) => text === 'It is paid.').length, 1)
})

import { readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { loadConfig } from '../../src/config/load-config.js'
import { openFleet } from '../../src/gateway/fleet-side.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { SealedCall } from '../../src/fleet/store/sealed-call.js'
import { Outbox } from '../../src/messages/outbox.js'
import type { OutboxOptions } from '../../src/messages/outbox.js'
import type { Message } from '../../src/messages/message.js'
import { receiverOf } from '../../src/messages/receivers.js'
import { SharedOutbox } from '../../src/messages/shared-outbox.js'
import type { SharedOutboxOptions } from '../../src/messages/shared-outbox.js'
import { createLog } from '../../src/telemetry/log.js'
import { hasRedis, startRedis } from '../support/redis.js'
import { startRedisProxy } from '../support/redis-proxy.js'
import { succeeds, until } from '../support/until.js'
import { unrefTimer } from '../../src/core/clock.js'
import { portOf } from '../support/port-of.js'

const SECRETS = ['a-token-secret-of-the-test-of-messages']
const log = createLog({ level: 'silent' })
/** Each run of this file's tests has its own keys. */
let prefixes = 0

/** A receiver that counts ids; `answer` says with what it answers to each. */
async function receiver(t: Test, answer: (n: number) => number = () => 200) {
  const ids: string[] = []
  let posts = 0
  const server = createServer((request, response) => {
    request.resume()
    request.on('end', () => {
      const status = answer(posts++)
      if (status === 200) ids.push(String(request.headers['webhook-id']))
      response.writeHead(status).end()
    })
  })
  const url = `http://127.0.0.1:${await portOf(t, server)}/`
  return { ids, receivers: [receiverOf({ name: 'crm', url, unsigned: true, events: ['*'] }, {})] }
}

const message = (n: number, callSid = 'HD_message00001'): Message => ({
  id: `${callSid}:call.ended:${n}`,
  type: 'call.ended',
  callSid,
  time: '2026-11-26T06:00:00.000Z',
  agent: 'support',
  number: null,
  outcome: 'contained',
  data: { said: 'order five zebra' },
})

type Lost = 'request' | 'answer' | null

/** Nodes of one fleet on a real Redis. A node that is dead does nothing any more: what it waits for never comes. */
async function fleet(t: Test, url: string, deadlineMs = 10_000) {
  const store = await connectRedis({ url, prefix: `m${prefixes++}:`, secrets: SECRETS, log, deadlineMs })
  t.teardown(() => store.close())
  const dead = new Set<string>()
  /**
   * @param steps  how many things it does with the store before it dies; absent: it lives
   * @param loses  what it loses of this step; how often it was taken before
   */
  const node = async (
    name: string,
    options: Partial<OutboxOptions>,
    steps = Infinity,
    loses: (script: string, before: number) => Lost = () => null,
  ) => {
    let left = steps
    const asked: Record<string, number> = {}
    const run: SharedOutboxOptions['run'] = async (script, lua, key, args) => {
      // Its last request is done, and it does not learn of it.
      if (left-- <= 0) return new Promise(() => undefined)
      const before = asked[script] ?? 0
      asked[script] = before + 1
      const lost = loses(script, before)
      const answer = lost === 'request' ? [] : await store.evaluate(`outbox-${script}`, lua, key, args)
      if (lost !== null) throw new Error('the connection is lost')
      return left < 0 ? new Promise(() => undefined) : answer
    }
    const shared = new SharedOutbox({
      stream: 'outbox',
      run,
      seal: (callSid, text) => new SealedCall(callSid, SECRETS).seal('message', text),
      open: (callSid, sealed) => new SealedCall(callSid, SECRETS).open('message', sealed),
      node: { name, incarnation: `run-of-${name}` },
      isJoined: () => true,
      isGone: (other) => dead.has(other),
      wallClock: Date.now,
      log,
      goneAfterMs: 0,
    })
    const outbox = await Outbox.open({
      folders: [],
      receivers: [],
      handoff: { url: null, secret: null },
      source: 'urn:mkondo:test',
      wallClock: Date.now,
      log,
      shared,
      lookMs: 10,
      ...options,
    })
    return {
      outbox,
      died: () => left < 0,
      die: () => {
        left = -1
        dead.add(name)
      },
    }
  }
  const keys = async (): Promise<string[]> =>
    (await store.evaluate('keys', "return redis.call('KEYS', '*' .. KEYS[1] .. '*')", '{outbox}', [])).map(String)
  return { node, keys, store }
}

/** False also while a store that stood still is not used again yet. */
async function isEmpty(keys: () => Promise<readonly string[]>): Promise<boolean> {
  return keys().then(
    (all) => !all.some((key) => EMPTY.test(key)),
    () => false,
  )
}

t.test("another node sends a dead node's messages in order [1]", async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  for (let steps = 1; steps <= 16; steps++) {
    const { node } = await fleet(t, server.url)
    // The first post fails, so that a try is written down too.
    const { ids, receivers } = await receiver(t, (n) => (n === 0 ? 503 : 200))
    const wanted = [message(1), message(2), message(3, 'HD_message00003')]
    const first = await node('one', { receivers, later: (_, run) => void unrefTimer(5, run) }, steps)
    const kept = new Set<string>()
    for (const each of wanted) void first.outbox.add(each).then(() => kept.add(each.id))
    await until(() => first.died() || new Set(ids).size === 3, 10_000, 'the death')
    first.die()
    const second = await node('two', { receivers, later: (_, run) => void unrefTimer(5, run) })
    // The record of a call whose message was not kept is not final either: its call is ended again, by another node.
    for (const each of wanted) if (!kept.has(each.id)) await second.outbox.add(each)
    await until(() => new Set(ids).size === 3, 10_000, `all messages after ${steps} steps: ${ids.join()}`)
    const ofOne = [...new Set(ids.filter((id) => id.startsWith('HD_message00001')))]
    t.same([...new Set(ids)].sort(), wanted.map(({ id }) => id).sort(), `${steps} steps: each, and no other`)
    if (kept.size === 3) t.same(ofOne, [message(1).id, message(2).id], `${steps} steps: in the order of the call`)
    await second.outbox.close(1000)
  }
})

const EMPTY = /ids|tries|:of:/

t.test('each message arrives once although answers are lost [3]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const of = (what: string, when: (script: string, before: number) => boolean) =>
    (['request', 'answer'] as const).map((lost) => ({
      what: `the ${lost} of ${what}`,
      loses: (script: string, before: number) => (when(script, before) ? lost : null),
    }))
  const losses = [
    ...['add', 'take', 'consumers', 'next', 'remove'].flatMap((lost) =>
      [0, 1, 2].flatMap((n) => of(`${lost} ${n}`, (script, before) => script === lost && before === n)),
    ),
    ...of('2 to 5 of all', (_, before) => before >= 2 && before <= 5),
    ...of('each third', (_, before) => before % 3 === 0 && before < 30),
  ]
  for (const { what, loses } of losses) {
    const { node, keys } = await fleet(t, server.url)
    const { ids, receivers } = await receiver(t)
    const folders = [join(t.testdir(), 'outbox')]
    const { outbox } = await node('one', { receivers, folders }, Infinity, loses)
    const wanted = [1, 2, 3, 4].map((n) => message(n))
    for (const each of wanted) await outbox.add(each)
    await until(() => outbox.waiting === 0 && ids.length >= 4, 10_000, `all messages, ${what}: ${ids.join()}`)
    await until(() => isEmpty(keys), 10_000, `an empty store, ${what}`)
    t.same(
      ids,
      wanted.map(({ id }) => id),
      what,
    )
    await outbox.close(1000)
  }
})

t.test('a node sends all messages in order despite cut connections [4]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const proxy = await startRedisProxy(server.url)
  t.teardown(() => proxy.close())
  const { node, keys } = await fleet(t, proxy.url)
  const { ids, receivers } = await receiver(t)
  const { outbox } = await node('one', { receivers, folders: [join(t.testdir(), 'outbox')] })
  const wanted = Array.from({ length: 60 }, (_, n) => message(n, `HD_cut0000000${n % 5}`))
  for (const [n, each] of wanted.entries()) {
    if (n % 10 === 9) proxy.loseAnswer()
    await outbox.add(each)
  }
  await until(() => new Set(ids).size === 60 && outbox.waiting === 0, 20_000, 'all of it')
  await until(() => isEmpty(keys), 10_000, 'an empty store')
  const first = [...new Set(ids)]
  for (const callSid of new Set(wanted.map((each) => each.callSid)))
    t.same(
      first.filter((id) => id.startsWith(callSid)),
      wanted.filter((each) => each.callSid === callSid).map(({ id }) => id),
    )
  await outbox.close(1000)
})

t.test('messages given to a timed-out request are sent [5]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node, keys } = await fleet(t, server.url, 100)
  const { ids, receivers } = await receiver(t)
  const { outbox } = await node('one', { receivers, folders: [join(t.testdir(), 'outbox')] })
  const wanted = Array.from({ length: 12 }, (_, n) => message(n))
  for (const [n, each] of wanted.entries()) {
    if (n % 4 === 3) {
      const { faults } = outbox
      server.freeze()
      void outbox.add(each)
      await until(() => outbox.faults > faults + 1, 10_000, 'a fault')
      server.thaw()
    } else await outbox.add(each)
  }
  await until(() => new Set(ids).size === wanted.length && outbox.waiting === 0, 20_000, 'all of it')
  await until(() => isEmpty(keys), 10_000, 'an empty store')
  t.same(
    [...new Set(ids)],
    wanted.map(({ id }) => id),
  )
  await outbox.close(1000)
})

t.test('two nodes share the work, and Redis holds only ciphertext', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node, keys } = await fleet(t, server.url)
  const { ids, receivers } = await receiver(t)
  const [one, two] = await Promise.all([node('one', { receivers }), node('two', { receivers })])
  for (let n = 0; n < 40; n++) {
    const { outbox } = n % 2 === 0 ? one : two
    await outbox.add(message(n, `HD_shared0000${n % 4}`))
    await outbox.add(message(n, `HD_shared0000${n % 4}`))
  }
  await until(() => new Set(ids).size === 40, 10_000, 'all')
  for (let call = 0; call < 4; call++) {
    const numbers = [...new Set(ids)]
      .filter((id) => id.startsWith(`HD_shared0000${call}`))
      .map((id) => Number(id.split(':').at(-1)))
    t.same(
      numbers,
      numbers.toSorted((a, b) => a - b),
      'in the order in which they were added, at either node',
    )
  }
  await until(() => isEmpty(keys), 5000, 'an empty store')
  const down = await receiver(t, () => 500)
  const three = await node('three', { receivers: down.receivers, later: () => undefined })
  await one.outbox.close(1000)
  await two.outbox.close(1000)
  await three.outbox.add(message(1))
  await until(() => three.outbox.waiting === 1, 5000, 'it is taken')
  const dump = JSON.stringify(
    await server.command('XRANGE', (await keys()).find((key) => key.endsWith('{outbox}')) ?? '', '-', '+'),
  )
  t.match(dump, /HD_message00001/)
  t.notMatch(dump, /zebra|support|http/)
  await three.outbox.forget(['HD_message00001'])
  t.same(
    (await keys()).filter((key) => /ids|:of:/.test(key)),
    [],
    'and an erased call has nothing there',
  )
  await three.outbox.close(0)
})

t.test('a dead message is listed and retried at any node', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node } = await fleet(t, server.url)
  const { ids, receivers } = await receiver(t, (n) => (n === 0 ? 400 : 200))
  const one = await node('one', { receivers })
  await one.outbox.add(message(1))
  await until(async () => (await one.outbox.list(10)).length === 1 && one.outbox.waiting === 0, 5000, 'its death')
  await one.outbox.add(message(1))
  const two = await node('two', { receivers })
  const [dead] = await two.outbox.list(10)
  t.match(dead, { reason: 'answered 400', callSid: 'HD_message00001', nextTryAt: null })
  t.notOk(await two.outbox.retry('nobody'))
  t.ok(await two.outbox.retry(dead?.key ?? ''))
  await until(() => ids.length > 0, 5000, 'it is sent, by either node')
  for (const { outbox } of [one, two])
    await until(async () => (await outbox.list(10)).length === 0, 5000, 'it is taken')
  await one.outbox.close(0)
  await two.outbox.close(0)
  t.equal(ids.length, 1, 'once')
})

t.test('messages in an emptied Redis are counted as lost once [2]', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node } = await fleet(t, server.url)
  let isDown = true
  const { ids, receivers } = await receiver(t, () => (isDown ? 500 : 200))
  const lost: number[] = []
  const due: (() => void)[] = []
  let forgotten = false
  const { outbox } = await node('one', {
    receivers,
    later: (_, run) => due.push(run),
    forgotten: () => Promise.resolve(forgotten),
    onLost: (count) => lost.push(count),
  })
  const counted = (): number | undefined => outbox.counts.get('crm')?.lost
  const waits = (): boolean => outbox.waiting === 3 && due.length >= 2
  for (const one of [message(1), message(2), message(1, 'HD_message00002')]) await outbox.add(one)
  await until(waits, 5000, 'the first tries')
  await server.command('FLUSHALL')
  outbox.storeForgot()
  t.equal(outbox.waiting, 0)
  t.same([lost, counted()], [[3], 3])
  for (const run of due.splice(0)) run()

  // It is due before the loss was noticed.
  await outbox.add(message(3))
  await until(() => outbox.waiting === 1 && due.length > 0, 5000, 'its first try')
  await server.command('FLUSHALL')
  forgotten = true
  for (const run of due.splice(0)) run()
  await until(() => outbox.waiting === 0, 5000, 'its end')
  t.same([lost, counted()], [[3, 1], 4])

  isDown = false
  await outbox.add(message(4))
  await until(() => ids.length === 1, 5000, 'what is new')
  t.same(ids, [message(4).id])
  await outbox.close(0)
})

t.test('a Redis that is emptied loses no waiting message', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node } = await fleet(t, server.url)
  let isDown = true
  const { ids, receivers } = await receiver(t, () => (isDown ? 500 : 200))
  const due: (() => void)[] = []
  const options = (name: string) => ({
    ...{ receivers, folders: [join(t.testdirName, name)], later: (_: number, run: () => void) => void due.push(run) },
    forgotten: () => Promise.resolve(true),
  })
  t.testdir()
  const nodes = [await node('one', options('one')), await node('two', options('two'))] as const
  const wanted = Array.from({ length: 20 }, (_, n) => message(n, `HD_emptied0000${n % 4}`))
  for (const [n, each] of wanted.entries()) await nodes[n % 2 === 0 ? 0 : 1].outbox.add(each)
  await until(
    () => nodes[0].outbox.waiting + nodes[1].outbox.waiting === 20 && due.length > 0,
    10_000,
    'the first tries',
  )
  await server.command('FLUSHALL')
  for (const { outbox } of nodes) outbox.storeForgot()
  isDown = false
  const waits = setInterval(() => {
    for (const run of due.splice(0)) run()
  }, 20)
  t.teardown(() => clearInterval(waits))
  await until(() => new Set(ids).size === 20, 20_000, 'all of it')
  const files = (): string[] => ['one', 'two'].flatMap((name) => readdirSync(join(t.testdirName, name)))
  await until(() => files().length === 0, 10_000, 'no file')
  t.same([...ids].sort(), wanted.map(({ id }) => id).sort(), 'each once')
  const counted = nodes.map(({ outbox }) => outbox.counts.get('crm'))
  t.equal(
    counted.reduce((sum, of) => sum + (of?.restored ?? 0), 0),
    20,
  )
  t.equal(
    counted.reduce((sum, of) => sum + (of?.lost ?? 0), 0),
    0,
  )
  for (const { outbox } of nodes) await outbox.close(1000)
})

t.test('a message that a failover loses is added again', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node } = await fleet(t, server.url)
  const { ids, receivers } = await receiver(t)
  const folder = join(t.testdir(), 'one')
  // It takes nothing itself, so that the message is in Redis alone.
  const one = await node('one', { receivers, folders: [folder] }, Infinity, (script) =>
    script === 'take' ? 'request' : null,
  )
  await one.outbox.add(message(1))
  t.equal(readdirSync(folder).length, 1, 'a copy')
  // Nobody notices: the new master has everything but the newest messages.
  await server.command('FLUSHALL')
  await one.outbox.close(0)
  const again = await node('one', { receivers, folders: [folder] })
  await again.outbox.add(message(2))
  await until(() => new Set(ids).size === 2, 10_000, 'both')
  await until(() => readdirSync(folder).length === 0, 10_000, 'no file')
  t.same(ids.toSorted(), [message(1).id, message(2).id], 'each once')
  await again.outbox.close(1000)
})

/** A node with a file of a message stops, and another one sends it. @param added  by which version it is in the store */
async function sentByAnother(t: Test, added: 'this version' | '0.1.0'): Promise<void> {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node, store } = await fleet(t, server.url)
  const { ids, receivers } = await receiver(t)
  const folder = join(t.testdir(), 'one')
  const one = await node('one', { receivers, folders: [folder] }, Infinity, (script) =>
    script === 'take' ? 'request' : null,
  )
  await one.outbox.add(message(1))
  // It does not note what was added.
  const forget = "return { tostring(redis.call('DEL', KEYS[1] .. ':added')) }"
  if (added === '0.1.0') t.same((await store.evaluate('forget', forget, '{outbox}', [])).map(String), ['1'])
  const file = readdirSync(folder)
  one.die()
  const two = await node('two', { receivers })
  await until(() => ids.length === 1, 10_000, 'the other node')
  await until(async () => (await two.outbox.list(10)).length === 0, 10_000, 'an empty outbox')
  t.strictSame(readdirSync(folder), file, 'its node is dead, and has the file')
  const again = await node('one', { receivers, folders: [folder] })
  await until(() => readdirSync(folder).length === 0, 10_000, 'the file is deleted')
  await again.outbox.close(1000)
  await two.outbox.close(1000)
  t.equal(ids.length, 1, 'once')
}

t.test('a message sent by another node is not sent again [6]', (t) => sentByAnother(t, 'this version'))

t.test('a message of 0.1.0 sent elsewhere is not sent again [7]', (t) => sentByAnother(t, '0.1.0'))

t.test('messages are kept on the disk while Redis is away', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const { node, store } = await fleet(t, server.url)
  const { ids, receivers } = await receiver(t)
  const one = await node('one', { receivers, folders: [join(t.testdir(), 'outbox')], aloneAfterMs: 50 })
  await server.kill()
  await until(async () => !(await succeeds(store.read('nobody'))), 10_000, 'the loss')
  await one.outbox.add(message(1))
  await until(() => ids.length === 1, 5000, 'it is taken')
  t.ok(one.outbox.faults > 0)
  await one.outbox.close(0)
})

t.test('a node outside the fleet neither takes nor claims messages', async (t) => {
  if (!hasRedis(t)) return
  const server = await startRedis()
  t.teardown(() => server.close())
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const open = async (nodeName: string) => {
    const config = { ...loadConfig({}, null), redisUrl: server.url, internalPort: null, nodeName }
    const opened = await openFleet({
      ...{ config, tokenSecrets: SECRETS, store: null, states: null, version: '0.0.0', log, metrics },
      clock: () => performance.now(),
      calls: () => null,
      isRinging: () => false,
      liveCosts: () => ({}),
      agents: () => '',
      onNameTaken: () => undefined,
    })
    t.teardown(() => opened.close())
    return { node: opened.node, outbox: opened.outbox as SharedOutbox }
  }
  const { node, outbox } = await open('gw-starts')
  const nothing = { size: 0, has: () => false }
  const entry = {
    ...message(1),
    version: 1 as const,
    receiver: 'crm',
    url: null,
    order: 1,
    contentType: 'x',
    body: 'x',
  }
  await outbox.add('HD_message00001.1', 'queue', entry)
  t.same(await outbox.take(), [])
  t.same(await outbox.claim(nothing), [])
  await node.start()
  await until(async () => (await outbox.take()).length === 1, 10_000, 'the message')
  t.same(await outbox.claim({ size: 1, has: () => true }), [])
})

t.test('a node that starts without Redis sends from its disk', async (t) => {
  const { ids, receivers } = await receiver(t)
  const shared = new SharedOutbox({
    stream: 'outbox',
    run: () => Promise.reject(new Error('Redis is away')),
    seal: () => new Uint8Array(),
    open: () => '',
    node: { name: 'one', incarnation: 'run-of-one' },
    isJoined: () => false,
    isGone: () => true,
    wallClock: Date.now,
    log,
  })
  const outbox = await Outbox.open({
    ...{ folders: [join(t.testdir(), 'outbox')], receivers, shared, lookMs: 5, aloneAfterMs: 50 },
    ...{ handoff: { url: null, secret: null }, source: 'urn:mkondo:test', wallClock: Date.now, log },
  })
  await outbox.add(message(1))
  await until(() => ids.length > 0, 10_000, 'the message')
  t.same(ids, [message(1).id])
  await outbox.close(1000)
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CallLog } from '../../src/call/call-log.js'
import { parseCallSid } from '../../src/core/ids.js'
import type { CallSid } from '../../src/core/ids.js'
import { CALL_TTL_MS } from '../../src/core/limits.js'
import { CallKeeper } from '../../src/fleet/call-keeper.js'
import type { CallStore, OwnerToken } from '../../src/fleet/store/call-store.js'
import { DurableStore } from '../../src/fleet/store/durable-store.js'
import { StoredEffects } from '../../src/fleet/store/effects.js'
import { restoreRun } from '../../src/fleet/earlier-run.js'
import type { LeftCall } from '../../src/fleet/earlier-run.js'
import type { FleetNode } from '../../src/fleet/fleet-node.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { Archive } from '../../src/telemetry/archive/archive.js'
import type { SealedChange, StoredValue } from '../../src/telemetry/archive/archive-messages.js'
import { createLog } from '../../src/telemetry/log.js'
import { attribute, newSid, openSocket, post, ringing } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { sid } from '../support/host.js'
import { keptCall } from '../support/kept-call.js'
import { until } from '../support/until.js'
import { fleet } from './nodes.js'

const LIMITS = {
  alone: true,
  fsync: 'never',
  fileBytes: 1e6,
  recordsKeepDays: 1,
  recordsKeepBytes: 1e7,
  recordingsKeepDays: 1,
  recordingsKeepBytes: 1e7,
} as const
const log = createLog({ level: 'silent' })
const SECRETS = ['a-secret-that-stays']
/** Files that a run with these secrets writes of a call. */
async function written(callSid: CallSid, secrets: readonly string[] = SECRETS) {
  const changes: SealedChange[] = []
  const gone: string[] = []
  const disk = {
    takes: true,
    keep: (these: readonly SealedChange[]) => Promise.resolve(disk.takes && changes.push(...these) > 0),
    gone: (key: string) => void gone.push(key),
    value: () => undefined,
  }
  const store = new DurableStore(new MemoryStore(Date.now), disk)
  const { owner } = await store.claim(callSid, { node: 'gw-0', incarnation: 'the-run-before', nonce: 'n' }, 0)
  const keeper = keeperOf(store, secrets, owner)
  keeper.open(callSid, {
    kept: () => keptCall({ callSid, rootSid: callSid, agent: 'order-status' }),
    log: () => ({ log: new CallLog().records(), marks: [] }),
  })
  return { keeper, disk, changes, gone }
}

function keeperOf(store: CallStore, secrets: readonly string[], owner: OwnerToken | null): CallKeeper {
  const options = { node: 'gw-0', alone: false, store, secrets, clock: () => performance.now(), log }
  return new CallKeeper({ ...options, tokenOf: () => owner, inDoubt: () => false, lost: () => undefined })
}

async function leftOf(callSid: CallSid, more: Partial<LeftCall> = {}, secrets?: readonly string[]): Promise<LeftCall> {
  const { keeper, changes } = await written(callSid, secrets)
  await keeper.close()
  const [{ state, append = [] } = {}] = changes
  if (state === undefined) throw new Error('nothing was written')
  return { callSid, atWallMs: Date.now(), sealed: { state, log: append }, ended: false, ...more }
}

t.test('a single gateway keeps sealed states of live calls', async (t) => {
  const callSid = sid('HD_alone0000001')
  const { keeper, disk, changes, gone } = await written(callSid)
  disk.takes = false
  await keeper.flush()
  t.match(keeper.counters, { written: 0, failed: 1 }, 'a disk that does not keep up is counted')
  disk.takes = true
  await keeper.flush()
  t.match(changes, [{ callSid, replace: true }], 'and gets the whole of it afterwards')
  t.equal(changes.length, 1)
  t.notMatch(Buffer.from(changes[0]?.state ?? []).toString('latin1'), /order-status|\+254/)
  const told = keeper.over(callSid)
  await keeper.close()
  await told
  t.same(gone, [callSid])
})

t.test('a restarted gateway resumes the calls of its earlier run', async (t) => {
  let reader: CallKeeper | null = null
  const lost: string[] = []
  const one = await fleet(
    t,
    1,
    {},
    {
      kept: (callSid, entry) => reader?.opened(callSid, entry) ?? null,
      lost: ({ kept }) => void lost.push(kept.callSid),
    },
  )
  const [gateway] = one.gateways as readonly [Gateway]
  const [node] = one.nodes as readonly [FleetNode]
  reader = keeperOf(one.store, SECRETS, null)
  const says = async (callSid: CallSid, callSessionState: string): Promise<string> =>
    (await post(`${gateway.url}/voice/order-status`, { form: { ...ringing(callSid), callSessionState } })).text
  const [talking, hungUp, secretless, old, taken] = [0, 1, 2, 3, 4].map(() => parseCallSid(newSid())) as [
    CallSid,
    CallSid,
    CallSid,
    CallSid,
    CallSid,
  ]
  const nowMs = Date.now()
  await one.store.claim(taken, { node: 'gw-7', incarnation: 'another', nonce: 'n' }, 0)
  const left = [
    await leftOf(talking),
    await leftOf(hungUp),
    await leftOf(secretless, {}, ['another-secret']),
    await leftOf(old, { atWallMs: nowMs - CALL_TTL_MS - 1 }),
    await leftOf(taken),
    { ...(await leftOf(parseCallSid(newSid()))), sealed: null },
  ]
  await restoreRun({ left, values: [] }, node, nowMs, log)
  const restored = await one.store.read(talking)
  t.match(restored, { phase: 'owned', owner: { node: 'gw-0' } })
  t.notOk(node.isThisRun(restored?.owner ?? { node: '', incarnation: '' }), 'as a call of the run before')
  t.ok((restored?.owner.epoch ?? 0) >= Math.floor(nowMs / 1000), 'no token of an earlier run opens its stream')
  t.equal(await one.store.read(old), null)
  t.match(await one.store.read(taken), { owner: { node: 'gw-7' }, state: null }, 'what the store knows is newer')

  const answer = await says(talking, 'StreamStopped')
  const socket = await openSocket(attribute(answer, 'url'))
  t.equal(gateway.calls.get(talking).state, 'streaming')
  socket.close()
  t.match(await says(secretless, 'StreamStopped'), /All lines are busy/, 'what another TOKEN_SECRET sealed gets words')
  await says(hungUp, 'Completed')
  await until(() => lost.length > 0, 5000, 'the end of the call whose caller has left')
  t.same(lost, [hungUp])
})

t.test('a call that ended with its run stays ended [2]', async (t) => {
  const one = await fleet(t, 1)
  const [node] = one.nodes as readonly [FleetNode]
  const [ours, theirs, unknown] = [0, 1, 2].map(() => parseCallSid(newSid())) as [CallSid, CallSid, CallSid]
  await one.store.claim(ours, { node: 'gw-0', incarnation: 'the-run-before', nonce: 'n' }, 0)
  await one.store.claim(theirs, { node: 'gw-7', incarnation: 'another', nonce: 'n' }, 0)
  const left = [ours, theirs, unknown].map((callSid) => ({ callSid, atWallMs: 0, sealed: null, ended: true }))
  await restoreRun({ left, values: [] }, node, Date.now(), log)
  t.match(await one.store.read(ours), { phase: 'over' }, 'nobody makes a second record')
  t.match(await one.store.read(theirs), { phase: 'claimed', owner: { node: 'gw-7' } })
  t.equal(await one.store.read(unknown), null)
  one.storeDown = true
  await restoreRun({ left, values: [] }, node, Date.now(), log)
})

t.test("restored states do not overwrite the call's new owner [1]", async (t) => {
  const two = await fleet(t, 2)
  const [node, other] = two.nodes as readonly [FleetNode, FleetNode]
  const [ended, talking] = [0, 1].map(() => parseCallSid(newSid())) as [CallSid, CallSid]
  const before = { node: 'gw-0', incarnation: 'the-run-before', nonce: 'n' }
  for (const callSid of [ended, talking]) {
    await two.store.claim(callSid, before, 0)
    other.expect(callSid, (await two.store.claim(callSid, other.claimFor(null), 1)).owner)
    t.equal(await other.confirm(callSid), 'ok')
  }
  await two.failover((replica) => replica.claim(ended, before, 0))
  const left = [{ callSid: ended, atWallMs: 0, sealed: null, ended: true }, await leftOf(talking)]
  await restoreRun({ left, values: [] }, node, Date.now(), log)
  for (const callSid of [ended, talking])
    t.match(await two.store.read(callSid), { phase: 'owned', owner: { node: 'gw-1' } })
})

t.test('a tool begun before the death does not run again', async (t) => {
  const folder = t.testdir({})
  const run = async (): Promise<{ archive: Archive; effects: StoredEffects; store: DurableStore }> => {
    const archive = await Archive.start({ ...LIMITS, folder }, log)
    const disk = {
      keep: () => Promise.resolve(true),
      gone: () => undefined,
      value: (value: StoredValue) => archive.keepValue(value),
    }
    const store = new DurableStore(new MemoryStore(Date.now), disk)
    const node = { name: 'gw-0', store, claimFor: () => ({ node: 'gw-0', incarnation: 'x', nonce: 'n' }) }
    await restoreRun(
      { left: [], values: archive.values },
      { ...node, havingElsewhere: () => Promise.resolve([]) },
      Date.now(),
      log,
    )
    return {
      archive,
      effects: new StoredEffects({ store, secrets: SECRETS, clock: () => performance.now(), log }),
      store,
    }
  }
  const dead = await run()
  t.equal(await dead.effects.intend('ticket'), 'new')
  t.equal(await dead.effects.intend('order'), 'new')
  dead.effects.settle('order', { ok: true, value: { order: 7 } })
  await dead.store.once('short', 'x', 1)
  await dead.archive.find('record', 'none')
  const next = await run()
  t.equal(await next.effects.intend('ticket'), 'uncertain')
  t.same(await next.effects.intend('order'), { result: { ok: true, value: { order: 7 } } })
  t.equal(await next.effects.intend('another'), 'new')
  t.same(
    next.archive.values.map(({ key }) => key.slice(0, 7)),
    ['effect:', 'effect:'],
    'what counts no more is gone',
  )
  t.notMatch(readFileSync(join(folder, 'records', 'open', 'values.jsonl'), 'utf8'), /ticket|order/)
  for (const { archive } of [dead, next]) await archive.close()
})

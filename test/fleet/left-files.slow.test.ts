import { readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'
import { startFleet } from '../support/fleet.js'
import type { FleetNode } from '../support/fleet.js'
import { portOf } from '../support/port-of.js'
import { hasRedis } from '../support/redis.js'
import { until } from '../support/until.js'

t.setTimeout(300_000)

interface WithoutDisk {
  readonly victim: FleetNode
  readonly other: FleetNode
  /** SIDs of calls that have ended at the victim while its disk took no writes. */
  readonly sids: readonly string[]
  /** Ids of messages about them, in the order of their arrival. */
  readonly told: readonly string[]
}

async function endedWithoutDisk(t: Test, disk: 'full' | 'read-only'): Promise<WithoutDisk | null> {
  if (!hasRedis(t) || !hasProgram(t, 'haproxy', 'haproxy') || !hasProgram(t, 'prlimit', 'util-linux')) return null
  const told: string[] = []
  const receiver = createServer((request, response) => {
    told.push(String(request.headers['webhook-id']))
    request.resume().once('end', () => response.writeHead(204).end())
  })
  const messages = join(t.testdir(), 'messages.yaml')
  const url = `http://127.0.0.1:${await portOf(t, receiver)}/`
  writeFileSync(messages, `receivers: [{ name: crm, url: '${url}', unsigned: true, events: [call.ended] }]`)
  const fleet = await startFleet({ nodes: 2, env: { MESSAGES_FILE: messages } })
  t.teardown(() => fleet.close())
  const [victim, other] = fleet.nodes as readonly [FleetNode, FleetNode]
  const calls = await fleet.calls(6)
  const sids = calls.flatMap(({ owners, callSid }) => (owners[0] === victim.name ? [callSid] : [])).sort()
  t.equal(sids.length, 3)
  await until(() => sids.every((sid) => openOf(victim).includes(`${sid}.json`)), 10_000, 'their files')
  if (disk === 'full') victim.disk(false)
  else victim.readOnly(true)
  t.teardown(() => victim.readOnly(false))
  for (const call of calls) call.hangUp()
  await Promise.all(calls.map(({ done }) => done))
  await until(() => told.length === 6, 10_000, 'a message of each')
  t.same(recorded(victim, sids), [])
  return { victim, other, sids, told }
}

const openFolder = ({ dataDir }: FleetNode): string => join(dataDir, 'records', 'open')
const openOf = (node: FleetNode): string[] => readdirSync(openFolder(node))
const recorded = (node: FleetNode, sids: readonly string[]): string[] =>
  node
    .finalRecords()
    .filter((sid) => sids.includes(sid))
    .sort()

t.test('a node that is killed while its disk takes no writes loses no record [1]', { timeout: 180_000 }, async (t) => {
  const lost = await endedWithoutDisk(t, 'full')
  if (lost === null) return
  const { victim, other, sids, told } = lost
  await sleep(5000) // the store learns of ends once a second
  await victim.kill()
  // As though its disk had taken no writes for longer than any clock may differ.
  const atS = Math.floor(Date.now() / 1000) - 72
  for (const name of openOf(victim)) utimesSync(join(openFolder(victim), name), atS, atS)
  await victim.start()
  await until(() => recorded(victim, sids).length === 3, 60_000, 'records')
  t.same([recorded(victim, sids), recorded(other, sids)], [sids, []], 'nobody has shown them, so they are made here')
  for (const { endReason, provisional } of victim.records()) {
    t.equal(endReason, 'process-died')
    t.equal(provisional?.knownTo, new Date(atS * 1000).toISOString(), 'it says what it knows')
    t.match(provisional?.overAt, /^20/, 'and that the call was over later')
  }
  const ids = sids.map((sid) => `${sid}:call.ended`)
  await until(() => told.length === 9, 10_000, 'their messages')
  t.same(told.slice(6).sort(), ids, 'which have the ids that they had')
})

t.test('two nodes make one record of a call, whichever of them is away [2]', { timeout: 240_000 }, async (t) => {
  const lost = await endedWithoutDisk(t, 'read-only')
  if (lost === null) return
  const { victim, other, sids, told } = lost
  t.equal(await victim.drain(), 0)
  t.same(recorded(other, sids), sids, 'it has given its records away')
  t.same(openOf(victim).filter((name) => name.endsWith('.json')).length, 3, 'and could not delete its files')
  victim.readOnly(false)
  await victim.start()
  await until(() => openOf(victim).every((name) => !name.endsWith('.json')), 60_000, 'the decision')
  t.same([recorded(victim, sids), recorded(other, sids)], [[], sids])
  t.equal(told.length, 6, 'and no message again')

  // The same files once more, while the node that has the records is stopped.
  t.equal(await other.drain(), 0)
  await victim.kill()
  for (const sid of sids) {
    const record = other.records().find(({ callSid }) => callSid === sid)
    writeFileSync(
      join(openFolder(victim), `${sid}.json`),
      JSON.stringify({ ...record, outcome: 'failed', endReason: 'process-died' }),
    )
  }
  await victim.start()
  await until(() => recorded(victim, sids).length === 3, 60_000, 'provisional records')
  await other.start()
  await until(() => recorded(victim, sids).length === 0, 60_000, 'the records of the other')
  t.same(recorded(other, sids), sids, 'which count')
  t.equal(
    ((await (await victim.ops(`/api/calls/${sids[0] ?? ''}`)).json()) as { endReason: string }).endReason,
    'caller-hung-up',
  )
})

import t from 'tap'
import { CONFIRMS_AT_ONCE_MAX, HEARTBEAT_MS, STORE_DEADLINE_MS } from '../../src/core/limits.js'
import type { CallStore, OwnerToken, StoredNode } from '../../src/fleet/store/call-store.js'
import { DOUBT_MS, Ownership } from '../../src/fleet/ownership.js'
import type { OwnershipInput, OwnershipOutput } from '../../src/fleet/ownership-events.js'
import { setImmediate as turnOfEventLoop } from 'node:timers/promises'
import type { Test } from 'tap'
import { FleetNode } from '../../src/fleet/fleet-node.js'
import type { NodeNetwork } from '../../src/fleet/fleet-node.js'
import { GuardedStore } from '../../src/fleet/store/guarded-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { newSid, post, ringing } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { fleet } from './nodes.js'
import type { Fleet } from './nodes.js'

const WALL_MS = 1_800_000_000_000

type Of<Type extends OwnershipOutput['type']> = Extract<OwnershipOutput, { readonly type: Type }>

function tokenOf(node: string, epoch = 1): OwnerToken {
  return { node, incarnation: `${node}-1`, nonce: `nonce-${epoch}`, epoch }
}

/** The node `a`, and what it sees: a store and other nodes whose state the test sets. Each step is 100 ms. */
class Rig {
  nowMs = 1000
  readonly machine: Ownership
  readonly said: OwnershipOutput[] = []
  readonly #nodes = new Map<string, { record: StoredNode; beats: boolean; probe: 'answered' | 'refused' | 'silent' }>()
  /** The run that answers the probes of a node, where it is another than the probed one. */
  readonly answersAs = new Map<string, string>()
  storeUp = true
  answersBeats = true
  viewsTakeMs = 0
  skewMs = 0
  /** The store's answer about calls. */
  confirms: 'ok' | 'lost' | 'store-down' = 'ok'

  /** @param peers  nodes that live; a record under the name `a` is of a run before, whose probes end as after the colon */
  constructor(...peers: readonly string[]) {
    this.machine = new Ownership({ name: 'a', incarnation: 'a-1', startedAtMs: WALL_MS, random: () => 0.5 })
    for (const peer of peers) {
      const [name = '', probe] = peer.split(':')
      this.node(name, name === 'a' ? 'a-0' : `${name}-1`)
      if (probe === 'refused' || probe === 'silent') this.stops(name, probe)
    }
    this.in({ type: 'timer' })
  }

  /** A record in the store; a rival if the name is `a`. */
  node(name: string, incarnation: string, startedAtMs = WALL_MS - 60_000): this {
    const record: StoredNode = {
      name,
      incarnation,
      beat: 1,
      startedAtMs,
      internalUrl: `http://${name}`,
      opsUrl: null,
      version: '1',
      capacity: 10,
      free: 10,
      state: 'open',
      callsByAgent: {},
      clockAheadMs: 0,
      afterStream: null,
      writtenAtMs: WALL_MS,
    }
    this.#nodes.set(name, { record, beats: true, probe: 'answered' })
    return this
  }

  /** Its heartbeat stands still, and its probes end so. */
  stops(name: string, probe: 'answered' | 'refused' | 'silent'): this {
    const node = this.#nodes.get(name)
    if (node !== undefined) Object.assign(node, { beats: false, probe })
    return this
  }

  /** Its record is again the one of `by` heartbeats before. */
  replays(name: string, by: number): this {
    const node = this.#nodes.get(name)
    if (node !== undefined) node.record = { ...node.record, beat: node.record.beat + by }
    return this
  }

  /** Sets its clock in its next heartbeats. */
  clockAhead(name: string, clockAheadMs: number): this {
    const node = this.#nodes.get(name)
    if (node !== undefined) node.record = { ...node.record, clockAheadMs }
    return this
  }

  /** Its heartbeat moves; what its probes show stays. */
  moves(name: string): this {
    const node = this.#nodes.get(name)
    if (node !== undefined) node.beats = true
    return this
  }

  goesOn(name: string): this {
    const node = this.#nodes.get(name)
    if (node !== undefined) Object.assign(node, { beats: true, probe: 'answered' })
    return this
  }

  leaves(name: string): this {
    this.#nodes.delete(name)
    return this
  }

  in(input: OwnershipInput): this {
    this.machine.handle(input, this.nowMs)
    for (let output = this.machine.poll(); output !== null; output = this.machine.poll()) {
      this.said.push(output)
      if (output.type === 'beat') this.#beat()
      else if (output.type === 'probe') this.#probe(output)
      else if (output.type === 'confirm') for (const callSid of output.callSids) this.confirm(callSid)
    }
    return this
  }

  pass(ms: number): this {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs;) {
      this.nowMs += 100
      if ((this.machine.nextWakeMs() ?? Infinity) <= this.nowMs) this.in({ type: 'timer' })
    }
    return this
  }

  pause(ms: number): this {
    this.nowMs += ms
    return this
  }

  /** A call of `a`, saved and with an open stream. */
  call(callSid: string, epoch = 1): this {
    this.in({ type: 'owned', callSid, token: tokenOf('a', epoch), savedMs: this.nowMs })
    return this.in({ type: 'stream', callSid, open: true })
  }

  confirm(callSid: string, result = this.storeUp ? this.confirms : 'store-down', epoch = 1): this {
    return this.in({ type: 'confirmed', callSid, token: tokenOf('a', epoch), askedMs: this.nowMs, result })
  }

  mayAct(callSid: string): string {
    return this.machine.mayAct(callSid, this.nowMs)
  }

  all<Type extends OwnershipOutput['type']>(type: Type): readonly Of<Type>[] {
    return this.said.filter((output): output is Of<Type> => output.type === type)
  }

  get takeOvers(): readonly string[] {
    return this.all('take-over')
      .filter(({ node }) => node !== 'a')
      .map(({ node, incarnation, evidence }) => `${node} ${incarnation ?? ''} ${evidence}`)
  }

  #beat(): void {
    if (!this.answersBeats) return
    if (!this.storeUp) return void this.in({ type: 'beat-failed' })
    for (const node of this.#nodes.values())
      if (node.beats) node.record = { ...node.record, beat: node.record.beat + 1, writtenAtMs: WALL_MS + this.nowMs }
    const view = { nodes: [...this.#nodes.values()].map(({ record }) => record), storeTimeMs: WALL_MS + this.nowMs }
    const wallMs = WALL_MS + this.nowMs + this.skewMs
    const askedMs = this.nowMs
    this.nowMs += this.viewsTakeMs
    this.in({ type: 'beat-done', askedMs, view, wallMs })
  }

  #probe({ node, incarnation }: Of<'probe'>): void {
    const result = this.#nodes.get(node)?.probe ?? 'silent'
    const answeredBy = result === 'answered' ? (this.answersAs.get(node) ?? incarnation) : null
    this.in({ type: 'probe-result', node, incarnation, askedMs: this.nowMs, result, answeredBy })
  }
}

t.test('a heartbeat goes out about every two seconds', async (t) => {
  const rig = new Rig('b').pass(20_000)
  t.equal(rig.all('beat').length, 11)
  t.strictSame(
    rig.all('beat').map(({ beat }) => beat),
    Array.from({ length: 11 }, (_, i) => i + 1),
  )
})

t.test('calls are in doubt until the store confirms them [3]', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').pass(5000)
  t.notOk(rig.machine.inDoubt('CA1', rig.nowMs))
  rig.storeUp = false
  rig.pause(3000)
  t.ok(rig.machine.inDoubt('CA1', rig.nowMs), 'as soon as its node stands still no more')
  t.ok(rig.pass(1000).machine.inDoubt('CA1', rig.nowMs))
  rig.call('CA2')
  t.notOk(rig.machine.inDoubt('CA2', rig.nowMs), 'not one that came since')
  t.notOk(rig.pass(DOUBT_MS).machine.inDoubt('CA1', rig.nowMs), 'its caller is still there')
  rig.pause(10_000).pass(DOUBT_MS + 5000)
  t.ok(rig.machine.inDoubt('CA1', rig.nowMs), 'the others may have found its node dead')
  rig.storeUp = true
  rig.pass(5000)
  t.notOk(rig.machine.inDoubt('CA1', rig.nowMs))
})

t.test('a node whose heartbeat moves is alive and takes calls', async (t) => {
  const rig = new Rig('b', 'c').pass(60_000)
  t.equal(rig.machine.stateOf('b'), 'alive')
  t.strictSame(
    rig.machine.aliveNodes().map(({ name }) => name),
    ['b', 'c'],
  )
  t.strictSame(rig.takeOvers, [])
  t.strictSame(rig.all('probe'), [], 'nobody is probed without need')
  t.equal(rig.machine.stateOf('z'), null)
})

t.test('a node without a heartbeat for 6 s is suspect', async (t) => {
  const rig = new Rig('b', 'c').pass(10_000).stops('b', 'answered').pass(5500)
  t.equal(rig.machine.stateOf('b'), 'alive')
  rig.pass(2500)
  t.equal(rig.machine.stateOf('b'), 'suspect')
  t.ok(rig.all('probe').some(({ node, internalUrl }) => node === 'b' && internalUrl === 'http://b'))
  t.strictSame(
    rig.machine.aliveNodes().map(({ name }) => name),
    ['c'],
  )
  t.equal(rig.goesOn('b').pass(3000).machine.stateOf('b'), 'alive')
})

t.test('a suspect that answers probes keeps its calls', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'answered').pass(300_000)
  t.equal(rig.machine.stateOf('b'), 'suspect')
  t.strictSame(rig.takeOvers, [])
})

t.test('a refusing suspect loses its calls within 12 s', async (t) => {
  const rig = new Rig('b').pass(5000).stops('b', 'refused').pass(12_000)
  t.strictSame(rig.takeOvers, ['b b-1 refused'], 'in a fleet of two as well')
  t.equal(rig.machine.stateOf('b'), 'gone')
})

t.test('a suspect loses its calls after 22 s of silence', async (t) => {
  for (let sinceHeartbeatMs = 0; sinceHeartbeatMs < HEARTBEAT_MS; sinceHeartbeatMs += 250) {
    const rig = new Rig('b')
      .pass(5000 + sinceHeartbeatMs)
      .stops('b', 'silent')
      .pass(25_000)
    t.strictSame(rig.takeOvers, [], `${sinceHeartbeatMs} ms later`)
    rig.pass(5000)
    t.strictSame(rig.takeOvers, ['b b-1 silent'])
  }
})

t.test('a heartbeat restarts the 22 s of silence', async (t) => {
  const rig = new Rig('b').pass(5000).stops('b', 'silent').pass(24_000)
  rig.in({ type: 'heard', node: 'b', incarnation: 'b-1' }).pass(19_000)
  t.strictSame(rig.takeOvers, [])
  rig.pass(5000)
  t.strictSame(rig.takeOvers, ['b b-1 silent'])
})

t.test('an answered probe restarts the 22 s of silence', async (t) => {
  const rig = new Rig('b').pass(5000).stops('b', 'silent').pass(20_000)
  rig.stops('b', 'answered').pass(3000).stops('b', 'silent').pass(19_000)
  t.strictSame(rig.takeOvers, [])
  rig.pass(5000)
  t.strictSame(rig.takeOvers, ['b b-1 silent'])
})

t.test('a view that arrives late decides nothing', async (t) => {
  const rig = new Rig('b').pass(5000)
  rig.viewsTakeMs = 600
  rig.stops('b', 'refused').pass(30_000)
  t.equal(rig.machine.stateOf('b'), 'suspect')
  t.strictSame(rig.takeOvers, [])
  rig.viewsTakeMs = 0
  rig.pass(3000)
  t.strictSame(rig.takeOvers, ['b b-1 refused'])
})

t.test('a new run proves the earlier run dead', async (t) => {
  const seen = new Rig('b').pass(5000).node('b', 'b-2')
  seen.answersAs.set('b', 'b-2')
  seen.pass(12_000)
  t.strictSame(seen.takeOvers, ['b b-1 new-incarnation'], 'seen in the store')
  t.equal(seen.machine.stateOf('b'), 'alive', 'the new run is well')

  const probed = new Rig('b').pass(5000).stops('b', 'answered')
  probed.answersAs.set('b', 'b-2')
  probed.pass(12_000)
  t.strictSame(probed.takeOvers, ['b b-1 new-incarnation'], 'told by a probe')
})

t.test('a run that answers probes keeps calls despite a successor', async (t) => {
  const rig = new Rig('b').pass(5000).node('b', 'b-2').pass(60_000)
  t.strictSame(rig.takeOvers, [])
})

t.test('an unseen dead run loses its calls once silent', async (t) => {
  const rig = new Rig('b').pass(5000).stops('b', 'refused').pass(10_000)
  rig.in({ type: 'owners', node: 'b', incarnations: ['b-1', 'b-0'] }).pass(5000)
  t.strictSame(rig.takeOvers, ['b b-1 refused'], 'it may have sent its first heartbeat just now')
  rig.pass(5000)
  t.ok(rig.takeOvers.includes('b b-0 refused'))

  const lives = new Rig('b').pass(5000).stops('b', 'refused').pass(10_000)
  lives
    .in({ type: 'owners', node: 'b', incarnations: ['b-2'] })
    .node('b', 'b-2')
    .pass(20_000)
  t.equal(lives.machine.stateOf('b'), 'alive')
  t.notOk(lives.takeOvers.some((each) => each.startsWith('b b-2')))
})

t.test('a takeover repeats six times for unclaimed calls', async (t) => {
  const rig = new Rig('b').pass(5000).stops('b', 'refused').pass(200_000)
  t.equal(rig.takeOvers.length, 6)
  const [first, second] = rig.all('take-over').filter(({ node }) => node === 'b')
  t.ok((first?.untilMs ?? 0) < (second?.untilMs ?? 0) - 5000, 'and the claims of one end before the next')
})

t.test('in large fleets the next nodes by name take over', async (t) => {
  const names = Array.from({ length: 40 }, (_, i) => `n${10 + i}`)
  const rounds = (dead: string): number => {
    const rig = new Rig(...names).pass(5000).stops(dead, 'refused').pass(60_000)
    return rig.takeOvers.length
  }
  t.equal(rounds('n49'), 6, 'this node is the next')
  t.equal(rounds('n18'), 6, '31 others are before it')
  t.equal(rounds('n17'), 4, '32 are')
})

t.test('heartbeats from before a store outage do not prove death', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'refused').pass(5000)
  rig.storeUp = false
  rig.pass(30_000)
  t.strictSame(rig.takeOvers, [], 'without the store nothing can be taken over')
  rig.storeUp = true
  rig.pass(5000)
  t.equal(rig.machine.stateOf('b'), 'alive', 'the observation begins again')
  rig.pass(10_000)
  t.strictSame(rig.takeOvers, ['b b-1 refused'])
})

t.test('a pause of this node is not evidence against others', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'silent').pass(20_000).pause(10_000).pass(20_000)
  t.strictSame(rig.takeOvers, [])
  rig.pass(15_000)
  t.strictSame(rig.takeOvers, ['b b-1 silent'])
})

t.test('a heartbeat without an answer counts as failed', async (t) => {
  const rig = new Rig('b', 'c').pass(5000)
  rig.answersBeats = false
  rig.pass(5000)
  t.ok(rig.all('probe').length > 0, 'so the others are probed')
})

t.test('two silent nodes of three cause only an alert', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'silent').stops('c', 'silent').pass(60_000)
  t.strictSame(rig.takeOvers, [])
  t.strictSame(rig.all('alert'), [{ type: 'alert', what: 'many-suspects', over: false }])
  rig.in({ type: 'stream-over', callSid: 'CA1', owner: tokenOf('b') })
  t.equal(rig.all('take-over-call').length, 1, "the carrier's word about one call is evidence of its own")
  rig.goesOn('c').pass(5000)
  t.equal(rig.all('alert').at(-1)?.over, true)
  t.strictSame(rig.takeOvers, ['b b-1 silent'], 'one of three is dead')
})

t.test('two of three nodes that refuse are taken over immediately', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'refused').stops('c', 'refused').pass(9000)
  t.strictSame(rig.takeOvers, ['b b-1 refused', 'c c-1 refused'])
})

t.test('a refusing suspect is taken over beside a silent one', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'silent').stops('c', 'refused').pass(9000)
  t.strictSame(rig.takeOvers, ['c c-1 refused'])
  rig.pass(30_000)
  t.ok(rig.takeOvers.includes('b b-1 silent'), 'then one suspect is not many')
})

t.test('a new run of a suspect proves its death immediately', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'silent').stops('c', 'silent').pass(9000)
  t.strictSame(rig.takeOvers, [])
  rig.node('c', 'c-2').answersAs.set('c', 'c-2')
  rig.pass(9000)
  t.strictSame(rig.takeOvers, ['c c-1 new-incarnation'])
})

t.test('two of six nodes may be taken over together', async (t) => {
  const rig = new Rig('b', 'c', 'd', 'e', 'f').pass(5000).stops('b', 'refused').stops('c', 'refused').pass(12_000)
  t.strictSame(rig.takeOvers, ['b b-1 refused', 'c c-1 refused'])
})

t.test("an earlier takeover does not delay the next node's takeover", async (t) => {
  const rig = new Rig('b', 'c').pass(5000).stops('b', 'refused').pass(80_000).stops('c', 'refused').pass(12_000)
  t.equal(rig.takeOvers.at(-1), 'c c-1 refused')
  t.strictSame(rig.all('alert'), [])
})

t.test('a node that leaves in order is not taken over', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).leaves('b').pass(60_000)
  t.strictSame(rig.takeOvers, [])
  t.equal(rig.machine.stateOf('b'), null)
})

t.test("a carrier's stream-over event is evidence for its call alone", async (t) => {
  const rig = new Rig('b').pass(5000).in({ type: 'stream-over', callSid: 'CA1', owner: tokenOf('b', 3) })
  t.strictSame(rig.all('take-over-call'), [{ type: 'take-over-call', callSid: 'CA1', owner: tokenOf('b', 3) }])
  t.strictSame(rig.takeOvers, [])
  rig.in({ type: 'stream-over', callSid: 'CA2', owner: tokenOf('a') })
  rig.call('CA1', 4).in({ type: 'stream-over', callSid: 'CA1', owner: tokenOf('b', 3) })
  t.equal(rig.all('take-over-call').length, 1, 'never for our own call, or one that we have since taken')
})

t.test('a call may act when saved, with its stream confirmed', async (t) => {
  const rig = new Rig('b').pass(5000)
  t.equal(rig.mayAct('CA1'), 'no', 'not ours')
  rig.confirms = 'store-down'
  rig.in({ type: 'owned', callSid: 'CA1', token: tokenOf('a'), savedMs: null })
  rig.in({ type: 'stream', callSid: 'CA1', open: true })
  t.equal(rig.mayAct('CA1'), 'confirm-first', 'only claimed')
  t.strictSame(rig.all('confirm')[0]?.callSids, ['CA1'])
  t.equal(rig.confirm('CA1', 'ok').mayAct('CA1'), 'yes')
  t.equal(rig.pass(60_000).mayAct('CA1'), 'yes', 'once is enough')
  t.equal(rig.in({ type: 'released', callSid: 'CA1' }).mayAct('CA1'), 'no')
})

t.test('a call without a stream needs confirmation for each action', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').pass(1000)
  rig.in({ type: 'stream', callSid: 'CA1', open: false })
  t.equal(rig.mayAct('CA1'), 'confirm-first')
  t.equal(rig.confirm('CA1').mayAct('CA1'), 'yes')
  rig.nowMs += STORE_DEADLINE_MS + 1
  t.equal(rig.mayAct('CA1'), 'confirm-first')
})

t.test('a reopened stream must be confirmed again', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').pass(1000)
  rig.in({ type: 'stream', callSid: 'CA1', open: false }).pass(5000)
  rig.confirms = 'lost'
  rig.in({ type: 'stream', callSid: 'CA1', open: true })
  t.strictSame(rig.all('cut'), [{ type: 'cut', callSids: ['CA1'], why: 'lost' }])
})

t.test('a new owner waits while the old one may act', async (t) => {
  const rig = new Rig('b').pass(5000).in({ type: 'owned', callSid: 'CA1', token: tokenOf('a', 2), savedMs: 6000 })
  t.equal(rig.confirm('CA1', 'ok', 2).mayAct('CA1'), 'confirm-first')
  rig.nowMs += STORE_DEADLINE_MS
  t.equal(rig.confirm('CA1', 'ok', 2).mayAct('CA1'), 'yes')
})

t.test('every call is confirmed again after a long pause', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').call('CA2').pass(1000).pause(6500)
  t.equal(rig.mayAct('CA1'), 'confirm-first', 'even before the machine hears of the pause')
  const asked = rig.all('confirm').length
  rig.confirms = 'store-down'
  rig.in({ type: 'timer' })
  t.strictSame(rig.all('confirm')[asked]?.callSids, ['CA1', 'CA2'])
  rig.confirm('CA1', 'ok').confirm('CA2', 'lost')
  t.strictSame(rig.all('cut'), [{ type: 'cut', callSids: ['CA2'], why: 'lost' }])
  t.equal(rig.mayAct('CA1'), 'yes', 'just confirmed')
  t.equal(rig.mayAct('CA2'), 'no')
  t.equal(rig.pass(1000).mayAct('CA1'), 'confirm-first', 'old evidence may still be on its way')
  rig.confirms = 'ok'
  t.equal(rig.pass(DOUBT_MS).mayAct('CA1'), 'yes')
})

t.test('nothing acts after a stall until waiting events are read', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').pass(1000).pause(3000)
  t.equal(rig.in({ type: 'timer' }).mayAct('CA1'), 'confirm-first')
  t.equal(rig.pass(600).mayAct('CA1'), 'yes')
  t.equal(rig.all('cut').length, 0)
})

t.test('calls are confirmed in small batches', async (t) => {
  const rig = new Rig('b').pass(5000)
  for (let i = 0; i < 200; i++) rig.call(`CA${i}`)
  rig.pass(1000).pause(10_000)
  rig.confirms = 'store-down'
  rig.in({ type: 'timer' })
  t.equal(rig.all('confirm').at(-1)?.callSids.length, CONFIRMS_AT_ONCE_MAX)
  rig.confirms = 'ok'
  rig.pass(30_000)
  for (let i = 0; i < 200; i++) t.equal(rig.mayAct(`CA${i}`), 'yes')
})

t.test('an answer about an older token is ignored', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1', 2).confirm('CA1', 'lost', 1)
  t.not(rig.mayAct('CA1'), 'no')
})

t.test('an owner without a newer epoch proves no loss', (t) => {
  const rig = new Rig('b').pass(5000)
  rig.in({ type: 'owned', callSid: 'CA1', token: tokenOf('a', 3), savedMs: rig.nowMs })
  const settled = (epoch: number) => rig.machine.settle('CA1', { owner: tokenOf('b', epoch), phase: 'owned' })
  t.strictSame([2, 3, 4].map(settled), ['ask-owner', 'ask-owner', 'lost'])
  t.end()
})

t.test('a newer owner is asked about a call with streams', (t) => {
  const rig = new Rig('b').pass(5000).call('CA1', 3).in({ type: 'stream', callSid: 'CA1', open: false })
  t.equal(rig.machine.settle('CA1', { owner: tokenOf('b', 4), phase: 'owned' }), 'ask-owner')
  t.equal(rig.machine.streams('CA1'), true)
  const other = new Rig('b').pass(5000)
  other.in({ type: 'owned', callSid: 'CA1', token: tokenOf('a', 4), savedMs: other.nowMs, isNew: true })
  t.equal(other.machine.yields('CA1', true), 'yes', 'who has waited for the stream in vain gives the call up')
  t.end()
})

t.test('an isolated node gives up its calls after 20 s', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).call('CA1').pass(5000)
  rig.storeUp = false
  rig.stops('b', 'silent').stops('c', 'silent').pass(17_500)
  t.strictSame(rig.all('cut'), [])
  rig.pass(3000)
  t.strictSame(rig.all('cut'), [{ type: 'cut', callSids: ['CA1'], why: 'isolated' }])
  t.strictSame(rig.all('ready').at(-1), { type: 'ready', ready: false, why: 'isolated' })
  t.equal(rig.mayAct('CA1'), 'confirm-first', 'it ends the call once the store says that it still may')
  rig.storeUp = true
  t.equal(rig.goesOn('b').goesOn('c').pass(3000).all('ready').at(-1)?.ready, true)
  rig.pass(60_000)
  t.equal(rig.all('cut').length, 1, 'once')
})

t.test('calls continue and act without the store if peers answer', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).call('CA1').pass(5000)
  rig.storeUp = false
  rig.pass(300_000)
  t.strictSame(rig.all('cut'), [])
  t.equal(rig.mayAct('CA1'), 'yes')
})

t.test('calls do not act without the store and a peer', async (t) => {
  const rig = new Rig('b', 'c').pass(5000).call('CA1').pass(5000)
  rig.storeUp = false
  rig.stops('b', 'silent').pass(60_000)
  t.strictSame(rig.all('cut'), [])
  t.equal(rig.mayAct('CA1'), 'confirm-first')
  rig.storeUp = true
  t.equal(
    rig
      .goesOn('b')
      .pass(DOUBT_MS + 3000)
      .mayAct('CA1'),
    'yes',
  )
})

t.test('dead or missing peers do not make a node isolated', async (t) => {
  for (const rig of [new Rig(), new Rig('b', 'c').stops('b', 'refused').stops('c', 'refused')]) {
    rig.pass(3000).call('CA1').pass(1000)
    rig.storeUp = false
    rig.pass(120_000)
    t.strictSame(rig.all('cut'), [])
    t.equal(rig.mayAct('CA1'), 'yes')
  }
})

t.test('a long pause does not count as isolation', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1').pass(1000).pause(60_000).pass(10_000)
  t.strictSame(rig.all('cut'), [])
})

t.test('a node is ready after its first heartbeat attempt', async (t) => {
  t.strictSame(new Rig('b').all('ready'), [{ type: 'ready', ready: true, why: null }])
  const alone = new Ownership({ name: 'a', incarnation: 'a-1', startedAtMs: 0, random: () => 0.5 })
  alone.handle({ type: 'timer' }, 0)
  t.strictSame(alone.poll(), { type: 'beat', beat: 1 })
  t.equal(alone.poll(), null)
  alone.handle({ type: 'beat-failed' }, 250)
  t.strictSame(alone.poll(), { type: 'ready', ready: true, why: null })
})

t.test('a node with a wrong clock is not ready [5]', async (t) => {
  const rig = new Rig('b')
  rig.skewMs = 29_000
  t.equal(rig.pass(9000).all('ready').at(-1)?.ready, true)
  t.same(rig.all('alert'), [])
  for (const skewMs of [-31_000, 31_000]) {
    rig.skewMs = skewMs
    t.strictSame(rig.pass(9000).all('ready').at(-1), { type: 'ready', ready: false, why: 'clock-skew' })
    t.strictSame(rig.all('alert').at(-1), { type: 'alert', what: 'clock-skew', over: false })
    rig.skewMs = 0
    t.equal(rig.pass(3000).all('ready').at(-1)?.ready, true)
    t.strictSame(rig.all('alert').at(-1), { type: 'alert', what: 'clock-skew', over: true })
  }
})

t.test('a wrong store clock only causes a warning [4]', async (t) => {
  for (const peers of [[], ['b'], ['b', 'c']]) {
    const rig = new Rig(...peers)
    rig.pass(9000)
    rig.skewMs = 40_000 // and the others notice it with their next heartbeats
    rig.pass(2000)
    for (const peer of peers) rig.clockAhead(peer, 40_000)
    rig.pass(20_000)
    t.strictSame(rig.all('ready'), [{ type: 'ready', ready: true, why: null }])
    t.strictSame(rig.all('alert'), [{ type: 'alert', what: 'clock-skew', over: false }])
  }
})

t.test('a late heartbeat does not revive a dead run', async (t) => {
  const rig = new Rig('b').pass(10_000)
  rig.stops('b', 'refused').pass(8000)
  t.equal(rig.machine.stateOf('b'), 'gone')
  for (let i = 0; i < 5; i++) rig.replays('b', -1 - i).pass(2000)
  t.not(rig.machine.stateOf('b'), 'alive')
  t.not(rig.takeOvers.length, 0)
})

t.test('a node exits if another with its name answers', async (t) => {
  const rig = new Rig('a')
  t.strictSame(rig.all('exit'), [{ type: 'exit', why: 'name-taken' }])
  t.notOk(rig.all('ready').some(({ ready }) => ready))
  t.equal(rig.machine.nextWakeMs(), null)
})

t.test('a node exits if another with its name sends heartbeats', async (t) => {
  const rig = new Rig('a:silent')
  t.strictSame(rig.all('ready').at(-1), { type: 'ready', ready: false, why: 'name-in-doubt' })
  t.equal(rig.all('exit').length, 0)
  rig.moves('a').pass(2500)
  t.equal(rig.all('exit').length, 1)
})

t.test('a crashed node is ready as soon as it restarts', async (t) => {
  const refused = new Rig('a:refused').leaves('a').pass(60_000)
  t.equal(refused.all('ready').at(-1)?.ready, true)
  t.equal(refused.all('exit').length, 0)

  const silent = new Rig('a:silent').leaves('a').pass(5000)
  t.strictSame(silent.all('ready').at(-1), { type: 'ready', ready: false, why: 'name-in-doubt' })
  t.equal(silent.pass(3000).all('ready').at(-1)?.ready, true, 'within 8 s if the run before was elsewhere')
  t.equal(silent.all('exit').length, 0)
})

t.test('a new run takes over the calls of earlier runs', async (t) => {
  const rig = new Rig('a:refused', 'b').leaves('a').pass(12_000)
  t.match(rig.all('take-over'), [{ node: 'a', incarnation: null, evidence: 'new-incarnation' }])
  t.equal(rig.pass(200_000).all('take-over').length, 6)
})

t.test('the first node of a name stays despite a second', async (t) => {
  const rig = new Rig('b').pass(5000).call('CA1')
  rig.node('a', 'a-2', WALL_MS + 60_000).pass(60_000)
  t.equal(rig.all('exit').length, 0)
  t.equal(rig.all('take-over').length, 0, 'and takes nothing from it while it is there')
  t.equal(rig.mayAct('CA1'), 'yes')
})

t.test('the younger of two nodes with one name exits', async (t) => {
  for (const [startedAtMs, exits] of [
    [WALL_MS - 1, 1],
    [WALL_MS + 1, 0],
  ] as const) {
    const rig = new Rig('b').pass(5000)
    rig.node('a', 'a-2', startedAtMs).pass(20_000)
    t.equal(rig.all('exit').length, exits)
  }
  const same = new Rig('b').pass(5000).node('a', 'a-0', WALL_MS).pass(20_000)
  t.equal(same.all('exit').length, 1, 'of two of the same age, the one with the higher name of its run')
})

/** Less than what counts as a stall of the event loop, for longer than a node looks for calls of its runs before. */
const STEP_MS = 900
const STEPS = 15

/** A node on its own, after something ordinary has happened in its first minute: nobody may learn that a node is lost. */
async function quiet(t: Test, happens: (gateway: Gateway, it: Fleet) => Promise<unknown>): Promise<void> {
  const it = await fleet(t, 1)
  const [gateway, node] = [it.gateways[0] as Gateway, it.nodes[0]]
  for (let step = 0; step < STEPS; step++) {
    // An unconfirmed claim lasts for three seconds: here it happens again and again.
    await happens(gateway, it)
    it.aheadMs += STEP_MS
    await it.look()
  }
  t.same(node?.counters.takeOvers, { refused: 0, 'new-incarnation': 0, silent: 0, 'stream-over': 0 })
}

const voice = (gateway: Gateway, agent: string, form: Readonly<Record<string, string>>) =>
  post(`${gateway.url}/voice/${agent}`, { form })

t.test('two ringing outbound calls cause no takeover', async (t) => {
  let rings = false
  await quiet(t, async (_gateway, { nodes: [node] }) => {
    if (rings) return
    rings = true
    for (const order of ['order-1', 'order-2']) {
      await node?.reserve(order)
      await node?.reserve(newSid())
    }
  })
})

t.test('an unknown agent causes no takeover', async (t) => {
  await quiet(t, async (gateway) => {
    t.equal((await voice(gateway, 'nobody', ringing(newSid()))).status, 200)
  })
})

t.test('a busy number causes no takeover', async (t) => {
  await quiet(t, async (gateway) => {
    const busy = { ...ringing(newSid()), callSessionState: 'Busy', direction: 'outbound' }
    t.equal((await voice(gateway, 'order-status', busy)).status, 200)
  })
})

t.test('a late stream-over event causes no takeover', async (t) => {
  await quiet(t, async (gateway) => {
    const late = { ...ringing(newSid()), callSessionState: 'StreamStopped' }
    t.equal((await voice(gateway, 'order-status', late)).status, 200)
  })
})

t.test("a call of the node's earlier run is taken over", async (t) => {
  const it = await fleet(t, 1)
  await it.store.claim(newSid(), { node: 'gw-0', incarnation: 'before', nonce: 'x' }, 0)
  for (let step = 0; step < STEPS; step++) {
    it.aheadMs += STEP_MS
    await it.look()
  }
  t.equal(it.nodes[0]?.counters.takeOvers['new-incarnation'], 1)
})

/** The node `gw-2` on its own clock; what the others answer is the test's. */
function nodeBeside(answer: (node: string, request: string) => 'answered' | 'refused' | 'silent') {
  let nowMs = 0
  const memory = new MemoryStore(() => WALL_MS + nowMs)
  const it = {
    store: memory as CallStore,
    pass: (ms: number) => void (nowMs += ms),
    handlers: new Map<string, Handler>(),
  }
  const store = new Proxy(memory, { get: (_, name) => (Reflect.get(it.store, name) as () => unknown).bind(it.store) })
  const clock = (): number => nowMs
  const result = (node: string, request: string) =>
    Promise.resolve({ result: answer(node, request), reason: 'timeout', answeredBy: null, answer: [] })
  const network = {
    peers: {
      ask: ({ node }: { readonly node: string }, request: string) => result(node, request),
      ping: ({ node }: { readonly node: string }) => result(node, 'ping'),
    },
    listener: { handle: (name: string, handler: Handler) => it.handlers.set(name, handler) },
    url: 'http://gw-2',
  } as unknown as NodeNetwork
  const node = new FleetNode({
    ...{ name: 'gw-2', incarnation: 'run', version: '0', network, opsUrl: null, clock, random: () => 0.5 },
    store: new GuardedStore(store, { clock, onOp: () => undefined }),
    callerTag: () => '',
    news: () => ({
      capacity: 1,
      free: 1,
      callsByAgent: {},
      callsByCaller: new Map<string, number>(),
      agents: 'these',
      afterStream: null,
    }),
    wallClock: () => WALL_MS + nowMs,
    log: createLog({ level: 'silent' }),
    ...{
      onView: () => undefined,
      onGivenUp: () => undefined,
      onForgotten: () => undefined,
      onNameTaken: () => undefined,
    },
  })
  return { ...it, memory, node, it }
}

t.test('live nodes with different agents are counted [1]', async (t) => {
  const { it, memory, node } = nodeBeside(() => 'answered')
  const beat = (name: string, agents: string | undefined, beat: number) => {
    const { agents: _, ...record } = node.record
    return memory.beat({ ...record, name, beat, ...(agents === undefined ? {} : { agents }) })
  }
  const beats = async (nth: number): Promise<void> => {
    await beat('gw-0', 'these', nth)
    await beat('gw-1', nth > 20 ? 'these' : 'others', nth)
    await beat('gw-3', undefined, nth)
  }
  await beats(1)
  await node.start()
  const counts: number[] = []
  for (let nth = 2; nth < 40; nth++) {
    it.pass(900)
    await beats(nth)
    node.state = 'open' // a heartbeat
    for (let turns = 0; turns < 5; turns++) await turnOfEventLoop()
    counts.push(node.nodesWithOtherAgents)
  }
  t.same([...new Set(counts)], [1, 0], 'an older node says nothing of its own')
  await node.stop()
})

type Handler = (body: unknown, from: { readonly node: string }) => Promise<unknown>

t.test('a takeover waits a limited time for silent nodes [2]', async (t) => {
  const { it, memory, node } = nodeBeside((name, request) =>
    name === 'gw-0' ? 'refused' : request === 'ping' ? 'answered' : 'silent',
  )
  const sid = newSid()
  const other = (name: string, beat: number) =>
    memory.beat({ ...node.record, name, beat, internalUrl: `http://${name}` })
  await other('gw-0', 1)
  const { owner } = await memory.claim(sid, { node: 'gw-0', incarnation: 'run', nonce: 'n' }, 0)
  await memory.save(sid, owner, {})
  const rounds: number[] = []
  node.onTakeOver(
    (callSids) => void (callSids.includes(sid) && rounds.push(node.counters.takeOvers.refused)),
    () => false,
  )
  await node.start()
  for (let beat = 1; rounds.length === 0 && beat < 100; beat++) {
    it.pass(900)
    await other('gw-1', beat)
    node.state = 'open' // a heartbeat
    for (let turns = 0; turns < 5; turns++) await turnOfEventLoop()
  }
  t.strictSame(rounds, [3])
  await node.stop()
})

t.test('doubtful calls are checked in small batches after a failover', async (t) => {
  const { it, memory, node } = nodeBeside(() => 'refused')
  const sids = Array.from({ length: 3 * CONFIRMS_AT_ONCE_MAX }, () => newSid())
  for (const sid of sids) node.expect(sid, (await memory.claim(sid, node.claimFor(null), 0)).owner)
  await Promise.all(sids.map((sid) => node.confirm(sid)))
  let asked = 0
  let most = 0
  const save = async (...args: Parameters<CallStore['save']>) => {
    most = Math.max(most, ++asked)
    await turnOfEventLoop()
    asked--
    return memory.save(...args)
  }
  it.store = new Proxy(memory, {
    get: (_, name) => (name === 'save' ? save : (Reflect.get(memory, name) as () => unknown).bind(memory)),
  })
  const answer = await it.handlers.get('streams')?.(sids, { node: 'gw-1' })
  t.same(answer, sids)
  t.ok(most > 0 && most <= CONFIRMS_AT_ONCE_MAX, `${most} at once`)
  await node.stop()
})

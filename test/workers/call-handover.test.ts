import t from 'tap'
import type { EscalationPacket, EscalationStep } from '../../src/call/events.js'
import { CallHandover } from '../../src/workers/call-handover.js'
import type { CallHandoverOptions, CarrierControl } from '../../src/workers/call-handover.js'
import type { HandoffNews } from '../../src/workers/handoff-post.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { orderStatusAgent, sid } from '../support/host.js'

const SID = sid('HD_handover0001')
const packet: EscalationPacket = {
  version: 1, callSid: SID, agent: 'order-status', reason: 'asked for a human', summary: 'Order 4127 is lost', identity: { account: 'A-1' }, tried: [],
  transcript: [], at: '2026-11-20T12:00:00.000Z',
}
const agent = await orderStatusAgent()
type Strategies = NonNullable<typeof agent.escalation>['strategies']

/** What the handover did, in order, on a clock that the test moves. */
function rig(strategies: Strategies, changes: Partial<CallHandoverOptions> = {}, carrier: Partial<CarrierControl> | null = {}) {
  const did: string[] = []
  const news: HandoffNews[] = []
  const steps: EscalationStep[] = []
  const clock = { nowMs: 1000 }
  const handover = new CallHandover({
    callSid: SID, agent: { ...agent, escalation: { ...agent.escalation as NonNullable<typeof agent.escalation>, strategies, numbers: ['+254700000002'] } },
    caller: '+254700000001', ours: '+254709000000',
    carrier: carrier === null ? null : {
      hangup: () => Promise.resolve(), supervise: () => Promise.resolve(),
      callHuman: (from, phone, url) => {
        did.push(`call ${phone} from ${from} with ${url}`)
        return Promise.resolve()
      },
      ...carrier,
    },
    metrics: new Metrics({ version: 'test', processMetrics: false }), log: createLog({ level: 'silent' }), clock: () => clock.nowMs,
    wallClock: () => clock.nowMs, continuationUrl: () => 'https://gw.example/after-stream?t=1', humanUrl: () => null, afterStream: () => 'unknown',
    toSession: (step) => {
      steps.push(step)
      did.push(`step ${step.type}`)
    },
    mark: () => undefined,
    news: (told) => {
      news.push(told)
      did.push(told.kind)
    },
    settled: () => undefined,
    ...changes,
  })
  return { handover, did, news, steps, clock }
}

t.test('what the human needs is stored and told before the stream is touched', async (t) => {
  const { handover, did, news } = rig(['after-stream-dial'])
  handover.escalate(packet)
  t.same(did, ['handoff.requested', 'step close-stream'])
  t.match(news[0], { id: `${SID}:1`, handoff: { from: '+254700000001', summary: 'Order 4127 is lost', escalation: { outcome: null } } })
  handover.escalate(packet)
  t.same(did.slice(2), ['step close-stream'], 'a session that was taken over asks again, and nobody is told twice')
})

t.test('a human in a conference hears who comes, then the room; the caller hears nothing of it', async (t) => {
  const { handover, did } = rig(['conference'], { humanUrl: () => 'https://gw.example/human?t=h.1' })
  handover.escalate(packet)
  t.same(did.slice(1), ['step hold', 'call +254700000002 from +254709000000 with https://gw.example/human?t=h.1'])
  t.match(handover.humanDocument(), [
    { verb: 'say', text: 'A caller for you. asked for a human. Order 4127 is lost.' },
    { verb: 'conference', name: `mkondo-${SID}`, endOnExit: true },
  ])
  handover.handle({ type: 'human', event: 'joined' })
  t.equal(did.at(-2), 'step bridged')
  t.match(handover.history, { strategy: 'conference', outcome: 'answered', attempts: [{ human: 1, outcome: 'answered' }] })
  t.notOk(handover.active)
})

t.test('an API that refuses is the outcome in the carrier\'s words, and the caller is offered a call back', async (t) => {
  const refused = { supervise: () => Promise.reject(new Error('api_key.scope_denied: calls.supervise')) }
  const { handover, did, news, steps } = rig(['supervision', 'callback'], {}, refused)
  handover.escalate(packet)
  await new Promise((resolve) => setImmediate(resolve))
  t.match(steps.at(-1), { type: 'offer', detail: /scope_denied/ })
  handover.callback({ asked: 'key', number: null, note: '', packet })
  t.same(did.slice(-2), ['callback.requested', 'handoff.settled'])
  t.match(handover.history, { strategy: 'callback', outcome: 'answered', callback: { asked: 'key', number: '+254700000001' } })
  t.match(handover.history?.attempts.map(({ strategy, outcome }) => `${strategy} ${outcome}`), ['supervision failed', 'callback answered'])
  t.equal(new Set(news.map(({ id }) => id)).size, 3, 'each piece of news has an id of its own')
})

t.test('a call back may be wanted without an escalation', async (t) => {
  const { handover, news } = rig(['callback'])
  handover.callback({ asked: 'words', number: '0700000003', note: 'after five', packet })
  t.match(handover.handoff, { escalation: { strategy: 'callback', outcome: 'answered', callback: { number: '0700000003', note: 'after five' } } })
  t.same(news.map(({ kind }) => kind), ['callback.requested'])
})

t.test('the watchdog fires 3 s after the stream, to the tick', async (t) => {
  const { handover, clock, did } = rig(['after-stream-dial', 'callback'])
  handover.escalate(packet)
  handover.handle({ type: 'stream-closed' })
  const closedMs = clock.nowMs
  while (!did.includes('callback.requested') && clock.nowMs < closedMs + 10_000) {
    clock.nowMs += 10
    handover.wake(clock.nowMs)
  }
  const firedMs = clock.nowMs - closedMs
  t.ok(Math.abs(firedMs - 3000) <= 200, `${firedMs} ms`)
  t.match(handover.history, { outcome: 'failed', callback: { asked: 'nobody-reached' } })
})

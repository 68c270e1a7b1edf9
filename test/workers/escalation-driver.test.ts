import t from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import type { BackendCapabilities } from '../../src/backends/backend.js'
import type { EscalationPacket } from '../../src/call/documents/handoff.js'
import type { CallBackRefusal, EscalationStep } from '../../src/call/events.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import type { HandoffNews } from '../../src/messages/message.js'
import { canBeCalled } from '../../src/sautikit/phone.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { AfterStreamBehaviour } from '../../src/workers/main/after-stream-behaviour.js'
import { CallEffects, type EffectGate, Effects } from '../../src/workers/shared/effects.js'
import type { MainThings } from '../../src/workers/main/call/main-part.js'
import { EscalationDriver } from '../../src/workers/main/call/parts/escalation-driver.js'
import type { CallBackOrder, CarrierControl } from '../../src/workers/main/main-thread-context.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { sessionOptions } from '../../src/workers/worker/call-setup.js'
import { orderStatusAgent, sid } from '../support/host.js'

const SID = sid('HD_escalation01')
const packet: EscalationPacket = {
  version: 1,
  callSid: SID,
  agent: 'order-status',
  reason: 'asked for a human',
  summary: 'Order 4127 is lost',
  identity: { account: 'A-1' },
  tried: [],
  transcript: [],
  at: '2026-11-20T12:00:00.000Z',
}
const agent = await orderStatusAgent()
type Strategies = NonNullable<typeof agent.escalation>['strategies']

/** Actions of the driver, in order, on a clock that the test moves. */
function rig(
  strategies: Strategies,
  humanUrl: string | null = null,
  carrier: Partial<CarrierControl> = {},
  {
    gate = null,
    rootSid = SID,
    bilingual = {},
    joinsCallBack = false,
    caller = '+254700000001',
    refused = null,
  }: {
    readonly gate?: EffectGate | null
    readonly rootSid?: string
    readonly bilingual?: Partial<NonNullable<typeof agent.escalation>>
    readonly joinsCallBack?: boolean
    readonly caller?: string
    readonly refused?: CallBackRefusal | null
  } = {},
) {
  const did: string[] = []
  const marks: string[] = []
  const news: HandoffNews[] = []
  const steps: EscalationStep[] = []
  const orders: CallBackOrder[] = []
  const clock = { nowMs: 1000 }
  const log = createLog({ level: 'silent' })
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const mark = (name: string, detail?: string): void => void marks.push(`${name} ${detail ?? ''}`)
  const escalation = new EscalationDriver(
    {
      mark,
      changed: () => undefined,
      send: (message) => {
        if (message.type !== 'escalation') return
        steps.push(message.step)
        did.push(`step ${message.step.type}`)
      },
    },
    {
      effects: new CallEffects({ callSid: SID, resumed: false, log, mark }, new Effects(gate, metrics)),
      call: { callSid: SID, afterStreamUrl: 'https://gw.example/after-stream?t=1', humanUrl },
      origin: {
        ...{ rootSid, number: caller, ours: '+254709000000' },
        call: joinsCallBack ? { placed: { joins: '+254700000009' } } : {},
      },
      agent: {
        definition: {
          ...agent,
          escalation: {
            ...(agent.escalation as NonNullable<typeof agent.escalation>),
            ...bilingual,
            strategies,
            numbers: ['+254700000002'],
          },
        },
      },
      consent: { refused: false },
      callBacks: {
        mayRing: canBeCalled(caller),
        ask: (order: CallBackOrder) => {
          orders.push(order)
          return Promise.resolve(refused)
        },
      },
      log,
      context: {
        carrier: {
          hangup: () => Promise.resolve(),
          supervise: () => Promise.resolve(),
          callHuman: (from: string, phone: string, url: string) => {
            did.push(`call ${phone} from ${from} with ${url}`)
            return Promise.resolve()
          },
          ...carrier,
        },
        humanCalls: new HumanCalls({ perNumberPerMinute: 100, fallbacksPerMinute: 100 }),
        metrics,
        clock: () => clock.nowMs,
        wallClock: () => clock.nowMs,
        afterStream: new AfterStreamBehaviour(null),
        onHandoff: (sent: HandoffNews) => {
          news.push(sent)
          did.push(sent.kind)
        },
      },
    } as unknown as MainThings,
  )
  return { escalation, did, news, steps, orders, clock, marks, metrics }
}

t.test('the handoff packet is posted before the stream closes', async (t) => {
  const { escalation, did, news } = rig(['after-stream-dial'])
  escalation.escalate(packet)
  t.same(did, ['handoff.requested', 'step close-stream'])
  t.match(news[0], {
    id: `${SID}:handoff.requested:1`,
    handoff: { from: '+254700000001', summary: 'Order 4127 is lost', escalation: { outcome: null } },
  })
  escalation.escalate(packet)
  t.same(did.slice(2), ['step close-stream'], 'a session that was re-homed asks again, and nothing is posted twice')
})

t.test('a promised call back with a human posts no escalation', (t) => {
  const { escalation, did, news } = rig(['after-stream-dial'], null, {}, { joinsCallBack: true })
  escalation.escalate(packet)
  t.same(did, ['step close-stream'])
  escalation.handle({ type: 'stream-closed' })
  t.match(escalation.ask('after-stream', null), [{ verb: 'dial' }])
  t.same(news, [])
  t.match(escalation.history, { reason: packet.reason })
  t.end()
})

t.test('only the human in a conference hears the announcement', async (t) => {
  const { escalation, did } = rig(['conference'], 'https://gw.example/human?t=h.1')
  escalation.escalate(packet)
  t.same(did.slice(1), ['step hold', 'call +254700000002 from +254709000000 with https://gw.example/human?t=h.1'])
  t.match(escalation.humanDocument(), [
    { verb: 'say', text: 'A caller for you. asked for a human. Order four one two seven is lost.' },
    { verb: 'conference', name: `mkondo-${SID}`, endOnExit: true },
  ])
  escalation.handle({ type: 'human', event: 'joined' })
  t.equal(did.at(-2), 'step bridged')
  t.match(escalation.history, {
    strategy: 'conference',
    outcome: 'answered',
    attempts: [{ human: 1, outcome: 'answered' }],
  })
  t.notOk(escalation.active)
})

t.test('the carrier speaks the language of the escalation', async (t) => {
  const bilingual = {
    failed: { en: 'Nobody is free.', sw: 'Hakuna aliye huru saa 18:00.' },
    offer: { en: 'Press 1.', sw: 'Bonyeza 1.' },
    whisper: { en: 'A caller for you.', sw: 'Una mpigaji.' },
  }
  for (const [language, expected] of [
    [
      'sw',
      ['Hakuna aliye huru saa kumi na mbili jioni.', 'Bonyeza moja.', /^Una mpigaji\. .*nne moja mbili saba/, 'sw'],
    ],
    ['en', ['Nobody is free.', 'Press one.', /^A caller for you\./, agent.say.language]],
    [undefined, ['Nobody is free.', 'Press one.', /^A caller for you\./, agent.say.language]],
  ] as const) {
    const { escalation, clock } = rig(['after-stream-dial', 'callback'], null, {}, { bilingual })
    escalation.escalate({ ...packet, ...(language === undefined ? {} : { language }) })
    escalation.handle({ type: 'stream-closed' })
    escalation.ask('after-stream', null)
    clock.nowMs += 8000
    const [failed, offer, whisper, tag] = expected
    t.match(
      escalation.ask('after-stream', null)[0],
      {
        verb: 'get-digits',
        nested: [
          { text: failed, language: tag },
          { text: offer, language: tag },
        ],
      },
      `asked for in ${language ?? 'a language that nobody told'}`,
    )
    t.match(escalation.humanDocument()[0], { verb: 'say', text: whisper, language: tag })
  }
})

t.test("fallback and after-call words use the call's language", (t) => {
  const { afterCall, fallback } = agentFacts({
    ...agent,
    languages: ['en', 'sw'],
    afterCall: { say: { en: 'Thank you.', sw: 'Asante.' }, hangup: true },
    say: { ...agent.say, fallback: { en: 'Please call again.', sw: 'Tafadhali piga tena.' } },
  })
  t.match([afterCall('sw')[0], fallback('sw')[0]], [{ text: 'Asante.', language: 'sw' }, { text: /^Tafadhali/ }])
  t.match([afterCall()[0], fallback()[0]], [{ text: 'Thank you.' }, { text: /^Please/ }], 'before any was heard of')
  t.end()
})

t.test('a refused transfer offers the caller a call back', async (t) => {
  const refused = { supervise: () => Promise.reject(new Error('api_key.scope_denied: calls.supervise')) }
  const { escalation, did, news, steps } = rig(['supervision', 'callback'], null, refused)
  escalation.escalate(packet)
  await new Promise((resolve) => setImmediate(resolve))
  t.match(steps.at(-1), { type: 'offer', detail: /scope_denied/ })
  await escalation.callback({ asked: 'key', number: null, note: '', packet })
  t.same(did.slice(-2), ['callback.requested', 'handoff.settled'])
  t.match(escalation.history, {
    strategy: 'callback',
    outcome: 'answered',
    callback: { asked: 'key', number: '+254700000001' },
  })
  t.match(
    escalation.history?.attempts.map(({ strategy, outcome }) => `${strategy} ${outcome}`),
    ['supervision failed', 'callback answered'],
  )
  t.equal(new Set(news.map(({ id }) => id)).size, 3, 'each piece of news has an id of its own')
})

t.test('a call back may be requested without an escalation', async (t) => {
  const { escalation, news } = rig(['callback'])
  await escalation.callback({ asked: 'words', number: '0700000003', note: 'after five', packet })
  t.match(escalation.handoff, {
    escalation: { strategy: 'callback', outcome: 'answered', callback: { number: '0700000003', note: 'after five' } },
  })
  t.same(
    news.map(({ kind }) => kind),
    ['callback.requested'],
  )
})

t.test('a refused call back leaves no message or history', async (t) => {
  const why = { why: 'caller-limit', text: 'too many' } as const
  const { escalation, news, marks } = rig(['callback'], null, {}, { refused: why })
  t.same(await escalation.callback({ asked: 'words', number: null, note: '', packet }), why)
  t.equal(escalation.history, null)
  t.same(news, [])
  t.same(marks, ['callback-refused caller-limit'])
})

t.test("a past or nonexistent time is refused with today's date", async (t) => {
  const { escalation, orders, clock } = rig(['callback'])
  clock.nowMs = Date.parse('2026-11-28T23:31:20+03:00')
  const asked = (wantedAt: string) => escalation.callback({ asked: 'words', number: null, note: '', wantedAt, packet })
  for (const wrong of [
    ...['2027-02-30T10:00', '2026-11-31T10:00', '2026-13-01T10:00', '2026-11-29T25:00', 'tomorrow at three', '15:00'],
    ...['2026-11-28T23:29', '2025-11-29T10:00', '2026-11-28T20:29:59Z', '2027-06-01T10:00'],
  ])
    t.match(await asked(wrong), { why: 'time', text: /it is 2026-11-28 23:31 in Africa\/Nairobi now/ }, wrong)
  t.same(orders, [])
  for (const [written, read] of [
    ['2026-11-29T15:00', '2026-11-29T15:00'],
    ['2026-11-29 15:00', '2026-11-29T15:00'],
    ['2026-11-29T15:00:30', '2026-11-29T15:00'],
    ['2026-11-29T15:00:00.000Z', '2026-11-29T18:00'],
    ['2026-11-29T15:00+01:00', '2026-11-29T17:00'],
    ['2026-11-29T15:00:00-0500', '2026-11-29T23:00'],
    ['2026-11-28T23:31', '2026-11-28T23:31'],
  ] as const) {
    t.equal(await asked(written), null, written)
    t.equal(orders.at(-1)?.wantedAt, read, written)
  }
})

t.test("the carrier's voice offers only permitted call backs", async (t) => {
  for (const refused of [null, { why: 'caller-limit', text: '' } as const]) {
    const { escalation, clock } = rig(['after-stream-dial', 'callback'], null, {}, { refused })
    escalation.escalate(packet)
    await settled()
    escalation.handle({ type: 'stream-closed' })
    escalation.ask('after-stream', null)
    clock.nowMs += 8000
    t.equal(escalation.ask('after-stream', null)[0]?.verb, refused === null ? 'get-digits' : 'say')
  }
})

/** Until all promises that are under way have settled. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const gate = (mayAct: EffectGate['mayAct']): EffectGate => ({
  mayAct,
  intend: () => Promise.resolve('new'),
  settle: () => undefined,
})

t.test('a caller without a callable number is asked for one', (t) => {
  const offered = (caller: string): unknown[] => {
    const { escalation, steps } = rig(['callback'], null, {}, { caller })
    escalation.escalate(packet)
    const start = {
      agent,
      assets: NO_ASSETS,
      callSid: SID,
      from: caller,
      calledBack: canBeCalled(caller),
      to: '',
      direction: 'inbound',
      resume: null,
    }
    const capabilities = { serverVad: false, truncate: false }
    const session = sessionOptions(start as unknown as CallStart, capabilities as BackendCapabilities, 0)
    return [...steps.map(({ type }) => type), session.escalation?.callback?.numberKnown]
  }
  t.same(offered('+254700000001'), ['offer', true])
  for (const caller of ['', '1234', 'agent.alice', '+2547000001']) t.same(offered(caller), ['failed', false], caller)
  t.end()
})

t.test('requests and posts have keys derived from the root call', async (t) => {
  const keys: string[] = []
  const carrier: Partial<CarrierControl> = {
    hangup: (_, key) => Promise.resolve(void keys.push(key)),
    supervise: (_, __, key) => Promise.reject(new Error(`refused ${String(keys.push(key))}`)),
  }
  const first = rig(['supervision'], null, carrier)
  first.escalation.escalate(packet)
  await settled()
  first.escalation.escalate(packet)
  await settled()
  first.escalation.hangup(false)
  t.same(keys, [`${SID}:supervise:esc-1`, `${SID}:supervise:esc-2`, `${SID}:hangup:0`])
  const ids = [1, 2].flatMap((n) => [`${SID}:handoff.requested:${n}`, `${SID}:handoff.settled:${n}`])
  t.same(
    first.news.map(({ id }) => id),
    ids,
  )

  keys.length = 0
  const rungBack = rig(['supervision'], null, carrier, { rootSid: 'HD_root' })
  rungBack.escalation.hangup(false)
  t.same(keys, [`HD_root:${SID}:hangup:0`], 'a call that rings a caller back: of the same root, and not the same key')
})

t.test('a call owned by another node sends no requests [2]', async (t) => {
  const asked: boolean[] = []
  const lost = gate((_, confirm) => Promise.resolve(asked.push(confirm) < 0))
  const { escalation, did, news, marks, metrics } = rig(
    ['conference'],
    'https://gw.example/human?t=h.1',
    {},
    { gate: lost },
  )
  escalation.escalate(packet)
  await settled()
  escalation.hangup(true)
  await settled()
  t.same(
    did.filter((line) => line.startsWith('call ')),
    [],
  )
  t.same(news, [])
  t.match(escalation.history, { outcome: 'failed' }, 'the machine goes on as after a refusal')
  t.same(
    marks.filter((mark) => mark.startsWith('not-owner')),
    [
      'not-owner handoff: handoff.requested',
      'not-owner rest: create-conference-call',
      'not-owner handoff: handoff.settled',
      'not-owner rest: hangup',
    ],
  )
  t.equal(asked.at(-1), true, 'a call without a socket confirms that it is ours before it is hung up')
  t.match(await metrics.render(), /mkondo_effects_refused_total\{kind="handoff"\} 2\b/)
})

t.test('posts wait for the store in order, requests do not', async (t) => {
  const waiting: (() => void)[] = []
  const slow = gate((_, __, patient) =>
    patient === true ? new Promise((resolve) => waiting.push(() => resolve(true))) : Promise.resolve(false),
  )
  const { escalation, did, news } = rig(['conference'], 'https://gw.example/human?t=h.1', {}, { gate: slow })
  escalation.escalate(packet)
  await settled()
  t.same(news, [])
  t.same(
    did.filter((line) => line.startsWith('call ')),
    [],
    'a human who is rung late meets nobody',
  )
  for (const answer of waiting.reverse()) {
    answer()
    await settled()
  }
  t.same(
    news.map(({ kind }) => kind),
    ['handoff.requested', 'handoff.settled'],
  )
})

t.test('after-stream behaviour is learnt from ended calls [1]', async (t) => {
  const behaviour = new AfterStreamBehaviour(null)
  t.equal(behaviour.known(0), 'unknown')
  behaviour.closed('a', 1000)
  t.equal(behaviour.known(2000), 'unknown', 'it may still ask')
  behaviour.asked('a', 2500)
  t.equal(behaviour.known(9000), 'continues')
  behaviour.closed('b', 10_000)
  t.equal(behaviour.known(13_600), 'holds', 'the newest counts')
  behaviour.closed('c', 20_000)
  behaviour.over('c', 21_000)
  behaviour.closed('d', 30_000)
  behaviour.asked('d', 30_100)
  t.equal(behaviour.known(99_000), 'continues', 'a caller who hung up says nothing of it')
  behaviour.closed('gave-up', 99_000)
  behaviour.over('gave-up', 106_000)
  t.equal(behaviour.known(106_000), 'holds', 'but one who gave up after that time does')
  behaviour.asked('nobody', 106_000)
  behaviour.closed('e', 110_000)
  behaviour.asked('e', 119_000)
  t.equal(behaviour.known(120_000), 'holds', 'too late to be of use')
  t.equal(new AfterStreamBehaviour('holds').known(0), 'holds', 'or it is set')
  const many = new AfterStreamBehaviour(null)
  for (let n = 0; n < 5000; n++) many.closed(String(n), n)
  t.equal(many.known(100_000), 'holds', 'within bounds')
})

t.test('the newest after-stream behaviour of any node counts', async (t) => {
  const here = new AfterStreamBehaviour(null)
  const there = new AfterStreamBehaviour(null)
  t.equal(there.observed(0), null)
  there.closed('a', 1000)
  there.asked('a', 1100)
  const { seen, agoMs } = there.observed(5000) ?? { seen: 'holds', agoMs: 0 }
  here.learn(seen, agoMs, 90_000) // its clock is another one
  t.equal(here.known(90_000), 'continues')
  here.closed('b', 91_000)
  t.equal(here.known(96_000), 'holds')
  here.learn(seen, agoMs + 6000, 96_000)
  t.equal(here.known(96_000), 'holds', 'an older one changes nothing')
  const set = new AfterStreamBehaviour('holds')
  set.learn('continues', 0, 1)
  t.equal(set.known(1), 'holds')
})

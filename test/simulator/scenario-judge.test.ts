import t from 'tap'
import type { EscalationPacket } from '../../src/call/documents/handoff.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { findingsOf, linesOf, type ObservedCall } from '../../src/simulator/scenarios/judge.js'
import { type Expectations, parseScenario } from '../../src/simulator/scenarios/scenario.js'

const RECORD = {
  version: 1,
  callSid: 'HD_000000000001',
  agent: 'order-status',
  backend: 'embedded',
  direction: 'inbound',
  from: '+2547…01',
  to: '+2547…00',
  outcome: 'escalated',
  endReason: 'escalated',
  endDetail: 'No order was found twice.',
  startedAt: '2026-11-20T10:00:00.000Z',
  durationMs: 30_000,
  greetingMs: 80,
  transcript: [
    { role: 'agent', text: 'Hello, this is the order line.', startMs: 80, endMs: 2000 },
    { role: 'caller', text: '9999', startMs: 3000, endMs: 4000 },
    { role: 'agent', text: 'I cannot find an order 9999.', startMs: 5200, endMs: 8000, interrupted: true },
  ],
  toolCalls: [
    {
      name: 'lookup_order',
      args: { orderNumber: '9999', limit: 3, callerNumber: '+2547…01' },
      startMs: 4500,
      ms: 12,
      ok: true,
    },
    { name: 'escalate_to_human', args: { reason: 'No order was found twice.' }, startMs: 20_000, ms: 4000, ok: true },
  ],
  turns: [
    { callerStoppedMs: 4000, firstSoundMs: 700, answerMs: 1200 },
    { callerStoppedMs: 9000, firstSoundMs: 900, answerMs: 900 },
    { callerStoppedMs: 29_000, firstSoundMs: null, answerMs: null },
  ],
  bargeIns: [
    { atMs: 7000, stopMs: 210, committed: true, why: 'voice' },
    { atMs: 1000, stopMs: null, committed: false, why: 'cough' },
  ],
  claims: [{ atMs: 5200, tool: 'lookup_order', language: 'en', phrase: 'i * find', verdict: 'done' }],
  escalation: {
    reason: 'No order was found twice.',
    strategy: 'after-stream-dial',
    outcome: 'busy',
    attempts: [],
    callback: null,
  },
} as unknown as CallRecord // of which the judge looks at these keys

const PACKET: EscalationPacket = {
  version: 1,
  callSid: 'HD_000000000001',
  agent: 'order-status',
  reason: 'No order was found twice.',
  summary: 'Order number: 9998.',
  identity: { accountId: 'AC-1001', vip: false },
  tried: [{ name: 'lookup_order', ok: true, args: {} }],
  transcript: RECORD.transcript,
  at: '2026-11-20T10:00:20.000Z',
}

function call(changes: Partial<ObservedCall> = {}): ObservedCall {
  return {
    callSid: 'HD_000000000001',
    record: RECORD,
    packet: PACKET,
    lines: linesOf(RECORD, [{ role: 'carrier', text: 'Nobody is free, goodbye.', startMs: 31_000, endMs: 33_000 }]),
    dials: [{ outcome: 'busy' }],
    callerHeard: { greetingMs: 80, turns: [], bargeIns: [] },
    durationMs: 34_000,
    ended: 'Hangup',
    complaints: [],
    overdue: null,
    ...changes,
  }
}

function expecting(expect: string): Expectations {
  return parseScenario(
    `version: 1\nagent: a\ncaller: { steps: [{ hangup: true }] }\nexpect:\n${expect
      .split('\n')
      .map((line) => `  ${line}`)
      .join('\n')}\n`,
    'a.yaml',
  ).expect
}

function findings(expect: string, changes: Partial<ObservedCall> = {}): string[] {
  return findingsOf(call(changes), expecting(expect)).map((finding) => finding.what)
}

t.test('a call that is as expected has no findings', (t) => {
  t.same(
    findings(
      [
        'outcome: [escalated, failed]',
        'endReason: escalated',
        'called: [{ tool: lookup_order, with: { orderNumber: "9999", limit: 3, missing: null, callerNumber: "+254700000001" }, times: 1 }]',
        'notCalled: [refund, { tool: lookup_order, with: { orderNumber: "4127" } }]',
        'said: ["order line", "cannot find an order nine nine nine nine", /Nobody is (free|there)/]',
        'neverSaid: [refund, /ship(ped|ping)/i]',
        'understood: "9999"',
        'escalated: { reason: /twice/, summary: "9998", identity: { accountId: AC-1001, vip: false }, tried: [lookup_order], transcript: order line, outcome: busy, strategy: after-stream-dial }',
        'turns: 3',
        'bargeIns: { min: 1, max: 1 }',
        'withinMs: { greeting: 80, firstSound: 900, answer: 1200, bargeInStop: 210, call: 30000 }',
      ].join('\n'),
    ),
    [],
  )
  t.end()
})

t.test('each expectation that does not hold says what was there instead', (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['outcome: contained', /the outcome is escalated \(escalated: No order was found twice\.\); expected contained/],
    ['endReason: agent-goodbye', /ended by escalated.*expected agent-goodbye/],
    [
      'called: [{ tool: refund }]',
      /refund was called never; expected at least 1; tools called: lookup_order, escalate_to_human/,
    ],
    [
      'called: [{ tool: lookup_order, with: { orderNumber: "4127" } }]',
      /lookup_order with orderNumber: 4127 was called never.*it was called with .*"9999"/,
    ],
    ['called: [{ tool: lookup_order, times: 2 }]', /was called once; expected exactly 2/],
    ['called: [{ tool: lookup_order, with: { limit: null } }]', /limit: null was called never/],
    ['notCalled: [lookup_order]', /lookup_order was called, with .*and should not have been/],
    ['said: out for delivery', /"out for delivery" was never said to the caller/],
    ['neverSaid: nobody is free', /"nobody is free" was said: "Nobody is free, goodbye\."/],
    ['understood: refund', /"refund" was never understood of the caller/],
    ['escalated: false', /a human was asked for \(No order was found twice\.\), and nobody should have been/],
    [
      'escalated: { reason: the caller asked }',
      /was told the reason "No order was found twice\."; expected "the caller asked"/,
    ],
    ['escalated: { identity: { accountId: AC-1002 } }', /identity .*AC-1001.*expected one with accountId: AC-1002/],
    ['escalated: { tried: [open_ticket] }', /not told that open_ticket had been tried; they were told of lookup_order/],
    ['escalated: { transcript: refund }', /transcript given to the human lacks "refund"/],
    ['escalated: { outcome: answered }', /came out as busy; expected answered/],
    ['escalated: { strategy: conference }', /reached by after-stream-dial; expected conference/],
    ['escalated: { callback: true }', /the caller was not to be called back/],
    ['turns: { min: 4 }', /had 3 turns; expected at least 4/],
    ['bargeIns: 0', /interrupted the agent once; expected exactly 0/],
    ['withinMs: { greeting: 50 }', /the greeting took 80 ms; expected at most 50/],
    ['withinMs: { firstSound: 800 }', /the first sound after the caller took 900 ms/],
    ['withinMs: { bargeInStop: 200 }', /silence after an interruption took 210 ms/],
    ['withinMs: { call: 20000 }', /the call took 30000 ms/],
  ]
  for (const [expect, wanted] of cases) {
    const found = findings(expect)
    t.equal(found.length, 1, expect)
    t.match(found[0], wanted)
  }
  t.end()
})

t.test('what went wrong is placed where it happened', (t) => {
  const near = (expect: string): number | null => findingsOf(call(), expecting(expect))[0]?.nearMs ?? null
  t.equal(near('neverSaid: cannot find'), 5200)
  t.equal(near('notCalled: [lookup_order]'), 4500)
  t.equal(near('withinMs: { answer: 1000 }'), 4000)
  t.equal(near('escalated: false'), 20_000)
  t.equal(near('said: anything'), null, 'what never came belongs to the end')
  t.end()
})

t.test('nobody was asked for', (t) => {
  const alone = { packet: null, record: { ...RECORD, escalation: null } }
  t.same(findings('escalated: false', alone), [])
  t.match(findings('escalated: true', alone), ['no human was asked for'])
  t.end()
})

t.test('a claim that no tool supports is a failure by itself', (t) => {
  const claims = [
    { atMs: 5200, tool: 'refund', language: 'en', phrase: 'i * refunded', verdict: 'not-called' },
  ] as const
  t.match(findings('turns: 3', { record: { ...RECORD, claims } }), [
    /^the agent claimed what nothing supports \(refund: not-called\); it said i \* refunded$/,
  ])
  t.end()
})

t.test('words are said in the language that is expected of them, and the call ends in its own', (t) => {
  const [greeting] = RECORD.transcript
  const swahili = { ...greeting, text: 'Agizo liko njiani.', language: 'sw-KE' }
  const record = { ...RECORD, language: 'sw', transcript: [greeting, swahili] } as CallRecord
  const heard = { record, lines: linesOf(record, []) }
  t.same(findings('{ said: { text: liko njiani, language: sw }, language: sw }', heard), [])
  t.match(findings('{ said: [{ text: liko njiani, language: en }], language: en }', heard), [
    'the call ended in language sw; expected en',
    '"liko njiani" was said in sw-KE; expected en',
  ])
  t.match(findings('said: { text: order line, language: en }', heard), [
    /was said in no language of its own; expected en/,
  ])
  t.match(findings('said: { text: out for delivery, language: sw }', heard), [/was never said to the caller/])
  t.end()
})

t.test('an interruption that never came cannot have been fast', (t) => {
  t.match(findings('withinMs: { bargeInStop: 500 }', { record: { ...RECORD, bargeIns: [] } }), [/never came/])
  t.end()
})

t.test(
  'a call without a record, one that did not end and what a carrier would not accept are failures by themselves',
  (t) => {
    t.match(findings('turns: 3', { record: null, ended: 'the ops port cannot be reached' }), [
      /no record of the call \(the ops port cannot be reached\)/,
    ])
    t.match(findings('turns: 3', { overdue: 'the call did not end within 60 s' }), ['the call did not end within 60 s'])
    t.match(findings('turns: 3', { complaints: ['Dial names nobody'] }), [/would not accept: Dial names nobody/])
    t.end()
  },
)

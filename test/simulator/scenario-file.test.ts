import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { EscalationPacket } from '../../src/call/documents/handoff.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { packageRoot } from '../../src/config/package-root.js'
import { GatewayError } from '../../src/core/errors.js'
import { dbToGain, noiseBed, PhoneLine, rmsOf, SPEECH_LEVEL_DBFS } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import { coverText, stageCover } from '../../src/simulator/scenarios/stage-cover.js'
import { stagesSchema } from '../../src/call/stage-definition.js'
import { findingsOf, linesOf, type ObservedCall } from '../../src/simulator/scenarios/judge.js'
import { type Expectations, parseScenario } from '../../src/simulator/scenarios/scenario.js'

const CALLER = 'caller:\n  steps:\n    - say: Where is my order?\n'

function scenario(more = '', caller = CALLER): string {
  return `version: 1\nagent: order-status\n${caller}${more.includes('expect:') ? '' : 'expect: { outcome: contained }\n'}${more}`
}

/** The faults of a file, one a line. */
function faultsOf(text: string): string[] {
  try {
    parseScenario(text, 'calls/a.yaml')
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.code === 'SCRIPT_INVALID') return thrown.message.split('\n')
    throw thrown
  }
  return []
}

t.test('a caller, an agent and one expectation make a scenario', (t) => {
  const read = parseScenario(scenario(), 'calls/late-parcel.yaml')
  t.match(read, {
    name: 'late-parcel',
    agent: 'order-status',
    mode: null,
    seed: 1,
    timeoutMs: 120_000,
    from: '+254700000001',
    voice: 'rms',
    pace: 1,
    afterStream: 'continues',
    human: { outcome: 'answered' },
    noise: undefined,
    line: { rateHz: 8000, loss: undefined, jitterMs: undefined },
    expect: { outcome: ['contained'], escalated: undefined, called: [], withinMs: {} },
  })
  t.end()
})

t.test("the manual's example is a valid scenario", (t) => {
  const manual = readFileSync(join(packageRoot(), 'docs/SIMULATOR.md'), 'utf8')
  const example = /```yaml file=scenario\n(# yaml-language-server: [\s\S]*?)```/.exec(manual)?.[1] ?? ''
  t.match(parseScenario(example, 'manual.yaml'), {
    name: 'keys after a miss',
    mode: 'audio',
    line: { loss: { share: 0.02 } },
    expect: { escalated: false },
  })
  const handedOver = example
    .replace(/^ {2}escalated: false.*\n {2}# escalated/m, '  escalated')
    .replace(/^ {2}# {5,}/m, '    ')
    .replace('[escalate_to_human, ', '[')
  t.match(parseScenario(handedOver, 'manual.yaml').expect.escalated, {
    outcome: 'busy',
    callback: true,
    tried: ['lookup_order'],
  })
  t.end()
})

t.test('a condition that can only be heard requires audio', (t) => {
  t.equal(parseScenario(scenario('noise: { kind: babble, snrDb: 15 }\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('line: { loss: { percent: 3 } }\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('line: { rateHz: 16000 }\n'), 'a.yaml').mode, null)
  t.equal(parseScenario(scenario('', 'caller:\n  steps: [{ play: hello.wav }]\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('placed: {}\n', 'caller:\n  steps: [{ beep: true }]\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('at: "2026-11-22T03:00:00+03:00"\n'), 'a.yaml').mode, 'text')
  t.end()
})

t.test('a withheld number is an empty number', (t) => {
  t.equal(parseScenario(scenario('', 'caller:\n  number: withheld\n  steps: [{ hangup: true }]\n'), 'a.yaml').from, '')
  t.end()
})

t.test('a mistake is reported with file and line', (t) => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      'an unknown key',
      scenario('expct: {}\n'),
      /^calls\/a\.yaml:7:1: expct is not a key of a scenario; did you mean expect\?; allowed: version, /,
    ],
    [
      'an unknown key further in',
      scenario('expect:\n  neverSays: refund\n'),
      /^calls\/a\.yaml:7:3: expect\.neverSays is not a key of expect; did you mean neverSaid\?/,
    ],
    [
      'an outcome that is none',
      scenario('expect: { outcome: solved }\n'),
      /^calls\/a\.yaml:6:\d+: expect\.outcome .*contained, escalated, abandoned, failed/,
    ],
    [
      'an expression that cannot be read',
      scenario('expect: { said: "/(/" }\n'),
      /^calls\/a\.yaml:6:\d+: expect\.said .*regular expression/,
    ],
    [
      'a number without quotes around letters',
      scenario('', 'caller:\n  number: call me\n  steps: [{ hangup: true }]\n'),
      /caller\.number must be a phone number/,
    ],
    [
      'two acts in a step',
      scenario('', 'caller:\n  steps:\n    - { say: Hello., press: "1" }\n'),
      /^calls\/a\.yaml:5:\d+: caller\.steps\[0\] needs exactly one of say/,
    ],
    ['another version', scenario().replace('version: 1', 'version: 2'), /^calls\/a\.yaml:1:\d+: version .*must be 1/],
    ['nothing', '', /^calls\/a\.yaml:1:1: is empty; a scenario is a map of keys \(docs\/SIMULATOR\.md\)/],
    ['two documents', `${scenario()}---\nversion: 1\n`, /one file is one scenario/],
    ['no YAML', 'version: [1\n', /is not YAML/],
  ]
  for (const [what, text, expected] of cases) t.match(faultsOf(text)[0] ?? 'no fault', expected, what)
  t.end()
})

t.test('all mistakes of a file are reported in order', (t) => {
  const faults = faultsOf(scenario('seed: -1\nexpect: { outcome: solved, turns: -2 }\n'))
  t.match(
    faults.map((fault) => fault.split(':')[1]),
    ['6', '7', '7'],
  )
  t.end()
})

t.test('a contradictory scenario is refused before the call', (t) => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['nothing to do', scenario('', 'caller: { voice: awb }\n'), /neither steps nor rules/],
    [
      'a step behind a hangup',
      scenario('', 'caller:\n  steps: [{ hangup: true }, { say: Hello. }]\n'),
      /caller\.steps\[1\] comes after a hangup/,
    ],
    ['noise without sound', scenario('mode: text\nnoise: { snrDb: 10 }\n'), /mode is text, but noise/],
    ['a calendar for real time', scenario('mode: audio\nat: "2026-11-22T03:00:00+03:00"\n'), /only mode text can/],
    [
      'a slow tool for real time',
      scenario('mode: audio\nslow: [{ tool: book, answerAfterMs: 4000 }]\n'),
      /slow needs mode text/,
    ],
    [
      'a promised call back for real time',
      scenario('mode: audio\npromisedIn: { steps: [{ say: Call me back. }] }\n'),
      /promisedIn needs mode text/,
    ],
    [
      'a call back that is placed',
      scenario('placed: {}\npromisedIn: { steps: [{ say: Call me back. }] }\n'),
      /placed cannot be set with promisedIn/,
    ],
    ['memory for real time', scenario('mode: audio\nearlier: {}\n'), /earlier needs mode text/],
    [
      'a tool that must and must not be called',
      scenario('expect:\n  called: [{ tool: refund }]\n  notCalled: [refund]\n'),
      /refund is also under notCalled/,
    ],
    [
      'words that must and must not be said',
      scenario('expect:\n  said: Your order 4127 is late.\n  neverSaid: [order four one two seven]\n'),
      /neverSaid forbids/,
    ],
    ['contained to a human', scenario('expect: { outcome: contained, escalated: { reason: anything } }\n'), /never is/],
    [
      'escalated to nobody',
      scenario('expect: { outcome: escalated, escalated: false }\n'),
      /but the outcome is escalated/,
    ],
    [
      'nobody is asked for, by escalate_to_human',
      scenario('expect: { escalated: false, called: [{ tool: escalate_to_human }] }\n'),
      /escalate_to_human has to be called/,
    ],
    ['more at least than at most', scenario('expect: { turns: { min: 3, max: 2 } }\n'), /min is 3 and max is 2/],
    [
      'longer than it may last',
      scenario('timeoutS: 30\nexpect: { withinMs: { call: 40000 } }\n'),
      /ended after timeoutS: 30/,
    ],
    [
      'a turn that is waited for and interrupted',
      scenario('', 'caller:\n  steps: [{ say: Hello., heard: order, interruptAfterMs: 200 }]\n'),
      /one of heard, interruptAfterMs/,
    ],
  ]
  for (const [what, text, expected] of cases) t.match(faultsOf(text)[0] ?? 'no fault', expected, what)
  t.same(
    faultsOf(
      scenario(
        'expect:\n  called: [{ tool: refund, times: 0 }]\n  notCalled: [{ tool: refund, with: { amount: 5 } }]\n',
      ),
    ),
    [],
    'what can be is not refused',
  )
  const all = faultsOf(
    scenario(
      'mode: text\nnoise: { snrDb: 10 }\nexpect:\n  said:\n    - Hello.\n    - Your order is late.\n  neverSaid: [order]\n',
      'caller:\n  steps: [{ hangup: true }, { say: Hello. }]\n',
    ),
  )
  for (const one of [/comes after a hangup/, /mode is text/, /^\S+: expect\.said\[1\] has words/])
    t.ok(
      all.some((line) => one.test(line)),
      `${String(one)} among all of them`,
    )
  t.end()
})

const RATE_HZ = 8000
const FRAME = RATE_HZ / 50

function voice(seed: number): Int16Array {
  const random = seededRandom(seed)
  return Int16Array.from({ length: RATE_HZ }, (_, i) =>
    Math.round(3000 * Math.sin((2 * Math.PI * 150 * i) / RATE_HZ) * random()),
  )
}

/** Not `t.same`: it would write a difference of 64,000 numbers. */
function sameSamples(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((sample, i) => sample === b[i])
}

t.test('noise has the configured level below the voice', (t) => {
  for (const kind of ['street', 'babble'] as const) {
    const bed = noiseBed(kind, RATE_HZ, 3, [voice(1), voice(2)])
    const line = new PhoneLine({ sampleRateHz: RATE_HZ, snrDb: 12, noise: kind, noiseBed: bed })
    const heard = new Int16Array(bed.length)
    for (let at = 0; at + FRAME <= heard.length; at += FRAME) line.up(heard.subarray(at, at + FRAME))
    const levelDb = 20 * Math.log10(rmsOf(heard) / 32_768)
    t.ok(Math.abs(levelDb - (SPEECH_LEVEL_DBFS - 12)) < 1, `${kind}: ${levelDb.toFixed(1)} dBFS`)
    t.ok(sameSamples(noiseBed(kind, RATE_HZ, 3, [voice(1), voice(2)]), bed), 'the same seed is the same noise')
    t.notOk(sameSamples(noiseBed(kind, RATE_HZ, 4, [voice(1), voice(2)]), bed), 'another seed is another')
  }
  t.end()
})

t.test('street noise is louder when something passes', (t) => {
  const bed = noiseBed('street', RATE_HZ, 1, [])
  const seconds = Array.from({ length: 8 }, (_, s) =>
    Math.sqrt(bed.subarray(s * RATE_HZ, (s + 1) * RATE_HZ).reduce((sum, x) => sum + x * x, 0) / RATE_HZ),
  )
  t.ok(Math.max(...seconds) / Math.min(...seconds) > 1.2, seconds.map((rms) => rms.toFixed(2)).join(' '))
  t.end()
})

t.test('the configured share of frames is lost in bursts', (t) => {
  const lost = (seed: number): boolean[] => {
    const line = new PhoneLine({ sampleRateHz: RATE_HZ, seed, loss: { share: 0.1, burstFrames: 3 } })
    return Array.from({ length: 20_000 }, () => {
      const frame = new Int16Array(FRAME).fill(Math.round(32_768 * dbToGain(-20)))
      line.up(frame)
      return frame.every((sample) => sample === 0)
    })
  }
  const first = lost(5)
  const share = first.filter(Boolean).length / first.length
  const bursts = first.filter((gone, i) => gone && first[i - 1] !== true).length
  t.ok(Math.abs(share - 0.1) < 0.015, `${(100 * share).toFixed(1)} % lost`)
  t.ok(Math.abs((share * first.length) / bursts - 3) < 0.5, 'three frames in a row on average')
  t.equal(lost(5).join(), first.join())
  t.not(lost(6).join(), first.join())
  t.end()
})

t.test('a line without loss drops no frame', (t) => {
  const line = new PhoneLine({ sampleRateHz: RATE_HZ })
  for (let i = 0; i < 500; i++) {
    const frame = new Int16Array(FRAME).fill(4000)
    line.up(frame)
    line.down(frame)
    if (frame.some((sample) => sample === 0)) t.fail('a frame is gone')
  }
  t.end()
})

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
  analysis: {
    model: 'm',
    language: 'en',
    summary: null,
    fields: {
      intent: { value: 'order', quote: 'my order' },
      resolved: { value: false, quote: 'no' },
      day: { value: null, quote: null },
    },
    fault: null,
  },
  bargeIns: [
    { atMs: 7000, stopMs: 210, committed: true, why: 'voice' },
    { atMs: 1000, stopMs: null, committed: false, why: 'cough' },
  ],
  claims: [{ atMs: 5200, tool: 'lookup_order', language: 'en', phrase: 'i * find', verdict: 'done' }],
  stages: [
    { atMs: 0, from: null, stage: 'ask', why: 'begin' },
    { atMs: 6000, from: 'ask', stage: 'help', why: 'facts' },
    { atMs: 20_000, from: 'help', stage: 'human', why: 'model' },
  ],
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

t.test('a call that meets its expectations has no findings', (t) => {
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
        'fields: { intent: /^ORD/i, resolved: false, day: null, other: null }',
        'bargeIns: { min: 1, max: 1 }',
        'withinMs: { greeting: 80, firstSound: 900, answer: 1200, bargeInStop: 210, call: 30000 }',
      ].join('\n'),
    ),
    [],
  )
  t.end()
})

t.test('each failed expectation names the actual value', (t) => {
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
    ['understood: refund', /"refund" was never understood from the caller/],
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
    ['fields: { intent: refund }', /the field intent is "order"; expected refund/],
    ['fields: { resolved: true }', /the field resolved is false; expected true/],
    ['fields: { intent: null }', /the field intent is "order"; expected null/],
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

t.test('a finding is placed at its time in the call', (t) => {
  const near = (expect: string): number | null => findingsOf(call(), expecting(expect))[0]?.nearMs ?? null
  t.equal(near('neverSaid: cannot find'), 5200)
  t.equal(near('notCalled: [lookup_order]'), 4500)
  t.equal(near('withinMs: { answer: 1000 }'), 4000)
  t.equal(near('escalated: false'), 20_000)
  t.equal(near('said: anything'), null, 'what never came belongs to the end')
  t.end()
})

t.test('a missing escalation is a finding', (t) => {
  const alone = { packet: null, record: { ...RECORD, escalation: null } }
  t.same(findings('escalated: false', alone), [])
  t.match(findings('escalated: true', alone), ['no human was asked for'])
  t.end()
})

t.test('an unsupported claim is a failure by itself', (t) => {
  const claims = [
    { atMs: 5200, tool: 'refund', language: 'en', phrase: 'i * refunded', verdict: 'not-called' },
  ] as const
  t.match(findings('turns: 3', { record: { ...RECORD, claims } }), [
    /^the agent claimed what nothing supports \(refund: not-called\); it said i \* refunded$/,
  ])
  t.end()
})

t.test('words and calls are checked for their expected language', (t) => {
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
  const price = { ...record, transcript: [{ ...swahili, text: 'Ni KES 350.' }] } as CallRecord
  t.same(
    findings('{ said: [{ text: KES 350, language: sw }, shilingi mia tatu na hamsini] }', {
      record: price,
      lines: linesOf(price, []),
    }),
    [],
    'as it is written, and as a voice says it',
  )
  t.match(findings('said: { text: out for delivery, language: sw }', heard), [/was never said to the caller/])
  t.end()
})

t.test('an interruption that never came is not fast', (t) => {
  t.match(findings('withinMs: { bargeInStop: 500 }', { record: { ...RECORD, bargeIns: [] } }), [/never came/])
  t.end()
})

t.test('a call without a record is a failure by itself', (t) => {
  t.match(findings('turns: 3', { record: null, ended: 'the ops port cannot be reached' }), [
    /no record of the call \(the ops port cannot be reached\)/,
  ])
  t.match(findings('turns: 3', { overdue: 'the call did not end within 60 s' }), ['the call did not end within 60 s'])
  t.match(findings('turns: 3', { complaints: ['Dial names nobody'] }), [/would not accept: Dial names nobody/])
  t.end()
})

t.test("a call's stages are compared with the expected order", (t) => {
  const found = (expect: string, record = RECORD): string[] =>
    findingsOf(call({ record }), expecting(expect)).map(({ what }) => what)
  t.same(found('stage: human'), [])
  t.same(found('stage: [ask, human]'), [], 'others may lie between')
  t.same(found('stage: help'), ['the call went through the stages ask, help, human; expected help'])
  t.same(found('stage: [help, ask, human]'), [
    'the call went through the stages ask, help, human; expected help, ask, human',
  ])
  t.same(found('stage: ask', { ...RECORD, stages: [] }), ['the call went through the stages (none); expected ask'])
  const handed = { ...RECORD, handovers: [{ atMs: 1, from: RECORD.agent, to: 'repairs', summary: '' }] }
  t.same(found(`agents: [${RECORD.agent}, repairs]`, handed), [])
  t.same(found('agents: [desk]', handed), [`the call was with ${RECORD.agent}, repairs; expected desk`])
  t.end()
})

t.test('a run lists the stages and transitions never taken', (t) => {
  const stages = stagesSchema.parse({
    ask: { instructions: 'x', next: { help: 'a', human: 'b' } },
    help: { instructions: 'x', next: { human: 'a', ask: 'b' } },
    human: { instructions: 'x', final: true },
    end: { instructions: 'x', final: true },
  })
  const agents = [
    { name: 'order-status', stages },
    { name: 'plain', stages: null },
    { name: 'not-called', stages },
  ]
  const covers = stageCover(agents, [RECORD])
  t.same(covers, [
    {
      agent: 'order-status',
      stages: { all: 4, missed: ['end'] },
      ways: { all: 4, missed: ['ask to human', 'help to ask'] },
    },
  ])
  t.match(
    coverText(covers),
    /order-status: 3 of 4 stages, 2 of 4 ways between them\n  stages that no call was in: end\n  ways that no call took: ask to human, help to ask\n/,
  )
  t.end()
})

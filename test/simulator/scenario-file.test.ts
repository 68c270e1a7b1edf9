import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'
import { GatewayError } from '../../src/core/errors.js'
import { parseScenario, scenarioJsonSchema } from '../../src/simulator/scenarios/scenario.js'
import { scenarioReportJsonSchema } from '../../src/simulator/scenarios/report.js'

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

t.test('the published JSON Schemas are those that files are read and written by', (t) => {
  for (const [name, schema] of [
    ['scenario', scenarioJsonSchema()],
    ['scenario-report', scenarioReportJsonSchema()],
  ] as const) {
    const file = join(packageRoot(), `schema/${name}.schema.json`)
    const current = `${JSON.stringify(schema, null, 2)}\n`
    if (process.env['UPDATE_SCHEMA'] === '1') writeFileSync(file, current)
    t.equal(
      readFileSync(file, 'utf8'),
      current,
      `run this test with UPDATE_SCHEMA=1 and commit schema/${name}.schema.json`,
    )
  }
  t.end()
})

t.test('a caller, an agent and one expectation are a scenario', (t) => {
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
    line: { rateHz: 8000, noise: null, loss: null, jitterMs: null },
    expect: { outcomes: ['contained'], escalated: null, called: [], withinMs: {} },
  })
  t.end()
})

t.test('the example of the manual is a scenario', (t) => {
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

t.test('what can only be heard makes it a spoken call', (t) => {
  t.equal(parseScenario(scenario('noise: { kind: babble, snrDb: 15 }\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('line: { loss: { percent: 3 } }\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('line: { rateHz: 16000 }\n'), 'a.yaml').mode, null)
  t.equal(parseScenario(scenario('', 'caller:\n  steps: [{ play: hello.wav }]\n'), 'a.yaml').mode, 'audio')
  t.equal(parseScenario(scenario('at: "2026-11-22T03:00:00+03:00"\n'), 'a.yaml').mode, 'text')
  t.end()
})

t.test('a withheld number is no number', (t) => {
  t.equal(parseScenario(scenario('', 'caller:\n  number: withheld\n  steps: [{ hangup: true }]\n'), 'a.yaml').from, '')
  t.end()
})

t.test('a mistake is named with file, line and what is allowed', (t) => {
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

t.test('all mistakes of a file are named, in their order', (t) => {
  const faults = faultsOf(scenario('seed: -1\nexpect: { outcome: solved, turns: -2 }\n'))
  t.match(
    faults.map((fault) => fault.split(':')[1]),
    ['6', '7', '7'],
  )
  t.end()
})

t.test('a scenario that contradicts itself is refused before anybody calls', (t) => {
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
  t.end()
})

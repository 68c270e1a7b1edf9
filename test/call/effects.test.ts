import t from 'tap'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { CUT_OFF } from '../../src/call/tools/tool-ledger.js'
import { escalation, Rig } from './rig.js'

const SAID = {
  done: { en: 'It was done.', sw: 'Imefanyika.' },
  failed: { en: 'It was not done.', sw: 'Haikufanyika.' },
  uncertain: { en: 'Nobody knows whether it was done.', sw: 'Haijulikani kama imefanyika.' },
}
const OPTIONS = {
  toolNames: ['book', 'find_order'],
  effects: { tools: ['book'], said: SAID },
  goodbyeText: 'Bye.',
  silence: { afterMs: 60_000, prompts: [] },
  filler: { afterMs: 60_000, everyMs: 60_000, texts: [] },
  handoverTo: { sales: 'for new orders' },
} satisfies Partial<CallSessionOptions>

const booked = (rig: Rig, ok = true, error?: string): void =>
  rig.in({
    ...{ type: 'tool-result', callId: 'b1', ok, value: ok ? { number: 7 } : { error: 'no' } },
    ...(error === undefined ? {} : { error }),
  } as const)

const resultOf = (rig: Rig, callId: string) => rig.all('backend-tool-result').find((one) => one.callId === callId)

/** The caller asks, and the agent says that it books while the tool runs. */
function books(overrides: Partial<CallSessionOptions> = {}): Rig {
  const rig = Rig.talking({ ...OPTIONS, ...overrides })
  rig.speak(600)
  rig.run(700)
  rig.heardWords('Book it, please.')
  rig.answer(2, 'a2', 800, 'I book that.')
  rig.toolCall('b1', 'book', { day: 'Monday' }, 2)
  return rig
}

t.test('`end_call` during a running effect is refused', async (t) => {
  const rig = books()
  rig.toolCall('e1', 'end_call', {}, 2)
  t.match(resultOf(rig, 'e1'), { ok: false, value: { error: /^book still runs.*Then call end_call again\.$/ } })
  rig.run(2800)
  t.same([rig.all('cancel-tools'), rig.all('end-stream')], [[], []])
  booked(rig)
  rig.answer(3, 'a3', 800, 'It is booked. Goodbye.')
  rig.toolCall('e2', 'end_call', {}, 3)
  rig.run(3000)
  t.match(rig.only('end-stream'), { reason: 'agent-goodbye' })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained' })
  t.match(rig.toolCalls, [
    { name: 'end_call', ok: false },
    { name: 'book', ok: true },
    { name: 'end_call', ok: true },
  ])
})

t.test('`hand_over` during a running effect is refused', async (t) => {
  const rig = books()
  rig.toolCall('h1', 'hand_over', { agent: 'sales' }, 2)
  t.match(resultOf(rig, 'h1'), { ok: false, value: { error: /Then call hand_over again\.$/ } })
  rig.run(3000)
  t.same([rig.all('cancel-tools'), rig.all('handover')], [[], []])
  booked(rig)
  rig.answer(3, 'a3', 500, 'It is booked.')
  rig.toolCall('h2', 'hand_over', { agent: 'sales' }, 3)
  rig.run(1500)
  t.match(rig.only('handover'), { record: { to: 'sales' } })
})

for (const [tool, args, left] of [
  ['end_call', {}, 'end-stream'],
  ['hand_over', { agent: 'sales' }, 'handover'],
] as const)
  t.test(`an offline dialogue's ${tool} waits for its effect`, async (t) => {
    const rig = Rig.talking(OPTIONS)
    rig.backend({ type: 'expects', what: 'open', keys: 'open' })
    rig.speak(600)
    rig.run(700)
    rig.heardWords('Book it, please.')
    rig.toolCall('b1', 'book', { day: 'Monday' }, 2)
    rig.answer(3, 'a3', 500, 'Goodbye.')
    rig.toolCall('l1', tool, args, 3)
    rig.run(3000)
    t.same([rig.all('cancel-tools'), rig.all(left)], [[], []])
    booked(rig)
    rig.run(12_000)
    t.same(rig.texts(), ['It was done.'], 'the gateway says it, once, and nothing is asked again')
    t.equal(rig.all(left).length, 1)
    t.ok(rig.toolCalls.every(({ ok }) => ok))
  })

t.test('a goodbye cancels a running look-up', async (t) => {
  const rig = books()
  booked(rig)
  rig.toolCall('f1', 'find_order', {}, 2)
  rig.toolCall('e1', 'end_call', {}, 2)
  rig.run(3000)
  t.same(rig.only('cancel-tools').callIds, ['f1'])
  t.match(rig.only('end-stream'), { reason: 'agent-goodbye' })
})

/** Ends of the gateway's own, and what the caller hears before the last sound. */
const ENDS: readonly (readonly [
  name: string,
  reason: string,
  end: (rig: Rig) => void,
  options: Partial<CallSessionOptions>,
])[] = [
  ['the longest call', 'duration-limit', (rig) => rig.run(5000), { duration: { maxMs: 6000, text: 'Time is up.' } }],
  [
    "an operator's goodbye",
    'operator-hangup',
    (rig) => rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true }),
    {},
  ],
  [
    "an operator's end without words",
    'operator-hangup',
    (rig) => rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: false }),
    {},
  ],
  [
    'a drain',
    'drain-limit',
    (rig) => rig.in({ type: 'hangup-requested', reason: 'drain-limit', detail: '', speak: true }),
    {},
  ],
]

for (const [name, reason, end, options] of ENDS) {
  t.test(`${name} waits for an effect and its announcement`, async (t) => {
    const rig = books(options)
    rig.run(1000)
    end(rig)
    rig.run(1000)
    t.same([rig.all('cancel-tools'), rig.all('end-stream'), rig.texts()], [[], [], []])
    t.match(rig.session.checkpoint(), { state: 'live', ending: { reason } })
    booked(rig)
    rig.answer(3, 'a3', 800, 'It is booked.')
    rig.run(400)
    t.same(rig.all('end-stream'), [], 'the agent is heard')
    rig.run(4000)
    t.match(rig.only('end-stream'), { reason })
    t.notMatch(rig.texts(), ['It was done.'], 'which the gateway does not repeat')
    t.same(rig.all('cancel-tools'), [])
  })
}

for (const [ok, error, words] of [
  [true, undefined, SAID.done],
  [false, 'TOOL_HTTP', SAID.failed],
  [false, 'TOOL_UNCERTAIN', SAID.uncertain],
] as const) {
  for (const language of ['en', 'sw'] as const) {
    t.test(`the gateway announces a failed backend's effect: ${words.en} (${language})`, async (t) => {
      const rig = books({ languages: [language], onBackendFailure: 'hangup' })
      rig.run(1000)
      rig.backend({ type: 'closed', code: 1006, reason: '', clean: false })
      rig.run(1000)
      t.same([rig.all('cancel-tools'), rig.texts()], [[], []])
      booked(rig, ok, error)
      rig.run(4000)
      t.equal(rig.texts()[0], words[language])
      t.match(rig.texts()[1], /technical problem|tatizo la kiufundi/)
      t.match(rig.only('end-stream'), { reason: 'backend-failed' })
    })
  }
}

t.test('the gateway announces an effect if the model is silent', async (t) => {
  const rig = books({ answerTimeoutMs: 5000 })
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  booked(rig)
  rig.run(9000)
  t.ok(rig.texts().includes('It was done.'))
  rig.run(9000)
  t.match(rig.only('end-stream'), { reason: 'operator-hangup' })
})

t.test("an escalation's stream close waits for a running effect", async (t) => {
  const rig = books({ escalation })
  rig.toolCall('x1', 'escalate_to_human', { reason: 'upset' }, 2)
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(5000)
  t.same([rig.all('cancel-tools'), rig.all('end-stream')], [[], []])
  booked(rig)
  rig.run(3000)
  t.same(rig.texts(), ['Connecting you.', 'It was done.'])
  t.match(rig.only('end-stream'), { reason: 'escalated', hangup: false })
})

t.test('a supervision bridge does not cancel a running effect', async (t) => {
  const rig = books({ escalation })
  rig.toolCall('f1', 'find_order', {}, 2)
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'supervision' } })
  t.same(rig.only('cancel-tools').callIds, ['f1'])
  rig.run(2000)
  booked(rig)
  t.match(rig.toolCalls.at(-1), { name: 'book', ok: true })
  t.same(rig.texts(), [])
})

t.test('a conference keeps the stream open for a running effect', async (t) => {
  const rig = books({ escalation })
  rig.in({ type: 'escalate-requested', reason: 'vip' })
  rig.in({ type: 'escalation', step: { type: 'bridged', strategy: 'conference' } })
  rig.run(500)
  t.same([rig.all('cancel-tools'), rig.all('end-stream')], [[], []])
  booked(rig)
  rig.run(500)
  t.match(rig.only('end-stream'), { reason: 'escalated' })
})

t.test('a delayed goodbye uses the current language', async (t) => {
  const rig = books({ languages: ['en', 'sw'], goodbyeText: { en: 'Bye.', sw: 'Kwaheri.' } })
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  rig.run(500)
  rig.toolCall('l1', 'set_language', { language: 'sw' }, 2)
  booked(rig)
  rig.answer(3, 'a3', 800, 'Imefanyika.')
  rig.run(4400)
  t.same(rig.texts(), ['Kwaheri.'])
})

t.test('an effect that never settles ends at its deadline', async (t) => {
  const rig = books({ toolLimitMs: 8000 })
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  rig.run(7500)
  t.same(rig.all('end-stream'), [])
  rig.run(1000)
  t.match(resultOf(rig, 'b1'), { ok: false, value: { error: CUT_OFF } })
  t.match(rig.toolCalls, [{ name: 'book', ok: false, error: 'TOOL_UNCERTAIN' }])
  rig.answer(3, 'a3', 500, 'I do not know whether it is booked.')
  rig.run(4000)
  t.match(rig.only('end-stream'), { reason: 'operator-hangup' })
})

t.test('a hang-up during an effect counts as abandoned [1]', async (t) => {
  const rig = books()
  rig.run(1500)
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'abandoned', reason: 'caller-hung-up' })
  t.same(rig.only('cancel-tools').callIds, ['b1'])
  t.match(rig.session.log.toolCalls, [
    { end: 'cancelled', record: { error: 'TOOL_UNCERTAIN' }, result: { error: CUT_OFF } },
  ])
})

t.test('a cancelled effect is uncertain and keeps its key [2]', async (t) => {
  const rig = books()
  rig.backend({ type: 'tool-cancel', callIds: ['b1'] })
  rig.toolCall('b1', 'book', { day: 'Monday' }, 2)
  t.match(resultOf(rig, 'b1'), { ok: false, value: { error: CUT_OFF } })
  rig.toolCall('b2', 'book', { day: 'Monday' }, 2)
  t.same(
    rig.all('run-tool').map(({ occurrence }) => occurrence),
    [0, 0],
  )
})

t.test('a delayed end is carried out by the next worker', async (t) => {
  const rig = books()
  rig.in({ type: 'hangup-requested', reason: 'operator-hangup', detail: '', speak: true })
  const next = new Rig(OPTIONS, rig.resume)
  next.open()
  next.ready()
  next.run(6000)
  t.same(next.texts(), ['Nobody knows whether it was done. Bye.'])
  t.match(next.only('end-stream'), { reason: 'operator-hangup' })
})

t.test('without the effects setting `end_call` cancels a running tool', async (t) => {
  const rig = books({ effects: null })
  rig.toolCall('e1', 'end_call', {}, 2)
  rig.run(3000)
  t.same(rig.only('cancel-tools').callIds, ['b1'])
  t.match(rig.toolCalls[0], { name: 'end_call', ok: true })
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(rig.only('ended'), { outcome: 'contained' })
})

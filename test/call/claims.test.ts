import t from 'tap'
import type { ClaimOptions } from '../../src/call/call-options.js'
import { CLAIM_LANGUAGES } from '../../src/call/claim-phrases.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import type { ClaimRecord } from '../../src/call/documents/record.js'
import { escalation, Rig } from './rig.js'

const claims: ClaimOptions = {
  correct: false,
  words: { have: 'i have | ive | we have' },
  languages: CLAIM_LANGUAGES,
  facts: null,
  rules: [
    { tools: ['refund'], result: null, phrases: { en: ['<have> * refunded'], sw: ['nime*rudishia'] } },
    { tools: ['find_order'], result: { status: 'cancelled' }, phrases: { en: ['order * is cancelled'] } },
    { tools: [], result: null, phrases: { en: ['<have> * (sent | texted) [you] * message'] } },
    { tools: ['request_callback'], result: null, phrases: { en: ['<have> * noted'] } },
  ],
}
const SETTINGS = { claims, toolNames: ['find_order', 'refund'] }

function claimed(rig: Rig): ClaimRecord[] {
  return rig.all('log').flatMap(({ entry }) => (entry.kind === 'claim' ? [entry.record] : []))
}

/** Verdicts so far, with the tool of each. */
function verdicts(rig: Rig): string[] {
  return claimed(rig).map(({ tool, verdict }) => `${tool ?? 'none'} ${verdict}`)
}

function says(rig: Rig, generation: number, text: string, ms = 1000): void {
  rig.answer(generation, `a${generation}`, ms, text)
  rig.run(ms + 200)
}

function result(rig: Rig, callId: string, ok: boolean, value: unknown = { done: true }, error?: string): void {
  rig.in({ type: 'tool-result', callId, ok, value, ...(error === undefined ? {} : { error }) })
}

t.test('a claim of what no tool did is flagged when its turn is over, in log and timeline', async (t) => {
  const rig = Rig.talking(SETTINGS)
  says(rig, 2, "I've just refunded you.")
  t.same(verdicts(rig), [], 'the tool may still be called')
  rig.run(3000)
  t.match(claimed(rig), [
    { tool: 'refund', language: 'en', phrase: '<have> * refunded', verdict: 'not-called', atMs: Number },
  ])
  t.match(
    rig.all('mark').filter(({ name }) => name.startsWith('claim')),
    [{ name: 'claim-unsupported', detail: 'refund: not-called; <have> * refunded' }],
  )
  t.same(rig.session.log.claims, rig.mirror.claims)
})

t.test('a claim is true when its tool succeeded, before it or while its turn goes on', async (t) => {
  const before = Rig.talking(SETTINGS)
  before.toolCall('t1', 'refund')
  result(before, 't1', true)
  says(before, 2, 'I have refunded you.')
  t.same(verdicts(before), ['refund done'])

  const since = Rig.talking(SETTINGS)
  since.toolCall('t1', 'refund')
  says(since, 2, 'I have refunded you.')
  since.run(6000)
  t.same(verdicts(since), [], 'it still runs')
  result(since, 't1', true)
  t.same(verdicts(since), ['refund done'])

  const late = Rig.talking(SETTINGS)
  says(late, 2, 'I have refunded you.')
  late.run(1000)
  late.toolCall('t1', 'refund', {}, 3)
  late.run(4000)
  result(late, 't1', true)
  t.same(verdicts(late), ['refund done'], 'called after the words')
})

t.test('each end of a tool call has its own word', async (t) => {
  const ends: readonly (readonly [string, (rig: Rig) => void])[] = [
    ['failed', (rig) => result(rig, 't1', false, null, 'TOOL_HTTP')],
    ['uncertain', (rig) => result(rig, 't1', false, null, 'TOOL_UNCERTAIN')],
    ['refused', (rig) => result(rig, 't1', false, null, 'TOOL_UNVERIFIED')],
    ['cancelled', (rig) => rig.backend({ type: 'tool-cancel', callIds: ['t1'] })],
    ['overdue', (rig) => rig.run(31_000)],
  ]
  for (const [verdict, end] of ends) {
    const rig = Rig.talking({ ...SETTINGS, silence: { afterMs: 60_000, prompts: [] } })
    rig.toolCall('t1', 'refund')
    end(rig)
    says(rig, 2, 'I have refunded you.')
    rig.run(3000)
    t.same(verdicts(rig), [`refund ${verdict}`])
  }
  const refused = Rig.talking({ ...SETTINGS, toolNames: ['find_order'] })
  refused.toolCall('t1', 'refund')
  says(refused, 2, 'I have refunded you.')
  refused.run(3000)
  t.same(verdicts(refused), ['refund refused'])
})

t.test('a claim without a tool is false, and one with another result too', async (t) => {
  const rig = Rig.talking(SETTINGS)
  rig.toolCall('t1', 'find_order')
  result(rig, 't1', true, { orders: [{ status: 'sent' }] })
  says(rig, 2, 'We have sent you a message. Your order is cancelled.')
  rig.run(3000)
  t.same(verdicts(rig).sort(), ['find_order other-result', 'none no-tool'])
  rig.toolCall('t2', 'find_order')
  result(rig, 't2', true, { orders: [{ status: 'cancelled' }] })
  says(rig, 4, 'Your order is cancelled.')
  t.same(verdicts(rig).at(-1), 'find_order done')
})

t.test('only what was heard is a claim: not what the caller cut off, and not what was never spoken', async (t) => {
  const cut = Rig.talking(SETTINGS)
  cut.answer(2, 'a2', 6000, 'Let me see what is in the system for that order number, please wait. I have refunded you.')
  cut.run(800)
  cut.speak(400)
  cut.run(6000)
  t.match(cut.logged('transcript').at(-1), { interrupted: true })
  t.same(verdicts(cut), [])

  const silent = Rig.talking(SETTINGS)
  silent.backend({ type: 'turn-start', generation: 2 })
  silent.backend({
    type: 'transcript',
    role: 'agent',
    text: 'I have refunded you.',
    final: true,
    itemId: 'x',
    generation: 2,
  })
  silent.backend({ type: 'turn-done', generation: 2, status: 'completed' })
  silent.run(4000)
  t.equal(silent.logged('transcript').at(-1)?.text, 'I have refunded you.')
  t.same(verdicts(silent), [])

  const heard = Rig.talking(SETTINGS)
  heard.answer(
    2,
    'a2',
    6000,
    'I have refunded you. Now let me look at what else there is, and then we go on with that.',
  )
  heard.run(2500)
  heard.speak(400)
  heard.run(6000)
  t.same(verdicts(heard), ['refund not-called'], 'what came before the interruption was heard')
})

t.test("the gateway's own words claim nothing, and a call back that a key asked for is one", async (t) => {
  const rig = Rig.talking({
    ...SETTINGS,
    escalation: {
      ...escalation,
      failedText: 'I have refunded you.',
      callback: { offerText: 'Press 1.', confirmedText: 'I have noted it.', numberKnown: true },
    },
  })
  rig.in({ type: 'escalate-requested', reason: 'test' })
  rig.in({ type: 'escalation', step: { type: 'offer', outcome: 'no-answer', detail: '', closed: false } })
  rig.run(2000)
  rig.in({ type: 'dtmf', digit: '1' })
  rig.run(3000)
  t.same(verdicts(rig), [])
  says(rig, 3, 'I have noted it.')
  t.same(verdicts(rig), ['request_callback done'])
})

t.test(
  'the model is told to correct itself, a few times a call, and not where the agent does not ask for it',
  async (t) => {
    const rig = Rig.talking({ ...SETTINGS, claims: { ...claims, correct: true } })
    for (let i = 2; i < 8; i++) {
      says(rig, i, 'I have refunded you.')
      rig.run(3000)
    }
    t.equal(verdicts(rig).length, 6)
    const told = rig.all('backend-text')
    t.equal(told.length, 3)
    t.match(told[0], { role: 'system', respond: true, text: /refund was never called, so it was not done/ })

    const speaking = Rig.talking({ ...SETTINGS, claims: { ...claims, correct: true } })
    says(speaking, 2, 'I have refunded you.')
    speaking.speak(3000)
    t.match(speaking.only('backend-text'), { respond: false }, 'the caller speaks: with the next answer')

    const off = Rig.talking(SETTINGS)
    says(off, 2, 'I have refunded you.')
    off.run(3000)
    t.same(off.all('backend-text'), [])
  },
)

t.test('a call that ends judges what is open', async (t) => {
  const rig = Rig.talking(SETTINGS)
  says(rig, 2, 'Nimekurudishia pesa zako.')
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(claimed(rig), [{ tool: 'refund', language: 'sw', verdict: 'not-called' }])
})

t.test('another worker goes on with what is open, and the tool that was lost is uncertain', async (t) => {
  const before = Rig.talking(SETTINGS)
  before.toolCall('t1', 'refund')
  says(before, 2, 'I have refunded you.')
  t.equal(before.session.checkpoint().openClaims?.length, 1)
  const rig = new Rig(SETTINGS, parseResume(JSON.parse(JSON.stringify(before.resume))))
  rig.nowMs = before.nowMs
  rig.open()
  rig.ready()
  rig.run(3000)
  t.same(verdicts(rig), ['refund uncertain'])

  const done = Rig.talking(SETTINGS)
  done.toolCall('t1', 'refund')
  result(done, 't1', true)
  const after = new Rig(SETTINGS, parseResume(JSON.parse(JSON.stringify(done.resume))))
  after.nowMs = done.nowMs
  after.open()
  after.ready()
  says(after, 1, 'I have refunded you.')
  t.same(verdicts(after), ['refund done'], 'what was done before the move counts')
})

const factual: ClaimOptions = {
  ...claims,
  rules: [],
  facts: { correct: false, given: 'Delivery is KES 350, Monday to Friday.', timeZone: 'Africa/Nairobi' },
}

t.test('a number, price or weekday that nothing gave the agent is marked, once, and not corrected', async (t) => {
  const rig = Rig.talking({ ...SETTINGS, claims: { ...factual, correct: true } })
  says(rig, 2, 'It is KES 1,500, together with delivery. It comes on Sunday. So KES 1,500.')
  t.same(claimed(rig), [], 'a tool may still say so')
  rig.run(3000)
  t.match(claimed(rig), [
    { tool: null, language: 'und', phrase: 'KES 1,500', verdict: 'no-source', atMs: Number },
    { tool: null, phrase: 'Sunday', verdict: 'no-source' },
  ])
  t.match(
    rig.all('mark').filter(({ name }) => name.startsWith('claim')),
    [{ name: 'claim-unsupported', detail: 'fact: no-source; KES 1,500' }, { detail: 'fact: no-source; Sunday' }],
  )
  says(rig, 3, 'As I said, KES 1,500.')
  rig.run(3000)
  t.equal(claimed(rig).length, 2)
  t.same(rig.all('backend-text'), [])
})

t.test('a fact is supported by the file, a tool, the caller, a key and the words of the gateway', async (t) => {
  const rig = Rig.talking({
    ...SETTINGS,
    claims: factual,
    silence: { afterMs: 3000, prompts: ['For our fee of 820 shillings, say yes.'] },
  })
  rig.backend({
    type: 'transcript',
    role: 'caller',
    text: 'My number is four one...',
    final: true,
    itemId: 'c1',
    generation: 1,
  })
  rig.backend({
    type: 'transcript',
    role: 'caller',
    text: '...two seven, for 600 bob.',
    final: true,
    itemId: 'c2',
    generation: 1,
  })
  for (const digit of '5588') rig.in({ type: 'dtmf', digit })
  rig.toolCall('t1', 'find_order', { order: '4127' })
  says(rig, 2, 'Order four one two seven, five five eight eight on your keypad, 600 shillings and 350 for delivery.')
  says(rig, 3, 'It comes on Wednesday, for one thousand four hundred and fifty shillings. Or Sunday.')
  result(rig, 't1', true, { total: 1450.5, comes: '2026-11-29' })
  says(rig, 4, 'There we are.')
  rig.run(8000)
  t.ok(rig.logged('transcript').some(({ text }) => text.startsWith('For our fee')))
  says(rig, 5, 'Yes, 820 shillings.')
  rig.run(3000)
  t.same(claimed(rig), [])
  t.same(rig.session.checkpoint().openClaims, undefined)
})

t.test('a fact is corrected where the agent asks for that', async (t) => {
  const facts = { correct: true, given: '', timeZone: null }
  const rig = Rig.talking({ ...SETTINGS, claims: { ...factual, facts } })
  says(rig, 2, 'It is KES 1,500.')
  rig.run(3000)
  t.match(rig.only('backend-text'), { respond: true, text: /"KES 1,500": nothing that you were given says so/ })
})

t.test('another worker judges an open fact by what the call has heard, and a replay too', async (t) => {
  const before = Rig.talking({ ...SETTINGS, claims: factual })
  before.backend({
    type: 'transcript',
    role: 'caller',
    text: 'I have 600 bob.',
    final: true,
    itemId: 'c1',
    generation: 1,
  })
  says(before, 2, 'It is KES 600 or KES 700.')
  const rig = new Rig({ ...SETTINGS, claims: factual }, parseResume(JSON.parse(JSON.stringify(before.resume))))
  rig.nowMs = before.nowMs
  rig.open()
  rig.ready()
  rig.run(3000)
  t.match(claimed(rig), [{ phrase: 'KES 700' }])
  t.equal(claimed(rig).length, 1)
  before.run(3000)
  before.in({ type: 'stream-closed', code: 1000 })
  before.writer.flush()
  const { outputs, recorded } = replayJournal(before.journal)
  t.same(outputs, recorded)
  t.match(claimed(before), [{ phrase: 'KES 700' }])
})

t.test('a replay judges the same, and a journal without claims judges none', async (t) => {
  const rig = Rig.talking({ ...SETTINGS, claims: { ...claims, correct: true } })
  rig.toolCall('t1', 'refund')
  result(rig, 't1', false, null, 'TOOL_HTTP')
  says(rig, 2, 'I have refunded you.')
  rig.run(4000)
  rig.in({ type: 'stream-closed', code: 1000 })
  rig.writer.flush()
  const { outputs, recorded } = replayJournal(rig.journal)
  t.same(outputs, recorded)
  const [header = '', ...rest] = rig.journal
  const { claims: _, ...older } = (JSON.parse(header) as { options: Record<string, unknown> }).options
  const old = [JSON.stringify({ ...(JSON.parse(header) as object), options: older }), ...rest]
  const { value } = readJournal(old).next()
  t.match(value, { type: 'header', options: { claims: null } })
})

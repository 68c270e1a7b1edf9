import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { parse } from 'yaml'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { ClaimOptions } from '../../src/call/claims/claim-definition.js'
import { CallLog } from '../../src/call/call-log.js'
import { ClaimAudit } from '../../src/call/claims/claim-audit.js'
import { CLAIM_LANGUAGES, PhraseMatcher } from '../../src/call/claims/claim-phrases.js'
import { type OpenClaim, parseResume } from '../../src/call/documents/checkpoint.js'
import type { ClaimRecord } from '../../src/call/documents/record.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { TRANSCRIPT_TEXT_CHARS_MAX } from '../../src/call/spoken/transcript.js'
import type { ClaimWords } from '../../src/call/words/language.js'
import { packageRoot } from '../../src/config/package-root.js'
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

t.test('an unsupported claim is flagged after its turn', async (t) => {
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

t.test("a tool's success before or after a claim supports it", async (t) => {
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

t.test('each end of a tool call has its own verdict', async (t) => {
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

t.test('a claim without a matching tool or result is flagged', async (t) => {
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

t.test('only text that the caller heard is a claim', async (t) => {
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

t.test('a claim is judged on the final text only', async (t) => {
  for (const [text, expected] of [
    ['I have refunded you.', ['refund not-called']],
    // Without its last character it is a claim.
    ['I have refunded you?', []],
  ] as const) {
    const rig = Rig.talking(SETTINGS)
    const words = (text: string, final: boolean): void =>
      rig.backend({ type: 'transcript', role: 'agent', text, final, itemId: 'a2', generation: 2 })
    rig.backend({ type: 'turn-start', generation: 2 })
    rig.audio(2, 'a2', 1000)
    for (let chars = 1; chars < text.length; chars++) words(text.slice(0, chars), false)
    words(text, true)
    rig.ledger.finished('a2')
    rig.backend({ type: 'audio-done', generation: 2, itemId: 'a2' })
    rig.backend({ type: 'turn-done', generation: 2, status: 'completed' })
    rig.run(5000)
    t.same(verdicts(rig), expected, text)
  }
})

t.test("the gateway's own words are not claims", async (t) => {
  const rig = Rig.talking({
    ...SETTINGS,
    escalation: {
      ...escalation,
      failedText: 'I have refunded you.',
      callback: {
        offerText: 'Press 1.',
        confirmedText: 'I have noted it.',
        refusedText: 'We cannot.',
        numberKnown: true,
      },
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

t.test('the model is asked to correct three claims at most', async (t) => {
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
})

t.test('open claims are judged when the call ends', async (t) => {
  const rig = Rig.talking(SETTINGS)
  says(rig, 2, 'Nimekurudishia pesa zako.')
  rig.in({ type: 'stream-closed', code: 1000 })
  t.match(claimed(rig), [{ tool: 'refund', language: 'sw', verdict: 'not-called' }])
})

t.test('open claims continue after a move to another worker', async (t) => {
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

t.test('a number, price or weekday without a source is marked', async (t) => {
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

t.test('a fact may come from file, tool, caller or gateway', async (t) => {
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

t.test('an unsupported fact is corrected if configured', async (t) => {
  const facts = { correct: true, given: '', timeZone: null }
  const rig = Rig.talking({ ...SETTINGS, claims: { ...factual, facts } })
  says(rig, 2, 'It is KES 1,500.')
  rig.run(3000)
  t.match(rig.only('backend-text'), { respond: true, text: /"KES 1,500": nothing that you were given says so/ })
})

t.test('a resumed call and a replay judge open facts equally', async (t) => {
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

t.test('a replay reaches the same claim verdicts', async (t) => {
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

const en = CLAIM_LANGUAGES['en'] as ClaimWords
const sw = CLAIM_LANGUAGES['sw'] as ClaimWords
const LISTS = { have: 'i have | ive | we have | i', is: 'is | has been', unclosed: 'one) | (two' }

const finds = (phrase: string, text: string, language = en): boolean =>
  new PhraseMatcher([phrase], language, LISTS).find(text).length > 0

t.test('phrases match words, alternatives, options, lists and gaps', async (t) => {
  t.ok(finds('cancelled', 'It is CANCELLED.'))
  t.notOk(finds('cancel', 'It is cancelled.'), 'whole words only')
  t.ok(finds('<have> * (opened | put in) [you] * ticket', "Okay, I've just put in the ticket."))
  t.ok(finds('<have> * (opened | put in) [you] * ticket', 'I have opened you a new ticket.'))
  t.notOk(finds('<have> opened ticket', 'I have opened a ticket.'), 'without * nothing is left out')
  t.ok(finds('nime*futa', 'Sawa, nimeshaifuta.', sw))
  t.notOk(finds('nime*futa', 'Sijaifuta.', sw))
  t.notOk(finds('ab*ba', 'aba'), 'its two ends do not overlap')
  t.ok(finds('café', 'cafe\u0301'), 'however an accent is written')
  t.notOk(finds('i * it', 'I one two three four five six seven eight nine it'), 'a gap is short')
  t.same(new PhraseMatcher(['one', 'two'], en).find('Two, one, two.'), [
    { phrase: 1, endChar: 3 },
    { phrase: 0, endChar: 8 },
  ])
})

t.test('offers, questions, conditions and negations do not match', async (t) => {
  const phrase = '(<have> * (cancelled | opened) | order <is> * cancelled)'
  for (const text of [
    'I can have it cancelled.',
    'I will have cancelled it by then, if you like.',
    'If I had cancelled it, or if I have cancelled it, you get a message.',
    'Once I have cancelled it, you get a message.',
    'When you called, I have cancelled it.',
    'I have not cancelled it.',
    'I have never, ever cancelled it',
    'Your order has not been cancelled.',
    'No order has been cancelled.',
    "I haven't cancelled it.",
    'I was unable to see that your order has been cancelled.',
    'Shall I say that I have cancelled it?',
    'Have I cancelled it?',
    'Is it so that your order has been cancelled, or not?',
    'I have cancelled it?',
    'I have heard that you cancelled it.',
    'I have it here. Cancelled orders are sent back.',
  ])
    t.notOk(finds(phrase, text), text)
  for (const text of [
    'I have cancelled it.',
    'Yes, I have cancelled it, is there anything else?',
    'Your line does not work, so I have opened it.',
    'I cannot see it and I have cancelled it.',
    'I have cancelled it because you did not want it.',
    'Not a problem: I have cancelled it.',
    'Is there anything else? I have cancelled it.',
    'I can confirm that your order has been cancelled.',
    'It was 3.5 kilos: I have cancelled it!',
    'I have cancelled it, if you need anything else just call.',
  ])
    t.ok(finds(phrase, text), text)
  const said = 'nime*futa'
  for (const text of ['Je, nimeifuta?', 'Kama nimeifuta, utapata ujumbe.', 'Si kwamba nimeifuta.', 'Nimeifuta?'])
    t.notOk(finds(said, text, sw), text)
  t.ok(finds(said, 'Sawa, nimeifuta kama ulivyoomba.', sw))
})

t.test('an invalid phrase is refused with its reason', async (t) => {
  for (const [phrase, why] of [
    ['', /an empty choice/],
    ['(a | b', /a missing \)/],
    ['a ) b', /a \) too many/],
    ['a | ', /an empty choice/],
    ['[a] b', null],
    ['* a', /does not begin with a word/],
    ['[a]', /does not begin with a word/],
    ['a <none>', /<none>, which no list of words is called/],
    ['a <constructor>', /<constructor>, which no list of words is called/],
    ['a constructor', null],
    ['(a]', /a \] too many/],
    ['a <unclosed>', /a \) too many in "one\) \| \(two"/],
    ['[a] * b', /does not begin with a word/],
    ['(a | * b)', /does not begin with a word/],
    ['a, b', /","/],
    ['((((((((a))))))))', /deeper than/],
    [Array.from({ length: 30 }, () => '*').join(' a '), /does not begin|more than 200 words/],
    [`${'(a | b | c | d | e | f | g | h | i | j) '.repeat(9)}`, null],
    [`x ${`[${'a | '.repeat(40)}b] `.repeat(4)}`, null],
  ] as const) {
    if (why === null) t.doesNotThrow(() => new PhraseMatcher([phrase], en, LISTS), phrase)
    else t.throws(() => new PhraseMatcher([phrase], en, LISTS), { name: 'SyntaxError', message: why }, phrase)
  }
})

t.test('matching time is linear even for hostile phrases', async (t) => {
  const phrases = Array.from({ length: 100 }, (_, i) => `a * [a] * (a | a*a | *a) * a * z${i}`)
  const matcher = new PhraseMatcher(phrases, en)
  const longest = 'a '.repeat(TRANSCRIPT_TEXT_CHARS_MAX / 2)
  const took = (text: string): number => {
    const from = process.cpuUsage()
    matcher.find(text)
    const { user, system } = process.cpuUsage(from)
    return (user + system) / 1000
  }
  took(longest)
  // Processor time, and the best of some: what the machine does besides makes none of them shorter.
  const best = (text: string): number => Math.min(...Array.from({ length: 5 }, () => took(text)))
  const [part, whole] = [best(longest.slice(0, longest.length / 8)), best(longest)]
  // Linear is 8, quadratic is 64.
  t.ok(whole < 30 * part, `${whole.toFixed(1)} ms for eight times the text of ${part.toFixed(1)} ms`)
  for (const hostile of [
    '.'.repeat(4000),
    `${'a'.repeat(3999)}!`,
    "a'".repeat(2000),
    '?!'.repeat(2000),
    '- '.repeat(2000),
  ]) {
    const tookMs = best(hostile)
    t.ok(tookMs < 100, `${tookMs} ms for ${hostile.slice(0, 4)}…`)
  }
})

t.test('random text never fails, and matches end within it', async () => {
  const matcher = new PhraseMatcher(['a * b', 'nime*', '(a | b) [c] d'], en)
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom('a', 'b', 'c', 'd', 'not', 'if', 'nimefuta', ',', '.', '?', '\u0301', '😀', "'", '\n', ' '),
      ),
      (pieces) => {
        const text = pieces.join(' ')
        return matcher.find(text).every(({ endChar }) => endChar > 0 && endChar <= text.length)
      },
    ),
  )
})

const yaml = (path: string): unknown => parse(readFileSync(join(packageRoot(), path), 'utf8'))

/** The rules of the shipped agents. */
const rules = new Map(
  ['order-status', 'support'].map((agent) => [agent, agentSchema.parse(yaml(`agents/${agent}.yaml`)).claims]),
)

/** Claims that the rules of a shipped agent find in one heard utterance. */
function claimsIn(agent: string, text: string): readonly OpenClaim[] {
  const claims = rules.get(agent)
  if (claims == null) throw new Error(`${agent} has no claims`)
  const audit = new ClaimAudit({ ...claims, languages: CLAIM_LANGUAGES, facts: null }, new CallLog().records())
  audit.said({ role: 'agent', text, startMs: 0, endMs: 0 }, null, 0)
  return audit.open
}

t.test('the shipped rules flag 95 % of false claims', async (t) => {
  const made = yaml('test/claims/claims-made.yaml') as Record<string, Record<string, readonly string[]>>
  const missed: string[] = []
  let flagged = 0
  let byTool = 0
  for (const [agent, tools] of Object.entries(made)) {
    for (const [tool, texts] of Object.entries(tools)) {
      for (const text of texts) {
        const found = claimsIn(agent, text)
        if (found.length > 0) flagged++
        else missed.push(text)
        if (found.some(({ tools }) => (tool === 'none' ? tools.length === 0 : tools.includes(tool)))) byTool++
      }
    }
  }
  const total = flagged + missed.length
  t.comment(`${flagged} of ${total} flagged, ${byTool} by the rule of their tool; not: ${missed.join(' | ')}`)
  t.ok(flagged >= 0.95 * total, `${flagged} of ${total}`)
})

t.test('the shipped rules do not flag offers, questions or promises', async (t) => {
  const sets = yaml('test/claims/no-claims.yaml') as Record<string, readonly string[]>
  for (const [agent, texts] of Object.entries(sets)) for (const text of texts) t.same(claimsIn(agent, text), [], text)
})

t.test('shipped texts claim only actions behind a tool call', async (t) => {
  const textsIn = (value: unknown): string[] =>
    typeof value === 'string'
      ? [value]
      : typeof value === 'object' && value !== null
        ? Object.values(value).flatMap(textsIn)
        : []
  const claimed = [...rules.keys()].flatMap((agent) => {
    const { claims: _, instructions: __, ...spoken } = yaml(`agents/${agent}.yaml`) as Record<string, unknown>
    return textsIn(spoken).flatMap((text) => claimsIn(agent, text).map(({ tools }) => `${tools[0] ?? 'none'}: ${text}`))
  })
  t.same(claimed.sort(), [
    'check_outage: There is an outage in your area since {{account.outage.since}}. It should be over by {{account.outage.restoredBy}}.',
    'check_outage: There is an outage in your area since {{outage.since}}. It should be over by {{outage.restoredBy}}.',
    'getAccount: Mpango wako ni {{account.plan}}, na salio lako ni KES {{account.balanceKes}}.',
    'getAccount: Mpango wako ni {{account.plan}}, na unadaiwa KES {{account.owedKes}}.',
    'getAccount: Your plan is {{account.plan}}, and you owe KES {{account.owedKes}}.',
    'getAccount: Your plan is {{account.plan}}, and your balance is KES {{account.balanceKes}}.',
    'open_ticket: I have opened ticket {{ticket.ticketId | spell}} for a technician, who will call you.',
    'open_ticket: I have opened ticket {{ticket.ticketId | spell}} for a technician.',
    'open_ticket: Nimefungua tiketi {{ticket.ticketId | spell}} kwa ajili ya fundi, ambaye atakupigia.',
    'open_ticket: Nimefungua tiketi {{ticket.ticketId | spell}} kwa ajili ya fundi.',
    'reschedule_order: I have asked for it to be changed. You will get an SMS.',
    'reschedule_order: Nimeomba ibadilishwe. Utapata SMS.',
  ])
  const passages = readFileSync(join(packageRoot(), 'agents/knowledge/support.md'), 'utf8').split('\n')
  t.same(
    passages.flatMap((passage) => claimsIn('support', passage)),
    [],
    'nor does what is written down',
  )
})

import t from 'tap'
import type { CauseCode } from '../../src/call/why/call-cause.js'
import { turnStepsOf } from '../../src/call/why/turn-steps.js'
import { spansOf, usualOf } from '../../src/call/why/usual.js'
import { whyOf } from '../../src/call/why/why.js'
import type { WhyView } from '../../src/call/why/why.js'
import { whyPage } from '../../src/cli/why.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { AGENT_KEYS } from '../agents/agent-keys.js'
import { endedCall } from '../support/record.js'

const OPENED_MS = 300
const marked = (...marks: readonly (readonly [name: string, atMs: number, detail?: string])[]) =>
  [['webhook', 0] as const, ['stream-opened', OPENED_MS] as const, ...marks].map(([name, atMs, detail]) =>
    detail === undefined ? { name, atMs } : { name, atMs, detail },
  )
const said = (role: 'caller' | 'agent', text: string) => ({ role, text, startMs: 1000, endMs: 4000 })
const NO_HUMAN = {
  reason: 'asked',
  strategy: 'after-stream-dial',
  outcome: 'busy',
  attempts: [],
  callback: null,
} as const
const answered = { callerStoppedMs: 2000, firstSoundMs: 900, answerMs: 3000 }
const WAITS = { callerStoppedMs: 2000, firstSoundMs: null, answerMs: null }
const LATE_END = marked(['caller-speech-end', 6000], ['ended', 6300])
const SLOW_TOOL = { name: 'get_order', args: {}, startMs: 2100, ms: 60_000, ok: true }
const HELLO = { transcript: [said('caller', 'Hello')] }
const BACK = ['put-on-hold-over', 7000, 'words, or a digit'] as const
const LEFT = ['put-on-hold-over', 65_000, 'put on hold for 60000 ms'] as const
const call = (changes: Partial<CallRecord>): CallRecord =>
  endedCall({ served: 'answered', timeline: marked(), ...changes })

t.test('a wait is divided into its parts', (t) => {
  const toolCalls = [
    { name: 'get_order', args: {}, startMs: 2600, ms: 1500, ok: true },
    { name: 'get_shop', args: {}, startMs: 3000, ms: 300, ok: true },
  ]
  const marks = [
    ['caller-speech-end', 2720],
    ['caller-words', 2800],
    ['agent-words', 4700],
    ['agent-audio', 5200],
    ['ended', 9000],
  ] as const
  const [turn] = turnStepsOf({
    ...call({ turns: [answered], toolCalls, timeline: marked(...marks) }),
    zeroMs: OPENED_MS,
  })
  t.match(turn, {
    stoppedAtMs: 2300,
    untilMs: 5300,
    isAnswered: true,
    endOfTurnMs: 420,
    wordsMs: 500,
    modelWordsMs: 2400,
  })
  t.same(turn?.parts, { endOfTurnMs: 420, toolsMs: 1500, backendMs: 980, playoutMs: 100 })
  t.end()
})

t.test('a value is unusual compared with earlier calls', (t) => {
  const spans = spansOf(call({ greetingMs: 250, turns: [{ ...answered, answerMs: 700 }] }))
  t.match(spans, { greeting: [250], answer: [700] })
  const usual = usualOf(Array.from({ length: 100 }, () => spans))
  t.same(usual.of['answer'], { values: 100, p50Ms: 700, p95Ms: 700 })
  const { unusual, turns } = whyOf(call({ greetingMs: 260, turns: [{ ...answered, answerMs: 1470 }] }), usual)
  t.match(unusual, [{ name: 'answer', ms: 1470 }, { name: 'backend' }])
  t.match(unusual[0]?.text, /^The slowest answer took 1\.5 s, 2\.1 times its usual \(median 700 ms, .*, 100 calls\)\.$/)
  t.match(turns[0]?.text, /the answer was sent after 1\.5 s, 2\.1 times its usual/)
  const { unusual: ofOne, cause } = whyOf(call({ turns: [answered] }), usualOf([spans]))
  t.same([ofOne, cause.code], [[], 'good'], 'one call is no comparison')
  t.equal(whyOf(call({ turns: [answered] }), usual).cause.code, 'model-slow')
  t.end()
})

t.test('each end of a call has its cause', (t) => {
  const ends: readonly (readonly [CauseCode, Partial<CallRecord>])[] = [
    ['carrier', { outcome: 'failed', endReason: 'socket-never-came' }],
    ['model-failed', { outcome: 'failed', endReason: 'backend-failed', endDetail: 'backend closed with 1011' }],
    ['model-slow', { outcome: 'failed', endReason: 'backend-failed', endDetail: 'no answer in 12000 ms' }],
    ['gateway-fault', { outcome: 'failed', endReason: 'call-fault' }],
    ['node-dead', { outcome: 'failed', endReason: 'process-died' }],
    ['budget', { budgetStep: 'messages' }],
    ['operator', { outcome: 'abandoned', endReason: 'operator-hangup', transcript: [said('caller', 'Hello')] }],
    ['limit', { endReason: 'duration-limit', transcript: [said('caller', 'Hello')] }],
    ['other-voice', { outcome: 'abandoned', timeline: marked(['caller-speech', 900], ['words-of-another', 4000]) }],
    ['no-human', { outcome: 'failed', endReason: 'escalated', escalation: NO_HUMAN }],
    ['refused', { outcome: 'refused', endReason: 'agent-capacity' }],
    ['model-slow', { outcome: 'abandoned', endReason: 'caller-hung-up', turns: [WAITS], timeline: LATE_END }],
    ['tool-slow', { outcome: 'abandoned', endReason: 'caller-hung-up', turns: [WAITS], toolCalls: [SLOW_TOOL] }],
    ['put-on-hold', { endReason: 'silence-limit', ...HELLO, timeline: marked(['put-on-hold', 5000]) }],
    ['put-on-hold', { endReason: 'silence-limit', ...HELLO, timeline: marked(['put-on-hold', 5000], LEFT) }],
    ['silent-caller', { endReason: 'silence-limit', ...HELLO, timeline: marked(['put-on-hold', 5000], BACK) }],
    ['other-voice', { endReason: 'silence-limit', turns: [answered], timeline: marked(['quieter-voice', 9000]) }],
    ['silent-caller', { endReason: 'silence-limit', turns: [answered], timeline: marked(['quieter-voice', 1000]) }],
    ['hung-up', { outcome: 'abandoned', endReason: 'caller-hung-up', served: 'nothing-asked', greetingMs: null }],
  ]
  for (const [code, changes] of ends) {
    const { cause } = whyOf(call(changes), null)
    t.equal(cause.code, code, cause.text)
    t.match(cause.text, /^[A-Z].*\.$/)
    t.ok(cause.about.length > 0)
    for (const { kind, name } of cause.about) t.ok(kind !== 'agent' || name in AGENT_KEYS, name)
  }
  t.end()
})

t.test('another voice on the line is named', (t) => {
  const remarksOf = (...marks: readonly (readonly [name: string, atMs: number, detail?: string])[]) =>
    whyOf(call({ turns: [{ ...answered, answerMs: 700 }], timeline: marked(...marks) }), null).remarks
  const known = "-38 dBFS, the caller's level -21 dBFS, another voice -37 dBFS"
  t.same(remarksOf(['quieter-voice', 4000, known], ['words-of-another', 6000], ['words-of-another', 9000]), [
    { atMs: 4000, text: "Another voice than the caller's was on the line; its words were not answered (twice)." },
  ])
  t.same(remarksOf(['quieter-voice', 4000, known]), [
    { atMs: 4000, text: "Another voice than the caller's was on the line." },
  ])
  t.same(remarksOf(['quieter-voice', 4000, "-38 dBFS, the caller's level -21 dBFS"]), [], 'no second person is known')
  t.same(remarksOf(['quieter-voice', 4000, known], ['level-forgotten', 9000]), [], "it was the caller's")
  const page = whyPage(whyOf(call({ timeline: marked(['words-of-another', 6000]) }), null))
  t.match(page, /Unusual values \(.*\)\n +6\.00 s +Another voice than the caller's was on the line/)
  const { remarks: _, ...earlier } = whyOf(call({}), null)
  t.match(
    whyPage(earlier as WhyView),
    /Unusual values \(.*\)\n +No value is unusual\./,
    'of a node of an earlier version',
  )
  t.end()
})

t.test('a call without a verdict has a neutral cause', (t) => {
  const { cause } = whyOf(call({ served: null, outcome: 'contained', endReason: 'agent-goodbye' }), null)
  t.match(cause.text, /^The call ended as contained, and the agent said goodbye after /)
  t.end()
})

t.test('unheard speech is named', (t) => {
  const transcript = [{ ...said('agent', 'Your order is on the way.'), interrupted: true, playedMs: 800 }]
  const speech = [{ atMs: 6000, by: 'openai', claimedMs: 3000, heardMs: 0 }]
  t.match(whyOf(call({ transcript, speech }), null).unheard, [
    { atMs: 1300, text: 'The caller heard 800 ms of “Your order is on the way.”, which was interrupted at 4.30 s.' },
    { atMs: 6300, text: 'Of 3.0 s of speech by openai the caller could hear 0 ms.' },
  ])
  t.end()
})

t.test("the explanation contains none of the caller's words", (t) => {
  const transcript = [said('caller', 'my secret is tangawizi')]
  const timeline = marked(
    ...([
      ['whisper', 900, 'tangawizi'],
      ['backend-failed', 950, 'tangawizi'],
      ['escalation-settled', 960, 'supervision: failed, tangawizi, it said'],
      ['stage', 990, 'pay'],
    ] as const),
  )
  const tool = { name: 'pay', args: { pin: 'tangawizi' }, startMs: 0, ms: 5, ok: false, error: 'tangawizi' }
  const failed = { outcome: 'failed', transcript, toolCalls: [tool] } as const
  const view = whyOf(call({ ...failed, timeline, endReason: 'backend-failed', endDetail: 'tangawizi' }), null)
  t.notMatch(JSON.stringify(view), /tangawizi/)
  t.match(view.cause, { code: 'model-failed', text: 'The backend embedded failed.' })
  t.same(
    view.decisions.map(({ rule }) => rule),
    ['backend-failed', 'escalation-settled', 'stage'],
  )
  t.match(view.decisions[1]?.text, 'The escalation was settled: supervision: failed.')
  const ofTool = whyOf(call({ ...failed, endReason: 'agent-goodbye' }), null)
  t.same(ofTool.cause.text, 'The tool pay failed.')
  t.notMatch(JSON.stringify(ofTool), /tangawizi/)
  const coded = { ...failed, toolCalls: [{ ...tool, error: 'TOOL_RESPONSE' }], endReason: 'agent-goodbye' } as const
  t.equal(whyOf(call(coded), null).cause.text, 'The tool pay failed (TOOL_RESPONSE).')
  t.end()
})

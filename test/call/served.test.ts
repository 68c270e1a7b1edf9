import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { packageRoot } from '../../src/config/package-root.js'
import { WORDS } from '../../src/call/words/languages.js'
import { chartRange, chartQuerySchema, chartsOf, figuresOf } from '../../src/call/documents/call-charts.js'
import { servedOf } from '../../src/call/documents/served.js'
import { callRecordSchema } from '../../src/call/documents/record.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { endedCall } from '../support/record.js'

const OPENED_MS = 400
const opened = [
  { name: 'webhook', atMs: 0 },
  { name: 'stream-opened', atMs: OPENED_MS },
]
const mark = (name: string, streamMs: number) => ({ name, atMs: OPENED_MS + streamMs })
const said = (role: 'caller' | 'agent', text: string, startMs: number) => ({
  ...{ role, text, startMs, endMs: startMs + 900 },
})
const turn = (callerStoppedMs: number, answerMs: number | null) => ({
  callerStoppedMs,
  firstSoundMs: answerMs,
  answerMs,
})
const served = (changes: Partial<CallRecord>) => servedOf(endedCall({ timeline: opened, ...changes }))

t.test('an answered question counts as answered', (t) => {
  const transcript = [said('caller', 'Where is my order?', 1000), said('agent', 'It is on the way.', 2700)]
  t.equal(served({ turns: [turn(2000, 700)], transcript }), 'answered')
  t.equal(served({ turns: [turn(2000, 700)] }), 'answered', 'a recogniser may give no words')
  t.end()
})

t.test('requests to repeat do not count as answers', (t) => {
  const turns = [turn(2000, 700), turn(6000, 700), turn(10_000, 700)]
  const again = turns.map(({ callerStoppedMs }) => said('agent', 'Samahani, sikusikia vizuri.', callerStoppedMs + 650))
  t.equal(served({ turns, transcript: again }), 'not-understood')
  const missed = turns.map(({ callerStoppedMs }) => mark('not-understood', callerStoppedMs + 300))
  t.equal(served({ turns, timeline: [...opened, ...missed] }), 'not-understood', 'whatever words the agent used')
  const understood = [...opened, ...missed.slice(0, 2)]
  t.equal(served({ turns, timeline: understood }), 'answered', 'the third was understood')
  t.equal(served({ timeline: [...opened, mark('not-understood', 7000)] }), 'not-understood', 'sound without a turn')
  t.end()
})

t.test('hold music does not count as a missed caller', (t) => {
  const timeline = [...opened, mark('not-understood', 10_940), mark('put-on-hold', 16_540)]
  t.equal(served({ timeline }), 'nothing-asked')
  const transcript = [said('caller', 'Hello?', 12_000)]
  t.equal(served({ timeline, transcript }), 'not-understood', 'the caller spoke between')
  t.end()
})

t.test('every language has requests to repeat', (t) => {
  for (const [code, { notUnderstood }] of Object.entries(WORDS)) {
    t.ok(notUnderstood.length > 0, code)
    for (const words of notUnderstood) {
      const transcript = [said('agent', `${words}.`, 2650)]
      t.equal(served({ turns: [turn(2000, 700)], transcript }), 'not-understood', `${code}: ${words}`)
    }
  }
  t.end()
})

t.test('requests to repeat of shipped agents are recognised', (t) => {
  const at = (...path: string[]) => join(packageRoot(), ...path)
  const files = [
    ...readdirSync(at('agents')).map((name) => at('agents', name)),
    ...readdirSync(at('templates')).map((name) => at('templates', name, 'agent.yaml')),
  ].filter((file) => file.endsWith('.yaml') && existsSync(file))
  const asked = new Set<string>()
  for (const file of files) {
    const { languages = [], offline } = parse(readFileSync(file, 'utf8')) as {
      readonly languages?: readonly string[]
      readonly offline?: { readonly retry?: Readonly<Record<string, string>> }
    }
    for (const code of languages) t.ok(code in WORDS, `${file}: ${code}`)
    for (const [code, text] of Object.entries(offline?.retry ?? {})) {
      asked.add(code)
      const transcript = [said('agent', text, 2650)]
      t.equal(served({ turns: [turn(2000, 700)], transcript }), 'not-understood', `${file}: ${text}`)
    }
  }
  t.same([...asked].toSorted(), Object.keys(WORDS).toSorted())
  t.end()
})

t.test('a caller without an answer counts as not answered', (t) => {
  t.equal(served({ turns: [turn(2000, null)] }), 'not-answered')
  t.equal(served({ transcript: [said('caller', 'Hello?', 1000)] }), 'not-answered')
  t.end()
})

t.test('a silent caller counts as nothing asked', (t) => {
  t.equal(served({ transcript: [said('agent', 'Hello, this is the shop.', 300)] }), 'nothing-asked')
  t.end()
})

t.test('digits count as words of the caller', (t) => {
  const transcript = [said('caller', '4127', 3000), said('agent', 'Order 4127 is on the way.', 5000)]
  const audio = { ...endedCall().audio, dtmf: 4 }
  t.equal(served({ transcript, audio }), 'answered')
  t.equal(served({ audio }), 'not-answered')
  t.end()
})

t.test('an answer to digits counts after a missed sentence', (t) => {
  const turns = [turn(2000, 700)]
  const sorry = said('agent', 'Samahani, sikusikia vizuri.', 2650)
  const keyed = (text: string, startMs: number) => ({ role: 'caller' as const, text, startMs, endMs: startMs })
  const found = said('agent', 'Order 4127 is on the way.', 7000)
  const timeline = [...opened, mark('not-understood', 2300)]
  t.equal(served({ turns, timeline, transcript: [sorry, keyed('4127', 6500), found] }), 'answered')
  t.equal(served({ turns, timeline, transcript: [sorry, keyed('••••', 6500), found] }), 'answered', 'a secret')
  const wrong = [...timeline, mark('not-understood', 6500)]
  const again = said('agent', 'There is no such order.', 7000)
  t.equal(served({ turns, timeline: wrong, transcript: [sorry, keyed('9', 6500), again] }), 'not-understood')
  const right = [keyed('4127', 9500), said('agent', 'Order 4127 is on the way.', 10_000)]
  t.equal(served({ turns, timeline: wrong, transcript: [sorry, keyed('9', 6500), again, ...right] }), 'answered')
  t.equal(served({ turns, timeline, transcript: [sorry, keyed('4127', 6500)] }), 'not-understood', 'no answer came')
  t.end()
})

t.test('a successful effect counts as done', (t) => {
  const turns = [turn(2000, 700)]
  const tool = { name: 'cancel_order', args: {}, startMs: 2100, ms: 300, ok: true }
  t.equal(served({ turns, toolCalls: [tool] }), 'answered', 'it only reads')
  t.equal(served({ turns, toolCalls: [{ ...tool, effect: true }] }), 'done')
  t.equal(served({ turns, toolCalls: [{ ...tool, effect: true, ok: false, error: 'http' }] }), 'answered')
  const wait = { tool: 'pay', startedAt: '2026-11-20T12:00:00Z', ms: 9000, late: false, told: true }
  t.equal(served({ turns, waits: [{ ...wait, status: 'succeeded' }] }), 'done')
  t.equal(served({ turns, waits: [{ ...wait, status: 'expired' }] }), 'answered')
  t.equal(served({ turns, timeline: [...opened, mark('callback-noted', 9000)] }), 'done')
  t.end()
})

t.test('a reached human outranks an effect', (t) => {
  const escalation = {
    reason: 'asked',
    strategy: 'supervision',
    outcome: 'answered',
    attempts: [],
    callback: null,
  } as const
  t.equal(served({ escalation, timeline: [...opened, mark('callback-noted', 9000)] }), 'human')
  t.equal(served({ escalation: { ...escalation, outcome: 'busy' } }), 'nothing-asked')
  const callback = { asked: 'key', number: '+2547…01', note: '', at: '2026-11-20T12:00:00Z' } as const
  t.equal(served({ escalation: { ...escalation, strategy: 'callback', callback } }), 'done')
  t.end()
})

t.test('a call without a conversation counts as not connected', (t) => {
  t.equal(served({ outcome: 'refused', endReason: 'capacity' }), 'not-connected')
  t.equal(served({ outcome: 'unreached', endReason: 'answering-machine' }), 'not-connected')
  t.equal(served({ outcome: 'failed', endReason: 'socket-never-came', timeline: [] }), 'not-connected')
  t.end()
})

t.test('older records without `served` read as null', (t) => {
  const { served: _, ...older } = endedCall()
  t.equal(callRecordSchema.parse(older).served, null)
  t.end()
})

t.test('containment excludes calls that were not understood', (t) => {
  const calls = [
    endedCall({ served: 'answered' }),
    endedCall({ served: 'not-understood' }),
    endedCall({ served: null }),
    endedCall({ outcome: 'abandoned', served: 'answered' }),
  ]
  const range = chartRange(chartQuerySchema.parse({}), Date.parse('2026-11-20T12:30:00Z'))
  const { all } = chartsOf(
    range,
    calls.map((call) => ({ name: 'order-status', buckets: [figuresOf(call)] })),
  )
  t.equal(all.whole.calls, 4)
  t.equal(all.whole.contained, 2, 'answered, and one of an earlier build')
  t.same(all.whole.served, { answered: 2, 'not-understood': 1 })
  t.end()
})

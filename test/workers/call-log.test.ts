import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { CallLog } from '../../src/call/call-log.js'
import { parseResume } from '../../src/call/documents/checkpoint.js'
import type { CallOutput } from '../../src/call/events.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { plainJson } from '../../src/core/json.js'
import { parseCallSid } from '../../src/core/ids.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { CallRecordBuilder } from '../../src/workers/call-record.js'
import { callStep, play } from '../call/random-call.js'
import { escalation, Rig } from '../call/rig.js'

const metrics = new Metrics({ version: 'test', processMetrics: false })
const call = {
  callSid: parseCallSid('HD_test'),
  agent: 'order-status',
  from: '+254700000001',
  to: '+254709000000',
  direction: 'inbound',
} as const
const now = { state: 'streaming', durationMs: 1000, rehomes: 0 } as const

const builderOf = (): CallRecordBuilder =>
  new CallRecordBuilder(call, 'embedded', metrics, new CallSeries({ clock: () => 0 }), { ms: 0, wallMs: 0 })

/** Gives the main thread what a worker says of this output. */
function give(builder: CallRecordBuilder, output: CallOutput): void {
  if (output.type === 'log')
    builder.take({ type: 'log', entries: [structuredClone(output.entry)], saved: null, frameLatencyP99Ms: null })
}

/** Throws where two things differ as JSON. */
function same(what: string, is: unknown, was: unknown): void {
  const [a, b] = [JSON.stringify(is), JSON.stringify(was)]
  if (a !== b) throw new Error(`${what} differs:\n${a}\n${b}`)
}

t.test('live view, record and replay of any call agree, also of one that changed its worker', async () => {
  fc.assert(
    fc.property(
      fc.array(callStep, { maxLength: 60 }),
      fc.option(fc.nat(60)),
      fc.boolean(),
      (steps, moveAt, serverVad) => {
        const settings = { escalation, serverVad }
        const builder = builderOf()
        const worker = new Rig(settings)
        let rig = worker
        let given = 0
        const pass = (): void => {
          for (const { output } of rig.log.slice(given)) give(builder, output)
          given = rig.log.length
        }
        rig.open()
        for (const [i, step] of steps.entries()) {
          play(rig, step)
          pass()
          if (i !== moveAt || rig.session.state === 'ended') continue
          // What another process reads is what this one wrote.
          const resume = { checkpoint: rig.session.checkpoint(), log: builder.log.records() }
          same('what the next worker reads', parseResume(JSON.parse(JSON.stringify(resume))), resume)
          assert.deepStrictEqual(plainJson(resume, 'the call'), resume)
          same('the log before the move', builder.log.records(), rig.session.log.records())
          const next = new Rig(settings, parseResume(JSON.parse(JSON.stringify(resume))))
          next.nowMs = rig.nowMs
          rig.writer.flush()
          next.journal.unshift(...rig.journal)
          rig = next
          given = 0
          rig.open()
          pass()
        }
        rig.in({ type: 'stream-closed', code: 1000 })
        pass()
        rig.writer.flush()

        const { log } = rig.session
        same('the log of the main thread', builder.log.records(), log.records())
        const replayed = replayJournal(rig.journal)
        same("the replayed session's log", replayed.session.log.records(), log.records())
        const rebuilt = new CallLog()
        for (const { output } of replayed.outputs) if (output.type === 'log') rebuilt.append(output.entry)
        same("the log of the replay's outputs", rebuilt.records(), log.records())

        const view = builder.view(now)
        const record = builder.close({
          ...now,
          result: null,
          fault: 'x',
          escalation: null,
          recording: null,
          packetsDropped: 0,
          underruns: 0,
          outbound: null,
        })
        same('the transcript of view and record', view.transcript, record.transcript)
        same('the tool calls of view and record', view.toolCalls, record.toolCalls)
        same(
          'texts',
          record.transcript.map(({ text }) => text),
          log.transcript.map(({ text }) => text),
        )
        same(
          'tools',
          record.toolCalls.map(({ name, ok }) => [name, ok]),
          log.toolCalls.map(({ record: { name, ok } }) => [name, ok]),
        )
        same(
          'turns',
          record.turns.map(({ callerStoppedMs }) => callerStoppedMs),
          log.turns.map(({ callerStoppedMs }) => Math.round(callerStoppedMs)),
        )
        same(
          'barge-ins',
          record.bargeIns.map(({ why }) => why),
          log.bargeIns.map(({ why }) => why),
        )
      },
    ),
    { numRuns: 150 },
  )
})

t.test('a tool call is in the log once, however it came to its end', async (t) => {
  const rig = Rig.talking({ escalation })
  rig.toolCall('a', 'find_order', { order: 5 })
  rig.in({ type: 'tool-result', callId: 'a', ok: true, value: { status: 'sent' } })
  rig.in({ type: 'tool-result', callId: 'a', ok: true, value: { status: 'sent' } })
  rig.toolCall('b', 'find_order', { order: 6 })
  rig.backend({ type: 'tool-cancel', callIds: ['b'] })
  rig.toolCall('c', 'no_such_tool')
  rig.toolCall('d', 'refund')
  rig.run(31_000)
  rig.toolCall('e', 'find_order', { order: 7 })
  const next = new Rig({ escalation }, rig.resume)
  next.nowMs = rig.nowMs
  next.open()
  next.toolCall('f', 'end_call', { reason: 'done' })
  next.in({ type: 'stream-closed', code: 1000 })
  t.same(
    next.session.log.toolCalls.map(({ callId, end, record: { ok } }) => [callId, end, ok]),
    [
      ['a', 'answered', true],
      ['b', 'cancelled', false],
      ['c', 'refused', false],
      ['d', 'overdue', false],
      ['e', 'lost', false],
      ['f', 'built-in', false],
    ],
  )
})

t.test("words that were being said when a worker died are the next one's first entry", async (t) => {
  const rig = Rig.talking()
  rig.backend({ type: 'turn-start', generation: 2 })
  rig.audio(2, 'a2', 4000)
  rig.backend({
    type: 'transcript',
    role: 'agent',
    text: ' It was sent on Monday. ',
    final: false,
    itemId: 'a2',
    generation: 2,
  })
  rig.run(300)
  t.equal(rig.session.log.transcript.at(-1)?.text, 'Hello.')
  const next = new Rig({}, rig.resume)
  next.nowMs = rig.nowMs
  next.open()
  t.match(next.onlyLogged('transcript'), { role: 'agent', text: 'It was sent on Monday.' })
  t.same(next.mirror.records(), next.session.log.records())
})

t.test('the times at which the caller heard a turn belong to that turn', async (t) => {
  const log = new CallLog()
  const turn = { callerStoppedMs: 1000.25, firstSoundMs: 300, answerMs: 400 }
  log.append({ kind: 'turn', record: turn })
  log.append({ kind: 'turn', record: { ...turn, callerStoppedMs: 5000 } })
  log.append({ kind: 'turn-played', callerStoppedMs: 1000.25, ear: { firstSoundMs: 340, answerMs: 440 } })
  log.append({ kind: 'turn-played', callerStoppedMs: 1, ear: { firstSoundMs: 1, answerMs: 1 } })
  t.same(log.turns, [
    { ...turn, ear: { firstSoundMs: 340, answerMs: 440 } },
    { ...turn, callerStoppedMs: 5000 },
  ])
})

t.test('what code of others hands in becomes plain JSON, or is refused by name', async (t) => {
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  t.strictSame(plainJson({ at: new Date(0), gone: undefined, list: [undefined, NaN] }, 'x'), {
    at: '1970-01-01T00:00:00.000Z',
    list: [null, null],
  })
  t.equal(plainJson(undefined, 'x'), null)
  for (const value of [1n, circle, { deep: { big: 2n } }])
    t.throws(() => plainJson(value, 'the result'), { code: 'CALL_FAULT', message: /^the result is not JSON/ })
})

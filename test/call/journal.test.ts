import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import type { CallOutput } from '../../src/call/events.js'
import { isJournalled } from '../../src/call/journal/journal.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import { callStep, play } from './random-call.js'
import { escalation, Rig, callerFrame } from './rig.js'

const { bargeIn } = DEFAULT_CALL_OPTIONS

/** Results of a call; a replay must give the same. */
function traces(session: Rig['session'], log: Rig['log']) {
  const { usage, greetingMs, escalation, state } = session
  return {
    outputs: log.filter(({ output }) => isJournalled(output)),
    log: session.log.records(),
    usage,
    greetingMs,
    escalation,
    state,
  }
}

function replayed(rig: Rig) {
  rig.writer.flush()
  const { session, outputs, recorded } = replayJournal(rig.journal)
  if (JSON.stringify(outputs) !== JSON.stringify(recorded))
    throw new Error('what is wanted is not what the journal says was wanted')
  return traces(
    session,
    outputs.map(({ atMs, output }) => ({ atMs, output })),
  )
}

/** The value after a round trip through JSON, as a journal keeps it. */
const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

function scripted(): Rig {
  const rig = new Rig({ escalation })
  rig.open()
  rig.ready()
  rig.answer(1, 'hello', 1200, 'Hello.')
  rig.run(1500)
  rig.speak(900)
  rig.run(640)
  rig.heardWords('Where is order five?')
  rig.toolCall('t1', 'find_order', { order: 5 }, 2)
  rig.run(1200)
  rig.in({ type: 'tool-result', callId: 't1', ok: true, value: { status: 'sent' } })
  rig.answer(3, 'a3', 5000, 'It was sent.')
  rig.run(900)
  rig.speak(80)
  rig.run(1200)
  rig.speak(500)
  rig.audio(3, 'a3', 100)
  rig.run(700)
  rig.identity({ accountId: 'A-1' })
  rig.toolCall('e1', 'escalate_to_human', { reason: 'asked' }, 4)
  rig.in({ type: 'escalation', step: { type: 'close-stream', mayBeSilent: false } })
  rig.run(2000)
  rig.in({ type: 'stream-closed', code: 1000 })
  return rig
}

t.test('a recorded call runs again, output for output', async (t) => {
  const rig = scripted()
  const types = new Set(rig.types())
  const wanted = ['playout-resume', 'playout-clear', 'run-tool', 'turn', 'barge-in', 'escalate', 'ended'] as const
  for (const type of wanted) {
    t.ok(types.has(type), `the script has ${type}`)
  }
  t.same(asJson(replayed(rig)), asJson(traces(rig.session, rig.log)))
})

t.test('any call runs again, output for output', async () => {
  fc.assert(
    fc.property(fc.array(callStep, { maxLength: 60 }), fc.boolean(), fc.boolean(), (steps, serverVad, weighsSpeech) => {
      const rig = new Rig({ escalation, serverVad, weighsSpeech, bargeIn })
      rig.open()
      for (const step of steps) play(rig, step)
      rig.run(500)
      const [was, is] = [JSON.stringify(traces(rig.session, rig.log)), JSON.stringify(replayed(rig))]
      if (was !== is) throw new Error(`differs:\n${was}\n${is}`)
    }),
    { numRuns: 150 },
  )
})

t.test('a taken-over call is replayed from its checkpoint', async (t) => {
  const before = Rig.talking()
  before.toolCall('t1', 'refund', { order: 5 })
  const rig = new Rig({}, before.resume)
  rig.nowMs = before.nowMs
  rig.open()
  rig.ready()
  rig.answer(1, 'a', 500)
  rig.run(1000)
  t.same(asJson(replayed(rig)), asJson(traces(rig.session, rig.log)))
})

t.test('other options show what would have been different', async (t) => {
  const rig = scripted()
  rig.writer.flush()
  const { outputs } = replayJournal(rig.journal, { options: { filler: { texts: [], afterMs: 700, everyMs: 6000 } } })
  t.ok(rig.all('announce').some(({ kind }) => kind === 'filler'))
  t.notOk(outputs.some(({ output }) => output.type === 'announce' && output.kind === 'filler'))
})

t.test('a replay without the words shows where the turn would have ended by sound alone', async (t) => {
  const { speech } = DEFAULT_CALL_OPTIONS
  const rig = Rig.talking({ speech })
  rig.speak(500)
  const says = (text: string): void =>
    rig.backend({ type: 'transcript', role: 'caller', text, final: false, itemId: 'c1', generation: 2 })
  says('I want a room and')
  rig.run(1200)
  rig.speak(500)
  says('I want a room and a view')
  rig.run(1000)
  rig.writer.flush()
  const ends = (outputs: readonly { readonly atMs: number; readonly output: CallOutput }[]): number[] =>
    outputs.flatMap(({ atMs, output }) => (output.type === 'backend-speech-end' ? [atMs] : []))
  t.equal(ends(rig.log).length, 1)
  const { outputs } = replayJournal(rig.journal, { options: { speech: { ...speech, words: null } }, ownTimers: true })
  t.equal(ends(outputs).length, 2)
})

t.test('ten quiet seconds are a few short lines', async (t) => {
  const rig = Rig.talking()
  rig.writer.flush()
  const before = rig.journal.length
  rig.run(7000)
  rig.writer.flush()
  const bytes = rig.journal.slice(before).join('\n').length
  t.ok(bytes < 400, `${bytes} bytes`)
})

t.test('frames at odd times keep their times', async (t) => {
  const rig = new Rig()
  rig.open()
  for (const atMs of [1020.25, 1041.5, 1059.75]) {
    rig.writer.frame(callerFrame(true), atMs)
    rig.session.callerFrame(callerFrame(true), atMs)
  }
  rig.writer.flush()
  const frames = [...readJournal(rig.journal)].flatMap((line) =>
    'type' in line && line.type === 'frames' ? line.frames : [],
  )
  t.same(
    frames.map(({ atMs }) => atMs),
    [1020.25, 1041.5, 1059.75],
  )
})

t.test('a line that cannot be read is named', async (t) => {
  const rig = scripted()
  rig.writer.flush()
  const [header = '', ...rest] = rig.journal
  const broken = (line: string) => () => replayJournal([header, rest[0] ?? '', line])
  for (const line of [
    'no json',
    '5',
    '[]',
    '{}',
    '{"t":"x","in":{"type":"timer"}}',
    '{"t":1,"in":{}}',
    '{"t":1,"audio":[1]}',
    '{"t":1,"view":5,"runs":[1]}',
    '{"t":1,"runs":[-1]}',
    '{"t":1,"runs":[1e9]}',
    '{"t":1,"runs":[2],"at":[1]}',
    '{"t":1,"runs":[1],"at":["x"]}',
  ])
    t.throws(broken(line), { code: 'JOURNAL_INVALID', message: /line 3/ }, line)
  t.throws(broken('{"t":1,"in":{"type":"no-such-input"}}'), { code: 'JOURNAL_INVALID', message: /entry 3/ })
  t.throws(() => replayJournal([]), { code: 'JOURNAL_INVALID' })
  t.throws(() => replayJournal(['{"journal":6,"options":{"callSid":"x"}}']), {
    code: 'JOURNAL_INVALID',
    message: /line 1/,
  })
  t.throws(() => replayJournal(['{"journal":5}']), { code: 'JOURNAL_INVALID', message: /line 1/ })
  const otherState = '{"checkpoint":{"version":7},"log":{}}'
  t.throws(() => replayJournal([header.replace('"resume":null', `"resume":${otherState}`)]), {
    code: 'JOURNAL_INVALID',
    message: /line 1: checkpoint version 7; this build reads 2/,
  })
  t.doesNotThrow(() => replayJournal([header, '', ...rest, '']))
})

import fc from 'fast-check'
import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallSession } from '../../src/call/call-session.js'
import type { JournalMedia } from '../../src/call/documents/journal.js'
import type { CallInput, CallOutput } from '../../src/call/events.js'
import { readJournal } from '../../src/call/journal/journal-reader.js'
import { JournalWriter } from '../../src/call/journal/journal-writer.js'
import { isJournalled } from '../../src/call/journal/journal.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { replayJournal, type ReplayPath } from '../../src/call/journal/replay.js'
import { PlayoutLedger } from '../../src/call/turns/playout-ledger.js'
import { frameSamples } from '../../src/core/units.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { loadVads } from '../support/media-modules.js'
import { arrivals, type LineConditions } from '../support/netem.js'
import { bytesOf, concatenate, framesOf, mix, pinkNoise, silence, speechLike, tone } from '../support/tones.js'
import { callStep, play } from './random-call.js'
import { callerFrame, escalation, options, Rig } from './rig.js'

const vadBank = await loadVads()
const openPath = ({ sampleRateHz, track }: JournalMedia): CallerPath => new CallerPath({ sampleRateHz, track, vadBank })
const decode = (base64: string): Uint8Array => Buffer.from(base64, 'base64')

interface Recorded {
  readonly journal: string[]
  readonly session: CallSession
  readonly voiced: number
}

/**
 * A caller speaks, presses a key, speaks again: through path and session as a worker runs them, journalled with audio.
 */
function record(line: LineConditions, media: JournalMedia): Recorded {
  const { sampleRateHz } = media
  const shape = { sampleRateHz, ms: 900, amplitude: 8000 }
  const said = concatenate(
    silence(sampleRateHz, 400),
    speechLike(shape, 3),
    silence(sampleRateHz, 900),
    tone([697, 1209], { sampleRateHz, ms: 120, amplitude: 5000 }),
    silence(sampleRateHz, 500),
    speechLike(shape, 4),
    silence(sampleRateHz, 1500),
  )
  const audio = mix(said, pinkNoise({ sampleRateHz, ms: (said.length * 1000) / sampleRateHz, amplitude: 40 }, 7))
  const frames = framesOf(audio, frameSamples(sampleRateHz))
  const times = arrivals(frames.length, { ...line, startMs: 1000 })
  const journal: string[] = []
  // The end of a turn hangs on the level of every frame.
  const { speech } = DEFAULT_CALL_OPTIONS
  const settings = options({ callSid: 'HD_replayed', serverVad: false, speech })
  const writer = new JournalWriter((text) => journal.push(text), {
    options: settings,
    resume: null,
    build: '0.0.0',
    media,
  })
  const session = new CallSession(settings, writer.watch(new PlayoutLedger({ sampleRateHz })))
  const path = openPath(media)
  const drain = (): void => {
    for (let output = session.pollOutput(); output !== null; output = session.pollOutput()) writer.output(output)
  }
  const handle = (input: CallInput, atMs: number): void => {
    writer.input(input, atMs)
    session.handle(input, atMs)
    drain()
  }
  handle({ type: 'stream-opened', sampleRateHz }, 1000)
  handle({ type: 'backend', event: { type: 'ready' } }, 1001.25)
  let voiced = 0
  let next = 0
  const endMs = (times.at(-1) ?? 0) + 1000
  // Ticks at odd times, one of them very late.
  for (let tick = 0, nowMs = 1003.7; nowMs < endMs; tick++, nowMs += tick === 150 ? 70.3 : 9.9 + (tick % 3) * 0.1) {
    while (next < frames.length && (times[next] as number) <= nowMs) {
      const bytes = bytesOf(frames[next] as Int16Array)
      writer.media(['packet', times[next] as number, Buffer.from(bytes).toString('base64')])
      path.push(bytes, times[next++] as number)
    }
    writer.media(['tick', nowMs])
    while (path.pull(nowMs)) {
      if (path.voiced) voiced++
      writer.frame(path, nowMs)
      session.callerFrame(path, nowMs)
      if (path.digit !== null) handle({ type: 'dtmf', digit: path.digit }, nowMs + 0.1)
      drain()
    }
    const wake = session.nextWake()
    if (wake !== null && wake.atMs <= nowMs) handle({ type: 'timer' }, nowMs + 0.2)
  }
  writer.flush()
  path.release()
  return { journal, session, voiced }
}

const lines: Readonly<Record<string, LineConditions>> = {
  'a clean line': { seed: 1 },
  'a line with jitter, late frames and a stall': {
    seed: 2,
    jitterMs: 12,
    lateShare: 0.03,
    lateMs: 90,
    stalls: [{ atMs: 1900, ms: 700 }],
  },
}

for (const [name, line] of Object.entries(lines)) {
  for (const sampleRateHz of [8000, 16000] as const) {
    t.test(`${name} at ${sampleRateHz} Hz replays to identical decisions`, async (t) => {
      const { journal, session, voiced } = record(line, { sampleRateHz, track: 'inbound_track' })
      t.ok(voiced > 40, `${voiced} frames of speech`)
      const replay = replayJournal(journal, { openPath, decode })
      t.same(replay.frameDifferences, [])
      t.ok(replay.frames > 200)
      t.same(replay.recorded, replay.outputs)
      t.ok(replay.outputs.some(({ output }) => output.type === 'backend-speech-end'))
      t.ok(replay.outputs.some(({ output }) => output.type === 'backend-dtmf'))
      t.same(replay.session.log.records(), session.log.records())
    })
  }
}

/** An audio path with one different decision. */
class OtherPath implements ReplayPath {
  readonly #path: CallerPath
  readonly #judge: (path: CallerPath) => boolean
  constructor(path: CallerPath, judge: (path: CallerPath) => boolean) {
    this.#path = path
    this.#judge = judge
  }

  get voiced(): boolean {
    return this.#judge(this.#path)
  }

  get early(): boolean {
    return this.#path.early
  }

  get doubtful(): boolean {
    return this.#path.doubtful
  }

  get levelDbfs(): number {
    return this.#path.levelDbfs
  }

  get pitchHz(): number {
    return this.#path.pitchHz
  }

  get digit(): string | null {
    return this.#path.digit
  }

  push(bytes: Uint8Array, arrivalMs: number): void {
    this.#path.push(bytes, arrivalMs)
  }

  playedReference(samples: Int16Array, playedAtMs: number): void {
    this.#path.playedReference(samples, playedAtMs)
  }

  pull(nowMs: number): boolean {
    return this.#path.pull(nowMs)
  }

  release(): void {
    this.#path.release()
  }
}

t.test('a replay reports different voice and digit decisions', async (t) => {
  const { journal, voiced } = record({ seed: 1 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const deaf = (media: JournalMedia): ReplayPath => new OtherPath(openPath(media), () => false)
  const replay = replayJournal(journal, { openPath: deaf, decode, ownTimers: true })
  t.equal(replay.frameDifferences.length, voiced)
  t.same({ ...replay.frameDifferences[0], atMs: 0 }, { atMs: 0, was: true, is: false })
  const differences = diffOutputs(replay.recorded, replay.outputs, { toleranceMs: 60 })
  t.ok(
    differences.some(
      (difference) => difference.kind === 'gone' && difference.was.output.type === 'backend-speech-start',
    ),
  )
  t.notOk(replay.outputs.some(({ output }) => output.type === 'backend-speech-end'))
})

t.test('a replay with its own timers gives the same decisions', async (t) => {
  const { journal } = record({ seed: 2, jitterMs: 8 }, { sampleRateHz: 8000, track: 'inbound_track' })
  const replay = replayJournal(journal, { ownTimers: true })
  t.same(diffOutputs(replay.recorded, replay.outputs, { toleranceMs: 60 }), [])
})

t.test('a longer pause setting moves the end of speech', async (t) => {
  const { journal } = record({ seed: 1 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const was = replayJournal(journal).outputs
  const {
    options: { speech },
  } = replayJournal(journal).header
  const is = replayJournal(journal, {
    ownTimers: true,
    options: { speech: { ...speech, endOfSpeechMs: speech.endOfSpeechMs + 200 } },
  }).outputs
  const differences = diffOutputs(was, is, { toleranceMs: 60 })
  t.ok(differences.length > 0)
  const moved = differences.find(
    (difference) => difference.kind === 'moved' && difference.was.output.type === 'backend-speech-end',
  )
  t.ok(moved?.kind === 'moved' && Math.abs(moved.is.atMs - moved.was.atMs - 200) < 60, JSON.stringify(moved))
})

t.test('a replay accepts a taken-over call with two headers', async (t) => {
  const first = record({ seed: 1 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const second = record({ seed: 3 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const replay = replayJournal([...first.journal, ...second.journal], { openPath, decode })
  t.same(replay.frameDifferences, [])
  t.same(replay.recorded, replay.outputs)
})

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

t.test('a scripted call replays to the same outputs', async (t) => {
  const rig = scripted()
  const types = new Set(rig.types())
  const wanted = ['playout-resume', 'playout-clear', 'run-tool', 'turn', 'barge-in', 'escalate', 'ended'] as const
  for (const type of wanted) {
    t.ok(types.has(type), `the script has ${type}`)
  }
  t.same(asJson(replayed(rig)), asJson(traces(rig.session, rig.log)))
})

t.test("a placed call's older journal replays to the same outputs", async (t) => {
  const rig = new Rig({ amd: { message: 'We will call again.', onSilence: 'speak' } })
  rig.open()
  rig.ready()
  rig.in({ type: 'amd-result', who: 'human', why: 'a short hello' })
  rig.answer(1, 'pitch', 4000)
  rig.run(500)
  rig.in({ type: 'amd-result', who: 'machine', why: 'a beep' })
  rig.run(3000)
  rig.writer.flush()
  const earlier = rig.journal.map((line) => line.replace('"type":"amd-result"', '"type":"screened"'))
  t.equal(earlier.filter((line) => line.includes('screened')).length, 2)
  const { outputs, recorded } = replayJournal(earlier)
  t.ok(recorded.some(({ output }) => output.type === 'announce'))
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [])
})

t.test('an older journal without words replays to the same outputs', async (t) => {
  const { words: _, doubtfulOnsetMs: __, ...speech } = DEFAULT_CALL_OPTIONS.speech
  const rig = Rig.talking({ speech: { ...speech, words: null, doubtfulOnsetMs: 0 } })
  rig.answer(2, 'a2', 3000, 'It was sent.')
  rig.run(500)
  rig.speak(80, { doubtful: true })
  rig.run(1500)
  rig.speak(500)
  rig.backend({ type: 'transcript', role: 'caller', text: 'a room and', final: false, itemId: 'c1', generation: 2 })
  rig.run(1500)
  rig.writer.flush()
  const earlier = rig.journal.map((line) => line.replace(',"words":null,"doubtfulOnsetMs":0', ''))
  t.not(earlier[0], rig.journal[0])
  const { outputs, recorded } = replayJournal(earlier)
  t.ok(recorded.some(({ output }) => output.type === 'playout-pause'))
  t.ok(recorded.some(({ output }) => output.type === 'backend-speech-end'))
  t.same(diffOutputs(recorded, outputs, { toleranceMs: 0 }), [])
})

t.test('a random call replays to the same outputs', async () => {
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

t.test('a replay with other options shows the difference', async (t) => {
  const rig = scripted()
  rig.writer.flush()
  const { outputs } = replayJournal(rig.journal, { options: { filler: { texts: [], afterMs: 700, everyMs: 6000 } } })
  t.ok(rig.all('announce').some(({ kind }) => kind === 'filler'))
  t.notOk(outputs.some(({ output }) => output.type === 'announce' && output.kind === 'filler'))
})

t.test('a replay without words ends the turn by sound', async (t) => {
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

t.test('the journal masks answers that verify a caller', (t) => {
  const journal: string[] = []
  const writer = new JournalWriter((text) => journal.push(text), {
    options: options(),
    resume: null,
    build: 'test',
    media: null,
  })
  const asked = (callId: string, answer: unknown): void => {
    const call = { callId, name: 'verify_caller', args: { question: 'town', answer } }
    writer.input({ type: 'backend', event: { type: 'tool-call', generation: 1, ...call } }, 1000)
    writer.output({ type: 'run-tool', ...call, occurrence: 0 })
  }
  for (const answer of ['Nakuru', 'Kitale', 'Nakuru', 4127]) asked('t', answer)
  writer.flush()
  const text = journal.join(' ')
  t.notMatch(text, /Nakuru|Kitale|4127/)
  t.same(
    [...text.matchAll(/"answer":"(…\d)"/g)].map(([, answer]) => answer),
    ['…1', '…1', '…2', '…2', '…1', '…1', '…3', '…3'],
    'equal ones stay equal: a replay counts them as the call did',
  )
  t.match(text, /"question":"town"/)
  t.end()
})

t.test('no line of a session has an answer that verifies a caller', (t) => {
  const PLANTED = 'planted-7386'
  const verify = { toolNames: ['verify_caller', 'refund'] }
  const rig = Rig.talking(verify)
  const asks = (callId: string, answer: unknown): void =>
    rig.toolCall(callId, 'verify_caller', { question: 'id-number', answer }, 2)
  const answers = (callId: string, ok: boolean): void => {
    rig.in({ type: 'tool-result', callId, ok, value: { verified: ok } })
  }
  asks('t1', `${PLANTED}-wrong`)
  answers('t1', false)
  rig.run(500)
  asks('t2', PLANTED)
  rig.run(500)
  // The worker dies with the proof open. The next worker's header has the log and the running call.
  const { resume } = rig
  const next = new Rig(verify, resume)
  next.nowMs = rig.nowMs
  next.open()
  next.ready()
  next.toolCall('t3', 'verify_caller', { question: 'id-number', answer: [PLANTED, { deep: PLANTED }] }, 1)
  next.run(1000)
  for (const each of [rig, next]) {
    each.writer.flush()
    const text = each.journal.join('\n')
    t.match(text, /"type":"log"/, 'the log is written')
    t.match(text, /"question":"id-number"/)
    t.notMatch(text, /planted/)
    replayed(each)
  }
  t.end()
})

t.test('seven quiet seconds take under 400 bytes of journal', async (t) => {
  const rig = Rig.talking()
  rig.writer.flush()
  const before = rig.journal.length
  rig.run(7000)
  rig.writer.flush()
  const bytes = rig.journal.slice(before).join('\n').length
  t.ok(bytes < 400, `${bytes} bytes`)
})

t.test('the journal keeps the odd times of frames', async (t) => {
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

t.test('an invalid journal line is named', async (t) => {
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

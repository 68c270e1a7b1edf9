import t from 'tap'
import { DEFAULT_CALL_OPTIONS } from '../../src/call/call-options.js'
import { CallSession } from '../../src/call/call-session.js'
import type { CallInput } from '../../src/call/events.js'
import type { JournalMedia } from '../../src/call/documents/journal.js'
import { JournalWriter } from '../../src/call/journal/journal-writer.js'
import { PlayoutLedger } from '../../src/call/playout-ledger.js'
import { replayJournal } from '../../src/call/journal/replay.js'
import type { ReplayPath } from '../../src/call/journal/replay.js'
import { diffOutputs } from '../../src/call/journal/replay-diff.js'
import { frameSamples } from '../../src/core/units.js'
import { CallerPath } from '../../src/media/caller-path.js'
import { loadVads } from '../support/media-modules.js'
import { arrivals } from '../support/netem.js'
import type { LineConditions } from '../support/netem.js'
import { bytesOf, concatenate, framesOf, mix, pinkNoise, silence, speechLike, tone } from '../support/tones.js'
import { options } from './rig.js'

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
    t.test(`${name} at ${sampleRateHz} Hz gives the same decisions from the recorded audio, to the bit`, async (t) => {
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

t.test('a version with other voice and digit decisions is reported', async (t) => {
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

t.test('wake-ups by the session give the same decisions as the recorded ones', async (t) => {
  const { journal } = record({ seed: 2, jitterMs: 8 }, { sampleRateHz: 8000, track: 'inbound_track' })
  const replay = replayJournal(journal, { ownTimers: true })
  t.same(diffOutputs(replay.recorded, replay.outputs, { toleranceMs: 60 }), [])
})

t.test('another setting changes its own decisions and their consequences only', async (t) => {
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

t.test('a call that was taken over by another worker is one journal with two headers', async (t) => {
  const first = record({ seed: 1 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const second = record({ seed: 3 }, { sampleRateHz: 16000, track: 'inbound_track' })
  const replay = replayJournal([...first.journal, ...second.journal], { openPath, decode })
  t.same(replay.frameDifferences, [])
  t.same(replay.recorded, replay.outputs)
})

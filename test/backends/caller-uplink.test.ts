import fc from 'fast-check'
import t from 'tap'
import { CallerUplink, messageLength, silencePause, turnEndAfter } from '../../src/backends/transport/caller-uplink.js'
import type { TurnEnd, UplinkPause } from '../../src/backends/transport/caller-uplink.js'
import { samplesOf } from '../../src/media/pcm.js'

interface Far {
  readonly uplink: CallerUplink
  readonly got: number[]
  /** Lengths of the messages in ms. */
  readonly messagesMs: number[]
  takes: boolean
}

function far(
  changes: {
    readonly messageMs?: number
    readonly turnEnd?: TurnEnd | null
    readonly waitingMsMax?: number
    readonly preRollMs?: number
    readonly pause?: UplinkPause | null
  } = {},
): Far {
  const line: Far = {
    got: [],
    messagesMs: [],
    takes: true,
    uplink: new CallerUplink({
      sampleRateHz: 16_000,
      messageMs: 60,
      turnEnd: null,
      waitingMsMax: 600,
      preRollMs: 120,
      ...changes,
      send: (pcm, length) => {
        if (!line.takes) return false
        line.got.push(...samplesOf(pcm.subarray(0, length)))
        line.messagesMs.push(length / 32)
        return true
      },
    }),
  }
  return line
}

const count = (from: number, samples: number): Int16Array =>
  Int16Array.from({ length: samples }, (_, i) => (from + i) % 30_000)

t.test('all samples are sent in order', async (t) => {
  const frame = fc.record({
    samples: fc.integer({ min: 1, max: 900 }),
    voiced: fc.constantFrom(true, false, undefined),
    times: fc.integer({ min: 1, max: 30 }),
  })
  const steps = fc.array(fc.oneof(frame, fc.constantFrom('flush', 'stop', 'go', 'turn began', 'turn ended')), {
    maxLength: 40,
  })
  const turnEnds = fc.constantFrom(null, turnEndAfter(500), { fromMs: 0, toMs: 100 })
  fc.assert(
    fc.property(steps, turnEnds, (todo, turnEnd) => {
      const line = far({ turnEnd, waitingMsMax: 60_000 })
      line.uplink.open()
      let sent = 0
      for (const step of todo) {
        if (step === 'flush') line.uplink.flush()
        else if (step === 'turn began') line.uplink.turnBegan()
        else if (step === 'turn ended') line.uplink.turnEnded()
        else if (step === 'stop' || step === 'go') line.takes = step === 'go'
        else
          for (let i = 0; i < step.times; i++) {
            line.uplink.push(count(sent, step.samples), step.voiced)
            sent += step.samples
          }
      }
      line.takes = true
      line.uplink.retry()
      line.uplink.flush()
      if (line.got.length !== sent) throw new Error(`${line.got.length} of ${sent}`)
      if (line.got.some((sample, i) => sample !== i % 30_000)) throw new Error('out of order')
    }),
    { numRuns: 200 },
  )
  t.pass()
})

t.test('the oldest waiting audio is dropped and counted', async (t) => {
  const line = far({ waitingMsMax: 120 })
  line.takes = false
  line.uplink.open()
  line.uplink.push(count(0, 960 * 5))
  t.equal(line.uplink.droppedMs, 180)
  line.takes = true
  line.uplink.retry()
  t.equal(line.got.length, 960 * 2)
  t.equal(line.got[0], 960 * 3)
  t.equal(line.uplink.takeSentMs(), 120)
  t.equal(line.uplink.takeSentMs(), 0)
})

t.test('a closed uplink keeps the newest audio without counting drops', async (t) => {
  const line = far()
  line.uplink.push(count(0, 960 * 10))
  t.same(line.got, [])
  t.equal(line.uplink.droppedMs, 0)
  line.uplink.open()
  t.equal(line.got.length, 960 * 2)
  t.equal(line.got[0], 960 * 8)
  line.uplink.close()
  line.uplink.push(count(0, 960))
  t.equal(line.got.length, 960 * 2)
})

// --- messages that follow the call ------------------------------------------------------------------------

const FRAME_SAMPLES = 320
const following = messageLength(undefined, turnEndAfter(500))

/** Pushes frames of 20 ms, `#` with voice and `.` without. @returns the lengths of the messages that went out */
function say(line: Far, frames: string): readonly number[] {
  line.messagesMs.length = 0
  for (const one of frames) line.uplink.push(new Int16Array(FRAME_SAMPLES), one === '#')
  return line.messagesMs
}

function speaking(): Far {
  const line = far(following)
  line.uplink.open()
  return line
}

t.test('messages are short only while the turn may end', async (t) => {
  const line = speaking()
  t.same(say(line, '.'.repeat(6)), [60, 60], 'before any voice')
  t.same(say(line, '#'.repeat(10)), [60, 60, 60], 'in speech; 20 ms wait')
  t.same(
    say(line, '.'.repeat(10)),
    [60, 60, 60],
    'the service may not end it within 200 ms of the last voice; 40 ms wait',
  )
  t.same(say(line, '.'.repeat(30)), [60, ...new Array<number>(29).fill(20)], 'from 200 to 800 ms it may')
  t.same(say(line, '.'.repeat(6)), [60, 60], 'after that it has')
})

t.test('collected audio is sent before the turn may end', async (t) => {
  const line = speaking()
  t.same(say(line, '##'), [])
  t.same(say(line, '..........'), [60, 60, 60, 60])
  t.same(say(line, '..'), [20, 20])
  t.same(say(line, '###.........'), [60, 60, 60, 60])
  t.same(say(line, '#..........'), [60, 60, 60], '40 ms wait')
  t.same(say(line, '..'), [60, 20])
})

t.test('a pause within speech stays in long messages', async (t) => {
  const line = speaking()
  t.same(say(line, '##..##..####'), [60, 60, 60, 60])
})

t.test('messages become long after the service has ended the turn', async (t) => {
  const line = speaking()
  t.same(say(line, '##..............').slice(-4), [20, 20, 20, 20])
  line.uplink.turnEnded()
  t.same(say(line, '......'), [60, 60])
  t.same(say(line, '##' + '.'.repeat(12)), [60, 60, 60, 60, 20, 20], 'until the end of the next one')
})

t.test('silence goes in short messages after the service reports speech', async (t) => {
  const line = speaking()
  say(line, '.'.repeat(51))
  line.uplink.turnBegan()
  t.same(say(line, '.'.repeat(12)).slice(-2), [40, 20], 'the gateway has heard no voice at all')
  t.same(say(line, '.'.repeat(100)), new Array<number>(100).fill(20))
  line.uplink.turnEnded()
  t.same(say(line, '.'.repeat(6)), [60, 60])
})

t.test('a frame without a voice decision is sent at once', async (t) => {
  const line = speaking()
  line.uplink.push(new Int16Array(FRAME_SAMPLES))
  line.uplink.push(new Int16Array(FRAME_SAMPLES))
  t.same(line.messagesMs, [20, 20])
})

t.test('no sample waits longer than its message length', async (t) => {
  const calls = fc.array(
    fc.record({ voiced: fc.boolean(), frames: fc.integer({ min: 1, max: 60 }), event: fc.constantFrom('', 'end') }),
    { maxLength: 20 },
  )
  fc.assert(
    fc.property(calls, (spans) => {
      const line = speaking()
      let pushed = 0
      // As the service counts it: silence since the last voice, from its own last decision on.
      let quietMs = Infinity
      for (const { voiced, frames, event } of spans) {
        for (let i = 0; i < frames; i++) {
          line.uplink.push(new Int16Array(FRAME_SAMPLES), voiced)
          pushed += FRAME_SAMPLES
          quietMs = voiced ? 0 : quietMs + 20
          const waitsMs = (pushed - line.got.length) / 16
          if (waitsMs >= following.messageMs) throw new Error(`${waitsMs} ms wait`)
          // The service needs 500 ms of silence, and may have heard the last voice up to 300 ms earlier or later.
          if (quietMs > 200 && quietMs <= 800 && waitsMs > 0) throw new Error(`${waitsMs} ms wait at the end of a turn`)
        }
        if (event === 'end') {
          line.uplink.turnEnded()
          quietMs = Infinity
        }
      }
    }),
    { numRuns: 200 },
  )
  t.pass()
})

t.test('waiting audio is sent in whole messages', async (t) => {
  const line = far({ ...following, waitingMsMax: 720 })
  line.uplink.open()
  line.takes = false
  say(line, '####' + '.'.repeat(30))
  t.equal(line.uplink.droppedMs, 0, 'all 680 ms fit into the 720')
  line.takes = true
  t.same(say(line, '.'), [...new Array<number>(11).fill(60), 40])
})

t.test('a configured message length holds for all messages', async (t) => {
  t.same(messageLength(40, turnEndAfter(500)), { messageMs: 40, turnEnd: null })
  t.same(messageLength(undefined, null), { messageMs: 60, turnEnd: null })
})

t.test('kept audio is sent only from the start of speech', async (t) => {
  const line = far()
  line.uplink.push(count(0, 960 * 10))
  line.uplink.open(50)
  t.equal(line.got.length, 960)
  t.equal(line.got[0], 960 * 9)
  line.takes = false
  line.uplink.push(count(0, 960 * 3))
  line.uplink.open(50)
  line.takes = true
  line.uplink.retry()
  t.equal(line.got.length, 960 * 4, 'what already waits to be sent is no pre-roll')
})

// --- silence between turns --------------------------------------------------------------------------------

interface PausingLine {
  readonly uplink: CallerUplink
  /** The numbers of the frames that were sent, in order. */
  readonly sent: number[]
  takes: boolean
  /**
   * `#` with voice, `?` not known, `.` without; `b` and `e`: the service reports a turn's beginning and end.
   * @returns the lengths of the messages that went out, in ms
   */
  readonly frames: (text: string) => readonly number[]
}

/** Its frames hold their own number, from 1, in each sample. One sample a millisecond, to be quick. */
function pausing(pause = silencePause(turnEndAfter(500))): PausingLine {
  let ordinal = 0
  let messagesMs: number[] = []
  const line: PausingLine = {
    sent: [],
    takes: true,
    frames: (text) => {
      messagesMs = []
      for (const one of text) {
        if (one === 'b') line.uplink.turnBegan()
        else if (one === 'e') line.uplink.turnEnded()
        else line.uplink.push(new Int16Array(20).fill(++ordinal), one === '?' ? undefined : one === '#')
      }
      return messagesMs
    },
    uplink: new CallerUplink({
      sampleRateHz: 1000,
      ...following,
      waitingMsMax: 10_000,
      preRollMs: 120,
      pause,
      send: (pcm, length) => {
        if (!line.takes) return false
        const samples = samplesOf(pcm.subarray(0, length))
        for (let at = 0; at < samples.length; at += 20) line.sent.push(samples[at] ?? 0)
        messagesMs.push(samples.length)
        return true
      },
    }),
  }
  line.uplink.open()
  return line
}

const TURN = `##b${'#'.repeat(40)}${'.'.repeat(26)}e`

t.test('silence is not sent between turns, except near speech', async (t) => {
  const line = pausing()
  line.frames(TURN + '.'.repeat(14))
  t.same(line.sent, numbers(1, 80), 'the turn, and 800 ms after it, in whole messages')
  t.same(line.frames('.'.repeat(500)), [], 'ten seconds without a message')
  const resumed = line.frames('#')
  t.equal(resumed.length, 1, 'the kept audio comes as one message')
  const [ms] = resumed as [number]
  t.ok(ms >= 420 && ms <= 500, `${ms} ms of it`)
  t.same(line.sent.slice(80), numbers(583 - ms / 20 + 1, 583), 'the newest, and the frame with voice at once')
  t.same(line.frames('#####'), [60], 'then in real time')
  t.equal(line.uplink.droppedMs, 0)
  t.equal(line.uplink.silenceMs, (583 - 80) * 20 - ms)
})

t.test("the pause in sending does not change a turn's messages", async (t) => {
  const turn = '#'.repeat(100) + '.'.repeat(26) + 'e' + '.'.repeat(14)
  t.same(pausing().frames(turn), pausing(null).frames(turn))
})

t.test('a conversation with pauses sends half the messages and audio', async (t) => {
  // 4 s of the caller, 6 s of the agent and of silence.
  const turn = '##b' + '#'.repeat(198) + '.'.repeat(26) + 'e' + '.'.repeat(274)
  const counts = [pausing(), pausing(null)].map(({ uplink, frames }) => {
    frames(turn.repeat(3))
    return { messagesPerSecond: uplink.messages / 30, sentMs: uplink.takeSentMs() }
  })
  t.same(counts, [
    { messagesPerSecond: 9, sentMs: 15_160 },
    { messagesPerSecond: 17.7, sentMs: 29_980 },
  ])
})

t.test('silence is sent while the service may detect a turn', async (t) => {
  const silence = '.'.repeat(100)
  const goesOn = (text: string): boolean => {
    const line = pausing()
    line.frames(text + silence)
    return line.frames(silence).length > 0
  }
  t.equal(goesOn('####'), true, 'it has never reported one: it may wait for silence')
  t.equal(goesOn('##b##'), true, 'it hears speech')
  t.equal(goesOn(TURN), false)
  t.equal(goesOn(`${TURN}##b##`), true, 'it hears speech again')
  t.equal(goesOn(`${TURN}####`), false, 'a sound of which it has reported nothing')
  t.equal(goesOn(`${TURN}${silence}b`), true, 'speech that only the service has heard')
  const line = pausing()
  line.frames(TURN + silence)
  t.equal(line.frames('?'.repeat(9)).length, 9, 'frames of which nothing is known')
})

t.test('a service that gets pause events needs no turn report', async (t) => {
  let told = 0
  const line = pausing(silencePause(turnEndAfter(500), () => told++))
  line.frames('####' + '.'.repeat(200))
  t.equal(told, 1)
  t.same(line.sent, numbers(1, 44))
  line.frames('#')
  line.frames('.'.repeat(200))
  t.equal(told, 2)
})

t.test('audio from a pause waits if the service is blocked', async (t) => {
  const line = pausing()
  line.frames(TURN + '.'.repeat(100))
  const before = line.sent.length
  line.takes = false
  line.frames('##########')
  line.takes = true
  line.frames('##')
  line.uplink.flush()
  const after = line.sent.slice(before)
  t.same(after, numbers(180 - after.length + 1, 180), 'without a gap')
  t.ok(after.length >= 12 + 20)
  t.equal(line.uplink.droppedMs, 0)
})

t.test('no audio near speech is lost or sent twice', async (t) => {
  const spans = fc.array(
    fc.record({
      kind: fc.constantFrom('#', '?', '.', '.'),
      frames: fc.integer({ min: 1, max: 90 }),
      event: fc.constantFrom('', '', 'b', 'e'),
    }),
    { maxLength: 20 },
  )
  fc.assert(
    fc.property(spans, fc.boolean(), (all, tells) => {
      const line = pausing(silencePause(turnEndAfter(500), tells ? () => undefined : undefined))
      const text = all.map(({ kind, frames, event }) => kind.repeat(frames) + event).join('')
      line.frames(text)
      line.uplink.open()
      line.uplink.flush()
      const sent = line.sent
      const known = new Set(sent)
      if (known.size !== sent.length || sent.some((one, at) => at > 0 && one <= (sent[at - 1] ?? 0)))
        throw new Error('out of order')
      const voices = [...text.replaceAll(/[be]/g, '')].flatMap((one, at) => (one === '.' ? [] : [at + 1]))
      for (const at of voices)
        for (let near = Math.max(1, at - 20); near <= Math.min(at + 38, text.replaceAll(/[be]/g, '').length); near++)
          if (!known.has(near)) throw new Error(`frame ${near} of the voice at ${at} was not sent`)
    }),
    { numRuns: 50 },
  )
  t.pass()
})

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, i) => from + i)
}

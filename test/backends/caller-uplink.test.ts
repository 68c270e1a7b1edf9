import fc from 'fast-check'
import t from 'tap'
import { CallerUplink, messageLength, turnEndAfter } from '../../src/backends/transport/caller-uplink.js'
import type { TurnEnd } from '../../src/backends/transport/caller-uplink.js'
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

t.test('all samples are sent in order, for any frame lengths, turns and refusals', async (t) => {
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

t.test('audio that waits too long is dropped, oldest first, and counted', async (t) => {
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

t.test('while closed only the newest audio is kept, and the rest is not counted as dropped', async (t) => {
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

t.test('messages are short only while the service may end the turn', async (t) => {
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

t.test('what was collected goes out with the first frame that may end the turn', async (t) => {
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

t.test('messages are long as soon as the service has ended the turn', async (t) => {
  const line = speaking()
  t.same(say(line, '##..............').slice(-4), [20, 20, 20, 20])
  line.uplink.turnEnded()
  t.same(say(line, '......'), [60, 60])
  t.same(say(line, '##' + '.'.repeat(12)), [60, 60, 60, 60, 20, 20], 'until the end of the next one')
})

t.test('where the service hears speech, silence goes in short messages until it has ended the turn', async (t) => {
  const line = speaking()
  say(line, '.'.repeat(51))
  line.uplink.turnBegan()
  t.same(say(line, '.'.repeat(12)).slice(-2), [40, 20], 'the gateway has heard no voice at all')
  t.same(say(line, '.'.repeat(100)), new Array<number>(100).fill(20))
  line.uplink.turnEnded()
  t.same(say(line, '.'.repeat(6)), [60, 60])
})

t.test('a frame of which nothing is known is sent at once', async (t) => {
  const line = speaking()
  line.uplink.push(new Int16Array(FRAME_SAMPLES))
  line.uplink.push(new Int16Array(FRAME_SAMPLES))
  t.same(line.messagesMs, [20, 20])
})

t.test('no sample waits longer than its message may be, and none where the turn may end', async (t) => {
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

t.test('while the service takes nothing, messages that wait are whole ones', async (t) => {
  const line = far({ ...following, waitingMsMax: 720 })
  line.uplink.open()
  line.takes = false
  say(line, '####' + '.'.repeat(30))
  t.equal(line.uplink.droppedMs, 0, 'all 680 ms fit into the 720')
  line.takes = true
  t.same(say(line, '.'), [...new Array<number>(11).fill(60), 40])
})

t.test('a set length holds for all messages, and where the gateway marks the turns there is one', async (t) => {
  t.same(messageLength(40, turnEndAfter(500)), { messageMs: 40, turnEnd: null })
  t.same(messageLength(undefined, null), { messageMs: 60, turnEnd: null })
})

t.test('of the kept audio no more is sent than speech began ago', async (t) => {
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

import fc from 'fast-check'
import t from 'tap'
import { StereoTimeline } from '../../src/media/stereo-timeline.js'

const RATE = 16000
const FRAME = 320

/** Constant samples of one value, easily found again. */
const frame = (value: number, samples = FRAME) => new Int16Array(samples).fill(value)

function drain(timeline: StereoTimeline, nowMs: number): { left: Int16Array; right: Int16Array } {
  const rows: Int16Array[] = []
  for (let ready = timeline.rest(nowMs); ready > 0; ready = timeline.rest(nowMs)) {
    const out = new Int16Array(2 * Math.min(ready, RATE))
    timeline.take(out.length / 2, out)
    rows.push(out)
  }
  const all = Int16Array.from(rows.flatMap((row) => [...row]))
  return { left: all.filter((_, i) => i % 2 === 0), right: all.filter((_, i) => i % 2 === 1) }
}

/** First and last place of a value, in milliseconds. */
function spanMs(samples: Int16Array, value: number): [number, number] {
  return [samples.indexOf(value) / (RATE / 1000), (samples.lastIndexOf(value) + 1) / (RATE / 1000)]
}

t.test('both voices lie at the time at which they were heard', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 5000 })
  for (let i = 0; i < 50; i++) timeline.caller(frame(i === 25 ? 7 : 1), 5000 + (i + 1) * 20)
  timeline.agent(frame(9, 1600), 5400)
  const { left, right } = drain(timeline, 6000)
  t.equal(left.length, RATE)
  t.same(spanMs(left, 7), [500, 520])
  t.same(spanMs(right, 9), [400, 500])
  t.equal(timeline.callerDropped + timeline.callerFilled + timeline.agentDropped, 0)
})

t.test('audio that the carrier held back goes to where it belongs', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
  for (let i = 0; i < 200; i++) {
    // From 1 s to 2.5 s nothing comes, then all of it at once.
    const dueMs = (i + 1) * 20
    timeline.caller(frame(100 + i), dueMs > 1000 && dueMs <= 2500 ? 2500 : dueMs)
  }
  const { left } = drain(timeline, 4000)
  for (const i of [10, 60, 120, 180]) t.same(spanMs(left, 100 + i), [i * 20, (i + 1) * 20], `frame ${i}`)
  t.equal(timeline.callerFilled, 0)
})

t.test('audio that never came is silence, and what follows is in time again', async (t) => {
  for (const lostMs of [300, 3000]) {
    const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
    const rows: Int16Array[] = []
    for (let dueMs = 20; dueMs <= 8000; dueMs += 20) {
      if (dueMs <= 1000 || dueMs > 1000 + lostMs) timeline.caller(frame(dueMs / 20), dueMs)
      for (; timeline.ready(dueMs) > FRAME;) {
        const out = new Int16Array(2 * FRAME)
        timeline.take(FRAME, out)
        rows.push(out)
      }
    }
    const rest = new Int16Array(2 * timeline.rest(8000))
    timeline.take(rest.length / 2, rest)
    const left = Int16Array.from([...rows, rest].flatMap((row) => [...row])).filter((_, i) => i % 2 === 0)
    t.same(spanMs(left, 380), [7580, 7600], `${lostMs} ms lost`)
    t.equal(timeline.callerFilled, lostMs * 16)
    t.equal(left.length, 8 * RATE)
  }
})

t.test('speech that the carrier was told to throw away was not heard', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
  timeline.agent(frame(9, 3200), 1000)
  timeline.agentCut(1100)
  timeline.agent(frame(5, 320), 1160)
  const { right } = drain(timeline, 2000)
  t.same(spanMs(right, 9), [1000, 1100])
  t.same(spanMs(right, 5), [1160, 1180])
})

t.test('a sender that is too fast costs its own audio and nothing else', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
  for (let i = 0; i < 1000; i++) timeline.caller(frame(1), i * 10)
  timeline.agent(frame(9), 9000)
  t.ok(timeline.callerDropped > 0)
  t.equal(timeline.agentDropped, FRAME, 'rows that nobody took are not written over')
})

t.test("whatever comes in whatever order, time runs on at the leg's rate", async () => {
  const event = fc.record({
    afterMs: fc.integer({ min: 0, max: 400 }),
    samples: fc.integer({ min: 0, max: 8000 }),
    kind: fc.constantFrom('caller', 'agent', 'cut'),
    aheadMs: fc.integer({ min: -3000, max: 3000 }),
  })
  fc.assert(
    fc.property(fc.array(event, { maxLength: 80 }), (events) => {
      const timeline = new StereoTimeline({ sampleRateHz: 8000, zeroMs: 100 })
      let nowMs = 100
      let rows = 0
      const take = (count: number): void => {
        timeline.take(count, new Int16Array(2 * count))
        rows += count
      }
      for (const { afterMs, samples, kind, aheadMs } of events) {
        nowMs += afterMs
        if (kind === 'caller') timeline.caller(new Int16Array(samples), nowMs)
        else if (kind === 'agent') timeline.agent(new Int16Array(samples), nowMs + aheadMs)
        else timeline.agentCut(nowMs)
        take(timeline.ready(nowMs))
      }
      take(timeline.rest(nowMs))
      return rows === Math.round((nowMs - 100) * 8)
    }),
    { numRuns: 300 },
  )
})

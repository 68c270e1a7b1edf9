import fc from 'fast-check'
import t from 'tap'
import { CallMarks, CallTimeline } from '../../src/workers/call-timeline.js'
import type { TimelineMark } from '../../src/call/documents/record.js'

t.test('of any number of marks the first and the newest are kept, in order, and the rest counted', async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 4, max: 40 }), fc.integer({ min: 0, max: 200 }), (max, count) => {
      const timeline = new CallTimeline(1000, max)
      for (let i = 0; i < count; i++) timeline.mark(`m${i}`, 1000 + i)
      const names = timeline.marks.map((mark) => mark.name)
      const first = Math.min(count, Math.floor(max / 4))
      const expected = Array.from({ length: count }, (_, i) => `m${i}`)
      const kept = count <= max ? expected : [...expected.slice(0, first), ...expected.slice(count - (max - first))]
      if (JSON.stringify(names) !== JSON.stringify(kept)) throw new Error(`${names.join()} in place of ${kept.join()}`)
      if (timeline.dropped !== count - kept.length) throw new Error('miscounted')
    }),
  )
  t.pass('for 100 random timelines')
})

t.test('marks of worker and main thread stand in the order of their times, without phone numbers', async (t) => {
  const timeline = new CallTimeline(1000)
  timeline.mark('webhook', 1000)
  timeline.mark('socket', 1100)
  timeline.take([
    { name: 'stream-opened', atMs: 50 },
    { name: 'goodbye', atMs: 700, detail: 'said to +254700000001' },
  ])
  t.same(
    timeline.marks.map((mark) => mark.name),
    ['webhook', 'stream-opened', 'socket', 'goodbye'],
  )
  t.notMatch(JSON.stringify([timeline.marks, timeline.stops]), /254700000001/)
})

t.test('each silence of the agent says why, with its figures, and one kind does not push out another', async (t) => {
  const timeline = new CallTimeline(0)
  timeline.mark('caller-speech', 4)
  timeline.mark('tool-refused', 5, 'transfer_money: there is no such tool')
  for (let i = 0; i < 500; i++)
    timeline.mark('barge-in', 10 + i, `${200 + i} ms of voice, 200 needed; 900 ms of it heard`)
  timeline.mark(
    'ended',
    1000,
    'silence-limit: 8000 ms of quiet after 2 prompts; 1000 ms of stream, 3 of 4 turns answered',
  )
  const { stops } = timeline
  t.same(stops[0], { kind: 'refusal', atMs: 5, mark: 'tool-refused', why: 'transfer_money: there is no such tool' })
  t.equal(stops.filter((stop) => stop.kind === 'interruption').length, 50, 'bounded')
  t.match(stops.at(-2), { kind: 'interruption', why: /^699 ms/ }, 'the newest')
  t.match(stops.at(-1), { kind: 'hang-up', why: /8000 ms of quiet/ })
})

t.test(
  'marks reach the main thread a few times a second, all of them, and stalls only when they were heard',
  async (t) => {
    const messages: (readonly TimelineMark[])[] = []
    const marks = new CallMarks(1000, (batch) => messages.push(batch))
    const echo = { framesOfEcho: 0, echoDelayMs: null, echoGainDb: null, framesOfNoise: 0, noiseDbfs: -96 }
    const line = { stalls: 0, framesConcealed: 0, framesDropped: 0, ...echo }
    marks.pass(1000)
    marks.add('caller-speech', 1010)
    t.notOk(marks.due(1100))
    t.same(messages, [], 'they wait')
    t.ok(marks.due(1250))
    marks.watch({ ...line, stalls: 1 }, 0, 1250)
    marks.watch({ ...line, stalls: 2 }, 0, 1300)
    marks.watch({ ...echo, stalls: 3, framesConcealed: 2, framesDropped: 4 }, 160, 1350)
    marks.pass(1350)
    t.same(
      messages.flat().map(({ name, atMs }) => [name, atMs]),
      [
        ['caller-speech', 10],
        ['carrier-stall', 250],
        ['carrier-stall', 350],
        ['audio-dropped', 350],
        ['audio-dropped', 350],
      ],
    )
    t.match(messages.flat()[2]?.detail, /2 stalls.*2 frames made up/)
    for (let i = 0; i < 130; i++) marks.add('x', 2000)
    t.ok(messages.length >= 3, 'a flood is passed on before its time')
    t.equal(messages.slice(1).flat().length, 128)
  },
)

t.test(
  'sound that was taken for our own speech is marked with its delay and level, every five seconds at most',
  async (t) => {
    const all: TimelineMark[] = []
    const marks = new CallMarks(0, (batch) => all.push(...batch))
    const line = {
      stalls: 0,
      framesConcealed: 0,
      framesDropped: 0,
      framesOfEcho: 10,
      echoDelayMs: null,
      echoGainDb: null,
      framesOfNoise: 0,
      noiseDbfs: -96,
    }
    marks.watch({ ...line, framesOfEcho: 0 }, 0, 1000)
    marks.watch(line, 0, 2000)
    for (let nowMs = 2250; nowMs <= 7500; nowMs += 250)
      marks.watch({ ...line, framesOfEcho: 60, echoDelayMs: 132.5, echoGainDb: -18.4 }, 0, nowMs)
    marks.pass(8000)
    t.same(
      all.map(({ name, atMs, detail }) => [name, atMs, detail]),
      [
        ['echo', 2000, '200 ms of sound was taken for our own speech coming back: its delay is not known yet'],
        ['echo', 7000, '1000 ms of sound was taken for our own speech coming back: 133 ms late, -18 dB'],
      ],
    )
  },
)

t.test('sound without a voice is marked with its length and level, every five seconds at most', async (t) => {
  const all: TimelineMark[] = []
  const marks = new CallMarks(0, (batch) => all.push(...batch))
  const line = { stalls: 0, framesConcealed: 0, framesDropped: 0, framesOfEcho: 0, echoDelayMs: null, echoGainDb: null }
  marks.watch({ ...line, framesOfNoise: 0, noiseDbfs: -96 }, 0, 1000)
  for (let nowMs = 2000; nowMs <= 7500; nowMs += 250)
    marks.watch({ ...line, framesOfNoise: nowMs < 3000 ? 12 : 40, noiseDbfs: -31.6 }, 0, nowMs)
  marks.pass(8000)
  t.same(
    all.map(({ name, atMs, detail }) => [name, atMs, detail]),
    [
      ['noise', 2000, '240 ms of sound without a voice in it, -32 dBFS'],
      ['noise', 7000, '560 ms of sound without a voice in it, -32 dBFS'],
    ],
  )
})

import fc from 'fast-check'
import t from 'tap'
import { PLAYOUT_SEGMENTS_MAX, PlayoutLedger } from '../../src/call/turns/playout-ledger.js'
import { SPEECH_ITEMS_MAX } from '../../src/core/limits.js'

const report = (sentSamples: number, playoutEndMs: number, lastSentAtMs: number | null = 0) => ({
  sentSamples,
  playoutEndMs,
  lastSentAtMs,
})

t.test('the played duration excludes lead and hold-back', async (t) => {
  for (const [sampleRateHz, holdBackMs] of [
    [16000, 40],
    [8000, 80],
  ] as const) {
    const ledger = new PlayoutLedger({ sampleRateHz })
    ledger.appended('a', sampleRateHz)
    t.equal(ledger.pendingMs(), 1000)
    ledger.report(report(sampleRateHz / 2, 1600, 1500), 1500)
    t.equal(ledger.pendingMs(), 500)
    t.equal(ledger.playedMs('a', 1500), 400 - holdBackMs, `${sampleRateHz} Hz`)
    t.equal(ledger.playedMs('a', 1600 + holdBackMs), 500)
    t.equal(ledger.playedMs('a', 9999), 500, 'never more than was sent')
    t.equal(ledger.playedMs('other', 9999), 0)
    t.equal(ledger.lastSentAtMs(), 1500)
  }
})

t.test('trailing zeros do not lengthen the words', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  ledger.appended('a', 1600)
  ledger.finished('a')
  ledger.report(report(1600, 1100), 1000)
  ledger.report(report(1600, 1300), 1120)
  t.ok(ledger.audible(1120))
  t.notOk(ledger.audible(1140))
  t.same(
    ledger.poll(1140).map(({ type }) => type),
    ['item-started', 'item-heard'],
  )
})

t.test('`awaitsStart` is true while an item has not started', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  t.notOk(ledger.awaitsStart)
  ledger.appended('a', 320)
  t.ok(ledger.awaitsStart)
  ledger.report(report(320, 100, 10), 10)
  ledger.poll(10)
  t.notOk(ledger.awaitsStart, 'it was told')
  ledger.appended('a', 320)
  t.notOk(ledger.awaitsStart, 'more of it is no start')
  ledger.appended('b', 320)
  t.ok(ledger.awaitsStart)
  ledger.cleared(640, 20)
  t.notOk(ledger.awaitsStart, 'and will not begin any more')
})

t.test('items start when sent and end when heard, once each', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  t.same(ledger.poll(0), [])
  t.equal(ledger.currentItem(0), null)
  ledger.appended('a', 320)
  ledger.appended('b', 320)
  ledger.finished('a')
  t.same(ledger.poll(10), [], 'nothing sent')
  ledger.report(report(480, 130, 20), 20)
  t.same(ledger.poll(20), [
    { type: 'item-started', itemId: 'a', sentAtMs: 20 },
    { type: 'item-started', itemId: 'b', sentAtMs: 20 },
  ])
  t.equal(ledger.currentItem(20), 'a')
  t.same(ledger.poll(159), [])
  t.same(ledger.poll(160), [{ type: 'item-heard', itemId: 'a' }])
  t.same(ledger.poll(5000), [], 'b is not finished')
  t.equal(ledger.currentItem(5000), 'b')
  ledger.report(report(640, 5100, 5000), 5000)
  ledger.finished('b')
  t.same(ledger.poll(6000), [{ type: 'item-heard', itemId: 'b' }])
  t.same(ledger.poll(7000), [])
})

t.test('an item without samples counts as heard', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  ledger.finished('empty')
  t.same(ledger.poll(0), [{ type: 'item-heard', itemId: 'empty' }])
})

t.test('the parts of an interleaved item are added up', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  ledger.appended('a', 1600)
  ledger.appended('filler', 1600)
  ledger.appended('a', 1600)
  ledger.report(report(4800, 300), 0)
  t.equal(ledger.playedMs('a', 10_000), 200)
  t.equal(ledger.playedMs('filler', 10_000), 100)
})

t.test('a cleared item keeps its played duration without more events', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  ledger.appended('a', 16000)
  ledger.appended('b', 16000)
  ledger.report(report(8000, 600), 500)
  ledger.poll(500)
  ledger.cleared(20_000, 500)
  t.equal(ledger.playedMs('a', 9999), 360)
  t.equal(ledger.playedMs('b', 9999), 0)
  t.notOk(ledger.audible(500))
  t.equal(ledger.pendingMs(), 0)
  ledger.finished('a')
  ledger.finished('b')
  t.same(ledger.poll(9999), [])
  ledger.appended('c', 320)
  ledger.finished('c')
  ledger.report(report(20_320, 700, 600), 600)
  t.same(ledger.poll(600), [{ type: 'item-started', itemId: 'c', sentAtMs: 600 }])
  t.equal(ledger.playedMs('c', 740), 20)
})

t.test('sample counts may wrap at 2^32', async (t) => {
  const near = 2 ** 32 - 160
  const ledger = new PlayoutLedger({ sampleRateHz: 16000, startSample: near })
  ledger.report(report(near, 0, null), 0)
  ledger.appended('a', 320)
  ledger.report(report(160, 20, 5), 5)
  t.equal(ledger.pendingMs(), 0)
  t.equal(ledger.playedMs('a', 1000), 20)
  ledger.cleared(160, 1000)
  ledger.appended('b', 320)
  t.equal(ledger.pendingMs(), 20)
  ledger.report(report(480, 1020, 1000), 1000)
  t.equal(ledger.playedMs('b', 2000), 20)
})

t.test("a new ledger counts the previous worker's queued speech", async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000, startSample: 32_000 })
  ledger.report(report(16_000, 1100, 1000), 1000)
  t.equal(ledger.pendingMs(), 1000)
  t.ok(ledger.audible(1000))
  ledger.appended('new', 1600)
  ledger.report(report(32_000, 2100, 2000), 2000)
  t.same(ledger.poll(2000), [], "not the new one's")
  t.equal(ledger.playedMs('new', 2000), 0)
  ledger.report(report(33_600, 2200, 2100), 2100)
  t.match(ledger.poll(2100), [{ type: 'item-started', itemId: 'new' }])
})

t.test('silence in an item counts as played, not as sound', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  for (const [samples, sound] of [
    [3200, true],
    [1600, false],
    [3200, true],
  ] as const)
    ledger.appended('a', samples, sound)
  ledger.report({ sentSamples: 6400, playoutEndMs: 1400, lastSentAtMs: 1000 }, 1000)
  t.same([ledger.playedMs('a', 1340), ledger.soundMs('a', 1340)], [300, 200])
  t.same([ledger.playedMs('a', 1390), ledger.soundMs('a', 1390)], [350, 250])
  ledger.cleared(8000, 1390)
  t.same([ledger.playedMs('a', 5000), ledger.soundMs('a', 5000)], [350, 250], 'what was flushed is neither')
})

t.test('silences beyond the segment limit count as sound', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  for (let i = 0; i < PLAYOUT_SEGMENTS_MAX; i++) ledger.appended('a', 16, i % 2 === 0)
  ledger.finished('a')
  ledger.report({ sentSamples: PLAYOUT_SEGMENTS_MAX * 16, playoutEndMs: 1000, lastSentAtMs: 1000 }, 5000)
  t.equal(ledger.runsMerged, 0, 'room is left for other items')
  const half = PLAYOUT_SEGMENTS_MAX / 2
  t.same([ledger.playedMs('a', 5000), ledger.soundMs('a', 5000)], [2 * half, half / 2 + 1 + half])
})

t.test('the numbers of items and runs are bounded', async (t) => {
  const ledger = new PlayoutLedger({ sampleRateHz: 16000 })
  for (let i = 0; i < SPEECH_ITEMS_MAX + 10; i++) ledger.appended(`item-${i}`, 16)
  t.equal(ledger.itemsForgotten, 10)
  const alternating = new PlayoutLedger({ sampleRateHz: 16000 })
  for (let i = 0; i < PLAYOUT_SEGMENTS_MAX + 10; i++) alternating.appended(i % 2 === 0 ? 'a' : 'b', 16)
  t.equal(alternating.runsMerged, 5, 'those of the last run go with it')
  t.equal(alternating.pendingMs(), PLAYOUT_SEGMENTS_MAX + 10)
})

t.test('random input keeps played durations and item ends consistent', async () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant('append' as const),
      item: fc.integer({ min: 0, max: 5 }),
      samples: fc.integer({ min: 1, max: 2000 }),
    }),
    fc.record({
      do: fc.constant('send' as const),
      samples: fc.integer({ min: 0, max: 1600 }),
      ms: fc.integer({ min: 0, max: 100 }),
    }),
    fc.record({ do: fc.constant('clear' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }), (steps, startSample) => {
      const ledger = new PlayoutLedger({ sampleRateHz: 16000, startSample })
      let appended = startSample
      let sent = startSample
      let nowMs = 0
      let epoch = 0
      const samplesOf = new Map<string, number>()
      const heardBefore = new Map<string, number>()
      const ended = new Map<string, number>()
      const poll = () => {
        for (const input of ledger.poll(nowMs)) {
          if (input.type === 'item-heard') ended.set(input.itemId, (ended.get(input.itemId) ?? 0) + 1)
        }
      }
      for (const action of steps) {
        if (action.do === 'append') {
          const id = `${epoch}-${action.item}`
          samplesOf.set(id, (samplesOf.get(id) ?? 0) + action.samples)
          appended += action.samples
          ledger.appended(id, action.samples)
        } else if (action.do === 'send') {
          nowMs += action.ms
          sent = Math.min(appended, sent + action.samples)
          ledger.report(report(sent >>> 0, nowMs + 100, nowMs), nowMs)
        } else {
          sent = appended
          epoch++
          ledger.cleared(appended >>> 0, nowMs)
        }
        poll()
        for (const [id, samples] of samplesOf) {
          const playedMs = ledger.playedMs(id, nowMs)
          if (playedMs < (heardBefore.get(id) ?? 0)) throw new Error(`${id} was un-heard`)
          if (playedMs > samples / 16) throw new Error(`${id} heard ${playedMs} of ${samples / 16}`)
          heardBefore.set(id, playedMs)
        }
      }
      for (const id of samplesOf.keys()) if (id.startsWith(`${epoch}-`)) ledger.finished(id)
      nowMs += 10_000
      ledger.report(report(appended >>> 0, nowMs, nowMs), nowMs)
      nowMs += 1000
      poll()
      if (ledger.audible(nowMs) || ledger.pendingMs() !== 0) throw new Error('still audible')
      for (const id of samplesOf.keys()) {
        const want = id.startsWith(`${epoch}-`) ? 1 : 0
        if ((ended.get(id) ?? 0) !== want) throw new Error(`${id} ended ${ended.get(id) ?? 0} times, wanted ${want}`)
      }
    }),
    { numRuns: 300 },
  )
})

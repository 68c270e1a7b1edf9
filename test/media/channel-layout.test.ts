import fc from 'fast-check'
import t from 'tap'
import type { LegRateHz } from '../../src/core/units.js'
import { ChannelLayout, Reframer, type ForkedTrack } from '../../src/media/reframer.js'
import { StereoTimeline } from '../../src/media/stereo-timeline.js'
import { arrivals, type LineConditions } from '../support/netem.js'

interface Watched {
  layout: ChannelLayout
  decidedAfterMs: number | null
  decidedAfterAudioMs: number | null
}

/** Sends `ms` of a stream with `channels` channels; packets that arrive together are one. */
function watch(
  track: ForkedTrack,
  sampleRateHz: LegRateHz,
  channels: 1 | 2,
  ms: number,
  line: Omit<LineConditions, 'seed'> & { seed?: number },
  backlogMs = 0,
): Watched {
  const layout = new ChannelLayout({ sampleRateHz, track })
  const frameBytes = (sampleRateHz / 50) * 2 * channels
  const times = arrivals(ms / 20, { seed: 1, ...line })
  const first = times[0] as number
  let decidedAfterMs: number | null = null
  let decidedAfterAudioMs: number | null = null
  if (backlogMs > 0) layout.observe((backlogMs / 20) * frameBytes, first)
  for (let i = 0; i < times.length;) {
    let frames = 1
    while (times[i + frames] === times[i]) frames++
    layout.observe(frames * frameBytes, times[i] as number)
    i += frames
    if (decidedAfterMs === null && layout.channels !== 0) {
      decidedAfterMs = (times[i - 1] as number) - first
      decidedAfterAudioMs = i * 20
    }
  }
  return { layout, decidedAfterMs, decidedAfterAudioMs }
}

for (const rate of [8000, 16000] as const) {
  for (const channels of [1, 2] as const) {
    const kind = channels === 1 ? 'mono' : 'stereo'

    t.test(`both_tracks at ${rate} Hz is detected as ${kind}`, (t) => {
      const lines: Record<string, Omit<LineConditions, 'seed'>> = {
        'a clean line': {},
        jitter: { jitterMs: 15 },
        'bursts of 60 ms': { burstFrames: 3 },
        'bursts of 100 ms': { burstFrames: 5 },
        'a stall of 150 ms': { stalls: [{ atMs: 90, ms: 150 }] },
        'a stall of 300 ms': { stalls: [{ atMs: 60, ms: 300 }] },
        'a slow clock': { driftPpm: 1000, jitterMs: 3 },
      }
      for (const [name, line] of Object.entries(lines)) {
        const seen = watch('both_tracks', rate, channels, 8000, line)
        t.equal(seen.layout.channels, channels, name)
        t.equal(seen.layout.corrections, 0, `${name}: right at the first time`)
        t.ok((seen.decidedAfterAudioMs ?? Infinity) <= 420, `${name}: after ${seen.decidedAfterAudioMs} ms of audio`)
      }
      t.end()
    })

    t.test(`delayed both_tracks at ${rate} Hz is detected as ${kind}`, (t) => {
      t.equal(watch('both_tracks', rate, channels, 10_000, {}, 300).layout.channels, channels)
      t.equal(watch('both_tracks', rate, channels, 10_000, { jitterMs: 10 }, 1900).layout.channels, channels)
      t.end()
    })
  }

  t.test(`inbound_track at ${rate} Hz stays mono despite stalls and bursts`, (t) => {
    const layout = new ChannelLayout({ sampleRateHz: rate, track: 'inbound_track' })
    t.equal(layout.channels, 1)
    for (let seed = 1; seed <= 10; seed++) {
      const stalls = Array.from({ length: 6 }, (_, i) => ({ atMs: 1000 + i * 2600 + seed * 37, ms: 1950 }))
      const seen = watch('inbound_track', rate, 1, 30_000, { seed, jitterMs: 20, stalls })
      t.equal(seen.layout.channels, 1, `seed ${seed}`)
    }
    t.equal(
      watch('inbound_track', rate, 1, 3_600_000, { driftPpm: -300 }).layout.corrections,
      0,
      'an hour with a fast clock',
    )
    t.end()
  })

  t.test(`inbound_track at ${rate} Hz: unexpected stereo is detected`, (t) => {
    const seen = watch('inbound_track', rate, 2, 4000, { jitterMs: 10 })
    t.equal(seen.layout.channels, 2)
    t.equal(seen.layout.corrections, 1)
    t.end()
  })
}

t.test('frames that come too fast are mono by their size', (t) => {
  // The carrier sends 1.5 s that it held back in small pieces, which has the rate of stereo.
  const layout = new ChannelLayout({ sampleRateHz: 16000, track: 'both_tracks' })
  let nowMs = 0
  for (let i = 0; i < 100; i++) layout.observe(640, (nowMs += 10))
  for (let i = 0; i < 450; i++) layout.observe(640, (nowMs += 20))
  t.equal(layout.channels, 1)
  t.equal(layout.corrections, 0)
  t.end()
})

t.test('a wrong first guess is corrected', (t) => {
  // Packets of two mono frames have the size of a stereo frame.
  const layout = new ChannelLayout({ sampleRateHz: 16000, track: 'both_tracks' })
  let nowMs = 0
  for (let i = 0; i < 50; i++) layout.observe(1280, (nowMs += 20))
  t.equal(layout.channels, 2)
  for (let i = 0; i < 100; i++) layout.observe(1280, (nowMs += 40))
  t.equal(layout.channels, 1)
  t.equal(layout.corrections, 1)
  t.end()
})

/**
 * Sends ten minutes of numbered frames, and counts the frames of the first channel that do not come out as they were
 * sent. Audio before the first decision waits, as in a call. All samples of a frame are its number, and the second
 * channel is silent, so that a frame of mixed channels is found by its ends.
 */
function wrongFramesOf(
  track: ForkedTrack,
  channels: 1 | 2,
  packetFrames: number,
  line: Omit<LineConditions, 'seed'>,
): { readonly wrong: number; readonly missing: number; readonly corrections: number } {
  const layout = new ChannelLayout({ sampleRateHz: 8000, track })
  const reframer = new Reframer({ sampleRateHz: 8000, channels: 1 })
  const [left, right] = [new Int16Array(160), new Int16Array(160)]
  const held: Uint8Array[] = []
  let [sent, got, wrong] = [0, 0, 0]
  const take = (bytes: Uint8Array): void => {
    reframer.push(bytes)
    while (reframer.next(left, right)) {
      const expected = ++got & 0x7fff
      if (left[0] !== expected || left[159] !== expected) wrong++
    }
  }
  const samples = new Int16Array(packetFrames * 160 * channels)
  const times = arrivals(30_000 / packetFrames, { seed: 7, frameMs: 20 * packetFrames, jitterMs: 5, ...line })
  for (const atMs of times) {
    for (let frame = 0; frame < packetFrames; frame++) {
      const number = ++sent & 0x7fff
      const end = (frame + 1) * 160 * channels
      for (let at = frame * 160 * channels; at < end; at += channels) samples[at] = number
    }
    const bytes = new Uint8Array(samples.buffer)
    layout.observe(bytes.length, atMs)
    if (layout.channels === 0) {
      held.push(bytes.slice())
      continue
    }
    if (layout.channels !== reframer.channels) reframer.setChannels(layout.channels)
    for (const each of held.splice(0)) take(each)
    take(bytes)
  }
  return { wrong, missing: sent - got, corrections: layout.corrections }
}

t.test('clocks and stalls change no frame of any track', (t) => {
  const stallsOf = (ms: number): NonNullable<LineConditions['stalls']> =>
    ms === 0 ? [] : Array.from({ length: 12 }, (_, i) => ({ atMs: 300 + i * 47_000, ms }))
  for (const [track, channels] of [
    ['inbound_track', 1],
    ['both_tracks', 1],
    ['both_tracks', 2],
  ] as const)
    for (const packetFrames of [1, 2, 3])
      for (const driftPpm of [-30_000, -5000, 0, 5000, 30_000])
        for (const stallMs of [0, 1000, 2300, 4000, 8000]) {
          const line = { driftPpm, stalls: stallsOf(stallMs) }
          t.same(
            wrongFramesOf(track, channels, packetFrames, line),
            { wrong: 0, missing: 0, corrections: 0 },
            `${track} with ${channels} channels, ${packetFrames} frames a packet, ${driftPpm} ppm, stalls of ${stallMs} ms`,
          )
        }
  t.end()
})

t.test('empty packets do not decide the layout', (t) => {
  const layout = new ChannelLayout({ sampleRateHz: 16000, track: 'both_tracks' })
  for (let i = 0; i < 100; i++) layout.observe(0, i * 20)
  t.equal(layout.channels, 0)
  t.end()
})

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

t.test('both voices are recorded at the time they were heard', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 5000 })
  for (let i = 0; i < 50; i++) timeline.caller(frame(i === 25 ? 7 : 1), 5000 + (i + 1) * 20)
  timeline.agent(frame(9, 1600), 5400)
  const { left, right } = drain(timeline, 6000)
  t.equal(left.length, RATE)
  t.same(spanMs(left, 7), [500, 520])
  t.same(spanMs(right, 9), [400, 500])
  t.equal(timeline.callerDropped + timeline.callerFilled + timeline.agentDropped, 0)
})

t.test('delayed audio is recorded at its original time', async (t) => {
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

t.test('lost audio becomes silence and later audio stays in time', async (t) => {
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

t.test('cleared agent speech is not recorded', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
  timeline.agent(frame(9, 3200), 1000)
  timeline.agentCut(1100)
  timeline.agent(frame(5, 320), 1160)
  const { right } = drain(timeline, 2000)
  t.same(spanMs(right, 9), [1000, 1100])
  t.same(spanMs(right, 5), [1160, 1180])
})

t.test('a too fast sender loses only its own audio', async (t) => {
  const timeline = new StereoTimeline({ sampleRateHz: RATE, zeroMs: 0 })
  for (let i = 0; i < 1000; i++) timeline.caller(frame(1), i * 10)
  timeline.agent(frame(9), 9000)
  t.ok(timeline.callerDropped > 0)
  t.equal(timeline.agentDropped, FRAME, 'unread rows are not overwritten')
})

t.test("the timeline's length equals elapsed time for any input order", async () => {
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

import t from 'tap'
import type { LegRateHz } from '../../src/core/units.js'
import { ChannelLayout, type ForkedTrack } from '../../src/media/reframer.js'
import { arrivals, type LineConditions } from '../support/netem.js'

interface Watched {
  layout: ChannelLayout
  decidedAfterMs: number | null
  decidedAfterAudioMs: number | null
}

/** Sends `ms` of a stream with so many channels; packets that arrive together are one. */
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

    t.test(`both_tracks at ${rate} Hz in ${kind} is known within 400 ms of audio`, (t) => {
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

    t.test(`both_tracks at ${rate} Hz in ${kind}: what was held back before the first packet does not mislead`, (t) => {
      t.equal(watch('both_tracks', rate, channels, 10_000, {}, 300).layout.channels, channels)
      t.equal(watch('both_tracks', rate, channels, 10_000, { jitterMs: 10 }, 1900).layout.channels, channels)
      t.end()
    })
  }

  t.test(`inbound_track at ${rate} Hz is mono at once, and stalls and bursts of 2 s do not change that`, (t) => {
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

  t.test(`inbound_track at ${rate} Hz: a stream that is stereo all the same is noticed`, (t) => {
    const seen = watch('inbound_track', rate, 2, 4000, { jitterMs: 10 })
    t.equal(seen.layout.channels, 2)
    t.equal(seen.layout.corrections, 1)
    t.end()
  })
}

t.test('a wrong first guess is put right', (t) => {
  // Mono, but the carrier lets out 1.5 s that it held back in small pieces: that looks like stereo.
  const layout = new ChannelLayout({ sampleRateHz: 16000, track: 'both_tracks' })
  let nowMs = 0
  for (let i = 0; i < 100; i++) layout.observe(640, (nowMs += 10))
  t.equal(layout.channels, 2)
  for (let i = 0; i < 450; i++) layout.observe(640, (nowMs += 20))
  t.equal(layout.channels, 1)
  t.equal(layout.corrections, 1)
  t.end()
})

t.test('empty packets say nothing', (t) => {
  const layout = new ChannelLayout({ sampleRateHz: 16000, track: 'both_tracks' })
  for (let i = 0; i < 100; i++) layout.observe(0, i * 20)
  t.equal(layout.channels, 0)
  t.end()
})

import t from 'tap'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { PitchTracker } from '../../src/media/pitch.js'
import { framesOf, mix, pinkNoise, whiteNoise } from '../support/tones.js'

/** A voice: harmonics up to 4 kHz whose fundamental goes from one pitch to another, through a telephone's highpass. */
function voice(rateHz: LegRateHz, fromHz: number, toHz: number, ms: number, lowestHz = 0): Int16Array {
  const count = (rateHz * ms) / 1000
  let cycles = 0
  return Int16Array.from({ length: count }, (_, i) => {
    const hz = fromHz + ((toHz - fromHz) * i) / count
    cycles += hz / rateHz
    let sum = 0
    for (let harmonic = 1; harmonic * hz < 3400; harmonic++)
      if (harmonic * hz > lowestHz) sum += Math.cos(2 * Math.PI * harmonic * cycles) / harmonic
    return 3000 * sum
  })
}

function pitches(samples: Int16Array, sampleRateHz: LegRateHz): number[] {
  const tracker = new PitchTracker({ sampleRateHz })
  return framesOf(samples, frameSamples(sampleRateHz))
    .map((frame) => {
      tracker.take(frame)
      return tracker.pitchHz()
    })
    .slice(3)
}

for (const rateHz of [8000, 16_000] as const) {
  t.test(`the pitch of men, women and children is found within 3 % at ${rateHz} Hz`, async (t) => {
    for (const hz of [85, 110, 150, 210, 300]) {
      const found = pitches(voice(rateHz, hz, hz, 400), rateHz)
      t.ok(
        found.every((one) => Math.abs(one / hz - 1) < 0.03),
        `${hz} Hz: ${found.map(Math.round).join(' ')}`,
      )
    }
  })
}

t.test('a telephone without the fundamental has the pitch still', async (t) => {
  const found = pitches(voice(8000, 120, 120, 400, 300), 8000)
  t.ok(
    found.filter((one) => Math.abs(one / 120 - 1) < 0.05).length > 0.8 * found.length,
    found.map(Math.round).join(' '),
  )
})

t.test('a falling voice falls', async (t) => {
  const found = pitches(voice(8000, 220, 110, 600), 8000)
  t.ok((found[0] ?? 0) > 190 && (found.at(-1) ?? 999) < 130)
  t.ok(found.every((hz, i) => i === 0 || hz < (found[i - 1] ?? 0) * 1.02))
})

t.test('noise and silence have no pitch, and a voice in noise keeps its own', async (t) => {
  t.ok(pitches(new Int16Array(8000), 8000).every((hz) => hz === 0))
  const noise = pitches(whiteNoise({ sampleRateHz: 8000, ms: 4000, amplitude: 3000 }, 3), 8000)
  t.ok(
    noise.filter((hz) => hz > 0).length < 0.1 * noise.length,
    `${noise.filter((hz) => hz > 0).length} of ${noise.length}`,
  )
  const both = mix(voice(8000, 140, 140, 1000), pinkNoise({ sampleRateHz: 8000, ms: 1000, amplitude: 1000 }, 5))
  const found = pitches(both, 8000)
  t.ok(found.filter((hz) => Math.abs(hz / 140 - 1) < 0.05).length > 0.9 * found.length)
})

import t from 'tap'
import { dbToGain, noiseBed, PhoneLine, rmsOf, SPEECH_LEVEL_DBFS } from '../../src/simulator/line.js'
import { seededRandom } from '../../src/simulator/random.js'

const RATE_HZ = 8000
const FRAME = RATE_HZ / 50

function voice(seed: number): Int16Array {
  const random = seededRandom(seed)
  return Int16Array.from({ length: RATE_HZ }, (_, i) =>
    Math.round(3000 * Math.sin((2 * Math.PI * 150 * i) / RATE_HZ) * random()),
  )
}

/** Not `t.same`: it would write a difference of 64,000 numbers. */
function sameSamples(a: Float32Array, b: Float32Array): boolean {
  return a.length === b.length && a.every((sample, i) => sample === b[i])
}

t.test('noise around the caller is as far below the voice as was asked', (t) => {
  for (const kind of ['street', 'babble'] as const) {
    const bed = noiseBed(kind, RATE_HZ, 3, [voice(1), voice(2)])
    const line = new PhoneLine({ sampleRateHz: RATE_HZ, snrDb: 12, noise: kind, noiseBed: bed })
    const heard = new Int16Array(bed.length)
    for (let at = 0; at + FRAME <= heard.length; at += FRAME) line.up(heard.subarray(at, at + FRAME))
    const levelDb = 20 * Math.log10(rmsOf(heard) / 32_768)
    t.ok(Math.abs(levelDb - (SPEECH_LEVEL_DBFS - 12)) < 1, `${kind}: ${levelDb.toFixed(1)} dBFS`)
    t.ok(sameSamples(noiseBed(kind, RATE_HZ, 3, [voice(1), voice(2)]), bed), 'the same seed is the same noise')
    t.notOk(sameSamples(noiseBed(kind, RATE_HZ, 4, [voice(1), voice(2)]), bed), 'another seed is another')
  }
  t.end()
})

t.test('street noise moves: it is louder when something passes', (t) => {
  const bed = noiseBed('street', RATE_HZ, 1, [])
  const seconds = Array.from({ length: 8 }, (_, s) =>
    Math.sqrt(bed.subarray(s * RATE_HZ, (s + 1) * RATE_HZ).reduce((sum, x) => sum + x * x, 0) / RATE_HZ),
  )
  t.ok(Math.max(...seconds) / Math.min(...seconds) > 1.2, seconds.map((rms) => rms.toFixed(2)).join(' '))
  t.end()
})

t.test('as many frames are lost as was asked, in bursts, and the same ones for the same seed', (t) => {
  const lost = (seed: number): boolean[] => {
    const line = new PhoneLine({ sampleRateHz: RATE_HZ, seed, loss: { share: 0.1, burstFrames: 3 } })
    return Array.from({ length: 20_000 }, () => {
      const frame = new Int16Array(FRAME).fill(Math.round(32_768 * dbToGain(-20)))
      line.up(frame)
      return frame.every((sample) => sample === 0)
    })
  }
  const first = lost(5)
  const share = first.filter(Boolean).length / first.length
  const bursts = first.filter((gone, i) => gone && first[i - 1] !== true).length
  t.ok(Math.abs(share - 0.1) < 0.015, `${(100 * share).toFixed(1)} % lost`)
  t.ok(Math.abs((share * first.length) / bursts - 3) < 0.5, 'three frames in a row on average')
  t.equal(lost(5).join(), first.join())
  t.not(lost(6).join(), first.join())
  t.end()
})

t.test('a line without losses loses nothing', (t) => {
  const line = new PhoneLine({ sampleRateHz: RATE_HZ })
  for (let i = 0; i < 500; i++) {
    const frame = new Int16Array(FRAME).fill(4000)
    line.up(frame)
    line.down(frame)
    if (frame.some((sample) => sample === 0)) t.fail('a frame is gone')
  }
  t.end()
})

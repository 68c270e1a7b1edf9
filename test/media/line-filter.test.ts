import t from 'tap'
import { CallerPath } from '../../src/media/caller-path.js'
import { LEVEL_DBFS_MIN, bytesOfSamples, levelDbfs } from '../../src/media/pcm.js'
import { LineLevel } from '../../src/media/vad/line-filter.js'
import { overFaultyLine } from '../../bench/vad/quality.js'
import { loadVads } from '../support/media-modules.js'
import { concatenate, framesOf, silence, speechLike, tone } from '../support/tones.js'

const vadBank = await loadVads()

for (const rate of [8000, 16_000] as const) {
  const shape = { sampleRateHz: rate, ms: 1000, amplitude: 6000 }
  const levelsOf = (samples: Int16Array): number[] => {
    const level = new LineLevel()
    return framesOf(samples, rate / 50).map((frame) => level.take(frame))
  }

  /** Of a line with an offset beside the sound. */
  const filteredLevelsOf = (samples: Int16Array): number[] => levelsOf(samples.map((v) => v + 20_000))

  t.test(`${rate} Hz: a clean line's level equals the frame's`, (t) => {
    const line = concatenate(
      speechLike({ ...shape, ms: 5000 }, 4),
      silence(rate, 400),
      tone([440], shape),
      tone([110], shape),
    )
    const frames = framesOf(line, rate / 50)
    t.same(
      levelsOf(line),
      frames.map((frame) => levelDbfs(frame)),
    )
    t.end()
  })

  t.test(`${rate} Hz: a temporary offset is filtered within a second`, (t) => {
    const speech = speechLike({ ...shape, ms: 3000 }, 5)
    const level = new LineLevel()
    const faults = framesOf(
      concatenate(
        speech,
        speech.map((v) => v + 3000),
        speech,
        speech,
      ),
      rate / 50,
    ).map((frame) => {
      level.take(frame)
      return level.isFaulty
    })
    t.equal(faults.indexOf(true), 199)
    t.ok(faults.slice(200, 300).every(Boolean))
    t.equal(faults[349], false)
    t.ok(faults.slice(350).every((faulty) => !faulty))
    t.end()
  })

  t.test(`${rate} Hz: an offset has no level`, (t) => {
    for (const offset of [8000, -8000, 32_767])
      for (const level of levelsOf(new Int16Array(rate).fill(offset)))
        if (level > -90) t.fail(`${offset}: ${level} dBFS`)
    t.pass()
    t.end()
  })

  t.test(`${rate} Hz: mains hum is attenuated by 24 dB`, (t) => {
    for (const hz of [50, 60]) {
      const hum = tone([hz], shape)
      const loudest = Math.max(...levelsOf(hum).slice(5))
      t.ok(loudest < levelDbfs(hum) - 24, `${hz} Hz: ${loudest.toFixed(1)} of ${levelDbfs(hum).toFixed(1)} dBFS`)
    }
    t.end()
  })

  t.test(`${rate} Hz: tones in the telephone band keep their level`, (t) => {
    for (const hz of [300, 440, 1000, 3000]) {
      const levels = filteredLevelsOf(tone([hz], shape)).slice(5)
      const off = Math.max(
        ...levels.map((level, i) =>
          Math.abs(level - levelDbfs(framesOf(tone([hz], shape), rate / 50)[i + 5] as Int16Array)),
        ),
      )
      t.ok(off < 0.5, `${hz} Hz: ${off.toFixed(2)} dB`)
    }
    t.end()
  })

  t.test(`${rate} Hz: silence after sound reaches the minimum level`, (t) => {
    const levels = levelsOf(concatenate(tone([120], { ...shape, amplitude: 30_000 }), silence(rate, 10_000)))
    t.equal(levels.at(-1), LEVEL_DBFS_MIN)
    t.ok(levels.every(Number.isFinite))
    t.end()
  })

  t.test(`${rate} Hz: line faults change neither frames nor keys`, (t) => {
    const keys = concatenate(
      ...[1336, 1477].flatMap((hz) => [
        tone([770, hz], { sampleRateHz: rate, ms: 120, amplitude: 9000 }),
        silence(rate, 200),
      ]),
    )
    const line = concatenate(speechLike({ ...shape, ms: 2000 }, 3), silence(rate, 400), keys)
    const heard = (samples: Int16Array) => {
      const path = new CallerPath({ sampleRateHz: rate, track: 'inbound_track', vadBank })
      const got = framesOf(samples, rate / 50).map((frame, i) => {
        path.push(bytesOfSamples(frame.slice()), (i + 1) * 20)
        path.pull((i + 1) * 20)
        return {
          same: path.frame.every((sample, at) => sample === frame[at]),
          digit: path.digit,
          level: path.levelDbfs,
        }
      })
      path.release()
      return got
    }
    const clean = heard(line)
    t.same(
      clean.flatMap(({ digit }) => digit ?? []),
      ['5', '6'],
    )
    // The harmonics of the hum from 150 Hz on stay, as in a telephone's band.
    for (const [fault, offDb] of [
      ['offset 8000', 1],
      ['hum 50 Hz', 4],
    ] as const) {
      const bad = heard(overFaultyLine(line, rate, fault))
      t.ok(
        bad.every(({ same }) => same),
        'the model gets the line as it came',
      )
      const off = bad.slice(55, 100).map(({ level }, i) => Math.abs(level - (clean[i + 55]?.level ?? NaN)))
      const median = off.toSorted((a, b) => a - b)[22] as number
      t.ok(median < offDb, `${fault}: its level is ${median.toFixed(2)} dB off`)
    }
    t.end()
  })
}

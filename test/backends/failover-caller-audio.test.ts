import fc from 'fast-check'
import t from 'tap'
import { CallerAudio } from '../../src/backends/failover/caller-audio.js'
import { decodeALaw } from '../../src/media/pcm.js'

const A_LAW = new Int16Array(256)
decodeALaw(
  Uint8Array.from({ length: 256 }, (_, i) => i),
  A_LAW,
)
/** Sample number `i` of a caller, whose line was A-law before. */
const sampleAt = (i: number): number => A_LAW[(i * 31 + (i >> 8)) % 256] as number

function push(history: CallerAudio, samples: number): void {
  history.push(Int16Array.from({ length: samples }, (_, i) => sampleAt(history.written + i)))
}

t.test('kept audio is read back unchanged from any position', async () => {
  const step = fc.oneof(
    fc.record({ push: fc.integer({ min: 1, max: 9000 }) }),
    fc.record({ forget: fc.integer({ min: -2000, max: 12_000 }) }),
  )
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 3000 }),
      fc.constantFrom(8000, 16_000),
      (steps, readSamples, rateHz) => {
        const history = new CallerAudio(rateHz, 2000)
        let forgotten = 0
        for (const one of steps) {
          if ('push' in one) push(history, one.push)
          else {
            history.forget(history.written - one.forget)
            forgotten = Math.max(forgotten, Math.min(history.written, history.written - one.forget))
          }
          if (history.oldest < forgotten) throw new Error('forgotten samples can be read')
          const bytesPerMs = rateHz === 8000 ? 8 : 32
          if (history.bytes > (2000 + 100) * bytesPerMs) throw new Error(`${history.bytes} bytes`)
          const out = new Int16Array(readSamples)
          let at = history.oldest
          for (;;) {
            const samples = history.read(at, out)
            for (let i = 0; i < samples; i++) if (out[i] !== sampleAt(at + i)) throw new Error(`sample ${at + i}`)
            at += samples
            if (samples < out.length) break
          }
          if (at !== history.written) throw new Error(`read to ${at} of ${history.written}`)
        }
        history.release()
      },
    ),
  )
})

t.test('two seconds are kept, and older samples are dropped and counted', async (t) => {
  const history = new CallerAudio(16_000, 2000)
  for (let i = 0; i < 250; i++) push(history, 320)
  t.equal(history.written - history.oldest, 2100 * 16, 'in whole chunks')
  t.equal(history.samplesLost, history.oldest)
})

t.test('memory is held only for kept audio, and released at the end', async (t) => {
  const history = new CallerAudio(16_000, 10_000)
  t.equal(history.bytes, 0)
  for (let i = 0; i < 1000; i++) {
    push(history, 320)
    history.forget(history.written - 8000)
  }
  t.equal(history.bytes, 8000 * 2)
  t.equal(history.samplesLost, 0)
  history.release()
  t.equal(history.bytes, 0)
  t.equal(history.read(history.oldest, new Int16Array(10)), 0)
})

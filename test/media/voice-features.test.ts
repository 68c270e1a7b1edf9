import t from 'tap'
import {
  FIRST_NUMBERS,
  JsVoiceKernel,
  LAGS,
  LAG_MIN,
  MEMORY_INPUTS,
  MEMORY_UNITS,
  SECOND_NUMBERS,
  VoiceFeatures,
} from '../../bench/vad/voice-features.js'
import { loadVoiceModels } from '../../src/workers/media-assets.js'
import { framesOf, mix, pinkNoise, silence, speechLike, tone } from '../support/tones.js'

const models = await loadVoiceModels()

t.test('the models are as long as the kernel reads them', (t) => {
  t.equal(models.first.length, FIRST_NUMBERS)
  t.equal(models.second.length, SECOND_NUMBERS)
  t.ok([...models.first, ...models.second].every(Number.isFinite))
  t.end()
})

t.test('silence has no pitch, a hum has its own', (t) => {
  const kernel = new JsVoiceKernel(models)
  kernel.history.fill(0)
  kernel.correlate()
  t.same(Array.from(kernel.correlation), new Array(LAGS).fill(0))
  // 125 Hz and its second harmonic at 2 kHz: 16 samples.
  kernel.history.forEach(
    (_, i) => (kernel.history[i] = 900 * Math.sin((2 * Math.PI * i) / 16) + 700 * Math.sin((2 * Math.PI * i) / 8 + 1)),
  )
  kernel.correlate()
  const best = kernel.correlation.indexOf(Math.max(...kernel.correlation))
  t.equal(LAG_MIN + LAGS - 1 - best, 16)
  t.ok((kernel.correlation[best] as number) > 0.98)
  t.end()
})

t.test('what is known of a frame stays a number, whatever comes', (t) => {
  for (const sampleRateHz of [8000, 16000] as const) {
    const kernel = new JsVoiceKernel(models)
    const features = new VoiceFeatures({ sampleRateHz, kernel })
    const memory = new Float32Array(MEMORY_UNITS)
    const shape = { sampleRateHz, ms: 2000, amplitude: 30_000 }
    const clipped = speechLike(shape, 1).map((v) => Math.max(-32_768, Math.min(32_767, 20 * v)))
    const constant = new Int16Array(sampleRateHz).fill(-32_768)
    let least = Infinity
    let most = -Infinity
    for (const part of [
      silence(sampleRateHz, 5000),
      clipped,
      constant,
      tone([200], shape),
      silence(sampleRateHz, 100),
      mix(pinkNoise(shape, 1), clipped),
    ]) {
      for (const frame of framesOf(part, sampleRateHz / 50)) {
        features.take(frame)
        if (!Number.isFinite(kernel.secondOdds(kernel.odds(), memory))) t.fail('no number')
        for (let i = 0; i < MEMORY_INPUTS; i++) {
          least = Math.min(least, kernel.inputs[i] as number)
          most = Math.max(most, kernel.inputs[i] as number)
        }
      }
    }
    t.ok(least > -12 && most < 12, `${least.toFixed(1)} to ${most.toFixed(1)}`)
  }
  t.end()
})

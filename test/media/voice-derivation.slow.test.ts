import t from 'tap'
import { fit, lossOf } from '../../bench/vad/fit.js'
import { modelSource, rounded, trainingExamples, type TrainingOptions } from '../../bench/vad/training.js'
import { INPUTS, JsVoiceKernel, MODEL_NUMBERS, UNITS } from '../../src/media/vad/voice-features.js'
import { VOICE_MODEL } from '../../src/media/vad/voice-model.js'

// The whole derivation takes minutes: `node dist/bench/vad/train.js --check`. This is the same in small.
t.setTimeout(120_000)

const SMALL: TrainingOptions = { utterances: 6, soundMs: 1500, ratesHz: [8000], noises: ['pink'] }
const examples = await trainingExamples(SMALL)
const frames = examples.speech.length

/** Reads the numbers as the TypeScript twin does; caller-kernel.test.ts compares it with the kernel of the calls. */
const detectorOf = (model: ArrayLike<number>) => {
  const kernel = new JsVoiceKernel(model)
  return (inputs: Float32Array): number => {
    kernel.inputs.set(inputs)
    return kernel.odds()
  }
}
const lossAfter = (epochs: number): number => lossOf(examples, detectorOf(fit(examples, { epochs, seed: 1 })))

t.test('the same material comes out each time, of voices and of what is none', async (t) => {
  const again = await trainingExamples(SMALL)
  t.ok(frames > 2000, `${frames} frames`)
  t.ok(Buffer.from(examples.inputs.buffer).equals(Buffer.from(again.inputs.buffer)))
  t.same(again.speech, examples.speech)
  t.same(again.weights, examples.weights)
  const spoken = examples.speech.reduce((sum, one) => sum + one, 0) / frames
  t.ok(spoken > 0.2 && spoken < 0.8, `${(100 * spoken).toFixed(0)} % of it speech`)
  t.ok(examples.weights.every((weight) => weight > 0))
  t.end()
})

t.test('the same numbers are fitted to it each time, others from another seed', (t) => {
  const model = fit(examples, { epochs: 3, seed: 1 })
  t.equal(model.length, MODEL_NUMBERS)
  t.ok(model.every(Number.isFinite))
  t.same(fit(examples, { epochs: 3, seed: 1 }), model)
  t.not(fit(examples, { epochs: 3, seed: 2 })[UNITS], model[UNITS])
  t.end()
})

t.test('what is fitted is what the kernel reads: its decisions get better', (t) => {
  const losses = [0, 3, 12].map(lossAfter) as [number, number, number]
  t.ok(losses[1] < 0.8 * losses[0] && losses[2] < 0.8 * losses[1], losses.map((loss) => loss.toFixed(3)).join(', '))
  const detector = detectorOf(rounded(fit(examples, { epochs: 12, seed: 1 })))
  let right = 0
  examples.speech.forEach((spoken, i) => {
    if (detector(examples.inputs.subarray(i * INPUTS, (i + 1) * INPUTS)) > 0 === (spoken === 1)) right++
  })
  t.ok(
    right > 0.9 * frames,
    `${((100 * right) / frames).toFixed(1)} % of the frames, with the numbers as they are kept`,
  )
  t.end()
})

t.test('what is built knows material of the kind that it was derived from', (t) => {
  const loss = lossOf(examples, detectorOf(VOICE_MODEL))
  t.ok(loss < 0.25, loss.toFixed(3))
  t.end()
})

t.test('the numbers are written as they are kept', (t) => {
  const numbers = Array.from({ length: MODEL_NUMBERS }, (_, i) => (i - 700.123456) ** 3 / 1e7)
  const source = modelSource(numbers)
  const written = /= \[\n([^]*)\n\]\n$/.exec(source)?.[1] ?? ''
  t.same(
    written
      .split(',')
      .map((text) => text.trim())
      .filter((text) => text !== '')
      .map(Number),
    rounded(numbers),
  )
  t.ok(source.split('\n').every((line) => line.length <= 130))
  t.same(rounded(VOICE_MODEL), VOICE_MODEL, 'those that are built have been through it')
  t.end()
})

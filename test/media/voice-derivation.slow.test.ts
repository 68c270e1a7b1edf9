import t from 'tap'
import { fit, lossOf } from '../../bench/vad/fit.js'
import type { SceneOptions } from '../../bench/vad/scenes.js'
import { secondExamples } from '../../bench/vad/second-training.js'
import { type FirstOptions, firstExamples, modelSource, rounded } from '../../bench/vad/training.js'
import { INPUTS, JsVoiceKernel, SECOND_INPUTS, UNITS, modelNumbers } from '../../src/media/vad/voice-features.js'
import { VOICE_MODELS } from '../../src/media/vad/voice-model.js'

// The whole derivation takes minutes: `node dist/bench/vad/train.js --check`. This is the same in small.
t.setTimeout(300_000)

const SMALL: FirstOptions = { utterances: 6, soundMs: 1500, ratesHz: [8000], noises: ['pink'] }
const examples = await firstExamples(SMALL)
const frames = examples.speech.length

/** Reads the numbers as the TypeScript twin does; caller-kernel.test.ts compares it with the kernel of the calls. */
const detectorOf = (model: ArrayLike<number>) => {
  const kernel = new JsVoiceKernel({ first: model })
  return (inputs: Float32Array): number => {
    kernel.inputs.set(inputs)
    return kernel.odds()
  }
}
const lossAfter = (epochs: number): number => lossOf(examples, detectorOf(fit(examples, { epochs, seed: 1 })))

t.test('the same material comes out each time, of voices and of what is none', async (t) => {
  const again = await firstExamples(SMALL)
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
  t.equal(model.length, modelNumbers(INPUTS))
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
  const loss = lossOf(examples, detectorOf(VOICE_MODELS.first))
  t.ok(loss < 0.25, loss.toFixed(3))
  t.end()
})

t.test(
  'the second stage learns from what is likely to the first, the same each time, and knows music from a caller',
  async (t) => {
    const small: SceneOptions = {
      utterances: 6,
      calls: 1,
      soundMs: 8000,
      pieces: 0,
      excerpts: 0,
      lines: ['8 kHz'],
      recorded: false,
    }
    const scenes = { ...small, noises: ['pink', 'music'] as const }
    const likely = await secondExamples(scenes, VOICE_MODELS.first)
    const again = await secondExamples(scenes, VOICE_MODELS.first)
    t.ok(Buffer.from(likely.inputs.buffer).equals(Buffer.from(again.inputs.buffer)))
    t.same(again.weights, likely.weights)
    t.equal(likely.width, SECOND_INPUTS)
    t.ok(likely.weights.every((weight) => weight > 0))
    const atFirstSight = likely.speech.map((_, i) =>
      (likely.inputs[i * SECOND_INPUTS + INPUTS - 1] as number) > 0 ? 1 : 0,
    )
    t.ok(
      atFirstSight.every((one) => one === 1),
      'nothing else is shown to it',
    )
    const model = fit(likely, { epochs: 6, seed: 1 })
    t.equal(model.length, modelNumbers(SECOND_INPUTS))
    const kernel = new JsVoiceKernel({ second: rounded(model) })
    const odds = (inputs: Float32Array): number => {
      kernel.inputs.set(inputs)
      return kernel.secondOdds()
    }
    const loss = lossOf(likely, odds)
    const unfitted = lossOf(likely, () => 0)
    t.ok(loss < 0.5 * unfitted, `${loss.toFixed(3)} after ${unfitted.toFixed(3)}`)
    t.end()
  },
)

t.test('the numbers are written as they are kept', (t) => {
  const numbers = (inputs: number): number[] =>
    Array.from({ length: modelNumbers(inputs) }, (_, i) => (i - 700.123456) ** 3 / 1e7)
  const source = modelSource({ first: numbers(INPUTS), second: numbers(SECOND_INPUTS) })
  const [first, second] = [...source.matchAll(/: \[\n([^\]]*)\n {2}\],\n/g)].map(([, written = '']) =>
    written
      .split(',')
      .map((text) => text.trim())
      .filter((text) => text !== '')
      .map(Number),
  )
  t.same(first, rounded(numbers(INPUTS)))
  t.same(second, rounded(numbers(SECOND_INPUTS)))
  t.ok(source.split('\n').every((line) => line.length <= 130))
  for (const built of [VOICE_MODELS.first, VOICE_MODELS.second])
    t.same(rounded(built), built, 'those that are built have been through it')
  t.end()
})

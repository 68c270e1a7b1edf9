import { createHash } from 'node:crypto'
import t from 'tap'
import { type Examples, fit, fitMemory, lossOf } from '../../bench/vad/fit.js'
import type { SceneOptions } from '../../bench/vad/scenes.js'
import { secondExamples } from '../../bench/vad/second-training.js'
import { type FirstOptions, firstExamples, modelBytes, rounded } from '../../bench/vad/training.js'
import {
  FIRST_NUMBERS,
  INPUTS,
  JsVoiceKernel,
  MEMORY_UNITS,
  SECOND_NUMBERS,
  UNITS,
} from '../../bench/vad/voice-features.js'
import { VOICE_MODEL_SHA256, loadVoiceModels } from '../../src/workers/media-assets.js'

// The whole derivation takes minutes: `node dist/bench/vad/train.js --check`. This is the same in small.
t.setTimeout(600_000)

const built = await loadVoiceModels()

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
  t.equal(model.length, FIRST_NUMBERS)
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
  const loss = lossOf(examples, detectorOf(built.first))
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
    const calls = await secondExamples(scenes, built.first)
    const again = await secondExamples(scenes, built.first)
    const bytesOf = (all: readonly Examples[]): Buffer =>
      Buffer.concat(
        all.flatMap((call) => [call.inputs, call.speech, call.weights].map(({ buffer }) => Buffer.from(buffer))),
      )
    t.ok(bytesOf(again).equals(bytesOf(calls)))
    const counted = calls.flatMap(({ inputs, weights }) =>
      Array.from(weights, (weight, i) => [weight, inputs[(i + 1) * INPUTS - 1] as number]),
    )
    t.ok(counted.filter(([weight = 0]) => weight > 0).length > 1000)
    t.ok(
      counted.every(([weight = 0, odds = 0]) => weight === 0 || odds > 0),
      'only what is likely to the first counts',
    )
    const few = calls.slice(0, 10)
    const seeds = [1, 2]
    t.same(fitMemory(few, { epochs: 1, seeds }), fitMemory(few, { epochs: 1, seeds }))
    const model = fitMemory(calls, { epochs: 6, seeds })
    t.equal(model.length, SECOND_NUMBERS)
    const loss = lossOfCalls(calls, rounded(model))
    const unfitted = lossOfCalls(calls, new Array<number>(SECOND_NUMBERS).fill(0))
    t.ok(loss < 0.5 * unfitted, `${loss.toFixed(3)} after ${unfitted.toFixed(3)}`)
    t.end()
  },
)

/** As the TypeScript twin of the calls' kernel reads the numbers, over all calls alike. */
function lossOfCalls(calls: readonly Examples[], second: readonly number[]): number {
  const kernel = new JsVoiceKernel({ second })
  const losses = calls
    .filter(({ weights }) => weights.some((weight) => weight > 0))
    .map((call) => {
      const memory = new Float32Array(MEMORY_UNITS)
      return lossOf(call, (inputs) => {
        kernel.inputs.set(inputs)
        return kernel.secondOdds(inputs[INPUTS - 1] as number, memory)
      })
    })
  return losses.reduce((sum, one) => sum + one, 0) / losses.length
}

t.test('the numbers are written as they are kept', (t) => {
  const numbers = (length: number): number[] => Array.from({ length }, (_, i) => (i - 700.123456) ** 3 / 1e7)
  const all = [numbers(FIRST_NUMBERS), numbers(SECOND_NUMBERS)] as const
  const bytes = modelBytes({ first: all[0], second: all[1] })
  t.same(new Float32Array(bytes.buffer), Float32Array.from(all.flatMap(rounded)))
  t.equal(
    createHash('sha256').update(modelBytes(built)).digest('hex'),
    VOICE_MODEL_SHA256,
    'those that are built have been through it',
  )
  t.end()
})

import { UNITS, modelNumbers } from '../../src/media/vad/voice-features.js'
import { nearlyNormal, seededRandom } from '../../src/simulator/random.js'

/** Frames to learn from: as many numbers each as a model has inputs, the label, and the weight. */
export interface Examples {
  /** Numbers of a frame. */
  readonly width: number
  readonly inputs: Float32Array
  readonly speech: Uint8Array
  readonly weights: Float32Array
}

interface FitOptions {
  readonly epochs: number
  readonly seed: number
}

const BATCH = 1024
const RATE = 0.003
const RATE_LEAST = 0.00001
const DECAY = 0.0001
const FORGET = 0.9
const FORGET_SQUARES = 0.999

/**
 * Fits the units of `JsVoiceKernel` by Adam on cross-entropy. The same examples and seed give the same numbers.
 * @returns `modelNumbers` of the examples' width, the inputs' means and deviations already in them
 */
export function fit({ width, inputs, speech, weights }: Examples, { epochs, seed }: FitOptions): Float64Array {
  const { mean, deviation } = moments(inputs, width)
  const count = modelNumbers(width)
  const random = seededRandom(seed)
  const model = Float64Array.from({ length: count }, (_, i) =>
    i < UNITS || i === count - 1 ? 0 : nearlyNormal(random) / Math.sqrt(i < UNITS + width * UNITS ? width : UNITS),
  )
  const gradient = new Float64Array(count)
  const first = new Float64Array(count)
  const second = new Float64Array(count)
  const order = Uint32Array.from({ length: speech.length }, (_, i) => i)
  const x = new Float64Array(width)
  const units = new Float64Array(UNITS)
  const steps = Math.floor(order.length / BATCH) * epochs
  let step = 0
  for (let epoch = 0; epoch < epochs; epoch++) {
    shuffle(order, random)
    for (let from = 0; from + BATCH <= order.length; from += BATCH) {
      gradient.fill(0)
      for (let i = from; i < from + BATCH; i++) {
        const example = order[i] as number
        for (let k = 0; k < width; k++)
          x[k] = ((inputs[example * width + k] as number) - (mean[k] as number)) / (deviation[k] as number)
        const odds = forward(model, x, units)
        const error = ((1 / (1 + Math.exp(-odds)) - (speech[example] as number)) * (weights[example] as number)) / BATCH
        backward(model, x, units, error, gradient)
      }
      step++
      const rate = RATE * 0.5 * (1 + Math.cos((Math.PI * step) / steps)) + RATE_LEAST
      adam(model, gradient, first, second, rate, step)
    }
  }
  return folded(model, mean, deviation)
}

/** Cross-entropy of what `odds` gives for each frame, in nats, by the frames' weights: what `fit` makes small. */
export function lossOf({ width, inputs, speech, weights }: Examples, odds: (frame: Float32Array) => number): number {
  let sum = 0
  let weight = 0
  speech.forEach((spoken, i) => {
    const towards = (spoken === 1 ? 1 : -1) * odds(inputs.subarray(i * width, (i + 1) * width))
    sum += (weights[i] as number) * Math.log1p(Math.exp(-towards))
    weight += weights[i] as number
  })
  return sum / weight
}

function forward(model: Float64Array, x: Float64Array, units: Float64Array): number {
  const outAt = UNITS + x.length * UNITS
  units.set(model.subarray(0, UNITS))
  for (let k = 0; k < x.length; k++) {
    const value = x[k] as number
    const at = UNITS * (k + 1)
    for (let unit = 0; unit < UNITS; unit++)
      units[unit] = (units[unit] as number) + value * (model[at + unit] as number)
  }
  let odds = model[model.length - 1] as number
  for (let unit = 0; unit < UNITS; unit++)
    if ((units[unit] as number) > 0) odds += (units[unit] as number) * (model[outAt + unit] as number)
  return odds
}

function backward(
  model: Float64Array,
  x: Float64Array,
  units: Float64Array,
  error: number,
  gradient: Float64Array,
): void {
  const outAt = UNITS + x.length * UNITS
  const last = gradient.length - 1
  gradient[last] = (gradient[last] as number) + error
  for (let unit = 0; unit < UNITS; unit++) {
    const active = units[unit] as number
    units[unit] = active > 0 ? error * (model[outAt + unit] as number) : 0
    if (active > 0) gradient[outAt + unit] = (gradient[outAt + unit] as number) + error * active
    gradient[unit] = (gradient[unit] as number) + (units[unit] as number)
  }
  for (let k = 0; k < x.length; k++) {
    const value = x[k] as number
    const at = UNITS * (k + 1)
    for (let unit = 0; unit < UNITS; unit++)
      gradient[at + unit] = (gradient[at + unit] as number) + value * (units[unit] as number)
  }
}

function adam(
  model: Float64Array,
  gradient: Float64Array,
  first: Float64Array,
  second: Float64Array,
  rate: number,
  step: number,
): void {
  const unbiased = 1 / (1 - FORGET ** step)
  const unbiasedSquares = 1 / (1 - FORGET_SQUARES ** step)
  for (let i = 0; i < model.length; i++) {
    const g = (gradient[i] as number) + DECAY * (model[i] as number)
    first[i] = FORGET * (first[i] as number) + (1 - FORGET) * g
    second[i] = FORGET_SQUARES * (second[i] as number) + (1 - FORGET_SQUARES) * g * g
    model[i] =
      (model[i] as number) -
      (rate * (first[i] as number) * unbiased) / (Math.sqrt((second[i] as number) * unbiasedSquares) + 1e-8)
  }
}

function moments(
  inputs: Float32Array,
  width: number,
): { readonly mean: Float64Array; readonly deviation: Float64Array } {
  const count = inputs.length / width
  const mean = new Float64Array(width)
  const deviation = new Float64Array(width)
  inputs.forEach((value, i) => (mean[i % width] = (mean[i % width] as number) + value / count))
  inputs.forEach(
    (value, i) =>
      (deviation[i % width] = (deviation[i % width] as number) + (value - (mean[i % width] as number)) ** 2 / count),
  )
  return { mean, deviation: deviation.map((square) => Math.sqrt(square) + 1e-3) }
}

/** The same units for inputs as they come. */
function folded(model: Float64Array, mean: Float64Array, deviation: Float64Array): Float64Array {
  const out = model.slice()
  for (let k = 0; k < mean.length; k++) {
    for (let unit = 0; unit < UNITS; unit++) {
      const at = UNITS * (k + 1) + unit
      const weight = (model[at] as number) / (deviation[k] as number)
      out[at] = weight
      out[unit] = (out[unit] as number) - weight * (mean[k] as number)
    }
  }
  return out
}

function shuffle(order: Uint32Array, random: () => number): void {
  for (let i = order.length - 1; i > 0; i--) {
    const k = Math.floor(random() * (i + 1))
    const other = order[k] as number
    order[k] = order[i] as number
    order[i] = other
  }
}

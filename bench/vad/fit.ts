import { assert } from '../../src/core/assert.js'
import { GROUPS, SQUASH_LIMIT } from '../../src/media/vad/detection-limits.js'
import { nearlyNormal, seededRandom } from '../../src/carrier/random.js'
import { FIRST_NUMBERS, GROUP_NUMBERS, INPUTS, MEMORY_INPUTS, UNITS, layerNumbers, squashed } from './voice-features.js'

/** Frames for training. Each has `INPUTS` numbers, a label and a weight. */
export interface Examples {
  readonly inputs: Float32Array
  readonly speech: Uint8Array
  /** Frames of weight 0 are not learned. They only change the memory. */
  readonly weights: Float32Array
}

interface FitOptions {
  readonly epochs: number
  readonly seed: number
}

interface MemoryFitOptions {
  readonly epochs: number
  readonly seeds: readonly number[]
}

const BATCH = 1024
const RATE = 0.003
const RATE_LEAST = 0.00001
const DECAY = 0.0001
const FORGET = 0.9
const FORGET_SQUARES = 0.999

/**
 * Fits the units of `JsVoiceKernel` with Adam on cross-entropy. The same examples and seed always give the same
 * numbers.
 * @returns `FIRST_NUMBERS` numbers, which already contain the means and deviations of the inputs
 */
export function fit({ inputs, speech, weights }: Examples, { epochs, seed }: FitOptions): Float64Array {
  const width = INPUTS
  const { mean, deviation } = moments([inputs])
  const count = FIRST_NUMBERS
  const random = seededRandom(seed)
  const model = Float64Array.from({ length: count }, (_, i) =>
    i < UNITS || i === count - 1 ? 0 : nearlyNormal(random) / Math.sqrt(i < UNITS + width * UNITS ? width : UNITS),
  )
  const gradient = new Float64Array(count)
  const adam = new Adam({ count, rate: RATE, decay: DECAY })
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
      adam.step(model, gradient, ++step / steps)
    }
  }
  fold(model, 0, mean, deviation)
  return model
}

function forward(model: Float64Array, x: Float64Array, units: Float64Array): number {
  const outAt = UNITS + x.length * UNITS
  sumUp(model, 0, x, units)
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

/** Adam's steps along the gradient. The learning rate falls like a cosine. */
class Adam {
  readonly #rate: number
  readonly #decay: number
  readonly #first: Float64Array
  readonly #second: Float64Array
  #steps = 0

  constructor({ count, rate, decay }: { readonly count: number; readonly rate: number; readonly decay: number }) {
    this.#rate = rate
    this.#decay = decay
    this.#first = new Float64Array(count)
    this.#second = new Float64Array(count)
  }

  /** @param done share of all steps, including this step */
  step(model: Float64Array, gradient: Float64Array, done: number): void {
    const step = ++this.#steps
    const first = this.#first
    const second = this.#second
    const rate = this.#rate * 0.5 * (1 + Math.cos(Math.PI * done)) + RATE_LEAST
    const unbiased = 1 / (1 - FORGET ** step)
    const unbiasedSquares = 1 / (1 - FORGET_SQUARES ** step)
    for (let i = 0; i < model.length; i++) {
      const g = (gradient[i] as number) + this.#decay * (model[i] as number)
      first[i] = FORGET * (first[i] as number) + (1 - FORGET) * g
      second[i] = FORGET_SQUARES * (second[i] as number) + (1 - FORGET_SQUARES) * g * g
      model[i] =
        (model[i] as number) -
        (rate * (first[i] as number) * unbiased) / (Math.sqrt((second[i] as number) * unbiasedSquares) + 1e-8)
    }
  }
}

interface Moments {
  readonly mean: Float64Array
  readonly deviation: Float64Array
}

/** Mean and standard deviation of each input. */
function moments(parts: readonly Float32Array[]): Moments {
  const count = parts.reduce((sum, { length }) => sum + length, 0) / INPUTS
  const mean = new Float64Array(INPUTS)
  const square = new Float64Array(INPUTS)
  for (const part of parts)
    part.forEach((value, i) => (mean[i % INPUTS] = (mean[i % INPUTS] as number) + value / count))
  for (const part of parts)
    part.forEach(
      (value, i) =>
        (square[i % INPUTS] = (square[i % INPUTS] as number) + (value - (mean[i % INPUTS] as number)) ** 2 / count),
    )
  return { mean, deviation: square.map((one) => Math.sqrt(one) + 1e-3) }
}

/** Changes the layer at `at` in place, so that its units accept inputs that are not normalised. */
function fold(model: Float64Array, at: number, mean: Float64Array, deviation: Float64Array): void {
  for (let k = 0; k < mean.length; k++) {
    for (let unit = 0; unit < UNITS; unit++) {
      const weight = (model[at + UNITS * (k + 1) + unit] as number) / (deviation[k] as number)
      model[at + UNITS * (k + 1) + unit] = weight
      model[at + unit] = (model[at + unit] as number) - weight * (mean[k] as number)
    }
  }
}

function shuffle(order: Uint32Array, random: () => number): void {
  for (let i = order.length - 1; i > 0; i--) {
    const k = Math.floor(random() * (i + 1))
    const other = order[k] as number
    order[k] = order[i] as number
    order[i] = other
  }
}

// Constants for `fitMemory`. LANES: number of calls that are processed at once. SPAN: number of frames of each call in
// one step.
const LANES = 32
const SPAN = 100
const MEMORY_RATE = 0.005
const MEMORY_DECAY = 0.00001
const GRADIENT_MAX = 1
/** At the start of the fit, a unit takes over a share of 0.3 of a frame's new value. */
const SHARE_BIAS = -1
const LAYER = layerNumbers(MEMORY_INPUTS)

/**
 * Fits the second stage. Each of its groups is fitted to all calls, with start values that the group's seed draws.
 * @param seeds  one seed for each group
 * @returns `SECOND_NUMBERS` numbers, which already contain the means and deviations of the inputs
 */
export function fitMemory(calls: readonly Examples[], { epochs, seeds }: MemoryFitOptions): Float64Array {
  assert(seeds.length === GROUPS, 'each group needs a seed')
  const usual = moments(calls.map(({ inputs }) => inputs))
  // The result is the mean of the groups' odds, so each output gets its share.
  const groups = seeds.map((seed) =>
    fitGroup(calls, usual, { epochs, seed }).map((one, i) => (i < 2 * LAYER ? one : one / GROUPS)),
  )
  const bias = groups.reduce((sum, group) => sum + (group[GROUP_NUMBERS] as number), 0)
  return Float64Array.from([...groups.flatMap((group) => [...group.subarray(0, GROUP_NUMBERS)]), bias])
}

/**
 * Fits one group of the second stage with Adam on cross-entropy. The gradient goes back through `SPAN` frames of a
 * call. The same calls and seed always give the same numbers.
 * @returns `GROUP_NUMBERS` numbers, and the bias of the output
 */
function fitGroup(
  calls: readonly Examples[],
  { mean, deviation }: Moments,
  { epochs, seed }: FitOptions,
): Float64Array {
  const frames = calls.reduce((sum, { speech }) => sum + speech.length, 0)
  const random = seededRandom(seed)
  const count = GROUP_NUMBERS + 1
  const model = Float64Array.from({ length: count }, (_, i) => {
    const inLayer = i < 2 * LAYER ? i % LAYER : UNITS
    if (i === GROUP_NUMBERS) return 0
    if (inLayer < UNITS) return i < LAYER ? SHARE_BIAS : 0
    return nearlyNormal(random) / Math.sqrt(i < 2 * LAYER ? MEMORY_INPUTS : UNITS)
  })
  const gradient = new Float64Array(count)
  const adam = new Adam({ count, rate: MEMORY_RATE, decay: MEMORY_DECAY })
  const order = Uint32Array.from({ length: calls.length }, (_, i) => i)
  let next = calls.length
  const nextCall = (): Examples => {
    if (next >= calls.length) {
      shuffle(order, random)
      next = 0
    }
    return calls[order[next++] as number] as Examples
  }
  const lanes = Array.from({ length: LANES }, () => new Lane(nextCall, mean, deviation))
  const steps = Math.max(1, Math.floor(frames / (LANES * SPAN))) * epochs
  for (let step = 1; step <= steps; step++) {
    gradient.fill(0)
    let learnt = 1
    for (const lane of lanes) learnt += lane.hear(model)
    for (const lane of lanes) lane.blame(model, gradient, 1 / learnt)
    const length = Math.sqrt(gradient.reduce((sum, one) => sum + one * one, 0))
    if (length > GRADIENT_MAX) gradient.forEach((one, i) => (gradient[i] = (one * GRADIENT_MAX) / length))
    adam.step(model, gradient, step / steps)
  }
  for (const at of [0, LAYER]) fold(model, at, mean, deviation)
  return model
}

/** Calls one after another, `SPAN` frames at a time, with the values of all units for each of these frames. */
class Lane {
  readonly #nextCall: () => Examples
  readonly #mean: Float64Array
  readonly #deviation: Float64Array
  #call: Examples
  #frame = 0
  readonly #inputs = Array.from({ length: SPAN }, () => new Float64Array(MEMORY_INPUTS))
  /** 0 at the first frame of a call, otherwise 1. */
  readonly #kept = new Float64Array(SPAN)
  readonly #errors = new Float64Array(SPAN)
  readonly #shares = Array.from({ length: SPAN }, () => new Float64Array(UNITS))
  readonly #shareSums = Array.from({ length: SPAN }, () => new Float64Array(UNITS))
  readonly #news = Array.from({ length: SPAN }, () => new Float64Array(UNITS))
  readonly #newSums = Array.from({ length: SPAN }, () => new Float64Array(UNITS))
  readonly #memories = Array.from({ length: SPAN }, () => new Float64Array(UNITS))
  readonly #memory = new Float64Array(UNITS)

  constructor(nextCall: () => Examples, mean: Float64Array, deviation: Float64Array) {
    this.#nextCall = nextCall
    this.#mean = mean
    this.#deviation = deviation
    this.#call = nextCall()
  }

  /** @returns the number of frames that are learned */
  hear(model: Float64Array): number {
    let learnt = 0
    const memory = this.#memory
    for (let t = 0; t < SPAN; t++) {
      this.#kept[t] = 1
      if (this.#frame >= this.#call.speech.length) {
        this.#call = this.#nextCall()
        this.#frame = this.#kept[t] = 0
        memory.fill(0)
      }
      const { inputs, speech, weights } = this.#call
      const x = this.#inputs[t] as Float64Array
      const from = this.#frame * INPUTS
      for (let k = 0; k < INPUTS; k++)
        x[k] = ((inputs[from + k] as number) - (this.#mean[k] as number)) / (this.#deviation[k] as number)
      x.set(memory, INPUTS)
      const shareSums = this.#shareSums[t] as Float64Array
      const newSums = this.#newSums[t] as Float64Array
      sumUp(model, 0, x, shareSums)
      sumUp(model, LAYER, x, newSums)
      let odds = model[GROUP_NUMBERS] as number
      for (let unit = 0; unit < UNITS; unit++) {
        const share = 0.5 + 0.5 * squashed(0.5 * (shareSums[unit] as number))
        const news = squashed(newSums[unit] as number)
        const before = memory[unit] as number
        memory[unit] = before + share * (news - before)
        odds += (memory[unit] as number) * (model[2 * LAYER + unit] as number)
        ;(this.#shares[t] as Float64Array)[unit] = share
        ;(this.#news[t] as Float64Array)[unit] = news
      }
      ;(this.#memories[t] as Float64Array).set(memory)
      const weight = weights[this.#frame] as number
      if (weight > 0) learnt++
      this.#errors[t] = weight * (1 / (1 + Math.exp(-odds)) - (speech[this.#frame] as number))
      this.#frame++
    }
    return learnt
  }

  /** Adds the gradient of the frames of the last `hear`, multiplied by `scale`. */
  blame(model: Float64Array, gradient: Float64Array, scale: number): void {
    const later = new Float64Array(UNITS)
    const earlier = new Float64Array(UNITS)
    const ofShares = new Float64Array(UNITS)
    const ofNews = new Float64Array(UNITS)
    const outAt = 2 * LAYER
    for (let t = SPAN - 1; t >= 0; t--) {
      const x = this.#inputs[t] as Float64Array
      const memory = this.#memories[t] as Float64Array
      const error = scale * (this.#errors[t] as number)
      gradient[GROUP_NUMBERS] = (gradient[GROUP_NUMBERS] as number) + error
      for (let unit = 0; unit < UNITS; unit++) {
        gradient[outAt + unit] = (gradient[outAt + unit] as number) + error * (memory[unit] as number)
        const here = (later[unit] as number) + error * (model[outAt + unit] as number)
        const share = (this.#shares[t] as Float64Array)[unit] as number
        const before = x[INPUTS + unit] as number
        const slope = 0.25 * slopeOfSquashed(0.5 * ((this.#shareSums[t] as Float64Array)[unit] as number))
        ofShares[unit] = here * (((this.#news[t] as Float64Array)[unit] as number) - before) * slope
        ofNews[unit] = here * share * slopeOfSquashed((this.#newSums[t] as Float64Array)[unit] as number)
        earlier[unit] = here * (1 - share)
      }
      giveBack(model, gradient, 0, x, ofShares, earlier)
      giveBack(model, gradient, LAYER, x, ofNews, earlier)
      for (let unit = 0; unit < UNITS; unit++) later[unit] = (earlier[unit] as number) * (this.#kept[t] as number)
    }
  }
}

/** @param sums gets the sums of the units of the layer at `at` */
function sumUp(model: Float64Array, at: number, x: Float64Array, sums: Float64Array): void {
  for (let unit = 0; unit < UNITS; unit++) sums[unit] = model[at + unit] as number
  for (let k = 0, row = at + UNITS; k < x.length; k++, row += UNITS) {
    const value = x[k] as number
    for (let unit = 0; unit < UNITS; unit++) sums[unit] = (sums[unit] as number) + value * (model[row + unit] as number)
  }
}

/**
 * @param of  gradient of the layer's sums
 * @param memory  the part of the gradient that belongs to the memory is added to it
 */
function giveBack(
  model: Float64Array,
  gradient: Float64Array,
  at: number,
  x: Float64Array,
  of: Float64Array,
  memory: Float64Array,
): void {
  for (let unit = 0; unit < UNITS; unit++) gradient[at + unit] = (gradient[at + unit] as number) + (of[unit] as number)
  for (let k = 0, row = at + UNITS; k < MEMORY_INPUTS; k++, row += UNITS) {
    const value = x[k] as number
    let back = 0
    for (let unit = 0; unit < UNITS; unit++) {
      const one = of[unit] as number
      gradient[row + unit] = (gradient[row + unit] as number) + value * one
      back += (model[row + unit] as number) * one
    }
    if (k >= INPUTS) memory[k - INPUTS] = (memory[k - INPUTS] as number) + back
  }
}

/** The derivative of `squashed`. */
function slopeOfSquashed(x: number): number {
  if (Math.abs(x) > SQUASH_LIMIT) return 0
  const square = x * x
  const root = (9 - square) / (3 * (3 + square))
  return root * root
}

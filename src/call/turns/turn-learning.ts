import { LEARNED_STEPS_MAX, NOISY_DB, PAUSE_FIGURES, learnedWaitMs, scoreOf } from './learned-pause.js'
import type { LearnedAsked, LearnedModel, PauseFigure } from './learned-pause.js'
import type { LearnedResult } from '../documents/learned-turns.js'

/** Delay between the end of a turn and its detection, in milliseconds. A longer delay makes the answer too late. */
const LATE_MS = 700
/** Cost of one caller who is cut off, expressed as milliseconds above `LATE_MS`. */
const CUT_COSTS_MS = 1000
/**
 * Share of the ends of turns at which the learned wait must not be longer than the wait of the rules. The share is
 * above half, because ends of other callers have other scores. In noise the share is highest.
 */
const USUAL_SHARE = { clean: 0.8, noisy: 0.9 } as const
/** Number of ends of one kind that are enough to determine the usual end. */
const USUAL_ENDS_MIN = 20
/** Maximum time by which the median wait of the model may exceed the median wait of the rules, in milliseconds. */
const LATER_MS_MAX = 100
/** Minimum number of pauses, and minimum number of ends. */
const NEEDED = { made: 200, heldOut: 50 } as const
/** Value used for a wait that did not end, in milliseconds. */
const NEVER_MS = 5000
/** Number of rounds of the fit; each round adds one step. */
const ROUNDS = 120
/** Factor by which the best step of a round is multiplied before it is added. */
const LEARNING_RATE = 0.1
/** Regularisation weight. It moves a step's value towards 0, so that a step with few pauses on one side stays small. */
const RIDGE = 5
/** Minimum share of all pauses on each side of a step. */
const SIDE_SHARE_MIN = 0.02
/** Number of values of a figure at which a step is tried. */
const BINS = 24
/**
 * Values to try: milliseconds per point of the score, then minimum waits. With the last minimum a wait is never
 * shortened.
 */
const MS_PER_POINT = [0, 50, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1000] as const
const SHORTEST_MS = [300, 400, 500, 3000] as const

/** One pause with its result. */
export interface LabelledPause {
  readonly asked: LearnedAsked
  readonly baseMs: number
  readonly floorMs: number
  readonly figures: Readonly<Record<PauseFigure, number>>
  /** Quiet before the caller continued, in milliseconds; Infinity if the turn was over. */
  readonly lengthMs: number
}

/** A pause, with the waits of the deciders that are compared. */
export interface JudgedPause extends LabelledPause {
  /**
   * Quiet after which the rules would have ended the turn, then quiet after which the model would have ended it, in
   * milliseconds.
   */
  readonly waitsMs: readonly number[]
}

/** Minimum length of a pause that is used for learning, in milliseconds; all learned waits are longer. */
export const LEARNED_PAUSE_MS_MIN = 300

export function countsOf(pauses: readonly LabelledPause[]): { readonly pauses: number; readonly ends: number } {
  const ends = pauses.filter(({ lengthMs }) => lengthMs === Infinity).length
  return { pauses: pauses.length - ends, ends }
}

/**
 * Compares the rules with a model, on pauses that were not used to train the model.
 * @returns counts, both results, and why the model is not better; null if it is
 */
export function judgement(judged: readonly JudgedPause[]): {
  readonly heldOut: ReturnType<typeof countsOf> & { readonly before: LearnedResult; readonly after: LearnedResult }
  readonly worse: string | null
} {
  const by = (decider: 0 | 1): LearnedResult =>
    resultOf(
      judged,
      judged.map(({ waitsMs }) => waitsMs[decider] ?? Infinity),
    )
  const heldOut = { ...countsOf(judged), before: by(0), after: by(1) }
  return { heldOut, worse: refusalOf(heldOut) }
}

/** @returns the reason why the pauses are too few for learning or a comparison; null if they are enough */
export function tooFew(pauses: readonly LabelledPause[], of: keyof typeof NEEDED): string | null {
  const counts = countsOf(pauses)
  const needed = NEEDED[of]
  if (counts.pauses >= needed && counts.ends >= needed) return null
  return `too few calls: ${counts.pauses} pauses and ${counts.ends} ends of turns to ${of === 'made' ? 'learn from' : 'judge by'}; at least ${needed} of each are needed`
}

/**
 * Fits the model: boosted steps (trees of one split) on the logistic loss. Pauses and ends have equal weight. Then the
 * score of a usual end is chosen, below the scores of most ends. Last, the number of milliseconds per point is chosen:
 * the number that gives the fewest cut-off and late turns.
 * @param pauses  pauses and ends
 * @param without  figures to leave out, because the generator of the pauses chose their values
 */
export function fittedModel(pauses: readonly LabelledPause[], without: readonly PauseFigure[] = []): LearnedModel {
  // A caller who continues before the configured wait ends is not cut off. Such pauses are left out, because they would
  // only lengthen the wait in long turns.
  const steps = stepsOf(
    pauses.filter(({ lengthMs, baseMs }) => lengthMs >= baseMs),
    PAUSE_FIGURES.filter((figure) => !without.includes(figure)),
  )
  const zero = { steps, usual: { open: 0, digits: 0, openInNoise: 0, digitsInNoise: 0 } }
  const scoreFrom = (model: Pick<LearnedModel, 'steps' | 'usual'>, one: LabelledPause): number =>
    scoreOf(model, one.asked, (name) => one.figures[name])
  const ends = pauses.filter(({ lengthMs }) => lengthMs === Infinity)
  const usualOf = (asked: LearnedAsked, noisy: boolean): number => {
    const scores = ends
      .filter((one) => one.asked === asked && one.figures.overNoiseDb < NOISY_DB === noisy)
      .map((one) => scoreFrom(zero, one))
    const of = scores.length < USUAL_ENDS_MIN ? ends.map((one) => scoreFrom(zero, one)) : scores
    return rounded(quantileOf(of, noisy ? USUAL_SHARE.noisy : USUAL_SHARE.clean))
  }
  const usual = {
    ...{ open: usualOf('open', false), digits: usualOf('digits', false) },
    ...{ openInNoise: usualOf('open', true), digitsInNoise: usualOf('digits', true) },
  }
  const scores = pauses.map((one) => scoreFrom({ steps, usual }, one))
  const waits = MS_PER_POINT.flatMap((msPerPoint) => SHORTEST_MS.map((shortestMs) => ({ msPerPoint, shortestMs })))
  const costs = waits.map((wait) => {
    const waitsMs = pauses.map((pause, i) => learnedWaitMs(pause, scores[i] as number, wait))
    return costOf(resultOf(pauses, waitsMs), pauses.length - ends.length, ends.length)
  })
  return { steps, usual, ...(waits[costs.indexOf(Math.min(...costs))] as (typeof waits)[number]) }
}

/** Cost of a decision method, expressed as a number of cut-off callers. */
function costOf({ cut, lateMs }: LearnedResult, pauses: number, ends: number): number {
  return cut * pauses + (lateMs / CUT_COSTS_MS) * ends
}

function refusalOf({ before, after, pauses, ends }: ReturnType<typeof judgement>['heldOut']): string | null {
  const percent = (part: number): string => `${(100 * part).toFixed(1)} %`
  if (after.cut > before.cut)
    return `it would cut off ${percent(after.cut)} of the pauses, and the rules cut off ${percent(before.cut)}`
  if (after.medianMs > before.medianMs + LATER_MS_MAX)
    return `it would wait ${after.medianMs} ms at the end of a turn, and the rules wait ${before.medianMs} ms`
  if (costOf(after, pauses, ends) >= costOf(before, pauses, ends))
    return `it would cut off ${percent(after.cut)} of the pauses and be ${Math.round(after.lateMs)} ms too late on average; the rules have ${percent(before.cut)} and ${Math.round(before.lateMs)} ms`
  return null
}

/** @param waitsMs  for each pause, the wait before the turn ends */
function resultOf(pauses: readonly LabelledPause[], waitsMs: readonly number[]): LearnedResult {
  const waits: number[] = []
  let [held, cut] = [0, 0]
  for (const [i, { lengthMs }] of pauses.entries()) {
    const waitMs = waitsMs[i] as number
    if (lengthMs === Infinity) waits.push(Math.min(waitMs, NEVER_MS))
    else {
      held++
      if (waitMs <= lengthMs) cut++
    }
  }
  waits.sort((a, b) => a - b)
  const ends = Math.max(1, waits.length)
  return {
    cut: rounded(cut / Math.max(1, held)),
    late: rounded(waits.filter((ms) => ms > LATE_MS).length / ends),
    lateMs: rounded(waits.reduce((sum, ms) => sum + Math.max(0, ms - LATE_MS), 0) / ends),
    medianMs: Math.round(waits[Math.floor(waits.length / 2)] ?? 0),
    p90Ms: Math.round(waits[Math.floor(waits.length * 0.9)] ?? 0),
  }
}

/**
 * Values of one figure in bins: the upper border of each bin, and the number of the bin for each pause. An unknown
 * value is in bin 0.
 */
interface Bins {
  readonly figure: PauseFigure
  readonly borders: readonly number[]
  readonly binOf: Uint8Array
}

function stepsOf(pauses: readonly LabelledPause[], names: readonly PauseFigure[]): LearnedModel['steps'] {
  const count = pauses.length
  const goesOn = pauses.map(({ lengthMs }) => (lengthMs === Infinity ? 0 : 1))
  const held = goesOn.reduce<number>((sum, one) => sum + one, 0)
  const weights = goesOn.map((one) => count / 2 / Math.max(1, one === 1 ? held : count - held))
  const figures = names.map((figure) => binsOf(pauses, figure)).filter(({ borders }) => borders.length > 0)
  const scores = new Float64Array(count)
  const steps = new Map<string, { readonly figure: PauseFigure; readonly above: number; adds: number }>()
  const [slopes, curves] = [new Float64Array(count), new Float64Array(count)]
  for (let round = 0; round < ROUNDS && steps.size < LEARNED_STEPS_MAX; round++) {
    for (let i = 0; i < count; i++) {
      const likely = 1 / (1 + Math.exp(-(scores[i] as number)))
      slopes[i] = ((goesOn[i] as number) - likely) * (weights[i] as number)
      curves[i] = likely * (1 - likely) * (weights[i] as number)
    }
    const best = bestStep(figures, slopes, curves)
    if (best === null) break
    const { bins, border, low, high } = best
    for (let i = 0; i < count; i++)
      scores[i] = (scores[i] as number) + LEARNING_RATE * ((bins.binOf[i] as number) > border ? high : low)
    const above = bins.borders[border] as number
    const key = `${bins.figure} ${above}`
    const step = steps.get(key) ?? { figure: bins.figure, above, adds: 0 }
    step.adds += LEARNING_RATE * (high - low)
    steps.set(key, step)
  }
  return [...steps.values()]
    .map(({ adds, ...step }) => ({ ...step, adds: rounded(adds) }))
    .filter(({ adds }) => adds !== 0)
    .sort((a, b) => PAUSE_FIGURES.indexOf(a.figure) - PAUSE_FIGURES.indexOf(b.figure) || a.above - b.above)
}

interface Step {
  readonly bins: Bins
  /** Border of the step: bins above this border are the high side. */
  readonly border: number
  readonly low: number
  readonly high: number
}

/** Returns the step that lowers the loss most; null if the loss cannot be lowered. */
function bestStep(figures: readonly Bins[], slopes: Float64Array, curves: Float64Array): Step | null {
  const least = slopes.length * SIDE_SHARE_MIN
  let [best, bestGain] = [null as Step | null, 1e-6]
  for (const bins of figures) {
    const [slopeIn, curveIn, countIn] = [new Float64Array(BINS), new Float64Array(BINS), new Float64Array(BINS)]
    for (let i = 0; i < slopes.length; i++) {
      const bin = bins.binOf[i] as number
      slopeIn[bin] = (slopeIn[bin] as number) + (slopes[i] as number)
      curveIn[bin] = (curveIn[bin] as number) + (curves[i] as number)
      countIn[bin] = (countIn[bin] as number) + 1
    }
    const [slope, curve] = [sumOf(slopeIn), sumOf(curveIn)]
    let [lowSlope, lowCurve, lowCount] = [0, 0, 0]
    for (let border = 0; border < bins.borders.length; border++) {
      lowSlope += slopeIn[border] as number
      lowCurve += curveIn[border] as number
      lowCount += countIn[border] as number
      if (lowCount < least || slopes.length - lowCount < least) continue
      const [highSlope, highCurve] = [slope - lowSlope, curve - lowCurve]
      const gain =
        lowSlope ** 2 / (lowCurve + RIDGE) + highSlope ** 2 / (highCurve + RIDGE) - slope ** 2 / (curve + RIDGE)
      if (gain <= bestGain) continue
      bestGain = gain
      best = { bins, border, low: lowSlope / (lowCurve + RIDGE), high: highSlope / (highCurve + RIDGE) }
    }
  }
  return best
}

function binsOf(pauses: readonly LabelledPause[], figure: PauseFigure): Bins {
  const values = pauses.map(({ figures }) => figures[figure])
  const known = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b)
  const quantiles = Array.from({ length: BINS - 1 }, (_, i) =>
    rounded(known[Math.floor(((i + 1) * known.length) / BINS)] ?? NaN),
  )
  const borders = [...new Set(quantiles)].filter((value) => value < (known.at(-1) ?? -Infinity))
  // An unknown value is in the lowest bin, because a comparison with NaN is false.
  const binOf = Uint8Array.from(values, (value) => borders.filter((border) => value > border).length)
  return { figure, borders, binOf }
}

function sumOf(values: Float64Array): number {
  let sum = 0
  for (const value of values) sum += value
  return sum
}

function quantileOf(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? 0
}

const rounded = (value: number): number => Math.round(value * 1000) / 1000

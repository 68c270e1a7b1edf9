import { ECHO_DELAY_MS_MAX } from '../../core/limits.js'
import { NARROW_FRAME, PER_MS, SILENT_ENERGY, type SentSpeech } from './echo-sent.js'
import { dotProduct } from './least-squares.js'

// The carrier may be as much later than we reckon as it held back, and then is not: an echo may seem early.
export const LAG_MIN = -250 * PER_MS
export const LAG_MAX = (ECHO_DELAY_MS_MAX + 60) * PER_MS

/**
 * The delay at which a frame resembles most what was sent; null where nothing was. First at 2 kHz over all delays, where a
 * voice has most of its power and a search is 16 times cheaper, then at 8 kHz near the best.
 *
 * @param heard 20 ms at 8 kHz
 * @param at where they begin, on the time axis of `sent`, at 8 kHz
 */
export function searchLag(heard: Float32Array, sent: SentSpeech, at: number): number | null {
  sent.copyNarrow(at - LAG_MAX, WIDE, part)
  fourth(heard, coarseHeard, COARSE_FRAME)
  fourth(part, coarse, COARSE_WIDE)
  const shift = bestShift(coarseHeard, COARSE_FRAME, coarse, 0, COARSE_SHIFTS, SILENT_ENERGY / COARSE)
  if (shift < 0) return null
  const from = Math.max(0, COARSE * (shift - 1))
  const near = bestShift(heard, NARROW_FRAME, part, from, Math.min(LAG_MAX - LAG_MIN, COARSE * (shift + 1)), SILENT_ENERGY)
  return near < 0 ? null : LAG_MAX - near
}

/**
 * The delay to a sample, of those near `lag`. A vowel is too smooth to tell; the differences from one sample to the
 * next are not.
 */
export function refineLag(heard: Float32Array, sent: SentSpeech, at: number, lag: number): number {
  sent.copyNarrow(at - lag - REFINE, NARROW_FRAME + 2 * REFINE, part)
  for (let i = NARROW_FRAME + 2 * REFINE - 1; i > 0; i--) part[i] = (part[i] as number) - (part[i - 1] as number)
  edges[0] = 0
  for (let i = 1; i < NARROW_FRAME; i++) edges[i] = (heard[i] as number) - (heard[i - 1] as number)
  let best = 0
  let refined = lag
  for (let shift = 1; shift < 2 * REFINE; shift++) {
    const product = dotProduct(edges, 0, part, shift, NARROW_FRAME)
    const score = (product * product) / (dotProduct(part, shift, part, shift, NARROW_FRAME) + 1)
    if (score <= best) continue
    best = score
    refined = lag + REFINE - shift
  }
  return refined
}

/** @returns of the shifts `from` to `to` the one at which `wide` correlates most with `frame`; -1 where it is silent */
function bestShift(frame: Float32Array, length: number, wide: Float32Array, from: number, to: number, silent: number): number {
  let energy = dotProduct(wide, from, wide, from, length)
  let best = 0
  let found = -1
  for (let shift = from; shift <= to; shift++) {
    if (energy > silent * length) {
      const product = dotProduct(frame, 0, wide, shift, length)
      const score = (product * product) / energy
      if (score > best) {
        best = score
        found = shift
      }
    }
    energy += (wide[shift + length] as number) ** 2 - (wide[shift] as number) ** 2
  }
  return found
}

/** The means of four samples each. */
function fourth(samples: Float32Array, out: Float32Array, length: number): void {
  for (let i = 0; i < length; i++) {
    const at = COARSE * i
    out[i] = ((samples[at] as number) + (samples[at + 1] as number) + (samples[at + 2] as number) + (samples[at + 3] as number)) / COARSE
  }
}

const COARSE = 4
const COARSE_FRAME = NARROW_FRAME / COARSE
const COARSE_SHIFTS = (LAG_MAX - LAG_MIN) / COARSE
const COARSE_WIDE = COARSE_SHIFTS + COARSE_FRAME + 1
const WIDE = COARSE * COARSE_WIDE
const REFINE = 6

// Scratch that all calls of a thread share; nothing in it outlives a call.
const part = new Float32Array(2 * WIDE + 8)
const coarse = new Float32Array(COARSE_WIDE)
const coarseHeard = new Float32Array(COARSE_FRAME)
const edges = new Float32Array(NARROW_FRAME)

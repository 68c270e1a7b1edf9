import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { FRAME_MS, frameSamples, type LegRateHz } from '../../src/core/units.js'
import { CallerPath } from '../../src/media/caller-path.js'
import type { ForkedTrack } from '../../src/media/reframer.js'
import { bytesOfSamples } from '../../src/media/pcm.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import type { LabelledCall } from './corpus.js'

/**
 * Number of voiced frames that make an onset, as in the session. OFF_FRAMES: number of frames of the hang-over, which
 * joins the parts of a word. After the last word, the hang-over counts as false speech.
 */
export const ON_FRAMES = 2
export const OFF_FRAMES = 4

interface Echo {
  /** Speech of the agent that comes back. It is softer, and delayed by `delayMs`. */
  readonly agent: Int16Array
  readonly delayMs: number
  /** Forked track: only the caller, whose telephone lets the agent's speech through, or both mixed. */
  readonly track: ForkedTrack
}

/** Raw decisions of the caller's path for each frame of one call. */
export function decisionsOf(
  samples: Int16Array,
  rateHz: LegRateHz,
  vadBank: VadBank,
  echo: Echo | null = null,
): boolean[] {
  return framesOf(samples, rateHz, vadBank, echo).map(({ voiced }) => voiced)
}

/** All figures that a call has of each frame. */
export function framesOf(
  samples: Int16Array,
  rateHz: LegRateHz,
  vadBank: VadBank,
  echo: Echo | null = null,
): CallerFrame[] {
  const path = new CallerPath({ sampleRateHz: rateHz, track: echo?.track ?? 'inbound_track', vadBank })
  const frame = frameSamples(rateHz)
  const frames: CallerFrame[] = []
  for (let at = 0; at + frame <= samples.length; at += frame) {
    const nowMs = (at / frame + 1) * FRAME_MS
    if (echo !== null && at + frame <= echo.agent.length)
      path.playedReference(echo.agent.subarray(at, at + frame), nowMs - FRAME_MS)
    path.push(bytesOfSamples(samples.slice(at, at + frame)), nowMs)
    while (path.pull(nowMs)) {
      const { voiced, doubtful, levelDbfs, pitchHz, early } = path
      frames.push({ voiced, doubtful, levelDbfs, pitchHz, early })
    }
  }
  path.release()
  return frames
}

/** Speech begins with `ON_FRAMES` voiced frames, and ends with `OFF_FRAMES` frames without voice. */
export function smoothed(decisions: readonly boolean[]): boolean[] {
  let row = 0
  let quiet = OFF_FRAMES
  return decisions.map((voiced) => {
    row = voiced ? row + 1 : 0
    quiet = voiced && (row >= ON_FRAMES || quiet < OFF_FRAMES) ? 0 : quiet + 1
    return quiet < OFF_FRAMES
  })
}

export interface Score {
  readonly precision: number
  readonly recall: number
  readonly f1: number
  /** Share of the frames without speech that were detected as speech. */
  readonly falseShare: number
  /** Time in ms from the first frame of a segment to the decision, over all segments that were found. */
  readonly onsetMedianMs: number
  readonly onsetP90Ms: number
  readonly segmentsMissed: number
  readonly segments: number
}

/** @param decide returns the smoothed decisions for a call */
export function scoreOf(calls: readonly LabelledCall[], decide: (call: LabelledCall) => readonly boolean[]): Score {
  let right = 0,
    wrong = 0,
    missed = 0,
    quiet = 0,
    segments = 0,
    segmentsMissed = 0
  const onsetsMs: number[] = []
  for (const call of calls) {
    const heard = decide(call)
    call.speech.forEach((spoken, i) => {
      if (spoken && heard[i] === true) right++
      else if (spoken) missed++
      else if (heard[i] === true) wrong++
      if (!spoken) quiet++
    })
    for (let i = 0; i < call.speech.length; i++) {
      if (call.speech[i] !== true || call.speech[i - 1] === true) continue
      let end = i
      while (call.speech[end] === true) end++
      segments++
      const found = heard.indexOf(true, i)
      if (found < 0 || found >= end) segmentsMissed++
      else onsetsMs.push((found - i + 1) * FRAME_MS)
    }
  }
  onsetsMs.sort((a, b) => a - b)
  const precision = right / Math.max(1, right + wrong)
  const recall = right / Math.max(1, right + missed)
  return {
    precision,
    recall,
    f1: (2 * precision * recall) / Math.max(1e-9, precision + recall),
    falseShare: wrong / Math.max(1, quiet),
    onsetMedianMs: onsetsMs[Math.floor(onsetsMs.length / 2)] ?? NaN,
    onsetP90Ms: onsetsMs[Math.floor(onsetsMs.length * 0.9)] ?? NaN,
    segmentsMissed,
    segments,
  }
}

export function shareOf(decisions: readonly boolean[]): number {
  return decisions.filter(Boolean).length / Math.max(1, decisions.length)
}

export const meanOf = (numbers: readonly number[]): number =>
  numbers.reduce((sum, one) => sum + one, 0) / numbers.length

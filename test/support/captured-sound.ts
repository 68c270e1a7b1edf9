import { powerOf } from '../../bench/vad/corpus.js'

const FRAME_SAMPLES = 320
const FRAME_MS = 20
/** Minimum level (rms, s16) of a frame with voice; frames of the file below it are pauses, or the softest sounds. */
const VOICE_RMS = 300
/** Share of the file's level below which a voice counts as lost or damaged. */
const LOST_SHARE = 0.05
/**
 * Maximum number of frames by which the sound may begin later than in the file. The second constant is the maximum
 * shift during a call.
 */
const SHIFT_FRAMES_MAX = 100
const DRIFT_FRAMES_MAX = 3

interface Captured {
  /** Duration in ms of the lost voice of the file. */
  readonly lostMs: number
  readonly gainDb: number
}

/**
 * Compares a browser's microphone with the file that it played, both at 16 kHz. Loudness is compared frame by frame:
 * the browser changes phases, and its clock differs from the file's.
 */
export function capturedOf(file: Int16Array, got: Int16Array): Captured {
  const [wanted, heard] = [powersOf(file), powersOf(got)]
  const voiced = wanted.flatMap((power, frame) => (power > VOICE_RMS ** 2 ? [frame] : []))
  let shift = 0
  let best = -Infinity
  for (let by = -SHIFT_FRAMES_MAX; by <= SHIFT_FRAMES_MAX; by++) {
    const likeness = voiced.reduce((sum, frame) => sum + Math.sqrt((wanted[frame] ?? 0) * (heard[frame + by] ?? 0)), 0)
    if (likeness > best) [best, shift] = [likeness, by]
  }
  let lost = 0
  let [wantedSum, heardSum] = [0, 0]
  for (const frame of voiced) {
    const at = frame + shift
    const near = heard.slice(Math.max(0, at - DRIFT_FRAMES_MAX), at + DRIFT_FRAMES_MAX + 1)
    if (Math.max(0, ...near) < LOST_SHARE * (wanted[frame] ?? 0)) lost++
    wantedSum += wanted[frame] ?? 0
    heardSum += heard[at] ?? 0
  }
  return { lostMs: lost * FRAME_MS, gainDb: 10 * Math.log10(heardSum / wantedSum) }
}

function powersOf(samples: Int16Array): number[] {
  return Array.from({ length: Math.floor(samples.length / FRAME_SAMPLES) }, (_, frame) => {
    const from = frame * FRAME_SAMPLES
    return powerOf(Float64Array.from(samples.subarray(from, from + FRAME_SAMPLES)))
  })
}

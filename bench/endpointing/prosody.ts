import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { PitchTracker } from '../../src/media/pitch.js'
import { crowdRecordings, readRecording, type Crowd } from '../material.js'
import { truthOf } from '../vad/corpus.js'
import { meanOf } from '../vad/score.js'
import { RECORDED, proseOf } from './corpus.js'

/** Figures that are said to distinguish the end of a turn from a pause in it, each as it is when the voice stops; higher is more like an end. */
export const CUES = {
  /** Slope of the pitch's logarithm in the last 100 ms of voice, against the 200 ms before. */
  'pitch falls': ({ pitch }: Stop): number => meanOf(pitch.slice(-15, -5)) - meanOf(pitch.slice(-5)),
  /** The last 100 ms against all that the speaker has said so far. */
  'pitch is low': ({ pitch }: Stop): number => meanOf(pitch) - meanOf(pitch.slice(-5)),
  /** The last 200 ms against the 400 ms before. */
  'level falls': ({ levels }: Stop): number => meanOf(levels.slice(-30, -10)) - meanOf(levels.slice(-10)),
  /** How long the last vowel lasts. */
  'last vowel is long': ({ vowelFrames }: Stop): number => vowelFrames,
} as const

/** A voice that stops: at the end, or for a pause. */
interface Stop {
  readonly ends: boolean
  /** Levels of all frames so far in dBFS, and log2 of the pitch of those that have one. */
  readonly levels: readonly number[]
  readonly pitch: readonly number[]
  readonly vowelFrames: number
}

export const ACTORS = ['czech', 'dutch'] as const satisfies readonly Crowd[]
const LINES_OF_AN_ACTOR = 1000
/** A voice that was heard for less says nothing of what is usual for it. */
const PITCHED_FRAMES_MIN = 15

/**
 * How well each cue tells ends from pauses, by speaker: people who read prompts, and actors in a dialogue.
 * @returns a table
 */
export async function prosodyTable(): Promise<string> {
  const out = [`${'area under the curve'.padEnd(22)}pauses   ends${Object.keys(CUES).map(column).join('')}`]
  const add = (who: string, stops: readonly Stop[]): void => {
    const ends = stops.filter((stop) => stop.ends).length
    const areas = Object.values(CUES).map((cue) => areaUnder(stops, cue).toFixed(2))
    out.push(
      `${who.padEnd(22)}${String(stops.length - ends).padStart(6)}${String(ends).padStart(7)}${areas.map(column).join('')}`,
    )
  }
  for (const speaker of RECORDED) {
    const stops: Stop[] = []
    for (const name of proseOf(speaker)) stops.push(...stopsOf(await readRecording(speaker, name, 8000), 8000))
    add(`${speaker} reads`, stops)
  }
  for (const crowd of ACTORS) {
    for (const [i, lines] of (await crowdRecordings(crowd, LINES_OF_AN_ACTOR)).entries()) {
      add(
        `${crowd}, actor ${i + 1}`,
        lines.flatMap((line) => stopsOf(line, 16_000)),
      )
    }
  }
  return out.join('\n')
}

const column = (text: string): string => text.padStart(20)

/** Every place of a recording where its voice stops for more than 200 ms; the last is its end. */
export function stopsOf(voice: Int16Array, rateHz: LegRateHz): Stop[] {
  const truth = truthOf(Float64Array.from(voice), rateHz)
  const tracker = new PitchTracker({ sampleRateHz: rateHz })
  const length = frameSamples(rateHz)
  const levels: number[] = []
  const pitch: number[] = []
  const stops: Stop[] = []
  let vowelFrames = 0
  let inVowel = false
  truth.forEach((speech, i) => {
    const frame = voice.subarray(i * length, (i + 1) * length)
    tracker.take(frame)
    if (!speech) return
    const hz = tracker.pitchHz()
    if (hz > 0) {
      pitch.push(Math.log2(hz))
      vowelFrames = inVowel ? vowelFrames + 1 : 1
    }
    inVowel = hz > 0
    levels.push(levelDbfs(frame))
    if (truth[i + 1] === true || pitch.length < PITCHED_FRAMES_MIN) return
    stops.push({ ends: !truth.includes(true, i + 1), levels: levels.slice(), pitch: pitch.slice(), vowelFrames })
  })
  return stops
}

/** How often the cue is higher at an end than in a pause, of all pairs: 0.5 for a cue that says nothing. */
export function areaUnder(stops: readonly Stop[], cue: (stop: Stop) => number): number {
  const values = (ends: boolean): number[] => stops.filter((stop) => stop.ends === ends).map(cue)
  const pauses = values(false)
  let higher = 0
  const ends = values(true)
  for (const end of ends) for (const pause of pauses) higher += end > pause ? 1 : end === pause ? 0.5 : 0
  return higher / (ends.length * pauses.length)
}

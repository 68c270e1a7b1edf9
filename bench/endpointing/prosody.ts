import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { levelDbfs } from '../../src/media/pcm.js'
import { PitchTracker } from '../../src/media/pitch.js'
import { crowdRecordings, readRecording, type Crowd } from '../material.js'
import { truthOf } from '../vad/corpus.js'
import { meanOf } from '../vad/score.js'
import { RECORDED, proseOf } from './corpus.js'

/**
 * Figures that are said to distinguish the end of a turn from a pause in it. They are measured at the moment when the
 * voice stops. A higher value means that an end is more probable.
 */
export const CUES = {
  /** Slope of the logarithm of the pitch: the last 100 ms of voice compared with the 200 ms before them. */
  'pitch falls': ({ pitch }: Stop): number => meanOf(pitch.slice(-15, -5)) - meanOf(pitch.slice(-5)),
  /** Pitch of the last 100 ms compared with the pitch of all earlier speech of the speaker. */
  'pitch is low': ({ pitch }: Stop): number => meanOf(pitch) - meanOf(pitch.slice(-5)),
  /** Level of the last 200 ms compared with the 400 ms before them. */
  'level falls': ({ levels }: Stop): number => meanOf(levels.slice(-30, -10)) - meanOf(levels.slice(-10)),
  /** Duration of the last vowel. */
  'last vowel is long': ({ vowelFrames }: Stop): number => vowelFrames,
} as const

/** Moment at which a voice stops, at the end of a turn or in a pause. */
interface Stop {
  readonly ends: boolean
  /** Levels in dBFS of all frames so far. `pitch`: log2 of the pitch, of the frames that have a pitch. */
  readonly levels: readonly number[]
  readonly pitch: readonly number[]
  readonly vowelFrames: number
}

export const ACTORS = ['czech', 'dutch'] as const satisfies readonly Crowd[]
const LINES_OF_AN_ACTOR = 1000
/** Minimum number of frames with pitch. With fewer frames, the usual values of a voice are not known. */
const PITCHED_FRAMES_MIN = 15

/**
 * Table that shows, for each speaker, how well each figure distinguishes ends from pauses. The speakers are people who
 * read prompts, and actors in a dialogue.
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

/**
 * Moments of a recording at which its voice stops for more than 200 ms. The last moment is the end of the recording's
 * speech.
 */
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

/** Share of all pairs in which the figure is higher at an end than in a pause. It is 0.5 if the figure is useless. */
export function areaUnder(stops: readonly Stop[], cue: (stop: Stop) => number): number {
  const values = (ends: boolean): number[] => stops.filter((stop) => stop.ends === ends).map(cue)
  const pauses = values(false)
  let higher = 0
  const ends = values(true)
  for (const end of ends) for (const pause of pauses) higher += end > pause ? 1 : end === pause ? 0.5 : 0
  return higher / (ends.length * pauses.length)
}

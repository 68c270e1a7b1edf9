import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { SPEECH_LEVEL_DBFS } from '../../src/carrier/line.js'
import { albumPieces, missingAlbums, missingCrowds, missingMaterial } from '../material.js'
import { atLevel, noiseOf, powerOf, throughLine, type Utterances } from './corpus.js'
import { namesOf, peopleOf, quantile, SPEAKERS } from './floor.js'
import { atRate, JUDGING_ALBUMS } from './nobody.js'
import { crowdVoices } from './recorded.js'
import { framesOf, ON_FRAMES } from './score.js'

/** Duration in ms of the noise before the caller first speaks. The tables of quality.ts use only one second. */
export const WAITED_MS = [1500, 6000, 12_000] as const
const RATES_HZ = [8000, 16_000] as const
const NOISES = ['pink', 'car', 'street', 'babble', 'music'] as const
const SNRS_DB = [10, 5] as const
/** Number of sentences, and number of single words, of each prompt speaker. */
const UTTERANCES = 12
/**
 * Number of utterances of each person: sentences of two actors, and words of twenty-two people. The detector is not
 * fitted to these recordings.
 */
const JUDGING_CROWDS = { dutch: 14, ktuberling: 2 } as const
const AFTER_MS = 1000
/** Maximum time in ms until speech is detected. With a later detection, the first word is lost. */
const FOUND_MS = 400

export interface WaitingRow {
  /** `prompts`: Debian's three prompt speakers. `crowds`: the people of `JUDGING_CROWDS`. */
  readonly who: 'prompts' | 'crowds'
  readonly rateHz: LegRateHz
  readonly noise: (typeof NOISES)[number]
  readonly snrDb: number
  readonly waitedMs: number
  readonly utterances: number
  /** Within `FOUND_MS`. */
  readonly found: number
  /** Time to the onset, over the utterances that have an onset. */
  readonly onsetMedianMs: number
  readonly onsetP90Ms: number
}

/**
 * Measures recorded people whose first words come after some seconds of noise, as with callers who listen to a
 * greeting.
 * @throws Error if Debian's recordings are not installed
 */
export async function measureWaiting(vadBank: VadBank): Promise<readonly WaitingRow[]> {
  const [album] = JUDGING_ALBUMS
  const missing = missingForWaiting()
  if (missing !== null || album === undefined) throw new Error(`apt-get install --no-install-recommends ${missing}`)
  const played = (await albumPieces(album)).map((piece) => Float64Array.from(piece))
  const crowdsWide: Float64Array[][] = []
  for (const [crowd, each] of Object.entries(JUDGING_CROWDS) as [keyof typeof JUDGING_CROWDS, number][])
    for (const said of await crowdVoices(crowd, each))
      crowdsWide.push(said.map((voice) => atLevel(voice, SPEECH_LEVEL_DBFS)))
  const rows: WaitingRow[] = []
  for (const rateHz of RATES_HZ) {
    const pieces = played.map((piece) => atRate(piece, rateHz))
    const prompts: Float64Array[][] = []
    for (const speaker of SPEAKERS) {
      const { sentences, short } = await peopleOf(speaker, await namesOf(speaker), rateHz)
      prompts.push([...sentences.slice(0, UTTERANCES), ...short.slice(0, UTTERANCES)])
    }
    const crowds = crowdsWide.map((said) => said.map((voice) => atRate(voice, rateHz)))
    for (const [who, people] of [
      ['prompts', prompts],
      ['crowds', crowds],
    ] as const)
      for (const noise of NOISES)
        for (const snrDb of SNRS_DB)
          for (const waitedMs of WAITED_MS) {
            const onsetsMs = people.flatMap((said, p) => {
              const crowd = people.filter((_, other) => other !== p).flat()
              const material: Utterances = { rateHz, split: 'heldOut', voices: crowd, pieces }
              return said.flatMap((voice, i) => {
                const ms = msOf(voice, rateHz)
                const seed = p * said.length + i + 1
                const sound = noiseOf(noise, { rateHz, ms: ms + waitedMs + AFTER_MS, seed }, material)
                return onsetMsOf(over(sound, voice, { rateHz, snrDb, waitedMs }), ms, waitedMs, rateHz, vadBank)
              })
            })
            const heardMs = onsetsMs.filter((ms) => ms !== null)
            rows.push({
              who,
              rateHz,
              noise,
              snrDb,
              waitedMs,
              utterances: onsetsMs.length,
              found: heardMs.filter((ms) => ms <= FOUND_MS).length,
              onsetMedianMs: quantile(heardMs, 0.5),
              onsetP90Ms: quantile(heardMs, 0.9),
            })
          }
  }
  return rows
}

/** Packages for `apt-get install` that `measureWaiting` needs; null if all are installed. */
function missingForWaiting(): string | null {
  const missing = [
    missingMaterial(...SPEAKERS),
    missingAlbums(...JUDGING_ALBUMS),
    missingCrowds(...(Object.keys(JUDGING_CROWDS) as (keyof typeof JUDGING_CROWDS)[])),
  ].filter((packages) => packages !== null)
  return missing.length > 0 ? missing.join(' ') : null
}

const msOf = (samples: Float64Array, rateHz: LegRateHz): number => (1000 * samples.length) / rateHz

/** Noise in which the voice begins after `waitedMs`. */
function over(
  noise: Float64Array,
  voice: Float64Array,
  { rateHz, snrDb, waitedMs }: Pick<WaitingRow, 'rateHz' | 'snrDb' | 'waitedMs'>,
): Float64Array {
  const gain = Math.sqrt(powerOf(voice) / 10 ** (snrDb / 10) / powerOf(noise))
  const from = (waitedMs * rateHz) / 1000
  return noise.map((value, i) => gain * value + (voice[i - from] ?? 0))
}

/** Time in ms from the voice's beginning to the frame of its onset; null if there is no onset while the voice lasts. */
function onsetMsOf(
  sound: Float64Array,
  voiceMs: number,
  waitedMs: number,
  rateHz: LegRateHz,
  vadBank: VadBank,
): number | null {
  const from = waitedMs / FRAME_MS
  const frames = framesOf(throughLine(sound, rateHz, rateHz === 8000), rateHz, vadBank)
  const spoken = frames.slice(from, from + Math.ceil(voiceMs / FRAME_MS))
  let row = 0
  const at = spoken.findIndex(({ voiced }) => (row = voiced ? row + 1 : 0) >= ON_FRAMES)
  return at < 0 ? null : (at + 1) * FRAME_MS
}

import { FRAME_MS, type LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { albumPieces, missingAlbums, missingMaterial } from '../material.js'
import { joined, noiseOf, powerOf, resampled, throughLine } from './corpus.js'
import { namesOf, peopleOf, quantile, SPEAKERS } from './floor.js'
import { JUDGING_ALBUMS } from './nobody.js'
import { framesOf, ON_FRAMES } from './score.js'

/** How long the noise was there when the caller first speaks. The tables of quality.ts know one second alone. */
export const WAITED_MS = [1500, 6000, 12_000] as const
const RATES_HZ = [8000, 16_000] as const
const NOISES = ['pink', 'car', 'street', 'babble', 'music'] as const
const SNRS_DB = [10, 5] as const
/** Of each speaker: as many sentences and as many single words. */
const UTTERANCES = 12
const AFTER_MS = 1000
/** What is found later has lost its first word. */
const FOUND_MS = 400

export interface WaitingRow {
  readonly rateHz: LegRateHz
  readonly noise: (typeof NOISES)[number]
  readonly snrDb: number
  readonly waitedMs: number
  readonly utterances: number
  /** Within `FOUND_MS`. */
  readonly found: number
  /** Until the onset, over the utterances that have one. */
  readonly onsetMedianMs: number
  readonly onsetP90Ms: number
}

/**
 * Recorded people whose first words come after some seconds of noise alone, as of anybody who listens to a greeting.
 * @throws Error when Debian's recordings are not installed
 */
export async function measureWaiting(vadBank: VadBank): Promise<readonly WaitingRow[]> {
  const [album] = JUDGING_ALBUMS
  const missing = missingMaterial(...SPEAKERS) ?? (album === undefined ? null : missingAlbums(album))
  if (missing !== null || album === undefined) throw new Error(`apt-get install --no-install-recommends ${missing}`)
  const played = (await albumPieces(album)).map((piece) => Float64Array.from(piece))
  const rows: WaitingRow[] = []
  for (const rateHz of RATES_HZ) {
    const pieces = rateHz === 16_000 ? played : played.map((piece) => resampled(piece, 16_000, rateHz))
    const people: Float64Array[][] = []
    for (const speaker of SPEAKERS) {
      const { sentences, short } = await peopleOf(speaker, await namesOf(speaker), rateHz)
      people.push([...sentences.slice(0, UTTERANCES), ...short.slice(0, UTTERANCES)])
    }
    for (const noise of NOISES) {
      for (const snrDb of SNRS_DB) {
        for (const waitedMs of WAITED_MS) {
          const onsetsMs: number[] = []
          let utterances = 0
          for (const [p, said] of people.entries()) {
            const crowd = people.filter((_, other) => other !== p).flat()
            for (const voice of said) {
              const clean = joined([silence(waitedMs, rateHz), voice, silence(AFTER_MS, rateHz)])
              const extent = { rateHz, ms: (1000 * clean.length) / rateHz, seed: ++utterances }
              const sound = noiseOf(noise, extent, { rateHz, split: 'heldOut', voices: crowd, pieces })
              const gain = Math.sqrt(powerOf(voice) / 10 ** (snrDb / 10) / powerOf(sound))
              const heard = clean.map((value, i) => value + gain * (sound[i] ?? 0))
              const frames = framesOf(throughLine(heard, rateHz, rateHz === 8000), rateHz, vadBank)
              const from = waitedMs / FRAME_MS
              const spoken = frames.slice(from, from + Math.ceil((1000 * voice.length) / rateHz / FRAME_MS))
              const at = spoken.findIndex((_, i) => {
                const row = spoken.slice(i, i + ON_FRAMES)
                return row.length === ON_FRAMES && row.every(({ voiced }) => voiced)
              })
              if (at >= 0) onsetsMs.push((at + ON_FRAMES) * FRAME_MS)
            }
          }
          rows.push({
            rateHz,
            noise,
            snrDb,
            waitedMs,
            utterances,
            found: onsetsMs.filter((ms) => ms <= FOUND_MS).length,
            onsetMedianMs: quantile(onsetsMs, 0.5),
            onsetP90Ms: quantile(onsetsMs, 0.9),
          })
        }
      }
    }
  }
  return rows
}

const silence = (ms: number, rateHz: LegRateHz): Float64Array => new Float64Array((ms * rateHz) / 1000)

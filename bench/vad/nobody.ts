import type { LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { type Album, albumPieces, missingAlbums, missingMaterial, readRecording, recordings } from '../material.js'
import { resampled, throughLine, widened, atLevel } from './corpus.js'
import { type Interruptions, interruptionsOf } from './interruptions.js'
import { missingInstruments, renderedMusic } from './rendered.js'
import { framesOf, meanOf, shareOf } from './score.js'
import { brownNoise, carNoise, hum, pinkNoise, steppingNoise, street, whiteNoise } from './sounds.js'

/** A leg of 8 kHz, one of 16 kHz that is as wide, and one of 16 kHz that carries 8 kHz mu-law, as real calls do. */
const LINES = ['8 kHz', '16 kHz', 'tel'] as const
type Line = (typeof LINES)[number]

export interface NobodyRow extends Interruptions {
  readonly name: string
  readonly line: Line
  /** Share of the frames after the first second. */
  readonly voicedShare: number
}

interface Sound {
  readonly name: string
  /** One piece or several, whose means make a row. */
  readonly at: (rateHz: LegRateHz) => readonly Float64Array[] | Promise<readonly Float64Array[]>
}

export const JUDGING_ALBUMS: readonly Album[] = ['pingus', 'singularity']

const FIRST_FRAMES = 50
const MUSIC_DBFS = -22
const NOISE_DBFS = -32
// As loud as a machine makes the noise of a line.
const COMFORT_DBFS = -48
const PIECES = 6
const PIECE_MS = 45_000
const PIECES_SEED = 900

const NOISES = [
  { name: 'white noise', make: whiteNoise, dbfs: NOISE_DBFS },
  { name: 'pink noise', make: pinkNoise, dbfs: NOISE_DBFS },
  { name: 'brown noise', make: brownNoise, dbfs: NOISE_DBFS },
  { name: 'car', make: carNoise, dbfs: NOISE_DBFS },
  { name: 'hum', make: hum, dbfs: NOISE_DBFS },
  { name: 'street', make: street, dbfs: NOISE_DBFS },
  { name: 'comfort noise, 7 to 15 dB steps', make: steppingNoise, dbfs: COMFORT_DBFS },
] as const

/**
 * Sounds in which nobody speaks: noise alone, Debian's music on hold as it was recorded, the music of two games, and
 * pieces on sampled instruments. Nothing is fitted to any of them but to two pieces on hold (`TRAINING_MUSIC` in
 * scenes.ts).
 * @param ms of each noise and each recorded piece: nobody waits longer than two minutes, and a piece takes the turn, if
 *   at all, in its first seconds
 * @param everyNth of an album's pieces and of those on sampled instruments, only every n-th is heard
 * @returns the rows, and what `apt-get install` needs for those that are left out
 */
export async function measureNobody(
  vadBank: VadBank,
  ms: number,
  everyNth = 1,
): Promise<{ readonly rows: readonly NobodyRow[]; readonly missing: readonly string[] }> {
  const sounds: Sound[] = NOISES.map(({ name, make, dbfs }) => ({
    name,
    at: (rateHz) => [atLevel(make({ rateHz, ms, seed: 9 }), dbfs)],
  }))
  const missing = [
    missingMaterial('music'),
    ...JUDGING_ALBUMS.map((album) => missingAlbums(album)),
    missingInstruments(),
  ]
  if (missingMaterial('music') === null) {
    for (const name of recordings('music')) {
      sounds.push({
        name,
        at: async (rateHz) => [
          Float64Array.from((await readRecording('music', name, rateHz)).subarray(0, (rateHz * ms) / 1000)),
        ],
      })
    }
  }
  for (const album of JUDGING_ALBUMS) {
    if (missingAlbums(album) !== null) continue
    const pieces = (await albumPieces(album))
      .filter((_, i) => i % everyNth === 0)
      .map((piece) => Float64Array.from(piece))
    sounds.push({
      name: `${album}, mean of ${pieces.length} pieces`,
      at: (rateHz) => pieces.map((wide) => atLevel(atRate(wide, rateHz), MUSIC_DBFS)),
    })
  }
  if (missingInstruments() === null) {
    for (let piece = 1; piece <= PIECES; piece += everyNth) {
      sounds.push({
        name: `rendered piece ${piece}`,
        at: async (rateHz) => {
          const wide = await renderedMusic({ seed: PIECES_SEED + piece, ms: PIECE_MS, split: 'validation' })
          return [atLevel(atRate(wide, rateHz), MUSIC_DBFS)]
        },
      })
    }
  }
  const rows: NobodyRow[] = []
  for (const { name, at } of sounds) {
    for (const line of LINES) {
      const pieces = (await at(line === '16 kHz' ? 16_000 : 8000)).map((piece) => figuresOf(piece, line, vadBank))
      rows.push({
        name,
        line,
        voicedShare: meanOf(pieces.map(({ voicedShare }) => voicedShare)),
        pausesPerMin: meanOf(pieces.map(({ pausesPerMin }) => pausesPerMin)),
        commitsPerMin: meanOf(pieces.map(({ commitsPerMin }) => commitsPerMin)),
      })
    }
  }
  return { rows, missing: missing.filter((packages) => packages !== null) }
}

/** @param sound at 16 kHz for the line that is as wide, at 8 kHz for the others */
function figuresOf(sound: Float64Array, line: Line, vadBank: VadBank): Omit<NobodyRow, 'name' | 'line'> {
  const sent = throughLine(sound, line === '16 kHz' ? 16_000 : 8000, line !== '16 kHz')
  const frames = framesOf(line === 'tel' ? widened(sent) : sent, line === '8 kHz' ? 8000 : 16_000, vadBank)
  const voicedShare = shareOf(frames.slice(FIRST_FRAMES).map(({ voiced }) => voiced))
  return { voicedShare, ...interruptionsOf(frames) }
}

/** @param wide of 16 kHz */
export const atRate = (wide: Float64Array, rateHz: LegRateHz): Float64Array =>
  rateHz === 16_000 ? wide : resampled(wide, 16_000, rateHz)

import type { LegRateHz } from '../../src/core/units.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { type Album, albumPieces, missingAlbums, missingMaterial, readRecording, recordings } from '../material.js'
import { resampled, throughLine, widened, atLevel } from './corpus.js'
import { type Interruptions, interruptionsOf } from './interruptions.js'
import { missingInstruments, renderedMusic } from './rendered.js'
import { framesOf, meanOf, shareOf } from './score.js'
import { brownNoise, carNoise, hum, pinkNoise, steppingNoise, street, whiteNoise } from './sounds.js'

/**
 * Lines: a leg of 8 kHz; a leg of 16 kHz with full bandwidth; and, as in real calls, a leg of 16 kHz that carries
 * mu-law of 8 kHz (`tel`).
 */
const LINES = ['8 kHz', '16 kHz', 'tel'] as const
type Line = (typeof LINES)[number]

export interface NobodyRow extends Interruptions {
  readonly name: string
  readonly line: Line
  /** Share of voiced frames after the first second. */
  readonly voicedShare: number
}

interface Sound {
  readonly name: string
  /** One piece, or several pieces whose mean is one row. */
  readonly at: (rateHz: LegRateHz) => readonly Float64Array[] | Promise<readonly Float64Array[]>
}

export const JUDGING_ALBUMS: readonly Album[] = ['pingus', 'singularity']

const FIRST_FRAMES = 50
const MUSIC_DBFS = -22
const NOISE_DBFS = -32
// Level of line noise that a machine generates.
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
 * Measures sounds in which nobody speaks: noise, Debian's recorded music on hold, the music of two games, and pieces on
 * sampled instruments. The detector is fitted to none of them, except two pieces of music on hold (`TRAINING_MUSIC` in
 * scenes.ts).
 * @param ms  duration in ms of each noise and each recorded piece. Callers do not wait for more than two minutes, and a
 * piece that takes the turn does so in its first seconds
 * @param everyNth  uses only every n-th of an album's pieces and of the pieces on sampled instruments
 * @returns the rows, and the packages for `apt-get install` that the omitted rows need
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

/** @param sound sound at 16 kHz for the line with full bandwidth, at 8 kHz for the other lines */
function figuresOf(sound: Float64Array, line: Line, vadBank: VadBank): Omit<NobodyRow, 'name' | 'line'> {
  const sent = throughLine(sound, line === '16 kHz' ? 16_000 : 8000, line !== '16 kHz')
  const frames = framesOf(line === 'tel' ? widened(sent) : sent, line === '8 kHz' ? 8000 : 16_000, vadBank)
  const voicedShare = shareOf(frames.slice(FIRST_FRAMES).map(({ voiced }) => voiced))
  return { voicedShare, ...interruptionsOf(frames) }
}

/** @param wide sound at 16 kHz */
export const atRate = (wide: Float64Array, rateHz: LegRateHz): Float64Array =>
  rateHz === 16_000 ? wide : resampled(wide, 16_000, rateHz)

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { LegRateHz } from '../../src/core/units.js'
import {
  atSpeechLevel,
  convertRate,
  dbToGain,
  rmsOf,
  type LineOptions,
  SPEECH_LEVEL_DBFS,
} from '../../src/carrier/line.js'
import { type CallerFile, readWavFile } from '../../src/carrier/caller-leg.js'
import { seededRandom } from '../../src/carrier/random.js'
import { WrongOption } from '../kit/command.js'
import { babble, street } from '../vad/sounds.js'
import { type Clip, type Person, RECORDED, sentencesOf } from './clips.js'

export const CONDITIONS = ['clean', 'street', 'babble', 'neighbour', 'echo'] as const
export type Condition = (typeof CONDITIONS)[number]

/** Level in dB of the surrounding noise below the caller's voice. */
const HISS_DB = 45
const STREET_DB = 10
const BABBLE_DB = 10
/** Level in dB of another person near the phone, below the caller's voice. Callers get these values in turn. */
const NEIGHBOUR_DB = [9, 15, 20] as const
const ECHO_DB = -20
const ECHO_DELAY_MS = 180
const BED_S = 40
const SENTENCES = 20
const FILES_MAX = 50
const NEIGHBOUR_PAUSE_S = [0.4, 2] as const
/** Pauses in s between sounds in the street. Sounds can be heard above the traffic a third of the time. */
const STREET_PAUSE_S = [2, 8] as const
const PEOPLE_FILE = /people|talk|crowd|babble/i
const MOTOR_FILE = /engine|traffic|motor|street/i
const matches = (name: RegExp) => (file: string) => name.test(file)
const isEvent = (file: string): boolean => !PEOPLE_FILE.test(file) && !MOTOR_FILE.test(file)

/** Sounds around the callers: recordings from a folder, or synthesised sounds. */
export class Surroundings {
  readonly #files: ReadonlyMap<string, CallerFile>

  private constructor(files: ReadonlyMap<string, CallerFile>) {
    this.#files = files
  }

  /**
   * @param folder  folder with WAV files. Files with `people` or `talk` in their name are babble, files with `engine` or
   * `traffic` are the background of the street, all others are single sounds in the street. null: all sounds are
   * synthesised
   * @throws WrongOption if the folder has no WAV files
   */
  static async load(folder: string | null): Promise<Surroundings> {
    const files = new Map<string, CallerFile>()
    if (folder === null) return new Surroundings(files)
    const names = await readdir(folder).catch(() => {
      throw new WrongOption(`--noise is '${folder}', which cannot be read; allowed is a folder of WAV files`)
    })
    for (const name of names
      .filter((one) => one.endsWith('.wav'))
      .toSorted()
      .slice(0, FILES_MAX))
      files.set(name, await readWavFile(join(folder, name)))
    if (files.size === 0) throw new WrongOption(`--noise is '${folder}', which has no WAV file`)
    return new Surroundings(files)
  }

  /** @param index index of the caller in the row */
  async line(
    condition: Condition,
    rateHz: LegRateHz,
    person: Person,
    index: number,
    seed: number,
  ): Promise<LineOptions> {
    const line = { sampleRateHz: rateHz, seed, snrDb: HISS_DB }
    const extent = { rateHz, ms: BED_S * 1000, seed }
    switch (condition) {
      case 'clean':
        return line
      case 'echo': {
        const phone = index % 2 === 0 ? 'plain' : 'speakerphone'
        return { ...line, echo: { levelDb: ECHO_DB, delayMs: ECHO_DELAY_MS, phone } }
      }
      case 'street': {
        const bed = this.#at(matches(MOTOR_FILE), rateHz)
        const events = this.#at(isEvent, rateHz)
        const noise =
          bed.length + events.length === 0 ? Float32Array.from(street(extent)) : streetOf(bed, events, rateHz, seed)
        return { ...line, snrDb: STREET_DB, noise: 'street', noiseBed: unitBed(noise) }
      }
      case 'babble': {
        const [people] = this.#at(matches(PEOPLE_FILE), rateHz)
        const voices =
          people === undefined ? (await others(person, rateHz)).map(({ pcm }) => Float64Array.from(pcm)) : []
        const noise = people === undefined ? Float32Array.from(babble(extent, voices)) : Float32Array.from(people)
        return { ...line, snrDb: BABBLE_DB, noise: 'babble', noiseBed: unitBed(noise) }
      }
      case 'neighbour': {
        const snrDb = NEIGHBOUR_DB[index % NEIGHBOUR_DB.length] as number
        const all = await others(person, rateHz)
        const sentences = all.filter(({ who }) => who === all[0]?.who).map(({ pcm }) => pcm)
        const level = 32_768 * dbToGain(SPEECH_LEVEL_DBFS)
        const bed = inTurns(sentences, rateHz, NEIGHBOUR_PAUSE_S, seed).map((sample) => sample / level)
        return { ...line, snrDb, noise: 'television', noiseBed: bed }
      }
    }
  }

  #at(isWanted: (file: string) => boolean, rateHz: LegRateHz): Int16Array[] {
    return [...this.#files]
      .filter(([file]) => isWanted(file))
      .map(([, { pcm, sampleRateHz }]) => convertRate(pcm, sampleRateHz, rateHz))
  }
}

const known = new Map<string, Promise<readonly (Clip & { readonly who: string })[]>>()

/** Sentences of recorded people other than this person. */
function others(person: Person, rateHz: LegRateHz): Promise<readonly (Clip & { readonly who: string })[]> {
  const key = `${person} ${rateHz}`
  let found = known.get(key)
  if (found === undefined) {
    found = Promise.all(
      RECORDED.filter((one) => one !== person).map(async (who) =>
        (await sentencesOf(who, rateHz, SENTENCES)).map((clip) => ({ ...clip, who })),
      ),
    ).then((all) => all.flat())
    known.set(key, found)
  }
  return found
}

/** Sounds one after another, with pauses, for the duration of a background. */
function inTurns(
  sounds: readonly Int16Array[],
  rateHz: number,
  [leastS, mostS]: readonly [number, number],
  seed: number,
): Float32Array {
  const random = seededRandom(seed)
  const bed = new Float32Array(BED_S * rateHz)
  for (let at = Math.round(rateHz * random()), i = Math.floor(random() * sounds.length); at < bed.length; i++) {
    const sound = sounds[i % sounds.length]
    if (sound === undefined) return bed
    bed.set(sound.subarray(0, bed.length - at), at)
    at += sound.length + Math.round(rateHz * (leastS + (mostS - leastS) * random()))
  }
  return bed
}

/** Continuous traffic, and other sounds that are 6 dB louder than the traffic. */
function streetOf(
  beds: readonly Int16Array[],
  events: readonly Int16Array[],
  rateHz: number,
  seed: number,
): Float32Array {
  const out = inTurns(
    events.map((pcm) => atSpeechLevel(pcm, rateHz)),
    rateHz,
    STREET_PAUSE_S,
    seed,
  )
  const [bed] = beds
  if (bed === undefined) return out
  const gain = (0.5 * 32_768 * dbToGain(SPEECH_LEVEL_DBFS)) / Math.max(1, rmsOf(bed))
  return out.map((sample, i) => sample + gain * (bed[i % bed.length] as number))
}

/** The sound with an RMS of 1. */
function unitBed(bed: Float32Array): Float32Array {
  let power = 0
  for (const sample of bed) power += sample * sample
  const rms = Math.sqrt(power / Math.max(1, bed.length))
  return rms === 0 ? bed : bed.map((sample) => sample / rms)
}

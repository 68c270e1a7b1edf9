import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { frameSamples, type LegRateHz } from '../../src/core/units.js'
import { isPureTone } from '../../src/media/vad/pure-tone.js'
import { type CallerFile, readWavFile } from '../../src/carrier/caller-leg.js'
import { type Crowd, type Material, crowdRecordings, readRecording, recordings, spread } from '../material.js'
import { type Utterances, UTTERANCES_PER_CALL, powerOf, truthOf, utterancesOf } from './corpus.js'
import type { Split } from './splits.js'

const FILES_MAX = 20_000
const UTTERANCE_S = [0.8, 8] as const
// Folders of prompts also contain silences and beeps.
const LEAST_RMS = 100
const TONES_MAX = 0.1
/** Minimum and maximum duration in s of a crowd's recordings. They may be letters and single words. */
const CROWD_S = [0.3, 6] as const
const CROWD_LEAST_RMS = 30

/**
 * Sentences of recorded people.
 * @param folder  folder of WAV files in a form that `readWavFile` can read, one sentence per file; subfolders are
 * included, other files are skipped
 * @returns the sentences with their names in the folder, sorted by name
 * @throws Error if the folder has too many files
 */
export async function recordedSentences(
  folder: string,
): Promise<{ readonly name: string; readonly audio: CallerFile }[]> {
  const files = (await readdir(folder, { recursive: true }))
    .filter((name) => name.toLowerCase().endsWith('.wav'))
    .toSorted()
  if (files.length > FILES_MAX) throw new Error(`more than ${FILES_MAX} WAV files in ${folder}`)
  const found: { readonly name: string; readonly audio: CallerFile }[] = []
  for (const name of files) {
    const audio = await readWavFile(join(folder, name)).catch(() => null)
    if (audio !== null && isSentence(audio)) found.push({ name, audio })
  }
  return found
}

/**
 * Utterances of recorded people instead of synthesised voices. This is an optional check, because this repository
 * contains no recordings.
 * @param folder  as for `recordedSentences`
 * @param count  number of utterances. They are in the order of their names, spread evenly over all
 * @throws Error if there are fewer sentences
 */
export async function recordedUtterances(folder: string, rateHz: LegRateHz, count: number): Promise<Utterances> {
  const found = await recordedSentences(folder)
  if (found.length < count)
    throw new Error(`${count} sentences of ${UTTERANCE_S.join(' to ')} s are wanted, ${folder} has ${found.length}`)
  return utterancesOf(
    rateHz,
    'heldOut',
    Array.from({ length: count }, (_, i) => {
      const { pcm, sampleRateHz } = (found[Math.floor((i * found.length) / count)] as (typeof found)[number]).audio
      return { samples: Float64Array.from(pcm), sampleRateHz }
    }),
  )
}

/**
 * Utterances of one of Debian's prompt speakers, with the bandwidth of the leg.
 * @param count  number of utterances, spread evenly over all sentences of the person
 * @param pitches  used in turn for six utterances each: faster or slower playing sounds like a smaller or larger speaker
 */
export async function promptUtterances(
  person: Exclude<Material, 'music'>,
  rateHz: LegRateHz,
  count: number,
  split: Split,
  pitches: readonly number[] = [1],
): Promise<Utterances> {
  const narrow = await Promise.all(
    recordings(person)
      .filter((name) => !name.startsWith('silence/'))
      .map(async (name) => ({ name, pcm: await readRecording(person, name, 8000) })),
  )
  const found = narrow.filter(({ pcm }) => isSentence({ pcm, sampleRateHz: 8000 }))
  const sentences: { readonly samples: Float64Array; readonly sampleRateHz: number }[] = []
  for (let i = 0; i < count; i++) {
    const { name, pcm } = found[Math.floor(((i + 0.5) * found.length) / count)] as (typeof found)[number]
    const samples = rateHz === 8000 ? pcm : await readRecording(person, name, rateHz)
    const pitch = pitches[Math.floor(i / UTTERANCES_PER_CALL) % pitches.length] as number
    sentences.push({ samples: Float64Array.from(samples), sampleRateHz: rateHz * pitch })
  }
  return utterancesOf(rateHz, split, sentences)
}

/**
 * Utterances of the people of a crowd, with the bandwidth of the leg. Each person has six utterances in turn.
 * @param count  number of utterances of each person, a multiple of six; fewer if a person has fewer
 */
export async function crowdUtterances(
  crowd: Crowd,
  rateHz: LegRateHz,
  count: number,
  split: Split,
  pitches: readonly number[] = [1],
): Promise<Utterances> {
  const sentences: { readonly samples: Float64Array; readonly sampleRateHz: number }[] = []
  for (const voices of await crowdVoices(crowd, count)) {
    voices.slice(0, voices.length - (voices.length % UTTERANCES_PER_CALL)).forEach((samples, i) => {
      const pitch = pitches[Math.floor(i / UTTERANCES_PER_CALL) % pitches.length] as number
      sentences.push({ samples, sampleRateHz: 16_000 * pitch })
    })
  }
  return utterancesOf(rateHz, split, sentences)
}

/** @returns for each person of a crowd at most `count` utterances at 16 kHz, each from its first sound to its last */
export async function crowdVoices(crowd: Crowd, count: number): Promise<readonly (readonly Float64Array[])[]> {
  return (await crowdRecordings(crowd, 2 * count)).map((recorded) => {
    const voices = recorded
      .map((pcm) => {
        const samples = Float64Array.from(pcm)
        const truth = truthOf(samples, 16_000)
        const length = frameSamples(16_000)
        return samples.slice(truth.indexOf(true) * length, (truth.lastIndexOf(true) + 1) * length)
      })
      .filter(
        (voice) =>
          voice.length >= CROWD_S[0] * 16_000 &&
          voice.length <= CROWD_S[1] * 16_000 &&
          Math.sqrt(powerOf(voice)) >= CROWD_LEAST_RMS,
      )
    return spread(voices, count)
  })
}

function isSentence({ pcm, sampleRateHz }: CallerFile): boolean {
  if (sampleRateHz !== 8000 && sampleRateHz !== 16000) return false
  const seconds = pcm.length / sampleRateHz
  if (seconds < UTTERANCE_S[0] || seconds > UTTERANCE_S[1] || Math.sqrt(powerOf(Float64Array.from(pcm))) < LEAST_RMS)
    return false
  const length = frameSamples(sampleRateHz)
  const frames = Math.floor(pcm.length / length)
  let tones = 0
  for (let i = 0; i < frames; i++) if (isPureTone(pcm.subarray(i * length, (i + 1) * length), sampleRateHz)) tones++
  return tones <= TONES_MAX * frames
}

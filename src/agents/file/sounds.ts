import { readFile, stat } from 'node:fs/promises'
import { GatewayError } from '../../core/errors.js'
import { samplesToMs, type LegRateHz, type SampleRateHz } from '../../core/units.js'
import { joined } from '../../media/pcm.js'
import { RateConverter } from '../../media/resample/rate-converter.js'
import { channelOf, parseWav } from '../../media/wav.js'
import type { AgentDefinition } from './definition.js'
import { pathText } from './faults.js'
import { LIVE, phrasesOf } from './phrases.js'

/** Maximum size in bytes of a sound file before its conversion. A minute of stereo at 48 kHz has this size. */
const SOUND_FILE_BYTES_MAX = 12 * 1024 * 1024
/**
 * Maximum duration of a recorded phrase, in milliseconds. A phrase of this duration fits into
 * SPEECH_WAITING_SAMPLES_MAX.
 */
const RECORDED_MS_MAX = 20_000
const WAITING_MS_MAX = 60_000
/** Minimum duration of a waiting sound, in milliseconds. A shorter sound, played in a loop, sounds like a buzz. */
const WAITING_MS_MIN = 200

/** Mono sound of an agent: signed 16-bit samples, in memory that all threads share. */
interface AgentSound {
  readonly sampleRateHz: SampleRateHz
  readonly samples: SharedArrayBuffer
}

/** A phrase of the agent's file that a person has recorded. */
export interface RecordedPhrase extends AgentSound {
  readonly text: string
  /** Language of the text; null if the phrase has one text for all languages. */
  readonly language: string | null
}

/** A file in `recordedPhrases`, with its position there and the text that it contains. */
interface NamedRecording {
  readonly path: readonly PropertyKey[]
  readonly file: string
  readonly text: string
  readonly language: string | null
}

/** Returns the files of `recordedPhrases` with their texts, and a fault for each file without a text. */
export function recordingsOf(
  agent: AgentDefinition,
): readonly (NamedRecording | { readonly path: readonly PropertyKey[]; readonly what: string })[] {
  // The phrases for taking a message are left out, because the backend itself speaks them.
  const phrases = new Map(phrasesOf(agent).filter(([path]) => !path.startsWith(LIVE)))
  const files = new Map<string, NamedRecording>()
  const entries = Object.entries(agent.recordedPhrases).flatMap(([name, files]) => {
    const path = ['recordedPhrases', name]
    const phrase = phrases.get(name)
    if (phrase === undefined)
      return [
        {
          path,
          what: `is not a phrase that the gateway says for this agent; allowed: ${[...phrases.keys()].join(', ')}`,
        },
      ]
    if (typeof files === 'string')
      return [
        typeof phrase === 'string'
          ? named(path, files, phrase)
          : {
              path,
              what: `is in several languages; allowed: one file for each language, such as { ${Object.keys(phrase).join(': …, ')}: … }`,
            },
      ]
    return Object.entries(files).map(([language, own]) => {
      const text = typeof phrase === 'string' ? undefined : phrase[language]
      const at = [...path, language]
      return text === undefined ? { path: at, what: `has no text in that language` } : named(at, own, text, language)
    })
  })
  return entries.map((one) => {
    if ('what' in one) return one
    const { path, file, text, language } = one
    const key = JSON.stringify([text, language])
    const before = files.get(key)
    files.set(key, before ?? one)
    return before === undefined || before.file === file
      ? one
      : {
          path,
          what: `has the text of ${pathText(before.path)}, whose file is ${before.file}; allowed: one recording for each text`,
        }
  })
}

function named(
  path: readonly PropertyKey[],
  file: string,
  text: string,
  language: string | null = null,
): ReturnType<typeof recordingsOf>[number] {
  return text.includes('{{')
    ? { path, what: 'has values of the call in its text, which a recording cannot contain' }
    : { path, file, text: text.trim(), language }
}

/** Reads a sound file. @throws SyntaxError with the fault and the allowed values */
export async function readSound(path: string, msMax = RECORDED_MS_MAX): Promise<AgentSound> {
  const { size } = await stat(path)
  if (size > SOUND_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${size} bytes; at most ${SOUND_FILE_BYTES_MAX} are allowed`)
  const { sampleRateHz, samples } = monoOf(await readFile(path))
  const ms = samplesToMs(samples.length, sampleRateHz)
  if (ms === 0) throw new SyntaxError('has no sound')
  if (ms > msMax) throw new SyntaxError(`lasts ${(ms / 1000).toFixed(1)} s; at most ${msMax / 1000} s are allowed`)
  return { sampleRateHz, samples: sharedSamples(samples) }
}

/** Waiting sound of an agent, once for each sample rate of a leg, in memory that all threads share. */
export type WaitingLoop = Readonly<Record<LegRateHz, SharedArrayBuffer>>

/** @throws SyntaxError that names the fault and the allowed values */
export async function readWaitingLoop(path: string, gainDb: number): Promise<WaitingLoop> {
  const { sampleRateHz, samples } = await readSound(path, WAITING_MS_MAX)
  const gain = 10 ** (gainDb / 20)
  const softer = new Int16Array(samples).map((sample) => Math.round(sample * gain))
  const ms = samplesToMs(softer.length, sampleRateHz)
  if (ms < WAITING_MS_MIN)
    throw new SyntaxError(`lasts ${Math.round(ms)} ms; at least ${WAITING_MS_MIN} are needed for a loop`)
  const at = (rateHz: LegRateHz): SharedArrayBuffer => {
    const converter = new RateConverter(sampleRateHz, rateHz)
    const parts = rateHz === sampleRateHz ? [softer] : [converter.process(softer), converter.flush()]
    return sharedSamples(joined(parts))
  }
  return { 8000: at(8000), 16_000: at(16_000) }
}

/** Returns the samples, on any thread; null if the agent does not have a waiting sound. */
export function waitingSamples(
  { waiting }: { readonly waiting: WaitingLoop | null },
  rateHz: LegRateHz,
): Int16Array | null {
  return waiting === null ? null : new Int16Array(waiting[rateHz])
}

function sharedSamples(samples: Int16Array): SharedArrayBuffer {
  const shared = new SharedArrayBuffer(samples.byteLength)
  new Int16Array(shared).set(samples)
  return shared
}

function monoOf(bytes: Uint8Array): { readonly sampleRateHz: SampleRateHz; readonly samples: Int16Array } {
  try {
    const audio = parseWav(bytes)
    const [left, right] = [channelOf(audio, 0), audio.channels === 1 ? null : channelOf(audio, 1)]
    const samples = right === null ? left : left.map((sample, at) => (sample + (right[at] ?? 0)) >> 1)
    return { sampleRateHz: audio.sampleRateHz, samples }
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw new SyntaxError(thrown.message)
    throw thrown
  }
}

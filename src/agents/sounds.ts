import { readFile, stat } from 'node:fs/promises'
import { GatewayError } from '../core/errors.js'
import { samplesToMs, type SampleRateHz } from '../core/units.js'
import { channelOf, parseWav } from '../media/wav.js'
import type { AgentDefinition } from './definition.js'
import { LIVE, phrasesOf } from './phrases.js'

/** Bytes of one sound file, before its rate and channels are converted: a minute of stereo at 48 kHz. */
const SOUND_FILE_BYTES_MAX = 12 * 1024 * 1024
/** Length of a recorded phrase, as of one that a voice speaks. */
const RECORDED_MS_MAX = 30_000

/** Mono sound of an agent's, s16, in memory that all threads have in common. */
interface AgentSound {
  readonly sampleRateHz: SampleRateHz
  readonly samples: SharedArrayBuffer
}

/** A phrase of the agent's file that a person has recorded. */
export interface RecordedPhrase extends AgentSound {
  readonly text: string
}

/** One file that `recordedPhrases` names: its place there, and the text that it says. */
interface NamedRecording {
  readonly path: readonly PropertyKey[]
  readonly file: string
  readonly text: string
}

/** The files of `recordedPhrases` with their texts; a fault for each that has none. */
export function recordingsOf(
  agent: AgentDefinition,
): readonly (NamedRecording | { readonly path: readonly PropertyKey[]; readonly what: string })[] {
  // Where a message is taken, the backend speaks.
  const phrases = new Map(phrasesOf(agent).filter(([path]) => !path.startsWith(LIVE)))
  return Object.entries(agent.recordedPhrases).flatMap(([name, files]) => {
    const path = ['recordedPhrases', name]
    const phrase = phrases.get(name)
    if (phrase === undefined)
      return [
        { path, what: `is no phrase that the gateway says for this agent; allowed: ${[...phrases.keys()].join(', ')}` },
      ]
    if (typeof files === 'string')
      return [
        typeof phrase === 'string'
          ? named(path, files, phrase)
          : {
              path,
              what: `is in several languages; allowed: a file for each, such as { ${Object.keys(phrase).join(': …, ')}: … }`,
            },
      ]
    return Object.entries(files).map(([language, own]) => {
      const text = typeof phrase === 'string' ? undefined : phrase[language]
      const at = [...path, language]
      return text === undefined ? { path: at, what: `has no text in that language` } : named(at, own, text)
    })
  })
}

function named(path: readonly PropertyKey[], own: string, text: string): ReturnType<typeof recordingsOf>[number] {
  return text.includes('{{')
    ? { path, what: 'has values of the call in its text, which no recording has' }
    : { path, file: own, text: text.trim() }
}

/**
 * Reads a sound.
 * @throws SyntaxError  what is wrong with it, and what is allowed
 */
export async function readSound(path: string, msMax = RECORDED_MS_MAX): Promise<AgentSound> {
  const { size } = await stat(path)
  if (size > SOUND_FILE_BYTES_MAX)
    throw new SyntaxError(`has ${size} bytes; at most ${SOUND_FILE_BYTES_MAX} are allowed`)
  const { sampleRateHz, samples } = monoOf(await readFile(path))
  const ms = samplesToMs(samples.length, sampleRateHz)
  if (ms === 0) throw new SyntaxError('has no sound')
  if (ms > msMax) throw new SyntaxError(`lasts ${(ms / 1000).toFixed(1)} s; at most ${msMax / 1000} s are allowed`)
  const shared = new SharedArrayBuffer(samples.byteLength)
  new Int16Array(shared).set(samples)
  return { sampleRateHz, samples: shared }
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

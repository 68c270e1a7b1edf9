import { FRAME_MS, frameSamples, type LegRateHz } from '../../src/core/units.js'
import type { CallerFrame } from '../../src/call/caller-speech.js'
import { CallerPath } from '../../src/media/caller-path.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { convertRate } from '../../src/simulator/line.js'
import { seededRandom } from '../../src/simulator/random.js'
import { readRecording, recordings } from '../material.js'
import { joined, powerOf, throughLine, truthOf } from '../vad/corpus.js'
import { babble, pinkNoise } from '../vad/sounds.js'

/**
 * One turn of a caller, as recorded people speak: a second of nothing, the turn, and time to find its end. The labels
 * are of the clean signal.
 */
interface Turn {
  readonly kind: 'monologue' | 'sentence' | 'digits'
  readonly clean: Float64Array
  /** Its longest pause, and where its last sound ends. */
  readonly pauseMs: number
  readonly endMs: number
}

/** A turn as the caller's path gives it to the session. */
export interface HeardTurn {
  readonly kind: Turn['kind']
  readonly pauseMs: number
  readonly endMs: number
  readonly frames: readonly CallerFrame[]
}

export const SPEAKERS = ['allison', 'june', 'carlo'] as const
export type Speaker = (typeof SPEAKERS)[number]
export const LINES = ['8 kHz', '16 kHz', 'tel'] as const
export type Line = (typeof LINES)[number]
export const NOISES = ['clean', 'pink', 'babble'] as const
export type Noise = (typeof NOISES)[number]

const SNR_DB = 10
const SPEECH_DBFS = -20
const LEAD_MS = 1000
const TAIL_MS = 2500
/** Of each kind, for each speaker. Half of the monologues are long prompts, half are sentences joined with pauses. */
const MONOLOGUES = 60
const SENTENCES = 40
const NUMBERS = 40
const PROMPT_MS = [4500, 32_000] as const
const SENTENCE_MS = [1000, 4500] as const
/** Longer gaps in a prompt are between two turns of somebody: the person who records waits. */
const PROMPT_PAUSE_MS_MAX = 780
/** Pauses between sentences: their logarithms are normal around 430 ms, and those outside are drawn again. */
const PAUSE_MS = { median: 430, spread: 0.25, least: 300, most: 700 } as const
/** Between digits, and once in a number between its groups. */
const DIGIT_GAP_MS = [40, 200] as const
const GROUP_GAP_MS = [300, 560] as const

/** The turns of one speaker on one line, without noise. Always the same. */
async function turnsOf(speaker: Speaker, rateHz: LegRateHz): Promise<Turn[]> {
  const random = seededRandom(SPEAKERS.indexOf(speaker) + 11)
  const names = recordings(speaker).filter((name) => !/silence|beep|tone|monkeys|digits|letters|phonetic/.test(name))
  const prompts: Float64Array[] = []
  const sentences: Float64Array[] = []
  for (const name of names) {
    const voice = trimmed(atLevel(Float64Array.from(await readRecording(speaker, name, rateHz)), rateHz), rateHz)
    const ms = (voice.length * 1000) / rateHz
    if (ms >= PROMPT_MS[0] && ms <= PROMPT_MS[1]) {
      const pauseMs = longestPauseMs(truthOf(voice, rateHz))
      if (pauseMs >= PAUSE_MS.least && pauseMs <= PROMPT_PAUSE_MS_MAX) prompts.push(voice)
    } else if (ms >= SENTENCE_MS[0] && ms <= SENTENCE_MS[1] && longestPauseMs(truthOf(voice, rateHz)) < PAUSE_MS.least) {
      sentences.push(voice)
    }
  }
  const digits: Float64Array[] = []
  for (let digit = 0; digit < 10; digit++) {
    digits.push(
      trimmed(atLevel(Float64Array.from(await readRecording(speaker, `digits/${digit}`, rateHz)), rateHz), rateHz),
    )
  }
  const pick = (from: readonly Float64Array[]): Float64Array => from[Math.floor(random() * from.length)] as Float64Array
  const turns: Turn[] = spread(prompts, MONOLOGUES / 2).map((voice) => turn('monologue', voice, rateHz))
  while (turns.length < MONOLOGUES) {
    const parts = [pick(sentences)]
    for (let more = 1 + Math.floor(random() * 3); more > 0; more--)
      parts.push(silence(pauseMs(random), rateHz), pick(sentences))
    turns.push(turn('monologue', joined(parts), rateHz))
  }
  for (const voice of spread(sentences, SENTENCES)) turns.push(turn('sentence', voice, rateHz))
  for (let i = 0; i < NUMBERS; i++) {
    const length = 4 + (i % 4)
    const group = 1 + Math.floor(random() * (length - 1))
    const parts: Float64Array[] = []
    for (let digit = 0; digit < length; digit++) {
      const [least, most] = digit === group ? GROUP_GAP_MS : DIGIT_GAP_MS
      if (digit > 0) parts.push(silence(least + random() * (most - least), rateHz))
      parts.push(pick(digits))
    }
    turns.push(turn('digits', joined(parts), rateHz))
  }
  return turns
}

function turn(kind: Turn['kind'], voice: Float64Array, rateHz: LegRateHz): Turn {
  const truth = truthOf(voice, rateHz)
  const last = truth.lastIndexOf(true)
  return {
    kind,
    clean: joined([silence(LEAD_MS, rateHz), voice, silence(TAIL_MS, rateHz)]),
    pauseMs: longestPauseMs(truth),
    endMs: LEAD_MS + (last + 1) * FRAME_MS,
  }
}

/** All turns of a speaker on a line with a noise, through the caller's path. */
export async function heardTurns(speaker: Speaker, line: Line, noise: Noise, vadBank: VadBank): Promise<HeardTurn[]> {
  const rateHz: LegRateHz = line === '16 kHz' ? 16_000 : 8000
  const turns = await turnsOf(speaker, rateHz)
  // Others in the room are the other speakers.
  const others: Float64Array[] = []
  if (noise === 'babble') {
    for (const other of SPEAKERS.filter((one) => one !== speaker)) {
      const found = recordings(other).filter((name) => !/silence|beep|tone|monkeys|digits|letters|phonetic/.test(name))
      for (const name of spread(found, 40))
        others.push(trimmed(atLevel(Float64Array.from(await readRecording(other, name, rateHz)), rateHz), rateHz))
    }
  }
  return turns.map((one, i) => {
    const samples = one.clean.slice()
    if (noise !== 'clean') {
      const extent = { rateHz, ms: (samples.length * 1000) / rateHz + 20, seed: 500 + i }
      const sound = noise === 'pink' ? pinkNoise(extent) : babble(extent, others)
      const gain = (32_768 * 10 ** ((SPEECH_DBFS - SNR_DB) / 20)) / Math.sqrt(powerOf(sound))
      for (let at = 0; at < samples.length; at++) samples[at] = (samples[at] as number) + gain * (sound[at] as number)
    }
    const sent = throughLine(samples, rateHz, line !== '16 kHz')
    const legRateHz: LegRateHz = line === '8 kHz' ? 8000 : 16_000
    const heard = legRateHz === rateHz ? sent : convertRate(sent, rateHz, legRateHz)
    return { kind: one.kind, pauseMs: one.pauseMs, endMs: one.endMs, frames: framesOf(heard, legRateHz, vadBank) }
  })
}

function framesOf(samples: Int16Array, sampleRateHz: LegRateHz, vadBank: VadBank): CallerFrame[] {
  const path = new CallerPath({ sampleRateHz, track: 'inbound_track', vadBank })
  const length = frameSamples(sampleRateHz)
  const bytes = new Uint8Array(samples.slice().buffer)
  const frames: CallerFrame[] = []
  for (let i = 0; (i + 1) * length <= samples.length; i++) {
    path.push(bytes.subarray(i * length * 2, (i + 1) * length * 2), (i + 1) * FRAME_MS)
    while (path.pull((i + 1) * FRAME_MS)) {
      const { voiced, doubtful, levelDbfs, pitchHz } = path
      frames.push({ voiced, doubtful, levelDbfs, pitchHz })
    }
  }
  path.release()
  return frames
}

function longestPauseMs(truth: readonly boolean[]): number {
  let longest = 0
  let run = 0
  let spoken = false
  for (const speech of truth.slice(0, truth.lastIndexOf(true) + 1)) {
    run = speech ? 0 : run + 1
    spoken ||= speech
    if (spoken) longest = Math.max(longest, run)
  }
  return longest * FRAME_MS
}

function trimmed(voice: Float64Array, rateHz: LegRateHz): Float64Array {
  const truth = truthOf(voice, rateHz)
  const length = frameSamples(rateHz)
  return voice.slice(Math.max(0, truth.indexOf(true)) * length, (truth.lastIndexOf(true) + 1) * length)
}

function atLevel(voice: Float64Array, rateHz: LegRateHz): Float64Array {
  const truth = truthOf(voice, rateHz)
  const length = frameSamples(rateHz)
  const loud = joined(truth.flatMap((speech, i) => (speech ? [voice.subarray(i * length, (i + 1) * length)] : [])))
  const gain = (32_768 * 10 ** (SPEECH_DBFS / 20)) / Math.sqrt(Math.max(1, powerOf(loud)))
  return voice.map((value) => gain * value)
}

function pauseMs(random: () => number): number {
  for (;;) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const ms = PAUSE_MS.median * Math.exp(PAUSE_MS.spread * normal)
    if (ms >= PAUSE_MS.least && ms <= PAUSE_MS.most) return ms
  }
}

function silence(ms: number, rateHz: LegRateHz): Float64Array {
  return new Float64Array(Math.round((ms * rateHz) / 1000))
}

function spread<T>(all: readonly T[], count: number): T[] {
  const taken = Math.min(count, all.length)
  return Array.from({ length: taken }, (_, i) => all[Math.floor((i * all.length) / taken)] as T)
}

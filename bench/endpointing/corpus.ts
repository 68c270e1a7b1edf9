import { FRAME_MS, frameSamples, type LegRateHz } from '../../src/core/units.js'
import type { CallerFrame } from '../../src/call/frame-figures.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { convertRate } from '../../src/simulator/line.js'
import { seededRandom } from '../../src/simulator/random.js'
import { loadFlite } from '../../src/speech/flite.js'
import { type Material, readRecording, recordings } from '../material.js'
import { atLevel, joined, powerOf, resampled, throughLine, truthOf } from '../vad/corpus.js'
import { framesOf } from '../vad/score.js'
import { babble, pinkNoise } from '../vad/sounds.js'
import { SPLITS } from '../vad/splits.js'

type TurnKind = 'monologue' | 'sentence' | 'yes or no' | 'digits'

/** When somebody speaks in a turn; the labels are of the clean signal. */
interface TurnTimes {
  readonly kind: TurnKind
  /** Its longest pause, and where its first sound begins and its last one ends. */
  readonly pauseMs: number
  readonly startMs: number
  readonly endMs: number
}

/** One turn of a caller, as recorded people speak: a second of nothing, the turn, and time to find its end. */
interface Turn extends TurnTimes {
  readonly clean: Float64Array
}

/** A turn as the caller's path gives it to the session. */
export interface HeardTurn extends TurnTimes {
  readonly frames: readonly CallerFrame[]
}

export const RECORDED = ['allison', 'june', 'carlo'] as const
/** The figures of `AdaptivePause` were chosen on the first two; nothing was chosen on the others. */
export const SPEAKERS = [...RECORDED, 'flite'] as const
export type Speaker = (typeof SPEAKERS)[number]
export const TUNED_ON: readonly Speaker[] = ['allison', 'june']
export const LINES = ['8 kHz', '16 kHz', 'tel'] as const
type Line = (typeof LINES)[number]
export const NOISES = ['clean', 'pink', 'babble'] as const
export type Noise = (typeof NOISES)[number]

const SNR_DB = 10
const SPEECH_DBFS = -20
const LEAD_MS = 1000
const TAIL_MS = 2500
/** Of each kind, for each speaker. Half of the monologues are long prompts, half are sentences joined with pauses. */
const MONOLOGUES = 60
const SENTENCES = 40
const WORDS = 40
const NUMBERS = 40
const WORD_MS = [200, 900] as const
const PROMPT_MS = [4500, 32_000] as const
const SENTENCE_MS = [1000, 4500] as const
/**
 * Pauses between joined sentences: their logarithms are normal around 410 ms, and those outside are drawn again. So 400
 * ms cut most monologues, 600 some and 800 none, as with people who were recorded talking (bench/vad/README.md). Prompts with
 * longer pauses of their own are left out: the person who records waits there.
 */
const PAUSE_MS = { median: 410, spread: 0.22, least: 300, most: 620, ofPrompts: 780 } as const
/** Between digits, and once in a number between its groups. */
const DIGIT_GAP_MS = [40, 200] as const
const GROUP_GAP_MS = [300, 560] as const
const DIGIT_WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']

/** What one speaker said, at one rate: trimmed, at one level. */
interface Said {
  /** Long enough to have pauses of their own. */
  readonly prompts: readonly Float64Array[]
  /** Without a pause. */
  readonly sentences: readonly Float64Array[]
  /** Of a moment, as a yes or a no is. */
  readonly words: readonly Float64Array[]
  /** 0 to 9. */
  readonly digits: readonly Float64Array[]
}

async function saidBy(speaker: Speaker, rateHz: LegRateHz): Promise<Said> {
  const voice = (pcm: Float64Array): Float64Array => trimmed(atSpeechLevel(pcm, rateHz), rateHz)
  const all: Float64Array[] = []
  const digits: Float64Array[] = []
  if (speaker === 'flite') {
    const flite = await loadFlite()
    const { sentences, voices } = SPLITS.heldOut
    const speak = (text: string, i: number): Float64Array => {
      const { pcm, sampleRateHz } = flite.speak(text, voices[i % 2] as string)
      return voice(resampled(Float64Array.from(pcm), sampleRateHz, rateHz))
    }
    for (const [i, text] of sentences.entries()) all.push(speak(text, i), speak(text, i + 1))
    for (const [digit, word] of DIGIT_WORDS.entries()) digits.push(speak(word, digit))
  } else {
    for (const name of proseOf(speaker)) all.push(voice(Float64Array.from(await readRecording(speaker, name, rateHz))))
    for (const digit of DIGIT_WORDS.keys())
      digits.push(voice(Float64Array.from(await readRecording(speaker, `digits/${digit}`, rateHz))))
  }
  const prompts: Float64Array[] = []
  const sentences: Float64Array[] = []
  const words: Float64Array[] = []
  for (const one of all) {
    const ms = (one.length * 1000) / rateHz
    const pauseMs = longestPauseMs(truthOf(one, rateHz))
    if (pauseMs === 0 && ms >= WORD_MS[0] && ms < WORD_MS[1]) words.push(one)
    else if (ms >= PROMPT_MS[0] && ms <= PROMPT_MS[1] && pauseMs >= PAUSE_MS.least && pauseMs <= PAUSE_MS.ofPrompts)
      prompts.push(one)
    else if (ms >= SENTENCE_MS[0] && ms <= SENTENCE_MS[1] && pauseMs < PAUSE_MS.least) sentences.push(one)
  }
  return { prompts, sentences, words, digits }
}

/** Its recordings that are neither digits nor letters. */
export function proseOf(speaker: Material): string[] {
  return recordings(speaker).filter((name) => !/silence|beep|tone|monkeys|digits|letters|phonetic/.test(name))
}

/** The turns of one speaker on one line, without noise. Always the same. */
async function turnsOf(speaker: Speaker, rateHz: LegRateHz): Promise<Turn[]> {
  const random = seededRandom(SPEAKERS.indexOf(speaker) + 11)
  const { prompts, sentences, words, digits } = await saidBy(speaker, rateHz)
  const pick = (from: readonly Float64Array[]): Float64Array => from[Math.floor(random() * from.length)] as Float64Array
  const turns: Turn[] = spread(prompts, MONOLOGUES / 2).map((voice) => turn('monologue', voice, rateHz))
  while (turns.length < MONOLOGUES) {
    const parts = [pick(sentences)]
    for (let more = 1 + Math.floor(random() * 3); more > 0; more--)
      parts.push(silence(pauseMs(random), rateHz), pick(sentences))
    turns.push(turn('monologue', joined(parts), rateHz))
  }
  for (const voice of spread(sentences, SENTENCES)) turns.push(turn('sentence', voice, rateHz))
  for (const voice of spread(words, WORDS)) turns.push(turn('yes or no', voice, rateHz))
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
    startMs: LEAD_MS,
    kind,
    clean: joined([silence(LEAD_MS, rateHz), voice, silence(TAIL_MS, rateHz)]),
    pauseMs: longestPauseMs(truth),
    endMs: LEAD_MS + (last + 1) * FRAME_MS,
  }
}

/** All turns of a speaker on a line with a noise, as the caller's path gives them to the session. */
export async function heardTurns(speaker: Speaker, line: Line, noise: Noise, vadBank: VadBank): Promise<HeardTurn[]> {
  const rateHz: LegRateHz = line === '16 kHz' ? 16_000 : 8000
  const turns = await turnsOf(speaker, rateHz)
  const others = noise === 'babble' ? await othersThan(speaker, rateHz) : []
  return turns.map(({ kind, clean, pauseMs, startMs, endMs }, i) => {
    const samples = clean.slice()
    if (noise !== 'clean') {
      const extent = { rateHz, ms: (samples.length * 1000) / rateHz + 20, seed: 500 + i }
      const sound = noise === 'pink' ? pinkNoise(extent) : babble(extent, others)
      const around = atLevel(sound, SPEECH_DBFS - SNR_DB)
      for (let at = 0; at < samples.length; at++) samples[at] = (samples[at] as number) + (around[at] as number)
    }
    const sent = throughLine(samples, rateHz, line !== '16 kHz')
    const legRateHz: LegRateHz = line === '8 kHz' ? 8000 : 16_000
    const heard = legRateHz === rateHz ? sent : convertRate(sent, rateHz, legRateHz)
    return { kind, pauseMs, startMs, endMs, frames: framesOf(heard, legRateHz, vadBank) }
  })
}

/** Others in the room: the recorded people who are not speaking. */
async function othersThan(speaker: Speaker, rateHz: LegRateHz): Promise<Float64Array[]> {
  const others: Float64Array[] = []
  for (const other of RECORDED.filter((one) => one !== speaker)) {
    for (const name of spread(proseOf(other), 40))
      others.push(trimmed(atSpeechLevel(Float64Array.from(await readRecording(other, name, rateHz)), rateHz), rateHz))
  }
  return others
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

function atSpeechLevel(voice: Float64Array, rateHz: LegRateHz): Float64Array {
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

import { FRAME_MS, frameSamples, type LegRateHz } from '../../src/core/units.js'
import type { CallerFrame } from '../../src/call/turns/frame-figures.js'
import { NOTHING_ASKED, askedIn } from '../../src/call/turns/turn-words.js'
import type { Asked } from '../../src/call/turns/turn-words.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { convertRate } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import { loadFlite } from '../../src/speech/flite.js'
import { type Material, readRecording, recordings } from '../material.js'
import { atLevel, joined, powerOf, resampled, throughLine, truthOf } from '../vad/corpus.js'
import { framesOf } from '../vad/score.js'
import { babble, pinkNoise } from '../vad/sounds.js'
import { SPLITS } from '../vad/splits.js'
import { DIALOGUES } from './dialogues.js'
import type { DialogueLanguage } from './dialogues.js'

type TurnKind =
  | 'monologue'
  | 'sentence'
  | 'yes or no'
  | 'digits'
  | 'paused sentence'
  | 'paused number'
  | `dialogue ${DialogueLanguage}`

/** Period of speech without a pause. */
interface SaidPart {
  readonly text: string
  readonly fromMs: number
  readonly toMs: number
}

/** Periods of speech in a turn. They are found in the clean signal. */
interface TurnTimes {
  readonly kind: TurnKind
  /**
   * `pauseMs`: longest pause of the turn in ms. `startMs`, `endMs`: times at which its first sound begins and its last
   * sound ends.
   */
  readonly pauseMs: number
  readonly startMs: number
  readonly endMs: number
  /** Words of the turn, if they are known. */
  readonly parts: readonly SaidPart[]
  /** Question of the agent. */
  readonly asked: Asked
}

/**
 * One turn of a caller, from recordings of people: a second of silence, the turn, and time to detect the end of the
 * turn.
 */
interface Turn extends TurnTimes {
  readonly clean: Float64Array
}

/** Turn in the form in which the caller's path gives it to the session. */
export interface HeardTurn extends TurnTimes {
  readonly frames: readonly CallerFrame[]
}

export const RECORDED = ['allison', 'june', 'carlo'] as const
/** Speakers. The figures of `AdaptivePause` were chosen with the first two. No figures were chosen with the others. */
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
/**
 * Number of turns of each kind for each speaker. Half of the monologues are long prompts. The other half are sentences
 * that are joined with pauses.
 */
const MONOLOGUES = 60
const SENTENCES = 40
const WORDS = 40
const NUMBERS = 40
/** Number of sentences, and of numbers, that contain one long pause, as from callers who think or look something up. */
const PAUSED_SENTENCES = 53
const PAUSED_NUMBERS = 16
const LONG_PAUSE_MS = [400, 1500] as const
/**
 * Minimum duration in ms of the quiet stretch at which a sentence pauses. The second constant is the minimum distance
 * in ms of this stretch from both ends of the sentence.
 */
const QUIET_MS = 100
const INNER_MS = 400
const QUIETEST = 3
/**
 * Amount of material of each speaker with which the end of a turn is learned, and the noise: sentences with and without
 * a pause, words, numbers.
 */
const LEARNED_SENTENCES = 100
const LEARNED_NUMBERS = 40
const WORD_MS = [200, 900] as const
const PROMPT_MS = [4500, 32_000] as const
const SENTENCE_MS = [1000, 4500] as const
/**
 * Pauses in ms between joined sentences. Their logarithms are normally distributed around 410 ms. Values outside the
 * limits are drawn again. So if a fixed pause ends a turn, 400 ms cuts most monologues, 600 ms cuts some, and 800 ms
 * cuts none, as with recordings of people who talk freely (bench/endpointing/README.md). Prompts with longer pauses are
 * left out, because the recorded person waits there.
 */
const PAUSE_MS = { median: 410, spread: 0.22, least: 300, most: 620, ofPrompts: 780 } as const
/** Pauses in ms between digits. The second constant is for the single pause between two groups of a number's digits. */
const DIGIT_GAP_MS = [40, 200] as const
const GROUP_GAP_MS = [300, 560] as const
const YES_NO_ASKED: Asked = { what: 'yes-no', digits: [], readBack: false }
const DIGIT_WORDS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']

/** Recording and its words; empty if the words are unknown. */
interface Clip {
  readonly voice: Float64Array
  readonly text: string
}

/** Speech of one speaker at one rate, trimmed and at one level. */
interface Said {
  /** Prompts that are long enough to contain a pause. */
  readonly prompts: readonly Clip[]
  /** Sentences without a pause. */
  readonly sentences: readonly Clip[]
  /** Words that are as short as "yes" or "no". */
  readonly words: readonly Clip[]
  /** Digits 0 to 9. */
  readonly digits: readonly Clip[]
}

async function saidBy(speaker: Speaker, rateHz: LegRateHz): Promise<Said> {
  const clip = (pcm: Float64Array, text: string): Clip => ({
    voice: trimmed(atSpeechLevel(pcm, rateHz), rateHz),
    text,
  })
  const all: Clip[] = []
  const digits: Clip[] = []
  if (speaker === 'flite') {
    const { sentences } = SPLITS.heldOut
    const speak = await fliteSpeaker(rateHz)
    for (const [i, text] of sentences.entries()) all.push(speak(text, i), speak(text, i + 1))
    for (const [digit, word] of DIGIT_WORDS.entries()) digits.push(speak(word, digit))
  } else {
    for (const name of proseOf(speaker))
      all.push(clip(Float64Array.from(await readRecording(speaker, name, rateHz)), ''))
    for (const [digit, word] of DIGIT_WORDS.entries())
      digits.push(clip(Float64Array.from(await readRecording(speaker, `digits/${digit}`, rateHz)), word))
  }
  const prompts: Clip[] = []
  const sentences: Clip[] = []
  const words: Clip[] = []
  for (const one of all) {
    const ms = (one.voice.length * 1000) / rateHz
    const pauseMs = longestPauseMs(truthOf(one.voice, rateHz))
    if (pauseMs === 0 && ms >= WORD_MS[0] && ms < WORD_MS[1]) words.push(one)
    else if (ms >= PROMPT_MS[0] && ms <= PROMPT_MS[1] && pauseMs >= PAUSE_MS.least && pauseMs <= PAUSE_MS.ofPrompts)
      prompts.push(one)
    else if (ms >= SENTENCE_MS[0] && ms <= SENTENCE_MS[1] && pauseMs < PAUSE_MS.least) sentences.push(one)
  }
  return { prompts, sentences, words, digits }
}

async function fliteSpeaker(rateHz: LegRateHz): Promise<(text: string, voice: number) => Clip> {
  const flite = await loadFlite()
  const { voices } = SPLITS.heldOut
  return (text, voice) => {
    const { pcm, sampleRateHz } = flite.speak(text, voices[voice % 2] as string)
    const spoken = resampled(Float64Array.from(pcm), sampleRateHz, rateHz)
    return { voice: trimmed(atSpeechLevel(spoken, rateHz), rateHz), text }
  }
}

/** Turns of the dialogues. Their pauses are written in the dialogues. */
async function dialogueTurns(rateHz: LegRateHz): Promise<Turn[]> {
  const speak = await fliteSpeaker(rateHz)
  return Object.entries(DIALOGUES).flatMap(([language, all]) =>
    all.map(({ agent, caller }, i) => {
      const pieces = caller
        .split(/\((\d+)\)/)
        .map((piece, at) => (at % 2 === 1 ? Number(piece) : speak(piece.trim(), i)))
      return turn(`dialogue ${language as DialogueLanguage}`, pieces, rateHz, askedIn(agent))
    }),
  )
}

/** Recordings of a speaker that are not digits or letters. */
export function proseOf(speaker: Material): string[] {
  return recordings(speaker).filter((name) => !/silence|beep|tone|monkeys|digits|letters|phonetic/.test(name))
}

/** Turns of one speaker on one line, without noise. Each run creates the same turns. */
async function turnsOf(speaker: Speaker, rateHz: LegRateHz): Promise<Turn[]> {
  const random = seededRandom(SPEAKERS.indexOf(speaker) + 11)
  const { prompts, sentences, words, digits } = await saidBy(speaker, rateHz)
  const pick = (from: readonly Clip[]): Clip => from[Math.floor(random() * from.length)] as Clip
  const turns: Turn[] = spread(prompts, MONOLOGUES / 2).map((clip) => turn('monologue', [clip], rateHz))
  while (turns.length < MONOLOGUES) {
    const parts: (Clip | number)[] = [pick(sentences)]
    for (let more = 1 + Math.floor(random() * 3); more > 0; more--) parts.push(pauseMs(random), pick(sentences))
    turns.push(turn('monologue', parts, rateHz))
  }
  for (const clip of spread(sentences, SENTENCES)) turns.push(turn('sentence', [clip], rateHz))
  for (const clip of spread(words, WORDS)) turns.push(turn('yes or no', [clip], rateHz, YES_NO_ASKED))
  for (let i = 0; i < NUMBERS; i++) turns.push(number('digits', i, GROUP_GAP_MS, digits, rateHz, random))
  for (const clip of spread(sentences, PAUSED_SENTENCES))
    turns.push(turn('paused sentence', paused(clip, rateHz, random), rateHz))
  for (let i = 0; i < PAUSED_NUMBERS; i++) turns.push(number('paused number', i, LONG_PAUSE_MS, digits, rateHz, random))
  return turns
}

/**
 * Turns of a speaker with which the end of a turn is learned, or the result is judged. Each run creates the same turns.
 */
async function learnedTurnsOf(speaker: Speaker, rateHz: LegRateHz): Promise<Turn[]> {
  const random = seededRandom(SPEAKERS.indexOf(speaker) + 91)
  const { prompts, sentences, words, digits } = await saidBy(speaker, rateHz)
  const turns: Turn[] = spread(prompts, MONOLOGUES / 2).map((clip) => turn('monologue', [clip], rateHz))
  for (const clip of spread(sentences, LEARNED_SENTENCES)) {
    turns.push(turn('sentence', [clip], rateHz))
    turns.push(turn('paused sentence', paused(clip, rateHz, random), rateHz))
  }
  // A short answer to an open question.
  for (const clip of spread(words, WORDS)) turns.push(turn('sentence', [clip], rateHz))
  for (let i = 0; i < LEARNED_NUMBERS; i++) {
    turns.push(number('digits', i, GROUP_GAP_MS, digits, rateHz, random))
    turns.push(number('paused number', i, LONG_PAUSE_MS, digits, rateHz, random))
  }
  return turns
}

/** A number of four to seven digits with a pause between its two groups. */
function number(
  kind: 'digits' | 'paused number',
  i: number,
  pause: readonly [number, number],
  digits: readonly Clip[],
  rateHz: LegRateHz,
  random: () => number,
): Turn {
  const length = 4 + (i % 4)
  const group = 1 + Math.floor(random() * (length - 1))
  const parts: (Clip | number)[] = []
  for (let digit = 0; digit < length; digit++) {
    const [least, most] = digit === group ? pause : DIGIT_GAP_MS
    if (digit > 0) parts.push(least + random() * (most - least))
    parts.push(digits[Math.floor(random() * digits.length)] as Clip)
  }
  return turn(kind, parts, rateHz, { what: 'number', digits: [length], readBack: false })
}

/**
 * Sentence with a long pause. The pause is at the sentence's own pause; if it has none, at one of its three quietest
 * inner stretches, chosen at random.
 */
function paused({ voice }: Clip, rateHz: LegRateHz, random: () => number): (Clip | number)[] {
  const step = frameSamples(rateHz)
  const stretch = (QUIET_MS / FRAME_MS) * step
  const inner = (INNER_MS / FRAME_MS) * step
  const places: { readonly at: number; readonly power: number }[] = []
  for (let at = inner; at + stretch <= voice.length - inner; at += step)
    places.push({ at: at + stretch / 2, power: powerOf(voice.subarray(at, at + stretch)) })
  const quietest: number[] = []
  for (const { at } of places.toSorted((a, b) => a.power - b.power))
    if (quietest.length < QUIETEST && quietest.every((other) => Math.abs(other - at) >= stretch)) quietest.push(at)
  const at = quietest[Math.floor(random() ** 2 * quietest.length)] ?? Math.floor(voice.length / 2)
  const [least, most] = LONG_PAUSE_MS
  return [
    { voice: voice.subarray(0, at), text: '' },
    least + random() * (most - least),
    { voice: voice.subarray(at), text: '' },
  ]
}

/** @param said  recordings, and the pauses between them in ms */
function turn(kind: Turn['kind'], said: readonly (Clip | number)[], rateHz: LegRateHz, asked = NOTHING_ASKED): Turn {
  const parts: SaidPart[] = []
  const sounds: Float64Array[] = []
  let atMs = LEAD_MS
  for (const one of said) {
    const sound = typeof one === 'number' ? silence(one, rateHz) : one.voice
    const fromMs = atMs
    atMs += (sound.length * 1000) / rateHz
    sounds.push(sound)
    if (typeof one !== 'number' && one.text !== '') parts.push({ text: one.text, fromMs, toMs: atMs })
  }
  const voice = joined(sounds)
  const truth = truthOf(voice, rateHz)
  return {
    startMs: LEAD_MS,
    kind,
    clean: joined([silence(LEAD_MS, rateHz), voice, silence(TAIL_MS, rateHz)]),
    pauseMs: longestPauseMs(truth),
    endMs: LEAD_MS + (truth.lastIndexOf(true) + 1) * FRAME_MS,
    parts,
    asked,
  }
}

/**
 * Turns of a speaker on a line with a noise, as the session receives them from the caller's path.
 * @param learning  true: turns that are used to learn the end of a turn, or to judge the result
 */
export async function heardTurns(
  speaker: Speaker | 'dialogues',
  line: Line,
  noise: Noise,
  vadBank: VadBank,
  learning = false,
): Promise<HeardTurn[]> {
  const rateHz: LegRateHz = line === '16 kHz' ? 16_000 : 8000
  const turns =
    speaker === 'dialogues'
      ? await dialogueTurns(rateHz)
      : learning
        ? await learnedTurnsOf(speaker, rateHz)
        : await turnsOf(speaker, rateHz)
  const others = noise === 'babble' ? await othersThan(speaker, rateHz) : []
  return turns.map(({ clean, ...times }, i) => {
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
    return { ...times, frames: framesOf(heard, legRateHz, vadBank) }
  })
}

/** Other people in the room: the recorded people who are not speaking. */
async function othersThan(speaker: Speaker | 'dialogues', rateHz: LegRateHz): Promise<Float64Array[]> {
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

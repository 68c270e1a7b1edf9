/**
 * Sound for calls without audio: how long a text takes to say, and samples that stand for it. The gateway's own path
 * (voice detection, barge-in, playout, what was heard of an item) runs on them as on real speech; no voice is
 * synthesised and nothing has to be recognised.
 */
import type { LegRateHz } from '../../core/units.js'
import { seededRandom } from '../random.js'
import { spokenWords } from '../spoken-words.js'

/** What text speech is made at, as the embedded voices are. */
export const TEXT_SPEECH_RATE_HZ = 16_000
/**
 * Between the agent's voice and a caller's. Fitted to 60 sentences of the shipped agents, from the first sound to the last, over the
 * characters of the words as spoken: slt takes 156 ms and 52 a character, rms 42 and 62; half of the sentences are within 190 ms of that.
 */
const MS_PER_CHARACTER = 57
const MS_PER_SENTENCE = 100
const SPOKEN_MS_MAX = 30_000

/** How long `text` takes to say; `pace` 1.2 is a fifth faster. */
export function spokenMs(text: string, pace = 1): number {
  const characters = spokenWords(text).join(' ').length
  return Math.min(SPOKEN_MS_MAX, Math.round((MS_PER_SENTENCE + characters * MS_PER_CHARACTER) / pace))
}

/**
 * Between two tags lie this many steps, so that a filter's ripple does not turn one into another; the smallest tag is
 * loud enough to be told from silence.
 */
const TAG_STEP = 32
const TAGS_MAX = 1000

/** Speech to the caller: each sample is the sentence's number, so that what is heard tells which sentence it is of. */
export function taggedSound(sentence: number, text: string, rateHz: LegRateHz = TEXT_SPEECH_RATE_HZ): Int16Array {
  const samples = Math.round((spokenMs(text) * rateHz) / 1000)
  return new Int16Array(samples).fill(((sentence % TAGS_MAX) + 1) * TAG_STEP)
}

/** The sentence that a frame is of; null for silence, a fade or the edge between two. */
export function sentenceIn(frame: Int16Array): number | null {
  const first = tagOf(frame[0] as number)
  const middle = tagOf(frame[frame.length >> 1] as number)
  const last = tagOf(frame[frame.length - 1] as number)
  return middle !== null && (first === middle || last === middle) ? middle - 1 : null
}

function tagOf(sample: number): number | null {
  const tag = Math.round(sample / TAG_STEP)
  return tag >= 1 && Math.abs(sample - tag * TAG_STEP) <= TAG_STEP / 4 ? tag : null
}

/** Syllables a second of quick speech; the gaps between them are what tells a voice from a noise. */
const SYLLABLES_PER_S = 4
const VOICE_HZ = 118
const VOICE_PEAK = 9000

/**
 * A caller's voice: a hum with the harmonics and the rhythm of speech, which the gateway's gates take for a voice.
 * Nothing is said in it; the words go beside it (`TextMouth`).
 */
export function hummedSound(text: string, rateHz: LegRateHz, pace: number, seed: number): Int16Array {
  const out = new Int16Array(Math.round((spokenMs(text, pace) * rateHz) / 1000))
  const random = seededRandom(seed)
  const pitchHz = VOICE_HZ * (0.9 + 0.2 * random())
  for (let i = 0; i < out.length; i++) {
    const s = i / rateHz
    // Never quite silent within the words: a pause there would be the end of the turn.
    const loudness = 0.55 + 0.45 * Math.sin(2 * Math.PI * SYLLABLES_PER_S * s)
    let wave = 0
    for (let harmonic = 1; harmonic <= 20; harmonic++) wave += Math.sin(2 * Math.PI * pitchHz * harmonic * s) / Math.sqrt(harmonic)
    out[i] = Math.round((VOICE_PEAK / 4) * loudness * wave * (0.9 + 0.2 * random()))
  }
  return out
}

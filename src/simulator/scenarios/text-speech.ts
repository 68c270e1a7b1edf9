/**
 * Speech of text calls. A text has the duration of its speech, and its samples contain no words. The gateway and the
 * caller's line process these samples like speech. No speech is synthesised or recognised.
 */
import type { MessagePort } from 'node:worker_threads'
import type { BackendTimers } from '../../backends/timers.js'
import type { LegRateHz } from '../../core/units.js'
import type { SpeechReply, SpeechRequest } from '../../speech/speech-protocol.js'
import { sentencesOf } from '../../speech/spoken/sentences.js'
import type { PeopleSpeech } from '../caller-speech.js'
import { CARRIER_VOICE } from '../../carrier/carrier-call.js'
import type { CallerVoice } from '../../carrier/choices.js'
import { seededRandom } from '../../carrier/random.js'
import { spokenWords } from '../spoken-words.js'

/** Sample rate of the agent's sound, equal to the embedded voices' rate. */
const TEXT_SPEECH_RATE_HZ = 16_000
/**
 * Duration of speech in ms, by its number of characters. It lies between the durations of the agent's voice and a
 * caller's voice. It was fitted to 60 sentences of the shipped agents, from the first to the last sound. The voice slt
 * takes 156 ms plus 52 ms for each character of the spoken words; the voice rms takes 42 ms plus 62 ms. For half of the
 * sentences the error is less than 190 ms.
 */
const MS_PER_CHARACTER = 57
const MS_PER_SENTENCE = 100
const SPOKEN_MS_MAX = 30_000

/** Distance between two tags in sample values, large enough that a filter's ripple does not change a tag. */
const TAG_STEP = 32
/** Minimum tag. It is loud enough for the caller's end to accept the sound as a voice. */
const TAG_FROM = 10
const TAGS_MAX = 1000

/** Number of syllables per second of quick speech. Their rhythm distinguishes a voice from noise. */
const SYLLABLES_PER_S = 4
const VOICE_HZ = 118
const VOICE_PEAK = 9000
/** Fall of the pitch within a sentence, as a share. */
const DECLINATION = 0.3

/** One period of a voice. */
const VOICE_WAVE = Float32Array.from({ length: 1024 }, (_, at) => {
  let sum = 0
  for (let harmonic = 1; harmonic <= 20; harmonic++)
    sum += Math.sin((2 * Math.PI * harmonic * at) / 1024) / Math.sqrt(harmonic)
  return sum
})

/** Voices and recognisers of the people of one text call. They understand every word of the agent and of the carrier. */
export class TextVoices implements PeopleSpeech {
  readonly hearsAtHz = TEXT_SPEECH_RATE_HZ
  /** Sentences of the agent and the carrier; the index is the number in their sound. */
  readonly sentences: string[] = []
  readonly #pace: number
  readonly #seed: number
  /** Words of the caller and the time when they ended. */
  readonly #said: { readonly words: string; readonly endMs: number }[] = []
  #speakingUntilMs = -Infinity

  /** @param pace  speaking rate of the caller; 1 is the voice's own rate */
  constructor(pace: number, seed: number) {
    this.#pace = pace
    this.#seed = seed
  }

  speak(text: string, voice: CallerVoice, rateHz: LegRateHz, pace = 1): Promise<Int16Array> {
    return Promise.resolve(
      voice === CARRIER_VOICE
        ? taggedSound(this.sentences.push(text) - 1, text, rateHz)
        : hum(spokenMs(text, pace), rateHz, this.#seed),
    )
  }

  hear(pcm: Int16Array): Promise<string> {
    const frame = this.hearsAtHz / 50
    const heard: number[] = []
    for (let at = 0; at + frame <= pcm.length; at += frame) {
      const sentence = sentenceIn(pcm.subarray(at, at + frame))
      if (sentence !== null && heard.at(-1) !== sentence) heard.push(sentence)
    }
    return Promise.resolve(heard.map((sentence) => this.sentences[sentence] ?? '').join(' '))
  }

  /** Records that the caller begins to say a text. */
  said(text: string, nowMs: number): void {
    this.#speakingUntilMs = Math.max(nowMs, this.#speakingUntilMs) + spokenMs(text, this.#pace)
    this.#said.push({ words: spokenWords(text).join(' '), endMs: this.#speakingUntilMs })
  }

  /** Removes and returns the caller's words that ended after `sinceMs`. */
  takeWords(sinceMs: number): string {
    const words = this.#said.splice(0).filter((said) => said.endMs >= sinceMs)
    return words.map((said) => said.words).join(' ')
  }
}

/**
 * Approximate time in ms that an idle speech worker needs for a sentence and for an utterance. Chosen, not measured.
 */
const SYNTHESIS_MS = 60
const RECOGNITION_MS = 150
/** Maximum number of sentences of one call: about an hour of speech. */
const SENTENCES_MAX = 5000

/** Maximum time in ms between the end of words and the detection of the utterance that they belong to. */
const PRE_ROLL_MS = 1500

/**
 * The speech worker of a text call, at the other end of the port. Its sound encodes the sentence's number. It
 * recognises every word of the caller. It uses the call's clock.
 */
export class TextSpeech {
  readonly #port: MessagePort
  readonly #voices: TextVoices
  readonly #timers: BackendTimers
  /** Functions that cancel the replies that are not due yet, by request. */
  readonly #waiting = new Map<number, (() => void)[]>()
  readonly #utterances = new Map<number, number>()

  constructor(port: MessagePort, voices: TextVoices, timers: BackendTimers) {
    this.#port = port
    this.#voices = voices
    this.#timers = timers
    port.on('message', (request: SpeechRequest) => {
      this.#receive(request)
    })
  }

  close(): void {
    this.#port.close()
  }

  #receive(request: SpeechRequest): void {
    switch (request.type) {
      case 'speak':
        this.#speak(request.id, request.text)
        return
      case 'cancel':
        this.#forget(request.id)
        return
      case 'utterance-start':
        this.#utterances.set(request.id, this.#timers.nowMs())
        return
      case 'utterance-end': {
        const startedMs = this.#utterances.get(request.id)
        if (startedMs === undefined) return
        this.#utterances.delete(request.id)
        this.#later(RECOGNITION_MS, request.id, {
          type: 'heard',
          id: request.id,
          text: this.#voices.takeWords(startedMs - PRE_ROLL_MS),
        })
        return
      }
      case 'utterance-abandon':
        this.#utterances.delete(request.id)
        this.#forget(request.id)
        return
      case 'prepare':
      case 'frame':
        // These requests need no work here: no sound is prepared, and the words do not come from samples.
        return
    }
  }

  #speak(id: number, text: string): void {
    const sentences = sentencesOf(text)
    for (const [index, sentence] of sentences.entries()) {
      if (this.#voices.sentences.length >= SENTENCES_MAX) break
      const ordinal = this.#voices.sentences.push(sentence) - 1
      const pcm = taggedSound(ordinal, sentence)
      this.#later(SYNTHESIS_MS * (index + 1), id, {
        type: 'speech',
        id,
        pcm,
        sampleRateHz: TEXT_SPEECH_RATE_HZ,
        text: sentence,
        last: index === sentences.length - 1,
      })
    }
    this.#later(SYNTHESIS_MS * sentences.length, id, { type: 'spoken', id })
  }

  #forget(id: number): void {
    for (const cancel of this.#waiting.get(id) ?? []) cancel()
    this.#waiting.delete(id)
  }

  #later(ms: number, id: number, reply: SpeechReply): void {
    const cancel = this.#timers.after(ms, () => {
      if (reply.type !== 'speech') this.#waiting.delete(id) // the last one
      this.#port.postMessage(reply)
    })
    this.#waiting.set(id, [...(this.#waiting.get(id) ?? []), cancel])
  }
}

/** @returns the duration of the spoken `text` in ms; `pace` 1.2 is a fifth faster */
export function spokenMs(text: string, pace = 1): number {
  const characters = spokenWords(text).join(' ').length
  return Math.min(SPOKEN_MS_MAX, Math.round((MS_PER_SENTENCE + characters * MS_PER_CHARACTER) / pace))
}

/** Sound of the agent and of the carrier: each sample encodes the sentence's number, so that the listener knows the sentence. */
function taggedSound(sentence: number, text: string, rateHz: LegRateHz = TEXT_SPEECH_RATE_HZ): Int16Array {
  const samples = Math.round((spokenMs(text) * rateHz) / 1000)
  return new Int16Array(samples).fill(((sentence % TAGS_MAX) + TAG_FROM) * TAG_STEP)
}

/**
 * @returns the number of the sentence that fills at least half of a frame; null for silence, a fade, a tone or a hum
 */
function sentenceIn(frame: Int16Array): number | null {
  const half = frame.length >> 1
  const tag = tagOf(frame[half] as number)
  const isTag = (sample: number): boolean => tagOf(sample) === tag
  return tag !== null && (frame.subarray(0, half).every(isTag) || frame.subarray(half).every(isTag))
    ? tag - TAG_FROM
    : null
}

function tagOf(sample: number): number | null {
  const tag = Math.round(sample / TAG_STEP)
  return tag >= TAG_FROM && Math.abs(sample - tag * TAG_STEP) <= TAG_STEP / 4 ? tag : null
}

/** Sound of a person: a hum with the harmonics and the rhythm of speech, which the gateway detects as a voice, without words. */
function hum(ms: number, rateHz: LegRateHz, seed: number): Int16Array {
  const out = new Int16Array(Math.round((ms * rateHz) / 1000))
  const random = seededRandom(seed)
  const pitchHz = VOICE_HZ * (0.9 + 0.2 * random())
  for (let i = 0; i < out.length; i++) {
    const s = i / rateHz
    const cycles = pitchHz * s * (1 + DECLINATION / 2 - (DECLINATION / 2) * (i / out.length))
    // The sound is never fully silent within the words, because a pause could end the turn.
    const loudness = 0.55 + 0.45 * Math.sin(2 * Math.PI * SYLLABLES_PER_S * s)
    const wave = VOICE_WAVE[Math.floor(cycles * VOICE_WAVE.length) % VOICE_WAVE.length] as number
    out[i] = Math.round((VOICE_PEAK / 4) * loudness * wave * (0.9 + 0.2 * random()))
  }
  return out
}

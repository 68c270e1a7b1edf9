import type { MessagePort } from 'node:worker_threads'
import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import type { SpeechReply, SpeechRequest } from '../../speech/speech-protocol.js'
import { sentencesOf } from '../../speech/spoken/sentences.js'
import { type CallerLatency, measureCaller, UtterancePlayer } from '../caller-leg.js'
import { CallerModel, type CallerMove, type CallerScript } from '../caller-script.js'
import { dtmfTones } from '../line.js'
import { PlayoutQueue } from '../playout-queue.js'
import { seededRandom } from '../random.js'
import type { Span } from '../speech-spans.js'
import { spokenWords } from '../spoken-words.js'

/** Silence that ends a turn of the agent, as in spoken calls. */
const TURN_SILENCE_MS = 900

interface TextCallerOptions {
  readonly script: CallerScript
  readonly rateHz: LegRateHz
  readonly pace: number
  readonly seed: number
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** The sentences of the agent's sound, by number. */
  readonly sentences: readonly string[]
  readonly onDigits: (digits: string) => void
  /** Called when the caller hangs up. */
  readonly onHungUp: (why: string) => void
}

/** Words of the caller and the time when they ended. */
interface SaidWords {
  readonly words: string
  readonly endMs: number
}

/** The caller of a text call. It uses the same model as spoken callers, and understands every word. */
export class TextCaller {
  readonly playout = new PlayoutQueue()
  readonly #options: TextCallerOptions
  readonly #model: CallerModel
  readonly #player: UtterancePlayer
  readonly #up: Int16Array
  readonly #down: Int16Array
  readonly #said: SaidWords[] = []
  /** The agent's turn so far: the sentences in the order heard, and how many samples of each. */
  #turn: { readonly sentence: number; samples: number }[] = []
  readonly #runs: Span[] = []
  #agentSpeaks = false
  #lastSoundMs = -Infinity
  #speakingUntilMs = -Infinity

  constructor(options: TextCallerOptions, nowMs: number) {
    this.#options = options
    this.#model = new CallerModel(options.script, options.statuses, nowMs)
    this.#player = new UtterancePlayer(options.rateHz)
    const frame = (options.rateHz * FRAME_MS) / 1000
    this.#up = new Int16Array(frame)
    this.#down = new Int16Array(frame)
  }

  /** Runs 20 ms: hears, decides and speaks. @returns the frame for the carrier, valid until the next call */
  tick(nowMs: number): Int16Array {
    this.#hear(nowMs)
    const move = this.#model.next(nowMs)
    if (move !== null) this.#perform(move, nowMs)
    if (this.#player.read(this.#up, nowMs) !== null) this.#model.finishedSpeaking(nowMs + FRAME_MS)
    return this.#up
  }

  /** Removes and returns the words that ended since then. */
  takeWords(sinceMs: number): string {
    const words = this.#said
      .splice(0)
      .filter((said) => said.endMs >= sinceMs)
      .map((said) => said.words)
    return words.join(' ')
  }

  latency(openedMs: number): CallerLatency {
    return measureCaller(this.#player.said, this.#runs, openedMs)
  }

  #hear(nowMs: number): void {
    const frame = this.#down
    if (this.playout.tick(frame).samples === 0) {
      this.#silence(nowMs)
      return
    }
    const sentence = sentenceIn(frame)
    if (sentence === null) {
      this.#silence(nowMs)
      return
    }
    if (!this.#agentSpeaks) {
      this.#agentSpeaks = true
      this.#turn = []
      this.#model.agentStarted(nowMs)
    }
    const run = this.#runs.at(-1)
    if (run !== undefined && nowMs - run.endMs < FRAME_MS)
      this.#runs[this.#runs.length - 1] = { startMs: run.startMs, endMs: nowMs + FRAME_MS }
    else this.#runs.push({ startMs: nowMs, endMs: nowMs + FRAME_MS })
    this.#lastSoundMs = nowMs + FRAME_MS
    const part = this.#turn.at(-1)
    if (part?.sentence === sentence) part.samples += frame.length
    else this.#turn.push({ sentence, samples: frame.length })
  }

  #silence(nowMs: number): void {
    if (!this.#agentSpeaks || nowMs - this.#lastSoundMs < TURN_SILENCE_MS) return
    this.#agentSpeaks = false
    this.#model.agentStopped(nowMs)
    this.#model.heard(this.#turn.map((part) => this.#options.sentences[part.sentence] ?? '').join(' '), nowMs)
  }

  #perform(move: CallerMove, nowMs: number): void {
    const { rateHz, pace, seed } = this.#options
    switch (move.type) {
      case 'hangup':
        this.#options.onHungUp(move.why)
        return
      case 'press':
        this.#player.say({ text: `[keys ${move.keys}]`, pcm: dtmfTones(move.keys, rateHz) })
        this.#options.onDigits(move.keys)
        return
      case 'play':
        // Scenarios that play a recording run in audio mode. An empty sound keeps the script going.
        this.#player.say({ text: `[${move.file}]`, pcm: new Int16Array(0) })
        return
      case 'hold': {
        const pcm = hum((move.ms * rateHz) / 1000, rateHz, seed)
        this.#speakingUntilMs = Math.max(nowMs, this.#speakingUntilMs) + move.ms
        this.#player.say({ text: '[on hold]', pcm })
        return
      }
      case 'say': {
        const pcm = hummedSound(move.text, rateHz, pace, seed + this.#said.length)
        const startMs = Math.max(nowMs, this.#speakingUntilMs)
        this.#speakingUntilMs = startMs + (pcm.length * 1000) / rateHz
        this.#said.push({ words: spokenWords(move.text).join(' '), endMs: this.#speakingUntilMs })
        this.#player.say({ text: move.text, pcm })
        return
      }
    }
  }
}

// --- sound of text calls ----------------------------------------------------------------------------------------
//
// How long a text takes to say, and samples in place of speech. The gateway's own path (voice detection, barge-in,
// playout, played duration) runs on them as on real speech. No voice is synthesised and nothing is recognised.

/** Sample rate of the agent's sound: that of the embedded voices. */
const TEXT_SPEECH_RATE_HZ = 16_000
/**
 * Duration of speech, between that of the agent's voice and of a caller's. Fitted to 60 sentences of the shipped
 * agents, from first to last sound, over the characters of the words as spoken: slt takes 156 ms plus 52 ms a
 * character, rms 42 ms plus 62 ms. Half of the sentences are within 190 ms of these values.
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
 * Distance between two tags in sample values, so that a filter's ripple does not turn one into another. The smallest
 * tag is loud enough to differ from silence.
 */
const TAG_STEP = 32
const TAGS_MAX = 1000

/** Sound of the agent: each sample encodes the sentence's number, so that the listener knows the sentence. */
export function taggedSound(sentence: number, text: string, rateHz: LegRateHz = TEXT_SPEECH_RATE_HZ): Int16Array {
  const samples = Math.round((spokenMs(text) * rateHz) / 1000)
  return new Int16Array(samples).fill(((sentence % TAGS_MAX) + 1) * TAG_STEP)
}

/** The number of the sentence in a frame; null for silence, a fade or the edge between two sentences. */
function sentenceIn(frame: Int16Array): number | null {
  const first = tagOf(frame[0] as number)
  const middle = tagOf(frame[frame.length >> 1] as number)
  const last = tagOf(frame[frame.length - 1] as number)
  return middle !== null && (first === middle || last === middle) ? middle - 1 : null
}

function tagOf(sample: number): number | null {
  const tag = Math.round(sample / TAG_STEP)
  return tag >= 1 && Math.abs(sample - tag * TAG_STEP) <= TAG_STEP / 4 ? tag : null
}

/** Syllables a second of quick speech. Their rhythm distinguishes a voice from noise. */
const SYLLABLES_PER_S = 4
const VOICE_HZ = 118
const VOICE_PEAK = 9000
/** How far the pitch falls within a sentence. */
const DECLINATION = 0.3

/**
 * Sound of a caller: a hum with the harmonics and the rhythm of speech, which the gateway detects as a voice.
 * It has no words; `takeWords` gives them.
 */
function hummedSound(text: string, rateHz: LegRateHz, pace: number, seed: number): Int16Array {
  return hum(Math.round((spokenMs(text, pace) * rateHz) / 1000), rateHz, seed)
}

function hum(samples: number, rateHz: LegRateHz, seed: number): Int16Array {
  const out = new Int16Array(samples)
  const random = seededRandom(seed)
  const pitchHz = VOICE_HZ * (0.9 + 0.2 * random())
  for (let i = 0; i < out.length; i++) {
    const s = i / rateHz
    const cycles = pitchHz * s * (1 + DECLINATION / 2 - (DECLINATION / 2) * (i / out.length))
    // Never fully silent within the words, because a pause could end the turn.
    const loudness = 0.55 + 0.45 * Math.sin(2 * Math.PI * SYLLABLES_PER_S * s)
    let wave = 0
    for (let harmonic = 1; harmonic <= 20; harmonic++)
      wave += Math.sin(2 * Math.PI * harmonic * cycles) / Math.sqrt(harmonic)
    out[i] = Math.round((VOICE_PEAK / 4) * loudness * wave * (0.9 + 0.2 * random()))
  }
  return out
}

/** About the time that an idle speech worker takes for a sentence and for an utterance. Chosen, not measured. */
const SYNTHESIS_MS = 60
const RECOGNITION_MS = 150
/** Bound of the sentences of one call: about an hour of them. */
const SENTENCES_MAX = 5000

interface Due {
  readonly atMs: number
  readonly id: number
  readonly reply: SpeechReply
}

/** Words that ended up to this long before the gateway detected the utterance are still part of it. */
const PRE_ROLL_MS = 1500

/**
 * The speech worker of a text call, at the other end of the same port. It makes sound that encodes the number of its
 * sentence, and answers an utterance with all words that the caller said. It uses the call's clock.
 */
export class TextSpeech {
  readonly #sentences: string[]
  readonly #port: MessagePort
  readonly #words: TextCaller
  readonly #nowMs: () => number
  readonly #due: Due[] = []
  readonly #utterances = new Map<number, number>()

  /** @param sentences  every spoken sentence is appended; its index is its number */
  constructor(port: MessagePort, words: TextCaller, nowMs: () => number, sentences: string[]) {
    this.#sentences = sentences
    this.#port = port
    this.#words = words
    this.#nowMs = nowMs
    port.on('message', (request: SpeechRequest) => {
      this.#receive(request)
    })
  }

  /** Sends the replies that are due. Called once a tick. */
  tick(): void {
    const nowMs = this.#nowMs()
    for (let next = this.#due[0]; next !== undefined && next.atMs <= nowMs; next = this.#due[0]) {
      this.#due.shift()
      this.#port.postMessage(next.reply)
    }
  }

  close(): void {
    this.#due.length = 0
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
        this.#utterances.set(request.id, this.#nowMs())
        return
      case 'utterance-end': {
        const startedMs = this.#utterances.get(request.id)
        if (startedMs === undefined) return
        this.#utterances.delete(request.id)
        this.#later(RECOGNITION_MS, request.id, {
          type: 'heard',
          id: request.id,
          text: this.#words.takeWords(startedMs - PRE_ROLL_MS),
        })
        return
      }
      case 'utterance-abandon':
        this.#utterances.delete(request.id)
        this.#forget(request.id)
        return
      case 'prepare':
      case 'frame':
        // Nothing to prepare, and the words do not come from samples.
        return
    }
  }

  #speak(id: number, text: string): void {
    const sentences = sentencesOf(text)
    for (const [index, sentence] of sentences.entries()) {
      if (this.#sentences.length >= SENTENCES_MAX) break
      const number = this.#sentences.push(sentence) - 1
      const pcm = taggedSound(number, sentence)
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
    for (let i = this.#due.length - 1; i >= 0; i--) if (this.#due[i]?.id === id) this.#due.splice(i, 1)
  }

  #later(ms: number, id: number, reply: SpeechReply): void {
    const atMs = this.#nowMs() + ms
    const at = this.#due.findIndex((due) => due.atMs > atMs)
    this.#due.splice(at < 0 ? this.#due.length : at, 0, { atMs, id, reply })
  }
}

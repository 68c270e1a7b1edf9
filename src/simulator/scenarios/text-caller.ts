import { FRAME_MS, type LegRateHz } from '../../core/units.js'
import { CallerMind, type CallerMove } from '../caller-mind.js'
import type { CallerScript } from '../caller-script.js'
import { measureCaller, type CallerLatency } from '../caller-latency.js'
import { Mouth } from '../mouth.js'
import { PlayoutQueue } from '../playout-queue.js'
import type { Span } from '../speech-spans.js'
import { spokenWords } from '../spoken-words.js'
import { dtmfTones } from '../tones.js'
import { hummedSound, sentenceIn } from './text-sound.js'
import type { WordSource } from './text-speech.js'

/** As the callers of spoken calls: silence that ends a turn of the agent. */
const TURN_SILENCE_MS = 900

export interface TextCallerOptions {
  readonly script: CallerScript
  readonly rateHz: LegRateHz
  readonly pace: number
  readonly seed: number
  readonly statuses: Readonly<Record<string, readonly string[]>>
  /** The sentences that the agent's sound is of. */
  readonly sentences: readonly string[]
  readonly onKeys: (keys: string) => void
  /** Told when the caller puts the phone down. */
  readonly onHungUp: (why: string) => void
}

/** Words of the caller with the time at which they were over. */
interface SaidWords {
  readonly words: string
  readonly endMs: number
}

/** A caller without a voice: the same mind as that of the spoken ones, with perfect ears. */
export class TextCaller implements WordSource {
  readonly playout = new PlayoutQueue()
  readonly #options: TextCallerOptions
  readonly #mind: CallerMind
  readonly #mouth: Mouth
  readonly #up: Int16Array
  readonly #down: Int16Array
  readonly #said: SaidWords[] = []
  /** The agent's turn so far: sentences in the order in which they were heard, with how much of each. */
  #turn: { readonly sentence: number; samples: number }[] = []
  readonly #runs: Span[] = []
  #agentSpeaks = false
  #lastSoundMs = -Infinity
  #speakingUntilMs = -Infinity

  constructor(options: TextCallerOptions, nowMs: number) {
    this.#options = options
    this.#mind = new CallerMind(options.script, options.statuses, nowMs)
    this.#mouth = new Mouth(options.rateHz)
    const frame = (options.rateHz * FRAME_MS) / 1000
    this.#up = new Int16Array(frame)
    this.#down = new Int16Array(frame)
  }

  /** 20 ms: hears what the carrier plays, decides, and says what it says. @returns the frame for the carrier, valid until the next */
  tick(nowMs: number): Int16Array {
    this.#hear(nowMs)
    const move = this.#mind.next(nowMs)
    if (move !== null) this.#perform(move, nowMs)
    if (this.#mouth.read(this.#up, nowMs) !== null) this.#mind.finishedSpeaking(nowMs + FRAME_MS)
    return this.#up
  }

  takeWords(sinceMs: number): string {
    const words = this.#said.splice(0).filter((said) => said.endMs >= sinceMs).map((said) => said.words)
    return words.join(' ')
  }

  latency(openedMs: number): CallerLatency {
    return measureCaller(this.#mouth.said, this.#runs, openedMs)
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
      this.#mind.agentStarted(nowMs)
    }
    const run = this.#runs.at(-1)
    if (run !== undefined && nowMs - run.endMs < FRAME_MS) this.#runs[this.#runs.length - 1] = { startMs: run.startMs, endMs: nowMs + FRAME_MS }
    else this.#runs.push({ startMs: nowMs, endMs: nowMs + FRAME_MS })
    this.#lastSoundMs = nowMs + FRAME_MS
    const part = this.#turn.at(-1)
    if (part?.sentence === sentence) part.samples += frame.length
    else this.#turn.push({ sentence, samples: frame.length })
  }

  #silence(nowMs: number): void {
    if (!this.#agentSpeaks || nowMs - this.#lastSoundMs < TURN_SILENCE_MS) return
    this.#agentSpeaks = false
    this.#mind.agentStopped(nowMs)
    this.#mind.heard(this.#turn.map((part) => this.#options.sentences[part.sentence] ?? '').join(' '), nowMs)
  }

  #perform(move: CallerMove, nowMs: number): void {
    const { rateHz, pace, seed } = this.#options
    switch (move.type) {
      case 'hangup':
        this.#options.onHungUp(move.why)
        return
      case 'press':
        this.#mouth.say({ text: `[keys ${move.keys}]`, pcm: dtmfTones(move.keys, rateHz) })
        this.#options.onKeys(move.keys)
        return
      case 'play':
        // Scenarios that play a recording are spoken; the script would stand still here.
        this.#mouth.say({ text: `[${move.file}]`, pcm: new Int16Array(0) })
        return
      case 'say': {
        const pcm = hummedSound(move.text, rateHz, pace, seed + this.#said.length)
        const startMs = Math.max(nowMs, this.#speakingUntilMs)
        this.#speakingUntilMs = startMs + (pcm.length * 1000) / rateHz
        this.#said.push({ words: spokenWords(move.text).join(' '), endMs: this.#speakingUntilMs })
        this.#mouth.say({ text: move.text, pcm })
        return
      }
    }
  }
}

import type { WebSocket } from 'ws'
import { decodeMuLaw, joined, samplesOf } from '../../media/pcm.js'
import { DoubleSession, INAUDIBLE, LevelDetector } from './double.js'
import type { ServiceDouble, ServiceDoubleOptions } from './service-double.js'

/** Duration of a word in the double's transcripts, in milliseconds. */
const WORD_MS = 250
/** Default duration of speech in ms after which a double that understands speech sends words. */
const PARTIAL_MS = 600
/**
 * Duration of silence in ms after which the double recognises the words so far. If the turn then ends, its words are
 * already available.
 */
const PAUSE_MS = 100
/**
 * Maximum audio of a turn in milliseconds, for a double that understands speech. It stores this audio; later audio is
 * only counted.
 */
const TURN_MS_MAX = 60_000

export interface SpokenWord {
  readonly text: string
  /** Start in ms since the beginning of the connection's audio. */
  readonly startMs: number
  readonly endMs: number
}

/** Part of a double that its recogniser uses. */
type HeardBy = Pick<ServiceDouble, 'script' | 'options' | 'faults' | 'callerAudioMs' | 'unheardMs'>
type Understand = NonNullable<ServiceDoubleOptions['understand']>

interface EarOut {
  /** Reports all words of the turn so far. */
  readonly words: (words: readonly SpokenWord[]) => void
  /** Called when the connection must break. */
  readonly broke: () => void
}

/** Recogniser of a double for the audio of one connection. */
export class DoubleEar {
  heardMs = 0
  readonly #double: HeardBy
  readonly #rateHz: number
  readonly #out: EarOut
  readonly #detector: LevelDetector
  #words: readonly SpokenWord[] | null = null
  #shown = 0
  #voicedMs = 0
  #voicedFromMs = 0
  #turns = 0
  /** The turn's audio, if the double understands speech, and the position of the last recognition. */
  #pcm: Int16Array[] = []
  #pcmMs = 0
  #partialAtMs = 0
  #busy = false
  readonly #pauses: LevelDetector
  /** Words before the caller's current pause; null while the caller speaks. */
  #beforePause: Promise<string> | null = null

  constructor(double: HeardBy, rateHz: number, out: EarOut) {
    this.#double = double
    this.#rateHz = rateHz
    this.#out = out
    this.#detector = new LevelDetector({ sampleRateHz: rateHz, silenceMs: 400 })
    this.#pauses = new LevelDetector({ sampleRateHz: rateHz, silenceMs: PAUSE_MS })
  }

  hear(pcm: Int16Array): void {
    for (let at = 0; at < pcm.length; at += this.#rateHz / 50) this.#hear(pcm.subarray(at, at + this.#rateHz / 50))
  }

  /**
   * Ends the turn, unless the faults suppress its end.
   * @param told called with all words of the turn: immediately, or after the recognition if the words must be
   * recognised first
   */
  end(told: (words: readonly SpokenWord[]) => void): void {
    const { faults, options } = this.#double
    const { understand } = options
    const words = this.#words ?? []
    const [fromMs, voicedMs, pcm] = [this.#voicedFromMs, this.#voicedMs, joined(this.#pcm)]
    const known = this.#beforePause
    this.#beforePause = null
    this.#turns++
    this.#words = null
    this.#voicedMs = 0
    this.#shown = 0
    this.#pcm = []
    this.#pcmMs = 0
    this.#partialAtMs = 0
    if (faults.deaf) return
    const tell = (found: readonly SpokenWord[]): void => told(faults.emptyAnswer ? [] : found)
    if (understand === undefined || voicedMs === 0) return tell(words)
    // Speech without recognised words is reported as inaudible. A shorter sound is not reported, because it may be a
    // knock.
    const none = voicedMs < PARTIAL_MS ? '' : INAUDIBLE
    void (known ?? understand(pcm, this.#rateHz)).then((text) => tell(spread(text || none, fromMs, voicedMs)))
  }

  #hear(pcm: Int16Array): void {
    const { understand } = this.#double.options
    const ms = (pcm.length * 1000) / this.#rateHz
    this.heardMs += ms
    this.#double.callerAudioMs += ms
    this.#detector.hear(pcm)
    if (this.#pcmMs >= TURN_MS_MAX) this.#double.unheardMs += ms
    else if (understand !== undefined) {
      this.#pcm.push(pcm.slice())
      this.#pcmMs += ms
    }
    if (understand !== undefined) this.#pause(this.#pauses.hear(pcm).at(-1), understand)
    if (!this.#detector.speaking) return
    if (this.#voicedMs === 0) this.#voicedFromMs = this.heardMs - ms
    this.#voicedMs += ms
    if (this.#double.faults.deaf) return
    if (understand === undefined) this.#recite()
    else this.#listen(understand)
  }

  #pause(edge: 'started' | 'stopped' | undefined, understand: Understand): void {
    if (edge === 'started') this.#beforePause = null
    if (edge !== 'stopped' || this.#voicedMs === 0) return
    const [turn, fromMs, voicedMs] = [this.#turns, this.#voicedFromMs, this.#voicedMs]
    this.#beforePause = understand(joined(this.#pcm), this.#rateHz)
    if (this.#double.options.interimMs === undefined) return
    void this.#beforePause.then((text) => {
      if (turn === this.#turns && text !== '') this.#tell(spread(text, fromMs, voicedMs))
    })
  }

  #recite(): void {
    // The sound must be at least as long as one word, because a knock is shorter.
    if (this.#words === null && this.#voicedMs >= WORD_MS) {
      const texts = this.#double.script.nextCallerText().split(' ')
      this.#words = texts.map((text, i) => ({
        text,
        startMs: this.#voicedFromMs + i * WORD_MS,
        endMs: this.#voicedFromMs + (i + 1) * WORD_MS,
      }))
    }
    const words = this.#words ?? []
    const due = Math.min(words.length, Math.floor(this.#voicedMs / WORD_MS))
    if (due <= this.#shown) return
    this.#shown = due
    this.#tell(words.slice(0, due))
  }

  #listen(understand: Understand): void {
    if (this.#busy || this.#voicedMs - this.#partialAtMs < (this.#double.options.interimMs ?? PARTIAL_MS)) return
    this.#busy = true
    this.#partialAtMs = this.#voicedMs
    const [turn, fromMs, voicedMs] = [this.#turns, this.#voicedFromMs, this.#voicedMs]
    void understand(joined(this.#pcm), this.#rateHz).then((text) => {
      this.#busy = false
      if (turn === this.#turns && text !== '') this.#tell(spread(text, fromMs, voicedMs))
    })
  }

  #tell(words: readonly SpokenWord[]): void {
    const { faults } = this.#double
    if (faults.breaksAfterWords !== null && words.length >= faults.breaksAfterWords) {
      faults.breaksAfterWords = null
      return this.#out.broke()
    }
    this.#out.words(words)
  }
}

/** Distributes the words of a text evenly over the time of its speech. */
function spread(text: string, fromMs: number, ms: number): readonly SpokenWord[] {
  const words = text.split(' ').filter((word) => word !== '')
  const each = ms / Math.max(1, words.length)
  return words.map((word, i) => ({ text: word, startMs: fromMs + i * each, endMs: fromMs + (i + 1) * each }))
}

/** One connection of a recogniser's double. */
export abstract class RecogniserSession extends DoubleSession {
  /** Texts of the client, oldest first. */
  readonly messages: string[] = []
  readonly query: URLSearchParams
  protected readonly double: ServiceDouble
  protected ear: DoubleEar | null = null
  readonly #expanded = new Int16Array(65_536)

  constructor(client: WebSocket, query: URLSearchParams, double: ServiceDouble) {
    super(client)
    this.double = double
    this.query = query
  }

  protected override take(bytes: Buffer, binary: boolean): void {
    if (binary) return this.audio(bytes)
    this.messages.push(bytes.toString())
    this.text(bytes.toString())
  }

  protected abstract audio(bytes: Buffer): void
  protected abstract text(text: string): void
  /** Reports all words of the turn so far. */
  protected abstract words(words: readonly SpokenWord[]): void

  protected earAt(rateHz: number): DoubleEar {
    return new DoubleEar(this.double, rateHz, {
      words: (words) => this.words(words),
      broke: () => this.client.terminate(),
    })
  }

  /**
   * Ends the turn; the answer follows after the delay.
   * @param told not called if the faults suppress the answer
   */
  protected end(told: (words: readonly SpokenWord[]) => void): void {
    this.ear?.end((words) => {
      if (!this.double.faults.noAnswer) this.afterEnd(() => told(words))
    })
  }

  /** Calls `work` after the delay at the end of a turn. */
  protected afterEnd(work: () => void): void {
    this.later(this.double.options.finalMs ?? 0, work)
  }

  /** Converts bytes to samples, which are valid until the next call. */
  protected samples(bytes: Buffer, law: 'mulaw' | 'pcm16'): Int16Array {
    return law === 'mulaw' ? this.#expanded.subarray(0, decodeMuLaw(bytes, this.#expanded)) : samplesOf(bytes)
  }
}

import type { WebSocket } from 'ws'
import { Sentences } from '../../backends/cascade/sentences.js'
import { DoubleSession, partOf, soundOf } from './double.js'
import { toneSpeaker } from './tone-speaker.js'
import type { ServiceDouble } from './service-double.js'

const FRAME_MS = 100

export type Json = Readonly<Record<string, unknown>>

export function textIn(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** A piece of sound, and the text that is spoken in it. The text is evenly distributed over the sound. */
export interface SpokenFrame {
  readonly bytes: Buffer
  readonly text: string
  /** Start in ms since the beginning of the utterance. */
  readonly fromMs: number
  readonly ms: number
}

/** Listener to an utterance's sound. */
interface SpeechOut {
  readonly frame: (frame: SpokenFrame) => void
  /** Called when the whole text was spoken. Not called after `stop`. */
  readonly done: () => void
  /** Called when the connection must break. */
  readonly broke: () => void
}

/**
 * One utterance of a double: its texts are spoken one after another, in frames of 100 ms. With a real voice the texts
 * are first joined to whole sentences, as the services themselves do.
 */
export class VoiceSpeech {
  /** All texts whose sound has begun. */
  text = ''
  spokenMs = 0
  over = false
  readonly #double: ServiceDouble
  readonly #rateHz: number
  readonly #out: SpeechOut
  readonly #waiting: string[] = []
  readonly #sentences: Sentences | null
  readonly #sounded: Omit<SpokenFrame, 'bytes'>[] = []
  #given = 0
  #speaking = false
  #ended = false

  constructor(double: ServiceDouble, rateHz: number, out: SpeechOut) {
    this.#double = double
    this.#sentences = double.options.speaker === undefined ? null : new Sentences()
    this.#rateHz = rateHz
    this.#out = out
  }

  /** Number of characters received so far. */
  get characters(): number {
    return this.#given
  }

  /** @returns the words that are spoken before `ms` */
  heardUntil(ms: number): string {
    if (ms >= this.spokenMs) return this.text
    const heard = this.#sounded.filter(({ fromMs }) => fromMs < ms)
    const last = heard.pop()
    const share = last === undefined ? 0 : (ms - last.fromMs) / last.ms
    const cut =
      heard.map(({ text }) => text).join('') + (last?.text.slice(0, Math.floor(last.text.length * share)) ?? '')
    return cut.slice(0, cut.lastIndexOf(' ') + 1)
  }

  say(text: string): void {
    this.#given += text.length
    if (this.#sentences === null) this.#waiting.push(text)
    else this.#waiting.push(...this.#sentences.push(text).map((sentence) => `${sentence} `))
    if (this.#waiting.length > 0) this.#begin()
  }

  /** Ends the text of the utterance. */
  end(): void {
    this.#ended = true
    this.#waiting.push(...(this.#sentences?.flush() ?? []))
    this.#begin()
  }

  stop(): void {
    if (!this.over && this.text !== '') this.#double.spoken.push(this.text)
    this.over = true
  }

  #begin(): void {
    if (this.#speaking || this.over || this.#double.faults.mute) return
    this.#speaking = true
    this.#later(this.text === '' ? (this.#double.options.firstSoundMs ?? 0) : 0, () => this.#next())
  }

  #later(ms: number, work: () => void): void {
    if (ms <= 0) return work()
    setTimeout(work, ms).unref()
  }

  #next(): void {
    if (this.over) return
    const text = this.#waiting.shift()
    if (text === undefined) {
      this.#speaking = false
      if (!this.#ended) return
      this.over = true
      this.#double.spoken.push(this.text)
      return this.#out.done()
    }
    const { script, options, faults } = this.#double
    const reply = script.lastReply ?? {}
    const pcm = faults.unspoken
      ? new Int16Array(0)
      : soundOf(partOf(reply, text), options.speaker ?? toneSpeaker(this.#rateHz), this.#rateHz)
    this.text += text
    this.#frames(text, pcm, 0, reply.paceMs ?? options.paceMs ?? 0)
  }

  #frames(text: string, pcm: Int16Array, from: number, paceMs: number): void {
    if (this.over) return
    if (from >= pcm.length) return this.#next()
    const { faults } = this.#double
    if (faults.breaksAfterSoundMs !== null && this.spokenMs >= faults.breaksAfterSoundMs) {
      faults.breaksAfterSoundMs = null
      this.stop()
      return this.#out.broke()
    }
    const to = Math.min(pcm.length, from + (this.#rateHz * FRAME_MS) / 1000)
    const ms = ((to - from) * 1000) / this.#rateHz
    const cut = (at: number): number => Math.floor((text.length * at) / pcm.length)
    const frame = {
      bytes: Buffer.from(pcm.slice(from, to).buffer),
      text: text.slice(cut(from), cut(to)),
      fromMs: this.spokenMs,
      ms,
    }
    this.spokenMs += ms
    this.#sounded.push({ text: frame.text, fromMs: frame.fromMs, ms })
    this.#out.frame(frame)
    this.#later(paceMs, () => this.#frames(text, pcm, to, paceMs))
  }
}

/** One connection of a voice's double. */
export abstract class VoiceSession extends DoubleSession {
  /** Messages of the client, oldest first. */
  readonly messages: Json[] = []
  protected readonly double: ServiceDouble
  readonly #speeches = new Set<VoiceSpeech>()

  constructor(client: WebSocket, double: ServiceDouble) {
    super(client)
    this.double = double
  }

  override stop(): void {
    super.stop()
    for (const speech of this.#speeches) speech.stop()
  }

  protected override take(bytes: Buffer, binary: boolean): void {
    if (binary) return
    const message = JSON.parse(bytes.toString()) as Json
    this.messages.push(message)
    this.receive(message)
  }

  protected abstract receive(message: Json): void

  protected speech(rateHz: number, out: Pick<SpeechOut, 'frame' | 'done'>): VoiceSpeech {
    const speech = new VoiceSpeech(this.double, rateHz, { ...out, broke: () => this.client.terminate() })
    this.#speeches.add(speech)
    return speech
  }
}

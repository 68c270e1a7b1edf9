import type { OfflineDialogue } from '../../agents/offline/offline.js'
import { DialogueEngine } from '../../backends/embedded/dialogue/engine.js'
import { type DialogueEvent } from '../../backends/embedded/dialogue/dialogue-events.js'
import { recognisedWords, readable } from '../../backends/embedded/dialogue/understanding.js'
import { PreRoll } from '../../backends/pre-roll.js'
import { keysIn } from '../../backends/prompts.js'
import { CallLanguage } from '../../call/spoken/call-language.js'
import { ANSWER_UNHEARD_MS } from '../../core/limits.js'
import { jsonOrNull } from '../../core/json.js'
import { samplesToMs } from '../../core/units.js'
import { joined } from '../../media/pcm.js'
import { RateConverter } from '../../media/resample/rate-converter.js'
import type { SpeechChunk, SpeechClient, Utterance } from '../../speech/speech-client.js'
import { RECOGNISER_RATE_HZ } from '../../speech/speech-protocol.js'
import type { DoubleModel, ModelReply } from './double.js'
import type { SpokenText } from './tone-speaker.js'

/** A dialogue, with its agent's greeting and languages. */
export interface Followed {
  readonly dialogue: OfflineDialogue
  /** The agent's own greeting; empty if there is none. */
  readonly greeting: string
  /** Languages, with the opening language first. */
  readonly languages: readonly string[]
}

interface DialogueModelOptions extends Followed {
  /** Speech client of the session; closed with the session. */
  readonly speech: SpeechClient
  /** Wait in ms before each answer, as for a model that reasons. */
  readonly thinkMs: number
}

/** A tool call of the dialogue, with its id from the dialogue's engine. */
interface OpenCall {
  readonly engineId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
}

/** Parts of an answer. */
interface Answer {
  readonly texts: readonly string[]
  readonly calls: readonly OpenCall[]
}

/** Minimum match of a sound with the words. The limits are the embedded backend's limits. */
export const FIT_MIN = 0.75
export const FIT_SURE = 0.87
/** Duration in ms of the sound before the detected start of speech; this sound is recognised too. */
const PRE_ROLL_MS = 400
/** Approximate time in ms between sending an answer's sound and hearing the sound. */
const LINE_MS = 300
/**
 * Placeholder for the caller's number. The dialogue only knows that the caller has a number; the gateway inserts the
 * real number.
 */
const CALLER_NUMBER = 'this caller'
/** Answer that is spoken if the dialogue has no answer, because the service must speak. */
const NOTHING_TO_SAY = 'One moment, please.'

/** A dialogue in the role of a service's model. It answers in the caller's language, as detected by the gateway. */
export class ModelDialogue {
  readonly engine: DialogueEngine
  /** Texts that were not spoken yet. */
  texts: string[] = []
  /** Texts that the caller has not heard. */
  unheard: string[] = []
  /** Tool calls that are still to be made. `made`: calls that were made, by the id from the service. */
  calls: OpenCall[] = []
  readonly made = new Map<string, OpenCall>()
  callsMade = 0
  /** True: further input is ignored. */
  closed = false
  readonly #language: CallLanguage
  /** True if the dialogue waits for the remaining digits of a number. */
  #numberOpen = false

  constructor({ dialogue, greeting, languages }: Followed) {
    this.engine = new DialogueEngine({
      dialogue,
      values: { caller: { number: CALLER_NUMBER }, greeting, humans: { there: true } },
      answered: [],
      resume: null,
      today: new Date().toISOString().slice(0, 10),
    })
    this.#language = new CallLanguage(languages, undefined)
    this.engine.language = this.#language.now
  }

  start(takeover: boolean): void {
    if (!this.engine.started) this.#take({ type: 'start', takeover })
  }

  /** @param words  the caller's words, used to find the language; `text` is the dialogue's part of these words */
  heard(words: string, text: string, more: { readonly sure?: boolean; readonly attempt?: boolean } = {}): void {
    this.#language.heard([{ text: words }])
    this.engine.language = this.#language.now
    const unheard = [...this.unheard.splice(0), ...this.texts.splice(0)]
    this.#take({ type: 'heard', text, by: 'speech', unheard, ...more })
  }

  /** Handles DTMF digits, which make all earlier texts invalid. */
  pressed(keys: string): void {
    this.unheard = []
    this.texts = []
    for (const key of keys.replace(/[^0-9*#]/g, '')) this.#take({ type: 'key', key })
  }

  answered(): void {
    this.#language.answered()
  }

  /** @param output  result of a tool call as a client wrote it */
  result(callId: string, output: unknown): void {
    const call = this.made.get(callId)
    this.made.delete(callId)
    if (call !== undefined) this.#take({ type: 'tool-result', callId: call.engineId, ...resultOf(output) })
  }

  /** The answer that is due now, or a filler for the caller. */
  next(): Answer {
    let calls = this.#due()
    if (this.texts.length + calls.length === 0) {
      this.#take(this.#numberOpen ? { type: 'keys-timeout' } : { type: 'nudge' })
      calls = this.#due()
      if (this.texts.length + calls.length === 0) this.texts.push(NOTHING_TO_SAY)
    }
    this.calls = this.calls.filter((call) => !calls.includes(call))
    return { texts: this.texts.splice(0), calls }
  }

  /** Makes the tool calls of an answer, each with an id of the service. */
  make(calls: readonly OpenCall[]): NonNullable<ModelReply['calls']> {
    return calls.map((call) => {
      const callId = `call_${++this.callsMade}`
      this.made.set(callId, call)
      return { callId, name: call.name, args: call.args }
    })
  }

  #due(): readonly OpenCall[] {
    return this.calls.filter(({ engineId }) => this.engine.waitsFor(engineId))
  }

  #take(event: DialogueEvent): void {
    if (this.closed) return
    for (const action of this.engine.handle(event)) {
      if (action.type === 'say') this.texts.push(action.text)
      else if (action.type === 'call')
        this.calls.push({ engineId: action.callId, name: action.name, args: action.args })
      else if (action.type === 'key-timer') this.#numberOpen = action.ms !== null
    }
  }
}

/**
 * The model behind one session of a double, without a network. It recognises the caller's words, follows the agent's
 * `offline:` dialogue, calls its tools and speaks with the embedded voice. A dialogue may begin a tool early. This
 * model calls the tool only when its result is needed, as language models do.
 */
export class DialogueModel implements DoubleModel {
  answers = 0
  lastReply: ModelReply | null = null
  readonly #options: DialogueModelOptions
  readonly #dialogue: ModelDialogue
  readonly #preRoll = new PreRoll(PRE_ROLL_MS, RECOGNISER_RATE_HZ)
  #converter: { readonly sampleRateHz: number; readonly to: RateConverter } | null = null
  #utterance: Utterance | null = null
  #utteranceSamples = 0
  /** Resolves when the dialogue has processed all words, DTMF digits and results so far. */
  #settled: Promise<void> = Promise.resolve()
  /** True if the caller spoke to another session before. */
  #takeover = false
  /** Number of times that the caller began to speak. An answer from before the last time is invalid. */
  #starts = 0
  /** The answer whose sound is being synthesised. */
  #making: Answer | null = null
  /** The answer that the caller hears: its start time, and the end time of each of its sentences. */
  #heard: {
    readonly atMs: number
    readonly sentences: readonly { readonly text: string; readonly endMs: number }[]
  } | null = null

  constructor(options: DialogueModelOptions) {
    this.#options = options
    this.#dialogue = new ModelDialogue(options)
  }

  hear(pcm: Int16Array, sampleRateHz: number): void {
    const samples = sampleRateHz === RECOGNISER_RATE_HZ ? pcm : this.#converted(pcm, sampleRateHz)
    if (this.#utterance === null) this.#preRoll.push(samples)
    else this.#utterance.push(samples)
    this.#utteranceSamples += samples.length
  }

  /** A client may send sound before it sets the rate of its session. */
  #converted(pcm: Int16Array, sampleRateHz: number): Int16Array {
    if (this.#converter?.sampleRateHz !== sampleRateHz)
      this.#converter = { sampleRateHz, to: new RateConverter(sampleRateHz, RECOGNISER_RATE_HZ) }
    return this.#converter.to.process(pcm)
  }

  callerStarted(): void {
    this.#starts++
    this.#interrupted()
    const dialogue = this.#dialogue
    if (this.#utterance !== null || dialogue.closed) return
    if (!dialogue.engine.started) {
      // The caller speaks first: the greeting counts as interrupted.
      dialogue.start(this.#takeover)
      dialogue.unheard.push(...dialogue.texts.splice(0))
    }
    const { jsgf, words } = dialogue.engine.grammar()
    const before = this.#preRoll.take()
    try {
      this.#utterance = this.#options.speech.startUtterance(jsgf, words)
    } catch {
      return // Without a decoder the turn is not understood.
    }
    this.#utterance.push(before)
    this.#utteranceSamples = before.length
  }

  async nextCallerText(): Promise<string> {
    const utterance = this.#utterance
    this.#utterance = null
    const ms = samplesToMs(this.#utteranceSamples, RECOGNISER_RATE_HZ)
    let words = ''
    this.#then(async () => {
      const { text, fit = 1 } = (await utterance?.end().catch(() => null)) ?? { text: '' }
      words = fit < FIT_MIN ? '' : recognisedWords(text, this.#options.dialogue.digits)
      this.#dialogue.heard(words, words, { sure: fit >= FIT_SURE, attempt: ms < ANSWER_UNHEARD_MS })
    })
    await this.#settled
    return readable(words, this.#options.dialogue.digits)
  }

  told(role: 'caller' | 'agent' | 'system', text: string): void {
    if (role === 'agent') this.#takeover = true
    const keys = keysIn(text)
    if (keys === null) return
    this.#starts++
    this.#interrupted()
    this.#then(() => this.#dialogue.pressed(keys))
  }

  toolResult(callId: string, output: unknown): void {
    this.#then(() => this.#dialogue.result(callId, output))
  }

  callsTakenBack(callIds: readonly string[]): void {
    for (const id of callIds) {
      const call = this.#dialogue.made.get(id)
      if (call !== undefined) this.#dialogue.calls.push(call)
      this.#dialogue.made.delete(id)
    }
  }

  async nextReply(): Promise<ModelReply> {
    this.answers++
    const starts = this.#starts
    if (this.#options.thinkMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#options.thinkMs).unref())
    await this.#settled
    // The caller continued: the answer waits until the caller has finished.
    const dialogue = this.#dialogue
    if (starts !== this.#starts || dialogue.closed) return {}
    dialogue.start(this.#takeover)
    const answer = dialogue.next()
    dialogue.answered()
    this.#making = answer
    const text = answer.texts.join(' ')
    const chunks = text === '' ? [] : await spokenChunks(this.#options.speech, text, this.#options.dialogue.voice)
    if (this.#making !== answer) return {}
    this.#making = null
    const reply = this.#replyOf(answer, chunks)
    this.lastReply = reply
    return reply
  }

  close(): void {
    this.#dialogue.closed = true
    this.#utterance?.abandon()
    this.#utterance = null
    this.#options.speech.close()
  }

  /** Queues work after all earlier work. */
  #then(work: () => void | Promise<void>): void {
    this.#settled = this.#settled.then(work)
  }

  /**
   * Handles an interruption: the caller has not heard the later part of the last answer, or anything that was not
   * played yet.
   */
  #interrupted(): void {
    const { unheard, calls } = this.#dialogue
    if (this.#making !== null) {
      unheard.push(...this.#making.texts)
      calls.push(...this.#making.calls)
      this.#making = null
    }
    if (this.#heard === null) return
    const heardMs = performance.now() - this.#heard.atMs - LINE_MS
    unheard.push(...this.#heard.sentences.filter(({ endMs }) => endMs > heardMs).map(({ text }) => text))
    this.#heard = null
  }

  #replyOf(answer: Answer, chunks: readonly SpeechChunk[]): ModelReply {
    const calls = this.#dialogue.make(answer.calls)
    const sound = soundOf(chunks)
    let at = 0
    const sentences = chunks.map((chunk) => {
      at += chunk.pcm.length
      return { text: chunk.text, endMs: samplesToMs(at, sound.sampleRateHz) }
    })
    if (sentences.length > 0) this.#heard = { atMs: performance.now(), sentences }
    return {
      ...(answer.texts.length === 0 ? {} : { say: answer.texts.join(' '), sound }),
      ...(calls.length === 0 ? {} : { calls }),
    }
  }
}

/** Synthesises a text with the embedded voice. */
export async function spokenChunks(
  speech: SpeechClient,
  text: string,
  voice: OfflineDialogue['voice'] = 'slt',
): Promise<readonly SpeechChunk[]> {
  const chunks: SpeechChunk[] = []
  await speech.speak(text, voice, (chunk) => chunks.push(chunk)).done
  return chunks
}

export function soundOf(chunks: readonly SpeechChunk[]): SpokenText {
  const sampleRateHz = chunks[0]?.sampleRateHz ?? RECOGNISER_RATE_HZ
  return { pcm: joined(chunks.map(({ pcm }) => pcm)), sampleRateHz }
}

/** A tool's result as a client wrote it: JSON as text or parsed; an object with `error` is a failure. */
function resultOf(output: unknown): { readonly ok: boolean; readonly value: unknown } {
  // A text that is not JSON is the result itself.
  const ofText = (text: string): unknown => (text === 'null' ? null : (jsonOrNull(text) ?? text))
  const value = typeof output === 'string' ? ofText(output) : output
  return { ok: typeof value !== 'object' || value === null || !('error' in value), value }
}

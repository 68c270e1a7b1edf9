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
  /** The agent's own; empty for none. */
  readonly greeting: string
  /** The one that opens the call first. */
  readonly languages: readonly string[]
}

interface DialogueModelOptions extends Followed {
  /** The session's own; closed with it. */
  readonly speech: SpeechClient
  /** Wait before each answer, as of a model that thinks. */
  readonly thinkMs: number
}

/** A call of the dialogue's, by the id that the service gave it. */
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

/** How well a sound must fit the words; the limits of the embedded backend. */
export const FIT_MIN = 0.75
export const FIT_SURE = 0.87
/** Sound from before the double's own detection of speech. */
const PRE_ROLL_MS = 400
/** An answer's sound is heard about this much later than it was sent. */
const LINE_MS = 300
/** A dialogue knows only whether there is a number: the gateway puts in the one that really calls. */
const CALLER_NUMBER = 'this caller'
/** Said where the dialogue has nothing to say and the service must answer. */
const NOTHING_TO_SAY = 'One moment, please.'

/** A dialogue as the model of a service holds it. It answers in the caller's language, as the gateway finds it. */
export class ModelDialogue {
  readonly engine: DialogueEngine
  /** Texts that were not said yet. */
  texts: string[] = []
  /** Texts that the caller has not heard. */
  unheard: string[] = []
  /** Calls that were not made yet; those that were, by the id that the service gave them. */
  calls: OpenCall[] = []
  readonly made = new Map<string, OpenCall>()
  callsMade = 0
  /** True: takes nothing more. */
  closed = false
  readonly #language: CallLanguage
  /** The dialogue waits for the rest of a number. */
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

  /** @param words  of the caller, in which the language is found; `text` is what the dialogue gets of them */
  heard(words: string, text: string, more: { readonly sure?: boolean; readonly attempt?: boolean } = {}): void {
    this.#language.heard([{ text: words }])
    this.engine.language = this.#language.now
    const unheard = [...this.unheard.splice(0), ...this.texts.splice(0)]
    this.#take({ type: 'heard', text, by: 'speech', unheard, ...more })
  }

  /** The caller has pressed `keys`, so that nothing said before counts. */
  pressed(keys: string): void {
    this.unheard = []
    this.texts = []
    for (const key of keys.replace(/[^0-9*#]/g, '')) this.#take({ type: 'key', key })
  }

  answered(): void {
    this.#language.answered()
  }

  /** @param output  of a call as a client wrote it */
  result(callId: string, output: unknown): void {
    const call = this.made.get(callId)
    this.made.delete(callId)
    if (call !== undefined) this.#take({ type: 'tool-result', callId: call.engineId, ...resultOf(output) })
  }

  /** The answer that is due now; a word for the caller where there is none. */
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

  /** The calls of an answer, each with an id of the service. */
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
 * The model behind one session of a double, without a network: it recognises what the caller says, follows the agent's
 * `offline:` dialogue, calls its tools and speaks with the embedded voice. Where the dialogue begins a tool ahead of
 * time, the model calls it when its result is needed, as language models do.
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
  /** Resolves when the dialogue has taken everything that was said, pressed and returned so far. */
  #settled: Promise<void> = Promise.resolve()
  /** The caller spoke to another session before. */
  #takeover = false
  /** Counts what the caller began to say: an answer from before it is void. */
  #starts = 0
  /** The answer whose sound is being made. */
  #making: Answer | null = null
  /** The answer that is being heard: when it began, and when each of its sentences ends. */
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
      return // No decoder: the turn is not understood.
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
    // The caller went on: they are answered when they have finished.
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

  /** Work that waits for what came before it. */
  #then(work: () => void | Promise<void>): void {
    this.#settled = this.#settled.then(work)
  }

  /** The caller does not know the unheard part of the last answer, or anything that was on its way. */
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

/** A text, as the embedded voice speaks it. */
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

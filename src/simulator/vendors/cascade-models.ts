import { LRUCache } from 'lru-cache'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import { DialogueEngine, type DialogueEvent } from '../../backends/embedded/dialogue/engine.js'
import { recognisedWords, readable } from '../../backends/embedded/dialogue/understanding.js'
import { keysIn } from '../../backends/prompts.js'
import { CallLanguage } from '../../call/call-language.js'
import { isSampleRateHz } from '../../core/units.js'
import { joined } from '../../media/pcm.js'
import { BLOCK_SAMPLES, type ResamplerBank } from '../../media/resample/resampler.js'
import { channelOf, parseWav } from '../../media/wav.js'
import type { SpeechChunk, SpeechClient } from '../../speech/speech-client.js'
import { RECOGNISER_RATE_HZ, type DictionaryEntry, type Recognised } from '../../speech/speech-protocol.js'
import { sentencesOf } from '../../speech/spoken/sentences.js'
import type { OfflineDialogue } from '../../agents/offline.js'
import { CALLER_NUMBER, FIT_MIN, FIT_SURE, NOTHING_TO_SAY, resultOf } from './dialogue-model.js'
import { atRate, INAUDIBLE, type SpokenText } from './double.js'

/** Grammars, of the conversations that were answered last, that a double of a cascade tries on what a caller says. */
const CASCADE_DOUBLE_GRAMMARS_MAX = 8

interface CascadeModelsOptions {
  /** The dialogue that a session with these instructions follows. */
  readonly find: (instructions: string) => Followed
  /** What every conversation can begin with. */
  readonly dialogues: readonly OfflineDialogue[]
  readonly openSpeech: () => SpeechClient
  readonly resamplers: ResamplerBank
}

/** A dialogue, with its agent's greeting and languages. */
interface Followed {
  readonly dialogue: OfflineDialogue
  readonly greeting: string
  readonly languages: readonly string[]
}

interface Listening {
  readonly jsgf: string
  readonly words: readonly DictionaryEntry[]
  readonly digits: readonly string[]
}

/** How the gateway writes an answer that was cut off, and a result that came late. */
const CUT_OFF = /^(.*) \[the caller interrupted\]$/s
const LATE_RESULT = /^The tool (\w+) has answered: (.*)$/s
const STILL_RUNNING = 'still running'

/**
 * The minds behind the three services of a cascade, without a network. Like those they keep no conversation: the
 * language model goes through the messages of each request with a new dialogue, and the recogniser, which is told
 * nothing but the sound, tries what the conversations that were answered last listen for.
 */
export class CascadeModels {
  readonly #options: CascadeModelsOptions
  /** The newest last; by grammar. */
  readonly #listening = new LRUCache<string, Listening>({ max: CASCADE_DOUBLE_GRAMMARS_MAX })
  readonly #openings: readonly Listening[]

  constructor(options: CascadeModelsOptions) {
    this.#options = options
    this.#openings = options.dialogues.map((dialogue) => {
      const engine = engineOf(dialogue, '')
      engine.handle({ type: 'start', takeover: false })
      return { ...engine.grammar(), digits: dialogue.digits }
    })
  }

  /** @param wav  a file of 16-bit PCM, as the gateway sends it */
  async transcribe(wav: Uint8Array): Promise<string> {
    const audio = parseWav(wav)
    return (await this.understand(channelOf(audio, 0), audio.sampleRateHz)) || INAUDIBLE
  }

  /** The words of a caller's turn, or of its beginning; empty when there are none that a conversation listens for. */
  async understand(sound: Int16Array, sampleRateHz: number): Promise<string> {
    const pcm = this.#atRecogniserRate(sound, sampleRateHz)
    let best = { text: '', fit: 0 }
    for (const one of [...this.#listening.values(), ...this.#openings]) {
      const { text, fit = 1 } = await this.#recognise(pcm, one)
      const words = recognisedWords(text, one.digits)
      if (fit > best.fit && words !== '') best = { text: readable(words, one.digits), fit }
      if (best.fit >= FIT_SURE) break
    }
    return best.fit >= FIT_MIN ? best.text : ''
  }

  /** The model's answer to a request with these messages. */
  answer(messages: readonly ChatCompletionMessageParam[]): ScriptedReply {
    const followed = this.#options.find(textOf(messages[0]))
    const { dialogue } = followed
    const conversation = new Conversation(followed)
    for (const message of messages.slice(1)) conversation.take(message)
    const reply = conversation.reply()
    const listening = { ...conversation.engine.grammar(), digits: dialogue.digits }
    this.#listening.set(listening.jsgf, listening)
    return reply
  }

  async speak(text: string): Promise<SpokenText> {
    const speech = this.#options.openSpeech()
    const chunks: SpeechChunk[] = []
    try {
      await speech.speak(text, 'slt', (chunk) => chunks.push(chunk)).done
    } finally {
      speech.close()
    }
    const pcm = new Int16Array(chunks.reduce((samples, chunk) => samples + chunk.pcm.length, 0))
    let at = 0
    for (const chunk of chunks) {
      pcm.set(chunk.pcm, at)
      at += chunk.pcm.length
    }
    return { pcm, sampleRateHz: chunks[0]?.sampleRateHz ?? RECOGNISER_RATE_HZ }
  }

  async #recognise(pcm: Int16Array, { jsgf, words }: Listening): Promise<Recognised> {
    const speech = this.#options.openSpeech()
    try {
      const utterance = speech.startUtterance(jsgf, words)
      utterance.push(pcm)
      return await utterance.end()
    } catch {
      return { text: '' } // No decoder: the turn is not understood.
    } finally {
      speech.close()
    }
  }

  #atRecogniserRate(pcm: Int16Array, sampleRateHz: number): Int16Array {
    if (!isSampleRateHz(sampleRateHz)) return atRate(pcm, sampleRateHz, RECOGNISER_RATE_HZ)
    const resampler = this.#options.resamplers.open(sampleRateHz, RECOGNISER_RATE_HZ)
    const out: Int16Array[] = []
    for (let at = 0; at < pcm.length; at += BLOCK_SAMPLES) {
      const block = pcm.subarray(at, at + BLOCK_SAMPLES)
      const samples = new Int16Array(resampler.outputSamplesMax(block.length))
      out.push(samples.subarray(0, resampler.process(block, samples)))
    }
    resampler.release()
    return joined(out)
  }
}

interface OpenCall {
  readonly engineId: string
  readonly name: string
  readonly args: Readonly<Record<string, unknown>>
}

/** A dialogue that goes through what was said. */
class Conversation {
  readonly engine: DialogueEngine
  readonly #greeting: string
  /** It answers in the caller's, as the gateway finds it. */
  readonly #language: CallLanguage
  /** Texts that no message has yet. */
  #texts: string[] = []
  /** Calls that no message has yet; those that one has, by its id. */
  #calls: OpenCall[] = []
  readonly #made = new Map<string, OpenCall>()
  #callsMade = 0
  #unheard: string[] = []
  #numberOpen = false

  constructor({ dialogue, greeting, languages }: Followed) {
    this.engine = engineOf(dialogue, greeting)
    this.#greeting = greeting
    this.#language = new CallLanguage(languages, undefined)
    this.engine.language = this.#language.now
  }

  take(message: ChatCompletionMessageParam): void {
    const text = textOf(message)
    switch (message.role) {
      case 'user':
        return this.#callerSaid(text)
      case 'assistant':
        if (text !== '') this.#agentSaid(text)
        for (const call of message.tool_calls ?? []) {
          if (call.type !== 'function') continue
          const named = this.#calls.filter(({ name }) => name === call.function.name)
          // The dialogue may wait for another call of the same tool.
          const found = named.find(({ args }) => JSON.stringify(args) === call.function.arguments) ?? named[0]
          if (found !== undefined) this.#calls.splice(this.#calls.indexOf(found), 1)
          this.#callsMade++
          if (found !== undefined) this.#made.set(call.id, found)
        }
        return
      case 'tool':
        if (!text.includes(STILL_RUNNING)) this.#result(message.tool_call_id, text)
        return
      case 'system': {
        const [, name, result = ''] = LATE_RESULT.exec(text) ?? []
        const [id] = [...this.#made].find(([, call]) => call.name === name) ?? []
        if (id !== undefined) this.#result(id, result)
        return
      }
      default:
    }
  }

  reply(): ScriptedReply {
    this.#start(false)
    let calls = this.#due()
    if (this.#texts.length + calls.length === 0) {
      this.#handle(this.#numberOpen ? { type: 'keys-timeout' } : { type: 'nudge' })
      calls = this.#due()
      if (this.#texts.length + calls.length === 0) this.#texts.push(NOTHING_TO_SAY)
    }
    return {
      ...(this.#texts.length === 0 ? {} : { say: this.#texts.join(' ') }),
      ...(calls.length === 0
        ? {}
        : { calls: calls.map(({ name, args }) => ({ callId: `call_${++this.#callsMade}`, name, args })) }),
    }
  }

  #callerSaid(text: string): void {
    this.#start(false)
    const keys = keysIn(text)
    if (keys !== null) {
      this.#unheard = []
      this.#texts = []
      for (const key of keys.replace(/[^0-9*#]/g, '')) this.#handle({ type: 'key', key })
      return
    }
    this.#language.heard([{ text }])
    this.engine.language = this.#language.now
    const unheard = [...this.#unheard.splice(0), ...this.#texts.splice(0)]
    this.#handle({ type: 'heard', text: text === INAUDIBLE ? '' : text, by: 'speech', unheard })
  }

  #agentSaid(text: string): void {
    this.#language.answered()
    // The greeting is spoken without the model; other words of the agent before it are another backend's.
    this.#start(!sentencesOf(this.#greeting).some((sentence) => text.startsWith(sentence.split(' ')[0] ?? sentence)))
    const [, heard] = CUT_OFF.exec(text) ?? []
    const said = sentencesOf(this.#texts.splice(0).join(' '))
    if (heard !== undefined) this.#unheard.push(...said.filter((sentence) => !heard.includes(sentence)))
  }

  #result(id: string, text: string): void {
    const call = this.#made.get(id)
    this.#made.delete(id)
    if (call !== undefined) this.#handle({ type: 'tool-result', callId: call.engineId, ...resultOf(text) })
  }

  #start(takeover: boolean): void {
    if (!this.engine.started) this.#handle({ type: 'start', takeover })
  }

  #due(): readonly OpenCall[] {
    return this.#calls.filter(({ engineId }) => this.engine.waitsFor(engineId))
  }

  #handle(event: DialogueEvent): void {
    for (const action of this.engine.handle(event)) {
      if (action.type === 'say') this.#texts.push(action.text)
      else if (action.type === 'call')
        this.#calls.push({ engineId: action.callId, name: action.name, args: action.args })
      else if (action.type === 'key-timer') this.#numberOpen = action.ms !== null
    }
  }
}

function engineOf(dialogue: OfflineDialogue, greeting: string): DialogueEngine {
  return new DialogueEngine({
    dialogue,
    values: { caller: { number: CALLER_NUMBER }, greeting, humans: { there: true } },
    answered: [],
    resume: null,
    today: new Date().toISOString().slice(0, 10),
  })
}

function textOf(message: ChatCompletionMessageParam | undefined): string {
  return typeof message?.content === 'string' ? message.content : ''
}

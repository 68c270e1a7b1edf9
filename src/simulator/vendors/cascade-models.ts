import { LRUCache } from 'lru-cache'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import { recognisedWords, readable } from '../../backends/embedded/dialogue/understanding.js'
import { keysIn } from '../../backends/prompts.js'
import { channelOf, parseWav } from '../../media/wav.js'
import type { SpeechClient } from '../../speech/speech-client.js'
import { RECOGNISER_RATE_HZ, type Recognised } from '../../speech/speech-protocol.js'
import { sentencesOf } from '../../speech/spoken/sentences.js'
import type { OfflineDialogue } from '../../agents/offline/offline.js'
import { FIT_MIN, FIT_SURE, type Followed, ModelDialogue, soundOf, spokenChunks } from './dialogue-model.js'
import { atRate, INAUDIBLE } from './double.js'
import type { Listening, SharedListening } from './shared-listening.js'
import { type SpokenText } from './tone-speaker.js'

/**
 * Maximum number of grammars that a double of a cascade tries on the caller's speech. They are the grammars of the last
 * answered conversations.
 */
const CASCADE_DOUBLE_GRAMMARS_MAX = 8

interface CascadeModelsOptions {
  /** The dialogue that a session with these instructions follows. */
  readonly find: (instructions: string) => Followed
  /** Dialogues with which every conversation can begin. */
  readonly dialogues: readonly OfflineDialogue[]
  readonly openSpeech: () => SpeechClient
  /** Words shared with the doubles that run beside this one. */
  readonly shared: SharedListening
}

/** Text forms with which the gateway marks an interrupted answer, and a late result. */
const CUT_OFF = /^(.*) \[the caller interrupted\]$/s
const LATE_RESULT = /^The tool (\w+) has answered: (.*)$/s
const STILL_RUNNING = 'still running'

/**
 * The models behind the three services of a cascade, without a network. Like the real services, they do not store
 * conversations. The language model follows each request's messages with a new dialogue. The recogniser gets only
 * sound. So it tries the words that the last answered conversations of all doubles on this machine expect.
 */
export class CascadeModels {
  readonly #options: CascadeModelsOptions
  /** Expected words by grammar, newest last. */
  readonly #listening = new LRUCache<string, Listening>({ max: CASCADE_DOUBLE_GRAMMARS_MAX })
  readonly #openings: readonly Listening[]

  constructor(options: CascadeModelsOptions) {
    this.#options = options
    this.#openings = options.dialogues.map((dialogue) => {
      const opening = new ModelDialogue({ dialogue, greeting: '', languages: [] })
      opening.start(false)
      return { ...opening.engine.grammar(), digits: dialogue.digits }
    })
  }

  /** @param wav  a file of 16-bit PCM, as the gateway sends it */
  async transcribe(wav: Uint8Array): Promise<string> {
    const audio = parseWav(wav)
    return (await this.understand(channelOf(audio, 0), audio.sampleRateHz)) || INAUDIBLE
  }

  /** @returns the words of a caller's turn, or of the turn's beginning; empty if no conversation expects these words */
  async understand(sound: Int16Array, sampleRateHz: number): Promise<string> {
    const pcm = atRate(sound, sampleRateHz, RECOGNISER_RATE_HZ)
    let best = { text: '', fit: 0 }
    const others = this.#options.shared.others().slice(0, CASCADE_DOUBLE_GRAMMARS_MAX)
    for (const one of [...this.#listening.values(), ...others, ...this.#openings]) {
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
    const dialogue = new ModelDialogue(followed)
    for (const message of messages.slice(1)) follow(dialogue, message, followed.greeting)
    dialogue.start(false)
    const { texts, calls } = dialogue.next()
    const listening = { ...dialogue.engine.grammar(), digits: followed.dialogue.digits }
    this.#listening.set(listening.jsgf, listening)
    this.#options.shared.put([...this.#listening.values()])
    return {
      ...(texts.length === 0 ? {} : { say: texts.join(' ') }),
      ...(calls.length === 0 ? {} : { calls: dialogue.make(calls) }),
    }
  }

  async speak(text: string): Promise<SpokenText> {
    const speech = this.#options.openSpeech()
    try {
      return soundOf(await spokenChunks(speech, text))
    } finally {
      speech.close()
    }
  }

  async #recognise(pcm: Int16Array, { jsgf, words }: Listening): Promise<Recognised> {
    const speech = this.#options.openSpeech()
    try {
      const utterance = speech.startUtterance(jsgf, words)
      utterance.push(pcm)
      return await utterance.end()
    } catch {
      return { text: '' } // Without a decoder the turn is not understood.
    } finally {
      speech.close()
    }
  }
}

/** Feeds one message of the conversation to a dialogue. */
function follow(dialogue: ModelDialogue, message: ChatCompletionMessageParam, greeting: string): void {
  const text = textOf(message)
  switch (message.role) {
    case 'user': {
      dialogue.start(false)
      const keys = keysIn(text)
      if (keys === null) dialogue.heard(text, text === INAUDIBLE ? '' : text)
      else dialogue.pressed(keys)
      return
    }
    case 'assistant':
      if (text !== '') agentSaid(dialogue, text, greeting)
      for (const call of message.tool_calls ?? []) {
        if (call.type !== 'function') continue
        const named = dialogue.calls.filter(({ name }) => name === call.function.name)
        // The dialogue may wait for a second call of this tool.
        const found = named.find(({ args }) => JSON.stringify(args) === call.function.arguments) ?? named[0]
        dialogue.callsMade++
        if (found === undefined) continue
        dialogue.calls.splice(dialogue.calls.indexOf(found), 1)
        dialogue.made.set(call.id, found)
      }
      return
    case 'tool':
      if (!text.includes(STILL_RUNNING)) dialogue.result(message.tool_call_id, text)
      return
    case 'system': {
      const [, name, result = ''] = LATE_RESULT.exec(text) ?? []
      const [id] = [...dialogue.made].find(([, call]) => call.name === name) ?? []
      if (id !== undefined) dialogue.result(id, result)
      return
    }
    default:
  }
}

function agentSaid(dialogue: ModelDialogue, text: string, greeting: string): void {
  dialogue.answered()
  // The greeting is spoken without the model. If the agent has said other words before, they came from another backend.
  dialogue.start(!sentencesOf(greeting).some((sentence) => text.startsWith(sentence.split(' ')[0] ?? sentence)))
  const [, heard] = CUT_OFF.exec(text) ?? []
  const said = sentencesOf(dialogue.texts.splice(0).join(' '))
  if (heard !== undefined) dialogue.unheard.push(...said.filter((sentence) => !heard.includes(sentence)))
}

function textOf(message: ChatCompletionMessageParam | undefined): string {
  return typeof message?.content === 'string' ? message.content : ''
}

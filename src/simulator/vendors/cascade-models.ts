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

/** Grammars, of the conversations that were answered last, that a double of a cascade tries on what a caller says. */
const CASCADE_DOUBLE_GRAMMARS_MAX = 8

interface CascadeModelsOptions {
  /** The dialogue that a session with these instructions follows. */
  readonly find: (instructions: string) => Followed
  /** Dialogues with which every conversation can begin. */
  readonly dialogues: readonly OfflineDialogue[]
  readonly openSpeech: () => SpeechClient
  /** With the doubles that run beside this one. */
  readonly shared: SharedListening
}

/** How the gateway writes an answer that was cut off, and a result that came late. */
const CUT_OFF = /^(.*) \[the caller interrupted\]$/s
const LATE_RESULT = /^The tool (\w+) has answered: (.*)$/s
const STILL_RUNNING = 'still running'

/**
 * The minds behind the three services of a cascade, without a network. Like those they keep no conversation: the
 * language model goes through the messages of each request with a new dialogue, and the recogniser, which gets only the
 * sound, tries the words that the last answered conversations listen for, also those of other doubles on this machine.
 */
export class CascadeModels {
  readonly #options: CascadeModelsOptions
  /** The newest last; by grammar. */
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

  /** The words of a caller's turn, or of its beginning; empty when there are none that a conversation listens for. */
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
      return { text: '' } // No decoder: the turn is not understood.
    } finally {
      speech.close()
    }
  }
}

/** Takes a dialogue through one message of what was said. */
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
        // The dialogue may wait for another call of the same tool.
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
  // The greeting is spoken without the model; other words of the agent before it are another backend's.
  dialogue.start(!sentencesOf(greeting).some((sentence) => text.startsWith(sentence.split(' ')[0] ?? sentence)))
  const [, heard] = CUT_OFF.exec(text) ?? []
  const said = sentencesOf(dialogue.texts.splice(0).join(' '))
  if (heard !== undefined) dialogue.unheard.push(...said.filter((sentence) => !heard.includes(sentence)))
}

function textOf(message: ChatCompletionMessageParam | undefined): string {
  return typeof message?.content === 'string' ? message.content : ''
}

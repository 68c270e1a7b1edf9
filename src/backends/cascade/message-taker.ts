import { isBackchannel, plainText } from '../../call/turns/backchannel.js'
import { isClosing } from '../../call/spoken/closing-cues.js'
import { CALLBACK_TOOL, END_CALL_TOOL, ESCALATE_TOOL } from '../../call/tools/gateway-tools.js'
import { textIn, textsOf } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { digitsIn, plainWords } from '../../call/spoken/spoken-numbers.js'
import { wordsOf } from '../../call/words/languages.js'
import { MESSAGE_CHARS_MAX } from '../../core/limits.js'
import { toolNote } from './conversation.js'
import type { ChatMessage, LanguageModel, ModelDelta, ModelRequest, ServiceFactory } from './service.js'

const NO = wordsOf('no')
/** Times that a number is asked for. */
const NUMBER_ASKED_MAX = 2
/** The least of a question that shows that it was this one. */
const HEARD_CHARS_MIN = 8

/** Phrases of the message taker. */
export interface MessagePhrases {
  /** Says why, and asks for the name. */
  readonly name: LocalizedText
  /** Asks what it is about. */
  readonly about: LocalizedText
  /** Asks a caller whose number is withheld for one. */
  readonly number: LocalizedText
  /** The message is saved: promises a call back, and says goodbye. */
  readonly noted: LocalizedText
  /** It could not be saved. */
  readonly failed: LocalizedText
  /** To a caller who wants to leave none. */
  readonly goodbye: LocalizedText
}

/** Nobody came, and the caller had spoken meanwhile. */
const LATE = toolNote(ESCALATE_TOOL)

const QUESTIONS = ['name', 'about', 'number'] as const
type Question = (typeof QUESTIONS)[number]

/** How far the conversation is. */
interface Progress {
  /** The last question; null: none. */
  asked: Question | null
  /** The caller's answer to each question since it was last asked. */
  readonly said: Record<Question, string>
  numberAsked: number
  /** A human was asked for; null: not yet. Else what to say because nobody can come. */
  unreached: string | null
  /** Result of a call back that was requested after the last question; null: none was. */
  noted: boolean | null
}

/**
 * Takes the place of a language model when no other is left, and needs none: it asks for a human, and where nobody
 * can come, for the caller's name and what it is about, has a call back noted, and ends the call.
 *
 *     (begin) --a human may come--> escalate_to_human --nobody--> name --> about --> request_callback --noted--> goodbye
 *     request_callback --the number is withheld--> number --> request_callback
 *
 * It keeps nothing: each answer follows from the conversation, so that it goes on after an interruption, a change of the
 * language, and on another worker.
 */
export function messageTaker(phrases: MessagePhrases): ServiceFactory<LanguageModel> {
  return {
    service: 'message',
    model: 'message',
    make: () => ({
      open: () => Promise.resolve(),
      close: () => undefined,
      // eslint-disable-next-line @typescript-eslint/require-await -- the contract of a model
      async *answer(request) {
        yield next(request, phrases)
      },
    }),
  }
}

function next({ messages, tools, language = '' }: ModelRequest, phrases: MessagePhrases): ModelDelta {
  const say = (phrase: LocalizedText): ModelDelta => ({ text: textIn(phrase, language) })
  const sayAndEnd = (phrase: LocalizedText): ModelDelta => ({ ...say(phrase), ...callOf(END_CALL_TOOL, {}) })
  const { name, about, number, noted, failed, goodbye } = phrases
  const progress = progressIn(messages, phrases)
  const { asked, said, numberAsked, unreached } = progress
  if (unreached === null && tools.some((tool) => tool.name === ESCALATE_TOOL))
    return callOf(ESCALATE_TOOL, {
      reason: 'technical problem',
      summary: 'No language model answers.',
      takesMessage: true,
    })
  if (progress.noted === true) return sayAndEnd(noted)
  if (progress.noted === false) return numberAsked < NUMBER_ASKED_MAX ? say(number) : sayAndEnd(failed)
  if (asked === null) return { text: `${unreached ?? ''} ${textIn(name, language)}`.trim() }
  const words = said[asked]
  if (words === '') return say(phrases[asked])
  if (asked !== 'number' && (isBackchannel(words, NO) || isClosing(words))) return sayAndEnd(goodbye)
  if (asked === 'name') return say(about)
  const note = `${said.name}: ${said.about}`.slice(0, MESSAGE_CHARS_MAX)
  if (asked === 'about') return callOf(CALLBACK_TOOL, { note })
  const digits = digitsIn(plainWords(words), 0)
  if (digits === '') return numberAsked < NUMBER_ASKED_MAX ? say(number) : sayAndEnd(failed)
  return callOf(CALLBACK_TOOL, { note, number: digits })
}

function progressIn(messages: readonly ChatMessage[], phrases: MessagePhrases): Progress {
  const progress: Progress = {
    asked: null,
    said: { name: '', about: '', number: '' },
    numberAsked: 0,
    unreached: null,
    noted: null,
  }
  const called = new Map<string, string>()
  for (const message of messages) {
    if (message.role === 'user' && progress.asked !== null) {
      const before = progress.said[progress.asked]
      progress.said[progress.asked] = `${before} ${message.content}`.trim()
    } else if (message.role === 'tool') {
      const { error, say } = resultIn(message.content)
      const name = called.get(message.tool_call_id)
      if (name === CALLBACK_TOOL) progress.noted = error === undefined
      else if (name === ESCALATE_TOOL && typeof say === 'string') progress.unreached = say
    } else if (message.role === 'system' && message.content.startsWith(LATE)) {
      // Nobody heard the questions that were asked while the human was being rung.
      const { say } = resultIn(message.content.slice(LATE.length))
      if (typeof say === 'string') progress.unreached = say
      progress.asked = null
    } else if (message.role === 'assistant') {
      for (const call of message.tool_calls ?? []) {
        called.set(call.id, call.function.name)
        if (call.function.name === ESCALATE_TOOL) progress.unreached ??= ''
      }
      const question = questionIn(message.content ?? '', phrases)
      if (question === null) continue
      progress.asked = question
      progress.said[question] = ''
      progress.noted = null
      if (question === 'number') progress.numberAsked++
    }
  }
  return progress
}

/** Which question a text of the agent is, or the heard part of. */
function questionIn(content: string, phrases: MessagePhrases): Question | null {
  const heard = plainText(content.replace('[the caller interrupted]', ''))
  if (heard.length < HEARD_CHARS_MIN) return null
  const is = (phrase: string): boolean => heard.includes(phrase) || phrase.startsWith(heard)
  return QUESTIONS.find((one) => textsOf(phrases[one]).map(plainText).some(is)) ?? null
}

/** The result of one of the gateway's own tools. */
function resultIn(content: string): { readonly error?: unknown; readonly say?: unknown } {
  try {
    return Object(JSON.parse(content)) as { readonly error?: unknown; readonly say?: unknown }
  } catch {
    return { error: content }
  }
}

function callOf(name: string, args: Readonly<Record<string, unknown>>): ModelDelta {
  return { calls: [{ index: 0, function: { name, arguments: JSON.stringify(args) } }] }
}

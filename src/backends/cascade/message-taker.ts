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
/** Maximum number of times that the agent asks the caller for a phone number. */
const NUMBER_ASKED_MAX = 2
/** Minimum number of characters by which the beginning of a question is recognised in the agent's text. */
const HEARD_CHARS_MIN = 8

/** Phrases of the message taker. */
export interface MessagePhrases {
  /** Text that gives the reason and asks for the caller's name. */
  readonly name: LocalizedText
  /** Asks for the subject. */
  readonly about: LocalizedText
  /** Text that asks a caller with a withheld number for a phone number. */
  readonly number: LocalizedText
  /** Text that is spoken after the message is saved. It promises a call back and says goodbye. */
  readonly noted: LocalizedText
  /** Text that is spoken if the message could not be saved. */
  readonly failed: LocalizedText
  /** Text for a caller who does not want to leave a message. */
  readonly goodbye: LocalizedText
}

/** First words of the note that no human was reached, if the caller spoke before the note arrived. */
const LATE = toolNote(ESCALATE_TOOL)

const QUESTIONS = ['name', 'about', 'number'] as const
type Question = (typeof QUESTIONS)[number]

/** Progress of the conversation. */
interface Progress {
  /** The last question; null if no question was asked. */
  asked: Question | null
  /** The caller's words after each question, since the question was last asked. */
  readonly said: Record<Question, string>
  numberAsked: number
  /** Words for the caller if no human can be reached; null if no human was called yet. */
  unreached: string | null
  /** True if a call back was saved after the last question; null if no call back was requested. */
  noted: boolean | null
}

/**
 * Replaces the language model when no model is left. The message taker requests a human. If no human can come, the
 * message taker asks for the caller's name and subject, requests a call back, and ends the phone call.
 *
 *     (begin) --a human may come--> escalate_to_human --not reached--> name --> about --> request_callback
 *     request_callback --the message is saved--> goodbye
 *     request_callback --the number is withheld--> number --> request_callback
 *
 * The message taker does not keep state: each answer follows from the conversation. So the message taker continues
 * after an interruption, after a change of language, and on another worker.
 */
export function messageTaker(phrases: MessagePhrases): ServiceFactory<LanguageModel> {
  return {
    service: 'message',
    model: 'message',
    make: () => ({
      open: () => Promise.resolve(),
      close: () => undefined,
      // eslint-disable-next-line @typescript-eslint/require-await -- a model's `answer` is asynchronous
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
      // Questions that were asked while the human's phone rang do not count, because the caller did not hear them.
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

/**
 * @returns the question that a text of the agent, or the heard part of the text, contains; null if there is no question
 */
function questionIn(content: string, phrases: MessagePhrases): Question | null {
  const heard = plainText(content.replace('[the caller interrupted]', ''))
  if (heard.length < HEARD_CHARS_MIN) return null
  const is = (phrase: string): boolean => heard.includes(phrase) || phrase.startsWith(heard)
  return QUESTIONS.find((one) => textsOf(phrases[one]).map(plainText).some(is)) ?? null
}

/** Result of one of the gateway's tools. */
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

/** Asking a text model about a transcript: its whole answer, the form that it fills in, and whether its quotes are true. */
import { plainText } from '../../call/backchannel.js'
import type { LanguageModel, ModelRequest, ServiceContext, ServiceFactory } from './service.js'
import { WrittenCalls } from './written-calls.js'

/** From a longer conversation the model reads the first quarter of this length, and the end. */
const TRANSCRIPT_CHARS_MAX = 24_000
/** A quote with fewer letters and digits proves nothing. */
const QUOTE_LETTERS_MIN = 2

interface WholeAnswer {
  readonly text: string
  readonly calls: WrittenCalls['all']
  /** The service ended it before the model did: it is at its longest, or a filter refused the rest; null: it did not. */
  readonly cut: 'length' | 'filter' | null
}

/** One request to a model that is made for it. @throws ServiceFault */
export async function wholeAnswer(
  factory: ServiceFactory<LanguageModel>,
  context: ServiceContext,
  request: ModelRequest,
  signal: AbortSignal,
): Promise<WholeAnswer> {
  const model = factory.make(context)
  const calls = new WrittenCalls(context.name)
  let text = ''
  let cut: WholeAnswer['cut'] = null
  try {
    await model.open(signal, false)
    for await (const delta of model.answer(request, signal)) {
      text += delta.text ?? ''
      if (delta.calls !== undefined) calls.collect(delta.calls)
      cut = delta.cut ?? cut
    }
  } finally {
    model.close()
  }
  return { text, calls: calls.all, cut }
}

/**
 * Arguments that the model gave the tool that is the form; or the JSON in its words, from models that write it there.
 * @throws Error without the words of the answer, which would go to a log
 */
export function formIn({ text, calls }: WholeAnswer, tool: string): unknown {
  const written = calls.find(({ name }) => name === tool)?.argumentsText ?? /\{[^]*\}/.exec(text)?.[0] ?? ''
  try {
    return JSON.parse(written)
  } catch {
    throw new Error('the model did not fill in the form')
  }
}

/** True if one entry of the transcript has these words. A model changes marks and capitals when it quotes. */
export function isQuoted(quote: unknown, transcript: readonly { readonly text: string }[]): quote is string {
  const words = typeof quote === 'string' ? plainText(quote) : ''
  return (
    words.replace(/ /g, '').length >= QUOTE_LETTERS_MIN &&
    transcript.some(({ text }) => plainText(text).includes(words))
  )
}

/** The transcript as a model reads it, one line for each entry: a line break in somebody's words makes no line of another speaker. */
export function transcriptText(transcript: readonly { readonly role: string; readonly text: string }[]): string {
  const text = transcript.map(({ role, text: words }) => `${role}: ${words.replace(/\s+/g, ' ')}`).join('\n')
  if (text.length <= TRANSCRIPT_CHARS_MAX) return text
  const head = TRANSCRIPT_CHARS_MAX / 4
  return `${text.slice(0, head)}\n…\n${text.slice(head - TRANSCRIPT_CHARS_MAX)}`
}

/** Asking a text model about a transcript: its whole answer, the form that it fills in, and whether its quotes are true. */
import JSON5 from 'json5'
import { isSchema } from '../../agents/tools/json-schema.js'
import type { ToolParameters } from '../../agents/tools/json-schema.js'
import { fitted } from '../../agents/tools/tool-arguments.js'
import { plainText } from '../../call/turns/backchannel.js'
import { exactJson } from '../../core/json.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import type { LanguageModel, ModelRequest, ServiceContext, ServiceFactory } from './service.js'
import { WrittenCalls } from './written-calls.js'

/** From a longer conversation the model reads the first quarter of this length, and the end. */
const TRANSCRIPT_CHARS_MAX = 24_000
/** A quote with fewer letters and digits proves nothing. */
const QUOTE_LETTERS_MIN = 2
/** Brackets in a model's words at which its form may begin, and texts inside texts. */
const OPENED_MAX = 8
const NESTED_TEXTS_MAX = 2

interface Form {
  readonly name: string
  readonly parameters: ToolParameters
}

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
 * The object that a model wrote as its form: as arguments of the tool that is the form, or in its words. Models fence it, put
 * words around it, write it like Python or JavaScript, as a text inside a text, or the list in it alone.
 * @param list  the member that a list alone is meant for
 * @throws Error without the words of the answer, which would go to a log
 */
export function formIn({ text, calls }: WholeAnswer, tool: Form, list: string): Readonly<Record<string, unknown>> {
  const written = calls.find(({ name }) => name === tool.name)?.argumentsText ?? text
  for (const value of valuesIn(written)) {
    if (Array.isArray(value) && value.some((one) => typeof one === 'object'))
      return fitted(tool.parameters, { [list]: value })
    if (isSchema(value)) return fitted(tool.parameters, value)
  }
  throw new Error('the model did not fill in the form')
}

/** The values that a text may be, the whole of it first. */
function* valuesIn(written: string, depth = 0): Generator<unknown> {
  if (written.length > BACKEND_TOOL_TEXT_CHARS_MAX || depth > NESTED_TEXTS_MAX) return
  const fenced = [...written.matchAll(/```[a-z0-9]*\s*\n?([^]*?)```/gi)].map((match) => match[1] ?? '')
  // From an opening bracket to the last closing one: before it stand words, which may have brackets too.
  const opened = [...written.matchAll(/[[{]/g)].slice(0, OPENED_MAX).map(({ index }) => {
    const closing = written[index] === '{' ? '}' : ']'
    return written.slice(index, written.lastIndexOf(closing) + 1)
  })
  for (const part of [written, ...fenced, ...opened]) {
    const value = looseJson(part)
    if (typeof value === 'string') yield* valuesIn(value, depth + 1)
    else if (value !== undefined) yield value
  }
}

/** Also JSON5 (single quotes, bare names, commas at the end), with Python's constants. Undefined: it is neither. */
function looseJson(text: string): unknown {
  try {
    return exactJson(text)
  } catch {
    // Most models write JSON; what is not is read below.
  }
  const constants: Readonly<Record<string, string>> = { True: 'true', False: 'false', None: 'null' }
  try {
    return JSON5.parse(
      text.replace(
        /"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|\b(?:True|False|None)\b/g,
        (token) => constants[token] ?? token,
      ),
    )
  } catch {
    return undefined
  }
}

/** A yes or a no that a model wrote as a word; undefined: it is neither. */
export function wordOfTruth(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value
  const word = typeof value === 'string' ? plainText(value) : ''
  if (/^(?:true|yes|passed|ndiyo|ndio)$/.test(word)) return true
  return /^(?:false|no|failed|hapana)$/.test(word) ? false : undefined
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

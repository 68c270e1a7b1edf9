/**
 * Requests to a text model about a transcript. Collects the whole answer, reads the form that the model fills in, and
 * checks the model's quotes.
 */
import JSON5 from 'json5'
import { isSchema } from '../../agents/tools/json-schema.js'
import type { ToolParameters } from '../../agents/tools/json-schema.js'
import { fitted } from '../../agents/tools/tool-arguments.js'
import { plainText } from '../../call/turns/backchannel.js'
import { exactJson } from '../../core/json.js'
import { BACKEND_TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import type { LanguageModel, ModelRequest, ServiceContext, ServiceFactory } from './service.js'
import { WrittenCalls } from './written-calls.js'

/**
 * Maximum length of a transcript for the model, in characters. Of a longer transcript, the model gets the beginning (a
 * quarter of this length) and the end (the rest of this length).
 */
const TRANSCRIPT_CHARS_MAX = 24_000
/** Minimum number of letters and digits in a quote; a shorter quote is not evidence. */
const QUOTE_LETTERS_MIN = 2
/**
 * Maximum number of opening brackets that are tried as the beginning of the form; and maximum depth of texts inside
 * texts.
 */
const OPENED_MAX = 8
const NESTED_TEXTS_MAX = 2

interface Form {
  readonly name: string
  readonly parameters: ToolParameters
}

interface WholeAnswer {
  readonly text: string
  readonly calls: WrittenCalls['all']
  /**
   * Reason why the service ended the answer early: its limit of length, or a filter; null if the answer is complete.
   */
  readonly cut: 'length' | 'filter' | null
}

/** Makes a model, sends one request to the model, and collects the whole answer. @throws ServiceFault */
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
 * @returns the object that a model wrote as the form. It is in the arguments of the form's tool, or in the model's
 * words. Models may put the form in a code fence, or put words around it. Models may write the form like Python or
 * JavaScript, or as a text inside a text. Or they write only the form's list
 * @param list the member for a list without the object around it
 * @throws Error whose message omits the words of the answer, because the message is logged
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

/** @returns the values that can be parsed from a text; the value of the whole text is first */
function* valuesIn(written: string, depth = 0): Generator<unknown> {
  if (written.length > BACKEND_TOOL_TEXT_CHARS_MAX || depth > NESTED_TEXTS_MAX) return
  const fenced = [...written.matchAll(/```[a-z0-9]*\s*\n?([^]*?)```/gi)].map((match) => match[1] ?? '')
  // Each of these texts begins at another opening bracket, because the words before the form may contain brackets too.
  // It ends at the last closing bracket.
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

/** Parses JSON, JSON5 (single quotes, bare names, trailing commas) and Python's constants; undefined if this fails. */
function looseJson(text: string): unknown {
  try {
    return exactJson(text)
  } catch {
    // Not JSON: the text is parsed below. JSON is tried first, because most models write JSON.
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

/** Reads yes or no from a model's word; undefined for any other word. */
export function wordOfTruth(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value
  const word = typeof value === 'string' ? plainText(value) : ''
  if (/^(?:true|yes|passed|ndiyo|ndio)$/.test(word)) return true
  return /^(?:false|no|failed|hapana)$/.test(word) ? false : undefined
}

/**
 * True if one entry of the transcript contains these words. Punctuation and capitals are ignored, because models change
 * them in quotes.
 */
export function isQuoted(quote: unknown, transcript: readonly { readonly text: string }[]): quote is string {
  const words = typeof quote === 'string' ? plainText(quote) : ''
  return (
    words.replace(/ /g, '').length >= QUOTE_LETTERS_MIN &&
    transcript.some(({ text }) => plainText(text).includes(words))
  )
}

/**
 * @returns the transcript for a model, one line per entry. A line break in a speaker's words becomes a space, so that
 * no line looks like words of another speaker
 */
export function transcriptText(transcript: readonly { readonly role: string; readonly text: string }[]): string {
  const text = transcript.map(({ role, text: words }) => `${role}: ${words.replace(/\s+/g, ' ')}`).join('\n')
  if (text.length <= TRANSCRIPT_CHARS_MAX) return text
  const head = TRANSCRIPT_CHARS_MAX / 4
  return `${text.slice(0, head)}\n…\n${text.slice(head - TRANSCRIPT_CHARS_MAX)}`
}

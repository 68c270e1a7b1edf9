import type { IncomingMessage } from 'node:http'
import type {
  ChatCompletionChunk,
  ChatCompletionCreateParamsStreaming,
  ChatCompletionMessageParam,
} from 'openai/resources/chat/completions'
import { plainText } from '../../call/turns/backchannel.js'
import { LINES_HEADING } from '../../simulator/scenarios/model-caller.js'
import { VERDICTS_TOOL } from '../../simulator/scenarios/model-judge.js'
import type { ScriptedReply } from '../../backends/conformance.js'
import { NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import { ModelDouble } from '../../simulator/vendors/model-double.js'

/**
 * Behaviours, chosen by the model's name. `lies`, `quotes-the-caller`: the judge passes every criterion, and quotes
 * invented words or the caller's words as evidence. `refuses`: a filter stops caller and judge. `malformed`: the
 * judge's form is not JSON and the caller is silent. `endless`: the caller never hangs up.
 */
const MANNERS = ['lies', 'quotes-the-caller', 'refuses', 'malformed', 'endless'] as const
type Manner = (typeof MANNERS)[number] | null

/** Keys of a request that this double accepts. The vendor refuses unknown keys. */
const KEYS = [
  'model',
  'messages',
  'stream',
  'stream_options',
  'tools',
  'tool_choice',
  'temperature',
  'max_tokens',
  'seed',
]
/** Line of a script at which the caller waits. */
const WAITS = '…'
const USAGE = { prompt_tokens: 400, completion_tokens: 20, total_tokens: 420 }

/**
 * A language model on `/chat/completions` that plays the callers and judges of scenarios, written from the vendor's
 * published types.
 *
 * A caller says the `lines` of its instructions, one per answer, then hangs up; the line `…` waits. A judge passes each
 * criterion and quotes the agent's line that shares most words with it.
 */
export class PeopleDouble extends ModelDouble<ChatCompletionCreateParamsStreaming> {
  protected override readonly basePath = '/v1'
  /** True if answers report their usage. */
  reports = true

  protected keyOf({ authorization }: IncomingMessage['headers']): string | null {
    return authorization?.replace(/^Bearer /, '') ?? null
  }

  protected wrongKey(key: string): Refusal {
    return errorOf(401, 'invalid_api_key', `Incorrect API key provided: ${key}.`)
  }

  protected models(path: string): string | null {
    return path === '/v1/models' ? '{"object":"list","data":[]}' : null
  }

  protected refusalOf(path: string, request: ChatCompletionCreateParamsStreaming): Refusal | null {
    if (path !== '/v1/chat/completions') return NOT_FOUND
    const invalid = (words: string): Refusal => this.badRequest(words)
    const unknown = Object.keys(request).find((key) => !KEYS.includes(key))
    if (unknown !== undefined) return invalid(`Unrecognized request argument supplied: ${unknown}`)
    const { stream, messages, tools = [], seed } = request
    if (!stream) return invalid('only streams are answered here')
    if (typeof seed !== 'number' || !Number.isInteger(seed))
      return invalid("Invalid type for 'seed': expected an integer.")
    if (messages[0]?.role !== 'system') return invalid("'messages' must begin with the instructions of a person")
    if (messages.slice(1).some(({ role, content }) => !['user', 'assistant'].includes(role) || content == null))
      return invalid("Invalid value for 'messages': a person has no other messages")
    if (messages.at(-1)?.role !== 'user') return invalid("the last message must be the agent's")
    return tools.every((tool) => tool.type === 'function' && /^[\w-]{1,64}$/.test(tool.function.name))
      ? null
      : invalid("Invalid 'tools': expected functions")
  }

  protected badRequest(words: string): Refusal {
    return errorOf(400, 'invalid_request_error', words)
  }

  protected saidIn({ messages }: ChatCompletionCreateParamsStreaming): readonly ChatCompletionMessageParam[] {
    return messages
  }

  protected *events(request: ChatCompletionCreateParamsStreaming): Generator<string> {
    const { tools = [], messages, model } = request
    const manner = MANNERS.find((name) => name === model) ?? null
    const judges = tools.some((tool) => tool.type === 'function' && tool.function.name === VERDICTS_TOOL)
    const { say = '', calls = [] } =
      manner === 'refuses' ? {} : judges ? verdictsOf(messages, manner) : callerOf(messages, manner)
    const chunk = (
      delta: ChatCompletionChunk.Choice.Delta,
      finish: ChatCompletionChunk.Choice['finish_reason'] = null,
    ): string => dataOf(model, [{ index: 0, delta, finish_reason: finish, logprobs: null }])
    yield chunk({ role: 'assistant', content: '' })
    for (const content of say.match(/.{1,7}/gs) ?? []) yield chunk({ content })
    for (const [index, { callId: id, name, args }] of calls.entries()) {
      yield chunk({ tool_calls: [{ index, id, type: 'function', function: { name, arguments: '' } }] })
      const text = typeof args === 'string' ? args : JSON.stringify(args)
      for (const piece of text.match(/.{1,40}/gs) ?? [])
        yield chunk({ tool_calls: [{ index, function: { arguments: piece } }] })
    }
    yield chunk({}, manner === 'refuses' ? 'content_filter' : calls.length > 0 ? 'tool_calls' : 'stop')
    if (this.reports) yield dataOf(model, [], USAGE)
    yield 'data: [DONE]\n\n'
  }
}

function callerOf(messages: readonly ChatCompletionMessageParam[], manner: Manner): ScriptedReply {
  const lines = textOf(messages[0]).split(`${LINES_HEADING}\n`)[1]?.split('\n') ?? []
  const done = messages.filter((message) => message.role === 'assistant' || textOf(message).startsWith('(You '))
  const line = lines[done.length]
  if (manner === 'malformed') return {}
  if (manner === 'endless') return { say: 'And one more question.' }
  if (line !== undefined && line !== WAITS) return { say: line }
  return { calls: [{ callId: 'call_1', name: line === WAITS ? 'listen' : 'hang_up', args: {} }] }
}

function verdictsOf(messages: readonly ChatCompletionMessageParam[], manner: Manner): ScriptedReply {
  const asked = textOf(messages.at(-1))
  const [criteria = '', transcript = ''] = asked.split('Transcript:\n')
  const verdicts = [...criteria.matchAll(/^- ([a-z][a-z0-9-]*): (.+)$/gm)].map(([, criterion = '', words = '']) => ({
    criterion,
    verdict: 'pass',
    quote:
      manner === 'lies'
        ? 'Nobody has ever said these words.'
        : closest(transcript, words, manner === 'quotes-the-caller' ? 'caller' : 'agent'),
  }))
  const args = manner === 'malformed' ? '{"verdicts": [' : JSON.stringify({ verdicts })
  return { calls: [{ callId: 'call_1', name: VERDICTS_TOOL, args }] }
}

/** @returns the speaker's line that shares most words with `words` */
function closest(transcript: string, words: string, speaker: 'agent' | 'caller'): string {
  const wanted = new Set(plainText(words).split(' '))
  const score = (line: string): number =>
    plainText(line)
      .split(' ')
      .filter((word) => wanted.has(word)).length
  const lines = [...transcript.matchAll(/^(agent|caller): (.+)$/gm)].flatMap(([, who, line = '']) =>
    who === speaker ? line : [],
  )
  return lines.reduce((best, line) => (score(line) > score(best) ? line : best), lines[0] ?? '')
}

function textOf(message: ChatCompletionMessageParam | undefined): string {
  return typeof message?.content === 'string' ? message.content : ''
}

function dataOf(model: string, choices: ChatCompletionChunk['choices'], usage?: ChatCompletionChunk['usage']): string {
  const event: ChatCompletionChunk = {
    ...{ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1, model, choices },
    ...(usage === undefined ? {} : { usage }),
  }
  return `data: ${JSON.stringify(event)}\n\n`
}

function errorOf(status: number, code: string, message: string): Refusal {
  return { status, body: JSON.stringify({ error: { type: 'invalid_request_error', code, message } }) }
}

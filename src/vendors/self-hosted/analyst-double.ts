import { json } from 'node:stream/consumers'
import type { ChatCompletion, ChatCompletionCreateParams } from 'openai/resources/chat/completions'
import { LocalHttpServer } from '../../system/local-http-server.js'

/**
 * A text model that reports a call's subject, written from the vendor's published types. For each `enum` the double
 * answers with the first value, for each boolean with true. It quotes the caller's last words; its summary is the
 * agent's last words.
 */
export class AnalystDouble extends LocalHttpServer {
  protected override readonly basePath = '/v1'
  readonly requests: ChatCompletionCreateParams[] = []

  constructor() {
    super({}, async (request, response) => {
      response.setHeader('content-type', 'application/json')
      if (request.url?.endsWith('/chat/completions') !== true) return void response.end('{"data":[]}')
      const asked = (await json(request)) as ChatCompletionCreateParams
      this.requests.push(asked)
      response.end(JSON.stringify(answerTo(asked)))
    })
  }
}

interface Form {
  readonly fields?: {
    readonly properties?: Readonly<
      Record<string, { readonly properties?: { readonly value?: { readonly enum?: readonly unknown[] } } }>
    >
  }
}

function answerTo({ messages, tools, model }: ChatCompletionCreateParams): ChatCompletion {
  const content = messages.at(-1)?.content
  const transcript = typeof content === 'string' ? content : ''
  const lastOf = (role: string): string => new RegExp(`.*^${role}: ([^\n]*)`, 'ms').exec(transcript)?.[1] ?? ''
  const [tool] = tools ?? []
  const form = tool?.type === 'function' ? (tool.function.parameters?.['properties'] as Form | undefined) : undefined
  const fields = Object.fromEntries(
    Object.entries(form?.fields?.properties ?? {}).map(([name, { properties }]) => [
      name,
      { value: properties?.value?.enum?.[0] ?? true, quote: lastOf('caller') },
    ]),
  )
  const written = JSON.stringify({ summary: lastOf('agent'), fields })
  return {
    id: 'analysis',
    object: 'chat.completion',
    created: 0,
    model,
    choices: [
      {
        index: 0,
        finish_reason: 'tool_calls',
        logprobs: null,
        message: {
          role: 'assistant',
          content: null,
          refusal: null,
          tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'fill_in', arguments: written } }],
        },
      },
    ],
    usage: { prompt_tokens: 200, completion_tokens: 30, total_tokens: 230 },
  }
}

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ChatCompletion, ChatCompletionCreateParams } from 'openai/resources/chat/completions'

/** A text model on loopback that fills in forms about calls. */
interface AnalystDouble {
  /** As LLM_URL. */
  readonly url: string
  readonly requests: readonly ChatCompletionCreateParams[]
  close(): Promise<void>
}

/**
 * A text model that is asked what a call was about: it takes the first value of each `enum`, and true, and quotes the last
 * words of the caller; the summary is the last words of the agent. Written from the vendor's published types.
 */
export async function startAnalystDouble(): Promise<AnalystDouble> {
  const requests: ChatCompletionCreateParams[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      response.setHeader('content-type', 'application/json')
      if (request.url?.endsWith('/chat/completions') !== true) return void response.end('{"data":[]}')
      const asked = JSON.parse(body) as ChatCompletionCreateParams
      requests.push(asked)
      response.end(JSON.stringify(answerTo(asked)))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
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

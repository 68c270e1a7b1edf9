import type { IncomingHttpHeaders } from 'node:http'
import type { ChatCompletionMessageParam } from 'openai/resources/chat/completions'
import type { ScriptedReply } from '../../backends/conformance.js'
import { NOT_FOUND, type Refusal } from '../../simulator/vendors/double.js'
import { ModelDouble } from '../../simulator/vendors/model-double.js'
import type { ToyModelEvent, ToyModelRequest } from './wire.js'
import type { OptionalFieldsOf } from '../../simulator/vendors/optional-fields.js'

/**
 * A double of Toy Model on loopback. It refuses another path, another key, and a conversation without a first
 * message.
 */
class ToyModelDouble extends ModelDouble<ToyModelRequest> {
  protected keyOf({ authorization }: IncomingHttpHeaders): string | null {
    return authorization?.replace(/^Bearer /, '') ?? null
  }

  protected wrongKey(key: string): Refusal {
    return { status: 401, body: JSON.stringify({ error: `${key} is no key` }) }
  }

  protected models(path: string): string | null {
    return path === '/models' ? '{"models":["toy-thought-1"]}' : null
  }

  protected refusalOf(path: string, { messages }: ToyModelRequest): Refusal | null {
    if (path !== '/answer') return NOT_FOUND
    return messages.length > 0 ? null : this.badRequest('no messages')
  }

  protected badRequest(error: string): Refusal {
    return { status: 400, body: JSON.stringify({ error }) }
  }

  protected saidIn({ messages }: ToyModelRequest): readonly ChatCompletionMessageParam[] {
    return messages
  }

  protected *events(
    _request: ToyModelRequest,
    _path: string,
    { say = '', calls = [] }: ScriptedReply,
  ): Generator<string> {
    for (const text of say.match(/.{1,7}/gs) ?? []) yield eventOf({ text })
    for (const { callId: id, name: tool, args } of calls)
      yield eventOf({ call: { id, tool, arguments: typeof args === 'string' ? (JSON.parse(args) as unknown) : args } })
    yield eventOf({ usage: { in: 20, out: 10 } })
  }
}

function eventOf(event: ToyModelEvent): string {
  return `data: ${JSON.stringify(event)}\n\n`
}

export const doubles = { 'toy-model': [[ToyModelDouble, 'TOY_MODEL_URL']] }

export const optionalFields: OptionalFieldsOf = {
  llm: {
    'toy-model': [
      {
        wished: { temperature: 0.3719, wit: 0.3719 },
        fields: {
          temperature: [/"temperature"/, 'temperature is not taken'],
          wit: [/"wit"/, 'wit is not taken'],
        },
      },
    ],
  },
}

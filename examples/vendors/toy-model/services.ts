import { eventData, overHttp } from '../../backends/cascade/http-service.js'
import type { HttpServiceOptions } from '../../backends/cascade/http-service.js'
import { ModelRequests } from '../../backends/cascade/model-requests.js'
import type { LanguageModel, ModelDelta, ModelRequest, ServiceFactory } from '../../backends/cascade/service.js'
import { usageNumber } from '../../backends/watch.js'
import { toyModel } from './facts.js'
import type { ToyModelEvent, ToyModelRequest } from './wire.js'

interface ToyModelOptions extends HttpServiceOptions {
  readonly temperature?: number
  readonly wit?: number
}

const TIMEOUT_MS = 8000

function toyLanguageModel(
  options: Omit<ToyModelOptions, 'baseUrl'> & Partial<ToyModelOptions>,
): ServiceFactory<LanguageModel> {
  const { own } = toyModel.services.llm['toy-model']
  return overHttp('llm', 'toy-model', TIMEOUT_MS, { ...own, ...options }, ToyModel)
}

class ToyModel extends ModelRequests<ToyModelOptions> {
  protected async *deltas({ messages, tools }: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    const { model, temperature, wit } = this.options
    // If the service has refused an optional field, later requests leave it out.
    const request: ToyModelRequest = { model, messages, tools, ...this.context.wishes.of({ temperature, wit }) }
    const body = await this.post('/answer', request, signal)
    const events = this.objects(eventData(body.pieces(), this.context.malformed)) as AsyncGenerator<ToyModelEvent>
    let calls = 0
    for await (const { text, call, usage, error } of events) {
      if (error !== undefined) throw this.faultInBody(error)
      if (text !== undefined) yield { text }
      if (call !== undefined) {
        const { id, tool: name, arguments: args } = call
        yield { calls: [{ index: calls++, id, function: { name, arguments: JSON.stringify(args) } }] }
      }
      if (usage !== undefined) this.used({ inputTokens: usageNumber(usage.in), outputTokens: usageNumber(usage.out) })
    }
  }
}

export const services = { llm: { 'toy-model': toyLanguageModel } }

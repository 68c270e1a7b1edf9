import { charsOf, withoutOldestHalf } from './fitting-request.js'
import { HttpService } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { ServiceFault } from './service-fault.js'
import type { LanguageModel, ModelDelta, ModelRequest } from './service.js'

/** Halves of a conversation that are left out before a request; a model for less than this is no model for a call. */
const HALVES_MAX = 6

/** A language model over HTTP, whose context may be smaller than a long call. */
export abstract class ModelRequests<Options extends HttpServiceOptions>
  extends HttpService<Options>
  implements LanguageModel
{
  /** Length in characters of a conversation that was refused as too long. */
  #refusedChars = Infinity

  /** The answer to exactly this request. @throws ServiceFault */
  protected abstract deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta>

  /** A conversation that is too long for the model is sent once more without its oldest half, and so are later ones. */
  async *answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    let fitting = request
    if (this.#refusedChars < Infinity)
      for (let i = 0; i < HALVES_MAX && charsOf(fitting.messages) >= this.#refusedChars; i++)
        fitting = this.#half(fitting)
    let begun = false
    try {
      for await (const delta of this.deltas(fitting, signal)) {
        begun = true
        yield delta
      }
    } catch (error) {
      if (!(error instanceof ServiceFault) || !error.contextFull || begun) throw error
      this.#refusedChars = charsOf(fitting.messages)
      const half = this.#half(fitting)
      if (charsOf(half.messages) >= this.#refusedChars) throw error
      yield* this.deltas(half, signal)
    }
  }

  #half(request: ModelRequest): ModelRequest {
    this.context.shortened()
    return withoutOldestHalf(request)
  }
}

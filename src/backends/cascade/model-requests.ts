import { charsOf, withoutOldestHalf } from './fitting-request.js'
import { HttpService } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { ServiceFault } from './service-fault.js'
import type { LanguageModel, ModelDelta, ModelRequest } from './service.js'

/**
 * Maximum number of times that half of a conversation is left out of one request. If the rest is still too long, the
 * model's context is too small for a phone call.
 */
const HALVES_MAX = 6

const FILTERED = /content[ _](?:filter|policy|management)|responsible ?ai|safety/i

/** A language model over HTTP. Its context may be too small for a long call. */
export abstract class ModelRequests<Options extends HttpServiceOptions>
  extends HttpService<Options>
  implements LanguageModel
{
  /** Length in characters of a conversation that the model refused as too long. */
  #refusedChars = Infinity

  /** Sends exactly this request and returns the model's answer. @throws ServiceFault */
  protected abstract deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta>

  /**
   * Requests an answer. If the conversation is too long for the model, it is sent once more without its oldest half.
   * Later requests leave out this half too.
   */
  async *answer(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta> {
    let fitting = request
    if (this.#refusedChars < Infinity)
      for (let i = 0; i < HALVES_MAX && charsOf(fitting.messages) >= this.#refusedChars; i++)
        fitting = this.#half(fitting)
    const { wishes } = this.context
    let begun = false
    let asked = 0
    const deltas = this.deltas(fitting, signal)
    try {
      const first = deltas.next()
      // `asked` is read now, because the request now contains its optional fields.
      asked = wishes.asked
      for (let next = await first; next.done !== true; next = await deltas.next()) {
        if (!begun) wishes.worked(asked)
        begun = true
        yield next.value
      }
    } catch (error) {
      if (!(error instanceof ServiceFault) || begun) throw error
      if (!error.contextFull) {
        // A wrong address or the refusal of a filter is not caused by an optional field.
        const { fault } = error
        if (!wishes.refuses(fault, !fault.fatal && !FILTERED.test(fault.message), asked) || !this.context.asks())
          throw error
        // The number of attempts is limited, because each further attempt has fewer optional fields.
        yield* this.answer(request, signal)
        return
      }
      this.#refusedChars = charsOf(fitting.messages)
      const half = this.#half(fitting)
      if (charsOf(half.messages) >= this.#refusedChars || !this.context.asks()) throw error
      yield* this.deltas(half, signal)
    } finally {
      await deltas.return(undefined)
    }
  }

  #half(request: ModelRequest): ModelRequest {
    this.context.shortened()
    return withoutOldestHalf(request)
  }
}

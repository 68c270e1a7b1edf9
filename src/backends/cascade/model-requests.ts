import { charsOf, withoutOldestHalf } from './fitting-request.js'
import { HttpService } from './http-service.js'
import type { HttpServiceOptions } from './http-service.js'
import { ServiceFault } from './service-fault.js'
import type { LanguageModel, ModelDelta, ModelRequest } from './service.js'

/** Halves of a conversation that are left out before a request; a model for less than this is no model for a call. */
const HALVES_MAX = 6

/** How services name an optional field when they refuse it, where they have other names for it besides its own. */
const ALSO_NAMED: Readonly<Record<string, readonly string[]>> = {
  maxOutputTokens: ['max_output_tokens'],
  thinkingConfig: ['thinking_?config', 'thinking_?level', 'thinking_?budget'],
}

/** A language model over HTTP, whose context may be smaller than a long call. */
export abstract class ModelRequests<Options extends HttpServiceOptions>
  extends HttpService<Options>
  implements LanguageModel
{
  /** Length in characters of a conversation that was refused as too long. */
  #refusedChars = Infinity
  /** Optional fields that the service takes, as far as is known, and those that it has refused on this call. */
  readonly #wishes = new Set<string>()
  readonly #refused = new Set<string>()

  /** The answer to exactly this request. @throws ServiceFault */
  protected abstract deltas(request: ModelRequest, signal: AbortSignal): AsyncGenerator<ModelDelta>

  /** These optional fields of a request, without those that the service has refused. */
  protected wished<Fields extends object>(fields: Fields): Partial<Fields> {
    const kept = Object.entries(fields).filter(([name, value]) => value !== undefined && !this.#refused.has(name))
    for (const [name] of kept) this.#wishes.add(name)
    return Object.fromEntries(kept) as Partial<Fields>
  }

  /**
   * A conversation that is too long for the model is sent once more without its oldest half, and so are later ones. An
   * optional field that the service refuses by its name is left out then, and in all later requests.
   */
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
      // Each further try has at least one field less.
      if (!begun && this.#refuses(error)) {
        yield* this.answer(request, signal)
        return
      }
      if (!(error instanceof ServiceFault) || !error.contextFull || begun) throw error
      this.#refusedChars = charsOf(fitting.messages)
      const half = this.#half(fitting)
      if (charsOf(half.messages) >= this.#refusedChars) throw error
      yield* this.deltas(half, signal)
    }
  }

  /** The fault names fields that are only wished: they are left out from now on. */
  #refuses(error: unknown): boolean {
    if (!(error instanceof ServiceFault) || error.contextFull || error.fault.code !== 'bad_request') return false
    const named = [...this.#wishes].filter((name) => {
      const names = [name, ...(ALSO_NAMED[name] ?? [])].join('|')
      return new RegExp(`(?<![a-z])(?:${names})(?![a-z])`, 'i').test(error.message)
    })
    for (const name of named) {
      this.#wishes.delete(name)
      this.#refused.add(name)
      this.context.wishRefused()
    }
    return named.length > 0
  }

  #half(request: ModelRequest): ModelRequest {
    this.context.shortened()
    return withoutOldestHalf(request)
  }
}

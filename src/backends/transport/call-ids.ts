import { forgetOldest } from '../../core/forget-oldest.js'
import { BACKEND_TOOL_CALLS_KEPT } from '../../core/limits.js'

/**
 * Gives the tool calls of a session ids that are unique in the session. A service's id identifies a tool call only
 * within its response: some servers use `call_0`, or the tool's name with `:0`, in each response.
 */
export class CallIds {
  /** Newest use of each id of the service, in the order of first use. */
  readonly #uses = new Map<string, { readonly count: number; readonly response: unknown }>()
  /** Ids of the service, for ids that differ from them. */
  readonly #serviceIds = new Map<string, string>()

  /**
   * @param response  anything that identifies the response, compared with `===`
   * @returns the id of a new tool call; null if this response has already made a tool call with this id
   */
  take(serviceId: string, response: unknown): string | null {
    const known = this.#uses.get(serviceId)
    if (known !== undefined && known.response === response) return null
    const count = (known?.count ?? 0) + 1
    this.#uses.set(serviceId, { count, response })
    forgetOldest(this.#uses, BACKEND_TOOL_CALLS_KEPT)
    return this.#idOf(serviceId, count)
  }

  /** @returns the id of the newest tool call with this id of the service */
  newest(serviceId: string): string {
    return this.#idOf(serviceId, this.#uses.get(serviceId)?.count ?? 1)
  }

  /** @returns the service's id of a tool call */
  serviceId(id: string): string {
    return this.#serviceIds.get(id) ?? id
  }

  #idOf(serviceId: string, count: number): string {
    if (count === 1) return serviceId
    const id = `${serviceId}~${count}`
    this.#serviceIds.set(id, serviceId)
    forgetOldest(this.#serviceIds, BACKEND_TOOL_CALLS_KEPT)
    return id
  }
}

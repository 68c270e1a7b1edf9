import { CarrierApiError } from './http.js'

/**
 * Variants of the carrier's API requests (docs/PROTOCOL.md 9). The name of a variant begins with its task. The variants
 * of a task are tried in this order.
 */
export const API_PATHS = [
  'claim:numbers', // POST /v1/numbers
  'claim:available', // POST /v1/numbers/available/claim
  'claim:number', // POST /v1/numbers/{id}/claim
  'claim:claim', // POST /v1/numbers/claim
  'route:number', // PATCH /v1/numbers/{id}, routing_url
  'route:put', // PUT /v1/numbers/{id}/routing, voice_callback_url
  'route:patch', // PATCH /v1/numbers/{id}/routing, voice_url
  'detail:call', // GET /v1/calls/{sid}
  'detail:search', // GET /v1/calls?session_id={sid}
  'create:calls', // POST /v1/calls
  'create:originate', // POST /v1/calls/originate
] as const

export type ApiPath = (typeof API_PATHS)[number]
type ApiTask = ApiPath extends `${infer T}:${string}` ? T : never

export function isApiPath(name: string): name is ApiPath {
  return (API_PATHS as readonly string[]).includes(name)
}

/**
 * Finds the variant of a request that this carrier accepts. Tries the variants in order and stores the successful
 * variant until the process ends. Only 404 and 405 mean an unknown variant: any other refusal comes from the right
 * endpoint.
 */
export class ApiPaths {
  readonly #order: readonly ApiPath[]
  readonly #worked = new Map<string, ApiPath>()

  /** @param preferred  variants that are tried first within their task, in this order */
  constructor(preferred: readonly ApiPath[] = []) {
    this.#order = [...new Set([...preferred, ...API_PATHS])]
  }

  /** @returns the variants that worked. `first`: true if the variant would be tried first without a preference */
  worked(): readonly { readonly path: ApiPath; readonly first: boolean }[] {
    return [...this.#worked].map(([task, path]) => ({
      path,
      first: API_PATHS.find((one) => one.startsWith(`${task}:`)) === path,
    }))
  }

  /** @returns the variants of one task in the order in which they would be tried now */
  order<T extends ApiTask>(task: T): readonly Extract<ApiPath, `${T}:${string}`>[] {
    const all = this.#order.filter((path): path is Extract<ApiPath, `${T}:${string}`> => path.startsWith(`${task}:`))
    const worked = this.#worked.get(task)
    return worked === undefined
      ? all
      : [...all.filter((path) => path === worked), ...all.filter((path) => path !== worked)]
  }

  /**
   * @param attempt sends the request in one variant
   * @throws CarrierApiError the most specific refusal, if no variant is accepted
   */
  async first<T extends ApiTask, R>(
    task: T,
    attempt: (path: Extract<ApiPath, `${T}:${string}`>) => Promise<R>,
  ): Promise<R> {
    let refusal: CarrierApiError | null = null
    for (const path of this.order(task)) {
      try {
        const answer = await attempt(path)
        this.#worked.set(task, path)
        return answer
      } catch (thrown) {
        if (!(thrown instanceof CarrierApiError) || (thrown.status !== 404 && thrown.status !== 405)) throw thrown
        // This variant has worked before, so the 404 means that the call or the number was not found.
        if (thrown.status === 404 && this.#worked.get(task) === path) throw thrown
        // Only the carrier sends an error code; a 404 without a code may come from any web server.
        if (refusal === null || (refusal.carrierCode === null && thrown.carrierCode !== null)) refusal = thrown
      }
    }
    throw refusal ?? new CarrierApiError(`no request is known for ${task}`, {})
  }
}

import { randomUUID } from 'node:crypto'
import { ApiPaths } from './api-paths.js'
import { CarrierApiError, listIn, nextCursor, numberIn, objectOf, textIn } from './http.js'
import type { CarrierHttp, JsonObject, Page } from './http.js'

/** A phone number of the workspace. */
export interface CarrierNumber {
  readonly id: string
  /** Number in E.164. It is a number of the workspace: its owner may see it, but it is never logged. */
  readonly e164: string | null
  readonly status: string | null
  /** The URL to which the carrier posts when the number is dialled. */
  readonly voiceUrl: string | null
  readonly eventsUrl: string | null
}

/** A number that can be claimed. */
export interface AvailableNumber {
  readonly inventoryId: string
  readonly e164: string | null
  readonly capabilities: readonly string[]
  /** Price per month in minor units (cents). */
  readonly monthlyPriceMinor: number | null
  readonly currency: string | null
}

interface NumberRoute {
  readonly voiceUrl: string
  readonly eventsUrl?: string | undefined
}

/** The part of the carrier's REST API that is about phone numbers. */
export class CarrierNumbers {
  readonly #http: CarrierHttp
  readonly #paths: ApiPaths

  constructor(http: CarrierHttp, paths: ApiPaths = new ApiPaths()) {
    this.#http = http
    this.#paths = paths
  }

  /** @throws CarrierApiError */
  async list(cursor: string | null = null): Promise<Page<CarrierNumber>> {
    const { body } = await this.#http.send({
      method: 'GET',
      path: '/v1/numbers',
      query: { cursor: cursor ?? undefined },
    })
    const entries = listIn(body, 'numbers', 'data') ?? notThis('GET /v1/numbers', 'a list of numbers')
    return { items: entries.map(readNumber), nextCursor: nextCursor(body) }
  }

  /** @throws CarrierApiError */
  async available(cursor: string | null = null): Promise<Page<AvailableNumber>> {
    const { body } = await this.#http.send({
      method: 'GET',
      path: '/v1/numbers/available',
      query: { cursor: cursor ?? undefined },
    })
    const entries =
      listIn(body, 'available', 'numbers', 'data') ?? notThis('GET /v1/numbers/available', 'a list of numbers')
    return { items: entries.map(readAvailable), nextCursor: nextCursor(body) }
  }

  /**
   * Claims a number from the inventory. One `idempotencyKey` never claims two numbers.
   * @throws CarrierApiError, such as `wallet.insufficient_funds`
   */
  async claim(inventoryId: string, idempotencyKey = `mkondo-${randomUUID()}`): Promise<CarrierNumber> {
    return this.#paths.first('claim', async (spelling) => {
      const byId = spelling === 'claim:number'
      const path = {
        'claim:numbers': '/v1/numbers',
        'claim:available': '/v1/numbers/available/claim',
        'claim:number': `/v1/numbers/${encodeURIComponent(inventoryId)}/claim`,
        'claim:claim': '/v1/numbers/claim',
      }[spelling]
      const { body } = await this.#http.send({
        // Each variant is a separate request with its own idempotency key: two requests with one key would be a
        // conflict.
        method: 'POST',
        path,
        body: byId ? {} : { inventory_id: inventoryId },
        idempotencyKey: `${idempotencyKey}-${spelling.slice(6)}`,
      })
      return readNumber(objectOf(objectOf(body)['number'] ?? body))
    })
  }

  /**
   * Routes a number's calls to a voice webhook.
   * @throws CarrierApiError
   */
  async route(numberId: string, route: NumberRoute): Promise<CarrierNumber | null> {
    const { voiceUrl, eventsUrl } = route
    const events = eventsUrl === undefined ? {} : { events_url: eventsUrl }
    const id = encodeURIComponent(numberId)
    return this.#paths.first('route', async (spelling) => {
      const request = {
        'route:number': { method: 'PATCH', path: `/v1/numbers/${id}`, body: { routing_url: voiceUrl, ...events } },
        'route:put': {
          method: 'PUT',
          path: `/v1/numbers/${id}/routing`,
          body: { voice_callback_url: voiceUrl, ...events },
        },
        'route:patch': { method: 'PATCH', path: `/v1/numbers/${id}/routing`, body: { voice_url: voiceUrl, ...events } },
      } as const
      // The request may be repeated: setting a route twice changes nothing.
      const { body } = await this.#http.send({ ...request[spelling], retry: true })
      const answer = objectOf(objectOf(body)['number'] ?? body)
      return textIn(answer, 'id') === null ? null : readNumber(answer)
    })
  }
}

function notThis(what: string, wanted: string): never {
  throw new CarrierApiError(`${what}: the answer is not ${wanted}`, { status: 200 })
}

function readNumber(entry: JsonObject): CarrierNumber {
  const id = textIn(entry, 'id', 'number_id', 'inventory_id')
  if (id === null) notThis('/v1/numbers', 'a number with an id')
  return {
    id,
    e164: textIn(entry, 'e164', 'phone_number', 'number'),
    status: textIn(entry, 'status'),
    voiceUrl: textIn(entry, 'routing_url', 'voice_callback_url', 'voice_url'),
    eventsUrl: textIn(entry, 'events_url'),
  }
}

function readAvailable(entry: JsonObject): AvailableNumber {
  const inventoryId = textIn(entry, 'inventory_id', 'id')
  if (inventoryId === null) notThis('GET /v1/numbers/available', 'a number with an inventory_id')
  const { capabilities } = entry
  return {
    inventoryId,
    e164: textIn(entry, 'e164', 'phone_number', 'number'),
    capabilities: Array.isArray(capabilities) ? capabilities.filter((name) => typeof name === 'string') : [],
    monthlyPriceMinor: numberIn(entry, 'monthly_price_minor'),
    currency: textIn(entry, 'currency', 'monthly_price_currency'),
  }
}

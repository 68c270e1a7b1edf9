import { randomUUID } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import { ApiPaths } from './api-paths.js'
import { CarrierApiError, listIn, nextCursor, numberIn, objectOf, textIn } from './http.js'
import type { CarrierHttp, Page } from './http.js'
import { parseCarrierCall } from './carrier-call.js'
import type { CarrierCall } from './carrier-call.js'

interface CreateCallOptions {
  /** A number of this workspace. */
  readonly from: string
  readonly to: string
  /** URL that replaces the number's own voice URL for this call. */
  readonly voiceCallbackUrl?: string
  /**
   * Id that the carrier returns as `clientRequestId`. The carrier never makes two calls with one id. Default: random.
   */
  readonly clientRequestId?: string
}

interface CreatedCall {
  /** Id that the voice webhook will contain; null if the carrier did not send an id. */
  readonly callSid: string | null
  readonly callId: string | null
  readonly status: string
  readonly clientRequestId: string
}

/** Filters of a list of calls; an absent field does not filter. */
interface CallFilter {
  readonly callSid?: string
  readonly cursor?: string | null
  /** 1 to 100. */
  readonly limit?: number
}

/** Result of a request for the carrier's recording of a call. */
export type CarrierRecording =
  | { readonly state: 'ready'; readonly url: string }
  | { readonly state: 'pending'; readonly retryAfterS: number | null }
  | { readonly state: 'none' }

/**
 * Form of the id. The carrier also accepts other characters, but then the callbacks do not contain the id
 * (docs/PROTOCOL.md).
 */
const CLIENT_REQUEST_ID = /^(?!mcp:|broadcast:)[^\s,{}"'\p{Cc}]{1,500}$/u

/** The part of the carrier's REST API that is about calls. */
export class SautikitClient {
  readonly #http: CarrierHttp
  readonly #paths: ApiPaths

  constructor(http: CarrierHttp, paths: ApiPaths = new ApiPaths()) {
    this.#http = http
    this.#paths = paths
  }

  /**
   * Ends a call. A second request to end the call is not an error.
   * @throws CarrierApiError, also for a call that the carrier does not know
   */
  async hangup(callSid: string, { idempotencyKey }: { readonly idempotencyKey?: string } = {}): Promise<void> {
    await this.#http.send({ method: 'POST', path: callPath(callSid, '/hangup'), body: {}, retry: true, idempotencyKey })
  }

  /**
   * Rings a human and adds the human to the running call, in which all parties hear each other. Resolves when the
   * carrier has begun to ring. A call can have only one human at a time.
   * @param phone E.164
   * @throws CarrierApiError with `carrierCode` `calls.supervision_in_progress` if a human is already rung or connected
   */
  async supervise(callSid: string, phone: string, idempotencyKey?: string): Promise<void> {
    await this.#http.send({
      method: 'POST',
      path: callPath(callSid, '/supervision'),
      body: { mode: 'barge', supervisor: { type: 'phone', number: phone }, announce: 'none' },
      // The carrier's API does not guarantee idempotency here: a second request could ring the human twice.
      retry: false,
      idempotencyKey,
    })
  }

  /**
   * Removes the human from the call, if there is one.
   * @throws CarrierApiError
   */
  async stopSupervision(callSid: string): Promise<void> {
    await this.#http.send({ method: 'DELETE', path: callPath(callSid, '/supervision'), accept: [404] })
  }

  /**
   * Starts an outbound call.
   * @throws CarrierApiError; GatewayError CARRIER_API for a `clientRequestId` that the carrier would not return
   */
  async createCall(options: CreateCallOptions): Promise<CreatedCall> {
    const clientRequestId = options.clientRequestId ?? `mkondo-${randomUUID()}`
    if (!CLIENT_REQUEST_ID.test(clientRequestId)) {
      throw new GatewayError(
        'CARRIER_API',
        'clientRequestId must be 1 to 500 characters without spaces, commas, braces, quotes, mcp: and broadcast:',
      )
    }
    const { from, to, voiceCallbackUrl: url } = options
    const { body } = await this.#paths.first('create', (spelling) =>
      this.#http.send({
        method: 'POST',
        ...(spelling === 'create:calls'
          ? {
              path: '/v1/calls',
              body: {
                from,
                to: [to],
                client_request_id: clientRequestId,
                ...(url === undefined ? {} : { voice_callback_url: url }),
              },
            }
          : {
              path: '/v1/calls/originate',
              body: { from, to, clientRequestId, ...(url === undefined ? {} : { webhook_url: url }) },
            }),
        idempotencyKey: clientRequestId,
      }),
    )
    const created = objectOf(objectOf(body)['call'] ?? body)
    return {
      callSid: textIn(created, 'session_id', 'sessionId'),
      callId: textIn(created, 'call_id', 'id'),
      status: textIn(created, 'status') ?? 'unknown',
      clientRequestId,
    }
  }

  /**
   * @returns the carrier's own record of a call, running or ended
   * @throws CarrierApiError; `carrierCode` is `calls.not_found` for a call that the carrier does not know (yet)
   */
  async getCall(callSid: string, signal?: AbortSignal): Promise<CarrierCall> {
    return this.#paths.first('detail', async (spelling) => {
      if (spelling === 'detail:call') {
        const { body } = await this.#http.send({ method: 'GET', path: callPath(callSid, ''), signal })
        return parseCarrierCall(body)
      }
      const { items } = await this.listCalls({ callSid, limit: 1 }, signal)
      const found = items.find((call) => call.callSid === callSid || call.callId === callSid)
      if (found !== undefined) return found
      throw new CarrierApiError('GET /v1/calls: the carrier does not list this call', {
        status: 404,
        carrierCode: 'calls.not_found',
      })
    })
  }

  /**
   * @returns one page of the workspace's calls, newest first in the carrier's order
   * @throws CarrierApiError
   */
  async listCalls({ callSid, cursor, limit }: CallFilter = {}, signal?: AbortSignal): Promise<Page<CarrierCall>> {
    const query = { session_id: callSid, cursor: cursor ?? undefined, limit }
    const { body } = await this.#http.send({ method: 'GET', path: '/v1/calls', query, signal })
    const entries = listIn(body, 'data', 'calls')
    if (entries === null) throw new CarrierApiError('GET /v1/calls: the answer is not a list of calls', { status: 200 })
    return { items: entries.map(parseCarrierCall), nextCursor: nextCursor(body) }
  }

  /**
   * @returns balance of the workspace's wallet, in minor units; null if the carrier does not send the balance
   * @throws CarrierApiError
   */
  async walletMinor(): Promise<number | null> {
    for (const path of ['/v1/wallet', '/v1/wallet/balance']) {
      const { status, body } = await this.#http.send({ method: 'GET', path, accept: [404, 405] })
      if (status < 300) return numberIn(objectOf(objectOf(body)['wallet'] ?? body), 'balance_minor', 'available_minor')
    }
    return null
  }

  /**
   * @returns URL from which the carrier's recording of a call can be fetched in the next minutes, without the API key
   * @throws CarrierApiError
   */
  async recording(callSid: string, signal?: AbortSignal): Promise<CarrierRecording> {
    const { status, body, location } = await this.#http.send({
      method: 'GET',
      path: callPath(callSid, '/recording'),
      accept: [302, 303, 307, 404, 410],
      signal,
    })
    if (location !== null) return { state: 'ready', url: location }
    if (status === 404 || status === 410) return { state: 'none' }
    const answer = objectOf(body)
    const url = textIn(answer, 'download_url', 'url')
    return url === null
      ? { state: 'pending', retryAfterS: numberIn(answer, 'retry_after_seconds') }
      : { state: 'ready', url }
  }
}

function callPath(callSid: string, rest: string): string {
  return `/v1/calls/${encodeURIComponent(callSid)}${rest}`
}

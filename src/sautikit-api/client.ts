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
  /** Replaces the number's own voice URL for this call. */
  readonly voiceCallbackUrl?: string
  /** The carrier returns it as `clientRequestId`. The same one never makes two calls. Default: random. */
  readonly clientRequestId?: string
}

interface CreatedCall {
  /** The id that the voice webhook will carry; null when the carrier did not say it. */
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

/** Says whether the carrier has recorded a call. */
export type CarrierRecording =
  | { readonly state: 'ready'; readonly url: string }
  | { readonly state: 'pending'; readonly retryAfterS: number | null }
  | { readonly state: 'none' }

/** The carrier takes more, but with other characters the text would not come back in callbacks (docs/PROTOCOL.md). */
const CLIENT_REQUEST_ID = /^(?!mcp:|broadcast:)[^\s,{}"'\p{Cc}]{1,500}$/u

/** The calls of the carrier's REST API. */
export class SautikitClient {
  readonly #http: CarrierHttp
  readonly #paths: ApiPaths

  constructor(http: CarrierHttp, paths: ApiPaths = new ApiPaths()) {
    this.#http = http
    this.#paths = paths
  }

  /**
   * Ends a call; ending it twice is no error.
   * @throws CarrierApiError, also for a call that the carrier does not know
   */
  async hangup(callSid: string, { idempotencyKey }: { readonly idempotencyKey?: string } = {}): Promise<void> {
    await this.#http.send({ method: 'POST', path: callPath(callSid, '/hangup'), body: {}, retry: true, idempotencyKey })
  }

  /**
   * Rings a human and adds them to the live call, in which all hear all. Resolves when the carrier has begun to ring. One human
   * per call at a time.
   * @param phone  E.164
   * @throws CarrierApiError with `carrierCode` `calls.supervision_in_progress` when there is one already
   */
  async supervise(callSid: string, phone: string, idempotencyKey?: string): Promise<void> {
    await this.#http.send({
      method: 'POST',
      path: callPath(callSid, '/supervision'),
      body: { mode: 'barge', supervisor: { type: 'phone', number: phone }, announce: 'none' },
      // The carrier does not say that it honours the key here: a second request could ring the human twice.
      retry: false,
      idempotencyKey,
    })
  }

  /**
   * Removes the human from the call. Does nothing when there is none.
   * @throws CarrierApiError
   */
  async stopSupervision(callSid: string): Promise<void> {
    await this.#http.send({ method: 'DELETE', path: callPath(callSid, '/supervision'), accept: [404] })
  }

  /**
   * Starts an outbound call.
   * @throws CarrierApiError; GatewayError CARRIER_API for a `clientRequestId` that would not come back
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
   * The carrier's own record of a call, live or ended.
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
   * One page of the workspace's calls, newest first as the carrier sorts them.
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
   * Balance of the workspace's wallet, in minor units; null where the carrier does not say.
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
   * Where the carrier's recording of a call can be fetched for the next minutes, without the key.
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

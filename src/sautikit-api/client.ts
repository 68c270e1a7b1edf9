import { randomUUID } from 'node:crypto'
import { GatewayError } from '../core/errors.js'
import type { CarrierCall } from './call-detail.js'
import { parseCarrierCall } from './call-detail.js'
import type { CarrierHttp } from './http.js'

/** How a human joins a live call: hears it, speaks to the agent's side only, or speaks to everybody. */
export type SupervisionMode = 'listen' | 'whisper' | 'barge'

export interface SuperviseOptions {
  readonly mode: SupervisionMode
  /** E.164 number of the human that is rung. */
  readonly phone: string
  /** What the parties hear when the human joins; `none` for nothing. */
  readonly announce?: string
  readonly signal?: AbortSignal
}

export interface CreateCallOptions {
  /** A number of this workspace. */
  readonly from: string
  readonly to: string
  /** Replaces the number's own voice URL for this call. */
  readonly voiceCallbackUrl?: string
  /** Comes back as `clientRequestId`; must be another for each call. Default: a random one. */
  readonly clientRequestId?: string
  /** Default: made from `clientRequestId`. The same key never makes two calls. */
  readonly idempotencyKey?: string
  readonly signal?: AbortSignal
}

export interface CreatedCall {
  /** The id that the voice webhook will carry; null when the carrier did not say it. */
  readonly callSid: string | null
  readonly callId: string | null
  readonly status: string
  readonly clientRequestId: string
}

/** The carrier takes more, but with other characters the text would not come back in callbacks (docs/PROTOCOL.md). */
const CLIENT_REQUEST_ID = /^(?!mcp:|broadcast:)[^\s,{}"'\p{Cc}]{1,500}$/u

/** What Mkondo asks of the carrier's REST API about calls. */
export class SautikitClient {
  readonly #http: CarrierHttp

  constructor(http: CarrierHttp) {
    this.#http = http
  }

  /**
   * Ends a call; ending it twice is no error.
   * @throws CarrierApiError, for a call that the carrier does not know too
   */
  async hangup(callSid: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#http.send({
      method: 'POST', path: callPath(callSid, '/hangup'), body: {}, retry: true, ...signalOf(options),
    })
  }

  /**
   * Rings a human and adds them to the live call; resolves when the carrier has begun to. One human a call at a time.
   * @throws CarrierApiError with `carrierCode` `calls.supervision_in_progress` when there is one already
   */
  async supervise(callSid: string, options: SuperviseOptions): Promise<void> {
    await this.#http.send({
      method: 'POST',
      path: callPath(callSid, '/supervision'),
      body: {
        mode: options.mode, supervisor: { type: 'phone', number: options.phone }, announce: options.announce ?? 'none',
      },
      retry: false, // not said to be idempotent: a second request could ring the human twice
      ...signalOf(options),
    })
  }

  /**
   * Takes the human off the call again. Without one it does nothing.
   * @throws CarrierApiError
   */
  async stopSupervision(callSid: string, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    await this.#http.send({
      method: 'DELETE', path: callPath(callSid, '/supervision'), accept: [404], ...signalOf(options),
    })
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
    const { body } = await this.#http.send({
      method: 'POST',
      path: '/v1/calls',
      body: {
        from: options.from, to: [options.to], client_request_id: clientRequestId,
        ...(options.voiceCallbackUrl === undefined ? {} : { voice_callback_url: options.voiceCallbackUrl }),
      },
      idempotencyKey: options.idempotencyKey ?? clientRequestId,
      ...signalOf(options),
    })
    const created = typeof body === 'object' && body !== null ? body as Readonly<Record<string, unknown>> : {}
    const text = (name: string): string | null => {
      const value = created[name]
      return typeof value === 'string' && value !== '' ? value : null
    }
    return {
      callSid: text('session_id'), callId: text('call_id'), status: text('status') ?? 'unknown', clientRequestId,
    }
  }

  /**
   * The carrier's own record of a call, live or ended.
   * @throws CarrierApiError; `carrierCode` is `calls.not_found` for a call that the carrier does not know (yet)
   */
  async getCall(callSid: string, options: { readonly signal?: AbortSignal } = {}): Promise<CarrierCall> {
    const { body } = await this.#http.send({ method: 'GET', path: callPath(callSid, ''), ...signalOf(options) })
    return parseCarrierCall(body)
  }
}

function callPath(callSid: string, rest: string): string {
  return `/v1/calls/${encodeURIComponent(callSid)}${rest}`
}

function signalOf(options: { readonly signal?: AbortSignal }): { signal?: AbortSignal } {
  return options.signal === undefined ? {} : { signal: options.signal }
}

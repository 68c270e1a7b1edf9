import { setTimeout as sleep } from 'node:timers/promises'
import type { EscalationPacket } from '../call/documents/handoff.js'
import type { CallRecord, ToolCallRecord, TranscriptEntry } from '../call/documents/record.js'

/** Maximum size of an answer in bytes; larger answers are refused. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024
const TIMEOUT_MS = 2000
const RECORD_POLL_MS = 100

/** A call as the ops port returns it: the view of a running call, or the record of an ended call. */
export interface GatewayCall {
  readonly agent: string
  readonly backend: string
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly ToolCallRecord[]
  /** Record of the call; null while the call is running. */
  readonly record: CallRecord | null
}

/** Reason why a gateway refuses calls. */
export type NotReady = 'draining' | 'full'

/** Reads calls from the gateway's ops port, as an operator does. */
export class GatewayView {
  /** Fault of the last request; null if it succeeded. */
  fault: string | null = null
  readonly #origin: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(origin: string, token: string | null) {
    this.#origin = origin
    this.#headers = token === null ? {} : { authorization: `Bearer ${token}` }
  }

  /** `GET /api/calls/{sid}`; null if the call is unknown or the request fails. */
  async call(callSid: string): Promise<GatewayCall | null> {
    const body = await this.#json(`/api/calls/${callSid}`)
    return body === null ? null : viewOf(body)
  }

  /**
   * Repeats `call` until the record of the ended call is written.
   * @param wait maximum duration of the repeats, and whether a failed request is repeated
   */
  async endedCall(
    callSid: string,
    wait: { readonly ms: number; readonly despiteFaults: boolean },
  ): Promise<GatewayCall | null> {
    const untilMs = performance.now() + wait.ms
    for (;;) {
      const call = await this.call(callSid)
      if (call?.record || (this.fault !== null && !wait.despiteFaults) || performance.now() > untilMs) return call
      await sleep(RECORD_POLL_MS)
    }
  }

  /** `GET /api/calls/{sid}/handoff`: the handoff packet; null without an escalation or if the request fails. */
  async handoff(callSid: string): Promise<EscalationPacket | null> {
    return (await this.#json(`/api/calls/${callSid}/handoff`)) as EscalationPacket | null
  }

  /** `GET /api/settings`: the orders API of the gateway's agents; null if there is none or the request fails. */
  async shopUrl(): Promise<string | null> {
    const { settings } = ((await this.#json('/api/settings')) ?? {}) as { readonly settings?: unknown }
    const { SHOP_API_URL: url } = (settings ?? {}) as { readonly SHOP_API_URL?: unknown }
    return typeof url === 'string' && URL.canParse(url) ? url : null
  }

  /** `GET /readyz`: the reason why the gateway refuses calls; null if it accepts calls or the request fails. */
  async notReady(): Promise<NotReady | null> {
    const body = await this.#json('/readyz', 503)
    const { reason } = (body ?? {}) as { readonly reason?: unknown }
    return reason === 'draining' || reason === 'full' ? reason : null
  }

  /** Requests a JSON document. @returns null for a 404; null with `fault` set if the request fails */
  async #json(path: string, alsoStatus?: number): Promise<object | null> {
    try {
      const response = await fetch(`${this.#origin}${path}`, {
        headers: this.#headers,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      })
      const body = await response.text()
      if (response.status === 404) return null
      if ((!response.ok && response.status !== alsoStatus) || body.length > ANSWER_BYTES_MAX) {
        this.fault = `the ops port answered with ${response.status}`
        return null
      }
      this.fault = null
      return JSON.parse(body) as object
    } catch {
      this.fault = 'the ops port cannot be reached'
      return null
    }
  }
}

/**
 * Checks only the fields that distinguish a record from a view, because the format is the gateway's own
 * (docs/FORMATS.md).
 */
function viewOf(body: object): GatewayCall {
  // Records of an earlier version have no claims and stages.
  const call = { claims: [], stages: [], facts: [], handovers: [], ...body } as unknown as CallRecord
  return {
    agent: call.agent,
    backend: call.backend,
    transcript: call.transcript,
    toolCalls: call.toolCalls,
    record: typeof call.outcome === 'string' && Array.isArray(call.turns) ? call : null,
  }
}

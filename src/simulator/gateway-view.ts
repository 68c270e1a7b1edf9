import { setTimeout as sleep } from 'node:timers/promises'
import type { EscalationPacket } from '../call/events.js'
import type { CallRecord, ToolCallRecord, TranscriptEntry } from '../call/record.js'

/** Answers larger than this are not a call. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024
const TIMEOUT_MS = 2000
const RECORD_POLL_MS = 100

/** What the ops port says of a call: a view of a live one, or the record of an ended one. */
export interface GatewayCall {
  readonly agent: string
  readonly backend: string
  readonly transcript: readonly TranscriptEntry[]
  readonly toolCalls: readonly ToolCallRecord[]
  /** Null while the call is live. */
  readonly record: CallRecord | null
}

/** Why a gateway takes no calls. */
export type NotReady = 'draining' | 'full'

/** Reads calls from the gateway's ops port, as any operator would. */
export class GatewayView {
  /** Why the last question had no answer; null when it had one. */
  fault: string | null = null
  readonly #origin: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(origin: string, token: string | null) {
    this.#origin = origin
    this.#headers = token === null ? {} : { authorization: `Bearer ${token}` }
  }

  /** `GET /api/calls/{sid}`; null when it cannot be had. */
  async call(callSid: string): Promise<GatewayCall | null> {
    const body = await this.#json(`/api/calls/${callSid}`)
    return body === null ? null : viewOf(body)
  }

  /**
   * As `call`, asked again until the record of an ended call is written.
   * @param wait how long to ask, and whether a port that does not answer is asked again
   */
  async endedCall(callSid: string, wait: { readonly ms: number; readonly despiteFaults: boolean }): Promise<GatewayCall | null> {
    const untilMs = performance.now() + wait.ms
    for (;;) {
      const call = await this.call(callSid)
      if (call?.record || (this.fault !== null && !wait.despiteFaults) || performance.now() > untilMs) return call
      await sleep(RECORD_POLL_MS)
    }
  }

  /** `GET /api/calls/{sid}/handoff`: what a human was given; null when nobody was asked for, or it cannot be had. */
  async handoff(callSid: string): Promise<EscalationPacket | null> {
    return await this.#json(`/api/calls/${callSid}/handoff`) as EscalationPacket | null
  }

  /** `GET /readyz`: why it takes no calls; null when it takes them, or cannot be asked. */
  async notReady(): Promise<NotReady | null> {
    const body = await this.#json('/readyz', 503)
    const { reason } = (body ?? {}) as { readonly reason?: unknown }
    return reason === 'draining' || reason === 'full' ? reason : null
  }

  /** Null, and `fault` set, when the port does not answer as it should; null alone for a 404. */
  async #json(path: string, alsoStatus?: number): Promise<object | null> {
    try {
      const response = await fetch(`${this.#origin}${path}`, { headers: this.#headers, signal: AbortSignal.timeout(TIMEOUT_MS) })
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

/** The shape is our own contract (docs/FORMATS.md); only what tells a record from a view is looked at. */
function viewOf(body: object): GatewayCall {
  const call = body as CallRecord
  return {
    agent: call.agent, backend: call.backend, transcript: call.transcript, toolCalls: call.toolCalls,
    record: typeof call.outcome === 'string' && Array.isArray(call.turns) ? call : null,
  }
}

import type { WebhookRejection } from '../telemetry/metrics.js'
import { errorReply } from './http-exchange.js'
import type { HttpErrorCode, HttpStatus, Reply } from './http-exchange.js'

/** A webhook as it came in, with what must be read before its body. */
export interface WebhookRequest {
  readonly body: Uint8Array
  readonly contentType: string | undefined
  readonly signature: string | undefined
  /** The `t` of the query. */
  readonly token: string | undefined
  /** The `agent` of the query or of the path. */
  readonly agent: string | undefined
  /** The `clientRequestId` of the query: the carrier's note of which order a call comes from. */
  readonly label?: string | undefined
  /** The `Host` header. */
  readonly host: string
  readonly address: string
  /** True where another process may take a new call that finds no room here; the answer is a `Pass` then. */
  readonly mayPass?: boolean
}

/** A request that is turned away: the answer, and the reason it is counted under. */
export interface Rejection {
  readonly reason: WebhookRejection
  /** In words, as the sender is told; holds nothing of the body. */
  readonly why: string
  readonly reply: Reply
}

export function rejection(
  reason: WebhookRejection,
  status: HttpStatus,
  code: HttpErrorCode,
  message: string,
  extra: Parameters<typeof errorReply>[3] = {},
): Rejection {
  return { reason, why: message, reply: errorReply(status, code, message, extra) }
}

/** Not answered: there is no room for this new call here, and whoever asked may ask another process. */
export interface Pass {
  readonly pass: 'capacity' | 'draining' | 'file-descriptors'
}

import type { ErrorCode } from '../core/errors.js'
import { BODIES_PENDING_MAX, BODY_DEADLINE_MS } from '../core/limits.js'
import type { HttpRequest, HttpResponse } from './uws.js'

const STATUS_LINES = {
  200: '200 OK',
  201: '201 Created',
  202: '202 Accepted',
  204: '204 No Content',
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  408: '408 Request Timeout',
  409: '409 Conflict',
  413: '413 Content Too Large',
  415: '415 Unsupported Media Type',
  426: '426 Upgrade Required',
  429: '429 Too Many Requests',
  500: '500 Internal Server Error',
  502: '502 Bad Gateway',
  503: '503 Service Unavailable',
} as const

export type HttpStatus = keyof typeof STATUS_LINES

/** Codes of the HTTP layer itself; all others are the gateway's. */
export type HttpErrorCode =
  | ErrorCode
  | 'NOT_FOUND'
  | 'METHOD_NOT_ALLOWED'
  | 'BODY_TOO_SLOW'
  | 'UNAUTHORIZED'
  | 'FORBIDDEN'
  | 'BUSY'
  | 'UPGRADE_REQUIRED'
  | 'BAD_REQUEST'
  | 'INTERNAL'

/** An answer, as a value: handlers return it, one place writes it. */
export interface Reply {
  readonly status: HttpStatus
  readonly body: string | Uint8Array
  readonly contentType: string | null
  readonly headers: readonly (readonly [string, string])[]
  /** Close the connection after it: what is left of the request is not worth reading. */
  readonly close: boolean
}

export function jsonReply(value: unknown, status: HttpStatus = 200): Reply {
  return {
    status,
    body: `${JSON.stringify(value)}\n`,
    contentType: 'application/json; charset=utf-8',
    headers: [],
    close: false,
  }
}

export function errorReply(
  status: HttpStatus,
  code: HttpErrorCode,
  message: string,
  extra: { readonly headers?: Reply['headers']; readonly close?: boolean } = {},
): Reply {
  return {
    ...jsonReply({ error: { code, message } }, status),
    headers: extra.headers ?? [],
    close: extra.close ?? false,
  }
}

export function xmlReply(document: string): Reply {
  return { status: 200, body: document, contentType: 'application/xml; charset=utf-8', headers: [], close: false }
}

export function textReply(body: string, contentType: string, status: HttpStatus = 200): Reply {
  return { status, body, contentType, headers: [], close: false }
}

export const NO_CONTENT: Reply = { status: 204, body: '', contentType: null, headers: [], close: false }

/** One request that will be answered once, unless its sender goes away first. */
export class Exchange {
  readonly #res: HttpResponse
  /** Answered, or its sender is gone: uWebSockets.js allows no use of the response after that. */
  #over = false
  #whenOver: (() => void) | null = null

  constructor(res: HttpResponse) {
    this.#res = res
    res.onAborted(() => this.#end())
  }

  get over(): boolean {
    return this.#over
  }

  /** Called once when the exchange is answered or aborted. */
  onOver(handler: () => void): void {
    this.#whenOver = handler
  }

  /** @returns false when there is no one to answer any more. */
  reply(reply: Reply, options: { readonly withoutBody?: boolean } = {}): boolean {
    if (this.#over) return false
    this.#end()
    const res = this.#res
    res.cork(() => {
      res.writeStatus(STATUS_LINES[reply.status])
      if (reply.contentType !== null) res.writeHeader('Content-Type', reply.contentType)
      for (const [name, value] of reply.headers) res.writeHeader(name, value)
      res.writeHeader('Cache-Control', 'no-store')
      res.writeHeader('X-Content-Type-Options', 'nosniff')
      if (options.withoutBody === true) res.endWithoutBody(byteLength(reply.body), reply.close)
      // Not `endWithoutBody(undefined, …)`: the native module takes undefined for a length, and writes one of 19 digits.
      else if (reply.status === 204 && !reply.close) res.endWithoutBody()
      else res.end(reply.body, reply.close)
    })
    return true
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.#whenOver?.()
    this.#whenOver = null
  }
}

function byteLength(body: string | Uint8Array): number {
  return typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
}

/** Why a body was not read. */
export type BodyFault = 'too-large' | 'too-slow' | 'busy'

export interface BodyReading {
  readonly res: HttpResponse
  readonly exchange: Exchange
  /** Of the request's header; empty when absent. */
  readonly contentLength: string
  readonly bytesMax: number
  readonly nowMs: number
  /** The bytes are the receiver's. */
  readonly onBody: (body: Uint8Array) => void
  readonly onFault: (fault: BodyFault) => void
}

/**
 * Reads request bodies whole, each within a size and all within a time, and not too many at once. Deadlines are
 * looked at by `sweep`, not by a timer a request: all have the same length, so the oldest is always first.
 */
export class BodyReader {
  readonly #pending = new Map<Exchange, { readonly deadlineMs: number; readonly expire: () => void }>()

  get pending(): number {
    return this.#pending.size
  }

  read(reading: BodyReading): void {
    const { res, exchange, bytesMax, onBody, onFault } = reading
    const announced = Number(reading.contentLength === '' ? 0 : reading.contentLength)
    if (!(announced <= bytesMax)) return onFault('too-large')
    if (this.#pending.size >= BODIES_PENDING_MAX) return onFault('busy')

    let parts: Uint8Array[] = []
    let bytes = 0
    const expire = (): void => {
      parts = []
      onFault('too-slow')
    }
    this.#pending.set(exchange, { deadlineMs: reading.nowMs + BODY_DEADLINE_MS, expire })
    exchange.onOver(() => {
      this.#pending.delete(exchange)
    })
    res.onData((chunk, isLast) => {
      if (exchange.over) return
      bytes += chunk.byteLength
      if (bytes > bytesMax) {
        parts = []
        return onFault('too-large')
      }
      // The chunk is uWebSockets.js's memory and only valid in this call.
      if (chunk.byteLength > 0) parts.push(new Uint8Array(chunk.slice(0)))
      if (!isLast) return
      this.#pending.delete(exchange)
      onBody(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes))
    })
  }

  /** Gives up bodies that are late. */
  sweep(nowMs: number): void {
    for (const [exchange, { deadlineMs, expire }] of this.#pending) {
      if (deadlineMs > nowMs) return
      this.#pending.delete(exchange)
      expire()
    }
  }
}

const addressText = new TextDecoder()

/**
 * Address of the peer: of the socket, or, behind a proxy that we are told to trust, the last one that it added to
 * `X-Forwarded-For`.
 */
export function addressOf(res: HttpResponse, req: HttpRequest, trustForwardedFor: boolean): string {
  if (trustForwardedFor) {
    const last = req.getHeader('x-forwarded-for').split(',').at(-1)?.trim() ?? ''
    if (/^[0-9A-Fa-f.:]{2,45}$/.test(last)) return last
  }
  return addressText.decode(res.getRemoteAddressAsText())
}

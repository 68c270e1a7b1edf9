import type { ErrorCode } from '../core/errors.js'
import { BODIES_PENDING_MAX, BODIES_PER_ADDRESS_MAX, BODY_DEADLINE_MS, REFUSAL_FLUSH_BYTES } from '../core/limits.js'
import { SIGNATURE_HEADER } from '../sautikit/signature.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'

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
  504: '504 Gateway Timeout',
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
  | 'NODE_SILENT'
  | 'OTHER_NODE'
  | 'CALL_LIVE'
  | 'INTERNAL'

/** An answer as a value: handlers return it, `Exchange` writes it. */
export interface Reply {
  readonly status: HttpStatus
  readonly body: string | Uint8Array
  readonly contentType: string | null
  readonly headers: readonly (readonly [string, string])[]
  /** Closes the connection after it: the rest of the request is not read. */
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

/** One request, which is answered once unless its sender disconnects first. */
export class Exchange {
  readonly #res: HttpResponse
  /** Answered or aborted: uWebSockets.js allows no use of the response after that. */
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

  /** @returns false when the exchange is over already */
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
      // Not `endWithoutBody(undefined, …)`: the native module takes undefined for a length, and writes one of 19
      // digits.
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

/** Why a body was not read. `evicted`: another body needed its place. `busy`: no place, and none to evict. */
export type BodyFault = 'too-large' | 'too-slow' | 'busy' | 'evicted'

interface BodyReading {
  readonly res: HttpResponse
  readonly exchange: Exchange
  /** Of the request's header; empty when absent. */
  readonly contentLength: string
  readonly bytesMax: number
  readonly nowMs: number
  /** Address of an unproven sender, whose body may be evicted. Absent: the sender is proven. */
  readonly stranger?: string
  /** The receiver owns the bytes. */
  readonly onBody: (body: Uint8Array) => void
  readonly onFault: (fault: BodyFault) => void
}

/** A body that has not arrived completely. */
interface PendingBody {
  readonly deadlineMs: number
  readonly stranger: string | undefined
  readonly fail: (fault: BodyFault) => void
}

/**
 * Reads whole request bodies, with limits on size, time and number of pending bodies. `sweep` checks the deadlines
 * without a timer for each request: all deadlines have the same length, so the oldest body is always due first.
 *
 * Slow senders must not take all places. A carrier's body comes with its head or right behind it, so the body that
 * waits longest is the suspicious one. When an address has used its share, or all places are taken, the unproven body
 * that waits longest (of that address, or of all) is evicted. Bodies of proven senders are never evicted.
 */
export class BodyReader {
  // All three in the order of arrival: the oldest is first.
  readonly #pending = new Set<PendingBody>()
  readonly #strangers = new Set<PendingBody>()
  readonly #byAddress = new Map<string, Set<PendingBody>>()

  get pending(): number {
    return this.#pending.size
  }

  read(reading: BodyReading): void {
    const { res, exchange, bytesMax, stranger, onBody, onFault } = reading
    const announced = Number(reading.contentLength === '' ? 0 : reading.contentLength)
    if (!(announced <= bytesMax)) return onFault('too-large')
    if (!this.#makeRoom(stranger)) return onFault('busy')

    let parts: Uint8Array[] = []
    let bytes = 0
    const fail = (fault: BodyFault): void => {
      parts = []
      this.#remove(body)
      onFault(fault)
    }
    const body: PendingBody = { deadlineMs: reading.nowMs + BODY_DEADLINE_MS, stranger, fail }
    this.#add(body)
    exchange.onOver(() => this.#remove(body))
    res.onData((chunk, isLast) => {
      if (exchange.over) return
      bytes += chunk.byteLength
      if (bytes > bytesMax) return fail('too-large')
      // The chunk is uWebSockets.js's memory and only valid in this call.
      if (chunk.byteLength > 0) parts.push(new Uint8Array(chunk.slice(0)))
      if (!isLast) return
      this.#remove(body)
      onBody(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes))
    })
  }

  /** Fails the bodies that are past their deadline. */
  sweep(nowMs: number): void {
    for (const body of this.#pending) {
      if (body.deadlineMs > nowMs) return
      body.fail('too-slow')
    }
  }

  /** @returns false when all places are taken by proven senders */
  #makeRoom(stranger: string | undefined): boolean {
    const ofAddress = stranger === undefined ? undefined : this.#byAddress.get(stranger)
    if (ofAddress !== undefined && ofAddress.size >= BODIES_PER_ADDRESS_MAX) oldest(ofAddress)?.fail('evicted')
    else if (this.#pending.size >= BODIES_PENDING_MAX) oldest(this.#strangers)?.fail('evicted')
    return this.#pending.size < BODIES_PENDING_MAX
  }

  #add(body: PendingBody): void {
    this.#pending.add(body)
    if (body.stranger === undefined) return
    this.#strangers.add(body)
    const ofAddress = this.#byAddress.get(body.stranger)
    if (ofAddress === undefined) this.#byAddress.set(body.stranger, new Set([body]))
    else ofAddress.add(body)
  }

  #remove(body: PendingBody): void {
    this.#pending.delete(body)
    if (body.stranger === undefined) return
    this.#strangers.delete(body)
    const ofAddress = this.#byAddress.get(body.stranger)
    ofAddress?.delete(body)
    if (ofAddress?.size === 0) this.#byAddress.delete(body.stranger)
  }
}

function oldest(bodies: ReadonlySet<PendingBody>): PendingBody | undefined {
  return bodies.values().next().value
}

// --- requests that can be read in two ways ---------------------------------------------------------------------

/** Headers that a request may have once: with two, a proxy and this process could each use another one. */
const GIVEN_ONCE: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'host',
  'content-type',
  'authorization',
  SIGNATURE_HEADER,
])

/**
 * Why a request can be read in two ways; null for a sound one. uWebSockets.js takes the first of two Content-Lengths,
 * an empty one for 0 and every Transfer-Encoding for chunked, so that a second request can hide in what a proxy
 * considers the body of the first (request smuggling, RFC 9112 section 11.2).
 */
function headFault(req: HttpRequest): string | null {
  const seen = new Set<string>()
  let fault: string | null = null
  req.forEach((name, value) => {
    if (!GIVEN_ONCE.has(name)) return
    if (seen.has(name)) fault ??= `the header ${name} is given twice`
    seen.add(name)
    if (name === 'content-length' && !/^\d{1,15}$/.test(value))
      fault ??= 'the header content-length is no number of bytes'
    if (name === 'transfer-encoding' && value.toLowerCase() !== 'chunked')
      fault ??= 'the header transfer-encoding is not chunked'
  })
  if (seen.has('content-length') && seen.has('transfer-encoding'))
    fault ??= 'there are both a content-length and a transfer-encoding'
  return fault
}

/**
 * Answers 400 and closes the connection at once.
 *
 * uWebSockets.js buffers an answer until it has parsed everything that came with the request, and answers the requests
 * behind it although the connection is about to close. An answer larger than its buffer leaves at once, and the
 * connection closes before anything behind it is parsed. Hence the spaces at the end.
 */
function refuseAmbiguous(res: HttpResponse, fault: string): void {
  const reply = errorReply(400, 'BAD_REQUEST', `${fault}; the connection is closed`, { close: true })
  new Exchange(res).reply({ ...reply, body: String(reply.body).padEnd(REFUSAL_FLUSH_BYTES) })
}

/**
 * Puts the check of each request's head before all routes that are added from here on, upgrades included.
 * @param onAmbiguous  called for each refused request; its response may be used for its address only
 */
export function refuseAmbiguousRequests(
  app: TemplatedApp,
  onAmbiguous: (res: HttpResponse, req: HttpRequest) => void,
): void {
  /** @returns whether the request was refused */
  const refused = (res: HttpResponse, req: HttpRequest): boolean => {
    const fault = headFault(req)
    if (fault === null) return false
    onAmbiguous(res, req)
    refuseAmbiguous(res, fault)
    return true
  }
  for (const method of ['get', 'head', 'post', 'any'] as const) {
    const add = app[method].bind(app)
    app[method] = (pattern, handler) =>
      add(pattern, (res, req) => {
        if (!refused(res, req)) return handler(res, req)
      })
  }
  const addSockets = app.ws.bind(app)
  app.ws = (pattern, behavior) =>
    addSockets(pattern, {
      ...behavior,
      upgrade: (res, req, context) => {
        if (!refused(res, req)) return behavior.upgrade?.(res, req, context)
      },
    })
}

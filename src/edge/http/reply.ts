import { assert } from '../../core/assert.js'
import type { HTTP_ERRORS } from '../../core/error-codes.js'
import { GatewayError } from '../../core/errors.js'
import type { ErrorCode } from '../../core/errors.js'
import type { StoredFile } from '../../telemetry/archive/stored-file.js'

export const STATUS_LINES = {
  200: '200 OK',
  201: '201 Created',
  202: '202 Accepted',
  204: '204 No Content',
  206: '206 Partial Content',
  400: '400 Bad Request',
  401: '401 Unauthorized',
  403: '403 Forbidden',
  404: '404 Not Found',
  405: '405 Method Not Allowed',
  408: '408 Request Timeout',
  409: '409 Conflict',
  410: '410 Gone',
  413: '413 Content Too Large',
  415: '415 Unsupported Media Type',
  416: '416 Range Not Satisfiable',
  426: '426 Upgrade Required',
  429: '429 Too Many Requests',
  500: '500 Internal Server Error',
  502: '502 Bad Gateway',
  503: '503 Service Unavailable',
  504: '504 Gateway Timeout',
} as const

export type HttpStatus = keyof typeof STATUS_LINES

/** Error codes of the gateway and of the HTTP ports. */
export type HttpErrorCode = ErrorCode | keyof typeof HTTP_ERRORS

/** An answer as a value: handlers return it, `Exchange` writes it. */
export interface Reply<Content extends string | Uint8Array | StoredFile = string | Uint8Array | StoredFile> {
  readonly status: HttpStatus
  readonly body: Content
  readonly contentType: string | null
  readonly headers: readonly (readonly [string, string])[]
  /** True if the connection closes after the answer: the rest of the request is not read. */
  readonly close: boolean
}

export function jsonReply(value: unknown, status: HttpStatus = 200): Reply<string> {
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
): Reply<string> {
  return {
    ...jsonReply({ error: { code, message } }, status),
    headers: extra.headers ?? [],
    close: extra.close ?? false,
  }
}

/**
 * Answer for a fault of a request.
 * @param statuses  HTTP status by error code, for each code that is answered
 * @param retryAfterS  time in s by error code, for codes that allow the request to be repeated
 * @throws `thrown` if it has another code or no code
 */
export function faultReply(
  thrown: unknown,
  statuses: Partial<Readonly<Record<ErrorCode, HttpStatus>>>,
  retryAfterS: Partial<Readonly<Record<ErrorCode, number>>>,
): Reply {
  const status = thrown instanceof GatewayError ? statuses[thrown.code] : undefined
  if (!(thrown instanceof GatewayError) || status === undefined) throw thrown
  const { code, message } = thrown
  const afterS = retryAfterS[code]
  return errorReply(status, code, message, afterS === undefined ? {} : { headers: [['Retry-After', String(afterS)]] })
}

/**
 * Refusal if records of calls cannot be read now.
 * @throws `thrown` if it is another fault
 */
export function keptFault(thrown: unknown): Reply {
  return faultReply(thrown, { STORAGE: 503, CAPACITY: 503 }, { CAPACITY: 1 })
}

export function xmlReply(document: string): Reply {
  return { status: 200, body: document, contentType: 'application/xml; charset=utf-8', headers: [], close: false }
}

export function textReply(body: string, contentType: string, status: HttpStatus = 200): Reply {
  return { status, body, contentType, headers: [], close: false }
}

/** Answer with the whole file, or the part that the request asks for. */
export function fileReply(body: StoredFile, contentType: string): Reply {
  return { status: 200, body, contentType, headers: [['Accept-Ranges', 'bytes']], close: false }
}

/** JSON in the body of an answer. */
export function jsonOf({ body }: Pick<Reply, 'body'>): unknown {
  assert(typeof body === 'string', 'an answer of JSON is text')
  return JSON.parse(body)
}

export const NO_CONTENT: Reply = { status: 204, body: '', contentType: null, headers: [], close: false }

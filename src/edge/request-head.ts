import { REFUSAL_FLUSH_BYTES } from '../core/limits.js'
import { SIGNATURE_HEADER } from '../sautikit/signature.js'
import { Exchange, errorReply } from './http-exchange.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'

/** Headers of which a request has one at most: with two, a proxy and this process may each go by another. */
const GIVEN_ONCE: ReadonlySet<string> = new Set([
  'content-length', 'transfer-encoding', 'host', 'content-type', 'authorization', SIGNATURE_HEADER,
])

/**
 * What lets a request be read in two ways; null for a sound one. uWebSockets.js takes the first of two Content-Lengths, an
 * empty one for 0 and every Transfer-Encoding for chunked, so that a second request can hide in what another reader takes for
 * the first one's body (request smuggling, RFC 9112 section 11.2).
 */
export function headFault(req: HttpRequest): string | null {
  const seen = new Set<string>()
  let fault: string | null = null
  req.forEach((name, value) => {
    if (!GIVEN_ONCE.has(name)) return
    if (seen.has(name)) fault ??= `the header ${name} is given twice`
    seen.add(name)
    if (name === 'content-length' && !/^\d{1,15}$/.test(value)) fault ??= 'the header content-length is no number of bytes'
    if (name === 'transfer-encoding' && value.toLowerCase() !== 'chunked') fault ??= 'the header transfer-encoding is not chunked'
  })
  if (seen.has('content-length') && seen.has('transfer-encoding')) fault ??= 'there are both a content-length and a transfer-encoding'
  return fault
}

/**
 * Answers 400 and closes the connection at once.
 *
 * uWebSockets.js keeps what a handler writes until it has parsed everything that came with the request, and answers requests
 * behind it although the connection is to be closed. An answer that is larger than its buffer leaves at once, and then the
 * connection closes at once too: nothing behind it is parsed. Hence the spaces at its end.
 */
function refuseAmbiguous(res: HttpResponse, fault: string): void {
  const reply = errorReply(400, 'BAD_REQUEST', `${fault}; the connection is closed`, { close: true })
  new Exchange(res).reply({ ...reply, body: String(reply.body).padEnd(REFUSAL_FLUSH_BYTES) })
}

/**
 * Puts the check of each request's head before all routes that are added from here on, upgrades included.
 * @param onAmbiguous  told of each request that was refused; its response may only be asked for its address
 */
export function refuseAmbiguousRequests(app: TemplatedApp, onAmbiguous: (res: HttpResponse, req: HttpRequest) => void): void {
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
    app[method] = (pattern, handler) => add(pattern, (res, req) => {
      if (!refused(res, req)) return handler(res, req)
    })
  }
  const addSockets = app.ws.bind(app)
  app.ws = (pattern, behavior) => addSockets(pattern, {
    ...behavior,
    upgrade: (res, req, context) => {
      if (!refused(res, req)) return behavior.upgrade?.(res, req, context)
    },
  })
}

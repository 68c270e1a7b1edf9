import { SIGNATURE_HEADER } from '../../sautikit/signature.js'
import type { StoredFile } from '../../telemetry/archive/stored-file.js'
import { BodySender, PIECE_BYTES, bytesBody, openBody, rangeOf } from './reply-writer.js'
import type { Body, UnsentReplies } from './reply-writer.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'
import { STATUS_LINES, errorReply } from './reply.js'
import type { Reply } from './reply.js'

/** Deadline of a request's body; the carrier waits at most 10 s for its answer. */
const BODY_DEADLINE_MS = 5000
/**
 * Maximum number of bodies that arrive at the same time, 16 KiB each at most. A further body replaces the unproven body
 * that has waited longest.
 */
export const BODIES_PENDING_MAX = 2000
/** Maximum number of unproven bodies that arrive from one address at the same time. */
export const BODIES_PER_ADDRESS_MAX = 500
/**
 * Minimum size in bytes of an answer that leaves at once, because it does not fit into uWebSockets.js's buffer of 16
 * KiB (`CORK_BUFFER_SIZE`).
 */
const REFUSAL_FLUSH_BYTES = 16 * 1024

const STANDARD_HEADERS: Reply['headers'] = [
  ['Cache-Control', 'no-store'],
  ['X-Content-Type-Options', 'nosniff'],
]

/** One request. It is answered once, unless its sender disconnects first. */
export class Exchange {
  readonly #res: HttpResponse
  readonly #unsent: UnsentReplies
  readonly #isHead: boolean
  /** `Range` header; empty if there is none. */
  readonly #range: string
  /** True if the request was answered or aborted. */
  #over = false
  /** True once the connection is closed: uWebSockets.js then allows no use of the response. */
  #gone = false
  /** Sender of the current answer's body; null if no answer is being sent. */
  #sender: BodySender | EventStream | null = null
  #whenOver: (() => void) | null = null

  constructor(res: HttpResponse, req: HttpRequest, unsent: UnsentReplies) {
    this.#res = res
    this.#unsent = unsent
    this.#isHead = req.getMethod() === 'head'
    // If the request has an If-Range, its range is ignored: the gateway never sends a validator, so the client's
    // validator is for another file.
    this.#range = req.getHeader('if-range') === '' ? req.getHeader('range') : ''
    res.onAborted(() => {
      this.#gone = true
      if (this.#sender instanceof BodySender) this.#sender.left()
      else if (this.#sender !== null) this.#unsent.done(this.#sender)
      this.#end()
    })
  }

  get over(): boolean {
    return this.#over
  }

  /** Called once when the exchange is answered or aborted. */
  onOver(handler: () => void): void {
    this.#whenOver = handler
  }

  /** @returns false if the exchange is already over */
  reply(reply: Reply): boolean {
    if (this.#over) return false
    this.#end()
    const { body } = reply
    if (typeof body === 'string' || body instanceof Uint8Array) this.#write({ ...reply, body })
    else if (this.#isHead) this.#sendAndClose(reply, null, body.bytes)
    else void this.#sendFile(reply, body)
    return true
  }

  /** Closes the connection without an answer; bytes after the request are not read. */
  cut(): void {
    if (!this.#over) this.#res.close()
  }

  /** Begins an answer of server-sent events, which stays open; null if the exchange is already over. */
  stream(): EventStream | null {
    if (this.#over) return null
    const res = this.#res
    res.cork(() => {
      res.writeStatus(STATUS_LINES[200])
      res.writeHeader('Content-Type', 'text/event-stream')
      for (const [name, value] of STANDARD_HEADERS) res.writeHeader(name, value)
      // Without this header, a proxy that buffers would delay the events.
      res.writeHeader('X-Accel-Buffering', 'no')
      res.write(': mkondo\n\n')
    })
    const stream = new EventStream(res, this, this.#unsent)
    this.#sender = stream
    return stream
  }

  /** Ends an answer that `stream` began. */
  endStream(): void {
    if (this.#over) return
    this.#end()
    this.#res.cork(() => this.#res.end())
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.#whenOver?.()
    this.#whenOver = null
  }

  #write(reply: Reply<string | Uint8Array>): void {
    const { body, status, close } = reply
    if (this.#isHead) this.#sendAndClose(reply, null, byteLength(body))
    else if (close) this.#sendAndClose(reply, typeof body === 'string' ? body : new TextDecoder().decode(body))
    // An answer without a body leaves the connection open, and the gateway cannot see if its reader has received it.
    // Only proven senders (carrier, operators) get such an answer.
    else if (status === 204) this.#res.cork(() => void this.#head(reply).endWithoutBody())
    else {
      const bytes = typeof body === 'string' ? Buffer.from(body) : body
      this.#sendBody(reply, bytesBody(bytes), bytes.subarray(0, PIECE_BYTES))
    }
  }

  #head({ status, contentType, headers }: Reply): HttpResponse {
    const res = this.#res
    res.writeStatus(STATUS_LINES[status])
    if (contentType !== null) res.writeHeader('Content-Type', contentType)
    for (const [name, value] of [...headers, ...STANDARD_HEADERS]) res.writeHeader(name, value)
    return res
  }

  #sendBody(reply: Reply, body: Body, first: Uint8Array): void {
    const sender = new BodySender(this.#res, this.#unsent, body, first)
    this.#sender = sender
    this.#res.cork(() => {
      this.#head(reply)
      sender.begin()
    })
  }

  async #sendFile(reply: Reply, file: StoredFile): Promise<void> {
    const range = rangeOf(this.#range, file.bytes)
    if (range === 'unsatisfiable') {
      const headers: Reply['headers'] = [['Content-Range', `bytes */${file.bytes}`]]
      return this.#write(errorReply(416, 'RANGE', 'the file has no such part', { headers }))
    }
    const part = range ?? { from: 0, to: file.bytes - 1 }
    let body: Body | null = null
    try {
      body = await openBody(this.#unsent, file.path, part)
      const first = await body?.piece(0)
      if (this.#gone) body?.close()
      else if (body === null || first === undefined) {
        const headers: Reply['headers'] = [['Retry-After', '5']]
        this.#write(errorReply(503, 'BUSY', 'too many files are being sent', { headers }))
      } else if (range === null) this.#sendBody(reply, body, first)
      else {
        const headers: Reply['headers'] = [
          ...reply.headers,
          ['Content-Range', `bytes ${part.from}-${part.to}/${file.bytes}`],
        ]
        this.#sendBody({ ...reply, status: 206, headers }, body, first)
      }
    } catch (error) {
      body?.close()
      this.#unsent.broke(error)
      if (!this.#gone)
        this.#write(errorReply(500, 'INTERNAL', 'the gateway failed to answer; the reason is in its log'))
    }
  }

  /**
   * Sends an answer, and closes the connection when the kernel has taken the answer; later requests on it are not
   * answered.
   * `end(…, true)` would release the response, continue to read while the peer takes no bytes, and answer later
   * requests. So the whole answer is written as its status line, which uWebSockets.js sends unchanged. The response
   * stays unfinished until the connection is closed.
   * @param body  null if no body is sent
   * @param bytes  length of the body
   */
  #sendAndClose(reply: Reply, body: string | null, bytes = byteLength(body ?? '') + 2): void {
    const text = [
      STATUS_LINES[reply.status],
      `Date: ${new Date().toUTCString()}`,
      ...(reply.contentType === null ? [] : [`Content-Type: ${reply.contentType}`]),
      ...[...reply.headers, ...STANDARD_HEADERS].map(([name, value]) => `${name}: ${value}`),
      'Connection: close',
      ...(reply.status === 204 ? [] : [`Content-Length: ${bytes}`]),
      // The status line's own line break comes last. Without a body it ends the head; with a body it is the body's last
      // two bytes.
      ...(body === null ? [''] : ['', body]),
    ].join('\r\n')
    this.#res.cork(() => void this.#res.writeStatus(text))
    // A long answer has left uWebSockets.js's buffer now. A short answer leaves it when all bytes that came with the
    // request are parsed.
    if (text.length >= REFUSAL_FLUSH_BYTES) this.#res.close()
    else
      setImmediate(() => {
        if (!this.#gone) this.#res.close()
      })
  }
}

/** An open answer of server-sent events. */
export class EventStream {
  /** True while the peer does not read. */
  stalled = false
  /** Called when the peer reads again after a stall. Events may have been dropped during the stall. */
  onDrained: () => void = () => undefined
  readonly #res: HttpResponse
  readonly #exchange: Exchange
  readonly #unsent: UnsentReplies

  constructor(res: HttpResponse, exchange: Exchange, unsent: UnsentReplies) {
    this.#res = res
    this.#exchange = exchange
    this.#unsent = unsent
  }

  get closed(): boolean {
    return this.#exchange.over
  }

  /** Sends one event of JSON. The event is dropped while the peer does not read. */
  send(event: string, json: string): void {
    this.#write(`event: ${event}\ndata: ${json}\n\n`)
  }

  /** Sends a comment, so that client and gateway each notice a dead peer. */
  beat(): void {
    this.#write(BEAT)
  }

  end(): void {
    if (this.stalled) this.cut()
    else if (!this.closed) this.#exchange.endStream()
  }

  cut(): void {
    if (!this.closed) this.#res.close()
  }

  #write(text: string): void {
    if (this.closed || this.stalled) return
    const res = this.#res
    res.cork(() => {
      if (res.write(text)) return
      this.stalled = true
      this.#unsent.waits(this, text.length)
      res.onWritable(() => this.#drained(text.length))
    })
  }

  /** Called when the peer has read. Bytes that uWebSockets.js still holds leave only with the next write. */
  #drained(bytes: number): boolean {
    if (!this.stalled) return true
    let all = false
    this.#res.cork(() => {
      all = this.#res.write(BEAT)
    })
    if (!all) this.#unsent.waits(this, bytes)
    else {
      this.#unsent.done(this)
      this.stalled = false
      this.onDrained()
    }
    return all
  }
}

const BEAT = ':\n\n'

function byteLength(body: string | Uint8Array): number {
  return typeof body === 'string' ? Buffer.byteLength(body) : body.byteLength
}

/**
 * Reason why a body was not read. `evicted`: another body replaced it. `busy`: all slots are taken, and no body can be
 * evicted.
 */
export type BodyFault = 'too-large' | 'too-slow' | 'busy' | 'evicted'

interface BodyReading {
  readonly res: HttpResponse
  readonly exchange: Exchange
  /** Value of the `Content-Length` header; empty if absent. */
  readonly contentLength: string
  readonly bytesMax: number
  readonly nowMs: number
  /** Address of an unproven sender, whose body may be evicted. If absent, the sender is proven. */
  readonly stranger?: string
  /** Receives the body and owns its bytes. */
  readonly onBody: (body: Uint8Array) => void
  readonly onFault: (fault: BodyFault) => void
}

/** Body that has not arrived completely. */
interface PendingBody {
  readonly deadlineMs: number
  readonly stranger: string | undefined
  readonly fail: (fault: BodyFault) => void
}

/**
 * Reads whole request bodies, with limits on size, time and number of pending bodies. `sweep` checks the deadlines
 * without a timer for each request: all deadlines are equally long, so the oldest body is always due first. Slow
 * senders must not take all slots. A carrier's body comes with its head or directly after it, so the body that has
 * waited longest is suspicious. If an address has used its share, its unproven body that has waited longest is evicted.
 * If all slots are taken, the unproven body that has waited longest is evicted. Bodies of proven senders are never
 * evicted.
 */
export class BodyReader {
  // Pending bodies; all three collections are in the order of arrival.
  readonly #pending = new Set<PendingBody>()
  readonly #strangers = new Set<PendingBody>()
  readonly #byAddress = new Map<string, Set<PendingBody>>()

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
      // The chunk is uWebSockets.js's memory, which is valid only in this call.
      if (chunk.byteLength > 0) parts.push(new Uint8Array(chunk.slice(0)))
      if (!isLast) return
      this.#remove(body)
      onBody(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, bytes))
    })
  }

  /** Fails the bodies whose deadline has passed. */
  sweep(nowMs: number): void {
    for (const body of this.#pending) {
      if (body.deadlineMs > nowMs) return
      body.fail('too-slow')
    }
  }

  /** @returns false if bodies of proven senders hold all slots */
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

/**
 * Headers that a request may have only once. If a request had two of them, a proxy and this process could each use a
 * different header.
 */
const GIVEN_ONCE: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'host',
  'content-type',
  'authorization',
  SIGNATURE_HEADER,
])

/**
 * Reason why a request can be read in two ways; null if it cannot. uWebSockets.js uses the first of two
 * Content-Lengths. It reads an empty Content-Length as 0, and every Transfer-Encoding as chunked. So bytes that a proxy
 * reads as the first request's body could hide a second request (request smuggling, RFC 9112 section 11.2).
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

function refuseAmbiguous(exchange: Exchange, fault: string): void {
  exchange.reply(atOnce(errorReply(400, 'BAD_REQUEST', `${fault}; the connection is closed`, { close: true })))
}

/**
 * Makes an answer that leaves at once with the answers before it, and closes the connection. uWebSockets.js buffers an
 * answer until it has parsed all bytes that came with the request. It closes the connection with an unfinished answer
 * if another request follows. An answer larger than its buffer leaves at once, and the connection closes before later
 * bytes are parsed. The spaces at the end make the answer larger than the buffer.
 */
export function atOnce(reply: Reply<string>): Reply<string> {
  return { ...reply, body: reply.body.padEnd(REFUSAL_FLUSH_BYTES), close: true }
}

/**
 * Adds the check of each request's head to all later routes, upgrades included.
 * @param onAmbiguous  called for each refused request. It may only read the address or close the connection
 */
export function refuseAmbiguousRequests(
  app: TemplatedApp,
  unsent: UnsentReplies,
  onAmbiguous: (res: HttpResponse, req: HttpRequest) => 'closed' | void,
): void {
  aroundRequests(app, (res, req, handle) => {
    const fault = headFault(req)
    if (fault === null) handle()
    else if (onAmbiguous(res, req) !== 'closed') refuseAmbiguous(new Exchange(res, req, unsent), fault)
  })
}

/** Calls `around` instead of the handlers of all later routes, upgrades included. */
export function aroundRequests(
  app: TemplatedApp,
  around: (res: HttpResponse, req: HttpRequest, handle: () => void) => void,
): void {
  for (const method of ['get', 'head', 'post', 'any'] as const) {
    const add = app[method].bind(app)
    app[method] = (pattern, handler) => add(pattern, (res, req) => around(res, req, () => void handler(res, req)))
  }
  const addSockets = app.ws.bind(app)
  app.ws = (pattern, behavior) =>
    addSockets(pattern, {
      ...behavior,
      upgrade: (res, req, context) => around(res, req, () => void behavior.upgrade?.(res, req, context)),
    })
}

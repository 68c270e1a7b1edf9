import { SIGNATURE_HEADER } from '../../sautikit/signature.js'
import type { StoredFile } from '../../telemetry/archive/stored-file.js'
import { BodySender, PIECE_BYTES, bytesBody, openBody, rangeOf } from './reply-writer.js'
import type { Body, UnsentReplies } from './reply-writer.js'
import type { HttpRequest, HttpResponse, TemplatedApp } from './uws.js'
import { STATUS_LINES, errorReply } from './reply.js'
import type { Reply } from './reply.js'

/** A request's body must be here after this; the carrier waits 10 s for its answer at most. */
const BODY_DEADLINE_MS = 5000
/**
 * Bodies that may be on their way at once, 16 KiB each at most; one more replaces the unproven body that has waited
 * longest.
 */
export const BODIES_PENDING_MAX = 2000
/** Share of one address in these, for bodies that nothing has proven yet. */
export const BODIES_PER_ADDRESS_MAX = 500
/**
 * An answer of this size does not fit into uWebSockets.js's buffer of 16 KiB (`CORK_BUFFER_SIZE`) and leaves at once.
 */
const REFUSAL_FLUSH_BYTES = 16 * 1024

const STANDARD_HEADERS: Reply['headers'] = [
  ['Cache-Control', 'no-store'],
  ['X-Content-Type-Options', 'nosniff'],
]

/** One request, which is answered once unless its sender disconnects first. */
export class Exchange {
  readonly #res: HttpResponse
  readonly #unsent: UnsentReplies
  readonly #isHead: boolean
  /** Empty: none. */
  readonly #range: string
  /** Answered or aborted. */
  #over = false
  /** The connection is gone: uWebSockets.js allows no use of the response after that. */
  #gone = false
  /** Sender of the present answer. */
  #sender: BodySender | EventStream | null = null
  #whenOver: (() => void) | null = null

  constructor(res: HttpResponse, req: HttpRequest, unsent: UnsentReplies) {
    this.#res = res
    this.#unsent = unsent
    this.#isHead = req.getMethod() === 'head'
    // A part of what? No validator is ever sent, so what If-Range has is of another file.
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

  /** @returns false when the exchange is over already */
  reply(reply: Reply): boolean {
    if (this.#over) return false
    this.#end()
    const { body } = reply
    if (typeof body === 'string' || body instanceof Uint8Array) this.#write({ ...reply, body })
    else if (this.#isHead) this.#sendAndClose(reply, null, body.bytes)
    else void this.#sendFile(reply, body)
    return true
  }

  /** Closes the connection without an answer; what came behind the request is not read. */
  cut(): void {
    if (!this.#over) this.#res.close()
  }

  /** Begins an answer of server-sent events, which stays open; null when the exchange is over already. */
  stream(): EventStream | null {
    if (this.#over) return null
    const res = this.#res
    res.cork(() => {
      res.writeStatus(STATUS_LINES[200])
      res.writeHeader('Content-Type', 'text/event-stream')
      for (const [name, value] of STANDARD_HEADERS) res.writeHeader(name, value)
      // A proxy that buffers would hold the events back.
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
    // Only the carrier and operators, who have proven who they are, get an answer without a body on a connection that
    // stays: nothing tells whether its reader has taken it.
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
      if (!this.#gone) this.#write(errorReply(500, 'INTERNAL', 'the gateway failed to answer; it has logged why'))
    }
  }

  /**
   * Sends an answer, and closes the connection once the kernel took it; nothing that follows on it is answered.
   *
   * `end(…, true)` would give the response up, read on while the other side takes nothing, and answer later requests.
   * So the whole answer is written as its status line, which uWebSockets.js sends as it is, and the response stays
   * unfinished until the connection is closed.
   * @param body  null: it is not sent
   * @param bytes  its length
   */
  #sendAndClose(reply: Reply, body: string | null, bytes = byteLength(body ?? '') + 2): void {
    const text = [
      STATUS_LINES[reply.status],
      `Date: ${new Date().toUTCString()}`,
      ...(reply.contentType === null ? [] : [`Content-Type: ${reply.contentType}`]),
      ...[...reply.headers, ...STANDARD_HEADERS].map(([name, value]) => `${name}: ${value}`),
      'Connection: close',
      ...(reply.status === 204 ? [] : [`Content-Length: ${bytes}`]),
      // The line break behind a status line ends the head, or else is the body's last.
      ...(body === null ? [''] : ['', body]),
    ].join('\r\n')
    this.#res.cork(() => void this.#res.writeStatus(text))
    // A long answer has left uWebSockets.js's buffer by now; a short one leaves it when everything is parsed that came
    // with the request.
    if (text.length >= REFUSAL_FLUSH_BYTES) this.#res.close()
    else
      setImmediate(() => {
        if (!this.#gone) this.#res.close()
      })
  }
}

/** An open answer of server-sent events. */
export class EventStream {
  /** The other side takes nothing. */
  stalled = false
  /** Called when the other side takes events again after a stall, in which some may not have been sent. */
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

  /** Sends one event of JSON; nothing while the other side takes nothing. */
  send(event: string, json: string): void {
    this.#write(`event: ${event}\ndata: ${json}\n\n`)
  }

  /** A comment, so that each side notices when the other is gone. */
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

  /** The other side has taken something. What uWebSockets.js still holds goes out with the next write only. */
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

/** Why a body was not read. `evicted`: another body needed its place. `busy`: no place, and none to evict. */
export type BodyFault = 'too-large' | 'too-slow' | 'busy' | 'evicted'

interface BodyReading {
  readonly res: HttpResponse
  readonly exchange: Exchange
  /** Value of the request's header; empty when absent. */
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

function refuseAmbiguous(exchange: Exchange, fault: string): void {
  exchange.reply(atOnce(errorReply(400, 'BAD_REQUEST', `${fault}; the connection is closed`, { close: true })))
}

/**
 * An answer that leaves at once with those before it, and closes the connection.
 *
 * uWebSockets.js buffers an answer until it has parsed everything that came with the request, and closes the connection
 * over an unfinished answer when another request comes behind it. An answer larger than its buffer leaves at once, and
 * the connection closes before anything behind it is parsed. Hence the spaces at the end.
 */
export function atOnce(reply: Reply<string>): Reply<string> {
  return { ...reply, body: reply.body.padEnd(REFUSAL_FLUSH_BYTES), close: true }
}

/**
 * Puts the check of each request's head before all routes that are added from here on, upgrades included.
 * @param onAmbiguous  called for each refused request; its response may be used for its address only, or to close the
 *   connection unanswered
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

/** Calls `around` instead of the handlers of all routes that are added from here on, upgrades included. */
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

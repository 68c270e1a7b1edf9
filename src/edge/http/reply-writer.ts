import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { Clock } from '../../core/clock.js'
import type { Log } from '../../telemetry/log.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { HttpResponse } from './uws.js'

/** Time in ms after which a reader that does not read is cut off. */
export const OPS_STREAM_STALLED_MS = 15_000

/**
 * Size in bytes of the pieces in which a longer body is sent, one in each turn of the event loop. In between, live
 * calls get their ticks. If a pipelined request comes in between, the answer is still unfinished.
 */
export const PIECE_BYTES = 64 * 1024
/**
 * Maximum total size in bytes of all answers that wait for their readers. A metrics page has 100 KB, the console's
 * script 300 KB.
 */
const UNSENT_BYTES_MAX = 32 * 1024 * 1024
/** Maximum number of answers that wait for their readers; each also fills the kernel's buffer of its connection. */
const UNSENT_MAX = 256
/**
 * Maximum number of files that are sent at the same time. Each file needs a descriptor, and files are read one at a
 * time.
 */
const FILES_MAX = 16

/** Bytes `from` to `to` of a file, both included. */
interface ByteRange {
  readonly from: number
  readonly to: number
}

/**
 * Reason why an answer was not sent completely. `left`: its reader closed the connection, or sent another request
 * before reading the answer.
 */
type Cut = 'stalled' | 'crowded' | 'left' | 'busy' | 'disk'

/** Answer with an unsent part, which waits for the reader. */
interface Waiting {
  /** Closes the answer's connection. */
  cut(): void
}

/**
 * All unsent answers of both ports, at most one for each connection. uWebSockets.js closes the connection if a request
 * comes while an answer is unfinished. If too many answers or bytes wait, the answer without progress for the longest
 * time is cut off.
 */
export class UnsentReplies {
  readonly cuts: Record<Cut, number> = { stalled: 0, crowded: 0, left: 0, busy: 0, disk: 0 }
  bytes = 0
  readonly #options: { readonly clock: Clock; readonly log: Log }
  /** Waiting answers by their last progress, the oldest first. */
  readonly #waiting = new Map<Waiting, { readonly bytes: number; readonly sinceMs: number }>()
  #files = 0
  #reads: Promise<unknown> = Promise.resolve()

  constructor(options: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics }) {
    this.#options = options
    const { metrics } = options
    metrics.countEach('replies_cut', 'Answers of both ports that were not sent in full, by reason', 'why', this.cuts)
    options.metrics
      .defineGauge('replies_unsent_bytes', 'Bytes of answers that clients have not read yet')
      .from(() => this.bytes)
  }

  /**
   * Notes that the reader takes no more bytes for now.
   * @param bytes  number of bytes that are left
   */
  waits(reply: Waiting, bytes: number): void {
    this.done(reply)
    this.#waiting.set(reply, { bytes, sinceMs: this.#options.clock() })
    this.bytes += bytes
    while (this.#waiting.size > UNSENT_MAX || (this.bytes > UNSENT_BYTES_MAX && this.#waiting.size > 1))
      this.#cutOldest('crowded')
  }

  done(reply: Waiting): void {
    this.bytes -= this.#waiting.get(reply)?.bytes ?? 0
    this.#waiting.delete(reply)
  }

  /** Notes that the connection of an unfinished answer was closed. */
  left(reply: Waiting): void {
    this.done(reply)
    this.cuts.left++
  }

  /** Cuts off readers that have not read for OPS_STREAM_STALLED_MS; called by the edge's one timer. */
  sweep(nowMs: number): void {
    for (const { sinceMs } of this.#waiting.values()) {
      if (nowMs - sinceMs <= OPS_STREAM_STALLED_MS) return
      this.#cutOldest('stalled')
    }
  }

  /**
   * @returns null if too many files are being sent
   * @throws the error of the file system
   */
  async openFile(path: string): Promise<FileHandle | null> {
    if (this.#files >= FILES_MAX) {
      this.cuts.busy++
      return null
    }
    this.#files++
    try {
      return await open(path)
    } catch (thrown) {
      this.#files--
      throw thrown
    }
  }

  closeFile(handle: FileHandle): void {
    handle
      .close()
      .catch((thrown: unknown) => this.#options.log.error({ err: thrown }, 'a file that was sent could not be closed'))
      .finally(() => {
        this.#files--
      })
  }

  /**
   * Fills `piece` with the bytes from `at`. Reads are done one at a time. So a hanging disk blocks only one thread of
   * Node's pool, and the other threads can still look up names.
   */
  read(handle: FileHandle, piece: Uint8Array, at: number): Promise<void> {
    const reading = this.#reads.then(async () => {
      for (let filled = 0; filled < piece.length;) {
        const { bytesRead } = await handle.read(piece, filled, piece.length - filled, at + filled)
        if (bytesRead === 0) throw new Error('the file has become shorter')
        filled += bytesRead
      }
    })
    this.#reads = reading.catch(() => undefined)
    return reading
  }

  /** Notes that the disk failed during an answer. */
  broke(error: unknown): void {
    this.cuts.disk++
    this.#options.log.error({ err: error }, 'a file could not be read while it was sent')
  }

  #cutOldest(why: 'stalled' | 'crowded'): void {
    const [oldest] = this.#waiting.keys()
    if (oldest === undefined) return
    this.cuts[why]++
    this.done(oldest)
    oldest.cut()
  }
}

/** The body of an answer, in pieces. */
export interface Body {
  readonly bytes: number
  /** Returns the piece at `at`; its memory is valid until the next piece is requested. */
  piece(at: number): Uint8Array | Promise<Uint8Array>
  close(): void
}

export function bytesBody(body: Uint8Array): Body {
  return { bytes: body.length, piece: (at) => body.subarray(at, at + PIECE_BYTES), close: () => undefined }
}

/**
 * Opens a part of a file; null if too many files are being sent.
 * @throws the error of the file system
 */
export async function openBody(unsent: UnsentReplies, path: string, { from, to }: ByteRange): Promise<Body | null> {
  const handle = await unsent.openFile(path)
  if (handle === null) return null
  const bytes = to - from + 1
  const memory = Buffer.allocUnsafe(Math.min(PIECE_BYTES, bytes))
  return {
    bytes,
    piece: async (at) => {
      const piece = memory.subarray(0, Math.min(memory.length, bytes - at))
      await unsent.read(handle, piece, from + at)
      return piece
    },
    close: () => unsent.closeFile(handle),
  }
}

/**
 * Sends the body of one answer as fast as its reader takes it, and holds one piece besides the kernel's buffer. Until
 * the last piece the response stays unfinished.
 */
export class BodySender {
  readonly #res: HttpResponse
  readonly #unsent: UnsentReplies
  readonly #body: Body
  #piece: Uint8Array
  /** Offset of the piece in the body. */
  #at = 0
  #over = false

  /** @param first  the first piece */
  constructor(res: HttpResponse, unsent: UnsentReplies, body: Body, first: Uint8Array) {
    this.#res = res
    this.#unsent = unsent
    this.#body = body
    this.#piece = first
  }

  /** Sends the first piece; call it within a cork that has written the head. */
  begin(): void {
    if (!this.#try() && !this.#over) this.#res.onWritable(() => this.#writable())
  }

  /** Notes that the connection was closed. */
  left(): void {
    if (this.#over) return
    this.#unsent.left(this)
    this.#end()
  }

  cut(): void {
    this.#end()
    this.#res.close()
  }

  #end(): void {
    this.#over = true
    this.#body.close()
  }

  /** @returns true if the reader took the whole body */
  #try(): boolean {
    const rest = this.#piece.subarray(this.#res.getWriteOffset() - this.#at)
    const [taken, finished] = this.#res.tryEnd(rest, this.#body.bytes)
    if (finished) {
      this.#unsent.done(this)
      this.#end()
    } else if (!taken) {
      this.#unsent.waits(this, this.#at + this.#piece.length - this.#res.getWriteOffset())
    } else {
      this.#unsent.done(this)
      this.#at += this.#piece.length
      this.#piece = NOTHING
      setImmediate(() => void this.#next())
    }
    return taken
  }

  #writable(): boolean {
    let taken = true
    if (!this.#over && this.#piece.length > 0)
      this.#res.cork(() => {
        taken = this.#try()
      })
    return taken
  }

  async #next(): Promise<void> {
    if (this.#over) return
    try {
      const piece = this.#body.piece(this.#at)
      this.#piece = piece instanceof Promise ? await piece : piece
    } catch (error) {
      if (this.#over) return
      this.#unsent.broke(error)
      this.cut()
      return
    }
    if (this.#over) return
    this.#res.cork(() => {
      if (!this.#try() && !this.#over) this.#res.onWritable(() => this.#writable())
    })
  }
}

/** Placeholder between two pieces. */
const NOTHING = new Uint8Array(0)

/**
 * Part of a file that a `Range` header requests; null for the whole file. The whole file is also sent if the header is
 * unreadable or requests several parts; RFC 9110 allows this.
 */
export function rangeOf(header: string, bytes: number): ByteRange | 'unsatisfiable' | null {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim()) ?? []
  if (first === '' && last === '') return null
  if (first === '')
    return last === '0' || bytes === 0 ? 'unsatisfiable' : { from: Math.max(0, bytes - Number(last)), to: bytes - 1 }
  const from = Number(first)
  const to = last === '' ? bytes - 1 : Math.min(Number(last), bytes - 1)
  if (last !== '' && Number(last) < from) return null
  return from >= bytes ? 'unsatisfiable' : { from, to }
}

import type { CallEvent, CallsEvent, FleetRow, NodeHead } from '../../call/documents/call-view.js'
import type { Clock } from '../../core/clock.js'
import { isCallSid } from '../../core/ids.js'
import type { CallSid } from '../../core/ids.js'
import type { Log } from '../../telemetry/log.js'
import type { CounterOf } from '../../telemetry/metric-families.js'
import type { Metrics } from '../../telemetry/metrics.js'
import { errorReply } from '../http/reply.js'
import type { EventStream, Exchange } from '../http/http-exchange.js'
import type { FleetApi, WatchedCall } from './ops-fleet.js'
import type { StreamHolder } from './ops-guard.js'

/** Maximum number of streams of server-sent events, for all pages together. Each browser tab has one or two. */
const OPS_STREAMS_MAX = 64
/** Maximum number of streams of all sessions that only read. The remaining places are kept for people who may act. */
const OPS_STREAMS_OF_READERS_MAX = 48
/**
 * Maximum number of streams of one address: of its sessions that only read, and of people who may act. A person may log
 * in several times. The two numbers are separate, because a proxy gives readers and people who act the same address.
 */
const OPS_STREAMS_OF_ADDRESS_MAX = { reads: 32, acts: 48 }
/**
 * Maximum number of streams of one session, or of one address without a session. A browser opens six connections to one
 * origin.
 */
export const OPS_STREAMS_OF_ONE_MAX = 16
/**
 * Time in ms between two comparisons with the state that watchers have. The first constant is for the list of live
 * calls, the second for one watched call.
 */
const OPS_LIVE_LIST_MS = 1000
const OPS_LIVE_CALL_MS = 250
/** Time in ms between two requests to another node for its call. */
const OPS_LIVE_CALL_ELSEWHERE_MS = 1000
/** Time in ms without an event after which a comment is sent, so that a lost connection is noticed. */
const OPS_STREAM_BEAT_MS = 5000

/** Watchers that reached each limit, for the answer. */
const FULL = {
  share: `${OPS_STREAMS_OF_ONE_MAX} pages of this session`,
  address: 'too many pages of this address',
  readers: `${OPS_STREAMS_OF_READERS_MAX} pages of sessions that only read`,
  all: `${OPS_STREAMS_MAX} pages`,
}

interface LiveFeedsOptions {
  readonly fleet: FleetApi
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly node: () => NodeHead
  /** Replaces OPS_LIVE_LIST_MS and OPS_LIVE_CALL_MS. */
  readonly everyMs: number | undefined
}

/**
 * Server-sent events for the console. `GET /api/live`: the live calls of all nodes, first all calls, then the changes.
 * `GET /api/calls/{sid}/live`: one call, first the whole call, then each part that changes.
 *
 * Events are not queued for a watcher. A watcher whose connection is full misses events, and then gets the whole state
 * again. A timer checks the calls only while there are watchers. So watching a call adds no work to the call itself.
 */
export class LiveFeeds {
  readonly #options: LiveFeedsOptions
  readonly #list: ListFeed
  readonly #calls = new Map<CallSid, CallFeed>()
  /** Holders of the open streams, one entry for each stream; at most OPS_STREAMS_MAX. */
  readonly #held = new Set<{ readonly holder: StreamHolder }>()
  readonly #refused: CounterOf<'full'>
  #timer: NodeJS.Timeout | null = null

  constructor(options: LiveFeedsOptions) {
    this.#options = options
    this.#list = new ListFeed(options)
    this.#refused = options.metrics.defineCounter(
      'ops_streams_refused',
      'Event streams of the console that were refused, by the limit that was reached',
      ['full'],
    )
    for (const full of Object.keys(FULL)) this.#refused({ full })
  }

  watchList(exchange: Exchange, holder: StreamHolder): void {
    this.#watch(exchange, this.#list, holder)
  }

  watchCall(exchange: Exchange, sid: string | undefined, holder: StreamHolder): void {
    if (!isCallSid(sid)) {
      exchange.reply(errorReply(404, 'CALL_UNKNOWN', 'no node has a call of that SID, live or lately ended'))
      return
    }
    const feed = this.#calls.get(sid) ?? new CallFeed(this.#options, sid)
    if (this.#watch(exchange, feed, holder)) this.#calls.set(sid, feed)
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
    for (const feed of [this.#list, ...this.#calls.values()]) feed.cutAll()
  }

  #watch(exchange: Exchange, feed: Feed, holder: StreamHolder): boolean {
    const full = this.#limitFor(holder)
    if (full !== null) {
      this.#refused({ full }).inc()
      const headers: [string, string][] = [['Retry-After', '5']]
      exchange.reply(errorReply(503, 'BUSY', `${FULL[full]} watch already; close one`, { headers }))
      return false
    }
    const stream = exchange.stream()
    if (stream === null) return false
    const held = { holder }
    this.#held.add(held)
    feed.add(stream)
    exchange.onOver(() => {
      feed.remove(stream)
      this.#held.delete(held)
    })
    this.#timer ??= setInterval(() => this.#tick(), this.#options.everyMs ?? OPS_LIVE_CALL_MS).unref()
    return true
  }

  /** Returns the limit that another stream of this holder would exceed; null if the holder may open one. */
  #limitFor({ name, address, acts }: StreamHolder): keyof typeof FULL | null {
    const all = [...this.#held].map(({ holder }) => holder)
    const peers = all.filter((holder) => holder.acts === acts)
    const ofAddress = peers.filter((holder) => holder.address === address)
    if (all.filter((holder) => holder.name === name).length >= OPS_STREAMS_OF_ONE_MAX) return 'share'
    if (ofAddress.length >= OPS_STREAMS_OF_ADDRESS_MAX[acts ? 'acts' : 'reads']) return 'address'
    if (!acts && peers.length >= OPS_STREAMS_OF_READERS_MAX) return 'readers'
    return all.length >= OPS_STREAMS_MAX ? 'all' : null
  }

  #tick(): void {
    const nowMs = this.#options.clock()
    this.#list.tick(nowMs)
    for (const [sid, feed] of this.#calls) {
      if (feed.size === 0) this.#calls.delete(sid)
      else feed.tick(nowMs)
    }
    if (this.#list.size > 0 || this.#calls.size > 0 || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }
}

/** A list or a call, with its watchers. */
abstract class Feed {
  protected readonly options: LiveFeedsOptions
  /** Watchers that need the whole state; all other watchers need only the changes. */
  readonly #whole = new Set<EventStream>()
  readonly #watchers = new Set<EventStream>()
  #sentAtMs = 0
  #lookedAtMs = -Infinity
  #looking = false

  constructor(options: LiveFeedsOptions) {
    this.options = options
  }

  get size(): number {
    return this.#watchers.size
  }

  add(stream: EventStream): void {
    this.#watchers.add(stream)
    this.#whole.add(stream)
    stream.onDrained = () => this.#whole.add(stream)
    this.#lookedAtMs = -Infinity
  }

  remove(stream: EventStream): void {
    this.#watchers.delete(stream)
    this.#whole.delete(stream)
  }

  cutAll(): void {
    for (const stream of [...this.#watchers]) stream.cut()
  }

  tick(nowMs: number): void {
    if (nowMs - this.#sentAtMs >= OPS_STREAM_BEAT_MS) {
      this.#sentAtMs = nowMs
      for (const stream of this.#watchers) stream.beat()
    }
    if (this.size === 0 || this.#looking || nowMs - this.#lookedAtMs < this.periodMs) return
    this.#lookedAtMs = nowMs
    this.#looking = true
    this.look()
      .catch((thrown: unknown) => {
        this.options.log.error({ err: thrown }, 'the live calls could not be read for the console')
      })
      .finally(() => {
        this.#looking = false
      })
  }

  /**
   * Sends the whole state to watchers that need it, and `changes` to all other watchers. `changes` is null if nothing
   * has changed.
   */
  protected publish(event: string, changes: string | null, whole: () => string): void {
    let text: string | null = null
    for (const stream of [...this.#watchers]) {
      if (stream.stalled) continue
      if (this.#whole.delete(stream)) stream.send(event, (text ??= whole()))
      else if (changes !== null) stream.send(event, changes)
    }
    if (changes !== null) this.#sentAtMs = this.options.clock()
  }

  protected endAll(event: string): void {
    for (const stream of [...this.#watchers]) {
      stream.send(event, 'null')
      stream.end()
    }
  }

  protected abstract get periodMs(): number
  protected abstract look(): Promise<void>
}

class ListFeed extends Feed {
  #rows = new Map<string, { readonly row: FleetRow; readonly key: string }>()
  #head = ''

  protected get periodMs(): number {
    return this.options.everyMs ?? OPS_LIVE_LIST_MS
  }

  protected async look(): Promise<void> {
    const { rows, silent } = await this.options.fleet.liveRows()
    const before = this.#rows
    const changed: FleetRow[] = []
    this.#rows = new Map()
    for (const row of rows) {
      // The row's duration is not compared, because the page itself counts the seconds of a call.
      const key = JSON.stringify({ ...row, durationMs: row.durationMs > 0 })
      this.#rows.set(row.callSid, { row, key })
      if (before.get(row.callSid)?.key !== key) changed.push(row)
    }
    const gone = [...before.keys()].filter((sid) => !this.#rows.has(sid))
    const state = { node: this.options.node(), silent }
    const head = JSON.stringify(state)
    const news = changed.length > 0 || gone.length > 0 || head !== this.#head
    this.#head = head
    const json = (event: CallsEvent): string => JSON.stringify(event)
    this.publish('calls', news ? json({ rows: changed, gone, ...state }) : null, () =>
      json({ whole: true, rows, gone: [], ...state }),
    )
  }
}

class CallFeed extends Feed {
  readonly #sid: CallSid
  /** JSON that was last sent for each part, by the part's name. */
  #parts = new Map<string, string>()
  #elsewhere = false

  constructor(options: LiveFeedsOptions, sid: CallSid) {
    super(options)
    this.#sid = sid
  }

  protected get periodMs(): number {
    return this.#elsewhere ? OPS_LIVE_CALL_ELSEWHERE_MS : (this.options.everyMs ?? OPS_LIVE_CALL_MS)
  }

  protected async look(): Promise<void> {
    const found = await this.options.fleet.watched(this.#sid)
    if (found === null) {
      this.endAll('unknown')
      return
    }
    this.#elsewhere = found.elsewhere
    const before = this.#parts
    this.#parts = new Map(Object.entries(partsOf(found)).map(([name, value]) => [name, JSON.stringify(value)]))
    const changed = [...this.#parts].filter(([name, json]) => before.get(name) !== json)
    this.publish('call', changed.length === 0 ? null : joined(changed), () =>
      joined([...this.#parts, ['durationMs', String(found.call.durationMs)]]),
    )
    if (!found.timeline.live) this.endAll('over')
  }
}

function joined(parts: readonly (readonly [string, string])[]): string {
  return `{${parts.map(([name, json]) => `"${name}":${json}`).join(',')}}`
}

/** Parts of a live call that change. The duration is left out: the page itself counts the seconds. */
function partsOf({ call, timeline }: WatchedCall): CallEvent {
  const { transcript, toolCalls, durationMs: _, ...head } = call
  const { turns, bargeIns, stages, timeline: marks, timelineDropped, streamOpenedMs, live } = timeline
  return {
    head: 'version' in head ? null : head,
    live,
    streamOpenedMs,
    transcript,
    toolCalls,
    turns,
    bargeIns,
    stages,
    marks,
    timelineDropped,
  }
}

import { setImmediate as immediate } from 'node:timers/promises'
import type { Clock } from '../core/clock.js'

/**
 * Maximum number of calls that have their own series on /metrics/calls. Each of these calls needs 1.4 KB in Prometheus
 * while it is stored.
 */
const CALL_SERIES_MAX = 2000
/** Time in ms for which a call's series stay after the call's end. It is enough for two scrapes. */
const CALL_SERIES_LINGER_MS = 60_000
/** Number of calls that a scrape writes in one piece. */
const SCRAPE_SLICE_CALLS = 500

const PREFIX = 'mkondo_'
/** Number of calls that are tracked for each call that may be shown. The slowest of the tracked calls are shown. */
const TRACKED_PER_SHOWN = 8

/** Values of one call's own series. They are plain fields that the call's code updates; NaN while unknown. */
export class CallNumbers {
  readonly callSid: string
  readonly agent: string
  /** Backend label. After a failover the series continue with the new backend's label. */
  backend: string
  /** Time in ms from the end of the caller's speech to the first agent sound sent, in the last turn. */
  turnResponseLastMs = NaN
  /** Time in ms that the gateway adds to a frame, 99th percentile. */
  frameLatencyP99Ms = NaN
  /** Time in ms from the first voiced sample to the last agent sample sent, in the last committed barge-in. */
  bargeInStopLastMs = NaN
  /** End of the call on the gateway's clock; null while the call is live. */
  endedAtMs: number | null = null
  /** Formatted labels, and the backend for which they were formatted (`#labelsOf`). */
  #labels = ''
  #labelsOf: string | null = null

  constructor(callSid: string, agent: string, backend: string) {
    this.callSid = callSid
    this.agent = agent
    this.backend = backend
  }

  /** Formatted once for each backend, because a page contains them three times. */
  get labels(): string {
    if (this.#labelsOf !== this.backend) {
      this.#labelsOf = this.backend
      this.#labels =
        `{call_sid="${escapeLabel(this.callSid)}",agent="${escapeLabel(this.agent)}",` +
        `backend="${escapeLabel(this.backend)}"} `
    }
    return this.#labels
  }
}

interface CallSeriesOptions {
  readonly clock: Clock
  /** Maximum number of calls on the page. The slowest calls are shown; with 0, no call is shown. */
  readonly callsMax?: number
}

interface SeriesKind {
  readonly name: string
  readonly help: string
  readonly read: (numbers: CallNumbers) => number
}

const KINDS: readonly SeriesKind[] = [
  {
    name: `${PREFIX}call_turn_response_last_seconds`,
    help: 'Last turn of a live call: caller stopped to first agent sound sent',
    read: (numbers) => numbers.turnResponseLastMs,
  },
  {
    name: `${PREFIX}call_frame_latency_p99_seconds`,
    help: '99th percentile of the time added to a frame of a live call',
    read: (numbers) => numbers.frameLatencyP99Ms,
  },
  {
    name: `${PREFIX}call_barge_in_stop_last_seconds`,
    help: 'Last committed barge-in of a live call: caller spoke to agent silent',
    read: (numbers) => numbers.bargeInStopLastMs,
  },
]

/**
 * Page of `GET /metrics/calls`: three gauges per live call. This class writes the page itself, in slices. It needs
 * about 0.6 ms for 1,000 calls and 10 ms for 5,000 (bench/scrape.ts). prom-client would need 26-45 ms in one piece for
 * 5,000 calls, and frames of 20 ms would be late.
 */
export class CallSeries {
  readonly contentType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
  /** Number of calls that the last page left out because of the maximum. */
  dropped = 0
  readonly #calls = new Map<string, CallNumbers>()
  readonly #clock: Clock
  readonly #callsMax: number

  constructor(options: CallSeriesOptions) {
    this.#clock = options.clock
    this.#callsMax = options.callsMax ?? CALL_SERIES_MAX
  }

  /** Number of tracked calls: live calls and recently ended calls. */
  get size(): number {
    return this.#calls.size
  }

  /** Starts the series of a call. The calling code updates the returned numbers, and ends the series with `end`. */
  open(callSid: string, agent: string, backend: string): CallNumbers {
    const numbers = new CallNumbers(callSid, agent, backend)
    if (this.#calls.size >= this.#callsMax * TRACKED_PER_SHOWN) this.#sweep()
    if (this.#calls.size < this.#callsMax * TRACKED_PER_SHOWN) this.#calls.set(callSid, numbers)
    return numbers
  }

  /** Ends a call's series. They stay on the page for the next scrapes. */
  end(numbers: CallNumbers): void {
    numbers.endedAtMs ??= this.#clock()
  }

  /** The page, in OpenMetrics text. */
  render(): string {
    return [...this.#slices()].join('')
  }

  /** The page, written in slices of a few hundred calls. The event loop runs between two slices. */
  async renderInSlices(): Promise<string> {
    const slices: string[] = []
    for (const slice of this.#slices()) {
      slices.push(slice)
      await immediate()
    }
    return slices.join('')
  }

  *#slices(): Generator<string> {
    this.#sweep()
    const shown = this.#shown()
    this.dropped = this.#calls.size - shown.length
    for (const kind of KINDS) {
      yield `# HELP ${kind.name} ${kind.help}\n# TYPE ${kind.name} gauge\n# UNIT ${kind.name} seconds\n`
      for (let from = 0; from < shown.length; from += SCRAPE_SLICE_CALLS) {
        yield linesOf(kind, shown.slice(from, from + SCRAPE_SLICE_CALLS))
      }
    }
    yield '# EOF\n'
  }

  /** All calls, or the slowest if there are more than the maximum. */
  #shown(): CallNumbers[] {
    const all = [...this.#calls.values()]
    if (all.length <= this.#callsMax) return all
    return all.sort((a, b) => slowness(b) - slowness(a)).slice(0, this.#callsMax)
  }

  #sweep(): void {
    const goneBeforeMs = this.#clock() - CALL_SERIES_LINGER_MS
    for (const [callSid, numbers] of this.#calls) {
      if (numbers.endedAtMs !== null && numbers.endedAtMs <= goneBeforeMs) this.#calls.delete(callSid)
    }
  }
}

function linesOf(kind: SeriesKind, calls: readonly CallNumbers[]): string {
  let lines = ''
  for (const call of calls) {
    const ms = kind.read(call)
    if (Number.isFinite(ms)) lines += `${kind.name}${call.labels}${Math.round(ms * 1000) / 1e6}\n`
  }
  return lines
}

/** Sort key: calls with the slowest turns come first, calls without a turn last. */
function slowness(numbers: CallNumbers): number {
  return Number.isFinite(numbers.turnResponseLastMs) ? numbers.turnResponseLastMs : -1
}

/** Escapes a label value for the text format. */
export function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
}

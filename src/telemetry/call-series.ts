import { setImmediate as immediate } from 'node:timers/promises'
import type { Clock } from '../core/clock.js'

/** Calls with series of their own on /metrics/calls; each costs Prometheus 1.4 KB for as long as it keeps it. */
const CALL_SERIES_MAX = 2000
/** How long a call's series stay after its end: two scrapes. */
const CALL_SERIES_LINGER_MS = 60_000
/** Calls that a scrape writes in one piece. */
const SCRAPE_SLICE_CALLS = 500

const PREFIX = 'mkondo_'
/** Calls tracked per call shown, so that the slowest can be chosen. */
const TRACKED_PER_SHOWN = 8

/** The numbers of one call that have series of their own. Plain fields, written when they change; NaN while unknown. */
export class CallNumbers {
  readonly callSid: string
  readonly agent: string
  /** Changes with a failover; the series then go on under the new label. */
  backend: string
  /** Caller stopped → first agent sound sent, of the last turn. */
  turnResponseLastMs = NaN
  /** 99th percentile of the time that the gateway adds to a frame. */
  frameLatencyP99Ms = NaN
  /** First voiced sample → last agent sample sent, of the last committed barge-in. */
  bargeInStopLastMs = NaN
  /** On the gateway's clock; null while the call lives. */
  endedAtMs: number | null = null
  /** Formatted labels; `#labelsOf` is the backend in them. */
  #labels = ''
  #labelsOf: string | null = null

  constructor(callSid: string, agent: string, backend: string) {
    this.callSid = callSid
    this.agent = agent
    this.backend = backend
  }

  /** Formatted once per backend, because a page has them three times. */
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
  /** Calls shown at most, the slowest first; 0 shows none. */
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
 * The page of `GET /metrics/calls`: three gauges a live call. Written by hand because prom-client takes 26-45 ms for
 * 5,000 calls, in one block, which delays 20 ms frames; this takes about 0.6 ms for 1,000 and 10 ms for 5,000 calls
 * (bench/scrape.ts), in slices.
 */
export class CallSeries {
  readonly contentType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
  /** Calls that were left out of the last page by the cap. */
  dropped = 0
  readonly #calls = new Map<string, CallNumbers>()
  readonly #clock: Clock
  readonly #callsMax: number

  constructor(options: CallSeriesOptions) {
    this.#clock = options.clock
    this.#callsMax = options.callsMax ?? CALL_SERIES_MAX
  }

  /** Tracked calls, live and recently ended. */
  get size(): number {
    return this.#calls.size
  }

  /** Begins the series of a call. The caller keeps the numbers up to date and ends them with `end`. */
  open(callSid: string, agent: string, backend: string): CallNumbers {
    const numbers = new CallNumbers(callSid, agent, backend)
    if (this.#calls.size >= this.#callsMax * TRACKED_PER_SHOWN) this.#sweep()
    if (this.#calls.size < this.#callsMax * TRACKED_PER_SHOWN) this.#calls.set(callSid, numbers)
    return numbers
  }

  /** The call is over; its series stay for the last scrapes. */
  end(numbers: CallNumbers): void {
    numbers.endedAtMs ??= this.#clock()
  }

  /** The page, in OpenMetrics text. */
  render(): string {
    return [...this.#slices()].join('')
  }

  /** The page, written a few hundred calls at a time; the event loop runs in between. */
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

  /** All, or the slowest when there are more than the cap. */
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

/** Sorts calls with a slow turn first, those without a turn last. */
function slowness(numbers: CallNumbers): number {
  return Number.isFinite(numbers.turnResponseLastMs) ? numbers.turnResponseLastMs : -1
}

/** A label value as the text format wants it. */
export function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
}

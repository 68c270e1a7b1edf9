import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Metric } from 'prom-client'
import { isCallSid } from '../core/ids.js'
import type { FrameHistogram, FrameHistogramReader } from './frame-histogram.js'

type Labels = Readonly<Record<string, string>>

/**
 * Returns the slowest value since this function was last called, with the value's call; null if there is no new value.
 */
export type Slowest = () => { readonly callSid: string; readonly ms: number } | null

interface Source {
  readonly reader: FrameHistogramReader
  readonly slowest: Slowest | null
}

interface Exemplar {
  readonly labelSet: Readonly<Record<string, string>>
  readonly value: number
  /** Calendar seconds. */
  readonly timestamp: number
}

interface Series {
  readonly labels: Labels
  readonly counts: Float64Array
  readonly exemplars: (Exemplar | undefined)[]
  count: number
  sumSeconds: number
  readonly sources: Set<Source>
}

interface Sample {
  readonly metricName: string
  readonly labels: Record<string, string | number>
  readonly value: number
  readonly exemplar?: Exemplar | undefined
}

/**
 * Prometheus histogram that gets its values from frame histograms, for a hundred thousand frames a second. The
 * histogram of prom-client needs 0.5 µs per value and cannot add many values at once.
 *
 * A value counts for the first bucket that contains the value's whole bucket in the frame histogram. So it may count up
 * to 6.25 % too high.
 */
export class MergedHistogram {
  readonly name: string
  readonly help: string
  readonly type = 'histogram'
  readonly aggregator = 'sum'
  readonly #boundsSeconds: readonly number[]
  readonly #series = new Map<string, Series>()
  readonly #seriesMax: number
  readonly #exemplarOf: (callSid: string) => Readonly<Record<string, string>>

  constructor(options: Omit<FamilyOptions<never>, 'labels' | 'overflow'>, boundsSeconds: readonly number[]) {
    this.name = options.name
    this.help = options.help
    this.#boundsSeconds = boundsSeconds
    this.#seriesMax = options.setsMax
    this.#exemplarOf = options.exemplarOf
    // The registry uses only the name and `get()` of a metric, but its type allows only the four classes of
    // prom-client.
    options.registry.registerMetric(this as unknown as Metric)
  }

  /**
   * Counts new values of `histogram` under `labels`. The returned function counts once more and then removes the
   * source. The counts stay, because a counter must not fall. Several sources may have equal labels.
   * @param slowest returns the call with the slowest value since this was last called, for the exemplar
   */
  addSource(labels: Labels, histogram: FrameHistogram, slowest: Slowest | null = null): () => void {
    const series = this.#seriesOf(labels)
    const source: Source = { reader: histogram.reader(), slowest }
    series.sources.add(source)
    return () => {
      if (series.sources.delete(source)) this.#take(series, source)
    }
  }

  /**
   * Adds the new values of all sources to the buckets. It must run at least once a minute, so that the sums stay
   * correct.
   */
  flush(): void {
    for (const series of this.#series.values()) {
      for (const source of series.sources) this.#take(series, source)
    }
  }

  #seriesOf(labels: Labels): Series {
    let kept = labels
    let key = JSON.stringify(labels)
    if (!this.#series.has(key) && this.#series.size >= this.#seriesMax) {
      kept = Object.fromEntries(Object.keys(labels).map((name) => [name, 'other']))
      key = JSON.stringify(kept)
    }
    let series = this.#series.get(key)
    if (series === undefined) {
      series = {
        labels: kept,
        counts: new Float64Array(this.#boundsSeconds.length + 1),
        exemplars: [],
        count: 0,
        sumSeconds: 0,
        sources: new Set(),
      }
      this.#series.set(key, series)
    }
    return series
  }

  /** First bucket that contains `us`. Values above the last bound are in one more bucket after the last bound. */
  #bucketOf(us: number): number {
    const bounds = this.#boundsSeconds
    let bucket = 0
    while (bucket < bounds.length && us > (bounds[bucket] as number) * 1e6) bucket++
    return bucket
  }

  #take(series: Series, source: Source): void {
    const addedUs = source.reader.take((topUs, count) => {
      const bucket = this.#bucketOf(topUs)
      series.counts[bucket] = (series.counts[bucket] as number) + count
      series.count += count
    })
    series.sumSeconds += addedUs / 1e6
    const slowest = source.slowest?.()
    if (slowest === undefined || slowest === null) return
    series.exemplars[this.#bucketOf(slowest.ms * 1000)] = {
      labelSet: this.#exemplarOf(slowest.callSid),
      value: slowest.ms / 1000,
      timestamp: Date.now() / 1000,
    }
  }

  /** Metrics in the form that prom-client's registry prints. */
  get(): Promise<{ name: string; help: string; type: string; aggregator: string; values: Sample[] }> {
    this.flush()
    const values: Sample[] = []
    for (const series of this.#series.values()) {
      let below = 0
      for (const [i, bound] of this.#boundsSeconds.entries()) {
        below += series.counts[i] as number
        values.push({
          metricName: `${this.name}_bucket`,
          labels: { ...series.labels, le: bound },
          value: below,
          exemplar: series.exemplars[i],
        })
      }
      values.push({
        metricName: `${this.name}_bucket`,
        labels: { ...series.labels, le: '+Inf' },
        value: series.count,
        exemplar: series.exemplars[this.#boundsSeconds.length],
      })
      values.push({ metricName: `${this.name}_sum`, labels: { ...series.labels }, value: series.sumSeconds })
      values.push({ metricName: `${this.name}_count`, labels: { ...series.labels }, value: series.count })
    }
    return Promise.resolve({ name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values })
  }

  /** Called by the registry's `resetMetrics`. */
  reset(): void {
    for (const series of this.#series.values()) {
      series.counts.fill(0)
      series.exemplars.length = 0
      series.count = 0
      series.sumSeconds = 0
    }
  }
}

export type OpenMetricsRegistry = Registry<'application/openmetrics-text; version=1.0.0; charset=utf-8'>

/** A registry that can contain exemplars, because of its content type. */
export function openMetricsRegistry(): OpenMetricsRegistry {
  const registry: OpenMetricsRegistry = new Registry()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  return registry
}

/** Counter for one set of label values. Get it once and keep it. */
export interface CounterHandle {
  /** @param callSid used for the exemplar; ignored if it is not a SID */
  inc(by?: number, callSid?: string): void
}

/** Histogram for one set of label values. Get it once and keep it. */
interface HistogramHandle {
  /** @param callSid used for the bucket's exemplar, which leads to a call that can be inspected */
  observe(seconds: number, callSid?: string): void
}

/** Returns the handle for label values: one handle for equal values. */
export type CounterOf<L extends string> = (labels: Readonly<Record<L, string>>) => CounterHandle
export type HistogramOf<L extends string> = (labels: Readonly<Record<L, string>>) => HistogramHandle

export interface FamilyOptions<L extends string> {
  readonly registry: OpenMetricsRegistry
  /** Full name, with prefix and unit. */
  readonly name: string
  readonly help: string
  readonly labels: readonly L[]
  /**
   * Maximum number of label sets. Further sets are counted under `other`. The limit is only a safeguard, because labels
   * come from settings and not from callers.
   */
  readonly setsMax: number
  /** Called each time a new label set is requested above the maximum. */
  readonly overflow: () => void
  /** Labels of the exemplar that names a call. */
  readonly exemplarOf: (callSid: string) => Record<string, string>
}

/**
 * Returns the handle for label values, and makes it at the first use. prom-client's `labels()` does not support
 * exemplars. Therefore a handle reuses its own `labels` object.
 */
function bind<L extends string, H>(
  options: FamilyOptions<L>,
  make: (labels: Record<L, string>) => H,
): (labels: Readonly<Record<L, string>>) => H {
  const handles = new Map<string, H>()
  return (labels) => {
    let kept = pick(options.labels, labels)
    let key = options.labels.map((name) => kept[name]).join('\u0000')
    let handle = handles.get(key)
    if (handle !== undefined) return handle
    if (handles.size >= options.setsMax) {
      options.overflow()
      kept = pick(options.labels, null)
      key = options.labels.map(() => 'other').join('\u0000')
      handle = handles.get(key)
      if (handle !== undefined) return handle
    }
    handle = make(kept)
    handles.set(key, handle)
    return handle
  }
}

function pick<L extends string>(names: readonly L[], labels: Readonly<Record<L, string>> | null): Record<L, string> {
  const kept = {} as Record<L, string> // complete after the next line
  for (const name of names) kept[name] = labels === null ? 'other' : labels[name]
  return kept
}

export function counterFamily<L extends string>(options: FamilyOptions<L>): CounterOf<L> {
  const counter = new Counter<string>({
    name: options.name,
    help: options.help,
    labelNames: options.labels,
    registers: [options.registry],
    enableExemplars: true,
  })
  const { exemplarOf } = options
  return bind(options, (labels) => {
    counter.inc({ labels, value: 0 }) // creates the series with the value 0, so that rate() sees its first increase
    return {
      inc: (by = 1, callSid) => {
        if (!isCallSid(callSid)) counter.inc({ labels, value: by })
        else counter.inc({ labels, value: by, exemplarLabels: exemplarOf(callSid) })
      },
    }
  })
}

export function histogramFamily<L extends string>(
  options: FamilyOptions<L>,
  boundsSeconds: readonly number[],
): HistogramOf<L> {
  const histogram = new Histogram<string>({
    name: options.name,
    help: options.help,
    labelNames: options.labels,
    buckets: [...boundsSeconds],
    registers: [options.registry],
    enableExemplars: true,
  })
  const { exemplarOf } = options
  return bind(options, (labels) => {
    histogram.zero(labels)
    return {
      observe: (seconds, callSid) => {
        if (!Number.isFinite(seconds)) return // a difference to a time that was never set
        if (!isCallSid(callSid)) histogram.observe({ labels, value: seconds })
        else histogram.observe({ labels, value: seconds, exemplarLabels: exemplarOf(callSid) })
      },
    }
  })
}

/** Combination of a gauge's sources: their sum, or the largest value. */
export type Combined = 'sum' | 'max'

/** A gauge without labels. Its value is the sum of its sources at the scrape. */
export interface GaugeOfSources {
  /** Adds a source. The returned function removes the source. */
  from(read: () => number): () => void
}

/**
 * A gauge with labels. At the scrape, the sources of each label set are combined. Label sets come from settings, not
 * from callers.
 */
export class LabelledGauge<L extends string> {
  readonly #sources = new Set<{ readonly labels: Record<L, string>; readonly read: () => number }>()

  constructor(
    registry: OpenMetricsRegistry,
    options: {
      readonly name: string
      readonly help: string
      readonly labels: readonly L[]
      readonly combined: Combined
    },
  ) {
    const sources = this.#sources
    new Gauge<string>({
      name: options.name,
      help: options.help,
      labelNames: options.labels,
      registers: [registry],
      collect() {
        this.reset()
        const sets = new Map<string, { labels: Record<L, string>; value: number }>()
        for (const { labels, read } of sources) {
          const key = options.labels.map((name) => labels[name]).join('\u0000')
          const set = sets.get(key)
          if (set === undefined) sets.set(key, { labels, value: read() })
          else set.value = options.combined === 'sum' ? set.value + read() : Math.max(set.value, read())
        }
        for (const { labels, value } of sets.values())
          if (options.labels.length === 0 || Number.isFinite(value)) this.set(labels, value)
      },
    })
  }

  /**
   * Adds a source. The returned function removes the source. If all sources of a set return NaN, the set has no sample.
   */
  from(labels: Record<L, string>, read: () => number): () => void {
    const source = { labels, read }
    this.#sources.add(source)
    return () => {
      this.#sources.delete(source)
    }
  }
}

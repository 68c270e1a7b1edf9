import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Metric } from 'prom-client'
import { isCallSid } from '../core/ids.js'
import type { FrameHistogram, FrameHistogramReader } from './frame-histogram.js'

type Labels = Readonly<Record<string, string>>

/** The slowest value of a source since it was asked last, and its call; null when there is none. */
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
 * A Prometheus histogram that is fed from frame histograms. prom-client's own takes 0.5 µs a value and has no way
 * to add many at once, which is what a hundred thousand frames a second need.
 *
 * A value counts into the first bucket that holds the whole fine bucket it was in: up to 6.25 % on the slow side.
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
    // The registry asks a metric only for its name and `get()`; its type names prom-client's own four classes.
    options.registry.registerMetric(this as unknown as Metric)
  }

  /**
   * Counts what `histogram` gets from now on under `labels`. The returned function counts a last time and stops;
   * the counts stay, as a counter's must. Several sources may share labels.
   * @param slowest names the call of the slowest value since it was asked last; it becomes an exemplar.
   */
  addSource(labels: Labels, histogram: FrameHistogram, slowest: Slowest | null = null): () => void {
    const series = this.#seriesOf(labels)
    const source: Source = { reader: histogram.reader(), slowest }
    series.sources.add(source)
    return () => {
      if (series.sources.delete(source)) this.#take(series, source)
    }
  }

  /** Adds the new values of all sources to the buckets. Must run at least once a minute, for the sums. */
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

  /** The first bucket that holds `us`; the one after the last bound holds the rest. */
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

  /** Metrics as prom-client's registry prints them. */
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

  /** The registry calls it from `resetMetrics`. */
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

/** A registry that can hold exemplars; only this content type can. */
export function openMetricsRegistry(): OpenMetricsRegistry {
  const registry: OpenMetricsRegistry = new Registry()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  return registry
}

/** One counter with its labels chosen. Get it once, keep it. */
export interface CounterHandle {
  /** @param callSid becomes the exemplar; ignored when it is no SID */
  inc(by?: number, callSid?: string): void
}

/** One histogram with its labels chosen. Get it once, keep it. */
interface HistogramHandle {
  /** @param callSid becomes the exemplar of the bucket: the call to look at. */
  observe(seconds: number, callSid?: string): void
}

/** Chooses labels; the same values give the same handle. */
export type CounterOf<L extends string> = (labels: Readonly<Record<L, string>>) => CounterHandle
export type HistogramOf<L extends string> = (labels: Readonly<Record<L, string>>) => HistogramHandle

export interface FamilyOptions<L extends string> {
  readonly registry: OpenMetricsRegistry
  /** Full name, with prefix and unit. */
  readonly name: string
  readonly help: string
  readonly labels: readonly L[]
  /** Label sets kept; what comes later is counted under `other`. A backstop: labels come from settings, not callers. */
  readonly setsMax: number
  /** Called for each request of a label set that did not fit. */
  readonly overflow: () => void
  /** Labels of the exemplar that names a call. */
  readonly exemplarOf: (callSid: string) => Record<string, string>
}

/**
 * Binds label values once and remembers the handle. prom-client's `labels()` cannot carry exemplars, so the handle
 * holds the argument object itself and changes its value: nothing is allocated for an observation without exemplar.
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
  const kept = {} as Record<L, string> // filled for every L in the next line
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
    counter.inc({ labels, value: 0 }) // the series exists from the start, so that rate() sees its first increase
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
        if (!Number.isFinite(seconds)) return // the difference to a time that was never set
        if (!isCallSid(callSid)) histogram.observe({ labels, value: seconds })
        else histogram.observe({ labels, value: seconds, exemplarLabels: exemplarOf(callSid) })
      },
    }
  })
}

/** How the sources of one gauge become its value: added up, or the largest of them. */
export type Combined = 'sum' | 'max'

/** A gauge without labels: the sum of what its sources say at the scrape. */
export interface GaugeOfSources {
  /** Adds a source; the returned function takes it out. */
  from(read: () => number): () => void
}

/** A gauge with labels; each label set is what its sources say at the scrape. Sets come from settings, not callers. */
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

  /** Adds a source; the returned function takes it out. NaN from all sources of a set shows no sample. */
  from(labels: Record<L, string>, read: () => number): () => void {
    const source = { labels, read }
    this.#sources.add(source)
    return () => {
      this.#sources.delete(source)
    }
  }
}

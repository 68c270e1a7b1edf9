import type { Metric, Registry } from 'prom-client'
import type { FrameHistogram, FrameHistogramReader } from './frame-histogram.js'

type Labels = Readonly<Record<string, string>>

/** The slowest value that a source saw since it was last asked, and whose it was; null when there is none to name. */
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

  constructor(options: {
    readonly name: string
    readonly help: string
    readonly boundsSeconds: readonly number[]
    readonly seriesMax: number
    readonly registry: Registry<'application/openmetrics-text; version=1.0.0; charset=utf-8'>
    /** Labels of the exemplar that names a call. */
    readonly exemplarOf: (callSid: string) => Readonly<Record<string, string>>
  }) {
    this.name = options.name
    this.help = options.help
    this.#boundsSeconds = options.boundsSeconds
    this.#seriesMax = options.seriesMax
    this.#exemplarOf = options.exemplarOf
    // The registry asks a metric only for its name and `get()`; its type names prom-client's own four classes.
    options.registry.registerMetric(this as unknown as Metric)
  }

  /**
   * Counts what `histogram` gets from now on under `labels`. The returned function takes a last look and lets go;
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

  /** Moves what is new in all sources into the buckets. At least once a minute, for the sums. */
  flush(): void {
    for (const series of this.#series.values()) {
      for (const source of series.sources) this.#take(series, source)
    }
  }

  #seriesOf(labels: Labels): Series {
    let kept = labels
    let key = JSON.stringify(labels)
    if (!this.#series.has(key) && this.#series.size >= this.#seriesMax) {
      kept = Object.fromEntries(Object.keys(labels).map(name => [name, 'other']))
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

  /** What prom-client's registry prints. */
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

  /** All series back to nothing; the registry calls it from `resetMetrics`. */
  reset(): void {
    for (const series of this.#series.values()) {
      series.counts.fill(0)
      series.exemplars.length = 0
      series.count = 0
      series.sumSeconds = 0
    }
  }
}

import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { isCallSid } from '../core/ids.js'

export type OpenMetricsRegistry = Registry<'application/openmetrics-text; version=1.0.0; charset=utf-8'>

/** A registry that can hold exemplars; only this content type can. */
export function openMetricsRegistry(): OpenMetricsRegistry {
  const registry: OpenMetricsRegistry = new Registry()
  registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  return registry
}

/** One counter with its labels chosen. Get it once, keep it. */
export interface CounterHandle {
  /** @param callSid becomes the exemplar: the call to look at. What cannot be a SID becomes none. */
  inc(by?: number, callSid?: string): void
}

/** One histogram with its labels chosen. Get it once, keep it. */
export interface HistogramHandle {
  /** @param callSid becomes the exemplar of the bucket: the call to look at. */
  observe(seconds: number, callSid?: string): void
}

/** Chooses labels; the same values give the same handle. */
export type CounterOf<L extends string> = (labels: Readonly<Record<L, string>>) => CounterHandle
export type HistogramOf<L extends string> = (labels: Readonly<Record<L, string>>) => HistogramHandle

interface FamilyOptions<L extends string> {
  readonly registry: OpenMetricsRegistry
  /** Full name, with prefix and unit. */
  readonly name: string
  readonly help: string
  readonly labels: readonly L[]
  /** Label sets kept; what comes later is counted under `other`. A backstop: labels come from settings, not callers. */
  readonly setsMax: number
  /** Called for each request of a label set that did not fit. */
  readonly overflow: () => void
  /** Labels of the exemplar that names a call; the SID alone where absent. */
  readonly exemplarOf?: (callSid: string) => Record<string, string>
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
  return labels => {
    let kept = pick(options.labels, labels)
    let key = options.labels.map(name => kept[name]).join('\u0000')
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

function sidAlone(callSid: string): Record<string, string> {
  return { call_sid: callSid }
}

export function counterFamily<L extends string>(options: FamilyOptions<L>): CounterOf<L> {
  const counter = new Counter<string>({
    name: options.name,
    help: options.help,
    labelNames: options.labels,
    registers: [options.registry],
    enableExemplars: true,
  })
  const exemplarOf = options.exemplarOf ?? sidAlone
  return bind(options, labels => {
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
  options: FamilyOptions<L> & { readonly boundsSeconds: readonly number[] },
): HistogramOf<L> {
  const histogram = new Histogram<string>({
    name: options.name,
    help: options.help,
    labelNames: options.labels,
    buckets: [...options.boundsSeconds],
    registers: [options.registry],
    enableExemplars: true,
  })
  const exemplarOf = options.exemplarOf ?? sidAlone
  return bind(options, labels => {
    histogram.zero(labels)
    return {
      observe: (seconds, callSid) => {
        if (!Number.isFinite(seconds)) return // a clock that was never set is no measurement
        if (!isCallSid(callSid)) histogram.observe({ labels, value: seconds })
        else histogram.observe({ labels, value: seconds, exemplarLabels: exemplarOf(callSid) })
      },
    }
  })
}

/** How the sources of one gauge become its value: added up, or the largest of them. */
export type Combined = 'sum' | 'max'

/** A gauge with labels; each label set is what its sources say at the scrape. Sets come from settings, not callers. */
export class LabelledGauge<L extends string> {
  readonly #sources = new Set<{ readonly labels: Record<L, string>; readonly read: () => number }>()

  constructor(
    registry: OpenMetricsRegistry,
    options: { readonly name: string; readonly help: string; readonly labels: readonly L[]; readonly combined: Combined },
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
          const key = options.labels.map(name => labels[name]).join('\u0000')
          const set = sets.get(key)
          if (set === undefined) sets.set(key, { labels, value: read() })
          else set.value = options.combined === 'sum' ? set.value + read() : Math.max(set.value, read())
        }
        for (const { labels, value } of sets.values()) if (Number.isFinite(value)) this.set(labels, value)
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

/** A gauge that is the sum of what its sources say at the scrape. */
export class GaugeOfSources {
  readonly #sources = new Set<() => number>()

  constructor(registry: OpenMetricsRegistry, name: string, help: string) {
    const sources = this.#sources
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        let sum = 0
        for (const read of sources) sum += read()
        this.set(sum)
      },
    })
  }

  /** Adds a source; the returned function takes it out. */
  from(read: () => number): () => void {
    this.#sources.add(read)
    return () => {
      this.#sources.delete(read)
    }
  }
}

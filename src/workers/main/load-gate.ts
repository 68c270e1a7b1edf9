/** Samples in a row beyond a bound after which calls are refused, and within it after which they are taken again. */
export const LOAD_REFUSE_SAMPLES = 5
export const LOAD_ADMIT_SAMPLES = 5

/** Why a process takes no more calls although it has free slots. */
/** `disk-full` is no load: DATA_DIR takes no more records. */
export const OVERLOADS = ['tick-slack', 'memory', 'cpu-throttling', 'disk-full'] as const
export type Overload = (typeof OVERLOADS)[number]

/** The load of the last second. Shares are from 0 to 1; null where nothing was measured. */
export interface LoadSample {
  /** Share of time that the ticks of the busiest thread left free; null while no thread has calls. */
  readonly tickSlack: number | null
  /** Share of ticks that began TICK_LATE_MS late or more, on the thread that has the most of them. */
  readonly ticksLate: number | null
  /** Share of the memory limit that is used. */
  readonly memoryUsed: number | null
  /** Share of the CPU limit's periods in which the process was throttled. */
  readonly throttled: number | null
}

/** Beyond `refuse` calls are refused; they are taken again within `admit`. */
interface Bounds {
  readonly refuse: number
  readonly admit: number
}

const BOUNDS: Readonly<Record<keyof LoadSample, Bounds>> = {
  tickSlack: { refuse: 0.1, admit: 0.25 },
  ticksLate: { refuse: 0.25, admit: 0.05 },
  memoryUsed: { refuse: 0.9, admit: 0.85 },
  throttled: { refuse: 0.25, admit: 0.1 },
}

const CAUSES: readonly (readonly [keyof LoadSample, Overload])[] = [
  ['tickSlack', 'tick-slack'],
  ['ticksLate', 'tick-slack'],
  ['memoryUsed', 'memory'],
  ['throttled', 'cpu-throttling'],
]

/**
 * Decides by the load of the last seconds whether a process takes more calls. One measurement starts to refuse after
 * LOAD_REFUSE_SAMPLES samples in a row beyond its bound, and ends after LOAD_ADMIT_SAMPLES within a lower one, so that a
 * short burst refuses nobody and the answer does not flap. A value that was not measured is within every bound.
 */
export class LoadGate {
  readonly #inputs = CAUSES.map(([name, overload]) => ({ name, overload, refuses: false, inRow: 0 }))

  /** One sample every LOAD_SAMPLE_MS. */
  handle(sample: LoadSample): void {
    for (const input of this.#inputs) {
      const { refuse, admit } = BOUNDS[input.name]
      const value = sample[input.name]
      const bound = input.refuses ? admit : refuse
      const beyond = value !== null && (refuse < admit ? value < bound : value > bound)
      input.inRow = beyond === input.refuses ? 0 : input.inRow + 1
      if (input.inRow < (input.refuses ? LOAD_ADMIT_SAMPLES : LOAD_REFUSE_SAMPLES)) continue
      input.refuses = !input.refuses
      input.inRow = 0
    }
  }

  /** Why no more calls are taken; null when they are. */
  get overload(): Overload | null {
    return this.#inputs.find(({ refuses }) => refuses)?.overload ?? null
  }
}

/**
 * Number of consecutive load samples beyond the bound `refuse` after which the process refuses calls.
 * `LOAD_ADMIT_SAMPLES`: number of consecutive samples within the bound `admit` after which it takes calls again.
 */
export const LOAD_REFUSE_SAMPLES = 5
export const LOAD_ADMIT_SAMPLES = 5

/**
 * Reasons why a process takes no more calls although it has free slots. `disk-full` does not come from the load:
 * DATA_DIR has no space for records.
 */
export const OVERLOADS = ['tick-slack', 'memory', 'cpu-throttling', 'disk-full'] as const
export type Overload = (typeof OVERLOADS)[number]

/** The load of the last second. Shares are from 0 to 1; a value is null if it was not measured. */
export interface LoadSample {
  /** Share of time that the ticks of the busiest thread left free; null while no thread has calls. */
  readonly tickSlack: number | null
  /** Share of ticks that began at least TICK_LATE_MS late, on the thread with the largest share. */
  readonly ticksLate: number | null
  /** Used share of the memory limit. */
  readonly memoryUsed: number | null
  /** Share of the CPU limit's periods in which the system throttled the process. */
  readonly throttled: number | null
}

/**
 * Bounds of one measured value. Calls are refused when the value goes beyond `refuse`, and accepted again when it is
 * within `admit`.
 */
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
 * Decides by the load if a process takes more calls. After LOAD_REFUSE_SAMPLES samples beyond a bound `refuse`, it
 * refuses calls. After LOAD_ADMIT_SAMPLES samples within the stricter bound `admit`, it takes calls again.
 */
export class LoadGate {
  readonly #inputs = CAUSES.map(([name, overload]) => ({ name, overload, refuses: false, inRow: 0 }))

  /** Takes one sample; called every LOAD_SAMPLE_MS. */
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

  /** The reason why no more calls are taken; null if they are taken. */
  get overload(): Overload | null {
    return this.#inputs.find(({ refuses }) => refuses)?.overload ?? null
  }
}

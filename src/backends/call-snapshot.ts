import type { UsedBudget } from './budget.js'

/** State of a call's backend, for the worker or node that continues the call. JSON. */
export interface CallBackendSnapshot {
  readonly version: 2
  readonly used: UsedBudget | null
  /**
   * State of the backend that serves the call; null if there is none. The next worker then uses only the call's
   * history.
   */
  readonly serving: ServingSnapshot | null
}

/** The backend that served a call, and the backend's own state, for the call's next media worker. */
export interface ServingSnapshot {
  /** Name of the backend that serves the call. */
  readonly member: string
  /** Number of the backend's session. Ids of unanswered tool calls begin with this number. */
  readonly serial: number
  /** The highest generation of an answer so far. */
  readonly generation: number
  readonly state: unknown
}

/** @returns the budget in a snapshot; null if `resume` is not a snapshot with a budget */
export function usedIn(resume: unknown): UsedBudget | null {
  const { used } = (resume ?? {}) as { readonly used?: Partial<UsedBudget> | null }
  return typeof used?.usedMs === 'number' && Array.isArray(used.models) ? (used as UsedBudget) : null
}

/** @returns the backend in a snapshot; null if no backend served the call. The history is then enough */
export function servingIn(resume: unknown): ServingSnapshot | null {
  const { serving } = (resume ?? {}) as { readonly serving?: Partial<ServingSnapshot> | null }
  const good = typeof serving?.member === 'string' && isCount(serving.serial) && isCount(serving.generation)
  return good ? (serving as ServingSnapshot) : null
}

/**
 * Makes a snapshot for the backends of another agent. The snapshot keeps the budget and the counts of sessions and
 * generations, so that every id and generation stays unique.
 */
export function snapshotForAnother(snapshot: unknown): unknown {
  const serving = servingIn(snapshot)
  return typeof snapshot !== 'object' || serving === null
    ? snapshot
    : { ...snapshot, serving: { ...serving, member: '', state: null } }
}

/**
 * Makes a snapshot with only the budget, for another backend that must not get the conversation.
 * @param recorded true if the call that used the budget has its own record
 */
export function budgetSnapshot(snapshot: unknown, recorded: boolean): CallBackendSnapshot | null {
  const used = usedIn(snapshot)
  if (used === null) return null
  return { version: 2, used: recorded ? asRecorded(used) : used, serving: null }
}

function asRecorded({ models, usedMs, cost, recorded }: UsedBudget): UsedBudget {
  const sums = { inputTokens: 0, outputTokens: 0, known: 0, ...recorded }
  sums.known += cost?.known ?? 0
  for (const { usage } of models) {
    sums.inputTokens += usage.inputTokens
    sums.outputTokens += usage.outputTokens
  }
  return { models: [], usedMs, recorded: sums }
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

import type { UsedBudget } from './budget.js'

/** The state of a call's backend from which another worker or node goes on. JSON. */
export interface CallBackendSnapshot {
  readonly version: 2
  readonly used: UsedBudget | null
  /** Null: no backend serves the call, and its history is enough. */
  readonly serving: ServingSnapshot | null
}

/** The backend that serves a call, and its own state, for the call's next media worker. */
export interface ServingSnapshot {
  /** Name of the backend that serves the call. */
  readonly member: string
  /** Number of its session: ids of unanswered tool calls begin with it. */
  readonly serial: number
  /** The highest generation of an answer so far. */
  readonly generation: number
  readonly state: unknown
}

/** The budget in a snapshot; null for anything else. */
export function usedIn(resume: unknown): UsedBudget | null {
  const { used } = (resume ?? {}) as { readonly used?: Partial<UsedBudget> | null }
  return typeof used?.usedMs === 'number' && Array.isArray(used.models) ? (used as UsedBudget) : null
}

/** The backend that served the call, in a snapshot; null: then only the history is used. */
export function servingIn(resume: unknown): ServingSnapshot | null {
  const { serving } = (resume ?? {}) as { readonly serving?: Partial<ServingSnapshot> | null }
  const good = typeof serving?.member === 'string' && isCount(serving.serial) && isCount(serving.generation)
  return good ? (serving as ServingSnapshot) : null
}

/**
 * A snapshot as the backends of another agent may have it: the call keeps its budget, and its numbers, so that no id or
 * generation comes twice.
 */
export function snapshotForAnother(snapshot: unknown): unknown {
  const serving = servingIn(snapshot)
  return typeof snapshot !== 'object' || serving === null
    ? snapshot
    : { ...snapshot, serving: { ...serving, member: '', state: null } }
}

/**
 * The budget of a snapshot alone, for who goes on with the call and is not to know what was said.
 * @param recorded  the call that used it has a record of its own
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

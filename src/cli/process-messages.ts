import type { ForwardedAnswer, ForwardedWebhook } from '../edge/siblings.js'
import type { ProcessPlan } from '../gateway/process-plan.js'

/**
 * What the supervisor and its processes say to each other, over the channel that `fork` makes. Plain data; secrets travel here
 * and nowhere else: not in arguments, not in the environment, not in the log.
 */

/** Calls that are not where their ids put them, and of processes that died. */
export interface PlacesSnapshot {
  readonly away: readonly (readonly [key: string, index: number])[]
  readonly lost: readonly string[]
}

export type ToProcess =
  | {
    readonly type: 'start'
    readonly plan: ProcessPlan
    /** Times that this process was started again. */
    readonly restarts: number
    readonly places: PlacesSnapshot
  }
  | { readonly type: 'away'; readonly key: string; readonly index: number }
  /** A process died: its calls are nobody's. */
  | { readonly type: 'lost'; readonly index: number; readonly keys: readonly string[] }
  | { readonly type: 'ask'; readonly id: number; readonly from: number; readonly webhook: ForwardedWebhook }
  | { readonly type: 'answer'; readonly id: number; readonly answer: ForwardedAnswer | null }

export interface ProcessReady {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
}

export type FromProcess =
  | ({ readonly type: 'ready' } & ProcessReady)
  /** It could not start; `usage`: for what the operator gave it, which no restart mends. */
  | { readonly type: 'failed'; readonly message: string; readonly usage: boolean }
  | { readonly type: 'took'; readonly key: string; readonly away: boolean }
  | { readonly type: 'ask'; readonly id: number; readonly to: number; readonly webhook: ForwardedWebhook }
  | { readonly type: 'answer'; readonly id: number; readonly to: number; readonly answer: ForwardedAnswer }

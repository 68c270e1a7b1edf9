import type { Backend } from './backend.js'
import { BudgetBackend } from './budget.js'
import type { BudgetReport } from './budget.js'
import { FailoverBackend } from './failover.js'
import type { FailoverStats } from './failover.js'
import { ShadowBackend } from './shadow.js'
import type { ShadowReport } from './shadow.js'

/** What the wrappers around a call's backend know, for its record. Plain data. */
export interface BackendReports {
  readonly failover?: FailoverStats
  readonly shadow?: ShadowReport
  readonly budget?: BudgetReport
}

/** Asks every wrapper of `backend`, from the outermost in; empty for a backend that has none. */
export function backendReports(backend: Backend): BackendReports {
  if (backend instanceof BudgetBackend) return { ...backendReports(backend.inner), budget: backend.budgetReport() }
  if (backend instanceof ShadowBackend) return { ...backendReports(backend.primary), shadow: backend.shadowReport() }
  if (backend instanceof FailoverBackend) return { failover: { ...backend.stats } }
  return {}
}

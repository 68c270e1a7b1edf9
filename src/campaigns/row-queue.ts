import type { Campaign, Row, RowResult } from './campaign.js'

/** Result of a row's turn: the row is over, is due again at a calendar time, or waits with its whole campaign. */
export type Next =
  | { readonly next: 'done'; readonly row: Row }
  | { readonly next: 'later'; readonly row: Row; readonly atMs: number }
  | { readonly next: 'hold'; readonly row: Row; readonly untilMs: number }

/** The hold of a turn on its row, which is over when somebody else changes the row: it is erased, or promised anew. */
export interface RowTurn {
  /** Resolves when the row is kept as it is now; to false where it was changed: it stays as it is. */
  readonly save: (row: Row) => Promise<boolean>
  /** False where the row was changed. */
  readonly stands: () => Promise<boolean>
}

/**
 * Handles one row. No other node has the row meanwhile. A row whose last try has no result was being called when its
 * process died. The result counts for nothing where the row was changed meanwhile. Does not reject.
 */
export type RowWork = (row: Row, turn: RowTurn) => Promise<Next>

/** How fast a campaign goes, over all nodes. */
export interface Limits {
  readonly atOnce: number
  readonly perMinute: number
}

/** Counts of the rows of a campaign. */
export interface RowCounts {
  readonly rows: number
  /** Rows that are not over and have no turn now. */
  readonly waiting: number
  /** Rows that have their turn now. One that was erased in it is over too. */
  readonly calling: number
  /** Rows that are over, by result. */
  readonly results: Readonly<Partial<Record<RowResult, number>>>
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

/** Losses that a queue found: campaigns, which are kept as `lost`, and the number of call backs that were promised. */
export interface LostRows {
  readonly campaigns: readonly Campaign[]
  readonly callBacks: number
}

/**
 * Campaigns and their rows, which outlive the process: in Redis, or in files of one process. What may be called now is
 * decided in `scheduler.ts`; a queue keeps rows, gives each to one worker at a time when it is due, and keeps the limits.
 */
export interface RowQueue {
  /** Oldest first. */
  campaigns(): Promise<readonly Campaign[]>
  keep(campaign: Campaign): Promise<void>
  /** Adds the rows that it does not have. @returns how many were new */
  add(campaign: string, rows: readonly Row[]): Promise<number>
  /**
   * Adds the row of a call back where nothing speaks against it. Of two at once, for the same number or by the same caller, one
   * sees the other.
   * @param passed  what speaks against it, given at least the rows of this number and of this caller; null: nothing
   * @returns that; or whether it was new
   */
  promise<P extends string>(row: Row, passed: (others: readonly Row[]) => P | null): Promise<P | boolean>
  /** Without reading the rows, where they are encrypted. */
  counts(campaign: string): Promise<RowCounts>
  /** Forgets a campaign and all its rows, which nobody works on. */
  remove(campaign: string): Promise<void>
  /** Forgets rows that were over before calendar time `beforeMs`. */
  prune(campaign: string, beforeMs: number): Promise<void>
  /** Resolves within 2 s while it can be read and written. @throws GatewayError STORE_DOWN */
  reach(): Promise<void>
  /** Names of all that it has rows of: call backs, and campaigns, also those that cannot be read. */
  ids(): Promise<readonly string[]>
  /** Number of rows that cannot be read: another TOKEN_SECRET wrote them, or another version. */
  unread(): Promise<number>
  /** All rows that can be read, in no order, as they are now. */
  rows(campaign: string): Promise<readonly Row[]>
  /** Changes rows, also those that have their turn now: where `change` returns null, a row stays. @returns how many were changed */
  change(campaign: string, change: (row: Row) => Row | null): Promise<number>
  /** Gives the rows of a campaign to `work`; again, with other limits: these hold from then on. */
  serve(campaign: string, limits: Limits, work: RowWork): Promise<void>
  /** Gives the rows of a campaign to nobody here any more. */
  unserve(campaign: string): Promise<void>
  /** Looks again: the reason for which a campaign waited may be over. */
  wake(campaign: string): Promise<void>
  /** Gives no more rows, and waits for those that are being worked on, at most `waitMs`. */
  close(waitMs: number): Promise<void>
}

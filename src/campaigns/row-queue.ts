import type { Campaign, Row, RowResult } from './campaign.js'

/**
 * Result of a row's turn. Either the row is over, or it is due again at a calendar time, or its whole campaign waits.
 */
export type Next =
  | { readonly next: 'done'; readonly row: Row }
  | { readonly next: 'later'; readonly row: Row; readonly atMs: number }
  | { readonly next: 'hold'; readonly row: Row; readonly untilMs: number }

/**
 * Exclusive access of a turn to its row. The access ends if another request changes the row: an erasure, or a new
 * request for the promised call back.
 */
export interface RowTurn {
  /**
   * Stores the row. Resolves to true if the row was stored. Resolves to false, without a write, if another request has
   * changed the row.
   */
  readonly save: (row: Row) => Promise<boolean>
  /** Resolves to false if another request has changed the row. */
  readonly stands: () => Promise<boolean>
}

/**
 * Handles one row; other nodes do not get the row during this time. If the row's last try does not have a result, its
 * process died during the call. The result is dropped if the row was changed in the meantime. The promise does not
 * reject.
 */
export type RowWork = (row: Row, turn: RowTurn) => Promise<Next>

/** Limits of a campaign over all nodes. */
export interface Limits {
  readonly atOnce: number
  readonly perMinute: number
}

/** Counts of a campaign's rows. */
export interface RowCounts {
  readonly rows: number
  /** Rows that wait for a turn. */
  readonly waiting: number
  /** Rows that are being handled in a turn. A row that was erased during its turn also counts as over. */
  readonly calling: number
  /** Rows that are over, by result. */
  readonly results: Readonly<Partial<Record<RowResult, number>>>
}

export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0)
}

/**
 * Losses that a queue has detected. Lost campaigns are stored as `lost`; of promised call backs only the number is
 * known.
 */
export interface LostRows {
  readonly campaigns: readonly Campaign[]
  readonly callBacks: number
}

/**
 * Campaigns and their rows, stored in Redis or in files of one process. `scheduler.ts` decides which rows may be
 * called. A queue passes each due row to one worker at a time and enforces the limits.
 */
export interface RowQueue {
  /** Returns all campaigns, the oldest first. */
  campaigns(): Promise<readonly Campaign[]>
  keep(campaign: Campaign): Promise<void>
  /** Adds missing rows. @returns the number of new rows */
  add(campaign: string, rows: readonly Row[]): Promise<number>
  /**
   * Adds the row of a call back, unless this would exceed a limit. If two such rows for one number or caller are added
   * simultaneously, at least one request sees the other row.
   * @param passed  receives at least all rows of this number and caller. It returns the limit that would be exceeded;
   * null if all limits are kept
   * @returns the exceeded limit; otherwise true if the row was new
   */
  promise<P extends string>(row: Row, passed: (others: readonly Row[]) => P | null): Promise<P | boolean>
  /** Counts the rows. Encrypted rows are not decrypted. */
  counts(campaign: string): Promise<RowCounts>
  /** Deletes a campaign and all its rows. No turn of the campaign may be running. */
  remove(campaign: string): Promise<void>
  /** Deletes rows that were over before calendar time `beforeMs`. */
  prune(campaign: string, beforeMs: number): Promise<void>
  /** Resolves within 2 s if the store can be read and written. @throws GatewayError STORE_DOWN */
  reach(): Promise<void>
  /** Returns the ids of all sets of rows: the call backs, and each campaign, even if it cannot be read. */
  ids(): Promise<readonly string[]>
  /**
   * Returns the number of rows that cannot be read, because they were written with another TOKEN_SECRET or by another
   * version.
   */
  unread(): Promise<number>
  /** Returns all readable rows in their current state, in any order. */
  rows(campaign: string): Promise<readonly Row[]>
  /**
   * Changes rows, including rows in their turn. If `change` returns null for a row, the row is not changed.
   * @returns the number of changed rows
   */
  change(campaign: string, change: (row: Row) => Row | null): Promise<number>
  /** Passes due rows of a campaign to `work`. A second call for the campaign changes its limits. */
  serve(campaign: string, limits: Limits, work: RowWork): Promise<void>
  /** Stops passing rows of a campaign to this node. */
  unserve(campaign: string): Promise<void>
  /** Checks a campaign again, because the reason for its wait may have ended. */
  wake(campaign: string): Promise<void>
  /** Stops passing rows, and waits at most `waitMs` for the turns that are running. */
  close(waitMs: number): Promise<void>
}

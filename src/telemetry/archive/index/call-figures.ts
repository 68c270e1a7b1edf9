import type { WrittenRecord } from '../../../call/documents/call-search.js'
import {
  addFigures,
  CHART_NODE_GROUPS_MAX,
  figuresOf,
  HOUR_MS,
  mergedGroups,
} from '../../../call/documents/call-charts.js'
import type { ChartGroup, ChartRange, Figures } from '../../../call/documents/call-charts.js'
import type { Sql } from './sql.js'

/**
 * Figures for each hour, by agent, version and our number, so that a chart reads hours and not calls. The empty number
 * stands for all numbers. Figures are stored as JSON.
 */
export const FIGURES_SCHEMA = `
  CREATE TABLE series(id INTEGER PRIMARY KEY, number TEXT NOT NULL, agent TEXT NOT NULL, version TEXT NOT NULL,
    UNIQUE(number, agent, version));
  CREATE TABLE hours(series INTEGER, hour INTEGER, figures TEXT NOT NULL, PRIMARY KEY(series, hour)) WITHOUT ROWID;`

/** Entry of one call in the figures: its number, agent, version, hour and figures. The index stores it as JSON. */
type Counted = readonly [number: string, agent: string, version: string, hour: number, figures: Figures]

/**
 * Makes the figures of a record.
 * @throws if parts of the record are malformed
 */
export function countedOf(record: WrittenRecord, startedAtMs: number): string {
  const { number = '', agent = '', agentVersion } = record
  const hour = Math.floor(startedAtMs / HOUR_MS)
  const version = typeof agentVersion === 'string' ? agentVersion : ''
  return JSON.stringify([number, agent, version, hour, figuresOf(record)] satisfies Counted)
}

/** Figures of the hours, stored in the file of the index. */
export class CallFigures {
  readonly #sql: Sql
  /**
   * Figures that are not written yet, by series and hour. They are added up first, because most calls of a transaction
   * are of one hour.
   */
  readonly #due = new Map<string, { readonly of: Counted; readonly figures: Figures }>()

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /**
   * Counts a call. `flush` writes the figures.
   * @param sign  -1 to remove the call from the count
   */
  count(counted: string, sign: 1 | -1): void {
    const [number, ...rest] = JSON.parse(counted) as Counted
    for (const each of new Set([number, ''])) {
      const of: Counted = [each, ...rest]
      const key = JSON.stringify(of.slice(0, 4))
      const due = this.#due.get(key) ?? { of, figures: {} }
      addFigures(due.figures, of[4], sign)
      this.#due.set(key, due)
    }
  }

  /** Writes pending figures. Runs in the same transaction as the changes of the calls. */
  flush(): void {
    for (const {
      of: [number, agent, version, hour],
      figures,
    } of this.#due.values()) {
      const named = [number, agent, version] as const
      this.#sql.run('INSERT OR IGNORE INTO series(number, agent, version) VALUES(?, ?, ?)', ...named)
      const series = Number(
        this.#sql.one('SELECT id FROM series WHERE number = ? AND agent = ? AND version = ?', ...named)?.['id'],
      )
      const at = [series, hour] as const
      const before = this.#sql.one('SELECT figures FROM hours WHERE series = ? AND hour = ?', ...at)
      const sum = before === null ? {} : (JSON.parse(String(before['figures'])) as Figures)
      addFigures(sum, figures)
      if (Object.keys(sum).length > 0)
        this.#sql.run('INSERT OR REPLACE INTO hours(series, hour, figures) VALUES(?, ?, ?)', ...at, JSON.stringify(sum))
      else {
        this.#sql.run('DELETE FROM hours WHERE series = ? AND hour = ?', ...at)
        this.#sql.run(
          'DELETE FROM series WHERE id = ? AND NOT EXISTS(SELECT 1 FROM hours WHERE series = ?)',
          series,
          series,
        )
      }
    }
    this.#due.clear()
  }

  /** Drops the pending figures if their transaction was rolled back. */
  forgetDue(): void {
    this.#due.clear()
  }

  /** @param numbers own numbers whose calls are counted; null for all numbers */
  chart(range: ChartRange, numbers: readonly string[] | null): ChartGroup[] {
    const { fromHour, bucketHours, buckets, by, agent, agentVersion } = range
    const groups = new Map<string, Figures[]>()
    for (const number of numbers ?? [''])
      for (const row of this.#sql.all(
        `SELECT ${by === 'agent' ? 'agent' : 'version'} AS name, hour, figures FROM series CROSS JOIN hours ON series = id
          WHERE number = ? AND (? IS NULL OR agent = ?) AND (? IS NULL OR version = ?) AND hour >= ? AND hour < ?`,
        ...[number, agent, agent, agentVersion, agentVersion, fromHour, fromHour + buckets * bucketHours],
      )) {
        const name = String(row['name'])
        let own = groups.get(name)
        if (own === undefined) groups.set(name, (own = Array.from({ length: buckets }, () => ({}))))
        const bucket = own[Math.floor((Number(row['hour']) - fromHour) / bucketHours)]
        if (bucket !== undefined) addFigures(bucket, JSON.parse(String(row['figures'])) as Figures)
      }
    return mergedGroups(
      [...groups].map(([name, own]) => ({ name, buckets: own })),
      CHART_NODE_GROUPS_MAX,
    )
  }
}

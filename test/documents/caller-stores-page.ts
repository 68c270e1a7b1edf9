import { CALLER_STORES, placesOf } from '../../src/telemetry/archive/caller-stores.js'
import { tableRow, withMadeSection } from './made-section.js'

/** The page with the table of all stores that may have data of callers: docs/OPERATIONS.md. */
export function operationsPage(): string {
  const names = Object.keys(CALLER_STORES) as (keyof typeof CALLER_STORES)[]
  const rows = names.map((name) => {
    const { data, erased, exported } = CALLER_STORES[name]
    return tableRow([data, placesOf(name).join(', '), erased, exported])
  })
  const table = `| data | where | erased | exported |\n|---|---|---|---|\n${rows.join('\n')}\n`
  return withMadeSection('docs/OPERATIONS.md', 'stores', table)
}

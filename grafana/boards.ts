import type { Dashboard, DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard'
import { backends } from './backends.js'
import { call } from './call.js'
import { fleet } from './fleet.js'
import { mediaEngine } from './media-engine.js'

/** Every dashboard, by the name of its file. */
export const BOARDS: Readonly<Record<string, () => DashboardBuilder>> = {
  'fleet.json': fleet,
  'call.json': call,
  'backends.json': backends,
  'media-engine.json': mediaEngine,
}

/**
 * @returns a dashboard's JSON in the form that Grafana provisions, with a final newline. Equal sources give equal JSON
 */
export function boardJson(build: () => DashboardBuilder): string {
  return `${JSON.stringify(numbered(build().build()), null, 2)}\n`
}

/** Numbers the panels: the builder gives panels no id, and gives every row the id 0. */
function numbered(dashboard: Dashboard): Dashboard {
  const panels = dashboard.panels?.map((panel, index) => ({ ...panel, id: index + 1 }))
  return { ...dashboard, ...(panels === undefined ? {} : { panels }) }
}

import { openHumans } from '../escalation/hunt-group.js'
import type { Human } from '../escalation/hunt-group.js'
import type { AgentDefinition } from './definition.js'

/** The hunt group of an agent's `escalation:` section; empty without one. */
export function humansOf(escalation: AgentDefinition['escalation']): Human[] {
  return (escalation?.numbers ?? []).map((human) => (
    typeof human === 'string' ? { number: human, hours: null } : { number: human.number, hours: human.hours ?? null }))
}

/** The numbers that may be rung at a time. @param wallMs calendar time */
export function numbersOpen(escalation: AgentDefinition['escalation'], wallMs: number): string[] {
  return openHumans({ humans: humansOf(escalation), hours: escalation?.hours ?? null }, wallMs).map(({ number }) => number)
}

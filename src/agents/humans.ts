import type { Human } from '../escalation/escalation-events.js'
import { isOpen } from '../escalation/hours.js'
import type { AgentDefinition } from './definition.js'

/** The hunt list of an agent's `escalation:` section; empty without one. */
export function humansOf(escalation: AgentDefinition['escalation']): Human[] {
  return (escalation?.numbers ?? []).map((human) => (
    typeof human === 'string' ? { number: human, hours: null } : { number: human.number, hours: human.hours ?? null }))
}

/** The numbers that may be rung at a time. @param wallMs calendar time */
export function numbersOpen(escalation: AgentDefinition['escalation'], wallMs: number): string[] {
  const desk = escalation?.hours ?? null
  if (desk !== null && !isOpen(desk, wallMs)) return []
  return humansOf(escalation).filter(({ hours }) => hours === null || isOpen(hours, wallMs)).map(({ number }) => number)
}

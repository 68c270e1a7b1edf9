import type { AgentDefinition } from '../../agents/file/definition.js'
import { contextZone } from '../../agents/tools/call-context.js'
import { localTime, readDateAndTime } from '../../core/local-time.js'
import { DAY_MS } from '../../core/units.js'
import { countryZone } from '../../sautikit/phone.js'

/** Maximum time in days from now to the call back that a caller wants. */
const WANTED_DAYS_MAX = 90
/** Tolerance in ms for a wanted time that has just passed: a time without seconds means its whole minute. */
const MINUTE_MS = 60_000

/**
 * Time zone of the times that a caller names. It is the zone of the caller's number, or the agent's zone if the
 * number's zone is unknown.
 */
export function wishZone(number: string, agent: AgentDefinition): string {
  return countryZone(number) ?? contextZone(agent)
}

/**
 * Reads the time at which a caller wants to be called back.
 * @param zone  zone of a time without an offset
 * @param nowMs  calendar time
 * @returns date and time in the zone, such as 2026-11-27T15:00; or a text for the model that names the fault
 */
export function readWantedAt(
  text: string,
  zone: string,
  nowMs: number,
): { readonly wantedAt: string } | { readonly fault: string } {
  const read = readDateAndTime(zone, text)
  const now = clockOf(zone, nowMs)
  const today = `it is ${now.replace('T', ' ')} in ${zone} now`
  if (read === null)
    return {
      fault: `at is no date and time that exists; ${today}; allowed: such as ${now.slice(0, 10)}T15:00 of a later time.`,
    }
  if (read <= nowMs - MINUTE_MS) return { fault: `at is over already; ${today}; ask the caller for a later time.` }
  if (read > nowMs + WANTED_DAYS_MAX * DAY_MS)
    return { fault: `at is more than ${WANTED_DAYS_MAX} days ahead; ${today}; ask the caller for an earlier time.` }
  return { wantedAt: clockOf(zone, read) }
}

function clockOf(zone: string, wallMs: number): string {
  const { date, minute } = localTime(zone, wallMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  return `${date}T${two(Math.floor(minute / 60))}:${two(minute % 60)}`
}

import type { AgentDefinition } from '../../agents/file/definition.js'
import { contextZone } from '../../agents/tools/call-context.js'
import { localTime, readDateAndTime } from '../../core/local-time.js'
import { DAY_MS } from '../../core/units.js'
import { countryZone } from '../../sautikit/phone.js'

/** How far ahead a caller may want to be called. */
const WANTED_DAYS_MAX = 90
/** A time without seconds is that of its whole minute. */
const MINUTE_MS = 60_000

/** The zone in which a caller names a time: that of the number, else of the agent. */
export function wishZone(number: string, agent: AgentDefinition): string {
  return countryZone(number) ?? contextZone(agent)
}

/**
 * Reads the time at which a caller wants to be called back.
 * @param zone  of a time without an offset
 * @param nowMs  calendar time
 * @returns their date and time of the clock there, as 2026-11-27T15:00; or what is wrong, for the model
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

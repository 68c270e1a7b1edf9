import { dateFormat } from '../core/date-format.js'

/** `2026-11-27T15:00`: a date and a time of the clock there. */
const LOCAL_TIME = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})$/

/**
 * Calendar time of a time of the clock in a zone; where clocks are put forward over it, that of an hour later.
 * @returns null for what is no date and time
 */
export function wallOfLocal(timeZone: string, text: string): number | null {
  if (!LOCAL_TIME.test(text)) return null
  const asUtcMs = Date.parse(`${text}:00Z`)
  if (!Number.isFinite(asUtcMs)) return null
  const offsetMs = (wallMs: number): number => {
    const shown = dateFormat('sv-SE', {
      timeZone,
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    }).format(wallMs)
    return Date.parse(`${shown.replace(' ', 'T')}:00Z`) - wallMs
  }
  const wallMs = asUtcMs - offsetMs(asUtcMs)
  // The offset may be another one at that moment.
  return asUtcMs - offsetMs(wallMs)
}

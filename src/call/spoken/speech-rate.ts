import type { LoggedToolCall } from '../documents/log-entry.js'
import { SPEECH_RATE_TOOL, SPEECH_RATES } from '../tools/gateway-tools.js'

/** Possible speeds of the agent's speech, as multiples of the voice's own speed. */
const SPEEDS = [0.7, 0.85, 1, 1.15, 1.3]
const OWN_SPEED = 1

/**
 * Returns the speed that the caller last asked for, as a multiple of the voice's own speed. Default: 1. A change of
 * worker or node does not change the speed.
 */
export function speedOf(toolCalls: readonly LoggedToolCall[]): number {
  for (const { record, result } of toolCalls.toReversed()) {
    if (record.name !== SPEECH_RATE_TOOL || typeof result !== 'object' || result === null) continue
    const { speed } = result as { readonly speed?: unknown }
    if (typeof speed === 'number' && SPEEDS.includes(speed)) return speed
  }
  return OWN_SPEED
}

/**
 * Handles the request of a caller for slower or faster speech.
 * @param can  true if the backend can change its speed during a call
 * @returns `speed`: new speed; null if the speed does not change. `value`: result for the model
 */
export function askedRate(
  rate: unknown,
  now: number,
  can: boolean,
): { readonly ok: boolean; readonly speed: number | null; readonly value: Readonly<Record<string, unknown>> } {
  const step = { slower: -1, normal: 0, faster: 1 }[String(rate)]
  if (step === undefined)
    return { ok: false, speed: null, value: { error: `rate must be one of ${SPEECH_RATES.join(', ')}.` } }
  if (!can) {
    const reason =
      'This voice cannot change its speed. Say that you will use shorter sentences, and do so from now on; say one thing ' +
      'at a time.'
    return { ok: true, speed: null, value: { changed: false, reason } }
  }
  const speed = step === 0 ? OWN_SPEED : (SPEEDS[SPEEDS.indexOf(now) + step] ?? now)
  if (speed !== now) return { ok: true, speed, value: { changed: true, speed } }
  const reason =
    step === 0 ? 'This is the normal speed already.' : `It cannot be ${String(rate)}. Use shorter sentences.`
  return { ok: true, speed: null, value: { changed: false, speed, reason } }
}

import type { Clock } from '../../core/clock.js'
import { Wishes } from '../wishes.js'
import { HttpHosts } from './http-hosts.js'
import type { ServiceContext } from './service.js'

/**
 * Makes a context for work without a caller. Fields in `own` replace the default fields.
 * @param signal ends the requests that only open connections
 */
export function serviceContext(
  name: string,
  nowMs: Clock,
  signal: AbortSignal,
  own: Partial<ServiceContext> = {},
): ServiceContext {
  return {
    name,
    languages: [],
    voice: null,
    inputRateHz: 16_000,
    legRateHz: 16_000,
    nowMs,
    used: () => undefined,
    malformed: () => undefined,
    asks: () => true,
    shortened: () => undefined,
    wishRefused: () => undefined,
    wishes: new Wishes(own.wishRefused),
    http: new HttpHosts(nowMs, signal),
    ...own,
  }
}

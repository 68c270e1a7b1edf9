import type { Clock } from '../../core/clock.js'
import { HttpHosts } from './http-hosts.js'
import type { ServiceContext } from './service.js'

/**
 * A context without a caller, where `own` does not say otherwise.
 * @param signal  ends the requests that only open connections
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
    shortened: () => undefined,
    wishRefused: () => undefined,
    http: new HttpHosts(nowMs, signal),
    ...own,
  }
}

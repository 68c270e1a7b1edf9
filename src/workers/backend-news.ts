import { assertNever } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import type { Log } from '../telemetry/log.js'
import type { BackendBooks } from './backend-books.js'
import type { CallBooks } from './call-books.js'
import type { FromCall } from './call-messages.js'

/** What a task says of its backends. */
export type BackendNews = Extract<FromCall, { type: 'backend-error' | 'backend-session' | 'circuit' | 'failover' }>

/** What only a person can mend. */
const FINAL_FAULTS: ReadonlySet<string> = new Set(['auth', 'quota', 'bad_request'])
const BACKEND_FAULT_WORDS: Readonly<Record<string, string>> = {
  auth: 'a backend refuses its key', quota: 'the account of a backend is empty', bad_request: 'a backend refuses how it is set',
  rate_limit: 'a backend asks for patience', session_expired: 'a backend ended a session at its time limit',
}

/** Enters what a task says of a backend where it belongs: the call's log and books, and those of all calls. */
export function noteBackendNews(news: BackendNews, to: {
  readonly log: Log
  readonly call: CallBooks
  readonly all: BackendBooks
  readonly clock: Clock
  readonly wallClock: WallClock
}): void {
  switch (news.type) {
    case 'backend-error': {
      const { backend, code, message: detail, sessionLost } = news.fault
      const says = BACKEND_FAULT_WORDS[code] ?? 'a backend failed'
      to.log[FINAL_FAULTS.has(code) ? 'error' : 'warn']({ backend, code, detail, session_lost: sessionLost }, says)
      to.all.fault(news.fault, to.wallClock())
      to.call.take(news)
      return
    }
    case 'backend-session':
      to.all.session(news.opened)
      to.call.take(news)
      return
    case 'circuit':
      to.all.circuit(news.worker, news.circuit, to.clock())
      return
    case 'failover':
      to.log.warn({ fromBackend: news.from, toBackend: news.to, gap_ms: Math.round(news.gapMs), reason: news.reason }, 'another backend took over')
      to.all.takeover(news.from, news.to, news.gapMs)
      to.call.take(news)
      return
    default:
      assertNever(news)
  }
}

import type { CallOutcome, EndReason } from './documents/record.js'

export interface OutcomeFacts {
  /** True if a human answered, or a call back was stored. */
  readonly escalated: boolean
  /** True if at least one question of the caller was answered. */
  readonly answered: boolean
  /** True if the call ended while the caller waited for an answer, a human or a tool with an effect. */
  readonly waiting: boolean
}

/**
 * Returns the outcome of a call. A caller who was answered and then hung up was served. A caller who hung up while
 * waiting was not served.
 */
export function outcomeOf(reason: EndReason, facts: OutcomeFacts): CallOutcome {
  switch (reason) {
    case 'escalated':
      return 'escalated'
    case 'agent-goodbye':
      if (facts.escalated) return 'escalated'
      return facts.waiting ? 'abandoned' : 'contained'
    case 'caller-hung-up':
    case 'silence-limit':
    case 'duration-limit':
    case 'operator-hangup':
    case 'drain-limit':
    // A broken line may look like a caller who hung up: the close frame is missing, or the socket stays open.
    case 'socket-lost':
    case 'carrier-silent':
      if (facts.escalated) return 'escalated'
      return facts.answered && !facts.waiting ? 'contained' : 'abandoned'
    case 'carrier-abuse':
    case 'carrier-not-reading':
    case 'carrier-protocol':
    case 'carrier-error':
    case 'socket-never-came':
    case 'stream-error':
    case 'backend-failed':
    case 'call-fault':
    case 'process-died':
      return 'failed'
    case 'not-taken':
    case 'answering-machine':
    case 'nobody-there':
      return 'unreached'
    default: {
      const never: never = reason
      return never
    }
  }
}

/** Close code of the media socket when the gateway ends the stream. */
export function closeCodeOf(reason: EndReason): number {
  switch (reason) {
    case 'drain-limit':
      return 1001 // going away
    case 'carrier-abuse':
    case 'carrier-not-reading':
      return 1008 // policy
    case 'call-fault':
      return 1011 // internal error
    default:
      return 1000
  }
}

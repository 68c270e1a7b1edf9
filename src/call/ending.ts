import { STREAM_CLOSE_WAIT_MS, WORDS_HEARD_MS_MAX } from '../core/limits.js'
import type { CallCore } from './call-core.js'
import { closeCodeOf, outcomeOf } from './outcome.js'
import type { StreamFault } from './events.js'
import type { OutcomeFacts } from './outcome.js'
import type { EndReason } from './record.js'

/** Longest reading time that we grant a phrase: slow speech has 11 characters a second. */
const WORDS_MS_PER_CHAR = 90
const WORDS_START_MS = 3000

/** Quiet after the agent's last words before an agreed end; longer while the backend may still send some. */
const QUIET_MS = 400
const QUIET_WHILE_RESPONDING_MS = 1500
const QUIET_POLL_MS = 100

const NOT_WHILE_CLOSING = [
  'silence', 'filler', 'answer', 'backend-ready', 'escalation-step', 'hold', 'words-heard',
] as const

interface Plan {
  readonly reason: EndReason
  readonly detail: string
  /** The agent's own end: a caller who speaks up takes it back. */
  cancellable: boolean
  /** Answers the tool call that asked for the end, should it not come to it. */
  readonly toolCallId: string | null
  /** The phrase that must be heard first. */
  itemId: string | null
  quietSinceMs: number | null
}

/**
 * How a call ends.
 *
 *     (any)    --goodbye of ours-->  closing  words announced, then end-stream when they were heard (or by deadline)
 *     live     --end_call-->         closing  current words heard and QUIET_MS of quiet, then end-stream
 *     closing  --caller speaks up, end_call only-->  live
 *     (any)    --end now-->          closed   end-stream sent, tools and backend let go
 *     closed   --stream-closed, or STREAM_CLOSE_WAIT_MS-->  ended
 *     (any)    --stream-closed-->    ended    the caller hung up, or what the socket's fault says
 *     waiting  --end-->              ended    there is no stream to close
 */
export class Ending {
  plan: Plan | null = null
  readonly #core: CallCore
  #facts: OutcomeFacts | null = null
  #closedFor: { readonly reason: EndReason; readonly detail: string } | null = null

  constructor(core: CallCore) {
    this.#core = core
  }

  /** Says `text` and ends the stream when it was heard. `hush` cuts what the agent is saying. */
  speakThenEnd(reason: EndReason, detail: string, text: string, hush: boolean): void {
    const core = this.#core
    if (!core.streaming || text === '') return this.endNow(reason, detail)
    if (hush) core.hushAgent()
    this.#beginClosing()
    const itemId = core.announce(text, reason === 'backend-failed' ? 'apology' : 'goodbye')
    this.plan = { reason, detail, cancellable: false, toolCallId: null, itemId, quietSinceMs: null }
    core.in('words-heard', wordsDeadlineMs(core, text))
    core.mark('goodbye', detail === '' ? reason : `${reason}: ${detail}`)
  }

  /** The agent asked for the end: lets its current words be heard. Without any, says `text`. */
  endAfterSpeech(detail: string, text: string, toolCallId: string): void {
    const core = this.#core
    this.#beginClosing()
    const itemId = !core.agentSpokeLast && !core.sounding && text !== '' ? core.announce(text, 'goodbye') : null
    this.plan = { reason: 'agent-goodbye', detail, cancellable: true, toolCallId, itemId, quietSinceMs: null }
    core.in('quiet-goodbye', QUIET_POLL_MS)
    core.in('quiet-goodbye-limit', WORDS_HEARD_MS_MAX + core.playout.pendingMs())
    core.mark('goodbye', 'agent-goodbye')
  }

  /** The caller spoke up before an agreed end. @returns the tool call to be answered, if the end was taken back. */
  takeBack(): string | null {
    const plan = this.plan
    if (plan === null || !plan.cancellable) return null
    this.plan = null
    this.#core.deadlines.clear('quiet-goodbye')
    this.#core.deadlines.clear('quiet-goodbye-limit')
    this.#core.state = 'live'
    this.#core.generationCeiling = Infinity
    this.#core.mark('goodbye-taken-back')
    return plan.toolCallId
  }

  /** A phrase was heard, cut, or could not be spoken. */
  itemOver(itemId: string): void {
    if (this.plan?.itemId !== itemId) return
    this.plan.itemId = null
    if (!this.plan.cancellable) this.endNow(this.plan.reason, this.plan.detail)
  }

  wordsOverdue(): void {
    if (this.plan !== null) this.endNow(this.plan.reason, this.plan.detail)
  }

  /** Looks whether the agent's last words were heard and nothing follows. */
  checkQuiet(): void {
    const core = this.#core
    const plan = this.plan
    if (plan === null || !plan.cancellable) return
    if (core.sounding || plan.itemId !== null || core.bargeIn.paused) {
      plan.quietSinceMs = null
    } else {
      plan.quietSinceMs ??= core.nowMs
      const neededMs = core.responseGeneration === null ? QUIET_MS : QUIET_WHILE_RESPONDING_MS
      if (core.nowMs - plan.quietSinceMs >= neededMs) return this.endNow(plan.reason, plan.detail)
    }
    core.in('quiet-goodbye', QUIET_POLL_MS)
  }

  /** Ends without another word. `hangup` false: the leg lives on, for a human. */
  endNow(reason: EndReason, detail: string, hangup = true): void {
    const core = this.#core
    if (core.state === 'closed' || core.state === 'ended') return
    const hadStream = core.streaming
    core.out({ type: 'end-stream', code: closeCodeOf(reason), reason, detail, hangup })
    if (!hadStream) return this.finish(reason, detail)
    this.#closedFor = { reason, detail }
    this.#release(reason)
    core.state = 'closed'
    core.deadlines.clearAll()
    core.in('stream-close', STREAM_CLOSE_WAIT_MS)
  }

  /** The socket is gone. @param fault  null where it was closed in order */
  streamClosed(code: number, fault: StreamFault | null): void {
    const core = this.#core
    core.streamClosedAtMs = core.nowMs
    if (this.#closedFor !== null) this.finish(this.#closedFor.reason, this.#closedFor.detail)
    else if (core.state === 'bridged') this.finish('escalated', 'the call with the human ended')
    else if (fault === null) this.finish('caller-hung-up', `in ${core.state}`)
    else {
      // The carrier holds the leg of a socket that failed, in silence, unless a human is on the way. One that is lost has
      // most often lost its leg too.
      if (fault.reason !== 'socket-lost' && core.escalation?.outcome !== null) core.out({ type: 'end-stream', code, ...fault, hangup: true })
      this.finish(fault.reason, fault.detail)
    }
  }

  streamCloseOverdue(): void {
    if (this.#closedFor === null) return
    this.#core.mark('stream-close-overdue')
    this.finish(this.#closedFor.reason, this.#closedFor.detail)
  }

  finish(reason: EndReason, detail: string): void {
    const core = this.#core
    if (core.state === 'ended') return
    this.#release(reason)
    const outcome = outcomeOf(reason, this.#facts ?? { handedOver: false, answered: false, waiting: false })
    core.state = 'ended'
    core.streamClosedAtMs ??= core.nowMs
    core.deadlines.clearAll()
    core.mark('ended', `${reason}${detail === '' ? '' : `: ${detail}`}; ${this.#figures()}`)
    core.out({ type: 'ended', outcome, reason, detail })
  }

  /** What the end is judged by: how long the stream was open, and what the caller got. */
  #figures(): string {
    const core = this.#core
    const waiting = this.#facts?.waiting === true ? ', the caller was waiting' : ''
    return `${Math.round(core.streamMs)} ms of stream, ${core.log.turnsAnswered} of ${core.log.turns.length} turns answered${waiting}`
  }

  /** Lets go of tools, backend and everything that is still open in the books. Idempotent. */
  #release(reason: EndReason): void {
    const core = this.#core
    const bridged = core.escalation?.outcome === 'answered'
    // Asked before the turn is closed: a caller who waits at the end was not served.
    this.#facts ??= {
      handedOver: bridged,
      answered: core.log.turnsAnswered > 0,
      waiting: core.turns.waitingForReal || (core.escalation !== null && !bridged && core.state !== 'live'),
    }
    const asAsked = reason === 'escalated' || reason === 'agent-goodbye' || bridged
    core.tools.closeGateway(asAsked, core.nowMs, core.streamZeroMs)
    const settled = core.bargeIn.settle(core.playout.lastSentAtMs(), core.streamZeroMs)
    if (settled !== null) core.record({ kind: 'barge-in', record: settled })
    core.bargeIn.abandon()
    core.cancelTools()
    core.closeBackend(reason)
    core.transcript.close(core.streamMs)
    core.turn(core.turns.close(core.streamZeroMs))
  }

  #beginClosing(): void {
    const core = this.#core
    core.state = 'closing'
    core.generationCeiling = core.generationSeen
    for (const name of NOT_WHILE_CLOSING) core.deadlines.clear(name)
    core.checkpointDue = true
  }
}

/** Until when words must have been heard: all that waits before them, and a slow reading of them. */
export function wordsDeadlineMs(core: CallCore, text: string): number {
  return Math.min(WORDS_HEARD_MS_MAX, core.playout.pendingMs() + WORDS_START_MS + text.length * WORDS_MS_PER_CHAR)
}

import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { neverOpened } from '../call/documents/record.js'
import type { CallRecord } from '../call/documents/record.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { Log } from '../telemetry/log.js'
import type { OverAnswer } from '../workers/main/main-thread-context.js'

/**
 * Time in ms between two checks whether another node has the record of a call that ended here. Together the checks
 * outlast the detection of dead nodes.
 */
const LEFT_CALL_LOOK_MS = 5000
export const LEFT_CALL_LOOKS_MAX = 12
/** Maximum number of calls about which the store and other nodes are asked at the same time. */
const ASKED_AT_ONCE_MAX = 8

interface UnsettledCallsOptions {
  /** Records of calls of earlier runs. `settle` is also called for each of these records. */
  readonly earlier: readonly CallRecord[]
  /** True if the call is live in this process again. */
  readonly isLive: (callSid: CallSid) => boolean
  /** This process's record of the call. */
  readonly recordOf: (callSid: CallSid) => CallRecord | undefined
  /** Finds out whether the call is at another node, live or as a record. `isLast`: this is the last check. */
  readonly recordAt: (
    callSid: CallSid,
    ours: CallRecord,
    isLast: boolean,
  ) => Promise<'elsewhere' | 'nowhere' | 'unknown'>
  /** Called if another node has a call that is not live here. The other node then answers requests about the call. */
  readonly onElsewhere: (callSid: CallSid) => void
  /** True if the next start of this node can find the record of an undecided call. */
  readonly isKept: boolean
  readonly log: Log
  /** Waits. The wait ends early if the signal is aborted. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

/**
 * Calls that ended here because their process died or lost ownership. If another node continued such a call, only the
 * other node's record counts, so that each call counts once.
 */
export class UnsettledCalls {
  readonly #options: UnsettledCallsOptions
  readonly #undecided: Map<string, CallRecord>
  readonly #closing = new AbortController()

  constructor(options: UnsettledCallsOptions) {
    this.#options = options
    this.#undecided = new Map(options.earlier.map((record) => [record.callSid, record]))
    // Each waiting call adds a listener. Without a higher limit, Node would print a warning at the eleventh listener.
    setMaxListeners(0, this.#closing.signal)
  }

  /** Record of an earlier run's call, if this call is not decided yet. */
  record(callSid: string): CallRecord | undefined {
    return this.#undecided.get(callSid)
  }

  /**
   * Decides on each record when the call's owner is known, and then calls `decide`. Never rejects. After `close`, each
   * call is checked once more. If its owner is still unknown then, the next start decides, if the next start can find
   * the record.
   * @param isTaken true: the store has accepted from this node that these calls have ended, so the next start cannot
   * decide on them
   * @param looksMax maximum number of checks, LEFT_CALL_LOOK_MS apart
   */
  async settle(
    records: readonly CallRecord[],
    decide: (record: CallRecord, callSid: CallSid, isRecord: boolean) => void,
    isTaken = false,
    looksMax = LEFT_CALL_LOOKS_MAX,
  ): Promise<void> {
    const { recordAt, isKept, log } = this.#options
    const { signal } = this.#closing
    let left = records
    for (let look = 1; left.length > 0; look++) {
      const undecided: CallRecord[] = []
      const lookAt = async (record: CallRecord): Promise<void> => {
        const callSid = parseCallSid(record.callSid)
        const isLast = look >= looksMax
        const found = this.#isHere(callSid, record) ? 'here' : await recordAt(callSid, record, isLast)
        if (found === 'unknown' && !signal.aborted && !isLast) return void undecided.push(record)
        if (found === 'unknown' && signal.aborted && isKept && !isTaken) return
        if (found === 'elsewhere') {
          log.call(callSid).info({}, 'a call that ended here has its record elsewhere')
          if (!this.#options.isLive(callSid)) this.#options.onElsewhere(callSid)
        }
        this.#undecided.delete(callSid)
        decide(record, callSid, found === 'nowhere' || found === 'unknown')
      }
      for (let i = 0; i < left.length; i += ASKED_AT_ONCE_MAX)
        await Promise.all(left.slice(i, i + ASKED_AT_ONCE_MAX).map(lookAt))
      left = undecided
      if (left.length > 0) await (this.#options.sleep ?? pause)(LEFT_CALL_LOOK_MS, signal)
    }
  }

  /**
   * True if this node's record counts for a call that has just ended here. False if another node's record counts. Other
   * nodes are asked in these cases:
   * - The store answered that another node owns the call, or did not answer about a call in doubt.
   * - The call's stream never came. Another node may have answered a repeated webhook while this node was slow.
   * - The record comes from the kept state of a dead node. Another node may have ended the call without reaching the
   * store. In this case nodes are asked once.
   * - The store has not accepted the call's end, and the call lost its stream, or was placed here and not answered.
   * Another node may continue the call, or have the person on the line.
   *
   * Never resolves if the next start decides.
   */
  isOurs(record: CallRecord, told: OverAnswer): Promise<boolean> {
    const { endReason } = record
    const isSure =
      endReason === 'socket-lost' || endReason === 'not-taken'
        ? told === 'ok'
        : endReason !== 'process-died' && !neverOpened(record) && told !== 'lost' && told !== 'in-doubt'
    if (isSure) return Promise.resolve(true)
    const looksMax = endReason === 'process-died' ? 1 : LEFT_CALL_LOOKS_MAX
    return new Promise(
      (resolve) => void this.settle([record], (_, __, isRecord) => resolve(isRecord), told === 'ok', looksMax),
    )
  }

  /**
   * Ends the waits: each undecided call is checked a last time. Call it when no more calls can end, while the store and
   * other nodes still answer.
   */
  close(): void {
    this.#closing.abort()
  }

  /**
   * True if the call is live in this process again, or if this process has a newer record of the call. That record may
   * also contain the carrier's details.
   */
  #isHere(callSid: CallSid, record: CallRecord): boolean {
    const { endReason, durationMs } = record
    const known = this.#options.recordOf(callSid)
    // An undecided record of an earlier run is never in memory. So a record in memory is a newer one, even if its end
    // is equal.
    const isEarlier = this.#undecided.get(callSid) === record
    const isOther =
      known !== undefined && (isEarlier || known.endReason !== endReason || known.durationMs !== durationMs)
    return isOther || this.#options.isLive(callSid)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { ref: false, signal }).catch(() => undefined)
}

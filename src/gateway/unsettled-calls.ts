import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CallRecord } from '../call/documents/record.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { Log } from '../telemetry/log.js'
import type { OverAnswer } from '../workers/main/main-thread-context.js'

/**
 * How often, and how many times, a node asks whether another has the record of a call that ended here with its process or
 * its ownership. Longer together than the others take to find a node dead (SUSPECT_MS + PROBES_SILENT_MS).
 */
const LEFT_CALL_LOOK_MS = 5000
export const LEFT_CALL_LOOKS_MAX = 12
/** Calls that the store and the others are asked for at once. */
const ASKED_AT_ONCE_MAX = 8

interface UnsettledCallsOptions {
  /** Records of calls of earlier runs; each is given to `settle` too. */
  readonly earlier: readonly CallRecord[]
  /** True if this process has the call again. */
  readonly isLive: (callSid: CallSid) => boolean
  /** Record that this process has of it. */
  readonly recordOf: (callSid: CallSid) => CallRecord | undefined
  /** Says whether the call is on another node, live or as a record. */
  readonly recordAt: (callSid: CallSid, ours: CallRecord) => Promise<'elsewhere' | 'nowhere' | 'unknown'>
  /** True if the next start of this node finds the record of a call that is not decided. */
  readonly isKept: boolean
  readonly log: Log
  /** Ends early when the signal is aborted. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

/**
 * Calls that ended here with their process or their ownership. Where another node went on with one, its record there is
 * the record of the whole call, and the part of this node is not a lost call: so each counts once.
 */
export class UnsettledCalls {
  readonly #options: UnsettledCallsOptions
  readonly #undecided: Map<string, CallRecord>
  readonly #closing = new AbortController()

  constructor(options: UnsettledCallsOptions) {
    this.#options = options
    this.#undecided = new Map(options.earlier.map((record) => [record.callSid, record]))
    // Each call that is waited for listens; Node would warn of eleven.
    setMaxListeners(0, this.#closing.signal)
  }

  /** Record of a call of an earlier run, of which it is still to be decided what becomes of its part here. */
  record(callSid: string): CallRecord | undefined {
    return this.#undecided.get(callSid)
  }

  /**
   * Decides on each record, as soon as it is known. Does not reject. After `close` the others are asked once more: a call that
   * they do not say anything of is left to the next start, where that finds it.
   * @param isTaken  the store has taken the end of these calls as this node's: none is left to the next start
   */
  async settle(
    records: readonly CallRecord[],
    decide: (record: CallRecord, callSid: CallSid, isRecord: boolean) => void,
    isTaken = false,
  ): Promise<void> {
    const { recordAt, isKept, log } = this.#options
    const { signal } = this.#closing
    let left = records
    for (let look = 1; left.length > 0; look++) {
      const undecided: CallRecord[] = []
      const lookAt = async (record: CallRecord): Promise<void> => {
        const callSid = parseCallSid(record.callSid)
        const found = this.#isHere(callSid, record) ? 'here' : await recordAt(callSid, record)
        if (found === 'unknown' && !signal.aborted && look < LEFT_CALL_LOOKS_MAX) return void undecided.push(record)
        if (found === 'unknown' && signal.aborted && isKept && !isTaken) return
        if (found === 'elsewhere') log.call(callSid).info({}, 'a call that ended here has its record elsewhere')
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
   * True if the record of a call that has just ended here is the call's. The others are asked
   * - where the store says that the call is another node's, or does not answer about one in doubt;
   * - where its stream never came: who asked for its document once more may have got that of another node, while this one was slow;
   * - where its stream was lost, or it was placed here and not answered, and the store has not taken its end: another node may go on
   *   with it, or have the person on the line.
   *
   * Stays open where the next start decides.
   */
  isOurs(record: CallRecord, told: OverAnswer): Promise<boolean> {
    const { endReason } = record
    const isSure =
      endReason === 'socket-lost' || endReason === 'not-taken'
        ? told === 'ok'
        : endReason !== 'socket-never-came' && told !== 'lost' && told !== 'in-doubt'
    if (isSure) return Promise.resolve(true)
    return new Promise(
      (resolve) => void this.settle([record], (_record, _callSid, isRecord) => resolve(isRecord), told === 'ok'),
    )
  }

  /** No more calls end: the store and the others still answer, for seconds. */
  close(): void {
    this.#closing.abort()
  }

  /** True if this process has the call again, or a record of it that is not this one, to which the carrier's may be joined by now. */
  #isHere(callSid: CallSid, record: CallRecord): boolean {
    const { endReason, durationMs } = record
    const known = this.#options.recordOf(callSid)
    // A record that an earlier run has left is in memory once it is decided, and no sooner: both may have died at the same moment of the call.
    const isEarlier = this.#undecided.get(callSid) === record
    const isOther =
      known !== undefined && (isEarlier || known.endReason !== endReason || known.durationMs !== durationMs)
    return isOther || this.#options.isLive(callSid)
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return sleep(ms, undefined, { ref: false, signal }).catch(() => undefined)
}

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

interface LeftCallsOptions {
  /** SIDs of calls of earlier runs; each is given to `settle` too. */
  readonly earlier: readonly string[]
  /** True if this process has the call again. */
  readonly isLive: (callSid: CallSid) => boolean
  /** Record that this process has of it. */
  readonly recordOf: (callSid: CallSid) => CallRecord | undefined
  /** Says whether the call is on another node, live or as a record. */
  readonly recordAt: (callSid: CallSid, ours: CallRecord) => Promise<'elsewhere' | 'nowhere' | 'unknown'>
  readonly log: Log
  readonly sleep?: (ms: number) => Promise<void>
}

/**
 * Calls that ended here with their process or their ownership. Where another node went on with one, its record there is
 * the record of the whole call, and the part of this node is not a lost call: so each counts once.
 */
export class UnsettledCalls {
  readonly #options: LeftCallsOptions
  readonly #undecided: Set<string>
  #closed = false

  constructor(options: LeftCallsOptions) {
    this.#options = options
    this.#undecided = new Set(options.earlier)
  }

  /** True if it is a call of an earlier run, of which it is still to be decided what becomes of its part here. */
  has(callSid: string): boolean {
    return this.#undecided.has(callSid)
  }

  /**
   * Decides on each record, as soon as it is known. Does not reject. After `close` no more records are made.
   * @param isTaken  the store has taken the end of these calls as this node's: nobody goes on with them, and after `close` the
   *   others are waited for no more
   */
  async settle(
    records: readonly CallRecord[],
    decide: (record: CallRecord, callSid: CallSid, isRecord: boolean) => void,
    isTaken = false,
  ): Promise<void> {
    const { recordAt, log } = this.#options
    let left = records
    for (let look = 1; left.length > 0; look++) {
      const undecided: CallRecord[] = []
      for (const record of left) {
        const callSid = parseCallSid(record.callSid)
        const found = this.#isHere(callSid, record) ? 'here' : await recordAt(callSid, record)
        // A call that is found here, or on another node, is certain, also while this one stops.
        if (this.#closed && !isTaken && (found === 'nowhere' || found === 'unknown')) return
        if (found === 'unknown' && look < LEFT_CALL_LOOKS_MAX && !this.#closed) {
          undecided.push(record)
          continue
        }
        if (found === 'elsewhere')
          log.call(callSid).info({}, 'a call that ended here was continued by another node, which has its record')
        this.#undecided.delete(callSid)
        decide(record, callSid, found === 'nowhere' || found === 'unknown')
      }
      left = undecided
      if (left.length > 0) await (this.#options.sleep ?? pause)(LEFT_CALL_LOOK_MS)
    }
  }

  /**
   * True if the record of a call that has just ended here is the call's. The others are asked where the store says that the
   * call is another node's; where its stream never came, because whoever asked for its document once more may have got that of
   * another node, while this one was slow; and where its stream was lost and the store has not taken its end, because another
   * node may go on with it. Stays open when this process ends first.
   */
  isOurs(record: CallRecord, told: OverAnswer): Promise<boolean> {
    const { endReason } = record
    const isSure = endReason === 'socket-lost' ? told === 'ok' : endReason !== 'socket-never-came' && told !== 'lost'
    if (isSure) return Promise.resolve(true)
    return new Promise(
      (resolve) => void this.settle([record], (_record, _callSid, isRecord) => resolve(isRecord), told === 'ok'),
    )
  }

  close(): void {
    this.#closed = true
  }

  /** True if this process has the call again, or a record of it that is not this one, to which the carrier's may be joined by now. */
  #isHere(callSid: CallSid, { endReason, durationMs }: CallRecord): boolean {
    const known = this.#options.recordOf(callSid)
    const isOther = known !== undefined && (known.endReason !== endReason || known.durationMs !== durationMs)
    return isOther || this.#options.isLive(callSid)
  }
}

function pause(ms: number): Promise<void> {
  return sleep(ms, undefined, { ref: false })
}

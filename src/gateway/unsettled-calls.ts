import { setTimeout as sleep } from 'node:timers/promises'
import type { CallRecord } from '../call/documents/record.js'
import { parseCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { Log } from '../telemetry/log.js'

/**
 * How often, and how many times, a node asks whether another has the record of a call that ended here with its process or
 * its ownership. Longer together than the others take to find a node dead (SUSPECT_MS + PROBES_SILENT_MS).
 */
const LEFT_CALL_LOOK_MS = 5000
export const LEFT_CALL_LOOKS_MAX = 12

interface LeftCallsOptions {
  /** SIDs of calls of earlier runs; each is given to `settle` too. */
  readonly earlier: readonly string[]
  /** True if this process has the call again, or another record of it. */
  readonly isHere: (callSid: CallSid, record: CallRecord) => boolean
  /** Says whether the call is on another node, live or as a record. */
  readonly recordAt: (callSid: CallSid) => Promise<'elsewhere' | 'nowhere' | 'unknown'>
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

  /** Decides on each record, as soon as it is known. Does not reject. After `close` no more records are made. */
  async settle(
    records: readonly CallRecord[],
    decide: (record: CallRecord, callSid: CallSid, isRecord: boolean) => void,
  ): Promise<void> {
    const { isHere, recordAt, log } = this.#options
    let left = records
    for (let look = 1; left.length > 0; look++) {
      const undecided: CallRecord[] = []
      for (const record of left) {
        const callSid = parseCallSid(record.callSid)
        const found = isHere(callSid, record) ? 'here' : await recordAt(callSid)
        // A call that is found here, or on another node, is certain, also while this one stops.
        if (this.#closed && (found === 'nowhere' || found === 'unknown')) return
        if (found === 'unknown' && look < LEFT_CALL_LOOKS_MAX) {
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
   * True if the record of a call that has just ended here is the call's, though the store says that the call is another
   * node's. Stays open when this process ends first.
   */
  isOurs(record: CallRecord): Promise<boolean> {
    return new Promise((resolve) => void this.settle([record], (_record, _callSid, isRecord) => resolve(isRecord)))
  }

  close(): void {
    this.#closed = true
  }
}

function pause(ms: number): Promise<void> {
  return sleep(ms, undefined, { ref: false })
}

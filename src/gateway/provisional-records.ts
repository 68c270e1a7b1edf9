import type { CallRecord } from '../call/documents/record.js'
import { isCallSid } from '../core/ids.js'
import type { CallSid } from '../core/ids.js'
import type { RecordPlace } from '../edge/ops/ops-fleet.js'
import type { FleetNode } from '../fleet/fleet-node.js'
import type { Log } from '../telemetry/log.js'

/** Maximum number of records that are watched. For a further record, the oldest is not watched any more. */
const PROVISIONAL_MAX = 1000
/** Time in ms between two checks whether a node has come that was not asked yet. */
const PROVISIONAL_LOOK_MS = 5000
/** Maximum number of checks of a record at the same runs, if one of them or the store does not answer. */
const PROVISIONAL_LOOKS_MAX = 12

class Watched {
  readonly record: CallRecord
  /** Runs of other nodes that are not asked again. */
  asked: ReadonlySet<string> = new Set()
  /** Number of checks without an answer of each run. */
  looks = 0

  constructor(record: CallRecord) {
    this.record = record
  }

  answered(runs: readonly string[]): void {
    this.asked = new Set(runs)
    this.looks = 0
  }
}

interface ProvisionalRecordsOptions {
  readonly node: Pick<FleetNode, 'others' | 'leftRecords'>
  readonly recordAt: (callSid: CallSid, ours: CallRecord) => Promise<RecordPlace>
  /** Drops this node's record, because another node keeps the record with the end of the call. */
  readonly drop: (callSid: CallSid) => Promise<void>
  readonly log: Log
}

/**
 * Records of this node that do not contain the end of their call. A node that was away may have seen the end, so each
 * run of another node is asked once it is alive. If it shows the end, this node's record is dropped.
 */
export class ProvisionalRecords {
  /** Number of records that were dropped because another node has shown the end of the call. */
  replaced = 0
  readonly #options: ProvisionalRecordsOptions
  readonly #records = new Map<CallSid, Watched>()
  #timer: NodeJS.Timeout | null = null
  #looking = false

  constructor(options: ProvisionalRecordsOptions) {
    this.#options = options
  }

  /** Watches the record, if it does not contain the end of its call. */
  add(record: CallRecord): void {
    const { callSid, endReason } = record
    if (endReason !== 'process-died' || !isCallSid(callSid)) return
    this.#records.set(callSid, new Watched(record))
    this.#options.node.leftRecords.setYields(callSid, true)
    if (this.#records.size <= PROVISIONAL_MAX) return
    for (const oldest of this.#records.keys()) return this.#forget(oldest)
  }

  start(): void {
    this.#timer = setInterval(() => void this.look(), PROVISIONAL_LOOK_MS)
    this.#timer.unref()
  }

  /** Asks the nodes that were not asked yet. Never rejects: a record that a fault concerns is looked for again. */
  async look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      for (const [callSid, watched] of this.#records)
        await this.#lookFor(callSid, watched).catch((thrown: unknown) =>
          this.#options.log.call(callSid).warn({ err: thrown }, 'a provisional record was not looked for'),
        )
    } finally {
      this.#looking = false
    }
  }

  async #lookFor(callSid: CallSid, watched: Watched): Promise<void> {
    const { node, recordAt, drop, log } = this.#options
    const runs = node
      .others()
      .flatMap(({ name, incarnation, seen }) => (seen === 'alive' ? [`${name} ${incarnation}`] : []))
    if (runs.every((run) => watched.asked.has(run))) return
    // The last check counts before it is made: it may fail.
    if (++watched.looks >= PROVISIONAL_LOOKS_MAX) watched.answered(runs)
    const place = await recordAt(callSid, watched.record)
    if (place === 'nowhere') watched.answered(runs)
    if (place !== 'elsewhere') return
    await drop(callSid)
    this.#forget(callSid)
    this.replaced++
    log.call(callSid).info({}, 'another node has shown the end of a call, so its provisional record is dropped')
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  #forget(callSid: CallSid): void {
    this.#records.delete(callSid)
    this.#options.node.leftRecords.setYields(callSid, false)
  }
}

import type { CallAnalysis, CallRecord } from '../call/documents/record.js'
import { callAnalysisSchema, callRecordSchema } from '../call/documents/record.js'
import { messageOf } from '../core/errors.js'
import type { CallStore } from '../fleet/store/call-store.js'
import type { Entry } from '../messages/entry.js'
import type { Held, SharedOutbox } from '../messages/shared-outbox.js'
import type { Log } from '../telemetry/log.js'

/**
 * Time in ms for which the fleet stores that a call was analysed. After this time the call is not analysed any more.
 */
export const OWED_MS_MAX = 24 * 3_600_000

interface OwedAnalysesOptions {
  /** Stream of its own in Redis. Each entry is a call's record. */
  readonly stream: Pick<SharedOutbox, 'addOwn' | 'claim' | 'remove' | 'forget'>
  readonly store: Pick<CallStore, 'once' | 'standing' | 'settle'>
  readonly seal: (callSid: string, text: string) => Uint8Array
  readonly open: (callSid: string, sealed: Uint8Array) => string
  readonly log: Log
}

/**
 * Analyses that the nodes of a fleet owe. Redis stores the sealed record of an ended call until the message with its
 * analysis is stored. The call's node makes the analysis. If this node's process dies, another node or the node's next
 * run claims the record. The first finished analysis is stored in Redis, and all nodes use it.
 *
 * The promises of this class never reject. Without the store, a node analyses only its own calls.
 */
export class OwedAnalyses {
  readonly #options: OwedAnalysesOptions

  constructor(options: OwedAnalysesOptions) {
    this.#options = options
  }

  /** @returns true if another node already owes this analysis */
  async owe(record: CallRecord): Promise<boolean> {
    const { callSid } = record
    const entry: Entry = {
      version: 1,
      id: callSid,
      receiver: 'analysis',
      url: null,
      type: 'call.ended',
      callSid,
      order: 0,
      contentType: 'application/json',
      body: JSON.stringify(record),
    }
    const added = await this.#safely(() => this.#options.stream.addOwn(keyOf(callSid), callSid, entry))
    return added === 'known'
  }

  /**
   * Claims the records of analyses that dead runs owe. Also claims records of this run that are missing in `held`.
   * @param held calls that this node will analyse without a claim
   */
  async claim(held: Held): Promise<readonly CallRecord[]> {
    const keys: Held = { size: held.size, has: (key) => held.has(callSidOf(key)) }
    const claimed = await this.#safely(async () =>
      (await this.#options.stream.claim(keys)).flatMap(({ entry }) => {
        const read = callRecordSchema.safeParse(JSON.parse(entry.body))
        return read.success ? [read.data] : []
      }),
    )
    return claimed ?? []
  }

  /** Analysis that another node has made; null if no node has made it. */
  async known(callSid: string): Promise<CallAnalysis | null> {
    return this.#opened(callSid, await this.#safely(() => this.#options.store.standing(markOf(callSid))))
  }

  /** @returns the analysis that counts: the given analysis, or the one that another node has stored before */
  async settle(callSid: string, analysis: CallAnalysis): Promise<CallAnalysis> {
    const sealed = Buffer.from(this.#options.seal(callSid, JSON.stringify(analysis))).toString('base64')
    const standing = await this.#safely(() => this.#options.store.once(markOf(callSid), sealed, OWED_MS_MAX))
    // If the store's answer was lost, the analysis is read again: another node may have stored one first.
    return this.#opened(callSid, standing) ?? (await this.known(callSid)) ?? analysis
  }

  /** Removes the entry, because its message is in the outbox. */
  async done(callSid: string): Promise<void> {
    await this.#safely(() => this.#options.stream.remove(keyOf(callSid), callSid))
  }

  async forget(callSids: readonly string[]): Promise<void> {
    const { stream, store } = this.#options
    await stream.forget(callSids, ({ callSid }) => callSid)
    for (const callSid of callSids) await store.settle(markOf(callSid), '', 1)
  }

  #opened(callSid: string, sealed: string | null): CallAnalysis | null {
    if (sealed === null) return null
    try {
      return callAnalysisSchema.parse(JSON.parse(this.#options.open(callSid, Buffer.from(sealed, 'base64'))))
    } catch {
      return null // an entry written with another TOKEN_SECRET or by another version
    }
  }

  async #safely<T>(ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask()
    } catch (thrown) {
      this.#options.log.warn(
        { reason: messageOf(thrown) },
        'analyses that are still to be made cannot be shared with other nodes',
      )
      return null
    }
  }
}

function keyOf(callSid: string): string {
  return `${callSid}.analysis`
}

function callSidOf(key: string): string {
  return key.slice(0, key.lastIndexOf('.'))
}

function markOf(callSid: string): string {
  return `analysed:${callSid}`
}

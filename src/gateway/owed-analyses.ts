import type { CallAnalysis, CallRecord } from '../call/documents/record.js'
import { callAnalysisSchema, callRecordSchema } from '../call/documents/record.js'
import { messageOf } from '../core/errors.js'
import type { CallStore } from '../fleet/store/call-store.js'
import type { Entry } from '../messages/entry.js'
import type { Held, SharedOutbox } from '../messages/shared-outbox.js'
import type { Log } from '../telemetry/log.js'

/** How long a fleet knows that a call was analysed, and how late one is analysed at all. */
export const OWED_MS_MAX = 24 * 3_600_000

interface OwedAnalysesOptions {
  /** A stream of its own, in which each entry is a record. */
  readonly stream: Pick<SharedOutbox, 'addOwn' | 'claim' | 'remove' | 'forget'>
  readonly store: Pick<CallStore, 'once' | 'standing' | 'settle'>
  readonly seal: (callSid: string, text: string) => Uint8Array
  readonly open: (callSid: string, sealed: Uint8Array) => string
  readonly log: Log
}

/**
 * The analyses that the nodes of a fleet owe: each record is in Redis, sealed, from the end of its call until its analysis is
 * on its way to receivers. Its own node analyses it; when that run is gone, another node, or its next run, claims it. An
 * analysis is written once, so that whoever is late takes the one that stands. Nothing here rejects: without the store a
 * node analyses its own calls alone.
 */
export class OwedAnalyses {
  readonly #options: OwedAnalysesOptions

  constructor(options: OwedAnalysesOptions) {
    this.#options = options
  }

  /** @returns whether another node owes it already */
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
   * Records that runs owed which are gone, and those that this run owes without knowing it.
   * @param held  calls whose analyses this node is about to make
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

  /** Analysis that another node has made; null: none has. */
  async known(callSid: string): Promise<CallAnalysis | null> {
    return this.#opened(callSid, await this.#safely(() => this.#options.store.standing(markOf(callSid))))
  }

  /** @returns the analysis that counts: this one, or the one that another node was first with */
  async settle(callSid: string, analysis: CallAnalysis): Promise<CallAnalysis> {
    const sealed = Buffer.from(this.#options.seal(callSid, JSON.stringify(analysis))).toString('base64')
    const standing = await this.#safely(() => this.#options.store.once(markOf(callSid), sealed, OWED_MS_MAX))
    // Its answer may be lost, and another node may have been first.
    return this.#opened(callSid, standing) ?? (await this.known(callSid)) ?? analysis
  }

  /** Its message is in the outbox. */
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
      return null // of another TOKEN_SECRET, or another version
    }
  }

  async #safely<T>(ask: () => Promise<T>): Promise<T | null> {
    try {
      return await ask()
    } catch (thrown) {
      this.#options.log.warn({ reason: messageOf(thrown) }, 'analyses that are owed cannot be shared with other nodes')
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

import { LRUCache } from 'lru-cache'
import { atMost } from '../core/at-most.js'

/** Maximum number of calls in `#keptFor`, and maximum number of calls in `#owners`. */
const LEFT_RECORDS_MAX = 10_000

/**
 * Agreement between two nodes that both have a record of a call. A node drops its record only if the other node
 * promises to keep its own record.
 */
export class LeftRecords {
  readonly #name: string
  /** Calls whose record this node is dropping, at most ASKED_AT_ONCE_MAX (`gateway/unsettled-calls.ts`) at a time. */
  readonly #leaving = new Set<string>()
  /** Calls for which this node is asking other nodes whether its own record counts; only a few at a time. */
  readonly #asking = new Set<string>()
  /** Node that has dropped its record because this node's record counts, by call. */
  readonly #keptFor = new LRUCache<string, string>(atMost(LEFT_RECORDS_MAX))

  /** Owner that the store named when this node last decided on a call, by call; null if the store named no owner. */
  readonly #owners = new LRUCache<string, { readonly node: string | null }>(atMost(LEFT_RECORDS_MAX))

  /** @param name  name of this node */
  constructor(name: string) {
    this.#name = name
  }

  /** Remembers the owner that the store named for a call. */
  noteOwner(callSid: string, owner: string | null): void {
    this.#owners.set(callSid, { node: owner })
  }

  /** Owner that `noteOwner` last received for this call; undefined if it received none. */
  ownerOf(callSid: string): string | null | undefined {
    return this.#owners.get(callSid)?.node
  }

  /** True if `node` has dropped its record of a call because this node's record counts. */
  isKeptFor(callSid: string, node: string): boolean {
    return this.#keptFor.get(callSid) === node
  }

  /** @param look asks other nodes whether this node's record counts */
  async ask<Found>(callSid: string, look: () => Promise<Found>): Promise<Found> {
    this.#asking.add(callSid)
    try {
      return await look()
    } finally {
      this.#asking.delete(callSid)
    }
  }

  /** True while this node asks other nodes whether its record of a call counts. */
  asks(callSid: string): boolean {
    return this.#asking.has(callSid)
  }

  /**
   * True if this node may drop a call's record because node `to` keeps its record.
   * @param asks resolves with the answer of `keeps` at the other node
   */
  async leave(callSid: string, to: string, asks: () => Promise<boolean>): Promise<boolean> {
    if (this.isKeptFor(callSid, to)) return false
    this.#leaving.add(callSid)
    try {
      return await asks()
    } finally {
      this.#leaving.delete(callSid)
    }
  }

  /**
   * Answers another node that wants to drop its record of a call. True: this node keeps its own record. If both nodes
   * ask at once, one of them gets false: their names decide.
   */
  keeps(callSid: string, from: string): boolean {
    if (this.#leaving.has(callSid) && from < this.#name) return false
    this.#keptFor.set(callSid, from)
    return true
  }
}

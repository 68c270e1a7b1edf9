import { LRUCache } from 'lru-cache'
import { assert } from '../core/assert.js'
import { FORWARDS_WAITING_MAX, FORWARD_ANSWER_MS, PLACED_CALLS_MAX } from '../core/limits.js'
import type { ProvenWebhook } from './proven-webhook.js'

/**
 * Messages between the supervisor and its nodes (the processes of `serve --processes`), over the channel that `fork`
 * makes. Plain data. Secrets travel only here: not in arguments, not in the environment, not in the log.
 */
export type ToNode<Plan> = StartNode<Plan> | NodeNews

export interface StartNode<Plan> {
  readonly type: 'start'
  readonly plan: Plan
  /** How often this node was started again. */
  readonly restarts: number
  readonly owners: OwnersSnapshot
}

type NodeNews =
  | { readonly type: 'owner'; readonly key: string; readonly index: number }
  /** A node died: its calls have no owner. */
  | { readonly type: 'lost'; readonly index: number; readonly keys: readonly string[] }
  | { readonly type: 'forward'; readonly id: number; readonly from: number; readonly webhook: ProvenWebhook }
  | { readonly type: 'answer'; readonly id: number; readonly answer: object | null }

export type FromNode =
  | ({ readonly type: 'ready' } & NodeReady)
  /** It could not start. `usage`: because of a setting or an argument, so that a restart does not help. */
  | { readonly type: 'failed'; readonly message: string; readonly usage: boolean }
  | RoutedMessage

/** The messages that `NodeSwitch` handles. */
type RoutedMessage =
  | { readonly type: 'owned'; readonly key: string; readonly announce: boolean }
  | { readonly type: 'forward'; readonly id: number; readonly to: number; readonly webhook: ProvenWebhook }
  | { readonly type: 'answer'; readonly id: number; readonly to: number; readonly answer: object }

export interface NodeReady {
  readonly publicPort: number
  readonly opsPort: number
  readonly agents: readonly string[]
}

/** Calls whose owner is not the first one by the hash of their SID, and calls of nodes that died; both oldest first. */
interface OwnersSnapshot {
  readonly announced: readonly (readonly [key: string, index: number])[]
  readonly lost: readonly string[]
}

interface NodeLinkOptions {
  readonly index: number
  readonly count: number
  readonly owners: OwnersSnapshot
  /** Must not throw; a message to a supervisor that is gone is lost. */
  readonly send: (message: FromNode) => void
}

/**
 * A node's end of the channel to the other nodes, through the supervisor: it knows the owner of each call, and forwards
 * webhooks to it.
 */
export class NodeLink {
  /** This node, from 0. */
  readonly index: number
  /** Nodes, this one included; at least 2. */
  readonly count: number
  readonly #send: (message: FromNode) => void
  readonly #announced = new LRUCache<string, number>({ max: PLACED_CALLS_MAX })
  readonly #lost = new LRUCache<string, true>({ max: PLACED_CALLS_MAX })
  readonly #waiting = new Map<number, (answer: object | null) => void>()
  #handler: ((webhook: ProvenWebhook) => object) | null = null
  #lastId = 0
  #closed = false

  constructor(options: NodeLinkOptions) {
    this.index = options.index
    this.count = options.count
    this.#send = options.send
    for (const [key, index] of options.owners.announced) this.#announced.set(key, index)
    for (const key of options.owners.lost) this.#lost.set(key, true)
  }

  /**
   * All nodes in the order in which they may take a call: its owner first, then those that take it when the owner is
   * full or gone.
   * @param clientRequestId  of a call that one of the nodes placed; null for any other
   */
  ownersOf(callSid: string, clientRequestId: string | null): readonly number[] {
    const owners = ownersByHash(callSid, this.count)
    const announced =
      this.#announced.get(callSid) ?? (clientRequestId === null ? undefined : this.#announced.get(clientRequestId))
    return announced === undefined ? owners : [announced, ...owners.filter((index) => index !== announced)]
  }

  /** True when a node that died owned this call. */
  lost(callSid: string): boolean {
    return this.#lost.has(callSid)
  }

  /**
   * This node owns a call, or has placed one: the supervisor remembers it, and with `announce` the other nodes too.
   * @param key  SID or `clientRequestId`
   */
  own(key: string, announce = ownersByHash(key, this.count)[0] !== this.index): void {
    if (announce) this.#announced.set(key, this.index)
    this.#send({ type: 'owned', key, announce })
  }

  /** Another node's answer; null when that node is gone or does not answer in time. Never rejects. */
  forward(index: number, webhook: ProvenWebhook): Promise<object | null> {
    assert(index !== this.index, 'a node does not forward to itself')
    if (this.#closed || this.#waiting.size >= FORWARDS_WAITING_MAX) return Promise.resolve(null)
    const id = ++this.#lastId
    return new Promise((resolve) => {
      const settle = (answer: object | null): void => {
        clearTimeout(timer)
        if (this.#waiting.delete(id)) resolve(answer)
      }
      const timer = setTimeout(() => {
        settle(null)
      }, FORWARD_ANSWER_MS)
      this.#waiting.set(id, settle)
      this.#send({ type: 'forward', id, to: index, webhook })
    })
  }

  /** Sets the handler that answers forwarded webhooks; once, before the ports open. It must not throw. */
  onForwarded(handler: (webhook: ProvenWebhook) => object): void {
    this.#handler = handler
  }

  /** Handles a message of the supervisor. */
  receive(message: NodeNews): void {
    switch (message.type) {
      case 'owner':
        this.#announced.set(message.key, message.index)
        return
      case 'lost':
        for (const [key, index] of this.#announced) {
          if (index === message.index) this.#announced.delete(key)
        }
        for (const key of message.keys) this.#lost.set(key, true)
        return
      case 'forward':
        // Without a handler the ports are not open yet: the sender gets no answer in time, and asks the next node.
        if (this.#handler !== null)
          this.#send({ type: 'answer', id: message.id, to: message.from, answer: this.#handler(message.webhook) })
        return
      case 'answer':
        this.#waiting.get(message.id)?.(message.answer)
    }
  }

  /** The supervisor is gone: no answer will come. */
  close(): void {
    this.#closed = true
    for (const settle of [...this.#waiting.values()]) settle(null)
  }
}

/**
 * The supervisor's end: passes webhooks from node to node without reading them, and remembers the owner of each call
 * for nodes that are started again.
 */
export class NodeSwitch {
  /** Nodes that have got the owners, and get the changes; true once they take calls. */
  readonly #open = new Map<number, boolean>()
  readonly #send: (index: number, message: NodeNews) => void
  readonly #owners = new LRUCache<string, { readonly index: number; readonly announced: boolean }>({
    max: PLACED_CALLS_MAX,
  })
  readonly #lost = new LRUCache<string, true>({ max: PLACED_CALLS_MAX })
  /**
   * Forwarded webhooks without an answer yet, by the sending node and its id. Bounded for each receiving node, which
   * may be stuck.
   */
  readonly #waiting = new Map<string, { readonly from: number; readonly id: number; readonly to: number }>()

  /** @param send  sends to a live node; must not throw */
  constructor(send: (index: number, message: NodeNews) => void) {
    this.#send = send
  }

  /** A node starts. @returns the owners so far; from now on it gets the changes */
  started(index: number): OwnersSnapshot {
    this.#open.set(index, false)
    const announced = [...this.#owners]
      .filter(([, owner]) => owner.announced)
      .map(([key, owner]) => [key, owner.index] as const)
    return { announced: announced.reverse(), lost: [...this.#lost.keys()].reverse() } // the cache lists the newest first
  }

  /** A node now takes calls. */
  opened(index: number): void {
    this.#open.set(index, true)
  }

  /** A node is gone, and with it its calls. */
  closed(index: number): void {
    this.#open.delete(index)
    for (const [name, { from, id, to }] of this.#waiting) {
      if (from !== index && to !== index) continue
      this.#waiting.delete(name)
      if (to === index && from !== index) this.#send(from, { type: 'answer', id, answer: null })
    }
    const keys = [...this.#owners].filter(([, owner]) => owner.index === index).map(([key]) => key)
    for (const key of keys) {
      this.#owners.delete(key)
      this.#lost.set(key, true)
    }
    for (const other of this.#open.keys()) this.#send(other, { type: 'lost', index, keys })
  }

  received(from: number, message: RoutedMessage): void {
    switch (message.type) {
      case 'owned':
        this.#owners.set(message.key, { index: from, announced: message.announce })
        if (!message.announce) return
        for (const other of this.#open.keys()) {
          if (other !== from) this.#send(other, { type: 'owner', key: message.key, index: from })
        }
        return
      case 'forward':
        if (this.#open.get(message.to) !== true || this.#waitingFor(message.to) >= FORWARDS_WAITING_MAX) {
          return this.#send(from, { type: 'answer', id: message.id, answer: null })
        }
        this.#waiting.set(`${from} ${message.id}`, { from, id: message.id, to: message.to })
        return this.#send(message.to, { type: 'forward', id: message.id, from, webhook: message.webhook })
      case 'answer':
        // If the sending node has died, its successor must not get the answer: its ids begin again at 1.
        if (this.#waiting.delete(`${message.to} ${message.id}`))
          this.#send(message.to, { type: 'answer', id: message.id, answer: message.answer })
    }
  }

  #waitingFor(index: number): number {
    let waiting = 0
    for (const { to } of this.#waiting.values()) if (to === index) waiting++
    return waiting
  }
}

const FNV_OFFSET = 0x811c9dc5
const FNV_PRIME = 0x01000193

/**
 * All nodes in the order in which they take a call, by rendezvous hashing: when a node is gone, its calls spread over
 * all others. Every node computes the same order, so a repeated first webhook finds the call that the first one opened.
 * @returns `count` different numbers from 0
 */
export function ownersByHash(callSid: string, count: number): number[] {
  let hash = FNV_OFFSET // FNV-1a, 32 bits
  for (let i = 0; i < callSid.length; i++) hash = Math.imul(hash ^ callSid.charCodeAt(i), FNV_PRIME)
  const weights = Array.from({ length: count }, (_, index) => mixed(hash ^ mixed(index + 1)))
  return Array.from(weights.keys()).sort((a, b) => (weights[b] ?? 0) - (weights[a] ?? 0) || a - b)
}

/** The finaliser of MurmurHash3: each bit of the input changes half of the output's. */
function mixed(value: number): number {
  let bits = value
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

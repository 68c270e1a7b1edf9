import { LRUCache } from 'lru-cache'
import { PLACED_CALLS_MAX, SIBLING_ASKS_MAX } from '../core/limits.js'
import type { FromProcess, PlacesSnapshot, ToProcess } from './process-messages.js'

type Passed = Extract<FromProcess, { type: 'took' | 'ask' | 'answer' }>

/**
 * Passes webhooks from process to process, and keeps which process has which call: a process that is started again is told.
 * In the supervisor; it reads no webhook.
 */
export class SiblingSwitch {
  /** Processes that were given the places, and hear of changes; true once they take calls. */
  readonly #open = new Map<number, boolean>()
  readonly #send: (index: number, message: ToProcess) => void
  readonly #took = new LRUCache<string, { readonly index: number; readonly away: boolean }>({ max: PLACED_CALLS_MAX })
  readonly #lost = new LRUCache<string, true>({ max: PLACED_CALLS_MAX })
  /** Asked and not yet answered, by who asked and its id; so many for each that is asked, should it stand still. */
  readonly #asks = new Map<string, { readonly from: number; readonly id: number; readonly to: number }>()

  /** @param send  to a process that is there; must not throw */
  constructor(send: (index: number, message: ToProcess) => void) {
    this.#send = send
  }

  /** Webhooks that wait for a sibling's answer. */
  get waiting(): number {
    return this.#asks.size
  }

  /** A process begins: from now on it hears of changes to what is returned. */
  started(index: number): PlacesSnapshot {
    this.#open.set(index, false)
    const away = [...this.#took].filter(([, place]) => place.away).map(([key, { index }]) => [key, index] as const)
    return { away: away.reverse(), lost: [...this.#lost.keys()].reverse() } // oldest first
  }

  opened(index: number): void {
    this.#open.set(index, true)
  }

  /** A process is gone, and its calls with it. */
  closed(index: number): void {
    this.#open.delete(index)
    for (const [name, { from, id, to }] of this.#asks) {
      if (from !== index && to !== index) continue
      this.#asks.delete(name)
      if (to === index && from !== index) this.#send(from, { type: 'answer', id, answer: null })
    }
    const keys = [...this.#took].filter(([, place]) => place.index === index).map(([key]) => key)
    for (const key of keys) {
      this.#took.delete(key)
      this.#lost.set(key, true)
    }
    for (const other of this.#open.keys()) this.#send(other, { type: 'lost', index, keys })
  }

  received(from: number, message: Passed): void {
    switch (message.type) {
      case 'took':
        this.#took.set(message.key, { index: from, away: message.away })
        if (!message.away) return
        for (const other of this.#open.keys()) {
          if (other !== from) this.#send(other, { type: 'away', key: message.key, index: from })
        }
        return
      case 'ask':
        if (this.#open.get(message.to) !== true || this.#waitingFor(message.to) >= SIBLING_ASKS_MAX) return this.#send(from, { type: 'answer', id: message.id, answer: null })
        this.#asks.set(`${from} ${message.id}`, { from, id: message.id, to: message.to })
        return this.#send(message.to, { type: 'ask', id: message.id, from, webhook: message.webhook })
      case 'answer':
        // What was asked by a process that has died since is nobody's; ids begin anew with its successor.
        if (this.#asks.delete(`${message.to} ${message.id}`)) this.#send(message.to, { type: 'answer', id: message.id, answer: message.answer })
    }
  }

  #waitingFor(index: number): number {
    let waiting = 0
    for (const { to } of this.#asks.values()) if (to === index) waiting++
    return waiting
  }
}

import { LRUCache } from 'lru-cache'
import { assert } from '../core/assert.js'
import { PLACED_CALLS_MAX, SIBLING_ANSWER_MS, SIBLING_ASKS_MAX } from '../core/limits.js'
import type { ForwardedAnswer, ForwardedWebhook, Siblings } from '../edge/siblings.js'
import type { FromProcess, PlacesSnapshot, ToProcess } from './process-messages.js'

export interface ProcessLinkOptions {
  readonly index: number
  readonly count: number
  readonly places: PlacesSnapshot
  /** Must not throw; what is sent to a supervisor that is gone is lost. */
  readonly send: (message: FromProcess) => void
}

/** A process's end of the channel to its siblings, which leads through the supervisor. */
export class ProcessLink implements Siblings {
  readonly index: number
  readonly count: number
  readonly #send: (message: FromProcess) => void
  readonly #away = new LRUCache<string, number>({ max: PLACED_CALLS_MAX })
  readonly #lost = new LRUCache<string, true>({ max: PLACED_CALLS_MAX })
  readonly #asks = new Map<number, (answer: ForwardedAnswer | null) => void>()
  #handler: ((webhook: ForwardedWebhook) => ForwardedAnswer) | null = null
  #lastId = 0
  #closed = false

  constructor(options: ProcessLinkOptions) {
    this.index = options.index
    this.count = options.count
    this.#send = options.send
    for (const [key, index] of options.places.away) this.#away.set(key, index)
    for (const key of options.places.lost) this.#lost.set(key, true)
  }

  awayAt(key: string): number | undefined {
    return this.#away.get(key)
  }

  lost(callSid: string): boolean {
    return this.#lost.has(callSid)
  }

  took(key: string, { away }: { readonly away: boolean }): void {
    if (away) this.#away.set(key, this.index)
    this.#send({ type: 'took', key, away })
  }

  ask(index: number, webhook: ForwardedWebhook): Promise<ForwardedAnswer | null> {
    assert(index !== this.index, 'a process does not ask itself')
    if (this.#closed || this.#asks.size >= SIBLING_ASKS_MAX) return Promise.resolve(null)
    const id = ++this.#lastId
    return new Promise((resolve) => {
      const settle = (answer: ForwardedAnswer | null): void => {
        clearTimeout(timer)
        if (this.#asks.delete(id)) resolve(answer)
      }
      const timer = setTimeout(() => { settle(null) }, SIBLING_ANSWER_MS)
      this.#asks.set(id, settle)
      this.#send({ type: 'ask', id, to: index, webhook })
    })
  }

  onAsked(handler: (webhook: ForwardedWebhook) => ForwardedAnswer): void {
    this.#handler = handler
  }

  /** What the supervisor passes on. */
  receive(message: Exclude<ToProcess, { type: 'start' }>): void {
    switch (message.type) {
      case 'away':
        this.#away.set(message.key, message.index)
        return
      case 'lost':
        for (const [key, index] of this.#away) {
          if (index === message.index) this.#away.delete(key)
        }
        for (const key of message.keys) this.#lost.set(key, true)
        return
      case 'ask':
        // Asked before the ports are open: whoever asks gets no answer and goes on to the next.
        if (this.#handler !== null) this.#send({ type: 'answer', id: message.id, to: message.from, answer: this.#handler(message.webhook) })
        return
      case 'answer':
        this.#asks.get(message.id)?.(message.answer)
    }
  }

  /** The supervisor is gone: nobody will answer. */
  close(): void {
    this.#closed = true
    for (const settle of [...this.#asks.values()]) settle(null)
  }
}

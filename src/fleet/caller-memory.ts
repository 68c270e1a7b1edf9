import { createHmac } from 'node:crypto'
import { z } from 'zod'
import { earlierCallSchema } from '../call/caller-data.js'
import type { EarlierCall } from '../call/caller-data.js'
import { jsonOrNull } from '../core/json.js'
import { messageOf } from '../core/errors.js'
import { partyKey } from '../sautikit/phone.js'
import type { Log } from '../telemetry/log.js'
import type { WallClock } from '../core/clock.js'
import { GONE_MS } from './call-store.js'
import type { CallStore } from './call-store.js'
import { derivedKey, openedWith, sealedWith } from './secrets.js'

/** Lines of one caller that are remembered: what one business knows of them, another does not. The oldest goes. */
const LINES_OF_CALLER_MAX = 10

const linesSchema = z.record(z.string(), z.object({ untilMs: z.number(), call: earlierCallSchema }))

interface CallerMemoryOptions {
  readonly store: Pick<CallStore, 'once' | 'settle' | 'standing'>
  /** The values of TOKEN_SECRET: the first seals, each opens. */
  readonly secrets: readonly string[]
  readonly wallClock: WallClock
  readonly log: Log
}

/**
 * The last call of each caller to each line, in the call store: under a keyed hash of their number, encrypted. What the store
 * cannot read or write counts as not remembered. No method throws.
 */
export class CallerMemory {
  /** Calls that could not be remembered, recalled or forgotten. Plain field, copied at each scrape. */
  lost = 0
  readonly #options: CallerMemoryOptions
  readonly #keys: readonly Buffer[]

  constructor(options: CallerMemoryOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'caller-memory'))
  }

  /** @param line  our own number and the agent */
  async recall(caller: string, line: string): Promise<EarlierCall | null> {
    const lines = await this.#attempt(() => this.#lines(caller), {})
    const { untilMs = 0, call = null } = lines[line] ?? {}
    return untilMs > this.#options.wallClock() ? call : null
  }

  async remember(caller: string, line: string, call: EarlierCall, keptMs: number): Promise<void> {
    const key = this.#keys[0]
    if (key === undefined || partyKey(caller) === '') return
    await this.#attempt(async () => {
      const nowMs = this.#options.wallClock()
      const { [line]: _, ...others } = await this.#lines(caller)
      const standing = Object.entries(others).filter(([, { untilMs }]) => untilMs > nowMs)
      const lines = [...standing.slice(1 - LINES_OF_CALLER_MAX), [line, { untilMs: nowMs + keptMs, call }] as const]
      const longestMs = Math.max(...lines.map(([, { untilMs }]) => untilMs)) - nowMs
      const name = nameOf(key, caller)
      const sealed = sealedWith(key, name, JSON.stringify(Object.fromEntries(lines))).toString('base64')
      const { store } = this.#options
      if ((await store.once(name, sealed, longestMs)) !== null) await store.settle(name, sealed, longestMs)
    }, undefined)
  }

  /** The owner of this number wants to be forgotten. */
  async forget(number: string): Promise<void> {
    for (const key of this.#keys)
      await this.#attempt(() => this.#options.store.settle(nameOf(key, number), '', GONE_MS), undefined)
  }

  async #lines(caller: string): Promise<z.output<typeof linesSchema>> {
    if (partyKey(caller) === '') return {}
    for (const key of this.#keys) {
      const name = nameOf(key, caller)
      const sealed = await this.#options.store.standing(name)
      if (sealed === null || sealed === '') continue
      const text = openedWith(key, name, Buffer.from(sealed, 'base64'))
      const { data } = linesSchema.safeParse(text === null ? null : jsonOrNull(text))
      if (data !== undefined) return data
    }
    return {}
  }

  async #attempt<T>(work: () => Promise<T>, otherwise: T): Promise<T> {
    try {
      return await work()
    } catch (thrown) {
      this.lost++
      this.#options.log.warn(
        { reason: messageOf(thrown) },
        'the memory of callers is not reached: a call counts as the first',
      )
      return otherwise
    }
  }
}

/** Numbers have so few values that a plain hash could be guessed. */
function nameOf(key: Buffer, caller: string): string {
  return `caller:${createHmac('sha256', key).update(partyKey(caller)).digest('base64url')}`
}

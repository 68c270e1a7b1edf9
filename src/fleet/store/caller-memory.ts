import { createHmac } from 'node:crypto'
import { z } from 'zod'
import { earlierCallSchema } from '../../call/caller-data.js'
import type { EarlierCall } from '../../call/caller-data.js'
import { jsonOrNull } from '../../core/json.js'
import { messageOf } from '../../core/errors.js'
import { partyKey } from '../../sautikit/phone.js'
import type { Log } from '../../telemetry/log.js'
import type { WallClock } from '../../core/clock.js'
import { GONE_MS } from './call-store.js'
import type { CallStore } from './call-store.js'
import { derivedKey, openedWith, sealedWith } from '../secrets.js'

/** A call that is erased is recalled no more for as long as any could be: the most that `retention.recordsDays` takes. */
const ERASED_MS = 36_500 * 86_400_000
/** Lines of one caller that are remembered: what one business knows of them, another does not. The oldest goes. */
const LINES_OF_CALLER_MAX = 10

const lineSchema = z.object({ untilMs: z.number(), call: earlierCallSchema })
type KeptLine = z.output<typeof lineSchema>
export const callerMemorySchema = z.record(z.string(), lineSchema)

interface CallerMemoryOptions {
  readonly store: Pick<CallStore, 'once' | 'settle' | 'standing'>
  /** The values of TOKEN_SECRET: the first seals, each opens. */
  readonly secrets: readonly string[]
  readonly wallClock: WallClock
  readonly log: Log
}

/**
 * The last call of each caller to each line, in the call store: under a keyed hash of their number, encrypted. What the store
 * cannot read or write counts as not remembered.
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

  /** Does not reject. @param line  our own number and the agent */
  recall(caller: string, line: string): Promise<EarlierCall | null> {
    return this.#attempt(
      async () => (await this.ofCaller(caller)).find((kept) => kept.line === line)?.call ?? null,
      null,
    )
  }

  /** Memory of a caller, line by line. @throws GatewayError STORE_DOWN */
  async ofCaller(caller: string): Promise<readonly { readonly line: string; readonly call: EarlierCall }[]> {
    return (await this.#standing(caller)).map(([line, { call }]) => ({ line, call }))
  }

  /** Does not reject. */
  async remember(caller: string, line: string, call: EarlierCall, keptMs: number): Promise<void> {
    const key = this.#keys[0]
    if (key === undefined || partyKey(caller) === '') return
    await this.#attempt(async () => {
      const nowMs = this.#options.wallClock()
      // The erasure of a call may come before its end.
      const own = (await this.#isErased(call)) ? [] : [[line, { untilMs: nowMs + keptMs, call }] as const]
      const others = (await this.#standing(caller)).filter(([other]) => own.length === 0 || other !== line)
      const lines = [...others.slice(own.length - LINES_OF_CALLER_MAX), ...own]
      const longestMs = Math.max(keptMs, ...lines.map(([, { untilMs }]) => untilMs - nowMs))
      const name = nameOf(key, caller)
      const sealed = sealedWith(key, name, JSON.stringify(Object.fromEntries(lines))).toString('base64')
      const { store } = this.#options
      if ((await store.once(name, sealed, longestMs)) !== null) await store.settle(name, sealed, longestMs)
    }, undefined)
  }

  /** The owner of this number wants to be forgotten. @throws GatewayError STORE_DOWN */
  async forget(number: string): Promise<void> {
    for (const key of this.#keys) await this.#options.store.settle(nameOf(key, number), '', GONE_MS)
  }

  /**
   * This call is erased, and nobody says whose it was: its facts are hidden at once, and removed at the next call of that number that
   * is remembered, or when the time of all its lines is over. @throws GatewayError STORE_DOWN
   */
  async forgetCall(callSid: string): Promise<void> {
    await this.#options.store.once(erasedName(callSid), '', ERASED_MS)
  }

  /** By line, those whose time is not over and that are not erased. */
  async #standing(caller: string): Promise<readonly (readonly [string, KeptLine])[]> {
    const nowMs = this.#options.wallClock()
    const kept = Object.entries(await this.#lines(caller)).filter(([, { untilMs }]) => untilMs > nowMs)
    const erased = await Promise.all(kept.map(([, { call }]) => this.#isErased(call)))
    return kept.filter((_, i) => erased[i] === false)
  }

  async #isErased({ callSid }: EarlierCall): Promise<boolean> {
    return callSid !== undefined && (await this.#options.store.standing(erasedName(callSid))) !== null
  }

  async #lines(caller: string): Promise<z.output<typeof callerMemorySchema>> {
    if (partyKey(caller) === '') return {}
    for (const key of this.#keys) {
      const name = nameOf(key, caller)
      const sealed = await this.#options.store.standing(name)
      if (sealed === null || sealed === '') continue
      const text = openedWith(key, name, Buffer.from(sealed, 'base64'))
      const { data } = callerMemorySchema.safeParse(text === null ? null : jsonOrNull(text))
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

function erasedName(callSid: string): string {
  return `erased:${callSid}`
}

/** Numbers have so few values that a plain hash could be guessed. */
function nameOf(key: Buffer, caller: string): string {
  return `caller:${createHmac('sha256', key).update(partyKey(caller)).digest('base64url')}`
}

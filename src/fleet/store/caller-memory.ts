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

/**
 * Time in ms for which the mark of an erased call stays. It is the maximum of `retention.recordsDays`, so no call is
 * remembered for longer than its mark.
 */
const ERASED_MS = 36_500 * 86_400_000
/**
 * Maximum number of lines (our number and agent) that are remembered for one caller. If there are more, the oldest is
 * dropped. Each line has its own memory, because its business may differ.
 */
const LINES_OF_CALLER_MAX = 10

const lineSchema = z.object({ untilMs: z.number(), call: earlierCallSchema })
type KeptLine = z.output<typeof lineSchema>
export const callerMemorySchema = z.record(z.string(), lineSchema)

interface CallerMemoryOptions {
  readonly store: Pick<CallStore, 'once' | 'settle' | 'standing'>
  /** Values of TOKEN_SECRET. The first seals; each of them can open. */
  readonly secrets: readonly string[]
  readonly wallClock: WallClock
  readonly log: Log
}

/**
 * Memory of each caller's last call to each line. It is encrypted in the call store, under a keyed hash of the caller's
 * number. A call that ends while the store fails is not remembered.
 */
export class CallerMemory {
  /** Number of failed reads and writes of the memory. Plain field, copied at each scrape. */
  lost = 0
  readonly #options: CallerMemoryOptions
  readonly #keys: readonly Buffer[]

  constructor(options: CallerMemoryOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'caller-memory'))
  }

  /**
   * Reads a caller's last call to a line from the memory. Never rejects.
   * @param line  our own number and the agent
   */
  recall(caller: string, line: string): Promise<EarlierCall | null> {
    return this.#attempt(
      async () => (await this.ofCaller(caller)).find((kept) => kept.line === line)?.call ?? null,
      null,
    )
  }

  /**
   * Memory of a caller, by line.
   * @throws GatewayError STORE_DOWN
   */
  async ofCaller(caller: string): Promise<readonly { readonly line: string; readonly call: EarlierCall }[]> {
    return (await this.#standing(caller)).map(([line, { call }]) => ({ line, call }))
  }

  /** Stores a call in the memory. Never rejects. */
  async remember(caller: string, line: string, call: EarlierCall, keptMs: number): Promise<void> {
    const key = this.#keys[0]
    if (key === undefined || partyKey(caller) === '') return
    await this.#attempt(async () => {
      const nowMs = this.#options.wallClock()
      // A call that was erased while it was live is not stored.
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

  /**
   * Erases the memory of a caller's number.
   * @throws GatewayError STORE_DOWN
   */
  async forget(number: string): Promise<void> {
    for (const key of this.#keys) await this.#options.store.settle(nameOf(key, number), '', GONE_MS)
  }

  /**
   * Erases a call whose caller is unknown. A mark hides the call's facts at once. They are removed when the caller's
   * next call is stored or all lines have expired.
   * @throws GatewayError STORE_DOWN
   */
  async forgetCall(callSid: string): Promise<void> {
    await this.#options.store.once(erasedName(callSid), '', ERASED_MS)
  }

  /** Lines of a caller that have neither expired nor been erased. */
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
        "the memory of callers cannot be reached: a call counts as the caller's first call",
      )
      return otherwise
    }
  }
}

function erasedName(callSid: string): string {
  return `erased:${callSid}`
}

/**
 * Name of a caller's entry in the store. The hash has a key, because anyone could try all phone numbers on a plain
 * hash.
 */
function nameOf(key: Buffer, caller: string): string {
  return `caller:${createHmac('sha256', key).update(partyKey(caller)).digest('base64url')}`
}

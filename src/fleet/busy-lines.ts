import { createHmac } from 'node:crypto'
import { messageOf } from '../core/errors.js'
import { partyKey } from '../sautikit/phone.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { GONE_MS } from './store/call-store.js'
import type { CallStore } from './store/call-store.js'
import type { FleetNode } from './fleet-node.js'
import { derivedKey } from './secrets.js'

/**
 * Maximum time in ms for which a campaign row holds the number that it rings. A call rings for a shorter time
 * (`outbound.ringTimeoutS`, at most 50 s).
 */
const RINGS_MS = 120_000

/** Value of an entry whose number was released. The entry expires after GONE_MS, or a little later. */
const GIVEN_BACK = 'given back'
const GIVEN_BACK_TRIES = 3

/**
 * State of a number's line in this fleet. `unknown`: the store did not answer, or a node that may have a call with this
 * number did not answer.
 */
export type LineStanding = 'free' | 'busy' | 'unknown'

interface BusyLinesOptions {
  readonly node: Pick<FleetNode, 'others' | 'ask' | 'onRequest'>
  readonly store: Pick<CallStore, 'swap'>
  /** Values of TOKEN_SECRET: one, or two while the secret is being replaced. */
  readonly secrets: readonly string[]
  /** True if this number is in a call of this node, or this node is ringing it. Null if this node cannot answer yet. */
  readonly isBusyHere: (number: string) => boolean | null
  readonly clock: () => number
  readonly log: Log
}

/**
 * Decides whether a number may be rung. A number that is in a call at any node may not be rung. The store has no list
 * of live calls, in which a dead node would leave old entries. Instead, each node is asked for its own calls.
 */
export class BusyLines {
  readonly #options: BusyLinesOptions
  readonly #keys: readonly Buffer[]
  readonly #unsaid: LimitedLog<'store' | 'node'>

  constructor(options: BusyLinesOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => derivedKey(secret, 'lines'))
    this.#unsaid = new LimitedLog(
      options.log,
      'a number is not rung: no node reports whether it is in a call',
      'more numbers are not rung: no node reports whether they are in a call',
    )
    options.node.onRequest('line', (number) =>
      Promise.resolve(typeof number === 'string' ? options.isBusyHere(number) : null),
    )
  }

  /**
   * Holds a number for a row, unless the number is in a call. Each held number has an entry in the store, so that two
   * nodes never ring one number at the same time. Never rejects.
   * @param row row that wants the number; it may already hold it
   * @returns `free`: the row holds the number until `released`, for at most RINGS_MS
   */
  async hold(number: string, row: string): Promise<LineStanding> {
    const standing = await this.#taken(number, row)
    if (standing !== 'free') return standing
    const found = await this.#look(number)
    if (found !== 'free') await this.released(number, row)
    return found
  }

  /** Releases a number. Never rejects: without the store, the entry expires. */
  async released(number: string, row: string): Promise<void> {
    const { store } = this.#options
    const given = this.#keys.map((key) => store.swap(nameOf(key, number), holderOf(key, row), GIVEN_BACK, GONE_MS))
    await Promise.allSettled(given)
  }

  async #taken(number: string, row: string): Promise<LineStanding> {
    try {
      for (const key of this.#keys) {
        const holder = holderOf(key, row)
        if ((await this.#holderOf(nameOf(key, number), holder)) === holder) continue
        await this.released(number, row)
        return 'busy'
      }
      return 'free'
    } catch (thrown) {
      this.#unsaid.note('store', { reason: messageOf(thrown) }, this.#options.clock())
      return 'unknown'
    }
  }

  /** @returns the number's holder after this request: `holder` if the number was free */
  async #holderOf(name: string, holder: string): Promise<string | null> {
    const { store } = this.#options
    let standing = await store.swap(name, null, holder, RINGS_MS)
    // A released number still has an entry until the entry expires, so the entry is replaced.
    for (let tries = 0; standing === GIVEN_BACK && tries < GIVEN_BACK_TRIES; tries++) {
      standing = await store.swap(name, GIVEN_BACK, holder, RINGS_MS)
      if (standing === GIVEN_BACK) return holder
      standing ??= await store.swap(name, null, holder, RINGS_MS)
    }
    return standing ?? holder
  }

  async #look(number: string): Promise<LineStanding> {
    const { node, isBusyHere, clock } = this.#options
    const here = isBusyHere(number)
    if (here !== false) return here === null ? 'unknown' : 'busy'
    const others = node.others().filter(({ seen, internalUrl }) => seen !== 'gone' && internalUrl !== null)
    const answers = await Promise.all(
      others.map(async ({ name, incarnation }) => {
        const asked = await node.ask({ node: name, incarnation }, 'line', number)
        const isBusy = asked.result === 'answered' ? asked.answer : null
        if (typeof isBusy === 'boolean') return isBusy
        // Nodes of the previous release do not know this request. The number counts as free at such a node, so that
        // campaigns continue during an upgrade.
        if (asked.result === 'failed' && asked.reason === 'unknown-request') return false
        this.#unsaid.note('node', { peer: name, result: asked.result }, clock())
        return null
      }),
    )
    if (answers.includes(true)) return 'busy'
    return answers.includes(null) ? 'unknown' : 'free'
  }
}

/**
 * Name of the store's entry for a number. The number is hashed with a key, because anyone could try all phone numbers
 * on a plain hash.
 */
function nameOf(key: Buffer, number: string): string {
  return `line:${createHmac('sha256', key).update(partyKey(number)).digest('base64url')}`
}

/** Name of a row as holder. It is a hash, because a row's name may contain a caller's number. */
function holderOf(key: Buffer, row: string): string {
  return createHmac('sha256', key).update(`row ${row}`).digest('base64url')
}

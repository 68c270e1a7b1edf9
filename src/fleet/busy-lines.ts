import { createHmac } from 'node:crypto'
import { messageOf } from '../core/errors.js'
import { partyKey } from '../sautikit/phone.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log } from '../telemetry/log.js'
import { GONE_MS } from './store/call-store.js'
import type { CallStore } from './store/call-store.js'
import type { FleetNode } from './fleet-node.js'
import { derivedKey } from './secrets.js'

/** How long a number that is about to ring is its row's: longer than a number may ring (`outbound.ringTimeoutS`, 50 s). */
const RINGS_MS = 120_000

/** Stands for GONE_MS, or a little longer, where a number was given back. */
const GIVEN_BACK = 'given back'
const GIVEN_BACK_TRIES = 3

/** Standing of a number's line with this fleet. `unknown`: the store or another node that may have its call does not say. */
export type LineStanding = 'free' | 'busy' | 'unknown'

interface BusyLinesOptions {
  readonly node: Pick<FleetNode, 'others' | 'ask' | 'onRequest'>
  readonly store: Pick<CallStore, 'swap'>
  /** The values of TOKEN_SECRET: one, or two while one is replaced. */
  readonly secrets: readonly string[]
  /** True if somebody with this number is in a call of this node, or is rung by it; null before this node can say. */
  readonly isBusyHere: (number: string) => boolean | null
  readonly clock: () => number
  readonly log: Log
}

/**
 * Says whether a number may be rung, or is on a line already, at any node. Live calls are asked of their nodes, so a dead node
 * leaves nothing behind. A number between its order and its call is held by one entry in the store, under a keyed hash of the
 * number, for RINGS_MS: two nodes that would ring it at once ring it once.
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
      'a number is not rung: nobody says whether it is in a call',
      'more numbers are not rung: nobody says whether they are in a call',
    )
    options.node.onRequest('line', (number) =>
      Promise.resolve(typeof number === 'string' ? options.isBusyHere(number) : null),
    )
  }

  /**
   * Holds a number for a row that is about to ring it, unless it is on a line. Does not reject.
   * @param row  the same again is the same holder
   * @returns `free`: it is held, until `released` or for RINGS_MS
   */
  async hold(number: string, row: string): Promise<LineStanding> {
    const standing = await this.#taken(number, row)
    if (standing !== 'free') return standing
    const found = await this.#look(number)
    if (found !== 'free') await this.released(number, row)
    return found
  }

  /** Does not reject: without the store the entry expires. */
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

  /** @returns who holds it now: `holder` too where it was free */
  async #holderOf(name: string, holder: string): Promise<string | null> {
    const { store } = this.#options
    let standing = await store.swap(name, null, holder, RINGS_MS)
    // For a moment after it was given back.
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
        // A node of the release before knows no such question, for as long as an upgrade takes: campaigns go on, as they did there.
        if (asked.result === 'failed' && asked.reason === 'unknown-request') return false
        this.#unsaid.note('node', { peer: name, result: asked.result }, clock())
        return null
      }),
    )
    if (answers.includes(true)) return 'busy'
    return answers.includes(null) ? 'unknown' : 'free'
  }
}

/** Numbers have so few values that a plain hash could be guessed. */
function nameOf(key: Buffer, number: string): string {
  return `line:${createHmac('sha256', key).update(partyKey(number)).digest('base64url')}`
}

/** A row's name may be a caller's number. */
function holderOf(key: Buffer, row: string): string {
  return createHmac('sha256', key).update(`row ${row}`).digest('base64url')
}

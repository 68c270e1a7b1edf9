import { z } from 'zod'
import { changed } from '../../agents/file/agent-texts.js'
import { jsonOrNull } from '../../core/json.js'
import { GatewayError } from '../../core/errors.js'
import type { WallClock } from '../../core/clock.js'
import type { CallStore } from '../../fleet/store/call-store.js'
import { SealedCall } from '../../fleet/store/sealed-call.js'

/** Key in the store. Its value names the newest published text of each file. */
const KEY = 'agent-texts'
const KEPT_MS = 365 * 86_400_000
/**
 * FILES_MAX: maximum number of files. BEFORE_MAX: maximum number of earlier texts that are listed for each file. The
 * list shows whether a node's text is an earlier published text.
 */
const FILES_MAX = 200
const BEFORE_MAX = 20
/** Maximum number of tries of one publication. A try fails if a publication of any file comes first. */
const TRIES_MAX = 8
/** Time in ms that a published text needs at most to reach every node. */
const ON_ITS_WAY_MS = 120_000

const hash = z.string().regex(/^[0-9a-f]{16}$/)
const headSchema = z.object({
  hash,
  /** Hashes of earlier texts, oldest first. */
  before: z.array(hash).max(BEFORE_MAX),
  /** Calendar time of the publication. */
  atMs: z.number(),
})
const headsSchema = z.record(z.string().max(255), headSchema)

/** The newest published text of a file in the fleet. */
type Head = z.output<typeof headSchema>
type Heads = Readonly<Record<string, Head>>

interface AgentHeadsOptions {
  /** The fleet's store. */
  readonly store: Pick<CallStore, 'standing' | 'swap'>
  /** Secrets of TOKEN_SECRET. */
  readonly secrets: readonly string[]
  readonly wallClock: WallClock
}

/** A publication, as submitted to the fleet's store, which accepts or refuses it. */
interface Claim {
  readonly file: string
  /** Hash of the text that the editor opened. */
  readonly base: string
  /** Hash of the text that the editor publishes. */
  readonly hash: string
  /** Hashes of all texts of the file that this node's folder has contained. */
  readonly kept: readonly string[]
  /**
   * Returns the hashes of the file's texts at all nodes that answer. Called only if the newest published text is not
   * `base`.
   */
  readonly held: () => Promise<ReadonlySet<string>>
}

/**
 * Newest published text of each file in the fleet. One value of the store lists all files, and it is replaced by
 * compare-and-set. So if two nodes publish a file at the same time, only one publication succeeds. The value is sealed,
 * so that other programs with access to Redis cannot undo publications.
 */
export class AgentHeads {
  readonly #options: AgentHeadsOptions
  readonly #seal: SealedCall
  /** Newest published texts that this node has read or written. */
  #known: Heads = {}

  constructor(options: AgentHeadsOptions) {
    this.#options = options
    this.#seal = new SealedCall(KEY, options.secrets)
  }

  /** Last publication of each file. @throws GatewayError STORE_DOWN */
  async read(): Promise<ReadonlyMap<string, Head>> {
    const { heads } = await this.#read()
    return new Map(Object.entries(heads))
  }

  /**
   * Replaces a file's newest published text for the whole fleet.
   * @returns a function that undoes the claim
   * @throws GatewayError AGENT_CHANGED if another text was published first, CAPACITY, STORE_DOWN
   */
  async claim({ file, base, hash, kept, held }: Claim): Promise<() => Promise<void>> {
    const { wallClock } = this.#options
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const { raw, heads } = await this.#read()
      const head = Object.hasOwn(heads, file) ? heads[file] : undefined
      if (head?.hash === hash) return () => Promise.resolve()
      // The folder's files may also be edited directly. So the publication is allowed if no node has the newest
      // published text any more.
      if (head !== undefined && head.hash !== base) {
        const isReplacedHere = !head.before.includes(base) && kept.includes(head.hash)
        const isOnItsWay = !isReplacedHere && Math.abs(wallClock() - head.atMs) < ON_ITS_WAY_MS
        if (isOnItsWay || (await held()).has(head.hash)) throw changed(head.hash)
      }
      if (head === undefined && Object.keys(heads).length >= FILES_MAX)
        throw new GatewayError('CAPACITY', `${FILES_MAX} files were published already`)
      const earlier = [...(head === undefined ? [] : [...head.before, head.hash]), base]
      // If an earlier text is published again (a roll-back), it is removed from the list of earlier texts.
      const before = [...new Set(earlier)].filter((one) => one !== hash).slice(-BEFORE_MAX)
      const next: Heads = { ...heads, [file]: { hash, before, atMs: wallClock() } }
      const undo = (): Promise<void> => this.#undo(file, hash, head)
      const isOurs = await this.#swap(raw, next).catch(async (thrown: unknown) => {
        // Despite the error, the value may have been written.
        await undo().catch(() => undefined)
        throw thrown
      })
      if (isOurs) return undo
    }
    throw new GatewayError('CAPACITY', 'too many files are published at once; try again')
  }

  /**
   * Writes this node's values again after the store has lost its content, unless another node has already written them.
   */
  async restore(): Promise<void> {
    if (Object.keys(this.#known).length > 0) await this.#swap(null, this.#known)
  }

  async #undo(file: string, hash: string, before: Head | undefined): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const { raw, heads } = await this.#read()
      if (heads[file]?.hash !== hash) return
      const { [file]: _, ...others } = heads
      if (await this.#swap(raw, before === undefined ? others : { ...others, [file]: before })) return
    }
  }

  async #read(): Promise<{ readonly raw: string | null; readonly heads: Heads }> {
    const raw = await this.#options.store.standing(KEY)
    const heads = raw === null ? {} : this.#opened(raw)
    if (raw !== null) this.#known = heads
    return { raw, heads }
  }

  /** Opens the store's value. A value that cannot be opened was written by a program outside this fleet. */
  #opened(raw: string): Heads {
    try {
      return headsSchema.parse(jsonOrNull(this.#seal.open('message', Buffer.from(raw, 'base64'))))
    } catch {
      return {}
    }
  }

  async #swap(raw: string | null, heads: Heads): Promise<boolean> {
    const value = Buffer.from(this.#seal.seal('message', JSON.stringify(heads))).toString('base64')
    const isOurs = (await this.#options.store.swap(KEY, raw, value, KEPT_MS)) === raw
    if (isOurs) this.#known = heads
    return isOurs
  }
}

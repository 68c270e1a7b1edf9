import { z } from 'zod'
import { changed } from '../../agents/file/agent-texts.js'
import { jsonOrNull } from '../../core/json.js'
import { GatewayError } from '../../core/errors.js'
import type { WallClock } from '../../core/clock.js'
import type { CallStore } from '../../fleet/store/call-store.js'
import { SealedCall } from '../../fleet/store/sealed-call.js'

/** The value of the store that says which text of each file was published last. */
const KEY = 'agent-texts'
const KEPT_MS = 365 * 86_400_000
/** Files, and texts before the last that are known of each: what a node that was away may still have. */
const FILES_MAX = 200
const BEFORE_MAX = 20
/** Tries of one publication while others publish other files. */
const TRIES_MAX = 8
/** A text that was published this recently may be on its way to every node. */
const ON_ITS_WAY_MS = 120_000

const hash = z.string().regex(/^[0-9a-f]{16}$/)
const headSchema = z.object({
  hash,
  /** Hashes of the texts before it, oldest first. */
  before: z.array(hash).max(BEFORE_MAX),
  /** Calendar time of its publication. */
  atMs: z.number(),
})
const headsSchema = z.record(z.string().max(255), headSchema)

/** The text of a file that was published last in the fleet. */
type Head = z.output<typeof headSchema>
type Heads = Readonly<Record<string, Head>>

interface AgentHeadsOptions {
  /** The fleet's. */
  readonly store: Pick<CallStore, 'standing' | 'swap'>
  /** Secrets of TOKEN_SECRET. */
  readonly secrets: readonly string[]
  readonly wallClock: WallClock
}

/** A publication as the fleet decides on it. */
interface Claim {
  readonly file: string
  /** Hash of the text that was opened. */
  readonly base: string
  /** Hash of the text that is published. */
  readonly hash: string
  /** Hashes of the texts of the file that this node has had. */
  readonly kept: readonly string[]
  /** Hashes that the nodes that answer have of the file now. Asked only where the last publication is not `base`. */
  readonly held: () => Promise<ReadonlySet<string>>
}

/**
 * Which text of each file the fleet has published last: one value of its store, replaced by compare-and-set, so that of two
 * publications of one text at two nodes one wins. Sealed: whoever writes to Redis can undo nothing.
 */
export class AgentHeads {
  readonly #options: AgentHeadsOptions
  readonly #seal: SealedCall
  /** As they were last read or written. */
  #known: Heads = {}

  constructor(options: AgentHeadsOptions) {
    this.#options = options
    this.#seal = new SealedCall(KEY, options.secrets)
  }

  /** The last publication of each file. @throws GatewayError STORE_DOWN */
  async read(): Promise<ReadonlyMap<string, Head>> {
    const { heads } = await this.#read()
    return new Map(Object.entries(heads))
  }

  /**
   * Has the fleet go from one text of a file to another.
   * @returns takes that back, where the text could not be written
   * @throws GatewayError AGENT_CHANGED where another text was published meanwhile, CAPACITY, STORE_DOWN
   */
  async claim({ file, base, hash, kept, held }: Claim): Promise<() => Promise<void>> {
    const { wallClock } = this.#options
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const { raw, heads } = await this.#read()
      const head = Object.hasOwn(heads, file) ? heads[file] : undefined
      if (head?.hash === hash) return () => Promise.resolve()
      // Files may be edited where they lie: what no node has any more was replaced there, after its publication.
      if (head !== undefined && head.hash !== base) {
        const isReplacedHere = !head.before.includes(base) && kept.includes(head.hash)
        const isOnItsWay = !isReplacedHere && Math.abs(wallClock() - head.atMs) < ON_ITS_WAY_MS
        if (isOnItsWay || (await held()).has(head.hash)) throw changed(head.hash)
      }
      if (head === undefined && Object.keys(heads).length >= FILES_MAX)
        throw new GatewayError('CAPACITY', `${FILES_MAX} files were published already`)
      const earlier = [...(head === undefined ? [] : [...head.before, head.hash]), base]
      // A roll back is the last text again, and no text before it.
      const before = [...new Set(earlier)].filter((one) => one !== hash).slice(-BEFORE_MAX)
      const next: Heads = { ...heads, [file]: { hash, before, atMs: wallClock() } }
      const undo = (): Promise<void> => this.#undo(file, hash, head)
      const isOurs = await this.#swap(raw, next).catch(async (thrown: unknown) => {
        // It may have been written all the same.
        await undo().catch(() => undefined)
        throw thrown
      })
      if (isOurs) return undo
    }
    throw new GatewayError('CAPACITY', 'too many files are published at once; try again')
  }

  /** The store has lost what it held: it gets what this node knows, unless another node was first. */
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

  /** Reads a value of the store. A value that does not open was not written by this fleet. */
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

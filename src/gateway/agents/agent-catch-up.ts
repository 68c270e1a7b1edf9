import { z } from 'zod'
import { messageOf } from '../../core/errors.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import type { Log } from '../../telemetry/log.js'
import type { AgentEditor } from './agent-editor.js'
import type { AgentHeads } from './agent-heads.js'

const LOOK_MS = 5000
/**
 * Time in ms after which a faulty text is tried again and reported again. A text that no other node has is requested at
 * each check, but reported only once in this time.
 */
const AGAIN_MS = 60_000
/** Maximum number of refused files that are remembered. */
const REFUSED_MAX = 200
const TEXT_ANSWER_MS = 2000

const REQUEST = 'agent-text'
export const agentTextRequestSchema = z.object({
  file: z.string().min(1).max(255),
  hash: z.string().regex(/^[0-9a-f]{16}$/),
})

interface AgentCatchUpOptions {
  readonly editor: Pick<AgentEditor, 'here' | 'textOf' | 'publish'>
  readonly heads: Pick<AgentHeads, 'read'>
  readonly node: Pick<FleetNode, 'others' | 'ask' | 'onRequest'>
  readonly clock: () => number
  readonly log: Log
}

/**
 * Finds texts that were published while this node was away, gets them from other nodes, and publishes them here. A text
 * that was edited in this node's folder is not replaced.
 */
export class AgentCatchUp {
  readonly #options: AgentCatchUpOptions
  /**
   * Hash of the newest published text that the folder has contained in this run, by file. If the folder's text differs
   * later, somebody edited it in the folder.
   */
  readonly #had = new Map<string, string>()
  /** Refused texts by file and hash, each with the time of its last report. */
  readonly #refused = new Map<string, { readonly atMs: number; readonly faulty: boolean }>()
  #timer: NodeJS.Timeout | null = null
  #looking: Promise<void> | null = null
  #closed = false

  constructor(options: AgentCatchUpOptions) {
    this.#options = options
    const { node, editor } = options
    node.onRequest(REQUEST, async (body) => {
      const asked = agentTextRequestSchema.safeParse(body)
      return { text: asked.success ? await editor.textOf(asked.data.file, asked.data.hash) : null }
    })
  }

  /** Checks once, and then every few seconds. */
  async start(): Promise<void> {
    await this.look()
    if (this.#closed) return
    this.#timer = setInterval(() => void this.look(), LOOK_MS)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    this.#closed = true
    if (this.#timer !== null) clearInterval(this.#timer)
    await this.#looking
  }

  /** Checks for missed texts. Never rejects. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      // A fault is ignored here, because the store's guard counts and reports it.
      .catch(() => undefined)
      .finally(() => (this.#looking = null))
    return this.#looking
  }

  async #look(): Promise<void> {
    const { editor, heads, clock, log } = this.#options
    const published = await heads.read()
    if (published.size === 0) return
    for (const { file, hash } of (await editor.here()).files) {
      const head = published.get(file)
      if (head === undefined || hash === null) continue
      if (hash === head.hash) this.#had.set(file, hash)
      // An edited text is not replaced. It was edited if it is not in the list of earlier texts, or if this folder had
      // the newest published text before.
      if (this.#had.get(file) === head.hash || !head.before.includes(hash)) continue
      const key = `${file} ${head.hash}`
      const refused = this.#refused.get(key)
      const reported = refused !== undefined && clock() - refused.atMs < AGAIN_MS
      if (reported && refused.faulty) continue
      const text = (await editor.textOf(file, head.hash)) ?? (await this.#asked(file, head.hash))
      // A node that has just started may not know all other nodes yet.
      if (text === null && reported) continue
      const why = text === null ? 'no node that answers has it' : await this.#take(file, hash, text)
      if (why === null) {
        this.#refused.delete(key)
        log.info({ file, before: hash, after: head.hash }, 'took a text that was published while this node was away')
        continue
      }
      if (this.#refused.size >= REFUSED_MAX) this.#refused.clear()
      this.#refused.set(key, { atMs: clock(), faulty: text !== null })
      log.error({ file, before: hash, after: head.hash, why }, 'cannot take a text that was published at another node')
    }
  }

  /** @returns the reason why the text was not published here; null if it was published */
  async #take(file: string, before: string, text: string): Promise<string | null> {
    try {
      const { faults } = await this.#options.editor.publish({ file, text, bases: [before] })
      const [fault] = faults
      return fault === undefined ? null : `${fault.line}:${fault.col} ${fault.what}`
    } catch (thrown) {
      return messageOf(thrown)
    }
  }

  async #asked(file: string, hash: string): Promise<string | null> {
    const { node } = this.#options
    const alive = node.others().filter(({ seen }) => seen !== 'gone')
    for (const { name, incarnation } of alive) {
      const asked = await node.ask({ node: name, incarnation }, REQUEST, { file, hash }, TEXT_ANSWER_MS)
      if (asked.result !== 'answered') continue
      // `PEER_ANSWERS` has checked the form.
      const { text } = asked.answer as { readonly text: string | null }
      if (text !== null) return text
    }
    return null
  }
}

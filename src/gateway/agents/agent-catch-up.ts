import { z } from 'zod'
import { messageOf } from '../../core/errors.js'
import type { FleetNode } from '../../fleet/fleet-node.js'
import type { Log } from '../../telemetry/log.js'
import type { AgentEditor } from './agent-editor.js'
import type { AgentHeads } from './agent-heads.js'

const LOOK_MS = 5000
/** A text that could not be taken is tried again after this time. */
const AGAIN_MS = 60_000
/** Files that could not be taken are remembered up to this number. */
const REFUSED_MAX = 200
const TEXT_ANSWER_MS = 2000

const REQUEST = 'agent-text'
const requestSchema = z.object({ file: z.string().min(1).max(255), hash: z.string().regex(/^[0-9a-f]{16}$/) })
const answerSchema = z.object({ text: z.string().nullable() })

interface AgentCatchUpOptions {
  readonly editor: Pick<AgentEditor, 'here' | 'textOf' | 'publish'>
  readonly heads: Pick<AgentHeads, 'read'>
  readonly node: Pick<FleetNode, 'others' | 'ask' | 'onRequest'>
  readonly clock: () => number
  readonly log: Log
}

/**
 * A node that was away takes the texts that were published meanwhile, from a node that has them. It replaces only texts that
 * the fleet has had before: what somebody has edited where it lies stays.
 */
export class AgentCatchUp {
  readonly #options: AgentCatchUpOptions
  /** By file, the last published text that this run has had: who replaces it afterwards edits the file where it lies. */
  readonly #had = new Map<string, string>()
  /** By file and hash, when a text could not be taken. */
  readonly #refused = new Map<string, number>()
  #timer: NodeJS.Timeout | null = null
  #looking: Promise<void> | null = null
  #closed = false

  constructor(options: AgentCatchUpOptions) {
    this.#options = options
    const { node, editor } = options
    node.onRequest(REQUEST, async (body) => {
      const asked = requestSchema.safeParse(body)
      return { text: asked.success ? await editor.textOf(asked.data.file, asked.data.hash) : null }
    })
  }

  /** Looks once, and then every few seconds. */
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

  /** Does not reject. */
  look(): Promise<void> {
    this.#looking ??= this.#look()
      // The store's guard counts and reports it.
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
      // A text that is not an earlier one was edited here, and so was one that follows the last.
      if (this.#had.get(file) === head.hash || !head.before.includes(hash)) continue
      const key = `${file} ${head.hash}`
      if (clock() - (this.#refused.get(key) ?? -Infinity) < AGAIN_MS) continue
      const why = await this.#take(file, hash, head.hash)
      if (why === null) {
        this.#refused.delete(key)
        log.info({ file, before: hash, after: head.hash }, 'took a text that was published while this node was away')
        continue
      }
      if (this.#refused.size >= REFUSED_MAX) this.#refused.clear()
      this.#refused.set(key, clock())
      log.error({ file, before: hash, after: head.hash, why }, 'cannot take a text that was published at another node')
    }
  }

  /** @returns reason why the text was not taken; null if it was */
  async #take(file: string, before: string, hash: string): Promise<string | null> {
    const { editor } = this.#options
    const text = (await editor.textOf(file, hash)) ?? (await this.#asked(file, hash))
    if (text === null) return 'no node that answers has it'
    try {
      const { faults } = await editor.publish({ file, text, bases: [before] })
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
      const answer = asked.result === 'answered' ? answerSchema.safeParse(asked.answer).data : undefined
      if (answer?.text != null) return answer.text
    }
    return null
  }
}

import { createHash } from 'node:crypto'
import { serialize } from 'node:v8'
import type { AgentDefinition } from '../../agents/file/definition.js'

/**
 * Minimum size in bytes of a shared part. For smaller parts, such as a number or a word, the search costs more than
 * sharing saves.
 */
const PART_BYTES_MIN = 48

interface Part {
  readonly value: unknown
  /** Number of live calls that use this part. */
  calls: number
}

/** Definition of a call's agent. Other calls may use its parts too. */
interface SharedAgent {
  readonly agent: AgentDefinition
  /** Releases the parts; call it once, when the call is over. */
  readonly release: () => void
}

/**
 * Parts of agents' definitions that live calls of one worker share. Each call starts with its own copy, but most parts
 * (tools, dialogues, phrases) are equal in every call.
 */
export class AgentParts {
  readonly #parts = new Map<string, Part>()

  /** Number of held parts. */
  get size(): number {
    return this.#parts.size
  }

  /** @returns an equal definition. Parts that are equal byte for byte to parts of live calls are shared */
  share(agent: AgentDefinition): SharedAgent {
    const used: string[] = []
    const entries = Object.entries(agent).map(([name, value]: [string, unknown]) => {
      const bytes = serialize(value)
      if (bytes.length < PART_BYTES_MIN) return [name, value]
      const key = createHash('sha256').update(bytes).digest('base64')
      used.push(key)
      return [name, this.#use(key, value)]
    })
    const release = (): void => {
      for (const key of used) this.#drop(key)
    }
    return { agent: Object.fromEntries(entries) as AgentDefinition, release }
  }

  #use(key: string, value: unknown): unknown {
    const part = this.#parts.get(key) ?? { value, calls: 0 }
    part.calls++
    this.#parts.set(key, part)
    return part.value
  }

  #drop(key: string): void {
    const part = this.#parts.get(key)
    if (part !== undefined && --part.calls === 0) this.#parts.delete(key)
  }
}

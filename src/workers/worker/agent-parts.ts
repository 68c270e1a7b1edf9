import { createHash } from 'node:crypto'
import { serialize } from 'node:v8'
import type { AgentDefinition } from '../../agents/file/definition.js'

/** A smaller part, a number or a word, costs more to find than to keep. */
const PART_BYTES_MIN = 48

interface Part {
  readonly value: unknown
  /** Live calls that use it. */
  calls: number
}

/** A call's definition, whose parts other calls may use too. */
interface SharedAgent {
  readonly agent: AgentDefinition
  /** To be called once, when the call is over. */
  readonly release: () => void
}

/**
 * The parts of agents' definitions that the calls of one worker have in common. A call is started with a copy of its agent,
 * which may have words of this call alone; most of its parts (tools, dialogues, phrases) are those of every other call.
 * Holds nothing that no live call uses.
 */
export class AgentParts {
  readonly #parts = new Map<string, Part>()

  /** How many parts are held. */
  get size(): number {
    return this.#parts.size
  }

  /** @returns the same definition, made of the parts that live calls use already where they are equal bit by bit */
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

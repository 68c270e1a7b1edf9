import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import type { GeminiStats } from './incoming.js'
import { parseServerMessage } from './wire.js'
import type { ServerMessage } from './wire.js'

const NO_CALLS: readonly AskedCall[] = []

/** A tool call as the service asks it; the arguments may be anything. */
export interface AskedCall {
  readonly id: string
  readonly name: string
  readonly args: unknown
}

/** The service's messages, in text or binary frames. What is none is counted and dropped. */
export class MessageReader {
  readonly #stats: GeminiStats

  constructor(stats: GeminiStats) {
    this.#stats = stats
  }

  read(data: Buffer): ServerMessage | null {
    this.#stats.messagesIn++
    if (data.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.#stats.oversizeMessages++
      return null
    }
    let message: ServerMessage | 'unknown' | 'malformed' = 'malformed'
    try {
      message = parseServerMessage(JSON.parse(data.toString()))
    } catch {
      // Counted below.
    }
    if (message === 'malformed') {
      this.#stats.malformedMessages++
      return null
    }
    if (message !== 'unknown') return message
    this.#stats.unknownMessages++
    return {}
  }

  /** The calls of a message that can be answered: those with an id and a name. */
  calls(message: ServerMessage): readonly AskedCall[] {
    const wire = message.toolCall?.functionCalls
    if (!Array.isArray(wire)) return NO_CALLS
    return (wire as readonly unknown[]).flatMap((value) => {
      const call = value as { readonly id?: unknown; readonly name?: unknown; readonly args?: unknown } | null
      if (typeof call?.id === 'string' && typeof call.name === 'string') return [{ id: call.id, name: call.name, args: call.args }]
      this.#stats.malformedMessages++
      return []
    })
  }
}

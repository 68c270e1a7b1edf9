import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { AudioCut } from '../base64-json.js'
import type { GeminiStats } from './incoming.js'
import { parseServerMessage, partsOf } from './wire.js'
import type { ServerMessage } from './wire.js'

/** Smaller messages are parsed as fast as they are searched. */
const CUT_BYTES_MIN = 512

// Shared by all calls of a thread: a message is read to its end before the next one.
const dataCut = new AudioCut('data')

/** A tool call as the service asks it; the arguments may be anything. */
export interface AskedCall {
  readonly id: string
  readonly name: string
  readonly args: unknown
}

/**
 * The service's messages, in text or binary frames. What is none is counted and dropped. The base64 of a single piece of sound is
 * cut out before the parser sees the rest, and stays where it is.
 */
export class MessageReader {
  /** Where the sound of the message that was read last lies in it; both 0 where it has none there. */
  from = 0
  to = 0
  readonly #stats: GeminiStats

  constructor(stats: GeminiStats) {
    this.#stats = stats
  }

  read(data: Buffer): ServerMessage | null {
    this.#stats.messagesIn++
    this.from = this.to = 0
    if (data.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.#stats.oversizeMessages++
      return null
    }
    if (data.length >= CUT_BYTES_MIN && dataCut.find(data)) {
      const message = this.#parse(dataCut.rest(data))
      // The cut is audio only where exactly one part lacks its data now.
      if (message !== null && partsOf(message).filter((part) => part.inlineData?.data === '').length === 1) {
        this.from = dataCut.from
        this.to = dataCut.to
        return message
      }
    }
    const message = this.#parse(data.toString())
    if (message === null) this.#stats.malformedMessages++
    return message
  }

  /** The calls of a message that can be answered: those with an id and a name. */
  calls(message: ServerMessage): readonly AskedCall[] {
    const wire = message.toolCall?.functionCalls
    if (!Array.isArray(wire)) return []
    return (wire as readonly unknown[]).flatMap((value) => {
      const call = value as { readonly id?: unknown; readonly name?: unknown; readonly args?: unknown } | null
      if (typeof call?.id === 'string' && typeof call.name === 'string') return [{ id: call.id, name: call.name, args: call.args }]
      this.#stats.malformedMessages++
      return []
    })
  }

  #parse(text: string): ServerMessage | null {
    try {
      const message = parseServerMessage(JSON.parse(text))
      if (message !== 'unknown') return message === 'malformed' ? null : message
      this.#stats.unknownMessages++
      return {}
    } catch {
      // Counted by `read`, which may try again with the whole of it.
      return null
    }
  }
}

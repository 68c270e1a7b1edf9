import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import type { OpenAiStats } from './incoming.js'
import { parseServerEvent } from './wire.js'
import type { ServerEvent } from './wire.js'

/** The service's messages as events. What is no event is counted and dropped. */
export class MessageReader {
  readonly #stats: OpenAiStats

  constructor(stats: OpenAiStats) {
    this.#stats = stats
  }

  /** @returns null for what is no event that is read */
  read(data: Buffer): ServerEvent | null {
    this.#stats.messagesIn++
    if (data.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.#stats.oversizeMessages++
      return null
    }
    let value: unknown
    try {
      value = JSON.parse(data.toString())
    } catch {
      this.#stats.malformedMessages++
      return null
    }
    const event = parseServerEvent(value)
    if (typeof event !== 'string') return event
    if (event === 'unknown') this.#stats.unknownEvents++
    else this.#stats.malformedEvents++
    return null
  }
}

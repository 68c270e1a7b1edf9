import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { AudioCut } from '../transport/base64-json.js'
import { AudioDelta } from './audio-delta.js'
import { looksLikeAudio, parseServerEvent } from './wire.js'
import type { OpenAiStats, ServerEvent } from './wire.js'

// Shared by all calls of a thread: a message is read to its end before the next one.
const deltaCut = new AudioCut('delta')

/**
 * Reads the service's messages as events; malformed and unknown ones are counted and dropped. The base64 of audio is not parsed as
 * JSON: it stays in the message, between `from` and `to`.
 */
export class MessageReader {
  /** Position of the last event's audio in its message; both 0 when it has none there. */
  from = 0
  to = 0
  readonly #stats: OpenAiStats
  readonly #delta = new AudioDelta()

  constructor(stats: OpenAiStats) {
    this.#stats = stats
  }

  /** @returns the event, valid until the next `read`, or null */
  read(data: Buffer): ServerEvent | null {
    this.#stats.messagesIn++
    this.from = this.to = 0
    if (data.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.#stats.oversizeMessages++
      return null
    }
    if (this.#delta.read(data)) {
      this.from = this.#delta.from
      this.to = this.#delta.to
      return this.#delta.event
    }
    if (!looksLikeAudio(data) || !deltaCut.find(data)) return this.#parse(data.toString())
    const event = this.#parse(deltaCut.rest(data))
    // What was cut out was not the audio.
    if (event === null || event.type !== 'response.output_audio.delta' || event.delta !== '') return this.#parse(data.toString())
    this.from = deltaCut.from
    this.to = deltaCut.to
    return event
  }

  #parse(text: string): ServerEvent | null {
    let value: unknown
    try {
      value = JSON.parse(text)
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

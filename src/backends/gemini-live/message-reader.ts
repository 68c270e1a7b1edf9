import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { AudioCut } from '../transport/base64-json.js'
import type { GeminiStats } from './incoming.js'
import { parseServerMessage, partsOf } from './wire.js'
import type { ServerMessage } from './wire.js'

const QUOTE = 0x22
const BACKSLASH = 0x5c
/** JSON around a sound that is remembered; it has about a hundred. */
const AROUND_BYTES_MAX = 512
const NO_CALLS: readonly AskedCall[] = []

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
  /** The JSON around the last sound, whose first `aroundHead` bytes stand before it, and what the parser made of it. */
  #around: Buffer = Buffer.alloc(0)
  #aroundHead = 0
  #aroundMessage: ServerMessage | null = null

  constructor(stats: GeminiStats) {
    this.#stats = stats
  }

  /** @returns a message that may be the same as the last one but for its sound, or null */
  read(data: Buffer): ServerMessage | null {
    this.#stats.messagesIn++
    this.from = this.to = 0
    if (data.length > BACKEND_MESSAGE_BYTES_MAX) {
      this.#stats.oversizeMessages++
      return null
    }
    if (data.length >= CUT_BYTES_MIN && this.#likeTheLast(data)) return this.#aroundMessage
    if (data.length >= CUT_BYTES_MIN && dataCut.find(data)) {
      const message = this.#parse(dataCut.rest(data))
      // The cut is audio only where exactly one part lacks its data now.
      if (message !== null && partsOf(message).filter((part) => part.inlineData?.data === '').length === 1) {
        this.from = dataCut.from
        this.to = dataCut.to
        this.#remember(data, message)
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
    if (!Array.isArray(wire)) return NO_CALLS
    return (wire as readonly unknown[]).flatMap((value) => {
      const call = value as { readonly id?: unknown; readonly name?: unknown; readonly args?: unknown } | null
      if (typeof call?.id === 'string' && typeof call.name === 'string') return [{ id: call.id, name: call.name, args: call.args }]
      this.#stats.malformedMessages++
      return []
    })
  }

  /** Pieces of one answer differ in nothing but their sound: what is around it is not parsed again. */
  #likeTheLast(data: Buffer): boolean {
    const around = this.#around
    const head = this.#aroundHead
    const to = data.length - around.length + head
    if (this.#aroundMessage === null || to <= head) return false
    for (let i = 0; i < head; i++) if (data[i] !== around[i]) return false
    for (let i = head; i < around.length; i++) if (data[to - head + i] !== around[i]) return false
    // No quote in it but the last one, and nothing that is escaped.
    if (data.indexOf(QUOTE, head) !== to) return false
    const escape = data.indexOf(BACKSLASH, head)
    if (escape >= 0 && escape < to) return false
    this.from = head
    this.to = to
    return true
  }

  #remember(data: Buffer, message: ServerMessage): void {
    this.#aroundMessage = null
    if (data.length - (this.to - this.from) > AROUND_BYTES_MAX) return
    this.#around = Buffer.concat([data.subarray(0, this.from), data.subarray(this.to)])
    this.#aroundHead = this.from
    this.#aroundMessage = message
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

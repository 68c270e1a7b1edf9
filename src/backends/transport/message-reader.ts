import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { AudioCut } from './base64-audio.js'
export type MessageCounts = ReturnType<typeof noMessages>

/** How the events of a service look: JSON messages, of which one kind carries audio as base64. */
export interface MessageFormat<Event, Unread extends string> {
  /** Checks one parsed message. A word says why there is nothing to read. */
  readonly parse: (value: unknown) => Event | Unread | 'unknown' | 'malformed'
  /** `JSON.parse` when not given. */
  readonly json?: (text: string) => unknown
  /** The key of the base64 in a message with audio. */
  readonly audioKey: string
  /** The base64 of an event with audio; null for any other event. */
  readonly audioText: (event: Event) => string | null
  /** Counts a message that is not read for another reason than those in `MessageCounts`. */
  readonly unread?: (why: Unread) => void
}

/**
 * Reads the messages of one session. Oversize, malformed and unknown ones are counted and dropped. The base64 of audio
 * goes past the JSON parser, and a message that differs from the last one in its audio only is not parsed at all.
 */
export class MessageReader<Event extends object, Unread extends string = never> {
  readonly #stats: MessageCounts
  readonly #format: MessageFormat<Event, Unread>
  readonly #cut: AudioCut
  /** The event of the message that `#cut` keeps, without its audio. */
  #kept: Event | null = null

  constructor(stats: MessageCounts, format: MessageFormat<Event, Unread>) {
    this.#stats = stats
    this.#format = format
    this.#cut = new AudioCut(format.audioKey)
  }

  /** @returns an event that is valid until the next message is read; null where there is nothing to read */
  read(message: Buffer): Event | null {
    const stats = this.#stats
    stats.messagesIn++
    if (message.length > BACKEND_MESSAGE_BYTES_MAX) {
      stats.oversizeMessages++
      return null
    }
    if (this.#kept !== null && this.#cut.alike(message)) return this.#kept
    let event: Event | Unread | 'unknown' | 'malformed'
    try {
      event = this.#audioEvent(message) ?? this.#parse(message.toString())
    } catch {
      stats.malformedMessages++
      return null
    }
    if (typeof event !== 'string') return event
    if (event === 'unknown') stats.unknownEvents++
    else if (event === 'malformed') stats.malformedEvents++
    else this.#format.unread?.(event)
    return null
  }

  /**
   * The base64 in the message that `read` made this event of, for `Base64Audio`. Where it went past the parser it is a
   * part of the message.
   */
  audioOf(event: Event, message: Buffer): Buffer | string {
    return event === this.#kept ? this.#cut.bytes(message) : (this.#format.audioText(event) ?? '')
  }

  #parse(text: string): ReturnType<MessageFormat<Event, Unread>['parse']> {
    const format = this.#format
    return format.parse((format.json ?? JSON.parse)(text))
  }

  /** Reads a message whose base64 can go past the parser; null for any other. */
  #audioEvent(message: Buffer): Event | null {
    if (!this.#cut.find(message)) return null
    const event = this.#parse(this.#cut.rest(message))
    // Else another long string was cut out.
    if (typeof event === 'string' || this.#format.audioText(event) !== '') return null
    this.#cut.keep(message)
    this.#kept = event
    return event
  }
}

/** Counters of the messages of one session; plain fields. */
export function noMessages() {
  return {
    messagesIn: 0,
    /** Longer than BACKEND_MESSAGE_BYTES_MAX. */
    oversizeMessages: 0,
    /** No JSON. */
    malformedMessages: 0,
    /** An event that is known, without a field that it must have. */
    malformedEvents: 0,
    /** An event that is not known. */
    unknownEvents: 0,
  }
}

/**
 * A check of events, each of which has a type and must have some fields; the other fields may hold any value.
 * @param required  the fields of each type that is read
 * @param unread  why events of another type are not read
 * @param renamed  current names of types, by older ones
 * @returns `MessageFormat.parse`; it gives an event its current name
 */
export function eventParser<Event extends { readonly type: string }, Unread extends string = never>(
  required: { readonly [T in Event['type']]: Readonly<Record<string, 'string' | 'number' | 'object'>> },
  unread: (type: string) => Unread | 'unknown',
  renamed: Readonly<Record<string, string>> = {},
): (value: unknown) => Event | Unread | 'unknown' | 'malformed' {
  // Lists, so that checking an audio message allocates nothing.
  const fieldsOf = new Map(
    Object.entries<Readonly<Record<string, string>>>(required).map(
      ([type, fields]) => [type, Object.entries(fields).map(([field, kind]) => ({ field, kind }))] as const,
    ),
  )
  return (value) => {
    if (typeof value !== 'object' || value === null) return 'malformed'
    const event = value as Record<string, unknown>
    const given = event['type']
    if (typeof given !== 'string') return 'malformed'
    const type = Object.hasOwn(renamed, given) ? (renamed[given] as string) : given
    const fields = fieldsOf.get(type)
    if (fields === undefined) return unread(type)
    for (const { field, kind } of fields) {
      const present = event[field]
      if (typeof present !== kind || present === null) return 'malformed'
    }
    if (type !== given) event['type'] = type
    return event as unknown as Event
  }
}

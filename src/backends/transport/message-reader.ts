import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import { AudioCut } from './base64-audio.js'
export type MessageCounts = ReturnType<typeof noMessages>

/** Format of a service's events. They are JSON messages, and one type of message contains audio as base64. */
export interface MessageFormat<Event, Unread extends string> {
  /** Checks one parsed message. Returns the event, or a reason (one word) if the message contains no event. */
  readonly parse: (value: unknown) => Event | Unread | 'unknown' | 'malformed'
  /** JSON parser. Default: `JSON.parse`. */
  readonly json?: (text: string) => unknown
  /** Key of the base64 in a message with audio. */
  readonly audioKey: string
  /** @returns the base64 of an event with audio; null for any other event */
  readonly audioText: (event: Event) => string | null
  /** Counts a message that is not read, if the reason is not in `MessageCounts`. */
  readonly unread?: (why: Unread) => void
}

/**
 * Reads the messages of one session. Oversize, malformed and unknown messages are counted and dropped. The base64 of
 * audio is cut out before the JSON is parsed. If a message differs from the previous message only in its audio, the
 * message is not parsed at all.
 */
export class MessageReader<Event extends object, Unread extends string = never> {
  readonly #stats: MessageCounts
  readonly #format: MessageFormat<Event, Unread>
  readonly #cut: AudioCut
  /** Event from the message in `#cut`, without the audio. */
  #kept: Event | null = null

  constructor(stats: MessageCounts, format: MessageFormat<Event, Unread>) {
    this.#stats = stats
    this.#format = format
    this.#cut = new AudioCut(format.audioKey)
  }

  /** @returns an event that is valid until the next message is read; null if the message contains no event */
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
   * @returns the base64 in the message of this event, for `Base64Audio`. If the base64 was cut out before parsing, the
   * result is a view of the message
   */
  audioOf(event: Event, message: Buffer): Buffer | string {
    return event === this.#kept ? this.#cut.bytes(message) : (this.#format.audioText(event) ?? '')
  }

  #parse(text: string): ReturnType<MessageFormat<Event, Unread>['parse']> {
    const format = this.#format
    return format.parse((format.json ?? JSON.parse)(text))
  }

  /** Reads a message without parsing its base64; null if this is not possible. */
  #audioEvent(message: Buffer): Event | null {
    if (!this.#cut.find(message)) return null
    const event = this.#parse(this.#cut.rest(message))
    // If the event still has audio, the cut string was not the audio.
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
    /** Number of messages longer than BACKEND_MESSAGE_BYTES_MAX. */
    oversizeMessages: 0,
    /** Number of messages that are not JSON. */
    malformedMessages: 0,
    /** Number of events of a known type in which a required field is missing. */
    malformedEvents: 0,
    /** Number of unknown events. */
    unknownEvents: 0,
  }
}

/**
 * Makes a check of events. Each event has a type and must have certain fields; other fields may have any value.
 * @param required the fields of each type that is read
 * @param unread  reasons for not reading a type, by type
 * @param renamed  current names of types, by older name
 * @returns `MessageFormat.parse`; an event gets its current name
 */
export function eventParser<Event extends { readonly type: string }, Unread extends string = never>(
  required: { readonly [T in Event['type']]: Readonly<Record<string, 'string' | 'number' | 'object'>> },
  unread: (type: string) => Unread | 'unknown',
  renamed: Readonly<Record<string, string>> = {},
): (value: unknown) => Event | Unread | 'unknown' | 'malformed' {
  // The fields are stored as lists, so that the check of an audio message does not allocate memory.
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

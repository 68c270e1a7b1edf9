import { isBackchannel } from '../../call/turns/backchannel.js'
import { BACKEND_MESSAGE_BYTES_MAX } from '../../core/limits.js'
import type { ServerEvent } from './wire.js'

/** Most audio of an answer that waits until it is known whether the caller wants one: a minute of it, as base64. */
const BACKEND_DOUBT_BYTES_MAX = BACKEND_MESSAGE_BYTES_MAX

/** As long as the agent goes on at least when an answer is in doubt: the caller does not wait because of it. */
export const WORDS_WAIT_MS = 1500

/** An event that waits, with its audio. */
interface KeptEvent {
  readonly event: ServerEvent
  readonly audio: Buffer | string
}

/**
 * The service's answer to a sound over an answer that it has finished and the caller still hears. Whether the sound was
 * meant for the agent is known with its words, so the events of the answer wait until then.
 *
 *     open      --the service begins an answer--> answering: its events are kept
 *     open      --only a backchannel--> refused: the answer is dropped when it begins
 *     answering --only a backchannel | another interruption--> over, dropped
 *     answering --other words | no words in WORDS_WAIT_MS | too many bytes--> over, handled as if it came now
 */
export class AnswerInDoubt {
  readonly events: KeptEvent[] = []
  /** While the call hears the words. */
  deciding = false
  refused = false
  /** Response of the answer; null until it begins. */
  responseId: string | null = null
  readonly #itemId: string | null
  readonly #unless: readonly string[]
  #bytes = 0

  /**
   * @param itemId  of the sound; null where the service names none: then the next words are its words
   * @param unless  words that need no answer
   */
  constructor(itemId: string | null, unless: readonly string[]) {
    this.#itemId = itemId
    this.#unless = unless
  }

  get answering(): boolean {
    return this.responseId !== null
  }

  get tooLong(): boolean {
    return this.#bytes > BACKEND_DOUBT_BYTES_MAX
  }

  isAbout(itemId: string): boolean {
    return this.#itemId === null || this.#itemId === itemId
  }

  /** True if the words need an answer. */
  counts(words: string): boolean {
    return words.trim() !== '' && !isBackchannel(words, this.#unless)
  }

  /** @returns true when the event waits; copied, because it is valid only until the next message is read */
  keep(event: ServerEvent, audio: Buffer | string): boolean {
    if (this.responseId === null) {
      if (event.type !== 'response.created' || event.response.id === undefined) return false
      this.responseId = event.response.id
    } else if (event.type !== 'conversation.item.added' && responseOf(event) !== this.responseId) {
      return false
    }
    this.#bytes += audio.length
    this.events.push({ event: { ...event }, audio: typeof audio === 'string' ? audio : Buffer.from(audio) })
    return true
  }
}

function responseOf(event: ServerEvent): string | undefined {
  return 'response' in event ? event.response.id : 'response_id' in event ? event.response_id : undefined
}

import { isBackchannel } from '../../../call/turns/backchannel.js'
import { BACKEND_MESSAGE_BYTES_MAX } from '../../../core/limits.js'
import type { ServerEvent } from './wire.js'

/** Maximum size of a kept answer in bytes: about a minute of audio as base64. */
const BACKEND_DOUBT_BYTES_MAX = BACKEND_MESSAGE_BYTES_MAX

/**
 * Maximum time in ms to wait for the words of the sound. The caller does not notice this wait, because a new answer is
 * in doubt only while the earlier answer still plays at least this long.
 */
export const WORDS_WAIT_MS = 1500

/** A kept event with its audio. */
interface KeptEvent {
  readonly event: ServerEvent
  readonly audio: Buffer | string
}

/**
 * The service's answer to a sound that the caller made while hearing a finished answer. Only the words show if the sound
 * was for the agent, so the new answer's events wait for the words.
 *
 *     open      --the service begins an answer--> answering: the answer's events are kept
 *     open      --only a backchannel--> refused: the answer is dropped when the service begins it
 *     answering --only a backchannel, or another interruption--> over: the answer is dropped
 *     answering --other words, no words in WORDS_WAIT_MS, or too many bytes--> over: the kept events are handled now
 */
export class AnswerInDoubt {
  readonly events: KeptEvent[] = []
  /** True while the sink handles the words. */
  deciding = false
  refused = false
  /** Response of the answer; null until it begins. */
  responseId: string | null = null
  readonly #itemId: string | null
  readonly #unless: readonly string[]
  #bytes = 0

  /**
   * @param itemId item of the sound; null if the service sends no item: the next words then belong to the sound
   * @param unless words that need no answer
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

  /** @returns true if the event waits. The event is copied, because it is valid only until the next message is read */
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

import type { CallCore } from '../call-core.js'
import type { CallerSpeech } from '../turns/caller-speech.js'
import { heardPart, SPEECH_MS_PER_CHARACTER } from '../spoken/transcript.js'
import type { Transcript } from '../spoken/transcript.js'
import { askedIn, isSmallTalk } from '../turns/turn-words.js'
import type { Asked } from '../turns/turn-words.js'
import { Grants } from './grants.js'

/** Maximum age of a question, in milliseconds, for a short answer that the caller gives while the agent speaks. */
const QUESTION_OPEN_MS = 2000
/** Time in milliseconds for which words that may still change show that the caller is present. */
const PARTIAL_ALIVE_MS = 10_000
/** Maximum delay of a caller's words after the voice, in milliseconds. Later words are not expected. */
const WORDS_LATE_MS = 2000

/**
 * Words of the caller: the expected words, the question that the words may answer, and the feature that takes the
 * words.
 */
export class Input {
  readonly grants = new Grants('input')
  #smallTalk = false
  #partialAtMs = -Infinity
  /** Time of the last voiced sample for which a transcript has arrived. */
  #wordsOfMs = NaN
  /** Item of that transcript. */
  #wordsItemId = ''
  readonly #core: CallCore
  readonly #transcript: Transcript
  readonly #callerSpeech: CallerSpeech

  constructor(core: CallCore, transcript: Transcript, callerSpeech: CallerSpeech) {
    this.#core = core
    this.#transcript = transcript
    this.#callerSpeech = callerSpeech
  }

  /** True if the caller's newest words are only greetings and thanks. */
  get smallTalk(): boolean {
    return this.#smallTalk
  }

  /** True while the caller says words that may still change. */
  get partial(): boolean {
    return this.#transcript.callerOpen && this.#core.nowMs - this.#partialAtMs < PARTIAL_ALIVE_MS
  }

  heard(text: string): void {
    this.#smallTalk = isSmallTalk(text)
  }

  /** Notes words that may still change. */
  heardPartly(): void {
    this.#partialAtMs = this.#core.nowMs
  }

  /** True if the caller speaks, or if words of earlier speech were not recognised yet. */
  get expected(): boolean {
    const { speaking, lastVoicedMs } = this.#callerSpeech
    const unknown = lastVoicedMs !== this.#wordsOfMs || this.#transcript.callerOpen
    return speaking || (unknown && this.#core.nowMs < lastVoicedMs + WORDS_LATE_MS)
  }

  /**
   * Takes a transcript.
   * @returns the start and end of the voice of the transcript's item. `spoken` is false for DTMF digits, because the
   * last voiced sample belongs to earlier words
   */
  transcribed(itemId: string): { readonly startMs: number; readonly endMs: number; readonly spoken: boolean } {
    const { firstVoicedMs, lastVoicedMs } = this.#callerSpeech
    const spoken = !Number.isNaN(lastVoicedMs) && (lastVoicedMs !== this.#wordsOfMs || itemId === this.#wordsItemId)
    const startMs = spoken && !Number.isNaN(firstVoicedMs) ? firstVoicedMs : this.#core.nowMs
    const endMs = spoken ? lastVoicedMs : this.#core.nowMs
    if (spoken) {
      this.#wordsOfMs = lastVoicedMs
      this.#wordsItemId = itemId
    }
    return { startMs, endMs, spoken }
  }

  /** Question that the caller has heard in the agent's last words. */
  get asked(): Asked {
    return askedIn(this.heardOfAgent, this.#core.options.speech.words?.numberDigits)
  }

  /** True if the agent has just asked something and continues to speak. A short word may then be the answer. */
  get questionOpen(): boolean {
    const heard = this.heardOfAgent
    return heard.includes('?') && heard.length - heard.lastIndexOf('?') <= QUESTION_OPEN_MS / SPEECH_MS_PER_CHARACTER
  }

  /** The part of the agent's last words that the caller has heard. */
  get heardOfAgent(): string {
    const sounding = this.#transcript.sounding
    if (sounding !== null) {
      const { itemId, text, heard } = sounding
      return heard ? text : heardPart(text, this.#core.playout.playedMs(itemId, this.#core.nowMs))
    }
    const last = this.#core.log.transcript.findLast(({ role }) => role === 'agent')
    if (last === undefined) return ''
    return last.playedMs === undefined ? last.text : heardPart(last.text, last.playedMs)
  }
}

import type { CallCore } from '../call-core.js'
import type { CallerSpeech } from '../turns/caller-speech.js'
import { heardPart, SPEECH_MS_PER_CHARACTER } from '../spoken/transcript.js'
import type { Transcript } from '../spoken/transcript.js'
import { askedIn, isSmallTalk } from '../turns/turn-words.js'
import type { Asked } from '../turns/turn-words.js'
import { Grants } from './grants.js'

/** A short answer over the agent may be meant for a question that was said this long before. */
const QUESTION_OPEN_MS = 2000
/** Words that may still change keep the caller present for this long after they came. */
const PARTIAL_ALIVE_MS = 10_000
/** The words of a caller who has spoken come this long after the voice, or there are none. */
const WORDS_LATE_MS = 2000

/** The caller's words: which are still to come, what they may answer, and who consumes them. */
export class Input {
  readonly grants = new Grants('input')
  #smallTalk = false
  #partialAtMs = -Infinity
  /** Time of the last voiced sample for which a transcript has come, and that transcript's item. */
  #wordsOfMs = NaN
  #wordsItemId = ''
  readonly #core: CallCore
  readonly #transcript: Transcript
  readonly #callerSpeech: CallerSpeech

  constructor(core: CallCore, transcript: Transcript, callerSpeech: CallerSpeech) {
    this.#core = core
    this.#transcript = transcript
    this.#callerSpeech = callerSpeech
  }

  /** The caller's newest words are greetings and thanks. */
  get smallTalk(): boolean {
    return this.#smallTalk
  }

  /** Words are being said that may still change. */
  get partial(): boolean {
    return this.#transcript.callerOpen && this.#core.nowMs - this.#partialAtMs < PARTIAL_ALIVE_MS
  }

  heard(text: string): void {
    this.#smallTalk = isSmallTalk(text)
  }

  /** Words came that may still change. */
  heardPartly(): void {
    this.#partialAtMs = this.#core.nowMs
  }

  /** The caller speaks, or has spoken and the words are not all known. */
  get expected(): boolean {
    const { speaking, lastVoicedMs } = this.#callerSpeech
    const unknown = lastVoicedMs !== this.#wordsOfMs || this.#transcript.callerOpen
    return speaking || (unknown && this.#core.nowMs < lastVoicedMs + WORDS_LATE_MS)
  }

  /**
   * A transcript has come. @returns the begin and end of its voice, and whether it has a voice of its own: DTMF digits have none,
   * because the last voiced sample belongs to earlier words
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

  /** Question in the agent's last words, as far as the caller has heard them. */
  get asked(): Asked {
    return askedIn(this.#heardOfAgent, this.#core.options.speech.words?.numberDigits)
  }

  /** The agent has just asked something and goes on: a short word may be the answer. */
  get questionOpen(): boolean {
    const heard = this.#heardOfAgent
    return heard.includes('?') && heard.length - heard.lastIndexOf('?') <= QUESTION_OPEN_MS / SPEECH_MS_PER_CHARACTER
  }

  get #heardOfAgent(): string {
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

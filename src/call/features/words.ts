import type { BackendEvent } from '../backend-events.js'
import { Feature } from '../call-feature.js'
import type { CallFeature } from '../call-feature.js'
import type { HeardWords } from '../call-language.js'
import type { CallInput } from '../events.js'
import { heardPart, SPEECH_MS_PER_CHARACTER } from '../transcript.js'
import { askedIn, asksToCancel, asksToWait, isSmallTalk } from '../turn-words.js'
import type { Asked } from '../turn-words.js'

/** Before a supervisor's words, so that the model neither answers them nor says them to the caller. */
const WHISPER =
  'A supervisor who listens to this call tells you, and not the caller: follow it in what you say next, without mentioning it. '

/** A short answer over the agent may be meant for a question that was said this long before. */
const QUESTION_OPEN_MS = 2000
/** The words of a caller who has spoken come this long after the voice, or there are none. */
const WORDS_LATE_MS = 2000

/**
 * The words of both sides, as far as they are known, and what follows from the caller's: a language, a wait, a goodbye.
 */
export class Words extends Feature implements CallFeature {
  /** Time of the last voiced sample for which a transcript has come, and that transcript's item. */
  #wordsOfMs = NaN
  #wordsItemId = ''
  /** The caller's newest words: greetings and thanks. */
  smallTalk = false
  /** The caller has asked for a moment, or the gateway has said it: what the backend says to that is not wanted. */
  asksToWait = false

  input(input: CallInput): boolean {
    if (input.type !== 'whisper') return false
    this.#whisper(input.text)
    return true
  }

  /** The caller speaks, or has spoken and the words are not all known. */
  get expected(): boolean {
    const { speaking, lastVoicedMs } = this.call.callerSpeech
    const unknown = lastVoicedMs !== this.#wordsOfMs || this.call.transcript.callerOpen
    return speaking || (unknown && this.call.nowMs < lastVoicedMs + WORDS_LATE_MS)
  }

  ofCaller(itemId: string, text: string, final: boolean, languages?: readonly HeardWords[]): void {
    const { firstVoicedMs, lastVoicedMs } = this.call.callerSpeech
    // A transcript of DTMF digits has no voice of its own: the last voiced sample belongs to earlier words.
    const spoken = !Number.isNaN(lastVoicedMs) && (lastVoicedMs !== this.#wordsOfMs || itemId === this.#wordsItemId)
    const startMs = spoken && !Number.isNaN(firstVoicedMs) ? firstVoicedMs : this.call.nowMs
    const endMs = spoken ? lastVoicedMs : this.call.nowMs
    if (spoken) {
      this.#wordsOfMs = lastVoicedMs
      this.#wordsItemId = itemId
    }
    if (final && this.call.language.heard(languages ?? [{ text }])) this.languageChanged()
    this.call.transcript.callerWords(
      itemId,
      text,
      final,
      startMs - this.call.streamZeroMs,
      endMs - this.call.streamZeroMs,
    )
    if (text.trim() === '') return
    this.call.greeting.settled()
    if (spoken) this.call.level.understood()
    this.call.presence.understood()
    if (!final) this.#partial(text)
    else if (this.call.digits.collection !== null) this.call.digits.words(text)
    else if (
      this.call.options.bargeIn.waitWords &&
      this.call.state === 'live' &&
      asksToWait(text, this.call.spokenOver)
    )
      return this.#callerAsksToWait()
    if (final) this.call.consent.words(text)
    if (final && asksToCancel(text)) this.call.waits.cancel()
    if (this.call.wordsMayCome) this.call.uncertainSpeechHadWords()
    if (final && this.call.overlapEnded) this.call.overlapWords(text)
    this.call.callerActive()
    this.call.agentSpokeLast = false
    this.call.turns.confirm()
    this.smallTalk = isSmallTalk(text)
    if (final && this.call.state === 'live' && this.call.turns.waiting) this.call.awaitAnswer()
    if (final && this.call.digits.collection === null) this.call.ending.closingCue(text)
  }

  languageChanged(): void {
    const { now } = this.call.language
    this.call.mark('language', now)
    this.call.out({ type: 'language', language: now })
    this.call.changed()
  }

  /** Words that may still change: they say whether the caller has finished, and whether he only listens. */
  #partial(text: string): void {
    this.call.presence.partialWords()
    this.call.callerSpeech.heardWords(text, this.asked)
    if (this.call.bargeIn.paused) this.call.bargeIn.heardWords(text)
  }

  /** Question in the agent's last words, as far as the caller has heard them. */
  get asked(): Asked {
    return askedIn(this.#heardOfAgent, this.call.options.speech.words?.numberDigits)
  }

  get #heardOfAgent(): string {
    const sounding = this.call.transcript.sounding
    if (sounding !== null) {
      const { itemId, text, heard } = sounding
      return heard ? text : heardPart(text, this.call.playout.playedMs(itemId, this.call.nowMs))
    }
    const last = this.call.log.transcript.findLast(({ role }) => role === 'agent')
    if (last === undefined) return ''
    return last.playedMs === undefined ? last.text : heardPart(last.text, last.playedMs)
  }

  /** The agent has just asked something and goes on: a short word may be the answer. */
  get questionOpen(): boolean {
    const heard = this.#heardOfAgent
    return heard.includes('?') && heard.length - heard.lastIndexOf('?') <= QUESTION_OPEN_MS / SPEECH_MS_PER_CHARACTER
  }

  /** Words that ask for a moment are not answered with words: the agent is silent until the caller goes on. */
  #callerAsksToWait(): void {
    this.call.counters.askedToWait++
    this.call.mark('asked-to-wait', this.call.spokenOver ? 'over the agent' : 'while nobody else spoke')
    this.call.wordsMayCome = false
    if (this.call.bargeIn.paused || this.call.interruptible)
      this.call.commitBargeIn('asked to wait', this.call.agentSpeech.latest)
    this.call.settleOverlap()
    this.call.callerActive()
    this.call.agentSpokeLast = false
    this.call.turns.dismiss()
    this.call.clear('answer', 'filler', 'closing-cue')
    this.call.presence.clock.callerAsksToWait()
    this.call.in('silence', this.call.options.silence.afterMs)
    this.waitForCaller()
  }

  /** Discards the backend's speech until the caller goes on, or until a prompt asks for speech. */
  waitForCaller(): void {
    this.asksToWait = true
    this.call.agentSpeech.close()
  }

  /** The backend is asked for something, or the caller goes on: it may speak again. */
  waitedFor(): void {
    if (!this.asksToWait) return
    this.asksToWait = false
    this.call.agentSpeech.open()
  }

  ofAgent(event: Extract<BackendEvent, { readonly type: 'transcript' }>): void {
    if (!this.call.agentSpeech.wanted(event.generation) || this.call.agentSpeech.isCut(event.itemId)) {
      this.call.counters.lateEventsDropped++
      return
    }
    this.call.tools.fillers.modelSays(event.text)
    this.call.transcript.agentWords(event.itemId, event.text, event.final, this.call.streamMs)
    this.call.digits.agentSays(event.text, true)
  }

  /** The model must know what it would else say again, or answer. What nobody heard counts as not said. */
  gatewaySaid(words: string, itemId: string, playedMs: number | null): void {
    if (playedMs === 0) this.call.presence.unheard(itemId)
    if (playedMs === 0 || !this.call.backend.usable || !this.call.streaming) return
    const text = playedMs === null ? words : `${words} [the caller interrupted]`
    this.call.out({ type: 'backend-text', text, role: 'agent', respond: false })
  }

  /** The model takes a supervisor's words into its next answer. */
  #whisper(text: string): void {
    if (this.call.state !== 'live' || !this.call.backend.usable)
      return this.call.mark('whisper-refused', this.call.state)
    this.call.mark('whisper', text)
    this.call.tellModel(`${WHISPER}${text}`)
  }
}

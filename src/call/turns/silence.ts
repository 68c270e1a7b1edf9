import { z } from 'zod'
import { ANSWER_UNHEARD_MS, UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import type { SpeechOptions } from './end-of-turn.js'
import { phraseSchema, spokenSchema as spoken } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'

/** If the backend has not answered by then (ANSWER_UNHEARD_MS), the gateway asks, and has one second left to speak. */
const ASK_UNHEARD_MS = 7000

/** Longest interval between checks while somebody is busy. */
const BUSY_POLL_MS = 500

type KeptSilence = Pick<CallCheckpoint, 'silencePrompts' | 'silent'>

type SilenceDecision =
  | { readonly type: 'wait'; readonly untilMs: number }
  | { readonly type: 'prompt'; readonly text: LocalizedText; readonly detail: string }
  | { readonly type: 'end'; readonly detail: string }

/**
 * Decides when nobody has spoken for too long. It measures the time since the last speech of either side and does not
 * rely on voiced frames, because the comfort noise of a muted line can contain them for ever. As the caller's speech
 * count a segment with enough voice, words that were understood, and a digit.
 *
 *     quiet for firstAfterMs, no word of the caller so far --> the first prompt, an offer
 *     quiet for afterMs --prompts left--> prompt, quiet again; afterQuestionMs where the agent has asked something,
 *                                         afterWaitMs where the caller has asked for a moment
 *     quiet for afterMs --none left, asked since the caller last spoke--> goodbye, end (silence-limit)
 *     quiet for as long as all prompts take --none left, not asked since--> the same
 *
 * The prompts are those of the call: a caller who often needs time is not asked again and again. One that nobody heard
 * counts as not asked.
 */
export class Silence {
  /** Prompts of this call so far. */
  prompts: number
  readonly #options: SilenceOptions
  /** -Infinity: the caller has not spoken in this call. */
  #callerSpokeAtMs: number
  #askedSince = false
  /** The caller asked for a moment, and has not spoken since. */
  #waits = false
  /** Prompts that nobody heard. As many as there are prompts are asked again: without a voice the call must end. */
  #unheard = 0
  /** When somebody was last found busy. */
  #busyAtMs = -Infinity

  /**
   * @param kept         from the previous worker; null: none
   * @param callerSpoke  the caller has spoken in this call
   */
  constructor(options: SilenceOptions, kept: KeptSilence | null, callerSpoke: boolean) {
    this.#options = options
    this.prompts = kept?.silencePrompts ?? 0
    this.#callerSpokeAtMs = callerSpoke ? 0 : -Infinity
    this.#askedSince = kept?.silent === 'asked'
    this.#waits = kept?.silent === 'waits'
  }

  /** For the next worker. */
  kept(): KeptSilence {
    const silent = this.#waits ? 'waits' : this.#askedSince ? 'asked' : null
    return { silencePrompts: this.prompts, ...(silent === null ? {} : { silent }) }
  }

  callerSpoke(nowMs: number): void {
    this.#askedSince = false
    this.#waits = false
    this.#callerSpokeAtMs = nowMs
  }

  /** The caller asked for a moment. */
  callerAsksToWait(): void {
    this.#waits = true
  }

  /** Nobody heard the last prompt. */
  unheard(): void {
    if (this.prompts === 0 || ++this.#unheard > this.#options.prompts.length) return
    this.prompts--
    this.#askedSince = this.prompts > 0
  }

  /**
   * @param busy  somebody speaks, or the caller waits for the agent
   * @param agentHeardAtMs  when the agent was last heard, or the stream opened
   * @param question  the agent's last words were one
   */
  due(nowMs: number, busy: boolean, agentHeardAtMs: number, question = false): SilenceDecision {
    const { firstAfterMs = 0, firstPrompt = null, prompts } = this.#options
    const afterMs = this.#afterMs(question)
    const first = this.prompts === 0 && this.#callerSpokeAtMs === -Infinity
    if (busy) {
      this.#busyAtMs = nowMs
      return { type: 'wait', untilMs: nowMs + Math.min(BUSY_POLL_MS, afterMs) }
    }
    const text = first ? (firstPrompt ?? prompts[0]) : prompts[this.prompts]
    const none = text === undefined && !this.#askedSince && prompts.length > 0
    const allowedMs = first ? Math.max(afterMs, firstAfterMs) : none ? afterMs * (prompts.length + 1) : afterMs
    const quietAtMs = Math.max(this.#callerSpokeAtMs, agentHeardAtMs, this.#busyAtMs)
    const quietMs = nowMs - quietAtMs
    if (quietMs < allowedMs) return { type: 'wait', untilMs: quietAtMs + allowedMs }
    if (text === undefined)
      return { type: 'end', detail: `${Math.round(quietMs)} ms of quiet after ${this.prompts} prompts` }
    this.prompts++
    this.#askedSince = true
    this.#busyAtMs = nowMs
    return {
      type: 'prompt',
      text,
      detail: `${this.prompts} of ${prompts.length}: ${Math.round(quietMs)} ms of quiet, ${allowedMs} allowed`,
    }
  }

  #afterMs(question: boolean): number {
    const { afterMs, afterQuestionMs = 0, afterWaitMs = 0 } = this.#options
    if (this.#waits) return Math.max(afterMs, afterWaitMs)
    // The gateway's own prompt is a question too.
    return question && !this.#askedSince ? Math.max(afterMs, afterQuestionMs) : afterMs
  }
}

/** Interval between checks while an announcement is on its way. */
const POLL_MS = 500
/** A sound with a longer pause is over: silence follows. */
const GOES_ON_MS = 2000
/** A caller who speaks after a pause gets time for a sentence, although what sounded before it was not understood. */
const SENTENCE_MS = 3500
/** Latest end of that sentence. The backend needs the rest to answer, before the gateway asks. */
const SENTENCE_END_MS_MAX = (ANSWER_UNHEARD_MS + ASK_UNHEARD_MS) / 2

interface UnrecognisedOptions {
  readonly serverVad: boolean
  readonly speech: Pick<SpeechOptions, 'endOfSpeechMs'>
  readonly responseFailedText: LocalizedText
  readonly silence: Pick<SilenceOptions, 'prompts'>
}

/** State of the session that a decision about unrecognised speech needs. */
interface SpeechNow {
  readonly nowMs: number
  /** The caller's segment: whether one runs, when it began, and how long the caller has been quiet. */
  readonly speaking: boolean
  readonly firstVoicedMs: number
  readonly quietMs: number
  /** Agent sound plays or waits, or the caller has paused it. */
  readonly agentHeard: boolean
  /** An item of speech is on its way to the caller. */
  readonly anyItemOpen: boolean
}

type UnrecognisedDecision =
  | { readonly type: 'none' }
  | { readonly type: 'wait'; readonly untilMs: number }
  /** End the current segment although its sound continues. */
  | { readonly type: 'give-up'; readonly unrecognisedMs: number; readonly untilMs: number }
  | { readonly type: 'ask'; readonly text: LocalizedText; readonly untilMs: number }
  | { readonly type: 'end'; readonly detail: string }

/**
 * Handles caller sound that nobody understands: hold music, a television. It may never end, and without an end of
 * speech the backend would never answer.
 *
 *     listening --ANSWER_UNHEARD_MS of sound without words--> ignoring    the backend gets the end of speech; a sentence
 *                                                                         that began after a pause may end first
 *     listening --UNDERSTOOD_SPEECH_MS_MAX, with words-->     ignoring    the same
 *     (either)  --ASK_UNHEARD_MS, no words, no agent-->       ignoring    the gateway asks: please repeat, then
 *                                                                         silence prompts, then the goodbye
 *     ignoring  --the agent was heard | caller quiet-->       listening   sound from here on begins a new segment
 *
 * While ignored, the sound begins no segment, because it would interrupt the agent's answer at once. "Words" are
 * partial or final transcripts, the backend's `understood`, and digits. A backend with its own VAD decides when the
 * caller has stopped. If its VAD reports speech, the longer limit UNDERSTOOD_SPEECH_MS_MAX applies.
 */
export class UnrecognisedSpeech {
  ignoring = false
  readonly #options: UnrecognisedOptions
  /** When the current unrecognised sound began; NaN when there is none. */
  #sinceMs = NaN
  /** The backend's own VAD has heard the caller since then. */
  #backendHeard = false
  #quietMs = 0
  /** The agent was heard since the sound is ignored. */
  #agentHeard = false
  /** Questions of the gateway since the last understood word. */
  #asked = 0

  constructor(options: UnrecognisedOptions) {
    this.#options = options
  }

  /** Unrecognised sound is being timed. */
  get timing(): boolean {
    return !Number.isNaN(this.#sinceMs)
  }

  /** Takes a frame while `ignoring`. @returns true while the frame belongs to the ignored sound */
  ignores(voiced: boolean, agentTalking: boolean): boolean {
    this.#quietMs = voiced ? 0 : this.#quietMs + FRAME_MS
    this.ignoring = this.#quietMs < this.#options.speech.endOfSpeechMs && (!this.#agentHeard || agentTalking)
    return this.ignoring
  }

  /** A segment has enough voice to be speech, and the agent is silent. @returns when to call `due` */
  begin(sinceMs: number): number {
    this.#sinceMs = sinceMs
    this.#backendHeard = false
    return sinceMs + ANSWER_UNHEARD_MS
  }

  /** Words were understood, or a digit was pressed. @returns when to call `due`; NaN when the caller does not speak */
  understood(speaking: boolean, nowMs: number, firstVoicedMs: number): number {
    this.#asked = 0
    this.#sinceMs = speaking ? nowMs : NaN
    return speaking ? Math.min(nowMs + ANSWER_UNHEARD_MS, firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX) : NaN
  }

  /** The sound gets no answer and no question: the agent waits on hold. */
  over(): void {
    this.ignoring = false
    this.#sinceMs = NaN
    this.#asked = 0
  }

  /** The backend's own VAD reports that the caller speaks. */
  backendHeardSpeech(): void {
    this.#backendHeard = true
  }

  /** Agent sound begins. */
  agentSounds(): void {
    this.#agentHeard = true
    this.#sinceMs = NaN
  }

  due(now: SpeechNow): UnrecognisedDecision {
    const { nowMs } = now
    if (Number.isNaN(this.#sinceMs)) return { type: 'none' }
    if (this.ignoring) return this.#ask(now)
    if (!now.speaking && now.quietMs > GOES_ON_MS) {
      this.#sinceMs = NaN
      return { type: 'none' }
    }
    // During a pause the backend may be working on the speech before it.
    if (!now.speaking || now.agentHeard) return { type: 'wait', untilMs: nowMs + POLL_MS }
    const limitMs = !this.#options.serverVad
      ? ANSWER_UNHEARD_MS
      : this.#backendHeard
        ? UNDERSTOOD_SPEECH_MS_MAX
        : ASK_UNHEARD_MS
    const atMs = Math.min(
      Math.max(this.#sinceMs + limitMs, Math.min(now.firstVoicedMs + SENTENCE_MS, this.#sinceMs + SENTENCE_END_MS_MAX)),
      now.firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX,
    )
    if (nowMs < atMs) return { type: 'wait', untilMs: atMs }
    this.ignoring = true
    this.#quietMs = 0
    this.#agentHeard = false
    return {
      type: 'give-up',
      unrecognisedMs: nowMs - this.#sinceMs,
      untilMs: Math.max(nowMs, this.#sinceMs + ASK_UNHEARD_MS),
    }
  }

  /** The backend has not answered the ignored sound: the gateway asks. */
  #ask({ nowMs, anyItemOpen }: SpeechNow): UnrecognisedDecision {
    if (anyItemOpen) return { type: 'wait', untilMs: nowMs + POLL_MS }
    const texts = [this.#options.responseFailedText, ...this.#options.silence.prompts]
    const text = texts[this.#asked++]
    if (text === undefined) return { type: 'end', detail: `asked ${texts.length} times, and nothing was understood` }
    // If this text cannot be spoken, the next check takes the next one.
    return { type: 'ask', text, untilMs: nowMs + POLL_MS }
  }
}

/** Said in place of the first prompt by agents that speak no other languages. */
export const FIRST_PROMPT = { en: 'How can I help you?', sw: 'Naweza kukusaidia vipi?' }

/** `silence:` of an agent's file. */
export const silenceSchema = z.strictObject({
  afterMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(8000) // callers look up an order number in 5-7 s
    .describe('How long both sides are silent before a prompt is spoken.'),
  firstAfterMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(12_000) // of callers who were asked 5 s after the greeting, four of four left
    .describe('The same for a caller who has not spoken yet; at least afterMs.'),
  firstPrompt: spoken
    .exactOptional()
    .describe(
      `Said to such a caller in place of the first prompt. Default: of English agents "${FIRST_PROMPT.en}", else the first prompt.`,
    ),
  afterQuestionMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(10_000) // what was asked for may have to be looked up
    .describe('The same after a question of the agent; at least afterMs.'),
  afterWaitMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(20_000)
    .describe('The same after the caller has asked for a moment; at least afterMs.'),
  prompts: z
    .array(spoken)
    .max(5)
    .default([
      { en: 'Are you still there?', sw: 'Bado uko kwenye simu?' },
      { en: 'I cannot hear you. Are you still there?', sw: 'Sikusikii. Bado uko kwenye simu?' },
    ])
    .describe(
      'Spoken one after the other, each once in a call; when all were used and it is still silent, the agent says goodbye and hangs up.',
    ),
})

/** The same in a session; `firstPrompt` null: the first prompt. */
export const silenceOptionsSchema = inSession({ ...silenceSchema.shape, firstPrompt: phraseSchema.nullable() }, [
  'firstAfterMs',
  'firstPrompt',
  'afterQuestionMs',
  'afterWaitMs',
])
type SilenceOptions = DocumentOf<typeof silenceOptionsSchema>

import { z } from 'zod'
import { ANSWER_UNHEARD_MS, UNDERSTOOD_SPEECH_MS_MAX } from '../../core/limits.js'
import { FRAME_MS } from '../../core/units.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { inSession } from '../documents/document.js'
import type { DocumentOf } from '../documents/document.js'
import type { SpeechOptions } from './end-of-turn.js'
import { phraseSchema, spokenSchema as spoken } from '../spoken/localized-text.js'
import type { LocalizedText } from '../spoken/localized-text.js'

/**
 * Time since the sound began, in milliseconds, after which the gateway asks. It asks only if the backend has not
 * answered the end of speech that was sent at ANSWER_UNHEARD_MS. One second then remains for the gateway's question.
 */
const ASK_UNHEARD_MS = 7000

/** Maximum interval between checks while a side speaks or the caller waits, in milliseconds. */
const BUSY_POLL_MS = 500

type KeptSilence = Pick<CallCheckpoint, 'silencePrompts' | 'silent'>

type SilenceDecision =
  | { readonly type: 'wait'; readonly untilMs: number }
  | { readonly type: 'prompt'; readonly text: LocalizedText; readonly detail: string }
  | { readonly type: 'end'; readonly detail: string }

/**
 * Decides when both sides have been silent for too long. It measures the time since the last speech of either side.
 * Voiced frames alone do not count as speech, because the comfort noise of a muted line may contain such frames for
 * ever. The caller's speech is a segment with enough voice, recognised words, or a digit.
 *
 *     quiet for firstAfterMs, no words of the caller so far --> the first prompt, an offer
 *     quiet for afterMs --prompts left--> prompt, quiet again; afterQuestionMs after a question of the agent,
 *                                         afterWaitMs after the caller has asked for a moment
 *     quiet for afterMs --no prompts left, prompted since the caller last spoke--> goodbye, end (silence-limit)
 *     quiet for as long as all prompts take --no prompts left, no prompt since--> goodbye, end (silence-limit)
 *
 * Prompts are counted over the whole call, so that a caller who often needs time is not prompted too often. A prompt
 * that the caller did not hear does not count.
 */
export class Silence {
  /** Number of prompts in this call so far. */
  prompts: number
  readonly #options: SilenceOptions
  /** Time at which the caller last spoke; -Infinity if the caller has not spoken in this call. */
  #callerSpokeAtMs: number
  #askedSince = false
  /** True if the caller asked for a moment and has not spoken since. */
  #waits = false
  /**
   * Number of prompts that the caller did not hear. Such prompts are repeated at most as often as there are configured
   * prompts, because the call must end even if speech cannot be synthesised.
   */
  #unheard = 0
  /** Time at which a side last spoke, or the caller last waited. */
  #busyAtMs = -Infinity

  /**
   * @param kept  state from the previous worker; null without a previous worker
   * @param callerSpoke  true if the caller has spoken in this call
   */
  constructor(options: SilenceOptions, kept: KeptSilence | null, callerSpoke: boolean) {
    this.#options = options
    this.prompts = kept?.silencePrompts ?? 0
    this.#callerSpokeAtMs = callerSpoke ? 0 : -Infinity
    this.#askedSince = kept?.silent === 'asked'
    this.#waits = kept?.silent === 'waits'
  }

  /** Returns the state for the next worker. */
  kept(): KeptSilence {
    const silent = this.#waits ? 'waits' : this.#askedSince ? 'asked' : null
    return { silencePrompts: this.prompts, ...(silent === null ? {} : { silent }) }
  }

  callerSpoke(nowMs: number): void {
    this.#askedSince = false
    this.#waits = false
    this.#callerSpokeAtMs = nowMs
  }

  /** Notes that the caller asked for a moment. */
  callerAsksToWait(): void {
    this.#waits = true
  }

  /** Notes that the last prompt was not heard. */
  unheard(): void {
    if (this.prompts === 0 || ++this.#unheard > this.#options.prompts.length) return
    this.prompts--
    this.#askedSince = this.prompts > 0
  }

  /**
   * @param busy  true if a side speaks, or the caller waits for the agent
   * @param agentHeardAtMs  time at which the agent was last heard, or the stream opened
   * @param question  true if the agent's last words were a question
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
    // The gateway's own prompt is also a question.
    return question && !this.#askedSince ? Math.max(afterMs, afterQuestionMs) : afterMs
  }
}

/** Interval between checks while an announcement has not reached the caller, in milliseconds. */
const POLL_MS = 500
/** Maximum pause within one sound, in milliseconds. A longer pause is silence. */
const GOES_ON_MS = 2000
/** Time for one sentence of a caller who speaks again after a pause. No words were recognised before the pause. */
const SENTENCE_MS = 3500
/** Latest end of such a sentence. The backend needs the remaining time to answer before the gateway asks. */
const SENTENCE_END_MS_MAX = (ANSWER_UNHEARD_MS + ASK_UNHEARD_MS) / 2

interface UnrecognisedOptions {
  readonly serverVad: boolean
  readonly speech: Pick<SpeechOptions, 'endOfSpeechMs'>
  readonly responseFailedText: LocalizedText
  readonly silence: Pick<SilenceOptions, 'prompts'>
}

/** State of the session, for decisions about sound without recognised words. */
interface SpeechNow {
  readonly nowMs: number
  /**
   * Segment of the caller's speech. `speaking` is true during a segment, `firstVoicedMs` is its start, and `quietMs` is
   * the duration of the caller's silence.
   */
  readonly speaking: boolean
  readonly firstVoicedMs: number
  readonly quietMs: number
  /** True if agent sound plays or waits, or if the caller's speech has paused it. */
  readonly agentHeard: boolean
  /** True if an item of speech is on its way to the caller. */
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
 * Handles caller sound in which no words are recognised: hold music, a television. Such sound may never end, and
 * without an end of speech a backend never answers.
 *
 *     listening --ANSWER_UNHEARD_MS of sound without words--> ignoring    the backend gets the end of speech; a sentence
 *                                                                         that began after a pause may end first
 *     listening --UNDERSTOOD_SPEECH_MS_MAX, with words-->     ignoring    the backend gets the end of speech
 *     (any)     --ASK_UNHEARD_MS, no words, no agent-->       ignoring    the gateway asks: please repeat, then
 *                                                                         silence prompts, then the goodbye
 *     ignoring  --the agent was heard | caller quiet-->       listening   the next sound begins a new segment
 *
 * Ignored sound does not begin a segment, because the segment would interrupt the agent's answer at once. "Words" are
 * partial or final transcripts, the backend's `understood`, and digits. A backend with its own VAD decides when the
 * caller has stopped. If that VAD reports speech, the longer limit UNDERSTOOD_SPEECH_MS_MAX applies.
 */
export class UnrecognisedSpeech {
  ignoring = false
  readonly #options: UnrecognisedOptions
  /** Start of the current sound without recognised words; NaN without such a sound. */
  #sinceMs = NaN
  /** True if the backend's own VAD has reported speech since that sound began. */
  #backendHeard = false
  #quietMs = 0
  /** True if the agent was heard while the sound was ignored. */
  #agentHeard = false
  /** Number of questions that the gateway asked since the last recognised word. */
  #asked = 0

  constructor(options: UnrecognisedOptions) {
    this.#options = options
  }

  /** True while the duration of sound without recognised words is measured. */
  get timing(): boolean {
    return !Number.isNaN(this.#sinceMs)
  }

  /** Takes a frame while `ignoring`. @returns true while the frame belongs to the ignored sound */
  ignores(voiced: boolean, agentTalking: boolean): boolean {
    this.#quietMs = voiced ? 0 : this.#quietMs + FRAME_MS
    this.ignoring = this.#quietMs < this.#options.speech.endOfSpeechMs && (!this.#agentHeard || agentTalking)
    return this.ignoring
  }

  /**
   * Notes that a segment has enough voice to be speech while the agent is silent.
   * @returns the time at which `due` must be called
   */
  begin(sinceMs: number): number {
    this.#sinceMs = sinceMs
    this.#backendHeard = false
    return sinceMs + ANSWER_UNHEARD_MS
  }

  /**
   * Notes recognised words or a digit.
   * @returns the time at which `due` must be called; NaN if the caller does not speak
   */
  understood(speaking: boolean, nowMs: number, firstVoicedMs: number): number {
    this.#asked = 0
    this.#sinceMs = speaking ? nowMs : NaN
    return speaking ? Math.min(nowMs + ANSWER_UNHEARD_MS, firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX) : NaN
  }

  /** Stops handling the sound, without an answer or a question, because the agent waits on hold. */
  over(): void {
    this.ignoring = false
    this.#sinceMs = NaN
    this.#asked = 0
  }

  /** Notes that the backend's own VAD reports speech of the caller. */
  backendHeardSpeech(): void {
    this.#backendHeard = true
  }

  /** Notes that agent sound begins. */
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
    // During a pause of the caller, the backend may still process the speech before the pause.
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

  /** Asks the caller to repeat, because the backend has not answered the ignored sound. */
  #ask({ nowMs, anyItemOpen }: SpeechNow): UnrecognisedDecision {
    if (anyItemOpen) return { type: 'wait', untilMs: nowMs + POLL_MS }
    const texts = [this.#options.responseFailedText, ...this.#options.silence.prompts]
    const text = texts[this.#asked++]
    if (text === undefined) return { type: 'end', detail: `asked ${texts.length} times, and nothing was understood` }
    // If this text cannot be spoken, the next check uses the next text.
    return { type: 'ask', text, untilMs: nowMs + POLL_MS }
  }
}

/** Default first prompt, for agents that speak only these languages. */
export const FIRST_PROMPT = { en: 'How can I help you?', sw: 'Naweza kukusaidia vipi?' }

/** `silence:` of an agent's file. */
export const silenceSchema = z.strictObject({
  afterMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(8000) // callers need 5-7 s to look up an order number
    .describe('Silence of both sides before a prompt.'),
  firstAfterMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(12_000) // when the prompt came 5 s after the greeting, all four callers left
    .describe('Silence before the first prompt of a caller who has not spoken yet. At least afterMs.'),
  firstPrompt: spoken
    .exactOptional()
    .describe(
      `First prompt for a caller who has not spoken yet. Default: "${FIRST_PROMPT.en}" if the agent speaks only English or Swahili, else the first prompt.`,
    ),
  afterQuestionMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(10_000) // the caller may have to look up the requested value
    .describe('Silence before a prompt after a question of the agent. At least afterMs.'),
  otherVoice: spoken
    .default({
      en: 'I hear somebody else on the line. If you are there, please speak up, or press any key.',
      sw: 'Namsikia mtu mwingine kwenye simu. Kama upo, tafadhali ongea kwa sauti, au bonyeza kitufe chochote.',
    })
    .describe(
      'Spoken in place of a prompt while another person is heard on the line, and before the agent waits silently (docs/VAD.md#another-voice).',
    ),
  afterWaitMs: z
    .int()
    .min(2000)
    .max(60_000)
    .default(20_000)
    .describe('Silence before a prompt after the caller has asked for a moment. At least afterMs.'),
  prompts: z
    .array(spoken)
    .max(5)
    .default([
      { en: 'Are you still there?', sw: 'Bado uko kwenye simu?' },
      { en: 'I cannot hear you. Are you still there?', sw: 'Sikusikii. Bado uko kwenye simu?' },
    ])
    .describe(
      'Prompts. They are spoken in this order, each once in a call. After the last prompt the agent says goodbye and hangs up. A caller whose sound continues without recognised words also hears these prompts, after tryAgain.',
    ),
})

/** The section in a session. If `firstPrompt` is null, the first of `prompts` is used. */
export const silenceOptionsSchema = inSession({ ...silenceSchema.shape, firstPrompt: phraseSchema.nullable() }, [
  'firstAfterMs',
  'firstPrompt',
  'afterQuestionMs',
  'afterWaitMs',
  'otherVoice',
])
type SilenceOptions = DocumentOf<typeof silenceOptionsSchema>

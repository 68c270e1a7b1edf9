import { ANSWER_UNHEARD_MS, ASK_UNHEARD_MS, UNDERSTOOD_SPEECH_MS_MAX } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import type { CallSessionOptions, SilenceOptions } from './call-options.js'

/** How often quiet is looked for while somebody is busy; the true end of the busyness comes as an event. */
const BUSY_POLL_MS = 500

type SilenceDecision =
  | { readonly type: 'wait'; readonly untilMs: number }
  | { readonly type: 'prompt'; readonly text: string; readonly detail: string }
  | { readonly type: 'end'; readonly detail: string }

/**
 * Nobody says anything. Runs by the wall clock since the last speech of either side, and not by voiced frames: the
 * comfort noise of a muted line has those for ever. What counts as the caller's speech is a segment with enough
 * voice, words that were understood, or a digit.
 *
 *     quiet for afterMs --prompts left--> prompt, quiet again
 *     quiet for afterMs --none left--> goodbye, end (silence-limit)
 *     caller speaks --> all prompts left again
 */
export class Silence {
  /** Prompts since the caller spoke last. */
  prompts: number
  readonly #options: SilenceOptions
  #callerSpokeAtMs = -Infinity
  /** When somebody was last found busy. */
  #busyAtMs = -Infinity

  constructor(options: SilenceOptions, prompts: number) {
    this.#options = options
    this.prompts = prompts
  }

  callerSpoke(nowMs: number): void {
    this.prompts = 0
    this.#callerSpokeAtMs = nowMs
  }

  /**
   * @param busy  somebody speaks, or the caller waits for us and not we for the caller
   * @param agentHeardAtMs  when the agent was last heard, or the stream opened
   */
  due(nowMs: number, busy: boolean, agentHeardAtMs: number): SilenceDecision {
    const { afterMs, prompts } = this.#options
    if (busy) {
      this.#busyAtMs = nowMs
      return { type: 'wait', untilMs: nowMs + Math.min(BUSY_POLL_MS, afterMs) }
    }
    const quietAtMs = Math.max(this.#callerSpokeAtMs, agentHeardAtMs, this.#busyAtMs)
    const quietMs = nowMs - quietAtMs
    if (quietMs < afterMs) return { type: 'wait', untilMs: quietAtMs + afterMs }
    const text = prompts[this.prompts]
    if (text === undefined) return { type: 'end', detail: `${Math.round(quietMs)} ms of quiet after ${this.prompts} prompts` }
    this.prompts++
    this.#busyAtMs = nowMs
    return { type: 'prompt', text, detail: `${this.prompts} of ${prompts.length}: ${Math.round(quietMs)} ms of quiet, ${afterMs} allowed` }
  }
}

/** How soon is looked again while an announcement of ours is on its way. */
const POLL_MS = 500
/** A sound that paused for longer is over: what follows is silence. */
const GOES_ON_MS = 2000

/** What a decision about unrecognised speech needs of the session. */
interface SpeechNow {
  readonly nowMs: number
  /** A segment of the caller runs, since when, and how long they have been quiet. */
  readonly speaking: boolean
  readonly firstVoicedMs: number
  readonly quietMs: number
  /** The agent is heard, or paused by the caller. */
  readonly agentHeard: boolean
  /** An item of speech is on its way to the caller. */
  readonly anyItemOpen: boolean
}

type UnrecognisedDecision =
  | { readonly type: 'none' }
  | { readonly type: 'wait'; readonly untilMs: number }
  /** The segment that runs counts as ended, though its sound goes on. */
  | { readonly type: 'give-up'; readonly unrecognisedMs: number; readonly untilMs: number }
  | { readonly type: 'ask'; readonly text: string; readonly untilMs: number }
  | { readonly type: 'end'; readonly detail: string }

/**
 * Sound from the caller that nobody understands: hold music, a television. It has no end that could be waited for, and what has
 * no end gets no answer.
 *
 *     listening --ANSWER_UNHEARD_MS of sound without words--> ignoring    the backend gets the end of the speech, and answers
 *     listening --UNDERSTOOD_SPEECH_MS_MAX, with words-->     ignoring    the same
 *     (either)  --ASK_UNHEARD_MS without words or us-->       ignoring    the gateway asks by itself: to say it again, then the silence
 *                                                                         prompts, then the goodbye
 *     ignoring  --we were heard | the caller is quiet-->      listening   what sounds now begins a new segment
 *
 * While ignored, the sound begins no segment; otherwise it would interrupt at once what is said about it. Words of the caller are partial or
 * final transcripts, the backend's `understood` and digits. A backend with a VAD of its own decides when the caller has
 * stopped; where it says that it hears speech, it may take as long as somebody who is understood.
 */
export class UnrecognisedSpeech {
  ignoring = false
  readonly #options: CallSessionOptions
  /** Since when there is sound that nobody has understood; NaN: there is none. */
  #sinceMs = NaN
  /** The service's own VAD has heard the caller since then. */
  #backendHeard = false
  #quietMs = 0
  /** The agent was heard since the caller's sound was given up. */
  #agentHeard = false
  /** Times that the gateway asked without an understood word in between. */
  #asked = 0

  constructor(options: CallSessionOptions) {
    this.#options = options
  }

  /** Whether sound that nobody has understood is being timed. */
  get timing(): boolean {
    return !Number.isNaN(this.#sinceMs)
  }

  /** A frame while `ignoring`. @returns true while it is part of the sound that was given up */
  ignores(voiced: boolean, agentTalking: boolean): boolean {
    this.#quietMs = voiced ? 0 : this.#quietMs + FRAME_MS
    this.ignoring = this.#quietMs < this.#options.speech.endOfSpeechMs && (!this.#agentHeard || agentTalking)
    return this.ignoring
  }

  /** A segment is speech rather than noise, and the agent is silent. @returns when to look, `due` */
  begin(sinceMs: number): number {
    this.#sinceMs = sinceMs
    this.#backendHeard = false
    return sinceMs + ANSWER_UNHEARD_MS
  }

  /** Words were understood, or a key was pressed. @returns when to look, where the caller goes on; NaN else */
  understood(speaking: boolean, nowMs: number, firstVoicedMs: number): number {
    this.#asked = 0
    this.#sinceMs = speaking ? nowMs : NaN
    return speaking ? Math.min(nowMs + ANSWER_UNHEARD_MS, firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX) : NaN
  }

  /** The service's own VAD says that the caller speaks. */
  backendHeardSpeech(): void {
    this.#backendHeard = true
  }

  /** A sound of ours is heard. */
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
    // In a pause the backend may be at work on what came before it.
    if (!now.speaking || now.agentHeard) return { type: 'wait', untilMs: nowMs + POLL_MS }
    const limitMs = !this.#options.serverVad ? ANSWER_UNHEARD_MS : this.#backendHeard ? UNDERSTOOD_SPEECH_MS_MAX : ASK_UNHEARD_MS
    const atMs = Math.min(this.#sinceMs + limitMs, now.firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX)
    if (nowMs < atMs) return { type: 'wait', untilMs: atMs }
    this.ignoring = true
    this.#quietMs = 0
    this.#agentHeard = false
    return { type: 'give-up', unrecognisedMs: nowMs - this.#sinceMs, untilMs: Math.max(nowMs, this.#sinceMs + ASK_UNHEARD_MS) }
  }

  /** Nobody has answered what was not understood. */
  #ask({ nowMs, anyItemOpen }: SpeechNow): UnrecognisedDecision {
    if (anyItemOpen) return { type: 'wait', untilMs: nowMs + POLL_MS }
    const texts = [this.#options.responseFailedText, ...this.#options.silence.prompts]
    const text = texts[this.#asked++]
    if (text === undefined) return { type: 'end', detail: `asked ${texts.length} times, and nothing was understood` }
    // Where it cannot be said, the next one is.
    return { type: 'ask', text, untilMs: nowMs + POLL_MS }
  }
}

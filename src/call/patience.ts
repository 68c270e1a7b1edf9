import { ANSWER_UNHEARD_MS, ASK_UNHEARD_MS, UNDERSTOOD_SPEECH_MS_MAX } from '../core/limits.js'
import { FRAME_MS } from '../core/units.js'
import type { CallCore } from './call-core.js'
import type { Ending } from './ending.js'

/** How often is looked again while an announcement of ours is on its way. */
const POLL_MS = 500
/** A sound that paused for longer is over: what follows is silence, which `Silence` waits for. */
const GOES_ON_MS = 2000

/**
 * Sound from the caller that nobody understands: hold music, a television. It has no end that could be waited for, and what has
 * no end gets no answer.
 *
 *     heard    --ANSWER_UNHEARD_MS of sound without words--> deaf    the backend is told that the caller has stopped, and answers
 *     heard    --UNDERSTOOD_SPEECH_MS_MAX, with words-->     deaf    the same
 *     (either) --ASK_UNHEARD_MS without words or us-->       deaf    the gateway asks by itself: to say it again, then the silence
 *                                                                    prompts, then the goodbye
 *     deaf     --we were heard | the caller is quiet-->      heard   what sounds now begins a new segment
 *
 * While deaf the sound begins no segment, or it would cut off at once what is said about it. Words of the caller are partial or
 * final transcripts, the backend's `understood` and digits. A backend with a VAD of its own decides when the caller has
 * stopped; where it says that it hears speech, it may take as long as somebody who is understood.
 */
export class Patience {
  readonly #core: CallCore
  readonly #ending: Ending
  /** Since when there is sound that nobody has understood; NaN: there is none. */
  #unheardAtMs = NaN
  /** The service's own VAD has heard the caller since then. */
  #reported = false
  #quietMs = 0
  /** We were heard since the caller was given up. */
  #spoke = false
  /** Times that we asked without an understood word in between. */
  #asked = 0

  constructor(core: CallCore, ending: Ending) {
    this.#core = core
    this.#ending = ending
  }

  /** True where a frame is part of the sound that was given up; it is to begin nothing. */
  ignores(voiced: boolean): boolean {
    const core = this.#core
    if (!core.deaf) return false
    this.#quietMs = voiced ? 0 : this.#quietMs + FRAME_MS
    const { agentTalking, anyItemOpen, options } = core
    if (this.#quietMs < options.speech.endOfSpeechMs && (!this.#spoke || agentTalking || anyItemOpen)) return true
    core.deaf = false
    return false
  }

  /** A frame of a segment that is speech rather than noise. */
  sounds(): void {
    const core = this.#core
    if (!Number.isNaN(this.#unheardAtMs) || core.agentTalking || core.anyItemOpen) return
    this.#unheardAtMs = Math.max(core.speech.firstVoicedMs, core.agentHeardAtMs)
    this.#reported = false
    core.deadlines.set('not-understood', this.#unheardAtMs + ANSWER_UNHEARD_MS)
  }

  /** Words were understood, or a key was pressed. */
  understood(): void {
    const core = this.#core
    this.#asked = 0
    // Who goes on is looked at again from here.
    this.#unheardAtMs = core.speech.speaking ? core.nowMs : NaN
    if (core.speech.speaking) core.deadlines.set('not-understood', Math.min(core.nowMs + ANSWER_UNHEARD_MS, this.#longestAtMs))
    else core.deadlines.clear('not-understood')
  }

  /** The service's own VAD says that the caller speaks. */
  reported(): void {
    this.#reported = true
  }

  /** A sound of ours is heard. */
  agentSounds(): void {
    this.#spoke = true
    this.#unheardAtMs = NaN
    this.#core.deadlines.clear('not-understood')
  }

  /** @param giveUp  ends the segment that runs, as if the caller had paused */
  due(giveUp: () => void): void {
    const core = this.#core
    if (core.state !== 'live' || Number.isNaN(this.#unheardAtMs)) return
    if (core.deaf) return this.#ask()
    if (!core.speech.speaking && core.speech.quietMs(core.nowMs) > GOES_ON_MS) {
      this.#unheardAtMs = NaN
      return
    }
    // In a pause the backend may be at work on what came before it.
    if (!core.speech.speaking || core.sounding || core.bargeIn.paused) return core.in('not-understood', POLL_MS)
    const { serverVad } = core.options
    const limitMs = !serverVad ? ANSWER_UNHEARD_MS : this.#reported ? UNDERSTOOD_SPEECH_MS_MAX : ASK_UNHEARD_MS
    const atMs = Math.min(this.#unheardAtMs + limitMs, this.#longestAtMs)
    if (core.nowMs < atMs) return core.deadlines.set('not-understood', atMs)
    core.mark('not-understood', `${Math.round(core.nowMs - this.#unheardAtMs)} ms of sound without words`)
    core.counters.notUnderstood++
    core.deaf = true
    this.#quietMs = 0
    this.#spoke = false
    giveUp()
    core.deadlines.set('not-understood', Math.max(core.nowMs, this.#unheardAtMs + ASK_UNHEARD_MS))
  }

  /** When the segment that runs is too long, whatever is understood of it. */
  get #longestAtMs(): number {
    return this.#core.speech.firstVoicedMs + UNDERSTOOD_SPEECH_MS_MAX
  }

  /** Nobody has answered what was not understood. */
  #ask(): void {
    const core = this.#core
    if (core.anyItemOpen) return core.in('not-understood', POLL_MS)
    const texts = [core.options.responseFailedText, ...core.options.silence.prompts]
    const text = texts[this.#asked++]
    if (text === undefined) {
      return this.#ending.speakThenEnd('silence-limit', `asked ${texts.length} times, and nothing was understood`, core.options.goodbyeText, false)
    }
    core.announce(text, 'prompt')
    // Where it cannot be said, the next one is.
    core.in('not-understood', POLL_MS)
  }
}

import type { CallCore } from './call-core.js'
import type { Ending } from './ending.js'

/** How often quiet is looked for while somebody is busy; the true end of the busyness comes as an event. */
const BUSY_POLL_MS = 500

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
  prompts: number
  /** When somebody was last found busy. */
  #busyAtMs = -Infinity
  readonly #core: CallCore
  readonly #ending: Ending

  constructor(core: CallCore, ending: Ending, prompts: number) {
    this.#core = core
    this.#ending = ending
    this.prompts = prompts
  }

  start(): void {
    this.#core.in('silence', this.#core.options.silence.afterMs)
  }

  callerSpoke(): void {
    this.prompts = 0
    this.#core.callerActiveAtMs = this.#core.nowMs
  }

  due(): void {
    const core = this.#core
    if (core.state !== 'live') return
    const { afterMs, prompts } = core.options.silence
    if (this.#busy()) {
      this.#busyAtMs = core.nowMs
      core.in('silence', Math.min(BUSY_POLL_MS, afterMs))
      return
    }
    const quietAtMs = Math.max(core.callerActiveAtMs, core.agentHeardAtMs, this.#busyAtMs, core.streamZeroMs)
    if (core.nowMs - quietAtMs < afterMs) {
      core.deadlines.set('silence', quietAtMs + afterMs)
      return
    }
    const text = prompts[this.prompts]
    if (text === undefined) {
      const detail = `${Math.round(core.nowMs - quietAtMs)} ms of quiet after ${this.prompts} prompts`
      this.#ending.speakThenEnd('silence-limit', detail, core.options.goodbyeText, false)
      return
    }
    this.prompts++
    core.counters.silencePrompts++
    const quietMs = Math.round(core.nowMs - quietAtMs)
    core.mark('silence-prompt', `${this.prompts} of ${prompts.length}: ${quietMs} ms of quiet, ${afterMs} allowed`)
    core.announce(text, 'prompt')
    this.#busyAtMs = core.nowMs
    core.in('silence', afterMs)
  }

  /** Somebody speaks, or the caller waits for us and not we for the caller. */
  #busy(): boolean {
    const core = this.#core
    const responding = core.responseGeneration !== null
      && core.nowMs - core.backendActiveAtMs < core.options.answerTimeoutMs // a lost turn-done must not stop the clock
    return core.sounding || responding || core.tools.running > 0 || core.bargeIn.paused
      || (core.speech.speaking && core.speech.real) || (core.deaf && core.deadlines.isSet('not-understood')) || core.deadlines.isSet('answer')
  }
}

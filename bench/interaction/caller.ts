import { FRAME_MS } from '../../src/core/units.js'
import { type CallClock, CallerLeg } from '../../src/carrier/caller-leg.js'
import type { CallerEnd, CallerEvents, CallingPerson, HeardPiece, OrderFacts } from '../../src/carrier/caller-end.js'
import type { CallerVoices } from '../../src/carrier/caller-voices.js'
import { type LineOptions, rmsOf } from '../../src/carrier/line.js'
import { seededRandom } from '../../src/carrier/random.js'
import type { Clip } from './clips.js'
import { AUDIBLE_RMS, type HeardCall, type SaidClip, type SaidKind } from './heard-call.js'

/** Sound that the caller must make over the agent (`over`), or while the agent is silent. */
export interface PlannedClip {
  readonly kind: Exclude<SaidKind, 'turn'>
  readonly over: boolean
  readonly clip: Clip
}

export interface CallerPlan {
  readonly turns: readonly Clip[]
  readonly planned: readonly PlannedClip[]
  /** Duration in ms of one answer of the agent. */
  readonly answerMs: number
  /** Time in ms after which the call ends, even if sounds of the plan are left. */
  readonly callMsMax: number
  readonly seed: number
}

/** Time in ms for which the agent has been audible when the caller makes a sound over it. */
const OVER_AFTER_MS = 1200
/**
 * Time in ms for which the answer continues after the start of the sound. So the end of the answer is not mistaken for
 * a stop.
 */
const ANSWER_LEFT_MS = 3000
/** Time in ms from the end of a sound to the next sound. It is longer than all windows of the figures. */
const BETWEEN_MS = 2500
/** Time in ms for which the agent has been silent when the caller makes a sound in the silence, or starts a turn. */
const SILENT_AFTER_MS = 900
const TURN_AFTER_MS = [600, 1200] as const
const IN_SILENCE_MAX = 2
/** Maximum time in ms for which the caller waits for an answer. */
const ANSWER_WAIT_MS = 5000
/** The agent speaks first. If it has not spoken after this time in ms, the caller speaks. */
const GREETING_MS_MAX = 5000
/**
 * Time in ms before the end of the call after which no sound begins, because the windows of a sound must end within the
 * call.
 */
const LAST_SOUND_MS = 5000
/** Maximum duration in ms of a gap in the agent's speech that counts as a pause, not as the end of an answer. */
const GAP_MS_MAX = 1600

/** A caller who makes each sound of a plan when the agent's speech or silence allows it, and then continues to talk. */
export class PlannedCaller implements CallerEnd {
  readonly leg: CallerLeg
  readonly heard: readonly HeardPiece[] = []
  readonly #plan: CallerPlan
  readonly #events: CallerEvents
  readonly #random: () => number
  readonly #left: PlannedClip[]
  readonly #rms: number[] = []
  readonly #said: SaidClip[] = []
  /** Number of frames of the current sound that are not sent yet. */
  #speakingFrames = 0
  #turns = 0
  #inSilence = 0
  /**
   * `#quietFrames`: frames since the caller's last sound. `#agentSilentFrames`: frames since the agent's last audible
   * frame. `#agentFrames`: frames since the agent was last silent.
   */
  #quietFrames = Infinity
  #agentSilentFrames = 0
  #agentFrames = 0
  /** Number of audible frames in the current answer. */
  #answerFrames = 0
  #awaitsAnswer = false
  #turnAfterMs = 0
  #heardAgent = false
  #hungUp = false

  constructor(line: LineOptions, plan: CallerPlan, clock: CallClock, events: CallerEvents) {
    this.#plan = plan
    this.#events = events
    this.#random = seededRandom(plan.seed)
    this.#left = [...plan.planned]
    this.#drawTurn()
    this.leg = new CallerLeg({ ...line, record: false }, clock, {
      onHeard: (frame) => this.#onHeard(frame),
      onFrame: () => this.#onFrame(),
    })
  }

  /** Sounds that the caller made and heard, and the number of planned sounds for which there was no opportunity. */
  result(): HeardCall & { readonly notSaid: number } {
    return { agentRms: this.#rms, said: this.#said, notSaid: this.#left.length }
  }

  facts(): OrderFacts {
    return { order: null, status: null, eta: null }
  }

  end(nowMs: number): Promise<void> {
    this.#hungUp = true
    this.leg.close(nowMs)
    return Promise.resolve()
  }

  #onHeard(frame: Int16Array): void {
    const rms = rmsOf(frame)
    this.#rms.push(rms)
    const audible = rms >= AUDIBLE_RMS
    this.#heardAgent ||= audible
    if (audible) {
      if (this.#agentSilentFrames * FRAME_MS > GAP_MS_MAX) this.#answerFrames = 0
      this.#agentSilentFrames = 0
      this.#agentFrames++
      this.#answerFrames++
      if (this.#speakingFrames === 0) this.#awaitsAnswer = false
    } else {
      this.#agentSilentFrames++
      // A short quiet within a word does not count as silence.
      if (this.#agentSilentFrames > 4) this.#agentFrames = 0
    }
    if (this.#speakingFrames > 0) {
      this.#speakingFrames--
      this.#quietFrames = 0
    } else this.#quietFrames++
  }

  #onFrame(): void {
    if (this.#hungUp) return
    const [ms, quietMs] = [this.#rms.length * FRAME_MS, this.#quietFrames * FRAME_MS]
    const isOver = this.#left.length === 0 && quietMs > (this.#awaitsAnswer ? ANSWER_WAIT_MS : BETWEEN_MS)
    if (ms >= this.#plan.callMsMax || isOver) {
      this.#hungUp = true
      return this.#events.onHungUp('the plan is over')
    }
    this.#heardAgent ||= ms >= GREETING_MS_MAX
    if (!this.#heardAgent || this.#speakingFrames > 0) return
    if (this.#agentFrames > 0) this.#overAgent()
    else this.#inTheSilence()
  }

  #overAgent(): void {
    this.#inSilence = 0
    if (this.#agentFrames * FRAME_MS < OVER_AFTER_MS || this.#quietFrames * FRAME_MS < BETWEEN_MS) return
    if (this.#plan.answerMs - this.#answerFrames * FRAME_MS < ANSWER_LEFT_MS) return
    this.#sayPlanned(true)
  }

  #inTheSilence(): void {
    const [silentMs, quietMs] = [this.#agentSilentFrames * FRAME_MS, this.#quietFrames * FRAME_MS]
    if (this.#awaitsAnswer && Math.min(silentMs, quietMs) < ANSWER_WAIT_MS) return
    // Some sounds must neither stop the agent nor make it speak. After such a sound, the caller waits, so that a wrong
    // reaction can be observed.
    if (quietMs < BETWEEN_MS) return
    if (this.#hasSilent && this.#inSilence < IN_SILENCE_MAX) {
      if (silentMs >= SILENT_AFTER_MS && this.#sayPlanned(false)) this.#inSilence++
      return
    }
    const clip = this.#plan.turns[this.#turns % this.#plan.turns.length]
    if (clip === undefined || silentMs < this.#turnAfterMs) return
    this.#turns++
    this.#say('turn', clip, false)
    this.#drawTurn()
  }

  get #hasSilent(): boolean {
    return this.#left.some(({ over }) => !over)
  }

  #sayPlanned(over: boolean): boolean {
    if (this.#rms.length * FRAME_MS > this.#plan.callMsMax - LAST_SOUND_MS) return false
    const at = this.#left.findIndex((one) => one.over === over)
    const [next] = at < 0 ? [] : this.#left.splice(at, 1)
    if (next === undefined) return false
    this.#say(next.kind, next.clip, over)
    return true
  }

  #say(kind: SaidKind, clip: Clip, over: boolean): void {
    const fromFrame = this.#rms.length
    const frames = Math.ceil(clip.pcm.length / ((this.leg.sampleRateHz * FRAME_MS) / 1000))
    this.#speakingFrames = frames
    this.#said.push({ kind, name: clip.name, over, fromFrame, toFrame: fromFrame + frames })
    this.leg.player.say({ text: clip.name, pcm: clip.pcm })
    if (kind === 'turn' || kind === 'interruption') {
      this.#awaitsAnswer = true
      this.#answerFrames = 0
      this.#inSilence = 0
    }
  }

  #drawTurn(): void {
    const [least, most] = TURN_AFTER_MS
    this.#turnAfterMs = least + (most - least) * this.#random()
  }
}

/** @param opened called with the caller when the call begins */
export function plannedPerson(
  line: LineOptions,
  plan: CallerPlan,
  speech: Pick<CallerVoices, 'speak'>,
  opened: (caller: PlannedCaller) => void,
): CallingPerson {
  return {
    speech,
    open: (clock, events) => {
      const caller = new PlannedCaller(line, plan, clock, events)
      opened(caller)
      return caller
    },
  }
}

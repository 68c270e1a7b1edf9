import type { SpeechKind } from '../events.js'
import type { TurnRecord } from '../documents/record.js'

/** Other kinds of sound stop only the first clock of a turn. */
function isAnswer(kind: SpeechKind): boolean {
  return kind === 'answer' || kind === 'tool' || kind === 'escalation' || kind === 'goodbye'
}

interface OpenTurn {
  stoppedAtMs: number
  /** Words of it were understood. */
  understood: boolean
  /** Enough voice to be speech: such a turn is recorded even when nothing answers it. */
  real: boolean
  /** Responses up to this one began before the caller stopped, so they cannot be its answer. */
  readonly generationBefore: number
  firstSoundMs: number | null
}

/**
 * The two clocks of a turn, both from the caller's last voiced sample: to the first agent sound of any kind, and to
 * the first that is an answer. With only one clock a filler would make slow tools look fast.
 *
 *     none --caller stopped--> open
 *     open --caller stopped again, no sound yet--> open, from the later stop
 *     open --filler, prompt, apology--> open, first clock stopped
 *     open --answer--> none, recorded
 *     open --caller stopped again after a sound | call over--> none, recorded with what is known
 */
export class Turns {
  #open: OpenTurn | null = null

  /** The caller waits for an answer. */
  get waiting(): boolean {
    return this.#open !== null
  }

  /** The caller waits, and surely spoke. */
  get waitingForReal(): boolean {
    return this.#open?.real ?? false
  }

  /** Words were understood: the turn is real however short its sound was. */
  confirm(): void {
    if (this.#open !== null) this.#open.real = this.#open.understood = true
  }

  /** The caller waits for an answer to words that were understood. */
  get understood(): boolean {
    return this.#open?.understood ?? false
  }

  /** The caller wants no answer. */
  dismiss(): void {
    this.#open = null
  }

  callerStopped(stoppedAtMs: number, real: boolean, generation: number, streamZeroMs: number): TurnRecord | null {
    const open = this.#open
    if (open !== null && open.firstSoundMs === null) {
      const { understood } = open
      this.#open = {
        stoppedAtMs,
        understood,
        real: real || open.real,
        generationBefore: generation,
        firstSoundMs: null,
      }
      return null
    }
    const done = this.close(streamZeroMs)
    this.#open = { stoppedAtMs, understood: false, real, generationBefore: generation, firstSoundMs: null }
    return done
  }

  /** The first sample of an item was sent. `generation` null: an item of the gateway. */
  agentSound(kind: SpeechKind, generation: number | null, sentAtMs: number, streamZeroMs: number): TurnRecord | null {
    const open = this.#open
    if (open === null || sentAtMs < open.stoppedAtMs) return null
    if (generation !== null && generation <= open.generationBefore) return null
    open.firstSoundMs ??= sentAtMs - open.stoppedAtMs
    if (!isAnswer(kind)) return null
    this.#open = null
    return recordOf(open, sentAtMs - open.stoppedAtMs, streamZeroMs)
  }

  /** No answer will come any more. */
  close(streamZeroMs: number): TurnRecord | null {
    const open = this.#open
    this.#open = null
    return open !== null && open.real ? recordOf(open, null, streamZeroMs) : null
  }
}

function recordOf(open: OpenTurn, answerMs: number | null, streamZeroMs: number): TurnRecord {
  return { callerStoppedMs: open.stoppedAtMs - streamZeroMs, firstSoundMs: open.firstSoundMs, answerMs }
}

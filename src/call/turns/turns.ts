import type { SpeechKind } from '../events.js'
import type { TurnRecord } from '../documents/record.js'

/** True if this kind of sound stops both clocks of a turn. Each other kind stops only the first clock. */
function isAnswer(kind: SpeechKind): boolean {
  return kind === 'answer' || kind === 'tool' || kind === 'escalation' || kind === 'goodbye'
}

interface OpenTurn {
  stoppedAtMs: number
  /** True if words of the turn were recognised. */
  understood: boolean
  /** True if the turn has enough voice to be speech. Such a turn is recorded even without an answer. */
  real: boolean
  /** Highest generation of responses that began before the caller stopped; the answer has a higher generation. */
  readonly generationBefore: number
  firstSoundMs: number | null
}

/**
 * Two clocks of a turn. Both clocks start at the caller's last voiced sample. Any agent sound stops the first clock;
 * the first answer stops the second clock. With only one clock, slow tools would look fast because of a filler.
 *
 *     none --caller stopped--> open
 *     open --caller stopped again, no sound yet--> open, from the later stop
 *     open --filler, prompt, apology--> open, first clock stopped
 *     open --answer--> none, recorded
 *     open --caller stopped again after a sound | call over--> none, recorded with the known times
 */
export class Turns {
  #open: OpenTurn | null = null

  /** True if the caller waits for an answer. */
  get waiting(): boolean {
    return this.#open !== null
  }

  /** True if the caller waits for an answer, and the turn was certainly speech. */
  get waitingForReal(): boolean {
    return this.#open?.real ?? false
  }

  /** Notes that words were recognised. The turn is then real, even if its sound was very short. */
  confirm(): void {
    if (this.#open !== null) this.#open.real = this.#open.understood = true
  }

  /** True if the caller waits for an answer to recognised words. */
  get understood(): boolean {
    return this.#open?.understood ?? false
  }

  /** Drops the turn because the caller does not want an answer. */
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

  /** Notes that the first sample of an item was sent. `generation` is null if the gateway made the item. */
  agentSound(kind: SpeechKind, generation: number | null, sentAtMs: number, streamZeroMs: number): TurnRecord | null {
    const open = this.#open
    if (open === null || sentAtMs < open.stoppedAtMs) return null
    if (generation !== null && generation <= open.generationBefore) return null
    open.firstSoundMs ??= sentAtMs - open.stoppedAtMs
    if (!isAnswer(kind)) return null
    this.#open = null
    return recordOf(open, sentAtMs - open.stoppedAtMs, streamZeroMs)
  }

  /** Ends the turn, because an answer is no longer possible. */
  close(streamZeroMs: number): TurnRecord | null {
    const open = this.#open
    this.#open = null
    return open !== null && open.real ? recordOf(open, null, streamZeroMs) : null
  }
}

function recordOf(open: OpenTurn, answerMs: number | null, streamZeroMs: number): TurnRecord {
  return { callerStoppedMs: open.stoppedAtMs - streamZeroMs, firstSoundMs: open.firstSoundMs, answerMs }
}

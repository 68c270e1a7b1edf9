import { tellParent } from '../kit/process.js'
import { TURN_MS } from '../generator/conversation.js'
import type { BackendFacts, FromBackend, ToBackend } from '../protocol.js'

/**
 * Maximum difference in ms between a turn and its expected duration. Filters may change the first and last samples of a
 * turn.
 */
const TURN_MS_OFF_MAX = 2

/** Counts of a stand-in over all its calls. They are reported to the bench. */
export class StandInFacts {
  readonly counts = {
    sessions: 0,
    appends: 0,
    audioMs: 0,
    turns: 0,
    turnsWrong: 0,
    turnsOffMs: 0,
    answersWrong: 0,
    cancels: 0,
    truncates: 0,
    unknown: 0,
  }
  /**
   * Number of the run. It rises with each restart, because the expected duration of turns that began before the restart
   * is unknown.
   */
  run = 0
  readonly #appendsByMs = new Map<number, number>()

  /** Counts one message of caller audio with this duration. */
  append(ms: number): void {
    this.counts.appends++
    this.counts.audioMs += ms
    const key = Math.round(ms)
    if (this.#appendsByMs.size < 1000) this.#appendsByMs.set(key, (this.#appendsByMs.get(key) ?? 0) + 1)
  }

  /** Counts one detected turn of a caller. */
  turn(turnMs: number): void {
    this.counts.turns++
    const offMs = Math.abs(turnMs - TURN_MS)
    if (offMs <= TURN_MS_OFF_MAX) return
    this.counts.turnsWrong++
    this.counts.turnsOffMs += offMs
  }

  /** Answers the bench until the bench sends `stop`. This process then ends. */
  serve(port: number, restarted: () => void): void {
    process.on('message', (message: ToBackend) => {
      if (message.type === 'stop') process.exit(0)
      if (message.type === 'facts') return tellParent({ type: 'facts', ...this.#facts() } satisfies FromBackend)
      this.run++
      Object.assign(this.counts, { turns: 0, turnsWrong: 0, turnsOffMs: 0, answersWrong: 0 })
      restarted()
    })
    tellParent({ type: 'ready', port } satisfies FromBackend)
  }

  #facts(): BackendFacts {
    const commonest = [...this.#appendsByMs].toSorted((a, b) => b[1] - a[1])[0]
    const lengths = [...this.#appendsByMs.keys()]
    return {
      ...this.counts,
      appendMs: commonest?.[0] ?? 0,
      appendMsMin: Math.min(...lengths),
      appendMsMax: Math.max(...lengths),
    }
  }
}

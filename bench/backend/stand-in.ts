import { tellParent } from '../kit/process.js'
import { TURN_MS } from '../generator/conversation.js'
import type { BackendFacts, FromBackend, ToBackend } from '../protocol.js'

/** Samples that a turn may lack, in milliseconds: what a filter makes of its first and last ones. */
const TURN_MS_OFF_MAX = 2

/** Counts of a stand-in over all its calls, and their report to the bench. */
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
  /** Begins anew with each restart: of what began before it, nobody knows how long it should be. */
  run = 0
  readonly #appendsByMs = new Map<number, number>()

  /** Caller audio of this length came in one message. */
  append(ms: number): void {
    this.counts.appends++
    this.counts.audioMs += ms
    const key = Math.round(ms)
    if (this.#appendsByMs.size < 1000) this.#appendsByMs.set(key, (this.#appendsByMs.get(key) ?? 0) + 1)
  }

  /** A turn of a caller was heard. */
  turn(turnMs: number): void {
    this.counts.turns++
    const offMs = Math.abs(turnMs - TURN_MS)
    if (offMs <= TURN_MS_OFF_MAX) return
    this.counts.turnsWrong++
    this.counts.turnsOffMs += offMs
  }

  /** Answers the bench until it says stop, which ends this process. */
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

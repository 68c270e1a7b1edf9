import { Word } from '../../shared/shared-call-layout.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

/** Passes the session's orders on to the playout. */
export class Voice implements WorkerPart {
  readonly #of: WorkerThings

  constructor(of: WorkerThings) {
    this.#of = of
  }

  readonly outputs = {
    'playout-duck': () => this.#of.speech.duck(),
    'playout-pause': () => this.#of.speech.pause(),
    'playout-resume': () => this.#of.speech.resume(),
    'playout-clear': (_output, nowMs) => {
      this.#of.speech.clear(nowMs)
      this.#of.intake.playoutCleared()
    },
    'waiting-sound': ({ on }) => void Atomics.store(this.#of.shared.words, Word.waiting, on ? 1 : 0),
  } satisfies OutputHandlers
}

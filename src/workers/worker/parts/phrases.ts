import type { Speaking } from '../../../speech/speech-client.js'
import { later } from '../worker-door.js'
import type { WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

/** Phrase of the gateway that is being spoken. */
interface SpokenPhrase {
  readonly speaking: Speaking
  /** True after some samples of the phrase were given to the playout. */
  begun: boolean
  /** Reports to the session that the phrase will not be heard. */
  readonly failed: () => void
}

/**
 * Phrases of the gateway itself. If the backend has spoken a phrase before, the phrase is played in the backend's
 * voice. Otherwise the speech pool speaks it.
 */
export class Phrases implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'handle' | 'guard'>
  readonly #of: WorkerThings
  /** Phrases that are being spoken, by item. */
  readonly #spoken = new Map<string, SpokenPhrase>()

  constructor(door: Pick<WorkerDoor, 'handle' | 'guard'>, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  readonly outputs = {
    announce: ({ itemId, text }) => this.#announce(itemId, text),
    'announce-cancel': ({ itemId }) => this.#cancel(itemId),
    'playout-clear': () => this.end(),
  } satisfies OutputHandlers

  #announce(itemId: string, text: string): void {
    const { services, session, speech: voice, context } = this.#of
    const { guard, handle } = this.#door
    const own = services.ownPhrase?.(text, session.language) ?? null
    if (own !== null) {
      voice.append('gateway', itemId, own.pcm, own.sampleRateHz, context.clock())
      return voice.finish('gateway', itemId)
    }
    const failed = (): void => handle({ type: 'announce-failed', itemId })
    if (services.speech === null) return later(this.#door, failed)
    const phrase: SpokenPhrase = {
      begun: false,
      failed,
      speaking: services.speech.speak(text, services.voice, ({ pcm, sampleRateHz }) =>
        guard(() => {
          if (this.#spoken.get(itemId) !== phrase) return
          phrase.begun = true
          voice.append('gateway', itemId, pcm, sampleRateHz, context.clock())
        }),
      ),
    }
    this.#spoken.set(itemId, phrase)
    const finished = (): boolean => {
      if (!this.#spoken.delete(itemId)) return false
      voice.finish('gateway', itemId)
      return true
    }
    phrase.speaking.done.then(
      () => guard(() => void finished()),
      () =>
        guard(() => {
          if (finished()) failed()
        }),
    )
  }

  /** Cancels a phrase that has not begun to play. A phrase that has begun is spoken to its end. */
  #cancel(itemId: string): void {
    const phrase = this.#spoken.get(itemId)
    if (phrase === undefined || phrase.begun) return
    this.#spoken.delete(itemId)
    phrase.speaking.cancel()
    later(this.#door, phrase.failed)
  }

  /** Stops all phrases. No more samples of them are played. */
  end(): void {
    for (const { speaking } of this.#spoken.values()) speaking.cancel()
    this.#spoken.clear()
  }
}

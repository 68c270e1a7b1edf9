import type { SpeechChunk, SpeechClient, Speaking } from '../speech/speech-client.js'

export interface AnnouncerOptions {
  /** Null where there is no way to speech: every phrase fails. */
  readonly speech: SpeechClient | null
  readonly voice: string
  /** Runs work of this call outside the tick; a fault in it fails this call alone. */
  readonly guard: (work: () => void) => void
  /** Samples of a phrase; to be copied before return. */
  readonly spoken: (itemId: string, chunk: SpeechChunk) => void
  /** No more of it will come. */
  readonly finished: (itemId: string) => void
  /** It cannot be spoken, or not to its end; after `finished` where any was. */
  readonly failed: (itemId: string) => void
}

/** A call's phrases of the gateway's own, spoken by the speech pool whatever the backend is. */
export class Announcer {
  readonly #options: AnnouncerOptions
  readonly #speaking = new Map<string, Speaking>()

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  announce(itemId: string, text: string): void {
    const { speech, voice, guard, spoken, finished, failed } = this.#options
    if (speech === null) {
      // Not from here: the session is in the middle of its outputs.
      queueMicrotask(() => guard(() => failed(itemId)))
      return
    }
    const speaking = speech.speak(text, voice, (chunk) => guard(() => {
      if (this.#speaking.get(itemId) === speaking) spoken(itemId, chunk)
    }))
    this.#speaking.set(itemId, speaking)
    speaking.done.then(
      () => guard(() => {
        if (this.#speaking.delete(itemId)) finished(itemId)
      }),
      () => guard(() => {
        if (!this.#speaking.delete(itemId)) return
        finished(itemId)
        failed(itemId)
      }),
    )
  }

  /** Nothing more comes of any phrase. */
  cancel(): void {
    for (const speaking of this.#speaking.values()) speaking.cancel()
    this.#speaking.clear()
  }
}

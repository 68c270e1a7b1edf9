import { SECRET_DIGIT } from '../../../call/tools/digit-collection.js'
import type { CallOutput } from '../../../call/events.js'
import { dtmfTones } from '../../../media/dtmf-tones.js'
import type { ToolCallEvent, WorkerDoor } from '../worker-door.js'
import type { OutputHandlers, WorkerPart, WorkerThings } from '../worker-part.js'

/**
 * DTMF digits in both directions: digits from the caller, and tones that we send. The session decides which digits are
 * secret.
 */
export class Keypad implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'post' | 'handle'>
  readonly #of: WorkerThings
  /** Secret digits whose tones sound now, or may come back as echo. Each digit is contained once. */
  #secretTones = ''

  constructor(door: Pick<WorkerDoor, 'post' | 'handle'>, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  readonly outputs = {
    private: (output, nowMs) => {
      if (!output.on) this.#of.keys.forget()
      this.#door.post({ ...output, fromMs: this.#of.intake.keyFromMs(nowMs) })
    },
    'backend-dtmf': ({ digit }) => {
      const { backend, keys } = this.#of
      backend.dtmf(digit === SECRET_DIGIT ? keys.dialogueKey() : digit)
    },
    tones: (output) => this.#send(output),
  } satisfies OutputHandlers

  digit(digit: string): void {
    const { session, keys } = this.#of
    const { handle } = this.#door
    if (session.secretTones && this.#secretTones.includes(digit)) {
      // On a private line, the session would count the echo of our tone as a digit of the caller.
      if (!session.privateKeys) handle({ type: 'dtmf', digit: SECRET_DIGIT })
      return
    }
    const key = session.keyOf(digit)
    if (key === null) return
    if (key === SECRET_DIGIT) keys.pressed(digit)
    handle({ type: 'dtmf', digit: key })
  }

  toolCall(event: ToolCallEvent): ToolCallEvent {
    return this.#of.keys.hidden(event)
  }

  #send({ itemId, digits, secretOf }: Extract<CallOutput, { type: 'tones' }>): void {
    const { start, speech, context } = this.#of
    const { legRateHz } = start
    const keys = secretOf === undefined ? digits : this.#of.keys.takeSent(secretOf)
    if (secretOf !== undefined) {
      this.#secretTones = [...new Set(this.#secretTones + keys)].join('')
      this.#door.post({ type: 'secret-tones', on: true })
    }
    speech.append('gateway', itemId, dtmfTones(keys, legRateHz), legRateHz, context.clock())
    speech.finish('gateway', itemId)
  }

  /** Lets listeners and recordings hear the call again once the secret tones are over. */
  tick(): void {
    if (this.#secretTones === '' || this.#of.session.secretTones) return
    this.#secretTones = ''
    this.#door.post({ type: 'secret-tones', on: false })
  }
}

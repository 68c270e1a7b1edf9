import { usesRecogniser } from '../../../../backends/split.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

/** A call's port to a speech worker. If that worker dies, the call gets a new port. */
export class SpeechPorts implements MainPart {
  readonly #send: MainDoor['send']
  readonly #of: Pick<MainThings, 'agent' | 'context'>

  constructor({ send }: Pick<MainDoor, 'send'>, of: Pick<MainThings, 'agent' | 'context'>) {
    this.#send = send
    this.#of = of
  }

  readonly messages = {
    'speech-lost': () => {
      const { agent, context } = this.#of
      const port = context.openSpeech(usesRecogniser(agent.share))
      if (port !== null) this.#send({ type: 'speech', port }, [port])
    },
  } satisfies Handlers<FromCall>
}

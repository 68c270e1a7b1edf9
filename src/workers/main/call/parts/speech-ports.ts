import { usesRecogniser } from '../../../../backends/split.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'

/** A call's way to a speech worker, again where that has died. */
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

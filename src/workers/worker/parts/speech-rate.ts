import { SPEECH_RATE_TOOL } from '../../../call/tools/gateway-tools.js'
import { askedRate, speedOf } from '../../../call/spoken/speech-rate.js'
import type { WorkerDoor } from '../worker-door.js'
import type { WorkerPart, WorkerThings } from '../worker-part.js'

/** Tool by which a model speaks faster or slower. The backend must support it. */
export class SpeechRate implements WorkerPart {
  readonly #door: Pick<WorkerDoor, 'handle'>
  readonly #of: WorkerThings

  constructor(door: Pick<WorkerDoor, 'handle'>, of: WorkerThings) {
    this.#door = door
    this.#of = of
  }

  readonly ownTools: NonNullable<WorkerPart['ownTools']> = {
    [SPEECH_RATE_TOOL]: (callId, args) => {
      const { backend, session } = this.#of
      const can = backend.capabilities.changesSpeed === true
      const { ok, speed, value } = askedRate(args['rate'], speedOf(session.log.toolCalls), can)
      if (speed !== null) backend.updateSession({ speed })
      this.#door.handle({ type: 'tool-result', callId, ok, value, ...(ok ? {} : { error: 'TOOL_ARGUMENTS' }) })
    },
  }
}

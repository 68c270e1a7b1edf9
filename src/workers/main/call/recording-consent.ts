import { consentOf } from '../../../agents/file/definition.js'
import type { KeptState } from '../../../call/documents/kept-call.js'
import type { CallAgent } from './call-agent.js'
import type { CallEnding } from './call-record.js'

/** Consent of a caller: what they have heard and said about the recording, or about what is written down. */
export class RecordingConsent {
  /** The caller has heard that the call is recorded, or nothing has to be said. */
  announced: boolean
  /** The caller has said no: neither recording, journal nor words of the call are kept. */
  refused: boolean
  readonly #agent: Pick<CallAgent, 'definition'>

  /** @param before  of a call whose node or stream was lost: what its caller had heard and said */
  constructor(agent: Pick<CallAgent, 'definition'>, before: KeptState | null) {
    this.#agent = agent
    const noConsent = agent.definition.recording.consent === null
    this.refused = before?.kept.recording.refused ?? false
    this.announced = before === null ? noConsent : before.kept.recording.announced || noConsent
  }

  /** The state of what is said to the caller; null where nothing is said. @param streamed  the call has had a stream */
  state(streamed: boolean): CallEnding['consent'] {
    if (this.refused) return 'refused'
    if (consentOf(this.#agent.definition) === null || !streamed) return null
    return this.announced ? 'told' : 'not-told'
  }
}

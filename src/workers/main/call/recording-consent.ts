import { consentOf } from '../../../agents/file/definition.js'
import type { KeptState } from '../../../call/documents/kept-call.js'
import type { CallAgent } from './call-agent.js'
import type { CallEnding } from './call-record.js'

/** Caller's consent to the recording, or to the written record: if the caller heard the notice, and the caller's answer. */
export class RecordingConsent {
  /** True if the caller has heard the notice of the recording, or if no notice is needed. */
  announced: boolean
  /** True if the caller has refused: no recording, no journal and no words of the call are stored. */
  refused: boolean
  readonly #agent: Pick<CallAgent, 'definition'>

  /** @param before  state left by a lost node or stream, with the caller's consent; null for a new call */
  constructor(agent: Pick<CallAgent, 'definition'>, before: KeptState | null) {
    this.#agent = agent
    const noConsent = consentOf(agent.definition) === null
    this.refused = before?.kept.recording.refused ?? false
    this.announced = before === null ? noConsent : before.kept.recording.announced || noConsent
  }

  /** State of the notice to the caller; null if no notice is needed. @param streamed  the call has had a stream */
  state(streamed: boolean): CallEnding['consent'] {
    if (this.refused) return 'refused'
    if (consentOf(this.#agent.definition) === null || !streamed) return null
    return this.announced ? 'told' : 'not-told'
  }
}

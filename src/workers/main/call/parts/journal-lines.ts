import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import type { MainPart, MainThings } from '../main-part.js'

/** Passes the lines of the call's journal on to the disk. */
export class JournalLines implements MainPart {
  readonly #of: Pick<MainThings, 'call' | 'agent' | 'continuity' | 'consent' | 'context'>

  constructor(of: Pick<MainThings, 'call' | 'agent' | 'continuity' | 'consent' | 'context'>) {
    this.#of = of
  }

  readonly messages = {
    journal: ({ lines }) => {
      const { call, agent, continuity, consent, context } = this.#of
      if (!continuity.isReplaced && !consent.refused)
        context.keepJournal?.(call.callSid, lines, agent.definition.retention.journalsDays)
    },
    'recording-refused': () => this.#of.context.discardJournal?.(this.#of.call.callSid),
  } satisfies Handlers<FromCall>
}

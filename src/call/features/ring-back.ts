import { Feature } from '../call-feature.js'
import type { CallFeature } from '../call-feature.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { YES_DIGIT } from '../escalation-rules.js'
import type { CallInput } from '../events.js'

/** Limits of a backend's context from a cut-off conversation: the newest entries and tool results. */
const RESUMED_WORDS_MAX = 100
const RESUMED_TOOLS_MAX = 20

/**
 * A caller who is rung back after their call was cut off.
 *
 *     asks --resume_conversation, digit 1--> confirmed   only then is anything of the other call given to the backend
 */
export class RingBack extends Feature implements CallFeature {
  /** A caller was rung back and has not confirmed yet: how many words of the log are of the call that was cut off. */
  unconfirmed: number | null

  constructor(call: CallKernel) {
    super(call)
    this.unconfirmed = call.resume?.callBack === 'asks' ? call.log.transcript.length : null
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  checkpoint(): Pick<CallCheckpoint, 'callBack'> {
    if (this.call.resume?.callBack === undefined) return {}
    return { callBack: this.unconfirmed === null ? 'confirmed' : 'asks' }
  }

  /** @returns true when the digit has confirmed that the caller goes on */
  #digit(digit: string): boolean {
    if (this.unconfirmed === null || digit !== YES_DIGIT || this.call.state !== 'live') return false
    this.call.stopAgent()
    this.call.callerActive()
    const conversation = JSON.stringify(this.confirmed('key'))
    this.call.tellModel(`The person pressed ${digit}: they want to go on. Go on from here: ${conversation}`)
    // As the caller's answer, so that a backend without a model has one too.
    this.call.out({ type: 'backend-text', text: digit, role: 'caller', respond: true })
    this.call.awaitAnswer()
    return true
  }

  /** @returns the conversation that was cut off */
  confirmed(by: 'key' | 'words'): Readonly<Record<string, unknown>> {
    const words = this.call.log.transcript.slice(0, this.unconfirmed ?? 0)
    this.unconfirmed = null
    this.call.mark('call-back-confirmed', by)
    this.call.changed()
    return {
      conversation: words.slice(-RESUMED_WORDS_MAX).map(({ role, text }) => ({ role, text })),
      toolResults: this.call.log.toolCalls
        .filter(({ end }) => end !== 'refused' && end !== 'built-in')
        .slice(-RESUMED_TOOLS_MAX)
        .map(({ record, result }) => ({ name: record.name, args: record.args, ok: record.ok, result })),
      known: Object.fromEntries(this.call.log.facts.map(({ name, value }) => [name, value])),
      note: 'The identity of the person is not verified in this call.',
    }
  }
}

import { Feature } from '../feature.js'
import type { CallFeature } from '../call-feature.js'
import { QUIET_POLL_MS } from '../call-deadlines.js'
import type { DeadlineName } from '../call-deadlines.js'
import type { CallKernel } from '../call-kernel.js'
import type { CallCheckpoint } from '../documents/checkpoint.js'
import { YES_DIGIT } from '../escalation-rules.js'
import type { CallInput } from '../events.js'
import { RESUME_TOOL, VERIFY_TOOL } from '../tools/gateway-tools.js'
import { withoutNoValues } from '../tools/value-fault.js'

/**
 * Maximum number of transcript entries, and of tool results, that the backend gets from a cut-off conversation. The
 * newest entries and results are used.
 */
const RESUMED_WORDS_MAX = 100
const RESUMED_TOOLS_MAX = 20
/** Maximum delay of a service's transcript after the model's reaction to the speech, in milliseconds. */
const WORDS_LATE_MS = 3000
const PROVE_FIRST = `They want to go on, but whoever answers has to prove who they are. Ask the questions of ${VERIFY_TOOL}; once \
it says verified, call ${RESUME_TOOL} again. Until then you know nothing of the earlier call but what your greeting says.`
const NOT_TOLD =
  'They want to go on, but the earlier conversation cannot be given in this call. Say nothing about it but what your ' +
  'greeting says, ask what they need, and begin anew.'
const NOTHING_SAID =
  'The person has said nothing yet that could be a yes. Ask whether they want to go on, and call it once they have said so.'

/**
 * Call back to a caller whose call was cut off, or who was promised one.
 *
 *     asks --digit 1, or the person's words and then resume_conversation--> confirmed, if the person may hear the earlier call
 *     asks --otherwise--> asks, agreed --verify_caller and resume_conversation--> confirmed
 *
 * Until then, the backend gets only the new call.
 */
export class RingBack extends Feature implements CallFeature {
  readonly answers = ['confirmRingBack'] as const

  /** Number of turns in the call that was cut off. */
  readonly #turnsBefore: number
  /** Tool call of the model that waits for words of the person. */
  #askedBy: { readonly callId: string; readonly untilMs: number } | null = null

  constructor(call: CallKernel) {
    super(call)
    this.#turnsBefore = call.log.turns.length
    this.#hold()
  }

  due(name: DeadlineName): void {
    if (name === 'ring-back') this.#askedDue()
  }

  input(input: CallInput): boolean {
    return input.type === 'dtmf' && this.#digit(input.digit)
  }

  checkpoint(): Pick<CallCheckpoint, 'callBack' | 'earlier'> {
    const { withheld, earlierPart } = this.call.person
    if (this.call.resume?.callBack === undefined) return {}
    return { callBack: withheld ? 'asks' : 'confirmed', ...(earlierPart === null ? {} : { earlier: earlierPart }) }
  }

  /** @returns true if the digit answered the question if the caller wants to continue */
  #digit(digit: string): boolean {
    if (!this.call.person.asked || digit !== YES_DIGIT || this.call.line.state !== 'live') return false
    this.call.talk.stopAgent()
    this.call.talk.callerActive()
    const given = this.#given('key')
    this.call.model.tell(`The person pressed ${digit}: they want to go on. Go on from here: ${JSON.stringify(given)}`)
    // The digit is sent as the caller's answer, so that a backend without a model also receives an answer.
    this.call.out({ type: 'backend-text', text: digit, role: 'caller', respond: true })
    this.call.wait.forAnswer()
    return true
  }

  /**
   * Handles the model's report that the person has confirmed. The report is rejected if the person has not said
   * anything. The report waits for words that are still being recognised.
   */
  confirmRingBack(callId: string): void {
    this.#askedBy = { callId, untilMs: this.call.nowMs + (this.#voice ? WORDS_LATE_MS : 0) }
    this.#askedDue()
  }

  #askedDue(): void {
    if (this.#askedBy === null) return
    const { callId, untilMs } = this.#askedBy
    const waits = this.call.person.asked && !this.#words
    if (waits && this.call.nowMs < untilMs) return this.call.in('ring-back', QUIET_POLL_MS)
    this.#askedBy = null
    if (waits) this.call.ask('answerTool', callId, false, { error: NOTHING_SAID }, 'nothing said')
    else this.call.ask('answerTool', callId, true, this.call.person.withheld ? this.#given('words') : {}, undefined)
  }

  /** True if the person has said something or pressed a digit in this call. */
  get #words(): boolean {
    return this.call.person.logSince.transcript.some(({ role }) => role === 'caller')
  }

  /** True if the person has spoken and the recognised words may still arrive. */
  get #voice(): boolean {
    return this.call.talk.turns.waitingForReal || this.call.log.turns.length > this.#turnsBefore
  }

  /** @returns the earlier conversation, or the reason why the person may not hear it */
  #given(by: 'key' | 'words'): Readonly<Record<string, unknown>> {
    const { person } = this.call
    const isTold = person.agree()
    this.#hold()
    this.call.mark(isTold ? 'call-back-confirmed' : 'call-back-unproven', by)
    this.call.changed()
    if (!isTold) return { note: person.canProve ? PROVE_FIRST : NOT_TOLD }
    const { transcript, toolCalls, facts } = person.logBefore ?? this.call.log
    return {
      conversation: transcript.slice(-RESUMED_WORDS_MAX).map(({ role, text }) => ({ role, text })),
      toolResults: toolCalls
        .filter(({ end }) => end !== 'refused' && end !== 'built-in')
        .slice(-RESUMED_TOOLS_MAX)
        .map(({ record, result }) => {
          const { name, args, ok } = record
          return { name, args, ok, result: withoutNoValues(result) }
        }),
      known: withoutNoValues(Object.fromEntries(facts.map(({ name, value }) => [name, value]))),
      ...(person.identity === null ? { note: 'The identity of the person is not verified in this call.' } : {}),
    }
  }

  #hold(): void {
    this.call.keypad.grants.set('ring-back', this.call.person.asked)
  }
}

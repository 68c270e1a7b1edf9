import type { AgentDefinition } from '../agents/definition.js'
import { humansOf } from '../agents/definition.js'
import { Escalation } from '../escalation/escalation.js'
import type { AfterStream, EscalationCommand, EscalationInput, EscalationOptions, EscalationOutput } from '../escalation/escalation-events.js'
import type { CallbackWish, EscalationPacket, EscalationStep, Handoff } from '../call/events.js'
import type { CallbackAsk, EscalationHistory } from '../call/record.js'
import { assertNever } from '../core/assert.js'
import type { Clock, WallClock } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { ESCALATION_ATTEMPTS_MAX } from '../core/limits.js'
import type { SayAction, VoiceAction } from '../sautikit/actions.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { HandoffNews } from './handoff-post.js'
import { roomOf } from './live-call.js'
import type { ContinuationAsker } from './live-call.js'

/** The carrier's REST API, as far as a call needs it. Rejections carry the carrier's code and message. */
export interface CarrierControl {
  hangup(callSid: string): Promise<void>
  /** Adds a human to the live call. */
  supervise(callSid: string, phone: string): Promise<void>
  /** Rings a human, whose leg then gets the document at `voiceUrl`: it joins the caller's room. */
  callHuman(from: string, phone: string, voiceUrl: string): Promise<void>
}

export interface CallHandoverOptions {
  readonly callSid: CallSid
  readonly agent: AgentDefinition
  /** The person on the line, empty when withheld, and our own number, from which a human is rung. */
  readonly caller: string
  readonly ours: string
  readonly carrier: CarrierControl | null
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  readonly wallClock: WallClock
  readonly continuationUrl: () => string | null
  /** Where the leg of a human gets its document; null when the call was not answered into a room. */
  readonly humanUrl: () => string | null
  readonly afterStream: () => AfterStream
  readonly toSession: (step: EscalationStep) => void
  /** Enters what happens into the call's timeline. */
  readonly mark: (name: string, detail?: string) => void
  /** Keeps what the human gets, and tells who is to be told. */
  readonly news: (news: HandoffNews) => void
  /** The escalation has come to its end. */
  readonly settled: () => void
}

/** How long a key is waited for after the words of an offer. */
const OFFER_WAIT_S = 6

/**
 * Runs the escalation machine of one call: carries its commands to the carrier's API, its steps to the session and its
 * context to whoever takes the caller. It lives on the main thread because it must outlive both the stream and the worker.
 */
export class CallHandover {
  readonly #options: CallHandoverOptions
  #machine: Escalation | null = null
  #packet: EscalationPacket | null = null
  #history: EscalationHistory | null = null
  #told = 0
  #hungUp = false

  constructor(options: CallHandoverOptions) {
    this.#options = options
  }

  /** True from the wish for a human until nothing more can come of it. */
  get active(): boolean {
    return this.#machine?.busy === true
  }

  /** What the human gets; null while nobody was asked for. */
  get handoff(): Handoff | null {
    if (this.#packet === null) return null
    return { ...this.#packet, from: this.#options.caller, to: this.#options.ours, escalation: this.#history }
  }

  get history(): EscalationHistory | null {
    return this.#history
  }

  escalate(packet: EscalationPacket): void {
    const again = this.active
    this.#packet = packet
    this.#options.log.info({ again }, 'a human is wanted')
    if (!again) {
      this.#history = {
        reason: packet.reason, strategy: null, outcome: null, attempts: this.#history?.attempts ?? [], callback: this.#history?.callback ?? null,
      }
      // Before any step: the human has it before the stream ends.
      this.#tell('handoff.requested')
    }
    // A second wish goes to the same machine: a taken-over session must hear its step again, and after a failure
    // it is a new attempt.
    this.#machine ??= new Escalation(this.#machineOptions())
    this.handle({ type: 'escalate', packet })
  }

  /** The caller's answer to the offer of a call back, or a wish for one. */
  callback(wish: CallbackWish | null): void {
    if (wish === null) return this.handle({ type: 'callback', accepted: false })
    this.#packet ??= wish.packet
    this.#callBack(wish.asked, wish.number ?? this.#options.caller, wish.note)
    if (this.active) this.handle({ type: 'callback', accepted: true })
    else this.#history = { ...this.#historyOf(wish.packet.reason), strategy: 'callback', outcome: 'answered' }
  }

  handle(input: EscalationInput): void {
    if (this.#machine === null) return
    this.#machine.handle(input, this.#options.clock())
    this.#drain(this.#machine)
  }

  /** The document for a webhook that asks how the call goes on; empty when there is nothing to do. */
  ask(asker: ContinuationAsker, digits: string | null): readonly VoiceAction[] {
    if (this.#machine === null) return []
    const actions = this.#machine.ask(asker, this.#options.clock(), digits)
    this.#drain(this.#machine)
    return actions
  }

  /** The document of the human's own leg: a word about the caller that only they hear, then the room. */
  humanDocument(): readonly VoiceAction[] {
    const whisper = this.#options.agent.escalation?.whisper ?? null
    const packet = this.#packet
    if (packet === null) return []
    const words = [whisper, sentence(packet.reason), sentence(packet.summary)].filter((text) => text !== null && text !== '').join(' ')
    return [
      ...(whisper === null ? [] : [this.#spoken(words)]),
      { verb: 'conference', name: roomOf(this.#options.callSid), startOnEnter: true, endOnExit: true, beep: false },
    ]
  }

  wake(nowMs: number): void {
    const wake = this.#machine?.nextWake() ?? null
    if (wake !== null && wake.atMs <= nowMs) this.handle({ type: 'timer' })
  }

  /** Asks the carrier to end the call: a closed socket alone leaves the caller in silence (docs/PROTOCOL.md). */
  hangup(): void {
    const { carrier, log, callSid } = this.#options
    if (this.#hungUp) return
    this.#hungUp = true
    if (carrier === null) {
      log.info({}, 'no API key: the carrier is left to end the call')
      return
    }
    carrier.hangup(callSid).catch((thrown: unknown) => log.warn({ err: thrown }, 'the carrier did not hang up'))
  }

  #machineOptions(): EscalationOptions {
    const { agent, caller, carrier, continuationUrl, humanUrl, afterStream, clock, wallClock, callSid } = this.#options
    const settings = agent.escalation
    const callsBack = settings?.strategies.includes('callback') === true && caller !== ''
    return {
      strategies: settings?.strategies ?? [],
      humans: humansOf(settings),
      hours: settings?.hours ?? null,
      wallOffsetMs: wallClock() - clock(),
      callerId: settings?.callerId ?? null,
      ringTimeoutMs: (settings?.timeoutS ?? 25) * 1000,
      redirectUrl: continuationUrl(),
      failedSay: this.#spoken(settings?.failed ?? 'Sorry, nobody can take your call right now.'),
      offer: callsBack
        ? { ask: this.#spoken(settings.offer), confirmed: this.#spoken(settings.offerAccepted), waitS: OFFER_WAIT_S } : null,
      conferenceRoom: humanUrl() === null ? null : roomOf(callSid),
      restAvailable: carrier !== null,
      afterStream: afterStream(),
    }
  }

  #spoken(text: string): SayAction {
    const { voice, language } = this.#options.agent.say
    return { verb: 'say', text, ...(voice === undefined ? {} : { voice }), ...(language === undefined ? {} : { language }) }
  }

  #drain(machine: Escalation): void {
    for (let output = machine.pollOutput(); output !== null; output = machine.pollOutput()) this.#carryOut(output)
    if (!machine.busy) this.#options.settled()
  }

  #carryOut(output: EscalationOutput): void {
    const { metrics, log, mark, callSid } = this.#options
    switch (output.type) {
      case 'step':
        mark('escalation-step', output.step.type)
        return this.#options.toSession(output.step)
      case 'command':
        return this.#command(output.command)
      case 'attempt': {
        const { strategy, human, outcome, ms } = output.attempt
        mark('escalation-attempt', `${strategy}${human === null ? '' : ` number ${human}`}: ${outcome} in ${ms} ms`)
        const history = this.#historyOf('')
        this.#history = { ...history, attempts: [...history.attempts, output.attempt].slice(-ESCALATION_ATTEMPTS_MAX) }
        return
      }
      case 'callback':
        return this.#callBack(output.asked, this.#options.caller, '')
      case 'settled': {
        const { strategy, outcome, detail } = output
        this.#history = { ...this.#historyOf(''), strategy, outcome }
        metrics.escalations({ strategy: strategy ?? 'none', outcome }).inc(1, callSid)
        mark('escalation-settled', `${strategy ?? 'none'}: ${outcome}${detail === '' ? '' : `, ${detail}`}`)
        log.info({ strategy, outcome, detail }, 'escalation settled')
        return this.#tell('handoff.settled')
      }
      default:
        return assertNever(output)
    }
  }

  #callBack(asked: CallbackAsk, number: string, note: string): void {
    const { wallClock, mark, log } = this.#options
    this.#history = { ...this.#historyOf(''), callback: { asked, number, note, at: new Date(wallClock()).toISOString() } }
    mark('callback', asked)
    log.info({ asked }, 'a call back is wanted')
    this.#tell('callback.requested')
  }

  #historyOf(reason: string): EscalationHistory {
    return this.#history ?? { reason: this.#packet?.reason ?? reason, strategy: null, outcome: null, attempts: [], callback: null }
  }

  #tell(kind: HandoffNews['kind']): void {
    const { handoff } = this
    if (handoff === null) return
    const { callSid, agent, news } = this.#options
    news({ kind, id: `${callSid}:${++this.#told}`, url: agent.escalation?.webhook ?? null, handoff })
  }

  #command(command: EscalationCommand): void {
    const { carrier } = this.#options
    if (carrier === null) {
      this.#answer(command.requestId, false, 'there is no API key')
      return
    }
    this.#request(command, carrier).then(
      () => this.#answer(command.requestId, true, ''),
      (thrown: unknown) => this.#answer(command.requestId, false, messageOf(thrown)),
    )
  }

  #request(command: EscalationCommand, carrier: CarrierControl): Promise<void> {
    const { callSid, ours, humanUrl } = this.#options
    switch (command.type) {
      case 'supervise': return carrier.supervise(callSid, command.number)
      case 'create-conference-call': return carrier.callHuman(ours, command.number, humanUrl() ?? '')
      case 'hangup':
        this.#hungUp = true
        return carrier.hangup(callSid)
      default: return assertNever(command)
    }
  }

  #answer(requestId: string, ok: boolean, detail: string): void {
    this.handle({ type: 'rest-result', requestId, ok, detail })
  }
}

function sentence(text: string): string {
  const trimmed = text.trim().slice(0, 400)
  return trimmed === '' || /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`
}

import { Escalation } from '../call/escalation.js'
import type { AgentDefinition } from '../agents/definition.js'
import type { EscalationCommand, EscalationInput, EscalationOptions } from '../call/escalation-events.js'
import type { EscalationPacket, EscalationStep } from '../call/events.js'
import type { EscalationRecord } from '../call/record.js'
import { assertNever } from '../core/assert.js'
import type { Clock } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import type { VoiceAction } from '../sautikit/actions.js'
import type { Log } from '../telemetry/log.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { ContinuationAsker } from './live-call.js'

/** The carrier's REST API, as far as a call needs it. Rejections carry the carrier's code and message. */
export interface CarrierControl {
  hangup(callSid: string): Promise<void>
  /** Adds a human to the live call. */
  supervise(callSid: string, phone: string): Promise<void>
  /** Rings a human who then joins the room. */
  callIntoConference(callSid: string, from: string, phone: string, room: string): Promise<void>
}

export interface CallHandoverOptions {
  readonly callSid: CallSid
  /** The agent's `escalation:` block; null: nobody to hand over to. */
  readonly settings: AgentDefinition['escalation']
  /** Our number, from which a human is rung. */
  readonly from: string
  readonly carrier: CarrierControl | null
  readonly metrics: Metrics
  readonly log: Log
  readonly clock: Clock
  readonly continuationUrl: () => string | null
  readonly toSession: (step: EscalationStep) => void
  /** The escalation has come to its end. */
  readonly settled: () => void
}

/**
 * Runs the escalation machine of one call: carries its commands to the carrier's API and its steps to the session.
 * It lives on the main thread because it must outlive both the stream and the worker.
 */
export class CallHandover {
  readonly #options: CallHandoverOptions
  #machine: Escalation | null = null
  #packet: EscalationPacket | null = null
  #record: EscalationRecord | null = null
  #hungUp = false

  constructor(options: CallHandoverOptions) {
    this.#options = options
  }

  /** True from the wish for a human until it is known how that came out. */
  get active(): boolean {
    return this.#machine !== null && this.#record?.outcome === null
  }

  get packet(): EscalationPacket | null {
    return this.#packet
  }

  get record(): EscalationRecord | null {
    return this.#record
  }

  escalate(packet: EscalationPacket): void {
    this.#packet = packet
    this.#options.log.info({ again: this.#machine !== null }, 'a human is wanted')
    if (this.#record === null || this.#record.outcome !== null) {
      this.#record = { reason: packet.reason, strategy: null, outcome: null }
    }
    // A second wish goes to the same machine: a taken-over session must hear its step again, and after a failure
    // it is a new attempt.
    this.#machine ??= new Escalation(this.#machineOptions())
    this.handle({ type: 'escalate', packet })
  }

  handle(input: EscalationInput): void {
    if (this.#machine === null) return
    this.#machine.handle(input, this.#options.clock())
    this.#drain()
  }

  /** The document for a webhook that asks how the call goes on; empty when there is nothing to do. */
  ask(asker: ContinuationAsker): readonly VoiceAction[] {
    if (this.#machine === null) return []
    const actions = this.#machine.ask(asker, this.#options.clock())
    this.#drain()
    return actions
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
    const { settings, carrier, continuationUrl } = this.#options
    return {
      strategies: settings?.strategies ?? [],
      numbers: settings?.numbers ?? [],
      callerId: settings?.callerId ?? null,
      ringTimeoutMs: (settings?.timeoutS ?? 25) * 1000,
      redirectUrl: continuationUrl(),
      failedSay: { verb: 'say', text: settings?.failed ?? 'Sorry, nobody can take your call right now.' },
      conferenceRoom: null,
      restAvailable: carrier !== null,
    }
  }

  #drain(): void {
    const machine = this.#machine
    if (machine === null) return
    for (let output = machine.pollOutput(); output !== null; output = machine.pollOutput()) {
      switch (output.type) {
        case 'step':
          this.#options.toSession(output.step)
          break
        case 'command':
          this.#command(output.command)
          break
        case 'settled':
          this.#record = { reason: this.#packet?.reason ?? '', strategy: output.strategy, outcome: output.outcome }
          this.#options.metrics.escalations({ strategy: output.strategy ?? 'none', outcome: output.outcome })
            .inc(1, this.#options.callSid)
          this.#options.log.info({ strategy: output.strategy, outcome: output.outcome, detail: output.detail }, 'escalation settled')
          this.#options.settled()
          break
        default:
          assertNever(output)
      }
    }
  }

  #command(command: EscalationCommand): void {
    const { carrier, callSid, from } = this.#options
    if (carrier === null) {
      this.#answer(command.requestId, false, 'there is no API key')
      return
    }
    this.#request(command, carrier, callSid, from).then(
      () => this.#answer(command.requestId, true, ''),
      (thrown: unknown) => this.#answer(command.requestId, false, messageOf(thrown)),
    )
  }

  #request(command: EscalationCommand, carrier: CarrierControl, callSid: CallSid, from: string): Promise<void> {
    switch (command.type) {
      case 'supervise': return carrier.supervise(callSid, command.number)
      case 'create-conference-call': return carrier.callIntoConference(callSid, from, command.number, command.room)
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

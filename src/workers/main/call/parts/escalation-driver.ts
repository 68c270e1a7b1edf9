import type { AgentDefinition } from '../../../../agents/file/definition.js'
import { humansOf } from '../../../../agents/file/definition.js'
import { eachText } from '../../../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../../../call/spoken/localized-text.js'
import type { CallBackRefusal, CallbackWish } from '../../../../call/events.js'
import type { EscalationPacket, Handoff } from '../../../../call/documents/handoff.js'
import type { KeptEscalation, KeptState } from '../../../../call/documents/kept-call.js'
import type { CallbackAsk, EscalationHistory } from '../../../../call/documents/record.js'
import { assertNever } from '../../../../core/assert.js'
import { messageOf } from '../../../../core/errors.js'
import type { ContinuationAsker } from '../../../../escalation/documents.js'
import { Escalation } from '../../../../escalation/escalation.js'
import type { EscalationOptions } from '../../../../escalation/escalation.js'
import type { EscalationCommand, EscalationInput, EscalationOutput } from '../../../../escalation/escalation-events.js'
import type { HandoffNews } from '../../../../messages/message.js'
import type { SayAction, VoiceAction } from '../../../../sautikit/actions.js'
import type { CarrierState, HumanEvent } from '../../../../sautikit/carrier-state.js'
import type { Handlers } from '../../../shared/by-type.js'
import type { FromCall } from '../../../shared/call-messages.js'
import { readWantedAt, wishZone } from '../../call-back-wish.js'
import { packetOf } from '../call-continuity.js'
import { carrierSay } from '../carrier-say.js'
import type { continuationOf } from '../../kept-call.js'
import { roomOf } from '../../live-call.js'
import type { MainDoor } from '../main-door.js'
import type { MainPart, MainThings } from '../main-part.js'
import type { CallBackOrder, CarrierControl } from '../../main-thread-context.js'

type Of = Pick<MainThings, 'call' | 'origin' | 'agent' | 'consent' | 'effects' | 'callBacks' | 'log' | 'context'>

/** Attempts to reach a human that one call's record keeps. */
const ESCALATION_ATTEMPTS_MAX = 50

type EscalationSettings = NonNullable<AgentDefinition['escalation']>

/** How long the carrier waits for a DTMF digit after the words of an offer. */
const OFFER_WAIT_S = 6

/**
 * Runs the escalation machine of one call: sends its commands to the carrier's API, its steps to the session, and the
 * handoff packet to the owner's webhook. It runs on the main thread because it must outlive both the stream and the
 * worker.
 */
export class EscalationDriver implements MainPart {
  /** Part of the call's record; null before a human or a call back was requested. */
  history: EscalationHistory | null = null
  readonly #door: MainDoor
  readonly #of: Of
  #machine: Escalation | null = null
  #packet: EscalationPacket | null = null
  #newsSent: NewsSent = { settled: 0, callbacks: 0 }
  #hungUp = false
  /** Call backs whose answer is waited for. */
  #asking = 0
  /** A call back that the carrier's voice would offer is refused. */
  #offerRefused = false

  constructor(door: MainDoor, of: Of) {
    this.#door = door
    this.#of = of
  }

  readonly messages = {
    escalate: ({ packet }) => this.escalate(packet),
    callback: ({ wish }) =>
      void this.callback(wish).then((refusal) => {
        if (wish !== null) this.#door.send({ type: 'callback-answer', refusal })
      }),
  } satisfies Handlers<FromCall>

  withoutStream(): void {
    this.handle({ type: 'stream-closed' })
  }

  carrierState(state: CarrierState): void {
    this.handle({ type: 'carrier-state', state })
  }

  human(event: HumanEvent): void {
    this.handle({ type: 'human', event })
  }

  recorded(): void {
    const order = this.history?.callback ?? null
    if (order !== null) this.#of.callBacks.ended(order)
  }

  inRecord(): { readonly escalation: EscalationHistory | null } {
    return { escalation: this.history }
  }

  keeps(): { readonly escalation: KeptEscalation | null } {
    return { escalation: this.kept() }
  }

  resume(before: KeptState, goesOn: ReturnType<typeof continuationOf>): void {
    const { escalation } = before.kept
    if (escalation !== null) this.restore(escalation, packetOf(before), goesOn === 'human')
  }

  /**
   * Goes on with the escalation of a call whose node was lost.
   * @param packet  the handoff packet with what the call log had for it
   * @param human  a human is being reached, or was: the machine goes on without the stream. Otherwise the agent goes on
   *   with the caller, who may ask again
   */
  restore({ history, newsSent, machine }: KeptEscalation, packet: EscalationPacket | null, human: boolean): void {
    const { escalation: settings } = this.#of.agent.definition
    this.history = history
    this.#packet = packet
    this.#newsSent = newsSent
    // The agent of this node may have lost its escalation section.
    if (machine === null || settings === null) return
    if (human) {
      this.#machine = new Escalation(this.#machineOptions(settings), machine, this.#of.context.clock())
      return this.handle({ type: 'stream-closed' })
    }
    // The caller was being asked about a call back, and did not answer.
    if (machine.state === 'offering') this.#note({ outcome: machine.lastOutcome })
  }

  /** For another node; null while no human and no call back was asked for. */
  kept(): KeptEscalation | null {
    if (this.#packet === null && this.history === null) return null
    return {
      history: this.history,
      packet: this.#packet === null ? null : withoutLog(this.#packet),
      newsSent: this.#newsSent,
      machine: this.#machine?.snapshot(this.#of.context.clock()) ?? null,
    }
  }

  /** True from the request for a human until the machine has nothing more to do. */
  get active(): boolean {
    return this.#machine?.busy === true || this.#asking > 0
  }

  /** The handoff packet with the escalation so far; null while no human was requested. */
  get handoff(): Handoff | null {
    if (this.#packet === null) return null
    const { origin, consent } = this.#of
    const { transcript } = this.#packet
    // Once the caller does not want words of the call to be kept, packets stay without them.
    const words = consent.refused ? [] : transcript
    return { ...this.#packet, transcript: words, from: origin.number, to: origin.ours, escalation: this.history }
  }

  escalate(packet: EscalationPacket): void {
    const { escalation: settings } = this.#of.agent.definition
    if (settings === null) return // a session escalates only if its agent has an escalation section
    const again = this.active
    this.#packet = packet
    this.#of.log.debug({ again }, 'escalation requested')
    if (!again) {
      this.#note({ reason: packet.reason, strategy: null, outcome: null })
      // Before any step, so that the human's side has the packet before the stream ends.
      this.#postNews('handoff.requested', this.#newsSent.settled + 1)
    }
    // A second request goes to the same machine: a session that was moved to another worker needs its step again, and
    // after a failure it is a new attempt.
    this.#machine ??= new Escalation(this.#machineOptions(settings))
    this.handle({ type: 'escalate' })
  }

  /**
   * The caller's answer to the offer of a call back (null: no), or a request for one. Does not reject.
   * @returns why it is refused; null: it is kept
   */
  async callback(wish: CallbackWish | null): Promise<CallBackRefusal | null> {
    if (wish === null) {
      this.handle({ type: 'callback', accepted: false })
      return null
    }
    this.#packet ??= wish.packet
    const refusal = await this.#callBack(wish.asked, wish.number ?? this.#of.origin.number, wish.note, wish.wantedAt)
    if (this.#machine?.busy === true) this.handle({ type: 'callback', accepted: refusal === null })
    else if (refusal === null) this.#note({ strategy: 'callback', outcome: 'answered' })
    if (!this.active) this.#door.changed()
    return refusal
  }

  handle(input: EscalationInput): void {
    if (this.#machine === null) return
    this.#machine.handle(input, this.#of.context.clock())
    this.#drain(this.#machine)
  }

  /** The document for a webhook that asks how the call continues; empty when there is nothing to do. */
  ask(asker: ContinuationAsker, digits: string | null): readonly VoiceAction[] {
    if (this.#machine === null) return []
    const actions = this.#machine.ask(asker, this.#of.context.clock(), digits)
    this.#drain(this.#machine)
    return actions
  }

  /** The document for the human's leg: words about the caller that only the human hears, then the conference room. */
  humanDocument(): readonly VoiceAction[] {
    const whisper = this.#of.agent.definition.escalation?.whisper ?? null
    const packet = this.#packet
    if (packet === null) return []
    const told = [packet.reason, packet.summary].map(sentence).filter((text) => text !== '')
    const words = (text: string): string => [text, ...told].join(' ')
    return [
      ...(whisper === null ? [] : [this.#spoken(eachText(whisper, words))]),
      {
        verb: 'conference',
        name: roomOf(this.#of.call.callSid),
        startOnEnter: true,
        endOnExit: true,
        beep: false,
      },
    ]
  }

  wake(nowMs: number): void {
    const wake = this.#machine?.nextWake() ?? null
    if (wake !== null && wake.atMs <= nowMs) this.handle({ type: 'timer' })
  }

  /**
   * Asks the carrier to end the call: closing the socket alone may leave the caller in silence (docs/PROTOCOL.md).
   * @param confirm  the call had no socket, so the fleet must confirm that this node still has the call
   */
  hangup(confirm: boolean): void {
    const { log, call, effects, context } = this.#of
    const { carrier } = context
    if (this.#hungUp) return
    this.#hungUp = true
    if (carrier === null) {
      log.debug({}, 'SAUTIKIT_API_KEY is not set: the carrier ends the call')
      return
    }
    effects.act('rest', 'hangup', confirm, () => {
      carrier
        .hangup(call.callSid, this.#key('hangup:0'))
        .catch((thrown: unknown) => log.warn({ err: thrown }, 'the carrier did not hang up'))
    })
  }

  /** The carrier goes on with the caller: it is not asked to end the call. */
  leave(): void {
    this.#hungUp = true
  }

  #machineOptions(settings: EscalationSettings): EscalationOptions {
    const { call, origin, callBacks, context } = this.#of
    const { carrier, humanCalls, clock, wallClock, afterStream } = context
    const { strategies, hours, callerId = null, timeoutS, failed, offer, offerAccepted } = settings
    const calledBack = strategies.includes('callback') && callBacks.mayRing
    const spoken = { ask: this.#spoken(offer), confirmed: this.#spoken(offerAccepted), waitS: OFFER_WAIT_S }
    const isOffered = (): boolean => calledBack && !this.#offerRefused
    if (calledBack) void this.#askAhead()
    return {
      // Who is to be called back at a number that is not known is asked for one by the agent, and not by key.
      strategies: calledBack ? strategies : strategies.filter((strategy) => strategy !== 'callback'),
      hours,
      callerId,
      humans: humansOf(settings),
      caller: origin.number,
      mayRing: (number, nowMs) => humanCalls.escalation(number, nowMs),
      wallOffsetMs: wallClock() - clock(),
      ringTimeoutMs: timeoutS * 1000,
      redirectUrl: call.afterStreamUrl,
      failedSay: this.#spoken(failed),
      get offer() {
        return isOffered() ? spoken : null
      },
      inConference: call.humanUrl !== null,
      restAvailable: carrier !== null,
      afterStream: afterStream.known(clock()),
    }
  }

  /** Tag of the language in which a human was asked for; by default the agent's first. */
  get #language(): string {
    return this.#packet?.language ?? this.#of.agent.definition.languages[0] ?? ''
  }

  #spoken(phrase: LocalizedText): SayAction {
    return carrierSay(phrase, this.#of.agent.definition, this.#language)
  }

  #drain(machine: Escalation): void {
    for (let output = machine.pollOutput(); output !== null; output = machine.pollOutput()) this.#carryOut(output)
    this.#door.changed()
  }

  #carryOut(output: EscalationOutput): void {
    const { log, call, context } = this.#of
    const { mark, send } = this.#door
    switch (output.type) {
      case 'step':
        mark('escalation-step', output.step.type)
        return send({ type: 'escalation', step: output.step })
      case 'command':
        return this.#command(output.command)
      case 'attempt': {
        const { strategy, human, outcome, ms } = output.attempt
        mark('escalation-attempt', `${strategy}${human === null ? '' : ` number ${human}`}: ${outcome} in ${ms} ms`)
        return this.#note({
          attempts: [...(this.history?.attempts ?? []), output.attempt].slice(-ESCALATION_ATTEMPTS_MAX),
        })
      }
      case 'callback':
        return void this.#callBack(output.asked, this.#of.origin.number, '').then(() => {
          if (!this.active) this.#door.changed()
        })
      case 'settled': {
        const { strategy, outcome, detail } = output
        this.#note({ strategy, outcome })
        context.metrics.escalations({ strategy: strategy ?? 'none', outcome }).inc(1, call.callSid)
        mark('escalation-settled', `${strategy ?? 'none'}: ${outcome}${detail === '' ? '' : `, ${detail}`}`)
        log.debug({ strategy, outcome, detail }, 'escalation settled')
        this.#newsSent = { ...this.#newsSent, settled: this.#newsSent.settled + 1 }
        return this.#postNews('handoff.settled', this.#newsSent.settled)
      }
      default:
        return assertNever(output)
    }
  }

  /** Whoever is offered a call back by the carrier's voice is answered at once: it is known before whether it is kept. */
  async #askAhead(): Promise<void> {
    const { origin, callBacks } = this.#of
    const order = this.#order('key', origin.number, '')
    this.#offerRefused = 'why' in order || (await callBacks.ask(order, true)) !== null
  }

  /** Entered into the call's history once it is kept. @returns why it is not */
  async #callBack(asked: CallbackAsk, number: string, note: string, wanted?: string): Promise<CallBackRefusal | null> {
    const { log, callBacks, context, call } = this.#of
    const { mark } = this.#door
    const order = this.#order(asked, number, note, wanted)
    this.#asking++
    const refusal = 'why' in order ? order : await callBacks.ask(order, false)
    this.#asking--
    if (refusal !== null) {
      mark('callback-refused', refusal.why)
      log.info({ asked, why: refusal.why }, 'a call back is refused')
      context.metrics.callBacksRefused({ reason: refusal.why }).inc(1, call.callSid)
      return refusal
    }
    if (!('why' in order)) this.#note({ callback: order })
    mark('callback', asked)
    log.debug({ asked }, 'callback requested')
    this.#newsSent = { ...this.#newsSent, callbacks: this.#newsSent.callbacks + 1 }
    this.#postNews('callback.requested', this.#newsSent.callbacks)
    return null
  }

  #order(asked: CallbackAsk, number: string, note: string, wanted?: string): CallBackOrder | CallBackRefusal {
    const nowMs = this.#of.context.wallClock()
    const order = { asked, number, note, at: new Date(nowMs).toISOString() }
    if (wanted === undefined) return order
    const read = readWantedAt(wanted, wishZone(number, this.#of.agent.definition), nowMs)
    return 'fault' in read ? { why: 'time', text: read.fault } : { ...order, ...read }
  }

  #note(change: Partial<EscalationHistory>): void {
    const before = this.history ?? {
      reason: this.#packet?.reason ?? '',
      strategy: null,
      outcome: null,
      attempts: [],
      callback: null,
    }
    this.history = { ...before, ...change }
  }

  /** @param ordinal  of the escalation, or of the call back, in this call; from 1 */
  #postNews(kind: HandoffNews['kind'], ordinal: number): void {
    const { handoff } = this
    const { agent, origin, effects, consent, context } = this.#of
    // A human who was rung before a promised call back is put through to its caller: receivers know of that call back, and hear of no
    // escalation.
    if (handoff === null || origin.call.placed?.joins != null) return
    const url = agent.definition.escalation?.webhook ?? null
    const id = this.#key(`${kind}:${ordinal}`)
    const news: HandoffNews = { kind, id, url, handoff, keepsWords: !consent.refused }
    effects.act('handoff', kind, false, () => context.onHandoff?.(news))
  }

  /** A key that another node gives to the same step of the same call: `<root SID>[:<call SID>]:<step>`. */
  #key(step: string): string {
    const { origin, call } = this.#of
    const { rootSid } = origin
    return rootSid === call.callSid ? `${rootSid}:${step}` : `${rootSid}:${call.callSid}:${step}`
  }

  #command(command: EscalationCommand): void {
    const { carrier } = this.#of.context
    const answer = (ok: boolean, detail: string): void =>
      this.handle({ type: 'rest-result', requestId: command.requestId, ok, detail })
    if (carrier === null) return answer(false, 'there is no API key')
    const send = (): void =>
      void this.#request(command, carrier).then(
        () => answer(true, ''),
        (thrown: unknown) => answer(false, messageOf(thrown)),
      )
    // A hang-up comes after the stream: nothing else shows that the call is still here.
    this.#of.effects.act('rest', command.type, command.type === 'hangup', send, () =>
      answer(false, 'another node has this call'),
    )
  }

  #request(command: EscalationCommand, carrier: CarrierControl): Promise<void> {
    const { call, origin } = this.#of
    const key = this.#key(`${command.type}:${command.requestId}`)
    switch (command.type) {
      case 'supervise':
        return carrier.supervise(call.callSid, command.number, key)
      case 'create-conference-call':
        return carrier.callHuman(origin.ours, command.number, call.humanUrl ?? '', key)
      case 'hangup':
        this.#hungUp = true
        return carrier.hangup(call.callSid, key)
      default:
        return assertNever(command)
    }
  }
}

function withoutLog({ transcript: _, tried: __, ...packet }: EscalationPacket): KeptEscalation['packet'] {
  return packet
}

function sentence(text: string): string {
  const trimmed = text.trim().slice(0, 400)
  return trimmed === '' || /[.!?]$/.test(trimmed) ? trimmed : `${trimmed}.`
}

/** Escalations that have settled, and call backs that were asked for: the numbers in the ids of the handoff posts. */
type NewsSent = KeptEscalation['newsSent']

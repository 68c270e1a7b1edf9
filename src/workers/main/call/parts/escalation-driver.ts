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

/** Maximum number of attempts to reach a human that one call's record contains. */
const ESCALATION_ATTEMPTS_MAX = 50

type EscalationSettings = NonNullable<AgentDefinition['escalation']>

/** Time in s that the carrier waits for a DTMF digit after an offer. */
const OFFER_WAIT_S = 6

/**
 * Runs the escalation machine of one call. It sends commands to the carrier's API, the machine's steps to the session,
 * and the handoff packet to the owner's webhook. The escalation must outlive stream and worker, so it runs on the main
 * thread.
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
  /** Number of requested call backs that are neither accepted nor refused yet. */
  #asking = 0
  /** True if the carrier's voice must not offer a call back, because it would be refused. */
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
   * Continues the escalation of a call whose node was lost.
   * @param packet  the handoff packet, with the entries of the call log
   * @param human  true: the lost node was connecting or had connected a human, and the machine continues without the
   * stream. False: the agent continues with the caller, who may ask for a human again
   */
  restore({ history, newsSent, machine }: KeptEscalation, packet: EscalationPacket | null, human: boolean): void {
    const { escalation: settings } = this.#of.agent.definition
    this.history = history
    this.#packet = packet
    this.#newsSent = newsSent
    // The agent's file on this node may lack the escalation section.
    if (machine === null || settings === null) return
    if (human) {
      this.#machine = new Escalation(this.#machineOptions(settings), machine, this.#of.context.clock())
      return this.handle({ type: 'stream-closed' })
    }
    // The caller was asked about a call back and has not answered.
    if (machine.state === 'offering') this.#note({ outcome: machine.lastOutcome })
  }

  /** State for another node; null if the call asked for neither a human nor a call back. */
  kept(): KeptEscalation | null {
    if (this.#packet === null && this.history === null) return null
    return {
      history: this.history,
      packet: this.#packet === null ? null : withoutLog(this.#packet),
      newsSent: this.#newsSent,
      machine: this.#machine?.snapshot(this.#of.context.clock()) ?? null,
    }
  }

  /** True from the request for a human until the machine has finished. */
  get active(): boolean {
    return this.#machine?.busy === true || this.#asking > 0
  }

  /** The handoff packet with the escalation so far; null if no human was requested. */
  get handoff(): Handoff | null {
    if (this.#packet === null) return null
    const { origin, consent } = this.#of
    const { transcript } = this.#packet
    // If the caller refused the storing of words, packets do not contain the call's words.
    const words = consent.refused ? [] : transcript
    return { ...this.#packet, transcript: words, from: origin.number, to: origin.ours, escalation: this.history }
  }

  escalate(packet: EscalationPacket): void {
    const { escalation: settings } = this.#of.agent.definition
    if (settings === null) return // A session escalates only if its agent has an escalation section.
    const again = this.active
    this.#packet = packet
    this.#of.log.debug({ again }, 'escalation requested')
    if (!again) {
      this.#note({ reason: packet.reason, strategy: null, outcome: null })
      // The packet is posted before any step, so that the human gets the packet before the stream ends.
      this.#postNews('handoff.requested', this.#newsSent.settled + 1)
    }
    // A second request goes to the existing machine. It sends the present step again to a session that was moved to
    // another worker. After a failed escalation it begins a new attempt.
    this.#machine ??= new Escalation(this.#machineOptions(settings))
    this.handle({ type: 'escalate' })
  }

  /**
   * Takes the caller's answer to an offered call back, or the caller's own request for one. The promise never rejects.
   * @param wish  null: the caller does not want the offered call back
   * @returns the reason of a refusal; null if the call back is stored
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

  /** Document for a webhook that asks how the call continues; empty if there is nothing to do. */
  ask(asker: ContinuationAsker, digits: string | null): readonly VoiceAction[] {
    if (this.#machine === null) return []
    const actions = this.#machine.ask(asker, this.#of.context.clock(), digits)
    this.#drain(this.#machine)
    return actions
  }

  /** Document for the human's leg: words about the caller that only the human hears, then the conference room. */
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
   * Asks the carrier to end the call, because a closed socket may leave the caller in silence (docs/PROTOCOL.md).
   * @param confirm  true if the call has no socket. The fleet must then confirm that this node owns the call
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

  /** Notes that the carrier continues with the caller, so we do not ask it to end the call. */
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
      // Only the agent can ask the caller for a number. An offer that the caller accepts by DTMF digit needs a known
      // number.
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

  /** Tag of the language in which the caller asked for a human; the agent's first language if unknown. */
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

  /**
   * Checks that a call back is possible before the carrier's voice offers it. The caller's yes can then be answered at
   * once.
   */
  async #askAhead(): Promise<void> {
    const { origin, callBacks } = this.#of
    const order = this.#order('key', origin.number, '')
    this.#offerRefused = 'why' in order || (await callBacks.ask(order, true)) !== null
  }

  /**
   * Stores a call back, then enters it into the escalation history of the call.
   * @returns the reason of a refusal; null if the call back is stored
   */
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

  /** @param ordinal  number of the escalation or the call back in this call, from 1 */
  #postNews(kind: HandoffNews['kind'], ordinal: number): void {
    const { handoff } = this
    const { agent, origin, effects, consent, context } = this.#of
    // In a call with `joins`, we ring a human for a promised call back. This is not an escalation, so receivers get no
    // message about one.
    if (handoff === null || origin.call.placed?.joins != null) return
    const url = agent.definition.escalation?.webhook ?? null
    const id = this.#key(`${kind}:${ordinal}`)
    const news: HandoffNews = { kind, id, url, handoff, keepsWords: !consent.refused }
    effects.act('handoff', kind, false, () => context.onHandoff?.(news))
  }

  /** A key for a step of a call, equal on every node: `<root SID>[:<call SID>]:<step>`. */
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
    // A hang-up comes after the stream. Only the effect gate can confirm that this node still owns the call.
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

/** Counts of settled escalations and of requested call backs. The ids of the handoff posts contain these counts. */
type NewsSent = KeptEscalation['newsSent']

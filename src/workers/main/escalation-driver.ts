import type { AgentDefinition } from '../../agents/file/definition.js'
import { humansOf } from '../../agents/file/definition.js'
import { eachText, languageOfText, textIn } from '../../call/localized-text.js'
import type { LocalizedText } from '../../call/localized-text.js'
import type { CallBackRefusal, CallbackWish, EscalationStep } from '../../call/events.js'
import type { EscalationPacket, Handoff } from '../../call/documents/handoff.js'
import type { CallbackAsk, EscalationHistory } from '../../call/documents/record.js'
import { assertNever } from '../../core/assert.js'
import { messageOf } from '../../core/errors.js'
import type { ContinuationAsker } from '../../escalation/documents.js'
import { Escalation } from '../../escalation/escalation.js'
import type { EscalationOptions } from '../../escalation/escalation.js'
import type { EscalationCommand, EscalationInput, EscalationOutput } from '../../escalation/escalation-events.js'
import type { SayAction, VoiceAction } from '../../sautikit/actions.js'
import { pronounced } from '../../speech/spoken/pronunciations.js'
import { spokenForm } from '../../speech/spoken/spoken-form.js'
import type { Log } from '../../telemetry/log.js'
import type { CallEffects } from '../shared/effects.js'
import type { HandoffNews } from '../../messages/message.js'
import type { KeptEscalation } from '../../call/documents/kept-call.js'
import type { CallBackOrder, CarrierControl, MainThreadContext } from './main-thread-context.js'
import { readWantedAt, wishZone } from './call-back-wish.js'
import { roomOf } from './live-call.js'
import type { LiveCall } from './live-call.js'

/** Attempts to reach a human that one call's record keeps. */
const ESCALATION_ATTEMPTS_MAX = 50

/** Services of the main thread that an escalation uses. */
type Services = Pick<
  MainThreadContext,
  'carrier' | 'humanCalls' | 'metrics' | 'clock' | 'wallClock' | 'afterStream' | 'onHandoff'
>

type EscalationSettings = NonNullable<AgentDefinition['escalation']>

/** How long the carrier waits for a DTMF digit after the words of an offer. */
const OFFER_WAIT_S = 6

/**
 * Runs the escalation machine of one call: sends its commands to the carrier's API, its steps to the session, and the
 * handoff packet to the owner's webhook. It runs on the main thread because it must outlive both the stream and the
 * worker.
 */
export class EscalationDriver {
  /** Part of the call's record; null before a human or a call back was requested. */
  history: EscalationHistory | null = null
  readonly #options: EscalationDriverOptions
  readonly #context: Services
  #machine: Escalation | null = null
  #packet: EscalationPacket | null = null
  #newsSent: NewsSent = { settled: 0, callbacks: 0 }
  #hungUp = false
  /** Call backs whose answer is waited for. */
  #asking = 0
  /** A call back that the carrier's voice would offer is refused. */
  #offerRefused = false

  constructor(options: EscalationDriverOptions, context: Services) {
    this.#options = options
    this.#context = context
  }

  /**
   * Goes on with the escalation of a call whose node was lost.
   * @param packet  the handoff packet with what the call log had for it
   * @param human  a human is being reached, or was: the machine goes on without the stream. Otherwise the agent goes on
   *   with the caller, who may ask again
   */
  restore({ history, newsSent, machine }: KeptEscalation, packet: EscalationPacket | null, human: boolean): void {
    const { escalation: settings } = this.#options.agent()
    this.history = history
    this.#packet = packet
    this.#newsSent = newsSent
    // The agent of this node may have lost its escalation section.
    if (machine === null || settings === null) return
    if (human) {
      this.#machine = new Escalation(this.#machineOptions(settings), machine, this.#context.clock())
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
      machine: this.#machine?.snapshot(this.#context.clock()) ?? null,
    }
  }

  /** True from the request for a human until the machine has nothing more to do. */
  get active(): boolean {
    return this.#machine?.busy === true || this.#asking > 0
  }

  /** The handoff packet with the escalation so far; null while no human was requested. */
  get handoff(): Handoff | null {
    if (this.#packet === null) return null
    const { caller, ours, keepsWords } = this.#options
    const { transcript } = this.#packet
    const words = keepsWords() ? transcript : []
    return { ...this.#packet, transcript: words, from: caller, to: ours, escalation: this.history }
  }

  escalate(packet: EscalationPacket): void {
    const { escalation: settings } = this.#options.agent()
    if (settings === null) return // a session escalates only if its agent has an escalation section
    const again = this.active
    this.#packet = packet
    this.#options.log.debug({ again }, 'escalation requested')
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
    const refusal = await this.#callBack(wish.asked, wish.number ?? this.#options.caller, wish.note, wish.wantedAt)
    if (this.#machine?.busy === true) this.handle({ type: 'callback', accepted: refusal === null })
    else if (refusal === null) this.#note({ strategy: 'callback', outcome: 'answered' })
    if (!this.active) this.#options.settled()
    return refusal
  }

  handle(input: EscalationInput): void {
    if (this.#machine === null) return
    this.#machine.handle(input, this.#context.clock())
    this.#drain(this.#machine)
  }

  /** The document for a webhook that asks how the call continues; empty when there is nothing to do. */
  ask(asker: ContinuationAsker, digits: string | null): readonly VoiceAction[] {
    if (this.#machine === null) return []
    const actions = this.#machine.ask(asker, this.#context.clock(), digits)
    this.#drain(this.#machine)
    return actions
  }

  /** The document for the human's leg: words about the caller that only the human hears, then the conference room. */
  humanDocument(): readonly VoiceAction[] {
    const whisper = this.#options.agent().escalation?.whisper ?? null
    const packet = this.#packet
    if (packet === null) return []
    const told = [packet.reason, packet.summary].map(sentence).filter((text) => text !== '')
    const words = (text: string): string => [text, ...told].join(' ')
    return [
      ...(whisper === null ? [] : [this.#spoken(eachText(whisper, words))]),
      {
        verb: 'conference',
        name: roomOf(this.#options.call.callSid),
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
    const { log, call, effects } = this.#options
    const { carrier } = this.#context
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
    const { call, caller, calledBack: mayBeCalled } = this.#options
    const { carrier, humanCalls, clock, wallClock, afterStream } = this.#context
    const { strategies, hours, callerId = null, timeoutS, failed, offer, offerAccepted } = settings
    const calledBack = strategies.includes('callback') && mayBeCalled()
    const spoken = { ask: this.#spoken(offer), confirmed: this.#spoken(offerAccepted), waitS: OFFER_WAIT_S }
    const isOffered = (): boolean => calledBack && !this.#offerRefused
    if (calledBack) void this.#askAhead()
    return {
      // Who is to be called back at a number that is not known is asked for one by the agent, and not by key.
      strategies: calledBack ? strategies : strategies.filter((strategy) => strategy !== 'callback'),
      hours,
      callerId,
      humans: humansOf(settings),
      caller,
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
    return this.#packet?.language ?? this.#options.agent().languages[0] ?? ''
  }

  #spoken(phrase: LocalizedText): SayAction {
    return carrierSay(phrase, this.#options.agent(), this.#language)
  }

  #drain(machine: Escalation): void {
    for (let output = machine.pollOutput(); output !== null; output = machine.pollOutput()) this.#carryOut(output)
    this.#options.changed()
    if (!machine.busy) this.#options.settled()
  }

  #carryOut(output: EscalationOutput): void {
    const { log, mark, call, toSession } = this.#options
    switch (output.type) {
      case 'step':
        mark('escalation-step', output.step.type)
        return toSession(output.step)
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
        return void this.#callBack(output.asked, this.#options.caller, '').then(() => {
          if (!this.active) this.#options.settled()
        })
      case 'settled': {
        const { strategy, outcome, detail } = output
        this.#note({ strategy, outcome })
        this.#context.metrics.escalations({ strategy: strategy ?? 'none', outcome }).inc(1, call.callSid)
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
    const order = this.#order('key', this.#options.caller, '')
    this.#offerRefused = 'why' in order || (await this.#options.callBack(order, true)) !== null
  }

  /** Entered into the call's history once it is kept. @returns why it is not */
  async #callBack(asked: CallbackAsk, number: string, note: string, wanted?: string): Promise<CallBackRefusal | null> {
    const { mark, log, callBack } = this.#options
    const order = this.#order(asked, number, note, wanted)
    this.#asking++
    const refusal = 'why' in order ? order : await callBack(order, false)
    this.#asking--
    if (refusal !== null) {
      mark('callback-refused', refusal.why)
      log.info({ asked, why: refusal.why }, 'a call back is refused')
      this.#context.metrics.callBacksRefused({ reason: refusal.why }).inc(1, this.#options.call.callSid)
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
    const nowMs = this.#context.wallClock()
    const order = { asked, number, note, at: new Date(nowMs).toISOString() }
    if (wanted === undefined) return order
    const read = readWantedAt(wanted, wishZone(number, this.#options.agent()), nowMs)
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
    const { agent, effects, joinsCallBack, keepsWords } = this.#options
    if (handoff === null || joinsCallBack) return
    const url = agent().escalation?.webhook ?? null
    const news: HandoffNews = { kind, id: this.#key(`${kind}:${ordinal}`), url, handoff, keepsWords: keepsWords() }
    effects.act('handoff', kind, false, () => this.#context.onHandoff?.(news))
  }

  /** A key that another node gives to the same step of the same call: `<root SID>[:<call SID>]:<step>`. */
  #key(step: string): string {
    const { rootSid, call } = this.#options
    return rootSid === call.callSid ? `${rootSid}:${step}` : `${rootSid}:${call.callSid}:${step}`
  }

  #command(command: EscalationCommand): void {
    const { carrier } = this.#context
    const answer = (ok: boolean, detail: string): void =>
      this.handle({ type: 'rest-result', requestId: command.requestId, ok, detail })
    if (carrier === null) return answer(false, 'there is no API key')
    const send = (): void =>
      void this.#request(command, carrier).then(
        () => answer(true, ''),
        (thrown: unknown) => answer(false, messageOf(thrown)),
      )
    // A hang-up comes after the stream: nothing else shows that the call is still here.
    this.#options.effects.act('rest', command.type, command.type === 'hangup', send, () =>
      answer(false, 'another node has this call'),
    )
  }

  #request(command: EscalationCommand, carrier: CarrierControl): Promise<void> {
    const { call, ours } = this.#options
    const key = this.#key(`${command.type}:${command.requestId}`)
    switch (command.type) {
      case 'supervise':
        return carrier.supervise(call.callSid, command.number, key)
      case 'create-conference-call':
        return carrier.callHuman(ours, command.number, call.humanUrl ?? '', key)
      case 'hangup':
        this.#hungUp = true
        return carrier.hangup(call.callSid, key)
      default:
        return assertNever(command)
    }
  }
}

interface EscalationDriverOptions {
  /** Its URLs are read only when the escalation begins, because the edge sets them with the first document. */
  readonly call: Pick<LiveCall, 'callSid' | 'afterStreamUrl' | 'humanUrl'>
  /** The first call of a caller who was rung back; otherwise this call. */
  readonly rootSid: string
  readonly effects: CallEffects
  /** The one that has the call now. */
  readonly agent: () => AgentDefinition
  /** Number of the person on the line, empty when withheld, and our own number, from which a human is called. E.164. */
  readonly caller: string
  readonly ours: string
  /**
   * A human who was rung before a promised call back is put through to its caller: receivers know of that call back, and
   * hear of no escalation.
   */
  readonly joinsCallBack: boolean
  /** False once the caller does not want words of the call to be kept: packets have no transcript, and stay without the rest. */
  readonly keepsWords: () => boolean
  readonly log: Log
  readonly toSession: (step: EscalationStep) => void
  /** Enters an event into the call's timeline. */
  readonly mark: (name: string, detail?: string) => void
  /** Called when the escalation machine has nothing more to do. */
  readonly settled: () => void
  /** Keeps a call back, or only asks whether it would be. Within seconds. Does not reject. @returns why not */
  readonly callBack: (order: CallBackOrder, onlyAsks: boolean) => Promise<CallBackRefusal | null>
  /** The person on the line may be called back at their number. */
  readonly calledBack: () => boolean
  /** Called after each step of the machine: `kept` may be another. */
  readonly changed: () => void
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

/**
 * Text for the carrier's own voice in an agent's place: figures in words, which it reads badly.
 * @param wanted  the caller's language. The carrier's voice gets the language of the text, except of the first
 *   one where the agent's file says `say.language`
 */
export function carrierSay(
  phrase: LocalizedText,
  { say, languages: [first = ''], pronunciations }: Pick<AgentDefinition, 'say' | 'languages' | 'pronunciations'>,
  wanted = first,
): SayAction {
  const language = languageOfText(phrase, wanted, first)
  const voiced = language === first ? say.language : language
  return {
    verb: 'say',
    text: spokenForm(pronounced(textIn(phrase, language), pronunciations, language), voiced ?? language),
    ...(say.voice === undefined ? {} : { voice: say.voice }),
    ...(voiced === undefined ? {} : { language: voiced }),
  }
}

/**
 * The carrier's side in front of an Asterisk: the gateway sees the carrier, Asterisk sees a peer of its media sockets.
 * Each telephone, calling or rung, has one media socket. The exchange, not Asterisk, connects people. So a call is one
 * object from its first webhook to its end. docs/ASTERISK.md.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DialledPeople, DialRequest, SimulatorEvent } from '../carrier/call-options.js'
import type { CallerEnd } from '../carrier/caller-end.js'
import { LegBridge, sharedTicker } from '../carrier/caller-leg.js'
import { CallerVoices } from '../carrier/caller-voices.js'
import { type LiveSimulatedCall, startCall } from '../carrier/carrier-call.js'
import type { RungOutcome } from '../carrier/choices.js'
import { type OwnedNumber, Workspace } from '../carrier/workspace.js'
import { RestServer, type OutboundRequest } from '../carrier/rest-server.js'
import type { Log } from '../telemetry/log.js'
import { type AriOptions, Asterisk, type PhoneSees, RINGING_MAX, type RungPhone } from './asterisk.js'
import { AsteriskPhone } from './asterisk-phone.js'
import { type DialRule, endpointOf, isTrunk } from './dial-rules.js'
import { HandoffNotes } from './handoff-notes.js'
import { CAUSE, type MediaLeg } from './media-leg.js'
import { MediaServer } from './media-server.js'
import { guardAgainstStalls } from './stall-guard.js'

/** Maximum number of ended calls in the REST API. */
const CALLS_KEPT_MAX = 500
/** Time in ms after which a webhook is posted once more if the gateway's port was closed. */
const CONNECT_RETRY_MS = 500
const RING_MS = 45_000
const STOP_MS_MAX = 5000
/** Maximum number of numbers of one Dial that ring at once. */
const DIAL_NUMBERS_MAX = 10
/** Pattern of numbers that may be shown on a phone. */
const SHOWN_NUMBER = /^\+?[0-9A-Za-z]{1,40}$/
/** Beginning of names of webhook fields that contain headers of the caller's INVITE. */
const HEADER_FIELD = 'SipHeader_'
/** Maximum number of documents of one call. Each DTMF digit, Dial and Record of a long call adds a document. */
const DOCUMENTS_MAX = 1000

export interface ExchangeOptions {
  /** Address of the media sockets. */
  readonly host: string
  readonly port: number
  readonly mediaSecret: string
  /** Numbers that lead to the gateway. */
  readonly numbers: readonly OwnedNumber[]
  readonly webhookSecret: string | null
  /** Maximum number of simultaneous calls. A further call goes to the dialplan's fallback. */
  readonly callsMax: number
  /** The carrier's REST API; null if it is off. */
  readonly rest: { readonly port: number; readonly key: string } | null
  /** Asterisk's REST interface; null: the exchange rings no phones. */
  readonly ari: AriOptions | null
  /** Names of the INVITE headers that the webhooks contain. Default: none. */
  readonly headers?: readonly string[]
  /**
   * HANDOFF_SECRET of the gateway, which sends its handoff packets to `POST /handoff`. Null: packets are refused.
   * Default: null.
   */
  readonly handoffSecret?: string | null
  /** Rules for numbers that may be rung. A number without a rule is never rung. */
  readonly dialRules: readonly DialRule[]
  /** True: the call's SID and the human's note are also sent to trunks, not only to phones. Default: false. */
  readonly trunkHeaders?: boolean
  readonly log: Log
}

export class Exchange {
  readonly #options: ExchangeOptions
  readonly #workspace: Workspace
  readonly #media: MediaServer
  readonly #asterisk: Asterisk | null
  readonly #notes: HandoffNotes | null
  readonly #live = new Map<string, LiveSimulatedCall>()
  readonly #counters = { calls: 0, callsRefused: 0, dialsRefused: 0 }
  #rest: RestServer | null = null
  #voices: Promise<CallerVoices> | null = null
  #stopping = false

  private constructor(options: ExchangeOptions) {
    this.#options = options
    this.#workspace = new Workspace({ owned: options.numbers, callsKeptMax: CALLS_KEPT_MAX })
    const { handoffSecret = null } = options
    this.#notes = handoffSecret === null ? null : new HandoffNotes(handoffSecret, (callSid) => this.#live.has(callSid))
    this.#media = new MediaServer({
      ...{ host: options.host, port: options.port, secret: options.mediaSecret },
      // Each caller may be connected to one more person, and each ringing phone has a leg too.
      legsMax: 2 * options.callsMax + RINGING_MAX,
      headers: options.headers ?? [],
      onCall: (leg) => this.#onCall(leg),
      onHandoff: this.#notes === null ? null : (body, signature) => this.#notes?.take(body, signature) === true,
      status: () => this.status(),
    })
    this.#asterisk = options.ari === null ? null : new Asterisk(options.ari, this.#media, options.log)
  }

  /** @throws the error of the system if a port is taken */
  static async start(options: ExchangeOptions): Promise<Exchange> {
    const exchange = new Exchange(options)
    await exchange.#media.listen()
    const { rest } = options
    try {
      if (rest !== null)
        exchange.#rest = await RestServer.start({
          ...{
            port: rest.port,
            host: '127.0.0.1',
            workspace: exchange.#workspace,
            keys: { [rest.key]: 'all' as const },
          },
          invents: false,
          place: exchange.#asterisk === null ? null : (request) => exchange.#place(request),
        })
    } catch (thrown) {
      await exchange.#media.close()
      throw thrown
    }
    exchange.#asterisk?.start()
    return exchange
  }

  /** Port of the media sockets. */
  get port(): number {
    return this.#media.port
  }

  /** Origin of the REST API; null if it is off. */
  get restOrigin(): string | null {
    return this.#rest?.origin ?? null
  }

  /** Counts since the start, and numbers of live objects. They never contain a caller's phone number. */
  status(): Readonly<Record<string, number>> {
    return {
      liveCalls: this.#live.size,
      legs: this.#media.legs,
      asteriskConnected: this.#asterisk?.isConnected === true ? 1 : 0,
      ticksLate: sharedTicker.ticksLate,
      ticksSkipped: sharedTicker.ticksSkipped,
      ...this.#counters,
      ...this.#media.counters,
      ...this.#asterisk?.counters,
    }
  }

  /**
   * Reports the end of each call to the gateway, and sends the callers to the dialplan's fallback. Takes at most 5 s.
   */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const call of this.#live.values()) call.drop('the exchange stops')
    const over = Promise.allSettled([...this.#live.values()].map((call) => call.done))
    await Promise.race([over, sleep(STOP_MS_MAX, undefined, { ref: false })])
    this.#asterisk?.stop()
    await this.#rest?.close()
    await this.#media.close()
    await (await this.#voices?.catch(() => null))?.close()
  }

  #onCall(leg: MediaLeg): void {
    const number = this.#workspace.numbers.find(({ e164 }) => e164 === leg.to)
    if (number?.voiceUrl == null) {
      this.#counters.callsRefused++
      this.#options.log.warn({}, 'a call to a number that is not set up was refused')
      leg.after = `hangup ${CAUSE.unallocated}`
      return leg.close()
    }
    if (this.#isFull()) return leg.close()
    const { voiceUrl, eventsUrl } = number
    const fields = Object.fromEntries(leg.headers.map(([name, value]) => [HEADER_FIELD + name, value]))
    const call = { voiceUrl, eventsUrl, from: leg.from, to: leg.to, fields }
    this.#carry(call, new AsteriskPhone(this.#speech, leg), leg)
  }

  /**
   * True if the limit of calls is reached; the call then counts as refused. A caller is sent to the fallback of the
   * dialplan.
   */
  #isFull(): boolean {
    if (this.#live.size < this.#options.callsMax && !this.#stopping) return false
    this.#counters.callsRefused++
    this.#options.log.warn(
      { live: this.#live.size },
      'a call was refused: the maximum number of calls is reached, or the exchange stops',
    )
    return true
  }

  #place({ voiceUrl, eventsUrl, from, to, clientRequestId }: OutboundRequest): string | null {
    if (this.#isFull()) return null
    const phone = (): RungPhone => this.#ring(to, RING_MS, { callerId: from, callSid: '', note: '' })
    const outbound = { outcome: 'declined' as const, ringMs: 0, clientRequestId }
    return this.#carry({ voiceUrl, eventsUrl, from, to, outbound }, new AsteriskPhone(this.#speech, phone), null)
  }

  /** @param leg  leg of the caller; null for a placed call */
  #carry(call: Omit<Parameters<typeof startCall>[0], 'caller'>, caller: AsteriskPhone, leg: MediaLeg | null): string {
    const live = startCall({
      ...call,
      caller,
      workspace: this.#workspace,
      secret: this.#options.webhookSecret,
      connectRetryMs: CONNECT_RETRY_MS,
      retriesBroken: true,
      holdsBack: false,
      dialEdge: 'outcome',
      saysCause: true,
      documentsMax: DOCUMENTS_MAX,
      sayVoice: 'rms',
      dial: (request) => this.#dial(request),
      onEvent: (event) => this.#onEvent(event, leg),
    })
    this.#counters.calls++
    this.#live.set(live.callSid, live)
    live.done
      .then(({ complaints }) => {
        if (complaints.length > 0)
          this.#options.log.warn(
            { call_sid: live.callSid, complaints },
            'the gateway sent something that a carrier refuses',
          )
      })
      .catch((thrown: unknown) => {
        this.#options.log.error({ err: thrown, call_sid: live.callSid }, 'a call failed')
        live.drop('the call failed')
        caller.close(sharedTicker.nowMs())
      })
      .finally(() => {
        this.#live.delete(live.callSid)
        this.#notes?.forget(live.callSid)
      })
    return live.callSid
  }

  /** Sets the leg's next dialplan step before the leg is closed. */
  #onEvent(event: SimulatorEvent, leg: MediaLeg | null): void {
    const { callSid } = event
    if (event.type === 'ended') {
      // If the gateway or the media socket is lost, the caller goes to the fallback; every other end hangs up. If the
      // caller hung up and thereby ended the socket, the channel no longer exists and its dialplan sends no request.
      if (leg?.after === 'fallback' && event.by !== 'carrier' && !leg.lost) leg.after = `hangup ${CAUSE.normal}`
      this.#options.log.info({ call_sid: callSid, by: event.by, why: event.why }, 'a call ended')
    } else if (event.type === 'webhook')
      this.#options.log.debug(
        { call_sid: callSid, state: event.state, status: event.status, took_ms: event.ms },
        'webhook',
      )
    else if (event.type === 'dialled') this.#options.log.info({ call_sid: callSid, outcome: event.outcome }, 'dialled')
  }

  #ring(number: string, timeoutMs: number, sees: PhoneSees, onSound?: (leg: MediaLeg) => void): RungPhone {
    const { dialRules, trunkHeaders = false } = this.#options
    const endpoint = endpointOf(number, dialRules)
    if (endpoint !== null && this.#asterisk !== null) {
      const callerId = SHOWN_NUMBER.test(sees.callerId) ? sees.callerId : ''
      const withheld = isTrunk(endpoint) && !trunkHeaders ? { callSid: '', note: '' } : {}
      return this.#asterisk.ring(endpoint, timeoutMs, { ...sees, ...withheld, callerId }, onSound)
    }
    this.#counters.dialsRefused++
    this.#options.log.warn({}, 'a number that no dial rule allows was not rung')
    return { answered: Promise.resolve({ outcome: 'failed', leg: null }), cancel: () => undefined }
  }

  /**
   * Rings people and connects the first person who answers with `request.leg`. This leg may hear a phone's sound before
   * its answer.
   */
  #dial(request: DialRequest): DialledPeople {
    const { callSid, callerId, timeoutMs, onEarlySound } = request
    let phones: readonly RungPhone[] = []
    let [isAnswered, isOver] = [false, false]
    /** The phone that `request.leg` hears. */
    let joined: { readonly leg: MediaLeg; readonly end: CallerEnd } | null = null
    let resolveOver: () => void = () => undefined
    const over = new Promise<void>((resolve) => {
      resolveOver = resolve
    })
    const part = (): void => {
      if (joined === null) return
      const { end } = joined
      joined = null
      request.leg.join(null)
      void end.end(sharedTicker.nowMs())
    }
    const hangUp = (): void => {
      if (isOver) return
      isOver = true
      if (isAnswered && joined !== null) joined.leg.after = `hangup ${CAUSE.normal}`
      part()
      for (const phone of phones) phone.cancel()
      resolveOver()
    }
    const onHungUp = (leg: MediaLeg): void => {
      if (joined?.leg !== leg) return
      if (isAnswered) return hangUp()
      // This phone has ended without an answer after it sent sound, for example because it is busy. Other phones may
      // still ring.
      part()
      onEarlySound?.(false)
    }
    const join = (leg: MediaLeg): void => {
      const end = new AsteriskPhone(this.#speech, leg).open(sharedTicker, { onHungUp: () => onHungUp(leg) })
      const bridge = new LegBridge()
      end.leg.join(bridge)
      request.leg.join(bridge)
      joined = { leg, end }
    }
    const onSound = (leg: MediaLeg): void => {
      if (onEarlySound === undefined || joined !== null || isOver) return
      join(leg)
      onEarlySound(true)
    }
    const talk = (leg: MediaLeg): void => {
      // The caller hung up at the moment of the answer.
      if (isOver) return leg.close()
      isAnswered = true
      if (joined?.leg !== leg) part()
      for (const phone of phones) phone.cancel()
      if (joined === null) join(leg)
    }
    const outcome = this.#noteOf(callSid).then((note) => {
      if (isOver) return 'no-answer' as const
      const sees = { callerId, callSid, note }
      phones = request.numbers.slice(0, DIAL_NUMBERS_MAX).map((number) => this.#ring(number, timeoutMs, sees, onSound))
      return firstAnswer(phones, talk)
    })
    return { outcome, over, hangUp }
  }

  async #noteOf(callSid: string): Promise<string> {
    return (await this.#notes?.of(callSid)) ?? ''
  }

  readonly #speech: Pick<CallerVoices, 'speak'> = {
    speak: async (...words) => {
      this.#voices ??= CallerVoices.load()
      this.#voices.catch(() => {
        this.#voices = null // cleared, so that the next sentence loads the voices again
      })
      return (await this.#voices).speak(...words)
    },
  }
}

/**
 * @returns the outcome of several phones: the outcome of the first phone that was answered, otherwise the last outcome
 */
async function firstAnswer(phones: readonly RungPhone[], talk: (leg: MediaLeg) => void): Promise<RungOutcome> {
  let connected = false
  const outcomes = await new Promise<readonly RungOutcome[]>((resolve) => {
    const all = phones.map(async ({ answered }) => {
      const { outcome, leg } = await answered
      if (leg === null) return outcome
      // Two phones may answer at the same moment.
      if (connected) leg.close()
      else {
        connected = true
        talk(leg)
        resolve(['answered'])
      }
      return outcome
    })
    void Promise.all(all).then(resolve)
  })
  return outcomes.at(-1) ?? 'failed'
}

/** Runs an exchange until `signal` aborts. */
export async function runExchange(
  options: ExchangeOptions,
  signal: AbortSignal,
  onStarted: (exchange: Exchange) => void,
): Promise<void> {
  const exchange = await Exchange.start(options)
  const unguard = guardAgainstStalls()
  onStarted(exchange)
  if (!signal.aborted) await once(signal, 'abort')
  await exchange.stop()
  unguard()
  options.log.info(exchange.status(), 'stopped')
}

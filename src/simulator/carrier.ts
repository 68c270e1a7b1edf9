/**
 * The carrier's side of one call: posts the webhooks, runs the documents verb by verb, holds the media socket, and puts a
 * simulated person at the other end. A stranger to the gateway: it shares no protocol code with it.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Caller } from './caller.js'
import { measureCaller } from './caller-latency.js'
import type { EndedBy, HumanOutcome, OutboundLeg, PlaceCallOptions, SimulatedCallResult, WebhookRecord } from './call-options.js'
import type { CallControl, CallEvent, StreamOutcome } from './call-control.js'
import { DEFAULT_HUMAN, HUMAN_VOICE, runDocument } from './document-runner.js'
import type { ExchangeLeg, LegEnd } from './exchange.js'
import { sharedTicker } from './ticker.js'
import { DocumentRefused, parseVoiceDocument, type Verb } from './voice-document.js'
import { callWav } from './wav-file.js'
import { postEnvelope, postWebhook, type WebhookAnswer, type WebhookOptions } from './webhooks.js'

/** A handler has this long, or the caller gets the carrier's downtime message. */
const WEBHOOK_TIMEOUT_MS = 10_000
const COMPLAINTS_MAX = 100
const WEBHOOKS_KEPT_MAX = 200

/** A call in progress, for whoever plays the carrier's REST API beside it. */
export interface LiveSimulatedCall {
  readonly callSid: string
  readonly done: Promise<SimulatedCallResult>
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
}

/** How the carrier reports a called leg that nobody took. */
const UNTAKEN: Readonly<Record<Exclude<HumanOutcome, 'answered'>, { readonly state: string; readonly status: LegEnd['status']; readonly cause: string }>> = {
  'busy': { state: 'Busy', status: 'busy', cause: 'user_busy' },
  'no-answer': { state: 'NoAnswer', status: 'no_answer', cause: 'no_answer' },
  'declined': { state: 'Failed', status: 'failed', cause: 'call_rejected' },
}

/** Places a call and runs it to its end. Never rejects for what the gateway does wrong: that is in the result. */
export function placeCall(options: PlaceCallOptions): Promise<SimulatedCallResult> {
  return startCall(options).done
}

/** As `placeCall`, with a handle on the running call. */
export function startCall(options: PlaceCallOptions): LiveSimulatedCall {
  const call = new SimulatedCall(options)
  return { callSid: call.callSid, done: call.run(), hangUp: () => { call.hangUp() } }
}

class SimulatedCall implements CallControl, ExchangeLeg {
  readonly callSid: string
  readonly options: PlaceCallOptions
  readonly ending: Promise<void>
  caller!: Caller
  streamOutcome: StreamOutcome | null = null
  readonly dials: SimulatedCallResult['dials'][number][] = []
  readonly #webhooks: WebhookRecord[] = []
  readonly #verbs: string[] = []
  readonly #complaints: string[] = []
  readonly #background = new Set<Promise<unknown>>()
  readonly #keys: string[] = []
  #resolveEnding: () => void = () => undefined
  #ended: { readonly by: EndedBy; readonly why: string } | null = null
  #startedMs = 0
  #answeredMs: number | null = null
  #supervisor: { readonly gone: Promise<void>; leave(): void } | null = null
  readonly #wallOffsetMs = Date.now() - performance.now()

  constructor(options: PlaceCallOptions) {
    this.options = options
    this.callSid = options.callSid ?? `HD_${randomBytes(6).toString('hex')}`
    this.ending = new Promise((resolve) => { this.#resolveEnding = resolve })
  }

  get ended(): boolean { return this.#ended !== null }
  get startedMs(): number { return this.#startedMs }
  get answered(): boolean { return this.#answeredMs !== null }
  get from(): string { return this.options.from }
  get to(): string { return this.options.to }
  get direction(): 'inbound' | 'outbound' { return this.options.outbound === undefined ? 'inbound' : 'outbound' }
  get clientRequestId(): string | null { return this.options.outbound?.clientRequestId ?? null }

  hangUp(): void {
    this.end('api', 'hung up through the REST API')
  }

  async run(): Promise<SimulatedCallResult> {
    const { outbound, exchange } = this.options
    if (outbound === undefined) await this.#takeUp('caller')
    this.#startedMs = performance.now()
    exchange?.began(this, this.#wallMs(this.#startedMs))
    const taken = outbound === undefined || await this.#ring(outbound)
    const first = taken ? await this.postVoice({ callSessionState: outbound === undefined ? 'Ringing' : 'Answered', isActive: '1' }) : []
    if (!taken) this.end('callee', outbound?.outcome ?? '')
    else if (first === null) this.end('carrier', 'the voice webhook gave no document: the carrier plays its downtime message')
    else await runDocument(this, first)
    this.end('document', 'the document has nothing left to do')
    const endedMs = performance.now()
    await this.caller.end(endedMs)
    if (taken) await this.#completed(endedMs)
    await Promise.all(this.#background)
    exchange?.over(this, this.#legEnd(endedMs))
    return this.#result(endedMs)
  }

  async #takeUp(who: 'caller' | 'callee'): Promise<void> {
    this.caller = await Caller.ready(this.options.caller, sharedTicker, {
      onSaid: (text) => { this.emit({ type: 'said', text }) },
      onHeard: (text) => { this.emit({ type: 'heard', text }) },
      onKeys: (keys) => { this.#keys.push(...keys) },
      onHungUp: (why) => { this.end(who, why) },
    })
  }

  /** The called phone rings. @returns true when somebody takes it. */
  async #ring(outbound: OutboundLeg): Promise<boolean> {
    this.postNotice('voice', this.options.voiceUrl, { callSessionState: 'Ringing', isActive: '1' })
    await Promise.race([sleep(outbound.ringMs, undefined, { ref: false }), this.ending])
    await Promise.all(this.#background)
    await this.#takeUp('callee')
    if (outbound.outcome === 'answered' && !this.ended) {
      this.answer()
      return true
    }
    const state = this.ended || outbound.outcome === 'answered' ? 'Completed' : UNTAKEN[outbound.outcome].state
    const last = { callSessionState: state, isActive: '0', durationInSeconds: '0' }
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    return false
  }

  #legEnd(endedMs: number): LegEnd {
    const { outbound } = this.options
    const untaken = outbound === undefined || outbound.outcome === 'answered' || this.answered ? null : UNTAKEN[outbound.outcome]
    const audio = this.caller.leg.recording()
    return {
      status: untaken !== null ? untaken.status : this.answered ? 'completed' : 'failed',
      hangupCause: untaken !== null ? untaken.cause : 'normal_clearing',
      answeredWallMs: this.#answeredMs === null ? null : this.#wallMs(this.#answeredMs),
      endedWallMs: this.#wallMs(endedMs),
      recording: audio === null ? null : callWav(audio),
    }
  }

  #wallMs(monotonicMs: number): number {
    return Math.round(monotonicMs + this.#wallOffsetMs)
  }

  // --- what the rest of the carrier does with it --------------------------------------------------------------

  supervise(number: string): boolean {
    if (this.#supervisor !== null || this.ended) return false
    let leave: () => void = () => undefined
    const gone = new Promise<void>((resolve) => { leave = resolve })
    this.#supervisor = { gone, leave }
    this.keep(this.#supervised(number, gone).finally(() => { this.#supervisor = null }))
    return true
  }

  stopSupervision(): void {
    this.#supervisor?.leave()
  }

  async #supervised(number: string, gone: Promise<void>): Promise<void> {
    const { outcome, ringMs, talkMs, greeting } = this.options.human ?? DEFAULT_HUMAN
    const numbers = [number]
    const away = Promise.race([gone, this.ending])
    this.postEvent('call.supervision.started', { supervisor_status: 'ringing' })
    await Promise.race([sleep(ringMs, undefined, { ref: false }), away])
    if (this.ended) return
    this.dials.push({ numbers, outcome, via: 'supervision' })
    this.emit({ type: 'dialled', numbers, outcome })
    if (outcome !== 'answered') return this.postEvent(`call.supervision.${outcome.replace('-', '_')}`, {})
    this.postEvent('call.supervision.joined', { mode: 'barge' })
    const { leg } = this.caller
    if (greeting !== null) {
      const pcm = await this.options.caller.speech.speak(greeting, HUMAN_VOICE, leg.sampleRateHz)
      await Promise.race([leg.play(pcm), away])
    }
    await Promise.race([sleep(talkMs, undefined, { ref: false }), away])
    if (!this.ended) this.postEvent('call.supervision.ended', {})
  }

  async stayInRoom(room: string, endOnExit: boolean): Promise<void> {
    const entry = this.options.exchange?.enter(room, { leg: this, endOnExit })
    if (entry === undefined) return this.ending
    await Promise.race([entry.closed, this.ending])
    entry.left()
  }

  joinedBy(other: ExchangeLeg): void {
    if (other.direction !== 'outbound') return
    this.dials.push({ numbers: [other.to], outcome: 'answered', via: 'conference' })
    this.emit({ type: 'dialled', numbers: [other.to], outcome: 'answered' })
  }

  postEvent(kind: string, data: Readonly<Record<string, unknown>>): void {
    const { eventsUrl } = this.options
    if (eventsUrl === null) return
    const envelope = {
      kind, event_id: `evt_${randomBytes(8).toString('hex')}`, workspace_id: 'ws_simulated', occurred_at: new Date().toISOString(),
      data: { call_id: this.callSid, direction: this.direction, ...data },
    }
    this.keep(postEnvelope(eventsUrl, envelope, this.#webhookOptions()).then((answer) => {
      this.#note('events', kind, answer, [])
      if (answer.status === null || answer.status >= 300) this.complain(`the events webhook (${kind}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
    }))
  }

  emit(event: CallEvent): void {
    const stamped = { ...event, callSid: this.callSid, atMs: Math.round(performance.now() - this.#startedMs) }
    this.options.onEvent?.(stamped)
  }

  end(by: EndedBy, why: string): void {
    if (this.#ended !== null) return
    this.#ended = { by, why }
    this.#resolveEnding()
    this.emit({ type: 'ended', by, why })
  }

  /** The leg is up from the first verb that makes a sound. */
  answer(): void {
    this.#answeredMs ??= performance.now()
  }

  complain(complaint: string): void {
    if (this.#complaints.length < COMPLAINTS_MAX) this.#complaints.push(complaint)
  }

  noteVerb(name: string, text?: string): void {
    this.#verbs.push(name)
    this.emit({ type: 'verb', name, ...(text === undefined ? {} : { text }) })
  }

  takeKey(): string | null {
    return this.#keys.shift() ?? null
  }

  /** Fields that every webhook of this call carries, as the PBX writes them. */
  fields(more: Readonly<Record<string, string>>): Record<string, string> {
    return {
      sessionId: this.callSid, callerNumber: this.options.from, destinationNumber: this.options.to, direction: this.direction,
      ...(this.clientRequestId === null ? {} : { clientRequestId: this.clientRequestId }), ...more,
    }
  }

  async postVoice(more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null> {
    return this.postForDocument('voice', this.options.voiceUrl, more)
  }

  async postForDocument(kind: WebhookRecord['url'], url: string, more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null> {
    const state = more['callSessionState'] ?? ''
    const answer = await postWebhook(url, this.fields(more), this.#webhookOptions())
    const verbs = answer.status === 200 ? this.#parse(answer, state) : null
    this.#note(kind, state, answer, verbs ?? [])
    if (answer.status !== 200) this.complain(`the ${kind} webhook (${state}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
    return verbs
  }

  /** Posts an edge whose answer cannot do anything; runs beside the call. */
  postNotice(kind: WebhookRecord['url'], url: string | null, more: Readonly<Record<string, string>>): void {
    if (url === null) return
    const state = more['callSessionState'] ?? more['streamEvent'] ?? ''
    const posted = postWebhook(url, this.fields(more), this.#webhookOptions()).then((answer) => {
      const document = kind === 'voice' && answer.status === 200 ? this.#parse(answer, state) : null
      this.#note(kind, state, answer, document ?? [])
      if (answer.status === null || answer.status >= 300) {
        this.complain(`the ${kind} webhook (${state}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
      }
      // Nobody runs the answer to an event: verbs in it are lost, a Dial in it leaves the caller alone.
      if (kind !== 'voice' && /<(Say|Play|Dial|Redirect|Conference|Hangup)\b/.test(answer.body)) {
        this.complain(`the ${kind} webhook (${state}) was answered with verbs, which nobody runs`)
      }
      if (document?.some((verb) => verb.name === 'Stream')) this.complain(`${state} was answered with another Stream: the carrier forks the call again and fails`)
    })
    this.keep(posted)
  }

  keep(background: Promise<unknown>): void {
    this.#background.add(background)
    void background.finally(() => { this.#background.delete(background) })
  }

  #parse(answer: WebhookAnswer, state: string): readonly Verb[] | null {
    if (!/^(application|text)\/xml\b/.test(answer.contentType)) {
      this.complain(`the answer to ${state} has the content type "${answer.contentType}" and not application/xml`)
      return null
    }
    try {
      return parseVoiceDocument(answer.body)
    } catch (thrown) {
      if (!(thrown instanceof DocumentRefused)) throw thrown
      this.complain(`the document for ${state} was refused: ${thrown.message}`)
      return null
    }
  }

  #note(url: WebhookRecord['url'], state: string, answer: WebhookAnswer, verbs: readonly Verb[]): void {
    const record: WebhookRecord = { url, state, status: answer.status, ms: answer.ms, verbs: verbs.map((verb) => verb.name), fault: answer.fault }
    if (this.#webhooks.length < WEBHOOKS_KEPT_MAX) this.#webhooks.push(record)
    this.emit({ type: 'webhook', state, status: answer.status, ms: Math.round(answer.ms), verbs: record.verbs })
  }

  #webhookOptions(): WebhookOptions {
    return {
      encoding: this.options.encoding ?? 'form', secret: this.options.secret ?? null,
      signature: this.options.signature ?? 'timestamped', timeoutMs: this.options.webhookTimeoutMs ?? WEBHOOK_TIMEOUT_MS,
    }
  }

  /** The last edge of every call goes to both URLs, and everything still on its way gets its answer. */
  async #completed(endedMs: number): Promise<void> {
    const seconds = this.#answeredMs === null ? 0 : Math.round((endedMs - this.#answeredMs) / 1000)
    const last = { callSessionState: 'Completed', isActive: '0', durationInSeconds: String(seconds) }
    // Whoever is still answering a StreamStopped must not hear of the end first.
    await Promise.all(this.#background)
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    await Promise.all(this.#background)
  }

  #result(endedMs: number): SimulatedCallResult {
    const originMs = this.streamOutcome?.openedAtMs ?? this.#answeredMs ?? this.#startedMs
    const relative = <T extends { startMs: number; endMs: number }>(span: T): T =>
      ({ ...span, startMs: Math.round(span.startMs - this.#startedMs), endMs: Math.round(span.endMs - this.#startedMs) })
    return {
      callSid: this.callSid, from: this.options.from, to: this.options.to,
      answered: this.#answeredMs !== null,
      ended: this.#ended ?? { by: 'document', why: '' },
      durationMs: Math.round(endedMs - this.#startedMs),
      webhooks: this.#webhooks, verbs: this.#verbs,
      stream: this.streamOutcome?.record(this.#startedMs) ?? null,
      dials: this.dials,
      said: this.caller.leg.mouth.said.map(relative),
      heard: { ...this.caller.facts(), text: this.caller.heard.map((piece) => piece.text).filter((text) => text !== '') },
      heardPieces: this.caller.heard.map(relative),
      callerHeard: measureCaller(this.caller.leg.mouth.said, this.caller.leg.spans.voiced, originMs),
      complaints: this.#complaints,
      audio: this.caller.leg.recording(),
    }
  }
}

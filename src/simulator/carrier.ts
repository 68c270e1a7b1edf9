/**
 * The carrier's side of one call: posts the webhooks, runs the documents verb by verb, holds the media socket, and puts a
 * simulated person at the other end. A stranger to the gateway: it shares no protocol code with it.
 */
import { randomBytes } from 'node:crypto'
import { Caller } from './caller.js'
import { measureCaller } from './caller-latency.js'
import type { EndedBy, PlaceCallOptions, SimulatedCallResult, WebhookRecord } from './call-options.js'
import type { CallControl, CallEvent, StreamOutcome } from './call-control.js'
import { runDocument } from './document-runner.js'
import { sharedTicker } from './ticker.js'
import { DocumentRefused, parseVoiceDocument, type Verb } from './voice-document.js'
import { postWebhook, type WebhookAnswer, type WebhookOptions } from './webhooks.js'

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

/** Places a call and runs it to its end. Never rejects for what the gateway does wrong: that is in the result. */
export function placeCall(options: PlaceCallOptions): Promise<SimulatedCallResult> {
  return startCall(options).done
}

/** As `placeCall`, with a handle on the running call. */
export function startCall(options: PlaceCallOptions): LiveSimulatedCall {
  const call = new SimulatedCall(options)
  return { callSid: call.callSid, done: call.run(), hangUp: () => { call.end('api', 'hung up through the REST API') } }
}

class SimulatedCall implements CallControl {
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

  constructor(options: PlaceCallOptions) {
    this.options = options
    this.callSid = options.callSid ?? `HD_${randomBytes(6).toString('hex')}`
    this.ending = new Promise((resolve) => { this.#resolveEnding = resolve })
  }

  get ended(): boolean { return this.#ended !== null }
  get startedMs(): number { return this.#startedMs }

  async run(): Promise<SimulatedCallResult> {
    this.caller = await Caller.ready(this.options.caller, sharedTicker, {
      onSaid: (text) => { this.emit({ type: 'said', text }) },
      onHeard: (text) => { this.emit({ type: 'heard', text }) },
      onKeys: (keys) => { this.#keys.push(...keys) },
      onHungUp: (why) => { this.end('caller', why) },
    })
    this.#startedMs = performance.now()
    const first = await this.postVoice({ callSessionState: 'Ringing', isActive: '1' })
    if (first === null) this.end('carrier', 'the voice webhook gave no document: the carrier plays its downtime message')
    else await runDocument(this, first)
    this.end('document', 'the document has nothing left to do')
    const endedMs = performance.now()
    await this.caller.end(endedMs)
    await this.#completed(endedMs)
    return this.#result(endedMs)
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

  noteVerb(name: string): void {
    this.#verbs.push(name)
    this.emit({ type: 'verb', name })
  }

  takeKey(): string | null {
    return this.#keys.shift() ?? null
  }

  /** Fields that every webhook of this call carries, as the PBX writes them. */
  fields(more: Readonly<Record<string, string>>): Record<string, string> {
    return {
      sessionId: this.callSid, callerNumber: this.options.from, destinationNumber: this.options.to, direction: 'inbound', ...more,
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

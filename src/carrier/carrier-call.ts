/**
 * The carrier's side of one call: posts the webhooks, runs the documents verb by verb and holds the media socket. The
 * caller is a simulated person, or a person at a browser. This file does not share protocol code with the gateway,
 * because an error in shared code would be on both sides and would not be found.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { bytesOf } from '../core/bytes-of.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { FRAME_MS } from '../core/units.js'
import { RateConverter } from '../media/resample/rate-converter.js'
import { joined } from '../media/pcm.js'
import { channelOf, decodeSamples, wavHead } from '../media/wav.js'
import { AudioFork, type ForkClosed, HandshakeRefused } from './audio-fork.js'
import type { CallerVoice, HumanOutcome, RungOutcome } from './choices.js'
import type {
  CallEnvironment,
  CallEvent,
  DialRequest,
  EndedBy,
  OutboundLeg,
  PlaceCallOptions,
  SimulatedCallResult,
  SignatureForm,
  SimulatedHuman,
  StreamRecord,
  WebhookAnswer,
  WebhookRecord,
} from './call-options.js'
import { type CallClock, callWav, measureCaller, sharedTicker } from './caller-leg.js'
import type { CallerEnd, CallerEvents } from './caller-end.js'
import { beep, ringingTone } from './line.js'
import { seededRandom } from './random.js'
import type { CarrierCall, LegEnd } from './workspace.js'
import { DocumentRefused, parseVoiceDocument, readStream, type StreamRequest, type Verb } from './voice-document.js'

/** Time in ms without an answer after which the carrier plays its downtime message. */
const WEBHOOK_TIMEOUT_MS = 10_000
const COMPLAINTS_MAX = 100
const WEBHOOKS_KEPT_MAX = 200

/** Fault of a connection that was refused. */
const REFUSED = /ECONNREFUSED/
/** Faults of a request without an answer: the connection was refused, or it broke. */
const NOT_ANSWERED = /ECONNREFUSED|ECONNRESET|EPIPE|other side closed/

/** Maximum length of an answer in characters; longer answers are cut. */
const ANSWER_CHARS_MAX = 256 * 1024

const REAL_ENVIRONMENT: CallEnvironment = {
  clock: sharedTicker,
  post: async (url, headers, body) => {
    const signal = AbortSignal.timeout(WEBHOOK_TIMEOUT_MS)
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'error', signal })
    return {
      status: response.status,
      contentType: response.headers.get('content-type') ?? '',
      body: (await response.text()).slice(0, ANSWER_CHARS_MAX),
    }
  },
}

/** A call in progress. */
export interface LiveSimulatedCall {
  readonly callSid: string
  readonly done: Promise<SimulatedCallResult>
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
  /** Ends the call on behalf of the carrier. */
  drop(why: string): void
}

class SimulatedCall implements CarrierCall {
  readonly callSid: string
  readonly options: PlaceCallOptions
  readonly environment: CallEnvironment
  readonly clock: CallClock
  readonly ending: Promise<void>
  caller!: CallerEnd
  readonly streams: CarriedStream[] = []
  readonly dials: SimulatedCallResult['dials'][number][] = []
  readonly #webhooks: WebhookRecord[] = []
  readonly #verbs: string[] = []
  readonly #complaints: string[] = []
  readonly #background = new Set<Promise<unknown>>()
  readonly #digits: string[] = []
  /** True if the last POST for a document was not answered, and no verb has run since then. */
  #isUnanswered = false
  #resolveEnding: () => void = () => undefined
  #ended: { readonly by: EndedBy; readonly why: string } | null = null
  #startedMs = 0
  #answeredMs: number | null = null
  /** Outcome of ringing the called phone; null for an inbound call. */
  #rung: RungOutcome | null = null
  /** Ends the supervision of this call; null without supervision. */
  #endSupervision: (() => void) | null = null
  readonly #wallOffsetMs: number

  constructor(options: PlaceCallOptions) {
    this.options = options
    this.environment = options.environment ?? REAL_ENVIRONMENT
    this.clock = this.environment.clock
    this.#wallOffsetMs = Date.now() - this.clock.nowMs()
    this.callSid = options.callSid ?? `HD_${randomBytes(6).toString('hex')}`
    this.ending = new Promise((resolve) => {
      this.#resolveEnding = resolve
    })
  }

  get ended(): boolean {
    return this.#ended !== null
  }
  get answered(): boolean {
    return this.#answeredMs !== null
  }
  get from(): string {
    return this.options.from
  }
  get to(): string {
    return this.options.to
  }
  /** The number of the person in the call; empty if it is withheld. */
  get person(): string {
    return this.direction === 'inbound' ? this.from : this.to
  }
  get direction(): 'inbound' | 'outbound' {
    return this.options.outbound === undefined ? 'inbound' : 'outbound'
  }

  hangUp(): void {
    this.end('api', 'hung up through the REST API')
  }

  async run(): Promise<SimulatedCallResult> {
    const { outbound, workspace } = this.options
    if (outbound === undefined) await this.#openLeg('caller')
    this.#startedMs = this.clock.nowMs()
    workspace?.began(this, this.#wallMs(this.#startedMs))
    const taken = outbound === undefined || (await this.#ring(outbound))
    const first = taken
      ? await this.postVoice({ callSessionState: outbound === undefined ? 'Ringing' : 'Answered', isActive: '1' })
      : []
    if (!taken) this.end('callee', this.#rung ?? '')
    else if (first === null)
      this.end('carrier', 'the voice webhook gave no document: the carrier plays its downtime message')
    else await runDocuments(this, first)
    if (this.#isUnanswered) this.end('carrier', 'the webhook gave no document, and nothing is left to do')
    this.end('document', 'the document has nothing left to do')
    const endedMs = this.clock.nowMs()
    await this.caller.end(endedMs)
    if (taken) await this.#completed(endedMs)
    await Promise.all(this.#background)
    workspace?.over(this, this.#legEnd(endedMs))
    return this.#result(endedMs)
  }

  async #openLeg(who: 'caller' | 'callee'): Promise<void> {
    const { caller } = this.options
    const events: CallerEvents = {
      onSaid: (text) => this.emit({ type: 'said', text }),
      onHeard: (text) => this.emit({ type: 'heard', text }),
      onDigits: (digits) => this.#digits.push(...digits),
      onHungUp: (why) => this.end(who, why),
    }
    this.caller = await caller.open(this.clock, events)
  }

  /** Rings the called phone. @returns true if it is answered */
  async #ring(outbound: OutboundLeg): Promise<boolean> {
    this.postNotice('voice', this.options.voiceUrl, { callSessionState: 'Ringing', isActive: '1' })
    const { caller } = this.options
    if (caller.ring === undefined) await this.wait(outbound.ringMs)
    const outcome = caller.ring === undefined ? outbound.outcome : await caller.ring(this.ending)
    this.#rung = outcome
    await Promise.all(this.#background)
    await this.#openLeg('callee')
    if (outcome === 'answered' && !this.ended) {
      this.answer()
      return true
    }
    const state = this.ended || outcome === 'answered' ? 'Completed' : REPORTED[outcome].state
    const last = { callSessionState: state, isActive: '0', durationInSeconds: '0', ...this.causeOf(outcome) }
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    return false
  }

  /** @returns the field of a webhook that gives the reason why a phone was not reached */
  causeOf(outcome: RungOutcome): Readonly<Record<string, string>> {
    const says = this.options.saysCause === true && outcome !== 'answered'
    return says ? { hangupCause: REPORTED[outcome].cause } : {}
  }

  #legEnd(endedMs: number): LegEnd {
    const outcome = this.answered ? 'answered' : (this.#rung ?? 'answered')
    const { status, cause } = REPORTED[outcome]
    const audio = this.caller.leg.recording()
    return {
      status: outcome === 'answered' && !this.answered ? 'failed' : status,
      hangupCause: cause,
      answeredWallMs: this.#answeredMs === null ? null : this.#wallMs(this.#answeredMs),
      endedWallMs: this.#wallMs(endedMs),
      recording: audio === null ? null : callWav(audio),
    }
  }

  #wallMs(monotonicMs: number): number {
    return Math.round(monotonicMs + this.#wallOffsetMs)
  }

  // --- the documents' verbs --------------------------------------------------------------------------------

  /** Waits in the call's time, at most until the call ends. */
  async wait(ms: number): Promise<void> {
    await Promise.race([this.clock.wait(ms), this.ending])
  }

  /** Speaks a text. Resolves when the caller has heard the text, or the call has ended. */
  async say(text: string, voice: CallerVoice): Promise<void> {
    const { leg } = this.caller
    const pcm = await this.options.caller.speech.speak(text, voice, leg.sampleRateHz).catch((thrown: unknown) => {
      this.complain(`the carrier could not say a text: ${messageOf(thrown)}`)
      return new Int16Array(0)
    })
    await this.play(pcm)
  }

  /** Plays a sound. Resolves when the caller has heard the sound, or the call has ended. */
  async play(pcm: Int16Array): Promise<void> {
    const { leg } = this.caller
    await Promise.race([leg.play(pcm), this.ending])
    leg.stopPlaying()
  }

  dialled(numbers: readonly string[], outcome: RungOutcome): void {
    this.dials.push({ numbers, outcome })
    this.emit({ type: 'dialled', numbers, outcome })
  }

  // --- REST API and conference rooms -----------------------------------------------------------------------

  supervise(number: string): boolean {
    if (this.#endSupervision !== null || this.ended) return false
    const gone = new Promise<void>((resolve) => {
      this.#endSupervision = resolve
    })
    this.keep(
      this.#supervised(number, gone).finally(() => {
        this.#endSupervision = null
      }),
    )
    return true
  }

  stopSupervision(): void {
    this.#endSupervision?.()
  }

  async #supervised(number: string, gone: Promise<void>): Promise<void> {
    const { ringMs, talkMs, greeting, ...simulated } = this.options.human ?? DEFAULT_HUMAN
    const numbers = [number]
    const away = Promise.race([gone, this.ending])
    this.postEvent('call.supervision.started', { supervisor_status: 'ringing' })
    const rung = this.options.dial?.({
      ...{ numbers, timeoutMs: SUPERVISOR_RINGS_MS, leg: this.caller.leg },
      ...{ callSid: this.callSid, callerId: this.person },
    })
    void away.then(() => rung?.hangUp())
    await (rung === undefined
      ? Promise.race([this.clock.wait(ringMs), away])
      : Promise.race([rung.outcome, this.ending]))
    if (this.ended) return
    const outcome = rung === undefined ? simulated.outcome : await rung.outcome
    this.dials.push({ numbers, outcome, via: 'supervision' })
    this.emit({ type: 'dialled', numbers, outcome })
    if (outcome !== 'answered') return this.postEvent(`call.supervision.${outcome.replace('-', '_')}`, {})
    this.postEvent('call.supervision.joined', { mode: 'barge' })
    const { leg } = this.caller
    if (rung !== undefined) await Promise.race([rung.over, away])
    else if (greeting !== null) {
      const pcm = await this.options.caller.speech.speak(greeting, HUMAN_VOICE, leg.sampleRateHz)
      await Promise.race([leg.play(pcm), away])
    }
    if (rung === undefined) await Promise.race([this.clock.wait(talkMs), away])
    if (!this.ended) this.postEvent('call.supervision.ended', {})
  }

  async stayInRoom(room: string, endOnExit: boolean): Promise<void> {
    const entry = this.options.workspace?.enter(room, { leg: this, endOnExit })
    if (entry === undefined) return this.ending
    const { leg } = this.caller
    // Simulated people in a room do not hear each other: their scripts are about the agent.
    if (this.options.dial !== undefined) leg.join(entry.bridge)
    await Promise.race([entry.closed, this.ending])
    leg.join(null)
    entry.left()
  }

  joinedBy(other: CarrierCall): void {
    if (other.direction !== 'outbound') return
    this.dials.push({ numbers: [other.to], outcome: 'answered', via: 'conference' })
    this.emit({ type: 'dialled', numbers: [other.to], outcome: 'answered' })
  }

  postEvent(kind: string, data: Readonly<Record<string, unknown>>): void {
    const { eventsUrl } = this.options
    if (eventsUrl === null) return
    const envelope = {
      kind,
      event_id: `evt_${randomBytes(8).toString('hex')}`,
      workspace_id: 'ws_simulated',
      occurred_at: new Date().toISOString(),
      data: { call_id: this.callSid, direction: this.direction, ...data },
    }
    this.keep(
      this.#post(this.#routed(eventsUrl, kind), kind, 'application/json', JSON.stringify(envelope)).then((answer) =>
        this.#note('events', kind, answer, []),
      ),
    )
  }

  emit(event: CallEvent): void {
    const stamped = { ...event, callSid: this.callSid, atMs: Math.round(this.clock.nowMs() - this.#startedMs) }
    this.options.onEvent?.(stamped)
  }

  end(by: EndedBy, why: string): void {
    if (this.#ended !== null) return
    this.#ended = { by, why }
    this.#resolveEnding()
    this.emit({ type: 'ended', by, why })
  }

  /** Marks the leg as answered, at the first verb that makes a sound. */
  answer(): void {
    if (this.#answeredMs !== null) return
    this.#answeredMs = this.clock.nowMs()
    this.caller.answered?.()
  }

  complain(complaint: string): void {
    if (this.#complaints.length < COMPLAINTS_MAX) this.#complaints.push(complaint)
  }

  noteVerb(name: string, text?: string): void {
    this.#isUnanswered = false
    this.#verbs.push(name)
    this.emit({ type: 'verb', name, ...(text === undefined ? {} : { text }) })
  }

  /** Removes and returns the oldest DTMF digit of the caller; null if there is none. */
  takeDigit(): string | null {
    return this.#digits.shift() ?? null
  }

  /** Drops DTMF digits that were pressed for another purpose. */
  dropDigits(): void {
    this.#digits.length = 0
  }

  /**
   * Posts to the voice webhook.
   * @returns the document in the answer; null if there is none
   */
  async postVoice(more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null> {
    return this.postForDocument('voice', this.options.voiceUrl, more)
  }

  async postForDocument(
    kind: WebhookRecord['url'],
    url: string,
    more: Readonly<Record<string, string>>,
  ): Promise<readonly Verb[] | null> {
    const state = more['callSessionState'] ?? ''
    const answer = await this.#postFields(this.#routed(url, state), more)
    const verbs = answer.status === 200 ? this.#parse(answer, state) : null
    this.#isUnanswered = verbs === null
    this.#note(kind, state, answer, verbs ?? [], 200)
    return verbs
  }

  /** Posts a state change in the background. The carrier ignores a document in the answer. */
  postNotice(kind: WebhookRecord['url'], url: string | null, more: Readonly<Record<string, string>>): void {
    if (url === null) return
    const state = more['callSessionState'] ?? more['streamEvent'] ?? ''
    const posted = this.#postFields(this.#routed(url, state), more).then((answer) => {
      const document = kind === 'voice' && answer.status === 200 ? this.#parse(answer, state) : null
      this.#note(kind, state, answer, document ?? [])
      // The carrier ignores a document in the answer to an event, so a Dial in this answer leaves the caller in
      // silence.
      if (kind !== 'voice' && /<(Say|Play|Dial|Redirect|Conference|Hangup)\b/.test(answer.body)) {
        this.complain(`the ${kind} webhook (${state}) was answered with verbs, which a carrier does not run`)
      }
      if (document?.some((verb) => verb.name === 'Stream'))
        this.complain(`${state} was answered with another Stream: the carrier forks the call again and fails`)
    })
    this.keep(posted)
  }

  keep(background: Promise<unknown>): void {
    this.#background.add(background)
    void background.finally(() => {
      this.#background.delete(background)
    })
  }

  #parse(answer: TimedAnswer, state: string): readonly Verb[] | null {
    if (!/^(application|text)\/xml\b/.test(answer.contentType)) {
      this.complain(`the answer to ${state} has the content type "${answer.contentType}" and not application/xml`)
      return null
    }
    return this.unlessRefused(
      () => parseVoiceDocument(answer.body),
      (why) => `the document for ${state} was refused: ${why}`,
    )
  }

  /** Returns the result of `read`; null, with a complaint, if the carrier would refuse the document. */
  unlessRefused<T>(read: () => T, complaint: (why: string) => string): T | null {
    try {
      return read()
    } catch (thrown) {
      if (!(thrown instanceof DocumentRefused)) throw thrown
      this.complain(complaint(thrown.message))
      return null
    }
  }

  /** @param statusMax  maximum status without a complaint */
  #note(url: WebhookRecord['url'], state: string, answer: TimedAnswer, verbs: readonly Verb[], statusMax = 299): void {
    const record: WebhookRecord = {
      atMs: Math.round(this.clock.nowMs() - answer.ms - this.#startedMs),
      url,
      state,
      status: answer.status,
      ms: answer.ms,
      verbs: verbs.map((verb) => verb.name),
      fault: answer.fault,
    }
    if (this.#webhooks.length < WEBHOOKS_KEPT_MAX) this.#webhooks.push(record)
    this.emit({ type: 'webhook', state, status: answer.status, ms: Math.round(answer.ms), verbs: record.verbs })
    if (answer.status === null || answer.status > statusMax)
      this.complain(`the ${url} webhook (${state}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
  }

  #routed(url: string, state: string): string {
    return this.options.route?.(url, state) ?? url
  }

  /** Posts `more` and the common fields of this call's webhooks, with the PBX's names. */
  #postFields(url: string, more: Readonly<Record<string, string>>): Promise<TimedAnswer> {
    const { from, to, outbound, fields: own } = this.options
    const { clientRequestId = null } = outbound ?? {}
    const fields: Record<string, string> = {
      ...own,
      ...{ sessionId: this.callSid, callerNumber: from, destinationNumber: to, direction: this.direction },
      ...(clientRequestId === null ? {} : { clientRequestId }),
      ...more,
    }
    const event = more['callSessionState'] ?? ''
    const [type, body] =
      this.options.encoding === 'json'
        ? ['application/json', JSON.stringify(fields)]
        : ['application/x-www-form-urlencoded', new URLSearchParams(fields).toString()]
    return this.#post(url, event, type, body, more['dialCallStatus'] !== undefined)
  }

  /** Posts a webhook. Never rejects: the answer contains the fault. */
  async #post(url: string, event: string, contentType: string, body: string, isOutcome = false): Promise<TimedAnswer> {
    const answer = await this.#postOnce(url, event, contentType, body)
    const { connectRetryMs, retriesBroken } = this.options
    // A webhook about a Dial's end is not repeated. This webhook causes the next step of the call, so it must not
    // arrive twice.
    const mayRepeat = retriesBroken === true && !isOutcome
    const tried = mayRepeat ? NOT_ANSWERED : REFUSED
    if (connectRetryMs === undefined || answer.fault === null || !tried.test(answer.fault)) return answer
    await this.clock.wait(connectRetryMs)
    return this.#postOnce(url, event, contentType, body)
  }

  async #postOnce(url: string, event: string, contentType: string, body: string): Promise<TimedAnswer> {
    const { secret = null, signature = 'timestamped' } = this.options
    const headers: Record<string, string> = { 'content-type': contentType }
    if (secret !== null) {
      headers['x-sautikit-signature'] = signBody(body, secret, signature, Date.now())
      if (signature === 'bare') headers['x-sautikit-event'] = event
    }
    const startedMs = this.clock.nowMs()
    try {
      const answer = await this.environment.post(url, headers, body)
      return { ...answer, ms: this.clock.nowMs() - startedMs, fault: null }
    } catch (thrown) {
      const cause = thrown instanceof Error && thrown.cause !== undefined ? `: ${messageOf(thrown.cause)}` : ''
      const fault = `${messageOf(thrown)}${cause}`
      return { status: null, contentType: '', body: '', ms: this.clock.nowMs() - startedMs, fault }
    }
  }

  /** Posts the last state of the call to both URLs, and waits for all answers. */
  async #completed(endedMs: number): Promise<void> {
    const seconds = this.#answeredMs === null ? 0 : Math.round((endedMs - this.#answeredMs) / 1000)
    const last = { callSessionState: 'Completed', isActive: '0', durationInSeconds: String(seconds) }
    // `Completed` must not arrive before an earlier `StreamStopped` that is not answered yet.
    await Promise.all(this.#background)
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    await Promise.all(this.#background)
  }

  #result(endedMs: number): SimulatedCallResult {
    const streams = this.streams.map((stream) => recordOf(stream, this.#startedMs))
    const originMs = this.streams.at(-1)?.openedAtMs ?? this.#answeredMs ?? this.#startedMs
    const relative = <T extends { startMs: number; endMs: number }>(span: T): T => ({
      ...span,
      startMs: Math.round(span.startMs - this.#startedMs),
      endMs: Math.round(span.endMs - this.#startedMs),
    })
    return {
      callSid: this.callSid,
      from: this.options.from,
      to: this.options.to,
      answered: this.#answeredMs !== null,
      ended: this.#ended ?? { by: 'document', why: '' },
      durationMs: Math.round(endedMs - this.#startedMs),
      webhooks: this.#webhooks,
      verbs: this.#verbs,
      stream: streams.at(-1) ?? null,
      streams,
      silences: this.caller.leg.silences.map(relative),
      dials: this.dials,
      said: this.caller.leg.player.said.map(relative),
      heard: {
        ...this.caller.facts(),
        text: this.caller.heard.map((piece) => piece.text).filter((text) => text !== ''),
      },
      heardPieces: this.caller.heard.map(relative),
      callerHeard: measureCaller(this.caller.leg.player.said, this.caller.leg.spans.voiced, originMs),
      complaints: this.#complaints,
      audio: this.caller.leg.recording(),
    }
  }
}

/** The carrier's names for the outcome of a number that it rang: in a webhook, and in the call's record. */
const REPORTED: Readonly<
  Record<RungOutcome, { readonly state: string; readonly status: LegEnd['status']; readonly cause: string }>
> = {
  answered: { state: 'DialCompleted', status: 'completed', cause: 'normal_clearing' },
  busy: { state: 'Busy', status: 'busy', cause: 'user_busy' },
  'no-answer': { state: 'NoAnswer', status: 'no_answer', cause: 'no_answer' },
  declined: { state: 'Failed', status: 'failed', cause: 'call_rejected' },
  failed: { state: 'Failed', status: 'failed', cause: 'destination_out_of_order' },
}

/**
 * Places a call and runs it to its end. `done` does not reject for faults of the gateway; the result contains these
 * faults.
 */
export function startCall(options: PlaceCallOptions): LiveSimulatedCall {
  const call = new SimulatedCall(options)
  return {
    callSid: call.callSid,
    done: call.run(),
    hangUp: () => call.hangUp(),
    drop: (why) => call.end('carrier', why),
  }
}

/** An answer to a webhook, or the reason why no answer arrived in time. */
type TimedAnswer = { readonly ms: number } & (
  | ({ readonly fault: null } & WebhookAnswer)
  | { readonly fault: string; readonly status: null; readonly contentType: ''; readonly body: '' }
)

/** The media socket of a call, open or closed. */
interface CarriedStream {
  readonly fork: AudioFork
  /** Path of its URL. */
  readonly path: string
  readonly openedAtMs: number
  closedAtMs: number | null
}

// --- documents ------------------------------------------------------------------------------------------------

/** Default maximum number of documents of one call. */
const DOCUMENTS_MAX = 20
/** Silence in ms until a caller hangs up. */
const GIVE_UP_MS = 20_000
const GET_DIGITS_TIMEOUT_S = 5
const DIAL_TIMEOUT_S = 60
const POLL_MS = 50
/** Ringing time of a supervisor's phone, in milliseconds. */
const SUPERVISOR_RINGS_MS = 30_000
/** The carrier's own voice, and the voice of the human that a Dial reaches. */
export const CARRIER_VOICE: CallerVoice = 'kal'
const HUMAN_VOICE: CallerVoice = 'awb'
const DEFAULT_HUMAN: SimulatedHuman = {
  outcome: 'answered',
  ringMs: 2000,
  talkMs: 2000,
  greeting: 'Hello, how can I help you?',
}

/**
 * Continuation after a verb: null for the next verb of the document, otherwise the verbs of another document. A
 * document without verbs ends the call.
 */
type Then = readonly Verb[] | null
const NEXT = null
const END: readonly Verb[] = []

/** End of a Stream verb: its socket closed, was never opened, or stays open while the document continues. */
type StreamEnd = 'stopped' | 'refused' | 'in-background'

/** Runs a document and every document that follows it. Returns when the call has ended or no document is left. */
async function runDocuments(call: SimulatedCall, first: readonly Verb[]): Promise<void> {
  const { documentsMax = DOCUMENTS_MAX } = call.options
  let verbs = first
  for (let documents = 0; verbs.length > 0 && !call.ended; documents++) {
    if (documents === documentsMax) {
      call.complain(`more than ${documentsMax} documents in one call`)
      return call.end('carrier', 'too many documents')
    }
    verbs = await runVerbs(call, verbs)
  }
}

async function runVerbs(call: SimulatedCall, verbs: readonly Verb[]): Promise<readonly Verb[]> {
  for (const verb of verbs) {
    if (call.ended) return END
    call.noteVerb(verb.name, verb.name === 'Say' ? verb.text : undefined)
    const then = await runVerb(call, verb)
    if (then !== NEXT) return then
  }
  return END
}

async function runVerb(call: SimulatedCall, verb: Verb): Promise<Then> {
  switch (verb.name) {
    case 'Say':
      return say(call, verb.text, call.options.sayVoice ?? CARRIER_VOICE)
    case 'Play':
      return play(call, verb.text)
    case 'GetDigits':
      return getDigits(call, verb)
    case 'Dial':
      return dial(call, verb)
    case 'Conference':
      return conference(call, verb)
    case 'Record':
      return record(call, verb)
    case 'Redirect':
      return redirect(call, verb)
    case 'Stream':
      return stream(call, verb)
    case 'Reject':
      call.caller.rejected?.(verb.attributes['reason'] ?? 'rejected')
      call.end('document', `rejected (${verb.attributes['reason'] ?? 'rejected'})`)
      return END
    default:
      call.end('document', 'Hangup')
      return END
  }
}

async function say(call: SimulatedCall, text: string, voice: CallerVoice): Promise<Then> {
  call.answer()
  await call.say(text, voice)
  return NEXT
}

/** Collects digits until there are enough, `finishOnKey` is pressed, or no digit arrives within the timeout. */
async function getDigits(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  for (const inner of verb.children) {
    if (call.ended) return END
    if (inner.name === 'Say') call.emit({ type: 'verb', name: 'Say', text: inner.text })
    await (inner.name === 'Say'
      ? say(call, inner.text, call.options.sayVoice ?? CARRIER_VOICE)
      : play(call, inner.text))
  }
  const timeoutMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  const most = Number(verb.attributes['maxDigits'] ?? verb.attributes['numDigits'] ?? '0')
  const finishOn = verb.attributes['finishOnKey'] ?? '#'
  let digits = ''
  let untilMs = call.clock.nowMs() + timeoutMs
  while (!call.ended && call.clock.nowMs() < untilMs && (most === 0 || digits.length < most)) {
    const digit = call.takeDigit()
    if (digit === null) await call.wait(POLL_MS)
    else if (digit === finishOn) break
    else {
      digits += digit
      untilMs = call.clock.nowMs() + timeoutMs
    }
  }
  if (call.ended) return END
  return documentOr(await call.postVoice({ callSessionState: 'Answered', isActive: '1', Digits: digits }), END)
}

async function dial(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  const listed = verb.attributes['phoneNumbers']?.split(',') ?? []
  const numbers = [...listed, ...verb.children.map((child) => child.text), verb.text]
    .map((number) => number.trim())
    .filter((number) => number !== '')
  if (numbers.length === 0) call.complain('Dial names nobody')
  const timeoutMs = seconds(verb, 'timeout', DIAL_TIMEOUT_S) * 1000
  const callerId = verb.attributes['callerId'] ?? call.person
  const outcome = await (call.options.dial === undefined
    ? talkToSimulated(call, numbers, timeoutMs)
    : talkToPeople(call, { numbers, timeoutMs, callerId }, call.options.dial))
  if (call.ended || call.options.dialEdge === 'none') return call.ended ? END : NEXT
  const state = call.options.dialEdge === 'outcome' ? REPORTED[outcome].state : 'DialCompleted'
  return documentOr(
    await call.postVoice({ callSessionState: state, isActive: '1', dialCallStatus: outcome, ...call.causeOf(outcome) }),
    NEXT,
  )
}

/** Rings the simulated human. Returns when the conversation has ended. */
async function talkToSimulated(
  call: SimulatedCall,
  numbers: readonly string[],
  timeoutMs: number,
): Promise<HumanOutcome> {
  const human = call.options.human ?? DEFAULT_HUMAN
  const ringMs = Math.min(human.ringMs, timeoutMs)
  await call.play(ringingTone(ringMs, call.caller.leg.sampleRateHz))
  const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
  if (call.ended) return outcome
  call.dialled(numbers, outcome)
  if (outcome === 'answered') {
    if (human.greeting !== null) await say(call, human.greeting, HUMAN_VOICE)
    await call.wait(human.talkMs)
  }
  return outcome
}

/**
 * Rings real people. The caller hears the ringing tone, or a phone's own sound before its answer. Returns when the
 * person who answered has left.
 */
async function talkToPeople(
  call: SimulatedCall,
  asked: Pick<DialRequest, 'numbers' | 'timeoutMs' | 'callerId'>,
  dialler: NonNullable<PlaceCallOptions['dial']>,
): Promise<RungOutcome> {
  const { leg } = call.caller
  const { numbers, timeoutMs } = asked
  const rings = (): void => void leg.play(ringingTone(timeoutMs, leg.sampleRateHz))
  const onEarlySound = (isOn: boolean): void => (isOn ? leg.stopPlaying() : rings())
  rings()
  const people = dialler({ ...asked, leg, callSid: call.callSid, onEarlySound })
  void call.ending.then(() => people.hangUp())
  const outcome = await people.outcome
  leg.stopPlaying()
  if (call.ended) return outcome
  call.dialled(numbers, outcome)
  if (outcome === 'answered') await people.over
  return outcome
}

/** Keeps the leg in the room until the room closes or a party ends the call. */
async function conference(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  await call.stayInRoom(verb.text.trim(), verb.attributes['endOnExit'] === 'true')
  return call.ended ? END : NEXT
}

async function redirect(call: SimulatedCall, verb: Verb): Promise<Then> {
  const document = await call.postForDocument('redirect', verb.text, { callSessionState: 'Answered', isActive: '1' })
  if (document === null) call.end('carrier', 'the redirect gave no document')
  return document ?? END
}

/**
 * Runs a Stream verb. After the stream, the carrier continues in one of three ways, which were documented or observed.
 */
async function stream(call: SimulatedCall, verb: Verb): Promise<Then> {
  const end = await runStream(call, verb)
  if (call.ended) return END
  if (end === 'in-background') return NEXT
  // DTMF digits that were pressed during the stream were meant for the gateway.
  call.dropDigits()
  const behaviour = call.options.afterStream ?? 'continues'
  if (behaviour === 'continues') return NEXT
  if (behaviour === 'reposts') {
    const state = end === 'stopped' ? 'StreamStopped' : 'StreamError'
    const document = await call.postVoice({ callSessionState: state, isActive: '1' })
    if (document !== null && document.length > 0) return document
  }
  await call.wait(call.options.giveUpMs ?? GIVE_UP_MS)
  call.end('caller', 'gave up on a silent line after the stream')
  return END
}

function documentOr(document: readonly Verb[] | null, otherwise: Then): Then {
  return document === null || document.length === 0 ? otherwise : document
}

/** An attribute in seconds. */
function seconds(verb: Verb, name: string, otherwise: number): number {
  const value = Number(verb.attributes[name] ?? '')
  return Number.isFinite(value) && value > 0 ? value : otherwise
}

const RECORD_S_MAX = 60
const PLAY_TIMEOUT_MS = 5000
const PLAY_BYTES_MAX = 10 * 1024 * 1024
/** Plays a WAV file to the caller. A file of another format is replaced by silence of about its duration. */
async function play(call: SimulatedCall, url: string): Promise<Then> {
  call.answer()
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PLAY_TIMEOUT_MS) })
    if (!response.ok) throw new Error(`answered with ${response.status}`)
    const bytes = await bytesOf((response.body ?? []) as unknown as AsyncIterable<Buffer>, PLAY_BYTES_MAX)
    if (bytes === null)
      throw new Error(`the file has more than ${PLAY_BYTES_MAX} bytes, which is the most that is played`)
    if (WAV_MARKS.includes(bytes.toString('latin1', 0, 4)))
      await call.play(await wavSound(bytes, call.caller.leg.sampleRateHz))
    // The duration is computed as for s16 mono at 16 kHz.
    else await call.wait(bytes.length / 32)
  } catch (thrown) {
    call.complain(`Play could not play its url: ${messageOf(thrown)}`)
  }
  return NEXT
}

const WAV_MARKS = ['RIFF', 'RF64', 'BW64']

/** Number of samples of a file that are decoded at once: a millisecond of CPU time. */
const PLAY_PIECE_SAMPLES = 8000

/**
 * The left channel of a WAV file at another rate. The file is decoded in pieces, so that other calls can continue.
 * @throws GatewayError WAV_INVALID
 */
async function wavSound(bytes: Uint8Array, rateHz: number): Promise<Int16Array> {
  const head = wavHead(bytes)
  if (typeof head === 'string') throw new GatewayError('WAV_INVALID', head)
  const { format, dataAt, dataBytes } = head
  const converter = format.rateHz === rateHz ? null : new RateConverter(format.rateHz, rateHz)
  const channels = format.channels === 2 ? 2 : 1
  const pieceBytes = PLAY_PIECE_SAMPLES * format.channels * (format.bits / 8)
  const pieces: Int16Array[] = []
  for (let at = 0; at < dataBytes; at += pieceBytes) {
    const piece = bytes.subarray(dataAt + at, dataAt + Math.min(at + pieceBytes, dataBytes))
    const pcm = channelOf({ channels, samples: decodeSamples(piece, format) }, 0)
    pieces.push(converter === null ? pcm : converter.process(pcm))
    await nextTurn()
  }
  return joined(pieces)
}

async function record(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  call.dropDigits()
  const { leg } = call.caller
  if (verb.attributes['playBeep'] !== 'false') await call.play(beep(leg.sampleRateHz))
  const startedMs = call.clock.nowMs()
  const untilMs = startedMs + Math.min(RECORD_S_MAX, seconds(verb, 'maxLength', RECORD_S_MAX)) * 1000
  const silenceMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  let spokenMs = startedMs
  while (!call.ended && call.clock.nowMs() < untilMs && call.clock.nowMs() - spokenMs < silenceMs) {
    if (leg.player.speaking) spokenMs = call.clock.nowMs()
    if (call.takeDigit() === (verb.attributes['finishOnKey'] ?? '#')) break
    await call.wait(POLL_MS)
  }
  const action = verb.attributes['action']
  if (call.ended || action === undefined) return call.ended ? END : NEXT
  const durationS = String(Math.round((call.clock.nowMs() - startedMs) / 1000))
  return documentOr(
    await call.postForDocument('action', action, {
      callSessionState: 'Answered',
      isActive: '1',
      durationInSeconds: durationS,
    }),
    NEXT,
  )
}

/** Maximum number of streams of one call in its result. */
const STREAMS_MAX = 20
const HANDSHAKE_TIMEOUT_MS = 5000
/** Maximum time in ms for which queued audio still plays after the gateway has closed the socket. */
const PLAY_OUT_MS_MAX = 10_000
const FRAMES_BEFORE_LATE_TEXT = 5

/** Runs a Stream verb until its socket or the call has ended. */
async function runStream(call: SimulatedCall, verb: Verb): Promise<StreamEnd> {
  const request = call.unlessRefused(
    () => readStream(verb, (complaint) => call.complain(complaint)),
    (why) => why,
  )
  if (request === null) return 'refused'
  const opened = new CallStream(call, request)
  const fork = await opened.open()
  if (fork === null) return 'refused'
  const ending = opened.run(fork)
  if (request.connect) {
    await ending
    return 'stopped'
  }
  call.keep(ending)
  return 'in-background'
}

/** One Stream verb with its media socket, from the handshake to the end of its sound. */
class CallStream {
  readonly #call: SimulatedCall
  readonly #request: StreamRequest
  readonly #streamSid = `ST_${randomBytes(6).toString('hex')}`
  readonly #closing: Promise<ForkClosed>
  #closed: (reason: ForkClosed) => void = () => undefined

  constructor(call: SimulatedCall, request: StreamRequest) {
    this.#call = call
    this.#request = request
    this.#closing = new Promise((resolve) => {
      this.#closed = resolve
    })
  }

  /** Opens the media socket. @returns null if the gateway refuses the socket */
  async open(): Promise<AudioFork | null> {
    const { options, environment } = this.#call
    const request = this.#request
    if (options.streamFailsAfterMs !== undefined) {
      await this.#call.wait(options.streamFailsAfterMs)
      if (!this.#call.ended) this.#post('stream-error', 'no connection')
      return null
    }
    try {
      return await AudioFork.connect(
        {
          url: options.mediaRoute?.(request.url) ?? request.url,
          timeoutMs: HANDSHAKE_TIMEOUT_MS,
          sampleRateHz: request.outputRateHz,
          channels: request.track === 'both_tracks' && options.trackLayout === 'stereo' ? 2 : 1,
          firstText: this.#firstText(),
          framesBeforeFirstText: options.firstText === 'after-audio' ? FRAMES_BEFORE_LATE_TEXT : 0,
          honourKill: options.honourKill ?? true,
          answerMarks: options.answerMarks ?? true,
          coalesceFrames: options.coalesceFrames ?? 1,
          holdsBack: options.holdsBack ?? true,
        },
        this.#closed,
        environment.connectFork,
      )
    } catch (thrown) {
      const status = thrown instanceof HandshakeRefused ? thrown.status : null
      this.#call.complain(`the media socket could not be opened: ${messageOf(thrown)}`)
      this.#post('stream-error', `handshake failed${status === null ? '' : ` with ${status}`}`)
      return null
    }
  }

  /** Waits until the socket or the call ends. Then ends the socket if it is open, and posts `stream-stopped`. */
  async run(fork: AudioFork): Promise<void> {
    const call = this.#call
    call.answer()
    const stream = this.#attach(fork)
    this.#post('stream-started')
    await Promise.race([this.#closing, call.ending])
    stream.closedAtMs = call.clock.nowMs()
    if (fork.closed === null) fork.close()
    else await this.#playOut(fork)
    call.caller.leg.detach()
    const closed = fork.closed ?? { by: 'carrier', code: null, reason: '' }
    call.emit({ type: 'stream-closed', by: closed.by, code: closed.code })
    this.#post('stream-stopped')
  }

  #attach(fork: AudioFork): CarriedStream {
    const { caller, options, clock, streams } = this.#call
    const { leg } = caller
    const { jitter, stalls = [], trackLayout: layout = 'mixed' } = options
    const { url, track, outputRateHz, inputRateHz } = this.#request
    if (jitter)
      leg.stallEvery = { everyMs: jitter.everyMs, stallMsMax: jitter.stallMsMax, random: seededRandom(jitter.seed) }
    leg.attach({ fork, outputRateHz, inputRateHz, track, layout })
    const openedAtMs = clock.nowMs()
    leg.stallsAt = [...stalls].sort((a, b) => a.atMs - b.atMs).map(({ atMs, ms }) => ({ atMs: openedAtMs + atMs, ms }))
    const path = new URL(url).pathname
    this.#call.emit({ type: 'stream-opened', path })
    const stream: CarriedStream = { fork, path, openedAtMs, closedAtMs: null }
    if (streams.length < STREAMS_MAX) streams.push(stream)
    return stream
  }

  /** Waits until the audio that was queued when the socket closed has been played. */
  async #playOut(fork: AudioFork): Promise<void> {
    const { clock } = this.#call
    const untilMs = clock.nowMs() + PLAY_OUT_MS_MAX
    while (fork.playout.releasedSamples > 0 && !this.#call.ended && clock.nowMs() < untilMs)
      await this.#call.wait(FRAME_MS)
  }

  /**
   * Posts an event to two URLs: the document's status callback, if there is one, and the URL that the carrier was
   * observed to use.
   */
  #post(event: keyof typeof EDGE, error?: string): void {
    const call = this.#call
    const { name, statusCallback, statusEvents } = this.#request
    const more = {
      streamSid: this.#streamSid,
      streamEvent: event,
      streamStatus: event,
      ...(name === null ? {} : { name }),
      ...(error === undefined ? {} : { streamError: error }),
    }
    if (statusCallback !== null && statusEvents.includes(event)) call.postNotice('status', statusCallback, more)
    const edge = { ...more, callSessionState: EDGE[event], isActive: '1' }
    const { voiceUrl, eventsUrl, afterStream } = call.options
    // The carrier posts StreamStarted to the voice URL. The after-stream behaviour determines the URL for
    // StreamStopped.
    if (event === 'stream-started') call.postNotice('voice', voiceUrl, edge)
    else if (call.ended || afterStream !== 'reposts') call.postNotice('events', eventsUrl, edge)
  }

  #firstText(): string | null {
    const { callSid, options } = this.#call
    const { name, headerMetadata: headers, openMetadata: metadata } = this.#request
    if (options.firstText === 'none') return null
    if (options.firstText === 'opaque') return metadata
    return JSON.stringify({
      ...{ event: 'start', streamSid: this.#streamSid, callSid, from: options.from, to: options.to },
      ...(name === null ? {} : { name }),
      ...(headers === null ? {} : { headers }),
      ...(metadata === null ? {} : { metadata }),
    })
  }
}

const EDGE = {
  'stream-started': 'StreamStarted',
  'stream-stopped': 'StreamStopped',
  'stream-error': 'StreamError',
} as const

function recordOf({ fork, path, openedAtMs, closedAtMs }: CarriedStream, startedMs: number): StreamRecord {
  const { counters, playout, buffer, closed } = fork
  return {
    openedMs: Math.round(openedAtMs - startedMs),
    path,
    closedMs: closedAtMs === null ? null : Math.round(closedAtMs - startedMs),
    closedBy: closed?.by ?? 'nobody',
    closeCode: closed?.code ?? null,
    messagesSent: counters.messagesSent,
    messagesReceived: counters.messagesReceived,
    kills: counters.kills,
    marksPlayed: counters.marksPlayed,
    samplesHeard: playout.samplesPlayed,
    samplesFlushed: playout.samplesFlushed,
    bytesDropped: buffer.bytesDropped,
  }
}

/** The signature header's value for a body. */
export function signBody(body: string, secret: string, form: SignatureForm, wallMs: number): string {
  if (form === 'bare') return createHmac('sha256', secret).update(body).digest('hex')
  const seconds = Math.floor(wallMs / 1000)
  // The signed text is the body followed by the time. Other carriers sign the time first.
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${body}.${seconds}`).digest('hex')}`
}

/**
 * The carrier's side of one call: posts the webhooks, runs the documents verb by verb, holds the media socket, and has
 * somebody as the caller: a simulated person, or one at a browser. It shares no protocol code with the gateway, so that the same mistake on both sides
 * cannot hide itself.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { messageOf } from '../core/errors.js'
import { FRAME_MS } from '../core/units.js'
import { AudioFork, type ForkClosed, HandshakeRefused } from './audio-fork.js'
import type { CallerVoice, HumanOutcome } from './choices.js'
import type {
  CallEnvironment,
  CallEvent,
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

/** Without an answer within this time the carrier plays its downtime message. */
const WEBHOOK_TIMEOUT_MS = 10_000
const COMPLAINTS_MAX = 100
const WEBHOOKS_KEPT_MAX = 200

/** Longer answers are cut off here. */
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
  #resolveEnding: () => void = () => undefined
  #ended: { readonly by: EndedBy; readonly why: string } | null = null
  #startedMs = 0
  #answeredMs: number | null = null
  /** Ends the supervision of this call; null while there is none. */
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
    if (!taken) this.end('callee', outbound?.outcome ?? '')
    else if (first === null)
      this.end('carrier', 'the voice webhook gave no document: the carrier plays its downtime message')
    else await runDocuments(this, first)
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
    await this.wait(outbound.ringMs)
    await Promise.all(this.#background)
    await this.#openLeg('callee')
    if (outbound.outcome === 'answered' && !this.ended) {
      this.answer()
      return true
    }
    const state = this.ended || outbound.outcome === 'answered' ? 'Completed' : REPORTED[outbound.outcome].state
    const last = { callSessionState: state, isActive: '0', durationInSeconds: '0' }
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    return false
  }

  #legEnd(endedMs: number): LegEnd {
    const outcome = this.answered ? 'answered' : (this.options.outbound?.outcome ?? 'answered')
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

  /** Resolves when the caller has heard it, or the call has ended. */
  async say(text: string, voice: CallerVoice): Promise<void> {
    const { leg } = this.caller
    const pcm = await this.options.caller.speech.speak(text, voice, leg.sampleRateHz).catch((thrown: unknown) => {
      this.complain(`the carrier could not say a text: ${messageOf(thrown)}`)
      return new Int16Array(0)
    })
    await this.play(pcm)
  }

  /** Resolves when the caller has heard it, or the call has ended. */
  async play(pcm: Int16Array): Promise<void> {
    const { leg } = this.caller
    await Promise.race([leg.play(pcm), this.ending])
    leg.stopPlaying()
  }

  dialled(numbers: readonly string[], outcome: HumanOutcome): void {
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
    const { outcome, ringMs, talkMs, greeting } = this.options.human ?? DEFAULT_HUMAN
    const numbers = [number]
    const away = Promise.race([gone, this.ending])
    this.postEvent('call.supervision.started', { supervisor_status: 'ringing' })
    await Promise.race([this.clock.wait(ringMs), away])
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
    await Promise.race([this.clock.wait(talkMs), away])
    if (!this.ended) this.postEvent('call.supervision.ended', {})
  }

  async stayInRoom(room: string, endOnExit: boolean): Promise<void> {
    const entry = this.options.workspace?.enter(room, { leg: this, endOnExit })
    if (entry === undefined) return this.ending
    await Promise.race([entry.closed, this.ending])
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

  /** The leg counts as answered from the first verb that makes a sound. */
  answer(): void {
    this.#answeredMs ??= this.clock.nowMs()
  }

  complain(complaint: string): void {
    if (this.#complaints.length < COMPLAINTS_MAX) this.#complaints.push(complaint)
  }

  noteVerb(name: string, text?: string): void {
    this.#verbs.push(name)
    this.emit({ type: 'verb', name, ...(text === undefined ? {} : { text }) })
  }

  /** Removes and returns the oldest digit that the caller pressed; null for none. */
  takeDigit(): string | null {
    return this.#digits.shift() ?? null
  }

  /** Posts to the voice webhook. @returns its document; null for none */
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
    this.#note(kind, state, answer, verbs ?? [], 200)
    return verbs
  }

  /** Posts a state change in the background. The carrier does not run the answer. */
  postNotice(kind: WebhookRecord['url'], url: string | null, more: Readonly<Record<string, string>>): void {
    if (url === null) return
    const state = more['callSessionState'] ?? more['streamEvent'] ?? ''
    const posted = this.#postFields(this.#routed(url, state), more).then((answer) => {
      const document = kind === 'voice' && answer.status === 200 ? this.#parse(answer, state) : null
      this.#note(kind, state, answer, document ?? [])
      // The carrier does not run the answer to an event, so a Dial in it leaves the caller in silence.
      if (kind !== 'voice' && /<(Say|Play|Dial|Redirect|Conference|Hangup)\b/.test(answer.body)) {
        this.complain(`the ${kind} webhook (${state}) was answered with verbs, which nobody runs`)
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

  /** Null, and a complaint, where the carrier would refuse what is read. */
  unlessRefused<T>(read: () => T, complaint: (why: string) => string): T | null {
    try {
      return read()
    } catch (thrown) {
      if (!(thrown instanceof DocumentRefused)) throw thrown
      this.complain(complaint(thrown.message))
      return null
    }
  }

  /** @param statusMax  a higher status is complained about */
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

  /** Posts `more` and what every webhook of this call has, with the PBX's names. */
  #postFields(url: string, more: Readonly<Record<string, string>>): Promise<TimedAnswer> {
    const { from, to, outbound } = this.options
    const { clientRequestId = null } = outbound ?? {}
    const fields: Record<string, string> = {
      ...{ sessionId: this.callSid, callerNumber: from, destinationNumber: to, direction: this.direction },
      ...(clientRequestId === null ? {} : { clientRequestId }),
      ...more,
    }
    const event = more['callSessionState'] ?? ''
    return this.options.encoding === 'json'
      ? this.#post(url, event, 'application/json', JSON.stringify(fields))
      : this.#post(url, event, 'application/x-www-form-urlencoded', new URLSearchParams(fields).toString())
  }

  /** Never rejects: the answer has the fault. */
  async #post(url: string, event: string, contentType: string, body: string): Promise<TimedAnswer> {
    const answer = await this.#postOnce(url, event, contentType, body)
    const { connectRetryMs } = this.options
    if (connectRetryMs === undefined || answer.fault?.includes('ECONNREFUSED') !== true) return answer
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
    // Completed must not overtake a StreamStopped that is not answered yet.
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

/** How the carrier reports what became of a number that it rang: in a webhook, and in the record of the call. */
const REPORTED: Readonly<
  Record<HumanOutcome, { readonly state: string; readonly status: LegEnd['status']; readonly cause: string }>
> = {
  answered: { state: 'DialCompleted', status: 'completed', cause: 'normal_clearing' },
  busy: { state: 'Busy', status: 'busy', cause: 'user_busy' },
  'no-answer': { state: 'NoAnswer', status: 'no_answer', cause: 'no_answer' },
  declined: { state: 'Failed', status: 'failed', cause: 'call_rejected' },
}

/** Places a call and runs it to its end. `done` does not reject for faults of the gateway; the result has them. */
export function startCall(options: PlaceCallOptions): LiveSimulatedCall {
  const call = new SimulatedCall(options)
  return { callSid: call.callSid, done: call.run(), hangUp: () => call.hangUp() }
}

/** An answer to a webhook, or why none came in time. */
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

/** Documents of one call that are run. */
const DOCUMENTS_MAX = 20
/** How long a caller waits in silence before hanging up. */
const GIVE_UP_MS = 20_000
const GET_DIGITS_TIMEOUT_S = 5
const POLL_MS = 50
/** The carrier's own voice, and the voice of the human that a Dial reaches. */
export const CARRIER_VOICE: CallerVoice = 'kal'
const HUMAN_VOICE: CallerVoice = 'awb'
const DEFAULT_HUMAN: SimulatedHuman = {
  outcome: 'answered',
  ringMs: 2000,
  talkMs: 2000,
  greeting: 'Hello, how can I help you?',
}

/** Continuation after a verb: the next one, or another document; a document without verbs is the end. */
type Then = readonly Verb[] | null
const NEXT = null
const END: readonly Verb[] = []

/** How a Stream verb ended: its socket closed, was never opened, or stays open while the document continues. */
type StreamEnd = 'stopped' | 'refused' | 'in-background'

/** Runs a document and every document that follows it. Returns when the call has ended or nothing is left to run. */
async function runDocuments(call: SimulatedCall, first: readonly Verb[]): Promise<void> {
  let verbs = first
  for (let documents = 0; verbs.length > 0 && !call.ended; documents++) {
    if (documents === DOCUMENTS_MAX) return call.complain(`more than ${DOCUMENTS_MAX} documents in one call`)
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
      return say(call, verb.text, CARRIER_VOICE)
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

/** Collects digits until there are enough, `finishOnKey` is pressed, or none comes for the timeout. */
async function getDigits(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  for (const inner of verb.children) {
    if (call.ended) return END
    if (inner.name === 'Say') call.emit({ type: 'verb', name: 'Say', text: inner.text })
    await (inner.name === 'Say' ? say(call, inner.text, CARRIER_VOICE) : play(call, inner.text))
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
  const human = call.options.human ?? DEFAULT_HUMAN
  const listed = verb.attributes['phoneNumbers']?.split(',') ?? []
  const numbers = [...listed, ...verb.children.map((child) => child.text), verb.text]
    .map((number) => number.trim())
    .filter((number) => number !== '')
  if (numbers.length === 0) call.complain('Dial names nobody')
  const ringMs = Math.min(human.ringMs, seconds(verb, 'timeout', 60) * 1000)
  await call.play(ringingTone(ringMs, call.caller.leg.sampleRateHz))
  if (call.ended) return END
  const outcome = human.ringMs > ringMs ? 'no-answer' : human.outcome
  call.dialled(numbers, outcome)
  if (outcome === 'answered') {
    if (human.greeting !== null) await say(call, human.greeting, HUMAN_VOICE)
    await call.wait(human.talkMs)
  }
  if (call.ended || call.options.dialEdge === 'none') return call.ended ? END : NEXT
  const state = call.options.dialEdge === 'outcome' ? REPORTED[outcome].state : 'DialCompleted'
  return documentOr(await call.postVoice({ callSessionState: state, isActive: '1', dialCallStatus: outcome }), NEXT)
}

/** The leg waits in the room until the room closes or someone ends the call. */
async function conference(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  await call.stayInRoom(verb.text.trim(), verb.attributes['endOnExit'] === 'true')
  return call.ended ? END : NEXT
}

async function redirect(call: SimulatedCall, verb: Verb): Promise<Then> {
  return (await call.postForDocument('redirect', verb.text, { callSessionState: 'Answered', isActive: '1' })) ?? END
}

/** Runs a Stream verb. After it the carrier continues in one of three ways that were documented or observed. */
async function stream(call: SimulatedCall, verb: Verb): Promise<Then> {
  const end = await runStream(call, verb)
  if (call.ended) return END
  if (end === 'in-background') return NEXT
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
/** Fetches the file, so that a wrong URL is found. The caller hears silence for as long as the file lasts. */
async function play(call: SimulatedCall, url: string): Promise<Then> {
  call.answer()
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PLAY_TIMEOUT_MS) })
    if (!response.ok) throw new Error(`answered with ${response.status}`)
    const bytes = Math.min(PLAY_BYTES_MAX, (await response.arrayBuffer()).byteLength)
    // The duration is computed as for s16 mono at 16 kHz.
    await call.wait(bytes / 32)
  } catch (thrown) {
    call.complain(`Play could not fetch its url: ${messageOf(thrown)}`)
  }
  return NEXT
}

async function record(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
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

/** Streams of one call in its result. */
const STREAMS_MAX = 20
const HANDSHAKE_TIMEOUT_MS = 5000
/** Longest time for which queued audio still plays after the gateway has closed the socket. */
const PLAY_OUT_MS_MAX = 10_000
const FRAMES_BEFORE_LATE_TEXT = 5

/** Runs a Stream verb until its socket has ended or the call has. */
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

/** One Stream verb: its media socket, from the handshake to the last of its sound. */
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

  /** Null when the gateway refuses the socket. */
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

  /** Until the socket or the call ends; then ends the other one and posts `stream-stopped`. */
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

  /** Posts an event to the document's status callback, if any, and to the URL that the carrier was observed to use. */
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
    // The carrier posts StreamStarted to the voice URL. The after-stream behaviour decides who gets StreamStopped.
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
  // The body comes before the time; other carriers sign them in the reverse order.
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${body}.${seconds}`).digest('hex')}`
}

/**
 * The carrier's side of one call: posts the webhooks, runs the documents verb by verb, holds the media socket, and has
 * a simulated person as the caller. It shares no protocol code with the gateway, so that the same mistake on both sides
 * cannot hide itself.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../core/errors.js'
import { AudioFork, type ForkClosed, HandshakeRefused } from './audio-fork.js'
import type { CallerVoice, HumanOutcome } from './choices.js'
import type {
  BodyEncoding,
  EndedBy,
  OutboundLeg,
  PlaceCallOptions,
  SimulatedCallResult,
  SignatureForm,
  SimulatorEvent,
  StreamRecord,
  WebhookRecord,
} from './call-options.js'
import { callWav, measureCaller, sharedTicker } from './caller-leg.js'
import { BrowserCaller } from './browser-caller.js'
import { Caller } from './caller.js'
import type { CallerEnd, CallerEvents } from './caller.js'
import { beep, ringingTone } from './line.js'
import { seededRandom } from './random.js'
import type { CarrierCall, LegEnd } from './rest/workspace.js'
import {
  DEFAULT_HUMAN,
  documentOr,
  END,
  GET_DIGITS_TIMEOUT_S,
  HUMAN_VOICE,
  NEXT,
  POLL_MS,
  runDocument,
  seconds,
} from './documents.js'
import type { DocumentCall, StreamEnd, Then } from './documents.js'
import { DocumentRefused, parseVoiceDocument, readStream, type StreamRequest, type Verb } from './voice-document.js'

/** Without an answer within this time the carrier plays its downtime message. */
const WEBHOOK_TIMEOUT_MS = 10_000
const COMPLAINTS_MAX = 100
const WEBHOOKS_KEPT_MAX = 200

/** A call in progress. */
export interface LiveSimulatedCall {
  readonly callSid: string
  readonly done: Promise<SimulatedCallResult>
  /** `POST /v1/calls/{id}/hangup`. */
  hangUp(): void
}

/** How the carrier reports an outbound call that was not answered. */
const UNANSWERED: Readonly<
  Record<
    Exclude<HumanOutcome, 'answered'>,
    { readonly state: string; readonly status: LegEnd['status']; readonly cause: string }
  >
> = {
  busy: { state: 'Busy', status: 'busy', cause: 'user_busy' },
  'no-answer': { state: 'NoAnswer', status: 'no_answer', cause: 'no_answer' },
  declined: { state: 'Failed', status: 'failed', cause: 'call_rejected' },
}

/** Places a call and runs it to its end. `done` does not reject for faults of the gateway; the result has them. */
export function startCall(options: PlaceCallOptions): LiveSimulatedCall {
  const call = new SimulatedCall(options)
  return {
    callSid: call.callSid,
    done: call.run(),
    hangUp: () => {
      call.hangUp()
    },
  }
}

class SimulatedCall implements CarrierCall, DocumentCall {
  readonly callSid: string
  readonly options: PlaceCallOptions
  readonly ending: Promise<void>
  caller!: CallerEnd
  readonly streamOutcomes: StreamOutcome[] = []
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
  #supervisor: { readonly gone: Promise<void>; leave(): void } | null = null
  readonly #wallOffsetMs = Date.now() - performance.now()

  constructor(options: PlaceCallOptions) {
    this.options = options
    this.callSid = options.callSid ?? `HD_${randomBytes(6).toString('hex')}`
    this.ending = new Promise((resolve) => {
      this.#resolveEnding = resolve
    })
  }

  get ended(): boolean {
    return this.#ended !== null
  }
  get startedMs(): number {
    return this.#startedMs
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
  get clientRequestId(): string | null {
    return this.options.outbound?.clientRequestId ?? null
  }

  hangUp(): void {
    this.end('api', 'hung up through the REST API')
  }

  async run(): Promise<SimulatedCallResult> {
    const { outbound, workspace } = this.options
    if (outbound === undefined) await this.#openLeg('caller')
    this.#startedMs = performance.now()
    workspace?.began(this, this.#wallMs(this.#startedMs))
    const taken = outbound === undefined || (await this.#ring(outbound))
    const first = taken
      ? await this.postVoice({ callSessionState: outbound === undefined ? 'Ringing' : 'Answered', isActive: '1' })
      : []
    if (!taken) this.end('callee', outbound?.outcome ?? '')
    else if (first === null)
      this.end('carrier', 'the voice webhook gave no document: the carrier plays its downtime message')
    else await runDocument(this, first)
    this.end('document', 'the document has nothing left to do')
    const endedMs = performance.now()
    await this.caller.end(endedMs)
    if (taken) await this.#completed(endedMs)
    await Promise.all(this.#background)
    workspace?.over(this, this.#legEnd(endedMs))
    return this.#result(endedMs)
  }

  async #openLeg(who: 'caller' | 'callee'): Promise<void> {
    const { caller } = this.options
    const events: CallerEvents = {
      onSaid: (text) => {
        this.emit({ type: 'said', text })
      },
      onHeard: (text) => {
        this.emit({ type: 'heard', text })
      },
      onDigits: (digits) => {
        this.#digits.push(...digits)
      },
      onHungUp: (why) => {
        this.end(who, why)
      },
    }
    this.caller =
      caller instanceof BrowserCaller
        ? caller.open(sharedTicker, events)
        : await Caller.ready(caller, sharedTicker, events)
  }

  /** Rings the called phone. @returns true if it is answered */
  async #ring(outbound: OutboundLeg): Promise<boolean> {
    this.postNotice('voice', this.options.voiceUrl, { callSessionState: 'Ringing', isActive: '1' })
    await Promise.race([sleep(outbound.ringMs, undefined, { ref: false }), this.ending])
    await Promise.all(this.#background)
    await this.#openLeg('callee')
    if (outbound.outcome === 'answered' && !this.ended) {
      this.answer()
      return true
    }
    const state = this.ended || outbound.outcome === 'answered' ? 'Completed' : UNANSWERED[outbound.outcome].state
    const last = { callSessionState: state, isActive: '0', durationInSeconds: '0' }
    this.postNotice('voice', this.options.voiceUrl, last)
    this.postNotice('events', this.options.eventsUrl, last)
    return false
  }

  #legEnd(endedMs: number): LegEnd {
    const { outbound } = this.options
    const unanswered =
      outbound === undefined || outbound.outcome === 'answered' || this.answered ? null : UNANSWERED[outbound.outcome]
    const audio = this.caller.leg.recording()
    return {
      status: unanswered !== null ? unanswered.status : this.answered ? 'completed' : 'failed',
      hangupCause: unanswered !== null ? unanswered.cause : 'normal_clearing',
      answeredWallMs: this.#answeredMs === null ? null : this.#wallMs(this.#answeredMs),
      endedWallMs: this.#wallMs(endedMs),
      recording: audio === null ? null : callWav(audio),
    }
  }

  #wallMs(monotonicMs: number): number {
    return Math.round(monotonicMs + this.#wallOffsetMs)
  }

  // --- the documents' verbs --------------------------------------------------------------------------------

  readonly nowMs = (): number => performance.now()

  async wait(ms: number): Promise<void> {
    await Promise.race([sleep(ms, undefined, { ref: false }), this.ending])
  }

  async say(text: string, voice: CallerVoice): Promise<void> {
    const { leg } = this.caller
    const pcm = await this.options.caller.speech.speak(text, voice, leg.sampleRateHz).catch((thrown: unknown) => {
      this.complain(`the carrier could not say a text: ${messageOf(thrown)}`)
      return new Int16Array(0)
    })
    await Promise.race([leg.play(pcm), this.ending])
    leg.stopPlaying()
  }

  async ring(ms: number): Promise<void> {
    const { leg } = this.caller
    await Promise.race([leg.play(ringingTone(ms, leg.sampleRateHz)), this.ending])
    leg.stopPlaying()
  }

  dialled(numbers: readonly string[], outcome: HumanOutcome): void {
    this.dials.push({ numbers, outcome })
    this.emit({ type: 'dialled', numbers, outcome })
  }

  play(url: string): Promise<Then> {
    return play(this, url)
  }

  record(verb: Verb): Promise<Then> {
    return record(this, verb)
  }

  stream(verb: Verb): Promise<StreamEnd> {
    return runStream(this, verb)
  }

  // --- REST API and conference rooms -----------------------------------------------------------------------

  supervise(number: string): boolean {
    if (this.#supervisor !== null || this.ended) return false
    let leave: () => void = () => undefined
    const gone = new Promise<void>((resolve) => {
      leave = resolve
    })
    this.#supervisor = { gone, leave }
    this.keep(
      this.#supervised(number, gone).finally(() => {
        this.#supervisor = null
      }),
    )
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
      postEnvelope(this.#routed(eventsUrl, kind), envelope, this.#webhookOptions()).then((answer) => {
        this.#note('events', kind, answer, [])
        if (answer.status === null || answer.status >= 300)
          this.complain(`the events webhook (${kind}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
      }),
    )
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

  /** The leg counts as answered from the first verb that makes a sound. */
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

  takeDigit(): string | null {
    return this.#digits.shift() ?? null
  }

  /** Fields of every webhook of this call, with the PBX's names. */
  fields(more: Readonly<Record<string, string>>): Record<string, string> {
    return {
      sessionId: this.callSid,
      callerNumber: this.options.from,
      destinationNumber: this.options.to,
      direction: this.direction,
      ...(this.clientRequestId === null ? {} : { clientRequestId: this.clientRequestId }),
      ...more,
    }
  }

  async postVoice(more: Readonly<Record<string, string>>): Promise<readonly Verb[] | null> {
    return this.postForDocument('voice', this.options.voiceUrl, more)
  }

  async postForDocument(
    kind: WebhookRecord['url'],
    url: string,
    more: Readonly<Record<string, string>>,
  ): Promise<readonly Verb[] | null> {
    const state = more['callSessionState'] ?? ''
    const answer = await postWebhook(this.#routed(url, state), this.fields(more), this.#webhookOptions())
    const verbs = answer.status === 200 ? this.#parse(answer, state) : null
    this.#note(kind, state, answer, verbs ?? [])
    if (answer.status !== 200)
      this.complain(`the ${kind} webhook (${state}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
    return verbs
  }

  /** Posts a state change in the background. The carrier does not run the answer. */
  postNotice(kind: WebhookRecord['url'], url: string | null, more: Readonly<Record<string, string>>): void {
    if (url === null) return
    const state = more['callSessionState'] ?? more['streamEvent'] ?? ''
    const routed = this.#routed(url, state)
    const posted = postWebhook(routed, this.fields(more), this.#webhookOptions()).then((answer) => {
      const document = kind === 'voice' && answer.status === 200 ? this.#parse(answer, state) : null
      this.#note(kind, state, answer, document ?? [])
      if (answer.status === null || answer.status >= 300) {
        this.complain(`the ${kind} webhook (${state}) was answered with ${answer.status ?? answer.fault ?? 'nothing'}`)
      }
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
    const record: WebhookRecord = {
      atMs: Math.round(performance.now() - answer.ms - this.#startedMs),
      url,
      state,
      status: answer.status,
      ms: answer.ms,
      verbs: verbs.map((verb) => verb.name),
      fault: answer.fault,
    }
    if (this.#webhooks.length < WEBHOOKS_KEPT_MAX) this.#webhooks.push(record)
    this.emit({ type: 'webhook', state, status: answer.status, ms: Math.round(answer.ms), verbs: record.verbs })
  }

  #routed(url: string, state: string): string {
    return this.options.route?.(url, state) ?? url
  }

  #webhookOptions(): WebhookOptions {
    return {
      encoding: this.options.encoding ?? 'form',
      secret: this.options.secret ?? null,
      signature: this.options.signature ?? 'timestamped',
      connectRetryMs: this.options.connectRetryMs ?? null,
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
    const streams = this.streamOutcomes.map((stream) => stream.record(this.#startedMs))
    const originMs = this.streamOutcomes.at(-1)?.openedAtMs ?? this.#answeredMs ?? this.#startedMs
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

/** A simulator event without `callSid` and `atMs`, which the call adds. */
type CallEvent = SimulatorEvent extends infer E
  ? E extends SimulatorEvent
    ? Omit<E, 'callSid' | 'atMs'>
    : never
  : never

/** The media socket of a call, open or closed. */
interface StreamOutcome {
  readonly openedAtMs: number
  closedAtMs: number | null
  record(startedMs: number): StreamRecord
}

/** Bound of the documents of one call, for a gateway that redirects in circles. */
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
    await Promise.race([sleep(bytes / 32, undefined, { ref: false }), call.ending])
  } catch (thrown) {
    call.complain(`Play could not fetch its url: ${messageOf(thrown)}`)
  }
  return NEXT
}

async function record(call: SimulatedCall, verb: Verb): Promise<Then> {
  call.answer()
  const { leg } = call.caller
  if (verb.attributes['playBeep'] !== 'false') await Promise.race([leg.play(beep(leg.sampleRateHz)), call.ending])
  const startedMs = performance.now()
  const untilMs = startedMs + Math.min(RECORD_S_MAX, seconds(verb, 'maxLength', RECORD_S_MAX)) * 1000
  const silenceMs = seconds(verb, 'timeout', GET_DIGITS_TIMEOUT_S) * 1000
  let spokenMs = startedMs
  while (!call.ended && performance.now() < untilMs && performance.now() - spokenMs < silenceMs) {
    if (leg.player.speaking) spokenMs = performance.now()
    if (call.takeDigit() === (verb.attributes['finishOnKey'] ?? '#')) break
    await Promise.race([sleep(POLL_MS), call.ending])
  }
  const action = verb.attributes['action']
  if (call.ended || action === undefined) return call.ended ? END : NEXT
  const durationS = String(Math.round((performance.now() - startedMs) / 1000))
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
  const request = readRequest(call, verb)
  if (request === null) return 'refused'
  const streamSid = `ST_${randomBytes(6).toString('hex')}`
  let closed: (reason: ForkClosed) => void = () => undefined
  const closing = new Promise<ForkClosed>((resolve) => {
    closed = resolve
  })
  const fork = await openFork(call, request, streamSid, closed)
  if (fork === null) return 'refused'
  call.answer()
  const outcome = attachFork(call, fork, request)
  postStreamEvent(call, request, streamSid, 'stream-started')
  const ending = closeTogether(call, fork, request, streamSid, closing, outcome)
  if (request.connect) {
    await ending
    return 'stopped'
  }
  call.keep(ending)
  return 'in-background'
}

function readRequest(call: SimulatedCall, verb: Verb): StreamRequest | null {
  try {
    const { request, complaints } = readStream(verb)
    for (const complaint of complaints) call.complain(complaint)
    return request
  } catch (thrown) {
    if (!(thrown instanceof DocumentRefused)) throw thrown
    call.complain(thrown.message)
    return null
  }
}

async function openFork(
  call: SimulatedCall,
  request: StreamRequest,
  streamSid: string,
  onClosed: (closed: ForkClosed) => void,
): Promise<AudioFork | null> {
  const { options } = call
  try {
    return await AudioFork.connect(
      {
        url: options.mediaRoute?.(request.url) ?? request.url,
        timeoutMs: HANDSHAKE_TIMEOUT_MS,
        verifyTls: options.verifyTls ?? true,
        sampleRateHz: request.outputRateHz,
        channels: request.track === 'both_tracks' && options.trackLayout === 'stereo' ? 2 : 1,
        firstText: firstText(call, request, streamSid),
        framesBeforeFirstText: options.firstText === 'after-audio' ? FRAMES_BEFORE_LATE_TEXT : 0,
        honourKill: options.honourKill ?? true,
        answerMarks: options.answerMarks ?? true,
        coalesceFrames: options.coalesceFrames ?? 1,
      },
      { onClosed },
    )
  } catch (thrown) {
    const status = thrown instanceof HandshakeRefused ? thrown.status : null
    call.complain(`the media socket could not be opened: ${messageOf(thrown)}`)
    postStreamEvent(
      call,
      request,
      streamSid,
      'stream-error',
      `handshake failed${status === null ? '' : ` with ${status}`}`,
    )
    return null
  }
}

function attachFork(call: SimulatedCall, fork: AudioFork, request: StreamRequest): StreamOutcome {
  const { leg } = call.caller
  const { jitter } = call.options
  if (jitter)
    leg.stallEvery = { everyMs: jitter.everyMs, stallMsMax: jitter.stallMsMax, random: seededRandom(jitter.seed) }
  leg.attach({
    fork,
    outputRateHz: request.outputRateHz,
    inputRateHz: request.inputRateHz,
    track: request.track,
    layout: call.options.trackLayout ?? 'mixed',
  })
  const openedAtMs = performance.now()
  leg.stallsAt = [...(call.options.stalls ?? [])]
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ atMs, ms }) => ({ atMs: openedAtMs + atMs, ms }))
  call.emit({ type: 'stream-opened', path: new URL(request.url).pathname })
  const outcome: StreamOutcome = {
    openedAtMs,
    closedAtMs: null,
    record: (startedMs) => recordOf(fork, new URL(request.url).pathname, outcome, startedMs),
  }
  if (call.streamOutcomes.length < STREAMS_MAX) call.streamOutcomes.push(outcome)
  return outcome
}

/** Waits until the socket or the call ends, then ends the other one and posts `stream-stopped`. */
async function closeTogether(
  call: SimulatedCall,
  fork: AudioFork,
  request: StreamRequest,
  streamSid: string,
  closing: Promise<ForkClosed>,
  outcome: StreamOutcome,
): Promise<void> {
  await Promise.race([closing, call.ending])
  outcome.closedAtMs = performance.now()
  if (fork.closed === null) fork.close()
  else await playOut(call, fork)
  call.caller.leg.detach()
  const closed = fork.closed ?? { by: 'carrier', code: null, reason: '' }
  call.emit({ type: 'stream-closed', by: closed.by, code: closed.code })
  postStreamEvent(call, request, streamSid, 'stream-stopped')
}

/** Waits until the audio that was queued when the socket closed has been played. */
async function playOut(call: SimulatedCall, fork: AudioFork): Promise<void> {
  const untilMs = performance.now() + PLAY_OUT_MS_MAX
  while (fork.playout.releasedSamples > 0 && !call.ended && performance.now() < untilMs) {
    await Promise.race([sleep(20), call.ending])
  }
}

/**
 * Posts a stream event to the document's status callback, if any, and to the URL that the carrier was observed to use.
 */
function postStreamEvent(
  call: SimulatedCall,
  request: StreamRequest,
  streamSid: string,
  event: string,
  error?: string,
): void {
  const more = {
    streamSid,
    streamEvent: event,
    streamStatus: event,
    ...(request.name === null ? {} : { name: request.name }),
    ...(error === undefined ? {} : { streamError: error }),
  }
  if (request.statusCallback !== null && request.statusEvents.includes(event))
    call.postNotice('status', request.statusCallback, more)
  const edge = { ...more, callSessionState: EDGE[event] ?? event, isActive: '1' }
  // The carrier posts StreamStarted to the voice URL. The after-stream behaviour decides who gets StreamStopped.
  if (event === 'stream-started') call.postNotice('voice', call.options.voiceUrl, edge)
  else if (call.ended || call.options.afterStream !== 'reposts') call.postNotice('events', call.options.eventsUrl, edge)
}

const EDGE: Readonly<Record<string, string>> = {
  'stream-started': 'StreamStarted',
  'stream-stopped': 'StreamStopped',
  'stream-error': 'StreamError',
}

function firstText(call: SimulatedCall, request: StreamRequest, streamSid: string): string | null {
  const shape: PlaceCallOptions['firstText'] = call.options.firstText ?? 'wrapper'
  if (shape === 'none') return null
  if (shape === 'opaque') return request.openMetadata
  return JSON.stringify({
    event: 'start',
    streamSid,
    callSid: call.callSid,
    from: call.options.from,
    to: call.options.to,
    ...(request.name === null ? {} : { name: request.name }),
    ...(request.headerMetadata === null ? {} : { headers: request.headerMetadata }),
    ...(request.openMetadata === null ? {} : { metadata: request.openMetadata }),
  })
}

function recordOf(
  fork: AudioFork,
  path: string,
  { openedAtMs, closedAtMs }: StreamOutcome,
  startedMs: number,
): StreamRecord {
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

interface WebhookOptions {
  readonly encoding: BodyEncoding
  /** Null leaves the signature out. */
  readonly secret: string | null
  readonly signature: SignatureForm
  /** After this a refused connection is tried once more; null for never. */
  readonly connectRetryMs: number | null
}

interface WebhookAnswer {
  /** Null when there was no answer in time. */
  readonly status: number | null
  readonly contentType: string
  readonly body: string
  readonly ms: number
  readonly fault: string | null
}

/** Longer answers are cut off here. */
const ANSWER_CHARS_MAX = 256 * 1024

/** The signature header's value for a body. */
export function signBody(body: string, secret: string, form: SignatureForm, wallMs: number): string {
  if (form === 'bare') return createHmac('sha256', secret).update(body).digest('hex')
  const seconds = Math.floor(wallMs / 1000)
  // The body comes before the time; other carriers sign them in the reverse order.
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${body}.${seconds}`).digest('hex')}`
}

/** Posts one webhook. Never rejects: the answer has the fault. */
async function postWebhook(
  url: string,
  fields: Readonly<Record<string, string>>,
  options: WebhookOptions,
): Promise<WebhookAnswer> {
  const isJson = options.encoding === 'json'
  const body = isJson ? JSON.stringify(fields) : new URLSearchParams(fields).toString()
  return postBody(
    url,
    body,
    isJson ? 'application/json' : 'application/x-www-form-urlencoded',
    fields['callSessionState'] ?? '',
    options,
  )
}

/** Posts an event in the carrier's envelope; these are always JSON. */
function postEnvelope(
  url: string,
  envelope: { readonly kind: string } & Readonly<Record<string, unknown>>,
  options: WebhookOptions,
): Promise<WebhookAnswer> {
  return postBody(url, JSON.stringify(envelope), 'application/json', envelope.kind, options)
}

async function postBody(
  url: string,
  body: string,
  contentType: string,
  event: string,
  options: WebhookOptions,
): Promise<WebhookAnswer> {
  const answer = await postOnce(url, body, contentType, event, options)
  if (options.connectRetryMs === null || answer.fault?.includes('ECONNREFUSED') !== true) return answer
  await sleep(options.connectRetryMs, undefined, { ref: false })
  return postOnce(url, body, contentType, event, options)
}

async function postOnce(
  url: string,
  body: string,
  contentType: string,
  event: string,
  options: WebhookOptions,
): Promise<WebhookAnswer> {
  const headers: Record<string, string> = { 'content-type': contentType }
  if (options.secret !== null) {
    headers['x-sautikit-signature'] = signBody(body, options.secret, options.signature, Date.now())
    if (options.signature === 'bare') headers['x-sautikit-event'] = event
  }
  const startedMs = performance.now()
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers,
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(WEBHOOK_TIMEOUT_MS),
    })
    const text = (await response.text()).slice(0, ANSWER_CHARS_MAX)
    return {
      status: response.status,
      contentType: response.headers.get('content-type') ?? '',
      body: text,
      ms: performance.now() - startedMs,
      fault: null,
    }
  } catch (thrown) {
    const cause = thrown instanceof Error && thrown.cause !== undefined ? `: ${messageOf(thrown.cause)}` : ''
    return {
      status: null,
      contentType: '',
      body: '',
      ms: performance.now() - startedMs,
      fault: `${messageOf(thrown)}${cause}`,
    }
  }
}

import type { WaitAnswer, WaitStatus } from '../../src/workers/main/wait-status.js'
import type { CallTimelineView, LiveCallRow, LiveCallState, LiveCallView } from '../../src/call/documents/call-view.js'
import { GatewayError } from '../../src/core/errors.js'
import type { CallSid } from '../../src/core/ids.js'
import type { StreamFault } from '../../src/call/events.js'
import type { CarrierState, HumanEvent } from '../../src/sautikit/carrier-state.js'
import type { Handoff } from '../../src/call/documents/handoff.js'
import type { CallRecord, EndReason } from '../../src/call/documents/record.js'
import type { ContinuationAsker } from '../../src/escalation/documents.js'
import type { VoiceAction } from '../../src/sautikit/actions.js'
import { partyKey } from '../../src/sautikit/phone.js'
import type { StreamText } from '../../src/sautikit/stream-messages.js'
import type { KeptState } from '../../src/call/documents/kept-call.js'
import type { BackendView } from '../../src/workers/main/backend-status.js'
import type { Overload } from '../../src/workers/main/load-gate.js'
import type {
  AgentFacts,
  CallDirectory,
  Listening,
  LiveCall,
  MediaSink,
  NewCall,
  RefusedCall,
} from '../../src/workers/main/live-call.js'

/** A call that records what the edge does with it and answers as the test says. */
export class ScriptedCall implements LiveCall {
  readonly callSid: CallSid
  readonly agent: string
  readonly legRateHz = 16000
  state: LiveCallState = 'waiting'
  document: string | null = null
  readonly streamOffers = 1
  isOfferedAgain = true
  language: string | undefined = undefined
  lostStream: KeptState | null = null
  afterStreamUrl: string | null = null
  humanUrl: string | null = null
  continueUrl: LiveCall['continueUrl'] = null
  /** Posts for its tools, and its answers. */
  readonly waitsNews: { readonly id: string; readonly news: WaitStatus }[] = []
  waitAnswer: WaitAnswer = 'taken'
  escalating = false
  sink: MediaSink | null = null
  /** Sends every frame back. */
  echo = false
  frames = 0
  bytes = 0
  oddFrames = 0
  texts: StreamText[] = []
  states: CarrierState[] = []
  humans: HumanEvent[] = []
  askers: ContinuationAsker[] = []
  /** DTMF digits that came with a request. */
  keys: string[] = []
  /** The document of a human's leg. */
  forHuman: readonly VoiceAction[] = []
  hangups: { reason: EndReason; detail: string; speak: boolean }[] = []
  escalations: string[] = []
  detachedWith: number | null = null
  /** Why the socket went away, where it was neither closed in order nor by us. */
  streamFault: StreamFault | null = null
  /** The continuation of the call; given once. */
  next: readonly VoiceAction[] = []
  readonly #started: NewCall
  #waiters: { readonly done: () => boolean; readonly resolve: () => void }[] = []

  constructor(started: NewCall) {
    this.#started = started
    this.callSid = started.callSid
    this.agent = started.agent
  }

  attach(sink: MediaSink): void {
    if (this.state !== 'waiting') throw new GatewayError('DUPLICATE_CALL', 'this call has its socket')
    this.state = 'streaming'
    this.sink = sink
    this.#changed()
  }

  audio(bytes: Uint8Array): void {
    this.frames++
    this.bytes += bytes.byteLength
    if (bytes.byteLength % 2 === 1) this.oddFrames++
    if (this.echo) this.sink?.sendAudio(bytes)
    if (this.#waiters.length > 0) this.#changed()
  }

  text(messages: readonly StreamText[]): void {
    this.texts.push(...messages)
    this.#changed()
  }

  refused = false
  streamRefused(): void {
    this.refused = true
  }

  streamOver(): void {
    this.detach(1006, { reason: 'socket-lost', detail: 'the carrier asked how the call goes on' })
  }

  detach(code: number, fault?: StreamFault): void {
    this.detachedWith = code
    this.streamFault = fault ?? null
    this.sink = null
    if (this.state === 'streaming') this.state = this.lostStream === null ? 'ended' : 'cut'
    this.#changed()
  }

  carrierState(state: CarrierState): void {
    this.states.push(state)
  }

  humanDocument(): readonly VoiceAction[] {
    return this.forHuman
  }

  human(event: HumanEvent): void {
    this.humans.push(event)
  }

  continuation(asker: ContinuationAsker, digits: string | null = null): readonly VoiceAction[] {
    this.askers.push(asker)
    if (digits !== null) this.keys.push(digits)
    const actions = this.next
    this.next = []
    return actions
  }

  hangup(reason: EndReason, detail: string, speak: boolean): void {
    this.hangups.push({ reason, detail, speak })
    this.sink?.close(1000)
    this.#changed()
  }

  takeWaitStatus(id: string, news: WaitStatus): Promise<WaitAnswer> {
    this.waitsNews.push({ id, news })
    return Promise.resolve(this.waitAnswer)
  }

  escalate(reason: string): void {
    this.escalations.push(reason)
  }

  readonly whispers: string[] = []

  whisper(text: string): boolean {
    if (this.state !== 'streaming') return false
    this.whispers.push(text)
    return true
  }

  /** Gives rows to who listens. */
  heard: ((rows: Int16Array<ArrayBuffer>) => void) | null = null
  over: () => void = () => undefined

  listen(heard: (rows: Int16Array<ArrayBuffer>) => void, over: () => void): Listening | null {
    if (this.state !== 'streaming') return null
    this.heard = heard
    this.over = over
    return { rateHz: this.legRateHz, stop: () => (this.heard = null) }
  }

  isOf(number: string): boolean {
    return this.#started.from === number
  }

  row(): LiveCallRow {
    return {
      callSid: this.callSid,
      agent: this.agent,
      backend: 'embedded',
      state: this.state,
      direction: this.#started.direction,
      from: '+2547…01',
      to: '+2547…02',
      ...(this.#started.number === undefined ? {} : { number: this.#started.number }),
      startedAt: '2026-11-20T00:00:00.000Z',
      durationMs: 0,
      lastResponseMs: null,
    }
  }

  view(): LiveCallView {
    return { ...this.row(), transcript: [], toolCalls: [], rehomes: 0 }
  }

  timeline(): CallTimelineView {
    return {
      version: 1,
      callSid: this.callSid,
      agent: this.agent,
      agentVersion: null,
      backend: 'embedded',
      live: this.state !== 'ended',
      startedAt: '2026-11-20T00:00:00.000Z',
      streamOpenedMs: null,
      traceId: null,
      timeline: [{ name: 'webhook', atMs: 0 }],
      timelineDropped: 0,
      turns: [],
      bargeIns: [],
      stages: [],
      tools: [],
    }
  }

  /** Resolves when `done`, which is looked at whenever the edge did something; the test's own limit of time applies. */
  until(done: () => boolean): Promise<void> {
    if (done()) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ done, resolve }))
  }

  #changed(): void {
    const ready = this.#waiters.filter((waiter) => waiter.done())
    this.#waiters = this.#waiters.filter((waiter) => !ready.includes(waiter))
    for (const waiter of ready) waiter.resolve()
  }
}

export const ORDER_STATUS: AgentFacts = {
  name: 'order-status',
  maxCalls: null,
  stream: {
    name: 'agent',
    track: 'inbound_track',
    samplingRateHz: 16000,
    headerMetadata: { tenant: 'demo' },
    openMetadata: '{"line":"orders"}',
    statusCallback: true,
    statusEvents: ['stream-started', 'stream-stopped', 'stream-error'],
  },
  say: { verb: 'say', text: 'One moment & hello.' },
  fallback: (language) => [
    { verb: 'say', text: language === 'sw' ? 'Laini zote zina simu.' : 'All lines are busy.' },
    { verb: 'dial', numbers: ['+254700000009'] },
  ],
  busy: (language) => [
    { verb: 'say', text: language === 'sw' ? 'Simu nyingi.' : 'Too many calls.' },
    { verb: 'hangup' },
  ],
  hold: (language) => [{ verb: 'say', text: language === 'sw' ? 'Subiri.' : 'Please hold.' }],
  outbound: { from: null, ringMs: 30_000, openOn: 'answered' },
  conference: false,
  afterCall: () => [{ verb: 'say', text: 'Goodbye.' }, { verb: 'hangup' }],
}

/** An in-memory directory of scripted calls. */
export class ScriptedCalls implements CallDirectory {
  /** Answer to outcomes of calls that are over. */
  lateAnswer: WaitAnswer = 'late'
  defaultAgent: string | null = 'order-status'
  capacity = 1000
  draining = false
  readonly agents = new Map<string, AgentFacts>([
    ['order-status', ORDER_STATUS],
    ['support', { ...ORDER_STATUS, name: 'support' }],
  ])
  readonly calls = new Map<string, ScriptedCall>()
  readonly records = new Map<string, CallRecord>()
  readonly packets = new Map<string, Handoff>()
  readonly afterStreams: [string, 'asked' | 'over'][] = []
  readonly started: NewCall[] = []
  readonly refusedCalls: RefusedCall[] = []
  /** Thrown by the next `prepare`. */
  failWith: Error | null = null
  #full = false
  readonly backendViews: BackendView[] = []

  backends(): readonly BackendView[] {
    return this.backendViews
  }

  overload: Overload | null = null
  /** Live calls of each agent beside the scripted ones. */
  agentCalls: Record<string, number> = {}

  liveByAgent(): Readonly<Record<string, number>> {
    return this.agentCalls
  }

  liveByCaller(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const { direction, from } of this.started)
      if (direction === 'inbound') counts.set(partyKey(from), (counts.get(partyKey(from)) ?? 0) + 1)
    return counts
  }

  get free(): number {
    return this.overload !== null || this.#full || this.draining ? 0 : this.capacity - this.calls.size
  }

  fill(): void {
    this.#full = true
  }

  agent(name: string): AgentFacts | undefined {
    return this.agents.get(name)
  }

  /** The agent of a number, as in NUMBERS_FILE. */
  readonly numbers = new Map<string, string>()

  agentOf(number: string): string | null {
    return this.numbers.get(number) ?? null
  }

  agentNames(): readonly string[] {
    return [...this.agents.keys()]
  }

  /** Languages of callers who have called before, by their numbers. */
  readonly languages = new Map<string, string>()

  languageOf(number: string): string | undefined {
    return this.languages.get(number)
  }

  /** Kept states of calls that another node has lost. */
  readonly resumed = new Map<string, KeptState>()

  prepare(call: NewCall, kept: KeptState | null = null): LiveCall {
    if (this.failWith !== null) throw this.failWith
    if (this.calls.has(call.callSid)) throw new GatewayError('DUPLICATE_CALL', 'known')
    this.started.push(call)
    if (kept !== null) this.resumed.set(call.callSid, kept)
    const live = new ScriptedCall(this.numbers.has(call.to) ? { ...call, number: call.to } : call)
    this.calls.set(call.callSid, live)
    return live
  }

  traceId(): string | null {
    return null
  }

  refused(call: RefusedCall): void {
    this.refusedCalls.push(call)
  }

  takeLateWaitStatus(): WaitAnswer {
    return this.lateAnswer
  }

  find(callSid: string): ScriptedCall | undefined {
    return this.calls.get(callSid)
  }

  /** A call that exists. */
  get(callSid: string): ScriptedCall {
    const call = this.calls.get(callSid)
    if (call === undefined) throw new Error(`no call ${callSid}`)
    return call
  }

  live(): Iterable<LiveCall> {
    return this.calls.values()
  }

  known(callSid: string): boolean {
    return this.calls.has(callSid) || this.records.has(callSid)
  }

  ended(): readonly CallRecord[] {
    return [...this.records.values()]
  }

  record(callSid: string): CallRecord | undefined {
    return this.records.get(callSid)
  }

  handoff(callSid: string): Handoff | undefined {
    return this.packets.get(callSid)
  }

  afterStream(callSid: string, news: 'asked' | 'over'): void {
    this.afterStreams.push([callSid, news])
  }

  drain(): Promise<void> {
    this.draining = true
    return Promise.resolve()
  }
}

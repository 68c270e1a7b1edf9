import type { CallTimelineView, LiveCallRow, LiveCallState, LiveCallView } from '../../src/call/documents/call-view.js'
import { Worker } from 'node:worker_threads'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import type { CallSid } from '../../src/core/ids.js'
import { TICK_MS } from '../../src/core/limits.js'
import { PLAYOUT_TICK_PHASE_MS } from '../../src/workers/main/call-registry.js'
import type { VoiceAction } from '../../src/sautikit/actions.js'
import { CallMemoryPool } from '../../src/workers/shared/call-memory.js'
import type { CallMemory } from '../../src/workers/shared/call-memory.js'
import { PlayoutClock } from '../../src/workers/main/call/playout-clock.js'
import type { CallDirectory, LiveCall, MediaSink, NewCall } from '../../src/workers/main/live-call.js'
import { SharedCall } from '../../src/workers/shared/shared-call.js'
import { Ticker } from '../../src/workers/shared/ticker.js'
import { optionsFromEnvironment } from '../kit/process.js'
import type { ServerOptions } from '../protocol.js'
import { benchAgent, edgeParts, type EdgeParts, serve } from './serve.js'

/**
 * L0: the path of a frame through the gateway, without any processing. Edge, both rings, the worker's tick, the playout
 * clock and the main thread's tick are the gateway's own code. The worker only moves each packet from one ring to the
 * other.
 */
const options = optionsFromEnvironment<ServerOptions>('BENCH_SERVER')
const parts = edgeParts(options)
const facts = agentFacts(benchAgent(options))

/** To a worker. */
export type ToRingWorker =
  | { readonly type: 'add'; readonly callSid: string; readonly shared: CallMemory }
  | { readonly type: 'remove'; readonly callSid: string }

const workers = Array.from({ length: options.workers }, () => new Worker(new URL('./ring-worker.js', import.meta.url)))
const memory = new CallMemoryPool()

class RingCall implements LiveCall {
  readonly agent = 'bench'
  readonly legRateHz = 16000
  readonly language = undefined
  readonly callSid: CallSid
  readonly lostStream = null
  document: string | null = null
  streamOffers = 0
  afterStreamUrl: string | null = null
  humanUrl: string | null = null
  continueUrl: LiveCall['continueUrl'] = null
  readonly escalating = false
  readonly isOfferedAgain = true
  state: LiveCallState = 'waiting'
  readonly worker: Worker
  readonly #memory = memory.take()
  readonly #shared = new SharedCall(this.#memory.buffer, this.#memory.at)
  readonly #playout = new PlayoutClock(this.#shared, this.legRateHz)
  readonly #parts: EdgeParts
  readonly #over: (call: RingCall) => void
  #sink: MediaSink | null = null

  constructor(callSid: CallSid, worker: Worker, edge: EdgeParts, over: (call: RingCall) => void) {
    this.callSid = callSid
    this.worker = worker
    this.#parts = edge
    this.#over = over
    worker.postMessage({ type: 'add', callSid, shared: this.#memory } satisfies ToRingWorker)
  }

  attach(sink: MediaSink): void {
    this.#sink = sink
    this.state = 'streaming'
  }

  audio(bytes: Uint8Array): void {
    this.#shared.inbound.write(bytes, this.#parts.clock())
  }

  pump(nowMs: number): void {
    if (this.#sink !== null) this.#playout.pump(nowMs, this.#sink, null)
  }

  streamRefused(): void {}
  streamOver(): void {}

  detach(): void {
    this.#sink = null
    this.state = 'ended'
    this.worker.postMessage({ type: 'remove', callSid: this.callSid } satisfies ToRingWorker)
    this.#over(this)
  }

  hangup(): void {
    this.#sink?.close(1000)
  }

  continuation(): readonly [] {
    return []
  }

  timeline(): CallTimelineView {
    throw new Error('a bench call is not shown')
  }

  row(): LiveCallRow {
    throw new Error('a bench call is not listed')
  }
  isOf(): boolean {
    return false
  }

  view(): LiveCallView {
    throw new Error('a bench call is not shown')
  }

  text(): void {
    /* an echo reads no text */
  }
  carrierState(): void {
    /* an echo has no states */
  }
  human(): void {
    /* an echo has no escalation */
  }
  whisper(): boolean {
    return false
  }
  listen(): null {
    return null
  }
  humanDocument(): readonly VoiceAction[] {
    return []
  }
  takeWaitStatus(): Promise<'late'> {
    return Promise.resolve('late')
  }

  escalate(): void {
    /* an echo has no escalation */
  }
}

class RingCalls implements CallDirectory {
  readonly defaultAgent = 'bench'
  readonly capacity = options.calls
  readonly draining = false
  readonly overload = null
  readonly #calls = new Map<string, RingCall>()
  readonly #ticker = new Ticker({ periodMs: TICK_MS, phaseMs: PLAYOUT_TICK_PHASE_MS }, parts.clock, (nowMs) => {
    for (const call of this.#calls.values()) call.pump(nowMs)
  })
  #next = 0

  takeLateWaitStatus(): 'late' {
    return 'late'
  }

  get free(): number {
    return this.capacity - this.#calls.size
  }

  liveByCaller(): ReadonlyMap<string, number> {
    return new Map()
  }

  liveByAgent(): Readonly<Record<string, number>> {
    return { bench: this.#calls.size }
  }

  agent(name: string): typeof facts | undefined {
    return name === 'bench' ? facts : undefined
  }

  afterStream(): void {
    /* an echo has no escalation */
  }

  traceId(): null {
    return null
  }

  agentOf(): null {
    return null
  }

  agentNames(): readonly string[] {
    return ['bench']
  }

  languageOf(): undefined {
    return undefined
  }

  prepare(call: NewCall): LiveCall {
    const worker = workers[this.#next++ % workers.length] as Worker
    const ring = new RingCall(call.callSid, worker, parts, (over) => this.#calls.delete(over.callSid))
    this.#calls.set(call.callSid, ring)
    this.#ticker.start()
    return ring
  }

  refused(): void {}

  find(callSid: string): LiveCall | undefined {
    return this.#calls.get(callSid)
  }

  live(): Iterable<LiveCall> {
    return this.#calls.values()
  }

  known(callSid: string): boolean {
    return this.#calls.has(callSid)
  }

  ended(): readonly [] {
    return []
  }

  backends(): readonly [] {
    return []
  }

  record(): undefined {
    return undefined
  }

  handoff(): undefined {
    return undefined
  }

  drain(): Promise<void> {
    return Promise.resolve()
  }
}

parts.metrics.start()
const edge = await parts.open(new RingCalls())
serve(edge.publicPort, async () => {
  edge.stopAccepting()
  await edge.close()
  await Promise.all(workers.map((worker) => worker.terminate()))
})

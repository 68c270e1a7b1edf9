import { join } from 'node:path'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import type { Environment } from '../../src/agents/file/template.js'
import { ToolRunners } from '../../src/agents/tools/tool-runner.js'
import type { BackendSettings } from '../../src/backends/registry.js'
import { allCallsOn } from '../../src/backends/split.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { parseCallSid } from '../../src/core/ids.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import { agentFacts, backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { HttpClient } from '../../src/http/http-client.js'
import { ResamplerBank } from '../../src/media/resample/resampler.js'
import { OneThreadPool } from '../../src/simulator/one-thread-pool.js'
import { SimulatedClock } from '../../src/simulator/simulated-clock.js'
import { TextSpeech, TextVoices } from '../../src/simulator/scenarios/text-speech.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { CallRegistry, type CallRegistryOptions } from '../../src/workers/main/call-registry.js'
import type { LiveCall, MediaSink, NewCall } from '../../src/workers/main/live-call.js'
import { loadMediaAssets, voiceDetectors } from '../../src/workers/shared/media-assets.js'
import type { PoolCalls } from '../../src/workers/main/media-pool.js'
import type { WorkerContext } from '../../src/workers/worker/worker-context.js'

const clock = new SimulatedClock()
const startedWallMs = Date.now()

/** Clock of a test's calls, and the test's ways to wait on it. */
export interface CallTime {
  readonly nowMs: () => number
  readonly wallClock: () => number
  /** Calls `work` once after `ms`. @returns a function that cancels it */
  readonly after: (ms: number, work: () => void) => () => void
  /** Calls `listener` every 20 ms until the returned function is called. */
  readonly subscribe: (listener: () => void) => () => void
  /** Waits until `condition` holds, for at most `limitMs` of this clock. */
  readonly until: (condition: () => boolean | Promise<boolean>, limitMs: number, what: string) => Promise<void>
}

/**
 * Clock of all calls that a test file makes on its own thread, for all hosts. It moves only while the test waits on it,
 * as fast as the machine can, so that a call is the same on every machine.
 */
export const time = {
  nowMs: clock.nowMs,
  wallClock: () => startedWallMs + clock.elapsedMs,
  after: clock.after,
  subscribe: (listener) => clock.subscribe(listener),
  until: async (condition, limitMs, what) => {
    const deadlineMs = clock.nowMs() + limitMs
    while (!(await condition())) {
      if (clock.nowMs() > deadlineMs) throw new Error(`waited ${limitMs} ms of the call for ${what}`)
      await clock.step()
    }
  },
} satisfies CallTime

export const until: CallTime['until'] = time.until

/** Moves the clock by `ms`. */
export function pass(ms: number): Promise<void> {
  const untilMs = clock.nowMs() + ms
  return until(() => clock.nowMs() >= untilMs, ms, 'time to pass')
}

/** Moves the clock until `work` is settled. */
export async function settled<T>(work: Promise<T>, limitMs = 60_000): Promise<T> {
  let over = false
  const done = work.finally(() => {
    over = true
  })
  done.catch(() => undefined) // awaited below
  await until(() => over, limitMs, 'a promise to be settled')
  return done
}

export interface TestHost {
  readonly host: CallRegistry
  readonly records: CallRecord[]
  readonly metrics: Metrics
  readonly time: CallTime
  /** Waits for the record of a call that ends. */
  recordOf(callSid: string): Promise<CallRecord>
  /** Makes the caller say a text: as sound without words, and for the embedded backend as words. */
  say(line: TestLine, text: string): Promise<void>
  close(): Promise<void>
}

let shipped: Promise<AgentDefinition> | null = null

/** Definition of the shipped order line. Its tools read `SHOP_API_URL` when they run. */
export function orderStatusAgent(): Promise<AgentDefinition> {
  shipped ??= loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' }).then(
    ({ agents }) => agents.get('order-status') as AgentDefinition,
  )
  return shipped
}

let assets: ReturnType<typeof loadMediaAssets> | null = null

/** Parts of a test's pool. */
interface PoolParts {
  readonly assets: Awaited<ReturnType<typeof loadMediaAssets>>
  readonly env: Environment
  readonly backends: BackendSettings
}

/** Options of the registry, and of the pool that runs its calls. */
export interface HostChanges extends Omit<Partial<CallRegistryOptions>, 'openPool'> {
  readonly backends?: BackendSettings
  readonly time?: CallTime
  /** True for calls whose backend is a service behind a socket: the clock follows real time. @defaultValue false */
  readonly paced?: boolean
  /** Decides how long callers' frames may wait. @defaultValue as in production */
  readonly pace?: WorkerContext['pace']
  /** Opens the pool. @defaultValue this thread runs the calls, on `time` */
  readonly openPool?: (calls: PoolCalls, parts: PoolParts) => ReturnType<CallRegistryOptions['openPool']>
}

/**
 * Starts a call registry with the demo shop, without sockets: the test acts as the edge. Its calls are as in
 * production, with coded sound in place of speech; threads.ts has a host with threads, speech and real time.
 */
export async function startHost(
  {
    backends = backendSettings(loadConfig({}, null)),
    time: clockOf = time,
    paced = false,
    pace,
    openPool,
    ...changes
  }: HostChanges = {},
  change: (agent: AgentDefinition) => AgentDefinition = (agent) => agent,
): Promise<TestHost> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const { nowMs, wallClock, after } = clockOf
  const { env = { SHOP_API_URL: shop.url }, clock: callClock = nowMs } = changes
  const definition = change(await orderStatusAgent())
  const parts = { assets: await (assets ??= loadMediaAssets()), env, backends }
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const records: CallRecord[] = []
  const voices = new TextVoices(1, 1)
  const transport = new HttpClient()
  const host = new CallRegistry({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }]]),
    defaultAgent: 'order-status',
    openPool: (calls) => openPool?.(calls, parts) ?? oneThread(parts, transport, pace),
    maxCalls: 8,
    env,
    speech: codedSpeech(clockOf, voices),
    carrier: null,
    humanCalls: new HumanCalls({ perNumberPerMinute: 1000, fallbacksPerMinute: 1000 }),
    clock: callClock,
    wallClock,
    setTimer: after,
    log: createLog({ level: (process.env['TEST_LOG'] ?? 'silent') as 'silent' }),
    metrics,
    callSeries: new CallSeries({ clock: callClock }),
    keepJournal: null,
    journal: { build: 'test', audio: true },
    onRecord: (record) => records.push(record),
    ...changes,
  })
  await host.ready()
  let closed = (): void => undefined
  if (paced) void clock.pace(new Promise<void>((resolve) => (closed = resolve)))
  return {
    host,
    records,
    metrics,
    time: clockOf,
    recordOf: async (callSid) => {
      const found = (): CallRecord | undefined => records.find((record) => record.callSid === callSid)
      await clockOf.until(() => found() !== undefined, 120_000, `the record of ${callSid}`)
      return found() as CallRecord
    },
    say: async (line, text) => {
      voices.said(text, nowMs())
      line.say(await voices.speak(text, 'rms', line.call.legRateHz))
    },
    close: async () => {
      closed()
      await host.close()
      await shop.close()
      transport.close()
    },
  }
}

function oneThread(
  { assets: { rows, firKernel, ...media }, env, backends }: PoolParts,
  transport: HttpClient,
  pace: WorkerContext['pace'],
) {
  const runners = new ToolRunners(env, transport)
  return new OneThreadPool({
    clock,
    wallClock: time.wallClock,
    resamplers: new ResamplerBank({ rows, kernel: firKernel }),
    vads: voiceDetectors(media),
    backends,
    tools: ({ agent, assets: files }) => runners.of(agent, files),
    ...(pace === undefined ? {} : { pace }),
  })
}

/** Speech workers whose sound has no words: they load no models, and use almost no processor time. */
export function codedSpeech({ nowMs, after }: CallTime, voices = new TextVoices(1, 1)) {
  return {
    openSession: (): MessagePort => {
      const { port1, port2 } = new MessageChannel()
      new TextSpeech(port1, voices, { nowMs, after })
      return port2
    },
  }
}

/** Carrier's end of a call: records sent audio with its times, and the audio that the caller would hear. */
export class TestLine implements MediaSink {
  readonly call: LiveCall
  readonly texts: string[] = []
  /** All sent samples, with the time of each frame. */
  readonly frames: { readonly atMs: number; readonly samples: Int16Array }[] = []
  closedWith: number | null = null
  readonly #time: CallTime
  #stop: (() => void) | null = null
  #queue: Int16Array[] = []

  constructor(call: LiveCall, clockOf: CallTime = time) {
    this.call = call
    this.#time = clockOf
    call.attach(this)
  }

  sendAudio(bytes: Uint8Array): boolean {
    const copy = bytes.slice()
    this.frames.push({ atMs: this.#time.nowMs(), samples: new Int16Array(copy.buffer) })
    return true
  }

  sendText(text: string): void {
    this.texts.push(text)
  }

  close(code: number): void {
    this.closedWith = code
    this.stop()
  }

  /** Begins to send frames of 20 ms, with silence if `say` gave no sound. */
  start(): void {
    const silence = new Int16Array(this.call.legRateHz / 50)
    this.#stop = this.#time.subscribe(() => {
      const frame = this.#queue.shift() ?? silence
      this.call.audio(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength))
    })
  }

  stop(): void {
    this.#stop?.()
    this.#stop = null
  }

  say(samples: Int16Array): void {
    const length = this.call.legRateHz / 50
    for (let at = 0; at + length <= samples.length; at += length) this.#queue.push(samples.slice(at, at + length))
  }

  /** True if any sample louder than a fade's end was sent after `sinceMs`. */
  soundSince(sinceMs: number): boolean {
    return this.frames.some((frame) => frame.atMs >= sinceMs && frame.samples.some((sample) => Math.abs(sample) > 200))
  }

  /** Resolves when the agent has spoken and then been silent for `quietMs`. */
  async agentQuiet(quietMs: number, limitMs = 60_000): Promise<void> {
    const { nowMs, until: wait } = this.#time
    const startedMs = nowMs()
    await wait(() => this.soundSince(startedMs), limitMs, 'the agent to speak')
    await wait(() => !this.soundSince(nowMs() - quietMs), limitMs, 'the agent to fall silent')
  }
}

export const sid = parseCallSid

/** Call of a caller who rings the order line, as the edge announces it; `changes` sets other callers and agents. */
export function inbound(callSid: string, changes: Partial<NewCall> = {}): NewCall {
  const call = { callSid: sid(callSid), agent: 'order-status', from: '+254700000001', to: '+254709000000' }
  return { ...call, direction: 'inbound' as const, ...changes }
}

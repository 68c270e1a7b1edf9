import { join } from 'node:path'
import t from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { packageRoot } from '../../src/config/package-root.js'
import { loadAgents } from '../../src/agents/loader.js'
import type { AgentDefinition } from '../../src/agents/definition.js'
import { loadFlite } from '../../src/speech/flite.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import type { CallRecord } from '../../src/call/documents/record.js'
import { agentFacts, backendSettings } from '../../src/gateway/hosted-agents.js'
import { loadConfig } from '../../src/config/load-config.js'
import { parseCallSid } from '../../src/core/ids.js'
import { startShopApi } from '../../examples/shop-api/server.js'
import { HumanCalls } from '../../src/escalation/human-calls.js'
import { CallRegistry } from '../../src/workers/call-registry.js'
import type { CallRegistryOptions } from '../../src/workers/call-registry.js'
import type { LiveCall, MediaSink } from '../../src/workers/live-call.js'
import { loadMediaAssets } from '../../src/workers/media-assets.js'
import { processClock } from '../../src/workers/ticker.js'
import { CallSeries } from '../../src/telemetry/call-series.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { until } from './until.js'

export { until }

export interface TestHost {
  readonly host: CallRegistry
  readonly records: CallRecord[]
  readonly metrics: Metrics
  /** Resolves with the record of a call when it has ended. */
  recordOf(callSid: string): Promise<CallRecord>
  close(): Promise<void>
}

/** The shipped order line's definition. */
export async function orderStatusAgent(): Promise<AgentDefinition> {
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
  return agents.get('order-status') as AgentDefinition
}

let speechOfFile: SpeechPool | null = null

/** One speech pool for all hosts of a test file, because loading it takes a second of CPU time. */
async function sharedSpeech(): Promise<SpeechPool> {
  if (speechOfFile === null) {
    const pool = (speechOfFile = new SpeechPool({ decodersPerThread: 1 }))
    t.teardown(() => pool.close())
  }
  await speechOfFile.ready()
  return speechOfFile
}

/** A call registry with real workers, real speech and the demo shop, but without sockets: the test acts as the edge. */
export async function startHost(
  changes: Partial<CallRegistryOptions> = {},
  change: (agent: AgentDefinition) => AgentDefinition = (agent) => agent,
): Promise<TestHost> {
  const shop = await startShopApi({ port: 0, host: '127.0.0.1' })
  const env = { SHOP_API_URL: shop.url }
  const { agents } = await loadAgents(join(packageRoot(), 'agents'), env)
  const definition = change(agents.get('order-status') as AgentDefinition)
  const clock = processClock()
  const speech = changes.speech === null ? null : await sharedSpeech()
  const metrics = new Metrics({ version: 'test', processMetrics: false })
  const records: CallRecord[] = []
  const waiting = new Map<string, (record: CallRecord) => void>()
  const host = new CallRegistry({
    agents: new Map([['order-status', { definition, facts: agentFacts(definition), shares: allCallsOn('embedded') }]]),
    defaultAgent: 'order-status',
    workers: 1,
    maxCalls: 8,
    workerMemoryMb: 512,
    assets: await loadMediaAssets(),
    env,
    backends: backendSettings(loadConfig({}, null)),
    speech,
    carrier: null,
    humanCalls: new HumanCalls({ perNumberPerMinute: 1000, fallbacksPerMinute: 1000 }),
    clock,
    wallClock: Date.now,
    log: createLog({ level: (process.env['TEST_LOG'] ?? 'silent') as 'silent' }),
    metrics,
    callSeries: new CallSeries({ clock }),
    keepJournal: null,
    journal: { build: 'test', audio: true },
    onRecord: (record) => {
      records.push(record)
      waiting.get(record.callSid)?.(record)
    },
    ...changes,
  })
  await host.ready()
  return {
    host,
    records,
    metrics,
    recordOf: (callSid) =>
      new Promise((resolve) => {
        const known = records.find((record) => record.callSid === callSid)
        if (known === undefined) waiting.set(callSid, resolve)
        else resolve(known)
      }),
    close: async () => {
      await host.close()
      await shop.close()
    },
  }
}

/** The carrier's end of a call: what was sent to it and when, and what the caller would hear. */
export class TestLine implements MediaSink {
  readonly call: LiveCall
  readonly texts: string[] = []
  /** Everything sent, as samples with the time of each frame. */
  readonly frames: { readonly atMs: number; readonly samples: Int16Array }[] = []
  closedWith: number | null = null
  #timer: NodeJS.Timeout | null = null
  #queue: Int16Array[] = []
  #dueMs = 0

  constructor(call: LiveCall) {
    this.call = call
    call.attach(this)
  }

  sendAudio(bytes: Uint8Array): boolean {
    const copy = bytes.slice()
    this.frames.push({ atMs: performance.now(), samples: new Int16Array(copy.buffer) })
    return true
  }

  sendText(text: string): void {
    this.texts.push(text)
  }

  close(code: number): void {
    this.closedWith = code
    this.stop()
  }

  /** Begins to send 20 ms a frame, silence where nothing was given to `say`. */
  start(): void {
    const silence = new Int16Array(this.call.legRateHz / 50)
    this.#dueMs = performance.now()
    const tick = (): void => {
      while (performance.now() >= this.#dueMs) {
        const frame = this.#queue.shift() ?? silence
        this.call.audio(new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength))
        this.#dueMs += 20
      }
    }
    this.#timer = setInterval(tick, 5)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  say(samples: Int16Array): void {
    const length = this.call.legRateHz / 50
    for (let at = 0; at + length <= samples.length; at += length) this.#queue.push(samples.slice(at, at + length))
  }

  /** True when any sample louder than a fade's end was sent after `sinceMs`. */
  soundSince(sinceMs: number): boolean {
    return this.frames.some((frame) => frame.atMs >= sinceMs && frame.samples.some((sample) => Math.abs(sample) > 200))
  }

  /** Resolves when the agent has begun to speak and then been silent for `quietMs`. */
  async agentQuiet(quietMs: number, limitMs = 20_000): Promise<void> {
    const startedMs = performance.now()
    await until(() => this.soundSince(startedMs), limitMs, 'the agent to speak')
    await until(() => !this.soundSince(performance.now() - quietMs), limitMs, 'the agent to fall silent')
  }
}

let flite: Awaited<ReturnType<typeof loadFlite>> | null = null

/** A caller's words at 16 kHz, in a voice that is not the agent's. */
export async function callerSays(text: string): Promise<Int16Array> {
  flite ??= await loadFlite()
  const { pcm, sampleRateHz } = flite.speak(text, 'rms')
  if (sampleRateHz !== 16000) throw new Error(`the voice speaks at ${sampleRateHz} Hz`)
  return pcm
}

export const sid = parseCallSid

import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import { threadId } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { workerData } from 'piscina'
import type { AgentDefinition } from '../agents/definition.js'
import { HttpClient } from '../http/http-client.js'
import { LookupCounts, installNameLookup } from '../http/name-lookup.js'
import { ToolRunner } from '../agents/tool-runner.js'
import { PhraseStore } from '../speech/phrase-store.js'
import { SpeechClient } from '../speech/speech-client.js'
import { Circuits } from '../backends/failover/circuit-breaker.js'
import { ownVoiceOf } from '../backends/cascade/services.js'
import type { MessagePhrases } from '../backends/cascade/message-taker.js'
import type { OwnVoice } from '../backends/cascade/own-voice.js'
import { codeOf } from '../call/phrase.js'
import { composeBackend } from '../backends/compose.js'
import type { CompositionOptions } from '../backends/compose.js'
import { MODULE_PREFIX } from '../backends/registry.js'
import { messageOf } from '../core/errors.js'
import { ResamplerBank } from '../media/resample/resampler.js'
import { FrameHistogram } from '../telemetry/frame-histogram.js'
import { SlowestFrame } from '../telemetry/slowest-frame.js'
import type { CallEnd, CallStart, FromCall, ToCall } from './call-messages.js'
import { WorkerCall } from './worker-call.js'
import type { WorkerContext } from './worker-context.js'
import { voiceDetectors } from './media-assets.js'
import { processClock } from './ticker.js'
import { fixedPhrases, sessionOptions } from './call-setup.js'
import { releaseStartMemory } from './start-memory.js'
import { TickLoop } from './tick-loop.js'
import { Word, wordsOf } from './shared-call.js'
import { NO_CALL, RunningCode, SocketsRead, WorkerPulse, claimWorkerMemory } from './worker-memory.js'
import type { WorkerData } from './worker-memory.js'

/** Interval at which a worker writes its heartbeat. */
const WORKER_BEAT_MS = 100

/**
 * A media worker: the entry that piscina loads. One task is one call, from the webhook to the end. All calls of
 * a worker share the tick, the WebAssembly memories and the connections of their tools.
 *
 * A fault of one call must not reach the others. In the tick it is caught where the stage is called; for everything
 * that a call started outside the tick, the async context tells which call it belongs to. Faults that cannot be caught
 * (code that exits, spins or takes all memory) end the worker, and its pulse tells the main thread whose code ran.
 */
const data = workerData as WorkerData
const phrases = data.phrasesFolder === null ? null : new PhraseStore(data.phrasesFolder)
void phrases?.load()
const memory = claimWorkerMemory(data.memories, threadId)
const clock = processClock()
const memoryBytes = data.memoryMb * 1024 * 1024
const pulse = new WorkerPulse(memory.pulse)
/** The call to which the running code belongs; none in the tick and in what all calls share. */
const owner = new AsyncLocalStorage<CallCode>()
const running = new RunningCode(pulse, () => owner.getStore()?.number ?? NO_CALL, memoryBytes)
/** For work of the worker itself that a call starts. */
const ownWork = new AsyncResource('media-worker')
const loop = new TickLoop(
  clock,
  running,
  new SocketsRead(data.socketsRead),
  new FrameHistogram(memory.tickLateness),
  new FrameHistogram(memory.tickBusy),
)
installNameLookup(new LookupCounts(data.lookups))
const transport = new HttpClient()
const context: WorkerContext = {
  clock,
  resamplers: new ResamplerBank({ rows: data.assets.rows, kernel: data.assets.firKernel }),
  vads: voiceDetectors(data.assets),
  latencyIn: new FrameHistogram(memory.latencyIn),
  slowestIn: new SlowestFrame(memory.slowestIn),
  latencyOut: new FrameHistogram(memory.latencyOut),
}

/** The circuit breaker of each backend, shared by all calls of this worker. */
const circuits = new Circuits({ reconnectsPerSecond: data.backends.reconnectsPerSecond })

function failOwner(thrown: unknown): void {
  const code = owner.getStore()
  // A fault that belongs to no call: the worker's state is unknown, so it ends and its calls move to other workers.
  if (code === undefined) throw thrown
  code.fail(thrown)
}
process.on('uncaughtException', failOwner)
process.on('unhandledRejection', failOwner)

setInterval(() => {
  const { used_heap_size: heapBytes, external_memory: bufferBytes } = getHeapStatistics()
  running.measureWhile(Math.max(heapBytes, bufferBytes) > memoryBytes / 2)
  pulse.beat(clock(), bufferBytes)
}, WORKER_BEAT_MS).unref()

/** The code of one call, from the loading of its backend on; a fault in it fails this call alone. */
class CallCode {
  readonly number: number
  /** Resolves when the call failed before its `WorkerCall` existed. */
  readonly failedEarly: Promise<CallEnd>
  #call: WorkerCall | null = null
  #failed: CallEnd | null = null
  #fail!: (end: CallEnd) => void

  constructor(number: number) {
    this.number = number
    this.failedEarly = new Promise((resolve) => {
      this.#fail = resolve
    })
  }

  /** @returns false when the code has failed already, and the call's end was reported */
  runsIn(call: WorkerCall): boolean {
    this.#call = call
    return this.#failed === null
  }

  fail(thrown: unknown): void {
    if (this.#call !== null) return this.#call.fail(thrown)
    this.#failed ??= { type: 'fault', fault: messageOf(thrown) }
    this.#fail(this.#failed)
  }
}

/** One runner for each agent. Each call brings a copy of its agent's definition, so they are compared by value. */
const runners = new Map<string, Promise<ToolRunner>>()
const RUNNERS_MAX = 64

function runnerOf({ agent, assets }: CallStart): Promise<ToolRunner> {
  const key = `${agent.name} ${assets.version} ${JSON.stringify([agent.tools, agent.mcp, agent.verification])}`
  let runner = runners.get(key)
  if (runner === undefined) {
    if (runners.size >= RUNNERS_MAX) runners.clear()
    runner = ToolRunner.open(agent, assets, data.env, transport)
    // A failed load is forgotten, so that the next call tries again.
    runner.catch(() => runners.delete(key))
    runners.set(key, runner)
  }
  return runner
}

function budgetOf(agent: AgentDefinition): CompositionOptions['budget'] {
  if (agent.budget === null) return null
  const { maxMinutes, maxTokens, maxCost } = agent.budget
  return {
    ...(maxMinutes === undefined ? {} : { maxMs: maxMinutes * 60_000 }),
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(maxCost === undefined ? {} : { maxCost }),
  }
}

/** Gets a new port to a speech worker from the main thread, after the worker of the old one died. */
function reopenSpeech(port: MessagePort): Promise<MessagePort> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: ToCall): void => {
      if (message.type !== 'speech') return
      stop()
      resolve(message.port)
    }
    const onClose = (): void => {
      stop()
      reject(new Error('the call is over'))
    }
    const stop = (): void => {
      port.off('message', onMessage)
      port.off('close', onClose)
    }
    port.on('message', onMessage)
    port.on('close', onClose)
    port.postMessage({ type: 'speech-lost' } satisfies FromCall)
  })
}

/**
 * Runs one call to its end; null is a probe, answered when the worker has loaded what it needs and has given back what
 * only that took. Never rejects: a rejection tells the main thread that the whole worker died.
 */
export default async function runCall(start: CallStart | null): Promise<CallEnd | null> {
  if (start === null) {
    await releaseStartMemory()
    return null
  }
  wordsOf(start.shared.buffer, start.shared.at)[Word.worker] = threadId
  if (hasForeignCode(start)) running.followCallbacks()
  const code = new CallCode(start.number)
  const carried = owner.run(code, () =>
    carry(start, code).catch((thrown: unknown): CallEnd => ({ type: 'fault', fault: messageOf(thrown) })),
  )
  return await Promise.race([carried, code.failedEarly])
}

/** Code that is not the gateway's own: a `module:` backend, or tools in code. */
function hasForeignCode({ backends, assets }: CallStart): boolean {
  return backends.some((name) => name.startsWith(MODULE_PREFIX)) || assets.modules.length > 0
}

/** The agent's fixed phrases in the voice of its cascade; null where that is not its first backend. */
function ownVoiceFor({ backends, agent, legRateHz }: CallStart): OwnVoice | null {
  if (phrases === null || backends[0] !== 'cascade') return null
  return ownVoiceOf(data.backends.cascade, agent.backends.cascade ?? {}, {
    store: phrases,
    voice: agent.voice['cascade'] ?? null,
    legRateHz,
    pronunciations: agent.pronunciations,
    texts: agent.languages.flatMap((tag) => fixedPhrases(agent, tag).map((text) => ({ text, language: codeOf(tag) }))),
  })
}

/** What is said to take a message; null where a call back cannot be promised. */
function messagePhrases({ escalation, goodbye }: AgentDefinition): MessagePhrases | null {
  const message = escalation?.strategies.includes('callback') === true ? escalation.message : null
  return message === null ? null : { ...message, goodbye }
}

async function carry(start: CallStart, code: CallCode): Promise<CallEnd> {
  const speech =
    start.speech === null
      ? null
      : new SpeechClient({
          port: start.speech,
          reopen: () => reopenSpeech(start.port),
          pronunciations: start.agent.pronunciations,
        })
  const { agent } = start
  const post = (message: FromCall): void => start.port.postMessage(message)
  const ownVoice = ownVoiceFor(start)
  const backend = await composeBackend(
    {
      names: start.backends,
      voices: agent.voice,
      ...agent.failover,
      budget: budgetOf(agent),
      prices: agent.budget?.prices ?? null,
      message: messagePhrases(agent),
      messagesOnly: start.messagesOnly ?? false,
    },
    {
      speech,
      clock,
      circuits,
      settings: data.backends,
      legRateHz: start.legRateHz,
      resamplers: context.resamplers,
      options: agent.backends,
      ...(ownVoice === null ? {} : { ownVoice }),
      gatewayInterrupts: agent.bargeIn.backchannel !== null,
      instructionsNow: () => call.instructions,
      watch: {
        session: (opened) => post({ type: 'backend-session', opened }),
        fault: (fault) => post({ type: 'backend-error', fault }),
        circuit: (circuit) => post({ type: 'circuit', worker: threadId, circuit }),
        limits: (backend, limits) => post({ type: 'backend-limits', backend, limits }),
      },
    },
  )
  const tools = await runnerOf(start)
  await ownWork.runInAsyncScope(() => tools.useServers())
  const guard = (guarded: WorkerCall, work: () => void): void => {
    const before = running.enter(start.number)
    try {
      owner.run(code, work)
    } catch (thrown) {
      guarded.fail(thrown)
    } finally {
      running.leave(before)
    }
  }
  const call = new WorkerCall(start, context, {
    options: (capabilities) => sessionOptions(start, capabilities, Date.now() - clock()),
    backend: backend.create,
    report: backend.report,
    speech,
    tools,
    voice: start.agent.voice.embedded,
    ownPhrase: (text) => ownVoice?.find(text) ?? null,
    guard,
  })
  if (!code.runsIn(call)) {
    call.fail(new Error('the call failed before it began'))
    return call.done
  }
  ownWork.runInAsyncScope(() => loop.add(call))
  guard(call, () => call.begin())
  try {
    return await call.done
  } finally {
    loop.remove(call)
  }
}

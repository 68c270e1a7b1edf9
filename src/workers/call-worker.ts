import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import { threadId } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { workerData } from 'piscina'
import type { AgentDefinition } from '../agents/definition.js'
import { HttpTransport } from '../http/http-transport.js'
import { ToolRunner } from '../agents/tool-runner.js'
import { SpeechClient } from '../speech/speech-client.js'
import { Circuits } from '../backends/failover/circuit-breaker.js'
import { composeBackend } from '../backends/compose.js'
import type { CompositionOptions } from '../backends/compose.js'
import type { Prices } from '../backends/budget.js'
import { MODULE_PREFIX } from '../backends/registry.js'
import { messageOf } from '../core/errors.js'
import { WORKER_BEAT_MS } from '../core/limits.js'
import { ResamplerBank } from '../media/resample/resampler.js'
import { FrameHistogram } from '../telemetry/frame-histogram.js'
import { SlowestFrame } from '../telemetry/slowest-frame.js'
import type { CallEnd, CallStart, FromCall, ToCall } from './call-messages.js'
import { CallTask } from './call-task.js'
import type { WorkerContext } from './worker-context.js'
import { voiceDetectors } from './media-assets.js'
import { processClock } from './process-clock.js'
import { RunningCode } from './running-code.js'
import { sessionOptions } from './session-options.js'
import { TickLoop } from './tick-loop.js'
import { Word, wordsOf } from './shared-call.js'
import { claimShardSeat } from './shard-seats.js'
import type { ShardWorkerData } from './shard-seats.js'
import { NO_CALL, WorkerPulse } from './worker-pulse.js'

/**
 * A media worker: the entry that piscina loads. One task is one call, from the webhook to the end; all calls of
 * the worker share the tick, the WebAssembly memories and the connections of their tools.
 *
 * A fault of one call must not reach the others. In the tick it is caught where the stage is called; in whatever
 * a call started outside the tick the async context says whose fault it was. What cannot be caught (code that exits, spins or
 * eats memory) takes the worker with it; the pulse then says to the main thread whose code ran.
 */
const data = workerData as ShardWorkerData
const seat = claimShardSeat(data.seats, threadId)
const clock = processClock()
const memoryBytes = data.memoryMb * 1024 * 1024
const pulse = new WorkerPulse(seat.pulse)
/** Whom the code belongs to that runs now; nobody in the tick and in what all calls share. */
const owner = new AsyncLocalStorage<CallCode>()
const running = new RunningCode(pulse, () => owner.getStore()?.number ?? NO_CALL, memoryBytes)
/** Work of the worker itself that a call happens to start. */
const ownWork = new AsyncResource('media-worker')
const loop = new TickLoop(clock, running, new FrameHistogram(seat.tickLateness), new FrameHistogram(seat.tickBusy))
const transport = new HttpTransport()
const context: WorkerContext = {
  clock,
  resamplers: new ResamplerBank({ rows: data.assets.rows, kernel: data.assets.firKernel }),
  vads: voiceDetectors(data.assets.callerKernel),
  latencyIn: new FrameHistogram(seat.latencyIn),
  slowestIn: new SlowestFrame(seat.slowestIn),
  latencyOut: new FrameHistogram(seat.latencyOut),
}

/** What all calls of this worker have found out about each backend. */
const circuits = new Circuits()

function blame(thrown: unknown): void {
  const code = owner.getStore()
  // A fault that belongs to no call: the worker's state is unknown, so it ends and its calls go to another.
  if (code === undefined) throw thrown
  code.fail(thrown)
}
process.on('uncaughtException', blame)
process.on('unhandledRejection', blame)

setInterval(() => {
  const { used_heap_size: heapBytes, external_memory: bufferBytes } = getHeapStatistics()
  running.weighWhile(Math.max(heapBytes, bufferBytes) > memoryBytes / 2)
  pulse.beat(clock(), bufferBytes)
}, WORKER_BEAT_MS).unref()

/** A call's code from the moment that its backend is loaded: who it is, and how it fails alone. */
class CallCode {
  readonly number: number
  /** Resolves when it failed before it had a task. */
  readonly failedEarly: Promise<CallEnd>
  #task: CallTask | null = null
  #failed: CallEnd | null = null
  #fail!: (end: CallEnd) => void

  constructor(number: number) {
    this.number = number
    this.failedEarly = new Promise((resolve) => {
      this.#fail = resolve
    })
  }

  /** @returns false when it has failed already: there is nobody who would wait for the task */
  carriedBy(task: CallTask): boolean {
    this.#task = task
    return this.#failed === null
  }

  fail(thrown: unknown): void {
    if (this.#task !== null) return this.#task.fail(thrown)
    this.#failed ??= { type: 'fault', fault: messageOf(thrown) }
    this.#fail(this.#failed)
  }
}

/** One runner an agent: definitions are plain data that arrive anew with each call, so they are told apart by value. */
const runners = new Map<string, Promise<ToolRunner>>()
const RUNNERS_MAX = 64

function runnerOf({ agent, assets }: CallStart): Promise<ToolRunner> {
  const key = `${agent.name} ${assets.version} ${JSON.stringify([agent.tools, agent.verification])}`
  let runner = runners.get(key)
  if (runner === undefined) {
    if (runners.size >= RUNNERS_MAX) runners.clear()
    runner = ToolRunner.open(agent, assets, data.env, transport)
    // A module that could be loaded once may not be twice: the next call tries again.
    runner.catch(() => runners.delete(key))
    runners.set(key, runner)
  }
  return runner
}

function budgetOf(agent: AgentDefinition): CompositionOptions['budget'] {
  if (agent.budget === null) return null
  const { maxMinutes, maxTokens, maxCost, prices } = agent.budget
  return {
    limits: {
      ...(maxMinutes === undefined ? {} : { maxMs: maxMinutes * 60_000 }),
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(maxCost === undefined ? {} : { maxCost }),
    },
    prices: prices as Prices | null,
  }
}

/** A new way to a speech worker, from the main thread, after the old one's worker died. */
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
 * Runs one call to its end; null is a probe, answered when the worker has loaded what it needs. Never rejects: a
 * rejection is how the main thread learns that a whole worker died.
 */
export default async function runCall(start: CallStart | null): Promise<CallEnd | null> {
  if (start === null) return null
  wordsOf(start.shared.buffer, start.shared.at)[Word.worker] = threadId
  if (hasForeignCode(start)) running.followCallbacks()
  const code = new CallCode(start.number)
  const carried = owner.run(code, () => carry(start, code).catch((thrown: unknown): CallEnd => ({ type: 'fault', fault: messageOf(thrown) })))
  return await Promise.race([carried, code.failedEarly])
}

/** Code that is not the gateway's own: a backend of one's own, tools in code. */
function hasForeignCode({ backends, shadow, assets }: CallStart): boolean {
  return [...backends, shadow ?? ''].some((name) => name.startsWith(MODULE_PREFIX)) || assets.modules.length > 0
}

async function carry(start: CallStart, code: CallCode): Promise<CallEnd> {
  const speech = start.speech === null
    ? null
    : new SpeechClient({ port: start.speech, reopen: () => reopenSpeech(start.port) })
  const { agent } = start
  const post = (message: FromCall): void => start.port.postMessage(message)
  const backend = await composeBackend({
    names: start.backends, voices: agent.voice, ...agent.failover, shadow: start.shadow, budget: budgetOf(agent),
  }, {
    speech, clock, circuits, settings: data.backends, legRateHz: start.legRateHz, resamplers: context.resamplers, options: agent.backends,
    watch: {
      session: (opened) => post({ type: 'backend-session', opened }),
      fault: (fault) => post({ type: 'backend-error', fault }),
      circuit: (circuit) => post({ type: 'circuit', worker: threadId, circuit }),
    },
  })
  const tools = await runnerOf(start)
  const guard = (task: CallTask, work: () => void): void => {
    const before = running.enter(start.number)
    try {
      owner.run(code, work)
    } catch (thrown) {
      task.fail(thrown)
    } finally {
      running.leave(before)
    }
  }
  const call = new CallTask(start, context, {
    options: (capabilities) => sessionOptions(start, capabilities, Date.now() - clock()),
    backend: backend.create,
    report: backend.report,
    speech,
    tools,
    voice: start.agent.voice.embedded,
    guard,
  })
  if (!code.carriedBy(call)) {
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

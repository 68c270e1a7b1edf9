import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../../core/limits.js'
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import { getHeapStatistics } from 'node:v8'
import { threadId } from 'node:worker_threads'
import { workerData } from 'piscina'
import { HttpClient } from '../../http/http-client.js'
import { LookupCounts, installNameLookup } from '../../http/name-lookup.js'
import { ToolRunners } from '../../agents/tools/tool-runner.js'
import { PhraseStore } from '../../speech/phrase-store.js'
import { MODULE_PREFIX } from '../../backends/registry.js'
import { messageOf } from '../../core/errors.js'
import { ResamplerBank } from '../../media/resample/resampler.js'
import { useCountry } from '../../sautikit/phone.js'
import { FrameHistogram } from '../../telemetry/frame-histogram.js'
import { LoopStops } from '../../telemetry/loop-stops.js'
import { SlowestFrame } from '../../telemetry/slowest-frame.js'
import type { CallEnd, CallStart } from '../shared/call-messages.js'
import { AgentParts } from './agent-parts.js'
import { CallCode } from './call-code.js'
import { CallOpener } from './call-opener.js'
import type { WorkerCall } from './worker-call.js'
import type { WorkerContext } from './worker-context.js'
import { voiceDetectors } from '../shared/media-assets.js'
import { processClock } from '../shared/ticker.js'
import { releaseStartMemory } from '../shared/start-memory.js'
import { TickLoop } from './tick-loop.js'
import { TickTimes } from './tick-times.js'
import { onEdited } from '../shared/edited-agents.js'
import { Word, wordsOf } from '../shared/shared-call-layout.js'
import { ownSystemThread } from '../shared/processor-wait.js'
import { NO_CALL, RunningCode, SocketsRead, WorkerPulse, claimWorkerMemory } from '../shared/worker-memory.js'
import type { WorkerData } from '../shared/worker-memory.js'

/** Time in ms between two heartbeats of a worker. */
const WORKER_BEAT_MS = 100

/**
 * Media worker, loaded by `start-call-worker.ts`. One task is one call, from the webhook to the end. All calls share
 * the tick, the WebAssembly memories and the connections of their tools.
 *
 * A fault must fail only its own call. In the tick, each step of a call is guarded by a catch. Outside the tick, the
 * async context shows which call's code runs. Some faults cannot be caught: the code exits, loops or takes all memory.
 * Such a fault ends the worker. The worker's pulse then shows the main thread which call's code ran.
 */
const data = workerData as WorkerData
useCountry(data.country)
const phrases = data.phrasesFolder === null ? null : new PhraseStore(data.phrasesFolder)
void phrases?.load()
const memory = claimWorkerMemory(data.memories, threadId)
const clock = processClock()
const memoryBytes = data.memoryMb * 1024 * 1024
const pulse = new WorkerPulse(memory.pulse)
pulse.systemThread = ownSystemThread()
/** Call to which the running code belongs. It is not set in the tick, or in code that all calls share. */
const owner = new AsyncLocalStorage<CallCode>()
const running = new RunningCode(pulse, () => owner.getStore()?.ordinal ?? NO_CALL, memoryBytes)
/** Async context of the worker itself. Work for all calls runs in it, even if one call starts this work. */
const ownWork = new AsyncResource('media-worker')
const ticks = new TickTimes()
const loop = new TickLoop(
  clock,
  running,
  new SocketsRead(data.socketsRead),
  ticks,
  new FrameHistogram(memory.tickLateness),
  new FrameHistogram(memory.tickBusy),
  new LoopStops(clock, memory.loopStops),
)
installNameLookup(new LookupCounts(data.lookups))
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const transport = new HttpClient()
const context: WorkerContext = {
  clock,
  ticks,
  resamplers: new ResamplerBank({ rows: data.assets.rows, kernel: data.assets.firKernel }),
  vads: voiceDetectors(data.assets),
  latencyIn: new FrameHistogram(memory.latencyIn),
  slowestIn: new SlowestFrame(memory.slowestIn),
  latencyOut: new FrameHistogram(memory.latencyOut),
}

const agentParts = new AgentParts()
const runners = new ToolRunners(data.env, transport)
onEdited((names) => runners.edited(names))
const opener = new CallOpener({
  context,
  backends: data.backends,
  phrases,
  tools: async ({ agent, assets }) => {
    const tools = await runners.of(agent, assets)
    await ownWork.runInAsyncScope(() => tools.useServers())
    return tools
  },
})

function failOwner(thrown: unknown): void {
  const code = owner.getStore()
  // A fault that belongs to no call. The state of the worker is unknown then, so the worker ends and its calls move to
  // other workers.
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

/**
 * Runs one call to its end. If `start` is null, the task is a probe: it is answered when the worker is loaded and its
 * start memory is freed. The function never rejects, because a rejection would mean that the whole worker died.
 */
export default async function runCall(start: CallStart | null): Promise<CallEnd | null> {
  if (start === null) {
    await releaseStartMemory()
    return null
  }
  wordsOf(start.shared.buffer, start.shared.at)[Word.worker] = threadId
  if (hasForeignCode(start)) running.followCallbacks()
  const code = new CallCode(start.ordinal)
  const { agent, release } = agentParts.share(start.agent)
  const carried = owner.run(code, () =>
    carry({ ...start, agent }, code).catch((thrown: unknown): CallEnd => ({ type: 'fault', fault: messageOf(thrown) })),
  )
  void carried.finally(release)
  return await Promise.race([carried, code.failedEarly])
}

/** True if the call runs code from outside the gateway: a `module:` backend, or tools in code. */
function hasForeignCode({ backends, assets }: CallStart): boolean {
  return backends.some((name) => name.startsWith(MODULE_PREFIX)) || assets.modules.length > 0
}

async function carry(start: CallStart, code: CallCode): Promise<CallEnd> {
  const guard = (guarded: WorkerCall, work: () => void): void => {
    const before = running.enter(start.ordinal)
    try {
      owner.run(code, work)
    } catch (thrown) {
      guarded.fail(thrown)
    } finally {
      running.leave(before)
    }
  }
  const call = await opener.open(start, guard)
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

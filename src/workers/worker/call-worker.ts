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
import { onEdited } from '../shared/edited-agents.js'
import { Word, wordsOf } from '../shared/shared-call-layout.js'
import { NO_CALL, RunningCode, SocketsRead, WorkerPulse, claimWorkerMemory } from '../shared/worker-memory.js'
import type { WorkerData } from '../shared/worker-memory.js'

/** Interval at which a worker writes its heartbeat. */
const WORKER_BEAT_MS = 100

/**
 * A media worker, which `start-call-worker.ts` loads. One task is one call, from the webhook to the end. All calls of
 * a worker share the tick, the WebAssembly memories and the connections of their tools.
 *
 * A fault of one call must not reach the others. In the tick it is caught where the step is called; for everything
 * that a call started outside the tick, the async context tells which call it belongs to. Faults that cannot be caught
 * (code that exits, spins or takes all memory) end the worker, and its pulse tells the main thread whose code ran.
 */
const data = workerData as WorkerData
useCountry(data.country)
const phrases = data.phrasesFolder === null ? null : new PhraseStore(data.phrasesFolder)
void phrases?.load()
const memory = claimWorkerMemory(data.memories, threadId)
const clock = processClock()
const memoryBytes = data.memoryMb * 1024 * 1024
const pulse = new WorkerPulse(memory.pulse)
/** The call to which the running code belongs; none in the tick and in what all calls share. */
const owner = new AsyncLocalStorage<CallCode>()
const running = new RunningCode(pulse, () => owner.getStore()?.ordinal ?? NO_CALL, memoryBytes)
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
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const transport = new HttpClient()
const context: WorkerContext = {
  clock,
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
  const code = new CallCode(start.ordinal)
  const { agent, release } = agentParts.share(start.agent)
  const carried = owner.run(code, () =>
    carry({ ...start, agent }, code).catch((thrown: unknown): CallEnd => ({ type: 'fault', fault: messageOf(thrown) })),
  )
  void carried.finally(release)
  return await Promise.race([carried, code.failedEarly])
}

/** Code that is not the gateway's own: a `module:` backend, or tools in code. */
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

import type { BackendSettings } from '../backends/registry.js'
import type { WallClock } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import type { ResamplerBank } from '../media/resample/resampler.js'
import type { VadBank } from '../media/vad/vad.js'
import { FrameHistogram } from '../telemetry/frame-histogram.js'
import type { CallEnd, CallStart } from '../workers/shared/call-messages.js'
import { CallOpener } from '../workers/worker/call-opener.js'
import type { CallToolRunner } from '../workers/worker/call-tools.js'
import { TickLoop } from '../workers/worker/tick-loop.js'
import { TickTimes } from '../workers/worker/tick-times.js'
import type { WorkerCall } from '../workers/worker/worker-call.js'
import type { WorkerContext } from '../workers/worker/worker-context.js'
import { NO_CALL, RunningCode, SocketsRead, WorkerPulse, makeWorkerMemories } from '../workers/shared/worker-memory.js'
import type { SimulatedClock } from './simulated-clock.js'

interface OneThreadPoolOptions {
  readonly clock: SimulatedClock
  readonly wallClock: WallClock
  readonly resamplers: ResamplerBank
  readonly vads: VadBank
  readonly backends: BackendSettings
  /** Tools of a call's agent, ready to be used. While a tool runs, the clock does not run faster than real time. */
  readonly tools: (start: CallStart) => Promise<CallToolRunner>
  /** See `WorkerContext`. */
  readonly pace?: WorkerContext['pace']
}

const CLOSED = 'the pool is closed'

/**
 * Replacement for a `MediaPool`. It runs the workers' parts of calls on the main thread, driven by a simulated clock.
 */
export class OneThreadPool {
  readonly ticks = []
  readonly threads = []
  readonly socketsRead = new SocketsRead()
  readonly #clock: SimulatedClock
  readonly #opener: CallOpener
  readonly #loop: TickLoop
  readonly #live = new Set<WorkerCall>()
  #closed = false

  constructor({ clock, wallClock, resamplers, vads, backends, tools, pace }: OneThreadPoolOptions) {
    this.#clock = clock
    const { nowMs, after } = clock
    const ticks = new TickTimes()
    const context = {
      ...{ clock: nowMs, wallClock, resamplers, vads, ticks },
      ...(pace === undefined ? {} : { pace }),
      ...{ latencyIn: new FrameHistogram(), latencyOut: new FrameHistogram() },
    }
    this.#opener = new CallOpener({
      context,
      backends,
      after,
      phrases: null,
      tools: async (start) => this.#paced(await tools(start)),
    })
    const [memory] = makeWorkerMemories(0).memories
    if (memory === undefined) throw new Error('there is always one memory more than workers')
    const running = new RunningCode(new WorkerPulse(memory.pulse), () => NO_CALL, Infinity)
    const [lateness, busy] = [new FrameHistogram(), new FrameHistogram()]
    this.#loop = new TickLoop(nowMs, running, this.socketsRead, ticks, lateness, busy, null, after)
  }

  ready(): Promise<void> {
    return Promise.resolve()
  }

  async run(start: CallStart): Promise<CallEnd> {
    const end = await this.#run(start).catch((thrown: unknown): CallEnd => ({
      type: 'fault',
      fault: messageOf(thrown),
    }))
    // Like a thread that has died, a closed pool does not report the end of its calls.
    return this.#closed ? new Promise(() => undefined) : end
  }

  async #run(start: CallStart): Promise<CallEnd> {
    const guard = (guarded: WorkerCall, work: () => void): void => {
      try {
        work()
      } catch (thrown) {
        guarded.fail(thrown)
      }
    }
    const call = await this.#clock.hold(this.#opener.open(start, guard))
    this.#live.add(call)
    this.#loop.add(call)
    if (this.#closed) call.fail(new Error(CLOSED))
    else guard(call, () => call.begin())
    try {
      return await call.done
    } finally {
      this.#live.delete(call)
      this.#loop.remove(call)
    }
  }

  #paced(tools: CallToolRunner): CallToolRunner {
    return {
      serverTools: () => tools.serverTools(),
      watchServers: (listener) => tools.watchServers(listener),
      run: (name, args, context) => {
        const outcome = tools.run(name, args, context)
        // A tool call without an answer ends when the phone call ends.
        const over = new Promise((resolve) => context.signal.addEventListener('abort', resolve, { once: true }))
        void this.#clock.pace(Promise.race([outcome, over])).catch(() => undefined)
        return outcome
      },
    }
  }

  /** Ends all running calls. */
  async close(): Promise<void> {
    this.#closed = true
    const ended = [...this.#live].map((call) => {
      call.fail(new Error(CLOSED))
      return call.done
    })
    await Promise.all(ended)
  }
}

/** Simulated calls on two threads: one paces all calls, one synthesises and recognises speech. */
import { Worker } from 'node:worker_threads'
import { GatewayError } from '../core/errors.js'
import { SIMULATED_CALLS_MAX } from '../core/limits.js'
import type { PlaceCallOptions, SimulatedCallResult, SimulatorEvent } from '../carrier/call-options.js'
import type { CallerOptions } from './caller.js'
import type { AskCaller } from './asked-caller.js'
import type { CallerMove } from './caller-model.js'
import type { CallerFile } from '../carrier/caller-leg.js'
import type { AgentVocabulary } from './vocabulary.js'

/** The part of a call's options that differs within one simulation. */
export interface CallPlan extends Pick<
  CallerOptions,
  'script' | 'voice' | 'pace' | 'line' | 'earlyWords' | 'ringsFirst' | 'keys'
> {
  readonly callSid: string
  readonly from: string
  readonly to: string
  /** `SimulateControls.ask` decides the caller's moves, in place of the script. Default: false. */
  readonly asks?: boolean
}

/** Options as plain data, because they are sent to another thread. */
export interface SimulateOptions {
  readonly calls: readonly CallPlan[]
  readonly vocabulary: AgentVocabulary
  readonly files: ReadonlyMap<string, CallerFile>
  /** Options shared by all calls. */
  readonly carrier: Omit<
    PlaceCallOptions,
    'caller' | 'callSid' | 'from' | 'to' | 'onEvent' | 'workspace' | 'environment'
  >
  readonly record: boolean
  readonly timeoutMs: number
  /** Time in ms between the starts of two calls. */
  readonly staggerMs: number
  /** The carrier's REST API for the calls, on loopback. Absent: no API. */
  readonly rest?: {
    readonly port: number
    readonly key: string
    /** True: the API rings the people of `calls`, each by a separate `to` number. Default: the people call. */
    readonly placed?: true
  }
}

interface SimulateControls {
  readonly onEvent?: (event: SimulatorEvent) => void
  /** Decides the caller's moves in calls with `asks`, from the recognised words of the agent. Never rejects. */
  readonly ask?: AskCaller
  /** Aborting hangs up every call. The results are still returned. */
  readonly signal?: AbortSignal | null
  /** Called when the REST API listens at this origin, on loopback. A rejection ends the simulation. */
  readonly onRest?: (origin: string) => Promise<void>
  /** Time in ms after which the thread ends, even if calls are still running. */
  readonly deadlineMs?: number
}

/** Reports of the thread of calls. */
export type CallThreadMessage =
  | { readonly type: 'event'; readonly event: SimulatorEvent }
  | { readonly type: 'rest'; readonly origin: string }
  | { readonly type: 'results'; readonly results: readonly SimulatedCallResult[] }
  /** `callSid` is the plan's SID. */
  | { readonly type: 'ask'; readonly callSid: string; readonly heard: string }

/** The messages to the thread of calls. */
export type CallThreadRequest =
  | { readonly type: 'hang-up' }
  | { readonly type: 'moves'; readonly callSid: string; readonly moves: readonly CallerMove[] }

/**
 * Places calls into a running gateway and waits for their ends.
 * @returns the results in the order of `options.calls`
 * @throws GatewayError SPEECH_FAULT, or CALL_FAULT after `deadlineMs` or if aborted
 */
export async function simulateCalls(
  options: SimulateOptions,
  controls: SimulateControls = {},
): Promise<SimulatedCallResult[]> {
  if (options.calls.length > SIMULATED_CALLS_MAX) {
    throw new GatewayError(
      'CAPACITY',
      `${options.calls.length} simulated calls; allowed: at most ${SIMULATED_CALLS_MAX}`,
    )
  }
  assertNotStopped(controls.signal)
  const worker = new Worker(new URL('call-thread.js', import.meta.url), { workerData: options, execArgv: [] })
  const post = (request: CallThreadRequest): void => {
    worker.postMessage(request)
  }
  const abort = (): void => {
    post({ type: 'hang-up' })
  }
  controls.signal?.addEventListener('abort', abort)
  let deadline: NodeJS.Timeout | undefined
  try {
    return await new Promise<SimulatedCallResult[]>((resolve, reject) => {
      const { deadlineMs } = controls
      if (deadlineMs !== undefined) {
        deadline = setTimeout(() => {
          reject(
            new GatewayError('CALL_FAULT', `the simulated calls did not end within ${Math.round(deadlineMs / 1000)} s`),
          )
        }, deadlineMs)
      }
      worker.on('message', (message: CallThreadMessage) => {
        if (message.type === 'event') controls.onEvent?.(message.event)
        else if (message.type === 'rest')
          // An abort that came while the port opened is repeated, because calls of that time begin to ring only now.
          controls.onRest?.(message.origin).then(() => controls.signal?.aborted === true && abort(), reject)
        else if (message.type === 'results') resolve([...message.results])
        else {
          const { callSid, heard } = message
          void controls.ask?.(heard).then((moves) => post({ type: 'moves', callSid, moves }))
        }
      })
      worker.on('error', (cause) => {
        reject(new GatewayError('SPEECH_FAULT', 'the thread of the simulated calls failed', { cause }))
      })
      worker.on('exit', () => {
        reject(new GatewayError('SPEECH_FAULT', 'the thread of the simulated calls has ended'))
      })
    })
  } finally {
    clearTimeout(deadline)
    controls.signal?.removeEventListener('abort', abort)
    await worker.terminate()
  }
}

/**
 * Throws if the signal is aborted before a call is placed, because there is no call yet that could be hung up. @throws
 * GatewayError CALL_FAULT
 */
export function assertNotStopped(signal: AbortSignal | null | undefined): void {
  if (signal?.aborted === true) throw new GatewayError('CALL_FAULT', 'stopped before the call was placed')
}

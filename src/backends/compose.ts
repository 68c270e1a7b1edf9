import type { ResamplerBank } from '../media/resampler.js'
import type { BackendFactory } from './backend.js'
import type { Circuits } from './circuit-breaker.js'
import { clockTimers, failover } from './failover.js'
import { loadBackend } from './registry.js'
import type { BackendContext } from './registry.js'

/** What a call's list of backends needs besides what each of them needs. */
export interface CompositionContext extends BackendContext {
  readonly circuits: Circuits
  readonly resamplers: ResamplerBank
}

/** How an agent wants its backends used; the `failover:` block of its file. */
export interface CompositionOptions {
  /** Resolved names in the order in which they are tried, one or more. */
  readonly names: readonly string[]
  /** The agent's voice by backend name. */
  readonly voices: Readonly<Record<string, string>>
  readonly standby: boolean
  /** Silence after a question that counts as a fault. */
  readonly stallMs: number
  /** How long the caller waits before a word is said. */
  readonly holdAfterMs: number
}

/** The backend that speaks through speech workers must be begun before it hears anything. */
const SCRIPTED = 'embedded'

/**
 * The factory of what an agent's `backend:` says: one backend as it is, or a list that stands in for each other.
 * @throws GatewayError AGENT_INVALID as `loadBackend`
 */
export async function composeBackend(options: CompositionOptions, context: CompositionContext): Promise<BackendFactory> {
  const factories = await Promise.all(options.names.map((name) => loadBackend(name, context)))
  const [only] = factories
  if (only !== undefined && factories.length === 1) return only
  return failover({
    members: factories.map((create, index) => {
      const name = options.names[index] as string // as many names as factories
      return { create, scripted: name === SCRIPTED, voice: options.voices[name] ?? null }
    }),
    timers: clockTimers(context.clock),
    circuits: context.circuits,
    resamplers: context.resamplers,
    inputRateHz: context.legRateHz,
    standby: options.standby,
    stallMs: options.stallMs,
    holdAfterMs: options.holdAfterMs,
  })
}

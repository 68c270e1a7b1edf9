import type { ResamplerBank } from '../media/resampler.js'
import type { BackendFactory } from './backend.js'
import type { Circuits } from './circuit-breaker.js'
import { BudgetBackend } from './budget.js'
import type { BudgetLimits, BudgetReport, Prices } from './budget.js'
import { clockTimers, failover } from './failover.js'
import { loadBackend } from './registry.js'
import type { BackendContext } from './registry.js'
import { ShadowBackend } from './shadow.js'
import type { ShadowReport } from './shadow.js'

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
  /** Resolved name of a backend that hears each call and is not heard; null for none. */
  readonly shadow: string | null
  /** What one call may use; null for no limit and no estimate. */
  readonly budget: { readonly limits: BudgetLimits; readonly prices: Prices | null } | null
}

/** What the composition found out about a call, for its record. Plain data; the shadow's part holds callers' words. */
export interface BackendReport {
  readonly budget: BudgetReport | null
  readonly shadow: ShadowReport | null
}

/** The backend of one call: made once with `create`, asked for its report at the end. */
export interface ComposedBackend {
  readonly create: BackendFactory
  readonly report: () => BackendReport
}

/** The backend that speaks through speech workers must be begun before it hears anything. */
const SCRIPTED = 'embedded'

/**
 * What an agent's file says about its backends, as one backend: a list that stands in for each other, within a budget,
 * with another one listening along.
 * @throws GatewayError AGENT_INVALID as `loadBackend`
 */
export async function composeBackend(options: CompositionOptions, context: CompositionContext): Promise<ComposedBackend> {
  const timers = clockTimers(context.clock)
  const answering = await listOf(options, context)
  const second = options.shadow === null ? null : await loadBackend(options.shadow, context)
  let budget: BudgetBackend | null = null
  let shadow: ShadowBackend | null = null
  const { budget: allowance } = options
  const held: BackendFactory = allowance === null ? answering : (sink) => {
    const { limits, prices } = allowance
    budget = new BudgetBackend(sink, { inner: answering, limits, timers, ...(prices === null ? {} : { prices }) })
    return budget
  }
  return {
    create: second === null ? held : (sink) => {
      const secondVoice = options.voices[options.shadow ?? ''] ?? null
      shadow = new ShadowBackend(sink, { primary: held, second, timers, resamplers: context.resamplers, secondVoice })
      return shadow
    },
    report: () => ({ budget: budget?.budgetReport() ?? null, shadow: shadow?.shadowReport() ?? null }),
  }
}

async function listOf(options: CompositionOptions, context: CompositionContext): Promise<BackendFactory> {
  const factories = await Promise.all(options.names.map((name) => loadBackend(name, context)))
  const [only] = factories
  // A model alone is a list of one: its sessions end, and are replaced at a quiet moment. A script's never does.
  if (only !== undefined && factories.length === 1 && (options.names[0] === SCRIPTED || options.names[0]?.startsWith('module:') === true)) {
    return only
  }
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

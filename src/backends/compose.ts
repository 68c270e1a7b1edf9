import type { ResamplerBank } from '../media/resample/resampler.js'
import type { Backend, BackendFactory } from './backend.js'
import type { Circuits } from './failover/circuit-breaker.js'
import { BudgetBackend } from './budget.js'
import type { BudgetLimits, BudgetReport, Prices } from './budget.js'
import { FailoverBackend } from './failover/failover-backend.js'
import type { FailoverReport } from './failover/failover-backend.js'
import { hearsTurns, loadBackend } from './registry.js'
import type { BackendContext } from './registry.js'
import { ShadowBackend } from './shadow.js'
import type { ShadowReport } from './shadow.js'
import { clockTimers } from './timers.js'
import { addCounters } from './watch.js'
import type { BackendCounters, BackendWatch } from './watch.js'

/** What a call's list of backends needs besides what each of them needs. */
export interface CompositionContext extends Omit<BackendContext, 'gatewayTurns'> {
  readonly circuits: Circuits
  readonly resamplers: ResamplerBank
  readonly watch: BackendWatch
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
  /** What the list did; null where there is none. */
  readonly failover: Omit<FailoverReport, 'irregular'> | null
  /** What was irregular, by backend. */
  readonly irregular: Readonly<Record<string, BackendCounters>>
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
  const answering = await answeringOf(options, context)
  const second = options.shadow === null ? null : await loadBackend(options.shadow, { ...context, gatewayTurns: false })
  let budget: BudgetBackend | null = null
  let shadow: ShadowBackend | null = null
  const { budget: allowance } = options
  const held: BackendFactory = allowance === null ? answering.create : (sink) => {
    const { limits, prices } = allowance
    budget = new BudgetBackend(sink, { inner: answering.create, limits, timers, ...(prices === null ? {} : { prices }) })
    return budget
  }
  return {
    create: second === null ? held : (sink) => {
      const secondVoice = options.voices[options.shadow ?? ''] ?? null
      shadow = new ShadowBackend(sink, { primary: held, second, timers, resamplers: context.resamplers, secondVoice })
      return shadow
    },
    report: () => ({ ...answering.report(), budget: budget?.budgetReport() ?? null, shadow: shadow?.shadowReport() ?? null }),
  }
}

/** The backend that answers, and what can be said of it at the end. */
interface Answering {
  readonly create: BackendFactory
  readonly report: () => Pick<BackendReport, 'failover' | 'irregular'>
}

async function answeringOf(options: CompositionOptions, context: CompositionContext): Promise<Answering> {
  const { names } = options
  // Where one of them cannot hear the turns, the gateway times them for all.
  const gatewayTurns = names.length > 1 && !names.every((name) => hearsTurns(name, context.settings, context.options))
  const factories = await Promise.all(names.map((name) => loadBackend(name, { ...context, gatewayTurns })))
  const [only] = factories
  // A model alone is a list of one: its sessions end, and are replaced at a quiet moment. A script's never does.
  if (only !== undefined && factories.length === 1 && (names[0] === SCRIPTED || names[0]?.startsWith('module:') === true)) {
    return alone(only, context)
  }
  let list: FailoverBackend | null = null
  return {
    create: (sink) => {
      list = new FailoverBackend(sink, {
        candidates: factories.map((create, index) => {
          const name = names[index] as string // as many names as factories
          return { create, scripted: name === SCRIPTED, voice: options.voices[name] ?? null }
        }),
        timers: clockTimers(context.clock),
        circuits: context.circuits,
        resamplers: context.resamplers,
        inputRateHz: context.legRateHz,
        standby: options.standby,
        stallMs: options.stallMs,
        holdAfterMs: options.holdAfterMs,
        watch: context.watch,
      })
      return list
    },
    report: () => {
      if (list === null) return { failover: null, irregular: {} }
      const { irregular, ...failover } = list.failoverReport()
      return { failover, irregular }
    },
  }
}

/** One backend that is no list; it is connected as soon as it is made. */
function alone(create: BackendFactory, { clock, watch }: CompositionContext): Answering {
  let backend: Backend | null = null
  return {
    create: (sink) => {
      const madeAtMs = clock()
      let opened = false
      const made = create({
        event: (event) => {
          const { name } = made.capabilities
          if (event.type === 'ready') {
            opened = true
            watch.session({ backend: name, role: 'first', connectMs: clock() - madeAtMs, fault: null })
          } else if (event.type === 'error') {
            if (!opened && event.fatal) watch.session({ backend: name, role: 'first', connectMs: null, fault: event.code })
            watch.fault({ backend: name, code: event.code, message: event.message, sessionLost: event.fatal })
          }
          sink.event(event)
        },
        audio: (pcm, sampleRateHz, itemId, generation) => sink.audio(pcm, sampleRateHz, itemId, generation),
      })
      backend = made
      return made
    },
    report: () => {
      const counters: Record<string, number> = {}
      addCounters(counters, backend?.counters?.() ?? {})
      return { failover: null, irregular: Object.keys(counters).length === 0 ? {} : { [backend?.capabilities.name ?? '']: counters } }
    },
  }
}

import type { ResamplerBank } from '../media/resample/resampler.js'
import type { CallCost } from '../call/documents/record.js'
import type { Backend, BackendFactory } from './backend.js'
import type { Circuits } from './failover/circuit-breaker.js'
import { BudgetBackend } from './budget.js'
import type { BudgetLimits, BudgetReport } from './budget.js'
import { CostMeter } from './cost-meter.js'
import { FailoverBackend } from './failover/failover-backend.js'
import type { FailoverReport } from './failover/failover-backend.js'
import { priceList } from './prices.js'
import type { Prices } from '../agents/prices.js'
import { detectsTurns, loadBackend, modelsOf } from './registry.js'
import type { BackendContext } from './registry.js'
import { clockTimers } from './timers.js'
import { addCounters } from './watch.js'
import type { BackendCounters, BackendWatch } from './watch.js'

/** What the backends of a call share, besides what each of them needs. */
interface CompositionContext extends Omit<BackendContext, 'gatewayTurns'> {
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
  /** How long silence after a question lasts until it counts as a fault. */
  readonly stallMs: number
  /** How long the caller waits for another backend before a filler is spoken. */
  readonly holdAfterMs: number
  /** What one call may use; null for no limit. */
  readonly budget: BudgetLimits | null
  /** The agent's own prices, before those of the settings and the vendors' lists; null for none. */
  readonly prices: Prices | null
}

/** What the backends report about a call, for the call record. Plain data. */
export interface BackendReport {
  /** What the list did; null without a list. */
  readonly failover: Omit<FailoverReport, 'irregular'> | null
  /** Counts of irregularities, by backend. */
  readonly irregular: Readonly<Record<string, BackendCounters>>
  /** Null where the call's worker is lost with what it counted. */
  readonly cost: CallCost | null
  readonly budget: BudgetReport | null
}

/** The backend of one call: `create` is called once, `report` at the end. */
interface ComposedBackend {
  readonly create: BackendFactory
  readonly report: () => BackendReport
}

/** The backend with a scripted dialogue; see `FailoverCandidate.scripted`. */
const SCRIPTED = 'embedded'

/**
 * The backend of a call as the agent's file describes it: a list with failover, wrapped in a budget.
 * @throws GatewayError AGENT_INVALID as `loadBackend`
 */
export async function composeBackend(
  options: CompositionOptions,
  context: CompositionContext,
): Promise<ComposedBackend> {
  const timers = clockTimers(context.clock)
  const answering = await answeringOf(options, context)
  const meter = new CostMeter(priceList([options.prices, context.settings.prices]), (name) => {
    const models = modelsOf(name, context.settings, context.options)
    return models.length === 1 ? (models[0] ?? null) : null
  })
  let budget: BudgetBackend | null = null
  return {
    create: (sink) => {
      budget = new BudgetBackend(sink, { inner: answering.create, limits: options.budget ?? {}, timers, meter })
      return budget
    },
    report: () => ({
      ...answering.report(),
      cost: meter.cost(),
      budget: options.budget === null ? null : (budget?.budgetReport() ?? null),
    }),
  }
}

/** The backend that answers the caller, without the budget. */
interface Answering {
  readonly create: BackendFactory
  readonly report: () => Pick<BackendReport, 'failover' | 'irregular'>
}

async function answeringOf(options: CompositionOptions, context: CompositionContext): Promise<Answering> {
  const { names } = options
  // When one of them cannot detect turns, the gateway marks the turns for all.
  const gatewayTurns = names.length > 1 && !names.every((name) => detectsTurns(name, context.settings, context.options))
  const factories = await Promise.all(names.map((name) => loadBackend(name, { ...context, gatewayTurns })))
  const [only] = factories
  // A single model is a list of one; `FailoverBackend` says why. The embedded backend's session never ends, and a
  // module decides for itself what happens after a fault: these two run without a list.
  if (
    only !== undefined &&
    factories.length === 1 &&
    (names[0] === SCRIPTED || names[0]?.startsWith('module:') === true)
  ) {
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

/** One backend without failover. Its connection time counts from its creation, because it is connected at once. */
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
            if (!opened && event.fatal)
              watch.session({ backend: name, role: 'first', connectMs: null, fault: event.code })
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
      return {
        failover: null,
        irregular: Object.keys(counters).length === 0 ? {} : { [backend?.capabilities.name ?? '']: counters },
      }
    },
  }
}

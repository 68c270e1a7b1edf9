import type { LocalizedText } from '../call/spoken/localized-text.js'
import type { ResamplerBank } from '../media/resample/resampler.js'
import type { CallResult } from '../call/documents/kept-call.js'
import type { BackendFactory } from './backend.js'
import type { Circuits } from './failover/circuit-breaker.js'
import type { BudgetLimits } from './budget.js'
import { CallBackend } from './call-backend.js'
import type { CallBackendReport } from './call-backend.js'
import { CostMeter } from './cost-meter.js'
import { priceList } from './prices.js'
import type { Prices } from '../agents/file/prices.js'
import { namingEnds } from './model-ends.js'
import { MODULE_PREFIX, detectsTurns, modelsOf } from './registry.js'
import { loadBackend } from './load-backend.js'
import type { BackendContext } from './load-backend.js'
import { clockTimers } from './timers.js'
import type { BackendWatch } from './watch.js'
import type { MessagePhrases } from './cascade/message-taker.js'

/** Context that the backends of a call share, beside each one's own. */
interface CompositionContext extends Omit<BackendContext, 'gatewayTurns'> {
  /** The instructions of a session that begins now: they name the time. */
  readonly instructionsNow: () => string
  readonly circuits: Circuits
  readonly resamplers: ResamplerBank
  readonly watch: BackendWatch
}

/** How an agent wants its backends used; the `failover:` block of its file. */
export interface CompositionOptions {
  /** Resolved names in the order in which they are tried, one or more. */
  readonly names: readonly string[]
  /** The agent's voice by backend name; it may be one a language. */
  readonly voices: Readonly<Record<string, LocalizedText | undefined>>
  readonly standby: boolean
  /** How long silence after a question lasts until it counts as a fault. */
  readonly stallMs: number
  /** How long the caller waits for another backend before a filler is spoken. */
  readonly holdAfterMs: number
  /** Limits of one call; null for none. */
  readonly budget: BudgetLimits | null
  /** The agent's own prices, before those of the settings and the vendors' lists; null for none. */
  readonly prices: Prices | null
  /** Phrases that take a message when no model answers; null: none is taken. */
  readonly message: MessagePhrases | null
  /**
   * No model answers, whatever `names` says: the cascade takes a message. Without `message` it does nothing.
   * @defaultValue false
   */
  readonly messagesOnly?: boolean
}

/** The backend of one call: `create` is called once, `report` at the end. */
interface ComposedBackend {
  readonly create: BackendFactory
  readonly report: () => CallResult['report']
}

const NOTHING_REPORTED: CallBackendReport = { failover: null, irregular: {}, budget: null }
/** The backend with a scripted dialogue; see `FailoverCandidate.scripted`. */
const SCRIPTED = 'embedded'
/** The one whose recogniser and voice can take a message without a model. */
const SPEAKS_ALONE = 'cascade'

/**
 * The backend of a call as the agent's file describes it.
 * @throws GatewayError AGENT_INVALID as `loadBackend`
 */
export async function composeBackend(
  options: CompositionOptions,
  context: CompositionContext,
): Promise<ComposedBackend> {
  const { message, voices } = options
  const onlyMessage = options.messagesOnly === true ? message : null
  const names = onlyMessage === null ? options.names : [SPEAKS_ALONE]
  // When one of them cannot detect turns, the gateway marks the turns for all.
  const gatewayTurns = names.length > 1 && !names.every((name) => detectsTurns(name, context.settings, context.options))
  const load = (name: string, more: Pick<BackendContext, 'message'> = {}): Promise<BackendFactory> =>
    loadBackend(name, {
      ...context,
      ...more,
      gatewayTurns,
      ...(voices[name] === undefined ? {} : { voices: voices[name] }),
    })
  const only = onlyMessage === null ? {} : { message: onlyMessage }
  const factories = await Promise.all(names.map((name) => load(name, only)))
  const takesMessage =
    message === null || onlyMessage !== null || !names.includes(SPEAKS_ALONE)
      ? []
      : [{ create: await load(SPEAKS_ALONE, { message }), voice: voices[SPEAKS_ALONE] ?? null, lastResort: true }]
  const [first = ''] = names
  const alone = names.length === 1 && (first === SCRIPTED || first.startsWith(MODULE_PREFIX))
  const models = (name: string): readonly (string | null)[] => modelsOf(name, context.settings, context.options)
  const meter = new CostMeter(priceList([options.prices, context.settings.prices]), (name) => {
    const [model = null, ...others] = models(name)
    return others.length === 0 ? model : null
  })
  let backend: CallBackend | null = null
  return {
    create: (sink) => {
      backend = new CallBackend(sink, {
        candidates: [
          ...factories.map((create, index) => {
            const name = names[index] as string // as many names as factories
            return { create, scripted: name === SCRIPTED, ...(alone ? {} : { voice: voices[name] ?? null }) }
          }),
          ...takesMessage,
        ],
        alone,
        timers: clockTimers(context.clock, context.after),
        circuits: context.circuits,
        resamplers: context.resamplers,
        inputRateHz: context.legRateHz,
        standby: options.standby,
        stallMs: options.stallMs,
        holdAfterMs: options.holdAfterMs,
        watch: namingEnds(context.watch, models),
        budget: { limits: options.budget ?? {}, meter },
        instructionsNow: context.instructionsNow,
      })
      return backend
    },
    report: () => {
      const report = backend?.report() ?? NOTHING_REPORTED
      return { ...report, budget: options.budget === null ? null : report.budget, cost: meter.cost() }
    },
  }
}

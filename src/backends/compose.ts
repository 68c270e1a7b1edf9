import type { LocalizedText } from '../call/spoken/localized-text.js'
import type { AgentTurn } from '../call/turns/heard-turns.js'
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
import type { BackendContext } from './backend-context.js'
import { clockTimers } from './timers.js'
import type { BackendWatch } from './watch.js'
import type { MessagePhrases } from './cascade/message-taker.js'

/** Context that the backends of a call share. */
interface CompositionContext extends Omit<BackendContext, 'gatewayTurns'> {
  /** Returns the instructions for a session that begins now. They contain the current time. */
  readonly instructionsNow: () => string
  readonly circuits: Circuits
  readonly resamplers: ResamplerBank
  readonly watch: BackendWatch
}

/** Options of an agent for its backends, from the `failover:` block and other fields of its file. */
export interface CompositionOptions {
  /** Names of the backends in order of use; at least one. */
  readonly names: readonly string[]
  /** The agent's voice for each backend, by backend name: one voice name, or one voice name per language. */
  readonly voices: Readonly<Record<string, LocalizedText | undefined>>
  readonly standby: boolean
  /** Maximum silence after a question, in milliseconds. A longer silence counts as a fault. */
  readonly stallMs: number
  /** Time in milliseconds that the caller waits for another backend before the agent speaks a filler. */
  readonly holdAfterMs: number
  /** Limits of one call; null if there are no limits. */
  readonly budget: BudgetLimits | null
  /**
   * Prices in the agent's file, which override the prices of the settings and of the vendors' lists. Null if the
   * agent's file has no prices.
   */
  readonly prices: Prices | null
  /** Phrases for taking a message when no model answers; null if the agent does not take messages. */
  readonly message: MessagePhrases | null
  /**
   * True if the cascade takes a message even if `names` contains a model, because models must not answer calls. If
   * `message` is null, this field has no effect.
   * @defaultValue false
   */
  readonly messagesOnly?: boolean
}

/** The backend of one call. `create` is called once, and `report` at the end of the call. */
interface ComposedBackend {
  readonly create: BackendFactory
  readonly report: () => CallResult['report']
  /** Method `CallBackend.turnHeard` of the call's backend. */
  readonly turnHeard: (turn: AgentTurn) => void
}

const NOTHING_REPORTED: CallBackendReport = { failover: null, irregular: {}, budget: null }
/** Name of the backend with a scripted dialogue; see `FailoverCandidate.scripted`. */
const SCRIPTED = 'embedded'
/** Name of the backend whose recogniser and voice can take a message without a model. */
const SPEAKS_ALONE = 'cascade'

/**
 * Makes the backend of one call from the settings in the agent's file.
 * @throws GatewayError AGENT_INVALID as `loadBackend` throws it
 */
export async function composeBackend(
  options: CompositionOptions,
  context: CompositionContext,
): Promise<ComposedBackend> {
  const { message, voices } = options
  const onlyMessage = options.messagesOnly === true ? message : null
  const names = onlyMessage === null ? options.names : [SPEAKS_ALONE]
  // If one backend cannot detect turns, the gateway detects the turns for all backends.
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
            const name = names[index] as string // `names` and the factories have equal lengths
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
    turnHeard: (turn) => backend?.turnHeard(turn),
    report: () => {
      const report = backend?.report() ?? NOTHING_REPORTED
      return { ...report, budget: options.budget === null ? null : report.budget, cost: meter.cost() }
    },
  }
}

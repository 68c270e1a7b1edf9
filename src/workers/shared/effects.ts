import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { EffectAnswer, ToolOutcome } from '../../agents/tools/tool.js'
import { canonicalJson } from '../../core/json.js'
import type { Log } from '../../telemetry/log.js'
import type { Metrics } from '../../telemetry/metrics.js'

/** Largest result, as JSON, that is kept with the key of an effect. */
export const EFFECT_RESULT_BYTES_MAX = 4096
/** Keys of effects that one process remembers, and the characters of their results together. */
const EFFECT_KEYS_KEPT = 10_000
const EFFECT_CHARS_KEPT = 16 * 1024 * 1024

/**
 * Questions of a node to its fleet before an effect outside: whether it still has the call, and whether an effect has
 * happened before, perhaps on another node. Each answer comes within the deadlines of the store; no promise rejects.
 */
export interface EffectGate {
  /**
   * True if this node may act for a call.
   * @param call  its SID, or the clientRequestId of a call that this node places and that is not answered yet
   * @param confirm  true: the store must confirm the ownership now, because nothing else shows it (the call has no
   *   socket); false: it is enough that nothing speaks against it
   * @param patient  true: what is to be done may come late, so a fleet that cannot say it now is asked again, for at most 10
   *   minutes; false, the default: then the answer is false
   */
  mayAct(call: string, confirm: boolean, patient?: boolean): Promise<boolean>
  /**
   * Stores the intent of an effect, if its key is not there yet.
   * @returns `new`: stored now; `result`: it was done before; `uncertain`: an intent without a result stands there;
   *   `store-down`: nobody knows
   */
  intend(key: string): Promise<'new' | { readonly result: ToolOutcome } | 'uncertain' | 'store-down'>
  /** Stores the result of an intent, of at most EFFECT_RESULT_BYTES_MAX as JSON. Returns at once. */
  settle(key: string, result: ToolOutcome): void
}

/**
 * The key of a tool call's effect: `<root SID>:<tool>:<32 hex digits>:<occurrence>`, the digits being the first half of
 * the SHA-256 of the arguments as canonical JSON. It fits an HTTP header. The same tool call has the same key on every
 * worker and node; `ToolLedger` says how occurrences are counted.
 * @param rootSid  SID of the first call of a caller who was rung back, otherwise of the call itself
 */
export function effectKey(
  rootSid: string,
  tool: string,
  args: Readonly<Record<string, unknown>>,
  occurrence: number,
): string {
  const digits = createHash('sha256').update(canonicalJson(args)).digest('hex').slice(0, 32)
  return `${rootSid}:${tool}:${digits}:${occurrence}`
}

/** Keys of effects in this process, and the fleet that knows those of the others. */
export class Effects {
  /** Null without a fleet. */
  readonly gate: EffectGate | null
  readonly metrics: Metrics
  /** Outcomes of the effects that ran here. Null: not known yet. */
  readonly #kept = new LRUCache<string, { readonly outcome: ToolOutcome | null }>({
    max: EFFECT_KEYS_KEPT,
    maxSize: EFFECT_CHARS_KEPT,
    sizeCalculation: ({ outcome }, key) => key.length + JSON.stringify(outcome).length,
  })

  constructor(gate: EffectGate | null, metrics: Metrics) {
    this.gate = gate
    this.metrics = metrics
  }

  /** @param resumed  the call began on another node, whose keys only the store knows */
  async intend(key: string, resumed: boolean): Promise<Exclude<EffectAnswer, { type: 'not-owner' }>> {
    const known = this.#kept.get(key)
    if (known !== undefined) return this.#answer(known.outcome ?? 'uncertain')
    // Before the store answers: the same key may be asked for again meanwhile.
    this.#kept.set(key, { outcome: null })
    const answer = this.gate === null ? 'new' : await this.gate.intend(key)
    if (answer === 'new' || (answer === 'store-down' && !resumed)) return this.#answer(answer)
    // It does not run here, and the store may know more when it is asked again.
    this.#kept.delete(key)
    if (typeof answer === 'string') return this.#answer(answer === 'store-down' ? 'refused' : answer)
    return this.#answer(answer.result)
  }

  settle(key: string, outcome: ToolOutcome): void {
    const small = keptOutcome(outcome)
    this.#kept.set(key, { outcome: small })
    this.gate?.settle(key, small)
  }

  #answer(
    answer: ToolOutcome | 'new' | 'uncertain' | 'store-down' | 'refused',
  ): Exclude<EffectAnswer, { type: 'not-owner' }> {
    this.metrics.effectIntents({ answer: typeof answer === 'string' ? answer : 'repeated' }).inc()
    if (typeof answer !== 'string') return { type: 'done', outcome: answer }
    return { type: answer === 'uncertain' || answer === 'refused' ? 'uncertain' : 'run' }
  }
}

/** The outcome, or where it is too large to be kept only whether it succeeded. */
function keptOutcome(outcome: ToolOutcome): ToolOutcome {
  if (Buffer.byteLength(JSON.stringify(outcome)) <= EFFECT_RESULT_BYTES_MAX) return outcome
  const { ok } = outcome
  return { ok, value: ok ? { done: true, note: 'Its answer is no longer known.' } : { error: 'It failed.' } }
}

interface CallEffectsOptions {
  readonly callSid: string
  /** The call began on another node. */
  readonly resumed: boolean
  readonly log: Log
  /** Enters an event into the call's timeline. */
  readonly mark: (name: string, detail: string) => void
}

/** Effects of one call outside: only while its node owns it, and none twice. */
export class CallEffects {
  readonly #options: CallEffectsOptions
  readonly #effects: Effects
  /** Handoffs keep their order. At most those of one call. */
  #handoffs = Promise.resolve()

  constructor(options: CallEffectsOptions, effects: Effects) {
    this.#options = options
    this.#effects = effects
  }

  /**
   * Does `work` if this node has the call: at once without a fleet, otherwise when the fleet has answered. A handoff, which
   * nobody posts again, waits for a store that is away.
   * @param what  names it for log and timeline
   * @param confirm  see `EffectGate.mayAct`
   * @param refused  called instead of `work` when another node has the call
   */
  act(kind: 'rest' | 'handoff', what: string, confirm: boolean, work: () => void, refused?: () => void): void {
    if (this.#effects.gate === null) return work()
    const asked = this.#mayAct(kind, what, confirm)
    const before = kind === 'handoff' ? this.#handoffs : undefined
    const acted = Promise.all([asked, before]).then(([may]) => (may ? work() : refused?.()))
    if (kind === 'handoff') this.#handoffs = acted
  }

  /** Asked before a tool with an effect runs. */
  async intend(key: string, tool: string): Promise<EffectAnswer> {
    if (!(await this.#mayAct('tool', tool, false))) return { type: 'not-owner' }
    const { resumed, log, mark } = this.#options
    const answer = await this.#effects.intend(key, resumed)
    if (answer.type === 'uncertain') {
      log.warn({ tool }, 'a tool is not run again: it is unknown whether the first run took effect')
      mark('tool-uncertain', tool)
    } else if (answer.type === 'done') {
      mark('tool-repeated', tool)
    }
    return answer
  }

  settle(key: string, outcome: ToolOutcome): void {
    this.#effects.settle(key, outcome)
  }

  async #mayAct(kind: 'tool' | 'rest' | 'handoff', what: string, confirm: boolean): Promise<boolean> {
    const { callSid, log, mark } = this.#options
    const { gate, metrics } = this.#effects
    if (gate === null || (await gate.mayAct(callSid, confirm, kind === 'handoff'))) return true
    metrics.effectsRefused({ kind }).inc(1, callSid)
    log.warn({ kind, what }, 'an action is not carried out: the call is not known to be of this node')
    mark('not-owner', `${kind}: ${what}`)
    return false
  }
}

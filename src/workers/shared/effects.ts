import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { EffectAnswer, ToolOutcome } from '../../agents/tools/tool.js'
import { canonicalJson } from '../../core/json.js'
import type { Log } from '../../telemetry/log.js'
import type { Metrics } from '../../telemetry/metrics.js'

/** Maximum size in bytes, as JSON, of a result that is stored for the key of an effect. */
export const EFFECT_RESULT_BYTES_MAX = 4096
/**
 * Maximum number of keys of effects that one process remembers. `EFFECT_CHARS_KEPT`: maximum number of characters of
 * the results of all these keys together.
 */
const EFFECT_KEYS_KEPT = 10_000
const EFFECT_CHARS_KEPT = 16 * 1024 * 1024

/**
 * Questions that a node asks its fleet before an effect. Does the node still own the call? Did the effect already
 * happen? Answers come within the store's deadlines. Promises never reject.
 */
export interface EffectGate {
  /**
   * True if this node may act for a call.
   * @param call  the call's SID, or the clientRequestId of an unanswered call that this node places
   * @param confirm  true: the store must confirm the ownership now, because no open socket shows that the node has the
   * call. False: the node may act unless the fleet knows a reason against it
   * @param patient  true: the action may come late. If the fleet cannot answer now, it is asked again for at most 10
   * minutes. False (default): if the fleet cannot answer now, the answer is false
   */
  mayAct(call: string, confirm: boolean, patient?: boolean): Promise<boolean>
  /**
   * Stores the intent of an effect, if its key is not stored yet.
   * @returns `new`: stored now. `result`: the effect was done before. `uncertain`: an intent without a result is
   * stored. `store-down`: the store did not answer. The effect must then not begin, because another node could not see
   * the intent and would run the effect again
   */
  intend(key: string): Promise<'new' | { readonly result: ToolOutcome } | 'uncertain' | 'store-down'>
  /** Stores the result of an intent, at most EFFECT_RESULT_BYTES_MAX as JSON. Returns at once. */
  settle(key: string, result: ToolOutcome): void
}

/**
 * Key of a tool call's effect: `<root SID>:<tool>:<32 hex digits>:<occurrence>`. The digits are the first half of the
 * SHA-256 of the arguments as canonical JSON. The key may be used in an HTTP header. It is equal on every worker and
 * node. `ToolLedger` counts the occurrences.
 * @param rootSid  SID of the first call if the caller was rung back, otherwise the call's own SID
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

/** Effects of this process. The class remembers their keys, and asks the fleet for the keys of other nodes. */
export class Effects {
  /** The fleet's gate; null if the gateway does not belong to a fleet. */
  readonly gate: EffectGate | null
  readonly metrics: Metrics
  /** Outcomes of the effects that ran in this process; null while an outcome is unknown. */
  readonly #kept = new LRUCache<string, { readonly outcome: ToolOutcome | null }>({
    max: EFFECT_KEYS_KEPT,
    maxSize: EFFECT_CHARS_KEPT,
    sizeCalculation: ({ outcome }, key) => key.length + JSON.stringify(outcome).length,
  })

  constructor(gate: EffectGate | null, metrics: Metrics) {
    this.gate = gate
    this.metrics = metrics
  }

  /** @param resumed true if the call began on another node: only the store knows the keys of that node */
  async intend(key: string, resumed: boolean): Promise<Exclude<EffectAnswer, { type: 'not-owner' }>> {
    const known = this.#kept.get(key)
    if (known !== undefined) return this.#answer(known.outcome ?? 'uncertain')
    // The key is set before the store answers, because another request with this key may come while this request waits.
    this.#kept.set(key, { outcome: null })
    const answer = this.gate === null ? 'new' : await this.gate.intend(key)
    if (answer === 'new') return this.#answer(answer)
    // The effect does not run here, so the key is not remembered. The next request asks the store again.
    this.#kept.delete(key)
    if (answer === 'store-down' && resumed) return this.#answer('refused')
    return this.#answer(typeof answer === 'string' ? answer : answer.result)
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
    if (answer === 'store-down') return { type: answer }
    return { type: answer === 'new' ? 'run' : 'uncertain' }
  }
}

/** Outcome in the form in which it is stored. If the result is too large, only success or failure is stored. */
function keptOutcome(outcome: ToolOutcome): ToolOutcome {
  if (Buffer.byteLength(JSON.stringify(outcome)) <= EFFECT_RESULT_BYTES_MAX) return outcome
  const { ok } = outcome
  return { ok, value: ok ? { done: true, note: 'Its answer is no longer known.' } : { error: 'It failed.' } }
}

interface CallEffectsOptions {
  readonly callSid: string
  /** True if the call began on another node. */
  readonly resumed: boolean
  readonly log: Log
  /** Enters an event into the call's timeline. */
  readonly mark: (name: string, detail: string) => void
}

/** Effects of one call. An effect happens only while the node owns the call, and at most once. */
export class CallEffects {
  readonly #options: CallEffectsOptions
  readonly #effects: Effects
  /** Promise of the last handoff of this call. It keeps the handoffs in order. */
  #handoffs = Promise.resolve()

  constructor(options: CallEffectsOptions, effects: Effects) {
    this.#options = options
    this.#effects = effects
  }

  /**
   * Does `work` if this node owns the call. Without a fleet this happens at once; with a fleet it happens after the
   * fleet's answer. If the store does not answer, a handoff waits (`patient`), because a handoff is posted only once.
   * @param what  name of the work in log and timeline
   * @param confirm  see `EffectGate.mayAct`
   * @param refused  called instead of `work` when another node owns the call
   */
  act(kind: 'rest' | 'handoff', what: string, confirm: boolean, work: () => void, refused?: () => void): void {
    if (this.#effects.gate === null) return work()
    const asked = this.#mayAct(kind, what, confirm)
    const before = kind === 'handoff' ? this.#handoffs : undefined
    const acted = Promise.all([asked, before]).then(([may]) => (may ? work() : refused?.()))
    if (kind === 'handoff') this.#handoffs = acted
  }

  /** Decides if a tool with an effect may run; called before the tool runs. */
  async intend(key: string, tool: string): Promise<EffectAnswer> {
    if (!(await this.#mayAct('tool', tool, false))) return { type: 'not-owner' }
    const { resumed, log, mark } = this.#options
    const answer = await this.#effects.intend(key, resumed)
    if (answer.type === 'uncertain') {
      log.warn({ tool }, 'a tool is not run again: it is unknown whether the first run took effect')
      mark('tool-uncertain', tool)
    } else if (answer.type === 'done') {
      mark('tool-repeated', tool)
    } else if (answer.type === 'store-down') {
      log.warn({ tool }, 'a tool is not run: the store did not take its intent')
      mark('tool-unstored', tool)
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
    log.warn({ kind, what }, 'an action is not carried out: it is not certain that this node owns the call')
    mark('not-owner', `${kind}: ${what}`)
    return false
  }
}

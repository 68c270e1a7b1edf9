import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import { isContained } from '../call/documents/call-charts.js'
import type { CallRecord } from '../call/documents/record.js'
import { unrefTimer } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import type { CallStore } from '../fleet/store/call-store.js'
import type { Log } from '../telemetry/log.js'
import { versionOf } from '../workers/main/call/agent-version.js'
import type { HostedAgent } from '../workers/main/main-thread-context.js'
import type { MessageNews } from '../messages/message.js'
import { KeptCounts, keptCounts } from './kept-counts.js'
import { evidenceOfWorse } from './sequential-test.js'
import type { ArmCounts } from './sequential-test.js'

/**
 * Time in ms between two exchanges with the store. In an exchange, this node sends its counts and receives the counts
 * of all other nodes.
 */
const LOOK_MS = 10_000
/** Amount of evidence at which a canary is stopped: 1 / 5 %. */
const EVIDENCE_MAX = 20
/** Minimum number of calls of the canary before it can be stopped. */
const CALLS_MIN = 10
/**
 * Maximum share of calls with unknown cost in each version. With a larger share, costs are not compared, because the
 * calls with known cost may not be typical.
 */
const UNCOSTED_MAX = 0.05
/**
 * Number of calls, of both versions together, from which the usual cost is calculated. The first node with this many
 * calls sets the usual cost.
 */
const USUAL_CALLS = 20
/**
 * Maximum number of stored comparisons. There is one for each version and share of a canary. If there are more, the
 * oldest comparison whose agent is not loaded is dropped.
 */
const KEPT_MAX = 50
/**
 * COUNTS_MS: time in ms for which the store keeps counts after the last call. STOPPED_MS: time in ms for which the
 * store keeps the mark of a stopped canary.
 */
const COUNTS_MS = 60 * 24 * 3_600_000
const STOPPED_MS = 365 * 24 * 3_600_000

/** `agent`: the agent itself. `canary`: its second version. */
type Arm = 'agent' | 'canary'
/**
 * Figures that may be worse for the canary, each a share of calls. If two figures have equal evidence, the first is
 * reported.
 */
const WORSE = ['misunderstood', 'escalated', 'left', 'dear', 'lost'] as const
type Worse = (typeof WORSE)[number]
/** Counts of calls that are not compared, or whose cost is not compared. */
const LEFT_OUT = ['continued', 'unreached', 'unpriced'] as const
const FIGURES = ['calls', 'costed', 'uncosted', ...WORSE, ...LEFT_OUT] as const
type Figure = (typeof FIGURES)[number]

const count = z.int().min(0).default(0)
export const countsSchema = z.object({
  calls: count,
  costed: count,
  /** Calls with an incomplete cost since the usual cost was set. */
  uncosted: count,
  lost: count,
  escalated: count,
  left: count,
  misunderstood: count,
  dear: count,
  /** Calls that continued an earlier call, for example after a lost line. `calls` does not include them. */
  continued: count,
  /** Tries of placed calls that reached no person. `calls` does not include them. */
  unreached: count,
  /** All calls with an incomplete cost, including calls before the usual cost was set. `calls` includes them. */
  unpriced: count,
} satisfies Record<Figure, typeof count>)
export type Counts = z.output<typeof countsSchema>

const canarySchema = z.object({
  agent: z.string(),
  /** Key in the store: the two versions that are compared, and the canary's share. */
  key: z.string(),
  own: z.object({ agent: countsSchema, canary: countsSchema }),
  /** Costs of the first calls here; null after the usual cost is set. */
  costs: z.array(z.number()).nullable(),
  /** Cost above which a call is expensive; null if unknown. */
  usual: z.number().nullable(),
})

const whySchema = z.object({
  figure: z.enum(WORSE),
  /** Shares of calls, 0 to 1. */
  agent: z.number(),
  canary: z.number(),
  /** Numbers of the canary's calls that were left out; absent from entries of earlier builds. */
  leftOut: countsSchema.pick({ continued: true, unreached: true, unpriced: true }).optional(),
})

export const canariesSchema = z.object({
  version: z.literal(1),
  /** Name of this folder's part of the fleet's sums. */
  part: z.string(),
  canaries: z.array(canarySchema),
  /** Stopped canaries, by agent and version. `why` is null if another node stopped the canary. */
  stopped: z.array(z.object({ key: z.string(), why: whySchema.nullable() })),
})

type Canary = z.output<typeof canarySchema>
/** The figure that was worse, with both versions' shares of calls; null if another node stopped the canary. */
type StoppedWhy = z.output<typeof whySchema> | null

interface CanaryWatchOptions {
  /** Agents by name. Edits change this map in place. */
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly store: Pick<CallStore, 'tally' | 'once' | 'standing'>
  /** File with this process's part; null if the part is lost when the process ends. */
  readonly file: string | null
  readonly tell: (news: MessageNews) => void
  readonly log: Log
  /**
   * Timer; if absent, a real timer that does not keep the process alive. Tests replace it.
   * @returns a function that cancels the timer
   */
  readonly later?: (ms: number, run: () => void) => () => void
}

/**
 * Compares the ended calls of each canary with the calls of its agent, over all nodes. A canary that is worse is
 * stopped: it gets no new calls, and receivers get `canary.stopped`. Each node writes only its own counts, like in
 * `DailyBudgets`. The first node with enough evidence marks the canary in the store. The other nodes see the mark at
 * their next exchange and stop the canary. While the store does not answer, a node counts its calls but does not stop
 * canaries.
 */
export class CanaryWatch {
  readonly #options: CanaryWatchOptions
  readonly #later: (ms: number, run: () => void) => () => void
  readonly #part: string
  readonly #kept: KeptCounts<z.input<typeof canariesSchema>>
  readonly #canaries: Map<string, Canary>
  readonly #stopped: Map<string, StoppedWhy>
  #looking: Promise<void> = Promise.resolve()
  #endLook: () => void = () => undefined
  #closed = false

  private constructor(options: CanaryWatchOptions, kept: z.output<typeof canariesSchema> | null) {
    this.#options = options
    this.#later = options.later ?? unrefTimer
    this.#part = kept?.part ?? randomUUID()
    this.#canaries = new Map((kept?.canaries ?? []).map((canary) => [canary.key, canary]))
    this.#stopped = new Map((kept?.stopped ?? []).map(({ key, why }) => [key, why]))
    this.#kept = new KeptCounts({
      ...{ file: options.file, log: options.log, later: this.#later },
      content: () => this.#content(),
      notKept: 'counts of canaries cannot be stored',
    })
  }

  /** Continues the counts of an earlier run that used this folder. */
  static async open(options: CanaryWatchOptions): Promise<CanaryWatch> {
    const { file, log } = options
    const notRead = 'counts of canaries cannot be read: this node counts from 0'
    const watch = new CanaryWatch(options, await keptCounts(file, canariesSchema, log, notRead))
    watch.#looking = watch.#look()
    return watch
  }

  /** Reason why this version of an agent gets no new calls; undefined if it gets its share. */
  stopped(agent: string, version: string): StoppedWhy | undefined {
    return this.#stopped.get(stopKey(agent, version))
  }

  /** Number of canaries of loaded agents, either stopped or getting calls. */
  count(isStopped: boolean): number {
    let count = 0
    for (const [name, { canary }] of this.#options.agents)
      if (canary !== undefined && (this.stopped(name, versionOf(canary.version)) !== undefined) === isStopped) count++
    return count
  }

  /** Counts a call that is over. Does not wait. */
  ended(record: CallRecord): void {
    const { agent, agentVersion, outcome, served, timeline, rootSid, callSid } = record
    const hosted = this.#options.agents.get(agent)
    const key = hosted === undefined ? null : keyOf(hosted)
    if (hosted?.canary === undefined || key === null || outcome === 'refused') return
    const arm =
      agentVersion === versionOf(hosted) ? 'agent' : agentVersion === versionOf(hosted.canary.version) ? 'canary' : null
    if (arm === null || this.stopped(agent, versionOf(hosted.canary.version)) !== undefined) return
    const canary = this.#canaryOf(agent, key)
    const counts = canary.own[arm]
    const add = (figure: Figure, isSo = true): void => {
      if (isSo) counts[figure]++
    }
    // Calls that reached no person are not compared. A call that continues an earlier call is not compared either,
    // because its version was chosen for the first call of the chain.
    const isLater = rootSid !== '' && rootSid !== callSid
    if (outcome === 'unreached' || isLater) {
      add(isLater ? 'continued' : 'unreached')
      return this.#saveSoon()
    }
    add('calls')
    add('lost', !isContained(record))
    add('escalated', outcome === 'escalated' || record.escalation !== null)
    add('left', outcome === 'abandoned' || outcome === 'failed')
    add('misunderstood', served === 'not-understood' || timeline.some(({ name }) => name === 'not-understood'))
    // An incomplete cost is not compared. A cost is incomplete, for example, if the price of one model is missing.
    const amount = (record.wholeCost ?? record.cost)?.amount ?? null
    add('unpriced', amount === null)
    if (canary.usual !== null) {
      add(amount === null ? 'uncosted' : 'costed')
      add('dear', amount !== null && amount > canary.usual)
    } else if (amount !== null && canary.costs !== null && canary.costs.length < USUAL_CALLS) canary.costs.push(amount)
    this.#saveSoon()
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#endLook()
    await this.#looking
    await this.#kept.close()
  }

  #canaryOf(agent: string, key: string): Canary {
    const known = this.#canaries.get(key)
    if (known !== undefined) return known
    const canary: Canary = {
      agent,
      key,
      own: { agent: countsSchema.parse({}), canary: countsSchema.parse({}) },
      costs: [],
      usual: null,
    }
    this.#canaries.set(key, canary)
    forgetOne(this.#canaries, [...this.#options.agents.values()].map(keyOf))
    return canary
  }

  async #look(): Promise<void> {
    const { agents, log } = this.#options
    for (const [name, hosted] of agents) {
      if (this.#closed) return
      const key = keyOf(hosted)
      if (hosted.canary === undefined || key === null) continue
      if (this.stopped(name, versionOf(hosted.canary.version)) !== undefined) continue
      try {
        await this.#lookAt(name, hosted, key)
      } catch (thrown) {
        // The store counts its own faults. The next exchange sends the counts again.
        log.debug({ agent: name, reason: messageOf(thrown) }, 'calls of a canary could not be compared')
      }
    }
    if (this.#closed) return
    this.#endLook = this.#later(LOOK_MS, () => {
      this.#looking = this.#look()
    })
  }

  async #lookAt(name: string, hosted: HostedAgent, key: string): Promise<void> {
    const { store, log, tell } = this.#options
    if (hosted.canary === undefined) return
    const canary = this.#canaryOf(name, key)
    const version = versionOf(hosted.canary.version)
    const mark = `canary-stopped:${stopKey(name, version)}`
    // Only other nodes' marks count here. If this node wrote its own mark but lost the store's answer, it must still
    // send the message.
    if ((await store.tally(mark, this.#part, 0, STOPPED_MS)) > 0) return this.#stop(name, version, null)
    await this.#agreeOnUsual(canary)
    const sums = { agent: await this.#sums(canary, 'agent'), canary: await this.#sums(canary, 'canary') }
    const worse = worseFigure(sums, hosted.canary.percent / 100)
    if (worse === null) return
    const { continued, unreached, unpriced } = sums.canary
    const why = { ...worse, leftOut: { continued, unreached, unpriced } }
    const isFirst = (await store.tally(mark, this.#part, 1, STOPPED_MS)) === 0
    this.#stop(name, version, why)
    if (!isFirst) return
    const { figure, agent, canary: share } = why
    log.warn(
      { agent: name, version, figure, share, agent_share: agent, ...why.leftOut },
      'a canary is worse than its agent: stopped',
    )
    tell({
      type: 'canary.stopped',
      id: `${name}:${version}:canary.stopped`,
      callSid: `canary-${name}-${version}`,
      agent: name,
      data: { agent: name, version, agentVersion: versionOf(hosted), percent: hosted.canary.percent, why, calls: sums },
    })
  }

  /**
   * Sets the canary's usual cost. The first node with enough calls stores the usual cost, and all nodes use this value.
   */
  async #agreeOnUsual(canary: Canary): Promise<void> {
    const { costs, usual, key } = canary
    if (usual !== null) return
    const { store } = this.#options
    const value = `canary-cost:${key}`
    const own = [...(costs ?? [])].sort((a, b) => a - b)[USUAL_CALLS / 2]
    const isEnough = own !== undefined && costs?.length === USUAL_CALLS
    const standing = isEnough ? await store.once(value, String(own), COUNTS_MS) : await store.standing(value)
    if (standing === null && !isEnough) return
    Object.assign(canary, { usual: standing === null ? own : Number(standing), costs: null })
    this.#saveSoon()
  }

  /** Counts of one version over all nodes. */
  async #sums({ key, own }: Canary, arm: Arm): Promise<Counts> {
    const { store } = this.#options
    const sums = await Promise.all(
      FIGURES.map(async (figure) => {
        const here = own[arm][figure]
        const others = await store.tally(`canary:${key}:${arm}:${figure}`, this.#part, here, COUNTS_MS)
        return [figure, here + others] as const
      }),
    )
    return Object.fromEntries(sums) as Counts
  }

  #stop(agent: string, version: string, why: StoppedWhy): void {
    this.#stopped.set(stopKey(agent, version), why)
    const loaded = [...this.#options.agents].map(([name, { canary }]) =>
      canary === undefined ? null : stopKey(name, versionOf(canary.version)),
    )
    forgetOne(this.#stopped, loaded)
    this.#saveSoon()
  }

  #saveSoon(): void {
    if (!this.#closed) this.#kept.saveSoon()
  }

  #content(): z.input<typeof canariesSchema> {
    return {
      version: 1,
      part: this.#part,
      canaries: [...this.#canaries.values()],
      stopped: [...this.#stopped].map(([key, why]) => ({ key, why })),
    }
  }
}

/** The figure with the most evidence; null if the mean evidence of all figures is not enough. */
export function worseFigure(sums: Readonly<Record<Arm, Counts>>, share: number): NonNullable<StoppedWhy> | null {
  if (sums.canary.calls < CALLS_MIN) return null
  const armOf = (arm: Arm, figure: Worse): ArmCounts => ({
    calls: sums[arm][figure === 'dear' ? 'costed' : 'calls'],
    failed: sums[arm][figure],
  })
  const found = WORSE.map((figure) => {
    const [agent, canary] = [armOf('agent', figure), armOf('canary', figure)]
    const isKnown = figure !== 'dear' || [sums.agent, sums.canary].every(isCosted)
    return { figure, agent, canary, evidence: isKnown ? evidenceOfWorse(agent, canary, share) : 0 }
  })
  // Evidence values can be averaged: their mean is also valid evidence.
  if (found.reduce((sum, { evidence }) => sum + evidence, 0) / found.length < EVIDENCE_MAX) return null
  const [most] = found.sort((a, b) => b.evidence - a.evidence)
  if (most === undefined) return null
  const rate = ({ calls, failed }: ArmCounts): number => (calls === 0 ? 0 : failed / calls)
  return { figure: most.figure, agent: rate(most.agent), canary: rate(most.canary) }
}

function isCosted({ costed, uncosted }: Counts): boolean {
  return uncosted <= UNCOSTED_MAX * (costed + uncosted)
}

/**
 * Key of the comparison of an agent and its canary; null if there is no comparison, because all calls get one version.
 */
function keyOf(agent: HostedAgent): string | null {
  const { canary, definition } = agent
  if (canary === undefined || canary.percent <= 0 || canary.percent >= 100) return null
  return `${definition.name}:${versionOf(agent)}:${versionOf(canary.version)}:${canary.percent}`
}

function stopKey(agent: string, version: string): string {
  return `${agent}:${version}`
}

/** If there are more than KEPT_MAX entries, drops the oldest entry whose agent is not loaded. */
function forgetOne(kept: Map<string, unknown>, loaded: readonly (string | null)[]): void {
  if (kept.size <= KEPT_MAX) return
  const oldest = [...kept.keys()].find((key) => !loaded.includes(key))
  if (oldest !== undefined) kept.delete(oldest)
}

const WORSE_WORDS: Readonly<Record<Worse, string>> = {
  lost: 'not contained',
  escalated: 'sent to a human',
  left: 'abandoned or failed',
  misunderstood: 'not understood',
  dear: 'dearer than usual',
}

/** Reason why a canary is stopped, as text for an operator. */
export function stoppedText(why: StoppedWhy): string {
  if (why === null) return 'its calls were worse, as another node found'
  const percent = (share: number): string => `${Math.round(share * 100)} %`
  const { continued = 0, unreached = 0, unpriced = 0 } = why.leftOut ?? {}
  const notCounted = [
    ...(continued > 0 ? [`${continued} that continued an earlier call`] : []),
    ...(unreached > 0 ? [`${unreached} that reached nobody`] : []),
  ]
  return [
    `more of its calls were ${WORSE_WORDS[why.figure]}: ${percent(why.canary)}, and ${percent(why.agent)} of the agent's calls`,
    ...(notCounted.length > 0 ? [`not counted: ${notCounted.join(', ')}`] : []),
    ...(unpriced > 0 ? [`without a known cost: ${unpriced}`] : []),
  ].join('; ')
}

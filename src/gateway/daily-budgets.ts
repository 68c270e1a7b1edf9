import { randomUUID } from 'node:crypto'
import { z } from 'zod'
import type { Business } from '../agents/file/business.js'
import type { BudgetStep } from '../call/documents/record.js'
import { unrefTimer } from '../core/clock.js'
import { localTime } from '../core/local-time.js'
import type { WallClock } from '../core/clock.js'
import type { CallStore } from '../fleet/store/call-store.js'
import { countryZone } from '../sautikit/phone.js'
import type { Log } from '../telemetry/log.js'
import { KeptCounts, keptCounts } from './kept-counts.js'

/**
 * LOOK_MS: time in ms between two exchanges with the store. An exchange writes this node's spending and reads the
 * spending of other nodes. If it fails, the next exchange repeats the write. LOOK_NUMBERS_MAX: maximum number of phone
 * numbers in one request.
 */
const LOOK_MS = 10_000
const LOOK_NUMBERS_MAX = 200
/** Time in ms between two calculations of the cost of live calls. */
const LIVE_LOOK_MS = 5000
/** Time in ms for which a sum is stored after its last write. A calendar day in any time zone is over before then. */
const TALLY_MS = 3 * 24 * 3_600_000

export const dailyBudgetsSchema = z.object({
  version: z.literal(1),
  /** Name of this folder's part of the fleet's sums. */
  part: z.string(),
  /** Spending by number. */
  numbers: z.record(z.string(), z.object({ day: z.string(), amount: z.number().min(0) })),
})

interface LiveCost {
  readonly callSid: string
  readonly number: string
  readonly amount: number
}

/**
 * Name that no node uses for its part. The store returns the sum of all parts except the named part: with this name,
 * the sum of all nodes.
 */
const NOBODY = ''
/** Two amounts count as equal if they differ by less than this, because smaller differences come from rounding. */
const ROUNDED = 1e-6

/** Spending on a number's calls on one day, in CURRENCY. */
interface Spent {
  readonly day: string
  /**
   * True until this node's part was compared with the store. If the store has a larger amount for this node, the
   * folder's amount is out of date.
   */
  doubted: boolean
  /** Spending at this node. */
  own: number
  /** Spending at all other nodes, by the store's last answer. */
  others: number
  /** Step that was logged last. */
  step: BudgetStep | null
}

/**
 * Today's cost of each number's calls over all nodes, and the used share of the number's budget. Each node writes only
 * its own part to the store. It may write the part twice, and writes it again if the store has lost it. A part contains
 * only ended calls, because a live call may move to another node with its cost. The cost of live calls is in each
 * node's heartbeats. While the store does not answer, a node counts its own calls and uses the last values of the other
 * nodes.
 */
export class DailyBudgets {
  readonly #options: DailyBudgetsOptions
  readonly #later: (ms: number, run: () => void) => () => void
  readonly #part: string
  readonly #kept: KeptCounts<z.input<typeof dailyBudgetsSchema>>
  /** True if this node's part was read from an earlier run's file. */
  readonly #goesOn: boolean
  /** Spending by number. Amounts of an earlier day stay until the number's next call. */
  readonly #spent: Map<string, Spent>
  /** Index of the first number of the next request. */
  #lookedTo = 0
  #endLook: () => void = () => undefined
  #endLiveLook: () => void = () => undefined
  /**
   * `#live`: cost of live calls here, by number and call. `#liveElsewhere`: cost of all live calls at other nodes, by
   * number. These costs are calculated every LIVE_LOOK_MS.
   */
  #live = new Map<string, Map<string, number>>()
  #liveElsewhere = new Map<string, number>()
  #closed = false

  /** @param part this node's part from an earlier run in this folder; null to begin a new part */
  private constructor(options: DailyBudgetsOptions, part: string | null, spent: Map<string, Spent>) {
    this.#options = options
    this.#later = options.later ?? unrefTimer
    this.#part = part ?? randomUUID()
    this.#goesOn = part !== null
    this.#spent = spent
    this.#kept = new KeptCounts({
      ...{ file: options.file, log: options.log, later: this.#later },
      content: () => this.#content(),
      notKept: 'the costs of today for each phone number cannot be stored',
    })
  }

  /** Reads this node's part from an earlier run's file, and starts the exchanges with the store. */
  static async open(options: DailyBudgetsOptions): Promise<DailyBudgets> {
    const { file, log } = options
    const notRead = 'the costs of today for each phone number cannot be read: this node counts from 0'
    const kept = await keptCounts(file, dailyBudgetsSchema, log, notRead)
    const spent = Object.entries(kept?.numbers ?? {}).map(
      ([number, { day, amount }]) => [number, { day, doubted: true, own: amount, others: 0, step: null }] as const,
    )
    const budgets = new DailyBudgets(options, kept?.part ?? null, new Map(spent))
    void budgets.#look()
    budgets.#lookAtLive()
    return budgets
  }

  /** Current step for calls of this number; null for the normal service. */
  step(number: string): BudgetStep | null {
    const business = this.#options.businesses.get(number)
    const { budget } = business ?? {}
    if (business === undefined || budget === undefined) return null
    const { own, others } = this.#today(business)
    const live = sum(this.#live.get(number)?.values() ?? []) + (this.#liveElsewhere.get(number) ?? 0)
    const percent = ((own + others + live) / budget.perDay) * 100
    if (percent >= 100) return 'messages'
    return budget.cheaper !== undefined && percent >= budget.cheaper.fromPercent ? 'cheaper' : null
  }

  /** Number of phone numbers with a budget that are now at this step. */
  count(step: BudgetStep | null): number {
    let count = 0
    for (const [number, { budget }] of this.#options.businesses)
      if (budget !== undefined && this.step(number) === step) count++
    return count
  }

  /**
   * Cost so far of live calls here, by number with a budget. At most LOOK_NUMBERS_MAX numbers are listed, because
   * heartbeats contain the list.
   */
  get liveCosts(): Readonly<Record<string, number>> {
    const sums = [...this.#live].map(([number, calls]) => [number, sum(calls.values())] as const)
    return Object.fromEntries(sums.sort(([, a], [, b]) => b - a).slice(0, LOOK_NUMBERS_MAX))
  }

  /**
   * Counts a part of the cost of an ended call. Does not wait.
   * @param amount  amount in CURRENCY
   */
  spend(number: string, amount: number, callSid: string): void {
    this.#live.get(number)?.delete(callSid)
    const business = this.#options.businesses.get(number)
    if (business?.budget === undefined || amount <= 0) return
    this.#today(business).own += amount
    this.#kept.saveSoon()
    void this.#tell(business)
  }

  /** Writes the spending of this node to the disk. */
  async close(): Promise<void> {
    this.#closed = true
    this.#endLook()
    this.#endLiveLook()
    await this.#kept.close()
  }

  // --- the parts ----------------------------------------------------------------------------------------------

  #today({ number, facts }: Business): Spent {
    const timeZone = facts.hours?.timeZone ?? countryZone(number) ?? 'UTC'
    const { date: day } = localTime(timeZone, this.#options.wallClock())
    const before = this.#spent.get(number)
    if (before?.day === day) return before
    const spent: Spent = { day, doubted: this.#goesOn, own: 0, others: 0, step: null }
    this.#spent.set(number, spent)
    return spent
  }

  #lookAtLive(): void {
    const { businesses, live, liveElsewhere } = this.#options
    this.#live = new Map()
    for (const { callSid, number, amount } of live()) {
      if (businesses.get(number)?.budget === undefined) continue
      const calls = this.#live.get(number) ?? new Map<string, number>()
      this.#live.set(number, calls.set(callSid, amount))
    }
    this.#liveElsewhere = new Map()
    for (const costs of liveElsewhere())
      for (const [number, amount] of Object.entries(costs))
        this.#liveElsewhere.set(number, (this.#liveElsewhere.get(number) ?? 0) + amount)
    this.#endLiveLook = this.#later(LIVE_LOOK_MS, () => this.#lookAtLive())
  }

  async #tell(business: Business): Promise<void> {
    const { number, agent } = business
    const spent = this.#today(business)
    const { store } = this.#options
    const key = `spent:${number}:${spent.day}`
    const told = spent.own
    try {
      spent.others = await store.tally(key, this.#part, told, TALLY_MS)
      if (spent.doubted) {
        const all = await store.tally(key, NOBODY, 0, TALLY_MS)
        const missing = all - spent.others - told
        // Another exchange may have corrected the amount since this one began.
        if (spent.doubted && missing > ROUNDED) spent.own += missing
        spent.doubted = false
      }
    } catch {
      // The store counts its own faults. The next exchange sends the part again.
    }
    const step = this.step(number)
    if (step === spent.step) return
    spent.step = step
    if (step !== null)
      this.#options.log.warn(
        { agent, step },
        'calls of a number get less: its budget of the day is nearly or wholly used up',
      )
  }

  async #look(): Promise<void> {
    const { businesses } = this.#options
    const budgeted = [...businesses.values()].filter(({ budget }) => budget !== undefined)
    for (const number of this.#spent.keys()) if (!businesses.has(number)) this.#spent.delete(number)
    if (this.#lookedTo >= budgeted.length) this.#lookedTo = 0
    const now = budgeted.slice(this.#lookedTo, this.#lookedTo + LOOK_NUMBERS_MAX)
    this.#lookedTo += now.length
    await Promise.all(now.map((business) => this.#tell(business)))
    if (!this.#closed) this.#endLook = this.#later(LOOK_MS, () => void this.#look())
  }

  #content(): z.input<typeof dailyBudgetsSchema> {
    const numbers = Object.fromEntries(
      [...this.#spent].flatMap(([number, { day, own }]) => (own > 0 ? [[number, { day, amount: own }]] : [])),
    )
    return { version: 1, part: this.#part, numbers }
  }
}

interface DailyBudgetsOptions {
  /** By number. Edits change this map in place. */
  readonly businesses: ReadonlyMap<string, Business>
  readonly store: Pick<CallStore, 'tally'>
  /** Live calls of our numbers at this node, and the cost of each call so far, in CURRENCY. */
  readonly live: () => Iterable<LiveCost>
  /** `liveCosts` in the last heartbeats of all other live nodes. */
  readonly liveElsewhere: () => Iterable<Readonly<Record<string, number>>>
  /** File with this process's part; null if the part is lost when the process ends. */
  readonly file: string | null
  readonly wallClock: WallClock
  readonly log: Log
  /**
   * Timer; if absent, a real timer that does not keep the process alive. Tests replace it.
   * @returns a function that cancels the timer
   */
  readonly later?: (ms: number, run: () => void) => () => void
}

function sum(amounts: Iterable<number>): number {
  let all = 0
  for (const amount of amounts) all += amount
  return all
}

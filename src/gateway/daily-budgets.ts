import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import type { Business } from '../agents/file/business.js'
import type { BudgetStep } from '../call/documents/record.js'
import { unrefTimer } from '../core/clock.js'
import { localTime } from '../core/local-time.js'
import type { WallClock } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import type { CallStore } from '../fleet/store/call-store.js'
import { countryZone } from '../sautikit/phone.js'
import { writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log } from '../telemetry/log.js'

/** How often the store is asked what other nodes have spent, and for how many numbers each time. A failed write is repeated then. */
const LOOK_MS = 10_000
const LOOK_NUMBERS_MAX = 200
/** How often the cost of live calls until now is read. */
const LIVE_LOOK_MS = 5000
/** How long a sum is kept after it was last written: longer than a day lasts anywhere. */
const TALLY_MS = 3 * 24 * 3_600_000
/** How long after a change the sum is written to the disk. */
const SAVE_MS = 1000

export const dailyBudgetsSchema = z.object({
  version: z.literal(1),
  /** Name of this folder's part in the sums of a fleet. */
  part: z.string(),
  /** By number. */
  numbers: z.record(z.string(), z.object({ day: z.string(), amount: z.number().min(0) })),
})

interface LiveCost {
  readonly callSid: string
  readonly number: string
  readonly amount: number
}

/** A part that no node has: all others together are the whole sum. */
const NOBODY = ''
/** Less than this is how sums are rounded. */
const ROUNDED = 1e-6

/** Spending of a number on one day, in CURRENCY. */
interface Spent {
  readonly day: string
  /** True until the store is asked whether it has more of our part than this folder, which then is of an earlier time. */
  doubted: boolean
  /** At this node. */
  own: number
  /** At all other nodes, as the store said last. */
  others: number
  /** The step that was logged last. */
  step: BudgetStep | null
}

/**
 * Today's cost of each number's calls, over all nodes, and the used part of its budget. Each node counts its own part alone:
 * a part that is written twice does no harm, and one that a store has lost is written again. The cost of live calls is in no
 * part: it may move to another node with its call, so each node's heartbeat carries it.
 *
 * While the store is away a node goes on with its last values of the others, and counts its own calls.
 */
export class DailyBudgets {
  readonly #options: DailyBudgetsOptions
  readonly #later: (ms: number, run: () => void) => () => void
  readonly #part: string
  /** The part is that of an earlier run. */
  readonly #goesOn: boolean
  /** By number; those of earlier days until they are asked for again. */
  readonly #spent: Map<string, Spent>
  /** Where the next look begins, in the order of the numbers. */
  #lookedTo = 0
  #endLook: () => void = () => undefined
  #endLiveLook: () => void = () => undefined
  /** Cost of live calls here, by number and call; of all live calls elsewhere, by number. As of the last look. */
  #live = new Map<string, Map<string, number>>()
  #liveElsewhere = new Map<string, number>()
  #endSave: (() => void) | null = null
  #saving: Promise<void> = Promise.resolve()
  #faultSaid = false
  #closed = false

  /** @param part  of an earlier run in the same folder; null: this one begins another */
  private constructor(options: DailyBudgetsOptions, part: string | null, spent: Map<string, Spent>) {
    this.#options = options
    this.#later = options.later ?? unrefTimer
    this.#part = part ?? randomUUID()
    this.#goesOn = part !== null
    this.#spent = spent
  }

  /** Goes on with the part of an earlier run in the same folder, and begins to ask for those of the others. */
  static async open(options: DailyBudgetsOptions): Promise<DailyBudgets> {
    const kept = await keptIn(options.file, options.log)
    const spent = Object.entries(kept?.numbers ?? {}).map(
      ([number, { day, amount }]) => [number, { day, doubted: true, own: amount, others: 0, step: null }] as const,
    )
    const budgets = new DailyBudgets(options, kept?.part ?? null, new Map(spent))
    void budgets.#look()
    budgets.#lookAtLive()
    return budgets
  }

  /** Step for a call of this number now; null: the usual service. */
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

  /** Numbers with a budget that are at this step now. */
  count(step: BudgetStep | null): number {
    let count = 0
    for (const [number, { budget }] of this.#options.businesses)
      if (budget !== undefined && this.step(number) === step) count++
    return count
  }

  /** Cost of live calls here until now, by number with a budget: for the heartbeat, so at most LOOK_NUMBERS_MAX. */
  get liveCosts(): Readonly<Record<string, number>> {
    const sums = [...this.#live].map(([number, calls]) => [number, sum(calls.values())] as const)
    return Object.fromEntries(sums.sort(([, a], [, b]) => b - a).slice(0, LOOK_NUMBERS_MAX))
  }

  /** A part of the cost of a call that is over. Does not wait. @param amount  in CURRENCY */
  spend(number: string, amount: number, callSid: string): void {
    this.#live.get(number)?.delete(callSid)
    const business = this.#options.businesses.get(number)
    if (business?.budget === undefined || amount <= 0) return
    this.#today(business).own += amount
    this.#endSave ??= this.#later(SAVE_MS, () => {
      this.#endSave = null
      void this.#save()
    })
    void this.#tell(business)
  }

  /** Writes to the disk what was spent here. */
  async close(): Promise<void> {
    this.#closed = true
    this.#endLook()
    this.#endLiveLook()
    this.#endSave?.()
    this.#endSave = null
    await this.#save()
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
        // Another look may have asked meanwhile.
        if (spent.doubted && missing > ROUNDED) spent.own += missing
        spent.doubted = false
      }
    } catch {
      // The store counts its own faults. The next look tells it again.
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

  #save(): Promise<void> {
    const { file, log } = this.#options
    if (file === null) return Promise.resolve()
    this.#saving = this.#saving.then(async () => {
      const numbers = Object.fromEntries(
        [...this.#spent].flatMap(([number, { day, own }]) => (own > 0 ? [[number, { day, amount: own }]] : [])),
      )
      const kept: z.input<typeof dailyBudgetsSchema> = { version: 1, part: this.#part, numbers }
      try {
        await writeWhole(file, JSON.stringify(kept))
        this.#faultSaid = false
      } catch (thrown) {
        if (!this.#faultSaid) log.error({ reason: messageOf(thrown) }, 'what numbers have spent today cannot be kept')
        this.#faultSaid = true
      }
    })
    return this.#saving
  }
}

interface DailyBudgetsOptions {
  /** By number; edits change it in place. */
  readonly businesses: ReadonlyMap<string, Business>
  readonly store: Pick<CallStore, 'tally'>
  /** Live calls of our numbers at this node, and what each has cost until now, in CURRENCY. */
  readonly live: () => Iterable<LiveCost>
  /** Last `liveCosts` of the other live nodes. */
  readonly liveElsewhere: () => Iterable<Readonly<Record<string, number>>>
  /** Where this process keeps its own part; null: it does not survive the process. */
  readonly file: string | null
  readonly wallClock: WallClock
  readonly log: Log
  /** For tests; real timers, which keep no process alive, otherwise. @returns ends it */
  readonly later?: (ms: number, run: () => void) => () => void
}

/** Null for a file that is not there, or cannot be read: then the day begins anew at this node. */
async function keptIn(file: string | null, log: Log): Promise<z.output<typeof dailyBudgetsSchema> | null> {
  if (file === null) return null
  try {
    return dailyBudgetsSchema.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
      log.error({ file }, 'what numbers have spent today cannot be read: this node counts from 0')
    return null
  }
}

function sum(amounts: Iterable<number>): number {
  let all = 0
  for (const amount of amounts) all += amount
  return all
}

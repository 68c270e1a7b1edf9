import { mkdir, readFile, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { jsonObject, jsonOrNull } from '../core/json.js'
import { unrefTimer } from '../core/clock.js'
import { messageOf } from '../core/errors.js'
import { appendWhole, writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log } from '../telemetry/log.js'
import { campaignSchema, rowSchema } from './campaign.js'
import type { Campaign, Row, RowResult } from './campaign.js'
import type { Limits, Next, RowCounts, RowQueue, RowWork } from './row-queue.js'

/** Number of outdated lines after which a file of rows is rewritten. */
const STALE_LINES_MAX = 20_000
/** Maximum duration of a timer, in milliseconds; a longer wait is divided. */
const TIMER_MS_MAX = 3_600_000
/** Pause after a fault of the disk or of the work, in milliseconds. */
const FAULT_PAUSE_MS = 5000

const ID = /^[a-z0-9][a-z0-9-]{0,79}$/

interface FileQueueOptions {
  /** Folder in DATA_DIR; only this process uses this folder. */
  readonly folder: string
  /** Returns calendar time. */
  readonly wallClock: () => number
  readonly log: Log
  /**
   * Timer for tests. The default is a real timer, which does not keep the process alive.
   * @returns a function that cancels the timer
   */
  readonly later?: (ms: number, run: () => void) => () => void
}

/** A campaign in memory. */
interface Open {
  campaign: Campaign | null
  readonly rows: Map<string, Row>
  /**
   * Newest lines of rows that this version cannot read, because a newer version wrote them; by row id. These rows are
   * not called.
   */
  readonly unread: Map<string, string>
  /** Ids of waiting rows; the row that is due first is at the end. */
  waiting: string[]
  readonly working: Set<string>
  /** Number of turns that have begun but have not written their result yet. */
  turns: number
  lines: number
  limits: Limits | null
  work: RowWork | null
  heldUntilMs: number
  /** Number of calls that may still start now. */
  budget: number
  /** Time at which this number was computed. */
  budgetAtMs: number
  endTimer: () => void
}

/**
 * Campaigns of one process, without Redis. `ID.json` contains the campaign. `ID.rows.jsonl` contains its rows: each
 * change is one line, and the last line of a row is valid. All rows are in memory too. If a process died during a
 * write, the incomplete line is ignored, because its change was not confirmed.
 */
export class FileQueue implements RowQueue {
  /** Number of failed writes. */
  faults = 0
  readonly #options: FileQueueOptions
  readonly #open = new Map<string, Open>()
  readonly #active = new Set<Promise<void>>()
  #writing: Promise<void> = Promise.resolve()
  #closed = false

  private constructor(options: FileQueueOptions) {
    this.#options = options
  }

  /** @throws errors of the file system */
  static async start(options: FileQueueOptions): Promise<FileQueue> {
    const queue = new FileQueue(options)
    const { folder, log } = options
    await mkdir(folder, { recursive: true, mode: 0o700 })
    for (const name of (await readdir(folder)).sort()) {
      const [, id = ''] = /^(.+)\.(?:json|rows\.jsonl)$/.exec(name) ?? []
      if (!ID.test(id)) continue
      const entry = queue.#entry(id)
      const text = await readFile(join(folder, name), 'utf8')
      if (name.endsWith('.json')) {
        const read = campaignSchema.safeParse(jsonOrNull(text))
        if (read.success) entry.campaign = read.data
        else log.error({ campaign: id }, 'a campaign on the disk cannot be read')
        continue
      }
      for (const line of text.split('\n')) {
        const value = jsonObject(line)
        const read = rowSchema.safeParse(value)
        entry.lines++
        if (read.success) {
          entry.rows.set(read.data.id, read.data)
          entry.unread.delete(read.data.id)
        } else if (value !== null) {
          const id = typeof value['id'] === 'string' ? value['id'] : line
          entry.unread.set(id, line)
          entry.rows.delete(id)
        }
      }
    }
    for (const [id, entry] of queue.#open) {
      queue.#sort(entry)
      if (entry.unread.size > 0)
        log.error({ campaign: id, rows: entry.unread.size }, 'rows of a campaign cannot be read, and are not called')
      if (entry.lines > entry.rows.size + entry.unread.size) await queue.#rewrite(id, entry)
    }
    return queue
  }

  campaigns(): Promise<readonly Campaign[]> {
    const all = [...this.#open.values()].flatMap(({ campaign }) => (campaign === null ? [] : [campaign]))
    return Promise.resolve(all.sort((a, b) => a.createdAt.localeCompare(b.createdAt)))
  }

  ids(): Promise<readonly string[]> {
    return Promise.resolve([...this.#open.keys()])
  }

  unread(): Promise<number> {
    return Promise.resolve([...this.#open.values()].reduce((sum, { unread }) => sum + unread.size, 0))
  }

  async keep(campaign: Campaign): Promise<void> {
    const path = join(this.#options.folder, `${campaign.id}.json`)
    await this.#write(() => writeWhole(path, JSON.stringify(campaign)))
    this.#entry(campaign.id).campaign = campaign
    this.#pump(campaign.id)
  }

  async add(campaign: string, rows: readonly Row[]): Promise<number> {
    const entry = this.#entry(campaign)
    const added = rows.filter(({ id }) => !entry.rows.has(id) && !entry.unread.has(id))
    await this.#put(campaign, entry, added, () => this.#append(campaign, entry, added))
    return added.length
  }

  async promise<P extends string>(row: Row, passed: (others: readonly Row[]) => P | null): Promise<P | boolean> {
    const { rows } = this.#entry(row.campaign)
    // From this line until the row is in memory, the code does not wait, so other code cannot run in between.
    const against = passed([...rows.values()].filter(({ id }) => id !== row.id))
    return against ?? (await this.add(row.campaign, [row])) > 0
  }

  counts(campaign: string): Promise<RowCounts> {
    const { rows = new Map<string, Row>(), working = new Set<string>() } = this.#open.get(campaign) ?? {}
    const results: Partial<Record<RowResult, number>> = {}
    let waiting = 0
    for (const { id, result } of rows.values())
      if (result !== null) results[result] = (results[result] ?? 0) + 1
      else if (!working.has(id)) waiting++
    return Promise.resolve({ rows: rows.size, waiting, calling: working.size, results })
  }

  async remove(campaign: string): Promise<void> {
    const entry = this.#open.get(campaign)
    if (entry === undefined) return
    entry.endTimer()
    this.#open.delete(campaign)
    await this.#write(async () => {
      // Rows are deleted before the campaign. A crash between the two deletions is harmless, because a row is not
      // called without its campaign.
      for (const path of [this.#pathOf(campaign), join(this.#options.folder, `${campaign}.json`)])
        await rm(path, { force: true })
    })
  }

  async prune(campaign: string, beforeMs: number): Promise<void> {
    const entry = this.#open.get(campaign)
    if (entry === undefined) return
    const before = entry.rows.size
    for (const [id, { result, tries, dueMs: at }] of entry.rows)
      if (result !== null && (tries.at(-1)?.atMs ?? at) < beforeMs) entry.rows.delete(id)
    if (entry.rows.size < before) await this.#write(() => this.#rewrite(campaign, entry))
  }

  reach(): Promise<void> {
    return Promise.resolve()
  }

  rows(campaign: string): Promise<readonly Row[]> {
    return Promise.resolve([...(this.#open.get(campaign)?.rows.values() ?? [])])
  }

  async change(campaign: string, change: (row: Row) => Row | null): Promise<number> {
    const entry = this.#open.get(campaign)
    if (entry === undefined) return 0
    const changed = [...entry.rows.values()].flatMap((row) => change(row) ?? [])
    if (changed.length === 0) return 0
    // The earlier row may have been erased, so its lines must not stay in the file.
    await this.#put(campaign, entry, changed, () => this.#write(() => this.#rewrite(campaign, entry)))
    return changed.length
  }

  serve(campaign: string, limits: Limits, work: RowWork): Promise<void> {
    const entry = this.#entry(campaign)
    entry.budget = Math.min(entry.budget, limits.perMinute)
    entry.limits = limits
    entry.work = work
    this.#pump(campaign)
    return Promise.resolve()
  }

  unserve(campaign: string): Promise<void> {
    const entry = this.#open.get(campaign)
    if (entry !== undefined) entry.work = null
    return Promise.resolve()
  }

  wake(campaign: string): Promise<void> {
    const entry = this.#open.get(campaign)
    if (entry !== undefined) entry.heldUntilMs = 0
    this.#pump(campaign)
    return Promise.resolve()
  }

  /** Resolves when all earlier writes are on the disk. */
  get written(): Promise<void> {
    return this.#writing
  }

  async close(waitMs: number): Promise<void> {
    this.#closed = true
    for (const { endTimer } of this.#open.values()) endTimer()
    let timer: NodeJS.Timeout | null = null
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, waitMs)
    })
    await Promise.race([Promise.all(this.#active), late])
    if (timer !== null) clearTimeout(timer)
    await this.#writing
  }

  #entry(id: string): Open {
    const known = this.#open.get(id)
    if (known !== undefined) return known
    const entry: Open = {
      campaign: null,
      rows: new Map(),
      unread: new Map(),
      waiting: [],
      working: new Set(),
      turns: 0,
      lines: 0,
      limits: null,
      work: null,
      heldUntilMs: 0,
      budget: Infinity,
      budgetAtMs: this.#options.wallClock(),
      endTimer: () => undefined,
    }
    this.#open.set(id, entry)
    return entry
  }

  /** Sets rows. If the write fails, the earlier rows are restored, so that a repeated request writes the rows again. */
  async #put(id: string, entry: Open, rows: readonly Row[], write: () => Promise<void>): Promise<void> {
    const before = rows.map((row) => [row, entry.rows.get(row.id)] as const)
    for (const row of rows) entry.rows.set(row.id, row)
    this.#sort(entry)
    try {
      await write()
    } catch (thrown) {
      for (const [row, other] of before) {
        if (entry.rows.get(row.id) !== row) continue
        if (other === undefined) entry.rows.delete(row.id)
        else entry.rows.set(row.id, other)
      }
      this.#sort(entry)
      throw thrown
    }
    this.#pump(id)
  }

  #sort(entry: Open): void {
    entry.waiting = [...entry.rows.values()]
      .reverse()
      .filter(({ id, result }) => result === null && !entry.working.has(id))
      .sort((a, b) => dueMs(b) - dueMs(a))
      .map(({ id }) => id)
  }

  /** Inserts a row into the waiting rows. */
  #wait(entry: Open, row: Row): void {
    const { waiting, rows } = entry
    let [from, to] = [0, waiting.length]
    while (from < to) {
      const middle = (from + to) >> 1
      const other = rows.get(waiting[middle] ?? '')
      if (other !== undefined && dueMs(other) > dueMs(row)) from = middle + 1
      else to = middle
    }
    waiting.splice(from, 0, row.id)
  }

  /** Starts work on due rows, within the limits. */
  #pump(id: string): void {
    const entry = this.#open.get(id)
    const { limits = null, work = null } = entry ?? {}
    if (entry === undefined || limits === null || work === null || this.#closed) return
    entry.endTimer()
    const { wallClock } = this.#options
    for (;;) {
      const nowMs = wallClock()
      const row = entry.rows.get(entry.waiting.at(-1) ?? '')
      if (row === undefined || entry.turns >= limits.atOnce) return
      this.#refill(entry, limits, nowMs)
      const budgetMs = entry.budget >= 1 ? 0 : ((1 - entry.budget) / limits.perMinute) * 60_000
      const waitMs = Math.max(dueMs(row) - nowMs, entry.heldUntilMs - nowMs, budgetMs)
      if (waitMs > 0) return this.#lookIn(id, entry, waitMs)
      entry.waiting.pop()
      entry.working.add(row.id)
      entry.turns++
      entry.budget--
      const working = this.#turn(id, entry, row, work).finally(() => {
        entry.turns--
        this.#active.delete(working)
        this.#pump(id)
      })
      this.#active.add(working)
    }
  }

  #refill(entry: Open, { perMinute }: Limits, nowMs: number): void {
    const passedMs = Math.max(0, nowMs - entry.budgetAtMs)
    // Calls start one at a time. All calls of a minute at the same time would be a burst for the carrier.
    entry.budget = Math.min(1, entry.budget + (passedMs / 60_000) * perMinute)
    entry.budgetAtMs = nowMs
  }

  #lookIn(id: string, entry: Open, waitMs: number): void {
    const { later = unrefTimer } = this.#options
    entry.endTimer = later(Math.min(Math.ceil(waitMs), TIMER_MS_MAX), () => this.#pump(id))
  }

  async #turn(id: string, entry: Open, row: Row, work: RowWork): Promise<void> {
    let next: Next
    /** The row as this turn last stored it. */
    let mine = row
    const stands = (): boolean => entry.rows.get(row.id) === mine
    const keep = (changed: Row): void => void entry.rows.set(row.id, (mine = changed))
    try {
      next = await work(row, {
        stands: () => Promise.resolve(stands()),
        save: async (changed) => {
          if (!stands()) return false
          const before = mine
          keep(changed)
          try {
            await this.#append(id, entry, [changed], true)
          } catch (thrown) {
            if (stands()) keep(before)
            throw thrown
          }
          return stands()
        },
      })
    } catch (thrown) {
      this.#options.log.error({ err: thrown, campaign: id }, 'the turn of a row of a campaign failed')
      next = { next: 'later', row: mine, atMs: this.#options.wallClock() + FAULT_PAUSE_MS }
    }
    const after = next.next === 'later' ? { ...next.row, dueMs: next.atMs } : next.row
    // A turn without a call does not count towards the calls of the minute.
    if (after.tries.length === row.tries.length) entry.budget = Math.min(1, entry.budget + 1)
    if (next.next === 'hold') entry.heldUntilMs = Math.max(entry.heldUntilMs, next.untilMs)
    entry.working.delete(row.id)
    const isMine = stands()
    if (isMine) keep(after)
    const kept = entry.rows.get(row.id)
    if (kept?.result === null) this.#wait(entry, kept)
    if (!isMine || next.next === 'hold') return
    const { later = unrefTimer } = this.#options
    // The caller's words must not stay in the file.
    const forgets = row.recovers !== null && after.recovers === null
    // The write is repeated until it succeeds, because otherwise the next process would call the row again.
    do {
      try {
        const now = entry.rows.get(row.id) ?? after
        return await (forgets ? this.#write(() => this.#rewrite(id, entry)) : this.#append(id, entry, [now]))
      } catch {
        await new Promise<void>((resolve) => later(FAULT_PAUSE_MS, resolve))
      }
    } while (!this.#closed && this.#open.get(id) === entry)
  }

  async #append(id: string, entry: Open, rows: readonly Row[], sync = false): Promise<void> {
    if (rows.length === 0) return
    entry.lines += rows.length
    await this.#write(async () => {
      if (entry.lines > entry.rows.size + STALE_LINES_MAX) return this.#rewrite(id, entry)
      await appendWhole(this.#pathOf(id), rows.map((row) => `${JSON.stringify(row)}\n`).join(''), sync)
    })
  }

  async #rewrite(id: string, entry: Open): Promise<void> {
    const lines = [...[...entry.rows.values()].map((row) => JSON.stringify(row)), ...entry.unread.values()]
    await writeWhole(this.#pathOf(id), lines.map((line) => `${line}\n`).join(''))
    entry.lines = lines.length
  }

  #pathOf(id: string): string {
    return join(this.#options.folder, `${id}.rows.jsonl`)
  }

  /** Executes one write after another. @throws errors of the file system */
  async #write(work: () => Promise<void>): Promise<void> {
    const mine = this.#writing.then(work)
    this.#writing = mine.catch((thrown: unknown) => {
      this.faults++
      if (this.faults === 1)
        this.#options.log.error({ reason: messageOf(thrown) }, 'a campaign could not be written to the disk')
    })
    await mine
  }
}

/** Returns the due time of a row; rows whose call was in progress come first. */
function dueMs({ dueMs: at, tries }: Row): number {
  return tries.at(-1)?.result === null ? 0 : at
}

import type { Cluster, Redis } from 'ioredis'
import type { Campaign, Row } from '../../../src/campaigns/campaign.js'
import type { Limits, RowCounts, RowQueue, RowWork } from '../../../src/campaigns/row-queue.js'

const LOCK_MS = 30_000
const LOOK_MS = 1500

/** KEYS: the rows' times. ARGV: now, token. Answers a row that is due and that nobody has. */
const TAKE = `
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local due = redis.call('HGET', KEYS[1] .. ':due', id)
  if due and tonumber(due) <= tonumber(ARGV[1]) and not redis.call('GET', KEYS[1] .. ':lock:' .. id) then
    redis.call('SET', KEYS[1] .. ':lock:' .. id, ARGV[2], 'PX', ${LOCK_MS})
    return { id, redis.call('HGET', KEYS[1] .. ':rows', id) }
  end
end
return {}`
/** ARGV: row, token. */
const RENEW = `
if redis.call('GET', KEYS[1] .. ':lock:' .. ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('PEXPIRE', KEYS[1] .. ':lock:' .. ARGV[1], ${LOCK_MS})`
/** ARGV: row, its present value. As in BullMQ, whoever owns it. */
const UPDATE = `
if redis.call('HEXISTS', KEYS[1] .. ':rows', ARGV[1]) == 0 then return 0 end
return redis.call('HSET', KEYS[1] .. ':rows', ARGV[1], ARGV[2])`
/** ARGV: row, token, when it is due again; nothing: never. */
const LEAVE = `
if redis.call('GET', KEYS[1] .. ':lock:' .. ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1] .. ':lock:' .. ARGV[1])
if ARGV[3] then redis.call('HSET', KEYS[1] .. ':due', ARGV[1], ARGV[3]) else redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1`

/**
 * In place of BullMQ, whose scripts the model of Redis does not run, its promises to `RedisQueue`: each row to one worker
 * that renews its hold, to another one when the hold is over, and a change of a row whoever makes it. It is in the model's
 * Redis, over the real client that waits for it and repeats what was not answered.
 */
export class ModelRowQueue implements RowQueue {
  readonly #redis: Redis | Cluster
  readonly #wallClock: () => number
  readonly #pause: (ms: number) => Promise<void>
  readonly #token: string
  readonly #all = '{campaigns}:all'
  readonly #serving = new Set<string>()
  #closed = false
  #turns = 0

  constructor(redis: Redis | Cluster, wallClock: () => number, pause: (ms: number) => Promise<void>, token: string) {
    this.#pause = pause
    this.#redis = redis
    this.#wallClock = wallClock
    this.#token = token
  }

  async campaigns(): Promise<readonly Campaign[]> {
    return (await this.#redis.hvals(this.#all)).map((text) => JSON.parse(text) as Campaign)
  }

  async keep(campaign: Campaign): Promise<void> {
    await this.#redis.hset(this.#all, campaign.id, JSON.stringify(campaign))
  }

  async add(campaign: string, rows: readonly Row[]): Promise<number> {
    const key = keyOf(campaign)
    let added = 0
    for (const row of rows) {
      added += await this.#redis.hsetnx(`${key}:rows`, row.id, JSON.stringify(row))
      await this.#redis.hsetnx(`${key}:due`, row.id, String(row.dueMs))
      await this.#redis.zadd(key, row.dueMs, row.id)
    }
    return added
  }

  async promise<P extends string>(row: Row, passed: (others: readonly Row[]) => P | null): Promise<P | boolean> {
    const against = passed((await this.rows(row.campaign)).filter(({ id }) => id !== row.id))
    return against ?? (await this.add(row.campaign, [row])) > 0
  }

  async counts(campaign: string): Promise<RowCounts> {
    const rows = await this.rows(campaign)
    return { rows: rows.length, waiting: rows.length, calling: 0, results: {} }
  }

  remove(): Promise<void> {
    return Promise.resolve()
  }

  prune(): Promise<void> {
    return Promise.resolve()
  }

  reach(): Promise<void> {
    return Promise.resolve()
  }

  ids(): Promise<readonly string[]> {
    return Promise.resolve([])
  }

  unread(): Promise<number> {
    return Promise.resolve(0)
  }

  async rows(campaign: string): Promise<readonly Row[]> {
    return (await this.#redis.hvals(`${keyOf(campaign)}:rows`)).map((text) => JSON.parse(text) as Row)
  }

  change(): Promise<number> {
    return Promise.resolve(0)
  }

  async serve(campaign: string, _limits: Limits, work: RowWork): Promise<void> {
    await this.#redis.ping()
    if (this.#serving.has(campaign)) return
    this.#serving.add(campaign)
    void this.#worker(keyOf(campaign), campaign, work)
  }

  unserve(campaign: string): Promise<void> {
    this.#serving.delete(campaign)
    return Promise.resolve()
  }

  wake(): Promise<void> {
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#closed = true
    return Promise.resolve()
  }

  async #worker(key: string, campaign: string, work: RowWork): Promise<void> {
    while (!this.#closed && this.#serving.has(campaign)) {
      // As BullMQ's worker: a fault of Redis ends the turn, and the row comes again when the hold on it is over.
      const had = await this.#turn(key, work).catch(() => false)
      if (!had) await this.#pause(LOOK_MS)
    }
  }

  async #turn(key: string, work: RowWork): Promise<boolean> {
    const token = `${this.#token}-${this.#turns++}`
    const [id, text] = (await this.#redis.eval(TAKE, 1, key, this.#wallClock(), token)) as string[]
    if (id === undefined || text === undefined) return false
    const renew = (): void => void this.#redis.eval(RENEW, 1, key, id, token).catch(() => undefined)
    const renewing = setInterval(renew, LOCK_MS / 2)
    try {
      const update = async (row: Row): Promise<boolean> => {
        await this.#redis.eval(UPDATE, 1, key, id, JSON.stringify(row))
        return true
      }
      // Nobody erases rows here.
      const next = await work(JSON.parse(text) as Row, { save: update, stands: () => Promise.resolve(true) })
      const atMs = next.next === 'later' ? next.atMs : next.next === 'hold' ? next.untilMs : null
      await update(next.next === 'later' ? { ...next.row, dueMs: next.atMs } : next.row)
      await this.#redis.eval(LEAVE, 1, key, id, token, ...(atMs === null ? [] : [atMs]))
      return true
    } finally {
      clearInterval(renewing)
    }
  }
}

function keyOf(campaign: string): string {
  return `{rows:${campaign}}`
}

import { createHmac } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { DelayedError, Queue, Worker } from 'bullmq'
import type { Job } from 'bullmq'
import { Cluster, Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { GatewayError } from '../core/errors.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import type { Log, LogFields } from '../telemetry/log.js'
import { SealedCall } from '../fleet/sealed-call.js'
import { derivedKey } from '../fleet/secrets.js'
import { partyKey } from '../sautikit/phone.js'
import type { RedisAddress } from '../fleet/redis-url.js'
import { ROW_RESULTS, campaignSchema, rowSchema } from './campaign.js'
import type { Campaign, Row } from './campaign.js'
import { DO_NOT_CALL_MAX, readEntry } from './do-not-call.js'
import type { DoNotCall, DoNotCallEntry } from './do-not-call.js'
import type { Limits, RowCounts, RowQueue, RowWork } from './row-queue.js'

/** Rows that are written or read in one go. */
const PAGE = 500
/** A node that has not renewed its hold on a row for so long is dead: another one takes the row. */
const LOCK_MS = 30_000
const STALLED_LOOK_MS = 10_000
/** A fault of Redis in mid-turn: the row is given again after this. */
const FAULT_PAUSE_MS = 5000
const NEVER_ENDING = 1_000_000
const REDIS_RETRY_MS_MAX = 1000
const FORCED_CLOSE_MS = 1000

const STATES = ['waiting', 'active', 'delayed', 'completed', 'failed', 'prioritized'] as const

/** How long an answer of Redis is waited for before an operator is told that there is none. */
const REACH_MS_MAX = 1000
/** Rows that one look forgets; the next one goes on. */
const PRUNED_MAX = 10_000

/** KEYS: the results of the rows that were counted, and the counts. ARGV: row, result. A row whose result changes moves. */
const COUNT = `
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before == ARGV[2] then return end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if before then redis.call('HINCRBY', KEYS[2], before, -1) end
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)`

interface Sealed {
  readonly sealed: string
}

interface RedisQueueOptions {
  readonly address: RedisAddress
  /** REDIS_PREFIX. */
  readonly prefix: string
  /** TOKEN_SECRET: rows are encrypted. */
  readonly secrets: readonly string[]
  readonly log: Log
}

/**
 * Campaigns of a fleet, in Redis: a BullMQ queue for each. A row is a job, and its id is the row's, so that it is there
 * once. BullMQ keeps the limits over all nodes, gives a row to one node at a time, and gives the rows of a node that died
 * to another. A row has a person's number, so Redis has it encrypted.
 */
export class RedisQueue implements RowQueue {
  readonly #options: RedisQueueOptions
  readonly redis: Redis | Cluster
  /** In one slot of a cluster. */
  readonly prefix: string
  readonly #queues = new Map<string, Queue<Sealed>>()
  readonly #workers = new Map<string, Worker<Sealed>>()
  /** BullMQ's own, for commands that block; without Redis it never ends them. */
  readonly #duplicates: (Redis | Cluster)[] = []
  readonly #faults: LimitedLog<'redis'>

  constructor(options: RedisQueueOptions) {
    this.#options = options
    this.redis = connect(options.address)
    this.prefix = `{${options.prefix}campaigns}`
    this.#keepDuplicates(this.redis)
    this.#faults = new LimitedLog(options.log, 'campaigns do not reach Redis', 'campaigns still do not reach Redis')
    this.redis.on('error', () => this.#fault({}))
  }

  async campaigns(): Promise<readonly Campaign[]> {
    const all = await this.redis.hvals(`${this.prefix}:all`)
    return all
      .flatMap((text) => {
        const read = campaignSchema.safeParse(JSON.parse(text))
        return read.success ? [read.data] : []
      })
      .sort((a, b) => a.createdAt.localeCompare(b.createdAt))
  }

  async keep(campaign: Campaign): Promise<void> {
    await this.redis.hset(`${this.prefix}:all`, campaign.id, JSON.stringify(campaign))
  }

  async add(campaign: string, rows: readonly Row[]): Promise<number> {
    const queue = this.#queue(campaign)
    const count = async (): Promise<number> =>
      Object.values(await queue.getJobCounts(...STATES)).reduce((sum, each) => sum + each, 0)
    const before = await count()
    for (let from = 0; from < rows.length; from += PAGE)
      await queue.addBulk(
        rows.slice(from, from + PAGE).map((row) => ({
          name: 'row',
          data: this.#sealed(row),
          opts: {
            jobId: row.id,
            delay: Math.max(0, row.dueMs - Date.now()),
            attempts: NEVER_ENDING,
            backoff: { type: 'fixed', delay: FAULT_PAUSE_MS },
          },
        })),
      )
    for (const row of rows) if (row.result !== null) await this.#count(row)
    return (await count()) - before
  }

  async counts(campaign: string): Promise<RowCounts> {
    const [jobs, counted] = await Promise.all([
      this.#queue(campaign).getJobCounts(...STATES),
      this.redis.hgetall(this.#countsKey(campaign)),
    ])
    return {
      rows: Object.values(jobs).reduce((sum, each) => sum + each, 0),
      calling: jobs['active'] ?? 0,
      results: Object.fromEntries(
        ROW_RESULTS.flatMap((result) => (counted[result] === undefined ? [] : [[result, Number(counted[result])]])),
      ),
    }
  }

  async remove(campaign: string): Promise<void> {
    await this.unserve(campaign)
    await this.redis.hdel(`${this.prefix}:all`, campaign)
    await this.#queue(campaign).obliterate({ force: true })
    await this.redis.del(this.#countsKey(campaign), this.#countedKey(campaign))
  }

  async prune(campaign: string, beforeMs: number): Promise<void> {
    const ids = await this.#queue(campaign).clean(Math.max(0, Date.now() - beforeMs), PRUNED_MAX, 'completed')
    if (ids.length > 0) await this.redis.hdel(this.#countedKey(campaign), ...ids)
  }

  async reach(): Promise<void> {
    const answered =
      this.redis.status === 'ready' &&
      (await Promise.race([
        this.redis.ping().then(
          () => true,
          () => false,
        ),
        sleep(REACH_MS_MAX, false, { ref: false }),
      ]))
    if (!answered)
      throw new GatewayError('STORE_DOWN', 'Redis, which has the campaigns, does not answer', { retryable: true })
  }

  async rows(campaign: string): Promise<readonly Row[]> {
    const rows = new Map<string, Row>()
    for (const job of await this.#jobs(campaign)) {
      const row = this.#opened(job)
      if (row !== null) rows.set(row.id, row)
    }
    return [...rows.values()]
  }

  async change(campaign: string, change: (row: Row) => Row | null): Promise<number> {
    let changed = 0
    for (const job of await this.#jobs(campaign)) {
      const row = this.#opened(job)
      const other = row === null || (await job.isActive()) ? null : change(row)
      if (other === null) continue
      // One that is over now ends when its turn comes.
      await job.updateData(this.#sealed(other))
      await this.#count(other)
      changed++
    }
    return changed
  }

  async serve(campaign: string, { atOnce, perMinute }: Limits, work: RowWork): Promise<void> {
    // BullMQ's worker cannot be closed before Redis was there once.
    await this.redis.ping()
    if (this.#workers.has(campaign)) return
    const queue = this.#queue(campaign)
    const worker = new Worker<Sealed>(campaign, (job, token) => this.#turn(queue, job, token, work), {
      connection: this.redis,
      prefix: this.prefix,
      concurrency: atOnce,
      // One after the other: a minute's worth at once would be a burst for the carrier.
      limiter: { max: 1, duration: Math.max(1, Math.floor(60_000 / perMinute)) },
      lockDuration: LOCK_MS,
      stalledInterval: STALLED_LOOK_MS,
      maxStalledCount: NEVER_ENDING,
    })
    worker.on('error', () => this.#fault({ campaign }))
    this.#workers.set(campaign, worker)
    await queue.setGlobalConcurrency(atOnce)
  }

  async unserve(campaign: string): Promise<void> {
    const worker = this.#workers.get(campaign)
    this.#workers.delete(campaign)
    await worker?.close()
  }

  async wake(campaign: string): Promise<void> {
    await this.#queue(campaign).removeRateLimitKey()
  }

  async close(waitMs: number): Promise<void> {
    const workers = [...this.#workers.values()]
    const queues = [...this.#queues.values()]
    const gently = Promise.allSettled(workers.map((worker) => worker.close()))
      .then(() => Promise.allSettled(queues.map((queue) => queue.close())))
      .then(() => true)
    // Another node takes the rows that are still held. Without Redis nothing closes by itself.
    if (!(await Promise.race([gently, sleep(waitMs, false, { ref: false })])))
      await Promise.race([
        Promise.allSettled(workers.map((worker) => worker.close(true))),
        sleep(FORCED_CLOSE_MS, null, { ref: false }),
      ])
    for (const one of [this.redis, ...this.#duplicates]) one.disconnect()
  }

  #keepDuplicates(redis: Redis | Cluster): void {
    const duplicate = redis.duplicate.bind(redis) as (...args: unknown[]) => Redis | Cluster
    redis.duplicate = ((...args: unknown[]) => {
      const made = duplicate(...args)
      this.#duplicates.push(made)
      return made
    }) as typeof redis.duplicate
  }

  #fault(fields: LogFields): void {
    this.#faults.note('redis', fields, performance.now())
  }

  async #turn(queue: Queue<Sealed>, job: Job<Sealed>, token: string | undefined, work: RowWork): Promise<void> {
    const row = this.#opened(job)
    if (row === null) throw new Error('a row cannot be read: it was written with another TOKEN_SECRET')
    const next = await work(row, (changed) => job.updateData(this.#sealed(changed)))
    const after = next.next === 'later' ? { ...next.row, dueMs: next.atMs } : next.row
    await job.updateData(this.#sealed(after))
    if (next.next === 'done') return this.#count(after)
    if (next.next === 'later') {
      await job.moveToDelayed(next.atMs, token)
      throw new DelayedError()
    }
    await queue.rateLimit(Math.max(1, Math.ceil(next.untilMs - Date.now())))
    throw Worker.RateLimitError()
  }

  /** Counts a row that is over, once; without its numbers and words. */
  async #count({ campaign, id, result }: Row): Promise<void> {
    if (result === null) return
    await this.redis.eval(COUNT, 2, this.#countedKey(campaign), this.#countsKey(campaign), id, result)
  }

  #countsKey(campaign: string): string {
    return `${this.prefix}:counts:${campaign}`
  }

  #countedKey(campaign: string): string {
    return `${this.prefix}:counted:${campaign}`
  }

  async #jobs(campaign: string): Promise<Job<Sealed>[]> {
    const queue = this.#queue(campaign)
    const jobs: Job<Sealed>[] = []
    for (const state of STATES)
      for (let from = 0; ; from += PAGE) {
        const page = (await queue.getJobs(state, from, from + PAGE - 1)) as (Job<Sealed> | undefined)[]
        jobs.push(...page.filter((job) => job !== undefined))
        if (page.length < PAGE) break
      }
    return jobs
  }

  #queue(campaign: string): Queue<Sealed> {
    const known = this.#queues.get(campaign)
    if (known !== undefined) return known
    const queue = new Queue<Sealed>(campaign, { connection: this.redis, prefix: this.prefix })
    queue.on('error', () => this.#fault({ campaign }))
    this.#queues.set(campaign, queue)
    return queue
  }

  #sealed(row: Row): Sealed {
    const bytes = new SealedCall(row.id, this.#options.secrets).seal('state', JSON.stringify(row))
    return { sealed: Buffer.from(bytes).toString('base64') }
  }

  /** Null for what this fleet did not write. */
  #opened({ id = '', data }: Job<Sealed>): Row | null {
    try {
      const text = new SealedCall(id, this.#options.secrets).open('state', Buffer.from(data.sealed, 'base64'))
      return rowSchema.parse(JSON.parse(text))
    } catch {
      return null
    }
  }
}

/** The list of a fleet, in a hash: by a keyed hash of the number, encrypted. */
export class RedisDoNotCall implements DoNotCall {
  readonly #redis: Redis | Cluster
  readonly #key: string
  readonly #secrets: readonly string[]

  /** @param queue  whose connection it uses @param secrets  of TOKEN_SECRET; while one is replaced, both are looked for */
  constructor({ redis, prefix }: Pick<RedisQueue, 'redis' | 'prefix'>, secrets: readonly string[]) {
    this.#redis = redis
    this.#key = `${prefix}:do-not-call`
    this.#secrets = secrets
  }

  async has(number: string): Promise<boolean> {
    const found = await this.#redis.hmget(this.#key, ...this.#names(number))
    return found.some((value) => value !== null)
  }

  async add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void> {
    const [name] = this.#names(number)
    if (partyKey(number) === '' || name === undefined) return
    if ((await this.#redis.hlen(this.#key)) >= DO_NOT_CALL_MAX)
      throw new RangeError(`the list has ${DO_NOT_CALL_MAX} numbers already`)
    const entry: DoNotCallEntry = { number: partyKey(number), at: new Date(wallMs).toISOString(), by }
    const sealed = new SealedCall(name, this.#secrets).seal('state', JSON.stringify(entry))
    await this.#redis.hsetnx(this.#key, name, Buffer.from(sealed).toString('base64'))
  }

  async remove(number: string): Promise<boolean> {
    return (await this.#redis.hdel(this.#key, ...this.#names(number))) > 0
  }

  async list(max: number): Promise<readonly DoNotCallEntry[]> {
    const all = await this.#redis.hgetall(this.#key)
    const entries = Object.entries(all).flatMap(([name, sealed]) => {
      try {
        const text = new SealedCall(name, this.#secrets).open('state', Buffer.from(sealed, 'base64'))
        const entry = readEntry(text)
        return entry === null ? [] : [entry]
      } catch {
        return [] // of another TOKEN_SECRET: its number is kept all the same
      }
    })
    return entries.sort((a, b) => b.at.localeCompare(a.at)).slice(0, max)
  }

  #names(number: string): string[] {
    return this.#secrets.map((secret) =>
      createHmac('sha256', derivedKey(secret, 'do-not-call')).update(partyKey(number)).digest('base64url'),
    )
  }
}

/** Commands of a queue wait for Redis as long as it takes. */
function connect({ tls, hosts, username, password, masterName, cluster, db }: RedisAddress): Redis | Cluster {
  const common = {
    maxRetriesPerRequest: null,
    ...(username !== null && { username }),
    ...(password !== null && { password }),
    ...(tls && { tls: {} }),
    retryStrategy: (times: number) => Math.min(times * 100, REDIS_RETRY_MS_MAX),
  } satisfies RedisOptions
  if (cluster) return new Cluster([...hosts], { redisOptions: common })
  if (masterName !== null)
    return new Redis({
      ...common,
      sentinels: [...hosts],
      name: masterName,
      db,
      ...(tls && { enableTLSForSentinelMode: true }),
    })
  return new Redis({ ...common, ...hosts[0], db })
}

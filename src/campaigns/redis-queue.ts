import { createHmac, randomUUID } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DelayedError, Queue, Worker } from 'bullmq'
import type { Job } from 'bullmq'
import type { Cluster, Redis } from 'ioredis'
import { z } from 'zod'
import { GatewayError, messageOf } from '../core/errors.js'
import { jsonOrNull } from '../core/json.js'
import { LimitedLog } from '../telemetry/limited-log.js'
import { writeWhole } from '../telemetry/archive/whole-file.js'
import type { Log, LogFields } from '../telemetry/log.js'
import { SealedCall } from '../fleet/store/sealed-call.js'
import { derivedKey } from '../fleet/secrets.js'
import { partyKey } from '../sautikit/phone.js'
import { boundCommands, endRedisClient, redisClient } from '../fleet/store/redis-client.js'
import type { RedisAddress } from '../fleet/store/redis-url.js'
import { CALL_BACKS, ROW_RESULTS, campaignSchema, lostCampaign, rowSchema } from './campaign.js'
import type { Campaign, Row } from './campaign.js'
import { DO_NOT_CALL_MAX, FileDoNotCall, readEntry, shownOf } from './do-not-call.js'
import type { DoNotCall, DoNotCallEntry, KeptEntry } from './do-not-call.js'
import { callerOf } from './call-back-limits.js'
import { sumOf } from './row-queue.js'
import type { Limits, LostRows, RowCounts, RowQueue, RowWork } from './row-queue.js'

/**
 * Campaigns of a fleet in Redis, with one BullMQ queue for each campaign. A row is a job with the row's id, so a row
 * exists only once. BullMQ enforces the limits over all nodes, and passes each row to only one node at a time. Rows of
 * a dead node are passed to another node. Rows are encrypted, because they contain people's numbers.
 */
export class RedisQueue implements RowQueue {
  readonly #options: RedisQueueOptions
  readonly redis: Redis | Cluster
  /** Prefix of all Redis keys; because of the prefix all keys are in one slot of a cluster. */
  readonly prefix: string
  readonly #queues = new Map<string, Queue<Sealed>>()
  readonly #workers = new Map<string, Worker<Sealed>>()
  /** Connections that BullMQ made for blocking commands. While Redis is unavailable, BullMQ never closes them. */
  readonly #duplicates: (Redis | Cluster)[] = []
  readonly #faults: LimitedLog<'redis'>
  #seen: Seen | null = null

  constructor(options: RedisQueueOptions) {
    this.#options = options
    // While Redis is unavailable, up to COMMANDS_MAX commands wait without a time limit. These commands are sent again
    // on the next connection.
    this.redis = redisClient(options.address, { maxRetriesPerRequest: null, socketTimeout: SILENCE_MS_MAX })
    this.prefix = `{${options.prefix}campaigns}`
    boundCommands(this.redis, COMMANDS_MAX, () => options.onRefused?.())
    this.#keepDuplicates(this.redis)
    this.#faults = new LimitedLog(options.log, 'campaigns do not reach Redis', 'campaigns still do not reach Redis')
    this.redis.on('error', () => this.#fault({}))
  }

  async campaigns(): Promise<readonly Campaign[]> {
    const key = `${this.prefix}:all`
    let all = await this.redis.hgetall(key)
    if (all[LIST] === undefined) {
      // The value is JSON, because nodes of an earlier build parse every field.
      await this.redis.hsetnx(key, LIST, JSON.stringify(randomUUID()))
      all = await this.redis.hgetall(key)
    }
    const list = all[LIST] ?? ''
    let found = readCampaigns(all)
    const seen = await this.#lastSeen()
    if (seen !== null && seen.list !== list) {
      const campaigns: Campaign[] = []
      for (const campaign of seen.campaigns) {
        if (campaign.state === 'lost' || (await this.counts(campaign.id)).rows > 0) continue
        campaigns.push(lostCampaign(campaign))
        await this.redis.hset(key, campaign.id, JSON.stringify(lostCampaign(campaign)))
      }
      this.#options.onLost?.({ campaigns, callBacks: seen.callBacks })
      found = readCampaigns(await this.redis.hgetall(key))
    }
    const { rows, results } = await this.counts(CALL_BACKS)
    await this.#saw({ list, campaigns: [...found], callBacks: Math.max(0, rows - sumOf(results)) })
    return found
  }

  async #lastSeen(): Promise<Seen | null> {
    const { seenFile = null } = this.#options
    if (this.#seen !== null || seenFile === null) return this.#seen
    // Without this file, the node has not read a campaign yet.
    const text = await readFile(seenFile, 'utf8').catch(() => '')
    this.#seen = seenSchema.safeParse(jsonOrNull(text)).data ?? null
    return this.#seen
  }

  async #saw(seen: Seen): Promise<void> {
    const { seenFile = null } = this.#options
    const isNew = JSON.stringify(seen) !== JSON.stringify(this.#seen)
    this.#seen = seen
    if (seenFile === null || !isNew) return
    try {
      await mkdir(dirname(seenFile), { recursive: true, mode: 0o700 })
      await writeWhole(seenFile, JSON.stringify(seen))
    } catch (thrown) {
      this.#options.log.warn({ reason: messageOf(thrown) }, 'the list of campaigns could not be written to the disk')
    }
  }

  async keep(campaign: Campaign): Promise<void> {
    await this.redis.hset(`${this.prefix}:all`, campaign.id, JSON.stringify(campaign))
    // From this point on, the campaign counts as seen by this node.
    await this.campaigns()
  }

  async add(campaign: string, rows: readonly Row[]): Promise<number> {
    const queue = this.#queue(campaign)
    const count = async (): Promise<number> => sumOf(await queue.getJobCounts(...STATES))
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

  async promise<P extends string>(row: Row, passed: (others: readonly Row[]) => P | null): Promise<P | boolean> {
    const queue = this.#queue(row.campaign)
    const keys = this.#kinKeys(row)
    const placed = await this.redis.eval(TAKE_PLACE, keys.length, ...keys, row.id, KIN_MS)
    const before = z.array(z.tuple([z.string(), z.coerce.number(), z.coerce.number()])).parse(placed)
    // The rows are collected by id, because a row may be in several of these lists.
    const others = new Map<string, Row>()
    for (const [id, ageMs, line] of before) {
      const job = await queue.getJob(id)
      const other = this.#opened(job)
      if (other !== null) others.set(id, other)
      else if (job === undefined && ageMs < ABOUT_TO_BE_MS && !others.has(id))
        // Another node will write this row soon. Only the row's position in the list is known now.
        others.set(
          id,
          keys[line - 1]?.startsWith(this.#lineOf('to')) === true
            ? { ...row, id, asked: null }
            : { ...row, id, to: UNKNOWN },
        )
    }
    const against = passed([...others.values()])
    if (against === null) return (await this.add(row.campaign, [row])) > 0
    if ((await queue.getJob(row.id)) === undefined) for (const key of keys) await this.redis.zrem(key, row.id)
    return against
  }

  /**
   * Redis keys of the lists of a phone number and of a caller. They contain keyed hashes, so that a reader of Redis
   * cannot see the phone number and the caller.
   */
  #kinKeys(row: Row): string[] {
    const by = callerOf(row)
    const parties = [['to', partyKey(row.to)] as const, ...(by === '' ? [] : [['by', by] as const])]
    return this.#options.secrets.flatMap((secret) =>
      parties.map(([what, party]) => {
        const hash = createHmac('sha256', derivedKey(secret, 'call-backs')).update(`${what}:${party}`)
        return `${this.#lineOf(what)}${hash.digest('base64url')}`
      }),
    )
  }

  #lineOf(what: 'to' | 'by'): string {
    return `${this.prefix}:call-backs-${what}:`
  }

  async counts(campaign: string): Promise<RowCounts> {
    const queue = this.#queue(campaign)
    const [jobs, counted, active] = await Promise.all([
      queue.getJobCounts(...STATES),
      this.redis.hgetall(this.#countsKey(campaign)),
      queue.getRanges(['active'], 0, -1),
    ])
    const ended = active.length === 0 ? [] : await this.redis.hmget(this.#countedKey(campaign), ...active)
    const rows = sumOf(jobs)
    const results = Object.fromEntries(
      ROW_RESULTS.flatMap((result) => (counted[result] === undefined ? [] : [[result, Number(counted[result])]])),
    )
    const calls = ended.filter((result) => result === null).length
    return { rows, waiting: Math.max(0, rows - sumOf(results) - calls), calling: active.length, results }
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

  async ids(): Promise<readonly string[]> {
    const all = Object.keys(await this.redis.hgetall(`${this.prefix}:all`))
    return [CALL_BACKS, ...all.filter((id) => id !== LIST)]
  }

  async unread(): Promise<number> {
    let unread = 0
    for (const id of await this.ids())
      for await (const jobs of this.#pages(id)) unread += jobs.filter((job) => this.#opened(job) === null).length
    return unread
  }

  async rows(campaign: string): Promise<readonly Row[]> {
    const rows: Row[] = []
    for await (const jobs of this.#pages(campaign)) rows.push(...jobs.flatMap((job) => this.#opened(job) ?? []))
    return rows
  }

  async *#pages(campaign: string): AsyncGenerator<readonly Job<Sealed>[]> {
    const queue = this.#queue(campaign)
    const ids = await this.#ids(queue)
    for (let from = 0; from < ids.length; from += PAGE) {
      const page = await Promise.all(ids.slice(from, from + PAGE).map((id) => queue.getJob(id)))
      yield page.filter((job) => job !== undefined)
    }
  }

  async change(campaign: string, change: (row: Row) => Row | null): Promise<number> {
    const queue = this.#queue(campaign)
    let changed = 0
    for (const id of await this.#ids(queue)) if (await this.#changed(queue, id, change)) changed++
    return changed
  }

  async serve(campaign: string, { atOnce, perMinute }: Limits, work: RowWork): Promise<void> {
    // A worker of BullMQ can only be closed if Redis was available at least once.
    await this.redis.ping()
    if (this.#workers.has(campaign)) return
    const queue = this.#queue(campaign)
    const worker = new Worker<Sealed>(campaign, (job, token) => this.#turn(queue, job, token, work), {
      connection: this.redis,
      prefix: this.prefix,
      concurrency: atOnce,
      // Calls start one at a time. All calls of a minute at the same time would be a burst for the carrier.
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
    // Another node takes over the rows whose turns have not ended. If Redis is unavailable, the connections do not
    // close by themselves.
    if (!(await Promise.race([gently, sleep(waitMs, false, { ref: false })])))
      await Promise.race([
        Promise.allSettled(workers.map((worker) => worker.close(true))),
        sleep(FORCED_CLOSE_MS, null, { ref: false }),
      ])
    for (const one of [this.redis, ...this.#duplicates]) endRedisClient(one)
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
    const next = await work(row, {
      save: (changed) => this.#write(queue, job, changed),
      stands: async () => (await queue.getJob(row.id))?.data.changed === job.data.changed,
    })
    const after = next.next === 'later' ? { ...next.row, dueMs: next.atMs } : next.row
    const isMine = await this.#write(queue, job, after)
    const kept = isMine ? after : this.#opened(await queue.getJob(row.id))
    if (kept === null)
      throw new Error('a row is gone, or was written with another TOKEN_SECRET, while it was being called')
    if (kept.result !== null) return this.#count(kept)
    if (isMine && next.next === 'hold') {
      await queue.rateLimit(Math.max(1, Math.ceil(next.untilMs - Date.now())))
      throw Worker.RateLimitError()
    }
    await job.moveToDelayed(kept.dueMs, token)
    throw new DelayedError()
  }

  /** Changes a row, even during its turn. If the change ends the row, the row is over when its turn ends. */
  async #changed(queue: Queue<Sealed>, id: string, change: (row: Row) => Row | null): Promise<boolean> {
    for (let tries = 0; tries < ROW_CHANGES_MAX; tries++) {
      const job = await queue.getJob(id)
      const row = this.#opened(job)
      const other = row === null ? null : change(row)
      if (job === undefined || other === null) return false
      const before = JSON.stringify(job.data)
      const after = JSON.stringify({ ...this.#sealed(other), changed: randomUUID() } satisfies Sealed)
      if ((await this.redis.eval(CHANGE_ROW, 1, queue.toKey(id), before, after)) === 0) continue
      await this.#count(other)
      return true
    }
    throw new GatewayError('STORE_DOWN', 'a row could not be changed, because it was being written at each try', {
      retryable: true,
    })
  }

  /**
   * Writes a row during its turn. @returns false if the row was changed by another request since the turn began; the
   * row is then not written
   */
  async #write(queue: Queue<Sealed>, { data }: Job<Sealed>, row: Row): Promise<boolean> {
    const { changed = '' } = data
    const after = JSON.stringify({ ...data, ...this.#sealed(row) } satisfies Sealed)
    return (await this.redis.eval(WRITE_ROW, 1, queue.toKey(row.id), changed, after)) === 1
  }

  /** Counts a row that is over, exactly once. The count does not contain phone numbers or words. */
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

  /** Reads the ids of all rows in one request. With several requests, a row whose state changes could be missed. */
  #ids(queue: Queue<Sealed>): Promise<string[]> {
    return queue.getRanges([...STATES], 0, -1)
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

  /** Decrypts a row; null if this fleet did not write it. */
  #opened(job: Job<Sealed> | undefined): Row | null {
    if (job === undefined) return null
    const { id = '', data } = job
    try {
      const text = new SealedCall(id, this.#options.secrets).open('state', Buffer.from(data.sealed, 'base64'))
      return rowSchema.parse(JSON.parse(text))
    } catch {
      return null
    }
  }
}

/** Number of rows that are written or read in one request. */
const PAGE = 500
/**
 * Time after which another node takes a row, in milliseconds. If a node has not renewed its lock on the row in this
 * time, the node counts as dead.
 */
const LOCK_MS = 30_000
const STALLED_LOOK_MS = 10_000
/** Pause before a row gets another turn, in milliseconds, if Redis failed during its turn. */
const FAULT_PAUSE_MS = 5000
const NEVER_ENDING = 1_000_000
const FORCED_CLOSE_MS = 1000
/**
 * Maximum number of attempts to change a row while its turn also writes the row. A turn writes only a few times during
 * a call.
 */
const ROW_CHANGES_MAX = 10
/**
 * Time without an answer after which a connection is closed, in milliseconds. It is longer than 10 s, because commands
 * of BullMQ block for up to 10 s.
 */
const SILENCE_MS_MAX = 12_000

const STATES = ['waiting', 'active', 'delayed', 'completed', 'failed', 'prioritized'] as const

/**
 * Maximum number of commands that wait for Redis. A call needs a few commands; reading a campaign needs one command for
 * each row of a page.
 */
const COMMANDS_MAX = 10_000
/** Maximum wait for an answer of Redis, in milliseconds. After this time the operator gets an error. */
const REACH_MS_MAX = 1000
/** Maximum number of rows that one check deletes. The next check continues. */
const PRUNED_MAX = 10_000

/**
 * Field that identifies a hash. If Redis has lost its data, the new hash has another identity. Ids and names never
 * contain `!`.
 */
const LIST = '!list'

/**
 * Time for which a position in a list is stored, in milliseconds. It is longer than a call back can wait and count
 * towards the limits.
 */
const KIN_MS = 120 * 24 * 3_600_000
/** Placeholder for a phone number that is still unknown. */
const UNKNOWN = '+'
/** Time in which a node must write the row after it has reserved the position, in milliseconds. */
const ABOUT_TO_BE_MS = 10_000

/**
 * KEYS: lists. ARGV: a row, and the time in ms for which a list is stored. Reserves a position in each list, or keeps
 * the existing position. Returns the rows before this position, each with its age in ms and the index of its list, from
 * 1.
 */
const TAKE_PLACE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for n, line in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', line, '-inf', now - ARGV[2])
  local last = redis.call('ZREVRANGE', line, 0, 0, 'WITHSCORES')[2]
  -- Two of one millisecond have an order all the same.
  local at = math.max(now, last and tonumber(last) + 0.001 or 0)
  redis.call('ZADD', line, 'NX', string.format('%.3f', at), ARGV[1])
  redis.call('PEXPIRE', line, ARGV[2])
  local mine = redis.call('ZSCORE', line, ARGV[1])
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', '(' .. mine)) do
    found[#found + 1] = { id, tostring(now - redis.call('ZSCORE', line, id)), n }
  end
end
return found`

interface Sealed {
  readonly sealed: string
  /** Random value that changes if the row is changed outside of its turn; absent if such a change never happened. */
  readonly changed?: string
}

/**
 * Content of Redis that this node has read last, and the identity of this content. An empty Redis does not have this
 * identity.
 */
export const seenSchema = z.object({ list: z.string(), campaigns: z.array(campaignSchema), callBacks: z.number() })
type Seen = z.output<typeof seenSchema>

/** KEYS: a job. ARGV: its data as read, and its new data. The script may be repeated after a lost answer. */
const CHANGE_ROW = `
local now = redis.call('HGET', KEYS[1], 'data')
if now ~= ARGV[1] and now ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1`
/**
 * ARGV: the value of `changed` that the turn has read, and the data. The old text is not compared, because the turn's
 * writes may be lost in a failover.
 */
const WRITE_ROW = `
local now = redis.call('HGET', KEYS[1], 'data')
if not now or (cjson.decode(now).changed or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'data', ARGV[2])
return 1`

/**
 * KEYS: results of the counted rows, and the counts. ARGV: row, result. If a row gets a new result, it is counted only
 * under the new result.
 */
const COUNT = `
local before = redis.call('HGET', KEYS[1], ARGV[1])
if before == ARGV[2] then return end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if before then redis.call('HINCRBY', KEYS[2], before, -1) end
redis.call('HINCRBY', KEYS[2], ARGV[2], 1)`

interface RedisQueueOptions {
  readonly address: RedisAddress
  /** Value of REDIS_PREFIX. */
  readonly prefix: string
  /** Values of TOKEN_SECRET, with which rows are encrypted. */
  readonly secrets: readonly string[]
  readonly log: Log
  /** Path of the file with the campaigns that this node has seen; null to store them only in memory. */
  readonly seenFile?: string | null
  readonly onLost?: (lost: LostRows) => void
  /** Called if a command was refused because COMMANDS_MAX commands already wait for Redis. */
  readonly onRefused?: () => void
}

/** Number of changes of the do-not-call list. */
const VERSION = '!version'
/** Prefix of an entry that was removed from the list. */
const OFF = '-'
/** Maximum number of stored changes. After an absence with more changes, a node reads the whole list. */
const CHANGES_MAX = 10_000
/**
 * Maximum age of a removal, in milliseconds. An older removal is not carried out, because the number may have been
 * added again.
 */
const REMOVAL_MS_MAX = 10_000

/** KEYS: the list, its changes. Writes one entry, and counts the change. */
const WRITE = `
local function write(name, value)
  redis.call('HSET', KEYS[1], name, value)
  redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[1], '${VERSION}', 1), name)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -${CHANGES_MAX + 1})
end
local function stands(name)
  local value = redis.call('HGET', KEYS[1], name)
  return value and string.sub(value, 1, 1) ~= '${OFF}' and value or false
end`
/** ARGV: DO_NOT_CALL_MAX, a flag for replacing an existing entry, then name and value of each entry. */
const ADD = `${WRITE}
local at = 3
for i = 3, #ARGV, 2 do
  if stands(ARGV[i]) then
    if ARGV[2] == 'false' then return 'known' end
    at = i
  end
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) + 2 and not stands(ARGV[at]) then return 'full' end
write(ARGV[at], ARGV[at + 1])
return 'added'`
/** ARGV: latest time in ms, then name and value of each entry. */
const REMOVE = `${WRITE}
local time = redis.call('TIME')
if time[1] * 1000 > tonumber(ARGV[1]) then return 'late' end
local found = 'unknown'
for i = 2, #ARGV, 2 do
  if stands(ARGV[i]) then
    write(ARGV[i], ARGV[i + 1])
    found = 'removed'
  end
end
return found`
/**
 * ARGV: name and value of each entry. A listed number is not changed. A removed entry is written only if the list lacks
 * an entry with that name.
 */
const RESTORE = `${WRITE}
local restored = 0
for i = 1, #ARGV, 2 do
  local off = string.sub(ARGV[i + 1], 1, 1) == '${OFF}'
  if (off and redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0) or (not off and not stands(ARGV[i])) then
    write(ARGV[i], ARGV[i + 1])
    restored = restored + 1
  end
end
return restored`

interface RedisDoNotCallOptions {
  /** Values of TOKEN_SECRET. During a change of the secret, the new and the old value are tried. */
  readonly secrets: readonly string[]
  /** Copy of the list on this node. @defaultValue a copy in memory */
  readonly copy?: FileDoNotCall
  /** Called if Redis has lost the list, with the number of entries that this node has restored. */
  readonly onRestored?: (entries: number) => void
}

/**
 * List of a fleet in a Redis hash. Entries are encrypted; their names are keyed hashes of the numbers. Each node has a
 * copy. If the identity in the hash has changed or is missing, Redis has lost the list. In this case a node restores
 * its copy before it reads from Redis.
 */
export class RedisDoNotCall implements DoNotCall {
  readonly #redis: Redis | Cluster
  readonly #key: string
  readonly #changes: string
  readonly #options: RedisDoNotCallOptions
  readonly #copy: FileDoNotCall
  #looking: Promise<void> | null = null

  /** @param queue  supplies the connection */
  constructor({ redis, prefix }: Pick<RedisQueue, 'redis' | 'prefix'>, options: RedisDoNotCallOptions) {
    this.#redis = redis
    this.#key = `${prefix}:do-not-call`
    this.#changes = `${this.#key}:changes`
    this.#options = options
    this.#copy = options.copy ?? FileDoNotCall.inMemory()
  }

  async has(number: string): Promise<boolean> {
    for (let looks = 0; ; looks++) {
      const [list, ...found] = await this.#redis.hmget(this.#key, LIST, ...this.#names(number))
      if (list != null && list === this.#copy.synced?.list)
        return found.some((value) => value !== null && !value.startsWith(OFF))
      if (looks > 1)
        throw new GatewayError('STORE_DOWN', 'the do-not-call list is lost again and again: nobody is called')
      await this.look()
    }
  }

  async add(number: string, by: DoNotCallEntry['by'], wallMs: number): Promise<void> {
    const names = this.#names(number)
    if (partyKey(number) === '' || names.length === 0) return
    await this.look()
    const entry = { number: partyKey(number), at: new Date(wallMs).toISOString(), by, removed: false }
    const replaces = String(by === 'operator' && !this.#copy.stays(number, by))
    const entries = names.flatMap((name) => [name, this.#sealed(entry, name)])
    if ((await this.#run(ADD, DO_NOT_CALL_MAX, replaces, ...entries)) === 'full')
      throw new RangeError(`the list has ${DO_NOT_CALL_MAX} numbers already`)
    await this.look()
  }

  async remove(number: string, wallMs: number): Promise<boolean> {
    await this.look()
    const entry = {
      number: partyKey(number),
      at: new Date(wallMs).toISOString(),
      by: 'operator' as const,
      removed: true,
    }
    const [seconds = '0'] = (await this.#redis.time()).map(String)
    const untilMs = Number(seconds) * 1000 + REMOVAL_MS_MAX
    const names = this.#names(number)
    const answer = await this.#run(REMOVE, untilMs, ...names.flatMap((name) => [name, this.#sealed(entry, name)]))
    if (answer === 'late')
      throw new GatewayError('STORE_DOWN', 'Redis did not answer in time: the number is still on the list', {
        retryable: true,
      })
    await this.look()
    return answer === 'removed'
  }

  async takeBack(number: string, addedMs: number, wallMs: number): Promise<boolean> {
    await this.look()
    return this.#copy.wasAdded(number, addedMs) && (await this.remove(number, wallMs))
  }

  async list(max: number): Promise<readonly DoNotCallEntry[]> {
    await this.look()
    return shownOf([...this.#copy.entries()]).slice(0, max)
  }

  look(): Promise<void> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
    })
    return this.#looking
  }

  async #look(): Promise<void> {
    let [list, version] = await this.#redis.hmget(this.#key, LIST, VERSION)
    if (list == null) {
      await this.#redis.hsetnx(this.#key, LIST, randomUUID())
      ;[list, version] = await this.#redis.hmget(this.#key, LIST, VERSION)
    }
    const { synced } = this.#copy
    const now = { list: list ?? '', version: Number(version ?? 0) }
    if (synced?.list === now.list && synced.version === now.version) return
    // The file's entries are restored in three cases. Redis has another list; Redis has an older state of the list
    // after a failover; or the file was written before the fleet existed.
    const isLost = synced?.list !== now.list || synced.version > now.version
    if (isLost) {
      const restored = await this.#restore()
      if (restored > 0 && synced !== null) this.#options.onRestored?.(restored)
    }
    const entries = (isLost ? null : await this.#changedSince(synced?.version ?? 0)) ?? (await this.#all())
    // A restored entry is a change, so the next check reads it.
    await this.#copy.follow(entries, now)
    if (isLost) await this.#look()
  }

  async #restore(): Promise<number> {
    let restored = 0
    const pairs = [...this.#copy.entries()].map((entry) => {
      const [name = ''] = this.#namesOf(entry.number)
      return [name, this.#sealed(entry, name)]
    })
    for (let from = 0; from < pairs.length; from += PAGE)
      restored += Number(await this.#run(RESTORE, ...pairs.slice(from, from + PAGE).flat()))
    return restored
  }

  /** Returns entries that changed since a version; null if these changes are no longer stored. */
  async #changedSince(version: number): Promise<readonly KeptEntry[] | null> {
    const [, oldest] = await this.#redis.zrange(this.#changes, '0', '0', 'WITHSCORES')
    if (oldest === undefined || Number(oldest) > version + 1) return null
    const names = await this.#redis.zrangebyscore(this.#changes, `(${version}`, '+inf')
    const values = names.length === 0 ? [] : await this.#redis.hmget(this.#key, ...names)
    return values.flatMap((value, i) => this.#opened(names[i] ?? '', value ?? ''))
  }

  async #all(): Promise<readonly KeptEntry[]> {
    const entries: KeptEntry[] = []
    let cursor = '0'
    do {
      const [next, found] = await this.#redis.hscan(this.#key, cursor, 'COUNT', PAGE)
      for (let i = 0; i + 1 < found.length; i += 2) entries.push(...this.#opened(found[i] ?? '', found[i + 1] ?? ''))
      cursor = next
    } while (cursor !== '0')
    return entries
  }

  /**
   * Decrypts an entry. The result is empty if the entry was written with another TOKEN_SECRET; the entry stays in
   * Redis.
   */
  #opened(name: string, value: string): readonly KeptEntry[] {
    if (name.startsWith('!')) return []
    try {
      const bytes = Buffer.from(value.startsWith(OFF) ? value.slice(OFF.length) : value, 'base64')
      const entry = readEntry(new SealedCall(name, this.#options.secrets).open('state', bytes))
      return entry === null ? [] : [{ ...entry, removed: value.startsWith(OFF) }]
    } catch {
      return []
    }
  }

  #sealed(entry: KeptEntry, name: string): string {
    const sealed = new SealedCall(name, this.#options.secrets).seal('state', JSON.stringify(entry))
    return `${entry.removed ? OFF : ''}${Buffer.from(sealed).toString('base64')}`
  }

  #run(lua: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#redis.eval(lua, 2, this.#key, this.#changes, ...args.map(String))
  }

  #names(number: string): string[] {
    return this.#namesOf(partyKey(number))
  }

  /** @param key  a `partyKey`, from which the number cannot be recovered */
  #namesOf(key: string): string[] {
    return this.#options.secrets.map((secret) =>
      createHmac('sha256', derivedKey(secret, 'do-not-call')).update(key).digest('base64url'),
    )
  }
}

/** Returns campaigns, the oldest first. */
function readCampaigns(all: Readonly<Record<string, string>>): readonly Campaign[] {
  return Object.values(all)
    .flatMap((text) => campaignSchema.safeParse(JSON.parse(text)).data ?? [])
    .sort((a, b) => a.createdAt.localeCompare(b.createdAt))
}

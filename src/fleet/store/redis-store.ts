import { Redis } from 'ioredis'
import type { Cluster } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { z } from 'zod'
import { assert } from '../../core/assert.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import {
  CALL_TTL_MS,
  CLAIM_TTL_MS,
  NODES_MAX,
  NODE_FORGET_MS,
  OVER_TTL_MS,
  STORED_STREAMS_MAX,
  TALLY_PARTS_MAX,
  STORE_PATIENCE_MS,
} from '../../core/limits.js'
import { LimitedLog } from '../../telemetry/limited-log.js'
import type { Log } from '../../telemetry/log.js'
import { nodeRecordSchema } from './call-store.js'
import type {
  CallStore,
  FleetView,
  NodeRecord,
  OwnedKey,
  Owner,
  OwnerToken,
  StoredCall,
  StoredChange,
  StoredNode,
  StoredWrite,
} from './call-store.js'
import { nodeNameOf } from '../node-name.js'
import { NodeProof } from '../node-proof.js'
import { ENTRY_FORMAT, FOREIGN, SCRIPTS } from './redis-scripts.js'
import { REDIS_CONNECTION, REDIS_RETRY_MS_MAX, endRedisClient, redisClient } from './redis-client.js'
import { lookAtServers } from './redis-look.js'
import type { RedisFinding } from './redis-look.js'
import { REDIS_URL_FORM, parseRedisUrl, shownRedisUrl } from './redis-url.js'
import type { RedisAddress } from './redis-url.js'

/** Maximum time in ms that a start waits for Redis. After this time the start continues without Redis. */
const REDIS_START_MS_MAX = 2000

/**
 * Maximum time in ms to wait until a replica has a write. In one network this takes some milliseconds. The limit is
 * short, because the node's other operations wait during this time too.
 */
const REPLICA_MS_MAX = 100
/** Time in ms for which this class remembers whether a server has a replica. */
const REPLICA_LOOK_MS = 5000

/**
 * Remaining time to live in ms below which a write renews it. So it is not renewed at each write, but only when a
 * quarter has passed.
 */
const RENEW_BELOW_MS = CALL_TTL_MS * 0.75

export type IgnoredEntries = RedisStore['ignored']

/** Proven heartbeat. It contains the store's time from the node's previous view; 0 if there was no view before. */
type ProvenRecord = NodeRecord & { readonly storeTimeMs: number }

type Reply = string | null | readonly (string | Buffer)[]
type RunScript = (...args: readonly (string | number | Uint8Array)[]) => Promise<Reply>
type ScriptName = keyof typeof SCRIPTS

class RedisStore implements CallStore {
  /** Counts of entries that this node read in Redis and rejected. Plain fields, copied at each scrape. */
  readonly ignored = {
    /** Calls and values that another program or another version wrote. An operation with such an entry fails. */
    entries: 0,
    /** Heartbeats that were written without our TOKEN_SECRET. */
    unproven: 0,
    /** Proven heartbeats that are older than the newest heartbeat of their run, or than NODE_FORGET_MS. */
    late: 0,
  }
  /**
   * Resolves when the first connection is usable, or when it cannot be opened for now. Rejects if waiting cannot help.
   */
  readonly started: Promise<void>
  readonly #redis: Redis | Cluster
  readonly #replicas = new WeakMap<Redis, { readonly has: boolean; readonly atMs: number }>()
  readonly #sentinels: Redis[] = []
  readonly #address: RedisAddress
  readonly #prefix: string
  readonly #deadlineMs: number
  readonly #log: Log
  /** Reason why operations are impossible at the moment; null if the connection is usable. */
  #downReason: string | null = 'it is not connected yet'
  #closed = false
  #lastWrite = 0
  readonly #proof: NodeProof
  /** Newest heartbeats, by name and by run, with their texts. */
  readonly #newest = new LRUCache<string, { readonly text: string; readonly node: StoredNode }>({ max: 4 * NODES_MAX })
  readonly #unproven: LimitedLog<'unproven'>
  #storeTimeMs = 0
  /**
   * True if a foreign program wrote the entry under this node's name. This node's next heartbeat then replaces the
   * entry, even if the entry has a higher beat.
   */
  #forged = false
  /** True if Redis was inspected, which happens once for each start. */
  #looked = false
  readonly #refusals: LimitedLog<string>
  /** Faults of this outage that have been logged. */
  readonly #said = new Set<string>()
  #settleStart: (error: GatewayError | null) => void = () => undefined

  constructor(address: RedisAddress, { prefix, secrets, log, deadlineMs = STORE_PATIENCE_MS }: RedisStoreOptions) {
    this.#address = address
    this.#prefix = prefix
    this.#proof = new NodeProof(secrets)
    this.#unproven = new LimitedLog(
      log,
      'the store has a heartbeat that no node with our TOKEN_SECRET wrote',
      'the store has more heartbeats that no node with our TOKEN_SECRET wrote',
    )
    this.#refusals = new LimitedLog(
      log,
      'the call store does not carry out an operation',
      'the call store does not carry out more operations',
    )
    this.#log = log
    this.#deadlineMs = deadlineMs
    this.#redis = redisClient(address, commandsWithin(deadlineMs), CLUSTER_COMMANDS)
    for (const [name, lua] of Object.entries(SCRIPTS))
      this.#redis.defineCommand(commandOf(name), { numberOfKeys: 1, lua })
    this.started = this.#start()
    this.#watchFailover()
  }

  async claim(key: string, owner: Owner, expectedEpoch: number): Promise<StoredCall> {
    const token = { ...owner, epoch: expectedEpoch + 1 }
    const [reply] = await Promise.all([
      this.#run('claim', this.#call(key), [...ownerArgs(token), expectedEpoch, CLAIM_TTL_MS]),
      // If the claim fails, this key in the index is wrong. The next reader of the index removes it.
      this.#index(key, owner.node),
    ])
    const entry = this.#parsed(key, reply)
    assert(entry !== null, 'a claim leaves an entry')
    // A takeover waits for a replica. Otherwise a failover could lose the claim, and the call would belong to its
    // earlier owner again.
    if (expectedEpoch > 0 && entry.owner.nonce === owner.nonce) await this.#replicated()
    return entry
  }

  /**
   * Resolves when a replica has this node's writes, or after REPLICA_MS_MAX, because callers must not wait for a slow
   * replica. If there is no replica, resolves at once. Never rejects.
   */
  async #replicated(): Promise<void> {
    const all = this.#servers().map(async (server) => {
      if (await this.#hasReplica(server)) await server.wait(1, REPLICA_MS_MAX)
    })
    await Promise.allSettled(all)
  }

  async #hasReplica(server: Redis): Promise<boolean> {
    const nowMs = performance.now()
    const known = this.#replicas.get(server)
    if (known !== undefined && nowMs - known.atMs < REPLICA_LOOK_MS) return known.has
    const has = /^connected_slaves:[1-9]/m.test(await server.info('replication'))
    this.#replicas.set(server, { has, atMs: nowMs })
    return has
  }

  async save(key: string, token: OwnerToken, { state, append = [], replace }: StoredChange): Promise<'ok' | 'lost'> {
    // Writes have numbers, because after a reconnection the server may execute an abandoned write after a later one.
    this.#lastWrite = Math.max(this.#lastWrite + 1, Date.now() * 1000)
    const args = [...ownerArgs(token), this.#lastWrite, CALL_TTL_MS, RENEW_BELOW_MS, replace === true ? 1 : 0]
    const result = await this.#run('save', this.#call(key), [
      ...args,
      state === undefined ? 0 : 1,
      state ?? '',
      ...append,
    ])
    if (result === 'new') await this.#index(key, token.node)
    return result === 'lost' ? 'lost' : 'ok'
  }

  async saveAll(writes: readonly StoredWrite[]): Promise<readonly ('ok' | 'lost' | 'refused')[]> {
    // All commands of one turn of the event loop are sent together.
    const done = await Promise.allSettled(writes.map(({ key, token, change }) => this.save(key, token, change)))
    return done.map((each) => {
      if (each.status === 'fulfilled') return each.value
      if (each.reason instanceof GatewayError && each.reason.code === 'STORE_REFUSED') return 'refused'
      throw each.reason
    })
  }

  async read(key: string): Promise<StoredCall | null> {
    return this.#parsed(key, await this.#run('read', this.#call(key), []))
  }

  async attach(key: string, token: OwnerToken, nonce: string): Promise<'ok' | 'used' | 'lost'> {
    const result = await this.#run('attach', this.#call(key), [...ownerArgs(token), nonce, STORED_STREAMS_MAX])
    return result === 'ok' || result === 'used' ? result : 'lost'
  }

  async over(key: string, token: OwnerToken): Promise<'ok' | 'lost'> {
    const result = await this.#run('over', this.#call(key), [...ownerArgs(token), OVER_TTL_MS])
    if (result !== 'ok') return 'lost'
    // A failure is ignored: the key is removed when it expires, or when the index is next read.
    this.#redis.zrem(this.#callsOf(token.node), key).catch(() => undefined)
    return 'ok'
  }

  /**
   * Entries of a node. Removes keys of other owners' calls and of ended calls from the index. If a call returns to the
   * node at the same time, its first `save` adds its key again.
   */
  async callsOf(node: string): Promise<readonly OwnedKey[]> {
    if (this.#downReason !== null) throw this.#down(this.#downReason)
    const index = this.#callsOf(node)
    try {
      const keys = (await this.#redis.zrange(index, '0', '-1')).map(String)
      const entries = await Promise.allSettled(
        keys.map((key) => this.#redis.hmget(this.#call(key), 'node', 'phase', 'incarnation')),
      )
      const owned: OwnedKey[] = []
      const stale: string[] = []
      for (const [i, key] of keys.entries()) {
        const entry = entries[i]
        // An entry of another program is skipped. Any other error affects all entries.
        if (entry?.status !== 'fulfilled') {
          if (!messageOf(entry?.reason).includes('WRONGTYPE')) throw entry?.reason
          continue
        }
        const [owner, phase, incarnation] = entry.value
        if (owner !== node || phase === 'over' || typeof incarnation !== 'string') stale.push(key)
        else owned.push({ key, incarnation })
      }
      if (stale.length > 0) this.#redis.zrem(index, ...stale).catch(() => undefined)
      return owned
    } catch (thrown) {
      throw this.#errorOf('index', index, thrown)
    }
  }

  async once(key: string, value: string, ttlMs: number): Promise<string | null> {
    const standing = await this.#run('once', this.#once(key), [value, ttlMs])
    return typeof standing === 'string' ? standing : null
  }

  async standing(key: string): Promise<string | null> {
    const standing = await this.#run('standing', this.#once(key), [])
    return typeof standing === 'string' ? standing : null
  }

  async settle(key: string, value: string, ttlMs: number): Promise<void> {
    await this.#run('settle', this.#once(key), [value, ttlMs])
  }

  async swap(key: string, expected: string | null, value: string, ttlMs: number): Promise<string | null> {
    const standing = await this.#run('swap', this.#once(key), [expected ?? '', value, ttlMs])
    return typeof standing === 'string' ? standing : null
  }

  async tally(key: string, part: string, amount: number, ttlMs: number): Promise<number> {
    return Number(await this.#run('tally', `${this.#prefix}tally:${key}`, [part, amount, ttlMs, TALLY_PARTS_MAX]))
  }

  async beat(node: NodeRecord): Promise<FleetView> {
    assert(/^\S+$/.test(node.incarnation), 'an incarnation has no spaces')
    const text = this.#proof.sign({ ...node, storeTimeMs: this.#storeTimeMs } satisfies ProvenRecord)
    const beat = [node.name, node.incarnation, node.beat, text, NODE_FORGET_MS, NODES_MAX, this.#forged ? 1 : 0]
    this.#forged = false
    const reply = await this.#run('beat', this.#nodes(), beat)
    if (reply === 'full')
      throw new GatewayError('STORE_REFUSED', `the fleet has ${NODES_MAX} nodes already; allowed: at most ${NODES_MAX}`)
    const [storeTime = '0', ...fields] = textsOf(reply)
    this.#storeTimeMs = Number(storeTime)
    const nodes: StoredNode[] = []
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const stored = this.#nodeOf(fields[i] as string, fields[i + 1] as string, node.name)
      if (stored !== null) nodes.push(stored)
    }
    return { nodes, storeTimeMs: this.#storeTimeMs }
  }

  /**
   * Node according to its newest proven heartbeat. If the entry in Redis is unproven, late or repeated, it is ignored,
   * and the last proven heartbeat is returned.
   */
  #nodeOf(name: string, text: string, own: string): StoredNode | null {
    const newest = this.#newest.get(name)
    if (newest?.text === text) return newest.node
    const node = this.#proven(name, text)
    if (node === null) {
      this.ignored.unproven++
      this.#unproven.note('unproven', { redis: this.#shown, peer: nodeNameOf(name) }, performance.now())
      if (name === own) this.#forged = true
      return newest?.node ?? null
    }
    const run = `${name} ${node.incarnation}`
    const before = this.#newest.get(run)?.node
    if (before !== undefined && before.beat > node.beat) {
      this.ignored.late++
      return before
    }
    if (node.writtenAtMs > 0 && this.#storeTimeMs - node.writtenAtMs > NODE_FORGET_MS) {
      this.ignored.late++
      return null
    }
    this.#newest.set(name, { text, node })
    this.#newest.set(run, { text, node })
    return node
  }

  /** Reads a heartbeat and its proof. Null if it was written without our secret, or if this build cannot read it. */
  #proven(name: string, text: string): StoredNode | null {
    const [, format, beat, incarnation, json = ''] = /^(\d{1,4}) \d{1,15} (\d{1,15}) (\S+) (\{.*\})$/s.exec(text) ?? []
    if (format !== ENTRY_FORMAT) return null
    const parsed = provenRecord.safeParse(this.#proof.read(json))
    if (!parsed.success) return null
    const { storeTimeMs, ...node } = parsed.data
    const same = node.name === name && node.incarnation === incarnation && node.beat === Number(beat)
    return same ? { ...node, writtenAtMs: storeTimeMs } : null
  }

  async leave(node: string, incarnation: string): Promise<void> {
    await this.#run('leave', this.#nodes(), [node, incarnation])
  }

  /**
   * Runs another module's script under the prefix of this store.
   * @param name  unique name of the script
   * @returns the script's list, or a list with its value
   * @throws GatewayError STORE_DOWN
   */
  async evaluate(
    name: string,
    lua: string,
    key: string,
    args: readonly (string | number | Uint8Array)[],
  ): Promise<readonly Buffer[]> {
    if (this.#downReason !== null) throw this.#down(this.#downReason)
    const command = `${commandOf(name)}Buffer`
    const scripts = this.#redis as unknown as Record<string, RunScript | undefined>
    if (scripts[command] === undefined) this.#redis.defineCommand(commandOf(name), { numberOfKeys: 1, lua })
    try {
      const bytes = args.map((arg) => (typeof arg === 'object' ? asBuffer(arg) : arg))
      const reply = await scripts[command]?.call(this.#redis, `${this.#prefix}${key}`, ...bytes)
      return (Array.isArray(reply) ? reply : [reply]) as Buffer[]
    } catch (thrown) {
      throw this.#refusal(messageOf(thrown))
    }
  }

  close(): Promise<void> {
    this.#closed = true
    this.#downReason = 'it is closed'
    this.#settleStart(null)
    for (const client of [this.#redis, ...this.#sentinels]) endRedisClient(client)
    return Promise.resolve()
  }

  #call(key: string): string {
    return `${this.#prefix}call:${key}`
  }

  #callsOf(node: string): string {
    return `${this.#prefix}calls-of:${node}`
  }

  #once(key: string): string {
    return `${this.#prefix}once:${key}`
  }

  #nodes(): string {
    return `${this.#prefix}nodes`
  }

  async #index(key: string, node: string): Promise<void> {
    await this.#run('index', this.#callsOf(node), [key, CALL_TTL_MS])
  }

  async #run(name: ScriptName, key: string, args: readonly (string | number | Uint8Array)[]): Promise<Reply> {
    if (this.#downReason !== null) throw this.#down(this.#downReason)
    const withBytes = name === 'claim' || name === 'read'
    // For each script, `defineCommand` creates these two methods.
    const run = (this.#redis as unknown as Record<string, RunScript>)[
      `${commandOf(name)}${withBytes ? 'Buffer' : ''}`
    ] as RunScript
    try {
      return await run.call(
        this.#redis,
        key,
        // ioredis writes only Buffers as bytes.
        ...args.map((arg) => (typeof arg === 'object' ? asBuffer(arg) : arg)),
      )
    } catch (thrown) {
      throw this.#errorOf(name, key, thrown)
    }
  }

  /** Error with which an operation rejects. It does not contain the text of Redis, which may quote arguments. */
  #errorOf(name: ScriptName, key: string, thrown: unknown): GatewayError {
    const message = messageOf(thrown)
    if (message.includes(FOREIGN) || message.includes('WRONGTYPE')) {
      const what = ['once', 'standing', 'settle', 'swap'].includes(name) ? 'a value that is written once' : key
      return this.#foreign(what, new RegExp(`${FOREIGN} (\\d{1,4})\\b`).exec(message)?.[1] ?? null)
    }
    return this.#refusal(message)
  }

  /**
   * Error for a fault of a connected server. Also logs the fault, because no other message says why operations fail.
   */
  #refusal(message: string): GatewayError {
    const reason = meaningOf(message)
    if (this.#downReason === null) this.#refusals.note(reason, { redis: this.#shown }, performance.now())
    return this.#down(reason)
  }

  #foreign(what: string, format: string | null): GatewayError {
    this.ignored.entries++
    const found = format === null ? 'is of another program' : `has format ${format}`
    return new GatewayError(
      'STORE_REFUSED',
      `the entry in Redis ${found}, and this build reads format ${ENTRY_FORMAT}: ${what}`,
    )
  }

  #down(why: string): GatewayError {
    return new GatewayError('STORE_DOWN', `the call store in Redis (${this.#shown}) is down: ${why}`, {
      retryable: true,
    })
  }

  get #shown(): string {
    return shownRedisUrl(this.#address)
  }

  #parsed(key: string, reply: Reply): StoredCall | null {
    if (!Array.isArray(reply) || reply.length === 0) return null
    const fields = new Map<string, Buffer>()
    for (let i = 0; i + 1 < reply.length; i += 2) fields.set(String(reply[i]), reply[i + 1] as Buffer)
    const entry = parseCall(fields)
    if (entry === null) throw this.#foreign(this.#call(key), null)
    return entry
  }

  #start(): Promise<void> {
    const redis = this.#redis
    const { masterName, cluster, password } = this.#address
    /** Fault of this attempt that waiting cannot correct; null if there is none. */
    let wrong: string | null = null
    /** Reason why this attempt failed; null if a working connection was lost. */
    let failed: string | null = null
    /** Answers of the Sentinels in this round. */
    let nameUnknown = false
    let passwordAsked = false
    redis.on('connecting', () => {
      wrong = null
      failed = null
    })
    redis.on('sentinelError', ({ message }: Error) => {
      if (/No such master|invalid reply: null/.test(message)) nameUnknown = true
      // `redisClient` asks this Sentinel again, with the password.
      else if (message.includes('NOAUTH') && password !== null) passwordAsked = true
      else wrong ??= settingFault(message, 'a Sentinel')
    })
    redis.on('error', ({ message: said, lastNodeError }: Error & { readonly lastNodeError?: Error }) => {
      // In a cluster, this is the answer of the server that was asked last.
      const message = lastNodeError?.message ?? said
      if (passwordAsked) {
        passwordAsked = false
        return // the Sentinels are asked again, with the password
      }
      if (nameUnknown) wrong ??= `the Sentinels know no master of the name ${masterName ?? ''}`
      nameUnknown = false
      this.#fails((wrong ??= settingFault(message, 'it')), (failed = meaningOf(message)))
    })
    redis.on('close', () => {
      this.#fails(wrong, failed ?? 'the connection is lost')
    })
    redis.on('ready', () => {
      if (wrong !== null) return // the database does not exist; ioredis would continue with another database
      // In a cluster, this also opens the connections to the servers. Operations on a server that is not connected are
      // refused.
      Promise.all(this.#servers().map((server) => server.info('server'))).then(
        (infos) => {
          wrong = infos.map((info) => serverFault(info, cluster)).find((fault) => fault !== null) ?? null
          if (wrong !== null) return this.#fails(wrong, '')
          this.#works()
          if (this.#looked) return
          this.#looked = true
          return this.#warn()
        },
        (error: unknown) => {
          this.#fails((wrong = settingFault(messageOf(error), 'it')), meaningOf(messageOf(error)))
          this.#reconnect()
        },
      )
    })
    redis.on('end', () => {
      // If a connection is closed while it is being opened, ioredis gives up for ever.
      if (!this.#closed) setTimeout(() => void redis.connect().catch(() => undefined), REDIS_RETRY_MS_MAX).unref()
    })
    return new Promise((resolve, reject) => {
      const startMs = Math.max(REDIS_START_MS_MAX, this.#deadlineMs)
      const timer = setTimeout(() => {
        this.#fails(null, `there was no answer within ${startMs} ms`)
      }, startMs)
      this.#settleStart = (error) => {
        clearTimeout(timer)
        if (error === null) resolve()
        else reject(error)
      }
    })
  }

  /**
   * Listens to the Sentinels for a new master and then changes the connection at once. Otherwise writes would be lost
   * that the old master still accepts for some seconds. The `failoverDetector` of ioredis is not used, because it
   * writes the errors of each Sentinel to the console.
   */
  #watchFailover(): void {
    const { tls, hosts, masterName, password, username } = this.#address
    if (masterName === null) return
    for (const host of hosts) {
      const sentinel = new Redis({
        ...host,
        ...(tls && { tls: {} }),
        ...REDIS_CONNECTION,
        ...commandsWithin(this.#deadlineMs),
        autoResubscribe: false,
        enableReadyCheck: false,
      })
      sentinel.on('error', () => undefined) // a Sentinel's errors are ignored, because the connection to the master reports the fault
      sentinel.on('ready', () => {
        sentinel.subscribe('+switch-master').catch((error: unknown) => {
          if (password === null || !messageOf(error).includes('NOAUTH')) return
          sentinel.options.password = password
          if (username !== null) sentinel.options.username = username
          if (sentinel.status === 'ready') sentinel.disconnect(true)
        })
      })
      sentinel.on('message', (_channel, news) => {
        if (news.startsWith(`${masterName} `)) this.#reconnect()
      })
      this.#sentinels.push(sentinel)
    }
  }

  /** Servers that accept writes. */
  #servers(): readonly Redis[] {
    return this.#redis instanceof Redis ? [this.#redis] : this.#redis.nodes('master')
  }

  #reconnect(): void {
    // Only an open connection is replaced, because a new connection finds the current server itself.
    if (this.#redis.status === 'ready') this.#redis.disconnect(true)
  }

  /**
   * Findings about Redis, in the form that `mkondo check` shows.
   * @throws Error of Redis
   */
  look(): Promise<readonly RedisFinding[]> {
    const options = { address: this.#address, prefix: this.#prefix, wallClock: Date.now }
    return lookAtServers(this.#servers(), options)
  }

  /** Reason why the connection is not usable; null when it is usable. */
  get downReason(): string | null {
    return this.#downReason
  }

  async #warn(): Promise<void> {
    // Nothing is logged if Redis does not answer, because the errors of operations contain the reason.
    const found = await this.look().catch(() => [])
    for (const { is, what } of found)
      if (is !== 'good' && !this.#closed)
        this.#log.warn({ redis: this.#shown, finding: what }, 'a finding of the call store')
  }

  #works(): void {
    if (this.#closed) return
    this.#downReason = null
    this.#said.clear()
    this.#log.info({ redis: this.#shown }, 'the call store is connected')
    this.#settleStart(null)
  }

  /**
   * @param wrong fault of the settings, which waiting cannot correct; null if waiting may help
   * @param why observed event
   */
  #fails(wrong: string | null, why: string): void {
    if (this.#closed) return
    this.#downReason = wrong ?? why
    // Each reason is logged only once, not at each attempt to connect.
    if (!this.#said.has(this.#downReason)) {
      this.#said.add(this.#downReason)
      const fields = { redis: this.#shown, reason: this.#downReason }
      if (wrong === null) this.#log.warn(fields, 'the call store is down')
      else this.#log.error(fields, 'the call store cannot be used')
    }
    this.#settleStart(
      wrong === null ? null : new GatewayError('CONFIG_INVALID', `REDIS_URL (${this.#shown}) cannot be used: ${wrong}`),
    )
  }
}

interface RedisStoreOptions {
  /** Value of `REDIS_URL`. */
  readonly url: string
  /** Prefix of all keys. Several fleets may use the same Redis. */
  readonly prefix: string
  /** Values of TOKEN_SECRET. The first proves this node's heartbeats. Another node may use any of them. */
  readonly secrets: readonly string[]
  readonly log: Log
  /**
   * Deadline in ms of each operation, and of a connection on which an answer is missing. Default: STORE_PATIENCE_MS.
   * `GuardedStore` has a shorter deadline.
   */
  readonly deadlineMs?: number
}

/**
 * Client options with which an operation is sent at once and only once, or not at all. Data that is sent later could be
 * out of date.
 */
const commandsWithin = (deadlineMs: number) => ({
  commandTimeout: deadlineMs,
  socketTimeout: deadlineMs,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
})

/** If the connection is lost while a command runs, the command's outcome is unknown. It is not sent again. */
const CLUSTER_COMMANDS = { enableOfflineQueue: false, retryDelayOnFailover: 0, retryDelayOnClusterDown: 0 }

/** Name of the client's method for a script. It has a prefix, because the client has methods `once` and `save`. */
function commandOf(name: string): string {
  return `script-${name}`
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

function ownerArgs({ node, incarnation, nonce, epoch }: OwnerToken): (string | number)[] {
  return [node, incarnation, nonce, epoch]
}

function textsOf(reply: Reply): string[] {
  return Array.isArray(reply) ? reply.map(String) : []
}

/** Reads an entry of a call from its fields; null if a field is missing or invalid. */
export function parseCall(fields: ReadonlyMap<string, Buffer>): StoredCall | null {
  const text = (name: string): string => fields.get(name)?.toString() ?? ''
  const [node, incarnation, nonce] = [text('node'), text('incarnation'), text('nonce')]
  const phase = PHASES.find((known) => known === text('phase'))
  if (node === '' || incarnation === '' || nonce === '' || phase === undefined || !WHOLE.test(text('epoch')))
    return null
  if (fields.has('chunks') && !WHOLE.test(text('chunks'))) return null
  const log: Uint8Array[] = []
  for (let i = 1; i <= Number(text('chunks')); i++) {
    const chunk = fields.get(`log:${i}`)
    if (chunk === undefined) return null
    log.push(chunk)
  }
  const owner = { node, incarnation, nonce, epoch: Number(text('epoch')) }
  const overAt = text('over-at')
  return {
    owner,
    phase,
    ...(WHOLE.test(overAt) ? { overAtMs: Number(overAt) } : {}),
    state: fields.get('state') ?? null,
    log,
  }
}

const PHASES = ['claimed', 'owned', 'over'] as const
const WHOLE = /^\d{1,15}$/

const provenRecord = nodeRecordSchema.extend({ storeTimeMs: z.int().min(0) })

/** Meanings of errors of Redis and ioredis, by the errors' text. More specific texts come first. */
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/READONLY/, 'it is a replica and takes no writes'],
  [/\bOOM\b/, 'its memory is full (maxmemory), and it takes no writes'],
  [/MISCONF/, 'it cannot save to its disk, and takes no writes'],
  [/NOREPLICAS/, 'it has fewer replicas than it needs for a write (min-replicas-to-write)'],
  [
    /NOPERM|ACL failure|executing the script can't/,
    'its user may not do what the store does (the commands and keys of deploy/redis.conf)',
  ],
  [/Script killed/, 'an operator stopped the script of this operation'],
  [/\bBUSY\b/, 'it runs a long script and answers nobody'],
  [/LOADING/, 'it still loads its data'],
  [/MASTERDOWN/, 'it is a replica without a master'],
  [/CLUSTERDOWN/, 'the Redis Cluster lacks servers for a part of the entries'],
  [/MOVED|ASK\b|TRYAGAIN|redirections/, 'the Redis Cluster moves the entry to another server'],
  [/timed out|Socket timeout|ETIMEDOUT/, 'it does not answer'],
  [/ECONNREFUSED/, 'the connection was refused'],
  [/ENOTFOUND|EAI_AGAIN/, 'its name cannot be resolved'],
  [/All sentinels are unreachable/, 'no Sentinel can be reached'],
  [/certificate has expired/, 'no TLS connection could be made: its certificate has expired'],
  [/altnames/, 'no TLS connection could be made: its certificate has another name'],
  [
    /self.signed certificate|unable to (?:verify|get)/,
    'no TLS connection could be made: this node does not know the authority that signed its certificate (NODE_EXTRA_CA_CERTS, which is read at the start)',
  ],
  [/certificate|CERT|SSL|TLS|wrong version number/, 'no TLS connection could be made: certificate or port are wrong'],
  [/isn't writeable|Connection is closed|max retries|ECONNRESET|EPIPE|aborted/, 'the connection is lost'],
]

function meaningOf(message: string): string {
  // Only the start of the error's text is used, because the rest may quote sent data.
  return (
    MEANINGS.find(([sign]) => sign.test(message))?.[1] ??
    `it answered ${/^[A-Z]{2,20}\b/.exec(message)?.[0] ?? 'an error'}`
  )
}

/** Text about the wrong setting that an error shows; null if the error does not show a wrong setting. */
function settingFault(message: string, who: string): string | null {
  if (/WRONGPASS|invalid password/.test(message)) return `user or password are wrong for ${who}`
  if (message.includes('NOAUTH')) return `${who} asks for a password, and the URL has none`
  if (message.includes('NOPERM'))
    return `${who} does not let its user run INFO; deploy/redis.conf has the line of a user that may`
  if (message.includes('cluster support disabled')) return `${who} is no Redis Cluster; its URL is redis://host:port`
  if (/DB index|SELECT is not allowed/.test(message)) return `${who} does not have the database of the URL`
  return null
}

/** Reason in a server's INFO why this server cannot be used. */
function serverFault(info: string, cluster: boolean): string | null {
  const field = (name: string): string | undefined => new RegExp(`^${name}:(\\S*)`, 'm').exec(info)?.[1]
  const mode = field('redis_mode')
  if (mode === 'cluster' && !cluster)
    return 'it is a Redis Cluster; the URL of one is redis+cluster://host:port,host:port'
  if (mode === 'sentinel') return 'it is a Sentinel; the URL of Sentinels is redis+sentinel://host:port/master-name'
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(field('redis_version') ?? '') ?? []
  return Number(major) > 6 || (Number(major) === 6 && Number(minor) >= 2)
    ? null
    : `it is Redis ${major === undefined ? 'of an unknown version' : `${major}.${minor ?? ''}`}, and 6.2 or later is needed`
}

/**
 * Connects to the Redis of a fleet. If Redis cannot be reached, the store is down. The connection is tried again as
 * long as the store is open.
 * @throws GatewayError CONFIG_INVALID if waiting would not help. Examples: a malformed URL, a wrong password or master
 * name, a Redis before 6.2, a Redis Cluster under the URL of a single server
 */
export async function connectRedis(options: RedisStoreOptions): Promise<RedisStore> {
  const address = parseRedisUrl(options.url)
  if (address === undefined) throw new GatewayError('CONFIG_INVALID', `REDIS_URL is not of the form ${REDIS_URL_FORM}`)
  const store = new RedisStore(address, options)
  try {
    await store.started
  } catch (thrown) {
    await store.close()
    throw thrown
  }
  return store
}

/** Findings about a fleet's Redis, for `mkondo check`, for `mkondo doctor` and for a start. Never rejects. */
export async function lookAtRedis(options: RedisStoreOptions): Promise<readonly RedisFinding[]> {
  let store: RedisStore | null = null
  try {
    store = await connectRedis(options)
    const { downReason } = store
    return downReason === null ? await store.look() : [{ is: 'bad', what: `REDIS_URL cannot be used: ${downReason}` }]
  } catch (thrown) {
    // The error's text is left out, because texts of ioredis may quote sent data.
    return [
      {
        is: 'bad',
        what: thrown instanceof GatewayError ? thrown.message : `REDIS_URL: ${meaningOf(messageOf(thrown))}`,
      },
    ]
  } finally {
    await store?.close()
  }
}

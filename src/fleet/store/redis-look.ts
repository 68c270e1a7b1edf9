import type { Redis } from 'ioredis'
import { messageOf } from '../../core/errors.js'
import { CLOCK_SKEW_MS_MAX, STORE_PATIENCE_MS } from '../../core/limits.js'
import { REDIS_COMMANDS, redisKeys } from './redis-commands.js'
import type { RedisAddress } from './redis-url.js'

/** `bad`: calls or records may be lost, or operations fail. `look`: allowed, but probably not intended. */
export interface RedisFinding {
  readonly is: 'good' | 'look' | 'bad'
  readonly what: string
}

const good = (what: string): RedisFinding => ({ is: 'good', what })
const look = (what: string): RedisFinding => ({ is: 'look', what })
const bad = (what: string): RedisFinding => ({ is: 'bad', what })

/**
 * Number of different argument counts that are tried for each command. Redis reports a missing permission only if the
 * number of arguments is right.
 */
const ARGUMENTS_MAX = 7
/** Number of slots of a Redis Cluster. */
const SLOTS = 16_384

interface LookOptions {
  readonly address: RedisAddress
  /** Value of REDIS_PREFIX. */
  readonly prefix: string
  /** Calendar time of this machine. */
  readonly wallClock: () => number
}

/**
 * Findings about a node's Redis: its version, memory, replicas, slots and clock, and the permissions of the node's
 * user. Changes nothing in Redis.
 * @param servers servers that accept writes
 */
export async function lookAtServers(servers: readonly Redis[], options: LookOptions): Promise<readonly RedisFinding[]> {
  const each = await Promise.all(servers.map((server) => lookAt(server, options)))
  // A finding that several servers of a cluster have is listed once.
  const found = [...new Map(each.flat().map((finding) => [finding.what, finding])).values()]
  const [first] = servers
  if (options.address.cluster && first !== undefined) found.push(await slotsFinding(first))
  return found
}

/**
 * Inspects a server over a separate connection. So operations of the store do not wait for the inspection and do not
 * become part of its transaction.
 */
async function lookAt(server: Redis, options: LookOptions): Promise<readonly RedisFinding[]> {
  const probe = server.duplicate({
    ...{ lazyConnect: true, enableReadyCheck: false, enableOfflineQueue: false, retryStrategy: null },
    sentinelRetryStrategy: () => null, // without this limit, ioredis would ask Sentinels that are down for ever
    commandTimeout: STORE_PATIENCE_MS,
  })
  probe.on('error', () => undefined) // `connect` and the commands reject with the error
  try {
    await probe.connect()
    return await findingsOf(probe, options)
  } finally {
    probe.disconnect()
  }
}

async function findingsOf(server: Redis, options: LookOptions): Promise<readonly RedisFinding[]> {
  const info = await server.info()
  const field = (name: string): string => new RegExp(`^${name}:(\\S*)`, 'm').exec(info)?.[1] ?? ''
  return [
    good(`Redis ${field('redis_version')}`),
    evictionFinding(field('maxmemory_policy'), field('maxmemory')),
    ...replicaFindings(options.address, field('role'), Number(field('connected_slaves'))),
    await clockFinding(server, options.wallClock),
    await permissionFinding(server, options.prefix),
  ]
}

function evictionFinding(policy: string, maxmemory: string): RedisFinding {
  if (policy === '' || policy === 'noeviction') return good('Redis drops nothing when its memory is full (noeviction)')
  const when = maxmemory === '0' ? 'once a maxmemory is set' : 'when its memory is full'
  return bad(`Redis drops calls and messages ${when}: maxmemory-policy is ${policy}; allowed: noeviction`)
}

/** Findings about replicas. If the URL has no Sentinels and is not a cluster, a single server is intended. */
function replicaFindings({ masterName, cluster }: RedisAddress, role: string, replicas: number): RedisFinding[] {
  if ((masterName === null && !cluster) || role !== 'master') return []
  if (replicas > 0) return [good(`the Redis master has ${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`)]
  const who = cluster ? 'a master of the Redis Cluster' : 'the master that the Sentinels name'
  return [look(`${who} has no replica: nothing can take its place`)]
}

async function clockFinding(server: Redis, wallClock: () => number): Promise<RedisFinding> {
  const before = wallClock()
  const [seconds = 0, micros = 0] = (await server.time()).map(Number)
  const aheadMs = (before + wallClock()) / 2 - (seconds * 1000 + micros / 1000)
  const s = Math.round(Math.abs(aheadMs) / 1000)
  if (Math.abs(aheadMs) <= CLOCK_SKEW_MS_MAX) return good('the clock of Redis and of this machine agree')
  const which = aheadMs > 0 ? 'ahead of' : 'behind'
  return look(
    `this machine's clock is ${s} s ${which} that of Redis; allowed: ${CLOCK_SKEW_MS_MAX / 1000} s. Nodes refuse each other's requests where their clocks differ so much`,
  )
}

async function slotsFinding(server: Redis): Promise<RedisFinding> {
  const info = String(await server.cluster('INFO'))
  const assigned = Number(/^cluster_slots_ok:(\d+)/m.exec(info)?.[1] ?? 0)
  return info.includes('cluster_state:ok') && assigned === SLOTS
    ? good(`all ${SLOTS} slots of the Redis Cluster have a server`)
    : bad(
        `${SLOTS - assigned} of ${SLOTS} slots of the Redis Cluster have no server: calls whose entry is in such a slot fail`,
      )
}

/** Checks permissions in a transaction that is never executed. Redis checks each command when it arrives. */
async function permissionFinding(probe: Redis, prefix: string): Promise<RedisFinding> {
  const lacks = await deniedOf(probe, redisKeys(prefix))
  if (lacks.length === 0) return good('the Redis user may run all commands that nodes send')
  return bad(`the Redis user may not ${lacks.join(', ')}; deploy/redis.conf has the line of a user that may`)
}

async function deniedOf(probe: Redis, patterns: readonly string[]): Promise<readonly string[]> {
  const ask = (name: string, ...args: readonly string[]): Promise<string> => {
    const [command = '', ...subcommand] = name.split('|')
    return probe.call(command, ...subcommand, ...args).then(
      () => '',
      (thrown: unknown) => messageOf(thrown),
    )
  }
  const begun = await ask('multi')
  // Without a transaction the check ends, because Redis would execute the commands.
  if (/NOPERM/.test(begun)) return ['run MULTI']
  if (begun !== '') throw new Error(begun)
  const keys = patterns.map((pattern) => pattern.replace('*', 'check'))
  const denied = new Set<string>()
  const asked = REDIS_COMMANDS.filter((name) => !['multi', 'exec', 'discard'].includes(name))
  await Promise.all([
    ...asked.map(async (name) => {
      const answers = Array.from({ length: ARGUMENTS_MAX }, (_, count) =>
        ask(name, ...Array.from({ length: count }, () => keys[0] as string)),
      )
      const refused = (await Promise.all(answers)).some((answer) => /NOPERM.*(?:run the|subcommand)/.test(answer))
      if (refused) denied.add(`run ${name.replace('|', ' ').toUpperCase()}`)
    }),
    ...keys.map(async (key, i) => {
      if (/NOPERM.*keys/.test(await ask('get', key))) denied.add(`use the keys ${patterns[i] ?? ''}`)
    }),
  ])
  // Makes EXEC fail, so that the transaction is never executed.
  const discarded = await ask('discard')
  if (/NOPERM/.test(discarded)) denied.add('run DISCARD')
  else if (/NOPERM/.test(await ask('exec'))) denied.add('run EXEC')
  return [...denied].sort()
}

import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions, Command, RedisOptions } from 'ioredis'
import { GatewayError } from '../../core/errors.js'
import { STORE_DEADLINE_MS } from '../../core/limits.js'
import type { RedisAddress } from './redis-url.js'

/** Connecting to Redis or to a Sentinel, whose answer is a part of it. */
const REDIS_CONNECT_MS_MAX = 1000
/** The longest pause between two attempts. */
export const REDIS_RETRY_MS_MAX = 500
/** How often a cluster is asked which server has what. */
const CLUSTER_LOOK_MS = 1000

const retryStrategy = (attempt: number): number => Math.min(50 * 2 ** (attempt - 1), REDIS_RETRY_MS_MAX)

/** Options of each connection to a server or a Sentinel. */
export const REDIS_CONNECTION = {
  connectionName: 'mkondo',
  disableClientInfo: true,
  protocol: 2,
  replyMapping: 'legacy',
  connectTimeout: REDIS_CONNECT_MS_MAX,
  // A connection to a frozen server does not end in order.
  disconnectTimeout: STORE_DEADLINE_MS,
  maxLoadingRetryTime: REDIS_RETRY_MS_MAX,
  retryStrategy,
  // After a failover the connection is to a replica: the next one is to the new master.
  reconnectOnError: ({ message }: Error) => message.includes('READONLY'),
} as const satisfies RedisOptions

/**
 * A client of the Redis at an address. It connects at once, and again whenever it is not connected, until
 * `endRedisClient`; whoever makes it listens to its `error`s.
 * @param own  how its commands wait
 * @param ownOfCluster  the same, of a cluster
 */
export function redisClient(
  { tls, hosts, masterName, cluster, db, username, password }: RedisAddress,
  own: Omit<RedisOptions, 'replyMapping'>,
  ownOfCluster: ClusterOptions = {},
): Redis | Cluster {
  const options = {
    ...REDIS_CONNECTION,
    ...own,
    ...(username !== null && { username }),
    ...(password !== null && { password }),
    ...(tls && { tls: {} }),
  } satisfies RedisOptions
  if (cluster)
    return new Cluster([...hosts], {
      clusterRetryStrategy: retryStrategy,
      slotsRefreshTimeout: REDIS_CONNECT_MS_MAX,
      // A master that stands still says nothing of its replica, which has taken its place.
      slotsRefreshInterval: CLUSTER_LOOK_MS,
      // Certificates have the names of the servers, which a cluster knows by these names then.
      ...(tls && { dnsLookup: (name: string, found: (error: null, address: string) => void) => found(null, name) }),
      ...ownOfCluster,
      redisOptions: options,
    })
  if (masterName === null) return new Redis({ ...options, ...hosts[0], db })
  // Given only to those that ask for one, because ioredis writes a warning where a Sentinel has none.
  const learning = (client: Redis): Redis =>
    client.on('sentinelError', ({ message }: Error) => {
      if (password === null || !message.includes('NOAUTH')) return
      client.options.sentinelPassword = password
      if (username !== null) client.options.sentinelUsername = username
    })
  const redis = new Redis({
    ...options,
    db,
    sentinels: [...hosts],
    name: masterName,
    sentinelRetryStrategy: retryStrategy,
    sentinelCommandTimeout: own.commandTimeout ?? REDIS_CONNECT_MS_MAX,
    // With Sentinels ioredis takes `tls` for the master, only where the second is true, and never for the Sentinels.
    ...(tls && { sentinelTLS: {}, enableTLSForSentinelMode: true }),
  })
  const duplicate = redis.duplicate.bind(redis)
  redis.duplicate = (override) => learning(duplicate(override))
  return learning(redis)
}

/** Commands by which ioredis makes a connection usable. */
const HANDSHAKE = ['auth', 'client', 'hello', 'info', 'readonly', 'select']

/**
 * Bounds the commands of a client that have no answer yet: without a connection ioredis lets any number wait. One more
 * rejects with STORE_DOWN; a part of a transaction does not, because the rest would be carried out without it.
 */
export function boundCommands(client: Redis | Cluster, max: number, onRefused: () => void): void {
  const waiting = new Set<Command>()
  const send = client.sendCommand.bind(client) as (command: Command, ...at: unknown[]) => unknown
  client.sendCommand = (command: Command, ...at: unknown[]) => {
    // On the next connection ioredis sends it again.
    if (waiting.has(command) || HANDSHAKE.includes(command.name)) return send(command, ...at)
    if (waiting.size >= max && at[0] === undefined) {
      onRefused()
      command.reject(new GatewayError('STORE_DOWN', `${max} commands wait for Redis already`, { retryable: true }))
      return command.promise
    }
    waiting.add(command)
    const done = (): void => void waiting.delete(command)
    command.promise.then(done, done)
    return send(command, ...at)
  }
}

/** Closes it for good, at once. */
export function endRedisClient(client: Redis | Cluster): void {
  client.disconnect()
  // ioredis goes on looking for slots, each second and for ever, where a look is under way now.
  if (client instanceof Cluster) client.refreshSlotsCache = () => undefined
}

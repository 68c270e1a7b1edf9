import { Cluster, Redis } from 'ioredis'
import type { ClusterOptions, Command, RedisOptions } from 'ioredis'
import { GatewayError } from '../../core/errors.js'
import { STORE_DEADLINE_MS } from '../../core/limits.js'
import type { RedisAddress } from './redis-url.js'

/** Maximum time in ms to connect to Redis or to a Sentinel. It includes the Sentinel's answer. */
const REDIS_CONNECT_MS_MAX = 1000
/** Maximum pause in ms before the next attempt to connect. */
export const REDIS_RETRY_MS_MAX = 500
/** Time in ms between two requests to a cluster for its servers and their slots. */
const CLUSTER_LOOK_MS = 1000

const retryStrategy = (attempt: number): number => Math.min(50 * 2 ** (attempt - 1), REDIS_RETRY_MS_MAX)

/** Options of each connection to a server or a Sentinel. */
export const REDIS_CONNECTION = {
  connectionName: 'mkondo',
  disableClientInfo: true,
  protocol: 2,
  replyMapping: 'legacy',
  connectTimeout: REDIS_CONNECT_MS_MAX,
  // A limit is needed, because a connection to a frozen server cannot be closed in an orderly way.
  disconnectTimeout: STORE_DEADLINE_MS,
  maxLoadingRetryTime: REDIS_RETRY_MS_MAX,
  retryStrategy,
  // READONLY means that the connection leads to a replica after a failover. A new connection leads to the new master.
  reconnectOnError: ({ message }: Error) => message.includes('READONLY'),
} as const satisfies RedisOptions

/**
 * Client for a Redis address. It stays connected until `endRedisClient`. The code that uses it must listen to its
 * `error` event.
 * @param own options for its commands
 * @param ownOfCluster these options for a cluster
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
      // Slots are requested regularly, because a master that does not respond cannot report that a replica has replaced
      // it.
      slotsRefreshInterval: CLUSTER_LOOK_MS,
      // The certificates contain the servers' names, so the cluster must use the servers' names, not their addresses.
      ...(tls && { dnsLookup: (name: string, found: (error: null, address: string) => void) => found(null, name) }),
      ...ownOfCluster,
      redisOptions: options,
    })
  if (masterName === null) return new Redis({ ...options, ...hosts[0], db })
  // The password is sent only to Sentinels that ask for it, because ioredis logs a warning if a Sentinel does not need
  // it.
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
    // ioredis does not use `tls` for Sentinels, and for their master only if `enableTLSForSentinelMode` is true.
    ...(tls && { sentinelTLS: {}, enableTLSForSentinelMode: true }),
  })
  const duplicate = redis.duplicate.bind(redis)
  redis.duplicate = (override) => learning(duplicate(override))
  return learning(redis)
}

/** Commands with which ioredis prepares a connection. */
const HANDSHAKE = ['auth', 'client', 'hello', 'info', 'readonly', 'select']

/**
 * Limits the number of a client's unanswered commands, because ioredis has no limit while there is no connection.
 * Commands above the limit reject with STORE_DOWN.
 */
export function boundCommands(client: Redis | Cluster, max: number, onRefused: () => void): void {
  const waiting = new Set<Command>()
  const send = client.sendCommand.bind(client) as (command: Command, ...at: unknown[]) => unknown
  client.sendCommand = (command: Command, ...at: unknown[]) => {
    // A command that is already waiting is not counted again: ioredis sends it again on the next connection.
    if (waiting.has(command) || HANDSHAKE.includes(command.name)) return send(command, ...at)
    // A command inside a transaction is always sent. Otherwise the rest of the transaction would be executed without
    // this command.
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

/** Closes the client at once and for ever. */
export function endRedisClient(client: Redis | Cluster): void {
  client.disconnect()
  // A running query for slots must be stopped too. Otherwise ioredis would repeat it every second for ever.
  if (client instanceof Cluster) client.refreshSlotsCache = () => undefined
}

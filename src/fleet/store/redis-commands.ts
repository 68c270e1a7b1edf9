/**
 * All Redis commands that a node uses: directly, in scripts, or by BullMQ. `A|B` is a subcommand. deploy/redis.conf and
 * `mkondo check` use this list. Tests compare it with the scripts.
 */
export const REDIS_COMMANDS = [
  // Commands for the connection. AUTH and HELLO do not need a permission.
  ...['client|setname', 'cluster|info', 'cluster|slots', 'info', 'ping', 'readonly', 'role', 'select', 'time'],
  ...['discard', 'eval', 'evalsha', 'exec', 'multi', 'wait'],
  ...['del', 'exists', 'persist', 'pexpire', 'pttl', 'rename', 'type'],
  ...['get', 'incr', 'set'],
  ...['hdel', 'hexists', 'hget', 'hgetall', 'hincrby', 'hlen', 'hmget', 'hmset', 'hscan', 'hset', 'hsetnx'],
  ...['lindex', 'llen', 'lpop', 'lpos', 'lpush', 'lrange', 'lrem', 'lset', 'ltrim', 'rpop', 'rpoplpush', 'rpush'],
  ...['sadd', 'scard', 'sismember', 'smembers', 'srem'],
  ...[
    'xack',
    'xadd',
    'xclaim',
    'xdel',
    'xgroup|create',
    'xgroup|delconsumer',
    'xinfo|consumers',
    'xlen',
    'xpending',
    'xrange',
    'xreadgroup',
    'xtrim',
  ],
  ...['bzpopmin', 'zadd', 'zcard', 'zcount', 'zpopmin', 'zrange', 'zrangebyscore', 'zrem'],
  ...['zremrangebyrank', 'zremrangebyscore', 'zrevrange', 'zrevrangebyscore', 'zscore'],
] as const

/** Patterns of the keys that nodes use with this REDIS_PREFIX. */
export const redisKeys = (prefix: string): readonly [string, string] => [`${prefix}*`, `{${prefix}campaigns}*`]

/** Line of redis.conf for a user that has only the permissions that a node needs. */
export function redisUser(prefix: string, password: string): string {
  const keys = redisKeys(prefix).map((pattern) => `~${pattern}`)
  const commands = REDIS_COMMANDS.map((command) => `+${command}`)
  return ['user mkondo reset on', `>${password}`, ...keys, ...commands].join(' ')
}

/**
 * Every command that a node sends to Redis: its own, those in its scripts, and BullMQ's. deploy/redis.conf and
 * `mkondo check` are made of this list; a test compares it with the scripts, and others run under it. `A|B` is a subcommand.
 */
export const REDIS_COMMANDS = [
  // The connection's; AUTH and HELLO need no permission.
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

/** Patterns of the keys that nodes with this REDIS_PREFIX use. */
export const redisKeys = (prefix: string): readonly [string, string] => [`${prefix}*`, `{${prefix}campaigns}*`]

/** A line of redis.conf: the user with what a node needs, and nothing else. */
export function redisUser(prefix: string, password: string): string {
  const keys = redisKeys(prefix).map((pattern) => `~${pattern}`)
  const commands = REDIS_COMMANDS.map((command) => `+${command}`)
  return ['user mkondo reset on', `>${password}`, ...keys, ...commands].join(' ')
}

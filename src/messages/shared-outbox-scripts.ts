/**
 * Records that a message was added. ARGV: key, queue, max, ttl. The removal of a message also records this, because
 * nodes of version 0.1.0 do not record it when they add a message.
 */
const ADDED = `
local function added()
  redis.call('ZADD', KEYS[1] .. ':added', redis.call('TIME')[1], ARGV[1])
  redis.call('ZREMRANGEBYRANK', KEYS[1] .. ':added', 0, -tonumber(ARGV[3]) - 1)
  redis.call('PEXPIRE', KEYS[1] .. ':added', ARGV[4])
end`

/**
 * Common part of the scripts in this file. KEYS[1] is the stream. Each message in it has `key`, and `d` with the
 * encrypted entry. The following keys have the stream's hash tag, and therefore the same slot of a Redis Cluster:
 * - `:ids`: key to id in the stream
 * - `:tries`: key to `<tries> <due ms>`
 * - `:of:<queue>`: keys of one call to one receiver, oldest first
 * - `:dead`, `:why`, `:dead-at`: dead messages
 * - `:added`: keys of all added messages by time. A message whose key is only in this set is over
 */
export const SCRIPTS = {
  /**
   * Adds a message. ARGV: key, queue, max, ttl of the order, d; optionally a consumer that takes the message at once.
   */
  add: `${ADDED}
if redis.call('HEXISTS', KEYS[1] .. ':dead', ARGV[1]) == 1 or redis.call('HEXISTS', KEYS[1] .. ':ids', ARGV[1]) == 1 then
  added()
  return 'known'
end
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
local id = redis.call('XADD', KEYS[1], '*', 'key', ARGV[1], 'd', ARGV[5])
redis.call('HSET', KEYS[1] .. ':ids', ARGV[1], id)
redis.call('RPUSH', KEYS[1] .. ':of:' .. ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1] .. ':of:' .. ARGV[2], ARGV[4])
added()
if ARGV[6] then
  redis.pcall('XGROUP', 'CREATE', KEYS[1], 'nodes', '0', 'MKSTREAM')
  redis.call('XREADGROUP', 'GROUP', 'nodes', ARGV[6], 'STREAMS', KEYS[1], '>')
end
return 'added'`,
  /**
   * ARGV: keys. Returns `waits`, `dead`, `over` or `lost` for each key. `lost`: the store does not know the message.
   */
  states: `
local out = {}
for i, key in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1] .. ':ids', key) == 1 then out[i] = 'waits'
  elseif redis.call('HEXISTS', KEYS[1] .. ':dead', key) == 1 then out[i] = 'dead'
  elseif redis.call('ZSCORE', KEYS[1] .. ':added', key) then out[i] = 'over'
  else out[i] = 'lost' end
end
return out`,
  /** ARGV: consumer, count. Assigns new messages to this consumer. Returns key, tries and d of each message. */
  take: `
redis.pcall('XGROUP', 'CREATE', KEYS[1], 'nodes', '0', 'MKSTREAM')
local got = redis.call('XREADGROUP', 'GROUP', 'nodes', ARGV[1], 'COUNT', ARGV[2], 'STREAMS', KEYS[1], '>')
local out = {}
for _, message in ipairs(got and got[1][2] or {}) do
  local key, d = message[2][2], message[2][4]
  out[#out + 1] = key
  out[#out + 1] = redis.call('HGET', KEYS[1] .. ':tries', key) or ''
  out[#out + 1] = d
end
return out`,
  /** Returns the name of each consumer, and the number of its messages. Without ARGV. */
  consumers: `
redis.pcall('XGROUP', 'CREATE', KEYS[1], 'nodes', '0', 'MKSTREAM')
local out = {}
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], 'nodes')) do
  out[#out + 1] = consumer[2]
  out[#out + 1] = tostring(consumer[4])
end
return out`,
  /** ARGV: consumer, first id, count. Returns id and key of each message of this consumer. */
  own: `
redis.pcall('XGROUP', 'CREATE', KEYS[1], 'nodes', '0', 'MKSTREAM')
local out = {}
for _, each in ipairs(redis.call('XPENDING', KEYS[1], 'nodes', ARGV[2], '+', ARGV[3], ARGV[1])) do
  local found = redis.call('XRANGE', KEYS[1], each[1], each[1])
  out[#out + 1] = each[1]
  out[#out + 1] = found[1] and found[1][2][2] or ''
end
return out`,
  /** ARGV: keys. Returns messages like `take`, for keys that still exist. */
  fetch: `
local out = {}
for _, key in ipairs(ARGV) do
  local id = redis.call('HGET', KEYS[1] .. ':ids', key)
  local found = id and redis.call('XRANGE', KEYS[1], id, id) or {}
  if found[1] then
    out[#out + 1] = key
    out[#out + 1] = redis.call('HGET', KEYS[1] .. ':tries', key) or ''
    out[#out + 1] = found[1][2][4]
  end
end
return out`,
  /**
   * ARGV: consumer, dead consumer, count, minimum idle time. Returns messages like `take`. An empty consumer is
   * deleted.
   */
  claim: `
local pending = redis.call('XPENDING', KEYS[1], 'nodes', '-', '+', ARGV[3], ARGV[2])
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'nodes', ARGV[2]) end
local out = {}
for _, each in ipairs(pending) do
  local claimed = redis.call('XCLAIM', KEYS[1], 'nodes', ARGV[1], ARGV[4], each[1])
  local message = claimed[1]
  if message and message[2] then
    local key = message[2][2]
    out[#out + 1] = key
    out[#out + 1] = redis.call('HGET', KEYS[1] .. ':tries', key) or ''
    out[#out + 1] = message[2][4]
  end
end
return out`,
  /** ARGV: key. Returns d; empty if the key is unknown. */
  read: `
local id = redis.call('HGET', KEYS[1] .. ':ids', ARGV[1])
if not id then return {} end
local found = redis.call('XRANGE', KEYS[1], id, id)
return found[1] and { found[1][2][4] } or {}`,
  /**
   * ARGV: key, queue. Returns `later` if an older message of this call waits for this receiver. Otherwise returns
   * `now`, then the result of `read`.
   */
  next: `
local oldest = redis.call('LINDEX', KEYS[1] .. ':of:' .. ARGV[2], 0)
if oldest and oldest ~= ARGV[1] then return { 'later' } end
local id = redis.call('HGET', KEYS[1] .. ':ids', ARGV[1])
if not id then return {} end
local found = redis.call('XRANGE', KEYS[1], id, id)
return found[1] and { 'now', found[1][2][4] } or {}`,
  /** ARGV: key, tries and due. */
  tried: `
if redis.call('HEXISTS', KEYS[1] .. ':ids', ARGV[1]) == 1 then redis.call('HSET', KEYS[1] .. ':tries', ARGV[1], ARGV[2]) end
return 'ok'`,
  /**
   * ARGV: key, queue, max, ttl of the order; for a dead message also why, now, and the maximum number. Removes a
   * message. Returns the number of dropped dead messages.
   */
  remove: `${ADDED}
local id = redis.call('HGET', KEYS[1] .. ':ids', ARGV[1])
local dropped = 0
if id and ARGV[5] then
  local found = redis.call('XRANGE', KEYS[1], id, id)
  if found[1] then
    redis.call('HSET', KEYS[1] .. ':dead', ARGV[1], found[1][2][4])
    redis.call('HSET', KEYS[1] .. ':why', ARGV[1], ARGV[5])
    redis.call('ZADD', KEYS[1] .. ':dead-at', ARGV[6], ARGV[1])
    while redis.call('ZCARD', KEYS[1] .. ':dead-at') > tonumber(ARGV[7]) do
      local oldest = redis.call('ZPOPMIN', KEYS[1] .. ':dead-at')[1]
      redis.call('HDEL', KEYS[1] .. ':dead', oldest)
      redis.call('HDEL', KEYS[1] .. ':why', oldest)
      dropped = dropped + 1
    end
  end
end
if id then
  redis.call('XACK', KEYS[1], 'nodes', id)
  redis.call('XDEL', KEYS[1], id)
end
redis.call('HDEL', KEYS[1] .. ':ids', ARGV[1])
redis.call('HDEL', KEYS[1] .. ':tries', ARGV[1])
redis.call('LREM', KEYS[1] .. ':of:' .. ARGV[2], 0, ARGV[1])
added()
return tostring(dropped)`,
  /** ARGV: count. Returns key, why and d of each dead message, oldest first. */
  dead: `
local out = {}
for _, key in ipairs(redis.call('ZRANGE', KEYS[1] .. ':dead-at', 0, ARGV[1] - 1)) do
  out[#out + 1] = key
  out[#out + 1] = redis.call('HGET', KEYS[1] .. ':why', key) or ''
  out[#out + 1] = redis.call('HGET', KEYS[1] .. ':dead', key) or ''
end
return out`,
  /** ARGV: key. Returns d of a dead message. */
  readDead: `
local d = redis.call('HGET', KEYS[1] .. ':dead', ARGV[1])
return d and { d } or {}`,
  /**
   * Deletes a dead message, or changes it into a new message. ARGV: key; for a new message also queue, ttl of the
   * order.
   */
  exhume: `
local d = redis.call('HGET', KEYS[1] .. ':dead', ARGV[1])
if d and ARGV[2] then
  local id = redis.call('XADD', KEYS[1], '*', 'key', ARGV[1], 'd', d)
  redis.call('HSET', KEYS[1] .. ':ids', ARGV[1], id)
  redis.call('RPUSH', KEYS[1] .. ':of:' .. ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1] .. ':of:' .. ARGV[2], ARGV[3])
end
redis.call('HDEL', KEYS[1] .. ':dead', ARGV[1])
redis.call('HDEL', KEYS[1] .. ':why', ARGV[1])
redis.call('ZREM', KEYS[1] .. ':dead-at', ARGV[1])
return d and 'yes' or 'no'`,
  /** Searches keys. ARGV: hash, cursor, beginning of the keys, count. Returns the next cursor and the found keys. */
  scan: `
local found = redis.call('HSCAN', KEYS[1] .. ARGV[1], ARGV[2], 'MATCH', ARGV[3] .. '*', 'COUNT', ARGV[4])
local out = { found[1] }
for i = 1, #found[2], 2 do out[#out + 1] = found[2][i] end
return out`,
} as const
export type SharedScript = keyof typeof SCRIPTS

/**
 * What `RedisStore` does in Redis: one script for each operation, so that each is atomic. For Redis from 6.2 on.
 *
 * A call is one hash (all of it expires together): `format`, the owner (`node`, `incarnation`, `nonce`, `epoch`),
 * `phase`, `write` (number of the owner's last write), `state`, `chunks` and `log:1`, `log:2`, … (the log), `streams`
 * and `stream:<nonce>` (what has attached). The sorted set of a node has the keys of its calls, by the time at which
 * they expire; what it holds is a hint, and the call's hash decides. The hash of nodes has for each node
 * `<format> <changedAtMs> <beat> <incarnation> <JSON>`.
 *
 * A script that fails in its middle is not undone. So each looks first, and its first write is one that a full Redis
 * refuses, or that makes room.
 */

/** Version of the entries; a node reads only this one. */
export const ENTRY_FORMAT = '1'

/** Scripts answer with this error for an entry that another program, or another version, wrote. */
export const FOREIGN = 'MKONDO_FOREIGN'

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

/** KEYS[1] is the call. Leaves its fields in `format`, `node`, … */
const LOOK = `
local format, node, incarnation, nonce, epoch, phase, write =
  unpack(redis.call('HMGET', KEYS[1], 'format', 'node', 'incarnation', 'nonce', 'epoch', 'phase', 'write'))
if format ~= '${ENTRY_FORMAT}' and redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('${FOREIGN} ' .. (format or ''))
end
`

/** ARGV[2] to [5] are the owner: node, incarnation, nonce, epoch. */
const OWNED = `${LOOK}
if node ~= ARGV[2] or incarnation ~= ARGV[3] or nonce ~= ARGV[4] or epoch ~= ARGV[5] then return 'lost' end
`

/** KEYS[2] is the sorted set of the owner's calls, ARGV[1] the call's key; an index lives as long as an entry can. */
const indexed = (ttl: string): string => `
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. now)
redis.call('ZADD', KEYS[2], now + ${ttl}, ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
`

interface Script {
  readonly numberOfKeys: number
  readonly lua: string
}

export const SCRIPTS = {
  /** KEYS: call, calls of the owner. ARGV: key, owner with the new epoch (4), CALL_TTL_MS, expected epoch, CLAIM_TTL_MS. */
  claim: {
    numberOfKeys: 2,
    lua: `${NOW}${LOOK}
if not format or (epoch == ARGV[7] and phase ~= 'over') then
  redis.call('HSET', KEYS[1], 'format', '${ENTRY_FORMAT}', 'node', ARGV[2], 'incarnation', ARGV[3], 'nonce', ARGV[4],
    'epoch', ARGV[5], 'phase', 'claimed', 'write', '0')
  local left = redis.call('PTTL', KEYS[1])
  if left < tonumber(ARGV[8]) then
    left = tonumber(ARGV[8])
    redis.call('PEXPIRE', KEYS[1], left)
  end
  ${indexed('left')}
end
return redis.call('HGETALL', KEYS[1])`,
  },
  /**
   * KEYS: call, calls of the owner. ARGV: key, owner (4), CALL_TTL_MS, number of this write, 1 for a new state, state,
   * 1 to replace the log, chunks….
   */
  save: {
    numberOfKeys: 2,
    lua: `${NOW}${OWNED}
if phase == 'over' then return 'lost' end
if tonumber(ARGV[7]) <= tonumber(write) then return 'late' end
redis.call('HSET', KEYS[1], 'phase', 'owned', 'write', ARGV[7])
if ARGV[8] == '1' then redis.call('HSET', KEYS[1], 'state', ARGV[9]) end
local chunks = tonumber(redis.call('HGET', KEYS[1], 'chunks') or 0)
if ARGV[10] == '1' then
  for i = 1, chunks do redis.call('HDEL', KEYS[1], 'log:' .. i) end
  chunks = 0
end
for i = 11, #ARGV do
  chunks = chunks + 1
  redis.call('HSET', KEYS[1], 'log:' .. chunks, ARGV[i])
end
redis.call('HSET', KEYS[1], 'chunks', chunks)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
${indexed('tonumber(ARGV[6])')}
return 'ok'`,
  },
  /** KEYS: call. */
  read: {
    numberOfKeys: 1,
    lua: `${LOOK}
return redis.call('HGETALL', KEYS[1])`,
  },
  /** KEYS: call. ARGV: key, owner (4), nonce, STORED_STREAMS_MAX. */
  attach: {
    numberOfKeys: 1,
    lua: `${OWNED}
if phase == 'over' then return 'lost' end
local field = 'stream:' .. ARGV[6]
local streams = tonumber(redis.call('HGET', KEYS[1], 'streams') or 0)
if streams >= tonumber(ARGV[7]) or redis.call('HEXISTS', KEYS[1], field) == 1 then return 'used' end
redis.call('HSET', KEYS[1], field, '1', 'streams', streams + 1)
return 'ok'`,
  },
  /** KEYS: call, calls of the owner. ARGV: key, owner (4), OVER_TTL_MS. */
  over: {
    numberOfKeys: 2,
    lua: `${OWNED}
if phase == 'over' then return 'ok' end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'format', '${ENTRY_FORMAT}', 'node', node, 'incarnation', incarnation, 'nonce', nonce,
  'epoch', epoch, 'phase', 'over', 'write', write)
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('ZREM', KEYS[2], ARGV[1])
return 'ok'`,
  },
  /** KEYS: calls of the node. ARGV: node, what stands before the key of a call. */
  callsOf: {
    numberOfKeys: 1,
    lua: `${NOW}
local keys = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  local entry = redis.pcall('HMGET', ARGV[2] .. key, 'node', 'phase')
  if entry[1] == ARGV[1] and entry[2] ~= 'over' then keys[#keys + 1] = key end
end
return keys`,
  },
  /** KEYS: the value. ARGV: value, TTL. */
  once: {
    numberOfKeys: 1,
    lua: `
local standing = redis.call('GET', KEYS[1])
if not standing then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return standing`,
  },
  /** KEYS: the value. ARGV: value, TTL. */
  settle: {
    numberOfKeys: 1,
    lua: `
if redis.call('GET', KEYS[1]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end`,
  },
  /** KEYS: nodes. ARGV: name, incarnation, beat, JSON, NODE_FORGET_MS, NODES_MAX. */
  beat: {
    numberOfKeys: 1,
    lua: `${NOW}
local pattern = '^${ENTRY_FORMAT} (%d+) (%d+) (%S+) '
local all = redis.call('HGETALL', KEYS[1])
local mine, others, forgotten, seen = nil, 0, {}, { string.format('%.0f', now) }
for i = 1, #all, 2 do
  local changed = string.match(all[i + 1], pattern)
  if changed and now - tonumber(changed) > tonumber(ARGV[5]) then
    forgotten[#forgotten + 1] = all[i]
  else
    seen[#seen + 1] = all[i]
    seen[#seen + 1] = all[i + 1]
    if all[i] == ARGV[1] then mine = all[i + 1] else others = others + 1 end
  end
end
if not mine and others >= tonumber(ARGV[6]) then return 'full' end
local late = false
if mine then
  local _, beat, incarnation = string.match(mine, pattern)
  late = incarnation == ARGV[2] and tonumber(beat) >= tonumber(ARGV[3])
end
if not late then
  redis.call('HSET', KEYS[1], ARGV[1],
    '${ENTRY_FORMAT} ' .. string.format('%.0f', now) .. ' ' .. ARGV[3] .. ' ' .. ARGV[2] .. ' ' .. ARGV[4])
end
for _, name in ipairs(forgotten) do
  if name ~= ARGV[1] then redis.call('HDEL', KEYS[1], name) end
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return seen`,
  },
  /** KEYS: nodes. ARGV: name, incarnation. */
  leave: {
    numberOfKeys: 1,
    lua: `
local mine = redis.call('HGET', KEYS[1], ARGV[1])
if mine and string.match(mine, '^${ENTRY_FORMAT} %d+ %d+ (%S+) ') == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end`,
  },
} as const satisfies Record<string, Script>

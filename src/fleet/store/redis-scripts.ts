/**
 * Scripts of `RedisStore`, for Redis from 6.2 on. There is one script for each operation, so that each operation is
 * atomic. Each script has one key, so that the entries can be in a Redis Cluster.
 *
 * - A call is one hash, so that it expires as a whole. Its fields are `format`, the owner (`node`, `incarnation`,
 * `nonce`, `epoch`), `phase`, `write` (number of the owner's last write), `state`, `chunks` and `log:1`, `log:2`, …
 * (the log), `streams` and `stream:<nonce>` (the attached streams). An ended call has `over-at`, but no state and no
 * log.
 * - The sorted set of a node contains the keys of its calls, sorted by the time of their expiry. This set is only a
 * hint: the hash of a call decides who owns the call.
 * - The hash of nodes contains `<format> <changedAtMs> <beat> <incarnation> <JSON>` for each node. The JSON contains
 * its own proof (`node-proof.ts`).
 * - The hash of a sum contains one part for each counting node.
 *
 * If a script fails in the middle, Redis does not undo its writes. So each script does all reads first. Its first write
 * is one that a full Redis refuses, or one that frees memory.
 */

/** Version of the entries. A node reads only entries of this version. */
export const ENTRY_FORMAT = '1'

/** Error of the scripts for an entry that another program or another version wrote. */
export const FOREIGN = 'MKONDO_FOREIGN'

const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

/** KEYS[1] is the call. Sets the call's fields as `format`, `node`, … */
const LOOK = `
local format, node, incarnation, nonce, epoch, phase, write =
  unpack(redis.call('HMGET', KEYS[1], 'format', 'node', 'incarnation', 'nonce', 'epoch', 'phase', 'write'))
if format ~= '${ENTRY_FORMAT}' and redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.error_reply('${FOREIGN} ' .. (format or ''))
end
`

/** ARGV[1] to [4] are the owner: node, incarnation, nonce, epoch. */
const OWNED = `${LOOK}
if node ~= ARGV[1] or incarnation ~= ARGV[2] or nonce ~= ARGV[3] or epoch ~= ARGV[4] then return 'lost' end
`

/** Lua by name; each script has one key. */
export const SCRIPTS = {
  /** KEYS: call. ARGV: owner with the new epoch (4), expected epoch, CLAIM_TTL_MS. */
  claim: `${LOOK}
if not format or (epoch == ARGV[5] and phase ~= 'over') then
  redis.call('HSET', KEYS[1], 'format', '${ENTRY_FORMAT}', 'node', ARGV[1], 'incarnation', ARGV[2], 'nonce', ARGV[3],
    'epoch', ARGV[4], 'phase', 'claimed', 'write', '0')
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[6]) then redis.call('PEXPIRE', KEYS[1], ARGV[6]) end
end
return redis.call('HGETALL', KEYS[1])`,
  /**
   * KEYS: call. ARGV: owner (4), number of this write, CALL_TTL_MS, renewal limit in ms, 1 to replace the log, 1 for a
   * new state, state, chunks…. This script runs each second for each live call, so it does little more than write. Its
   * answer is `new` if it has renewed the time to live.
   */
  save: `${OWNED}
if phase == 'over' then return 'lost' end
if tonumber(ARGV[5]) <= tonumber(write) then return 'late' end
local set = { 'write', ARGV[5] }
if phase ~= 'owned' then
  set[3] = 'phase'
  set[4] = 'owned'
end
if ARGV[9] == '1' then
  set[#set + 1] = 'state'
  set[#set + 1] = ARGV[10]
end
local before, after = 0, 0
if #ARGV > 10 or ARGV[8] == '1' then
  before = tonumber(redis.call('HGET', KEYS[1], 'chunks') or 0)
  if ARGV[8] ~= '1' then after = before end
  for i = 11, #ARGV do
    after = after + 1
    set[#set + 1] = 'log:' .. after
    set[#set + 1] = ARGV[i]
  end
  set[#set + 1] = 'chunks'
  set[#set + 1] = after
end
redis.call('HSET', KEYS[1], unpack(set))
if ARGV[8] == '1' then for i = after + 1, before do redis.call('HDEL', KEYS[1], 'log:' .. i) end end
if phase ~= 'owned' or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[7]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  return 'new'
end
return 'ok'`,
  /** KEYS: call. */
  read: `${LOOK}
return redis.call('HGETALL', KEYS[1])`,
  /** KEYS: call. ARGV: owner (4), nonce, STORED_STREAMS_MAX. */
  attach: `${OWNED}
if phase == 'over' then return 'lost' end
local field = 'stream:' .. ARGV[5]
local streams = tonumber(redis.call('HGET', KEYS[1], 'streams') or 0)
if streams >= tonumber(ARGV[6]) or redis.call('HEXISTS', KEYS[1], field) == 1 then return 'used' end
redis.call('HSET', KEYS[1], field, '1', 'streams', streams + 1)
return 'ok'`,
  /** KEYS: call. ARGV: owner (4), OVER_TTL_MS. */
  over: `${OWNED}
if phase == 'over' then return 'ok' end
${NOW}
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'format', '${ENTRY_FORMAT}', 'node', node, 'incarnation', incarnation, 'nonce', nonce,
  'epoch', epoch, 'phase', 'over', 'write', write, 'over-at', now)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 'ok'`,
  /**
   * KEYS: calls of a node. ARGV: key of one call, CALL_TTL_MS. The index lives as long as the entry of its newest call.
   */
  index: `${NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])`,
  /** KEYS: the value. ARGV: value, TTL. */
  once: `
local standing = redis.call('GET', KEYS[1])
if not standing then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return standing`,
  /** KEYS: the value. */
  standing: `return redis.call('GET', KEYS[1])`,
  /** KEYS: the value. ARGV: value, TTL. */
  settle: `
if redis.call('GET', KEYS[1]) then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end`,
  /** KEYS: the value. ARGV: expected value (empty for no value), value, TTL. */
  swap: `
local standing = redis.call('GET', KEYS[1])
if (standing or '') == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return standing`,
  /** KEYS: the sum. ARGV: part, amount, TTL, TALLY_PARTS_MAX. */
  tally: `
local all = redis.call('HGETALL', KEYS[1])
local had, others = nil, 0
for i = 1, #all, 2 do
  if all[i] == ARGV[1] then had = tonumber(all[i + 1]) else others = others + tonumber(all[i + 1]) end
end
if tonumber(ARGV[2]) > (had or 0) and (had or #all / 2 < tonumber(ARGV[4])) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return string.format('%.17g', others)`,
  /** KEYS: nodes. ARGV: name, incarnation, beat, JSON, NODE_FORGET_MS, NODES_MAX, 1 to replace any existing entry. */
  beat: `${NOW}
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
  late = ARGV[7] ~= '1' and incarnation == ARGV[2] and tonumber(beat) >= tonumber(ARGV[3])
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
  /** KEYS: nodes. ARGV: name, incarnation. */
  leave: `
local mine = redis.call('HGET', KEYS[1], ARGV[1])
if mine and string.match(mine, '^${ENTRY_FORMAT} %d+ %d+ (%S+) ') == ARGV[2] then redis.call('HDEL', KEYS[1], ARGV[1]) end`,
}

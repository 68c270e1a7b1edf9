import { ScriptError, compiled } from './lua.js'
import type { LuaScript, LuaValue } from './lua.js'

/** Answer of Redis; bytes as text, one a character. */
export type Reply = string | number | null | readonly Reply[] | Failure | Status
export class Failure {
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}
export class Status {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}
const OK = new Status('OK')

interface Pending {
  consumer: string
  deliveredMs: number
  times: number
}
interface Group {
  last: string
  readonly consumers: Set<string>
  readonly pending: Map<string, Pending>
}
interface Stream {
  last: string
  readonly entries: Map<string, string[]>
  readonly groups: Map<string, Group>
}
type Value =
  | { readonly type: 'string'; value: string }
  | { readonly type: 'hash'; readonly value: Map<string, string> }
  | { readonly type: 'list'; value: string[] }
  | { readonly type: 'zset'; readonly value: Map<string, number> }
  | { readonly type: 'stream'; readonly value: Stream }
type Typed<Type extends Value['type']> = Extract<Value, { readonly type: Type }>['value']
interface Held {
  readonly held: Value
  untilMs: number
}

const EMPTY = {
  string: () => ({ type: 'string', value: '' }),
  hash: () => ({ type: 'hash', value: new Map() }),
  list: () => ({ type: 'list', value: [] }),
  zset: () => ({ type: 'zset', value: new Map() }),
  stream: () => ({ type: 'stream', value: { last: '0-0', entries: new Map(), groups: new Map() } }),
} satisfies { readonly [Type in Value['type']]: () => Extract<Value, { readonly type: Type }> }

/** Ids of a stream in their order. */
function isAfter(id: string, other: string): boolean {
  const [ms = 0, ordinal = 0] = id.split('-').map(Number)
  const [otherMs = 0, otherOrdinal = 0] = other.split('-').map(Number)
  return ms > otherMs || (ms === otherMs && ordinal > otherOrdinal)
}

const scripts = new Map<string, LuaScript>()

/**
 * The data of a Redis, and those of its commands that our code uses. It answers as Redis 7 does; a command that it does
 * not know is an error by its name, so that code which needs another one fails here and not in silence.
 */
export class Keyspace {
  readonly #clock: () => number
  #data = new Map<string, Held>()
  #scripts = new Map<string, string>()

  /** @param clock  calendar time */
  constructor(clock: () => number) {
    this.#clock = clock
  }

  /** A replica as it is now. */
  copy(): Keyspace {
    const other = new Keyspace(this.#clock)
    other.#data = structuredClone(this.#data)
    return other
  }

  run([command = '', ...args]: readonly string[], shaOf: (lua: string) => string): Reply {
    try {
      const name = command.toLowerCase()
      if (name === 'eval' || name === 'evalsha') return this.#script(name, args, shaOf)
      return this.#command(name, args)
    } catch (thrown) {
      if (thrown instanceof ScriptError || thrown instanceof Refusal) return new Failure(thrown.message)
      throw thrown
    }
  }

  #script(
    name: 'eval' | 'evalsha',
    [script = '', count = '0', ...args]: readonly string[],
    shaOf: (lua: string) => string,
  ) {
    const lua = name === 'eval' ? script : this.#scripts.get(script)
    if (lua === undefined) return new Failure('NOSCRIPT No matching script. Please use EVAL.')
    if (name === 'eval') this.#scripts.set(shaOf(lua), lua)
    let run = scripts.get(lua)
    if (run === undefined) scripts.set(lua, (run = compiled(lua)))
    const keys = args.slice(0, Number(count))
    return fromLua(run((given) => toLua(this.#safely(given)), keys, args.slice(Number(count))))
  }

  #safely([command = '', ...args]: readonly string[]): Reply {
    try {
      return this.#command(command.toLowerCase(), args)
    } catch (thrown) {
      if (thrown instanceof Refusal) return new Failure(thrown.message)
      throw thrown
    }
  }

  #find<Type extends Value['type']>(type: Type, key: string): Typed<Type> | null {
    const held = this.#exists(key)
    if (held === null) return null
    if (held.held.type !== type) throw new Refusal('WRONGTYPE Operation against a key holding the wrong kind of value')
    return held.held.value as never
  }

  #make<Type extends Value['type']>(type: Type, key: string): Typed<Type> {
    const found = this.#find(type, key)
    if (found !== null) return found as never
    const held = EMPTY[type]() as Value
    this.#data.set(key, { held, untilMs: Infinity })
    return held.value as never
  }

  #exists(key: string): Held | null {
    const held = this.#data.get(key)
    if (held === undefined || held.untilMs > this.#clock()) return held ?? null
    this.#data.delete(key)
    return null
  }

  /** Redis has no empty lists, hashes and sets. */
  #tidy(key: string): void {
    const held = this.#data.get(key)?.held
    const size =
      held?.type === 'list' ? held.value.length : held?.type === 'hash' || held?.type === 'zset' ? held.value.size : 1
    if (size === 0) this.#data.delete(key)
  }

  #command(name: string, args: readonly string[]): Reply {
    const run = this.#commands[name]
    if (run === undefined) throw new Refusal(`ERR unknown command '${name}': the model has to learn it`)
    return run(...args)
  }

  #group(key: string, name: string): Group {
    const group = this.#find('stream', key)?.groups.get(name)
    if (group === undefined) throw new Refusal(`NOGROUP No such key '${key}' or consumer group '${name}'`)
    return group
  }

  #claimed(key: string, group: Group, id: string, consumer: string): Reply | null {
    const fields = this.#find('stream', key)?.entries.get(id)
    if (fields === undefined) {
      group.pending.delete(id)
      return null
    }
    group.consumers.add(consumer)
    group.pending.set(id, { consumer, deliveredMs: this.#clock(), times: (group.pending.get(id)?.times ?? 0) + 1 })
    return [id, fields]
  }

  readonly #commands: Readonly<Record<string, (...args: string[]) => Reply>> = {
    ping: () => new Status('PONG'),
    select: () => OK,
    client: () => OK,
    time: () => {
      const now = this.#clock()
      return [String(Math.floor(now / 1000)), String(Math.floor((now % 1000) * 1000))]
    },
    exists: (...keys) => keys.filter((key) => this.#exists(key) !== null).length,
    del: (...keys) => keys.filter((key) => this.#exists(key) !== null && this.#data.delete(key)).length,
    pttl: (key = '') => {
      const held = this.#exists(key)
      return held === null ? -2 : held.untilMs === Infinity ? -1 : Math.ceil(held.untilMs - this.#clock())
    },
    pexpire: (key = '', ms) => {
      const held = this.#exists(key)
      if (held === null) return 0
      held.untilMs = this.#clock() + Number(ms)
      return 1
    },
    get: (key = '') => this.#find('string', key),
    set: (key = '', value = '', option = '', ms = '') => {
      if (option !== '' && option.toUpperCase() !== 'PX') throw new Refusal('ERR the model knows SET with PX alone')
      const untilMs = option === '' ? Infinity : this.#clock() + Number(ms)
      this.#data.set(key, { held: { type: 'string', value }, untilMs })
      return OK
    },

    hget: (key = '', field = '') => this.#find('hash', key)?.get(field) ?? null,
    hmget: (key = '', ...fields) => {
      const hash = this.#find('hash', key)
      return fields.map((field) => hash?.get(field) ?? null)
    },
    hgetall: (key = '') => [...(this.#find('hash', key) ?? [])].flat(),
    hvals: (key = '') => [...(this.#find('hash', key)?.values() ?? [])],
    hlen: (key = '') => this.#find('hash', key)?.size ?? 0,
    hexists: (key = '', field = '') => (this.#find('hash', key)?.has(field) === true ? 1 : 0),
    hset: (key = '', ...pairs) => {
      const hash = this.#make('hash', key)
      let added = 0
      for (let i = 0; i + 1 < pairs.length; i += 2) {
        if (!hash.has(pairs[i] as string)) added++
        hash.set(pairs[i] as string, pairs[i + 1] as string)
      }
      return added
    },
    hsetnx: (key = '', field = '', value = '') => {
      const hash = this.#make('hash', key)
      if (hash.has(field)) return 0
      hash.set(field, value)
      return 1
    },
    hincrby: (key = '', field = '', by = '0') => {
      const hash = this.#make('hash', key)
      const sum = Number(hash.get(field) ?? 0) + Number(by)
      hash.set(field, String(sum))
      return sum
    },
    hdel: (key = '', ...fields) => {
      const hash = this.#find('hash', key)
      const gone = fields.filter((field) => hash?.delete(field) === true).length
      this.#tidy(key)
      return gone
    },
    /** All in one go, which Redis may do for a small hash. */
    hscan: (key = '', _cursor, _match, pattern = '*') => {
      const prefix = pattern.replace(/\*$/, '')
      const found = [...(this.#find('hash', key) ?? [])].filter(([field]) => field.startsWith(prefix))
      return ['0', found.flat()]
    },

    rpush: (key = '', ...values) => this.#make('list', key).push(...values),
    lindex: (key = '', index) => this.#find('list', key)?.at(Number(index)) ?? null,
    lrange: (key = '', from, to) => {
      const end = Number(to)
      return this.#find('list', key)?.slice(Number(from), end === -1 ? undefined : end + 1) ?? []
    },
    lrem: (key = '', _count, value) => {
      const list = this.#find('list', key)
      if (list === null) return 0
      const left = list.filter((each) => each !== value)
      const gone = list.length - left.length
      list.splice(0, list.length, ...left)
      this.#tidy(key)
      return gone
    },

    zadd: (key = '', score, member = '') => {
      const set = this.#make('zset', key)
      const added = set.has(member) ? 0 : 1
      set.set(member, Number(score))
      return added
    },
    zrem: (key = '', ...members) => {
      const set = this.#find('zset', key)
      const gone = members.filter((member) => set?.delete(member) === true).length
      this.#tidy(key)
      return gone
    },
    zscore: (key = '', member = '') => {
      const score = this.#find('zset', key)?.get(member)
      return score === undefined ? null : String(score)
    },
    zcard: (key = '') => this.#find('zset', key)?.size ?? 0,
    zrange: (key = '', from, to) => {
      const end = Number(to)
      return this.#sorted(key)
        .map(([member]) => member)
        .slice(Number(from), end < 0 ? undefined : end + 1)
    },
    zremrangebyrank: (key = '', from, to) => {
      const members = this.#sorted(key).map(([member]) => member)
      const end = Number(to) < 0 ? members.length + Number(to) : Number(to)
      const gone = members.slice(Number(from), Math.max(0, end + 1))
      for (const member of gone) this.#find('zset', key)?.delete(member)
      this.#tidy(key)
      return gone.length
    },
    zremrangebyscore: (key = '', _from, to = '') => {
      const set = this.#find('zset', key)
      const below = Number(to.replace('(', ''))
      const gone = [...(set ?? [])].filter(([, score]) => (to.startsWith('(') ? score < below : score <= below))
      for (const [member] of gone) set?.delete(member)
      this.#tidy(key)
      return gone.length
    },
    zpopmin: (key = '') => {
      const [first] = this.#sorted(key)
      if (first === undefined) return []
      this.#find('zset', key)?.delete(first[0])
      this.#tidy(key)
      return [first[0], String(first[1])]
    },

    xlen: (key = '') => this.#find('stream', key)?.entries.size ?? 0,
    xadd: (key = '', _id, ...fields) => {
      const stream = this.#make('stream', key)
      const now = `${Math.floor(this.#clock())}-0`
      const [ms = '', ordinal = ''] = stream.last.split('-')
      const id = isAfter(now, stream.last) ? now : `${ms}-${Number(ordinal) + 1}`
      stream.last = id
      stream.entries.set(id, fields)
      return id
    },
    xdel: (key = '', ...ids) => {
      const entries = this.#find('stream', key)?.entries
      return ids.filter((id) => entries?.delete(id) === true).length
    },
    xrange: (key = '', from = '-', to = '+') =>
      [...(this.#find('stream', key)?.entries ?? [])].filter(
        ([id]) => (from === '-' || !isAfter(from, id)) && (to === '+' || !isAfter(id, to)),
      ),
    xgroup: (action = '', key = '', name = '', last = '') => {
      if (action.toUpperCase() === 'CREATE') {
        const stream = this.#make('stream', key)
        if (stream.groups.has(name)) return new Failure('BUSYGROUP Consumer Group name already exists')
        stream.groups.set(name, { last: last === '$' ? stream.last : '0-0', consumers: new Set(), pending: new Map() })
        return OK
      }
      if (action.toUpperCase() !== 'DELCONSUMER') throw new Refusal(`ERR the model has no XGROUP ${action}`)
      const group = this.#group(key, name)
      const lost = [...group.pending].filter(([, { consumer }]) => consumer === last)
      for (const [id] of lost) group.pending.delete(id)
      group.consumers.delete(last)
      return lost.length
    },
    xinfo: (what = '', key = '', name = '') => {
      if (what.toUpperCase() !== 'CONSUMERS') throw new Refusal(`ERR the model has no XINFO ${what}`)
      const group = this.#group(key, name)
      return [...group.consumers].map((consumer) => {
        const pending = [...group.pending.values()].filter((each) => each.consumer === consumer).length
        return ['name', consumer, 'pending', pending, 'idle', 0, 'inactive', 0]
      })
    },
    xreadgroup: (_group, name = '', consumer = '', ...rest) => {
      const count = rest[0]?.toUpperCase() === 'COUNT' ? Number(rest[1]) : Infinity
      const at = rest.findIndex((each) => each.toUpperCase() === 'STREAMS')
      const [key = '', from = ''] = rest.slice(at + 1)
      const group = this.#group(key, name)
      const { entries } = this.#find('stream', key) as Stream
      group.consumers.add(consumer)
      if (from === '>') {
        const fresh = [...entries].filter(([id]) => isAfter(id, group.last)).slice(0, count)
        for (const [id] of fresh) {
          group.last = id
          group.pending.set(id, { consumer, deliveredMs: this.#clock(), times: 1 })
        }
        return fresh.length === 0 ? null : [[key, fresh]]
      }
      const own = [...group.pending].filter(([id, held]) => held.consumer === consumer && isAfter(id, from))
      own.sort(([a], [b]) => (isAfter(a, b) ? 1 : -1))
      return [[key, own.slice(0, count).map(([id]) => [id, entries.get(id) ?? null])]]
    },
    xack: (key = '', name = '', ...ids) => {
      const pending = this.#find('stream', key)?.groups.get(name)?.pending
      return ids.filter((id) => pending?.delete(id) === true).length
    },
    xpending: (key = '', name = '', ...rest) => {
      const group = this.#group(key, name)
      const idleMs = rest[0]?.toUpperCase() === 'IDLE' ? Number(rest[1]) : 0
      const [from = '-', to = '+', count, consumer] = rest[0]?.toUpperCase() === 'IDLE' ? rest.slice(2) : rest
      if (count === undefined) throw new Refusal('ERR the model has no summary of XPENDING')
      const now = this.#clock()
      return [...group.pending]
        .filter(
          ([id, held]) =>
            (consumer === undefined || held.consumer === consumer) &&
            now - held.deliveredMs >= idleMs &&
            inRange(id, from, to),
        )
        .sort(([a], [b]) => (isAfter(a, b) ? 1 : -1))
        .slice(0, Number(count))
        .map(([id, { consumer: by, deliveredMs, times }]) => [id, by, Math.floor(now - deliveredMs), times])
    },
    xclaim: (key = '', name = '', consumer = '', idleMs, ...ids) => {
      const group = this.#group(key, name)
      return ids.flatMap((id) => {
        const held = group.pending.get(id)
        if (held === undefined || this.#clock() - held.deliveredMs < Number(idleMs)) return []
        const claimed = this.#claimed(key, group, id, consumer)
        return claimed === null ? [] : [claimed]
      })
    },
    xautoclaim: (key = '', name = '', consumer = '', idleMs = '0', from = '0-0', _count, count = '100') => {
      const group = this.#group(key, name)
      const idle = [...group.pending]
        .filter(([id, held]) => this.#clock() - held.deliveredMs >= Number(idleMs) && !isAfter(from, id))
        .sort(([a], [b]) => (isAfter(a, b) ? 1 : -1))
        .slice(0, Number(count))
      const claimed: Reply[] = []
      const deleted: Reply[] = []
      for (const [id] of idle) {
        const one = this.#claimed(key, group, id, consumer)
        if (one === null) deleted.push(id)
        else claimed.push(one)
      }
      return ['0-0', claimed, deleted]
    },
  }

  #sorted(key: string): (readonly [string, number])[] {
    return [...(this.#find('zset', key) ?? [])].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1))
  }
}

function inRange(id: string, from: string, to: string): boolean {
  const exclusive = from.startsWith('(')
  const low = from.replace('(', '')
  if (low !== '-' && (exclusive ? !isAfter(id, low) : isAfter(low, id))) return false
  return to === '+' || !isAfter(id, to)
}

class Refusal extends Error {}

function toLua(reply: Reply): LuaValue {
  if (reply === null) return false
  if (reply instanceof Failure) return { err: reply.message }
  if (reply instanceof Status) return reply.text
  if (typeof reply !== 'object') return reply
  return { list: reply.map(toLua) }
}

function fromLua(value: LuaValue): Reply {
  if (value === undefined || value === false) return null
  if (value === true) return 1
  if (typeof value === 'number') return Math.trunc(value)
  if (typeof value === 'string') return value
  if ('err' in value) return new Failure(value.err)
  const end = value.list.indexOf(undefined)
  return (end < 0 ? value.list : value.list.slice(0, end)).map(fromLua)
}

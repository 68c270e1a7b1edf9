import type { Cluster, Redis } from 'ioredis'
import { foldLog, parseKeptCall } from '../../call/documents/kept-call.js'
import { CALL_BACKS, rowSchema } from '../../campaigns/campaign.js'
import { GatewayError } from '../../core/errors.js'
import { jsonObject, jsonOrNull } from '../../core/json.js'
import { parseCall } from '../../fleet/store/redis-store.js'
import { SealedCall } from '../../fleet/store/sealed-call.js'
import { entrySchema } from '../../messages/entry.js'
import { addFault, faultOf } from './stored-forms.js'
import type { FoundForm } from './stored-forms.js'

/** Maximum number of entries of one form that are read: the newest calls and rows, and the oldest messages. */
const ENTRIES_MAX = 100_000
/** Number of entries that one request reads. */
const PAGE = 200

/** Lists and sorted sets in which BullMQ stores the ids of jobs, by the jobs' state. */
const JOB_LISTS = ['wait', 'paused', 'active'] as const
const JOB_SETS = ['delayed', 'prioritized', 'completed', 'failed'] as const

interface StoreToRead {
  readonly redis: Redis | Cluster
  /** REDIS_PREFIX. */
  readonly prefix: string
  /** TOKEN_SECRET. */
  readonly secrets: readonly string[]
}

/** Documents of one form in Redis. `isCut` is true if there were more than ENTRIES_MAX. */
export interface FoundEntries extends FoundForm {
  isCut: boolean
}

/**
 * Reads kept calls, rows of campaigns and messages with this build's readers. It sends only commands that read, and
 * only commands that a node's Redis user may run; this excludes SCAN.
 * @param nodes  names of the nodes, by which their calls are listed
 * @param campaigns  ids of the campaigns
 * @throws the error of Redis
 */
export async function readStoredEntries(
  store: StoreToRead,
  nodes: readonly string[],
  campaigns: readonly string[],
): Promise<readonly FoundEntries[]> {
  const found = [await keptCalls(store, nodes), await rows(store, [CALL_BACKS, ...campaigns]), await messages(store)]
  return found.filter(({ count, faulty }) => count + faulty > 0)
}

async function keptCalls({ redis, prefix, secrets }: StoreToRead, nodes: readonly string[]): Promise<FoundEntries> {
  const found = nothing('kept call')
  const keys = new Set<string>()
  for (const node of nodes) {
    const left = ENTRIES_MAX - keys.size
    const listed = await redis.zrevrange(`${prefix}calls-of:${node}`, 0, left)
    found.isCut ||= listed.length > left
    for (const key of listed.slice(0, left)) keys.add(key)
  }
  await each([...keys], async (key) => {
    const name = `call:${key}`
    const fields = await redis.hgetallBuffer(`${prefix}${name}`)
    if (Object.keys(fields).length === 0) return // the call has ended in the meantime, or was never kept
    found.count++
    const entry = parseCall(new Map(Object.entries(fields)))
    if (entry === null) return addFault(found, name, `${formatOf(fields)} is not what this version reads`)
    const sealed = new SealedCall(key, secrets)
    try {
      if (entry.state !== null) parseKeptCall(jsonOrNull(sealed.open('state', entry.state)))
      foldLog(entry.log.map((piece) => jsonOrNull(sealed.open('log', piece))))
    } catch (thrown) {
      addFault(found, name, reasonOf(thrown))
    }
  })
  return found
}

function formatOf(fields: Readonly<Record<string, Buffer>>): string {
  const missing = ['format', 'node', 'incarnation', 'nonce', 'epoch', 'phase'].find(
    (name) => fields[name] === undefined,
  )
  return missing ?? 'its form'
}

async function rows({ redis, prefix, secrets }: StoreToRead, campaigns: readonly string[]): Promise<FoundEntries> {
  const found = nothing('row of a campaign')
  for (const campaign of campaigns) {
    const queue = `{${prefix}campaigns}:${campaign}`
    const left = ENTRIES_MAX - found.count
    const lists = await Promise.all([
      ...JOB_LISTS.map((state) => redis.lrange(`${queue}:${state}`, 0, left)),
      ...JOB_SETS.map((state) => redis.zrange(`${queue}:${state}`, 0, String(left))),
    ])
    const ids = [...new Set(lists.flat())]
    found.isCut ||= ids.length > left
    await each(ids.slice(0, left), async (id) => {
      const data = await redis.hget(`${queue}:${id}`, 'data')
      if (data === null) return // removed in the meantime
      found.count++
      const name = `campaigns ${campaign}:${id}`
      const sealed = jsonObject(data)?.['sealed']
      if (typeof sealed !== 'string') return addFault(found, name, 'data.sealed is not what this version reads')
      try {
        const text = new SealedCall(id, secrets).open('state', Buffer.from(sealed, 'base64'))
        const fault = faultOf(rowSchema, jsonOrNull(text))
        if (fault !== null) addFault(found, name, fault)
      } catch (thrown) {
        addFault(found, name, reasonOf(thrown))
      }
    })
  }
  return found
}

async function messages({ redis, prefix, secrets }: StoreToRead): Promise<FoundEntries> {
  const found = nothing('message')
  const read = (key: string, sealed: Buffer): void => {
    found.count++
    const name = `outbox ${key}`
    try {
      const text = new SealedCall(key.split('.')[0] ?? '', secrets).open('message', sealed)
      const fault = faultOf(entrySchema, jsonOrNull(text))
      if (fault !== null) addFault(found, name, fault)
    } catch (thrown) {
      addFault(found, name, reasonOf(thrown))
    }
  }
  const isFull = (): boolean => (found.isCut = found.count >= ENTRIES_MAX)
  let cursor = '0'
  do {
    const [next, dead] = await redis.hscanBuffer(`${prefix}{outbox}:dead`, cursor, 'COUNT', PAGE)
    for (let i = 0; i + 1 < dead.length; i += 2) read(String(dead[i]), dead[i + 1] as Buffer)
    cursor = String(next)
  } while (cursor !== '0' && !isFull())
  for (let from = '-'; !isFull();) {
    const page = await redis.xrangeBuffer(`${prefix}{outbox}`, from, '+', 'COUNT', PAGE)
    for (const [, [, key, , sealed]] of page) if (key !== undefined && sealed !== undefined) read(String(key), sealed)
    const last = page.at(-1)
    if (last === undefined || page.length < PAGE) return found
    from = `(${String(last[0])}`
  }
  return found
}

/** Reads a page of entries at a time. */
async function each(keys: readonly string[], read: (key: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < keys.length; from += PAGE) await Promise.all(keys.slice(from, from + PAGE).map(read))
}

/** Reason without values, because the text of another error may quote a caller. */
function reasonOf(thrown: unknown): string {
  return thrown instanceof GatewayError ? thrown.message : 'cannot be read'
}

function nothing(noun: string): FoundEntries {
  return { noun, count: 0, faults: [], faulty: 0, isCut: false }
}

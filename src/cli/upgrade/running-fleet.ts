import { campaignSchema } from '../../campaigns/campaign.js'
import { jsonObject, jsonOrNull } from '../../core/json.js'
import { nodeRecordSchema } from '../../fleet/store/call-store.js'
import { endRedisClient, redisClient } from '../../fleet/store/redis-client.js'
import { parseRedisUrl } from '../../fleet/store/redis-url.js'
import { readStoredEntries } from './stored-entries.js'
import type { FoundEntries } from './stored-entries.js'

/** Maximum time in ms to wait for Redis. */
const REDIS_MS_MAX = 5000

/** Node of the running fleet. */
export interface RunningNode {
  readonly name: string
  readonly version: string
  readonly state: string
  /** Number of live calls. */
  readonly calls: number
}

/** State of the fleet's store, as this build reads it. */
export interface RunningFleet {
  readonly nodes: readonly RunningNode[]
  readonly campaigns: number
  /** Entries that this build cannot read, by their key. */
  readonly unread: readonly string[]
  /** Kept calls, rows of campaigns and messages. */
  readonly stored: readonly FoundEntries[]
}

/**
 * Reads a fleet's nodes, campaigns and stored entries. All commands only read.
 * @param secrets  values of TOKEN_SECRET, which open the entries
 * @throws Error if Redis does not answer
 */
export async function readRunningFleet(url: string, prefix: string, secrets: readonly string[]): Promise<RunningFleet> {
  const address = parseRedisUrl(url)
  if (address === undefined) throw new Error('is not the URL of a Redis')
  const redis = redisClient(address, { maxRetriesPerRequest: 1, commandTimeout: REDIS_MS_MAX })
  // Connection errors are ignored here, because each command rejects with the error.
  redis.on('error', () => undefined)
  try {
    const [heartbeats, campaigns] = await Promise.all([
      redis.hgetall(`${prefix}nodes`),
      redis.hgetall(`{${prefix}campaigns}:all`),
    ])
    const unread: string[] = []
    const nodes = Object.entries(heartbeats).flatMap(([name, text]): RunningNode[] => {
      // The text begins with the node's proof. The JSON of the record follows.
      const read = nodeRecordSchema.safeParse(jsonOrNull(text.slice(Math.max(0, text.indexOf('{')))))
      if (!read.success) unread.push(`nodes ${name}`)
      if (!read.success) return []
      const { version, state, callsByAgent } = read.data
      return [{ name, version, state, calls: Object.values(callsByAgent).reduce((sum, count) => sum + count, 0) }]
    })
    const ids: string[] = []
    for (const [id, text] of Object.entries(campaigns)) {
      const campaign = jsonObject(text)
      if (campaign === null) continue // a field of the list that is not a campaign
      ids.push(id)
      if (!campaignSchema.safeParse(campaign).success) unread.push(`campaigns ${id}`)
    }
    const stored = await readStoredEntries({ redis, prefix, secrets }, Object.keys(heartbeats), ids)
    return { nodes, campaigns: ids.length, unread, stored }
  } finally {
    endRedisClient(redis)
  }
}

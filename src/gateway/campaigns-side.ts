import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AgentDefinition } from '../agents/file/definition.js'
import { CampaignDesk } from '../campaigns/campaign-desk.js'
import { Campaigns } from '../campaigns/campaigns.js'
import type { CampaignStatus, PlacedStanding } from '../campaigns/campaigns.js'
import { TRY_RESULTS } from '../campaigns/campaign.js'
import { FileDoNotCall } from '../campaigns/do-not-call.js'
import type { DoNotCall } from '../campaigns/do-not-call.js'
import { FileQueue } from '../campaigns/file-queue.js'
import type { RowQueue } from '../campaigns/row-queue.js'
import type { Config } from '../config/settings.js'
import type { CallStore } from '../fleet/store/call-store.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { STORE_PATIENCE_MS } from '../core/limits.js'
import { parseRedisUrl } from '../fleet/store/redis-url.js'
import type { Log } from '../telemetry/log.js'
import type { FleetSide } from './fleet-side.js'
import { onDemand } from './on-demand.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { MessageNews } from '../messages/message.js'
import type { OutboundCalls } from '../workers/main/outbound-calls.js'

interface CampaignsSideOptions {
  readonly config: Config
  readonly outbound: OutboundCalls
  readonly standing: (callSid: string, label: string) => Promise<PlacedStanding>
  readonly store: Pick<CallStore, 'once' | 'settle' | 'read'>
  /**
   * Finds an agent; undefined if our number lacks facts that the agent reads.
   * @param from  our number from which the agent calls
   */
  readonly agent: (name: string, from?: string) => AgentDefinition | undefined
  readonly agentNames: () => readonly string[]
  readonly humanFirst: (agent: string, from: string | null) => string | null
  readonly lines: FleetSide['lines']
  readonly slots: () => { readonly capacity: number; readonly free: number }
  readonly walletMinor: () => number | null
  readonly walletEmpty: () => void
  readonly budgetSpent: (number: string) => boolean
  readonly told: (news: CampaignStatus) => void
  readonly storeLost: FleetSide['storeLost']
  readonly metrics: Metrics
  readonly log: Log
}

/** Campaigns and promised call backs of this process, and the do-not-call list. */
export interface CampaignsSide {
  readonly campaigns: Campaigns
  readonly desk: CampaignDesk
  /**
   * Puts a number on the do-not-call list. If `wanted` is false, removes the number again, because a recorded voice
   * said the words and not a person.
   * @returns true if stored. Never rejects
   */
  readonly callNoMore: (number: string, atMs: number, wanted: boolean) => Promise<boolean>
  /** True if the number is on the list. Rejects if the list cannot be read. */
  readonly isDoNotCall: (number: string) => Promise<boolean>
}

/** Message to receivers about a campaign. If its row had a call, the message names the call. */
export function campaignMessage(news: CampaignStatus): MessageNews {
  if (news.type === 'campaign.paused') {
    const { campaign } = news
    const { id, agent, from = null } = campaign
    return { type: news.type, callSid: id, agent, number: from, data: campaign }
  }
  const { recovers: _, ...row } = news.row
  const callSid = row.tries.findLast((one) => one.callSid !== null)?.callSid ?? row.campaign
  return { id: `${row.campaign}:${row.id}`, type: news.type, callSid, agent: row.agent, number: row.from, data: row }
}

/** Folder of campaigns, below DATA_DIR. */
const FOLDER = 'campaigns'
/** File with the names of the campaigns that this node of a fleet has seen in Redis. */
const SEEN_FILE = 'campaigns-seen.json'
const LIST_FILE = 'do-not-call.jsonl'
const REACH_PAUSE_MS = 100

/**
 * Opens the campaigns of earlier runs. With REDIS_URL they are in Redis, otherwise below DATA_DIR, which this process
 * has locked.
 * @throws errors of the file system
 */
export async function openCampaigns(options: CampaignsSideOptions): Promise<CampaignsSide> {
  const {
    config,
    outbound,
    standing,
    store,
    agent,
    agentNames,
    humanFirst,
    lines,
    slots,
    walletMinor,
    walletEmpty,
    budgetSpent,
    told,
    metrics,
  } = options
  const log = options.log.component('campaigns')
  const refused = metrics.defineOne(
    'campaign_commands_refused',
    'Commands for campaigns and the do-not-call list that were refused, because too many commands wait for Redis',
  )
  const { queue, doNotCall } = await opened(config, log, options.storeLost, () => refused.inc())
  const tries = metrics.defineCounter('campaign_tries', 'Ended calls of campaigns and call backs, by result', [
    'agent',
    'result',
  ])
  // Series of the agents at the start exist with the value 0. For an agent that is added later, a rate does not include
  // the first call.
  for (const name of agentNames()) {
    const definition = agent(name)
    if (definition?.outbound.from !== undefined || definition?.callbacks != null)
      for (const result of TRY_RESULTS) tries({ agent: name, result })
  }
  const held = metrics.defineCounter('campaign_waits', 'Times that a row of a campaign had to wait, by reason', [
    'agent',
    'reason',
  ])
  const paused = metrics.defineOne(
    'campaigns_paused',
    'Campaigns that paused themselves, because too many of their calls failed',
  )
  const campaigns = new Campaigns({
    queue,
    doNotCall,
    place: (order) => outbound.place(order),
    standing,
    claims: store,
    agent,
    humanFirst,
    lines,
    slots,
    walletMinor,
    walletEmpty,
    budgetSpent,
    prefixes: config.outboundPrefixes,
    callBackLimits: {
      perNumberDay: config.callBacksPerNumberDay,
      perNumberWeek: config.callBacksPerNumberWeek,
      perCallerDay: config.callBacksPerCallerDay,
    },
    perMinute: config.outboundPerMinute,
    keepMs: config.recordsKeepDays * 86_400_000,
    wallClock: Date.now,
    random: Math.random,
    log,
    counted: (name, what, why) => {
      if (what === 'held') held({ agent: name, reason: why ?? '' }).inc()
      else tries({ agent: name, result: TRY_RESULTS.find((result) => result === what) ?? 'uncertain' }).inc()
    },
    told: (news) => {
      if (news.type === 'campaign.paused') paused.inc()
      told(news)
    },
  })
  const desk = new CampaignDesk({
    campaigns,
    queue,
    doNotCall,
    agent,
    agentNames,
    prefixes: config.outboundPrefixes,
    wallClock: Date.now,
  })
  const callNoMore = async (number: string, atMs: number, wanted: boolean): Promise<boolean> => {
    try {
      const written = wanted
        ? doNotCall.add(number, 'caller', atMs).then(() => true)
        : doNotCall.takeBack(number, atMs, Date.now())
      const late = sleep(STORE_PATIENCE_MS, null, { ref: false })
      const done = await Promise.race([written, late])
      if (done === null) throw new GatewayError('STORE_DOWN', `it was not written within ${STORE_PATIENCE_MS} ms`)
      if (done && !wanted)
        log.info({}, 'a number was removed from the do-not-call list: it was listed because of words in a recording')
      return done
    } catch (thrown) {
      log.error({ err: thrown, wanted }, 'a number could not be added to the do-not-call list, or removed from it')
      return false
    }
  }
  return { campaigns, desk, callNoMore, isDoNotCall: (number) => doNotCall.has(number) }
}

/** Result of a search for a person in rows, and the stores that could not be searched. */
interface LookedRows<T> {
  readonly found: readonly T[]
  readonly unlooked: readonly string[]
}

/**
 * Runs `work` with each queue of rows that this gateway does not use now. Earlier runs with other settings may have
 * left such queues, and an erasure or an export must search them. Never rejects.
 * @param folders data folders, this process's own folder first
 * @param isServed true: the queue in the settings is already open, so it is left out
 */
export async function ofRestingRows<T>(
  { redisUrl, redisPrefix, tokenSecrets }: Pick<Config, 'redisUrl' | 'redisPrefix' | 'tokenSecrets'>,
  folders: readonly string[],
  isServed: boolean,
  log: Log,
  work: (queue: RowQueue) => Promise<T>,
): Promise<LookedRows<T>> {
  const found: T[] = []
  const unlooked: string[] = []
  const look = async (where: string, open: () => Promise<RowQueue>): Promise<void> => {
    let queue: RowQueue | null = null
    try {
      queue = await open()
      found.push(await work(queue))
      unlooked.push(...unreadRows(await queue.unread(), where))
    } catch (thrown) {
      unlooked.push(`campaigns and call backs ${where} (${messageOf(thrown)})`)
    } finally {
      await queue?.close(0).catch(() => undefined)
    }
  }
  for (const [index, folder] of folders.entries()) {
    const path = join(folder, FOLDER)
    if (!existsSync(path) || (index === 0 && isServed && redisUrl === null)) continue
    await look('on the disk', () => FileQueue.start({ folder: path, wallClock: Date.now, log }))
  }
  if (redisUrl !== null && !isServed)
    await look('in Redis', async () => {
      const { RedisQueue } = await import('../campaigns/redis-queue.js')
      const address = parseRedisUrl(redisUrl)
      if (address === undefined) throw new TypeError('REDIS_URL names no server')
      const queue = new RedisQueue({ address, prefix: redisPrefix, secrets: tokenSecrets, log })
      try {
        await reached(queue)
      } catch (thrown) {
        await queue.close(0).catch(() => undefined)
        throw thrown
      }
      return queue
    })
  if (redisUrl === null && folders.some((folder) => existsSync(join(folder, SEEN_FILE))))
    unlooked.push('campaigns and call backs in Redis (REDIS_URL is not set, and this folder was of a fleet)')
  return { found, unlooked }
}

/**
 * Sentences of an erasure or an export about rows that could not be read.
 * @param where  place such as "in Redis"
 */
export function unreadRows(rows: number, where: string): readonly string[] {
  if (rows === 0) return []
  return [`${rows} rows of campaigns and call backs ${where} (another TOKEN_SECRET, or another version, wrote them)`]
}

/**
 * Waits until a new client is connected.
 * @throws GatewayError STORE_DOWN
 */
async function reached(queue: RowQueue): Promise<void> {
  const untilMs = performance.now() + STORE_PATIENCE_MS
  for (;;)
    try {
      return await queue.reach()
    } catch (thrown) {
      if (performance.now() > untilMs) throw thrown
      await sleep(REACH_PAUSE_MS)
    }
}

/** True if the do-not-call list on the disk contains the number. */
export async function isListed(dataDir: string, number: string): Promise<boolean> {
  const path = join(dataDir, LIST_FILE)
  return existsSync(path) && (await (await FileDoNotCall.open(path)).has(number))
}

async function opened(
  config: Config,
  log: Log,
  lost: CampaignsSideOptions['storeLost'],
  onRefused: () => void,
): Promise<{ readonly queue: RowQueue; readonly doNotCall: DoNotCall }> {
  const list = join(config.dataDir, LIST_FILE)
  const address = config.redisUrl === null ? undefined : parseRedisUrl(config.redisUrl)
  if (address !== undefined) {
    const { RedisDoNotCall, RedisQueue } = await onDemand(
      'REDIS_URL and SAUTIKIT_API_KEY (campaigns of a fleet)',
      /^bullmq$/,
      () => import('../campaigns/redis-queue.js'),
    )
    const secrets = config.tokenSecrets
    const queue = new RedisQueue({
      ...{ address, prefix: config.redisPrefix, secrets, log, seenFile: join(config.dataDir, SEEN_FILE) },
      onLost: ({ campaigns, callBacks }) => {
        lost('campaigns', campaigns.length)
        lost('call-backs', callBacks)
      },
      onRefused,
    })
    const copy = await FileDoNotCall.open(list).catch((thrown: unknown) => {
      log.warn({ reason: messageOf(thrown) }, 'this node has its copy of the do-not-call list in memory only')
      return FileDoNotCall.inMemory()
    })
    const onRestored = (entries: number): void => lost('do-not-call', entries)
    return { queue, doNotCall: new RedisDoNotCall(queue, { secrets, copy, onRestored }) }
  }
  const folder = join(config.dataDir, FOLDER)
  return {
    queue: await FileQueue.start({ folder, wallClock: Date.now, log }),
    doNotCall: await FileDoNotCall.open(list),
  }
}

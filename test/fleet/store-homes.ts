import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { CallStore, NodeRecord, Owner } from '../../src/fleet/store/call-store.js'
import { ChannelStore } from '../../src/fleet/store/channel-store.js'
import type { StoreReply } from '../../src/fleet/store/channel-store.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { connectRedis } from '../../src/fleet/store/redis-store.js'
import { createLog } from '../../src/telemetry/log.js'
import { startCluster, startRedis } from '../support/redis.js'
import type { RedisServer } from '../support/redis.js'
import type { ToStoreProcess } from './store-process.js'

/** TOKEN_SECRET of a fleet. */
export const SECRETS = ['secret-of-a-fleet-in-a-test']

/** Deadline of operations in tests that are not about it: the machine may be busy. */
export const PATIENCE_MS = 10_000

/** An empty store in one of its homes. */
export interface OpenStore {
  readonly store: CallStore
  /** The same entries as another node has them. */
  readonly other: CallStore
  /** Makes everything in it older, as if so much time had passed. */
  older(ms: number): Promise<void>
  close(): Promise<void>
}

export interface Home {
  open(): Promise<OpenStore>
  close(): Promise<void>
}

export function memoryHome(): Home {
  return {
    open: async () => {
      let offsetMs = 0
      const store = new MemoryStore(() => Date.now() + offsetMs)
      return {
        store,
        other: store,
        older: async (ms) => {
          offsetMs += ms
        },
        close: () => store.close(),
      }
    },
    close: async () => undefined,
  }
}

/** A process that holds the store, and a channel to it as `fork` makes it. */
export function forkStoreProcess(): { child: ChildProcess; tell: (message: ToStoreProcess) => void } {
  const child = fork(fileURLToPath(new URL('store-process.js', import.meta.url)), [], { serialization: 'advanced' })
  return {
    child,
    tell: (message) => {
      child.send(message, () => undefined)
    },
  }
}

export async function channelHome(): Promise<Home> {
  const { child, tell } = forkStoreProcess()
  await once(child, 'spawn')
  return {
    open: async () => {
      tell({ type: 'fresh' })
      const store = new ChannelStore(tell, PATIENCE_MS)
      const received = (reply: StoreReply): void => {
        store.received(reply)
      }
      child.on('message', received)
      return {
        store,
        other: store,
        older: async (ms) => {
          tell({ type: 'older', ms })
        },
        close: async () => {
          child.off('message', received)
          await store.close()
        },
      }
    },
    close: async () => {
      const exit = once(child, 'exit')
      child.disconnect()
      await exit
    },
  }
}

/** Lessens each TTL, each date of an index, and each date of a heartbeat. */
const OLDER = `
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local left = redis.call('PTTL', key)
  if left <= tonumber(ARGV[2]) then
    redis.call('DEL', key)
  else
    redis.call('PEXPIRE', key, left - ARGV[2])
    if redis.call('TYPE', key).ok == 'zset' then
      for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -ARGV[2], member) end
    elseif key == ARGV[1] .. 'nodes' then
      for _, name in ipairs(redis.call('HKEYS', key)) do
        local format, changed, rest = string.match(redis.call('HGET', key, name), '^(%d+) (%d+) (.*)$')
        redis.call('HSET', key, name, format .. ' ' .. string.format('%.0f', changed - ARGV[2]) .. ' ' .. rest)
      end
    end
  end
end`

export async function redisHome(): Promise<Home> {
  const server = await startRedis()
  let opened = 0
  return {
    open: () => openRedis([server], `test-${++opened}:`),
    close: () => server.close(),
  }
}

export async function clusterHome(): Promise<Home> {
  const servers = await startCluster()
  let opened = 0
  return {
    open: () => openRedis(servers, `test-${++opened}:`),
    close: async () => {
      await Promise.all(servers.map((server) => server.close()))
    },
  }
}

/** @param servers  one, or those of a cluster */
export async function openRedis(servers: readonly RedisServer[], prefix: string): Promise<OpenStore> {
  const log = createLog({ level: 'silent' })
  const hosts = servers.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const { url: first = '' } = servers[0] ?? {}
  const url = servers.length > 1 ? first.replace('redis:', 'redis+cluster:').replace(/127.*/, hosts) : first
  const store = await connectRedis({ url, prefix, secrets: SECRETS, log, deadlineMs: PATIENCE_MS })
  const other = await connectRedis({ url, prefix, secrets: SECRETS, log, deadlineMs: PATIENCE_MS })
  return {
    store,
    other,
    older: async (ms) => {
      for (const server of servers) await server.command('EVAL', OLDER, '0', prefix, String(ms))
    },
    close: async () => {
      await store.close()
      await other.close()
    },
  }
}

export function owner(node: string, nonce: string, incarnation = 'first'): Owner {
  return { node, incarnation, nonce }
}

export function nodeRecord(name: string, changes: Partial<NodeRecord> = {}): NodeRecord {
  return {
    name,
    incarnation: 'first',
    beat: 1,
    startedAtMs: 1_790_000_000_000,
    internalUrl: `http://${name}.internal:9600`,
    opsUrl: null,
    version: '0.1.0',
    capacity: 100,
    free: 60,
    state: 'open',
    callsByAgent: { 'order-status': 40 },
    clockAheadMs: 0,
    liveCosts: { '+254720000101': 12.5 },
    afterStream: { seen: 'continues', atMs: 1_790_000_000_500 },
    ...changes,
  }
}

export const bytes = (...values: readonly number[]): Uint8Array => new Uint8Array(values)

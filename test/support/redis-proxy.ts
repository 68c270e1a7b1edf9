import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { SCRIPTS } from '../../src/fleet/store/redis-scripts.js'

/** Name under which a client calls the claim script. */
const CLAIM = createHash('sha1').update(SCRIPTS.claim).digest('hex')

/** Proxy between nodes and their Redis: delays data, as a network that loses packets does. The order is kept. */
export interface RedisProxy {
  readonly url: string
  /** Delay in ms of all data, in each direction. */
  eachWayMs: number
  /**
   * Pauses of `ms` before every piece of data with a multiple of this number, like a lost segment that is sent again; 0
   * for none.
   */
  stalls: { readonly every: number; readonly ms: number }
  /** Delay in ms of the answers to claims, and so of later answers on the same connection. */
  claimAnswerMs: number
  /** Delay in ms of claims, and of the data behind them, before Redis gets them. */
  claimWaitsMs: number
  /** Loses the next answer of Redis: its connection is cut in place of the answer. */
  loseAnswer(): void
  /** Cuts every connection of the nodes. Redis gets the data that was on its way, and its answers are lost. */
  cut(): void
  close(): Promise<void>
}

/** Writes each piece at its time, after all pieces that came earlier. */
function inOrder(to: Socket): (bytes: Buffer, atMs: number) => void {
  const waiting: { readonly bytes: Buffer; readonly atMs: number }[] = []
  const pump = (): void => {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const waitMs = next.atMs - performance.now()
      if (waitMs > 0) return void setTimeout(pump, waitMs)
      waiting.shift()
      to.write(next.bytes)
    }
  }
  return (bytes, atMs) => {
    if (waiting.push({ bytes, atMs }) === 1) pump()
  }
}

export async function startRedisProxy(redisUrl: string): Promise<RedisProxy> {
  const { hostname, port } = new URL(redisUrl)
  const sockets = new Set<Socket>()
  const clients = new Set<Socket>()
  let loses = false
  const server = createServer((client) => {
    const redis = connect(Number(port), hostname)
    for (const socket of [client, redis]) {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {
        client.destroy()
        redis.destroy()
      })
    }
    clients.add(client)
    client.on('close', () => {
      clients.delete(client)
      redis.end()
    })
    let requestsFromMs = 0
    let answersFromMs = 0
    let pieces = 0
    const onTheWayMs = (): number => {
      const { every, ms } = proxy.stalls
      return proxy.eachWayMs + (every > 0 && ++pieces % every === 0 ? ms : 0)
    }
    const toRedis = inOrder(redis)
    const toClient = inOrder(client)
    client.on('data', (bytes: Buffer) => {
      const nowMs = performance.now()
      if (bytes.includes(CLAIM)) {
        answersFromMs = nowMs + proxy.claimAnswerMs
        requestsFromMs = nowMs + proxy.claimWaitsMs
      }
      toRedis(bytes, Math.max(requestsFromMs, nowMs + onTheWayMs()))
    })
    redis.on('data', (bytes: Buffer) => {
      if (!loses) return toClient(bytes, Math.max(answersFromMs, performance.now() + onTheWayMs()))
      loses = false
      client.destroy()
      redis.destroy()
    })
    client.on('end', () => redis.end())
    redis.on('end', () => client.end())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: RedisProxy = {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    eachWayMs: 0,
    stalls: { every: 0, ms: 0 },
    claimAnswerMs: 0,
    claimWaitsMs: 0,
    loseAnswer: () => {
      loses = true
    },
    cut: () => {
      for (const client of clients) client.destroy()
    },
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
  return proxy
}

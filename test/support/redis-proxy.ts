import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { SCRIPTS } from '../../src/fleet/store/redis-scripts.js'

/** The name under which a client calls the script that claims. */
const CLAIM = createHash('sha1').update(SCRIPTS.claim).digest('hex')

/** Between nodes and their Redis: delays, as a network does that loses packets. What comes first stays first. */
export interface RedisProxy {
  readonly url: string
  /** Added to everything, each way. */
  eachWayMs: number
  /** Every piece of which number waits for so long, as a lost segment does until it is sent again; 0: none. */
  stalls: { readonly every: number; readonly ms: number }
  /** Added to the answers of claims, and so to those behind them on the same connection. */
  claimAnswerMs: number
  /** How long claims, and what is behind them, wait before Redis gets them. */
  claimWaitsMs: number
  /** Loses the next answer of Redis: its connection is cut instead. */
  loseAnswer(): void
  /** Cuts every connection of the nodes. Redis gets what was on its way, and its answers do not come. */
  cut(): void
  close(): Promise<void>
}

/** Writes each piece when its time has come, and not before those that came earlier. */
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

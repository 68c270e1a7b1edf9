import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { optionsFromEnvironment, tellParent } from '../kit/process.js'

/** A stranger's requests, and their rate. */
export interface FloodOptions {
  readonly kind: FloodKind
  readonly port: number
  /** Source address. Loopback has many addresses. */
  readonly from: string
  /** Rate in Mbit/s on the wire above TCP. Data that the gateway does not read is not counted. */
  readonly mbit: number
  readonly seconds: number
}

export type FloodKind = 'gets' | 'posts' | 'bodies' | 'heads' | 'ops'

export interface FloodReport {
  readonly type: 'flooded'
  readonly mbit: number
  readonly connections: number
}

/** Number of simultaneous connections of each kind. */
const CONNECTIONS: Readonly<Record<FloodKind, number>> = { gets: 8, posts: 32, bodies: 200, heads: 2200, ops: 4 }
/** Maximum number of new connections in one step of STEP_MS, so that the flooder still has time to write. */
const CONNECTS_PER_STEP = 20
const STEP_MS = 10
/** Maximum number of bytes that wait on a connection that does not accept data. */
const WAITING_BYTES_MAX = 256 * 1024

const options = optionsFromEnvironment<FloodOptions>('BENCH_FLOOD')
let sent = 0
let opened = 0
const sockets = new Set<Socket>()

function open(): void {
  const socket = connect({ port: options.port, host: '127.0.0.1', localAddress: options.from })
  opened++
  sockets.add(socket)
  socket.on('error', () => socket.destroy())
  socket.on('close', () => sockets.delete(socket))
  if (options.kind === 'ops')
    socket.pause() // the answers on this connection are never read
  else socket.resume()
  if (options.kind === 'heads') socket.write('POST /voice/tone HTTP/1.1\r\nHost: a\r\n')
}

const stamp = (): string => `t=${Math.floor(Date.now() / 1000)},v1=${'f'.repeat(64)}`

function post(body: string): string {
  return (
    `POST /voice/tone HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n` +
    `X-Sautikit-Signature: ${stamp()}\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  )
}

/** Complete requests with about this number of bytes in total. */
function requests(bytes: number): string {
  const one = {
    gets: () => 'GET /x HTTP/1.1\r\nHost: a\r\n\r\n',
    posts: () => post('sessionId=HD_flood&callSessionState=Ringing'),
    bodies: () => post('x'.repeat(16_000)),
    heads: () => '',
    ops: () => 'GET /console.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n',
  }[options.kind]()
  return one.repeat(one === '' ? 0 : Math.max(1, Math.round(bytes / one.length)))
}

const startedMs = performance.now()
const timer = setInterval(() => {
  const elapsedMs = performance.now() - startedMs
  if (elapsedMs > options.seconds * 1000) {
    clearInterval(timer)
    for (const socket of sockets) socket.destroy()
    const report: FloodReport = { type: 'flooded', mbit: (sent * 8) / 1000 / elapsedMs, connections: opened }
    tellParent(report)
    process.disconnect()
    return
  }
  for (let i = 0; i < CONNECTS_PER_STEP && sockets.size < CONNECTIONS[options.kind]; i++) open()
  if (options.kind === 'heads') return
  let due = (options.mbit * 1000 * elapsedMs) / 8 - sent
  const ready = [...sockets].filter((socket) => !socket.connecting && socket.writableLength < WAITING_BYTES_MAX)
  for (const [i, socket] of ready.entries()) {
    const text = requests(due / (ready.length - i))
    if (text.length > due * 2) continue
    socket.write(text)
    sent += text.length
    due -= text.length
    if (due <= 0) break
  }
}, STEP_MS)

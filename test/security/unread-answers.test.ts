import { randomUUID } from 'node:crypto'
import { closeSync, ftruncateSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { get, startGateway } from '../edge/gateway.js'
import { until } from '../support/until.js'

const MB = 1024 * 1024
/** What may come and go in this process beside an attack; without a bound each attack here takes more than twice this. */
const MEMORY_BYTES_MAX = 120 * MB

/** How far the memory of this process has grown at most since now, whoever looks when: the kernel keeps the peak. */
function memory(): { readonly grownBytes: () => number } {
  writeFileSync('/proc/self/clear_refs', '5')
  const peak = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024
  const before = peak()
  return { grownBytes: () => peak() - before }
}

/** Sends requests and reads nothing of what comes back. */
function deaf(t: Test, port: number, requests: string): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.pause()
  socket.on('error', () => socket.destroy())
  socket.write(requests)
  t.teardown(() => socket.destroy())
  return socket
}

t.test('answers that nobody reads take no memory: a file of the console, asked for again and again', async (t) => {
  const body = Buffer.alloc(300 * 1024, 'a')
  const gateway = await startGateway(t, {
    console: new Map([['/console.js', { contentType: 'text/javascript', body }]]),
  })
  const { grownBytes } = memory()
  const attack = 'GET /console.js HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(300)
  for (let count = 0; count < 4; count++) deaf(t, gateway.edge.opsPort, attack)
  const cuts = (): Promise<number> => gateway.metric('mkondo_replies_cut_total{why="left"}')
  await until(async () => (await cuts()) >= 4 || grownBytes() > MEMORY_BYTES_MAX, 10_000, 'the cuts')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
  t.equal((await get(`${gateway.opsUrl}/console.js`)).text.length, body.length, 'and who reads gets all of it')
})

t.test('the same with short answers, and with those that close the connection, at both ports', async (t) => {
  const gateway = await startGateway(t)
  const { grownBytes } = memory()
  const ambiguous = 'GET /nowhere HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'
  // The first ones fill what the kernel takes of a connection; then the long ones begin.
  const attack = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(60_000) + ambiguous.repeat(20_000)
  const attackers = [gateway.edge.opsPort, gateway.edge.publicPort].map((port) => deaf(t, port, attack))
  // A socket that reads nothing notices that it was closed when it writes.
  const closed = (): boolean => attackers.every((socket) => socket.destroyed || (socket.write('x'), false))
  await until(() => closed() || grownBytes() > MEMORY_BYTES_MAX, 20_000, 'the ends of the connections')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
})

t.test('a long recording is read from the disk as fast as it is taken, and never kept whole', async (t) => {
  const path = join(tmpdir(), `mkondo-${randomUUID()}.wav`)
  const bytes = 300 * MB
  const handle = openSync(path, 'w')
  ftruncateSync(handle, bytes)
  closeSync(handle)
  t.teardown(() => rmSync(path))
  const gateway = await startGateway(t, { recording: () => Promise.resolve({ path, bytes }) })
  const { grownBytes } = memory()
  const socket = deaf(
    t,
    gateway.edge.opsPort,
    'GET /api/calls/HD_00000000beef/recording.wav HTTP/1.1\r\nHost: localhost\r\n\r\n',
  )
  await sleep(300)
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB while nothing is read`)
  let read = 0
  socket.on('data', (chunk: Buffer) => {
    read += chunk.length
  })
  socket.resume()
  await until(() => read > bytes || grownBytes() > MEMORY_BYTES_MAX, 20_000, 'all of it')
  t.ok(grownBytes() < MEMORY_BYTES_MAX, `${Math.round(grownBytes() / MB)} MB`)
})

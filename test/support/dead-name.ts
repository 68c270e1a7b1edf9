import { execFileSync } from 'node:child_process'
import dns from 'node:dns'
import type { LookupAddress, LookupOptions } from 'node:dns'
import { closeSync, constants, mkdtempSync, open, openSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { RealtimeSocket } from '../../src/backends/transport/vendor-connection.js'
import { HttpClient, discard } from '../../src/http/http-client.js'
import { LookupCounts, installNameLookup } from '../../src/http/name-lookup.js'

/**
 * Separate process, because it occupies libuv's threads as a resolver that never answers: a look-up of `dead.test`
 * reads a FIFO without a writer. Twenty connections of a model use this name, and then a tool calls an API whose name
 * resolves. Prints the result; with the argument `installed`, the look-ups go through a `NameLookup`.
 */
const folder = mkdtempSync(join(tmpdir(), 'dead-name-'))
const fifo = join(folder, 'never')
execFileSync('mkfifo', [fifo])
const server = createServer((_request, response) => response.end('{}'))
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address() as AddressInfo
const system = dns.lookup
let asked = 0
type Answered = (error: Error | null, addresses: LookupAddress[]) => void
dns.lookup = ((hostname: string, options: LookupOptions, answered: Answered): void => {
  if (hostname !== 'dead.test') return system('localhost', { ...options, family: 4, all: true }, answered)
  asked++
  open(fifo, 'r', (_error, descriptor) => closeSync(descriptor))
}) as unknown as typeof dns.lookup
const counts = new LookupCounts()
if (process.argv[2] === 'installed') installNameLookup(counts)

for (let i = 0; i < 20; i++) {
  new RealtimeSocket(
    'ws://dead.test/v1/realtime',
    { headers: {}, pingMs: 10_000 },
    { opened: () => undefined, message: () => undefined, closed: () => undefined },
  )
}
const beganAtMs = performance.now()
const tool = await new HttpClient()
  .send({
    url: new URL(`http://alive.test:${port}/`),
    method: 'GET',
    headers: {},
    body: null,
    policy: 'private',
    signal: AbortSignal.timeout(1500),
  })
  .then(
    (response) => {
      discard(response)
      return response.statusCode
    },
    (error: Error) => error.name,
  )
const results = Object.fromEntries(counts.all.map(({ result, count }) => [result, count()]))
process.stdout.write(JSON.stringify({ asked, tool, toolMs: performance.now() - beganAtMs, results }))
// Ends the waiting look-ups; otherwise the process could not end.
const writer = openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK)
setTimeout(() => {
  closeSync(writer)
  rmSync(folder, { recursive: true })
  process.exit(0)
}, 100)

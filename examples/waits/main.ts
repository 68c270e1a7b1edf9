import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'

/**
 * An API whose answer comes later. A courier is asked to fetch a parcel, and accepts or refuses after a while. `POST
 * /pick-ups` `{ callback }` is answered with 202, and the outcome is posted to `callback`. If that post gets 429, 503
 * or no answer, it is repeated every second, at most `TRIES` times.
 */
const TRIES = 60

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8093' }, 'decides-ms': { type: 'string', default: '8000' } },
})

/** Ends every wait. Outcomes that were not decided or posted before are lost. */
const stopped = new AbortController()

/** Rejects when this program is stopped. */
async function tell(callback: string): Promise<void> {
  const { signal } = stopped
  await sleep(Number(values['decides-ms']), undefined, { signal })
  const body = JSON.stringify({ status: 'succeeded', result: { courier: 'Wanjiru', minutes: 20 } })
  for (let tries = 0; tries < TRIES; tries++) {
    const headers = { 'content-type': 'application/json' }
    const status = await fetch(callback, { method: 'POST', headers, body, signal }).then(
      (response) => response.status,
      () => 503,
    )
    if (status !== 429 && status !== 503) return
    await sleep(1000, undefined, { signal })
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { callback } = JSON.parse(Buffer.concat(chunks).toString()) as { callback: string }
    response.writeHead(202, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ pending: randomUUID(), expiresInS: 60 }))
    tell(callback).catch(() => undefined)
  })
})
server.listen(Number(values.port), '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo // the server listens on a port
  console.log(`courier API on http://127.0.0.1:${port}`)
})
const stop = (): void => {
  stopped.abort()
  server.close()
  server.closeAllConnections()
}
process.once('SIGINT', stop)
process.once('SIGTERM', stop)

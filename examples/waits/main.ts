import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'

/**
 * An API whose answer comes later: a courier is asked to fetch a parcel, and accepts or not after a while. `POST /pick-ups`
 * `{ callback }` is answered with 202; the outcome is posted to `callback`, again every second while that answers 429, 503 or
 * nothing, for `TRIES` tries at most.
 */
const TRIES = 60

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8093' }, 'decides-ms': { type: 'string', default: '8000' } },
})

async function tell(callback: string): Promise<void> {
  const body = JSON.stringify({ status: 'succeeded', result: { courier: 'Wanjiru', minutes: 20 } })
  for (let tries = 0; tries < TRIES; tries++) {
    const headers = { 'content-type': 'application/json' }
    const status = await fetch(callback, { method: 'POST', headers, body }).then(
      (response) => response.status,
      () => 503,
    )
    if (status !== 429 && status !== 503) return
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { callback } = JSON.parse(Buffer.concat(chunks).toString()) as { callback: string }
    response.writeHead(202, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ pending: randomUUID(), expiresInS: 60 }))
    setTimeout(() => void tell(callback), Number(values['decides-ms']))
  })
})
server.listen(Number(values.port), '127.0.0.1', () => console.log(`courier API on http://127.0.0.1:${values.port}`))
const stop = (): void => {
  server.close()
  server.closeAllConnections()
}
process.once('SIGINT', stop)
process.once('SIGTERM', stop)

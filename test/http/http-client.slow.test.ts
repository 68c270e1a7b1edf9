import { createServer } from 'node:http'
import type { ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { HttpClient, readAtMost } from '../../src/http/http-client.js'
import { portOf } from '../support/port-of.js'

/** Longer than a socket is kept for a server that says nothing (4 s), as turns of a call may be. */
const BETWEEN_TURNS_MS = 6000

/** How many connections two requests make that are so far apart. */
async function connections(t: Test, answer: (response: ServerResponse) => void): Promise<number> {
  const ports = new Set<number | undefined>()
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    ports.add(request.socket.remotePort)
    answer(response)
  })
  const port = await portOf(t, server)
  const client = new HttpClient()
  t.teardown(() => client.close())
  const url = new URL(`http://127.0.0.1:${port}/`)
  const signal = new AbortController().signal
  for (let turn = 0; turn < 2; turn++) {
    if (turn > 0) await sleep(BETWEEN_TURNS_MS)
    await readAtMost(await client.send({ url, method: 'GET', headers: {}, body: null, policy: 'private', signal }), 5)
  }
  return ports.size
}

t.test('a connection is kept if the server announces keep-alive', async (t) => {
  const [says, silent] = await Promise.all([
    connections(t, (response) => response.setHeader('keep-alive', 'timeout=30').end('hello')),
    connections(t, (response) => response.setHeader('keep-alive', '').end('hello')),
  ])
  t.equal(says, 1)
  t.equal(silent, 2, 'a server that says nothing may have closed it by then')
})

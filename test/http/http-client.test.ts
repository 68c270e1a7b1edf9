import { createServer as createHttp } from 'node:http'
import { createServer as createTcp } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type { AddressPolicy } from '../../src/http/address-guard.js'
import { HttpClient, readAtMost } from '../../src/http/http-client.js'

async function portOf(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

function clientOf(
  t: Test,
): (url: string, policy: AddressPolicy, signal?: AbortSignal) => ReturnType<HttpClient['send']> {
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  return (url, policy, signal = new AbortController().signal) =>
    client.send({ url: new URL(url), method: 'GET', headers: {}, body: null, policy, signal })
}

t.test('a socket is used again, but never by a request that may not reach its address', async (t) => {
  const ports = new Set<number | undefined>()
  const port = await portOf(
    t,
    createHttp((request, response) => {
      ports.add(request.socket.remotePort)
      response.end('hello')
    }),
  )
  const send = clientOf(t)
  for (let request = 0; request < 3; request++) {
    const body = await readAtMost(await send(`http://localhost:${port}/`, 'private'), 5)
    t.equal(body?.toString(), 'hello')
    await setImmediate() // the socket is free once the parser is done with the answer
  }
  t.equal(ports.size, 1)
  await t.rejects(send(`http://localhost:${port}/`, 'public'), { code: 'TOOL_FORBIDDEN_HOST' })
})

t.test('the deadline holds while the connection is made, too', async (t) => {
  let connected = (): void => undefined
  const arrived = new Promise<void>((resolve) => {
    connected = resolve
  })
  const port = await portOf(
    t,
    createTcp((socket) => {
      t.teardown(() => socket.destroy())
      connected()
    }),
  )
  const deadline = new AbortController()
  const silent = clientOf(t)(`https://127.0.0.1:${port}/`, 'as-written', deadline.signal) // no TLS handshake comes back
  await arrived
  deadline.abort(new Error('too late'))
  await t.rejects(silent, { message: 'too late' })
})

t.test('a body is read up to its bound and not one byte more', async (t) => {
  const port = await portOf(
    t,
    createHttp((request, response) => {
      if (request.url === '/chunked') response.write('hel')
      response.end(request.url === '/chunked' ? 'lo' : 'hello')
    }),
  )
  const send = clientOf(t)
  for (const path of ['/', '/chunked']) {
    t.equal((await readAtMost(await send(`http://127.0.0.1:${port}${path}`, 'as-written'), 5))?.toString(), 'hello')
    t.equal(await readAtMost(await send(`http://127.0.0.1:${port}${path}`, 'as-written'), 4), null)
  }
})

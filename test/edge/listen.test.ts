import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { GatewayError } from '../../src/core/errors.js'
import { openSocket, ring, startGateway } from './gateway.js'
import type { Gateway } from './gateway.js'
import { freePort } from '../support/free-ports.js'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { RELEASED_UWS, onlyUws } from '../support/only-uws.js'

t.test('a second gateway on the same port does not start, and says which port', async (t) => {
  const first = await startGateway(t)
  const port = first.edge.publicPort
  await t.rejects(startGateway(t, { port }), { code: 'PORT_IN_USE', message: new RegExp(`^PORT: port ${port} `) })
  await t.rejects(startGateway(t, { opsPort: first.edge.opsPort }), { code: 'PORT_IN_USE', message: /^OPS_PORT: / })
  t.equal((await fetch(`${first.opsUrl}/healthz`)).status, 200, 'the first goes on')
})

t.test('a start that fails leaves no port open', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => void taken.close())
  await once(taken, 'listening')
  const opsPort = await freePort()
  await t.rejects(startGateway(t, { port: (taken.address() as AddressInfo).port, opsPort }), { code: 'PORT_IN_USE' })
  const gateway = await startGateway(t, { opsPort })
  t.equal(gateway.edge.opsPort, opsPort)
})

t.test('gateways that ask for it share the public port', async (t) => {
  // Not port 0: a port that the system chose is never shared.
  const port = await freePort()
  const first = await startGateway(t, { shared: true, port })
  await startGateway(t, { shared: true, port })
  t.equal((await fetch(`${first.url}/nothing`)).status, 404)
  first.edge.stopAccepting()
  for (let i = 0; i < 5; i++) {
    const answer = await fetch(`${first.url}/nothing`, { headers: { connection: 'close' } })
    t.equal(answer.status, 404, 'the other one takes what comes')
  }
})

t.test('whichever of those that share a port answers the webhook, the audio goes to that one', async (t) => {
  const port = await freePort()
  const start = async (): Promise<{ gateway: Gateway; nodePort: number }> => {
    const nodePort = await freePort()
    const gateway = await startGateway(t, { shared: true, port, nodePort, nodeUrl: `http://127.0.0.1:${nodePort}` })
    return { gateway, nodePort }
  }
  const nodes = [await start(), await start()]
  for (let i = 0; i < 6; i++) {
    const { audioUrl, sid } = await ring(nodes[0]?.gateway as Gateway)
    const node = nodes.find(({ nodePort }) => Number(new URL(audioUrl).port) === nodePort)
    const socket = await openSocket(audioUrl)
    t.ok(node?.gateway.calls.find(sid), 'the call is where its socket went')
    socket.terminate()
  }
})

t.test('a port of its own that is taken stops the start, and leaves no other open', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  t.teardown(() => void taken.close())
  await once(taken, 'listening')
  const nodePort = (taken.address() as AddressInfo).port
  const port = await freePort()
  await t.rejects(startGateway(t, { port, nodePort }), { code: 'PORT_IN_USE', message: /^PORT: / })
  await startGateway(t, { port })
})

t.test('an address of another machine is a mistake in the settings, not a port in use', async (t) => {
  await t.rejects(startGateway(t, { host: '192.0.2.1' }), {
    code: 'CONFIG_INVALID',
    message: /PORT: cannot listen on 192\.0\.2\.1 .*EADDRNOTAVAIL/,
  })
})

t.test('a URL that is not an origin stops the start', async (t) => {
  for (const publicUrl of [
    'gw.example.com',
    'ftp://gw.example.com',
    'https://gw.example.com/?x=1',
    'https://u:p@gw.example.com',
  ]) {
    await t.rejects(startGateway(t, { publicUrl }), GatewayError, publicUrl)
  }
  await t.rejects(startGateway(t, { nodeUrl: 'https://gw example' }), { code: 'CONFIG_INVALID', message: /^NODE_URL/ })
})

const edge = new URL('../../src/edge/uws.js', import.meta.url).href

/** What a process says that imports the edge where these packages load. */
async function importWith(loads: readonly string[]): Promise<string> {
  const script = `const said = await import(${JSON.stringify(edge)}).then(
      ({ createApp }) => typeof createApp(),
      ({ code, message }) => code + ': ' + message)
    console.log(said)
    process.exit(0)`
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...(await onlyUws(loads)),
    '--input-type=module',
    '-e',
    script,
  ])
  return stdout.trim()
}

t.test('uWebSockets.js comes from the package that loads here; with none the start names all', async (t) => {
  const [clone, release, image, none] = await Promise.all([
    importWith(['uWebSockets.js']),
    importWith([RELEASED_UWS]),
    importWith(['@btc-vision/uwebsockets.js']),
    importWith([]),
  ])
  t.strictSame([clone, release, image], ['object', 'object', 'object'])
  t.match(none, /^CONFIG_INVALID: no uWebSockets\.js for Node [\d.]+ .*npm install @btc-vision\/uwebsockets\.js@20/)
  t.match(
    none,
    `uWebSockets.js: Cannot find module ./bin/uWebSockets.js; ${RELEASED_UWS}: Cannot find module ./bin/${RELEASED_UWS}; @btc`,
    'and why',
  )
})

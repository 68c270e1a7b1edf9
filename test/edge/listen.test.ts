import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { selfSigned } from '../../bench/kit/self-signed.js'
import { loadConfig } from '../../src/config/load-config.js'
import { publicTls } from '../../src/config/tls-files.js'
import { GatewayError } from '../../src/core/errors.js'
import { ClientAddresses, parseNetwork } from '../../src/edge/http/client-address.js'
import type { EdgeTls } from '../../src/edge/options.js'
import { freePort } from '../support/free-ports.js'
import { onlyUws, RELEASED_UWS } from '../support/only-uws.js'
import { until } from '../support/until.js'
import { attribute, type Gateway, newSid, openSocket, ring, ringing, startGateway, SUBPROTOCOL } from './gateway.js'
import { portOf } from '../support/port-of.js'

t.test('a second gateway on the same port does not start', async (t) => {
  const first = await startGateway(t)
  const port = first.edge.publicPort
  await t.rejects(startGateway(t, { port }), { code: 'PORT_IN_USE', message: new RegExp(`^PORT: port ${port} `) })
  await t.rejects(startGateway(t, { opsPort: first.edge.opsPort }), { code: 'PORT_IN_USE', message: /^OPS_PORT: / })
  t.equal((await fetch(`${first.opsUrl}/healthz`)).status, 200, 'the first gateway still works')
})

t.test('a failed start leaves no port open', async (t) => {
  const port = await portOf(t, createServer())
  const opsPort = await freePort()
  await t.rejects(startGateway(t, { port, opsPort }), { code: 'PORT_IN_USE' })
  const gateway = await startGateway(t, { opsPort })
  t.equal(gateway.edge.opsPort, opsPort)
})

t.test('gateways with shared: true share the public port', async (t) => {
  // Not port 0: a port that the system chose is never shared.
  const port = await freePort()
  const first = await startGateway(t, { shared: true, port })
  await startGateway(t, { shared: true, port })
  t.equal((await fetch(`${first.url}/nothing`)).status, 404)
  first.edge.stopAccepting()
  for (let i = 0; i < 5; i++) {
    const answer = await fetch(`${first.url}/nothing`, { headers: { connection: 'close' } })
    t.equal(answer.status, 404, 'the other gateway accepts new connections')
  }
})

t.test('audio goes to the gateway that answered the webhook', async (t) => {
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
    t.ok(node?.gateway.calls.find(sid), 'the call is at the node of its socket')
    socket.terminate()
  }
})

t.test('a taken node port stops the start', async (t) => {
  const nodePort = await portOf(t, createServer())
  const port = await freePort()
  await t.rejects(startGateway(t, { port, nodePort }), { code: 'PORT_IN_USE', message: /^PORT: / })
  await startGateway(t, { port })
})

t.test('an address of another machine is a configuration error', async (t) => {
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

const edge = new URL('../../src/edge/http/uws.js', import.meta.url).href

/** Output of a process that imports the edge where these packages load, and those of `missing` are not installed. */
async function importWith(
  loads: readonly string[],
  options: readonly string[] = [],
  missing: readonly string[] = [],
): Promise<string> {
  const script = `const said = await import(${JSON.stringify(edge)}).then(
      ({ createApp }) => typeof createApp(),
      ({ code, message }) => code + ': ' + message)
    console.log(said)
    process.exit(0)`
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...(await onlyUws(loads, missing)),
    ...options,
    '--input-type=module',
    '-e',
    script,
  ])
  return stdout.trim()
}

t.test('uWebSockets.js comes from the first package that loads', async (t) => {
  const packages = ['uWebSockets.js', RELEASED_UWS, 'uws-pack', '@btc-vision/uwebsockets.js']
  t.strictSame(await Promise.all(packages.map((name) => importWith([name]))), ['object', 'object', 'object', 'object'])
})

t.test('a start without uWebSockets.js names the command to run', async (t) => {
  const UPSTREAM = 'npm install uNetworking/uWebSockets.js#v20.67.0'
  const ON_NODE_22 = 'npx -y -p node@22 npm start'
  for (const [node, glibc, clone, release, why] of [
    ['20.20.2', '2.36', 'npm ci --include=optional', 'npm install --include=optional', 'uWebSockets.js'],
    ['22.23.4', '2.27', 'npm ci --include=optional', 'npm install --include=optional', 'uWebSockets.js'],
    ['22.23.4', undefined, UPSTREAM, UPSTREAM],
    ['24.22.1', '2.38', 'npm ci --include=optional', 'npm install @btc-vision/uwebsockets.js@20.57.0', '@btc-vision'],
    ['24.22.1', '2.36', ON_NODE_22, UPSTREAM],
    ['26.12.1', '2.27', UPSTREAM, UPSTREAM],
    ['26.12.1', '2.41', ON_NODE_22, UPSTREAM],
  ] as const) {
    const played = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${node}' } })
      process.report.getReport = () => ({ header: { glibcVersionRuntime: ${JSON.stringify(glibc)} } })`
    const options = ['--import', `data:text/javascript,${encodeURIComponent(played)}`]
    const system = glibc === undefined ? 'a Linux without glibc' : `glibc ${glibc}`
    const start = `CONFIG_INVALID: calls need uWebSockets.js, and ${why === undefined ? 'npm has ' : ''}no uWebSockets.js for Node ${node} and ${system}${why === undefined ? '' : ' loads'}; type: `
    const [inClone, inRelease] = await Promise.all([
      importWith([], options),
      importWith([], options, ['uWebSockets.js']),
    ])
    t.ok(inClone.startsWith(`${start}${clone}${why === undefined ? '' : ` (Cannot find module ./bin/${why}`}`), inClone)
    t.notMatch(inClone, '\n', 'one line')
    t.match(inRelease, `${start}${release}`)
  }
})

interface Files {
  readonly tls: EdgeTls
  readonly certFile: string
  readonly keyFile: string
}

/** A certificate and its key, read as the settings TLS_CERT and TLS_KEY name them, and looked at all the time. */
function filesOf(t: Test, { cert, key }: { readonly cert: string; readonly key: string }): Files {
  const folder = t.testdir({ 'cert.pem': cert, 'key.pem': key })
  const certFile = join(folder, 'cert.pem')
  const keyFile = join(folder, 'key.pem')
  const tls = publicTls(loadConfig({ TLS_CERT: certFile, TLS_KEY: keyFile }, null))
  if (tls === null) throw new Error('no TLS was set')
  return { tls: { ...tls, lookMs: 20 }, certFile, keyFile }
}

/** Rings a call as the carrier does, trusting `ca` alone. @returns the document */
function ringOver(gateway: Gateway, ca: string, sid = newSid()): Promise<string> {
  const body = new URLSearchParams(ringing(sid)).toString()
  return new Promise((resolve, reject) => {
    const sent = request(
      `https://localhost:${gateway.edge.publicPort}/voice/order-status`,
      { method: 'POST', ca, headers: { 'content-type': 'application/x-www-form-urlencoded' }, agent: false },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (part: string) => (text += part))
        answer.once('end', () => resolve(text))
      },
    )
    sent.once('error', reject)
    sent.end(body)
  })
}

function openOver(url: string, ca: string): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, [SUBPROTOCOL], { perMessageDeflate: false, ca })
    socket.once('open', () => resolve(socket))
    socket.once('error', reject)
  })
}

/** The certificate that a new connection gets, as PEM without line ends. */
function servedAt(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.toString().replace(/\s/g, '') ?? '')
      socket.end()
    })
    socket.once('error', reject)
  })
}

const bare = (pem: string): string => pem.replace(/\s/g, '')

t.test('webhooks, documents and audio sockets work over TLS', async (t) => {
  const mine = selfSigned()
  const gateway = await startGateway(t, { tls: filesOf(t, mine).tls })
  const { publicPort } = gateway.edge
  const sid = newSid()
  const audioUrl = attribute(await ringOver(gateway, mine.cert, sid), 'url')
  t.match(audioUrl, `wss://localhost:${publicPort}/audio?`, 'the URLs of a document follow the port')
  const socket = await openOver(audioUrl, mine.cert)
  const call = gateway.calls.get(sid)
  socket.send(Buffer.alloc(640, 1))
  await call.until(() => call.bytes === 640)
  socket.terminate()

  await t.rejects(ringOver(gateway, selfSigned('other').cert), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  await t.rejects(fetch(`http://127.0.0.1:${publicPort}/voice`), 'plain HTTP is not answered')
  t.match(gateway.opsUrl, /^http:/)
  t.equal((await fetch(`${gateway.opsUrl}/healthz`)).status, 200, 'the ops port has no TLS')
})

t.test('a changed certificate is loaded without ending calls', async (t) => {
  const [before, after] = [selfSigned(), selfSigned()]
  const { tls, certFile, keyFile } = filesOf(t, before)
  const gateway = await startGateway(t, { tls })
  const { publicPort } = gateway.edge
  const socket = await openOver(attribute(await ringOver(gateway, before.cert), 'url'), before.cert)
  t.equal(await servedAt(publicPort), bare(before.cert))

  writeFileSync(certFile, after.cert)
  const complaint = /^The changed certificate of the public port is not used/
  await until(() => gateway.logged().some(({ msg }) => complaint.test(String(msg))), 5000, 'half a change')
  t.equal(await servedAt(publicPort), bare(before.cert), 'half a change keeps the old certificate')

  writeFileSync(keyFile, after.key)
  const taken = 'the public port uses the changed certificate'
  await until(() => gateway.logged().some(({ msg }) => msg === taken), 5000, 'the whole change')
  t.equal(await servedAt(publicPort), bare(after.cert))
  t.match(attribute(await ringOver(gateway, after.cert), 'url'), 'wss://')
  const echoed = new Promise((resolve) => socket.once('pong', resolve))
  socket.ping()
  await echoed
  t.equal(socket.readyState, WebSocket.OPEN)
  socket.terminate()
})

const addresses = new ClientAddresses(['10.0.0.0/8', '192.0.2.7', '2001:db8::/32'])

t.test('the client is the last hop outside TRUSTED_PROXIES', (t) => {
  const cases: readonly (readonly [peer: string, forwarded: string, client: string])[] = [
    ['203.0.113.1', '198.51.100.1', '203.0.113.1'], // no proxy of ours: its header is not even asked for
    ['10.1.2.3', '198.51.100.1', '198.51.100.1'],
    ['10.1.2.3', '198.51.100.1, 203.0.113.1', '203.0.113.1'],
    ['10.1.2.3', '203.0.113.1, 10.9.9.9, 192.0.2.7', '203.0.113.1'],
    ['10.1.2.3', '10.9.9.9', '10.9.9.9'], // trusted all the way: the first of them
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, unknown', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, _hidden, 10.9.9.9', '10.9.9.9'],
    ['10.1.2.3', '203.0.113.1:50123', '203.0.113.1'],
    ['10.1.2.3', '[2001:4860::1]:50123', '2001:4860::/64'],
    ['10.1.2.3', '2001:4860:0:1:2:3:4:5', '2001:4860:0:1::/64'],
    ['10.1.2.3', '010.0.0.1', '10.1.2.3'], // octal to some, decimal to others
    ['10.1.2.3', '0x7f000001', '10.1.2.3'],
    ['10.1.2.3', '203.0.113.1, 10.1', '10.1.2.3'],
    ['0000:0000:0000:0000:0000:ffff:0a01:0203', '203.0.113.1', '203.0.113.1'], // IPv4 on a socket for both
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '::ffff:203.0.113.1', '203.0.113.1'],
    ['0000:0000:0000:0000:0000:0000:0000:0001', '203.0.113.1', '::/64'],
    ['192.0.2.8', '203.0.113.1', '192.0.2.8'],
    ['10.1.2.3', `203.0.113.1${', 10.0.0.1'.repeat(100)}`, '10.0.0.1'], // no more hops than the bound
  ]
  for (const [peer, forwarded, client] of cases)
    t.equal(
      addresses.client(peer, () => forwarded),
      client,
      `${peer} < ${forwarded.slice(0, 60)}`,
    )
  new ClientAddresses([]).client('203.0.113.1', () => {
    throw new Error('asked for a header that nobody may have written')
  })
  t.end()
})

t.test('networks have optional prefix lengths and never cover everything', (t) => {
  for (const good of [
    '10.0.0.0/8',
    '10.1.2.3',
    '10.1.2.3/32',
    '0.0.0.0/1',
    '::1',
    '2001:db8::/32',
    'fd00::/8',
    '::1/128',
  ])
    t.ok(parseNetwork(good), good)
  for (const bad of [
    '',
    'proxy.example.com',
    '10.0.0.0/33',
    '10.0.0.0/0',
    '::/0',
    '10.0.0.0/',
    '10.0.0/8',
    '010.0.0.0/8',
    '10.0.0.0/8/8',
    '10.0.0.0/+8',
    '::1/129',
    '::ffff:10.0.0.0/104',
    'fe80::1%eth0',
    '10.0.0.0 /8',
    '*',
  ])
    t.equal(parseNetwork(bad), undefined, bad)
  t.throws(() => new ClientAddresses(['nonsense']), { message: "'nonsense' is no network" })
  t.end()
})

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { Agent, createServer, request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { connect, createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server as TcpServer, Socket } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { SETTINGS } from '../../src/config/settings.js'
import { SUBPROTOCOL, attribute, closeOf, get, newSid, post, ringing, startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { PROGRAMS, hasProgram, repositoryFile } from './deploy-files.js'
import { startDns } from '../support/dns-server.js'
import { fleetBalancer } from '../support/fleet.js'
import { freePort } from '../support/free-ports.js'
import { portOf } from '../support/port-of.js'
import { comesUp, until } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'

const shipped = repositoryFile('deploy/haproxy.cfg')
const directives = shipped
  .split('\n')
  .map((line) => line.trim())
  .filter((line) => line !== '' && !line.startsWith('#'))

/** The shipped file on a free port of this machine, without TLS: there is no certificate to be had in a test. */
function onLoopback(port: number): string {
  return shipped.replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${port}`)
}

function check(t: Test, config: string): string {
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, config)
  const checked = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(checked.status, 0, checked.stderr + checked.stdout)
  t.notMatch(checked.stderr, /WARNING/, 'and without a warning')
  return file
}

t.test('the balancer neither cuts calls nor piles them up', async (t) => {
  t.notOk(
    directives.some((line) => line.includes('shutdown-sessions')),
    'a draining gateway keeps its calls',
  )
  t.ok(directives.includes('balance leastconn'))
  t.notOk(directives.some((line) => line.startsWith('balance') && line !== 'balance leastconn'))
  const tunnelHours = Number(/^timeout tunnel (\d+)h$/m.exec(directives.join('\n'))?.[1])
  t.ok(tunnelHours >= 1)
  const hardStopHours = Number(/^hard-stop-after (\d+)h$/m.exec(directives.join('\n'))?.[1])
  t.ok(hardStopHours >= tunnelHours)
  t.ok(directives.some((line) => line.startsWith('http-check send') && line.includes('/readyz ver HTTP/1.1 hdr Host ')))
  t.ok(directives.some((line) => line.includes(`check port ${SETTINGS.opsPort.fallback}`)))
  t.match(shipped, /bind :443 ssl crt \S+ alpn http\/1\.1$/m, 'TLS, and no h2')
})

t.test('haproxy accepts the configuration', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  check(t, onLoopback(4433))
})

/** HAProxy as shipped before two real gateways; `url` is what the carrier reaches. */
async function behindHaproxy(
  t: Test,
): Promise<{ url: string; gateways: readonly [Gateway, Gateway]; log: () => string }> {
  const port = await freePort()
  const gateways = [
    await startGateway(t, {
      publicUrl: `http://gw-1.voice.example.com:${port}`,
      webhookSecrets: ['a-secret-of-a-test'],
      opsToken: OPS_TOKEN,
    }),
    await startGateway(t, {
      publicUrl: `http://gw-2.voice.example.com:${port}`,
      webhookSecrets: ['a-secret-of-a-test'],
      opsToken: OPS_TOKEN,
    }),
  ] as const
  const [first, second] = gateways.map(({ edge }) => edge)
  const config = onLoopback(port)
    // The shipped number wants more descriptors than a test machine may have.
    .replace(/maxconn \d+/, 'maxconn 200')
    .replaceAll('10.0.0.11:8080', `127.0.0.1:${first?.publicPort ?? 0}`)
    .replaceAll('10.0.0.12:8080', `127.0.0.1:${second?.publicPort ?? 0}`)
    // Each has an ops port of its own here, where two gateways share a machine.
    .replace(/(server gw-1 127\S+)\n/, `$1 port ${first?.opsPort ?? 0} inter 100ms\n`)
    .replace(/(server gw-2 127\S+)\n/, `$1 port ${second?.opsPort ?? 0} inter 100ms\n`)
  return { gateways, ...(await startHaproxy(t, config, port)) }
}

/** `log`: what it has logged so far. */
async function startHaproxy(t: Test, config: string, port: number): Promise<{ url: string; log: () => string }> {
  const child = spawnOwn('haproxy', ['-db', '-f', check(t, config)], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: PROGRAMS,
  })
  let log = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (log += text))
  t.teardown(() => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${port}`
  const listens = (): Promise<boolean> =>
    get(`${url}/nothing`).then(
      ({ status }) => status === 404,
      () => false,
    )
  await comesUp(child, listens, 10_000, 'haproxy that listens')
  return { url, log: () => log }
}

/** Its health check comes from another machine by a name: such an ops port has a token. */
const OPS_TOKEN = 'ops-token-of-a-test'

const sign = { secret: 'a-secret-of-a-test' }

/** The status of a request whose head is sent in two pieces, the first of `bytes`. */
async function statusInPieces(url: string, bytes: number): Promise<string> {
  const { hostname, port } = new URL(url)
  const head = `POST /voice/order-status HTTP/1.1\r\nHost: ${hostname}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`
  const socket = connect(Number(port), hostname).setNoDelay(true)
  socket.write(head.slice(0, bytes))
  await get(`${url}/nothing`) // it reads this first, and so the piece before
  socket.write(head.slice(bytes))
  let answer = ''
  for await (const piece of socket) answer += String(piece)
  return answer.slice(9, 12)
}

t.test('a header that arrives in pieces reaches the gateway whole [1]', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const { url, gateways } = await behindHaproxy(t)
  const pieces = [1, 2, 3, 4, 5, 6, 7, 25, 28, 31, 34, 40]
  const through = await Promise.all(pieces.map((bytes) => statusInPieces(url, bytes)))
  t.same(
    through,
    pieces.map(() => '401'),
    'unsigned, and understood',
  )
  const direct = `http://127.0.0.1:${gateways[0].edge.publicPort}`
  const alone = await Promise.all(pieces.map((bytes) => statusInPieces(direct, bytes)))
  t.comment(`without a balancer: ${pieces.map((bytes, i) => `${bytes}: ${alone[i]}`).join(', ')}`)
})

t.test('a call stays with its gateway while that gateway drains', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const { url, gateways } = await behindHaproxy(t)
  const taken = (): number[] => gateways.map(({ calls }) => [...calls.live()].length)

  // Health in HTTP/1.1 is what lets any webhook through at all.
  const sid = newSid()
  const answer = await post(`${url}/voice/order-status`, { form: ringing(sid), sign })
  t.equal(answer.status, 200, answer.text)
  const owner = taken()[0] === 1 ? 0 : 1
  const gateway = gateways[owner]
  const call = gateway.calls.get(sid)

  // The document names the owner; the name leads back to it through the same port.
  const audioUrl = new URL(attribute(answer.text, 'url'))
  t.equal(audioUrl.hostname, `gw-${owner + 1}.voice.example.com`)
  const port = new URL(url).port
  const socket = new WebSocket(`ws://127.0.0.1:${port}${audioUrl.pathname}${audioUrl.search}`, [SUBPROTOCOL], {
    perMessageDeflate: false,
    headers: { Host: audioUrl.host },
  })
  await once(socket, 'open')
  call.echo = true
  const heard = new Promise<Buffer>((resolve) => socket.once('message', resolve))
  socket.send(Buffer.alloc(640, 7))
  t.same(await heard, Buffer.alloc(640, 7))

  // Once haproxy has seen it drain, it is sent no call that it would have to refuse.
  void gateway.calls.drain()
  const refused = (): Promise<number> => gateway.metric('mkondo_calls_refused_total{reason="draining"}')
  const noneRefused = async (): Promise<boolean> => {
    const before = await refused()
    for (let i = 0; i < 4; i++) await post(`${url}/voice/order-status`, { form: ringing(newSid()), sign })
    return (await refused()) === before
  }
  await until(noneRefused, 10_000, 'new calls to go to the other gateway only')
  t.equal(taken()[owner], 1)
  t.ok((taken()[1 - owner] ?? 0) >= 4)

  // The states of its own call still come to it, in each of the carrier's shapes.
  const told = (): number => call.states.length
  const before = told()
  await post(`${url}/voice/order-status`, { form: { ...ringing(sid), callSessionState: 'Active' }, sign })
  await post(`${url}/events`, { json: { kind: 'call.answered', event_id: 'evt_1', data: { call_id: sid } }, sign })
  await post(`${url}/events`, {
    json: { event_kind: 'call.answered', event_id: 'evt_2', payload: { session_id: sid } },
    sign,
  })
  t.equal(told(), before + 3)

  const again = new Promise<Buffer>((resolve) => socket.once('message', resolve))
  socket.send(Buffer.alloc(640, 9))
  t.same(await again, Buffer.alloc(640, 9), 'and its audio goes on')
  const closed = closeOf(socket)
  socket.close(1000)
  await closed
})

t.test('HAProxy limits a stranger without slowing down the carrier', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const { url, gateways } = await behindHaproxy(t)
  t.equal((await get(`${url}/metrics`)).status, 404, "nothing but the carrier's paths")
  const statuses = new Map<number, number>()
  for (let i = 0; i < 80; i++) {
    const { status } = await post(`${url}/events`, { json: { kind: 'call.completed', data: { call_id: newSid() } } })
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  t.ok((statuses.get(401) ?? 0) <= 52, `unsigned requests that got through: ${statuses.get(401) ?? 0}`)
  t.ok((statuses.get(429) ?? 0) >= 28)
  for (const gateway of gateways) {
    const direct = await post(`${gateway.url}/voice/order-status`, { form: ringing(newSid()), sign })
    t.equal(direct.status, 200, 'the gateway still answers the address that haproxy comes from')
  }
})

t.test('balancer logs contain paths but no tokens', async (t) => {
  for (const file of ['haproxy.cfg', 'haproxy-fleet.cfg', 'haproxy-processes.cfg']) {
    const formats = repositoryFile(`deploy/${file}`).match(
      /^ *(?:log-format .*|option (?:http|tcp|forward)?log\b.*)$/gm,
    )
    t.equal(formats?.length, 1, file)
    t.match(formats?.[0], /^ *log-format .*%HP /)
    t.notMatch(formats?.[0], /%(?:\{[^}]*\})?(?:r|HU|HQ|HPO?Q)\b/, 'nothing with a query')
  }
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const { url, log } = await behindHaproxy(t)
  await post(`${url}/after-stream?t=c.a-token-of-a-live-call&agent=support`)
  await get(`${url}/nothing-here?t=another-token`)
  // Its threads log each at their own time: the later request may stand first.
  const lines = [/"POST \/after-stream HTTP\/1\.1"/, /"GET \/nothing-here HTTP\/1\.1"/]
  await until(() => lines.every((line) => line.test(log())), 10_000, 'the log').catch(() => t.fail(log()))
  t.notMatch(log(), /token/)
})

/** HAProxy with a shipped file before `gateway`, which is each of its servers. */
async function before(t: Test, file: string, gateway: TcpServer): Promise<{ port: number; log: () => string }> {
  const ready = createServer((_request, response) => response.end())
  const ports = {
    public: await portOf(t, gateway, await freePort()),
    ops: await portOf(t, ready),
    balancer: await freePort(),
  }
  const dns = await startDns(() => ['127.0.0.1'])
  t.teardown(() => dns.close())
  const config =
    file === 'haproxy-fleet.cfg'
      ? fleetBalancer(ports, dns.port)
      : repositoryFile(`deploy/${file}`)
          .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${ports.balancer}`)
          .replace(/maxconn \d+/, 'maxconn 200')
          .replaceAll(/(?:10\.0\.0\.1[12]|127\.0\.0\.1):8080/g, `127.0.0.1:${ports.public}`)
          .replace('check port 9464', `check port ${ports.ops}`)
  return { port: ports.balancer, log: (await startHaproxy(t, config, ports.balancer)).log }
}

const BODY = 'sessionId=HD_1'

for (const file of ['haproxy.cfg', 'haproxy-fleet.cfg', 'haproxy-processes.cfg']) {
  t.test(`${file}: a webhook lost by a dying gateway is retried`, async (t) => {
    if (!hasProgram(t, 'haproxy', 'haproxy')) return
    let deaths = 0
    const gateway = createTcpServer((socket) => {
      let read = ''
      socket.on('error', () => undefined)
      socket.setEncoding('latin1').on('data', (text: string) => {
        read += text
        if (!read.endsWith(BODY)) return
        if (deaths++ % 2 === 0) socket.resetAndDestroy()
        else socket.end('HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n')
      })
    })
    const { port, log } = await before(t, file, gateway)
    const status = async (host: string): Promise<string> => {
      const socket = connect(port, '127.0.0.1').setNoDelay(true)
      socket.write(
        `POST /after-stream HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${BODY.length}\r\nConnection: close\r\n\r\n`,
      )
      // HAProxy has read the head by now.
      await get(`http://127.0.0.1:${port}/nothing`)
      socket.write(BODY)
      let answer = ''
      for await (const piece of socket) answer += String(piece)
      return answer.slice(9, 12)
    }
    await until(async () => (await status('voice.example.com')) !== '503', 10_000, 'a gateway that HAProxy knows')
    deaths = 0
    t.equal(await status('voice.example.com'), '204', log())
    t.equal(await status('gw-1.voice.example.com'), '204', log())
    t.equal(deaths, 4, 'each was read twice')
  })

  t.test(`${file}: a kept carrier connection waits for a starting gateway`, async (t) => {
    if (!hasProgram(t, 'haproxy', 'haproxy')) return
    const sockets = new Set<Socket>()
    let dies = false
    let gatewayPort = 0
    let start: NodeJS.Timeout | undefined
    const died = (): void => {
      gateway.close()
      for (const socket of sockets) socket.resetAndDestroy()
      // eslint-disable-next-line no-restricted-syntax -- HAProxy waits by its own clock for a gateway that starts
      start = setTimeout(() => gateway.listen(gatewayPort, '127.0.0.1'), 300)
    }
    const gateway = createTcpServer((socket) => {
      sockets.add(socket)
      socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
      socket.setEncoding('latin1').on('data', (text: string) => {
        if (!text.endsWith(BODY)) return
        if (dies) died()
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
        dies = false
      })
    })
    const { port, log } = await before(t, file, gateway)
    gatewayPort = (gateway.address() as AddressInfo).port
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.teardown(() => {
      clearTimeout(start)
      agent.destroy()
      for (const socket of sockets) socket.destroy()
    })
    const status = async (): Promise<number | undefined> => {
      const headers = { host: 'gw-1.voice.example.com' }
      const asked = request({ port, host: '127.0.0.1', method: 'POST', path: '/after-stream', agent, headers })
      asked.end(BODY)
      const [answer] = (await once(asked, 'response')) as [IncomingMessage]
      answer.resume()
      await once(answer, 'end')
      return answer.statusCode
    }
    await until(async () => (await status()) === 200, 10_000, 'a gateway that HAProxy knows')
    dies = true
    t.equal(await status(), 200, log())
    t.notOk(dies, 'it had died of the question')
  })
}

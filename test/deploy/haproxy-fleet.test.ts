import { spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { SETTINGS } from '../../src/config/settings.js'
import { startDns } from '../support/dns-server.js'
import { fleetBalancer } from '../support/fleet.js'
import { freePort } from '../support/free-ports.js'
import { comesUp, until } from '../support/until.js'
import { PROGRAMS, hasProgram, repositoryFile, settingValue } from './deploy-files.js'
import { spawnOwn } from '../support/spawn-own.js'

// Calls through it: test/fleet.

const shipped = repositoryFile('deploy/haproxy-fleet.cfg')
const directives = shipped
  .split('\n')
  .map((line) => line.trim())
  .filter((line) => line !== '' && !line.startsWith('#'))

t.test("the fleet's balancer neither cuts calls nor piles them up", async (t) => {
  t.notOk(
    directives.some((line) => line.includes('shutdown-sessions')),
    'a draining gateway keeps its calls',
  )
  const hours = (name: string): number => Number(new RegExp(`^${name} (\\d+)h$`, 'm').exec(directives.join('\n'))?.[1])
  t.ok(hours('timeout tunnel') >= 1)
  t.ok(hours('hard-stop-after') >= hours('timeout tunnel'))
  t.ok(directives.some((line) => line.startsWith('http-check send') && line.includes('/readyz ver HTTP/1.1 hdr Host ')))
  t.ok(directives.some((line) => line.includes(`check port ${SETTINGS.opsPort.fallback}`)))
  const servers = directives.filter((line) => line.startsWith('server'))
  t.ok(servers.every((line) => line.replace(/ backup$/, '').endsWith(`:${SETTINGS.port.fallback}`)))
  t.match(shipped, /bind :443 ssl crt \S+ alpn http\/1\.1$/m, 'TLS, and no h2')
  const [, lines = ''] = directives.join('\n').split(/^backend webhooks$/m)
  t.match(
    lines,
    /^[^]*?timeout server 2s\nretry-on [^\n]*response-timeout\ntimeout server-fin 2s$/m,
    'a gateway that stands still',
  )
})

/** How often HAProxy has tried another time to reach a gateway, as its statistics say. */
async function retries(statsPort: number): Promise<number> {
  const socket = connect(statsPort, '127.0.0.1')
  socket.write('show stat\n')
  const [names, ...lines] = (await text(socket)).split('\n').map((line) => line.replace('# ', '').split(','))
  const webhooks = lines.find(([backend, server]) => backend === 'webhooks' && server === 'BACKEND')
  return Number(webhooks?.[names?.indexOf('wretr') ?? -1])
}

t.test('a carrier gets an answer while all gateways restart [1]', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const ports = { public: await freePort(), ops: await freePort(), balancer: await freePort() }
  const statsPort = await freePort()
  const gateways: Server[] = []
  const start = async (): Promise<void> => {
    for (const [port, status] of [
      [ports.public, 401],
      [ports.ops, 200],
    ] as const) {
      const server = createServer((_request, response) => response.writeHead(status).end())
      gateways.push(server)
      server.listen(port, '127.0.0.1')
      await once(server, 'listening')
    }
  }
  const stop = async (): Promise<void> => {
    for (const server of gateways.splice(0)) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
  await start()
  const dns = await startDns(() => ['127.0.0.1'])
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, `${fleetBalancer(ports, dns.port)}\nglobal\n  stats socket ipv4@127.0.0.1:${statsPort}\n`)
  const haproxy = spawnOwn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(async () => {
    haproxy.kill('SIGKILL')
    dns.close()
    await stop()
  })
  const asks = async (): Promise<number> =>
    (await fetch(`http://127.0.0.1:${ports.balancer}/after-stream`, { method: 'POST', body: 'sessionId=HD_1' })).status
  await comesUp(haproxy, async () => (await asks().catch(() => 0)) === 401, 10_000, 'the balancer')
  await stop()
  const asked = Promise.all([asks(), asks()])
  await until(async () => (await retries(statsPort)) >= 2, 10_000, 'haproxy to try again, in vain')
  await start()
  t.same(await asked, [401, 401])
})

t.test("the addresses in the file's header are valid settings", async (t) => {
  for (const name of ['PUBLIC_URL', 'NODE_URL']) {
    const value = new RegExp(`^#\\s+${name}=(\\S+)`, 'm').exec(shipped)?.[1] ?? ''
    t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
})

t.test('haproxy accepts the configuration of a fleet', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, fleetBalancer({ public: 8080, ops: 9464, balancer: 4433 }, 5353))
  const checked = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(checked.status, 0, checked.stderr + checked.stdout)
  t.notMatch(checked.stderr, /WARNING/, 'and without a warning')
})

/** A balancer in front of `gateway`; all three end with the test. */
function startBalancer(
  t: Test,
  ports: Parameters<typeof fleetBalancer>[0],
  dns: Awaited<ReturnType<typeof startDns>>,
  gateway: Server,
): ChildProcess {
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, fleetBalancer(ports, dns.port))
  const haproxy = spawnOwn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => {
    haproxy.kill('SIGKILL')
    dns.close()
    gateway.closeAllConnections()
    gateway.close()
  })
  return haproxy
}

t.test('a webhook of a live call waits for its gateway [2]', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const ports = { public: await freePort(), ops: await freePort(), balancer: await freePort() }
  const posts: string[] = []
  const times = (post: string): number => posts.filter((one) => one === post).length
  const rings = ['callSessionState=Ringing&sessionId=HD_1', 'callSessionState=Ringing&sessionId=HD_2']
  const questions = ['StreamStopped', 'stream-error', 'DialCompleted'].map((state) => `callSessionState=${state}`)
  const answers: (() => void)[] = []
  // A new caller's first post has no answer, and questions have theirs after the second caller was given to another.
  const gateway = createServer((request, response) => {
    void text(request).then((body) => {
      posts.push(body)
      if (questions.includes(body)) answers.push(() => response.writeHead(200).end())
      else if (!rings.includes(body) || times(body) > 1) response.writeHead(200).end()
      if (times(rings[1] ?? '') > 1) for (const answer of answers.splice(0)) answer()
    })
  })
  gateway.listen(ports.public, '0.0.0.0')
  await once(gateway, 'listening')
  const dns = await startDns(() => ['127.0.1.21', '127.0.1.22'])
  const haproxy = startBalancer(t, ports, dns, gateway)
  const voice = async (body: string): Promise<number> => {
    const asked = fetch(`http://127.0.0.1:${ports.balancer}/voice`, { method: 'POST', body })
    return asked.then(({ status }) => status).catch(() => 0)
  }
  await comesUp(haproxy, async () => (await voice('sessionId=HD_0')) === 200, 20_000, 'the balancer')
  const asked = Promise.all(questions.map(voice))
  await until(() => answers.length === questions.length, 10_000, 'the questions')
  for (const ring of rings) t.equal(await voice(ring), 200)
  t.same(await asked, [200, 200, 200])
  t.same([...questions, ...rings].map(times), [1, 1, 1, 2, 2])
})

t.test("a webhook before HAProxy's DNS answer waits for it", async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const ports = { public: await freePort(), ops: await freePort(), balancer: await freePort() }
  const gateway = createServer((_request, response) => response.writeHead(401).end())
  gateway.listen(ports.public, '127.0.0.1')
  await once(gateway, 'listening')
  const dns = await startDns(() => ['127.0.0.1'], 300)
  const haproxy = startBalancer(t, ports, dns, gateway)
  let status = 0
  await comesUp(
    haproxy,
    async () => {
      const asked = fetch(`http://127.0.0.1:${ports.balancer}/events`, { method: 'POST', body: '{}' })
      status = await asked.then(({ status }) => status).catch(() => 0)
      return status !== 0
    },
    20_000,
    'haproxy that listens',
  )
  t.equal(status, 401, "the gateway's answer")
})

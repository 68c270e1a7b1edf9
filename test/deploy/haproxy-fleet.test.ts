import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { SETTINGS } from '../../src/config/settings.js'
import { startDns } from '../support/dns-server.js'
import { fleetBalancer } from '../support/fleet.js'
import { freePort } from '../support/free-ports.js'
import { until } from '../support/until.js'
import { PROGRAMS, hasProgram, repositoryFile, settingValue } from './deploy-files.js'

// Calls through it: test/fleet.

const shipped = repositoryFile('deploy/haproxy-fleet.cfg')
const directives = shipped
  .split('\n')
  .map((line) => line.trim())
  .filter((line) => line !== '' && !line.startsWith('#'))

t.test('calls are neither cut nor piled up by the balancer of a fleet', async (t) => {
  t.notOk(
    directives.some((line) => line.includes('shutdown-sessions')),
    'a draining gateway keeps its calls',
  )
  t.notOk(directives.some((line) => line.startsWith('balance') && line !== 'balance leastconn'))
  const hours = (name: string): number => Number(new RegExp(`^${name} (\\d+)h$`, 'm').exec(directives.join('\n'))?.[1])
  t.ok(hours('timeout tunnel') >= 1)
  t.ok(hours('hard-stop-after') >= hours('timeout tunnel'))
  t.ok(directives.some((line) => line.startsWith('http-check send') && line.includes('/readyz ver HTTP/1.1 hdr Host ')))
  t.ok(directives.some((line) => line.includes(`check port ${SETTINGS.opsPort.fallback}`)))
  t.ok(
    directives.filter((line) => line.startsWith('server')).every((line) => line.endsWith(`:${SETTINGS.port.fallback}`)),
  )
  t.match(shipped, /bind :443 ssl crt \S+ alpn http\/1\.1$/m, 'TLS, and no h2')
  t.ok(directives.includes('retries 1'), 'one more attempt, where no connection was made')
  for (const backend of ['webhooks', 'unready']) {
    const [, lines = ''] = directives.join('\n').split(new RegExp(`^backend ${backend}$`, 'm'))
    t.match(
      lines,
      /^[^]*?timeout server 2s\nretry-on [^\n]*response-timeout/,
      `${backend}: a gateway that stands still`,
    )
  }
})

t.test('the addresses that it names in its head are settings', async (t) => {
  for (const name of ['PUBLIC_URL', 'NODE_URL']) {
    const value = new RegExp(`^#\\s+${name}=(\\S+)`, 'm').exec(shipped)?.[1] ?? ''
    t.not(settingValue(name, value), undefined, `${name}=${value}`)
  }
})

t.test('haproxy takes the configuration of a fleet', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, fleetBalancer({ public: 8080, ops: 9464, balancer: 4433 }, 5353))
  const checked = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(checked.status, 0, checked.stderr + checked.stdout)
  t.notMatch(checked.stderr, /WARNING/, 'and without a warning')
})

t.test('a webhook that comes before HAProxy knows a gateway waits for the DNS server', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const ports = { public: await freePort(), ops: await freePort(), balancer: await freePort() }
  const gateway = createServer((_request, response) => response.writeHead(401).end())
  gateway.listen(ports.public, '127.0.0.1')
  await once(gateway, 'listening')
  const dns = await startDns(() => ['127.0.0.1'], 300)
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, fleetBalancer(ports, dns.port))
  const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => {
    haproxy.kill('SIGKILL')
    dns.close()
    gateway.closeAllConnections()
    gateway.close()
  })
  let status = 0
  await until(
    async () => {
      const asked = fetch(`http://127.0.0.1:${ports.balancer}/events`, { method: 'POST', body: '{}' })
      status = await asked.then(({ status }) => status).catch(() => 0)
      return status !== 0
    },
    20_000,
    'haproxy to listen',
  )
  t.equal(status, 401, "the gateway's answer")
})

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { SETTINGS } from '../../src/config/settings.js'
import { fleetBalancer } from '../support/fleet.js'
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

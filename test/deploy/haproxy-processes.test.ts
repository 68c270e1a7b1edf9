import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { WebSocket } from 'ws'
import { processPlans, sparePlan } from '../../src/gateway/process-plan.js'
import { loadConfig } from '../../src/config/load-config.js'
import { fleet } from '../fleet/nodes.js'
import { SUBPROTOCOL, attribute, get, newSid, post, ringing } from '../edge/gateway.js'
import { comesUp } from '../support/until.js'
import { PROGRAMS, hasProgram, repositoryFile } from './deploy-files.js'
import { freePort } from '../support/free-ports.js'
import { spawnOwn } from '../support/spawn-own.js'

const shipped = repositoryFile('deploy/haproxy-processes.cfg')

t.test("the file's ports match the plans of four processes", async (t) => {
  const [, publicUrl = ''] = /PUBLIC_URL=(\S+)/.exec(shipped) ?? []
  const [, nodeUrl = ''] = /NODE_URL=(\S+)/.exec(shipped) ?? []
  const settings = loadConfig({ PUBLIC_URL: publicUrl, NODE_URL: nodeUrl }, null)
  const plans = [...processPlans(settings, 4), sparePlan(settings, 4)]
  const paths = new RegExp(/path -m reg (\S+) }/.exec(shipped)?.[1] ?? '')
  t.ok(shipped.includes(`server gateway 127.0.0.1:${plans[0]?.config.port ?? 0}\n`))
  for (const { index, ownPort, config } of plans) {
    t.equal(new URL(config.nodeUrl ?? '').pathname, `/p/${index}`)
    t.ok(shipped.includes(`use_backend process-${index} if { path_beg /p/${index}/ }`), `${index}: its path`)
    t.ok(shipped.includes(`server process-${index} 127.0.0.1:${ownPort}\n`), `${index}: its port`)
    t.match(`/p/${index}/audio`, paths)
  }
  t.equal(plans.length, 5)
  t.notMatch(shipped, /process-5/)
  t.notMatch('/p/5/audio', paths)
})

t.test("audio reaches its call's process, webhooks reach any", async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  const [front, port, own0, own1] = [await freePort(), await freePort(), await freePort(), await freePort()]
  const secret = 'a-secret-of-a-test'
  const two = await fleet(t, 2, (index) => ({
    port,
    shared: true,
    nodePort: index === 0 ? own0 : own1,
    webhookSecrets: [secret],
    publicUrl: 'https://voice.example.com',
    nodeUrl: `https://voice.example.com/p/${index}`,
  }))
  const config = shipped
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${front}`)
    // The shipped number wants more descriptors than a test machine may have.
    .replace(/maxconn \d+/, 'maxconn 200')
    .replace('127.0.0.1:8080', `127.0.0.1:${port}`)
    .replace('127.0.0.1:8081', `127.0.0.1:${own0}`)
    .replace('127.0.0.1:8082', `127.0.0.1:${own1}`)
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, config)
  const checked = spawnSync('haproxy', ['-c', '-f', file], { encoding: 'utf8', env: PROGRAMS })
  t.equal(checked.status, 0, checked.stderr + checked.stdout)
  t.notMatch(checked.stderr, /WARNING/, 'and without a warning')
  const child = spawnOwn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => child.kill('SIGKILL'))
  const url = `http://127.0.0.1:${front}`
  const listens = (): Promise<boolean> =>
    get(`${url}/nothing`).then(
      ({ status }) => status === 404,
      () => false,
    )
  await comesUp(child, listens, 10_000, 'haproxy that listens')

  for (const owner of [0, 1]) {
    const sid = newSid()
    // Webhooks come to any process; the one with room takes the call.
    for (const [index, { calls }] of two.gateways.entries()) calls.capacity = index === owner ? 1000 : 0
    await two.look()
    const answer = await post(`${url}/voice/order-status`, { form: ringing(sid), sign: { secret } })
    t.equal(two.ownerOf(sid), owner, answer.text)
    two.call(sid).echo = true
    const audio = new URL(attribute(answer.text, 'url'))
    t.equal(`${audio.origin}${audio.pathname}`, `wss://voice.example.com/p/${owner}/audio`)
    const socket = new WebSocket(`ws://127.0.0.1:${front}${audio.pathname}${audio.search}`, [SUBPROTOCOL], {
      perMessageDeflate: false,
    })
    await once(socket, 'open')
    const heard = new Promise<Buffer>((resolve) => socket.once('message', resolve))
    socket.send(Buffer.alloc(640, 7))
    t.same(await heard, Buffer.alloc(640, 7))
    socket.terminate()
  }
  for (const path of ['/audio', '/p/5/audio', '/p/0/voice/order-status', '/metrics'])
    t.equal((await get(url + path)).status, 404, path)
})

t.test('a webhook that stalls four times reaches another process [1]', async (t) => {
  if (!hasProgram(t, 'haproxy', 'haproxy')) return
  let tries = 0
  const gateway = createServer((_request, response) => {
    // As the kernel may choose: no answer of the process that stands still.
    if (++tries > 4) response.writeHead(401).end()
  })
  gateway.listen(0, '127.0.0.1')
  await once(gateway, 'listening')
  t.teardown(() => {
    gateway.closeAllConnections()
    gateway.close()
  })
  const front = await freePort()
  const config = shipped
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${front}`)
    .replace(/maxconn \d+/, 'maxconn 200')
    .replace('timeout server 2s', 'timeout server 100ms')
    .replace('timeout server-fin 2s', 'timeout server-fin 100ms')
    .replace('127.0.0.1:8080', `127.0.0.1:${(gateway.address() as AddressInfo).port}`)
  const file = join(t.testdir({}), 'haproxy.cfg')
  writeFileSync(file, config)
  const haproxy = spawnOwn('haproxy', ['-db', '-f', file], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => haproxy.kill('SIGKILL'))
  const url = `http://127.0.0.1:${front}`
  const listens = (): Promise<boolean> =>
    get(`${url}/nothing`).then(
      ({ status }) => status === 404,
      () => false,
    )
  await comesUp(haproxy, listens, 10_000, 'haproxy that listens')
  const askedMs = performance.now()
  t.equal((await fetch(`${url}/voice/order-status`, { method: 'POST', body: 'a=b' })).status, 401)
  t.equal(tries, 5)
  t.ok(performance.now() - askedMs < 5000, 'no try waits for the 5 s of another timeout')
})

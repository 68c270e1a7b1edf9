import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { SETTINGS } from '../../src/config/settings.js'
import { parseCallSid } from '../../src/core/ids.js'
import { PublicApp } from '../../src/edge/public/public-app.js'
import { PUBLIC_ROUTES } from '../../src/edge/public/public-routes.js'
import { StreamTokens } from '../../src/edge/public/stream-tokens.js'
import type { TemplatedApp } from '../../src/edge/http/uws.js'
import { createLog } from '../../src/telemetry/log.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { SECRET, SUBPROTOCOL, newSid, post, ringing, startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { startDns } from '../support/dns-server.js'
import { fleetBalancer, nginxBalancer } from '../support/fleet.js'
import { freePort } from '../support/free-ports.js'
import { signBody } from '../support/sign-body.js'
import { spawnOwn } from '../support/spawn-own.js'
import { comesUp, until } from '../support/until.js'
import { PROGRAMS, hasProgram, repositoryFile } from './deploy-files.js'

type PublicRoute = (typeof PUBLIC_ROUTES)[number]
type Takes = PublicRoute['takes']

/** The way that a shipped file leads to `gateway`. */
interface Way {
  readonly port: number
  readonly gateway: Gateway
  /** `Host` of a request. */
  readonly host: string
  /** Where the file has the route of a gateway; each is asked. */
  readonly pathsOf: (route: PublicRoute) => readonly string[]
}

const tokens = new StreamTokens({
  tokenSecrets: ['token-secret-of-a-test'],
  wallClock: Date.now,
  clock: () => performance.now(),
})
const OUTCOME = JSON.stringify({ status: 'succeeded', result: {} })
const FORM = 'application/x-www-form-urlencoded'

/** What the gateway answers at each route to a sender with a proof; one without gets 401. */
const ANSWERS: Readonly<Record<Takes, number>> = {
  ...{ voice: 200, 'after-stream': 200, human: 200, continue: 200 },
  ...{ 'stream-status': 204, events: 204, audio: 101 },
}

interface Asked {
  readonly method: string
  readonly path: string
  readonly headers?: OutgoingHttpHeaders
  readonly body?: string
}

/** Status of the answer; 101 where the socket opened. */
async function ask({ port, host }: Way, { method, path, headers, body = '' }: Asked): Promise<number> {
  const asked = request({ port, method, path, headers: { host, ...headers }, agent: false })
  asked.end(body)
  const answered = once(asked, 'response') as Promise<[IncomingMessage]>
  const opened = once(asked, 'upgrade').then(([, socket]) => {
    ;(socket as { destroy: () => void }).destroy()
    return 101
  })
  opened.catch(() => undefined)
  const status = answered.then(async ([response]) => {
    await text(response)
    return response.statusCode ?? 0
  })
  status.catch(() => undefined)
  return Promise.race([status, opened])
}

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
  'sec-websocket-protocol': SUBPROTOCOL,
}

/** A request that the gateway believes: of a call that it has. */
async function proven({ gateway }: Way, route: PublicRoute, path: string): Promise<Asked> {
  const sid = newSid()
  const { method, takes } = route
  if (takes !== 'voice') {
    const rung = await post(`${gateway.url}/voice/order-status`, { form: ringing(sid), sign: { secret: SECRET } })
    if (rung.status !== 200) throw new Error(rung.text)
  }
  const callSid = parseCallSid(sid)
  if (takes === 'audio') return { method, path: `${path}?t=${tokens.mint(callSid, takes)}`, headers: UPGRADE }
  if (takes === 'continue')
    return {
      ...{ method, path: `${path}?t=${tokens.mintContinue(callSid, 'id-of-one-tool-call-22', 90)}` },
      ...{ headers: { 'content-type': 'application/json' }, body: OUTCOME },
    }
  const json = takes === 'events' || takes === 'stream-status'
  const body = json
    ? JSON.stringify({ event: 'stream-started', kind: 'call.answered', event_id: sid, data: { call_id: sid } })
    : new URLSearchParams(ringing(sid)).toString()
  const signature = signBody({
    ...{ body: new TextEncoder().encode(body), secret: SECRET },
    timestampS: Math.floor(Date.now() / 1000),
  })
  const token = takes === 'voice' || takes === 'events' ? '' : `?t=${tokens.mint(callSid, takes)}`
  const headers = { 'content-type': json ? 'application/json' : FORM, 'x-sautikit-signature': signature }
  return { method, path: path + token, headers, body }
}

/** Every public route as the gateway itself answers it, of every sender and by every method. */
async function asksEveryRoute(t: Test, way: Way): Promise<void> {
  for (const route of PUBLIC_ROUTES) {
    const { method, takes } = route
    for (const path of way.pathsOf(route)) {
      const what = `${method} ${path}`
      t.equal(await ask(way, await proven(way, route, path)), ANSWERS[takes], `${what}, proven`)
      const upgrade = takes === 'audio' ? { headers: UPGRADE } : {}
      t.equal(await ask(way, { method, path, ...upgrade }), 401, `${what}, without a proof`)
      const other = method === 'POST' ? 'GET' : 'POST'
      t.equal(await ask(way, { method: other, path }), 405, `${other} ${path}`)
      if (takes === 'audio') t.equal(await ask(way, { method, path }), 426, `${what} without an upgrade`)
    }
  }
}

/** One gateway behind a balancer, which asks it for its health. */
const behind = (t: Test): Promise<Gateway> =>
  startGateway(t, { webhookSecrets: [SECRET], publicUrl: 'http://voice.example.com', opsToken: 'ops-token-of-a-test' })

const pathOf = ({ path }: PublicRoute): string => path.replace(':agent', 'order-status')

/** Each shipped file with this gateway at all of its places, and the paths that it has for a gateway's audio. */
const HAPROXY = {
  'haproxy.cfg': {
    audio: ['/audio'],
    hosts: ['voice.example.com', 'gw-1.voice.example.com', 'gw-2.voice.example.com'],
  },
  'haproxy-fleet.cfg': { audio: ['/n/mkondo-0/audio'], hosts: ['voice.example.com'] },
  'haproxy-processes.cfg': { audio: ['/p/0/audio', '/p/4/audio'], hosts: ['voice.example.com'] },
} as const

for (const [file, { audio, hosts }] of Object.entries(HAPROXY))
  for (const host of hosts)
    t.test(`${file}: ${host} answers every public route`, async (t) => {
      if (!hasProgram(t, 'haproxy', 'haproxy')) return
      const gateway = await behind(t)
      const { publicPort, opsPort } = gateway.edge
      const port = await freePort()
      const dns = await startDns(() => ['127.0.0.1'])
      t.teardown(() => dns.close())
      const config =
        file === 'haproxy-fleet.cfg'
          ? fleetBalancer({ public: publicPort, ops: opsPort, balancer: port }, dns.port)
          : repositoryFile(`deploy/${file}`)
              .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${port}`)
              // The shipped number wants more descriptors than a test machine may have.
              .replace(/maxconn \d+/, 'maxconn 200')
              .replaceAll(/(?:10\.0\.0\.1[12]|127\.0\.0\.1):808\d/g, `127.0.0.1:${publicPort}`)
              .replace('check port 9464', `check port ${opsPort}`)
      const path = join(t.testdir({}), 'haproxy.cfg')
      writeFileSync(path, config)
      const haproxy = spawnOwn('haproxy', ['-db', '-f', path], { stdio: 'ignore', env: PROGRAMS })
      t.teardown(() => haproxy.kill('SIGKILL'))
      const pathsOf = (route: PublicRoute) => (route.takes === 'audio' ? audio : [pathOf(route)])
      const way = { port, gateway, host, pathsOf }
      const finds = () => ask(way, { method: 'POST', path: '/events' }).catch(() => 0)
      await comesUp(haproxy, async () => (await finds()) === 401, 20_000, 'haproxy that finds the gateway')
      await asksEveryRoute(t, way)
      for (const path of ['/metrics', '/api/calls', '/continue/more', '/'])
        t.equal(await ask(way, { method: 'GET', path }), 404, path)
    })

t.test('nginx.conf: every public route works without tokens in logs', async (t) => {
  if (!hasProgram(t, 'nginx', 'nginx-light')) return
  const gateway = await behind(t)
  const ports = { public: gateway.edge.publicPort, balancer: await freePort() }
  const folder = t.testdir({})
  const file = join(folder, 'nginx.conf')
  writeFileSync(file, nginxBalancer(ports, ['127.0.0.1', '127.0.0.1'], folder))
  const args = ['-e', join(folder, 'error.log'), '-c', file]
  const checked = spawnSync('nginx', [...args, '-t'], { encoding: 'utf8', env: PROGRAMS })
  t.equal(checked.status, 0, checked.stderr)
  t.notMatch(checked.stderr, /\[warn\]/, 'and without a warning')
  const nginx = spawnOwn('nginx', [...args, '-g', 'daemon off;'], { stdio: 'ignore', env: PROGRAMS })
  t.teardown(() => nginx.kill('SIGTERM'))
  const pathsOf = (route: PublicRoute) =>
    route.takes === 'audio' ? ['/n/gw-1/audio', '/n/gw-2/audio'] : [pathOf(route)]
  const way = { port: ports.balancer, gateway, host: 'voice.example.com', pathsOf }
  const finds = () => ask(way, { method: 'POST', path: '/events' }).catch(() => 0)
  await comesUp(nginx, async () => (await finds()) === 401, 20_000, 'nginx that finds the gateway')
  await asksEveryRoute(t, way)
  for (const path of ['/metrics', '/api/calls', '/continue/more', '/', '/audio', '/n/gw-3/audio', '/n/gw-1/voice'])
    t.equal(await ask(way, { method: 'GET', path }), 404, path)
  await gateway.edge.close()
  t.equal(await ask(way, { method: 'POST', path: '/after-stream?t=a-token' }), 502, 'nobody is there')
  const logged = () => ['access.log', 'error.log'].map((name) => readFileSync(join(folder, name), 'utf8')).join('')
  // nginx writes the line after the answer.
  await until(() => logged().includes('"POST /after-stream" 502'), 10_000, 'the line of the access log')
  t.notMatch(logged(), /[?]|t=/)
})

t.test('compose.yaml: the published port answers every public route', async (t) => {
  const { services } = parse(repositoryFile('deploy/compose.yaml')) as {
    readonly services: Readonly<Record<string, { readonly ports?: readonly string[] }>>
  }
  const gateway = await behind(t)
  const ports = services['gateway']?.ports?.map((port) => port.split(':').map(Number)) ?? []
  // Published to everybody: this one alone, of the gateway itself.
  const open = Object.values(services).flatMap(({ ports }) => (ports ?? []).filter((port) => !port.startsWith('127.')))
  t.same(open, ['8080:8080'])
  t.equal(ports[0]?.[1], SETTINGS.port.fallback)
  const pathsOf = (route: PublicRoute) => [pathOf(route)]
  await asksEveryRoute(t, { port: gateway.edge.publicPort, gateway, host: 'localhost:8080', pathsOf })
})

t.test("the public port serves only the table's routes", (t) => {
  const paths = new Set<string>()
  const note = (path: string): unknown => {
    paths.add(path)
    return app
  }
  const app = { any: note, get: note, post: note } as unknown as TemplatedApp
  const log = createLog({ level: 'silent' })
  const metrics = new Metrics({ version: '0.0.0', processMetrics: false })
  const unused = null as never
  new PublicApp({ clock: () => 0, log, metrics }, unused, unused, unused, unused).routes(app)
  t.same([...paths], [...PUBLIC_ROUTES.map(({ path }) => path), '/*'])
  t.end()
})

// --- Kubernetes ---------------------------------------------------------------------------------------------

interface RouteRule {
  readonly matches: readonly {
    readonly path: { readonly type: 'Exact' | 'PathPrefix'; readonly value: string }
  }[]
  readonly filters?: readonly { readonly urlRewrite: { readonly path: { readonly replaceFullPath: string } } }[]
  readonly backendRefs: readonly [{ readonly name: string; readonly port: number }]
}

interface Document {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly hostnames?: readonly string[]
    readonly rules?: readonly RouteRule[]
    readonly replicas?: number
    readonly publishNotReadyAddresses?: boolean
    readonly selector?: Readonly<Record<string, string>>
    readonly ports?: readonly { readonly port: number }[]
  }
}

const documentsOf = (file: string): readonly Document[] =>
  parseAllDocuments(repositoryFile(`deploy/${file}`)).map((document) => {
    if ('errors' in document && document.errors.length > 0) throw document.errors[0] as Error
    return document.toJS() as Document
  })
const shipped = documentsOf('kubernetes-gateway.yaml')
const rules = shipped.find(({ kind }) => kind === 'HTTPRoute')?.spec.rules ?? []

/** Which Service gets a path, and as which path: as the Gateway API matches (Exact before the longest PathPrefix). */
function led(path: string): { readonly to: string; readonly as: string } | null {
  const fits = rules
    .flatMap((rule) => rule.matches.map((match) => ({ rule, ...match.path })))
    .filter(({ type, value }) => path === value || (type === 'PathPrefix' && path.startsWith(`${value}/`)))
    .sort((a, b) => Number(b.type === 'Exact') - Number(a.type === 'Exact') || b.value.length - a.value.length)
  const [first] = fits
  if (first === undefined) return null
  const as = first.rule.filters?.[0]?.urlRewrite.path.replaceFullPath ?? path
  return { to: first.rule.backendRefs[0].name, as }
}

const pods = Array.from(
  { length: documentsOf('kubernetes.yaml').find(({ kind }) => kind === 'StatefulSet')?.spec.replicas ?? 0 },
  (_, index) => `mkondo-${index}`,
)

t.test('kubernetes-gateway.yaml: every public route leads to its pods', async (t) => {
  const gateway = await behind(t)
  const pathsOf = (route: PublicRoute): readonly string[] => {
    const asked =
      route.takes === 'audio' ? pods.map((pod) => [`/n/${pod}/audio`, pod]) : [[pathOf(route), 'mkondo-webhooks']]
    return asked.map(([path = '', to]) => {
      const found = led(path)
      t.equal(found?.to, to, path)
      return found?.as ?? ''
    })
  }
  await asksEveryRoute(t, { port: gateway.edge.publicPort, gateway, host: 'voice.example.com', pathsOf })
})

t.test('kubernetes-gateway.yaml: no other route leads to the pods', async (t) => {
  for (const path of ['/', '/metrics', '/audio', '/voices', '/continue/more', '/n/mkondo-0/voice', '/internal/ping'])
    t.equal(led(path), null, path)
})

t.test('kubernetes-gateway.yaml: each rule leads to a Service of the pods', async (t) => {
  const services = new Map(shipped.filter(({ kind }) => kind === 'Service').map((one) => [one.metadata.name, one.spec]))
  for (const { backendRefs } of rules) {
    const [{ name, port }] = backendRefs
    const service = services.get(name)
    t.same(
      service?.ports?.map((one) => one.port),
      [port],
      name,
    )
    t.equal(port, SETTINGS.port.fallback)
    t.equal(service?.selector?.['app.kubernetes.io/name'], 'mkondo')
    const pod = pods.find((one) => one === name)
    t.equal(service?.selector?.['statefulset.kubernetes.io/pod-name'], pod)
    t.equal(service?.publishNotReadyAddresses, pod === undefined ? undefined : true, 'a draining pod keeps its sockets')
  }
})

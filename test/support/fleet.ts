import { execFileSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CallRecord } from '../../src/call/documents/record.js'
import type { AfterStream } from '../../src/carrier/choices.js'
import type { PlaceCallOptions, SimulatedCallResult, SimulatorEvent } from '../../src/carrier/call-options.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import { simulatedPerson } from '../../src/simulator/caller.js'
import { CallerSpeech } from '../../src/simulator/caller-speech.js'
import { signBody, startCall } from '../../src/carrier/carrier-call.js'
import type { LiveSimulatedCall } from '../../src/carrier/carrier-call.js'
import { callee, ringCallees } from '../../src/simulator/rest/callees.js'
import { RestServer } from '../../src/simulator/rest/rest-server.js'
import { Workspace } from '../../src/carrier/workspace.js'
import { messageOf } from '../../src/core/errors.js'
import { vocabularyOf } from '../../src/simulator/vocabulary.js'
import { MAIN, mkondo, takesCalls } from '../cli/mkondo-process.js'
import type { Run } from '../cli/mkondo-process.js'
import { PROGRAMS, repositoryFile } from '../deploy/deploy-files.js'
import { startDns } from './dns-server.js'
import { reexport } from './module-beside.js'
import { comesUp, until } from './until.js'
import { startRedis, startSentinel } from './redis.js'
import type { RedisSentinel, RedisServer } from './redis.js'
import { startRedisProxy } from './redis-proxy.js'
import type { RedisProxy } from './redis-proxy.js'
import { freePort } from './free-ports.js'
import { SAME_CALLER } from './same-caller.js'
import { spawnOwn } from './spawn-own.js'

export const WEBHOOK_SECRET = 'whsec_of_a_fleet_under_test'
export const API_KEY = 'tsk_of_a_fleet_under_test'
const OPS_TOKEN = 'ops-token-of-a-fleet-under-test'
export const OUR_NUMBER = '+254709000000'
const START_MS = 60_000
/** Sound that the carrier still plays of a stream that has closed. */
const FORK_HELD_MS = 1000
/** A webhook that takes longer is slow: the carrier's own limit is 10 s, a fleet takes 1 s where the machine is quiet. */
const SLOW_WEBHOOK_MS = 5000

export interface FleetOptions {
  /** Default: 2. */
  readonly nodes?: number
  /** Settings of every node, beside those of a fleet. */
  readonly env?: Readonly<Record<string, string>>
  /** Fields of the agent's file, beside those that make it speak a tone. */
  readonly agent?: Readonly<Record<string, unknown>>
  /** One gateway that shares nothing with others: no Redis, and the balancer for such ones (deploy/haproxy.cfg). */
  readonly alone?: boolean
  /** A master, a replica and a Sentinel in place of one redis-server. */
  readonly sentinel?: boolean
  /** Default: HAProxy with deploy/haproxy-fleet.cfg; nginx has two nodes at most. */
  readonly balancer?: 'haproxy' | 'nginx'
  /** Requests between nodes go through proxies: `peerProxies`. */
  readonly proxied?: boolean
  /** How people behave that the fleet rings. Default: they say "Hello?" and stay. */
  readonly callee?: CallerScript
  /** Each node has a folder of agents of its own. Default: all have one. */
  readonly ownAgents?: boolean
  /** What each node runs until it is started with another one. Default: this version. */
  readonly program?: NodeProgram
}

/** A built version of the gateway. */
export interface NodeProgram {
  /** Its command. */
  readonly main: string
  /** Settings that not all versions have. */
  readonly env?: Readonly<Record<string, string>>
}

/** Controls of a fleet for a test or a bench, and its view from outside: as the carrier, and as the shop. */
export interface Fleet {
  readonly nodes: readonly FleetNode[]
  /** Where the carrier reaches it. */
  readonly origin: string
  /** The master, where there is a Sentinel. */
  readonly redis: RedisServer
  readonly sentinel: RedisSentinel | null
  /** Between the nodes and Redis, where there is no Sentinel. */
  readonly redisProxy: RedisProxy
  /** Before the internal port of each node, where `proxied`. */
  readonly peerProxies: readonly RedisProxy[]
  readonly balancer: Balancer
  readonly shop: Shop
  /** The carrier's REST API: what the fleet asked of it. */
  readonly carrier: RestServer
  /** Calls that the fleet has placed, as the carrier had them; complete once they are over. */
  readonly placed: readonly SimulatedCallResult[]
  /** Their events so far. */
  readonly placedEvents: readonly SimulatorEvent[]
  /** Rings the fleet. The caller says nothing, and stays until `hangUp`. */
  call(options?: FleetCallOptions): FleetCall
  /** The first webhook of a call at one node, without its carrier. @returns the status and the document */
  ring(
    node: FleetNode,
    callSid: string,
    state?: string,
  ): Promise<{ readonly status: number; readonly document: string }>
  /** `count` calls of which each has a stream. They come 100 ms apart, as callers do, to each node in turn. */
  calls(count: number, options?: FleetCallOptions): Promise<readonly FleetCall[]>
  close(): Promise<void>
}

interface FleetCallOptions {
  /** Its last two digits say what the agent does: tone-backend.ts. Default: it speaks. */
  readonly from?: string
  readonly afterStream?: AfterStream
  /** The node that gets a webhook; the balancer's choice where it is undefined. */
  readonly to?: (state: string) => FleetNode | undefined
  /** After this the carrier tries a refused connection once more. */
  readonly connectRetryMs?: number
}

export interface FleetCall extends LiveSimulatedCall {
  /** Names of the nodes that its streams led to, in order. */
  readonly owners: readonly string[]
  /** Streams that are closed. */
  readonly closes: number
}

/** Starts everything. Ends what it has started when a part of it does not start. */
export async function startFleet(options: FleetOptions = {}): Promise<Fleet> {
  const undo: (() => Promise<unknown> | undefined)[] = []
  const close = async (): Promise<void> => {
    for (const part of undo.splice(0).reverse()) await part()
  }
  try {
    return await started(options, (part) => undo.push(part), close)
  } catch (thrown) {
    await close()
    throw thrown
  }
}

async function started(
  options: FleetOptions,
  later: (undo: () => Promise<unknown> | undefined) => void,
  close: () => Promise<void>,
): Promise<Fleet> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-fleet-'))
  later(() => {
    rmSync(folder, { recursive: true, force: true })
    return undefined
  })
  const redis = await startRedis({ durable: true })
  later(() => redis.close())
  const redisProxy = await startRedisProxy(redis.url)
  later(() => redisProxy.close())
  let sentinel: RedisSentinel | null = null
  if (options.sentinel === true) {
    const replica = await startRedis({ durable: true, replicaOf: redis })
    later(() => replica.close())
    sentinel = await startSentinel({ master: redis })
    later(() => (sentinel as RedisSentinel).close())
  }
  const shop = await startShop()
  later(() => shop.close())
  const speech = await CallerSpeech.start(null)
  later(() => speech.close())
  const alone = options.alone === true
  const names = Array.from({ length: alone ? 1 : (options.nodes ?? 2) }, (_, index) => `gw-${index + 1}`)
  const addressOf = (name: string): string => `127.0.1.${10 + Number(name.slice(3))}`
  const ports = {
    public: await freePort(),
    ops: await freePort(),
    internal: await freePort(),
    balancer: await freePort(),
  }
  const origin = `http://127.0.0.1:${ports.balancer}`
  const carrier = await startCarrier(speech, options.callee, `${origin}/events`)
  later(() => carrier.rest.close())
  const agentsOf = (name: string): string => join(folder, options.ownAgents === true ? `agents-${name}` : 'agents')
  for (const agents of new Set(names.map(agentsOf))) {
    mkdirSync(agents)
    writeBackends(agents)
    writeFileSync(join(agents, 'fleet.yaml'), JSON.stringify(agentFile(options.agent ?? {})))
  }

  const peerProxies: RedisProxy[] = []
  if (options.proxied === true)
    for (const name of names) {
      const proxy = await startRedisProxy(`redis://${addressOf(name)}:${ports.internal}`)
      later(() => proxy.close())
      peerProxies.push(proxy)
    }
  const nodes = names.map(
    (name, index) =>
      new FleetNode(name, addressOf(name), ports, {
        HOST: addressOf(name),
        PORT: String(ports.public),
        OPS_HOST: addressOf(name),
        OPS_PORT: String(ports.ops),
        OPS_TOKEN,
        NODE_NAME: name,
        PUBLIC_URL: origin,
        ...(alone
          ? {}
          : {
              INTERNAL_HOST: addressOf(name),
              INTERNAL_PORT: String(ports.internal),
              INTERNAL_URL:
                peerProxies[index]?.url.replace('redis:', 'http:') ?? `http://${addressOf(name)}:${ports.internal}`,
              NODE_URL: `${origin}/n/{node}`,
              REDIS_URL: sentinel?.url ?? redisProxy.url,
            }),
        TOKEN_SECRET: 'a-token-secret-of-a-fleet-under-test',
        TRUSTED_PROXIES: '127.0.0.1',
        SAUTIKIT_WEBHOOK_SECRETS: WEBHOOK_SECRET,
        SAUTIKIT_API_URL: carrier.rest.origin,
        SAUTIKIT_API_KEY: API_KEY,
        SHOP_API_URL: shop.url,
        AGENTS_DIR: agentsOf(name),
        DATA_DIR: join(folder, name),
        MEDIA_WORKERS: '1',
        SPEECH_WORKERS: '1',
        LOG_LEVEL: 'info',
        ...SAME_CALLER,
        ...options.env,
      }),
  )
  for (const node of nodes) later(() => node.kill())
  const dns = await startDns((name) => {
    if (name === DOMAIN) return names.map(addressOf)
    const node = name.endsWith(`.${DOMAIN}`) ? name.slice(0, -DOMAIN.length - 1) : ''
    return names.includes(node) ? [addressOf(node)] : []
  })
  later(() => {
    dns.close()
    return undefined
  })
  await Promise.all(nodes.map((node) => node.start(options.program)))
  const balancer =
    options.balancer === 'nginx'
      ? new Balancer(
          folder,
          ports.balancer,
          'nginx',
          nginxBalancer(ports, [addressOf('gw-1'), addressOf('gw-2')], folder),
        )
      : new Balancer(
          ...([folder, ports.balancer, 'haproxy'] as const),
          alone ? loneBalancer(ports, addressOf('gw-1')) : fleetBalancer(ports, dns.port),
        )
  later(() => balancer.kill())
  await balancer.start()

  const live = new Set<LiveSimulatedCall>()
  later(async () => {
    for (const call of live) call.hangUp()
    for (const { leg } of carrier.rest.workspace.calls()) leg.hangUp()
    await Promise.all([...live].map(({ done }) => done))
  })
  let last = 0
  const call = (given: FleetCallOptions = {}): FleetCall => {
    last += 1
    const owners: string[] = []
    let closes = 0
    const placed = startCall({
      ...CARRIER,
      voiceUrl: `${origin}/voice/fleet`,
      eventsUrl: `${origin}/events`,
      from: given.from ?? `+2547000${String(last).padStart(3, '0')}01`,
      to: OUR_NUMBER,
      afterStream: given.afterStream ?? 'continues',
      giveUpMs: 30_000,
      ...(given.connectRetryMs === undefined ? {} : { connectRetryMs: given.connectRetryMs }),
      route: (url, state) => {
        const node = given.to?.(state)
        return node === undefined ? url : url.replace(origin, node.url)
      },
      workspace: carrier.rest.workspace,
      caller: simulatedPerson({ ...person(speech), script: SILENT, files: new Map() }),
      onEvent: (event) => {
        if (event.type === 'stream-opened') owners.push(event.path.split('/')[2] ?? event.path)
        if (event.type === 'stream-closed') closes += 1
      },
    })
    live.add(placed)
    void placed.done.then(() => live.delete(placed))
    return {
      ...placed,
      owners,
      get closes() {
        return closes
      },
    }
  }
  return {
    nodes,
    origin,
    redis,
    sentinel,
    redisProxy,
    peerProxies,
    balancer,
    shop,
    carrier: carrier.rest,
    placed: carrier.placed,
    placedEvents: carrier.events,
    call,
    ring: async (node, callSid, state = 'Ringing') => {
      const body = new URLSearchParams({
        sessionId: callSid,
        callerNumber: '+254700000001',
        destinationNumber: OUR_NUMBER,
        callSessionState: state,
        direction: 'inbound',
      }).toString()
      const answer = await fetch(`${node.url}/voice/fleet`, {
        method: 'POST',
        headers: {
          'content-type': 'application/x-www-form-urlencoded',
          'x-sautikit-signature': signBody(body, WEBHOOK_SECRET, 'timestamped', Date.now()),
        },
        body,
      })
      return { status: answer.status, document: await answer.text() }
    },
    calls: async (count, given) => {
      const all: FleetCall[] = []
      for (let i = 0; i < count; i++) {
        const first = nodes[i % nodes.length]
        all.push(call({ ...given, to: (state) => (state === 'Ringing' ? first : given?.to?.(state)) }))
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      await untilStreams(all, 1, 10_000)
      return all
    },
    close,
  }
}

/**
 * Resolves when each call has had this number of streams.
 * @throws Error with the webhooks of a call that has not: a fallback, a refusal, silence
 */
export async function untilStreams(calls: readonly FleetCall[], count: number, limitMs: number): Promise<void> {
  const without = (): readonly FleetCall[] => calls.filter(({ owners }) => owners.length < count)
  try {
    await until(() => without().length === 0, limitMs, `stream ${count} of every call`)
  } catch (thrown) {
    const left = without()
    for (const one of left) one.hangUp()
    const [result] = await Promise.all(left.map(({ done }) => done))
    const webhooks = result?.webhooks.map(
      ({ url, status, verbs, atMs, ms }) =>
        `${url} ${status ?? '-'} ${verbs.join(' ')} at ${Math.round(atMs)} ms after ${Math.round(ms)} ms`,
    )
    throw new Error(`${messageOf(thrown)}: ${left.length} have none, such as ${webhooks?.join(', ') ?? ''}`)
  }
}

interface Ports {
  readonly public: number
  readonly ops: number
  readonly internal: number
  readonly balancer: number
}

/** What is looked at of a record. */
type KeptRecord = Pick<CallRecord, 'callSid' | 'durationMs' | 'endReason' | 'waits' | 'resumed'>

/** `mkondo serve` under one name, which may be started again. */
export class FleetNode {
  readonly name: string
  /** Its public port, past the balancer. */
  readonly url: string
  readonly opsUrl: string
  readonly #env: Readonly<Record<string, string>>
  #program: NodeProgram = { main: MAIN }
  #run: Run | null = null
  #logged: string[] = []

  constructor(name: string, address: string, ports: Ports, env: Readonly<Record<string, string>>) {
    this.name = name
    this.url = `http://${address}:${ports.public}`
    this.opsUrl = `http://${address}:${ports.ops}`
    this.#env = env
  }

  /** Its log lines since its first start. */
  get lines(): readonly string[] {
    return [...this.#logged, ...(this.#run?.lines ?? [])]
  }

  get program(): NodeProgram {
    return this.#program
  }

  /**
   * Resolves when it takes calls. @throws Error with its last lines when it ends before
   * @param program  what it runs from now on
   */
  async start(program = this.#program): Promise<void> {
    this.#logged = [...this.lines]
    this.#program = program
    const { main, env } = program
    await takesCalls((this.#run = mkondo(['serve'], { ...this.#env, ...env }, undefined, main)), START_MS)
  }

  /** SIDs of the records in its folder, as often as they are there. */
  finalRecords(): readonly string[] {
    return this.records().map(({ callSid }) => callSid)
  }

  /** The records in its folder, oldest first; one that was written again is there again. */
  records(): readonly KeptRecord[] {
    const folder = join(this.#env['DATA_DIR'] ?? '', 'records')
    const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith('calls-')) : []
    return files.flatMap((name) =>
      readFileSync(join(folder, name), 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as KeptRecord),
    )
  }

  /** Another process with its name, on an address of its own. */
  twin(address: string): Run {
    return mkondo(['serve'], {
      ...this.#env,
      HOST: address,
      OPS_HOST: address,
      INTERNAL_HOST: address,
      INTERNAL_URL: `http://${address}:${this.#env['INTERNAL_PORT'] ?? ''}`,
      DATA_DIR: `${this.#env['DATA_DIR'] ?? ''}-twin`,
    })
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    this.#run?.child.kill('SIGKILL')
    await this.#run?.exit
  }

  /** SIGTERM: it drains. @returns its exit code, once its calls are over */
  drain(): Promise<number | null> {
    this.#run?.child.kill('SIGTERM')
    return this.#run?.exit ?? Promise.resolve(null)
  }

  /** SIGSTOP. */
  pause(): void {
    this.#run?.child.kill('SIGSTOP')
  }

  /** SIGCONT. */
  resume(): void {
    this.#run?.child.kill('SIGCONT')
  }

  /** Whether its disk takes writes: a file that would grow beyond its present size is refused otherwise (Debian's `prlimit`). */
  disk(takes: boolean): void {
    const pid = this.#run?.child.pid
    if (pid !== undefined) execFileSync('prlimit', [`--pid=${pid}`, `--fsize=${takes ? 'unlimited' : '0'}:`])
  }

  /** A page of its ops port, or with `body` the answer to a POST. */
  async ops(path: string, body?: object): Promise<Response> {
    return fetch(this.opsUrl + path, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${OPS_TOKEN}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(body === undefined ? 5000 : 20_000),
    })
  }

  /** The sum of a metric's lines that begin with `line`; 0 when there is none. */
  async metric(line: string): Promise<number> {
    const page = await (await this.ops('/metrics')).text()
    return page
      .split('\n')
      .filter((candidate) => candidate.startsWith(line))
      .reduce((sum, candidate) => sum + Number(candidate.replace(/^[^ {]+(\{.*\})? /, '').split(' ')[0]), 0)
  }
}

/** The name under which deploy/haproxy-fleet.cfg finds the gateways. */
const DOMAIN = 'mkondo.default.svc.cluster.local'

/** deploy/haproxy-fleet.cfg on ports of this machine: each gateway has an address of its own, as pods have. */
export function fleetBalancer(ports: Omit<Ports, 'internal'>, dnsPort: number): string {
  return repositoryFile('deploy/haproxy-fleet.cfg')
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${ports.balancer}`)
    .replace('10.96.0.10:53', `127.0.0.1:${dnsPort}`)
    .replace('maxconn 10000', 'maxconn 400') // the shipped number wants more descriptors than a test machine may have
    .replaceAll(':8080', `:${ports.public}`)
    .replace('check port 9464', `check port ${ports.ops}`)
}

/**
 * deploy/nginx.conf on ports of this machine.
 * @param addresses  of the gateways gw-1 and gw-2
 * @param folder  where its logs are written, and what it would keep elsewhere
 */
export function nginxBalancer(
  ports: Pick<Ports, 'public' | 'balancer'>,
  addresses: readonly [string, string],
  folder: string,
): string {
  const kept = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${folder}/${of};`)
  return (
    repositoryFile('deploy/nginx.conf')
      .replace(/listen 443 ssl;\n(?: *ssl_\S+ [^;]+;\n)+/, `listen 127.0.0.1:${ports.balancer};\n`)
      // Only root can become another user.
      .replace('user www-data;', process.getuid?.() === 0 ? 'user root;' : '')
      .replace('pid /run/nginx.pid;', `pid ${folder}/nginx.pid;`)
      .replaceAll('/var/log/nginx', folder)
      .replace('worker_rlimit_nofile 20000;', '')
      .replace('worker_connections 10000;', 'worker_connections 400;')
      .replace('http {', ['http {', ...kept].join('\n'))
      .replaceAll('10.0.0.11:8080', `${addresses[0]}:${ports.public}`)
      .replaceAll('10.0.0.12:8080', `${addresses[1]}:${ports.public}`)
  )
}

/** deploy/haproxy.cfg before one gateway, of which every URL has the balancer's address. */
function loneBalancer(ports: Omit<Ports, 'internal'>, address: string): string {
  return repositoryFile('deploy/haproxy.cfg')
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${ports.balancer}`)
    .replace('maxconn 10000', 'maxconn 400')
    .replaceAll('gw-1.voice.example.com', '127.0.0.1')
    .replaceAll('10.0.0.11:8080', `${address}:${ports.public}`)
    .replace('check port 9464', `check port ${ports.ops}`)
}

/** How each is run as Debian's unit runs it, and the signal for a reload. */
const BALANCERS = {
  haproxy: { args: (file: string) => ['-W', '-db', '-f', file], reload: 'SIGUSR2' },
  nginx: { args: (file: string) => ['-e', 'stderr', '-c', file, '-g', 'daemon off;'], reload: 'SIGHUP' },
} as const

class Balancer {
  readonly #file: string
  readonly #port: number
  readonly #program: keyof typeof BALANCERS
  #child: ChildProcess | null = null

  constructor(folder: string, port: number, program: keyof typeof BALANCERS, config: string) {
    this.#file = join(folder, `${program}.conf`)
    this.#port = port
    this.#program = program
    writeFileSync(this.#file, config)
  }

  /** Resolves when it has found a gateway. */
  async start(): Promise<void> {
    const args = BALANCERS[this.#program].args(this.#file)
    const child = (this.#child = spawnOwn(this.#program, args, { stdio: 'ignore', env: PROGRAMS }))
    const finds = async (): Promise<boolean> => {
      // An unsigned webhook: the gateway refuses it, and a balancer without one would answer 502 or 503.
      const answer = await fetch(`http://127.0.0.1:${this.#port}/events`, { method: 'POST', body: '{}' })
      return answer.status === 401
    }
    await comesUp(child, () => finds().catch(() => false), START_MS, `${this.#program} that finds a gateway`)
  }

  /** It reads its file again: other processes take what comes, and those that there are go on with what they have. */
  reload(): void {
    this.#child?.kill(BALANCERS[this.#program].reload)
  }

  /** Every connection through it breaks. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null) return
    const exit = once(child, 'exit')
    // Its processes end with it, at once.
    child.kill('SIGTERM')
    await exit
  }
}

/**
 * An API behind a tool: it writes down what it is asked, and answers when it may; where it is given a `callback`, that the
 * outcome follows. The test posts that.
 */
interface Shop {
  readonly url: string
  readonly requests: readonly ShopRequest[]
  /** Answers wait for this long from now on. */
  answerAfter(ms: number): void
  close(): Promise<void>
}

interface ShopRequest {
  readonly key: string
  readonly callSid: string
  readonly callback: string | null
  readonly atMs: number
}

async function startShop(): Promise<Shop> {
  const requests: ShopRequest[] = []
  let waitMs = 0
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = JSON.parse(Buffer.concat(parts).toString()) as { readonly call?: string; callback?: string }
      requests.push({
        key: String(request.headers['idempotency-key'] ?? ''),
        callSid: body.call ?? '',
        callback: body.callback ?? null,
        atMs: performance.now(),
      })
      setTimeout(() => {
        const [status, answer] = body.callback === undefined ? [200, '{"ticket":"T-1"}'] : [202, '{"pending":"p1"}']
        response.writeHead(status, { 'content-type': 'application/json' }).end(answer)
      }, waitMs)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    answerAfter: (ms) => {
      waitMs = ms
    },
    close: () => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

/** The carrier's REST API. People whom the fleet rings answer, say "Hello?", and stay, or follow `script`. */
export async function startCarrier(
  speech: CallerSpeech,
  script?: CallerScript,
  eventsUrl: string | null = null,
): Promise<{ rest: RestServer; placed: SimulatedCallResult[]; events: SimulatorEvent[] }> {
  const workspace = new Workspace({
    owned: [{ id: 'num_1', e164: OUR_NUMBER, status: 'active', voiceUrl: null, eventsUrl }],
  })
  const placed: SimulatedCallResult[] = []
  const events: SimulatorEvent[] = []
  const place = ringCallees({
    workspace,
    callee: () => {
      const answers = callee('person', { ringMs: 500, talkMs: 20_000 })
      return script === undefined ? answers : { ...answers, script }
    },
    carrier: { ...CARRIER, onEvent: (event) => events.push(event) },
    person: person(speech),
    onOver: (result) => placed.push(result),
  })
  return { rest: await RestServer.start({ workspace, keys: { [API_KEY]: 'all' }, port: 0, place }), placed, events }
}

export const CARRIER = {
  secret: WEBHOOK_SECRET,
  // A balancer that starts again answers 503 until the DNS has named a gateway: seen 1.8 s after its death.
  connectRetryMs: 2500,
  human: { outcome: 'answered', ringMs: 300, talkMs: 60_000, greeting: null },
} as const satisfies Partial<PlaceCallOptions>

export const SILENT = { name: 'silent', rules: [], steps: [], reactionMs: 0, patienceMs: 600_000, order: null }

export function person(speech: CallerSpeech) {
  return {
    voice: 'rms',
    line: { sampleRateHz: 8000 },
    speech,
    record: false,
    timeoutMs: 600_000,
    vocabulary: vocabularyOf(null),
  } as const
}

/** The backends of the agents of these tests, beside them. */
export function writeBackends(agentsDir: string): void {
  for (const [name, url] of [
    ['tone-backend', './tone-backend.js'],
    ['resumable-backend', '../workers/resumable-backend.js'],
  ] as const)
    writeFileSync(join(agentsDir, `${name}.mjs`), reexport(new URL(url, import.meta.url)))
}

/** A tool that asks for a payment, whose outcome comes later. */
export const CHARGE_TOOL = {
  name: 'charge',
  description: 'Asks for a payment.',
  http: {
    method: 'POST',
    url: '{{env.SHOP_API_URL}}/payments',
    body: { call: '{{call.sid}}', callback: '{{continue.url}}' },
  },
  waits: { for: '90s', say: 'Enter your PIN.' },
}

export function agentFile(more: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return {
    version: 1,
    name: 'fleet',
    instructions: 'Speak.',
    backend: 'module:./tone-backend.mjs',
    greeting: 'Hello.',
    silence: { afterMs: 60_000, prompts: [] },
    fillers: { phrases: [] },
    escalation: { numbers: ['+254709000001'], strategies: ['supervision'], announce: null },
    tools: [
      {
        name: 'open_ticket',
        description: 'Opens a ticket.',
        parameters: { properties: { subject: { type: 'string' } } },
        http: {
          method: 'POST',
          url: '{{env.SHOP_API_URL}}/tickets',
          body: { subject: '{{args.subject}}', call: '{{call.sid}}' },
          timeoutMs: 15_000,
        },
      },
    ],
    ...more,
  }
}

/** Callers' troubles, in one line each for calls that were cut, webhooks that failed or were slow. */
interface Judgement {
  /** Calls of which a stream ended before its caller had hung up. */
  readonly cut: readonly string[]
  readonly failed: readonly string[]
  readonly slow: readonly string[]
  /** The longest stretch in which an agent was not heard, of all calls: milliseconds. */
  readonly gapMs: number
}

export function judge(results: readonly SimulatedCallResult[]): Judgement {
  const webhooks = results.flatMap(({ callSid, webhooks }) =>
    webhooks.map((webhook) => ({
      ...webhook,
      what: `${callSid} ${webhook.url} ${webhook.state} at ${webhook.atMs} ms: ${webhook.status ?? webhook.fault ?? 'nothing'} after ${Math.round(webhook.ms)} ms`,
    })),
  )
  return {
    cut: results
      .filter(({ streams }) => streams.length !== 1 || streams[0]?.closedBy !== 'carrier')
      .map(
        ({ callSid, streams }) =>
          `${callSid}: ${streams.length === 0 ? 'no stream' : streams.map((one) => `${one.path} closed by ${one.closedBy} with ${one.closeCode ?? 'no code'} at ${one.closedMs ?? 0} ms`).join(', ')}`,
      ),
    failed: webhooks.filter(({ status }) => status === null || status >= 300).map(({ what }) => what),
    slow: webhooks.filter(({ ms }) => ms > SLOW_WEBHOOK_MS).map(({ what }) => what),
    gapMs: Math.max(0, ...results.flatMap(({ silences }) => silences.map(({ startMs, endMs }) => endMs - startMs))),
  }
}

/**
 * How long a caller whose stream broke waited for the agent, from the moment that the carrier asked how to go on; null
 * when it did not ask, or the agent was not heard again.
 */
export function resumedMs({ streams, webhooks, silences }: SimulatedCallResult): number | null {
  const brokeMs = streams[0]?.closedMs ?? Infinity
  const asked = webhooks.find(
    ({ atMs, url, state }) =>
      atMs >= brokeMs - 1 && (url === 'redirect' || (url === 'voice' && state === 'StreamStopped')),
  )
  const silence = silences.find(({ startMs, endMs }) => startMs <= brokeMs + FORK_HELD_MS && endMs > brokeMs)
  if (asked === undefined) return null
  if (silence !== undefined) return silence.endMs - asked.atMs
  // Audio that the carrier still had to play covered the gap.
  const next = streams[1]
  return next === undefined || next.samplesHeard === 0 ? null : Math.max(0, next.openedMs - asked.atMs)
}

import { execFileSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
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
import { RestServer } from '../../src/carrier/rest-server.js'
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
/** Duration in ms of the sound that the carrier still plays after a stream has closed. */
const FORK_HELD_MS = 1000
/** Time in ms from which a webhook is slow: the carrier's own limit is 10 s; a fleet on an idle machine takes 1 s. */
const SLOW_WEBHOOK_MS = 5000

export interface FleetOptions {
  /** Number of nodes. Default: 2. */
  readonly nodes?: number
  /** Settings of every node, in addition to a fleet's settings. */
  readonly env?: Readonly<Record<string, string>>
  /** Fields of the agent's file, in addition to the fields that make it speak a tone. */
  readonly agent?: Readonly<Record<string, unknown>>
  /** True: one gateway without other nodes: no Redis, and the balancer for single gateways (deploy/haproxy.cfg). */
  readonly alone?: boolean
  /** True: a master, a replica and a Sentinel in place of one redis-server. */
  readonly sentinel?: boolean
  /** Balancer. Default: HAProxy with deploy/haproxy-fleet.cfg; nginx supports two nodes at most. */
  readonly balancer?: 'haproxy' | 'nginx'
  /** True: requests between nodes go through proxies (`peerProxies`). */
  readonly proxied?: boolean
  /** Behaviour of people whom the fleet rings. Default: they say "Hello?" and stay. */
  readonly callee?: CallerScript
  /** True: each node has its own folder of agents. Default: all nodes share one. */
  readonly ownAgents?: boolean
  /** Program of each node until it is started with another program. Default: this version. */
  readonly program?: NodeProgram
}

/** A built version of the gateway. */
export interface NodeProgram {
  /** Command of the program. */
  readonly main: string
  /** Settings that only some versions have. */
  readonly env?: Readonly<Record<string, string>>
}

/** Controls of a fleet for a test or a bench. It also shows the fleet from outside, as the carrier and as the shop. */
export interface Fleet {
  readonly nodes: readonly FleetNode[]
  /** Origin at which the carrier reaches the fleet. */
  readonly origin: string
  /** Redis server; the master if there is a Sentinel. */
  readonly redis: RedisServer
  readonly sentinel: RedisSentinel | null
  /** Proxy between the nodes and Redis, if there is no Sentinel. */
  readonly redisProxy: RedisProxy
  /** Proxies before the internal port of each node, if `proxied`. */
  readonly peerProxies: readonly RedisProxy[]
  readonly balancer: Balancer
  readonly shop: Shop
  /** Carrier's REST API, with the fleet's requests. */
  readonly carrier: RestServer
  /** Calls that the fleet has placed, from the carrier's side; complete when they are over. */
  readonly placed: readonly SimulatedCallResult[]
  /** Events so far of the placed calls. */
  readonly placedEvents: readonly SimulatorEvent[]
  /** Rings the fleet. The caller says nothing, and stays until `hangUp`. */
  call(options?: FleetCallOptions): FleetCall
  /** Sends the first webhook of a call to one node, without a carrier. @returns the status and the document */
  ring(
    node: FleetNode,
    callSid: string,
    state?: string,
  ): Promise<{ readonly status: number; readonly document: string }>
  /**
   * Starts `count` calls and waits until each has a stream. They come 100 ms apart, like real callers, to each node in
   * turn.
   */
  calls(count: number, options?: FleetCallOptions): Promise<readonly FleetCall[]>
  close(): Promise<void>
}

interface FleetCallOptions {
  /** Caller's number; its last two digits select the agent's behaviour (tone-backend.ts). Default: the agent speaks. */
  readonly from?: string
  readonly afterStream?: AfterStream
  /** Selects the node that gets a webhook. If it returns undefined, the balancer selects. */
  readonly to?: (state: string) => FleetNode | undefined
  /** Time in ms after which the carrier tries a refused connection once more. */
  readonly connectRetryMs?: number
}

export interface FleetCall extends LiveSimulatedCall {
  /** Names of the nodes to which its streams led, in order. */
  readonly owners: readonly string[]
  /** Number of closed streams. */
  readonly closes: number
}

/** Starts the whole fleet. If a part does not start, the started parts are ended. */
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
 * @throws Error with the webhooks of a call without them: a fallback, a refusal, silence
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
      ({ url, status, fault, verbs, atMs, ms }) =>
        `${url} ${status ?? fault ?? '-'} ${verbs.join(' ')} at ${Math.round(atMs)} ms after ${Math.round(ms)} ms`,
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

/** Fields of a record that tests read. */
export type KeptRecord = Pick<CallRecord, 'callSid' | 'durationMs' | 'endReason' | 'waits' | 'resumed'>

/** Node that runs `mkondo serve` under one name. It may be started again. */
export class FleetNode {
  readonly name: string
  /** URL of its public port, without the balancer. */
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

  /** Log lines of the node since its first start. */
  get lines(): readonly string[] {
    return [...this.#logged, ...(this.#run?.lines ?? [])]
  }

  get program(): NodeProgram {
    return this.#program
  }

  /**
   * Resolves when the node takes calls. @throws Error with its last lines if it ends before
   * @param program  program that it runs from now on
   */
  async start(program = this.#program): Promise<void> {
    this.#logged = [...this.lines]
    this.#program = program
    const { main, env } = program
    await takesCalls((this.#run = mkondo(['serve'], { ...this.#env, ...env }, undefined, main)), START_MS)
  }

  /** SIDs of the records in its folder; a SID is repeated if the folder has several records of the call. */
  finalRecords(): readonly string[] {
    return this.records().map(({ callSid }) => callSid)
  }

  /** Records in its folder, oldest first; a record that was written twice is listed twice. */
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

  /** Starts another process with the node's name, on a separate address. */
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

  /** Sends SIGKILL. */
  async kill(): Promise<void> {
    this.#run?.child.kill('SIGKILL')
    await this.#run?.exit
  }

  /** Sends SIGTERM: the node drains. @returns its exit code, when its calls are over */
  drain(): Promise<number | null> {
    this.#run?.child.kill('SIGTERM')
    return this.#run?.exit ?? Promise.resolve(null)
  }

  /** Sends SIGSTOP. */
  pause(): void {
    this.#run?.child.kill('SIGSTOP')
  }

  /** Sends SIGCONT. */
  resume(): void {
    this.#run?.child.kill('SIGCONT')
  }

  /**
   * Sets if the node's disk accepts writes. If false, a file that would grow beyond its present size is refused
   * (Debian's `prlimit`).
   */
  disk(takes: boolean): void {
    const pid = this.#run?.child.pid
    if (pid !== undefined) execFileSync('prlimit', [`--pid=${pid}`, `--fsize=${takes ? 'unlimited' : '0'}:`])
  }

  /** Fetches a page of its ops port. With `body`, sends a POST. */
  async ops(path: string, body?: object): Promise<Response> {
    return fetch(this.opsUrl + path, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${OPS_TOKEN}`, 'content-type': 'application/json' },
      signal: AbortSignal.timeout(body === undefined ? 5000 : 20_000),
    })
  }

  /** Sum of a metric's lines that begin with `line`; 0 if there are none. */
  async metric(line: string): Promise<number> {
    const page = await (await this.ops('/metrics')).text()
    return page
      .split('\n')
      .filter((candidate) => candidate.startsWith(line))
      .reduce((sum, candidate) => sum + Number(candidate.replace(/^[^ {]+(\{.*\})? /, '').split(' ')[0]), 0)
  }
}

/** DNS name in deploy/haproxy-fleet.cfg for the gateways. */
const DOMAIN = 'mkondo.default.svc.cluster.local'

/**
 * Content of deploy/haproxy-fleet.cfg with ports of this machine: each gateway has a separate address, as pods have.
 */
export function fleetBalancer(ports: Omit<Ports, 'internal'>, dnsPort: number): string {
  return repositoryFile('deploy/haproxy-fleet.cfg')
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${ports.balancer}`)
    .replace('10.96.0.10:53', `127.0.0.1:${dnsPort}`)
    .replace('maxconn 10000', 'maxconn 400') // the shipped number needs more descriptors than a test machine may allow
    .replaceAll(':8080', `:${ports.public}`)
    .replace('check port 9464', `check port ${ports.ops}`)
}

/**
 * Content of deploy/nginx.conf with ports of this machine.
 * @param addresses  addresses of the gateways gw-1 and gw-2
 * @param folder  folder for its logs and all its other files
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
      // Only root can switch to another user.
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

/** Content of deploy/haproxy.cfg for one gateway; all its URLs have the balancer's address. */
function loneBalancer(ports: Omit<Ports, 'internal'>, address: string): string {
  return repositoryFile('deploy/haproxy.cfg')
    .replace(/bind :443 ssl crt \S+ alpn http\/1\.1/, `bind 127.0.0.1:${ports.balancer}`)
    .replace('maxconn 10000', 'maxconn 400')
    .replaceAll('gw-1.voice.example.com', '127.0.0.1')
    .replaceAll('10.0.0.11:8080', `${address}:${ports.public}`)
    .replace('check port 9464', `check port ${ports.ops}`)
}

/** Command of each balancer, as in Debian's unit, and the signal for a reload. */
const BALANCERS = {
  haproxy: { args: (file: string) => ['-W', '-db', '-f', file], reload: 'SIGUSR2' },
  nginx: { args: (file: string) => ['-e', 'stderr', '-c', file, '-g', 'daemon off;'], reload: 'SIGHUP' },
} as const

class Balancer {
  readonly #file: string
  readonly #logFile: string
  readonly #port: number
  readonly #program: keyof typeof BALANCERS
  #child: ChildProcess | null = null

  constructor(folder: string, port: number, program: keyof typeof BALANCERS, config: string) {
    this.#file = join(folder, `${program}.conf`)
    this.#logFile = join(folder, `${program}.log`)
    this.#port = port
    this.#program = program
    writeFileSync(this.#file, config)
  }

  /** Log lines since its first start. HAProxy writes the line of an audio socket when the socket ends. */
  get lines(): readonly string[] {
    return readFileSync(this.#logFile, 'utf8').split('\n')
  }

  /** Resolves when the balancer has found a gateway. */
  async start(): Promise<void> {
    const args = BALANCERS[this.#program].args(this.#file)
    const log = openSync(this.#logFile, 'a')
    const child = (this.#child = spawnOwn(this.#program, args, { stdio: ['ignore', log, log], env: PROGRAMS }))
    closeSync(log)
    const finds = async (): Promise<boolean> => {
      // The gateway refuses an unsigned webhook; a balancer without a gateway would answer 502 or 503.
      const answer = await fetch(`http://127.0.0.1:${this.#port}/events`, { method: 'POST', body: '{}' })
      return answer.status === 401
    }
    await comesUp(child, () => finds().catch(() => false), START_MS, `${this.#program} that finds a gateway`)
  }

  /**
   * Makes the balancer read its file again: new processes accept new connections, and the old processes keep their
   * connections.
   */
  reload(): void {
    this.#child?.kill(BALANCERS[this.#program].reload)
  }

  /** Kills the balancer, which breaks every connection through it. */
  async kill(): Promise<void> {
    const child = this.#child
    this.#child = null
    if (child === null || child.exitCode !== null) return
    const exit = once(child, 'exit')
    // The balancer's other processes end at once with it.
    child.kill('SIGTERM')
    await exit
  }
}

/**
 * API behind a tool. It records requests, and answers when the test allows it. If a request has a `callback`, the
 * answer says that the outcome follows, and the test posts the outcome.
 */
interface Shop {
  readonly url: string
  readonly requests: readonly ShopRequest[]
  /** Delays all answers by this time in ms from now on. */
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

/** Starts the carrier's REST API. People whom the fleet rings answer, say "Hello?", and stay, or follow `script`. */
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
  // After a restart, a balancer answers 503 until the DNS has named a gateway: seen 1.8 s after its death.
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

/** Writes the backends of these tests' agents beside the agents. */
export function writeBackends(agentsDir: string): void {
  for (const [name, url] of [
    ['tone-backend', './tone-backend.js'],
    ['resumable-backend', '../workers/resumable-backend.js'],
  ] as const)
    writeFileSync(join(agentsDir, `${name}.mjs`), reexport(new URL(url, import.meta.url)))
}

/** Tool that requests a payment, whose outcome comes later. */
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

/** Faults in calls, one line each: calls that were cut, webhooks that failed or were slow. */
interface Judgement {
  /** Calls of which a stream ended before their caller had hung up. */
  readonly cut: readonly string[]
  readonly failed: readonly string[]
  readonly slow: readonly string[]
  /** Maximum duration in ms without the agent's sound, over all calls. */
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
 * Time in ms for which a caller whose stream broke waited for the agent, since the carrier asked how the call
 * continues. Null if the carrier did not ask, or the agent's sound did not come back.
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
  // Audio that the carrier still played covered the gap.
  const next = streams[1]
  return next === undefined || next.samplesHeard === 0 ? null : Math.max(0, next.openedMs - asked.atMs)
}

import { spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { redisUser } from '../../src/fleet/store/redis-commands.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { freePort } from './free-ports.js'
import { comesUp, until } from './until.js'
import { spawnOwn } from './spawn-own.js'

/** Maximum time in ms for a server to answer, to end, or to fail over to another server. */
const WAIT_MS = 15_000

/** Real redis-server of a test, on loopback, in a temporary folder. Every wait is bounded. */
export interface RedisServer {
  /** URL: `redis://` with the password, if there is one; `rediss://` with the port for TLS, if there is one. */
  readonly url: string
  /** Port without TLS, even if the server also has a TLS port. */
  readonly port: number
  readonly password: string | null
  /** Sends one command on a separate connection, as `redis-cli` would, and returns the answer's texts. */
  command(...words: readonly string[]): Promise<unknown>
  /**
   * Sends SIGKILL: connections break, and the port refuses new ones. Data that was not on its disk is lost. Idempotent.
   */
  kill(): Promise<void>
  /** Sends SIGSTOP: the kernel still accepts connections, and the server does not answer. */
  freeze(): void
  /** Sends SIGCONT. */
  thaw(): void
  /** Starts the server again, on the same port and folder; kills it first if it runs. Resolves when it answers. */
  restart(): Promise<void>
  /** Ends the server and deletes its folder. Idempotent. */
  close(): Promise<void>
}

/** Files of a certificate signed by its own key. Its only name is `localhost`, so that it does not fit 127.0.0.1. */
interface Tls {
  readonly key: string
  readonly certificate: string
}

/** Certificate; null if openssl is not installed: the test is then skipped with a message. */
export function makeTls(t: Test): Tls | null {
  if (!hasProgram(t, 'openssl', 'openssl')) return null
  const folder = t.testdir({})
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
  const made = spawnSync('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate],
  ])
  t.equal(made.status, 0, String(made.stderr))
  return { key, certificate }
}

/** An authority, and certificates for `localhost` that it signed. */
interface TlsAuthority {
  /** Certificate of the authority itself. */
  readonly certificate: string
  /** Makes one more certificate that is valid for this number of days; -1 makes an expired certificate. */
  sign(name: string, days: number): Tls
}

/** Authority; null if openssl is not installed: the test is then skipped with a message. */
export function makeAuthority(t: Test): TlsAuthority | null {
  if (!hasProgram(t, 'openssl', 'openssl')) return null
  const folder = t.testdir({ names: 'subjectAltName=DNS:localhost' })
  const file = (name: string): string => join(folder, name)
  const openssl = (...args: readonly string[]): void => {
    const made = spawnSync('openssl', args)
    t.equal(made.status, 0, String(made.stderr))
  }
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const own = ['-keyout', file('own.key'), '-out', file('own.pem')]
  openssl('req', '-x509', ...newKey, '-days', '2', '-subj', '/CN=authority of a test', ...own)
  return {
    certificate: file('own.pem'),
    sign: (name, days) => {
      const signed = { key: file(`${name}.key`), certificate: file(`${name}.pem`) }
      openssl('req', ...newKey, '-subj', '/CN=localhost', '-keyout', signed.key, '-out', file('request'))
      const by = ['-CA', file('own.pem'), '-CAkey', file('own.key'), '-CAcreateserial', '-extfile', file('names')]
      openssl('x509', '-req', '-in', file('request'), ...by, '-days', String(days), '-out', signed.certificate)
      return signed
    },
  }
}

export interface RedisServerOptions {
  readonly password?: string
  /** Port; a free port if absent. */
  readonly port?: number
  /** True: every write is on the disk before it is answered, so that `kill` and `restart` lose no data. */
  readonly durable?: boolean
  /** Server of which this server is a replica. */
  readonly replicaOf?: RedisServer
  /** Certificate for an additional TLS port. */
  readonly tls?: Tls
  /** More settings of redis.conf, such as `{ maxmemory: '2mb' }`. */
  readonly config?: Readonly<Record<string, string>>
}

/** True if redis-server is installed. If false, the test is skipped with a message. */
export function hasRedis(t: Test): boolean {
  return hasProgram(t, 'redis-server', 'redis-server')
}

/**
 * Environment variable: if it is set, nodes connect to each server without a password as the user of deploy/redis.conf.
 */
export const AS_USER = 'TEST_REDIS_AS_USER'
const USER_PASSWORD = 'of-the-gateways'

/** Line for the user `mkondo` with its permissions. Tests use many prefixes, and read all keys. */
const userLine = (): string =>
  redisUser('', USER_PASSWORD)
    .replace(/^user /, '')
    .replace(' ~* ~{campaigns}*', ' ~* +keys')

/** Starts a redis-server. Resolves when it answers, and follows its master if it has one. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const port = options.port ?? (await freePort())
  const tlsPort = options.tls === undefined ? null : await freePort()
  const password = options.password ?? null
  const master = options.replicaOf
  const authority = tlsPort === null ? `127.0.0.1:${port}` : `localhost:${tlsPort}`
  const asUser = password === null && process.env[AS_USER] !== undefined
  const credentials = asUser ? `mkondo:${USER_PASSWORD}@` : password === null ? '' : `:${encodeURIComponent(password)}@`
  const server = await startServer({
    port,
    password,
    url: `redis${tlsPort === null ? '' : 's'}://${credentials}${authority}`,
    mode: [],
    config: {
      port: String(port),
      save: '""',
      ...(asUser && { user: userLine() }),
      'repl-diskless-sync-delay': '0',
      ...(password !== null && { requirepass: quoted(password), masterauth: quoted(password) }),
      ...(options.durable === true && { appendonly: 'yes', appendfsync: 'always' }),
      ...(master !== undefined && {
        replicaof: `127.0.0.1 ${master.port}`,
        ...(master.password !== null && { masterauth: quoted(master.password) }),
      }),
      ...(options.tls !== undefined && tlsLines(options.tls, tlsPort)),
      ...options.config,
    },
  })
  if (master !== undefined)
    await until(
      async () => {
        const role = await server.command('ROLE')
        return Array.isArray(role) && role[3] === 'connected'
      },
      WAIT_MS,
      'the replica to follow its master',
    )
  return server
}

/** Real Sentinel of a test. */
export interface RedisSentinel extends RedisServer {
  /** URL `redis+sentinel://…/master-name`, with the master's password, if there is one. */
  readonly url: string
  readonly masterName: string
  /** Port of the server that the Sentinel regards as the master now. */
  masterPort(): Promise<number>
  /** Makes a replica the master, as an operator would. Resolves when the Sentinel names another server. */
  failover(): Promise<void>
}

interface RedisSentinelOptions {
  readonly master: RedisServer
  readonly masterName?: string
  /** Password of the Sentinel itself. */
  readonly password?: string
  /** Time in ms of the master's silence after which the Sentinel fails over. */
  readonly downAfterMs?: number
  /** Certificate: the Sentinel and its master then use TLS, with their names. */
  readonly tls?: Tls
}

/** Starts one Sentinel with a quorum of one. Resolves when it has found its master. */
export async function startSentinel(options: RedisSentinelOptions): Promise<RedisSentinel> {
  const { master, masterName = 'mkondo' } = options
  const password = options.password ?? null
  const port = await freePort()
  const tlsPort = options.tls === undefined ? null : await freePort()
  const authority = tlsPort === null ? `127.0.0.1:${port}` : `localhost:${tlsPort}`
  const at = new URL(master.url)
  const credentials = master.password === null ? '' : `:${encodeURIComponent(master.password)}@`
  const server = await startServer({
    port,
    password,
    url: `redis${tlsPort === null ? '' : 's'}+sentinel://${credentials}${authority}/${masterName}`,
    mode: ['--sentinel'],
    config: {
      port: String(port),
      ...(options.tls !== undefined && {
        ...tlsLines(options.tls, tlsPort),
        'tls-replication': 'yes',
        'sentinel resolve-hostnames': 'yes',
        'sentinel announce-hostnames': 'yes',
      }),
      ...(password !== null && { requirepass: quoted(password) }),
      'sentinel monitor': `${masterName} ${at.hostname} ${at.port} 1`,
      'sentinel down-after-milliseconds': `${masterName} ${options.downAfterMs ?? 1000}`,
      'sentinel failover-timeout': `${masterName} 3000`,
      ...(master.password !== null && { 'sentinel auth-pass': `${masterName} ${quoted(master.password)}` }),
    },
  })
  // By default a Sentinel searches for new replicas every 10 s. A Sentinel older than Redis 7 cannot change this.
  await server.command('SENTINEL', 'DEBUG', 'INFO-PERIOD', '200').catch(() => undefined)
  const masterPort = async (): Promise<number> => {
    const address = await server.command('SENTINEL', 'get-master-addr-by-name', masterName)
    return Array.isArray(address) ? Number(address[1]) : 0
  }
  return Object.assign(server, {
    masterName,
    masterPort,
    failover: async () => {
      const before = await masterPort()
      // The failover is refused while the Sentinel has found no usable replica.
      await until(
        async () => {
          const answer = await server.command('SENTINEL', 'failover', masterName).catch(() => null)
          return answer === 'OK'
        },
        WAIT_MS,
        'a failover to begin',
      )
      await until(async () => (await masterPort()) !== before, WAIT_MS, 'another master')
    },
  })
}

interface ServerPlan {
  readonly port: number
  readonly password: string | null
  readonly url: string
  readonly mode: readonly string[]
  readonly config: Readonly<Record<string, string>>
}

async function startServer({ port, password, url, mode, config }: ServerPlan): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-redis-'))
  const file = join(folder, 'redis.conf')
  const lines = { bind: '127.0.0.1', dir: folder, daemonize: 'no', logfile: join(folder, 'log'), ...config }
  writeFileSync(
    file,
    Object.entries(lines)
      .map(([name, value]) => `${name} ${value}\n`)
      .join(''),
  )
  let child: ChildProcess | null = null
  // A test that fails in the middle must not leave a server behind.
  const end = (): void => {
    child?.kill('SIGKILL')
    if (existsSync(folder)) rmSync(folder, { recursive: true })
  }
  process.once('exit', end)

  const command = async (...words: readonly string[]): Promise<unknown> => {
    const client = new Redis({
      port,
      host: '127.0.0.1',
      ...(password !== null && { password }),
      protocol: 2,
      lazyConnect: true,
      retryStrategy: null,
      enableReadyCheck: false,
      disableClientInfo: true,
      connectTimeout: WAIT_MS,
      disconnectTimeout: 50,
      commandTimeout: WAIT_MS,
    })
    client.on('error', () => undefined) // `connect` rejects with the error
    try {
      await client.connect()
      return await client.call(words[0] as string, ...words.slice(1))
    } finally {
      client.disconnect()
    }
  }
  const start = async (): Promise<void> => {
    const started = spawnOwn('redis-server', [file, ...mode], { stdio: 'ignore' })
    child = started
    await comesUp(
      started,
      async () => (await command('PING').catch(() => null)) === 'PONG',
      WAIT_MS,
      `redis-server on port ${port}`,
    )
  }
  const kill = async (): Promise<void> => {
    const killed = child
    child = null
    if (killed === null || killed.exitCode !== null || killed.signalCode !== null) return
    const exit = once(killed, 'exit')
    killed.kill('SIGKILL')
    await exit
  }
  const server: RedisServer = {
    url,
    port,
    password,
    command,
    kill,
    freeze: () => {
      child?.kill('SIGSTOP')
    },
    thaw: () => {
      child?.kill('SIGCONT')
    },
    restart: async () => {
      await kill()
      await start()
    },
    close: async () => {
      await kill()
      process.off('exit', end)
      end()
    },
  }
  try {
    await start()
  } catch (thrown) {
    await server.close()
    throw thrown
  }
  return server
}

function tlsLines({ key, certificate }: Tls, port: number | null): Readonly<Record<string, string>> {
  return {
    'tls-port': String(port),
    'tls-cert-file': certificate,
    'tls-key-file': key,
    'tls-ca-cert-file': certificate,
    'tls-auth-clients': 'no',
  }
}

/** Quoted value of redis.conf, which may contain spaces. */
function quoted(value: string): string {
  return `"${value.replaceAll(/["\\]/g, '\\$&')}"`
}

/**
 * Starts three masters, each with a third of the slots.
 * @param replica  adds a fourth server, which becomes a master when the first has been down for a second
 * @param tls  makes the servers use TLS, with their names
 */
export async function startCluster(replica = false, tls?: Tls): Promise<readonly RedisServer[]> {
  const buses = await Promise.all(Array.from({ length: replica ? 4 : 3 }, () => freePort()))
  const servers = await Promise.all(
    buses.map((bus) =>
      startRedis({
        ...(tls !== undefined && { tls }),
        config: {
          ...(tls !== undefined && {
            'tls-cluster': 'yes',
            'cluster-announce-hostname': 'localhost',
            'cluster-preferred-endpoint-type': 'hostname',
          }),
          'cluster-enabled': 'yes',
          'cluster-port': String(bus),
          'cluster-node-timeout': replica ? '1000' : '5000',
        },
      }),
    ),
  )
  const first = servers[0] as RedisServer
  for (const [i, server] of servers.entries()) {
    const [from, to] = [Math.floor((i * 16384) / 3), Math.floor(((i + 1) * 16384) / 3) - 1]
    // Set as redis-cli does: otherwise two masters with one epoch would have to resolve it first, and a replica waits
    // for this.
    await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(i + 1))
    if (i < 3) await server.command('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to))
    if (i > 0) await server.command('CLUSTER', 'MEET', '127.0.0.1', String(first.port), String(buses[0]))
  }
  for (const server of servers)
    await until(
      async () => {
        const info = String(await server.command('CLUSTER', 'INFO'))
        return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${servers.length}`)
      },
      WAIT_MS,
      'the cluster',
    )
  if (replica) {
    await servers[3]?.command('CLUSTER', 'REPLICATE', String(await first.command('CLUSTER', 'MYID')))
    const isLinked = async (): Promise<boolean> =>
      String(await servers[3]?.command('INFO', 'replication')).includes('master_link_status:up')
    await until(isLinked, WAIT_MS, 'the replica of the first master')
  }
  return servers
}

/** Maximum number of Sentinels in one URL. */
const REDIS_SENTINELS_MAX = 16

/** Content of `REDIS_URL`. */
export interface RedisAddress {
  readonly tls: boolean
  /**
   * Address of one server, of some servers of a cluster, or, with a `masterName`, of Sentinels that know the master.
   */
  readonly hosts: readonly { readonly host: string; readonly port: number }[]
  readonly masterName: string | null
  readonly cluster: boolean
  readonly db: number
  readonly username: string | null
  readonly password: string | null
}

/** Form of a Redis URL, for the error message about a setting. */
export const REDIS_URL_FORM =
  'redis://[user:password@]host[:port][/db], rediss:// for TLS, or redis+sentinel://[user:password@]host[:port],host[:port]/master-name[/db] ' +
  'and rediss+sentinel://, or redis+cluster://[user:password@]host[:port],host[:port] and rediss+cluster://; characters such as @ / : in a password are written as %40 %2F %3A'

const SHAPE = /^redis(s?)(\+sentinel|\+cluster)?:\/\/(?:([^@/?#\s]*)@)?([^@/?#\s]+?)(?:\/([^?#\s]*))?$/
const HOST = /^(?:([A-Za-z0-9._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::(\d{1,5}))?$/

/** @returns undefined if the text does not match REDIS_URL_FORM. Never throws. */
export function parseRedisUrl(text: string): RedisAddress | undefined {
  const [, secure, kind, credentials, hostList = '', path = ''] = SHAPE.exec(text) ?? []
  if (secure === undefined) return undefined
  const sentinel = kind === '+sentinel'
  const cluster = kind === '+cluster'
  const hosts = hostList.split(',').map((host) => parseHost(host, sentinel ? 26379 : 6379))
  const login = parseCredentials(credentials)
  const parts = path.replace(/\/$/, '').split('/')
  const [masterName = '', dbText = ''] = sentinel ? parts : ['', ...parts]
  const nameFits = sentinel ? parts.length <= 2 && /^[\w.-]{1,100}$/.test(masterName) : parts.length === 1
  const hostsMax = kind === undefined ? 1 : REDIS_SENTINELS_MAX
  // A cluster has only one database.
  if (
    login === undefined ||
    !nameFits ||
    (cluster && path !== '') ||
    !/^\d{0,4}$/.test(dbText) ||
    hosts.length > hostsMax
  )
    return undefined
  return hosts.every((host) => host !== undefined)
    ? {
        ...login,
        tls: secure === 's',
        hosts,
        masterName: sentinel ? masterName : null,
        cluster,
        db: Number(dbText),
      }
    : undefined
}

/** URL in the form for people: without user and password. */
export function shownRedisUrl({ tls, hosts, masterName, cluster, db }: RedisAddress): string {
  const authority = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
  if (cluster) return `redis${tls ? 's' : ''}+cluster://${authority}`
  return `redis${tls ? 's' : ''}${masterName === null ? '' : '+sentinel'}://${authority}${masterName === null ? '' : `/${masterName}`}/${db}`
}

/**
 * Protections that the URL of a Redis on a network lacks. Without them, other machines on the path can read or change
 * the fleet's state.
 */
export function redisExposure(
  { tls, hosts, password }: RedisAddress,
  isLoopback: (host: string) => boolean,
): readonly ('tls' | 'password')[] {
  if (hosts.every(({ host }) => isLoopback(host))) return []
  return [...(tls ? [] : (['tls'] as const)), ...(password === null ? (['password'] as const) : [])]
}

function parseHost(text: string, defaultPort: number): RedisAddress['hosts'][number] | undefined {
  const match = HOST.exec(text)
  const port = Number(match?.[3] ?? defaultPort)
  return match === null || port < 1 || port > 65535 ? undefined : { host: match[1] ?? match[2] ?? '', port }
}

function parseCredentials(text: string | undefined): Pick<RedisAddress, 'username' | 'password'> | undefined {
  if (text === undefined) return { username: null, password: null }
  const colon = text.indexOf(':')
  try {
    const username = decodeURIComponent(text.slice(0, Math.max(0, colon)))
    const password = decodeURIComponent(text.slice(colon + 1))
    // A user without a password is probably a mistake, because the user may be a password with its colon missing.
    return colon === -1 || password === '' ? undefined : { username: username === '' ? null : username, password }
  } catch {
    return undefined // not percent-encoding
  }
}

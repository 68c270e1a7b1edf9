import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'
import { SETTINGS } from '../../src/config/settings.js'
import { PUBLIC_ROUTES } from '../../src/edge/public/public-routes.js'
import { redisUser } from '../../src/fleet/store/redis-commands.js'

/** The path of a node's audio socket at each HAProxy, as a pattern: deploy/README.md, NODE_URL. */
const AUDIO_AT: Readonly<Record<string, string>> = {
  'deploy/haproxy.cfg': '/audio',
  'deploy/haproxy-fleet.cfg': '/n/[A-Za-z0-9-]{1,63}/audio',
  'deploy/haproxy-processes.cfg': '/p/[0-4]/audio',
}
const HAPROXY_LIST = /^( *http-request deny deny_status 404 unless \{ path -m reg )\S+( \})$/m

/** nginx has another place for audio, whose gateways are named one by one. */
const NGINX_FILE = 'deploy/nginx.conf'
const NGINX_LIST = /^( *location ~ )\S+( \{\n *proxy_pass http:\/\/gateways;)$/m

/** @param audio  null: the list has none */
function withPaths(file: string, list: RegExp, audio: string | null): string {
  const paths = PUBLIC_ROUTES.map(({ path, takes }) => (takes === 'audio' ? audio : path))
    .filter((path) => path !== null)
    .map((path) => path.slice(1).replace(':agent', '[a-z][a-z0-9-]*'))
  const text = readFileSync(join(packageRoot(), file), 'utf8')
  if (!list.test(text)) throw new Error(`${file} has no list of paths`)
  return text.replace(list, (_, before: string, after: string) => `${before}^/(${paths.join('|')})$${after}`)
}

/** The balancers' files: what they let through is made of the table of routes. */
export function balancerFiles(): Readonly<Record<string, string>> {
  return {
    ...Object.fromEntries(
      Object.entries(AUDIO_AT).map(([file, audio]) => [file, withPaths(file, HAPROXY_LIST, audio)]),
    ),
    [NGINX_FILE]: withPaths(NGINX_FILE, NGINX_LIST, null),
  }
}

const REDIS_FILE = 'deploy/redis.conf'
const REDIS_USER = /^user mkondo\b.*$/m

/** Redis' file: its user may run what nodes send. */
export function redisFile(): Readonly<Record<string, string>> {
  const text = readFileSync(join(packageRoot(), REDIS_FILE), 'utf8')
  if (!REDIS_USER.test(text)) throw new Error(`${REDIS_FILE} has no line of the user`)
  const prefix = SETTINGS.redisPrefix.fallback
  return { [REDIS_FILE]: text.replace(REDIS_USER, () => redisUser(prefix, 'ANOTHER-PASSWORD')) }
}

import { createHash } from 'node:crypto'
import { request } from 'node:http'
import t from 'tap'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import { OpsApp } from '../../src/edge/ops/ops-app.js'
import type { EdgeOptions } from '../../src/edge/options.js'
import { RIGHTS_OF, mayUse } from '../../src/edge/ops/ops-rights.js'
import type { OpsAccess, OpsHolder } from '../../src/edge/ops/ops-rights.js'
import { OPS_ROUTES, accessOf } from '../../src/edge/ops/ops-routes.js'
import type { OpsRoute } from '../../src/edge/ops/ops-routes.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { newSid, post, ringing, startGateway } from '../edge/gateway.js'
import type { Gateway } from '../edge/gateway.js'
import { ScriptedCalls } from '../edge/scripted-calls.js'

/** Who may use which route of the ops port: each route with each holder of rights. */

const TOKENS = {
  OPS_TOKEN: 'ops-token-of-a-test-1',
  OPS_READ_TOKEN: 'read-token-of-a-test-1',
  OPS_LISTEN_TOKEN: 'listen-token-of-a-test-1',
  'of-numbers': 'token-of-one-business-1',
} as const
const OWN = '+254700000002'
const ROUTES: readonly (OpsAccess & { readonly route: string })[] = (Object.keys(OPS_ROUTES) as OpsRoute[]).map(
  (route) => ({ ...accessOf(route), route }),
)

/** Routes as the port registers them. */
function registered(): string[] {
  const routes: string[] = []
  const note = (method: string) => (path: string) => {
    if (path !== '/*') routes.push(`${method} ${path}`)
    return app
  }
  const app = { get: note('GET'), post: note('POST'), head: () => app, any: () => app, ws: note('SOCKET') }
  const options = { metrics: new Metrics({ version: 'x', processMetrics: false }), callSeries: {}, console: new Map() }
  const nothing = undefined as never
  new OpsApp({ ...options, opsToken: null } as unknown as EdgeOptions, nothing, nothing, nothing).routes(app as never)
  return routes
}

t.test('every route has one row in the table of rights [1]', (t) => {
  t.same(ROUTES.map(({ route }) => route).sort(), registered().sort())
  t.end()
})

t.test('no acting route is open to read-only tokens', (t) => {
  for (const { route, right } of ROUTES)
    if (!route.startsWith('GET ')) t.ok(['login', 'act', 'listen'].includes(right), route)
  t.end()
})

t.test('routes with voice need the right to listen [2]', (t) => {
  const voices = ROUTES.filter(({ route }) => /listen$|recording|journal/.test(route))
  t.equal(voices.length, 4)
  for (const { right, ofNumbers } of voices) t.match({ right, ofNumbers }, { right: 'listen', ofNumbers: false })
  t.end()
})

/** Status of the answer to a request; 101 for an opened socket. */
function asked({ edge }: Gateway, route: string, sid: string, headers: Readonly<Record<string, string>>) {
  const [method = '', path = ''] = route.split(' ')
  const at = `127.0.0.1:${edge.opsPort}${path.replace(':sid', sid).replace(/:\w+/g, 'x')}`
  if (method === 'SOCKET') return socketStatus(`ws://${at}`, headers)
  return status(`http://${at}`, method, headers)
}

function status(url: string, method: string, headers: Readonly<Record<string, string>>): Promise<number> {
  const body = method === 'POST' ? '{}' : ''
  const typed = method === 'POST' ? { 'content-type': 'application/json', 'content-length': '2' } : {}
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers: { ...headers, ...typed } }, (answer) => {
      resolve(answer.statusCode ?? 0)
      // An event stream does not end by itself.
      answer.destroy()
    })
    sent.once('error', reject)
    sent.end(body)
  })
}

function socketStatus(url: string, headers: Readonly<Record<string, string>>): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, { headers })
    const over = (code: number): void => {
      resolve(code)
      socket.terminate()
    }
    socket.once('open', () => over(101))
    socket.once('unexpected-response', (_, response) => over(response.statusCode ?? 0))
    socket.on('error', () => undefined) // its status reports it
  })
}

async function guarded(t: Test): Promise<{ readonly gateway: Gateway; readonly sid: string }> {
  const calls = new ScriptedCalls()
  calls.numbers.set(OWN, 'order-status')
  const gateway = await startGateway(t, {
    calls,
    opsToken: TOKENS.OPS_TOKEN,
    opsReadToken: TOKENS.OPS_READ_TOKEN,
    opsListenToken: TOKENS.OPS_LISTEN_TOKEN,
    opsNumberTokens: new Map([[createHash('sha256').update(TOKENS['of-numbers']).digest('hex'), new Set([OWN])]]),
  })
  const sid = newSid()
  await post(`${gateway.url}/voice/support`, { form: { ...ringing(sid), destinationNumber: OWN } })
  return { gateway, sid }
}

/** Headers by which a request comes from a holder; null: it has no right at all. */
async function headersOf({ opsUrl }: Gateway, holder: OpsHolder | 'OPS_TOKEN' | 'OPS_LISTEN_TOKEN' | null) {
  if (holder === null) return {}
  if (holder !== 'read' && holder !== 'act' && holder !== 'listen') return { authorization: `Bearer ${TOKENS[holder]}` }
  const token = holder === 'listen' ? TOKENS.OPS_LISTEN_TOKEN : TOKENS.OPS_TOKEN
  const opened = await post(`${opsUrl}/api/login`, { json: { token, rights: holder } })
  return { cookie: opened.headers.get('set-cookie')?.split(';')[0] ?? '' }
}

const HOLDERS = [...(Object.keys(RIGHTS_OF) as OpsHolder[]), 'OPS_TOKEN', 'OPS_LISTEN_TOKEN', null] as const

for (const holder of HOLDERS)
  t.test(`${holder ?? 'nobody'} gets the rights of the table`, async (t) => {
    const { gateway, sid } = await guarded(t)
    const headers = await headersOf(gateway, holder)
    const as = holder === 'OPS_TOKEN' ? 'act' : holder === 'OPS_LISTEN_TOKEN' ? 'listen' : holder
    for (const { route, ...access } of ROUTES.filter(({ right }) => right !== 'login')) {
      const answer = await asked(gateway, route, sid, headers)
      const allowed = as === null ? access.right === 'open' : mayUse(as, access)
      t.equal([401, 403].includes(answer), !allowed, `${route}: ${answer}`)
    }
  })

t.test('a page of another origin acts on no route [3]', async (t) => {
  const { gateway, sid } = await guarded(t)
  const cookies = await headersOf(gateway, 'listen')
  for (const { route } of ROUTES.filter((each) => !each.route.startsWith('GET ')))
    for (const origin of ['http://attacker.example', 'null', `${gateway.opsUrl}.attacker.example`])
      t.equal(await asked(gateway, route, sid, { ...cookies, origin }), 403, `${route} from ${origin}`)
})

t.test('without a token a foreign Host reaches no route', async (t) => {
  const gateway = await startGateway(t)
  const headers = { host: 'attacker.example', origin: 'http://attacker.example' }
  for (const { route } of ROUTES) t.equal(await asked(gateway, route, newSid(), headers), 403, route)
})

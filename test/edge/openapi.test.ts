import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { campaignSchema } from '../../src/campaigns/campaign.js'
import { eachErased } from '../../src/telemetry/archive/erasure.js'
import type { CampaignView } from '../../src/campaigns/campaign.js'
import t from 'tap'
import { parse } from 'yaml'
import { z } from 'zod'
import { packageRoot } from '../../src/config/package-root.js'
import { OpsApp } from '../../src/edge/ops/ops-app.js'
import { spansOf, usualOf } from '../../src/call/why/usual.js'
import { figuresOf } from '../../src/call/documents/call-charts.js'
import { endedRow } from '../../src/call/documents/call-view.js'
import type { EdgeOptions } from '../../src/edge/options.js'
import { Metrics } from '../../src/telemetry/metrics.js'
import { deskOf } from '../support/agent-inspector.js'
import { editorDouble, HASH } from '../support/editor-double.js'
import { endedCall } from '../support/record.js'
import { fleet } from '../fleet/nodes.js'
import { get, newSid, post, ring, startGateway } from './gateway.js'
import type { Gateway, Posted } from './gateway.js'
import { storedFile } from '../support/stored-file.js'

/** `schema/ops-api.openapi.yaml` and the routes of the ops port are one. */

type Json = Readonly<Record<string, unknown>>
interface Operation {
  readonly operationId: string
  readonly summary: string
  readonly responses: Readonly<Record<string, Json>>
}

const FILE = join(packageRoot(), 'schema', 'ops-api.openapi.yaml')
const openapi = parse(readFileSync(FILE, 'utf8'), { merge: true }) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const METHODS = ['get', 'post'] as const
const documented = Object.entries(openapi.paths).flatMap(([path, operations]) =>
  METHODS.filter((method) => method in operations).map((method) => `${method} ${path}`),
)

const documents = new Map<string, unknown>()
function documentIn(file: string): unknown {
  if (!documents.has(file)) documents.set(file, parse(readFileSync(file, 'utf8'), { merge: true }))
  return documents.get(file)
}

/** Everything that a schema refers to, in its place. */
function whole(value: unknown, file = FILE): unknown {
  if (Array.isArray(value)) return value.map((entry) => whole(entry, file))
  if (typeof value !== 'object' || value === null) return value
  const ref = (value as { $ref?: unknown }).$ref
  if (typeof ref !== 'string') {
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => key !== '$schema')
        .map(([key, entry]) => [key, whole(entry, file)]),
    )
  }
  const [name = '', pointer = ''] = ref.split('#')
  const target = name === '' ? file : join(dirname(file), name)
  let found = documentIn(target)
  for (const key of pointer.split('/').slice(1)) found = (found as Json)[key]
  return whole(found, target)
}

const PREVIEWED = { number: '+2547…01', externalId: null, timeZone: null, says: 'Hello.' }
const CAMPAIGN: CampaignView = {
  ...campaignSchema.parse({
    version: 1,
    id: 'reminders',
    name: 'reminders',
    agent: 'order-status',
    window: 'Mon-Sat 09:00-18:00',
    timeZone: 'Africa/Nairobi',
    state: 'running',
    why: null,
    createdAt: '2026-11-27T06:00:00.000Z',
    rows: 2,
  }),
  stands: 'running',
  waiting: 1,
  calling: 0,
  results: { person: 1 },
}

const schemas = new Map<string, z.ZodType | null>()
/** The documented answer of a path; null where that status is not documented. */
function schemaOf(path: string, method: 'get' | 'post', status: number): z.ZodType | null {
  const key = `${method} ${path} ${status}`
  const known = schemas.get(key)
  if (known !== undefined) return known
  const schema = newSchemaOf(path, method, status)
  schemas.set(key, schema)
  return schema
}

function newSchemaOf(path: string, method: 'get' | 'post', status: number): z.ZodType | null {
  const { responses = {} } = openapi.paths[path]?.[method] ?? {}
  const response = responses[String(status)] ?? (status >= 400 ? responses['default'] : undefined)
  if (response === undefined) return null
  const { content = {} } = whole(response) as { content?: Readonly<Record<string, { schema: Json }>> }
  const json = content['application/json']
  return json === undefined ? z.unknown() : z.fromJSONSchema(json.schema)
}

t.test('documented operations and routes of the ops port match', (t) => {
  const routes: string[] = []
  const note =
    (method: string) =>
    (path: string): unknown => {
      if (/^\/(api|metrics|healthz|readyz)/.test(path)) routes.push(`${method} ${path.replaceAll(/:(\w+)/g, '{$1}')}`)
      return app
    }
  const app = { get: note('get'), post: note('post'), head: () => app, any: () => app, ws: note('get') }
  const options = {
    metrics: new Metrics({ version: 'x', processMetrics: false }),
    callSeries: { contentType: '' },
    opsToken: null,
    console: new Map(),
  }
  const ops = new OpsApp(options as unknown as EdgeOptions, undefined as never, undefined as never, undefined as never)
  ops.routes(app as unknown as Parameters<typeof ops.routes>[0])
  t.same([...routes].sort(), [...documented].sort())
  t.end()
})

t.test('each operation has a unique name and a summary', (t) => {
  const operations = Object.values(openapi.paths).flatMap((path) => METHODS.flatMap((method) => path[method] ?? []))
  t.equal(new Set(operations.map(({ operationId }) => operationId)).size, documented.length)
  for (const { operationId, summary, responses } of operations) {
    t.match(summary, /^[A-Z].{10,}[^.]$/, operationId)
    t.ok('default' in responses || ['health', 'ready'].includes(operationId), `${operationId}: its errors`)
  }
  t.end()
})

t.test('answers have exactly the documented keys', async (t) => {
  const nodes = await fleet(t, 2, {
    erasure: {
      live: () => 0,
      erase: () =>
        Promise.resolve({
          erased: { ...eachErased(() => 0), calls: 1, records: 1 },
          uncertain: 0,
          unlooked: [],
        }),
      eraseKept: () => Promise.resolve(0),
      find: () => Promise.resolve({ callSids: ['HD_1'], more: 0, uncertain: 0, messages: [] }),
      campaignsOf: () => Promise.resolve({ rows: [{ campaign: 'x' }], doNotCall: false, unlooked: [] }),
      rememberedOf: () => Promise.resolve([{ line: 'x' }]),
    },
    outbox: {
      waiting: 0,
      dead: 1,
      list: async () => [
        {
          key: 'HD_ended0000001.0',
          id: 'HD_ended0000001:call.ended',
          type: 'call.ended',
          receiver: 'crm',
          callSid: 'HD_ended0000001',
          tries: 1,
          nextTryAt: null,
          reason: 'answered 404',
        },
      ],
      retry: (key) => Promise.resolve(key === 'lookup_order'),
    },
    campaigns: {
      reached: (ask) => ask(),
      remove: () => Promise.resolve(),
      list: () => Promise.resolve([CAMPAIGN]),
      view: () => Promise.resolve(CAMPAIGN),
      command: () => Promise.resolve(CAMPAIGN),
      create: () => Promise.resolve({ campaign: CAMPAIGN, added: 1, faults: [], preview: [PREVIEWED] }),
      report: () => Promise.resolve('number\r\n'),
      doNotCall: () => Promise.resolve(true),
      doNotCallList: () => Promise.resolve([{ number: '+2547…01', at: '2026-11-27T06:00:00.000Z', by: 'caller' }]),
    },
    settings: { MAX_CALLS: 7 },
    finder: {
      find: () =>
        Promise.resolve({
          hits: [{ id: 1, row: { ...endedRow(endedCall()), cost: { amount: 1.5, currency: 'KES' } } }],
          next: null,
          current: true,
        }),
      usual: () => Promise.resolve(usualOf([spansOf(endedCall())])),
      chart: ({ buckets }) =>
        Promise.resolve({
          groups: [{ name: 'support', buckets: Array.from({ length: buckets }, () => figuresOf(endedCall())) }],
          current: true,
        }),
    },
    editor: editorDouble().editor,
    agents: await deskOf(join(packageRoot(), 'agents'), 'http://127.0.0.1:9'),
    recording: () => Promise.resolve(storedFile(t, new Uint8Array(64))),
    carrierRecording: () => Promise.resolve(storedFile(t, new Uint8Array(64))),
    journal: () => Promise.resolve(storedFile(t, Buffer.from('{}\n'))),
  })
  const alone = await startGateway(t)
  const gateway = nodes.gateways[0] as Gateway
  const ended = 'HD_ended0000001'
  for (const each of [gateway, alone]) each.calls.records.set(ended, endedCall({ callSid: ended }))
  gateway.calls.packets.set(ended, {
    version: 1,
    callSid: ended,
    agent: 'support',
    reason: 'asked for a human',
    summary: '',
    identity: null,
    tried: [],
    transcript: [],
    at: '2026-11-20T00:00:00.000Z',
    from: '+254700000001',
    to: '+254709000000',
    escalation: null,
  })
  const { sid: live } = await ring(gateway)
  const answered = new Set<string>()
  const check = (path: string, method: 'get' | 'post', { status, text, headers }: Posted, what = path): void => {
    const schema = schemaOf(path, method, status)
    if (!t.ok(schema, `${method} ${what}: ${status} is documented`) || schema === null) return
    if (status < 300 || status === 503) answered.add(`${method} ${path}`)
    if (headers.get('content-type')?.startsWith('application/json;') !== true) return
    const read = schema.safeParse(JSON.parse(text))
    t.ok(read.success, `${method} ${what}: ${status} ${read.success ? '' : z.prettifyError(read.error)}`)
  }
  // Streams and sockets do not end: test/edge/console.test.ts reads them.
  const open = ['/api/live', '/api/calls/{sid}/live', '/api/calls/{sid}/listen', '/api/phone']
  for (const path of Object.keys(openapi.paths).filter((one) => !open.includes(one))) {
    for (const sid of path.includes('{sid}') ? [ended, live, newSid()] : ['']) {
      const url = gateway.opsUrl + path.replace('{sid}', sid)
      if (documented.includes(`get ${path}`)) check(path, 'get', await get(url), `${path} of ${sid}`)
    }
    if (documented.includes(`get ${path}`)) check(path, 'get', await get(alone.opsUrl + path.replace('{sid}', ended)))
  }
  for (const [path, body] of [
    ['/api/calls', { agent: 'order-status', to: '+254700000001' }],
    ['/api/calls/{sid}/escalate', { reason: 'x' }],
    ['/api/calls/{sid}/whisper', { text: 'Offer her free delivery.' }],
    ['/api/calls/{sid}/hangup', { speak: true }],
    ['/api/erase', { sid: ended }],
    ['/api/export', { number: '+254700000001' }],
    ['/api/login', { token: 'x', rights: 'read' }],
    ['/api/logout', {}],
    ['/api/agents/{name}/tools/{tool}', { args: { orderNumber: '4127' } }],
    ['/api/editor/open', { file: 'a.yaml' }],
    ['/api/editor/check', { file: 'a.yaml', text: 'x' }],
    ['/api/editor/draft', { file: 'a.yaml', text: 'x' }],
    ['/api/editor/publish', { file: 'a.yaml', text: 'x', base: HASH }],
    ['/api/messages/{key}/retry', {}],
    ['/api/campaigns', {}],
    ['/api/campaigns/{id}/start', {}],
    ['/api/campaigns/{id}/pause', {}],
    ['/api/campaigns/{id}/resume', {}],
    ['/api/campaigns/{id}/stop', {}],
    ['/api/campaigns/{id}/remove', {}],
    ['/api/do-not-call', { number: '+254700000001' }],
    ['/api/agents/{name}/say', { text: 'Hello.' }],
    ['/api/cordon', {}],
    ['/api/uncordon', { node: 'gw-1' }],
    ['/api/drain', {}],
  ] as const) {
    const at = nodes.gateways[nodes.ownerOf(live)] ?? gateway
    const names = path
      .replace('{sid}', live)
      .replace('{name}', 'order-status')
      .replace(/\{tool\}|\{key\}/, 'lookup_order')
    const url = at.opsUrl + names
    check(path, 'post', await post(url, { json: body }))
    check(path, 'post', await post(url, { json: 7 }))
    check(path, 'post', await post(url, { form: {} }))
  }
  const unseen = documented.filter((operation) => !answered.has(operation))
  const elsewhere = [
    'post /api/agents/{name}/say',
    'post /api/calls',
    'post /api/calls/{sid}/whisper',
    'post /api/login',
    ...open.map((path) => `get ${path}`),
  ]
  t.same(
    unseen.sort(),
    elsewhere.sort(),
    'a voice, the carrier, a stream, a token: test/gateway/agent-inspector.slow.test.ts, test/edge/outbound.test.ts, ops.test.ts, console.test.ts',
  )
})

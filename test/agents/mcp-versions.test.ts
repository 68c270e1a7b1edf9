import { fileURLToPath } from 'node:url'
import { createMcpHandler, inputRequired, McpServer } from '@modelcontextprotocol/server'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { listedForMs, type McpStatus } from '../../src/agents/tools/mcp-server.js'
import type { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { until } from '../support/until.js'
import { api, context, runnerOf } from './tool-rig.js'

function serverOf(t: Test, server: Omit<NonNullable<AgentInput['mcp']>[number], 'name'>): ToolRunner {
  const runner = runnerOf(t, { mcp: [{ name: 'x', ...server }] })
  t.teardown(() => runner.close())
  return runner
}

const QUESTION = inputRequired.elicit({
  message: 'Sure?',
  requestedSchema: { type: 'object', properties: { sure: { type: 'boolean' } } },
})

/** The official server, on loopback, without any version before 2026-07-28. */
async function modern(t: Test, ttlMs: number): Promise<Awaited<ReturnType<typeof api>> & { methods: () => string[] }> {
  const handler = createMcpHandler(
    () => {
      const server = new McpServer({ name: 'modern', version: '1' }, { cacheHints: { 'tools/list': { ttlMs } } })
      const echo = { description: 'Says it.', inputSchema: z.object({ message: z.string() }) }
      server.registerTool('echo', echo, ({ message }) => ({ content: [{ type: 'text', text: `said ${message}` }] }))
      const asks = { description: 'Asks a person.' }
      server.registerTool('asks', asks, () => inputRequired({ inputRequests: { sure: QUESTION } }))
      server.registerTool('waits', asks, () => inputRequired({ requestState: 'half' }))
      return server
    },
    { legacy: 'reject' },
  )
  t.teardown(() => handler.close())
  const at = await api(t, (request, response) => {
    const headers = Object.entries(request.headers).map(([name, value]): [string, string] => [name, String(value)])
    const body = request.method === 'POST' ? { body: at.bodies.at(-1) ?? '' } : {}
    const asked = new Request(`${at.url}/mcp`, { method: request.method ?? 'GET', headers, ...body })
    void handler.fetch(asked).then(async (answer) => {
      response.writeHead(answer.status, Object.fromEntries(answer.headers))
      // The stream of changes stays open.
      response.flushHeaders()
      for await (const part of answer.body ?? []) response.write(part)
      response.end()
    })
  })
  const methods = (): string[] =>
    at.bodies.filter((body) => body !== '').map((body) => (JSON.parse(body) as { method: string }).method)
  return { ...at, methods }
}

t.test('a server without sessions is asked for its versions first', async (t) => {
  const at = await modern(t, 0)
  const runner = serverOf(t, { url: `${at.url}/mcp`, tools: ['echo'] })
  await runner.useServers(10_000)
  t.same(runner.serverFaults, [{ server: 'x', fault: null }])
  t.match(await runner.run('x_echo', { message: 'Jambo' }, context()), { ok: true, value: 'said Jambo' })
  t.same(at.methods(), ['server/discover', 'subscriptions/listen', 'tools/list', 'tools/call'])
  t.match(at.requests.at(-1)?.headers, { 'mcp-protocol-version': '2026-07-28' })
  t.equal(at.requests.filter(({ headers }) => 'mcp-session-id' in headers).length, 0, 'no session')
})

t.test('a tool that asks a person fails; others still work', async (t) => {
  const at = await modern(t, 0)
  const runner = serverOf(t, { url: `${at.url}/mcp`, tools: ['asks', 'waits', 'echo'] })
  await runner.useServers(10_000)
  const detail = async (tool: string): Promise<unknown> => (await runner.run(tool, {}, context())).value
  t.match(await detail('x_asks'), { detail: /do not declare/ }, 'the official server does not ask this client')
  t.match(await detail('x_waits'), { detail: /answer of a person/ })
  t.match(await runner.run('x_echo', { message: 'a' }, context()), { ok: true })
})

t.test('the tool list is requested again after its lifetime', async (t) => {
  const at = await modern(t, 1000)
  const runner = serverOf(t, { url: `${at.url}/mcp`, tools: ['echo'] })
  await runner.useServers(10_000)
  const lists = (): number => at.methods().filter((method) => method === 'tools/list').length
  t.equal(lists(), 1)
  await until(() => lists() === 2, 20_000, 'the second list')
})

t.test('the lifetime of a tool list is bounded', (t) => {
  t.same(
    [undefined, 0, -1, 'x', 1, 90_000, 86_400_000].map(listedForMs),
    [60_000, 60_000, 60_000, 60_000, 5000, 90_000, 300_000],
  )
  t.end()
})

t.test('a local server without older versions works', async (t) => {
  const file = fileURLToPath(new URL('./modern-mcp-server.js', import.meta.url))
  const runner = serverOf(t, { command: [process.execPath, file], tools: ['say'] })
  await runner.useServers(60_000)
  t.match(await runner.run('x_say', {}, context()), { ok: true, value: 'said' })
})

// Servers of before, which know nothing of what is asked before their handshake.
for (const [does, unknown] of [
  ['ends', 'process.exit(1)'],
  ['is silent', 'return'],
] as const)
  t.test(`an older local server that ${does} when asked works`, async (t) => {
    const program = `
      const results = {
        initialize: { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'old', version: '1' } },
        'tools/list': { tools: [{ name: 'say', inputSchema: { type: 'object' } }] },
        'tools/call': { content: [{ type: 'text', text: 'said' }] },
      }
      require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
        const { id, method } = JSON.parse(line)
        if (id === undefined) return
        const result = results[method]
        if (result === undefined) ${unknown}
        console.log(JSON.stringify({ jsonrpc: '2.0', id, result }))
      })`
    const runner = serverOf(t, { command: [process.execPath, '-e', program], tools: ['say'] })
    await runner.useServers(60_000)
    t.match(await runner.run('x_say', {}, context()), { ok: true, value: 'said' })
  })

const SCHEMA = { type: 'object', properties: { message: { type: 'string' } } }

/** A server that answers each page of its list with `pages`, by the cursor; an error code stands for an error. */
async function listing(t: Test, pages: Readonly<Record<string, unknown>>): Promise<ReturnType<typeof api>> {
  const at = await api(t, (request, response) => {
    if (request.method !== 'POST') return response.writeHead(405).end()
    const { id, method, params } = JSON.parse(at.bodies.at(-1) ?? '') as {
      id?: number
      method: string
      params?: { cursor?: string }
    }
    if (id === undefined) return response.writeHead(202).end()
    const page = pages[params?.cursor ?? 'first']
    const answer =
      method === 'server/discover' || (method === 'tools/list' && typeof page === 'number')
        ? { error: { code: method === 'tools/list' ? page : -32601, message: 'no' } }
        : {
            result:
              method === 'tools/list'
                ? page
                : method === 'tools/call'
                  ? { content: [{ type: 'text', text: 'said' }] }
                  : {
                      protocolVersion: '2025-06-18',
                      capabilities: { tools: {} },
                      serverInfo: { name: 'x', version: '1' },
                    },
          }
    response.writeHead(200, { 'content-type': 'application/json' })
    return response.end(JSON.stringify({ jsonrpc: '2.0', id, ...answer }))
  })
  return at
}

const tool = (name: string, more: object = {}): object => ({ name, inputSchema: SCHEMA, ...more })
/** A list with a tool on each page; the last page is not `nextCursor: null` but has no cursor. */
const twelve = Object.fromEntries(
  Array.from({ length: 12 }, (_, at) => [
    at === 0 ? 'first' : `page${at}`,
    { tools: [tool(`t${at}`)], ...(at === 11 ? {} : { nextCursor: `page${at + 1}` }) },
  ]),
)

for (const [what, pages, tools, missing, reason] of [
  ['a null cursor', { first: { tools: [tool('a'), tool('b')], nextCursor: null } }, ['a', 'b'], [], ''],
  [
    'faults in tools that no agent names',
    {
      first: {
        tools: [
          null,
          7,
          { name: 3 },
          { name: 'other' },
          tool('odd', { inputSchema: { ...SCHEMA, required: null } }),
          tool('a'),
        ],
      },
    },
    ['a'],
    [],
    '',
  ],
  ['null texts', { first: { tools: [tool('a', { description: null, title: null })] } }, ['a'], [], ''],
  [
    'a null list of required arguments',
    { first: { tools: [tool('a', { inputSchema: { ...SCHEMA, required: null } })] } },
    ['a'],
    [],
    '',
  ],
  ['a named tool without a schema', { first: { tools: [{ name: 'a' }, tool('b')] } }, ['a', 'b'], ['a'], ''],
  ['twelve pages', twelve, ['t0', 't11'], [], ''],
  [
    'a failed second page',
    { first: { tools: [tool('a')], nextCursor: 'second' }, second: -32603 },
    ['a', 'b'],
    ['b'],
    'page 2 of its list failed: it answered with the error -32603',
  ],
  [
    'a second page that is not a list',
    { first: { tools: [tool('a')], nextCursor: 'second' }, second: { tools: 'none' } },
    ['a', 'b'],
    ['b'],
    'page 2 of its list failed: INVALID_RESULT',
  ],
  ['a cursor that leads back', { first: { tools: [tool('a')], nextCursor: 'first' } }, ['a', 'b'], ['b'], ''],
] as const)
  t.test(`usable tools remain of a list with ${what}`, async (t) => {
    const at = await listing(t, pages)
    const runner = serverOf(t, { url: `${at.url}/mcp`, tools: [...tools] })
    await runner.useServers(10_000)
    const offered = runner.serverTools().map(({ name }) => name)
    t.same(
      offered,
      tools.filter((name) => !(missing as readonly string[]).includes(name)).map((name) => `x_${name}`),
    )
    const fault = missing.length === 0 ? null : `has no usable ${missing.join()}${reason === '' ? '' : `: ${reason}`}`
    t.same(runner.serverFaults, [{ server: 'x', fault }])
    // The call that waited for the first list listens only now. The next call learns nothing a second time.
    const heard = [[], []] as McpStatus[][]
    for (const news of heard) {
      t.teardown(runner.watchServers((one, first) => (first ? news.push(one) : undefined)))
      await Promise.resolve()
    }
    const told = [{ event: 'up' }, ...(missing.length === 0 ? [] : [{ event: 'incomplete', missing, reason }])]
    t.match(heard, [told, []])
    t.equal(heard[0]?.length, told.length)
    t.match(await runner.run(offered[0] ?? '', { message: 'Jambo' }, context()), { ok: true, value: 'said' })
  })

t.test('a server that is down at the first call is named once', async (t) => {
  const at = await listing(t, { first: -32603 })
  const runner = serverOf(t, { url: `${at.url}/mcp`, tools: ['a'] })
  await runner.useServers(10_000)
  const news: McpStatus[] = []
  t.teardown(runner.watchServers((one) => news.push(one)))
  await Promise.resolve()
  t.match(news, [{ event: 'down', failures: 1, reason: 'it answered with the error -32603' }])
})

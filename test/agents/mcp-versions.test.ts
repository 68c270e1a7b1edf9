import { fileURLToPath } from 'node:url'
import { createMcpHandler, inputRequired, McpServer } from '@modelcontextprotocol/server'
import t from 'tap'
import type { Test } from 'tap'
import { z } from 'zod'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { listedForMs } from '../../src/agents/tools/mcp-server.js'
import type { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { until } from '../support/until.js'
import { api, context, runnerOf } from './tool-rig.js'

t.setTimeout(60_000)

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

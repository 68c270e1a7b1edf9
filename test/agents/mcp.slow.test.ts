import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import type { Test } from 'tap'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import type { McpStatus } from '../../src/agents/tools/mcp-server.js'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { rehearse } from '../../src/agents/tools/rehearsal.js'
import { allCallsOn } from '../../src/backends/split.js'
import { AgentInspector } from '../../src/gateway/agents/agent-inspector.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import type { ToolContext } from '../../src/agents/tools/tool.js'
import { ToolRunner, ToolRunners } from '../../src/agents/tools/tool-runner.js'
import { packageRoot } from '../../src/config/package-root.js'
import { HttpClient } from '../../src/http/http-client.js'
import { onEnded } from '../../src/system/program-mark.js'
import { onEdited, tellEdited } from '../../src/workers/shared/edited-agents.js'
import { whole } from '../support/gateway.js'
import { freePort } from '../support/free-ports.js'
import { comesUp, succeeds, until } from '../support/until.js'
import { api, context } from './tool-rig.js'
import { spawnOwn } from '../support/spawn-own.js'

// The protocol's own server for clients to be tried with.
const EVERYTHING = join(packageRoot(), 'node_modules/@modelcontextprotocol/server-everything/dist/index.js')

type ServerInput = NonNullable<AgentInput['mcp']>[number]

function runnerOf(
  t: Test,
  server: ServerInput,
  env: Record<string, string> = {},
  digits: AgentInput['digits'] = [],
): ToolRunner {
  const client = new HttpClient()
  const agent = agentSchema.parse({
    version: 1,
    name: 'a',
    instructions: 'x',
    mcp: [server],
    digits,
    verification: {
      account: { http: { url: 'https://x.test', query: { phone: '{{call.from}}' } } },
      questions: [
        { id: 'a', ask: 'A?', field: 'a' },
        { id: 'b', ask: 'B?', field: 'b' },
      ],
      identity: { phone: 'phone' },
    },
  })
  const runner = new ToolRunner(agent, env, client)
  t.teardown(async () => {
    await runner.close()
    client.close()
  })
  return runner
}

async function overHttp(port: number): Promise<ChildProcess> {
  const child = spawnOwn(process.execPath, [EVERYTHING, 'streamableHttp'], {
    env: { PATH: process.env['PATH'], PORT: String(port) },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  const answers = (): Promise<boolean> => succeeds(fetch(`http://127.0.0.1:${port}/mcp`))
  await comesUp(child, answers, 60_000, 'the server of everything', () => said)
  return child
}

t.test('a local server offers the tools that the agent allows', async (t) => {
  const runner = runnerOf(
    t,
    {
      name: 'every',
      command: [process.execPath, EVERYTHING, 'stdio'],
      env: { GIVEN: '{{env.GIVEN}}' },
      tools: [
        'echo',
        { name: 'get-sum', idempotent: true, bind: {} },
        { name: 'get-env', description: 'The environment.' },
        { name: 'trigger-long-running-operation', timeoutMs: 500 },
        'no-such-tool',
      ],
    },
    { GIVEN: 'yes', SECRET_OF_OURS: 'no' },
  )
  await runner.useServers(60_000)
  t.same(
    runner.serverTools().map(({ name, once }) => [name, once === true]),
    [
      ['every_echo', true],
      ['every_get_sum', false],
      ['every_get_env', true],
      ['every_trigger_long_running_operation', true],
    ],
  )
  t.match(runner.serverFaults, [{ server: 'every', fault: 'has no usable no-such-tool' }])
  t.match(await runner.run('every_echo', { message: 'Jambo' }, context()), { ok: true, value: /Jambo/ })
  t.match(
    await runner.run('every_get_sum', { a: '2', b: 3 }, context()),
    { ok: true, value: /5/ },
    'a numeric text is converted',
  )
  t.match(await runner.run('every_get_sum', { a: 'many', b: 3 }, context()), { ok: false, code: 'TOOL_ARGUMENTS' })
  t.match(await runner.run('every_get_resource_links', {}, context()), { ok: false, code: 'TOOL_UNKNOWN' })
  const environment = await runner.run('every_get_env', {}, context())
  t.match(JSON.stringify(environment), /GIVEN/)
  t.notMatch(JSON.stringify(environment), /SECRET_OF_OURS|npm_/, 'other variables are not passed')
  const abort = new AbortController()
  const long = runner.run(
    'every_trigger_long_running_operation',
    { duration: 30, steps: 30 },
    context({ signal: abort.signal }),
  )
  abort.abort()
  t.match(await long, { ok: false, code: 'TOOL_CANCELLED' })
  t.match(
    await runner.run('every_trigger_long_running_operation', { duration: 30, steps: 30 }, context()),
    { ok: false, code: 'TOOL_TIMEOUT' },
    'a tool ends at its deadline',
  )
  t.match(await runner.run('every_echo', { message: 'again' }, context()), { ok: true }, 'the server still works')
  const intents: string[] = []
  const gate: ToolContext['gate'] = {
    intend: (key, tool) => {
      intents.push(`${key} ${tool}`)
      return Promise.resolve(intents.length === 1 ? { type: 'run' } : { type: 'uncertain' })
    },
    settle: () => undefined,
  }
  const keyed = context({ gate, idempotencyKey: 'k' })
  t.match(await runner.run('every_echo', { message: 'once' }, keyed), { ok: true })
  t.match(await runner.run('every_echo', { message: 'once' }, keyed), { ok: false, code: 'TOOL_UNCERTAIN' })
  await runner.run('every_get_sum', { a: 2, b: 3 }, keyed)
  t.same(intents, ['k every_echo', 'k every_echo'], 'only tools with effects have intents')
})

t.test('bound arguments are hidden, and verified tools need verification', async (t) => {
  const runner = runnerOf(t, {
    name: 'every',
    command: [process.execPath, EVERYTHING, 'stdio'],
    tools: [{ name: 'echo', requires: 'verified', bind: { message: '{{identity.phone}}' } }],
  })
  await runner.useServers(60_000)
  t.same(runner.serverTools()[0]?.parameters['properties'], {}, 'bound arguments are not shown to the model')
  t.match(await runner.run('every_echo', { message: 'x' }, context()), { ok: false, code: 'TOOL_UNVERIFIED' })
  const caller = new CallerIdentity({ phone: '+254700000009' })
  t.match(await runner.run('every_echo', { message: 'x' }, context({ caller })), { value: /\+254700000009/ })
})

t.test('a tool for sensitive digits is hidden from the model', async (t) => {
  const server = { name: 'every', command: [process.execPath, EVERYTHING, 'stdio'], tools: ['echo', 'get-sum'] }
  const digits = [
    { name: 'pin', description: 'x', say: 'x', length: 4, sensitive: true, tool: 'every_echo', argument: 'message' },
  ]
  const runner = runnerOf(t, server, {}, digits)
  await runner.useServers(60_000)
  t.same(
    runner.serverTools().map(({ name }) => name),
    ['every_get_sum'],
  )
  t.match(await runner.run('every_echo', { message: '1234' }, context()), { ok: true })
})

t.test('console and check list the tools of a server', async (t) => {
  const agent = agentSchema.parse({
    version: 1,
    name: 'a',
    instructions: 'x',
    mcp: [{ name: 'every', command: [process.execPath, EVERYTHING, 'stdio'], tools: ['get-sum'] }],
  })
  const hosted = { definition: agent, shares: allCallsOn('embedded') }
  const dir = t.testdir({})
  const options = { dir, watched: false, env: {}, workerEnv: { PATH: process.env['PATH'] ?? '' }, speech: false }
  const desk = new AgentInspector({ agents: new Map([['a', hosted]]), ...options })
  // A view waits for the list of a server, but not for long.
  let tools: unknown[] = []
  const listed = async (): Promise<boolean> => (tools = [...((await desk.view()).agents[0]?.tools ?? [])]).length > 0
  await until(listed, 60_000, 'its list')
  t.match(tools, [
    {
      name: 'every_get_sum',
      arguments: { a: { type: 'number' }, b: { type: 'number' } },
      changes: true,
      request: null,
    },
  ])
  const order = { tool: 'every_get_sum', args: { a: 2, b: 3 }, from: null, verified: false }
  t.match(await desk.tryTool('a', { ...order, send: false }), { dry: true, ok: null, value: null })
  const { dry, ok, value } = await desk.tryTool('a', { ...order, send: true })
  t.match({ dry, ok }, { dry: false, ok: true })
  t.match(JSON.stringify(value), /5/)
  await t.rejects(desk.tryTool('a', { ...order, tool: 'every_echo', send: true }), {
    message: /allowed: every_get_sum/,
  })
  const client = new HttpClient()
  t.teardown(() => client.close())
  t.same(await rehearse(agent, NO_ASSETS, {}, client), [
    { ok: null, what: 'every_get_sum: a tool of an MCP server, with a, b; it is not run here' },
  ])
})

t.test('tools of a server disappear and return with it [1]', async (t) => {
  const port = await freePort()
  const first = await overHttp(port)
  const runner = runnerOf(t, { name: 'every', url: `http://127.0.0.1:${port}/mcp`, tools: ['echo'] })
  const news: McpStatus[] = []
  t.teardown(runner.watchServers((one) => news.push(one)))
  await runner.useServers(60_000)
  t.match(await runner.run('every_echo', { message: 'Jambo' }, context()), { ok: true, value: /Jambo/ })
  first.kill('SIGKILL')
  await until(() => first.signalCode !== null, 10_000, 'its end')
  t.match(await runner.run('every_echo', { message: 'x' }, context()), { ok: false, code: 'TOOL_HTTP' })
  t.same(runner.serverTools(), [])
  t.match(await runner.run('every_echo', { message: 'x' }, context()), {
    ok: false,
    value: { error: 'the system cannot be reached' },
  })
  const second = await overHttp(port)
  t.teardown(() => second.kill('SIGKILL'))
  await until(() => runner.serverTools().length === 1, 20_000, 'its tools')
  t.match(await runner.run('every_echo', { message: 'back' }, context()), { ok: true })
  t.match(
    news.map(({ event }) => event),
    ['up', 'down', 'up'],
  )
  t.notMatch(JSON.stringify(news), /127\.0\.0\.1/, "without the server's address")
})

t.test('a changed tool list is requested again', async (t) => {
  const file = fileURLToPath(new URL('./changing-mcp-server.js', import.meta.url))
  const runner = runnerOf(t, { name: 'x', command: [process.execPath, file], tools: ['show', 'later'] })
  const news: McpStatus[] = []
  t.teardown(runner.watchServers((one) => news.push(one)))
  await runner.useServers(60_000)
  const names = (): string[] => runner.serverTools().map(({ name }) => name)
  t.same(names(), ['x_show'])
  await runner.run('x_show', {}, context())
  await until(() => names().includes('x_later'), 10_000, 'the other tool')
  t.match(news.at(-1), { event: 'changed', missing: [] })
})

t.test('forbidden addresses and oversized answers of servers are refused', async (t) => {
  const at = await api(t, (request, response) => {
    if (request.url === '/away') return response.writeHead(302, { location: 'http://169.254.169.254/' }).end()
    response.writeHead(200, { 'content-type': 'application/json' })
    return response.end(`{"x":"${'x'.repeat(2 * 1024 * 1024)}"}`)
  })
  for (const [url, fault] of [
    ['http://169.254.169.254/mcp', /no tool may reach/],
    [`${at.url}/away`, /redirects/],
    [`${at.url}/large`, /more than 1048576 bytes/],
  ] as const) {
    const runner = runnerOf(t, { name: 'x', url, tools: ['echo'] })
    await runner.useServers(60_000)
    t.match(runner.serverFaults, [{ fault }], url)
    t.same(runner.serverTools(), [])
  }
})

/** A server whose list is this, and which may go on with `more` after it. */
async function listing(t: Test, tools: readonly unknown[], more: (response: ServerResponse) => void = () => undefined) {
  const at = await api(t, (request, response) => {
    if (request.method !== 'POST') return response.writeHead(405).end()
    const { id, method } = JSON.parse(at.bodies.at(-1) ?? '') as { id?: number; method: string }
    if (id === undefined) return response.writeHead(202).end()
    const result =
      method === 'tools/list'
        ? { tools }
        : { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (method === 'tools/list') more(response)
    return response.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result })}\n\n`)
  })
  return at
}

t.test('tools with endless schemas are left out and named [7]', async (t) => {
  const $defs: Record<string, unknown> = { a40: { type: 'object' } }
  for (let at = 0; at < 40; at++) {
    const next = { $ref: `#/$defs/a${at + 1}` }
    $defs[`a${at}`] = { anyOf: [next, next] }
  }
  const object = { type: 'object', properties: { x: { type: 'string', pattern: '^(?=a)a+$' } } }
  const at = await listing(t, [
    { name: 'good', description: 'Good.', inputSchema: object },
    { name: 'endless', inputSchema: { type: 'object', anyOf: [{ $ref: '#/$defs/a0' }], $defs } },
    { name: 'wordy', description: 'w'.repeat(900_000), inputSchema: { type: 'object' } },
    { name: 'other', inputSchema: { type: 'object' } },
  ])
  const runner = runnerOf(t, { name: 'x', url: at.url, tools: ['good', 'endless', 'wordy', 'other'] })
  await runner.useServers(60_000)
  t.same(
    runner.serverTools().map(({ name }) => name),
    ['x_good', 'x_other'],
  )
  t.match(runner.serverFaults, [{ fault: 'has no usable endless, wordy' }])
})

t.test('the total size of tool descriptions is bounded', async (t) => {
  const names = Array.from({ length: 12 }, (_, at) => `tool${at}`)
  const at = await listing(
    t,
    names.map((name) => ({ name, description: 'w'.repeat(8000), inputSchema: { type: 'object' } })),
  )
  const runner = runnerOf(t, { name: 'x', url: at.url, tools: names })
  await runner.useServers(60_000)
  t.equal(runner.serverTools().length, 8)
  t.match(runner.serverFaults, [{ fault: 'has no usable tool8, tool9, tool10, tool11' }])
})

t.test('a flooding server is left out and not retried [6]', async (t) => {
  let asked = 0
  const endless = await listing(t, [{ name: 'echo', inputSchema: { type: 'object' } }], (response) => {
    asked++
    for (let at = 0; at < 5000; at++)
      response.write(
        `data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":${at}}}\n\n`,
      )
  })
  const local = fileURLToPath(new URL('./endless-mcp-server.js', import.meta.url))
  for (const server of [
    { name: 'x', url: endless.url, tools: ['echo'] },
    { name: 'x', command: [process.execPath, local], tools: ['echo'] },
  ]) {
    const runner = runnerOf(t, server)
    const news: McpStatus[] = []
    t.teardown(runner.watchServers((one) => news.push(one)))
    await runner.useServers(60_000)
    await until(() => news.length > 0, 20_000, 'the event')
    t.match(runner.serverFaults, [{ fault: /^it sent more than 100 messages or .* is left out$/ }])
    await runner.useServers(60_000)
    t.same(runner.serverTools(), [])
    t.match(news, [{ event: 'overrun', reason: /left out/ }])
    t.equal(news.length, 1)
    t.match(await runner.run('x_echo', {}, context()), { ok: false, code: 'TOOL_HTTP' })
  }
  t.equal(asked, 1)
})

t.test('lines of a local server that are no messages are skipped [8]', async (t) => {
  const logging = fileURLToPath(new URL('./logging-mcp-server.js', import.meta.url))
  const runner = runnerOf(t, { name: 'x', command: [process.execPath, logging], tools: ['echo'] })
  const news: McpStatus[] = []
  t.teardown(runner.watchServers((one) => news.push(one)))
  await runner.useServers(60_000)
  t.match(runner.serverFaults, [{ fault: null }])
  for (const answer of ['answer 1', 'answer 2'])
    t.match(await runner.run('x_echo', {}, context()), { ok: true, value: answer })
  t.equal(news.filter(({ event }) => event === 'stray-line').length, 1, 'reported once')
  t.notOk(news.some(({ event }) => event === 'down' || event === 'overrun'))
  for (const line of ['{"level":"info"}', 'a line of text']) {
    const flooding = runnerOf(t, { name: 'x', command: [process.execPath, logging, line], tools: ['echo'] })
    const seen: McpStatus[] = []
    t.teardown(flooding.watchServers((one) => seen.push(one)))
    await flooding.useServers(60_000)
    await until(() => seen.some(({ event }) => event === 'overrun'), 20_000, `an end of ${line}`)
    t.match(flooding.serverFaults, [{ fault: /is left out$/ }], line)
  }
})

const STUBBORN = fileURLToPath(new URL('./stubborn-mcp-server.js', import.meta.url))
const WORKER = fileURLToPath(new URL('./mcp-worker.js', import.meta.url))

/** True while a process runs; one that has ended and is not asked for does not. */
function runs(pid: number): boolean {
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))
  } catch {
    return false
  }
}

/** A server behind a wrapper, with a child; all ignore SIGTERM. */
function behindWrapper(t: Test) {
  const file = join(t.testdir({ pids: '' }), 'pids')
  let pids: number[] = []
  t.teardown(() => {
    for (const pid of pids.filter(runs)) process.kill(pid, 'SIGKILL')
  })
  const haveStarted = (): boolean => {
    pids = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number)
    return pids.length === 2 && pids.every(runs)
  }
  const command = ['sh', '-c', `"$0" "$1" "$2"; true`, process.execPath, STUBBORN, file]
  return {
    command,
    /** Resolves when server and child run. */
    started: () => until(haveStarted, 30_000, 'server and child'),
    gone: () => until(() => !pids.some(runs), 10_000, 'the end of both'),
  }
}

t.test('closing a server behind a wrapper ends its processes [2]', async (t) => {
  const { command, started, gone } = behindWrapper(t)
  const runner = runnerOf(t, { name: 'x', command, tools: ['echo'] })
  await runner.useServers(60_000)
  t.equal(runner.serverTools().length, 1)
  await started()
  await runner.close()
  await gone()
})

t.test('a server ends with its thread [3]', async (t) => {
  const { command, started, gone } = behindWrapper(t)
  const worker = new Worker(WORKER, { workerData: command })
  t.same(await once(worker, 'message'), [['x_echo']])
  await started()
  await worker.terminate()
  await gone()
})

t.test('a server ends with a killed gateway [4]', async (t) => {
  const { command, started, gone } = behindWrapper(t)
  const gateway = spawnOwn(process.execPath, [WORKER, JSON.stringify(command)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.match(String(await once(gateway.stdout, 'data')), 'x_echo')
  await started()
  gateway.kill('SIGKILL')
  await gone()
})

t.test('a flooding server behind a wrapper is always ended [5]', async (t) => {
  const flood = fileURLToPath(new URL('./endless-mcp-server.js', import.meta.url))
  for (let time = 0; time < 3; time++) {
    const file = join(t.testdir({ pid: '' }), 'pid')
    const command = ['sh', '-c', `"$0" "$1" & echo $! > "$2"; wait`, process.execPath, flood, file]
    const runner = runnerOf(t, { name: 'x', command, tools: ['echo'] })
    await runner.useServers(60_000)
    await until(() => /left out$/.test(runner.serverFaults[0]?.fault ?? ''), 20_000, 'the end of the flood')
    const pid = Number(readFileSync(file, 'utf8'))
    t.ok(pid > 1)
    await until(() => !runs(pid), 5000, 'the end of its child')
  }
})

const LEAVING = fileURLToPath(new URL('./leaving-mcp-server.js', import.meta.url))

/** Servers whose two children leave its group and ignore SIGTERM. The second child of `dropping` has no environment. */
function leaveTheirGroups<Name extends string>(t: Test, ...names: Name[]) {
  const folder = t.testdir(Object.fromEntries(names.map((name) => [name, ''])))
  return Object.fromEntries(
    names.map((name) => [name, leavesItsGroup(t, join(folder, name), name === 'dropping')]),
  ) as {
    [name in Name]: ReturnType<typeof leavesItsGroup>
  }
}

function leavesItsGroup(t: Test, file: string, drops: boolean) {
  let pids: number[] = []
  t.teardown(() => {
    for (const pid of pids.filter(runs)) process.kill(pid, 'SIGKILL')
  })
  const haveStarted = (): boolean => {
    pids = readFileSync(file, 'utf8').split('\n').filter(Boolean).map(Number)
    return pids.length === 2 && pids.every(runs)
  }
  return {
    command: [process.execPath, LEAVING, file, ...(drops ? ['drops'] : [])],
    started: () => until(haveStarted, 30_000, 'both children'),
    running: () => pids.filter(runs).length,
  }
}

t.test('closing a server ends children that left its group [9]', async (t) => {
  const { closed, other, dropping } = leaveTheirGroups(t, 'closed', 'other', 'dropping')
  const counts: number[] = []
  t.teardown(onEnded((count) => counts.push(count)))
  const runners: ToolRunner[] = []
  for (const { command, started } of [closed, other, dropping]) {
    const runner = runnerOf(t, { name: 'x', command, tools: ['echo'] })
    await runner.useServers(60_000)
    await started()
    runners.push(runner)
  }
  await runners[0]?.close()
  t.equal(closed.running(), 0, 'close waits for their end')
  t.equal(other.running(), 2, 'children of another server continue')
  await until(() => counts.length === 1, 10_000, 'the count')
  t.same(counts, [2])
  await runners[2]?.close()
  t.equal(dropping.running(), 1, 'a child without the mark is not found: a named limit')
})

/** Process ids of the guards that a process has started. */
function guardsOf(parent: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
        const isChild = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === parent
        return isChild && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('mkondo-guard')
      } catch {
        return false
      }
    })
}

t.test('the next start ends what a killed gateway has left [10]', async (t) => {
  const { killed, living } = leaveTheirGroups(t, 'killed', 'living')
  const gateways = [killed, living].map(({ command }) =>
    spawnOwn(process.execPath, [WORKER, JSON.stringify(command)], { stdio: ['ignore', 'pipe', 'inherit'] }),
  ) as [ChildProcess, ChildProcess]
  t.teardown(() => gateways[1].kill('SIGKILL'))
  await Promise.all([killed.started(), living.started()])
  const [gateway] = gateways
  const guards = guardsOf(gateway.pid ?? 0)
  t.equal(guards.length, 1)
  for (const pid of guards) process.kill(pid, 'SIGKILL')
  gateway.kill('SIGKILL')
  await once(gateway, 'exit')
  t.equal(killed.running(), 2)
  const next = await whole()
  t.teardown(() => next.close())
  const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${next.at.opsPort}/metrics`)).text()
  await until(async () => !/left_processes_ended_total\{found="start"\} 0/.test(await metrics()), 20_000, 'the count')
  t.equal(killed.running(), 0)
  t.equal(living.running(), 2, 'a living gateway keeps its programs')
})

t.test('recently used agents keep their tool runners', async (t) => {
  const client = new HttpClient()
  const runners = new ToolRunners({}, client)
  t.teardown(() => runners.close().then(() => client.close()))
  const of = (name: string) => runners.of(agentSchema.parse({ version: 1, name, instructions: 'x' }), NO_ASSETS)
  const [busy, idle] = await Promise.all([of('busy'), of('idle')])
  for (let i = 0; i < 100; i++) {
    await of(`other${i}`)
    t.equal(await of('busy'), busy)
  }
  t.not(await of('idle'), idle)
})

t.test('an edited agent closes its servers after the last call', async (t) => {
  const at = await api(t, (request, response) => {
    if (request.method !== 'POST') return response.writeHead(405).end()
    const { id, method } = JSON.parse(at.bodies.at(-1) ?? '') as { id?: number; method: string }
    if (id === undefined) return response.writeHead(202).end()
    const server = {
      protocolVersion: '2025-06-18',
      capabilities: { tools: {} },
      serverInfo: { name: 'x', version: '1' },
    }
    const result = method === 'tools/list' ? { tools: [{ name: 'echo', inputSchema: { type: 'object' } }] } : server
    response.writeHead(200, { 'content-type': 'application/json' })
    return response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })
  const client = new HttpClient()
  const runners = new ToolRunners({}, client)
  t.teardown(() => runners.close().then(() => client.close()))
  const of = (name: string): Promise<ToolRunner> => {
    const mcp = [{ name: 'x', url: at.url, tools: ['echo'] }]
    return runners.of(agentSchema.parse({ version: 1, name, instructions: 'x', mcp }), NO_ASSETS)
  }
  const [edited, starting, other] = (await Promise.all(['edited', 'starting', 'other'].map(of))) as [
    ToolRunner,
    ToolRunner,
    ToolRunner,
  ]
  const tools = (): number[] => [edited, starting, other].map((runner) => runner.serverTools().length)
  for (const runner of [edited, starting, other]) await runner.useServers(60_000)
  const ends = [edited, other].map((runner) => runner.watchServers(() => undefined))
  ends[1]?.()
  let heard: readonly string[] = []
  onEdited((names) => {
    heard = names
    runners.edited(names)
  })
  tellEdited(['edited', 'starting'])
  await until(() => heard.length === 2, 10_000, 'the event')
  t.same(tools(), [1, 1, 1], 'servers in use or unedited stay open')
  ends[0]?.()
  t.same(tools(), [0, 1, 1])
  starting.watchServers(() => undefined)()
  t.same(tools(), [0, 0, 1])
  await edited.useServers(60_000)
  t.same(tools(), [1, 0, 1], 'a later call opens it again')
  runners.edited(['other'])
  await of('other')
  t.same(tools(), [1, 0, 0], 'without live calls it ends at once')
})

t.test('a lost session is replaced and each tool runs once', async (t) => {
  let sessions = 0
  let good = ''
  const ran: string[] = []
  const at = await api(t, (request, response) => {
    if (request.method !== 'POST') return response.writeHead(405).end()
    const { id, method, params } = JSON.parse(at.bodies.at(-1) ?? '') as {
      id?: number
      method: string
      params?: { arguments?: { message?: string } }
    }
    if (method === 'initialize') good = `session-${++sessions}`
    else if (request.headers['mcp-session-id'] !== good) return response.writeHead(404).end()
    if (id === undefined) return response.writeHead(202).end()
    if (method === 'tools/call') ran.push(params?.arguments?.message ?? '')
    const result =
      method === 'tools/list'
        ? { tools: [{ name: 'echo', inputSchema: { type: 'object', properties: { message: { type: 'string' } } } }] }
        : method === 'tools/call'
          ? { content: [{ type: 'text', text: 'said' }] }
          : { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } }
    response.writeHead(200, { 'content-type': 'application/json', 'mcp-session-id': good })
    return response.end(JSON.stringify({ jsonrpc: '2.0', id, result }))
  })
  const runner = runnerOf(t, { name: 'x', url: at.url, tools: ['echo'] })
  const news: McpStatus[] = []
  t.teardown(runner.watchServers((one) => news.push(one)))
  await runner.useServers(60_000)
  t.match(await runner.run('x_echo', { message: 'a' }, context()), { ok: true })
  good = 'none'
  const both = await Promise.all(['b', 'c'].map((message) => runner.run('x_echo', { message }, context())))
  t.match(both, [
    { ok: true, value: 'said' },
    { ok: true, value: 'said' },
  ])
  t.same(ran.toSorted(), ['a', 'b', 'c'])
  t.equal(sessions, 2, 'one new session for both')
  t.same(
    news.map(({ event }) => event),
    ['up', 'session-lost'],
  )
  t.equal(runner.serverTools().length, 1)
})

t.test('faults in the mcp section are reported', (t) => {
  const faults = (server: ServerInput): string =>
    agentSchema
      .safeParse({ version: 1, name: 'a', instructions: 'x', mcp: [server] })
      .error?.issues.map(({ path, message }) => `${path.join('.')} ${message}`)
      .join('; ') ?? ''
  t.match(faults({ name: 'a', tools: ['x'] }), /mcp\.0\.url or command/)
  t.match(faults({ name: 'a', url: 'https://x.test/{{call.from}}', tools: ['x'] }), /env\.NAME.* only/)
  t.match(faults({ name: 'a', url: 'https://x.test', tools: ['x-y', 'x_y'] }), /a_x_y a second time/)
  const unclosed = { name: 'x', bind: { to: '{{call.from' } }
  t.match(faults({ name: 'a', url: 'https://x.test', tools: [unclosed] }), /bind\.to has \{\{ without \}\}, or/)
  t.match(faults({ name: 'a', url: 'https://x.test', tools: [{ name: 'x', requires: 'verified' }] }), /no verification/)
  t.end()
})

import t from 'tap'
import { api, context as toolContext, json, runner as toolRunner } from './tool-rig.js'
import { orderStatusAgent } from '../support/host.js'
import { codeToolsOf, defineTool } from '../../src/agents/tools/code-tool.js'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import type { EffectAnswer, ToolContext, ToolOutcome } from '../../src/agents/tools/tool.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import { HttpClient } from '../../src/http/http-client.js'

const parameters = { properties: { order: { type: 'integer' as const } }, required: ['order'] }
const ran: string[] = []
const code = codeToolsOf({
  default: defineTool({
    name: 'refund',
    description: 'refunds',
    parameters,
    timeoutMs: 100,
    run: ({ order }, { signal }) => {
      ran.push(`refund ${String(order)}`)
      if (order === 13) throw new Error('no')
      return order === 14 ? new Promise((_, reject) => signal.addEventListener('abort', reject)) : { order }
    },
  }),
  count: defineTool({
    name: 'count',
    description: 'counts',
    idempotent: true,
    run: () => {
      ran.push('count')
      return 1
    },
  }),
})
const agent = { ...(await orderStatusAgent()), tools: [] }
const client = new HttpClient()
const runner = new ToolRunner(agent, {}, client, NO_ASSETS, code)
t.teardown(() => client.close())

function asked(answer: EffectAnswer): { readonly context: ToolContext; readonly gate: string[]; abort: () => void } {
  const gate: string[] = []
  const abort = new AbortController()
  const context = toolContext({
    idempotencyKey: 'k',
    signal: abort.signal,
    gate: {
      intend: (key, tool) => {
        gate.push(`intend ${key} ${tool}`)
        return Promise.resolve(answer)
      },
      settle: (key, { ok, code: why }: ToolOutcome) => gate.push(`settle ${key} ${why ?? String(ok)}`),
    },
  })
  return { context, gate, abort: () => abort.abort() }
}

t.beforeEach(() => {
  ran.length = 0
})

t.test('intent and outcome are written unless a tool is idempotent', async (t) => {
  const { context, gate } = asked({ type: 'run' })
  t.same(await runner.run('refund', { order: 5 }, context), { ok: true, value: { order: 5 } })
  t.same(gate, ['intend k refund', 'settle k true'])
  t.same(await runner.run('count', {}, context), { ok: true, value: 1 })
  t.equal(gate.length, 2)
  t.match(await runner.run('refund', { order: 'x' }, context), { ok: false, code: 'TOOL_ARGUMENTS' })
  t.equal(gate.length, 2, 'a refused call has no intent')
})

t.test('a tool that ran before is not run again', async (t) => {
  const outcome: ToolOutcome = { ok: true, value: { order: 5 } }
  t.same(await runner.run('refund', { order: 5 }, asked({ type: 'done', outcome }).context), outcome)
  const uncertain = await runner.run('refund', { order: 5 }, asked({ type: 'uncertain' }).context)
  t.match(uncertain, { ok: false, code: 'TOOL_UNCERTAIN', value: { error: /unknown.*neither.*do not repeat.*human/ } })
  t.match(await runner.run('refund', { order: 5 }, asked({ type: 'not-owner' }).context), { code: 'TOOL_NOT_OWNER' })
  t.match(await runner.run('refund', { order: 5 }, asked({ type: 'store-down' }).context), {
    code: 'STORE_DOWN',
    value: { error: /was not done/ },
  })
  t.same(ran, [])
})

t.test('an intent stays open if the effect is unknown', async (t) => {
  const late = asked({ type: 'run' })
  t.match(await runner.run('refund', { order: 14 }, late.context), { code: 'TOOL_TIMEOUT' })
  t.same(late.gate, ['intend k refund'])
  const cancelled = asked({ type: 'run' })
  const running = runner.run('refund', { order: 14 }, cancelled.context)
  setImmediate(cancelled.abort)
  t.match(await running, { code: 'TOOL_CANCELLED' })
  t.same(cancelled.gate, ['intend k refund'])
  const before = asked({ type: 'run' })
  before.abort()
  t.match(await runner.run('refund', { order: 5 }, before.context), { code: 'TOOL_CANCELLED' })
  t.same(before.gate, ['intend k refund', 'settle k TOOL_CANCELLED'], 'a tool cancelled before it ran had no effect')
  const failed = asked({ type: 'run' })
  t.match(await runner.run('refund', { order: 13 }, failed.context), { ok: false })
  t.same(failed.gate, ['intend k refund', 'settle k CALL_FAULT'])
})

t.test('a 202 from a waiting tool is a pending outcome', async (t) => {
  const server = await api(t, (_, response) => json(response, { pending: 'ws_1', expiresInS: 60 }, 202))
  const waiting = toolRunner(t, {
    http: { method: 'POST', url: `${server.url}/pay`, body: { to: '{{continue.url}}' } },
    waits: { for: '90s' },
    idempotent: true,
  })
  const { context: given, gate } = asked({ type: 'run', continueUrl: 'https://gw.example/continue?t=1' })
  const outcome = await waiting.run('look_up', {}, given)
  t.match(outcome, { ok: true, pending: { id: 'ws_1', expiresInMs: 60_000 } })
  t.same(server.bodies, ['{"to":"https://gw.example/continue?t=1"}'])
  t.same(gate, ['intend k look_up'], 'the effect is settled by the outcome')
  t.match(await waiting.run('look_up', {}, asked({ type: 'run' }).context), {
    ok: false,
    error: /no URL to which its outcome could be sent/,
  })
})

t.test('a waiting tool that times out is pending [1]', async (t) => {
  const server = await api(t, () => undefined)
  const waiting = toolRunner(t, {
    http: { method: 'POST', url: `${server.url}/pay`, body: { to: '{{continue.url}}' }, timeoutMs: 100 },
    waits: { for: '90s' },
  })
  const { context: given, gate } = asked({ type: 'run', continueUrl: 'https://gw.example/continue?t=1' })
  t.match(await waiting.run('look_up', {}, given), { code: 'TOOL_TIMEOUT', pending: { id: '' } })
  t.same(gate, ['intend k look_up'])
})

t.test("an agent is refused if a tool's outcome cannot arrive", async (t) => {
  const url = 'https://pay.example/p'
  const faults: readonly (readonly [object, RegExp])[] = [
    [
      { http: { method: 'POST', url }, waits: { for: '90s' } },
      /put \{\{continue\.url\}\} into http, or set waits\.poll/,
    ],
    [
      { http: { method: 'POST', url, body: { to: '{{continue.url}}' } } },
      /which only the http of a tool with waits has/,
    ],
    [{ http: { url, query: { to: '{{continue.url}}' } }, waits: { for: '90s' } }, /a GET request starts nothing/],
    [{ http: { method: 'POST', url, body: { to: '{{pending.id}}' } } }, /which only waits\.poll has/],
    [{ http: { method: 'POST', url }, waits: { for: '90', poll: { url } } }, /such as 90s or 2m/],
    [{ http: { method: 'POST', url }, waits: { for: '10s', every: '20s', poll: { url } } }, /longer than waits\.for/],
    [{ http: { method: 'POST', url }, waits: { for: '20m', poll: { url } } }, /5s to 10m/],
  ]
  for (const [tool, why] of faults) t.throws(() => toolRunner(t, tool as never), why)
})

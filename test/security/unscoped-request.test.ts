import t from 'tap'
import type { Test } from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import { defineTool, codeToolsOf } from '../../src/agents/tools/code-tool.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import type { AgentInput } from '../../src/agents/file/definition.js'
import { HttpClient } from '../../src/http/http-client.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import type { ToolContext } from '../../src/agents/tools/tool.js'
import { api, context as contextOf, json, runnerOf } from '../agents/tool-rig.js'

/**
 * The attack: a caller withholds the number, or has an account that lacks a field, so that the argument which limits a
 * request to the caller's own data is empty. A request without it (`GET /api/accounts`) returns everybody's data.
 */
type ToolInput = NonNullable<AgentInput['tools']>[number]

/** An API on loopback that answers everything with everybody's data. */
async function leakyApi(t: Test): Promise<{ url: string; requests: string[] }> {
  const requests: string[] = []
  const { url } = await api(t, (request, response) => {
    requests.push(`${request.method ?? ''} ${request.url ?? ''}`)
    json(response, { everybody: 'data', code: '1234' })
  })
  return { url, requests }
}

/** Questions that make `requires: verified` possible; its account is never asked for here. */
const verification = {
  account: { http: { url: 'http://127.0.0.1:1', query: { phone: '{{call.from}}' } } },
  required: 1,
  questions: [{ id: 'code', ask: 'Which code?', field: 'code' }],
  identity: { accountId: 'accountId', msisdn: 'phone' },
}
const verified = (identity: Record<string, unknown>): ToolContext => contextOf({ caller: new CallerIdentity(identity) })
const parameters = { properties: { own: { type: 'string' as const }, subject: { type: 'string' as const } } }

/** Each way into a request, with the bound value in it. */
function placements(url: string, value: string): Record<string, ToolInput['http']> {
  return {
    path: { url: `${url}/accounts/${value}` },
    query: { url, query: { phone: value, limit: '10' } },
    'list of queries': { url, query: [{ phone: value }, { phone: value, limit: '10' }] },
    header: { url, headers: { 'X-Account': value } },
    'part of a header': { url, headers: { 'X-Account': `account ${value};` } },
    body: { url, method: 'POST', body: { phone: value, subject: '{{args.subject}}' } },
    'nested body': { url, method: 'POST', body: { filter: { all: [{ phone: `tel:${value}` }] } } },
    'whole body': { url, method: 'POST', body: value },
  }
}

for (const [what, bind, context, why] of [
  ['a withheld number', '{{call.from}}', contextOf({ from: '' }), /number of this call is withheld/],
  ['a field that the account lacks', '{{identity.msisdn}}', verified({ accountId: 'AC-1' }), /account has no msisdn/],
  ['a field that is null', '{{identity.msisdn}}', verified({ msisdn: null }), /account has no msisdn/],
  ['a field that is empty', '{{identity.msisdn}}', verified({ msisdn: '' }), /account has no msisdn/],
  ['a field that is blank', '{{identity.msisdn}}', verified({ msisdn: '  ' }), /account has no msisdn/],
  ['a text around a missing field', 'id-{{identity.msisdn}}', verified({}), /account has no msisdn/],
] as const) {
  t.test(`${what} sends no request without its limit`, async (t) => {
    const leaky = await leakyApi(t)
    const requires = bind.includes('identity') ? { requires: 'verified' as const } : {}
    const ways: [string, Partial<ToolInput> & Pick<ToolInput, 'http'>][] = [
      ...Object.entries(placements(leaky.url, '{{args.own}}')).map(
        ([place, http]): [string, Partial<ToolInput> & Pick<ToolInput, 'http'>] => [
          `bound, in the ${place}`,
          { parameters, bind: { own: bind }, http },
        ],
      ),
      ...Object.entries(placements(leaky.url, bind)).map(
        ([place, http]): [string, Partial<ToolInput> & Pick<ToolInput, 'http'>] => [
          `written into the ${place}`,
          { parameters, http },
        ],
      ),
      [
        'bound to a required argument',
        {
          parameters: { ...parameters, required: ['own'] },
          bind: { own: bind },
          http: { url: leaky.url, query: { phone: '{{args.own}}' } },
        },
      ],
    ]
    for (const [way, tool] of ways) {
      const tools = runnerOf(t, { verification, tools: [{ name: 'look_up', description: 'x', ...requires, ...tool }] })
      for (const own of [undefined, null, '', '+254700000002']) {
        const outcome = await tools.run('look_up', { own, subject: 's' }, context)
        t.match(outcome, { ok: false, code: 'TOOL_UNBOUND', value: { error: why } }, way)
      }
      t.equal(tools.counters.refused, 4, `${way}: counted`)
    }
    t.same(leaky.requests, [], 'nothing was sent')
  })
}

t.test('an omitted argument of the model is left out', async (t) => {
  const leaky = await leakyApi(t)
  const tools = runnerOf(t, {
    tools: [
      {
        name: 'look_up',
        description: 'x',
        parameters,
        bind: { own: '{{call.from}}' },
        http: { url: leaky.url, query: { phone: '{{args.own}}', subject: '{{args.subject}}' } },
      },
    ],
  })
  t.match(await tools.run('look_up', {}, contextOf()), { ok: true })
  t.same(leaky.requests, ['GET /?phone=%2B254700000001'])
})

t.test('a withheld caller is served by the alternative query', async (t) => {
  const leaky = await leakyApi(t)
  const tools = runnerOf(t, {
    tools: [
      {
        name: 'look_up',
        description: 'x',
        parameters,
        bind: { own: '{{call.from}}' },
        http: { url: leaky.url, query: [{ subject: '{{args.subject}}' }, { phone: '{{args.own}}' }] },
      },
    ],
  })
  t.match(await tools.run('look_up', { subject: '4127' }, contextOf({ from: '' })), { ok: true })
  t.match(await tools.run('look_up', {}, contextOf({ from: '' })), {
    ok: false,
    value: { error: /needs subject.*number of this call is withheld/ },
  })
  t.same(leaky.requests, ['GET /?subject=4127'])
})

t.test('an alternative query must limit the request', async (t) => {
  const faultsOf = (tool: Partial<ToolInput> & Pick<ToolInput, 'http'>): string[] =>
    agentSchema
      .safeParse({
        version: 1,
        name: 'a',
        instructions: 'x',
        tools: [{ name: 'look_up', description: 'x', parameters, ...tool }],
      })
      .error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`) ?? []
  const bind = { own: '{{call.from}}' }
  t.match(faultsOf({ bind, http: { url: 'http://a', query: [{ phone: '{{args.own}}' }, { limit: '10' }] } }), [
    /^tools\.0\.http\.query\.1: does not limit the request to the caller/,
  ])
  t.match(faultsOf({ bind, http: { url: 'http://a', query: [{ phone: '{{args.own}}' }, {}] } }), [
    /^tools\.0\.http\.query\.1: does not limit the request to the caller/,
  ])
  t.match(faultsOf({ http: { url: 'http://a', query: [{ phone: '{{call.from}}' }, {}] } }), [
    /^tools\.0\.http\.query\.1: does not limit the request to the caller/,
  ])
  t.match(faultsOf({ bind, http: { url: 'http://a', query: { subject: '{{args.subject}}' } } }), [
    /^tools\.0\.bind\.own: is not used in http/,
  ])
  t.same(
    faultsOf({ http: { url: 'http://a', query: [{ subject: '{{args.subject}}' }, { limit: '10' }] } }),
    [],
    'nothing is bound here',
  )
})

t.test('a tool in code needs its bound argument [1]', async (t) => {
  let runs = 0
  const own = (name: string, value: string): Record<string, unknown> => ({
    [name]: defineTool({
      name,
      description: 'x',
      parameters,
      bind: { own: value },
      run: () => {
        runs++
      },
    }),
  })
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'x' })
  const tools = new ToolRunner(
    agent,
    {},
    client,
    NO_ASSETS,
    codeToolsOf({ ...own('by_number', '{{call.from}}'), ...own('by_account', '{{identity.accountId}}') }),
  )
  t.match(await tools.run('by_number', { own: 'x' }, contextOf({ from: '' })), { ok: false, code: 'TOOL_UNBOUND' })
  t.match(
    await tools.run('by_account', { own: 'x' }, contextOf()),
    { ok: false, code: 'TOOL_UNBOUND' },
    'nobody is verified',
  )
  t.equal(runs, 0)
})

t.test('a verification fetches no account for a withheld number [2]', async (t) => {
  const leaky = await leakyApi(t)
  for (const http of [
    ...Object.entries(placements(leaky.url, '{{call.from}}'))
      .filter(([place]) => place !== 'body')
      .map(([, http]) => http),
    { url: leaky.url, query: { call: '{{call.sid}}' } },
  ]) {
    const tools = runnerOf(t, {
      verification: {
        account: { http },
        questions: [{ id: 'code', ask: 'Which code?', field: 'code', kind: 'digits' }],
        required: 1,
        identity: { who: 'everybody' },
      },
    })
    const context = contextOf({ from: '' })
    t.match(await tools.run('verify_caller', { question: 'code', answer: '1234' }, context), {
      ok: false,
      code: 'TOOL_UNBOUND',
      value: { verified: false, error: /number of this call is withheld.*colleague/ },
    })
    t.equal(context.caller.verified, null)
    t.equal(tools.counters.refused, 1, 'counted')
  }
  t.same(leaky.requests, [], 'nothing was sent')
})

t.test('a verification request independent of the caller is refused', async (t) => {
  const faults = (query: object): unknown =>
    agentSchema.safeParse({
      version: 1,
      name: 'a',
      instructions: 'x',
      verification: {
        account: { http: { url: 'http://a', query } },
        questions: [{ id: 'code', ask: 'x', field: 'code' }],
        required: 1,
        identity: { who: 'w' },
      },
    }).error?.issues
  t.match(faults({ all: '1' }), [{ path: ['verification', 'account'], message: /does not depend on the call/ }])
  for (const [placeholder, why] of [
    ['args.number', /the caller must not choose/],
    ['continue.url', /may read \{\{call.*nothing waits for an account/],
    ['pending.id', /nothing waits for an account/],
  ] as const)
    t.match(
      faults({ phone: '{{call.from}}', x: `{{${placeholder}}}` }),
      [{ path: ['verification', 'account', 'http', 'query', 'x'], message: why }],
      placeholder,
    )
})

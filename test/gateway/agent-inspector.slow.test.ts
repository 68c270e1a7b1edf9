import { createServer } from 'node:http'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { allCallsOn } from '../../src/backends/split.js'
import { agentVersion, triable } from '../../src/agents/file/agent-view.js'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { readAgents } from '../../src/agents/file/loader.js'
import { tryTool } from '../../src/agents/tools/rehearsal.js'
import type { TrialOrder, TrialResult } from '../../src/agents/tools/rehearsal.js'
import { HttpClient } from '../../src/http/http-client.js'
import { AgentInspector } from '../../src/gateway/agents/agent-inspector.js'
import type { HostedAgent } from '../../src/workers/main/main-thread-context.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { renderPhrase } from '../../src/gateway/agents/render-phrase.js'
import { CascadeDouble } from '../../src/vendors/self-hosted/cascade-double.js'
import { OpenAiDouble } from '../../src/vendors/self-hosted/double.js'
import { COUNTRY_DEFAULT, useCountry } from '../../src/sautikit/phone.js'
import { PhraseStore } from '../../src/speech/phrase-store.js'
import { SpeechPool } from '../../src/speech/speech-pool.js'
import { CASCADE_TEST_KEY } from '../backends/cascade-harness.js'
import { get, post, startGateway } from '../edge/gateway.js'
import { deskOf } from '../support/agent-inspector.js'
import { portOf } from '../support/port-of.js'

const SECRET = 'shop-key-of-a-test'

const SHOP = `version: 1
name: shop
instructions: Ask colleague +254720000010 when it is urgent.
escalation: { numbers: ['+254720000010'], webhook: 'https://hooks.example/services/T0/B0/abc' }
verification:
  account: { http: { url: '{{env.SHOP}}/accounts', query: { phone: '{{call.from}}' } } }
  questions: [{ id: pin, ask: Your number?, field: pin }, { id: name, ask: Your name?, field: name }]
  identity: { account: id }
sample: { identity: { account: A-77 } }
modules: [tools/clock.mjs]
tools:
  - name: look_up
    description: Finds an order.
    parameters: { properties: { order: { type: string, pattern: '^[0-9]{4}$' }, phone: { type: string } }, required: [order] }
    bind: { phone: '{{call.from}}' }
    http:
      url: '{{env.SHOP}}/orders/{{args.order}}'
      query: { phone: '{{args.phone}}' }
      headers: { X-Api-Key: 'literal-of-the-author', Authorization: 'Bearer {{env.SHOP_KEY}}' }
    result: { fields: { status: order.status } }
    sample: { order: '4127' }
  - name: cancel
    description: Cancels an order.
    requires: verified
    parameters: { properties: { order: { type: string } }, required: [order] }
    http: { method: POST, url: '{{env.SHOP}}/cancel', body: { order: '{{args.order}}', account: '{{identity.account}}' } }
`

const CLOCK = `export const clock = {
  name: 'clock', description: 'Tells what it sees.', parameters: { properties: { block: { type: 'boolean' } } }, timeoutMs: 1000,
  run: ({ block }) => { if (block) process.exit(1); return { sees: process.env.GATEWAY_SECRET ?? null } },
}
`

/** An edge with the agents of a folder, and the shop that they call. */
async function start(t: Test) {
  const requests: { method: string; url: string; key: string; body: string }[] = []
  const shop = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      requests.push({ method, url, key: headers.authorization ?? '', body })
      response.setHeader('content-type', 'application/json')
      response.end('{"order":{"status":"on its way","owner":"+254700000009"}}')
    })
  })
  const port = await portOf(t, shop)
  const dir = t.testdir({
    'shop.yaml': SHOP,
    tools: { 'clock.mjs': CLOCK },
    'later.yaml': SHOP.replace('shop', 'later'),
  })
  const env = { SHOP: `http://127.0.0.1:${port}`, SHOP_KEY: SECRET }
  const agents = new Map<string, Pick<HostedAgent, 'definition' | 'assets' | 'shares'>>()
  for (const one of await readAgents(dir, env))
    if (one.ok)
      agents.set(one.agent.name, { definition: one.agent, assets: one.assets, shares: allCallsOn('embedded') })
  process.env['GATEWAY_SECRET'] = SECRET
  t.teardown(() => delete process.env['GATEWAY_SECRET'])
  const desk = new AgentInspector({ agents, dir, watched: false, env, workerEnv: {}, speech: false })
  const gateway = await startGateway(t, { agents: desk })
  const trying = (tool: string, json: unknown) => post(`${gateway.opsUrl}/api/agents/shop/tools/${tool}`, { json })
  const answer = async (tool: string, json: unknown): Promise<unknown> => JSON.parse((await trying(tool, json)).text)
  const client = new HttpClient()
  t.teardown(() => client.close())
  /** Work of a trial's thread, without its start. */
  const here = (tool: string, order: Partial<TrialOrder>): Promise<TrialResult> => {
    const hosted = agents.get('shop')
    if (hosted === undefined) throw new Error('the agent must load')
    const whole = { tool, args: {}, from: null, verified: false, send: false, ...order }
    return tryTool(hosted.definition, hosted.assets ?? NO_ASSETS, env, client, whole)
  }
  return { gateway, desk, dir, requests, trying, answer, here }
}

t.test("an agent's file of callers uses the gateway's country", async (t) => {
  const dir = t.testdir({
    'a.yaml': 'version: 1\nname: a\ninstructions: Be brief.\ncaller: { file: callers.csv }\n',
    'callers.csv': 'phone,name\n0392123456,Amina\n',
  })
  useCountry('UG')
  t.teardown(() => useCountry(COUNTRY_DEFAULT))
  t.match((await (await deskOf(dir, '')).view()).files, [{ agent: 'a', state: 'used', faults: [] }])
})

t.test('loaded agents are shown without numbers and secrets', async (t) => {
  const { gateway, dir } = await start(t)
  await writeFile(join(dir, 'shop.yaml'), SHOP.replace('urgent', 'very urgent'))
  await writeFile(
    join(dir, 'broken.yaml'),
    SHOP.replace('version: 1', 'version: 9').replace('name: shop', 'name: broken'),
  )
  await writeFile(join(dir, 'mute.yaml'), `${SHOP.replace('shop', 'mute')}waitingSound: { file: no.wav }\n`)
  const { text } = await get(`${gateway.opsUrl}/api/agents`)
  t.match(JSON.parse(text), {
    watched: false,
    folderFault: null,
    files: [
      { file: 'broken.yaml', state: 'faulty', faults: [{ line: 1, what: /^version is 9; must be 1/ }] },
      { file: 'later.yaml', agent: 'later', state: 'used', faults: [] },
      {
        file: 'mute.yaml',
        agent: 'mute',
        state: 'unused',
        faults: [{ what: /^waitingSound\.file: no\.wav: .*silence/ }],
      },
      { file: 'shop.yaml', agent: 'shop', state: 'unused', faults: [] },
    ],
    agents: [
      { name: 'later' },
      {
        name: 'shop',
        backends: ['embedded'],
        hasSampleIdentity: true,
        definition: {
          instructions: 'Ask colleague +2547…10 when it is urgent.',
          escalation: { numbers: ['+2547…10'], webhook: 'https://hooks.example/…' },
          sample: { identity: { account: '…' } },
          tools: [{ http: { headers: { 'X-Api-Key': '…', Authorization: '…{{env.SHOP_KEY}}' } } }, {}],
        },
        tools: [
          { name: 'look_up', changes: false, bound: ['phone'], request: 'GET {{env.SHOP}}/orders/{{args.order}}' },
          { name: 'cancel', changes: true, verifiedOnly: true },
          { name: 'clock', changes: true, request: null },
        ],
      },
    ],
  })
  for (const hidden of [SECRET, 'literal-of-the-author', '254720000010', 'A-77', '/T0/', dir])
    t.notOk(text.includes(hidden), hidden)
})

t.test("an agent's version depends only on its files and code", async (t) => {
  const { desk, dir } = await start(t)
  const version = async (): Promise<string> => {
    for (const one of await readAgents(dir, { SHOP: 'http://127.0.0.1:1', SHOP_KEY: SECRET }))
      if (one.ok && one.agent.name === 'shop') return agentVersion(one.agent, one.assets)
    throw new Error('the agent must load')
  }
  const first = await version()
  t.match(first, /^[0-9a-f]{16}$/)
  t.match(await desk.view(), { agents: [{}, { name: 'shop', version: first }] })
  await writeFile(join(dir, 'shop.yaml'), SHOP.replace('urgent', 'very urgent'))
  const edited = await version()
  await writeFile(join(dir, 'shop.yaml'), SHOP)
  t.equal(await version(), first)
  await writeFile(join(dir, 'tools', 'clock.mjs'), CLOCK.replace('1000', '900'))
  t.equal(new Set([first, edited, await version()]).size, 3)
})

t.test('a changed folder is read again', async (t) => {
  const { desk, dir } = await start(t)
  const first = await desk.view()
  t.equal(await desk.view(), first, 'the same answer, without a second reading')
  await writeFile(join(dir, 'tools', 'clock.mjs'), 'export const clock = 1')
  const second = await desk.view()
  t.match(
    second.files.map(({ state }) => state),
    ['faulty', 'faulty'],
    'also in a file beside it',
  )
  await rm(join(dir, 'later.yaml'))
  t.match((await desk.view()).files, { length: 1 })
})

t.test('a trial runs a tool like a call without logging', async (t) => {
  const { gateway, requests, answer, here } = await start(t)
  t.match(await answer('look_up', { args: { order: '4127', phone: '+254799999999' }, from: '254 700 000 001' }), {
    dry: false,
    ok: true,
    request: { method: 'GET', bodyChars: 0 },
    value: { status: 'on its way' },
    error: null,
  })
  t.same(requests, [{ method: 'GET', url: '/orders/4127?phone=%2B254700000001', key: `Bearer ${SECRET}`, body: '' }])
  t.match(await here('look_up', { args: { order: '../1' } }), { ok: false, code: 'TOOL_ARGUMENTS', request: null })
  t.match(await here('look_up', { args: { order: '4127' }, from: '' }), { ok: false, code: 'TOOL_UNBOUND' })
  t.equal(requests.length, 1, 'those sent nothing')
  const lines = gateway.logged().filter(({ component }) => component === 'audit')
  t.match(lines[0], { command: 'try-tool', agent: 'shop', tool: 'look_up', outcome: 'done', call_sid: null })
  t.equal(lines.length, 1)
  for (const hidden of ['4127', '254700000001', 'on its way']) t.notOk(JSON.stringify(lines).includes(hidden), hidden)
})

t.test('the caller lookup tool can be tried too', async (t) => {
  const dir = t.testdir({
    'shop.yaml': `${SHOP}  - name: who_calls
    description: Finds a caller.
    parameters: { properties: { phone: { type: string } }, required: [phone] }
    bind: { phone: '{{call.from}}' }
    http: { url: '{{env.SHOP}}/callers', query: { phone: '{{args.phone}}' } }
    result: { fields: { status: order.status } }
caller: { tool: who_calls }
`,
    tools: { 'clock.mjs': CLOCK },
  })
  const [one] = await readAgents(dir, { SHOP: 'http://127.0.0.1:1', SHOP_KEY: SECRET })
  t.match(one, { ok: true })
  if (one?.ok !== true) return
  t.same(
    triable(one.agent, one.assets).map(({ name }) => name),
    ['look_up', 'cancel', 'who_calls', 'clock'],
  )
})

t.test("a tool with effects needs the operator's consent [1]", async (t) => {
  const { gateway, requests, trying, answer, here } = await start(t)
  const order = { args: { order: '4127' } }
  t.match(await here('cancel', order), { dry: true, ok: false, code: 'TOOL_UNVERIFIED' })
  t.match(await here('cancel', { ...order, verified: true }), {
    dry: true,
    ok: true,
    request: { method: 'POST', bodyChars: '{"order":"4127","account":"A-77"}'.length },
    value: null,
  })
  t.equal(requests.length, 0)
  t.match(await here('cancel', { ...order, verified: true, send: true }), { dry: false, ok: true })
  t.match(requests, [{ method: 'POST', body: '{"order":"4127","account":"A-77"}' }])
  t.match(await here('clock', {}), { dry: true, ok: null, request: null }, 'code is not run either')
  const two = await Promise.all([trying('clock', { send: true }), trying('clock', { send: true })])
  const [ran, refused] = two.sort((a, b) => a.status - b.status)
  t.match(refused, { status: 503, code: 'CAPACITY' }, 'one at a time')
  t.match(JSON.parse(ran?.text ?? ''), { ok: true, value: { sees: null } }, 'in a thread that sees no secret')
  t.match(gateway.logged().at(-1), { command: 'send-tool', tool: 'clock', status: 200 })
  t.match(await answer('clock', { args: { block: true }, send: true }), { ok: false, code: 'CALL_FAULT' })
  t.match(await get(`${gateway.opsUrl}/healthz`), { status: 200 }, 'what it does to its thread, it does to no call')
})

t.test('an unknown tool, agent or body is refused with alternatives', async (t) => {
  const { gateway, trying } = await start(t)
  t.match(await trying('verify_caller', {}), { status: 404, code: 'TOOL_UNKNOWN', text: /look_up, cancel, clock/ })
  for (const body of [7, [], { args: 7 }, { from: 'somebody' }, { send: 'yes' }, { other: 1 }])
    t.match(await trying('look_up', body), { status: 400, code: 'BAD_REQUEST' })
  t.match(await post(`${gateway.opsUrl}/api/agents/other/tools/look_up`, { json: {} }), { code: 'AGENT_UNKNOWN' })
  const without = await startGateway(t)
  t.match(await get(`${without.opsUrl}/api/agents`), { status: 404, code: 'NOT_FOUND' })
})

t.test("a phrase is played in the first backend's voice", async (t) => {
  const double = await CascadeDouble.start({ key: CASCADE_TEST_KEY })
  const realtime = await OpenAiDouble.start({ key: CASCADE_TEST_KEY })
  const speech = new SpeechPool({ decodersPerThread: 1 })
  t.teardown(() => Promise.all([speech.close(), double.close(), realtime.close()]))
  const definition = agentSchema.parse({
    version: 1,
    name: 'shop',
    instructions: 'x',
    pronunciations: [{ match: 'Muindi', say: 'Bartholomew the second' }],
  })
  const agents = new Map(
    (['embedded', 'cascade', 'openai', 'gemini'] as const).map((name) => [
      name,
      { definition, shares: allCallsOn(name) },
    ]),
  )
  const settings = backendSettings(
    loadConfig(
      {
        TTS_URL: double.baseUrl,
        TTS_API_KEY: CASCADE_TEST_KEY,
        LLM_URL: double.baseUrl,
        STT_URL: double.baseUrl,
        OPENAI_API_KEY: CASCADE_TEST_KEY,
        OPENAI_BASE_URL: realtime.baseUrl,
      },
      null,
    ),
  )
  const store = new PhraseStore(t.testdir({}))
  const desk = new AgentInspector({
    agents,
    dir: t.testdirName,
    watched: false,
    env: {},
    workerEnv: {},
    speech: false,
    say: (agent, text) => renderPhrase(agent, text, { speech, settings, store }),
  })
  const gateway = await startGateway(t, { agents: desk })
  const say = (agent: string, json: unknown) => post(`${gateway.opsUrl}/api/agents/${agent}/say`, { json })
  const wav = async (agent: string, text: string) => {
    const reply = await say(agent, { text })
    t.match(reply, { status: 200, text: /^RIFF/ }, text)
    t.equal(reply.headers.get('content-type'), 'audio/wav')
    return Number(reply.headers.get('content-length'))
  }
  t.ok((await wav('embedded', 'Muindi.')) > 1.5 * (await wav('embedded', 'Wanjiru.')))
  t.ok((await wav('cascade', 'Muindi Street, KES 50.')) > 1000)
  t.same(double.spoken, ['Bartholomew the second Street, fifty shillings.'])
  realtime.script.reply({ say: 'Muindi.' })
  t.ok((await wav('openai', 'Muindi Street.')) > 1000)
  t.match(JSON.stringify(realtime.session.items), /with exactly these words, and nothing else: Muindi Street\./)
  t.match(
    JSON.stringify(realtime.session.config),
    /Muindi: Bartholomew the second/,
    'a model is told how the name sounds',
  )
  realtime.script.reply({ status: 'failed' } as never)
  t.match(await say('openai', { text: 'Hello.' }), { status: 502, code: 'CALL_FAULT', text: /the voice failed/ })
  t.match(await say('gemini', { text: 'Hello.' }), { status: 502, code: 'CALL_FAULT' }, 'a service that has no key')
  t.match(await say('nobody', { text: 'Hello.' }), { status: 404, code: 'AGENT_UNKNOWN' })
  for (const wrong of [{}, { text: '' }, { text: 'x'.repeat(301) }, { text: 'x', voice: 'y' }])
    t.match(await say('embedded', wrong), { status: 400, code: 'BAD_REQUEST', text: /300 characters/ })
  const statuses = new Set<number>()
  for (let i = 0; i < 12; i++) statuses.add((await say('gemini', { text: 'Hello.' })).status)
  t.ok(statuses.has(429), 'a vendor is not asked without end')
  t.ok(gateway.logged().some(({ command, agent }) => command === 'say' && agent === 'embedded'))
  t.notMatch(JSON.stringify(gateway.logged()), /Muindi/)
})

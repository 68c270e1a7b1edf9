import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import {
  agentEnvironment,
  fileEnvironment,
  storageEnvironment,
  workerEnvironment,
} from '../../src/gateway/agents/agent-environment.js'
import { startGateway } from '../../src/gateway/gateway.js'
import { loadConfig } from '../../src/config/load-config.js'
import { SETTINGS } from '../../src/config/settings.js'
import type { Setting } from '../../src/core/setting.js'
import { createLog } from '../../src/telemetry/log.js'
import { newSid, post, ringing } from '../edge/gateway.js'
import { loadText } from '../support/agent-text.js'
import { reexport } from '../support/module-beside.js'
import { until } from '../support/until.js'

const secretNames = Object.values(SETTINGS)
  .filter((setting: Setting<unknown>) => setting.secret === true)
  .map(({ env }) => env)
/** A value that every setting accepts and that is recognised wherever it appears. */
const MARK = 'must-not-be-seen'
const secrets: Readonly<Record<string, string>> = Object.fromEntries(
  secretNames.map((name) => {
    if (name === 'REDIS_URL') return [name, `redis://:${MARK}@store`]
    if (name === 'CONTINUE_SECRETS') return [name, `whsec_${Buffer.from(`${MARK}-continue`).toString('base64')}`]
    if (name === 'STORAGE_KEYS') return [name, Buffer.from(MARK.padEnd(32)).toString('base64')]
    return [name, `${MARK}-${name.toLowerCase()}`]
  }),
)

t.test('each variable named like a secret is marked secret', (t) => {
  t.ok(secretNames.length >= 12, `${secretNames.length} secrets`)
  for (const { env } of Object.values(SETTINGS)) {
    // INTERNAL_TLS_KEY and TLS_KEY name files.
    if (/KEY|TOKEN|SECRET|PASSWORD/.test(env) && !/TLS_KEY$|TOKEN_ONLY$/.test(env)) t.ok(secretNames.includes(env), env)
  }
  t.end()
})

/** What an agent must never read unless its operator lists it: secrets of all kinds, in any spelling. */
const UNLISTED = [
  ...secretNames,
  ...[
    'OTEL_EXPORTER_OTLP_HEADERS',
    'AWS_SECRET_ACCESS_KEY',
    'GOOGLE_APPLICATION_CREDENTIALS',
    'HANDOFF_URL',
    'LLM_URL',
  ],
  ...['HTTPS_PROXY', 'https_proxy', 'duka_token', 'NODE_AUTH_TOKEN'],
]
const everything = Object.fromEntries([...UNLISTED, 'CRM_TOKEN'].map((name) => [name, secrets[name] ?? MARK]))
const LISTING = { agentEnv: ['CRM_TOKEN', 'SHOP_API_URL'], shopApiUrl: 'http://127.0.0.1:1' }

/** The faults of an agent whose tool, and whose verification, send `placeholder` to an API. */
async function faultsOf(placeholder: string): Promise<{ tool: readonly string[]; account: readonly string[] }> {
  const env = agentEnvironment(everything, LISTING)
  const http = { url: 'https://crm.example/x?number={{call.from}}', headers: { 'X-Key': placeholder } }
  const faults = async (extra: Readonly<Record<string, unknown>>): Promise<readonly string[]> => {
    const loaded = await loadText(JSON.stringify({ version: 1, name: 'a', instructions: 'Be brief.', ...extra }), env)
    return Array.isArray(loaded) ? loaded.map((line) => line.replace(/^a\.yaml:\d+:\d+: /, '')) : []
  }
  return {
    tool: await faults({ tools: [{ name: 'look_up', description: 'Looks up.', http }] }),
    account: await faults({
      verification: {
        required: 1,
        account: { http },
        identity: { id: 'id' },
        questions: [{ id: 'digits', ask: 'Which digits?', field: 'digits', kind: 'digits' }],
      },
    }),
  }
}

t.test('an agent file reads only the variables of AGENT_ENV', async (t) => {
  for (const name of UNLISTED) {
    for (const placeholder of [`{{env.${name}}}`, `\${${name}}`, `Bearer {{ env.${name} }}`]) {
      const { tool, account } = await faultsOf(placeholder)
      const fault = `reads \\{\\{env\\.${name}\\}\\}, which AGENT_ENV does not list; listed: CRM_TOKEN, SHOP_API_URL`
      t.match(tool, [new RegExp(`^tools\\[0\\]\\.http\\.headers\\.X-Key ${fault}`)], placeholder)
      t.match(account.join('\n'), new RegExp(fault), `verification: ${placeholder}`)
    }
  }
  t.same((await faultsOf('{{env.CRM_TOKEN}}')).tool, [])
  const env = agentEnvironment(everything, LISTING)
  t.same(Object.keys(env), LISTING.agentEnv, 'a template that got past the loader finds nothing else')
  everything['CRM_LATER'] = MARK
  t.notOk('CRM_LATER' in env, 'nor what is set later')
})

t.test('AGENT_ENV cannot list a secret of the gateway', (t) => {
  t.throws(() => loadConfig({ AGENT_ENV: 'CRM_TOKEN,OPS_TOKEN' }, null), {
    code: 'CONFIG_INVALID',
    message: /AGENT_ENV lists OPS_TOKEN, a secret of the gateway itself/,
  })
  t.same(loadConfig({}, null).agentEnv, ['SHOP_API_URL'], 'what the shipped agents read')
  t.same(loadConfig({ AGENT_ENV: 'CRM_TOKEN, crm_url' }, null).agentEnv, ['CRM_TOKEN', 'crm_url'])
  t.end()
})

/** An agent with every key whose texts may be templates. */
const FULL = {
  version: 1,
  name: 'a',
  instructions: 'Be brief.',
  tools: [
    {
      name: 'look_up',
      description: 'Looks up.',
      http: {
        method: 'POST',
        url: 'https://crm.example/x',
        query: { number: '{{call.from}}' },
        headers: { 'X-Key': 'k' },
        body: { a: ['b'] },
      },
    },
  ],
  mcp: [
    { name: 'crm', url: 'https://crm.example/mcp', headers: { authorization: 'k' }, tools: ['find'] },
    { name: 'files', command: ['node', 'x'], env: { ROOT: 'r' }, tools: ['read'] },
  ],
}

/** Paths of all texts of a value. */
function textPaths(value: unknown): string[][] {
  if (typeof value === 'string') return [[]]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, one]) => textPaths(one).map((path) => [key, ...path]))
}

t.test('each text that reads the environment is known', async (t) => {
  const whole = await loadText(JSON.stringify(FULL), {})
  t.same(Array.isArray(whole) ? whole : [], [], 'the agent is valid')
  const found: string[] = []
  for (const path of textPaths(FULL)) {
    const changed = structuredClone(FULL) as unknown as Record<string, unknown>
    let at = changed
    for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>
    at[path.at(-1) ?? ''] = '{{env.HTTPS_PROXY}}'
    const loaded = await loadText(JSON.stringify(changed), agentEnvironment({ HTTPS_PROXY: MARK }, LISTING))
    if (!Array.isArray(loaded)) t.notMatch(JSON.stringify(loaded), MARK, path.join('.'))
    else if (loaded.some((line) => line.includes('AGENT_ENV does not list'))) found.push(path.join('.'))
  }
  t.same(found, [
    ...['tools.0.http.url', 'tools.0.http.query.number', 'tools.0.http.headers.X-Key', 'tools.0.http.body.a.0'],
    ...['mcp.0.url', 'mcp.0.headers.authorization', 'mcp.1.env.ROOT'],
  ])
  const readers: string[] = []
  for (const file of readdirSync('src', { recursive: true, encoding: 'utf8' }))
    if (/^(agents|backends|call|vendors|workers|messages)\/.*\.ts$/.test(file))
      if (/(?<!`)process\.env\b(?!`)/.test(readFileSync(join('src', file), 'utf8'))) readers.push(file)
  t.same(readers, [], 'a call gets its variables as an argument')
})

t.test('worker threads get the listed and the system variables', (t) => {
  const ofClouds = ['AWS_ACCESS_KEY_ID', 'AZURE_CLIENT_SECRET', 'GOOGLE_APPLICATION_CREDENTIALS']
  const given = Object.fromEntries([...UNLISTED, ...ofClouds, 'CRM_TOKEN', 'PATH'].map((name) => [name, MARK]))
  const worker = workerEnvironment(given, LISTING)
  t.same(Object.keys(worker).sort(), ['CRM_TOKEN', 'PATH', 'SHOP_API_URL'])
  t.match(fileEnvironment(given, agentEnvironment(given, LISTING)), given, 'files of the operator read all')
  const storage = Object.keys(storageEnvironment(given, worker))
  for (const name of ofClouds) t.ok(storage.includes(name), "a cloud's SDK finds its credentials")
  t.notOk(storage.includes('HTTPS_PROXY'))
  t.end()
})

/**
 * `process.env` of each worker thread of this process, as its debugger sees it; not of those in which Node runs the loaders
 * of `npx tap`.
 */
async function workersEnvironments(): Promise<Record<string, string>[]> {
  const session = new Session()
  session.connect()
  const found: Record<string, string>[] = []
  const asked: string[] = []
  session.on('NodeWorker.attachedToWorker', ({ params }) => {
    if (params.workerInfo.url.startsWith('node:')) return
    asked.push(params.workerInfo.workerId)
    const message = JSON.stringify({
      id: 1,
      method: 'Runtime.evaluate',
      params: { expression: 'JSON.stringify(process.env)' },
    })
    session.post('NodeWorker.sendMessageToWorker', { sessionId: params.sessionId, message })
  })
  session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
    const { result } = JSON.parse(params.message) as { result?: { result?: { value?: string } } }
    if (result?.result?.value !== undefined) found.push(JSON.parse(result.result.value) as Record<string, string>)
  })
  await new Promise<void>((resolve) =>
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false }, () => {
      resolve()
    }),
  )
  await until(() => asked.length > 0 && found.length >= asked.length, 10_000, 'the answers of the workers')
  session.post('NodeWorker.disable')
  session.disconnect()
  return found
}

/** Sets variables for one test. */
function withEnvironment(t: Test, variables: Readonly<Record<string, string>>): void {
  const before = { ...process.env }
  Object.assign(process.env, variables)
  t.teardown(() => {
    for (const name of Object.keys(variables)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  })
}

t.test('worker code finds no gateway secret in its environment', async (t) => {
  withEnvironment(t, {
    ...secrets,
    OTEL_EXPORTER_OTLP_HEADERS: `authorization=${MARK}`,
    CRM_TOKEN: 'a token of theirs',
  })
  const probe = 'module:./probe.mjs'
  const seen = join(t.testdirName, 'seen.json')
  const agent = {
    version: 1,
    name: 'probe',
    instructions: 'Be brief.',
    backend: probe,
    backends: { [probe]: { file: seen } },
  }
  const folder = t.testdir({
    agents: {
      'probe.yaml': JSON.stringify(agent),
      'probe.mjs': reexport(new URL('./environment-probe.js', import.meta.url)),
    },
  })
  const agentsDir = join(folder, 'agents')
  const config = {
    ...loadConfig(process.env, null),
    agentsDir,
    agentsWatch: false,
    port: 0,
    opsPort: 0,
    dataDir: join(folder, 'data'),
    mediaWorkers: 1,
    speechDecoders: 1,
    ...LISTING,
  }
  const gateway = await startGateway({
    config,
    env: agentEnvironment(process.env, config),
    log: createLog({ level: 'silent' }),
  })
  try {
    const sign = { secret: secrets['SAUTIKIT_WEBHOOK_SECRETS'] ?? '' }
    const answer = await post(`http://127.0.0.1:${gateway.publicPort}/voice/probe`, { form: ringing(newSid()), sign })
    t.equal(answer.status, 200, answer.text)
    await until(() => existsSync(seen), 30_000, 'the probe')
    const found = readFileSync(seen, 'utf8')
    t.notMatch(found, MARK, "nor does a backend of one's own")
    t.match(JSON.parse(found), { CRM_TOKEN: 'a token of theirs' })

    // The speech worker starts with the first call, and what starts is not listed before it runs.
    let environments: Record<string, string>[] = []
    const ours = (): Record<string, string>[] => environments.filter((one) => one['CRM_TOKEN'] !== undefined)
    const allSeen = async (): Promise<boolean> => {
      environments = await workersEnvironments()
      return ours().length >= 3
    }
    await until(allSeen, 30_000, 'a media worker, a speech worker, and the thread that keeps records')
    for (const environment of ours()) {
      t.notMatch(JSON.stringify(environment), MARK)
      for (const name of secretNames) t.notOk(name in environment, name)
      t.match(
        environment,
        { CRM_TOKEN: 'a token of theirs', SHOP_API_URL: 'http://127.0.0.1:1', PATH: String(process.env['PATH']) },
        "what is not the gateway's own is there",
      )
    }
  } finally {
    await gateway.stop(0)
  }
})

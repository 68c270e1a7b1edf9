import { existsSync, readFileSync } from 'node:fs'
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

const withShop = (shopApiUrl: string | null) => ({ shopApiUrl, numbersFile: null, messagesFile: null })

/** The faults of an agent whose tool, and whose verification, send `placeholder` to an API. */
async function faultsOf(placeholder: string): Promise<{ tool: readonly string[]; account: readonly string[] }> {
  const env = agentEnvironment({ ...secrets, CRM_TOKEN: 'a token of theirs' }, withShop('http://127.0.0.1:1'))
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

t.test('an agent file that sends a gateway secret is refused', async (t) => {
  for (const name of [...secretNames, 'OTEL_EXPORTER_OTLP_HEADERS']) {
    for (const placeholder of [`{{env.${name}}}`, `\${${name}}`, `Bearer {{ env.${name} }}`]) {
      const { tool, account } = await faultsOf(placeholder)
      t.match(
        tool,
        [
          new RegExp(
            `^tools\\[0\\]\\.http\\.headers\\.X-Key reads \\{\\{env\\.${name}\\}\\}, which agents cannot read: it is a secret of the gateway itself`,
          ),
        ],
        placeholder,
      )
      t.match(
        account.join('\n'),
        new RegExp(`reads \\{\\{env\\.${name}\\}\\}, which agents cannot read: it is a secret of the gateway itself`),
        `verification: ${placeholder}`,
      )
    }
  }
  const { tool } = await faultsOf('{{env.CRM_TOKEN}}')
  t.same(tool, [], 'what the operator set for the agents is theirs')
  const env = agentEnvironment(secrets, withShop(null))
  t.notMatch(JSON.stringify(env), MARK, 'and a template that got past the loader finds nothing')
})

t.test('no agent gets secrets of NUMBERS_FILE or MESSAGES_FILE', (t) => {
  const folder = t.testdir({
    'messages.yaml': `receivers:\n  - { name: crm, url: '{{env.CRM_URL}}', secrets: [CRM_SECRET, CRM_NEXT] }\n`,
    numbers: {
      'a.yaml': `numbers: { '+254720000001': { agent: a, opsToken: '{{env.DUKA_TOKEN}}' } }\n`,
      'b.yaml': `numbers: { '+254720000002': { agent: a, opsToken: '{{env.SHOP_TOKEN}}' } }\n`,
    },
  })
  const read = ['CRM_URL', 'CRM_SECRET', 'CRM_NEXT', 'DUKA_TOKEN', 'SHOP_TOKEN']
  const ofClouds = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN', 'AWS_WEB_IDENTITY_TOKEN_FILE']
  ofClouds.push('AZURE_CLIENT_SECRET', 'GOOGLE_APPLICATION_CREDENTIALS')
  const given = Object.fromEntries([...read, ...ofClouds, 'CRM_TOKEN'].map((name) => [name, MARK]))
  const config = {
    ...{ shopApiUrl: null, numbersFile: join(folder, 'numbers'), messagesFile: join(folder, 'messages.yaml') },
  }
  const env = agentEnvironment(given, config)
  for (const name of [...read, ...ofClouds]) t.equal(env[name], undefined, name)
  t.equal(env['CRM_TOKEN'], MARK)
  t.same(Object.keys(workerEnvironment(given, config)), ['CRM_TOKEN'])
  t.same(fileEnvironment(given, env), given, 'the files themselves read them')
  t.same(
    Object.keys(storageEnvironment(given, workerEnvironment(given, config))).sort(),
    ['CRM_TOKEN', ...ofClouds].sort(),
    "and so does a cloud's SDK",
  )
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
    shopApiUrl: 'http://127.0.0.1:1',
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

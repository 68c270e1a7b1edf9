import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { faultsText, readAgents } from '../../src/agents/file/loader.js'
import { Recorder } from '../../src/backends/conformance.js'
import { loadBackend } from '../../src/backends/load-backend.js'
import type { BackendContext } from '../../src/backends/backend-context.js'
import { loadConfig } from '../../src/config/load-config.js'
import { xiaozhiHarness } from '../../examples/own-backend/harness.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { passSuite } from '../backends/pass-suite.js'

const EXAMPLE = fileURLToPath(new URL('../../examples/own-backend/xiaozhi-backend.js', import.meta.url))
const PACKAGE = fileURLToPath(new URL('../../../', import.meta.url))
/** They mostly wait. */
const CHECKS_AT_ONCE = 12
const AGENT = 'version: 1\nname: a\ninstructions: Be brief.\n'
const url = 'ws://127.0.0.1:8000/xiaozhi/v1/'

/** A project that depends on the package and has its agent and its backend in one folder. */
const folder = (agent: string): string =>
  t.testdir({
    node_modules: { mkondo: t.fixture('symlink', PACKAGE) },
    'a.yaml': AGENT + agent,
    'xiaozhi-backend.mjs': readFileSync(EXAMPLE),
  })

async function loadedFrom(agent: string) {
  const dir = folder(agent)
  const [read, ...others] = await readAgents(dir, {})
  t.same(others, [], 'the module is no agent')
  if (read?.ok !== true) throw new Error(read === undefined ? 'nothing was read' : faultsText(read.faults))
  return read.agent
}

t.test("an agent's own backend is found beside its file", async (t) => {
  const agent = await loadedFrom(
    `backend: [module:./xiaozhi-backend.mjs, embedded]\nvoice: { xiaozhi-backend: soft }\nbackends:\n  xiaozhi-backend: { url: '${url}' }\n`,
  )
  const [name = '', second] = agent.backend as readonly string[]
  t.match(name, /^module:file:\/\/.*\/xiaozhi-backend\.mjs$/)
  t.equal(second, 'embedded')
  t.same(Object.entries(agent.backends), [[name, { url }]])
  t.equal(agent.voice[name], 'soft')
  const context: BackendContext = {
    speech: null,
    clock: () => performance.now(),
    settings: backendSettings(loadConfig({}, null)),
    options: agent.backends,
    legRateHz: 16000,
    gatewayTurns: true,
    gatewayInterrupts: false,
  }
  const made = (await loadBackend(name, context))(new Recorder())
  t.equal(made.capabilities.name, 'xiaozhi')

  t.test('the example passes the suite as the gateway loads it', (t) =>
    passSuite(
      t,
      xiaozhiHarness((options) => loadBackend(name, { ...context, options: { [name]: options } })),
      CHECKS_AT_ONCE,
    ),
  )
  const unset = await loadBackend(name, { ...context, options: {} })
  t.throws(() => unset(new Recorder()), { code: 'AGENT_INVALID', message: /needs url, such as ws:/ })
})

t.test('missing modules and unknown backend names are reported with line', async (t) => {
  await t.rejects(
    loadedFrom('backend: [embedded, module:./missing.mjs]\n'),
    /a\.yaml:4:\d+: backend\[1\]: module:\.\/missing\.mjs: there is no file .*missing\.mjs/,
  )
  await t.rejects(
    loadedFrom('backend: [{ use: [embedded, module:./missing.mjs], percent: 100 }]\n'),
    /a\.yaml:4:\d+: backend\[0\]\.use\[1\]: module:\.\/missing\.mjs: there is no file/,
  )
  await t.rejects(
    loadedFrom('backend: module:./xiaozhi-backend.mjs\nbackends:\n  xiaozhi: {}\n'),
    /a\.yaml:6:\d+: .*xiaozhi has no options; allowed: openai, .*the name of a module that the agent lists/,
  )
})

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { loadText } from '../support/agent-text.js'
import { loadBackend } from '../../src/backends/load-backend.js'
import { resolveBackends } from '../../src/backends/registry.js'
import type { BackendContext } from '../../src/backends/backend-context.js'
import type { ConformanceHarness } from '../../src/backends/conformance.js'
import { Recorder } from '../../src/backends/conformance.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { loadConfig } from '../../src/config/load-config.js'
import { openAiHarness } from './openai-harness.js'
import { passSuite } from './pass-suite.js'
import { reexport } from '../support/module-beside.js'

const folders = t.testdir()
/** Each agent has a folder of its own, because the checks run side by side. */
let agents = 0
const settings = backendSettings(loadConfig({}, null))

/** The context with which a call of such an agent loads the module. */
async function contextOf(
  options: Readonly<Record<string, unknown>>,
  gatewayTurns: boolean,
): Promise<{ readonly name: string; readonly context: BackendContext }> {
  const folder = join(folders, String(agents++))
  mkdirSync(folder)
  const module = join(folder, 'own.mjs')
  writeFileSync(module, reexport(new URL('./own-backend.js', import.meta.url)))
  const loaded = await loadText(
    JSON.stringify({
      version: 1,
      name: 'a',
      instructions: 'Be brief.',
      backend: 'module:./own.mjs',
      backends: { 'module:./own.mjs': options },
    }),
    {},
    folder,
  )
  if (Array.isArray(loaded)) throw new Error(loaded.join('; '))
  const context: BackendContext = {
    speech: null,
    clock: () => performance.now(),
    settings,
    options: loaded.backends,
    legRateHz: 16000,
    gatewayTurns,
    gatewayInterrupts: false,
  }
  return { name: `module:${pathToFileURL(module).href}`, context }
}

/** The suite as a third party runs it: on the module as the gateway loads it. */
async function harness(gatewayTurns: boolean): Promise<ConformanceHarness> {
  const inner = openAiHarness(`a module, turns by ${gatewayTurns ? 'the gateway' : 'the service'}`)
  return {
    ...inner,
    setup: async () => {
      const setup = await inner.setup()
      const { name, context } = await contextOf({ url: setup.address, token: setup.secret }, gatewayTurns)
      return { ...setup, backend: await loadBackend(name, context) }
    },
  }
}

for (const gatewayTurns of [false, true]) {
  const one = await harness(gatewayTurns)
  t.test(one.name, (t) => passSuite(t, one))
}

t.test('the error for a faulty module names it', async (t) => {
  const { name, context } = await contextOf({}, false)
  await t.rejects(loadBackend('module:no-such-package', context), {
    code: 'AGENT_INVALID',
    message: /module:no-such-package cannot be loaded/,
  })
  await t.rejects(loadBackend('module:node:path', context), {
    code: 'AGENT_INVALID',
    message: /does not export a function createBackend/,
  })
  const create = await loadBackend(name, context)
  t.throws(() => create(new Recorder()), {
    code: 'AGENT_INVALID',
    message: /own\.mjs cannot be made: own-backend needs url and token/,
  })
  t.same(resolveBackends('a', name, settings), [name])
})

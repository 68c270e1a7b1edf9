import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { NO_ASSETS } from '../../src/agents/file/assets.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { loadUsableAgents } from '../../src/agents/file/loader.js'
import type { BackendCapabilities } from '../../src/backends/backend.js'
import { packageRoot } from '../../src/config/package-root.js'
import type { CallStart } from '../../src/workers/shared/call-messages.js'
import { sessionOptions } from '../../src/workers/worker/call-setup.js'
import { command } from '../support/command.js'

const SHIPPED = readFileSync(join(packageRoot(), 'agents', 'learned-turns.json'), 'utf8')
const ENV = { SHOP_API_URL: 'http://127.0.0.1:1' }

/** A folder with the order line, which names `turns.json`, and that file where there is one. */
function agentsWith(t: Test, file: string | null, adaptive = true): string {
  const folder = join(t.testdir(), 'agents')
  mkdirSync(folder)
  const agent = join(folder, 'order-status.yaml')
  copyFileSync(join(packageRoot(), 'agents', 'order-status.yaml'), agent)
  const turn = `turn: { learned: turns.json, adaptive: ${adaptive} }`
  writeFileSync(agent, `${readFileSync(agent, 'utf8')}\n${turn}\n`)
  if (file !== null) writeFileSync(join(folder, 'turns.json'), file)
  return folder
}

const changed = (changes: object): string => JSON.stringify({ ...(JSON.parse(SHIPPED) as object), ...changes })
/** The order line speaks these. */
const FITS = changed({ languages: ['en', 'sw'] })

t.test('an agent loads the model named in its file', async (t) => {
  const { assets, faults } = await loadUsableAgents(agentsWith(t, FITS), ENV)
  t.same(faults, [])
  t.same(assets.get('order-status')?.learned, (JSON.parse(SHIPPED) as { model: unknown }).model)
})

t.test('calls of the agent get the model', async (t) => {
  const learned = (JSON.parse(SHIPPED) as { model: never }).model
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'Be brief.' })
  const options = (assets: object) => {
    const start = { agent, assets, callSid: 'x', from: '', to: '', direction: 'inbound', resume: null }
    const capabilities = { serverVad: false, truncate: false }
    return sessionOptions(start as unknown as CallStart, capabilities as BackendCapabilities, 0)
  }
  t.equal(options({ ...NO_ASSETS, learned }).speech.learned, learned)
  t.equal(options(NO_ASSETS).speech.learned, null)
})

t.test('check reports an unusable model', async (t) => {
  for (const [file, fault] of [
    [null, /turn\.learned: turns\.json: cannot be read: ENOENT.*; turns end by the rules/],
    ['{ "version": 1', /turn\.learned: turns\.json: is not JSON; allowed: a file that/],
    [changed({ version: 2 }), /turn\.learned: turns\.json: has the form 2; this build reads 1/],
    [changed({ languages: ['en'] }), /turns\.json: was made from calls in en; the agent also speaks sw/],
  ] as const) {
    const folder = agentsWith(t, file)
    const { code, out, err } = await command(['check'], { env: { ...ENV, AGENTS_DIR: folder } })
    t.equal(code, 2)
    t.match(out + err, fault)
    const { assets } = await loadUsableAgents(folder, ENV)
    t.equal(assets.get('order-status')?.learned, null, 'calls run without it')
  }
})

t.test('a model needs turn.adaptive', async (t) => {
  const { code, out, err } = await command(['check'], { env: { ...ENV, AGENTS_DIR: agentsWith(t, FITS, false) } })
  t.equal(code, 2)
  t.match(out + err, /turn\.learned: turns\.json: has no effect, because turn\.adaptive is false/)
})

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { usesRecogniser } from '../../src/backends/split.js'
import { loadConfig } from '../../src/config/load-config.js'
import { packageRoot } from '../../src/config/package-root.js'
import { hostedAgents, withoutReplacement } from '../../src/gateway/hosted-agents.js'

const folder = await mkdtemp(join(tmpdir(), 'mkondo-hosted-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const orders = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
const plain = 'version: 1\nname: plain\ninstructions: Say back what you hear.\n'
await writeFile(join(folder, 'order-status.yaml'), orders)
await writeFile(join(folder, 'plain.yaml'), plain)
await writeFile(join(folder, 'named.yaml'), plain.replace('plain', 'named').concat('backend: openai\n'))

const KEY = { OPENAI_API_KEY: 'a-key-of-the-tests-and-of-nothing-else' }

async function agentsWith(env: Readonly<Record<string, string>>) {
  const config = loadConfig({ AGENTS_DIR: folder, ...env }, null)
  const { agents } = await hostedAgents(config, { SHOP_API_URL: 'http://127.0.0.1:1' })
  return agents
}

t.test('behind `auto` comes the embedded backend, for agents that have a dialogue for it', async (t) => {
  const agents = await agentsWith(KEY)
  t.same(
    agents.get('order-status')?.shares.flatMap(({ names }) => names),
    ['openai', 'embedded'],
  )
  t.same(
    agents.get('plain')?.shares.flatMap(({ names }) => names),
    ['openai'],
  )
  t.same(
    agents.get('named')?.shares.flatMap(({ names }) => names),
    ['openai'],
    'a backend that is named has only what the agent names',
  )
  t.same(withoutReplacement(agents), ['plain'], 'what the start warns of')
  t.notOk(
    [...agents.values()].some(({ shares }) => shares.some(usesRecogniser)),
    'the recogniser is not loaded until it is needed',
  )
  const cascade = await agentsWith({ ...KEY, AUTO_BACKEND: 'openai-live' })
  t.same(
    cascade.get('order-status')?.shares.flatMap(({ names }) => names),
    ['openai-live', 'embedded'],
  )
  const embedded = await agentsWith({ ...KEY, AUTO_BACKEND: 'embedded' })
  t.same(
    embedded.get('order-status')?.shares.flatMap(({ names }) => names),
    ['embedded'],
  )
  t.same(withoutReplacement(embedded), [])
  t.ok([...embedded.values()].some(({ shares }) => shares.some(usesRecogniser)))
})

t.test('a share may be a list, or `auto`; each is resolved by itself', async (t) => {
  await writeFile(
    join(folder, 'order-status.yaml'),
    orders.replace(/^backend: .*$/m, 'backend: [{ use: auto, percent: 80 }, { use: [gemini, openai], percent: 20 }]'),
  )
  const agents = await agentsWith({ ...KEY, GEMINI_API_KEY: 'another-key-of-the-tests' })
  t.same(agents.get('order-status')?.shares, [
    { percent: 80, auto: true, names: ['openai', 'embedded'] },
    { percent: 20, auto: false, names: ['gemini', 'openai'] },
  ])
  await t.rejects(agentsWith(KEY), /order-status uses backend gemini, but GEMINI_API_KEY is not set/)
})

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { HttpClient } from '../../src/http/http-client.js'
import { loadAgents } from '../../src/agents/loader.js'
import { offeredTools } from '../../src/agents/offered-tools.js'
import { ToolRunner } from '../../src/agents/tool-runner.js'
import { defineAgent, defineTool } from '../../src/index.js'
import { contextOf } from './support-line.js'

async function folder(t: Test, files: Record<string, string>): Promise<string> {
  const dir = t.testdir({ tools: {} })
  for (const [name, text] of Object.entries(files)) {
    await mkdir(join(dir, name, '..'), { recursive: true })
    await writeFile(join(dir, name), text)
  }
  return dir
}

async function runnerOf(t: Test, dir: string, name = 'a'): Promise<ToolRunner> {
  const { agents, assets } = await loadAgents(dir, {})
  const agent = agents.get(name)
  const own = assets.get(name)
  if (agent === undefined || own === undefined) throw new Error('the agent must load')
  const client = new HttpClient()
  t.teardown(() => {
    client.close()
  })
  return ToolRunner.open(agent, own, {}, client)
}

const YAML = 'version: 1\nname: a\ninstructions: Be brief.\nmodules: [tools/quote.mjs]\n'
const QUOTE = `
export const quote = {
  name: 'quote', description: 'Quotes a price.',
  parameters: { properties: { units: { type: 'integer', minimum: 1 }, who: { type: 'string' } }, required: ['units'] },
  bind: { who: '{{call.from}}' },
  run: ({ units, who }, { callSid, identity }) => ({ kes: units * 250, who, callSid, identity }),
}
export const helper = () => 1
`

t.test('a tool in code is one of a YAML agent, with the same checks and bounds', async (t) => {
  const tools = await runnerOf(t, await folder(t, { 'a.yaml': YAML, 'tools/quote.mjs': QUOTE }))
  t.same(await tools.run('quote', { units: 3, who: 'somebody else' }, contextOf('+254700000001')), {
    ok: true,
    value: { kes: 750, who: '+254700000001', callSid: 'HD_000000000001', identity: null },
  })
  t.match(await tools.run('quote', { units: 'many' }, contextOf('+254700000001')), {
    ok: false,
    code: 'TOOL_ARGUMENTS',
  })
})

t.test('an agent in code has tools of both kinds', async (t) => {
  const dir = await folder(t, {
    'shop.mjs': `
    const hello = { name: 'hello', description: 'Says hello.', run: () => 'hello' }
    export default { version: 1, name: 'a', instructions: 'Be brief.', greeting: 'Hi.',
      tools: [hello, { name: 'look_up', description: 'x', http: { url: 'https://shop.example/x' } }] }
  `,
  })
  const { agents, assets } = await loadAgents(dir, {})
  const [agent, own] = [agents.get('a'), assets.get('a')]
  t.match(agent, { greeting: 'Hi.', tools: [{ name: 'look_up' }] })
  if (agent !== undefined && own !== undefined)
    t.same(
      offeredTools(agent, own).map(({ name }) => name),
      ['look_up', 'hello', 'set_speech_rate'],
    )
  t.match(await (await runnerOf(t, dir)).run('hello', {}, contextOf('')), { ok: true, value: 'hello' })
})

t.test('a fault of a tool in code is an answer without its data', async (t) => {
  const dir = await folder(t, {
    'a.yaml': YAML,
    'tools/quote.mjs': `
    const tool = (name, run, more) => ({ name, description: 'x', run, timeoutMs: 100, ...more })
    export const a = tool('throws', () => { throw new Error('secret of +254700000001') })
    export const b = tool('hangs', () => new Promise(() => {}))
    export const c = tool('huge', () => 'x'.repeat(20000))
    export const d = tool('odd', () => () => 1)
    export const e = tool('nothing', () => undefined)
  `,
  })
  const tools = await runnerOf(t, dir)
  const run = (name: string): ReturnType<ToolRunner['run']> => tools.run(name, {}, contextOf('+254700000001'))
  const thrown = await run('throws')
  t.match(thrown, { ok: false, value: { error: 'the tool failed' } })
  t.notMatch(JSON.stringify(thrown), /secret|254/)
  t.match(await run('hangs'), { ok: false, code: 'TOOL_TIMEOUT' })
  t.match(await run('huge'), { ok: false, code: 'TOOL_RESPONSE' })
  t.match(await run('odd'), { ok: false, code: 'TOOL_RESPONSE' })
  t.same(await run('nothing'), { ok: true, value: null })
})

t.test('mistakes are named with their file', async (t) => {
  const cases: [Record<string, string>, RegExp][] = [
    [{ 'a.yaml': YAML }, /a\.yaml:4:11: modules\[0\]: tools\/quote\.mjs: cannot be read: ENOENT/],
    [{ 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = 1' }, /exports no tool \(defineTool\)/],
    [
      { 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = {' },
      /modules\[0\]: tools\/quote\.mjs: Unexpected end of input/,
    ],
    [
      { 'a.yaml': YAML, 'tools/quote.mjs': 'export const a = { name: "a b", description: "x", run() {} }' },
      /tool a b: name must be 1 to 64/,
    ],
    [{ 'a.yaml': YAML.replace('tools/', '../../') }, /lies outside of the agents folder/],
    [
      { 'a.yaml': `${YAML}knowledge: [none.md]\n`, 'tools/quote.mjs': QUOTE },
      /a\.yaml:5:13: knowledge\[0\]: none\.md: cannot be read/,
    ],
    [
      { 'a.yaml': `${YAML}knowledge: [k.md]\n`, 'tools/quote.mjs': QUOTE, 'k.md': '# nothing' },
      /knowledge\[0\]: k\.md: has no passage/,
    ],
    [{ 'a.mjs': 'export default 3' }, /a\.mjs:1:1: has no default export made by defineAgent/],
    [
      { 'a.mjs': 'export default { version: 1, name: "a", instructions: "x", greting: "y" }' },
      /a\.mjs:1:1: greting is not a key of an agent; did you mean greeting\?/,
    ],
    [{ 'a.mjs': 'nonsense(' }, /a\.mjs:1:1: cannot be imported: /],
    [
      {
        'a.yaml': `${YAML}tools:\n  - {name: quote, description: x, http: {url: "https://a.example"}}\n`,
        'tools/quote.mjs': QUOTE,
      },
      /quote is the name of two tools/,
    ],
  ]
  for (const [files, message] of cases)
    await t.rejects(loadAgents(await folder(t, files), {}), { code: 'AGENT_INVALID', message }, String(message))
})

t.test('defineAgent and defineTool are for the editor: what they are given is what they return', async (t) => {
  const tool = defineTool({ name: 'hello', description: 'Says hello.', run: (_args, { identity }) => identity })
  const agent = defineAgent({ version: 1, name: 'a', instructions: 'Be brief.', tools: [tool] })
  t.equal(agent.tools?.[0], tool)
})

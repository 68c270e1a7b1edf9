import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addedCode } from '../../src/agents/file/code-keys.js'
import { agentJsonSchema } from '../../src/agents/file/definition.js'
import { loadUsableAgents } from '../../src/agents/file/loader.js'
import { inThread } from '../../src/gateway/agents/agent-inspector.js'
import type { ExaminedDraft } from '../../src/gateway/agents/agents-thread.js'
import { AGENT_KEYS } from './agent-keys.js'

/** Who edits an agent in the console neither adds nor changes code, nor anything that names code. */

interface Node {
  readonly [key: string]: unknown
}

/** Every key of a JSON Schema: `mcp[].command`; `*` is any name. */
function keysOf(root: Node): string[] {
  const found = new Set<string>()
  const walk = (node: unknown, path: string, depth: number): void => {
    if (typeof node !== 'object' || node === null || depth > 12) return
    const { properties, items, additionalProperties, anyOf, oneOf, allOf, $ref } = node as Node
    if (typeof $ref === 'string') return // it describes itself again
    for (const branch of [anyOf, oneOf, allOf].filter(Array.isArray).flat() as unknown[]) walk(branch, path, depth + 1)
    walk(items, `${path}[]`, depth + 1)
    for (const [key, child] of Object.entries(properties ?? {})) {
      const at = path === '' ? key : `${path}.${key}`
      found.add(at)
      walk(child, at, depth + 1)
    }
    if (typeof additionalProperties === 'object') walk(additionalProperties, `${path}.*`, depth + 1)
  }
  walk(root, '', 0)
  return [...found].sort()
}

t.test('each key of an agent has a row', (t) => {
  const found = keysOf(agentJsonSchema())
  // A module is found at any key of any backend, so the options of a new vendor need no row.
  const ofBackends = (key: string): boolean => key.startsWith('backends.')
  const rows = Object.keys(AGENT_KEYS)
  t.same(
    rows.filter((key) => !ofBackends(key)).sort(),
    found.filter((key) => !ofBackends(key)),
  )
  t.same(
    rows.filter((key) => ofBackends(key) && !found.includes(key)),
    [],
    'keys of backends that are named exist',
  )
  for (const key of found.filter(ofBackends)) {
    const edit: unknown = key.split('.').reduceRight<unknown>((value, name) => {
      const isList = name.endsWith('[]')
      return { [isList ? name.slice(0, -2) : name]: isList ? [value] : value }
    }, 'module:./evil.mjs')
    t.ok(addedCode(edit, undefined).length > 0, key)
  }
  t.end()
})

/** An edit of each key that names code. */
const EDITS: Readonly<Record<string, unknown>> = {
  backend: { backend: ['embedded', 'module:./evil.mjs'] },
  'backend[].use': { backend: [{ use: 'module:./evil.mjs', percent: 100 }] },
  backends: { backends: { 'module:./evil.mjs': {} } },
  'backends.cascade.stt': { backends: { cascade: { stt: 'module:./evil.mjs' } } },
  'backends.cascade.stt.service': { backends: { cascade: { stt: { service: 'module:./evil.mjs' } } } },
  'backends.cascade.stt[].service': { backends: { cascade: { stt: ['whisper', { service: 'module:./evil.mjs' }] } } },
  'backends.cascade.llm': { backends: { cascade: { llm: 'module:./evil.mjs' } } },
  'backends.cascade.llm.service': { backends: { cascade: { llm: { service: 'module:./evil.mjs' } } } },
  'backends.cascade.llm[].service': { backends: { cascade: { llm: [{ service: 'module:./evil.mjs' }] } } },
  'backends.cascade.tts': { backends: { cascade: { tts: 'module:./evil.mjs' } } },
  'backends.cascade.tts.service': { backends: { cascade: { tts: { service: 'module:./evil.mjs' } } } },
  'backends.cascade.tts[].service': { backends: { cascade: { tts: [{ service: 'module:./evil.mjs' }] } } },
  voice: { voice: { 'module:./evil.mjs': 'x' } },
  modules: { modules: ['evil.mjs'] },
  'mcp[].command': { mcp: [{ name: 'x', command: ['sh', '-c', 'id'], tools: ['y'] }] },
  'mcp[].env': {
    mcp: [{ name: 'x', command: ['node', 'a.js'], env: { NODE_OPTIONS: '--import=data:,' }, tools: ['y'] }],
  },
}

t.test('an edit of each key that names code is found', (t) => {
  const named = Object.entries(AGENT_KEYS).flatMap(([key, names]) => (names ? [key] : []))
  t.same(Object.keys(EDITS).sort(), named.sort(), 'each key has an edit here')
  const onDisk = { mcp: [{ name: 'x', command: ['node', 'a.js'], tools: ['y'] }] }
  for (const [key, edit] of Object.entries(EDITS)) {
    t.ok(addedCode(edit, onDisk).length > 0, key)
    t.same(addedCode(edit, edit), [], `${key} unchanged from the disk`)
    t.ok(addedCode(edit, undefined).length > 0, `${key} if the file on the disk is unreadable`)
  }
  t.end()
})

t.test('other edits, and removing code, are allowed', (t) => {
  const server = { name: 'x', command: ['node', 'a.js'], env: { A: '1', B: '2' }, tools: ['y'] }
  const onDisk = { greeting: 'One.', backend: ['module:./mine.mjs', 'embedded'], modules: ['a.mjs'], mcp: [server] }
  const edited = [
    { ...onDisk, greeting: 'module: two', instructions: 'module:./x.mjs' },
    { ...onDisk, backend: 'module:./mine.mjs' },
    { ...onDisk, modules: [], mcp: [] },
    { ...onDisk, mcp: [{ ...server, name: 'z', env: { B: '2', A: '1' }, tools: ['y', 'z'] }] },
    { ...onDisk, mcp: [server, { name: 'far', url: 'https://x.test/mcp', tools: ['y'] }] },
  ]
  for (const one of edited) t.same(addedCode(one, onDisk), [], JSON.stringify(one))
  t.end()
})

const yaml = (more: string): string => `version: 1\nname: a\ninstructions: Help.\ngreeting: Hello.\n${more}`
const MARKING = (file: string): string =>
  `import { writeFileSync } from 'node:fs'\nwriteFileSync(${JSON.stringify(file)}, 'ran')\nexport const createBackend = () => {}\n`

t.test('a draft with new code is refused before it runs', async (t) => {
  const dir = t.testdir({ 'a.yaml': yaml(''), tools: {} })
  const ran = join(dir, 'ran')
  writeFileSync(join(dir, 'tools', 'evil.mjs'), MARKING(ran))
  const check = (more: string): Promise<ExaminedDraft> =>
    inThread({ what: 'draft', dir, draft: { file: 'a.yaml', text: yaml(more) }, env: {}, speech: false }, {})
  const cases: [string, RegExp, number][] = [
    ['mcp: [{ name: x, command: [sh, -c, id], tools: [y] }]\n', /^mcp\[0\]\.command names code/, 5],
    ['modules: [tools/evil.mjs]\n', /^modules\[0\] names code/, 5],
    [`backend: "module:data:text/javascript,1"\n`, /^backend names code/, 5],
    ['maxCalls: 5\nbackend: [embedded, module:./tools/evil.mjs]\n', /^backend\[1\] names code/, 6],
  ]
  for (const [more, what, line] of cases) t.match(await check(more), { version: null, faults: [{ line, what }] }, more)
  t.match(await check('maxCalls: 5\n'), { faults: [] })
  t.throws(() => writeFileSync(ran, '', { flag: 'r+' }), { code: 'ENOENT' }, 'no module was imported')
})

t.test("agent code must lie in the agents' folder", async (t) => {
  const outside = t.testdir({ agents: { 'in.mjs': 'export const createBackend = () => {}\n' } })
  const dir = join(outside, 'agents')
  const away = join(outside, 'away.mjs')
  writeFileSync(away, MARKING(join(outside, 'ran')))
  symlinkSync(away, join(dir, 'link.mjs'))
  mkdirSync(join(dir, 'tools'))
  symlinkSync(away, join(dir, 'tools', 'link.mjs'))
  const faults = async (more: string): Promise<string> => {
    writeFileSync(join(dir, 'a.yaml'), yaml(more))
    const { faults } = await loadUsableAgents(dir, {}).catch((thrown: unknown) => ({
      faults: [{ what: String(thrown) }],
    }))
    return faults.map(({ what }) => what).join('\n')
  }
  for (const specifier of ['../away.mjs', `file://${away}`, './tools/link.mjs']) {
    t.match(await faults(`backend: 'module:${specifier}'\n`), /lies outside of the agents folder/, specifier)
    t.match(
      await faults(`backends: { cascade: { llm: { service: 'module:${specifier}' } } }\n`),
      /lies outside of the agents folder/,
      specifier,
    )
  }
  for (const specifier of [
    'data:text/javascript,1',
    'http://x.test/a.mjs',
    'https://x.test/a.mjs',
    'node:fs',
    'fs',
    'fs/promises',
    '/etc/a.mjs',
    'a/../../b',
    'a%2fb',
  ])
    t.match(
      await faults(`backend: 'module:${specifier}'\n`),
      /is neither a file of the agents folder.* nor the name of an installed package/,
      specifier,
    )
  t.match(await faults('modules: [tools/link.mjs]\n'), /modules\[0\]: tools\/link\.mjs: lies outside/)
  t.match(await faults('modules: [../away.mjs]\n'), /lies outside of the agents folder/)
  t.match(await faults(''), /link\.mjs|lies outside/, 'agents in code are checked too')
  for (const specifier of ['./in.mjs', `file://${join(dir, 'in.mjs')}`, 'some-package', '@scope/package/part'])
    t.notMatch(await faults(`backend: 'module:${specifier}'\n`), /backend/, specifier)
  t.throws(() => writeFileSync(join(outside, 'ran'), '', { flag: 'r+' }), { code: 'ENOENT' }, 'nothing outside ran')
})

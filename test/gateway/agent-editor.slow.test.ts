import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { AgentTexts, hashOf } from '../../src/agents/file/agent-texts.js'
import { readAgents } from '../../src/agents/file/loader.js'
import { allCallsOn } from '../../src/backends/split.js'
import { AgentEditor, Drafts } from '../../src/gateway/agents/agent-editor.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { AgentHeads } from '../../src/gateway/agents/agent-heads.js'
import { inThread } from '../../src/gateway/agents/agent-inspector.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import type { UseVersion } from '../../src/gateway/agents/hosted-agents.js'
import type { HostedAgent } from '../../src/workers/main/main-thread-context.js'

/** Agents of one process that an operator edits: what is published together, tried, and listed. */

const yaml = (words: string, more = ''): string =>
  `version: 1\nname: a\ninstructions: Help.\ngreeting: ${words}\n${more}`
const hash = (text: string): string => hashOf(Buffer.from(text))
const ONE = yaml('Welcome to {{business.name}}.')
const CANARY = yaml('Welcome.', 'canary: { percent: 10 }\n')

/** An editor whose new calls get at once what is published. @param Texts  those of the folder */
async function editorOf(t: Test, files: Readonly<Record<string, string>>, Texts = AgentTexts) {
  const dir = t.testdir(files)
  const agents = new Map<string, HostedAgent>()
  const drafts = new Drafts()
  const use: UseVersion = ({ agent, assets }) => ({
    ...{ definition: agent, assets, facts: agentFacts(agent), shares: allCallsOn('embedded') },
  })
  const follow = async (): Promise<void> => {
    const versions = (await readAgents(dir, {})).flatMap((one) => (one.ok ? [one] : []))
    for (const { agent, assets } of versions)
      if (agent.canary === undefined) agents.set(agent.name, use({ agent, assets }))
    for (const { agent, assets } of versions) {
      const live = agents.get(agent.name)
      if (agent.canary === undefined || live === undefined) continue
      agents.set(agent.name, { ...live, canary: { percent: 10, version: use({ agent, assets }) } })
    }
  }
  class Followed extends Texts {
    override async publish(...order: Parameters<AgentTexts['publish']>) {
      const isNew = await super.publish(...order)
      await follow()
      return isNew
    }
  }
  await follow()
  const texts = new Followed(dir, Date.now)
  const heads = new AgentHeads({ store: new MemoryStore(Date.now), secrets: ['s'.repeat(32)], wallClock: Date.now })
  const editor = new AgentEditor({ agents, dir, texts, use, drafts, heads, env: {}, workerEnv: {}, speech: false })
  return { dir, editor, drafts }
}

t.test('an edit that brings code is refused', async (t) => {
  const withCode = yaml('Hello.', 'mcp: [{ name: x, command: [node, a.js], tools: [y] }]\n')
  const { dir, editor } = await editorOf(t, { 'a.yaml': withCode })
  const now = (): string => readFileSync(join(dir, 'a.yaml'), 'utf8')
  const changed = withCode.replace('a.js', 'b.js')
  const refused = [{ line: 5, what: /^mcp\[0\]\.command names code that the file on the disk does not name/ }]
  const publish = (text: string) => editor.publish({ file: 'a.yaml', text, bases: [hash(now())] })
  t.match(await editor.check({ file: 'a.yaml', text: changed }), { faults: refused, agent: null })
  t.match(await editor.draft({ file: 'a.yaml', text: changed }), { faults: refused, id: null })
  t.match(await publish(changed), { faults: refused })
  t.equal(now(), withCode)
  t.match(await publish(withCode.replace('Hello.', 'Hi.')), { faults: [] }, 'the rest is edited')
  t.match(await publish(yaml('Hi.')), { faults: [] }, 'code is left out')
  t.match(await publish(withCode), { faults: refused }, 'and does not come back by a kept text')
  t.equal(now(), yaml('Hi.'))
})

t.test('two texts that conflict are not both published', async (t) => {
  class Slow extends AgentTexts {
    override async publish(...order: Parameters<AgentTexts['publish']>) {
      // As long as the check of the other text would take, and more.
      const task = { what: 'draft', dir, draft: { file: 'a.yaml', text: ONE }, env: {}, speech: false } as const
      for (let check = 0; check < 3; check++) await inThread(task, {})
      return super.publish(...order)
    }
  }
  const { dir, editor } = await editorOf(t, { 'a.yaml': ONE, 'a.next.yaml': CANARY }, Slow)
  // The canary begins to read a fact of the business, and the agent itself, whose numbers are checked for it, stops.
  const orders = [
    { file: 'a.next.yaml', text: CANARY.replace('Welcome.', 'Karibu, {{business.name}}.'), bases: [hash(CANARY)] },
    { file: 'a.yaml', text: yaml('Welcome.'), bases: [hash(ONE)] },
  ] as const
  const results = await Promise.all(orders.map((order) => editor.publish(order)))
  t.equal(results.filter(({ inUse, faults }) => inUse && faults.length === 0).length, 1)
  t.match(
    results.find(({ inUse }) => !inUse),
    { faults: [{ what: /business\.name/ }] },
  )
  t.equal(orders.filter(({ file, text }) => readFileSync(join(dir, file), 'utf8') === text).length, 1)
})

t.test('a draft is tried only by calls to its agent', async (t) => {
  const { editor, drafts } = await editorOf(t, { 'a.yaml': yaml('Welcome.') })
  const { id } = await editor.draft({ file: 'a.yaml', text: yaml('Karibu.') })
  t.notOk(drafts.begin(id ?? '', 'b', 'HD_tries0000001'))
  t.notOk(editor.tries('HD_tries0000001'))
  t.ok(drafts.begin(id ?? '', 'a', 'HD_tries0000001'))
  t.ok(editor.tries('HD_tries0000001'))
  await t.rejects(editor.draft({ file: 'a.yaml', text: ONE }), {
    code: 'AGENT_INVALID',
    message: /reads \{\{business\.name\}\}/,
  })
})

t.test('an opened text and its hash match', async (t) => {
  let isRead = (): void => undefined
  const read = new Promise<void>((resolve) => (isRead = resolve))
  let edit = (): void => undefined
  class Edited extends AgentTexts {
    override async read(...args: Parameters<AgentTexts['read']>) {
      const found = await super.read(...args)
      edit()
      isRead()
      return found
    }
    override async hashOf(file: string) {
      await read
      return super.hashOf(file)
    }
  }
  const { dir, editor } = await editorOf(t, { 'a.yaml': ONE }, Edited)
  edit = () => writeFileSync(join(dir, 'a.yaml'), yaml('By hand.'))
  t.match(await editor.open('a.yaml', null), { text: ONE, hash: hash(ONE), current: hash(ONE) })
})

t.test('requests for the list share one reading until a publication', async (t) => {
  let lists = 0
  let end = (): void => undefined
  const first = new Promise<void>((resolve) => (end = resolve))
  class Slow extends AgentTexts {
    override async list() {
      const isFirst = ++lists === 1
      const found = await super.list()
      if (isFirst) await first
      return found
    }
  }
  const before = yaml('Welcome.')
  const { editor } = await editorOf(t, { 'a.yaml': before }, Slow)
  const early = [editor.here(), editor.here()]
  t.equal(lists, 1)
  await editor.publish({ file: 'a.yaml', text: yaml('Karibu.'), bases: [hash(before)] })
  t.match(await editor.here(), { files: [{ file: 'a.yaml', hash: hash(yaml('Karibu.')) }] })
  t.equal(lists, 2)
  end()
  const [one, other] = await Promise.all(early)
  t.equal(one, other)
})

import { rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { AgentWatch } from '../../src/agents/agent-watch.js'
import type { FolderAgent } from '../../src/agents/agent-watch.js'

t.setTimeout(60_000)

const yaml = (name: string, greeting: string): string =>
  `version: 1\nname: ${name}\ninstructions: Be brief.\ngreeting: ${greeting}\n`

t.test('edits reach new calls, broken ones do not, and each is reported once', async (t) => {
  const dir = t.testdir({
    'a.yaml': yaml('a', 'One.'),
    'b.yaml': `${yaml('b', 'Bee.')}knowledge: [facts/b.md]\n`,
    facts: { 'b.md': '## X\nOld.\n' },
  })
  let agents: ReadonlyMap<string, FolderAgent> = new Map()
  const changes: string[] = []
  const faults: string[] = []
  const waiting: (() => void)[] = []
  const note =
    (list: string[]) =>
    (what: readonly string[] | string): void => {
      list.push(String(what))
      for (const wake of waiting.splice(0)) wake()
    }
  const refuse = new Map<string, string>()
  const watch = new AgentWatch({
    dir,
    env: {},
    speech: null,
    apply: (folder) => {
      agents = folder
      return refuse
    },
    onChange: note(changes),
    onFault: note(faults),
  })
  t.teardown(() => watch.close())
  await watch.start()
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve)
    })

  let told = next()
  await writeFile(join(dir, 'a.yaml'), yaml('a', 'Two.'))
  await told
  t.same(changes.splice(0), ['a'])
  t.equal(agents.get('a')?.agent.greeting, 'Two.')

  told = next()
  await writeFile(join(dir, 'a.yaml'), `${yaml('a', 'Three.')}track: x\n`)
  await told
  t.equal(faults.length, 1)
  t.match(faults[0], /a\.yaml:5:1: track is not a key of an agent.*\(the version before stays\)$/s)
  t.equal(agents.get('a')?.agent.greeting, 'Two.', 'a broken edit changes nothing')

  told = next()
  const version = agents.get('b')?.assets.version
  await writeFile(join(dir, 'facts/b.md'), '## X\nNew.\n')
  await told
  t.same(
    changes.splice(0),
    ['b'],
    'knowledge is a part of its agent, and the broken file next to it does not keep it back',
  )
  t.not(agents.get('b')?.assets.version, version)
  t.equal(agents.get('a')?.agent.greeting, 'Two.')
  t.equal(faults.length, 1, 'the same mistake is not told again')

  told = next()
  refuse.set('a', 'backend openai has no key')
  await writeFile(join(dir, 'a.yaml'), yaml('a', 'Four.'))
  await told
  t.match(faults.at(-1), /a: backend openai has no key \(the version before stays\)/)
  t.same(changes, [])

  told = next()
  refuse.clear()
  await rm(join(dir, 'b.yaml'))
  await told
  t.ok(changes.join().includes('b'))
  t.notOk(agents.has('b'))
})

t.test('a mounted ConfigMap whose link is replaced is an edit', async (t) => {
  const dir = t.testdir({ '..v1': { 'a.yaml': yaml('a', 'One.') }, '..v2': { 'a.yaml': yaml('a', 'Two.') } })
  await symlink('..v1', join(dir, '..data'))
  await symlink('..data/a.yaml', join(dir, 'a.yaml'))
  let told = (): void => undefined
  let greeting: string | null | undefined
  const watch = new AgentWatch({
    dir,
    env: {},
    speech: null,
    onFault: (what) => t.fail(what),
    onChange: () => told(),
    apply: (agents) => {
      greeting = agents.get('a')?.agent.greeting as string
      return new Map()
    },
  })
  t.teardown(() => watch.close())
  await watch.start()
  const changed = new Promise<void>((resolve) => {
    told = resolve
  })
  await symlink('..v2', join(dir, '..next'))
  await rename(join(dir, '..next'), join(dir, '..data'))
  // As the kubelet does when the link has been turned.
  await rm(join(dir, '..v1'), { recursive: true })
  await changed
  t.equal(greeting, 'Two.')
})

import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { AgentWatch } from '../../src/agents/file/agent-watch.js'
import { until } from '../support/until.js'

/** A folder of agents with one agent, whose instructions are `words`. */
async function agents(dir: string, words: string): Promise<void> {
  await mkdir(dir, { recursive: true })
  await writeFile(join(dir, 'a.yaml'), `version: 1\nname: a\ninstructions: ${words}\n`)
}

/** Points the link at another target, as git-sync and the kubelet do. */
async function swap(link: string, target: string): Promise<void> {
  await symlink(target, `${link}.new`)
  await rename(`${link}.new`, link)
}

interface Place {
  /** AGENTS_DIR. */
  readonly dir: string
  /** Makes a first folder with the agent. */
  readonly begin: () => Promise<void>
  /** Puts another folder into its place. */
  readonly replace: (words: string) => Promise<void>
}

const PLACES: Readonly<Record<string, (root: string) => Place>> = {
  'is a swapped link (git-sync)': (root) => ({
    dir: join(root, 'current'),
    begin: async () => {
      await agents(join(root, 'first'), 'first')
      await symlink('first', join(root, 'current'))
    },
    replace: async (words) => {
      await agents(join(root, words), words)
      await swap(join(root, 'current'), words)
    },
  }),
  'lies below a swapped link (a ConfigMap)': (root) => ({
    dir: join(root, '..data', 'agents'),
    begin: async () => {
      await agents(join(root, '..first', 'agents'), 'first')
      await symlink('..first', join(root, '..data'))
    },
    replace: async (words) => {
      await agents(join(root, `..${words}`, 'agents'), words)
      await swap(join(root, '..data'), `..${words}`)
      await rm(join(root, '..first'), { recursive: true, force: true })
    },
  }),
  'is moved away, and a new folder takes its name': (root) => ({
    dir: join(root, 'agents'),
    begin: () => agents(join(root, 'agents'), 'first'),
    replace: async (words) => {
      await agents(join(root, words), words)
      await rename(join(root, 'agents'), join(root, `before-${words}`))
      await rename(join(root, words), join(root, 'agents'))
    },
  }),
  'is removed and made again': (root) => ({
    dir: join(root, 'agents'),
    begin: () => agents(join(root, 'agents'), 'first'),
    replace: async (words) => {
      await rm(join(root, 'agents'), { recursive: true })
      await agents(join(root, 'agents'), words)
    },
  }),
}

async function watched(t: Test, dir: string) {
  const seen = { words: '', faults: [] as string[], count: 0 }
  const watch = new AgentWatch({
    dir,
    env: {},
    speech: null,
    apply: (all) => {
      seen.words = String(all.get('a')?.agent.instructions)
      return new Map()
    },
    isUsed: () => true,
    onChange: () => undefined,
    onFault: (what) => seen.faults.push(what),
    onCount: (faults) => (seen.count = faults),
  })
  await watch.start()
  t.teardown(() => watch.close())
  return seen
}

for (const [what, placeIn] of Object.entries(PLACES))
  t.test(`new agents are used if AGENTS_DIR ${what}`, async (t) => {
    const place = placeIn(t.testdir({}))
    await place.begin()
    const seen = await watched(t, place.dir)
    for (const words of ['second', 'third']) {
      await place.replace(words)
      await until(() => seen.words === words, 20_000, words)
    }
    await agents(place.dir, 'edited')
    await until(() => seen.words === 'edited', 20_000, 'an edit in the new folder')
  })

t.test('an agents folder that is gone is reported until it returns', async (t) => {
  const dir = join(t.testdir({}), 'agents')
  await agents(dir, 'first')
  const seen = await watched(t, dir)
  await rm(dir, { recursive: true })
  await until(() => seen.count === 1, 20_000, 'the fault')
  t.match(seen.faults, [/agents/])
  await agents(dir, 'second')
  await until(() => seen.count === 0 && seen.words === 'second', 20_000, 'its return')
})

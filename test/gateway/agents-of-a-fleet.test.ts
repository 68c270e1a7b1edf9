import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { AgentTexts, hashOf } from '../../src/agents/file/agent-texts.js'
import { EditorApi } from '../../src/edge/ops/ops-editor.js'
import type { OpsRequest } from '../../src/edge/ops/ops-requests.js'
import type { AgentEditing, PublishOrder, PublishedHere } from '../../src/edge/options.js'
import { MemoryStore } from '../../src/fleet/store/memory-store.js'
import { AgentCatchUp } from '../../src/gateway/agents/agent-catch-up.js'
import { AgentHeads } from '../../src/gateway/agents/agent-heads.js'
import { GatewayError } from '../../src/core/errors.js'
import { jsonOf } from '../../src/edge/http/reply.js'
import type { Reply } from '../../src/edge/http/reply.js'
import { createLog } from '../../src/telemetry/log.js'
import { editorDouble } from '../support/editor-double.js'

/** Texts of agents at the nodes of one fleet: each node has a folder of its own. */

const yaml = (words: string): string => `version: 1\nname: a\ninstructions: Help.\ngreeting: ${words}\n`
const hash = (text: string): string => hashOf(Buffer.from(text))
const [OLD, ONE, OTHER] = [yaml('Hello.'), yaml('Welcome.'), yaml('Karibu.')]
const OPERATOR = { operator: 'token', address: '127.0.0.1' } as never

interface Fleet {
  nowMs: number
  readonly store: MemoryStore
  readonly nodes: Map<string, TestNode>
}

interface TestNode {
  readonly dir: string
  readonly api: EditorApi
  readonly heads: AgentHeads
  readonly catchUp: AgentCatchUp
  readonly text: () => string
  readonly publish: (text: string, base: string) => Promise<Reply>
  away: boolean
}

function fleetOf(): Fleet {
  const fleet: Fleet = { nowMs: 1e12, store: new MemoryStore(() => fleet.nowMs), nodes: new Map() }
  return fleet
}

/** A node whose texts need no check. @param whileWriting  between the fleet's decision and the file */
function nodeOf(
  t: Test,
  fleet: Fleet,
  name: string,
  text = OLD,
  whileWriting = (): Promise<void> => Promise.resolve(),
) {
  const dir = mkdtempSync(join(tmpdir(), 'mkondo-fleet-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  mkdirSync(join(dir, name))
  writeFileSync(join(dir, name, 'a.yaml'), text)
  const texts = new AgentTexts(join(dir, name), () => fleet.nowMs)
  const heads = new AgentHeads({ store: fleet.store, secrets: ['s'.repeat(32)], wallClock: () => fleet.nowMs })
  const publish = async ({ file, text: next, bases, held }: PublishOrder): Promise<PublishedHere> => {
    const before = await texts.hashOf(file)
    const earlier = (await texts.versions(file)).map((kept) => kept.hash)
    const undo =
      held === undefined
        ? null
        : await heads.claim({ file, base: bases[0] ?? '', hash: hash(next), kept: earlier, held })
    await whileWriting()
    try {
      await texts.publish(file, next, bases)
    } catch (thrown) {
      await undo?.()
      throw thrown
    }
    return { faults: [], before, hash: hash(next), inUse: true, earlier }
  }
  const here = async () => ({ files: await texts.list(), agents: [] })
  const { editor } = editorDouble({ publish, here } satisfies Partial<AgentEditing>)
  const askAll = (request: OpsRequest) =>
    Promise.all(
      [...fleet.nodes].flatMap(([other, node]) => {
        if (other === name) return []
        const answer = async (): Promise<readonly [string, Reply | null]> => {
          if (node.away) return [other, null]
          if (request.what === 'edited') return [other, await node.api.here()]
          return [other, await node.api.publishHere(request as never, OPERATOR, name)]
        }
        return [answer()]
      }),
    )
  const api = new EditorApi({ editor, fleet: { node: { name } } as never }, askAll, () => undefined)
  const textOf = async (file: string, wanted: string): Promise<string | null> => {
    const now = await texts.read(file, null)
    if (now.hash === wanted) return now.text
    return texts.read(file, wanted).then(
      (kept) => kept.text,
      () => null,
    )
  }
  let answers: (body: unknown) => Promise<unknown> = () => Promise.resolve(null)
  const catchUp = new AgentCatchUp({
    editor: { here, textOf, publish },
    heads,
    node: {
      onRequest: (_, handler) => (answers = (body) => handler(body, name)),
      others: () =>
        [...fleet.nodes.keys()].filter((one) => one !== name).map((one) => ({ name: one, seen: 'alive' })) as never,
      ask: async ({ node }, _request, body) => {
        const other = fleet.nodes.get(node)
        if (other === undefined || other.away) return { result: 'silent' } as never
        return {
          result: 'answered',
          answer: await (other as TestNode & { answers: typeof answers }).answers(body),
        } as never
      },
    },
    clock: () => fleet.nowMs,
    log: createLog({ level: 'silent' }),
  })
  const node = {
    ...{ dir, api, heads, catchUp, away: false },
    answers: (body: unknown) => answers(body),
    text: () => readFileSync(join(dir, name, 'a.yaml'), 'utf8'),
    publish: (next: string, base: string) => api.publish({ file: 'a.yaml', text: next, base: hash(base) }, OPERATOR),
    edit: (next: string) => writeFileSync(join(dir, name, 'a.yaml'), next),
  }
  fleet.nodes.set(name, node)
  return node
}

t.test('one of two publications at two nodes is accepted [1]', async (t) => {
  const fleet = fleetOf()
  // Both have found the text that they opened, and neither has written.
  let waiting = 0
  let both = (): void => undefined
  const met = new Promise<void>((resolve) => (both = resolve))
  const [one, two] = ['one', 'two'].map((name) =>
    nodeOf(t, fleet, name, OLD, () => (++waiting >= 1 ? (both(), met) : met)),
  )
  if (one === undefined || two === undefined) throw new Error('two nodes')
  const replies = await Promise.all([one.publish(ONE, OLD), two.publish(OTHER, OLD)])
  t.same(replies.map(({ status }) => status).sort(), [200, 409])
  t.match(jsonOf(replies.find(({ status }) => status === 409) as Reply), { error: { code: 'AGENT_CHANGED' } })
  t.equal(one.text(), two.text(), 'all nodes have the text of the one who was told so')
  t.equal(one.text(), replies[0]?.status === 200 ? ONE : OTHER)
})

t.test('a publication based on an earlier text is refused [2]', async (t) => {
  const fleet = fleetOf()
  const one = nodeOf(t, fleet, 'one')
  const two = nodeOf(t, fleet, 'two')
  two.away = true
  t.equal((await one.publish(ONE, OLD)).status, 200)
  two.away = false
  t.equal(two.text(), OLD)
  fleet.nowMs += 3_600_000
  t.equal((await two.publish(OTHER, OLD)).status, 409, 'also at the node that still has it')
  t.equal(two.text(), OLD)
  t.equal(one.text(), ONE)
  t.equal((await one.publish(OTHER, ONE)).status, 200)
  t.equal((await one.publish(OTHER, ONE)).status, 200, 'the same once more')
})

t.test('a node that was away receives the missed publications [5]', async (t) => {
  const fleet = fleetOf()
  const one = nodeOf(t, fleet, 'one')
  const two = nodeOf(t, fleet, 'two')
  two.away = true
  await one.publish(ONE, OLD)
  await one.publish(OTHER, ONE)
  two.away = false
  await one.catchUp.look()
  t.equal(one.text(), OTHER, 'the old text of the other does not overwrite it')
  await two.catchUp.look()
  t.equal(two.text(), OTHER)
  two.away = true
  await one.publish(ONE, OTHER)
  one.away = true
  two.away = false
  await two.catchUp.look()
  t.equal(two.text(), OTHER, 'nobody who answers has it')
  one.away = false
  await two.catchUp.look()
  t.equal(two.text(), ONE, 'it is asked for at each look')
})

t.test('a text that cannot be written is retried each minute', async (t) => {
  const fleet = fleetOf()
  let tries = 0
  const one = nodeOf(t, fleet, 'one')
  const two = nodeOf(t, fleet, 'two', OLD, () => (tries++, Promise.reject(new Error('disk full'))))
  two.away = true
  await one.publish(ONE, OLD)
  two.away = false
  await two.catchUp.look()
  await two.catchUp.look()
  t.equal(tries, 1)
  fleet.nowMs += 60_001
  await two.catchUp.look()
  t.equal(tries, 2)
  t.equal(two.text(), OLD)
})

t.test('a text edited on the disk is kept [6]', async (t) => {
  const fleet = fleetOf()
  const one = nodeOf(t, fleet, 'one')
  const two = nodeOf(t, fleet, 'two')
  two.away = true
  await one.publish(ONE, OLD)
  two.away = false
  two.edit(OTHER)
  await two.catchUp.look()
  t.equal(two.text(), OTHER, 'it is no text that the fleet has had')
  await one.catchUp.look()
  one.edit(OLD)
  await one.catchUp.look()
  t.equal(one.text(), OLD, 'an earlier text that follows the last')
  t.equal((await one.publish(ONE, OLD)).status, 200, 'the last text is published once more')
  for (const node of [one, two]) node.edit(OLD)
  t.equal((await one.publish(OTHER, OLD)).status, 409, 'the last publication may be on its way')
  fleet.nowMs += 120_001
  t.equal((await one.publish(OTHER, OLD)).status, 200, 'no node has it any more')
  t.equal(two.text(), OTHER)
  const byHand = yaml('By hand.')
  for (const node of [one, two]) node.edit(byHand)
  t.equal((await one.publish(ONE, byHand)).status, 200, 'it has had the last, and it was replaced since')
})

t.test('a publication that could not be written is withdrawn [3]', async (t) => {
  const fleet = fleetOf()
  let fails = true
  const one = nodeOf(t, fleet, 'one', OLD, () => {
    if (fails) one.edit(OTHER)
    return Promise.resolve()
  })
  t.equal((await one.publish(ONE, OLD)).status, 409, 'the file was edited meanwhile')
  fails = false
  one.edit(OLD)
  t.same([...(await one.heads.read())], [])
  t.equal((await one.publish(ONE, OLD)).status, 200)
})

t.test('without its store the fleet publishes nothing [4]', async (t) => {
  const fleet = fleetOf()
  const one = nodeOf(t, fleet, 'one')
  const down = (): never => {
    throw new GatewayError('STORE_DOWN', 'the call store is down', { retryable: true })
  }
  fleet.store.swap = () => Promise.resolve().then(down)
  t.equal((await one.publish(ONE, OLD)).status, 503)
  t.equal(one.text(), OLD)
})

t.test('an emptied store receives the last publications again', async (t) => {
  const fleet = fleetOf()
  const one = nodeOf(t, fleet, 'one')
  await one.publish(ONE, OLD)
  fleet.nowMs += 366 * 86_400_000
  t.same([...(await one.heads.read())], [], 'it has forgotten')
  await one.heads.restore()
  t.match([...(await one.heads.read())], [['a.yaml', { hash: hash(ONE), before: [hash(OLD)] }]])
  await fleet.store.swap('agent-texts', await fleet.store.standing('agent-texts'), 'forged', 1000)
  t.same([...(await one.heads.read())], [], 'nobody of the fleet has written it')
})

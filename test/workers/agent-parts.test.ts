import { deserialize, serialize } from 'node:v8'
import t from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { AgentParts } from '../../src/workers/worker/agent-parts.js'
import { orderStatusAgent } from '../support/host.js'

/** As a worker gets it with the start of a call. */
const copyOf = (agent: AgentDefinition): AgentDefinition => deserialize(serialize(agent)) as AgentDefinition

t.test('calls of one worker share the parts of their agent', async (t) => {
  const agent = await orderStatusAgent()
  const parts = new AgentParts()
  const one = parts.share(copyOf(agent))
  const other = parts.share(copyOf({ ...agent, greeting: { en: 'Good morning, Asha.' } }))
  t.same(one.agent, agent)
  t.equal(one.agent.tools, other.agent.tools, 'the tools of both are one object')
  t.equal(one.agent.say, other.agent.say)
  t.same(other.agent.greeting, { en: 'Good morning, Asha.' })
  t.same(one.agent.greeting, agent.greeting)
})

t.test('edits leave live calls alone and free unused parts', async (t) => {
  const agent = await orderStatusAgent()
  const parts = new AgentParts()
  const before = parts.share(copyOf(agent))
  const held = parts.size
  const edited = parts.share(copyOf({ ...agent, tools: agent.tools.slice(1) }))
  t.equal(parts.size, held + 1, 'one part is another one')
  t.same(before.agent.tools, agent.tools)
  t.same(edited.agent.tools, agent.tools.slice(1))
  before.release()
  t.equal(parts.size, held)
  t.equal(parts.share(copyOf(agent)).agent.say, edited.agent.say, 'the part of a call that goes on is found')
  edited.release()
  t.equal(parts.size, held)
})

t.test('parts with equal JSON but different values stay separate', (t) => {
  const parts = new AgentParts()
  const many = Array.from({ length: 200 }, (_, i) => i)
  const withLimit = (limit: unknown) => ({ silence: { many, limit } }) as unknown as AgentDefinition
  t.same(parts.share(withLimit(Infinity)).agent, withLimit(Infinity))
  t.same(parts.share(withLimit(null)).agent, withLimit(null))
  t.equal(parts.size, 2)
  t.end()
})

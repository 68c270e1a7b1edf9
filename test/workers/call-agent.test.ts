import { join } from 'node:path'
import t from 'tap'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { toolSchema } from '../../src/agents/tools/tool-definition.js'
import { allCallsOn } from '../../src/backends/split.js'
import { packageRoot } from '../../src/config/package-root.js'
import { agentFacts } from '../../src/gateway/agents/hosted-agents.js'
import { CallAgent } from '../../src/workers/main/call/call-agent.js'
import type { CallOrigin } from '../../src/workers/main/call/call-origin.js'
import { versionFor } from '../../src/workers/main/canary.js'
import type { HostedAgent, MainThreadContext } from '../../src/workers/main/main-thread-context.js'
import { keptCall, keptState } from '../support/kept-call.js'

const { agents: shipped } = await loadAgents(join(packageRoot(), 'agents'), { SHOP_API_URL: 'http://127.0.0.1:1' })
const SUPPORT = shipped.get('support') as AgentDefinition
const VERIFICATION = SUPPORT.verification as NonNullable<AgentDefinition['verification']>
const STRICT = { ...VERIFICATION, required: 2 }

const agent = (name: string, required: number, host: string): HostedAgent => {
  const tool = { name: 'book', description: 'Books.', http: { url: `https://${host}/book` } }
  const verification = { ...VERIFICATION, required }
  const definition = { ...SUPPORT, name, verification, tools: name === 'first' ? [] : [toolSchema.parse(tool)] }
  return { definition, facts: agentFacts(definition), shares: allCallsOn('x') }
}
const FIRST = agent('first', 2, 'first')
const LAST = agent('last', STRICT.required, 'last')
const [MAIN, CANARY] = [agent('middle', 2, 'main.example'), agent('middle', 1, 'canary.example')]
const at = (atMs: number, from: string, to: string) => ({ atMs, from, to, summary: '' })
const HANDOVERS = [at(1000, 'first', 'middle'), at(2000, 'middle', 'last')]
const PROVEN = { ...keptCall().session, identity: { accountId: 'ACC-1' } } as NonNullable<
  ReturnType<typeof keptCall>['session']
>

/** A call of the first agent. @param before  how another node left it */
function callOf(agents: Map<string, HostedAgent>, before: ReturnType<typeof keptState> | null): CallAgent {
  const context: Pick<MainThreadContext, 'agent'> = {
    agent: (name, _business, _step, key) => {
      const found = agents.get(name)
      return found === undefined ? null : versionFor(found, key)
    },
  }
  const origin = { before, call: {}, rootSid: 'HD_root' } as unknown as CallOrigin
  return new CallAgent(origin, FIRST, context as MainThreadContext)
}

t.test('edits do not change earlier agents of a call', (t) => {
  const share = (percent: number): HostedAgent => ({ ...MAIN, canary: { percent, version: CANARY } })
  const agents = new Map([
    ['middle', share(100)],
    ['last', LAST],
  ])
  const call = callOf(agents, null)
  call.handTo('middle')
  t.same(Object.keys(call.kept), ['handedHash'])
  call.handTo('last')
  agents.set('middle', share(0))
  const next = callOf(agents, keptState(keptCall(call.kept), { handovers: HANDOVERS }))
  agents.delete('middle')
  for (const one of [call, next]) {
    t.equal(one.definition.name, 'last')
    t.equal(one.toolOf('book', 1)?.http.url, 'https://canary.example/book', 'what its tool waits for')
    t.equal(one.toolOf('book', one.place)?.http.url, 'https://last/book', 'and the one of the same name')
    t.equal(one.toolOf('book', 0), undefined)
    const log = { handovers: HANDOVERS, toolCalls: [] }
    t.equal(one.provenTo(log, PROVEN).identity, null, 'and what its caller has proven by the weaker rules')
  }
  t.same(next.kept, call.kept, 'for the node after that')

  const earlier = keptState(keptCall({ handedHash: call.kept.handedHash ?? '' }), { handovers: HANDOVERS })
  const gone = callOf(agents, earlier)
  t.equal(gone.definition.name, 'last', 'what an earlier build kept is read')
  t.equal(gone.toolOf('book', 1), undefined)
  t.equal(gone.toolOf('book')?.http.url, 'https://last/book', 'as an earlier build looked it up')
  agents.set('middle', MAIN)
  const after = callOf(agents, keptState(keptCall(gone.kept), { handovers: HANDOVERS }))
  t.equal(after.definition.name, 'last')
  t.equal(after.toolOf('book', 1), undefined, 'who was gone stays so')
  t.end()
})

import { packageRoot } from '../../src/config/package-root.js'
import { join } from 'node:path'
import { startShopApi } from '../../examples/shop-api/server.js'
import type { AgentAssets } from '../../src/agents/file/assets.js'
import { CallerIdentity } from '../../src/agents/tools/tool.js'
import type { AgentDefinition } from '../../src/agents/file/definition.js'
import { HttpClient } from '../../src/http/http-client.js'
import { loadAgents } from '../../src/agents/file/loader.js'
import { ToolRunner } from '../../src/agents/tools/tool-runner.js'
import type { ToolContext, ToolOutcome } from '../../src/agents/tools/tool.js'
import { offlineSchema } from '../../src/agents/offline/offline.js'
import { DialogueEngine } from '../../src/backends/embedded/dialogue/engine.js'
import type { DialogueEvent } from '../../src/backends/embedded/dialogue/dialogue-events.js'

export const AMINA = '+254700000001'
export const BRIAN = '+254700000002'
export const CYNTHIA = '+254700000003'
export const DANIEL = '+254700000009'
export const NOBODY = '+254799999999'

interface Line {
  readonly agent: AgentDefinition
  readonly assets: AgentAssets
  readonly tools: ToolRunner
  readonly shopUrl: string
  readonly close: () => Promise<void>
}

/** An agent of a folder with its real tools, and the demo shop behind them. */
export async function openLine(name: string, dir = join(packageRoot(), 'agents')): Promise<Line> {
  const shop = await startShopApi()
  const client = new HttpClient()
  const env = { SHOP_API_URL: shop.url }
  const { agents, assets } = await loadAgents(dir, env)
  const agent = agents.get(name)
  const own = assets.get(name)
  if (agent === undefined || own === undefined) throw new Error(`there is no agent ${name} in ${dir}`)
  return {
    agent,
    assets: own,
    shopUrl: shop.url,
    tools: await ToolRunner.open(agent, own, env, client),
    close: async () => {
      client.close()
      await shop.close()
    },
  }
}

export function contextOf(from: string, more: Partial<ToolContext> = {}): ToolContext {
  return {
    callSid: 'HD_000000000001',
    from,
    to: '+254720000001',
    agent: 'support',
    language: 'en',
    idempotencyKey: 'HD_000000000001:1',
    caller: new CallerIdentity(),
    signal: new AbortController().signal,
    ...more,
  }
}

interface TextCall {
  readonly said: string[]
  /** Tool calls with how they ended. */
  readonly calls: { name: string; args: Readonly<Record<string, unknown>>; outcome: ToolOutcome | null }[]
  readonly caller: CallerIdentity
  /** Says something, or presses keys (`#7386`); resolves with what the agent then says. */
  readonly says: (...inputs: string[]) => Promise<string>
}

/** A call on an agent's offline dialogue without sound: the dialogue as it is, and the agent's real tools. */
export async function textCall(
  line: Line,
  from: string,
  dialogue = offlineSchema.parse(line.agent.offline),
): Promise<TextCall> {
  const engine = new DialogueEngine({
    dialogue,
    values: { caller: { number: from }, greeting: line.agent.greeting ?? '' },
    answered: [],
    resume: null,
  })
  const said: string[] = []
  const calls: TextCall['calls'] = []
  const caller = new CallerIdentity()
  const running = new Set<Promise<void>>()
  let keys = 0
  const handle = (event: DialogueEvent): void => {
    for (const action of engine.handle(event)) {
      if (action.type === 'say') said.push(action.text)
      if (action.type !== 'call') continue
      const { name, args, callId } = action
      const call: TextCall['calls'][number] = { name, args, outcome: null }
      calls.push(call)
      // A tool that the session carries out ends the dialogue.
      if (name === 'escalate_to_human' || name === 'end_call') continue
      const ran = line.tools
        .run(name, args, contextOf(from, { caller, idempotencyKey: `HD_000000000001:${++keys}` }))
        .then((outcome) => {
          call.outcome = outcome
          running.delete(ran)
          handle({ type: 'tool-result', callId, ok: outcome.ok, value: outcome.value })
        })
      running.add(ran)
    }
  }
  const settled = async (): Promise<void> => {
    while (running.size > 0) await Promise.all(running)
  }
  handle({ type: 'start', takeover: false })
  await settled()
  return {
    said,
    calls,
    caller,
    says: async (...inputs) => {
      let from = said.length
      for (const input of inputs) {
        from = said.length
        if (/^#[0-9]+$/.test(input)) for (const key of input.slice(1)) handle({ type: 'key', key })
        else handle({ type: 'heard', text: input, by: 'speech', unheard: [] })
        await settled()
      }
      return said.slice(from).join(' ')
    },
  }
}

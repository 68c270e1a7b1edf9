import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../core/limits.js'
import { relative } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { agentView, contentOf, masked } from '../agents/agent-view.js'
import type { AgentFileView, AgentsView, FolderVersion } from '../agents/agent-view.js'
import type { AgentAssets } from '../agents/assets.js'
import type { AgentDefinition } from '../agents/definition.js'
import { readAgents } from '../agents/loader.js'
import { ToolRunner } from '../agents/tool-runner.js'
import type { GatewayTool } from '../call/gateway-tools.js'
import { tryTool } from '../agents/rehearsal.js'
import type { TrialOrder } from '../agents/rehearsal.js'
import type { Environment } from '../agents/template.js'
import { assert } from '../core/assert.js'
import { GatewayError } from '../core/errors.js'
import { HttpClient } from '../http/http-client.js'

/**
 * Shows the agents and their folder to an operator, or tries one tool: one task, one answer, and the thread ends. A thread of its own, because
 * reading takes tenths of a second, a tool in code may block, and its environment is not the gateway's.
 */

/** Longest wait for the MCP servers of an agent that is shown. */
const SERVERS_VIEW_MS = 2000

/** An agent as new calls get it. */
interface LoadedAgent {
  readonly definition: AgentDefinition
  readonly assets: AgentAssets
  readonly backends: readonly string[]
  readonly canary: FolderVersion | undefined
}

/** Its `workerData`. */
export type AgentsTask = { readonly env: Environment } & (
  | {
      readonly what: 'try'
      readonly agent: AgentDefinition
      readonly assets: AgentAssets
      readonly order: TrialOrder
    }
  | {
      readonly what: 'view'
      readonly dir: string
      readonly watched: boolean
      readonly loaded: readonly LoadedAgent[]
      /** True if words of offline dialogues are checked. */
      readonly speech: boolean
    }
)

async function view({ dir, env, speech, watched, loaded }: Extract<AgentsTask, { what: 'view' }>): Promise<AgentsView> {
  const source = speech ? (await import('../backends/embedded/offline-speech.js')).offlineSpeech : null
  const inUse = new Set(
    loaded.flatMap(({ definition, assets, canary }) => [
      contentOf(definition, assets),
      ...(canary === undefined ? [] : [contentOf(canary.agent, canary.assets)]),
    ]),
  )
  let files: readonly AgentFileView[] = []
  let folderFault: string | null = null
  try {
    files = (await readAgents(dir, env, source)).map((one): AgentFileView => {
      const file = relative(dir, one.file)
      const faults = one.faults.map(({ line, col, what }) => ({ line, col, what: masked(what) }))
      if (!one.ok) return { file, agent: null, state: 'faulty', faults }
      const { agent, assets } = one
      return {
        file,
        agent: agent.name,
        state: inUse.has(contentOf(agent, assets)) ? 'used' : 'unused',
        faults,
      }
    })
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown
    folderFault = masked(thrown.message)
  }
  const agents = await Promise.all(
    loaded.map(async ({ definition, assets, backends, canary }) => {
      const fromServers = definition.mcp.length === 0 ? [] : await serverTools(definition, assets, env)
      return { ...agentView(definition, assets, canary, fromServers), backends }
    }),
  )
  return { watched, files, folderFault, agents }
}

/** Present tools of an agent's MCP servers; none from one that is down. */
async function serverTools(
  definition: AgentDefinition,
  assets: AgentAssets,
  env: Environment,
): Promise<readonly GatewayTool[]> {
  const client = new HttpClient()
  const runner = await ToolRunner.open(definition, assets, env, client)
  try {
    await runner.useServers(SERVERS_VIEW_MS)
    return runner.serverTools()
  } finally {
    await runner.close()
    client.close()
  }
}

assert(parentPort !== null, 'this is a worker thread')
setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
const task = workerData as AgentsTask
parentPort.postMessage(
  task.what === 'view'
    ? await view(task)
    : await tryTool(task.agent, task.assets, task.env, new HttpClient(), task.order),
)

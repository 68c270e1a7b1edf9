import { setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { CONNECT_ATTEMPT_MS } from '../../core/limits.js'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'
import { agentView, contentOf, masked } from '../../agents/file/agent-view.js'
import type { AgentFileView, AgentsView, FolderVersion } from '../../agents/file/agent-view.js'
import type { AgentAssets } from '../../agents/file/assets.js'
import { addedCode } from '../../agents/file/code-keys.js'
import { pathText } from '../../agents/file/faults.js'
import { literalSecrets, shownText } from '../../agents/file/literal-secrets.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { examineDraft, readAgents } from '../../agents/file/loader.js'
import type { AgentDraft, SpeechSource } from '../../agents/file/loader.js'
import { parseYaml } from '../../agents/file/yaml-source.js'
import type { YamlSource } from '../../agents/file/yaml-source.js'
import { ToolRunner } from '../../agents/tools/tool-runner.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'
import { tryTool } from '../../agents/tools/rehearsal.js'
import type { TrialOrder } from '../../agents/tools/rehearsal.js'
import type { Environment } from '../../agents/file/template.js'
import { assert } from '../../core/assert.js'
import { GatewayError } from '../../core/errors.js'
import { HttpClient } from '../../http/http-client.js'
import { useCountry } from '../../sautikit/phone.js'

/**
 * Thread that does one task for an operator, sends one answer and ends. The task shows the agents and their folder,
 * checks a draft, or tries one tool. It has its own thread because a reading takes some 100 ms, because a tool's code
 * may block, and because agents must not see the gateway's environment.
 */

/** Maximum time in ms to wait for the MCP servers of an agent that is shown. */
const SERVERS_VIEW_MS = 2000

/** Agent in the form in which new calls get it. */
interface LoadedAgent {
  readonly definition: AgentDefinition
  readonly assets: AgentAssets
  readonly backends: readonly string[]
  readonly modelEnds: readonly string[]
  readonly canary: FolderVersion | undefined
}

/** `workerData` of the thread. */
export type AgentsTask = { readonly env: Environment } & (
  | {
      readonly what: 'try'
      readonly agent: AgentDefinition
      readonly assets: AgentAssets
      readonly order: TrialOrder
    }
  | {
      readonly what: 'open'
      readonly text: string
    }
  | {
      readonly what: 'draft'
      readonly dir: string
      readonly draft: AgentDraft
      /** True if words of offline dialogues are checked. */
      readonly speech: boolean
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

/**
 * Result of a check of a text: the agent's version, or the text's faults. Faults are the faults of `mkondo check`, and
 * secrets that are written in the text.
 */
export interface ExaminedDraft {
  readonly faults: AgentFileView['faults']
  /** Null if there are faults. */
  readonly version: FolderVersion | null
}

async function examined({ dir, draft, env, speech }: Extract<AgentsTask, { what: 'draft' }>): Promise<ExaminedDraft> {
  const source = parseYaml(draft.text)
  // This check comes first, because a full check of the agent imports the modules that the text names.
  const added = 'value' in source ? await namedCode(source, join(dir, draft.file)) : []
  if (added.length > 0) return { faults: added, version: null }
  const { read, broken } = await examineDraft(draft, dir, env, speech ? await offlineSource() : null)
  const faults = [
    ...read.faults,
    ...('value' in source ? literalSecrets(draft.text, source) : []),
    ...broken.map(({ file, what }) => ({
      line: 1,
      col: 1,
      what: `with this text ${relative(dir, file)} has a fault: ${what}`,
    })),
  ]
  return {
    faults: faults.map(({ line, col, what }) => ({ line, col, what: masked(what) })),
    version: read.ok && faults.length === 0 ? { agent: read.agent, assets: read.assets } : null,
  }
}

/**
 * Faults of a text that names code which the current file does not name. Without these faults, anyone who may edit
 * agents at the console could run any code.
 */
async function namedCode(source: YamlSource, file: string): Promise<AgentFileView['faults']> {
  const onDisk = parseYaml(await readFile(file, 'utf8'))
  return addedCode(source.value, 'value' in onDisk ? onDisk.value : undefined).map((path) => ({
    ...source.locate(path),
    what: `${pathText(path)} names code that the file on the disk does not name: code is added and changed on the disk`,
  }))
}

async function offlineSource(): Promise<SpeechSource> {
  return (await import('../../backends/embedded/offline-speech.js')).offlineSpeech
}

async function view({ dir, env, speech, watched, loaded }: Extract<AgentsTask, { what: 'view' }>): Promise<AgentsView> {
  const source = speech ? await offlineSource() : null
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
    loaded.map(async ({ definition, assets, backends, modelEnds, canary }) => {
      const fromServers = definition.mcp.length === 0 ? [] : await serverTools(definition, assets, env)
      return { ...agentView(definition, assets, canary, fromServers), backends, modelEnds }
    }),
  )
  return { watched, files, folderFault, agents }
}

/** Current tools of an agent's MCP servers; empty for a server that is down. */
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
const { country, ...task } = workerData as AgentsTask & { readonly country: string }
useCountry(country)
parentPort.postMessage(await answerTo(task))

function answerTo(asked: AgentsTask): unknown {
  switch (asked.what) {
    case 'view':
      return view(asked)
    case 'draft':
      return examined(asked)
    case 'open':
      return shownText(asked.text)
    case 'try':
      return tryTool(asked.agent, asked.assets, asked.env, new HttpClient(), asked.order)
  }
}

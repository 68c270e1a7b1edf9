import { readdir, stat } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { Worker } from 'node:worker_threads'
import { triable } from '../../agents/file/agent-view.js'
import { mcpToolNames } from '../../agents/tools/mcp-definition.js'
import type { AgentsView } from '../../agents/file/agent-view.js'
import { VERSIONS } from '../../agents/file/agent-texts.js'
import { NO_ASSETS } from '../../agents/file/assets.js'
import type { TrialOrder, TrialResult } from '../../agents/tools/rehearsal.js'
import type { Environment } from '../../agents/file/template.js'
import { GatewayError } from '../../core/errors.js'
import { RateLimit } from '../../core/rate-limit.js'
import type { AgentsHere } from '../../edge/options.js'
import { homeCountry } from '../../sautikit/phone.js'
import { namesIn } from '../../backends/split.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import type { AgentsTask } from './agents-thread.js'

/**
 * Time limit in ms for an operator's request that reads the agents folder or tries a tool. It includes the thread's
 * start. A tool's own deadline is at most 15 s.
 */
const AGENTS_THREAD_MS = 20_000
/**
 * SAYS_BURST: number of phrases that operators may request without a pause. SAYS_PER_S: number of further phrases per
 * second. Phrases are limited, because a vendor's voice costs money.
 */
const SAYS_BURST = 10
const SAYS_PER_S = 0.5
/** Heap size in MB of the agents' thread. */
const AGENTS_THREAD_MEMORY_MB = 256
/**
 * Maximum time in ms for which the view of the agents folder is kept if its files do not change. A folder with too many
 * files is read for every request.
 */
const AGENTS_VIEW_KEPT_MS = 60_000
const AGENTS_VIEW_FILES_MAX = 2000

interface AgentInspectorOptions {
  /** Agents of new calls. Edits of the folder change this map in place. */
  readonly agents: ReadonlyMap<string, Pick<HostedAgent, 'definition' | 'assets' | 'shares' | 'canary'>>
  readonly dir: string
  /** True if the gateway uses edits of the folder without a restart. */
  readonly watched: boolean
  readonly env: Environment
  /** `process.env` of the inspector's threads. */
  readonly workerEnv: Readonly<Record<string, string>>
  /** Speaks a phrase in an agent's voice. Its result is a WAV file. Absent if phrases cannot be heard (tests). */
  readonly say?: (agent: Pick<HostedAgent, 'definition' | 'shares'>, text: string) => Promise<Uint8Array>
  /** Returns sentences about an agent's models that end soon or have ended. Absent in tests that do not need them. */
  readonly modelEnds?: (agent: Pick<HostedAgent, 'definition' | 'shares'>) => readonly string[]
  /**
   * Returns the reason why a canary gets no calls; null if it gets its share of calls. If this function is absent
   * (tests), every canary gets calls.
   */
  readonly stopped?: (agent: string, version: string) => string | null
  /** True if words of offline dialogues are checked. */
  readonly speech: boolean
}

/** View, and the data from which it was made. */
interface KeptView {
  readonly view: AgentsView
  /** Names, sizes and times of the folder's files. */
  readonly stamp: string
  readonly definitions: readonly unknown[]
  readonly madeAtMs: number
}

/**
 * Serves an operator's requests about the agents of this process. Shows the loaded agents and the folder's content,
 * speaks phrases and tries tools.
 */
export class AgentInspector implements AgentsHere {
  readonly #options: AgentInspectorOptions
  #kept: KeptView | null = null
  #reading: Promise<AgentsView> | null = null
  #trying = false
  #saying = false
  readonly #says = new RateLimit({ perSecond: SAYS_PER_S, burst: SAYS_BURST, keysMax: 1 })

  constructor(options: AgentInspectorOptions) {
    this.#options = options
  }

  /**
   * Loaded agents and the folder's content. Requests that come during a reading share its answer. A reading takes
   * almost a second of CPU, so the view is kept until a file of the folder changes. It is kept for a minute at most,
   * because modules may import files from other folders.
   * @throws GatewayError CALL_FAULT
   */
  async view(): Promise<AgentsView> {
    this.#reading ??= this.#view().finally(() => {
      this.#reading = null
    })
    const { stopped } = this.#options
    const view = await this.#reading
    if (stopped === undefined) return view
    const agents = view.agents.map(({ canary, ...agent }) => ({
      ...agent,
      canary: canary === null ? null : { ...canary, stopped: stopped(agent.name, canary.version) },
    }))
    return { ...view, agents }
  }

  async #view(): Promise<AgentsView> {
    const { agents, dir, watched, env, workerEnv, speech, modelEnds } = this.#options
    const loaded = [...agents.values()].map(({ definition, assets = NO_ASSETS, shares, canary }) => ({
      ...{ definition, assets, backends: namesIn(shares) },
      // Models of the agent and of its canary, because calls use both versions.
      modelEnds: [
        ...new Set(
          [{ definition, shares }, ...(canary === undefined ? [] : [canary.version])].flatMap(
            (version) => modelEnds?.(version) ?? [],
          ),
        ),
      ],
      canary:
        canary === undefined
          ? undefined
          : { agent: canary.version.definition, assets: canary.version.assets ?? NO_ASSETS },
    }))
    const definitions = loaded.flatMap(({ definition, canary }) => [
      definition,
      ...(canary === undefined ? [] : [canary.agent]),
    ])
    const madeAtMs = performance.now()
    const stamp = await stampOf(dir)
    const kept = this.#kept
    if (
      kept !== null &&
      kept.stamp === stamp &&
      madeAtMs - kept.madeAtMs < AGENTS_VIEW_KEPT_MS &&
      kept.definitions.length === definitions.length &&
      kept.definitions.every((definition, index) => definition === definitions[index])
    )
      return kept.view
    const view = await inThread<AgentsView>({ what: 'view', dir, watched, env, speech, loaded }, workerEnv)
    this.#kept = stamp === null ? null : { view, stamp, definitions, madeAtMs }
    return view
  }

  /**
   * Speaks a phrase in an agent's voice. Only one phrase is spoken at a time.
   * @throws GatewayError AGENT_UNKNOWN, CALL_FAULT, CAPACITY while another phrase is spoken, RATE_LIMITED
   */
  async say(name: string, text: string): Promise<Uint8Array> {
    const { agents, say } = this.#options
    const hosted = agents.get(name)
    if (hosted === undefined || say === undefined)
      throw new GatewayError('AGENT_UNKNOWN', 'there is no agent of that name')
    if (this.#saying) throw new GatewayError('CAPACITY', 'another phrase is being spoken; try again')
    if (this.#says.take('', performance.now()) > 0)
      throw new GatewayError('RATE_LIMITED', 'too many phrases in a minute; try again')
    this.#saying = true
    try {
      return await say(hosted, text)
    } finally {
      this.#saying = false
    }
  }

  /**
   * Tries a tool. Only one tool is tried at a time.
   * @throws GatewayError AGENT_UNKNOWN, TOOL_UNKNOWN, CAPACITY while another tool is tried
   */
  async tryTool(name: string, order: TrialOrder): Promise<TrialResult> {
    const { agents, env, workerEnv } = this.#options
    const hosted = agents.get(name)
    if (hosted === undefined) throw new GatewayError('AGENT_UNKNOWN', 'there is no agent of that name')
    const { definition: agent, assets = NO_ASSETS } = hosted
    const tools = [...triable(agent, assets).map((tool) => tool.name), ...mcpToolNames(agent.mcp)]
    if (!tools.includes(order.tool)) {
      const allowed = tools.length === 0 ? '(none)' : tools.join(', ')
      throw new GatewayError('TOOL_UNKNOWN', `this agent has no such tool; allowed: ${allowed}`)
    }
    if (this.#trying) throw new GatewayError('CAPACITY', 'another tool is being tried; try again')
    this.#trying = true
    try {
      return await inThread<TrialResult>({ what: 'try', agent, assets, env, order }, workerEnv)
    } catch (thrown) {
      if (!(thrown instanceof GatewayError)) throw thrown
      const { code, message: error } = thrown
      return { dry: false, ok: false, request: null, ms: 0, value: null, code, error }
    } finally {
      this.#trying = false
    }
  }
}

/** Names, sizes and times of a folder's files; null if they cannot be read, or the folder has too many files. */
async function stampOf(dir: string): Promise<string | null> {
  try {
    const found = await readdir(dir, { recursive: true })
    const files = found.filter((file) => !file.startsWith(`${VERSIONS}${sep}`)).toSorted()
    if (files.length > AGENTS_VIEW_FILES_MAX) return null
    const stats = await Promise.all(files.map((file) => stat(join(dir, file))))
    return stats
      .map(({ size, mtimeMs, ctimeMs, ino }, at) => [files[at], size, mtimeMs, ctimeMs, ino].join())
      .join('\n')
  } catch {
    return null // An unreadable folder is reported by the view.
  }
}

/**
 * Runs one task in the agents' thread.
 * @throws GatewayError CALL_FAULT if the thread ended without an answer
 */
export async function inThread<T>(task: AgentsTask, env: Readonly<Record<string, string>>): Promise<T> {
  const worker = new Worker(new URL('./agents-thread.js', import.meta.url), {
    workerData: { ...task, country: homeCountry() },
    execArgv: [],
    env,
    resourceLimits: { maxOldGenerationSizeMb: AGENTS_THREAD_MEMORY_MB },
  })
  worker.unref() // a gateway that stops does not wait for this thread
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise<T>((resolve, reject) => {
      const failed = (why: string): void => reject(new GatewayError('CALL_FAULT', why))
      timer = setTimeout(() => failed(`it did not end in ${AGENTS_THREAD_MS} ms`), AGENTS_THREAD_MS).unref()
      worker.once('message', (answer: T) => resolve(answer))
      // The error's message is left out: the text of a tool's error may contain the tool's arguments.
      worker.once('error', (thrown: unknown) =>
        failed(`it failed: ${thrown instanceof Error ? thrown.name : typeof thrown}`),
      )
      worker.once('exit', () => failed('it ended its own thread'))
    })
  } finally {
    clearTimeout(timer)
    await worker.terminate()
  }
}

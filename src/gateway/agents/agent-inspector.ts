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
 * For reading the agents folder, or trying a tool, for an operator, with the start of the thread; a tool's own deadline is
 * at most 15 s.
 */
const AGENTS_THREAD_MS = 20_000
/** Phrases that an operator may hear at once, and how many more each second: a vendor's voice costs money. */
const SAYS_BURST = 10
const SAYS_PER_S = 0.5
/** Heap of that thread. */
const AGENTS_THREAD_MEMORY_MB = 256
/** How long the view of the agents folder is kept while its files do not change; with more files it is not kept. */
const AGENTS_VIEW_KEPT_MS = 60_000
const AGENTS_VIEW_FILES_MAX = 2000

interface AgentInspectorOptions {
  /** Agents of new calls; changed in place by edits of the folder. */
  readonly agents: ReadonlyMap<string, Pick<HostedAgent, 'definition' | 'assets' | 'shares' | 'canary'>>
  readonly dir: string
  /** Edits of the folder are followed. */
  readonly watched: boolean
  readonly env: Environment
  /** `process.env` of its threads. */
  readonly workerEnv: Readonly<Record<string, string>>
  /** A phrase in an agent's voice, as a WAV file; absent: none can be heard (tests). */
  readonly say?: (agent: Pick<HostedAgent, 'definition' | 'shares'>, text: string) => Promise<Uint8Array>
  /** Sentences about models of an agent that end soon, or are over; absent: none (tests). */
  readonly modelEnds?: (agent: Pick<HostedAgent, 'definition' | 'shares'>) => readonly string[]
  /** True if words of offline dialogues are checked. */
  readonly speech: boolean
}

/** A view, and what it was made from. */
interface KeptView {
  readonly view: AgentsView
  /** Stamp of the folder's files. */
  readonly stamp: string
  readonly definitions: readonly unknown[]
  readonly madeAtMs: number
}

/** The agents of this process for an operator: what is loaded, what the folder holds, and tools to try. */
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
   * Loaded agents and the folder's content; all who ask meanwhile get the same answer. Reading it takes most of a
   * second of CPU, so it is read again only when something has changed, or after a minute: modules may import from
   * elsewhere.
   * @throws GatewayError CALL_FAULT
   */
  view(): Promise<AgentsView> {
    this.#reading ??= this.#view().finally(() => {
      this.#reading = null
    })
    return this.#reading
  }

  async #view(): Promise<AgentsView> {
    const { agents, dir, watched, env, workerEnv, speech, modelEnds } = this.#options
    const loaded = [...agents.values()].map(({ definition, assets = NO_ASSETS, shares, canary }) => ({
      ...{ definition, assets, backends: namesIn(shares), modelEnds: modelEnds?.({ definition, shares }) ?? [] },
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
   * A phrase in an agent's voice, one at a time.
   * @throws GatewayError AGENT_UNKNOWN, CALL_FAULT, CAPACITY while another
   *   is spoken, RATE_LIMITED
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
   * Tries a tool, one at a time.
   * @throws GatewayError AGENT_UNKNOWN, TOOL_UNKNOWN, CAPACITY while another is tried
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

/** Names, sizes and times of a folder's files; null when they cannot be read, or are too many. */
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
    return null // the view says what is wrong with it
  }
}

/** One task for the thread of the agents. @throws GatewayError CALL_FAULT when it ended without an answer */
export async function inThread<T>(task: AgentsTask, env: Readonly<Record<string, string>>): Promise<T> {
  const worker = new Worker(new URL('./agents-thread.js', import.meta.url), {
    workerData: { ...task, country: homeCountry() },
    execArgv: [],
    env,
    resourceLimits: { maxOldGenerationSizeMb: AGENTS_THREAD_MEMORY_MB },
  })
  worker.unref() // a gateway that stops does not wait for it
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise<T>((resolve, reject) => {
      const failed = (why: string): void => reject(new GatewayError('CALL_FAULT', why))
      timer = setTimeout(() => failed(`it did not end in ${AGENTS_THREAD_MS} ms`), AGENTS_THREAD_MS).unref()
      worker.once('message', (answer: T) => resolve(answer))
      // Without the message: a tool's own words may hold its arguments.
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

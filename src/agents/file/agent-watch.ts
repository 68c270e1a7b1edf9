import { messageOf } from '../../core/errors.js'
import { contentOf } from './agent-view.js'
import type { FolderVersion } from './agent-view.js'
import { EditWatch } from './edit-watch.js'
import { canariesOf, canaryFault, faultsText, readAgents } from './loader.js'
import type { Environment } from './template.js'
import type { SpeechSource } from './loader.js'

/** An agent of the folder that new calls use. */
export interface FolderAgent extends FolderVersion {
  /** Canary of the agent; undefined if there is no canary. */
  readonly canary?: FolderVersion | undefined
}

interface AgentWatchOptions {
  readonly dir: string
  readonly env: Environment
  /** Returns the vocabulary, as at the start of the gateway; null if words of offline dialogues are not checked. */
  readonly speech: SpeechSource | null
  /**
   * Receives every agent that new calls use. Called only after a change.
   * @returns the reasons, by agent name, why agents cannot be used; these agents stay unchanged
   */
  readonly apply: (agents: ReadonlyMap<string, FolderAgent>) => ReadonlyMap<string, string>
  /** Returns false if the agent with this name could not be used at the start, so that calls do not use this agent. */
  readonly isUsed: (name: string) => boolean
  /** Receives one line for each change, and one line for each fault. */
  readonly onChange: (names: readonly string[]) => void
  readonly onFault: (what: string) => void
  /** Receives the number of errors in the folder each time the folder was read. */
  readonly onCount?: ((faults: number) => void) | undefined
}

/**
 * Watches the agents folder. An edit applies only to new calls. If a file is broken, calls continue to use the last
 * valid version of its agent. An agent is valid even if a sound file is missing.
 */
export class AgentWatch {
  readonly #options: AgentWatchOptions
  readonly #watch: EditWatch
  /** Last valid content of each file. It is used as long as the edited file has a fault. */
  readonly #files = new Map<string, FolderVersion & { readonly text: string }>()
  #lastFault = ''

  constructor(options: AgentWatchOptions) {
    this.#options = options
    this.#watch = new EditWatch({
      path: options.dir,
      depth: 4,
      read: () => this.#read(),
      onError: (error) => options.onFault(`the agents folder cannot be watched: ${messageOf(error)}`),
    })
  }

  /** Records the files with which the gateway was started. Resolves when the watch is active. */
  async start(): Promise<void> {
    for (const one of await readAgents(this.#options.dir, this.#options.env, this.#options.speech)) {
      if (one.ok) this.#files.set(one.file, keep(one))
    }
    await this.#watch.ready
  }

  close(): Promise<void> {
    return this.#watch.close()
  }

  /**
   * Drops a canary and its stored version if the main version was edited in a part that must be equal in both versions.
   */
  #dropStrayCanaries(): void {
    const agents = [...this.#files.values()].flatMap(({ agent }) => (agent.canary === undefined ? [agent] : []))
    for (const [file, { agent }] of this.#files)
      if (
        agent.canary !== undefined &&
        canaryFault(
          agent,
          agents.find(({ name }) => name === agent.name),
        ) !== null
      )
        this.#files.delete(file)
  }

  async #read(): Promise<void> {
    const { dir, env, speech, apply, isUsed, onChange } = this.#options
    const changed = new Set<string>()
    const refused = new Set<string>()
    const faults: string[] = []
    try {
      const read = await readAgents(dir, env, speech)
      const before = new Map([...this.#files].map(([file, { agent, text }]) => [file, { name: agent.name, text }]))
      for (const file of [...this.#files.keys()]) {
        if (!read.some((one) => one.file === file)) this.#files.delete(file)
      }
      for (const one of read) if (one.ok) this.#files.set(one.file, keep(one))
      this.#dropStrayCanaries()
      for (const one of read) {
        const stays = !one.ok && this.#files.has(one.file) ? ' (the version before stays)' : ''
        if (one.faults.length > 0) faults.push(`${faultsText(one.faults)}${stays}`)
      }
      for (const [file, { agent, text }] of this.#files) if (before.get(file)?.text !== text) changed.add(agent.name)
      for (const [file, { name }] of before) if (!this.#files.has(file)) changed.add(name)
      if (changed.size > 0) {
        const versions = [...this.#files.values()]
        const canaries = canariesOf(versions)
        const agents = new Map(
          versions
            .filter(({ agent }) => agent.canary === undefined)
            .map(({ agent, assets }) => [agent.name, { agent, assets, canary: canaries.get(agent.name) }]),
        )
        for (const [name, what] of apply(agents)) {
          faults.push(`${name}: ${what}${isUsed(name) ? ' (the version before stays)' : ''}`)
          changed.delete(name)
          refused.add(name)
        }
      }
      for (const { agent } of this.#files.values())
        if (agent.canary === undefined && !isUsed(agent.name) && !refused.has(agent.name))
          faults.push(`${agent.name}: could not be used at the start; the log has the reason`)
    } catch (error) {
      faults.push(messageOf(error))
    }
    if (changed.size > 0) onChange([...changed])
    this.#options.onCount?.(faults.length)
    const fault = faults.join('\n')
    // Each fault is reported only once, even if the folder is read again because of another file.
    if (fault !== '' && fault !== this.#lastFault) this.#options.onFault(fault)
    this.#lastFault = fault
  }
}

function keep({ agent, assets }: FolderVersion): FolderVersion & { readonly text: string } {
  return { agent, assets, text: contentOf(agent, assets) }
}

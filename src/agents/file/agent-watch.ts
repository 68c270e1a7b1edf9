import { messageOf } from '../../core/errors.js'
import { contentOf } from './agent-view.js'
import type { FolderVersion } from './agent-view.js'
import { EditWatch } from './edit-watch.js'
import { canariesOf, canaryFault, faultsText, readAgents } from './loader.js'
import type { Environment } from './template.js'
import type { SpeechSource } from './loader.js'

/** The form in which new calls get an agent of the folder. */
export interface FolderAgent extends FolderVersion {
  /** Its second version. */
  readonly canary?: FolderVersion | undefined
}

interface AgentWatchOptions {
  readonly dir: string
  readonly env: Environment
  /** The same as at the start; null: words of offline dialogues are not checked. */
  readonly speech: SpeechSource | null
  /**
   * Gets every agent that new calls use; called only after a change.
   * @returns by name, why an agent cannot be used; such an agent stays as it was
   */
  readonly apply: (agents: ReadonlyMap<string, FolderAgent>) => ReadonlyMap<string, string>
  /** False: no call gets the agent of this name, because it could not be used at the start. */
  readonly isUsed: (name: string) => boolean
  /** Gets one line for each change and one for each fault. */
  readonly onChange: (names: readonly string[]) => void
  readonly onFault: (what: string) => void
  /** Gets how many errors the folder has, after each reading. */
  readonly onCount?: ((faults: number) => void) | undefined
}

/**
 * Watches the agents folder. An edit applies to new calls only. A broken file keeps the last valid version of its
 * agent; edits of other files are applied. An agent without one of its sounds is valid.
 */
export class AgentWatch {
  readonly #options: AgentWatchOptions
  readonly #watch: EditWatch
  /** The last valid content by file, kept while an edit is broken. */
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

  /** Drops canaries, also in their version before, whose agent was edited in what holds for all of its calls. */
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
          faults.push(`${agent.name}: cannot be used since the start, for what the log says there`)
    } catch (error) {
      faults.push(messageOf(error))
    }
    if (changed.size > 0) onChange([...changed])
    this.#options.onCount?.(faults.length)
    const fault = faults.join('\n')
    // A fault is reported once, also when another file causes a second read.
    if (fault !== '' && fault !== this.#lastFault) this.#options.onFault(fault)
    this.#lastFault = fault
  }
}

function keep({ agent, assets }: FolderVersion): FolderVersion & { readonly text: string } {
  return { agent, assets, text: contentOf(agent, assets) }
}

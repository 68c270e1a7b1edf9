import { createHash } from 'node:crypto'
import { factsReadBy, missingFacts } from '../../agents/file/business.js'
import type { Business } from '../../agents/file/business.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { EditWatch } from '../../agents/file/edit-watch.js'
import { faultsText } from '../../agents/file/loader.js'
import { NumbersFile } from '../../agents/file/numbers-file.js'
import type { Environment } from '../../agents/file/template.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import type { Receiver } from '../../messages/receivers.js'
import type { Log } from '../../telemetry/log.js'

/** Reason why an agent cannot serve a business with the gateway's settings; null if it can serve the business. */
type FaultOf = (business: Business, agent: AgentDefinition) => string | null

/** The businesses of NUMBERS_FILE. Edits of the file change the maps in place. */
export class Numbers {
  /** By number. */
  readonly businesses = new Map<string, Business>()
  /** Receivers of messages about a number's calls, by number. Numbers without receivers are absent. */
  readonly receivers = new Map<string, readonly Receiver[]>()
  /**
   * Numbers whose calls a token of the ops port may see, by the token's SHA-256 in hex. A token that may see all
   * numbers is not listed.
   */
  readonly opsTokens = new Map<string, ReadonlySet<string>>()
  readonly #file: NumbersFile | null
  readonly #faultOf: FaultOf
  /** Current errors of the file, one per line, and the number of errors. The text is empty if there are no errors. */
  fault = ''
  faults = 0
  #agents: () => ReadonlyMap<string, AgentDefinition> = () => new Map()

  private constructor(path: string | null, env: Environment, faultOf: FaultOf) {
    this.#file = path === null ? null : new NumbersFile(path, env, faultOf)
    this.#faultOf = faultOf
  }

  /**
   * Reads NUMBERS_FILE. A number whose entry has a mistake is left out, and `fault` names the mistake.
   * @param path path of the file; null if numbers have no businesses
   * @param agents returns the agents of new calls; called each time the file is read
   * @throws GatewayError AGENT_INVALID with all faults, one per line, if all numbers are unusable
   */
  static async open(
    path: string | null,
    env: Environment,
    agents: () => ReadonlyMap<string, AgentDefinition>,
    faultOf: FaultOf = () => null,
  ): Promise<Numbers> {
    const numbers = new Numbers(path, env, faultOf)
    numbers.#agents = agents
    await numbers.#read()
    if (numbers.fault !== '' && numbers.businesses.size === 0) throw new GatewayError('AGENT_INVALID', numbers.fault)
    return numbers
  }

  /** First number that leads to an agent; null if there is none. */
  firstOf(agent: string): string | null {
    for (const business of this.businesses.values()) if (business.agent === agent) return business.number
    return null
  }

  /**
   * Reason why a new version of an agent cannot serve one of the businesses whose numbers lead to the agent; null if it
   * can serve all of them.
   */
  lacking(agent: AgentDefinition): string | null {
    const reads = factsReadBy(agent)
    const served = [...this.businesses.values()].filter((business) => business.agent === agent.name)
    const missing = new Set(served.flatMap((business) => missingFacts(reads, business)))
    return missing.size === 0
      ? (served.map((business) => this.#faultOf(business, agent)).find((fault) => fault !== null) ?? null)
      : `reads ${[...missing].map((name) => `{{business.${name}}}`).join(', ')}, which not all of its numbers have (NUMBERS_FILE)`
  }

  /**
   * Uses edits without a restart: new calls use the new facts. Resolves when the watch has begun.
   * @returns a function that stops the watch
   */
  async follow(log: Log): Promise<() => Promise<void>> {
    if (this.#file === null) return () => Promise.resolve()
    const { path } = this.#file
    const onError = (error: unknown): void => log.error({ err: error }, 'NUMBERS_FILE cannot be watched')
    const watch = new EditWatch({ path, depth: 1, read: () => this.look(log), onError })
    await watch.ready
    return () => watch.close()
  }

  /** Reads the file again, after an edit of the file or of an agent that the file names. */
  async look(log: Log): Promise<void> {
    const before = this.fault
    const changed = await this.#read()
    const { fault } = this
    if (changed > 0) log.info({ numbers: changed }, 'numbers were edited: new calls use the new facts')
    if (fault !== '' && fault !== before)
      log.error({ fault }, 'an edit of NUMBERS_FILE has errors: calls use the previous version')
  }

  /** @returns the number of changed numbers */
  async #read(): Promise<number> {
    if (this.#file === null) return 0
    try {
      const { entries, faults } = await this.#file.read(this.#agents())
      let changed = 0
      for (const number of [...this.businesses.keys()])
        if (!entries.has(number) && this.businesses.delete(number)) changed++
      const tokens = new Map<string, Set<string>>()
      this.receivers.clear()
      for (const [number, { business, opsToken, receivers }] of entries) {
        if (receivers.length > 0) this.receivers.set(number, receivers)
        if (this.businesses.get(number) !== business) changed++
        this.businesses.set(number, business)
        if (opsToken === null) continue
        const digest = createHash('sha256').update(opsToken).digest('hex')
        tokens.set(digest, (tokens.get(digest) ?? new Set()).add(number))
      }
      this.opsTokens.clear()
      for (const [digest, numbers] of tokens) this.opsTokens.set(digest, numbers)
      this.fault = faultsText(faults)
      this.faults = faults.length
      return changed
    } catch (thrown) {
      this.fault = messageOf(thrown)
      this.faults = 1
      return 0
    }
  }
}

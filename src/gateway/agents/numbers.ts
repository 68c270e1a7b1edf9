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

/** Why a business cannot be served by its agent with the gateway's settings; null: it can. */
type FaultOf = (business: Business, agent: AgentDefinition) => string | null

/** The businesses of NUMBERS_FILE. The maps are changed in place by edits. */
export class Numbers {
  /** By number. */
  readonly businesses = new Map<string, Business>()
  /** Receivers of messages about a number's calls, by number; numbers without any are absent. */
  readonly receivers = new Map<string, readonly Receiver[]>()
  /** Our numbers to which a token of the ops port is limited, by the SHA-256 of the token, hex. */
  readonly opsTokens = new Map<string, ReadonlySet<string>>()
  readonly #file: NumbersFile | null
  readonly #faultOf: FaultOf
  /** Present errors of the file, one a line, and their count; empty and 0 for none. */
  fault = ''
  faults = 0
  #agents: () => ReadonlyMap<string, AgentDefinition> = () => new Map()

  private constructor(path: string | null, env: Environment, faultOf: FaultOf) {
    this.#file = path === null ? null : new NumbersFile(path, env, faultOf)
    this.#faultOf = faultOf
  }

  /**
   * @param path  null: no number has a business
   * @param agents  what calls get, whenever numbers are read
   * One that has a mistake is left out, and named in `fault`.
   * @throws GatewayError AGENT_INVALID with every fault, one a line, where no number can be used
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

  /** The first number that leads to an agent; null for none. */
  firstOf(agent: string): string | null {
    for (const business of this.businesses.values()) if (business.agent === agent) return business.number
    return null
  }

  /** Why an agent's new version cannot be used by a business whose number it answers. Null: it can. */
  lacking(agent: AgentDefinition): string | null {
    const reads = factsReadBy(agent)
    const served = [...this.businesses.values()].filter((business) => business.agent === agent.name)
    const missing = new Set(served.flatMap((business) => missingFacts(reads, business)))
    return missing.size === 0
      ? (served.map((business) => this.#faultOf(business, agent)).find((fault) => fault !== null) ?? null)
      : `reads ${[...missing].map((name) => `{{business.${name}}}`).join(', ')}, which not all of its numbers have (NUMBERS_FILE)`
  }

  /** Follows edits: new calls get the new facts. Resolves when edits are seen. @returns ends that */
  async follow(log: Log): Promise<() => Promise<void>> {
    if (this.#file === null) return () => Promise.resolve()
    const { path } = this.#file
    const onError = (error: unknown): void => log.error({ err: error }, 'NUMBERS_FILE cannot be watched')
    const watch = new EditWatch({ path, depth: 1, read: () => this.look(log), onError })
    await watch.ready
    return () => watch.close()
  }

  /** Reads the file again: it, or an agent that its numbers lead to, was edited. */
  async look(log: Log): Promise<void> {
    const before = this.fault
    const changed = await this.#read()
    const { fault } = this
    if (changed > 0) log.info({ numbers: changed }, 'numbers were edited: new calls use the new facts')
    if (fault !== '' && fault !== before)
      log.error({ fault }, 'an edit of NUMBERS_FILE has errors: calls use the previous version')
  }

  /** @returns how many numbers have changed */
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

import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { messageOf } from '../../core/errors.js'
import { receiverOf } from '../../messages/receivers.js'
import type { Receiver } from '../../messages/receivers.js'
import { maskNumber } from '../../sautikit/phone.js'
import { businessSchema, factsReadBy, missingFacts } from './business.js'
import type { Business } from './business.js'
import { e164 } from './definition.js'
import type { AgentDefinition } from './definition.js'
import { allowedNames, cutFaults, faultsOf } from './faults.js'
import type { AgentFault } from './loader.js'
import type { Environment } from './template.js'
import { parseYaml } from './yaml-source.js'

/** Limits: number of files in a folder, number of bytes in a file, and number of phone numbers in all files. */
const NUMBER_FILES_MAX = 2000
const NUMBERS_FILE_BYTES_MAX = 4 * 1024 * 1024
const NUMBERS_MAX = 5000

const numbersSchema = z.strictObject({
  version: z.literal(1, { error: 'must be 1, the only version of numbers files that this gateway reads' }),
  numbers: z.record(e164, businessSchema).describe('Business of each of our numbers, in E.164 form.'),
})

/** Returns the published JSON Schema (`schema/numbers.schema.json`). */
export function numbersJsonSchema(): Record<string, unknown> {
  return {
    ...z.toJSONSchema(numbersSchema, { io: 'input', unrepresentable: 'any' }),
    title: 'Mkondo numbers',
    description: 'Which agent answers each number, with the facts of its business. docs/NUMBERS.md explains it.',
  }
}

/** Entry of one phone number in a file. */
interface NumberEntry {
  readonly business: Business
  /** Bearer token for the ops port that gives access only to this phone number; null if there is no such token. */
  readonly opsToken: string | null
  /** Receivers of messages about calls of this phone number. */
  readonly receivers: readonly Receiver[]
  readonly fault: (what: string) => AgentFault
}

interface ReadNumbersFile {
  readonly stamp: string
  readonly entries: ReadonlyMap<string, NumberEntry>
  readonly faults: readonly AgentFault[]
  /** Phone numbers whose entries cannot be used; null if the whole file cannot be used. */
  readonly faulty: ReadonlySet<string> | null
}

/**
 * Reads the numbers in a file, or in all `.yaml` files of a folder. A later `read` reads only changed files; the
 * objects for unchanged files stay the same. If an edited entry has a fault, its last valid version stays in use.
 */
export class NumbersFile {
  readonly path: string
  readonly #env: Environment
  readonly #faultOf: (business: Business, agent: AgentDefinition) => string | null
  #files = new Map<string, ReadNumbersFile>()
  /** Entries from the last `read`, with their files. */
  #used = new Map<string, NumberEntry & { readonly file: string }>()

  /** @param faultOf returns the reason why the gateway cannot serve a business with its settings; null if it can */
  constructor(
    path: string,
    env: Environment,
    faultOf: (business: Business, agent: AgentDefinition) => string | null = () => null,
  ) {
    this.path = path
    this.#env = env
    this.#faultOf = faultOf
  }

  /**
   * Reads the files; never rejects.
   * @param agents  agents by name
   * @returns the numbers that can be used, and the faults of all other numbers. If a faulty number has an earlier valid
   * version, that version is used
   */
  async read(agents: ReadonlyMap<string, AgentDefinition>): Promise<{
    readonly entries: ReadonlyMap<string, NumberEntry>
    readonly faults: readonly AgentFault[]
  }> {
    const entries = new Map<string, NumberEntry & { readonly file: string }>()
    const faults: AgentFault[] = []
    const files = new Map<string, ReadNumbersFile>()
    const names = await this.#names()
    if (typeof names === 'string')
      return { entries: this.#used, faults: [{ file: this.path, line: 1, col: 1, what: names }] }
    const reads = new Map([...agents].map(([name, agent]) => [name, factsReadBy(agent)]))
    for (const file of names) {
      const read = await this.#file(file)
      files.set(file, read)
      faults.push(...read.faults)
      for (const [number, entry] of read.entries) {
        const { business, fault } = entry
        const facts = reads.get(business.agent)
        const missing = facts === undefined ? [] : missingFacts(facts, business)
        const agent = agents.get(business.agent)
        const what =
          agent === undefined
            ? `agent is ${business.agent}, but there is no such agent; ${allowedNames(business.agent, [...agents.keys()])}`
            : missing.length > 0
              ? `facts lacks ${missing.join(', ')}, which the agent ${business.agent} reads`
              : entries.has(number)
                ? 'is a number that an earlier file has too'
                : entries.size >= NUMBERS_MAX
                  ? `is one of more than ${NUMBERS_MAX} numbers`
                  : this.#faultOf(business, agent)
        const earlier = this.#used.get(number)
        if (what === null) entries.set(number, { ...entry, file })
        else {
          faults.push(fault(what))
          if (earlier?.file === file && !entries.has(number)) entries.set(number, earlier)
        }
      }
      for (const [number, entry] of this.#used)
        if (entry.file === file && !entries.has(number) && (read.faulty?.has(number) ?? true))
          entries.set(number, entry)
    }
    this.#files = files
    this.#used = entries
    return { entries, faults }
  }

  /** Returns the files, or the reason why the files cannot be listed. */
  async #names(): Promise<readonly string[] | string> {
    try {
      if (!(await stat(this.path)).isDirectory()) return [this.path]
      const names = (await readdir(this.path)).filter((name) => /^[^.].*\.ya?ml$/.test(name)).sort()
      if (names.length > NUMBER_FILES_MAX) return `has ${names.length} files; at most ${NUMBER_FILES_MAX} are allowed`
      return names.map((name) => join(this.path, name))
    } catch (thrown) {
      return `cannot be read: ${messageOf(thrown)}`
    }
  }

  async #file(file: string): Promise<ReadNumbersFile> {
    const refused = (stamp: string, what: string): ReadNumbersFile => ({
      stamp,
      entries: new Map(),
      faults: [{ file, line: 1, col: 1, what }],
      faulty: null,
    })
    try {
      const { size, mtimeMs, ctimeMs, ino } = await stat(file)
      const stamp = [size, mtimeMs, ctimeMs, ino].join()
      const before = this.#files.get(file)
      if (before?.stamp === stamp) return before
      if (size > NUMBERS_FILE_BYTES_MAX)
        return refused(stamp, `has ${size} bytes; at most ${NUMBERS_FILE_BYTES_MAX} are allowed`)
      return { stamp, ...this.#parse(file, await readFile(file, 'utf8'), before) }
    } catch (thrown) {
      return refused('', `cannot be read: ${messageOf(thrown)}`)
    }
  }

  #parse(file: string, text: string, before: ReadNumbersFile | undefined): Omit<ReadNumbersFile, 'stamp'> {
    const source = parseYaml(text, { noun: 'a numbers file', manual: 'docs/NUMBERS.md' })
    if (!('value' in source))
      return { entries: new Map(), faults: source.map((fault) => ({ file, ...fault })), faulty: null }
    const { value } = source
    const parsed = numbersSchema.safeParse(value)
    const faults: AgentFault[] = []
    const faulty = new Set<string>()
    for (const { path, line, col, what } of cutFaults(source, numbersJsonSchema)) {
      const number = String(path[1])
      faults.push({ file, line, col, what: what.replaceAll(number, maskNumber(number)), spared: true })
    }
    const found = parsed.success ? [] : faultsOf(parsed.error.issues, numbersJsonSchema(), value, 'a numbers file')
    for (const { path, key, what } of found) {
      const [, number] = path
      // Faults are logged, so the phone number is masked. The line in the file shows which number has the fault.
      const shown = number === undefined ? what : what.replaceAll(String(number), maskNumber(String(number)))
      faults.push({ file, ...source.locate(path, key), what: shown })
      if (number !== undefined) faulty.add(String(number))
    }
    const entries = new Map<string, NumberEntry>()
    if (found.some(({ path }) => path.length < 2)) return { entries, faults, faulty: null }
    const { numbers } = value as { readonly numbers: Readonly<Record<string, unknown>> }
    for (const [number, entry] of Object.entries(numbers)) {
      if (faulty.has(number)) continue
      const { opsToken, messages = [], ...rest } = businessSchema.parse(entry)
      const fault = (what: string): AgentFault => ({ file, ...source.locate(['numbers', number], true), what })
      const variable = opsToken?.slice('{{env.'.length, -'}}'.length)
      const token = variable === undefined ? null : (this.#env[variable] ?? '')
      if (token !== null && !/^\S{16,512}$/.test(token)) {
        faults.push(fault(`opsToken: ${variable ?? ''} must hold 16 to 512 characters without spaces`))
        faulty.add(number)
        continue
      }
      const receivers = this.#receivers(messages)
      if (typeof receivers === 'string') {
        faults.push(fault(receivers))
        faulty.add(number)
        continue
      }
      const business: Business = { number, ...rest }
      const same = before?.entries.get(number)?.business
      entries.set(number, {
        business: same !== undefined && JSON.stringify(same) === JSON.stringify(business) ? same : business,
        opsToken: token,
        receivers,
        fault,
      })
    }
    return { entries, faults, faulty }
  }
  /**
   * Returns the receivers for one phone number, or the names of missing environment variables that the receivers need.
   */
  #receivers(messages: Parameters<typeof receiverOf>[0][]): readonly Receiver[] | string {
    try {
      return messages.map((each) => receiverOf(each, this.#env))
    } catch (thrown) {
      return messageOf(thrown)
    }
  }
}

import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { AgentTexts } from '../../agents/file/agent-texts.js'
import { changed, hashOf } from '../../agents/file/agent-texts.js'
import type { shownText } from '../../agents/file/literal-secrets.js'
import { canaryFault } from '../../agents/file/loader.js'
import type { AgentDraft } from '../../agents/file/loader.js'
import type { Environment } from '../../agents/file/template.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import type {
  AgentEditing,
  CheckedText,
  EditedHere,
  OpenedText,
  PublishOrder,
  PublishedHere,
  TriableDraft,
} from '../../edge/options.js'
import { versionOf } from '../../workers/main/call/agent-version.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import type { AgentHeads } from './agent-heads.js'
import { inThread } from './agent-inspector.js'
import type { ExaminedDraft } from './agents-thread.js'
import type { UseVersion } from './hosted-agents.js'

/**
 * DRAFTS_MAX: maximum number of drafts that are kept for operators' trials. DRAFT_IDLE_MS: time in ms for which a draft
 * without a call is kept.
 */
const DRAFTS_MAX = 8
const DRAFT_IDLE_MS = 15 * 60_000
/** Maximum number of texts that are being checked or wait for their check. Further texts are refused. */
const WAITING_MAX = 4
/**
 * IN_USE_WITHIN_MS: maximum time in ms that a publication waits until new calls use the text; the folder's watch needs
 * up to 3 s. IN_USE_LOOK_MS: time between two checks.
 */
const IN_USE_WITHIN_MS = 6000
const IN_USE_LOOK_MS = 50

type ShownText = ReturnType<typeof shownText>

interface AgentEditorOptions {
  /** Agents of new calls. Edits of the folder change this map in place. */
  readonly agents: ReadonlyMap<string, HostedAgent>
  readonly dir: string
  readonly texts: AgentTexts
  readonly use: UseVersion
  readonly env: Environment
  /** `process.env` of the thread that checks texts. */
  readonly workerEnv: Readonly<Record<string, string>>
  readonly drafts: Drafts
  /** The newest published texts of the fleet. */
  readonly heads: Pick<AgentHeads, 'claim'>
  /** True if words of offline dialogues are checked. */
  readonly speech: boolean
}

/** Drafts that operators try, and the trial calls. A draft is used only by calls that were placed for this draft. */
export class Drafts {
  readonly #held = new LRUCache<string, HostedAgent>({
    ...{ max: DRAFTS_MAX, ttl: DRAFT_IDLE_MS, ttlAutopurge: true, updateAgeOnGet: true },
  })
  readonly #calls = new Map<string, HostedAgent>()

  /** @returns an id for calls that try the draft */
  hold(agent: HostedAgent): string {
    const id = randomUUID()
    this.#held.set(id, agent)
    return id
  }

  /**
   * Registers a call that is placed to try a draft.
   * @returns false if the agent has no draft with this id
   */
  begin(id: string, name: string, callSid: string): boolean {
    const agent = this.#held.get(id)
    if (agent?.definition.name !== name) return false
    this.#calls.set(callSid, agent)
    return true
  }

  /** Removes the call when it is over. */
  end(callSid: string): void {
    this.#calls.delete(callSid)
  }

  /** Draft that a call tries; undefined if there is none. */
  of(callSid: string): HostedAgent | undefined {
    return this.#calls.get(callSid)
  }
}

/** Edits the agents of this process for an operator: the texts of its folder, drafts to try, and their publication. */
export class AgentEditor implements AgentEditing {
  readonly #options: AgentEditorOptions
  #listing: Promise<EditedHere> | null = null
  #turn: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor(options: AgentEditorOptions) {
    this.#options = options
  }

  /** Reads all files. Requests during the reading share one answer. */
  here(): Promise<EditedHere> {
    const listing: Promise<EditedHere> = (this.#listing ??= this.#list().finally(() => {
      if (this.#listing === listing) this.#listing = null
    }))
    return listing
  }

  async #list(): Promise<EditedHere> {
    const { agents, texts } = this.#options
    return {
      files: await texts.list(),
      agents: [...agents].map(([name, agent]) => ({
        name,
        version: versionOf(agent),
        canary: agent.canary === undefined ? null : versionOf(agent.canary.version),
      })),
    }
  }

  async open(file: string, version: string | null): Promise<OpenedText> {
    const { texts, env, workerEnv } = this.#options
    const [{ text, hash }, versions] = await Promise.all([texts.read(file, version), texts.versions(file)])
    const current = version === null ? hash : await texts.hashOf(file)
    const shown = await this.#inTurn(() => inThread<ShownText>({ what: 'open', text, env }, workerEnv))
    return { file, text: shown.refusal === null ? text : null, ...shown, hash, current, versions }
  }

  /** Current or earlier text of a file, by its hash; null if this node does not have the text. */
  async textOf(file: string, hash: string): Promise<string | null> {
    const { texts } = this.#options
    try {
      const now = await texts.read(file, null)
      return now.hash === hash ? now.text : (await texts.read(file, hash)).text
    } catch (thrown) {
      if (thrown instanceof GatewayError) return null
      throw thrown
    }
  }

  async check(draft: AgentDraft): Promise<CheckedText> {
    const { faults, hosted } = await this.#inTurn(() => this.#examined(draft))
    return { faults, hash: hashOf(Buffer.from(draft.text)), ...factsOf(hosted) }
  }

  async publish({ file, text, bases, held }: PublishOrder): Promise<PublishedHere> {
    const { texts, heads } = this.#options
    const hash = hashOf(Buffer.from(text))
    const before = await texts.hashOf(file)
    // This check of the hash is cheap, so it comes before the text is examined.
    if (before !== hash && !bases.includes(before)) throw changed(before)
    const earlier = (await texts.versions(file)).map((kept) => kept.hash)
    // Texts are checked and published one at a time, so the next text is checked against this text.
    const { faults, hosted } = await this.#inTurn(async () => {
      const examined = await this.#examined({ file, text })
      if (examined.hosted === null) return examined
      // The publication is first claimed in the fleet's store. If two people publish at two nodes, only the first claim
      // succeeds.
      const undo =
        held === undefined ? null : await heads.claim({ file, base: bases[0] ?? before, hash, kept: earlier, held })
      try {
        await texts.publish(file, text, bases)
      } catch (thrown) {
        // If the store does not answer, the claim stays. This does no harm: the next publication finds that no node has
        // the claimed text, and replaces the claim.
        await undo?.().catch(() => undefined)
        throw thrown
      }
      return examined
    })
    if (hosted === null) return { faults, before, hash, inUse: false, earlier }
    const inUse = await this.#inUse(hosted)
    this.#listing = null // a listing that is being made may have begun before the change
    return { faults, before, hash, inUse, earlier }
  }

  async draft(draft: AgentDraft): Promise<TriableDraft> {
    const { agents, drafts, texts } = this.#options
    const hash = hashOf(Buffer.from(draft.text))
    const { faults, hosted } = await this.#inTurn(() => this.#examined(draft))
    const { agent, version } = factsOf(hosted)
    if (hosted === null || agent === null) return { faults, hash, id: null, agent, version }
    const fault = canaryFault(hosted.definition, agents.get(agent)?.definition)
    if (fault !== null)
      throw new GatewayError(
        'AGENT_INVALID',
        `it can be published, but not tried, because a draft is tried as a canary: ${fault}`,
      )
    await texts.keepTried(draft.file, draft.text)
    return { faults, hash, id: drafts.hold(hosted), agent, version }
  }

  tries(callSid: string): boolean {
    return this.#options.drafts.of(callSid) !== undefined
  }

  /**
   * Runs `work` when all earlier work has ended. A check uses almost a second of CPU in a thread, so checks run one at
   * a time, each with its publication.
   */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= WAITING_MAX) throw new GatewayError('CAPACITY', 'too many texts are being checked; try again')
    this.#waiting++
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    try {
      return await turn
    } finally {
      this.#waiting--
    }
  }

  /** @returns `hosted`: the agent in the form that calls would use, but without calls; null if there are faults */
  async #examined(
    draft: AgentDraft,
  ): Promise<{ readonly faults: ExaminedDraft['faults']; readonly hosted: HostedAgent | null }> {
    const { dir, env, texts, workerEnv, speech, use } = this.#options
    await texts.hashOf(draft.file) // throws if this editor may not edit the file
    const task = { what: 'draft', dir, draft, env, speech } as const
    const { faults, version } = await inThread<ExaminedDraft>(task, workerEnv)
    if (version === null) return { faults, hosted: null }
    try {
      return { faults, hosted: use(version) }
    } catch (thrown) {
      return { faults: [{ line: 1, col: 1, what: messageOf(thrown) }], hosted: null }
    }
  }

  /** @returns true if new calls already use the version */
  async #inUse(published: HostedAgent): Promise<boolean> {
    const { name, canary } = published.definition
    const version = versionOf(published)
    const untilMs = performance.now() + IN_USE_WITHIN_MS
    for (;;) {
      const live = this.#options.agents.get(name)
      const now = canary === undefined ? live : live?.canary?.version
      if (now !== undefined && versionOf(now) === version) return true
      if (performance.now() > untilMs) return false
      await sleep(IN_USE_LOOK_MS, undefined, { ref: false })
    }
  }
}

function factsOf(hosted: HostedAgent | null): Pick<CheckedText, 'agent' | 'version'> {
  return hosted === null
    ? { agent: null, version: null }
    : { agent: hosted.definition.name, version: versionOf(hosted) }
}

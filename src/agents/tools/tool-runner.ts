import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { NOTE_FIX_TOOL, SEARCH_TOOL, VERIFY_TOOL } from '../../call/tools/gateway-tools.js'
import { assertNever } from '../../core/assert.js'
import type { ErrorCode } from '../../core/errors.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { forgetOldest } from '../../core/forget-oldest.js'
import { exactJson, jsonText } from '../../core/json.js'
import { TOOL_RESULT_CHARS_MAX } from '../../core/limits.js'
import { localTime } from '../../core/local-time.js'
import { contextZone } from './call-context.js'
import { NO_ASSETS, openCodeTools, passagesOf } from '../file/assets.js'
import type { AgentAssets } from '../file/assets.js'
import type { FoundCodeTool } from './code-tool.js'
import type { AgentDefinition } from '../file/definition.js'
import { HttpTool, ToolStatusError } from './http-tool.js'
import { McpServer, McpToolError } from './mcp-server.js'
import type { McpStatus, McpTool } from './mcp-server.js'
import type { HttpClient, HttpRequest } from '../../http/http-client.js'
import { KnowledgeIndex } from './knowledge.js'
import type { Environment, Template } from '../file/template.js'
import { addedTools, getsDigits, hasEffect, offeredMcpTools } from './offered-tools.js'
import type { ToolParameters } from './json-schema.js'
import { argumentChecker } from './tool-arguments.js'
import type { CheckedArguments } from './tool-arguments.js'
import { fillTemplate, missingSources, parseTemplate, unbound } from '../file/template.js'
import { PendingAnswer, callFacts } from './tool.js'
import type { Tool, ToolContext, ToolGate, ToolOutcome } from './tool.js'
import { VerificationRefused, VerifyTool } from '../identity/verification.js'
import type { GatewayTool } from '../../call/tools/gateway-tools.js'

/** Codes of errors with which a tool call is refused before any request is sent. */
const REFUSALS: readonly ErrorCode[] = ['TOOL_ARGUMENTS', 'TOOL_UNBOUND', 'TOOL_FORBIDDEN_HOST']
/** Codes of failures after which the tool may have had its effect. TOOL_HTTP without a status is such a failure too. */
const OPEN_ENDS: readonly ErrorCode[] = ['TOOL_TIMEOUT', 'TOOL_CANCELLED']

const UNCERTAIN: ToolOutcome = {
  ok: false,
  code: 'TOOL_UNCERTAIN',
  error: 'it is unknown whether an earlier run of the same call took effect',
  value: {
    error:
      'It is unknown whether this took effect: the connection was lost while it ran, and it was not run again. Say ' +
      'neither that it did nor that it did not, do not repeat it, and offer a human if it matters.',
  },
}
const NOT_OWNER: ToolOutcome = {
  ok: false,
  code: 'TOOL_NOT_OWNER',
  error: 'another node has this call',
  value: { error: 'This was not done: the call is handled elsewhere now.' },
}
const STORE_DOWN: ToolOutcome = {
  ok: false,
  code: 'STORE_DOWN',
  error: 'the store did not take the intent of the tool',
  value: {
    error:
      'This was not done: a system that it needs does not answer at the moment. Nothing has happened, and you may say so. ' +
      'It may be tried once more; then offer a human if it matters.',
  },
}

/** Outcomes for a tool that must not run, by the gate's answer. */
const NOT_RUN = { uncertain: UNCERTAIN, 'not-owner': NOT_OWNER, 'store-down': STORE_DOWN } as const

/**
 * Runs the tools of one agent for all its calls on a worker, separately from the audio. It writes no log, because
 * arguments and results contain the caller's words.
 */
export class ToolRunner {
  /** Counts since the start of the runner, for telemetry. */
  readonly counters = {
    runs: 0,
    /** Number of runs whose arguments were converted to fit the schema, without loss. */
    coerced: 0,
    failed: 0,
    timedOut: 0,
    cancelled: 0,
    refused: 0,
  }
  readonly #entries = new Map<string, Entry>()
  readonly #agent: Pick<AgentDefinition, 'digits'>
  readonly #zone: string
  readonly #servers: readonly McpServer[]
  /** Entry for each tool of a server. An entry is valid until the server changes the tool. */
  readonly #serverEntries = new WeakMap<McpTool, Entry>()

  readonly #questions: readonly { readonly question: string; readonly ask: LocalizedText }[]

  /**
   * Creates a runner with the agent's assets. The runner imports the modules at once, and begins to index the
   * knowledge.
   */
  static async open(
    agent: AgentDefinition,
    assets: AgentAssets,
    env: Environment,
    client: HttpClient,
  ): Promise<ToolRunner> {
    return new ToolRunner(agent, env, client, assets, await openCodeTools(assets))
  }

  /** @param client  client that all runners of a worker share; its owner closes it */
  constructor(
    agent: AgentDefinition,
    env: Environment,
    client: HttpClient,
    assets: AgentAssets = NO_ASSETS,
    code: readonly FoundCodeTool[] = [],
  ) {
    this.#agent = agent
    this.#zone = contextZone(agent)
    this.#servers = agent.mcp.map((server) => new McpServer(server, env, client))
    for (const definition of agent.tools) {
      this.#add(new HttpTool(definition, env, client), definition, hasEffect(definition))
    }
    for (const { spec, run } of code) this.#add(codeTool(spec.name, spec.timeoutMs, run), spec, !spec.idempotent)
    for (const added of addedTools(agent, assets)) {
      const tool =
        added.name === VERIFY_TOOL && agent.verification !== null
          ? new VerifyTool(agent.verification, env, client)
          : added.name === SEARCH_TOOL
            ? searchTool(assets)
            : NOTE_FIX
      this.#add(tool, { parameters: added.parameters, bind: {}, requires: undefined }, false)
    }
    this.#questions = (agent.verification?.questions ?? []).map(({ id, ask }) => ({ question: id, ask }))
  }

  #add(tool: Tool, restrictions: Restrictions, once: boolean): void {
    this.#entries.set(tool.name, this.#entryOf(tool, restrictions, once))
  }

  #entryOf(tool: Tool, { parameters, bind, requires, waits }: Restrictions, once: boolean): Entry {
    return {
      tool,
      verifiedOnly: requires === 'verified',
      once,
      waits: waits !== undefined,
      check: argumentChecker(parameters, (wallMs) => localTime(this.#zone, wallMs).date),
      bind: Object.entries(bind).map(([name, text]) => [name, parseTemplate(text)] as const),
      needs:
        tool instanceof HttpTool
          ? Object.keys(bind).filter((name) => parameters.required.includes(name))
          : Object.keys(bind),
    }
  }

  has(name: string): boolean {
    return this.#entry(name) !== undefined
  }

  #entry(name: string): Entry | undefined {
    const own = this.#entries.get(name)
    if (own !== undefined) return own
    for (const { tools } of this.#servers) {
      const found = tools.get(name)
      if (found === undefined) continue
      let entry = this.#serverEntries.get(found)
      if (entry === undefined) {
        const { bind, requires, idempotent } = found.definition
        entry = this.#entryOf(found.tool, { parameters: found.parameters, bind, requires }, !idempotent)
        this.#serverEntries.set(found, entry)
      }
      return entry
    }
    return undefined
  }

  /**
   * Connects the MCP servers for a call that starts. Resolves when their tools are known, or after MCP_FIRST_LIST_MS.
   */
  async useServers(waitMs?: number): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.use(waitMs)))
  }

  /** Returns the tools of the connected MCP servers, as models see them. */
  serverTools(): GatewayTool[] {
    const tools = this.#servers.flatMap((server) => [...server.tools.values()])
    return offeredMcpTools(tools.filter(({ tool }) => !getsDigits(this.#agent, tool.name)))
  }

  /**
   * Calls `listener` when these tools change.
   * @returns function that removes the listener
   */
  watchServers(listener: (news: McpStatus, first: boolean) => void): () => void {
    const stops = this.#servers.map((server) => server.watch(listener))
    return () => stops.forEach((stop) => stop())
  }

  /** MCP servers, each with its fault; the fault is null for a server without a fault. */
  get serverFaults(): readonly { readonly server: string; readonly fault: string | null }[] {
    return this.#servers.map(({ name, fault }) => ({ server: name, fault }))
  }

  /**
   * Called if the agent's file was edited. Connections to MCP servers end together with the last call of this version.
   */
  retire(): void {
    for (const server of this.#servers) server.retire()
  }

  /** Ends the connections to MCP servers. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()))
  }

  /**
   * Runs a tool within its deadline. The promise never rejects. @param args  arguments as the model sent them; this
   * method checks them
   */
  async run(name: string, args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<ToolOutcome> {
    this.counters.runs += 1
    const entry = this.#entry(name)
    if (entry === undefined) {
      const down = this.#servers.find((server) => server.offers(name))
      if (down !== undefined) return this.#failure(new GatewayError('TOOL_HTTP', `the MCP server ${down.name} is down`))
      return this.#refuse('TOOL_UNKNOWN', 'there is no such tool', [...this.#entries.keys()].join(', '))
    }
    if (entry.verifiedOnly && context.caller.verified === null) return this.#unverified()
    const { wallMs = Date.now() } = context
    try {
      const checked = entry.check(bound(entry, args, context), wallMs)
      if (!checked.ok) return this.#refuse('TOOL_ARGUMENTS', 'the arguments are not usable', checked.why)
      if (checked.coerced) {
        this.counters.coerced += 1
        context.coerced?.()
      }
      if (entry.once && context.gate !== undefined)
        return await this.#runOnce(entry, checked.args, context, context.gate)
      return answered(await withDeadline(entry.tool, checked.args, context))
    } catch (error) {
      return this.#failure(error)
    }
  }

  /** Runs a tool that has an effect, unless the tool has already run with this idempotency key. */
  async #runOnce(
    { tool, waits }: Entry,
    args: Readonly<Record<string, unknown>>,
    context: ToolContext,
    gate: ToolGate,
  ): Promise<ToolOutcome> {
    const { idempotencyKey: key } = context
    const answer = await gate.intend(key, tool.name)
    switch (answer.type) {
      case 'done':
        return answer.outcome
      case 'uncertain':
      case 'not-owner':
      case 'store-down':
        this.counters.refused += 1
        return NOT_RUN[answer.type]
      case 'run':
        break
      default:
        return assertNever(answer)
    }
    const started = !context.signal.aborted
    let open = false
    const { continueUrl } = answer
    const outcome = await withDeadline(tool, args, { ...context, continueUrl }).then(answered, (thrown: unknown) => {
      open = started && leavesOpen(thrown)
      const failed = this.#failure(thrown)
      // The API may have only started the work; the outcome then arrives later.
      return waits && open && failed.code === 'TOOL_TIMEOUT'
        ? { ...failed, pending: new PendingAnswer('', null) }
        : failed
    })
    if (!open && outcome.pending === undefined) gate.settle(key, outcome)
    return outcome
  }

  /**
   * Returns the request that `run` would send to an API; null if the tool does not send a request.
   * @throws GatewayError TOOL_ARGUMENTS, TOOL_UNBOUND, TOOL_UNVERIFIED, CONFIG_INVALID
   */
  request(name: string, args: Readonly<Record<string, unknown>>, context: ToolContext): HttpRequest | null {
    const entry = this.#entries.get(name)
    if (entry === undefined || !(entry.tool instanceof HttpTool)) return null
    if (entry.verifiedOnly && context.caller.verified === null)
      throw new GatewayError('TOOL_UNVERIFIED', 'the caller is not verified')
    const checked = entry.check(bound(entry, args, context), context.wallMs ?? Date.now())
    if (!checked.ok) throw new GatewayError('TOOL_ARGUMENTS', checked.why)
    return entry.tool.request(checked.args, context)
  }

  #refuse(code: ErrorCode, what: string, why: string): ToolOutcome {
    this.counters.refused += 1
    return { ok: false, code, error: what, value: { error: `${what}: ${why}` } }
  }

  /**
   * Refuses the tool call before a request is sent, so that an unverified caller does not get information about an
   * account.
   */
  #unverified(): ToolOutcome {
    this.counters.refused += 1
    const error = `The caller is not verified. Ask one of these questions and pass the answer to ${VERIFY_TOOL}, then try again.`
    return {
      ok: false,
      code: 'TOOL_UNVERIFIED',
      error: 'the caller is not verified',
      value: { error, questions: this.#questions },
    }
  }

  #failure(error: unknown): ToolOutcome {
    if (error instanceof VerificationRefused) {
      this.counters.refused += 1
      return { ok: false, code: error.code, error: error.message, value: error.answer }
    }
    if (!(error instanceof GatewayError)) {
      this.counters.failed += 1
      return {
        ok: false,
        code: 'CALL_FAULT',
        error: `the tool failed: ${error instanceof Error ? error.name : typeof error}`,
        value: { error: 'the tool failed' },
      }
    }
    const { code } = error
    if (code === 'TOOL_CANCELLED') this.counters.cancelled += 1
    else if (code === 'TOOL_TIMEOUT') this.counters.timedOut += 1
    else if (REFUSALS.includes(code)) this.counters.refused += 1
    else this.counters.failed += 1
    return { ok: false, code, error: error.message, value: answerFor(error) }
  }
}

interface Entry {
  readonly tool: Tool
  readonly verifiedOnly: boolean
  readonly check: (args: Readonly<Record<string, unknown>>, wallMs: number) => CheckedArguments
  readonly bind: readonly (readonly [name: string, template: Template])[]
  /** Names of bound arguments that must have a value. For all other arguments, the HTTP tool itself decides. */
  readonly needs: readonly string[]
  /** True if the tool may run only once for an idempotency key. `ToolContext.gate` is then asked before the run. */
  readonly once: boolean
  /** True if the result may arrive later. */
  readonly waits: boolean
}

/** Checks that the gateway makes before a tool runs. */
interface Restrictions {
  readonly parameters: ToolParameters
  readonly bind: Readonly<Record<string, string>>
  readonly requires?: 'verified' | undefined
  readonly waits?: object | undefined
}

/**
 * Returns the arguments, with the gateway's values for bound arguments. If the model sent values for bound arguments,
 * they are dropped.
 * @throws GatewayError TOOL_UNBOUND if a value that the tool needs is missing
 */
function bound(entry: Entry, args: Readonly<Record<string, unknown>>, context: ToolContext): Record<string, unknown> {
  const given: Record<string, unknown> = { ...args }
  const values = {
    args: {},
    env: {},
    call: callFacts(context),
    identity: context.caller.verified,
    business: context.business,
    variables: context.variables,
  }
  for (const [name, template] of entry.bind) {
    given[name] = fillTemplate(template, values)
    if (given[name] === undefined && entry.needs.includes(name)) {
      throw (
        unbound(missingSources(template, values), values) ??
        new GatewayError('TOOL_UNBOUND', `${name} is bound to a field without a value`)
      )
    }
  }
  return given
}

function answered(value: unknown): ToolOutcome {
  return value instanceof PendingAnswer ? { ok: true, value: null, pending: value } : { ok: true, value }
}

/** True if the tool may have had its effect. */
function leavesOpen(thrown: unknown): boolean {
  if (!(thrown instanceof GatewayError) || thrown instanceof ToolStatusError || thrown instanceof McpToolError)
    return false
  return OPEN_ENDS.includes(thrown.code) || (thrown.code === 'TOOL_HTTP' && thrown.retryable)
}

/** Ends the run at the deadline or at the end of the call, even if the tool ignores its abort signal. */
async function withDeadline(
  tool: Tool,
  args: Readonly<Record<string, unknown>>,
  context: ToolContext,
): Promise<unknown> {
  const own = new AbortController()
  const cancel = (): void => {
    own.abort(new GatewayError('TOOL_CANCELLED', 'cancelled: the call went on without it'))
  }
  const timer = setTimeout(() => {
    own.abort(new GatewayError('TOOL_TIMEOUT', `no answer in ${tool.timeoutMs} ms`, { retryable: true }))
  }, tool.timeoutMs)
  context.signal.addEventListener('abort', cancel, { once: true })
  if (context.signal.aborted) cancel()
  try {
    own.signal.throwIfAborted()
    const aborted = new Promise<never>((_, reject) => {
      own.signal.addEventListener(
        'abort',
        () => {
          reject(own.signal.reason as Error)
        },
        { once: true },
      ) // the value can only be a reason that was passed above
    })
    const run = tool.run(args, { ...context, signal: own.signal })
    return await Promise.race([run, aborted])
  } finally {
    clearTimeout(timer)
    context.signal.removeEventListener('abort', cancel)
  }
}

/** Returns the error in words for the model, so that the model can inform the caller correctly. */
function answerFor(error: GatewayError): Record<string, unknown> {
  if (error instanceof ToolStatusError) {
    return {
      error: 'the system answered with an error',
      status: error.status,
      ...(error.detail === null ? {} : { detail: error.detail }),
    }
  }
  if (error instanceof McpToolError) return { error: 'the system answered with an error', detail: error.detail }
  switch (error.code) {
    case 'TOOL_TIMEOUT':
      return { error: 'the system did not answer in time' }
    case 'TOOL_CANCELLED':
      return { error: 'cancelled' }
    case 'TOOL_ARGUMENTS':
    case 'TOOL_UNBOUND':
      return { error: messageOf(error) }
    case 'TOOL_RESPONSE':
      return { error: 'the system gave an answer that cannot be used' }
    default:
      return { error: 'the system cannot be reached' }
  }
}

/** Creates a tool from a code tool. Its result has the limits of an API's answer. */
function codeTool(name: string, timeoutMs: number, run: FoundCodeTool['run']): Tool {
  return {
    name,
    timeoutMs,
    run: async (args, { caller, callSid, from, to, agent, language, idempotencyKey, signal }) => {
      const identity = caller.verified
      const value = await run(args, { callSid, from, to, agent, language, identity, idempotencyKey, signal })
      const text = typeof value === 'function' || typeof value === 'symbol' ? null : jsonText(value ?? null)
      if (text === null || text.length > TOOL_RESULT_CHARS_MAX) {
        throw new GatewayError(
          'TOOL_RESPONSE',
          `${name} returned no JSON, or more than ${TOOL_RESULT_CHARS_MAX} characters`,
        )
      }
      return exactJson(text)
    },
  }
}

/** Deadline of the gateway's own tools, in milliseconds. Their run time is much shorter. */
const SEARCH_MS = 2000

function searchTool(assets: AgentAssets): Tool {
  // Indexing begins when the agent is loaded. The first search waits until the index is complete.
  const indexed = KnowledgeIndex.of(passagesOf(assets))
  indexed.catch(() => undefined) // each search reports the error itself
  return {
    name: SEARCH_TOOL,
    timeoutMs: SEARCH_MS,
    run: async (args, { language }) => {
      const passages = (await indexed).search(String(args['query']), language)
      return passages.length > 0
        ? { found: true, passages }
        : {
            ...{ found: false, passages, status: 'no_results', retryable: false },
            hint: 'Nothing is written about that. Say so; do not guess.',
          }
    },
  }
}

const NOTE_FIX: Tool = {
  name: NOTE_FIX_TOOL,
  timeoutMs: SEARCH_MS,
  run: (args) => Promise.resolve({ noted: true, helped: args['helped'] === true }),
}

const RUNNERS_MAX = 64

/**
 * Runners of one thread, one for each agent. Definitions are compared by value, because each call has its own copy of
 * its agent's definition.
 */
export class ToolRunners {
  readonly #env: Environment
  readonly #client: HttpClient
  readonly #runners = new Map<string, { readonly name: string; readonly runner: Promise<ToolRunner> }>()

  /** @param client  client of the runners; its owner closes it */
  constructor(env: Environment, client: HttpClient) {
    this.#env = env
    this.#client = client
  }

  of(agent: AgentDefinition, assets: AgentAssets): Promise<ToolRunner> {
    const key = `${agent.name} ${assets.version} ${JSON.stringify([agent.tools, agent.mcp, agent.verification])}`
    const known = this.#runners.get(key)
    const runner = known?.runner ?? ToolRunner.open(agent, assets, this.#env, this.#client)
    // The runner that was not used for the longest time is dropped first. Its connections end some time after its last
    // call.
    this.#runners.delete(key)
    this.#runners.set(key, { name: agent.name, runner })
    forgetOldest(this.#runners, RUNNERS_MAX)
    // A runner that failed to load is removed, so that the next call tries again.
    if (known === undefined) runner.catch(() => this.#runners.delete(key))
    return runner
  }

  /**
   * Called if the files of these agents were edited or removed. A connection that only earlier calls need ends together
   * with these calls.
   */
  edited(names: readonly string[]): void {
    for (const { name, runner } of this.#runners.values())
      if (names.includes(name))
        runner.then(
          (opened) => opened.retire(),
          () => undefined,
        )
  }

  /** Closes the connections to MCP servers, and ends local servers. */
  async close(): Promise<void> {
    for (const opened of await Promise.allSettled([...this.#runners.values()].map(({ runner }) => runner)))
      if (opened.status === 'fulfilled') await opened.value.close()
  }
}

import { AsyncResource } from 'node:async_hooks'
import { setImmediate } from 'node:timers/promises'
import type { Client, StreamableHTTPClientTransport, Transport } from '@modelcontextprotocol/client'
import { GatewayError, messageOf } from '../../core/errors.js'
import { jsonText } from '../../core/json.js'
import { TOOL_RESULT_CHARS_MAX, TOOL_TEXT_CHARS_MAX } from '../../core/limits.js'
import { StreamBudget } from '../../core/stream-budget.js'
import { policyFor } from '../../http/address-guard.js'
import { networkReason } from '../../http/http-client.js'
import type { HttpClient } from '../../http/http-client.js'
import { foreignParametersSchema } from './json-schema.js'
import type { ToolParameters } from './json-schema.js'
import { mcpToolName, type McpEvent } from './mcp-definition.js'
import { readToolList } from './mcp-list.js'
import type { ListedTool, ToolList } from './mcp-list.js'
import type { McpServerDefinition, McpToolDefinition } from './mcp-definition.js'
import { fillTemplate, parseTemplate } from '../file/template.js'
import type { Environment } from '../file/template.js'
import type { Tool, ToolContext } from './tool.js'

/** Time limit for one connection and one handshake, in milliseconds. */
const CONNECT_MS = 5000
/**
 * Maximum time in milliseconds that the first call waits for the list of tools. If the list arrives later, its tools
 * are added to the running session.
 */
const MCP_FIRST_LIST_MS = 1500
/**
 * Maximum wait for a server's answer about its versions, in milliseconds. If a local server does not answer in this
 * time, it counts as an older server.
 */
const VERSIONS_MS = 2500
/**
 * Time after which the list is requested again, in milliseconds. This shows that the server still answers, and finds
 * changes that the server did not announce.
 */
const REFRESH_MS = 60_000
/** Minimum and maximum of this time if the server itself sets the time (`ttlMs`), in milliseconds. */
const REFRESH_MS_MIN = 5000
const REFRESH_MS_MAX = 5 * 60_000
/**
 * Minimum and maximum pause between attempts to connect, in milliseconds. The pause doubles after each attempt. It has
 * a random part, so that workers do not connect all at once.
 */
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000
/** Time without a call after which the connection is closed, in milliseconds. A local server is also ended. */
const IDLE_MS = 10 * 60_000
/** Maximum time in milliseconds from the preparation of servers for a call to the start of the call. */
const BEGINS_WITHIN_MS = 10_000
/** Maximum size of a message from a server, in bytes. */
const MESSAGE_BYTES_MAX = 1024 * 1024
/**
 * Maximum number of characters in the names, descriptions and schemas of a server's tools, as a model gets them. Forty
 * tools of the largest servers have 60,000 characters.
 */
const OFFERED_CHARS_MAX = 64 * 1024
/**
 * Limits of one connection. They allow a whole list of tools at once; results of tools are small. If a server could
 * send more, it could use all the worker's time.
 */
const SERVER_RATES = {
  bytesPerS: MESSAGE_BYTES_MAX,
  bytesAtOnce: 16 * MESSAGE_BYTES_MAX,
  messagesPerS: 100,
  messagesAtOnce: 500,
}

/**
 * One server of one agent, with its connection, its tools and its deadlines. It belongs to the agent's `ToolRunner`.
 * Each media worker has its own object for the server, and all calls of the agent on this worker share the object. So
 * the main thread does not handle JSON and child processes of servers. If a worker dies, only its own connections are
 * lost.
 *
 *     idle --a call--> connecting --list--> up --list_changed, REFRESH_MS or the list's ttlMs--> up, with the new list
 *     connecting, up --failure, closed--> down, without tools --RETRY_MS_MIN, doubled up to RETRY_MS_MAX--> connecting
 *     up --a request is answered with 404: the session is lost--> up, with a new session, in which the request is sent again
 *     up, down --IDLE_MS without a call; no call, once the agent's file was edited--> idle
 *     connecting, up --the server sent more than SERVER_RATES allow--> out, until the worker ends or the agent's file changes
 */
export class McpServer {
  readonly name: string
  readonly #definition: McpServerDefinition
  readonly #env: Environment
  readonly #http: HttpClient
  readonly #listeners = new Set<(news: McpStatus, first: boolean) => void>()
  /** Asynchronous scope (AsyncResource) for work that does not belong to a call. */
  #scope: AsyncResource | null = null
  #tools: ReadonlyMap<string, McpTool> = new Map()
  /**
   * Result of reading each tool; `tool` is null if the tool cannot be used. The result is valid until the server's
   * description of the tool changes.
   */
  readonly #read = new Map<string, { readonly described: string; readonly tool: McpTool | null }>()
  #missing: readonly string[] = []
  /** Reason why the newest list is incomplete; '' if it is complete. */
  #gap = ''
  #state: 'idle' | 'connecting' | 'up' | 'down' | 'out' = 'idle'
  #client: Client | null = null
  /** True if the server supports only versions with sessions. The next connection then offers only these versions. */
  #isOlder = false
  #firstList: Promise<void> = Promise.resolve()
  /** Promise of the session that replaces a lost session; null if no session is being replaced. */
  #renewal: Promise<Client | null> | null = null
  #timer: NodeJS.Timeout | null = null
  #retryMs = RETRY_MS_MIN
  #failures = 0
  #usedAtMs = -Infinity
  /** Time at which the server was last prepared for a call that had not started yet. */
  #askedAtMs = -Infinity
  /** True if the agent's file was edited after the server was last prepared for a call. */
  #retired = false
  #reason = ''
  /** Newest news of each event that came while no call listened. The next call reports them. */
  readonly #untold = new Map<McpEvent, McpStatus>()

  constructor(definition: McpServerDefinition, env: Environment, http: HttpClient) {
    this.name = definition.name
    this.#definition = definition
    this.#env = env
    this.#http = http
  }

  /** Tools that can be called now, by the names that models use. */
  get tools(): ReadonlyMap<string, McpTool> {
    return this.#tools
  }

  /** True if the server may offer the tool with this name when it is connected. */
  offers(name: string): boolean {
    return this.#definition.tools.some((tool) => mcpToolName(this.name, tool.name) === name)
  }

  /** Current fault of the server; null if there is no fault. */
  get fault(): string | null {
    if (this.#state !== 'up') return this.#reason === '' ? 'is not connected' : this.#reason
    if (this.#missing.length === 0) return null
    return `has no usable ${this.#missing.join(', ')}${this.#gap === '' ? '' : `: ${this.#gap}`}`
  }

  /**
   * Prepares the server for a call. Resolves when the server's list has arrived or cannot be fetched now, but at the
   * latest after `waitMs`.
   */
  async use(waitMs = MCP_FIRST_LIST_MS): Promise<void> {
    this.#usedAtMs = this.#askedAtMs = performance.now()
    this.#retired = false
    this.#scope ??= new AsyncResource('mcp-server')
    if (this.#state === 'idle') this.#firstList = this.#connect()
    if (this.#state !== 'connecting') return
    let timer: NodeJS.Timeout | undefined
    const waited = new Promise<void>((resolve) => (timer = setTimeout(resolve, waitMs)))
    await Promise.race([this.#firstList, waited])
    clearTimeout(timer)
  }

  /**
   * Calls `listener` when the tools change. `first` is true for exactly one listener; this listener must report the
   * change.
   * @returns function that removes the listener
   */
  watch(listener: (news: McpStatus, first: boolean) => void): () => void {
    this.#listeners.add(listener)
    this.#askedAtMs = -Infinity
    const untold = [...this.#untold.values()]
    this.#untold.clear()
    if (untold.length > 0) queueMicrotask(() => untold.forEach((news) => listener(news, true)))
    return () => {
      this.#usedAtMs = performance.now()
      this.#listeners.delete(listener)
      this.#closeUnused()
    }
  }

  /**
   * Called if the agent's file was edited. The connection closes when the last call that began before the edit ends. A
   * new call opens a connection again.
   */
  retire(): void {
    this.#retired = true
    this.#closeUnused()
  }

  #closeUnused(): void {
    if (this.#retired && this.#isUnused && (this.#state === 'up' || this.#state === 'down')) void this.close()
  }

  get #isUnused(): boolean {
    if (this.#listeners.size > 0) return false
    const nowMs = performance.now()
    return this.#retired ? nowMs - this.#askedAtMs > BEGINS_WITHIN_MS : nowMs - this.#usedAtMs > IDLE_MS
  }

  /** Closes the connection. The next call opens a connection again. */
  async close(): Promise<void> {
    const client = this.#client
    this.#client = null
    this.#state = 'idle'
    this.#tools = new Map()
    this.#after(null, () => undefined)
    await client?.close().catch(() => undefined) // the connection may already be broken
  }

  #after(ms: number | null, work: () => void): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = ms === null ? null : (this.#scope?.runInAsyncScope(() => setTimeout(work, ms).unref()) ?? null)
  }

  async #connect(): Promise<void> {
    this.#state = 'connecting'
    this.#after(null, () => undefined)
    let client: Client | null = null
    try {
      client = await this.#opened()
      if (this.#state !== 'connecting') return void (await client.close())
      this.#client = client
      await this.#list(client)
    } catch (thrown) {
      // The reason of a client that is still in use would be 'the connection was closed'.
      if (this.#client === client) this.#client = null
      await client?.close().catch(() => undefined)
      if (this.#state === 'connecting') this.#down(reasonOf(thrown))
    }
  }

  /**
   * Opens a connection and performs the handshake, in the newest version that both client and server support.
   * @throws the error of the client
   */
  async #opened(): Promise<Client> {
    const asked = this.#isOlder
    try {
      const client = await this.#openedAs(this.#isOlder)
      this.#isOlder = client.getProtocolEra() === 'legacy'
      return client
    } catch (thrown) {
      // The next attempt uses all versions again, because a newer server may have replaced the older server.
      this.#isOlder = false
      // Some older local servers end if they receive a message before their handshake.
      const ended = thrown instanceof Error && codeOf(thrown) === 'ERA_NEGOTIATION_FAILED'
      if (asked || !ended || this.#definition.command === undefined || this.#state === 'out') throw thrown
      const client = await this.#openedAs(true)
      this.#isOlder = true
      return client
    }
  }

  async #openedAs(isOlder: boolean): Promise<Client> {
    let client: Client | null = null
    try {
      const sdk = await import('@modelcontextprotocol/client')
      client = new sdk.Client(
        { name: 'mkondo', version: '1' },
        {
          versionNegotiation: { mode: isOlder ? 'legacy' : 'auto', probe: { timeoutMs: VERSIONS_MS } },
          // Questions of a server cannot be answered during a phone call.
          inputRequired: { autoFulfill: false },
          // Results are not checked, because only the model reads them, and the check would run the server's own
          // patterns.
          jsonSchemaValidator: {
            getValidator: () => (data) => ({ valid: true, data: data as never, errorMessage: undefined }),
          },
          listChanged: { tools: { autoRefresh: false, onChanged: () => void this.#refresh() } },
        },
      )
      const mine = client
      mine.onclose = () => this.#lost(mine, 'the connection was closed')
      await mine.connect(
        await this.#transport(sdk.StreamableHTTPClientTransport, () => void mine.close().catch(() => undefined)),
        { timeout: CONNECT_MS },
      )
      return mine
    } catch (thrown) {
      await client?.close().catch(() => undefined)
      throw thrown
    }
  }

  /**
   * Opens a new session to replace a session that the server no longer knows. All failed requests use this one new
   * session.
   * @returns null if the server is down
   */
  #renewed(lost: Client): Promise<Client | null> {
    if (this.#client !== lost) return this.#renewal ?? Promise.resolve(this.#client)
    this.#client = null
    this.#tell('session-lost')
    this.#renewal = this.#opened()
      .then(async (client) => {
        if (this.#state !== 'up') {
          await client.close()
          return null
        }
        this.#client = client
        await this.#list(client)
        return this.#client
      })
      .catch((thrown: unknown) => {
        if (this.#state === 'up') this.#down(reasonOf(thrown))
        return null
      })
      .finally(() => {
        this.#renewal = null
        // The lost session is closed last, because some of its requests may not have been refused yet.
        void lost.close().catch(() => undefined)
      })
    return this.#renewal
  }

  async #transport(Http: typeof StreamableHTTPClientTransport, close: () => void): Promise<Transport> {
    const { url: urlText, command = [], headers, env, allowPrivate } = this.#definition
    const filled = (texts: Readonly<Record<string, string>>): Record<string, string> =>
      Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, this.#filled(text)]))
    if (urlText === undefined) {
      const { LocalTransport } = await import('./mcp-local-transport.js')
      let hasStrayLine = false
      const local = new LocalTransport({
        command,
        env: filled(env),
        messageBytesMax: MESSAGE_BYTES_MAX,
        // Lines that are not messages count too, because each line costs the thread's time.
        onReceived: (bytes, lines) => void arrived(bytes, lines),
        onStrayLine: () => {
          if (!hasStrayLine) this.#tell('stray-line')
          hasStrayLine = true
        },
      })
      const arrived = this.#arrivals(() => {
        local.kill()
        close()
      })
      return local
    }
    const url = new URL(this.#filled(urlText))
    const arrived = this.#arrivals(close)
    const send = this.#http.fetcher(policyFor(url.hostname, allowPrivate), MESSAGE_BYTES_MAX, (bytes) =>
      arrived(bytes, 0),
    )
    const remote = new Http(url, { fetch: send as typeof fetch, requestInit: { headers: filled(headers) } })
    remote.onmessage = () => void arrived(0, 1)
    remote.onerror = () => void arrived(0, 1)
    return remote
  }

  /**
   * Counts the messages of one connection, and closes the connection after too many messages. @returns true if the
   * message may be read
   */
  #arrivals(end: () => void): (bytes: number, messages: number) => boolean {
    const budget = new StreamBudget(SERVER_RATES)
    let over = false
    return (bytes, messages) => {
      if (over || budget.take(bytes, messages, performance.now())) return !over
      over = true
      this.#leaveOut()
      end()
      return false
    }
  }

  /** @throws GatewayError CONFIG_INVALID if a variable is not set */
  #filled(text: string): string {
    const value = fillTemplate(parseTemplate(text), { args: {}, env: this.#env, identity: null, call: NO_CALL })
    if (typeof value === 'string' && value !== '') return value
    throw new GatewayError('CONFIG_INVALID', 'an environment variable of the server is not set')
  }

  async #list(client: Client): Promise<void> {
    const names = new Set(this.#definition.tools.map(({ name }) => name))
    const isFinal = (thrown: unknown): boolean => this.#client !== client || isSessionLost(thrown, client)
    const list = await readToolList(client, names, isFinal)
    if (this.#client !== client) return
    const tools = new Map<string, McpTool>()
    const missing: string[] = []
    let chars = 0
    for (const definition of this.#definition.tools) {
      const found = list.tools.get(definition.name)
      // A tool of a page that failed this time may still be there.
      const kept = list.fault === null ? null : (this.#tools.get(mcpToolName(this.name, definition.name)) ?? null)
      const tool = found === undefined ? kept : this.#usable(definition, found)
      chars += tool === null ? 0 : describe([tool]).length
      if (tool === null || chars > OFFERED_CHARS_MAX) missing.push(definition.name)
      else tools.set(tool.tool.name, tool)
      // Reading one schema may take tenths of a second. A pause after each schema lets the calls of this worker run.
      await setImmediate()
      if (this.#client !== client) return
    }
    const wasUp = this.#state === 'up'
    const before = wasUp ? describe(this.#tools.values()) : ''
    const missedBefore = wasUp ? this.#missing.join() : ''
    this.#state = 'up'
    this.#retryMs = RETRY_MS_MIN
    this.#reason = ''
    this.#tools = tools
    this.#missing = missing
    this.#gap = list.fault === null ? '' : gapOf(list.fault)
    this.#after(listedForMs(list.ttlMs), () => void this.#refresh())
    if (describe(tools.values()) !== before) this.#tell(wasUp ? 'changed' : 'up')
    if (missing.length > 0 && missing.join() !== missedBefore) this.#tell('incomplete')
  }

  /** Returns a server's tool in the form for models; null if the tool cannot be used. */
  #usable(definition: McpToolDefinition, found: ListedTool): McpTool | null {
    const texts = [definition.description, found['description'], found['title']]
    const description = texts.find((text) => typeof text === 'string') ?? definition.name
    const inputSchema = found['inputSchema']
    const described = JSON.stringify([description, inputSchema])
    const before = this.#read.get(definition.name)
    if (before?.described === described) return before.tool
    const parameters = foreignParametersSchema.safeParse(inputSchema)
    const bound = Object.keys(definition.bind)
    const isUsable =
      description.length <= TOOL_TEXT_CHARS_MAX &&
      parameters.success &&
      bound.every((one) => one in parameters.data.properties)
    const name = mcpToolName(this.name, definition.name)
    const tool: McpTool | null = isUsable
      ? {
          tool: {
            name,
            timeoutMs: definition.timeoutMs,
            run: (args, context) => this.#call(definition, inputSchema, args, context),
          },
          definition,
          description,
          parameters: parameters.data,
        }
      : null
    this.#read.set(definition.name, { described, tool })
    return tool
  }

  async #refresh(): Promise<void> {
    const client = this.#client
    if (client === null || this.#state !== 'up') return
    if (this.#isUnused) return this.close()
    try {
      await this.#list(client)
    } catch (thrown) {
      if (isSessionLost(thrown, client)) await this.#renewed(client)
      else this.#lost(client, reasonOf(thrown))
    }
  }

  #lost(client: Client, reason: string): void {
    if (this.#client !== client) return
    this.#client = null
    void client.close().catch(() => undefined)
    this.#down(reason)
  }

  #down(reason: string): void {
    const wasUp = this.#state === 'up'
    this.#state = 'down'
    this.#tools = new Map()
    this.#reason = reason
    this.#failures++
    if (wasUp || this.#failures === 1) this.#tell('down')
    const waitMs = this.#retryMs * (0.75 + Math.random() / 2)
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX)
    this.#after(waitMs, () => {
      if (this.#isUnused) void this.close()
      else void this.#connect()
    })
  }

  /** Excludes the server. Another attempt would fail in the same way. */
  #leaveOut(): void {
    const client = this.#client
    this.#client = null
    this.#state = 'out'
    this.#tools = new Map()
    this.#reason = OVERRUN
    this.#failures++
    this.#after(null, () => undefined)
    this.#tell('overrun')
    void client?.close().catch(() => undefined)
  }

  #tell(event: McpStatus['event']): void {
    const news: McpStatus = {
      server: this.name,
      event,
      failures: this.#failures,
      missing: this.#missing,
      reason: this.#state === 'up' ? this.#gap : this.#reason,
    }
    if (event === 'up' || event === 'changed') this.#failures = 0
    const [first] = this.#listeners
    // A call that waits for its first list adds its listener later.
    if (first === undefined) {
      this.#untold.delete(event)
      this.#untold.set(event, news)
    }
    for (const listener of this.#listeners) listener(news, listener === first)
  }

  /** Calls a tool. @throws GatewayError TOOL_HTTP, TOOL_RESPONSE; McpToolError for an error of the tool itself */
  async #call(
    { name, timeoutMs }: McpToolDefinition,
    inputSchema: unknown,
    args: Readonly<Record<string, unknown>>,
    { signal, idempotencyKey, traceparent }: ToolContext,
  ): Promise<unknown> {
    const client = this.#client ?? (await this.#renewal)
    if (client === null) throw new GatewayError('TOOL_HTTP', `the MCP server ${this.name} is not connected`)
    const meta = { 'mkondo/idempotency-key': idempotencyKey, ...(traceparent === undefined ? {} : { traceparent }) }
    const request = { name, arguments: { ...args }, _meta: meta }
    // The client reads from the schema which arguments are also headers.
    const toolDefinition = { name, inputSchema: inputSchema as ListedSchema }
    const options = { signal, timeout: 2 * timeoutMs, toolDefinition }
    let asked = client
    const answered = client.callTool(request, options).catch(async (thrown: unknown) => {
      // If the session was lost, the server has refused the request without reading it. So the request is sent once
      // more.
      const renewed = isSessionLost(thrown, client) ? await this.#renewed(client) : null
      if (renewed === null) throw thrown
      signal.throwIfAborted()
      asked = renewed
      return renewed.callTool(request, options)
    })
    const answer = await answered.catch((thrown: unknown) => {
      signal.throwIfAborted()
      const code = thrown instanceof Error ? codeOf(thrown) : undefined
      // A numeric code is an answer of the server. If there is another code, the tool may have run.
      if (typeof code === 'number') throw new McpToolError(this.name, messageOf(thrown))
      if (code === 'UNSUPPORTED_RESULT_TYPE')
        throw new McpToolError(this.name, 'it wants an answer of a person first, which cannot be given here')
      if (code === 'INVALID_RESULT')
        throw new GatewayError('TOOL_RESPONSE', `${this.name} gave an answer that is no result of a tool`)
      this.#lost(asked, reasonOf(thrown))
      throw new GatewayError('TOOL_HTTP', `the MCP server ${this.name} failed`, { retryable: true, cause: thrown })
    })
    const texts = answer.content.map((part) => (part.type === 'text' ? part.text : `(${part.type}, not shown)`))
    if (answer.isError === true) throw new McpToolError(this.name, texts.join(' '))
    const [text = ''] = texts
    const value = answer.structuredContent ?? (texts.length <= 1 ? text : texts)
    if ((jsonText(value) ?? '').length > TOOL_RESULT_CHARS_MAX)
      throw new GatewayError(
        'TOOL_RESPONSE',
        `${this.name} answered with more than ${TOOL_RESULT_CHARS_MAX} characters`,
      )
    return value
  }
}

const OVERRUN = `it sent more than ${SERVER_RATES.messagesPerS} messages or ${SERVER_RATES.bytesPerS} bytes a second, and is left out`

type ListedSchema = Awaited<ReturnType<Client['listTools']>>['tools'][number]['inputSchema']

function gapOf({ page, thrown }: NonNullable<ToolList['fault']>): string {
  const reason = thrown === null ? 'was not requested, because the list is too long' : `failed: ${reasonOf(thrown)}`
  return `page ${page} of its list ${reason}`
}

/** The facts of a call are empty, because one connection serves all calls. */
const NO_CALL = { from: '', to: '', sid: '', agent: '', language: '' }

/** A tool of a connected server. */
export interface McpTool {
  readonly tool: Tool
  readonly definition: McpToolDefinition
  readonly description: string
  /** Schema of all arguments, including bound arguments. */
  readonly parameters: ToolParameters
}

/** Status of a server, for the log and the metrics. */
export interface McpStatus {
  readonly server: string
  /**
   * `session-lost`: the server no longer has the session, so a new session is opened and the tools stay. `overrun`: the
   * server has sent too much and is excluded from now on. `stray-line`: a local server has printed a line that is not a
   * message of the protocol; this is reported once for each connection. `incomplete`: the server is up, and tools in
   * `missing` are not offered.
   */
  readonly event: McpEvent
  /** Number of failed attempts to connect since the last report. */
  readonly failures: number
  /** Tools in the agent's list that the server does not have, or that cannot be used. */
  readonly missing: readonly string[]
  /** Reason why the server is down, or why its list is incomplete, without address and secrets; empty otherwise. */
  readonly reason: string
}

/** Error of a tool that has run or has refused to run. The message is for the model. */
export class McpToolError extends GatewayError {
  readonly detail: string

  constructor(server: string, detail: string) {
    super('TOOL_HTTP', `a tool of the MCP server ${server} reported an error`)
    this.detail = detail.slice(0, TOOL_TEXT_CHARS_MAX)
  }
}

/**
 * Returns the time for which a list is valid, in milliseconds.
 * @param ttlMs  the server's own value; it is ignored if it is absent or 0
 */
export function listedForMs(ttlMs: unknown): number {
  if (typeof ttlMs !== 'number' || !(ttlMs > 0)) return REFRESH_MS
  return Math.min(REFRESH_MS_MAX, Math.max(REFRESH_MS_MIN, ttlMs))
}

function codeOf(thrown: Error): unknown {
  return 'code' in thrown ? thrown.code : undefined
}

/**
 * True if the request was answered with 404. The session is unknown to the server, so the request was not run (MCP,
 * Streamable HTTP, "Session Management").
 */
function isSessionLost(thrown: unknown, { transport }: Client): boolean {
  return transport?.sessionId !== undefined && thrown instanceof Error && 'status' in thrown && thrown.status === 404
}

/** Returns the reason. Addresses, paths and bodies are left out, because they may contain secrets. */
function reasonOf(thrown: unknown): string {
  if (thrown instanceof GatewayError) return thrown.message
  for (let cause: unknown = thrown; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof GatewayError) return cause.message
    const code = codeOf(cause)
    // The `cause` is read, because only the error's `cause` contains the reason.
    if (code === 'ERA_NEGOTIATION_FAILED' && cause.cause !== undefined) continue
    if (code === 'ERA_NEGOTIATION_FAILED' && !('status' in cause))
      return 'it does not support a version of MCP that the gateway supports'
    if (typeof code === 'string' && code !== 'ERA_NEGOTIATION_FAILED' && /^[A-Z][A-Z0-9_]+$/.test(code))
      return networkReason(cause)
    if (typeof code === 'number') return `it answered with the error ${code}`
    if ('status' in cause && typeof cause.status === 'number') return `it answered with ${cause.status}`
  }
  return thrown instanceof Error ? thrown.name : messageOf(thrown)
}

function describe(tools: Iterable<McpTool>): string {
  return JSON.stringify([...tools].map(({ tool, description, parameters }) => [tool.name, description, parameters]))
}

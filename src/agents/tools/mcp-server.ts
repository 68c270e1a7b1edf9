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
import { mcpToolName } from './mcp-definition.js'
import type { McpServerDefinition, McpToolDefinition } from './mcp-definition.js'
import { fillTemplate, parseTemplate } from '../file/template.js'
import type { Environment } from '../file/template.js'
import type { Tool, ToolContext } from './tool.js'

/** How long one connection, one handshake and one list may take. */
const CONNECT_MS = 5000
/** A first call waits this long for the list; the tools of a later one are put into the session when they come. */
const MCP_FIRST_LIST_MS = 1500
/** How long a server may take to say which versions it speaks; a local one that is silent for so long is taken for an older one. */
const VERSIONS_MS = 2500
/** The list is asked for again: it says that the server is still there, and what has changed without a notice. */
const REFRESH_MS = 60_000
/** The bounds of the time that a server itself names for that (`ttlMs`). */
const REFRESH_MS_MIN = 5000
const REFRESH_MS_MAX = 5 * 60_000
/** Waits between attempts to connect: doubled each time, with a random part so that workers do not come together. */
const RETRY_MS_MIN = 1000
const RETRY_MS_MAX = 60_000
/** Without a call for so long the connection is closed, and a local server with it. */
const IDLE_MS = 10 * 60_000
/** A call that has asked for its servers begins within this, or not at all. */
const BEGINS_WITHIN_MS = 10_000
/** Bytes of one message from a server. */
const MESSAGE_BYTES_MAX = 1024 * 1024
/** Pages of a list. */
const LIST_PAGES_MAX = 8
/** Characters that a model gets of a server's tools: names, descriptions and schemas. Forty tools of the largest servers have 60,000. */
const OFFERED_CHARS_MAX = 64 * 1024
/** Limits for one connection: a whole list comes at once, and answers of tools are small; a server that sends more would occupy the worker. */
const SERVER_RATES = {
  bytesPerS: MESSAGE_BYTES_MAX,
  bytesAtOnce: 2 * LIST_PAGES_MAX * MESSAGE_BYTES_MAX,
  messagesPerS: 100,
  messagesAtOnce: 500,
}

/**
 * One server of one agent, with its connection, its tools and its deadlines. Its owner is the agent's `ToolRunner`: one for each media
 * worker, shared by all calls of the agent there, so that JSON and child processes of servers stay off the main thread, and a
 * worker that dies takes only its own connections with it.
 *
 *     idle --a call--> connecting --list--> up --list_changed, REFRESH_MS or the list's ttlMs--> up, with the new list
 *     connecting, up --failure, closed--> down, without tools --RETRY_MS_MIN, doubled up to RETRY_MS_MAX--> connecting
 *     up --a request is answered with 404: the session is lost--> up, with a new session, in which the request is sent again
 *     up, down --IDLE_MS without a call; no call, once the agent's file was edited--> idle
 *     connecting, up --it sent more than SERVER_RATES allow--> out, for as long as the worker lives and the agent's file stays as it is
 */
export class McpServer {
  readonly name: string
  readonly #definition: McpServerDefinition
  readonly #env: Environment
  readonly #http: HttpClient
  readonly #listeners = new Set<(news: McpStatus, first: boolean) => void>()
  /** Work between calls belongs to no call. */
  #scope: AsyncResource | null = null
  #tools: ReadonlyMap<string, McpTool> = new Map()
  /** Result of reading each tool, usable or not; valid while the server's description stays the same. */
  readonly #read = new Map<string, { readonly described: string; readonly tool: McpTool | null }>()
  #missing: readonly string[] = []
  #state: 'idle' | 'connecting' | 'up' | 'down' | 'out' = 'idle'
  #client: Client | null = null
  /** It speaks the versions with sessions only, so the next connection does not ask it for others. */
  #isOlder = false
  #firstList: Promise<void> = Promise.resolve()
  /** A new session in place of a lost one, while it is being opened. */
  #renewal: Promise<Client | null> | null = null
  #timer: NodeJS.Timeout | null = null
  #retryMs = RETRY_MS_MIN
  #failures = 0
  #usedAtMs = -Infinity
  /** When a call has asked for it that has not begun. */
  #askedAtMs = -Infinity
  /** The agent's file was edited since a call has asked for it. */
  #retired = false
  #reason = ''
  #untold: McpStatus | null = null

  constructor(definition: McpServerDefinition, env: Environment, http: HttpClient) {
    this.name = definition.name
    this.#definition = definition
    this.#env = env
    this.#http = http
  }

  /** The tools that can be called now, by the names that models use. */
  get tools(): ReadonlyMap<string, McpTool> {
    return this.#tools
  }

  /** It may have that tool when it is up. */
  offers(name: string): boolean {
    return this.#definition.tools.some((tool) => mcpToolName(this.name, tool.name) === name)
  }

  /** Its present fault; null: none. */
  get fault(): string | null {
    if (this.#state !== 'up') return this.#reason === '' ? 'is not connected' : this.#reason
    return this.#missing.length === 0 ? null : `has no usable ${this.#missing.join(', ')}`
  }

  /** A call needs it. Resolves when its list is there or cannot be had now, at the latest after `waitMs`. */
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

  /** Calls `listener` when its tools change; `first` for one of all listeners, which reports it. @returns stops it */
  watch(listener: (news: McpStatus, first: boolean) => void): () => void {
    this.#listeners.add(listener)
    this.#askedAtMs = -Infinity
    const untold = this.#untold
    this.#untold = null
    if (untold !== null) queueMicrotask(() => listener(untold, true))
    return () => {
      this.#usedAtMs = performance.now()
      this.#listeners.delete(listener)
      this.#closeUnused()
    }
  }

  /** The agent's file was edited: it is closed with the last call that has begun before. A new call opens it again. */
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

  /** Ends the connection; the next call opens it again. */
  async close(): Promise<void> {
    const client = this.#client
    this.#client = null
    this.#state = 'idle'
    this.#tools = new Map()
    this.#after(null, () => undefined)
    await client?.close().catch(() => undefined) // it may be broken already
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
      await client?.close().catch(() => undefined)
      if (this.#state === 'connecting') this.#down(reasonOf(thrown))
    }
  }

  /**
   * A connection after its handshake, in the newest version that both speak.
   * @throws what the client throws
   */
  async #opened(): Promise<Client> {
    const asked = this.#isOlder
    try {
      const client = await this.#openedAs(this.#isOlder)
      this.#isOlder = client.getProtocolEra() === 'legacy'
      return client
    } catch (thrown) {
      // It may have been replaced by a newer one.
      this.#isOlder = false
      // Some older local servers end when anything comes before their handshake.
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
          listMaxPages: LIST_PAGES_MAX,
          versionNegotiation: { mode: isOlder ? 'legacy' : 'auto', probe: { timeoutMs: VERSIONS_MS } },
          // Nobody answers a server's questions in the middle of a call.
          inputRequired: { autoFulfill: false },
          // Only the model reads what a tool answers. A check of it would run the server's patterns on the server's texts.
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
   * A new session in place of one that the server has forgotten, once for all who have noticed.
   * @returns null where none can be had: the server is down then
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
        // Not before: others are about to learn that their requests were refused too.
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
      const local = new LocalTransport({ command, env: filled(env), messageBytesMax: MESSAGE_BYTES_MAX })
      const arrived = this.#arrivals(() => {
        local.kill()
        close()
      })
      local.onmessage = (message) => void arrived(JSON.stringify(message).length, 1)
      local.onerror = () => void arrived(0, 1)
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
   * Counts what comes over one connection, and ends it where that is too much.
   * @returns whether it may be read
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

  /** @throws GatewayError CONFIG_INVALID where a variable is not set */
  #filled(text: string): string {
    const value = fillTemplate(parseTemplate(text), { args: {}, env: this.#env, identity: null, call: NO_CALL })
    if (typeof value === 'string' && value !== '') return value
    throw new GatewayError('CONFIG_INVALID', 'an environment variable of the server is not set')
  }

  async #list(client: Client): Promise<void> {
    const { tools: listed, ttlMs } = await client.listTools(undefined, { timeout: CONNECT_MS, cacheMode: 'refresh' })
    if (this.#client !== client) return
    const tools = new Map<string, McpTool>()
    const missing: string[] = []
    let chars = 0
    for (const definition of this.#definition.tools) {
      const found = listed.find(({ name }) => name === definition.name)
      const tool = found === undefined ? null : this.#usable(definition, found)
      chars += tool === null ? 0 : describe([tool]).length
      if (tool === null || chars > OFFERED_CHARS_MAX) missing.push(definition.name)
      else tools.set(tool.tool.name, tool)
      // To read a schema may take tenths of a second, and calls wait.
      await setImmediate()
      if (this.#client !== client) return
    }
    const before = this.#state === 'up' ? describe(this.#tools.values()) : ''
    const event = this.#state === 'up' ? 'changed' : 'up'
    this.#state = 'up'
    this.#retryMs = RETRY_MS_MIN
    this.#reason = ''
    this.#tools = tools
    this.#missing = missing
    this.#after(listedForMs(ttlMs), () => void this.#refresh())
    if (describe(tools.values()) !== before) this.#tell(event)
  }

  /** The tool as models get it; null where it cannot be used. */
  #usable(definition: McpToolDefinition, found: ListedTool): McpTool | null {
    const description = definition.description ?? found.description ?? found.title ?? definition.name
    const described = JSON.stringify([description, found.inputSchema])
    const before = this.#read.get(definition.name)
    if (before?.described === described) return before.tool
    const parameters = foreignParametersSchema.safeParse(found.inputSchema)
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
            run: (args, context) => this.#call(definition, args, context),
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

  /** Without another attempt, which would end as this one did. */
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
      reason: this.#reason,
    }
    if (event === 'up' || event === 'changed') this.#failures = 0
    const [first] = this.#listeners
    // The call that waits for its first list has no listener yet, and nobody connects to this server again.
    if (event === 'overrun' && first === undefined) this.#untold = news
    for (const listener of this.#listeners) listener(news, listener === first)
  }

  /** @throws GatewayError TOOL_HTTP, TOOL_RESPONSE; McpToolError for what the tool itself says */
  async #call(
    { name, timeoutMs }: McpToolDefinition,
    args: Readonly<Record<string, unknown>>,
    { signal, idempotencyKey, traceparent }: ToolContext,
  ): Promise<unknown> {
    const client = this.#client ?? (await this.#renewal)
    if (client === null) throw new GatewayError('TOOL_HTTP', `the MCP server ${this.name} is not connected`)
    const meta = { 'mkondo/idempotency-key': idempotencyKey, ...(traceparent === undefined ? {} : { traceparent }) }
    const request = { name, arguments: { ...args }, _meta: meta }
    const options = { signal, timeout: 2 * timeoutMs }
    let asked = client
    const answered = client.callTool(request, options).catch(async (thrown: unknown) => {
      // The server did not look at the request, so it is sent again, once.
      const renewed = isSessionLost(thrown, client) ? await this.#renewed(client) : null
      if (renewed === null) throw thrown
      signal.throwIfAborted()
      asked = renewed
      return renewed.callTool(request, options)
    })
    const answer = await answered.catch((thrown: unknown) => {
      signal.throwIfAborted()
      const code = thrown instanceof Error ? codeOf(thrown) : undefined
      // A number is the server's own answer; anything else leaves open whether the tool ran.
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

type ListedTool = Awaited<ReturnType<Client['listTools']>>['tools'][number]

/** One connection serves all calls. */
const NO_CALL = { from: '', to: '', sid: '', agent: '', language: '' }

/** A tool of a server that is up. */
export interface McpTool {
  readonly tool: Tool
  readonly definition: McpToolDefinition
  readonly description: string
  /** All arguments, with the bound ones. */
  readonly parameters: ToolParameters
}

/** Status of a server, for the log and the metrics. */
export interface McpStatus {
  readonly server: string
  /**
   * `session-lost`: the server has forgotten the session, and a new one is opened; its tools stay. `overrun`: it sent without
   * an end, and is left out for good.
   */
  readonly event: 'up' | 'down' | 'changed' | 'session-lost' | 'overrun'
  /** Attempts to connect that failed since the last news. */
  readonly failures: number
  /** Tools of the agent's list that the server does not have, or not in a form that can be used. */
  readonly missing: readonly string[]
  /** Why it is down, without address and secrets; empty otherwise. */
  readonly reason: string
}

/** The tool ran, or was refused, and says why: words for the model. */
export class McpToolError extends GatewayError {
  readonly detail: string

  constructor(server: string, detail: string) {
    super('TOOL_HTTP', `a tool of the MCP server ${server} reported an error`)
    this.detail = detail.slice(0, TOOL_TEXT_CHARS_MAX)
  }
}

/** How long a list counts. @param ttlMs  what the server says of it; absent or 0: nothing that could be relied on */
export function listedForMs(ttlMs: unknown): number {
  if (typeof ttlMs !== 'number' || !(ttlMs > 0)) return REFRESH_MS
  return Math.min(REFRESH_MS_MAX, Math.max(REFRESH_MS_MIN, ttlMs))
}

function codeOf(thrown: Error): unknown {
  return 'code' in thrown ? thrown.code : undefined
}

/** 404 to a request of a session: the server has no such session, and has done nothing (MCP, Streamable HTTP, "Session Management"). */
function isSessionLost(thrown: unknown, { transport }: Client): boolean {
  return transport?.sessionId !== undefined && thrown instanceof Error && 'status' in thrown && thrown.status === 404
}

/** Without addresses, paths and bodies, which may hold secrets. */
function reasonOf(thrown: unknown): string {
  if (thrown instanceof GatewayError) return thrown.message
  for (let cause: unknown = thrown; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof GatewayError) return cause.message
    const code = codeOf(cause)
    // Only its cause says why.
    if (code === 'ERA_NEGOTIATION_FAILED' && cause.cause !== undefined) continue
    if (code === 'ERA_NEGOTIATION_FAILED' && !('status' in cause))
      return 'it speaks no version of MCP that the gateway speaks'
    if (typeof code === 'string' && code !== 'ERA_NEGOTIATION_FAILED' && /^[A-Z][A-Z0-9_]+$/.test(code))
      return networkReason(cause)
    if ('status' in cause && typeof cause.status === 'number') return `it answered with ${cause.status}`
  }
  return thrown instanceof Error ? thrown.name : messageOf(thrown)
}

function describe(tools: Iterable<McpTool>): string {
  return JSON.stringify([...tools].map(({ tool, description, parameters }) => [tool.name, description, parameters]))
}

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { GatewayError, messageOf } from '../../core/errors.js'
import { jsonText } from '../../core/json.js'
import { TOOL_RESULT_CHARS_MAX } from '../../core/limits.js'
import { policyFor } from '../../http/address-guard.js'
import type { AddressPolicy } from '../../http/address-guard.js'
import { contentOf, reasonIn, tooLarge } from '../../http/answer-content.js'
import type { RawAnswer } from '../../http/answer-content.js'
import { headerOf, networkReason, readAtMost } from '../../http/http-client.js'
import type { HttpClient, HttpRequest } from '../../http/http-client.js'
import type { Environment, Template, TemplateSource, TemplateValues } from '../file/template.js'
import { fillTemplate, missingSources, parseTemplate, unbound, unboundReason, valueOf } from '../file/template.js'
import type { BodyTemplate, ToolDefinition } from './tool-definition.js'
import { jsonDepth } from './tool-definition.js'
import { PendingAnswer, callFacts } from './tool.js'
import type { Tool, ToolContext } from './tool.js'

/** Maximum depth of JSON in an API's answer. */
const TOOL_RESPONSE_DEPTH_MAX = 32
/** Maximum number of redirects of a tool. */
const TOOL_REDIRECTS_MAX = 2
/** Maximum number of attempts of an idempotent tool. */
const TOOL_ATTEMPTS_MAX = 2

/** Pause before the second attempt, in milliseconds. */
const RETRY_AFTER_MS = 100
/** Random addition to this pause, in milliseconds, so that many calls do not retry at one time. */
const RETRY_JITTER_MS = 100
const RETRY_STATUSES: readonly number[] = [429, 502, 503, 504]
const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308]
/** Maximum number of characters of the API's error message that the model receives. */
const DETAIL_CHARS_MAX = 200

const PENDING_BODY = {
  pending: z
    .union([z.string().max(200), z.number()])
    .optional()
    .catch(undefined),
  expiresInS: z.number().positive().optional().catch(undefined),
}

type Query = readonly (readonly [name: string, template: Template])[]

interface Answer extends RawAnswer {
  readonly status: number
  readonly location: string
  readonly retryAfterS: number | null
}

/**
 * Runs an HTTP tool of an agent file. Its templates are parsed once. Environment variables are read in each run and are
 * not stored.
 */
export class HttpTool implements Tool {
  readonly name: string
  readonly timeoutMs: number
  readonly #definition: ToolDefinition
  readonly #client: HttpClient
  readonly #env: Environment
  readonly #url: Template
  /** Templates of bound arguments, by name. */
  readonly #bind: ReadonlyMap<string, Template>
  /**
   * Alternative queries. The first query whose values are all present is sent. If there is only one query, its
   * parameters are optional: a parameter is left out if the model left out its argument.
   */
  readonly #queries: readonly Query[]
  readonly #lenientQuery: boolean
  readonly #headers: readonly (readonly [string, Template])[]

  constructor(definition: ToolDefinition, env: Environment, client: HttpClient) {
    const { http } = definition
    this.name = definition.name
    this.timeoutMs = http.timeoutMs
    this.#definition = definition
    this.#client = client
    this.#env = env
    this.#url = parseTemplate(http.url)
    this.#bind = new Map(Object.entries(definition.bind).map(([name, text]) => [name, parseTemplate(text)] as const))
    const maps = Array.isArray(http.query) ? http.query : http.query === undefined ? [] : [http.query]
    this.#queries = maps.map((map) => Object.entries(map).map(([name, text]) => [name, parseTemplate(text)] as const))
    this.#lenientQuery = !Array.isArray(http.query)
    this.#headers = Object.entries(http.headers).map(
      ([name, text]) => [name.toLowerCase(), parseTemplate(text)] as const,
    )
  }

  /**
   * Returns the request that `run` would send.
   * @throws GatewayError TOOL_ARGUMENTS, CONFIG_INVALID if a value is missing or does not fit
   * @throws GatewayError TOOL_UNBOUND if a value is missing that limits the request to the caller's own data
   */
  request(args: Readonly<Record<string, unknown>>, context: ToolContext): HttpRequest {
    const { http } = this.#definition
    const values: TemplateValues = {
      args,
      env: this.#env,
      identity: context.caller.verified,
      call: callFacts(context),
      business: context.business,
      variables: context.variables,
      continueUrl: context.continueUrl,
      pendingId: context.pendingId,
    }
    const url = this.#address(values)
    return {
      url,
      method: http.method,
      headers: this.#requestHeaders(values, context),
      body: http.body === undefined ? null : jsonText(this.#body(http.body, values) ?? {}),
      policy: policyFor(url.hostname, http.allowPrivate),
      signal: context.signal,
    }
  }

  async run(args: Readonly<Record<string, unknown>>, context: ToolContext): Promise<unknown> {
    const { result, http } = this.#definition
    const { maxResponseBytes } = http
    const request = this.request(args, context)
    const { url } = request
    const response = await this.#sendWithRetry(request)
    if (response.status === 404 && result.notFound !== undefined) return result.notFound
    if (response.status < 200 || response.status > 299) throw await statusError(url.host, response, maxResponseBytes)
    const value = await valueIn(response, maxResponseBytes)
    if (response.status === 202 && this.#definition.waits !== undefined) return pendingOf(value)
    if (result.fields !== undefined && typeof value !== 'object')
      throw new GatewayError('TOOL_RESPONSE', 'the API answered with a text; result.fields needs a JSON object')
    const mapped = fieldsOf(value, result)
    if (JSON.stringify(mapped).length > TOOL_RESULT_CHARS_MAX) {
      throw new GatewayError(
        'TOOL_RESPONSE',
        `the answer of ${url.host} has more than ${TOOL_RESULT_CHARS_MAX} characters, too long for a model; choose ` +
          'parts of it with result.fields',
      )
    }
    return mapped
  }

  #address(values: TemplateValues): URL {
    const [first] = this.#url
    const filled = fillTemplate(this.#url, values, (text, source) => {
      if (source === first) return text.replace(/\/+$/, '') // the value is the operator's base URL, not a part of a path
      return encode(text, source)
    })
    if (filled === undefined) throw this.#missing(this.#url, values)
    const [path = ''] = filled.replace(/^[a-z]+:\/\/[^/?]*/i, '').split('?', 1)
    if (path.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment))) {
      throw new GatewayError('TOOL_ARGUMENTS', 'an argument would change the path of the request')
    }
    const url = parseBase(filled)
    for (const [name, value] of this.#query(values)) url.searchParams.append(name, value)
    return url
  }

  #query(values: TemplateValues): readonly (readonly [string, string])[] {
    if (this.#queries.length === 0) return []
    for (const query of this.#queries) {
      const filled = query.map(
        ([name, template]) =>
          [name, this.#lenientQuery ? this.#fillOptional(template, values) : fillTemplate(template, values)] as const,
      )
      const known = filled.filter((pair): pair is readonly [string, string] => pair[1] !== undefined)
      if (this.#lenientQuery || known.length === filled.length) return known
    }
    throw this.#missing(
      this.#queries.flatMap((query) => query.flatMap(([, template]) => template)),
      values,
    )
  }

  /**
   * Fills a part of the request. The result is undefined if the model left out the argument; the part is then not sent.
   * @throws GatewayError if a required value is missing
   */
  #fillOptional(template: Template, values: TemplateValues): string | undefined {
    const filled = fillTemplate(template, values)
    if (filled === undefined && missingSources(template, values).some((source) => !this.#isOptional(source))) {
      throw this.#missing(template, values)
    }
    return filled
  }

  /**
   * True if the value of a source may be missing. Only arguments of the model may be missing, because a bound value
   * limits the request to the caller's own data.
   */
  #isOptional(source: TemplateSource): boolean {
    return source.scope === 'args' && !this.#bind.has(source.name)
  }

  /**
   * Returns the error for a template that cannot be filled. For a bound argument the error names the missing source.
   */
  #missing(template: Template, values: TemplateValues): GatewayError {
    const absent = missingSources(template, values)
    const variable = absent.find((source) => source.scope === 'env')
    if (variable !== undefined) {
      return new GatewayError('CONFIG_INVALID', `the environment variable ${variable.name} is not set`)
    }
    if (absent.some((source) => source.scope === 'continue'))
      return new GatewayError('CONFIG_INVALID', 'there is no URL to which its outcome could be sent')
    const sources = absent.flatMap((source) => {
      const bound = source.scope === 'args' ? this.#bind.get(source.name) : undefined
      return bound === undefined ? [source] : missingSources(bound, values)
    })
    const asked = [...new Set(sources.filter((source) => source.scope === 'args').map(({ name }) => name))]
    const refusal = asked.length === 0 ? unbound(sources, values) : null
    if (refusal !== null) return refusal
    const why = unboundReason(sources, values)
    return new GatewayError(
      'TOOL_ARGUMENTS',
      `needs ${asked.join(' or ')}, which is unknown${why === null ? '' : `. ${why}`}`,
    )
  }

  #requestHeaders(values: TemplateValues, context: ToolContext): Record<string, string> {
    const { http } = this.#definition
    const { traceparent } = context
    const headers: Record<string, string> = {
      ...{ accept: 'application/json', 'user-agent': 'mkondo' },
      ...(traceparent === undefined ? {} : { traceparent }),
    }
    for (const [name, template] of this.#headers) {
      const value = this.#fillOptional(template, values)
      if (value === undefined) continue
      if (!/^[\x20-\x7e]*$/.test(value)) {
        throw new GatewayError('TOOL_ARGUMENTS', `the value of header ${name} has characters that no header may have`)
      }
      headers[name] = value
    }
    if (http.method !== 'GET') headers['idempotency-key'] = headerSafe(context.idempotencyKey)
    if (http.body !== undefined) headers['content-type'] = 'application/json'
    return headers
  }

  /** Fills the body. If the model left out a value, its member or entry is left out. */
  #body(body: BodyTemplate, values: TemplateValues): unknown {
    if (typeof body === 'string') {
      const template = parseTemplate(body)
      const filled = this.#fillOptional(template, values)
      const [only] = template
      return template.length === 1 && only !== undefined && 'scope' in only ? valueOf(only, values) : filled
    }
    if (Array.isArray(body)) {
      return body.map((entry: BodyTemplate) => this.#body(entry, values)).filter((entry) => entry !== undefined)
    }
    if (typeof body === 'object' && body !== null) {
      const members = Object.entries(body).map(([key, entry]) => [key, this.#body(entry, values)] as const)
      return Object.fromEntries(members.filter(([, entry]) => entry !== undefined))
    }
    return body
  }

  async #sendWithRetry(request: HttpRequest): Promise<Answer> {
    const { http, idempotent } = this.#definition
    const attempts = (idempotent ?? http.method === 'GET') ? TOOL_ATTEMPTS_MAX : 1
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= attempts
      let waitMs = RETRY_AFTER_MS + Math.random() * RETRY_JITTER_MS
      try {
        const response = await this.#follow(request)
        if (last || !RETRY_STATUSES.includes(response.status)) return response
        if (response.retryAfterS !== null) waitMs = response.retryAfterS * 1000
        if (waitMs >= this.timeoutMs) return response
      } catch (error) {
        if (last || !(error instanceof GatewayError) || !error.retryable || request.signal.aborted) throw error
      }
      await sleep(waitMs, undefined, { signal: request.signal }).catch(() => {
        throw request.signal.reason
      })
    }
  }

  /**
   * @throws GatewayError TOOL_HTTP (network, retryable), TOOL_FORBIDDEN_HOST, TOOL_RESPONSE
   * @throws the signal's reason if the signal is aborted
   */
  async #send(request: HttpRequest): Promise<Answer> {
    const { maxResponseBytes } = this.#definition.http
    try {
      const response = await this.#client.send(request)
      const body = await readAtMost(response, maxResponseBytes)
      if (body === null) throw tooLarge(maxResponseBytes)
      const retryAfter = headerOf(response, 'retry-after') ?? ''
      return {
        status: response.statusCode,
        contentType: headerOf(response, 'content-type') ?? '',
        contentEncoding: headerOf(response, 'content-encoding') ?? '',
        location: headerOf(response, 'location') ?? '',
        retryAfterS: /^\d{1,6}$/.test(retryAfter) ? Number(retryAfter) : null,
        body,
      }
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason
      if (error instanceof GatewayError) throw error
      // The message names only the host, because path and query contain the caller's words.
      throw new GatewayError('TOOL_HTTP', `${request.url.host} could not be reached: ${networkReason(error)}`, {
        retryable: true,
        cause: error,
      })
    }
  }

  /**
   * Follows redirects of a GET request to the tool's own host or a host of `allowHosts`. The gateway never connects to
   * another host.
   */
  async #follow(request: HttpRequest): Promise<Answer> {
    const { allowHosts } = this.#definition.http
    let current = request
    for (let hop = 0; ; hop++) {
      const response = await this.#send(current)
      if (!REDIRECT_STATUSES.includes(response.status)) return response
      if (current.method !== 'GET') {
        throw new GatewayError(
          'TOOL_HTTP',
          `${current.url.host} redirects a ${current.method} (status ${response.status}); redirects are followed for ` +
            'GET only',
        )
      }
      if (hop >= TOOL_REDIRECTS_MAX) {
        throw new GatewayError('TOOL_HTTP', `${request.url.host} redirects more than ${TOOL_REDIRECTS_MAX} times`)
      }
      const { location } = response
      if (location === '' || !URL.canParse(location, current.url.href)) {
        throw new GatewayError('TOOL_HTTP', `${current.url.host} redirects without a usable Location`)
      }
      const url = new URL(location, current.url)
      const sameHost = url.host === request.url.host
      const downgraded = request.url.protocol === 'https:' && url.protocol !== 'https:'
      if (!isPlainHttp(url) || downgraded || !(sameHost || allowHosts.includes(url.host))) {
        throw new GatewayError(
          'TOOL_FORBIDDEN_HOST',
          `${current.url.host} redirects to ${url.protocol}//${url.host}, which is not in allowHosts`,
        )
      }
      const policy: AddressPolicy = sameHost ? request.policy : policyFor(url.hostname, false)
      // The headers may contain API keys, so they are sent only to the first host.
      const headers = sameHost ? request.headers : { accept: 'application/json', 'user-agent': 'mkondo' }
      current = { ...current, url, policy, headers }
    }
  }
}

function isPlainHttp(url: URL): boolean {
  return /^https?:$/.test(url.protocol) && url.username === '' && url.password === ''
}

function parseBase(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !isPlainHttp(url) || url.hash !== '') {
    throw new GatewayError(
      'CONFIG_INVALID',
      'the address of the tool is not an http(s) URL without user name and fragment',
    )
  }
  return url
}

/**
 * Encodes one path segment or query value.
 * @throws GatewayError TOOL_ARGUMENTS for lone surrogates, which cannot be encoded
 */
function encode(text: string, source: TemplateSource): string {
  try {
    return encodeURIComponent(text)
  } catch (error) {
    throw new GatewayError('TOOL_ARGUMENTS', `${source.name} is not well-formed text`, { cause: error })
  }
}

/**
 * Returns a key that can be used in a header: the key itself, or its hash if it has characters that headers do not
 * allow.
 */
function headerSafe(key: string): string {
  return /^[\x21-\x7e]{1,200}$/.test(key) ? key : createHash('sha256').update(key).digest('hex')
}

/** @throws GatewayError TOOL_RESPONSE */
async function valueIn(response: Answer, bytesMax: number): Promise<unknown> {
  const value = await contentOf(response, bytesMax)
  if (jsonDepth(value) > TOOL_RESPONSE_DEPTH_MAX) {
    throw new GatewayError('TOOL_RESPONSE', `the API's JSON is nested deeper than ${TOOL_RESPONSE_DEPTH_MAX} levels`)
  }
  return value ?? { status: response.status }
}

/** Returns the parts of a result that the model receives. */
export function fieldsOf(value: unknown, { fields }: ToolDefinition['result']): unknown {
  return fields === undefined ? value : pick(value, fields)
}

/** Reads `{ "pending": id, "expiresInS": 90 }`; both members are optional. */
function pendingOf(value: unknown): PendingAnswer {
  const { pending, expiresInS } = z.looseObject(PENDING_BODY).catch({}).parse(value)
  return new PendingAnswer(String(pending ?? ''), expiresInS === undefined ? null : expiresInS * 1000)
}

function pick(value: unknown, fields: Readonly<Record<string, string>>): Record<string, unknown> {
  const picked: Record<string, unknown> = {}
  for (const [name, path] of Object.entries(fields)) {
    const found = path.split('.').reduce(memberOf, value)
    if (found !== undefined) picked[name] = found
  }
  return picked
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Readonly<Record<string, unknown>>)[name] // an object that itself has this member
}

/**
 * An HTTP error of an API. The runner makes a result from this error, so that the model receives `status` and the API's
 * message.
 */
export class ToolStatusError extends GatewayError {
  readonly status: number
  readonly detail: string | null

  constructor(message: string, status: number, detail: string | null) {
    super('TOOL_HTTP', message, { retryable: RETRY_STATUSES.includes(status) })
    this.status = status
    this.detail = detail
  }
}

async function statusError(host: string, response: Answer, bytesMax: number): Promise<ToolStatusError> {
  const { status } = response
  const said = `${host} answered with status ${status}`
  try {
    const detail = reasonIn(await contentOf(response, bytesMax), DETAIL_CHARS_MAX)
    return new ToolStatusError(said, status, detail)
  } catch (error) {
    // The text of an error page does not help the model, so only its title is logged.
    return new ToolStatusError(`${said}: ${messageOf(error)}`, status, null)
  }
}

import { z } from 'zod'
import { GATEWAY_TOOL_NAMES } from '../../call/tools/gateway-tools.js'
import { spokenSchema as spoken } from '../../call/spoken/localized-text.js'
import { TOOL_TEXT_CHARS_MAX, TOOL_TIMEOUT_MS, WAIT_MS_MAX } from '../../core/limits.js'
import { toolParametersSchema, typesOf } from './json-schema.js'
import type { ToolParameters } from './json-schema.js'
import { parseTemplate, sourcesOf } from '../file/template.js'
import type { Template } from '../file/template.js'
import { faultIn } from '../file/faults.js'

/** Maximum size of an API's answer to a tool, in bytes. */
const TOOL_RESPONSE_BYTES_MAX = 256 * 1024

/** Names of headers that only the HTTP client may set. */
const CLIENT_HEADERS: readonly string[] = [
  'host',
  'connection',
  'content-length',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'keep-alive',
  'accept-encoding',
  'idempotency-key',
  'content-type',
]

// Matches a literal http(s) origin, or one environment variable. Nothing else is allowed, because a model's argument
// must never choose the host.
export const ORIGIN = /^(?:https?:\/\/[^/?#{}$@\s]+|\{\{\s*env\.[A-Za-z_]\w*\s*\}\}|\$\{[A-Za-z_]\w*\})(?=[/?]|$)/
const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?$/

export const template = z
  .string()
  .max(2000)
  .superRefine((text, context) => {
    try {
      parseTemplate(text)
    } catch (error) {
      context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) })
    }
  })

const queryMap = z.record(z.string().min(1).max(100), template)

/** A JSON value whose texts are templates. */
export type BodyTemplate =
  string | number | boolean | null | readonly BodyTemplate[] | { readonly [key: string]: BodyTemplate }
const bodyTemplate: z.ZodType<BodyTemplate> = z.lazy(() =>
  z.union([
    template,
    z.number(),
    z.boolean(),
    z.null(),
    z.array(bodyTemplate).max(100),
    z.record(z.string().max(100), bodyTemplate),
  ]),
)

/** A request to an API. */
export const httpSchema = z
  .strictObject({
    method: z
      .enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])
      .default('GET')
      .describe(
        'HTTP method. Every method except GET gets an Idempotency-Key header, with the same key for each attempt of one tool call (docs/AGENTS.md#once).',
      ),
    url: template
      .refine((text) => ORIGIN.test(text), {
        error:
          'must begin with http://HOST, https://HOST or {{env.NAME}}, then a path: arguments may not choose the host',
      })
      .refine((text) => !text.includes('#'), { error: 'must not have a fragment (#)' })
      .describe(
        'URL, which begins with `http(s)://HOST` or {{env.NAME}}. Values in its path and query are URL-encoded.',
      ),
    query: z
      .union([queryMap, z.array(queryMap).min(1).max(5)], {
        error: 'must be a map of names to templates, or a list of such maps',
      })
      .optional()
      .describe(
        'Query parameters, as a map or a list of maps. In a map, a parameter is left out if the model left out its argument. From a list, the first map without a missing value is sent. If a bound value is missing, the request is not sent. Default: none.',
      ),
    headers: z
      .record(
        z.string().regex(/^[A-Za-z0-9-]{1,60}$/, { error: 'a header name has letters, digits and - only' }),
        template,
      )
      .default({})
      .describe('Request headers. A header is left out if the model left out its argument.'),
    body: bodyTemplate
      .optional()
      .describe(
        'JSON body, not for GET. A text that is exactly one placeholder keeps the type of its value. A member is left out if the model left out its argument. Default: none.',
      ),
    timeoutMs: z
      .int()
      .min(100)
      .max(15_000)
      .default(TOOL_TIMEOUT_MS)
      .describe('Deadline of the whole tool call in ms, with redirects and the second attempt.'),
    maxResponseBytes: z
      .int()
      .min(1024)
      .max(TOOL_RESPONSE_BYTES_MAX)
      .default(TOOL_RESPONSE_BYTES_MAX)
      .describe('Maximum size of the response body, in bytes.'),
    allowHosts: z
      .array(z.string().regex(HOST, { error: 'must be HOST or HOST:PORT in lower case, without scheme and path' }))
      .max(10)
      .default([])
      .describe('Further hosts that a redirect may use besides the host of url, as HOST or HOST:PORT.'),
    allowPrivate: z
      .boolean()
      .default(false)
      .describe(
        'Lets a host name of url resolve to a private or loopback address (docs/AGENTS.md#where-a-tool-may-connect). An address that is written in url needs no permission.',
      ),
  })
  .superRefine((http, context) => {
    const fault = faultIn(context)
    for (const header of Object.keys(http.headers)) {
      if (!CLIENT_HEADERS.includes(header.toLowerCase())) continue
      fault(['headers', header], 'is set by the gateway itself and cannot be changed')
    }
    if (http.method === 'GET' && http.body !== undefined) {
      fault(['body'], 'is not allowed with GET; use query, or another method')
    }
  })

const resultSchema = z.strictObject({
  fields: z
    .record(
      z.string().min(1).max(100),
      z.string().regex(/^[^.\s]+(\.[^.\s]+)*$/, { error: 'must be a path such as order.status' }),
    )
    .optional()
    .describe(
      'Fields of the answer that the model gets, as new name: path, such as { eta: delivery.eta }. If the answer has no value at a path, the field is left out. Default: the whole answer.',
    ),
  notFound: z
    .unknown()
    .optional()
    .describe('JSON that the model gets if the API answers 404. Default: a 404 is an error.'),
})

/** Name of a tool; all services accept names of this form. */
export const toolName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_]{0,63}$/, {
    error: 'must be 1 to 64 characters of a-z A-Z 0-9 _, beginning with a letter',
  })
  .refine((name) => !GATEWAY_TOOL_NAMES.includes(name), {
    error: `is a tool of the gateway itself; ${GATEWAY_TOOL_NAMES.join(', ')} are taken`,
  })

/** Schema of `bind:`. */
export const bindSchema = z
  .record(z.string(), template)
  .default({})
  .describe(
    'Arguments that the gateway sets, from {{call.…}}, {{business.…}} and {{identity.…}}. The model does not see these arguments, and the gateway ignores a value that the model sends for them. The tool is refused if a bound argument has no value.',
  )

export const requiresSchema = z
  .literal('verified', { error: 'must be verified, or be left out' })
  .optional()
  .describe('verified: the tool is refused, without a request, until the caller is verified. Default: no condition.')

/** Schemas of `blocking:` and `scheduling:`, for models that can speak before a tool's result arrives. */
export const blockingSchema = z
  .boolean()
  .exactOptional()
  .describe(
    'Makes the model wait for the answer before it continues; only some services can continue without the answer (docs/VENDORS.md). Default: true. For a tool that is not idempotent the default is false if the service cancels a blocking call at any sound of the caller.',
  )
export const schedulingSchema = z
  .enum(['when-idle', 'interrupt', 'silent'])
  .exactOptional()
  .describe(
    'Time at which the model speaks about the answer of a non-blocking call. when-idle: as soon as the model is silent. interrupt: at once. silent: never. Default: when-idle.',
  )

const WAIT_MS_MIN = 5000
const UNIT_MS = { s: 1000, m: 60_000 }

/** Converts a duration such as `90s` or `2m` to milliseconds. */
const duration = z
  .string()
  .regex(/^\d{1,4}[sm]$/, { error: 'must be a time such as 90s or 2m' })
  .transform((text) => Number(text.slice(0, -1)) * UNIT_MS[text.endsWith('m') ? 'm' : 's'])
  .refine((ms) => ms >= WAIT_MS_MIN && ms <= WAIT_MS_MAX, {
    error: `must be ${WAIT_MS_MIN / 1000}s to ${WAIT_MS_MAX / 60_000}m`,
  })

/** Schema of `waits:`, for a tool whose outcome arrives later from another system (docs/WAITING.md). */
const waitsSchema = z.strictObject({
  for: duration.describe(
    'Maximum wait for the outcome, 5s to 10m. If expiresInS of the API is shorter, that time is the maximum. A late outcome is accepted for two more minutes, because a payment may have succeeded.',
  ),
  say: spoken.optional().describe('Spoken when the wait begins. Default: the model tells the caller.'),
  still: spoken
    .default({ en: 'I am still waiting for it.', sw: 'Bado ninasubiri.' })
    .describe('Spoken repeatedly during the wait, while neither side speaks.'),
  every: duration.prefault('20s').describe('Silence before still is spoken, such as 20s.'),
  onTimeout: spoken.optional().describe('Spoken if no outcome came in time. Default: the model tells the caller.'),
  poll: z
    .strictObject({
      url: template
        .refine((text) => ORIGIN.test(text), {
          error: 'must begin with http://HOST, https://HOST or {{env.NAME}}, then a path',
        })
        .describe(
          'URL of a GET request. Its answer has the form of a posted continuation. The URL may have {{pending.id}}.',
        ),
      everyS: z.int().min(2).max(60).default(10).describe('Time between two requests, in seconds.'),
    })
    .optional()
    .describe(
      'Request for the outcome, with the headers of http, for an API that cannot reach the gateway. Default: none.',
    ),
})

/** One HTTP tool of an agent. */
export const toolSchema = z
  .strictObject({
    name: toolName.describe(
      'Name of the tool, for the model and in metrics: 1 to 64 characters of a-z A-Z 0-9 _, beginning with a letter.',
    ),
    description: z
      .string()
      .min(1)
      .max(4000)
      .describe('Text for the model: when to call the tool, and the content of its answer.'),
    parameters: toolParametersSchema
      .prefault({})
      .describe(
        'JSON Schema (2020-12) of the arguments, as pydantic, zod, OpenAPI or an MCP server writes it (docs/AGENT-FILE.md#arguments). {}: no arguments.',
      ),
    bind: bindSchema,
    requires: requiresSchema,
    http: httpSchema.describe('Request of the tool to your API.'),
    result: resultSchema.prefault({}).describe('Part of the answer that the model gets.'),
    idempotent: z
      .boolean()
      .optional()
      .describe(
        'Lets the gateway send the request a second time for one tool call: after a network failure, after status 429, 502, 503 or 504, or after the call moved to another node. Set it for a POST that changes no data, or if the API supports the Idempotency-Key. Default: true for GET, else false.',
      ),
    blocking: blockingSchema,
    scheduling: schedulingSchema,
    waits: waitsSchema
      .optional()
      .describe(
        'For an API that may answer 202 `{ "pending": id, "expiresInS": 90 }` and send the outcome later (docs/WAITING.md). Default: the answer is the outcome.',
      ),
    sample: z
      .record(z.string(), z.unknown())
      .default({})
      .describe(
        'Arguments for `mkondo check --tools`. The check sends a GET request, and only shows any other request. A missing argument gets the simplest valid value.',
      ),
  })
  .superRefine((tool, context) => {
    const names = Object.keys(tool.parameters.properties)
    const all = names.join(', ') || '(none)'
    const fault = faultIn(context)

    for (const { path, template: parsed } of templatesOf(tool)) {
      for (const source of sourcesOf(parsed)) {
        if (source.scope === 'args' && !names.includes(source.name)) {
          fault(path, `reads {{args.${source.name}}}, which is not an argument; arguments: ${all}`)
        }
        if (source.scope === 'args' && path[0] === 'bind') {
          fault(
            path,
            'may read {{call.…}}, {{identity.…}} and {{business.…}} only: the model must not choose a bound argument',
          )
        }
        if (source.scope === 'env' && path[0] === 'bind')
          fault(path, 'may read {{call.…}}, {{identity.…}} and {{business.…}} only')
        if (source.scope === 'identity' && tool.requires !== 'verified') {
          fault(
            path,
            `reads {{identity.${source.name}}}, which is known only of verified callers; set requires: verified`,
          )
        }
      }
    }
    for (const { path, what } of waitFaults(tool)) fault(path, what)
    for (const [name, what] of bindFaults(tool)) fault(['bind', name], what)
    const read = new Set(
      templatesOf({ http: tool.http })
        .flatMap(({ template: parsed }) => sourcesOf(parsed))
        .filter(({ scope }) => scope === 'args')
        .map(({ name }) => name),
    )
    for (const name of Object.keys(tool.bind)) {
      if (names.includes(name) && !read.has(name))
        fault(['bind', name], 'is not used in http, so it does not limit the request; use {{args.NAME}} there')
    }
    for (const index of openQueries(tool.http, Object.keys(tool.bind))) fault(['http', 'query', index], OPEN_QUERY)
    const { notFound } = tool.result
    if (notFound !== undefined && JSON.stringify(notFound).length > TOOL_TEXT_CHARS_MAX) {
      fault(['result', 'notFound'], `must be JSON of at most ${TOOL_TEXT_CHARS_MAX} characters`)
    }
  })

/** Finds faults in `waits`, and in values that only a tool with `waits` may read. */
function* waitFaults(tool: Pick<ToolDefinition, 'http' | 'bind' | 'waits'>): Generator<{
  readonly path: (string | number)[]
  readonly what: string
}> {
  const { waits } = tool
  let continues = false
  for (const { path, template: parsed } of templatesOf(tool)) {
    const ofPoll = path[0] === 'waits'
    for (const { scope } of sourcesOf(parsed)) {
      if (scope === 'continue' && (waits === undefined || ofPoll || path[0] === 'bind'))
        yield { path, what: 'reads {{continue.url}}, which only the http of a tool with waits has' }
      else if (scope === 'continue') continues = true
      if (scope === 'pending' && !ofPoll) yield { path, what: 'reads {{pending.id}}, which only waits.poll has' }
    }
  }
  if (waits === undefined) return
  if (tool.http.method === 'GET')
    yield {
      path: ['http', 'method'],
      what: 'a GET request starts nothing that has a later outcome; use POST, or leave out waits',
    }
  if (!continues && waits.poll === undefined)
    yield {
      path: ['waits'],
      what: 'the gateway cannot learn the outcome: put {{continue.url}} into http, or set waits.poll',
    }
  if (waits.every > waits.for) yield { path: ['waits', 'every'], what: 'is longer than waits.for' }
}

/** Text of the fault for an alternative query that `openQueries` returns. */
export const OPEN_QUERY =
  'does not limit the request to the caller: another map of the list reads a bound value, but this map would request ' +
  'the data of all callers; let each map read an argument, {{call.…}} or {{identity.…}}'

/**
 * Returns alternative queries that contain no value, although another alternative contains a bound value. If the bound
 * value is missing, such a query would be sent, and it is not limited to the caller's data.
 */
export function openQueries({ query }: ToolDefinition['http'], bound: readonly string[]): number[] {
  if (!Array.isArray(query)) return []
  const maps = (query as readonly Readonly<Record<string, string>>[]).map((map) =>
    Object.values(map)
      .flatMap((text) => sourcesOf(parseOrNull(text) ?? []))
      .filter(({ scope }) => scope !== 'env'),
  )
  const anyBound = maps.some((sources) => sources.some(({ scope, name }) => scope !== 'args' || bound.includes(name)))
  return anyBound ? maps.flatMap((sources, index) => (sources.length === 0 ? [index] : [])) : []
}

/** Finds faults of bound arguments, by name. */
export function bindFaults(tool: {
  readonly bind: Readonly<Record<string, string>>
  readonly parameters: ToolParameters
}): [string, string][] {
  const names = Object.keys(tool.parameters.properties)
  return Object.keys(tool.bind).flatMap((name): [string, string][] => {
    if (!names.includes(name)) return [[name, `is not an argument; arguments: ${names.join(', ') || '(none)'}`]]
    const property = tool.parameters.properties[name]
    if (property !== undefined && typesOf(property)?.includes('string') === true) return []
    return [[name, 'is bound to a text, so its type must be string']]
  })
}

export type ToolDefinition = z.output<typeof toolSchema>

/** A template, and its path in the definition of a tool or a server. */
interface PlacedTemplate {
  readonly path: (string | number)[]
  readonly template: Template
}

/** Returns every template of a tool. */
export function templatesOf({
  http: { url, query, headers, body },
  bind = {},
  waits,
}: {
  readonly http: ToolDefinition['http']
  readonly bind?: ToolDefinition['bind']
  readonly waits?: ToolDefinition['waits']
}): readonly PlacedTemplate[] {
  const polled = waits?.poll === undefined ? {} : { waits: { poll: { url: waits.poll.url } } }
  return templatesIn({ http: { url, query, headers, body }, bind, ...polled })
}

/**
 * Returns all texts of plain data as templates. A text that cannot be parsed is left out, because its schema reports
 * the fault.
 */
export function templatesIn(value: unknown, path: readonly (string | number)[] = []): PlacedTemplate[] {
  if (typeof value === 'string') {
    const template = parseOrNull(value)
    return template === null ? [] : [{ path: [...path], template }]
  }
  if (Array.isArray(value)) return value.flatMap((entry, index) => templatesIn(entry, [...path, index]))
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([key, entry]) => templatesIn(entry, [...path, key]))
}

function parseOrNull(text: string): Template | null {
  try {
    return parseTemplate(text)
  } catch {
    return null // the text's schema reports the fault
  }
}

/** Returns the depth of a JSON value: 0 for a scalar. */
export function jsonDepth(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const entry of Object.values(value)) deepest = Math.max(deepest, jsonDepth(entry))
  return deepest + 1
}

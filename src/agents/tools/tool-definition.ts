import { z } from 'zod'
import { GATEWAY_TOOL_NAMES } from '../../call/tools/gateway-tools.js'
import { spokenSchema as spoken } from '../../call/spoken/localized-text.js'
import { TOOL_TEXT_CHARS_MAX, TOOL_TIMEOUT_MS, WAIT_MS_MAX } from '../../core/limits.js'
import { toolParametersSchema, typesOf } from './json-schema.js'
import type { ToolParameters } from './json-schema.js'
import { parseTemplate, sourcesOf } from '../file/template.js'
import type { Template } from '../file/template.js'
import { faultIn } from '../file/faults.js'

/** Largest answer of a tool's API that is read. */
const TOOL_RESPONSE_BYTES_MAX = 256 * 1024

/** Headers that belong to the HTTP client. */
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

// Literal http(s) origin or one environment variable: an argument of the model must never choose the host.
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
      .describe('HTTP method. Anything but GET carries an Idempotency-Key header made from the tool call.'),
    url: template
      .refine((text) => ORIGIN.test(text), {
        error:
          'must begin with http://HOST, https://HOST or {{env.NAME}}, then a path: arguments may not choose the host',
      })
      .refine((text) => !text.includes('#'), { error: 'must not have a fragment (#)' })
      .describe('Address; values put into its path or query are URL-encoded.'),
    query: z
      .union([queryMap, z.array(queryMap).min(1).max(5)], {
        error: 'must be a map of names to templates, or a list of such maps',
      })
      .optional()
      .describe(
        'Query parameters; one whose argument the model left out is left out. A list is tried from the top: the first map with no ' +
          'missing value is sent. Where a bound value is missing, nothing is sent.',
      ),
    headers: z
      .record(
        z.string().regex(/^[A-Za-z0-9-]{1,60}$/, { error: 'a header name has letters, digits and - only' }),
        template,
      )
      .default({})
      .describe('Request headers.'),
    body: bodyTemplate
      .optional()
      .describe(
        'JSON body; a text that is exactly one placeholder keeps the type of its value, and a member whose argument the model ' +
          'left out is left out.',
      ),
    timeoutMs: z
      .int()
      .min(100)
      .max(15_000)
      .default(TOOL_TIMEOUT_MS)
      .describe('Deadline for the whole tool call, redirects and the second try included.'),
    maxResponseBytes: z
      .int()
      .min(1024)
      .max(TOOL_RESPONSE_BYTES_MAX)
      .default(TOOL_RESPONSE_BYTES_MAX)
      .describe('Largest response body that is read.'),
    allowHosts: z
      .array(z.string().regex(HOST, { error: 'must be HOST or HOST:PORT in lower case, without scheme and path' }))
      .max(10)
      .default([])
      .describe('Other hosts to which a redirect may lead. The host of url itself is always allowed.'),
    allowPrivate: z
      .boolean()
      .default(false)
      .describe(
        'Lets a host name of url resolve to a private or loopback address. An address written out in url needs ' +
          'no permission.',
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
      'Result for the model: new name to path in the response (order.status). Paths that the response lacks are left ' +
        'out. Without it the model gets the whole response.',
    ),
  notFound: z
    .unknown()
    .optional()
    .describe('The answer that the model gets when the API answers 404. Without it a 404 is an error.'),
})

/** Name of a tool, in the form that OpenAI and Gemini both accept. */
export const toolName = z
  .string()
  .regex(/^[A-Za-z][A-Za-z0-9_]{0,63}$/, { error: 'must be 1 to 64 of a-z A-Z 0-9 _, beginning with a letter' })
  .refine((name) => !GATEWAY_TOOL_NAMES.includes(name), {
    error: `is a tool of the gateway itself; ${GATEWAY_TOOL_NAMES.join(', ')} are taken`,
  })

/** An argument that the gateway sets. */
export const bindSchema = z
  .record(z.string(), template)
  .default({})
  .describe(
    'Arguments that the gateway sets by itself and the model cannot change, from {{call.…}}, {{business.…}} and {{identity.…}}. The tool is refused if one has no value.',
  )

export const requiresSchema = z
  .literal('verified', { error: 'must be verified, or be left out' })
  .optional()
  .describe('verified: refused until the caller is verified (verification).')

/** How a model that can do both handles the tool's calls. */
export const blockingSchema = z
  .boolean()
  .exactOptional()
  .describe(
    'Has the model wait for the answer before it goes on (Gemini). Default: true; on Gemini 3.8 and later false for ' +
      'a tool that is not idempotent, because there any sound of the caller cancels a call that the model waits for.',
  )
export const schedulingSchema = z
  .enum(['when-idle', 'interrupt', 'silent'])
  .exactOptional()
  .describe(
    'When the model speaks about the answer of a call that it did not wait for: when it is silent, at once, or not at ' +
      'all. Default: when-idle.',
  )

const WAIT_MS_MIN = 5000
const UNIT_MS = { s: 1000, m: 60_000 }

/** Milliseconds from `90s` or `2m`. */
const duration = z
  .string()
  .regex(/^\d{1,4}[sm]$/, { error: 'must be a time such as 90s or 2m' })
  .transform((text) => Number(text.slice(0, -1)) * UNIT_MS[text.endsWith('m') ? 'm' : 's'])
  .refine((ms) => ms >= WAIT_MS_MIN && ms <= WAIT_MS_MAX, {
    error: `must be ${WAIT_MS_MIN / 1000}s to ${WAIT_MS_MAX / 60_000}m`,
  })

/** How a tool waits whose answer comes from outside, later (docs/WAITING.md). */
const waitsSchema = z.strictObject({
  for: duration.describe('How long the conversation waits, such as 90s. A shorter expiresInS of the API counts.'),
  say: spoken.optional().describe('Said when the wait begins. Without it the model says so itself.'),
  still: spoken
    .default({ en: 'I am still waiting for it.', sw: 'Bado ninasubiri.' })
    .describe('Said again and again while it waits and nobody speaks.'),
  every: duration.prefault('20s').describe('Quiet after which that is said, such as 20s.'),
  onTimeout: spoken
    .optional()
    .describe('Said when nothing has come in that time. Without it the model says so itself.'),
  poll: z
    .strictObject({
      url: template
        .refine((text) => ORIGIN.test(text), {
          error: 'must begin with http://HOST, https://HOST or {{env.NAME}}, then a path',
        })
        .describe('GET; answers as the continuation is posted. May read {{pending.id}}.'),
      everyS: z.int().min(2).max(60).default(10).describe('Seconds between two of them.'),
    })
    .optional()
    .describe('Asked for the outcome, with the headers of http: for an API that cannot reach the gateway.'),
})

/** One HTTP tool of an agent. */
export const toolSchema = z
  .strictObject({
    name: toolName.describe('Name of the tool, for the model and in metrics.'),
    description: z
      .string()
      .min(1)
      .max(4000)
      .describe('When to use the tool and what it answers; the model decides by this text.'),
    parameters: toolParametersSchema
      .prefault({})
      .describe('JSON Schema (2020-12) of the arguments, as pydantic, zod, OpenAPI or an MCP server writes it.'),
    bind: bindSchema,
    requires: requiresSchema,
    http: httpSchema,
    result: resultSchema.prefault({}),
    idempotent: z
      .boolean()
      .optional()
      .describe(
        'Lets it be sent twice for one tool call: after a network failure or 429, 502, 503, 504, and after the ' +
          'gateway lost the call in the middle of it. Default: true for GET, else false.',
      ),
    blocking: blockingSchema,
    scheduling: schedulingSchema,
    waits: waitsSchema
      .optional()
      .describe(
        'The API may answer 202 `{ "pending": id, "expiresInS": 90 }`: the outcome comes later (docs/WAITING.md).',
      ),
    sample: z
      .record(z.string(), z.unknown())
      .default({})
      .describe('Arguments for `mkondo check --tools`, which sends a GET and only shows any other request.'),
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
        fault(['bind', name], 'is read by nothing in http, so it limits no request; use {{args.NAME}} there')
    }
    for (const index of openQueries(tool.http, Object.keys(tool.bind))) fault(['http', 'query', index], OPEN_QUERY)
    const { notFound } = tool.result
    if (notFound !== undefined && JSON.stringify(notFound).length > TOOL_TEXT_CHARS_MAX) {
      fault(['result', 'notFound'], `must be JSON of at most ${TOOL_TEXT_CHARS_MAX} characters`)
    }
  })

/** Faults in how a tool waits, or in values that only a tool that waits may read. */
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
      what: 'GET begins nothing that could be waited for; use POST, or leave out waits',
    }
  if (!continues && waits.poll === undefined)
    yield { path: ['waits'], what: 'nothing can tell the outcome: put {{continue.url}} into http, or set waits.poll' }
  if (waits.every > waits.for) yield { path: ['waits', 'every'], what: 'is longer than waits.for' }
}

/** Why a map of a list of queries is refused by `openQueries`. */
export const OPEN_QUERY =
  "limits the request to nobody: another map of the list reads a bound value, and without it everybody's data would be " +
  'asked for; let each map read an argument, {{call.…}} or {{identity.…}}'

/**
 * The maps in a list of queries that read no value, where another map reads a value that the gateway binds. When the
 * bound value is missing, such a map would be sent without any limit.
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

/** Faults of bound arguments, by name. */
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

/** A template and its path in a tool or a server. */
interface PlacedTemplate {
  readonly path: (string | number)[]
  readonly template: Template
}

/** Every template of a tool. */
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

/** Every text of plain data as a template; one that does not parse was reported by its own schema. */
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
    return null // reported at its own place
  }
}

/** How deep a JSON value is nested: 0 for a scalar. */
export function jsonDepth(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  let deepest = 0
  for (const entry of Object.values(value)) deepest = Math.max(deepest, jsonDepth(entry))
  return deepest + 1
}

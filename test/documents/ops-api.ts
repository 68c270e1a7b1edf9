import { stringify } from 'yaml'
import { z } from 'zod'
import { AGENT_NAME, CALL_SID } from '../../src/core/ids.js'
import { OPS_ANSWERS } from '../../src/edge/ops/ops-answers.js'
import type { OpsAnswerName } from '../../src/edge/ops/ops-answers.js'
import { mayUse } from '../../src/edge/ops/ops-rights.js'
import type { OpsHolder } from '../../src/edge/ops/ops-rights.js'
import { OPS_ROUTES, accessOf, rowOf } from '../../src/edge/ops/ops-routes.js'
import type { OpsRoute } from '../../src/edge/ops/ops-routes.js'
import { withoutLimits } from './open-schema.js'

/** Answers with a published schema of their own, by its file. */
const PUBLISHED: Partial<Readonly<Record<string, string>>> = {
  CallRecord: 'call-record.schema.json',
  Fleet: 'fleet.schema.json',
  Handoff: 'handoff.schema.json',
  Timeline: 'timeline.schema.json',
} satisfies Partial<Record<OpsAnswerName, string>>

const PATH_PARAMETERS: Readonly<Record<string, z.ZodType>> = {
  sid: z.string().regex(CALL_SID).describe('SID of the call.'),
  id: z.string().max(80).describe('Id of the campaign.'),
  name: z.string().regex(AGENT_NAME).describe('Name of the agent.'),
  tool: z.string().describe('Name of one of its tools.'),
  key: z.string().describe('Key of the message, as `GET /api/messages` lists it.'),
}

/** The security schemes of the document, by the holders of their rights. */
const SCHEMES: Readonly<Partial<Record<OpsHolder, { readonly name: string; readonly is: string }>>> = {
  act: { name: 'opsToken', is: 'OPS_TOKEN, or a console session with the right to act' },
  listen: { name: 'opsListenToken', is: 'OPS_LISTEN_TOKEN, or a console session that was opened with this token' },
  'of-numbers': { name: 'numbersToken', is: 'A token of NUMBERS_FILE, for the calls of its numbers' },
  OPS_READ_TOKEN: { name: 'opsReadToken', is: 'OPS_READ_TOKEN, which reads metrics only' },
}

const RANGE = {
  name: 'Range',
  in: 'header',
  description:
    'One part of the file. If the header names several parts, or the request has `If-Range`, the whole file is sent.',
  schema: { type: 'string', examples: ['bytes=0-65535'] },
}

const ERROR = { $ref: '#/components/responses/Error' }

const INFO = `The ops port (\`OPS_PORT\`, 9464) of a gateway. Any node of a fleet answers for the calls of all nodes.

Without \`OPS_TOKEN\` the port answers only if the request names an address or \`localhost\`. It refuses web pages of other sites. A POST has
\`Content-Type: application/json\`. A POST without a body may lack the content type; then it must have neither \`Origin\` nor \`Sec-Fetch-Site\`.
Every error is \`{"error":{"code","message"}}\`. Fields may be added. CHANGELOG names each field that is renamed or removed.

Each \`get\` below also answers \`HEAD\`, without a body, except the event streams. After an answer to \`HEAD\` the connection closes. It also
closes if a client sends a further request and has not read the earlier answer.

The console's page exchanges \`OPS_TOKEN\` for a session: a cookie with the right to read, act or listen (docs/CONSOLE.md). Such a session is
accepted instead of a token.
`

type Json = Readonly<Record<string, unknown>>

/** `schema/ops-api.openapi.yaml`, from the table of routes and the schemas that it names. */
export function opsApiDocument(): string {
  const routes = Object.keys(OPS_ROUTES) as OpsRoute[]
  const paths: Record<string, Record<string, Json>> = {}
  for (const route of routes) {
    const [method = '', path = ''] = route.replaceAll(/:(\w+)/g, '{$1}').split(' ')
    ;(paths[path] ??= {})[method === 'POST' ? 'post' : 'get'] = operationOf(route)
  }
  const document = {
    openapi: '3.1.0',
    info: { title: 'Mkondo ops API', version: '1', description: INFO },
    servers: [{ url: 'http://127.0.0.1:9464' }],
    tags: [...new Set(routes.map((route) => OPS_ROUTES[route].tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: Object.fromEntries(
        Object.values(SCHEMES).map(({ name, is }) => [name, { type: 'http', scheme: 'bearer', description: is }]),
      ),
      responses: {
        Error: {
          description: 'Refused or failed',
          content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
        },
      },
      schemas: answerSchemas(),
    },
  }
  return (
    '# Made by `npm run documents` from src/edge/ops/ops-routes.ts and src/edge/ops/ops-answers.ts.\n' +
    stringify(document, { lineWidth: 140, blockQuote: 'literal', aliasDuplicateObjects: false })
  )
}

function operationOf(route: OpsRoute): Json {
  const { id, tag, summary, description, query, body, answers, ranges = false, thing } = rowOf(route)
  const parameters = [
    ...[...route.matchAll(/:(\w+)/g)].map(([, name = '']) => ({
      ...{ name, in: 'path', required: true },
      ...parameter(inputSchema(PATH_PARAMETERS[name] ?? z.string())),
    })),
    ...Object.entries(query === undefined ? {} : (inputSchema(query)['properties'] as Record<string, Json>)).map(
      ([name, schema]) => ({ name, in: 'query', ...parameter(schema) }),
    ),
    ...(ranges ? [RANGE] : []),
  ]
  const responses = Object.entries(answers).flatMap(([status, { is, content }]) => {
    const answer = { description: is, ...(content === undefined ? {} : { content: contentOf(content) }) }
    const part = { ...answer, description: `The part that \`Range\` asks for: ${is}` }
    return ranges ? [[status, answer] as const, ['206', part] as const] : [[status, answer] as const]
  })
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    security: securityOf(route),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: !body.safeParse({}).success,
            content: { 'application/json': { schema: inputSchema(body) } },
          },
        }),
    responses: {
      ...Object.fromEntries(responses),
      ...(ranges ? { 416: ERROR } : {}),
      ...(thing === 'health' ? {} : { default: ERROR }),
    },
  }
}

/** The tokens that may use a route; `{}`: without a token, which the port may not need. */
function securityOf(route: OpsRoute): readonly Json[] {
  const access = accessOf(route)
  if (access.right === 'open' || access.right === 'login') return [{}]
  const holders = (Object.keys(SCHEMES) as OpsHolder[]).filter((holder) => mayUse(holder, access))
  return [...holders.map((holder) => ({ [SCHEMES[holder]?.name ?? '']: [] })), {}]
}

function contentOf(content: Readonly<Record<string, OpsAnswerName | 'text' | 'bytes'>>): Json {
  const schemaOf = (name: string): Json => {
    if (name === 'text') return { type: 'string' }
    if (name === 'bytes') return { type: 'string', format: 'binary' }
    return { $ref: refOf(name) }
  }
  return Object.fromEntries(Object.entries(content).map(([type, name]) => [type, { schema: schemaOf(name) }]))
}

function parameter({ description, ...schema }: Json): Json {
  const text = String(description)
  return { description: text.charAt(0).toUpperCase() + text.slice(1), schema }
}

function refOf(name: string): string {
  return PUBLISHED[name] ?? `#/components/schemas/${name}`
}

function answerSchemas(): Json {
  const registry = z.registry<{ id?: string | undefined }>()
  for (const [id, schema] of Object.entries(OPS_ANSWERS)) registry.add(schema, { id })
  const { schemas } = z.toJSONSchema(registry, { uri: refOf, override })
  return Object.fromEntries(
    Object.entries(schemas)
      .filter(([name]) => PUBLISHED[name] === undefined)
      .map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
  )
}

function inputSchema(schema: z.ZodType): Json {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', override })
  return json
}

/** Leaves out zod's long patterns beside a format, and patterns with `\\p`, which readers without the flag `u` misread. */
function override(context: Parameters<typeof withoutLimits>[0]): void {
  withoutLimits(context)
  const { format, pattern = '' } = context.jsonSchema
  if (format !== undefined || pattern.includes('\\p')) delete context.jsonSchema.pattern
}

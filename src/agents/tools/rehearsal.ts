import { randomUUID } from 'node:crypto'
import { GatewayError, messageOf } from '../../core/errors.js'
import type { ErrorCode } from '../../core/errors.js'
import { businessValues } from '../file/business.js'
import type { Business } from '../file/business.js'
import { mayChange } from '../file/agent-view.js'
import { passagesOf } from '../file/assets.js'
import type { AgentAssets } from '../file/assets.js'
import { CallerIdentity } from './tool.js'
import type { AgentDefinition } from '../file/definition.js'
import type { HttpClient } from '../../http/http-client.js'
import type { Environment } from '../file/template.js'
import { propertiesOf, requiredOf, resolved, typesOf } from './json-schema.js'
import type { JsonSchema, ToolParameters } from './json-schema.js'
import { mcpToolOf } from './mcp-definition.js'
import { ToolRunner } from './tool-runner.js'
import type { ToolContext } from './tool.js'
import { accountTool, missingIn } from '../identity/verification.js'

/** Maximum wait for the MCP servers of an agent, in milliseconds. */
const SERVERS_MS = 6000

/** Result of the test of one part of an agent. */
interface Rehearsed {
  /** True for success; null if the part could not be tested. `what` then contains the reason. */
  readonly ok: boolean | null
  readonly what: string
}

/**
 * Tests each tool of an agent with its `sample` arguments and the agent's own `sample` call. Requests that only read
 * are sent. All other requests are built and shown, but not sent. The results do not contain data from the APIs'
 * answers.
 * @param business  business whose number is called; null if there is no business
 */
export async function rehearse(
  agent: AgentDefinition,
  assets: AgentAssets,
  env: Environment,
  client: HttpClient,
  business: Business | null = null,
): Promise<Rehearsed[]> {
  const runner = await ToolRunner.open(agent, assets, env, client)
  await runner.useServers(SERVERS_MS)
  const identity = Object.keys(agent.sample.identity).length > 0 ? agent.sample.identity : null
  const context = (): ToolContext => ({
    ...pretended(agent, agent.sample.from, identity, 'dry-run'),
    business: business === null ? undefined : businessValues(business, agent.languages[0] ?? 'en', Date.now()),
  })
  const rehearsed: Rehearsed[] = []
  if (agent.verification !== null)
    rehearsed.push(await tried('verification', () => verification(agent, env, client, context())))
  for (const tool of agent.tools) {
    const { name, http } = tool
    const args = { ...sampleArguments(tool.parameters), ...tool.sample }
    if (tool.requires === 'verified' && identity === null) {
      rehearsed.push({ ok: null, what: `${name}: needs a verified caller; put one under sample.identity` })
      continue
    }
    rehearsed.push(
      await tried(name, async () => {
        const request = runner.request(name, args, context())
        const where = `${http.method} ${request?.url.host ?? ''}${request?.url.pathname ?? ''}`
        if (http.method !== 'GET')
          return { ok: true, what: `${where}, not sent (${request?.body?.length ?? 0} characters of JSON)` }
        const startedMs = performance.now()
        const { ok, value, error } = await runner.run(name, args, context())
        const ms = Math.round(performance.now() - startedMs)
        return ok
          ? { ok, what: `${where} answered in ${ms} ms${fieldsOf(value)}` }
          : { ok, what: `${where}: ${error ?? 'failed'}` }
      }),
    )
  }
  for (const { name } of assets.codeTools)
    rehearsed.push({ ok: null, what: `${name}: a tool in code, which loads; it is not run here` })
  for (const { name, parameters } of runner.serverTools()) {
    const args = requiredOf(parameters).join(', ')
    rehearsed.push({
      ok: null,
      what: `${name}: a tool of an MCP server, with ${args || 'no arguments'}; it is not run here`,
    })
  }
  await runner.close()
  const passages = passagesOf(assets).length
  if (passages > 0) rehearsed.push({ ok: true, what: `knowledge: ${passages} passages` })
  return rehearsed
}

/** An operator's request to test one tool. */
export interface TrialOrder {
  readonly tool: string
  /** Arguments as a model would send them. They are checked like a model's arguments. */
  readonly args: Readonly<Record<string, unknown>>
  /** Phone number of the caller; empty if withheld, null for the number in `sample`. */
  readonly from: string | null
  /** True if the tool is tested as the verified caller in `sample.identity`. */
  readonly verified: boolean
  /** True if a tool that may change data is really run. If false, the request of such a tool is only built. */
  readonly send: boolean
}

/** Result of the test. */
export interface TrialResult {
  /** True if the request was only built, and not sent. */
  readonly dry: boolean
  /** True for success; null if the tool was not run and no fault was found. */
  readonly ok: boolean | null
  /**
   * Request that was sent or would be sent; null if the tool does not send a request, or if the request could not be
   * built.
   */
  readonly request: { readonly method: string; readonly host: string; readonly bodyChars: number } | null
  readonly ms: number
  /** Result as a model receives it. */
  readonly value: unknown
  readonly code: ErrorCode | null
  readonly error: string | null
}

/**
 * Runs one tool as in a call, with the checks, bindings, deadline and addresses of a call. If the tool may change data,
 * its request is only built, unless the operator asked to send it. Each sent request has a new idempotency key.
 */
export async function tryTool(
  agent: AgentDefinition,
  assets: AgentAssets,
  env: Environment,
  client: HttpClient,
  { tool, args, from, verified, send }: TrialOrder,
): Promise<TrialResult> {
  const runner = await ToolRunner.open(agent, assets, env, client)
  if (mcpToolOf(agent.mcp, tool) !== undefined) await runner.useServers(SERVERS_MS)
  try {
    return await trial(runner, agent, assets, { tool, args, from, verified, send })
  } finally {
    await runner.close()
  }
}

async function trial(
  runner: ToolRunner,
  agent: AgentDefinition,
  assets: AgentAssets,
  { tool, args, from, verified, send }: TrialOrder,
): Promise<TrialResult> {
  const identity = verified && Object.keys(agent.sample.identity).length > 0 ? agent.sample.identity : null
  const context = pretended(agent, from ?? agent.sample.from, identity, `try-${randomUUID()}`)
  const dry = !send && mayChange(agent, assets, tool)
  let request: TrialResult['request'] = null
  try {
    const built = runner.request(tool, args, context)
    if (built !== null) request = { method: built.method, host: built.url.host, bodyChars: built.body?.length ?? 0 }
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown
    // For the result, the runner returns this message in words for a model.
    if (dry) return { dry, ok: false, request, ms: 0, value: null, code: thrown.code, error: thrown.message }
  }
  if (dry) return { dry, ok: request === null ? null : true, request, ms: 0, value: null, code: null, error: null }
  const startedMs = performance.now()
  const { ok, value, code = null, error = null } = await runner.run(tool, args, context)
  return { dry, ok, request, ms: Math.round(performance.now() - startedMs), value, code, error }
}

function pretended(
  agent: AgentDefinition,
  from: string,
  identity: Readonly<Record<string, unknown>> | null,
  idempotencyKey: string,
): ToolContext {
  return {
    callSid: 'HD_000000000000',
    from,
    to: '',
    agent: agent.name,
    language: agent.languages[0] ?? '',
    idempotencyKey,
    caller: new CallerIdentity(identity),
    signal: new AbortController().signal,
  }
}

async function tried(name: string, what: () => Promise<Rehearsed>): Promise<Rehearsed> {
  try {
    const done = await what()
    return { ok: done.ok, what: `${name}: ${done.what}` }
  } catch (error) {
    return { ok: false, what: `${name}: ${messageOf(error)}; set its sample` }
  }
}

async function verification(
  agent: AgentDefinition,
  env: Environment,
  client: HttpClient,
  context: ToolContext,
): Promise<Rehearsed> {
  if (agent.verification === null) return { ok: null, what: 'none' }
  const account = await accountTool(agent.verification, env, client).run({}, context)
  if (account === null) return { ok: null, what: 'there is no account for sample.from' }
  const missing = missingIn(account, agent.verification)
  return missing.length === 0
    ? { ok: true, what: 'the account of sample.from has every answer' }
    : { ok: false, what: `the account of sample.from lacks ${missing.join(', ')}` }
}

function fieldsOf(value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return ''
  const names = Object.keys(value)
  return names.length === 0 ? ' with none of its fields' : ` with ${names.join(', ')}`
}

/** Returns the simplest value for each required argument. */
function sampleArguments(parameters: ToolParameters): Record<string, unknown> {
  return sampleObject(parameters, parameters, 0)
}

/** Example values by format. They are needed because an API may check the format. */
const SAMPLES: Readonly<Record<string, string>> = {
  date: '2026-01-01',
  time: '12:00:00Z',
  'date-time': '2026-01-01T12:00:00Z',
  email: 'sample@example.com',
  uri: 'https://example.com/',
  uuid: '00000000-0000-4000-8000-000000000000',
}
/** Maximum depth of the sample for a recursive schema. */
const SAMPLE_DEPTH_MAX = 8
/** Maximum number of items of a list, and of characters of a text, in a sample. */
const SAMPLE_ITEMS_MAX = 10
const SAMPLE_CHARS_MAX = 1000

function sampleOf(schema: unknown, root: JsonSchema, depth: number): unknown {
  const one = resolved(schema, root)
  const { examples, enum: listed, anyOf, oneOf } = one
  const [variant] = [anyOf, oneOf].flatMap((list): unknown[] => (Array.isArray(list) ? list : []))
  const written = [one['default'], one['example'], firstOf(examples), one['const'], firstOf(listed)]
  const found = written.find((value) => value !== undefined)
  if (found !== undefined || depth >= SAMPLE_DEPTH_MAX) return found ?? null
  if (variant !== undefined) return sampleOf(variant, root, depth + 1)
  const count = (name: string, otherwise: number): number => {
    const value = one[name]
    return typeof value === 'number' ? value : otherwise
  }
  switch (typesOf(one)?.find((type) => type !== 'null')) {
    case 'number':
    case 'integer':
      return count(
        'minimum',
        'exclusiveMinimum' in one ? count('exclusiveMinimum', 0) + 1 : Math.min(1, count('maximum', 1)),
      )
    case 'boolean':
      return true
    case 'array':
      return Array.from({ length: Math.min(count('minItems', 0), SAMPLE_ITEMS_MAX) }, () =>
        sampleOf(one['items'], root, depth + 1),
      )
    case 'object':
      return sampleObject(one, root, depth)
    case undefined:
      return null
    default:
      return (
        SAMPLES[String(one['format'])] ??
        'sample'.padEnd(Math.min(count('minLength', 0), SAMPLE_CHARS_MAX), 'x').slice(0, count('maxLength', Infinity))
      )
  }
}

function sampleObject(schema: JsonSchema, root: JsonSchema, depth: number): Record<string, unknown> {
  const properties = propertiesOf(schema) ?? {}
  return Object.fromEntries(requiredOf(schema).map((name) => [name, sampleOf(properties[name], root, depth + 1)]))
}

function firstOf(list: unknown): unknown {
  return Array.isArray(list) ? (list[0] as unknown) : undefined
}

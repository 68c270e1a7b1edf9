import { readFile, readdir } from 'node:fs/promises'
import t from 'tap'
import { parse } from 'yaml'
import { GATEWAY_TOOL_NAMES } from '../../src/call/tools/gateway-tools.js'

/**
 * Ways of ringing a number. `human`: of the agent's file or NUMBERS_FILE, chosen by the operator. All other ways pass
 * `ringFault` in `OutboundCalls`: by OPS_TOKEN, by a caller of an agent with `callbacks`, and by a caller who was cut off.
 */
type Row = 'order' | 'campaign' | 'call-back' | 'ring-back' | 'human' | 'none'

/** Every route of the ops port that acts. */
const ROUTES: Readonly<Record<string, Row>> = {
  'POST /api/calls': 'order',
  'POST /api/calls/{sid}/hangup': 'none',
  'POST /api/calls/{sid}/escalate': 'human',
  'POST /api/calls/{sid}/whisper': 'none',
  'POST /api/erase': 'none',
  'POST /api/export': 'none',
  'POST /api/campaigns': 'campaign',
  'POST /api/campaigns/{id}/start': 'campaign',
  'POST /api/campaigns/{id}/pause': 'none',
  'POST /api/campaigns/{id}/resume': 'campaign',
  'POST /api/campaigns/{id}/stop': 'none',
  'POST /api/campaigns/{id}/remove': 'none',
  'POST /api/do-not-call': 'none',
  'POST /api/messages/{key}/retry': 'none',
  'POST /api/agents/{name}/tools/{tool}': 'none',
  'POST /api/agents/{name}/say': 'none',
  // Its text may name humans.
  'POST /api/editor/open': 'none',
  'POST /api/editor/check': 'none',
  'POST /api/editor/draft': 'human',
  'POST /api/editor/publish': 'human',
  'POST /api/drain': 'none',
  'POST /api/cordon': 'none',
  'POST /api/uncordon': 'none',
  'POST /api/login': 'none',
  'POST /api/logout': 'none',
}

/** Every tool that the gateway carries out; an agent's own tools ring nobody through us. */
const TOOLS: Readonly<Record<string, Row>> = {
  escalate_to_human: 'human',
  request_callback: 'call-back',
  end_call: 'none',
  do_not_call: 'none',
  send_digits: 'none',
  set_language: 'none',
  go_to_stage: 'none',
  hand_over: 'none',
  resume_conversation: 'none',
  collect_digits: 'none',
  verify_caller: 'none',
  search_knowledge: 'none',
  note_fix: 'none',
  set_speech_rate: 'none',
}

/** Every key of a file that holds a number. */
const KEYS: Readonly<Record<string, Row>> = {
  'agent escalation.numbers[]': 'human',
  'agent escalation.numbers[].number': 'human',
  // Ours: they are shown, not rung.
  'agent escalation.callerId': 'none',
  'agent outbound.from': 'none',
  'numbers numbers.*.facts.humans[]': 'human',
  // Ours, whose messages a receiver gets.
  'numbers numbers.*.messages[].numbers[]': 'none',
}

/** Every place that asks the carrier to ring, and what it asks before. */
const PLACES: Readonly<Record<string, string>> = {
  'src/escalation/documents.ts': 'a dial document; its numbers are of HumanCalls',
  'src/escalation/escalation.ts': 'HumanCalls, before each number',
  'src/fleet/routing.ts': 'the order of OutboundCalls, claimed at this node',
  'src/gateway/carrier-side.ts': 'the human of the escalation',
  'src/sautikit-api/client.ts': 'the request itself',
  'src/workers/main/call/parts/escalation-driver.ts': 'the human of the escalation',
  'src/workers/main/main-thread-context.ts': 'the type of the part of the API',
  'src/workers/main/outbound-calls.ts': 'ringFault, except for a human',
}

t.test('each acting route declares whether it rings a number', async (t) => {
  const { paths } = parse(await readFile('schema/ops-api.openapi.yaml', 'utf8')) as {
    paths: Record<string, Record<string, unknown>>
  }
  const acting = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods)
      .filter((method) => ['post', 'put', 'patch', 'delete'].includes(method))
      .map((method) => `${method.toUpperCase()} ${path}`),
  )
  t.same(acting.filter((route) => !(route in ROUTES)).sort(), [], 'a new one has a row')
  t.same(
    Object.keys(ROUTES).filter((route) => ROUTES[route] !== 'none' && !acting.includes(route)),
    [],
    'and one that rings is there',
  )
})

t.test('each tool declares whether it rings a number', (t) => {
  t.same(Object.keys(TOOLS).sort(), [...GATEWAY_TOOL_NAMES].sort())
  t.end()
})

t.test('each key with a number declares whether it is rung', async (t) => {
  const found = [...(await numberKeys('agent')), ...(await numberKeys('numbers'))]
  t.same([...new Set(found)].sort(), Object.keys(KEYS).sort())
})

t.test('each source file that makes the carrier ring is listed', async (t) => {
  const found: string[] = []
  for (const file of await readdir('src', { recursive: true })) {
    const path = `src/${file}`
    // The double of the carrier and the simulator ring nobody's phone.
    if (!path.endsWith('.ts') || /^src\/(carrier|simulator)\//.test(path)) continue
    if (/\b(createCall|supervise|#?callHuman)\(|verb: 'dial',/.test(await readFile(path, 'utf8'))) found.push(path)
  }
  t.same(found.sort(), Object.keys(PLACES).sort())
})

/** Every file that gets a number from someone else than the operator, and judges it. */
const JUDGES = [
  'src/campaigns/call-back-row.ts',
  'src/campaigns/rows.ts',
  // Of all orders: of the ops port, campaigns, call backs, and callers who were cut off.
  'src/workers/main/outbound-calls.ts',
]

t.test('each source file that judges a number is listed', async (t) => {
  const found: string[] = []
  for (const file of await readdir('src', { recursive: true }))
    if (file.endsWith('.ts') && (await readFile(`src/${file}`, 'utf8')).includes('= ringFault('))
      found.push(`src/${file}`)
  t.same(found.sort(), JUDGES)
})

interface Schema {
  readonly $ref?: string
  readonly $defs?: Readonly<Record<string, Schema>>
  readonly pattern?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly additionalProperties?: Schema | boolean
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
}

/** Paths of the values whose pattern is that of E.164. */
async function numberKeys(name: string): Promise<string[]> {
  const root = JSON.parse(await readFile(`schema/${name}.schema.json`, 'utf8')) as Schema
  const found: string[] = []
  const walk = (schema: Schema, path: string, seen: readonly string[]): void => {
    if (schema.$ref !== undefined && !seen.includes(schema.$ref)) {
      const target = root.$defs?.[schema.$ref.replace('#/$defs/', '')]
      if (target !== undefined) walk(target, path, [...seen, schema.$ref])
    }
    if (schema.pattern?.startsWith('^\\+[1-9]') === true) found.push(`${name} ${path}`)
    for (const one of [...(schema.anyOf ?? []), ...(schema.oneOf ?? []), ...(schema.allOf ?? [])]) walk(one, path, seen)
    for (const [key, one] of Object.entries(schema.properties ?? {}))
      walk(one, path === '' ? key : `${path}.${key}`, seen)
    if (schema.items !== undefined) walk(schema.items, `${path}[]`, seen)
    if (typeof schema.additionalProperties === 'object') walk(schema.additionalProperties, `${path}.*`, seen)
  }
  walk(root, '', [])
  return found
}

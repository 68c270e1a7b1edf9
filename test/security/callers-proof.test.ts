import t from 'tap'
import { callerSchema } from '../../src/agents/identity/caller.js'
import { agentSchema } from '../../src/agents/file/definition.js'
import { toolSchema } from '../../src/agents/tools/tool-definition.js'
import { callerOptionsSchema, earlierCallSchema, earlierFields, earlierValues } from '../../src/call/caller-data.js'
import type { CallSessionOptions } from '../../src/call/call-options.js'
import { GATEWAY_TOOL_NAMES, RESUME_TOOL, sessionTool, sessionTools } from '../../src/call/tools/gateway-tools.js'
import type { ToolOffer } from '../../src/call/tools/gateway-tools.js'
import { factsSchema } from '../../src/call/stage-definition.js'
import { instructionsOf } from '../../src/workers/worker/call-setup.js'
import { escalation, Rig } from '../call/rig.js'
import { OFFER } from '../support/tool-offer.js'

/**
 * What a caller has to prove before a tool or a value is theirs. `nothing`: it says and does nothing of anybody in particular.
 * `placed`: we have rung the number, so whoever answers has the phone. `word`: as `placed`, and the person has said or keyed
 * something. `verified`: `verify_caller` has succeeded. `author`: the agent's file decides, by `requires` and `bind`.
 */
type Proof = 'nothing' | 'placed' | 'word' | 'verified' | 'author'

/** Every tool of the gateway, with whoever may use it. */
const TOOLS: Readonly<Record<string, Proof>> = {
  escalate_to_human: 'nothing',
  request_callback: 'nothing',
  end_call: 'nothing',
  do_not_call: 'placed',
  send_digits: 'placed',
  set_language: 'nothing',
  go_to_stage: 'nothing',
  hand_over: 'nothing',
  resume_conversation: 'word',
  collect_digits: 'nothing',
  verify_caller: 'nothing',
  search_knowledge: 'nothing',
  note_fix: 'nothing',
  set_speech_rate: 'nothing',
}

/** Every key of an agent's own tool. `requires` and `bind` are its protection; the others hold nothing of a caller. */
const TOOL_KEYS: Readonly<Record<string, Proof>> = {
  name: 'nothing',
  description: 'nothing',
  parameters: 'nothing',
  bind: 'author',
  requires: 'author',
  http: 'author',
  result: 'author',
  idempotent: 'nothing',
  blocking: 'nothing',
  scheduling: 'nothing',
  waits: 'nothing',
  sample: 'nothing',
}

/** Every key of `caller:`. */
const CALLER_KEYS: Readonly<Record<string, Proof>> = {
  tool: 'author',
  file: 'author',
  key: 'nothing',
  withinMs: 'nothing',
  fields: 'author',
  personal: 'verified',
  language: 'nothing',
  memory: 'verified',
}

/** Every field that an earlier call leaves, and every key of it that is kept. */
const MEMORY_FIELDS: Readonly<Record<string, Proof>> = {
  last_outcome: 'verified',
  last_days: 'verified',
  last_device: 'verified',
}
const MEMORY_KEYS: readonly string[] = ['callSid', 'endedWallMs', 'outcome', 'facts', 'owner']

/** Every key of a fact; one `from: caller.last_…` or of a personal field is known of a verified caller alone. */
const FACT_KEYS: Readonly<Record<string, Proof>> = { from: 'author', ask: 'nothing' }

const keysOf = (schema: unknown): string[] => Object.keys((schema as { readonly shape: object }).shape)

t.test('every tool and key has a row', async (t) => {
  t.same([...GATEWAY_TOOL_NAMES].sort(), Object.keys(TOOLS).sort(), 'tools of the gateway')
  t.same(keysOf(toolSchema).sort(), Object.keys(TOOL_KEYS).sort(), 'keys of a tool')
  t.same(keysOf(callerSchema).sort(), Object.keys(CALLER_KEYS).sort(), 'keys of caller')
  t.same(earlierFields(['device']), Object.keys(MEMORY_FIELDS), 'fields of an earlier call')
  t.same(keysOf(earlierCallSchema), MEMORY_KEYS, 'what is kept of a call')
  t.same(keysOf(factsSchema.valueType), Object.keys(FACT_KEYS), 'keys of a fact')
  t.same(
    keysOf(callerOptionsSchema).sort(),
    ['language', 'memoryOf', 'of', 'personal', 'source', 'withinMs'],
    'what a session knows of them',
  )
})

const stages = {
  stages: {
    talk: { instructions: 'Talk.', needs: [], next: { end: { when: 'at the end' } }, final: false },
    end: { instructions: 'End.', needs: [], next: {}, final: true },
  },
  facts: {},
} as unknown as NonNullable<CallSessionOptions['stages']>

/** Calls in which nobody has proved anything; each has everything else that a tool may need. */
const FULL = {
  escalation: {
    ...escalation,
    callback: { offerText: 'Shall we?', confirmedText: 'Noted.', refusedText: 'No.', numberKnown: true },
  },
  languages: ['en', 'sw'],
  handoverTo: { sales: 'for orders' },
  stages,
} satisfies Partial<CallSessionOptions>
const ARGUMENTS: Readonly<Record<string, Record<string, unknown>>> = {
  escalate_to_human: { reason: 'asked' },
  set_language: { language: 'sw' },
  go_to_stage: { stage: 'end' },
  hand_over: { agent: 'sales' },
  send_digits: { digits: '1' },
  collect_digits: { name: 'order' },
}

t.test('a tool runs exactly in calls that offer it', async (t) => {
  let pairs = 0
  for (const placed of [false, true])
    for (const messagesOnly of [false, true])
      for (const sendsDigits of [false, true])
        for (const less of [{}, { escalation: null }, { languages: ['en'] }, { handoverTo: {} }, { stages: null }])
          for (const name of GATEWAY_TOOL_NAMES) {
            const call = { ...FULL, ...less, placed, messagesOnly, sendsDigits }
            const offer: ToolOffer = {
              ...OFFER,
              ...{ placed, messagesOnly, sendsDigits, languages: call.languages, handoverTo: call.handoverTo },
              escalation: call.escalation === null ? null : { strategies: ['callback'] },
              stage: call.stages === null ? null : { name: 'go_to_stage', description: 'x', parameters: {} },
            }
            // A model is offered it with the agent's own tools.
            if (sessionTool(name) === undefined || name === 'collect_digits') continue
            const offered = sessionTools(offer).some((tool) => tool.name === name)
            const rig = Rig.talking(call)
            rig.toolCall('x', name, ARGUMENTS[name] ?? {})
            const refused = rig.toolCalls.some(
              (tool) => !tool.ok && /no tool named|No human|does not call/.test(tool.error ?? ''),
            )
            pairs++
            if (offered === refused)
              t.fail(`${name} is ${offered ? '' : 'not '}offered, and ${refused ? 'refused' : 'runs'}`, call)
          }
  t.equal(pairs, 8 * 5 * 9)
})

t.test('a tool that was not offered does not run', async (t) => {
  const inbound = Rig.talking({ ...FULL, placed: false, sendsDigits: false })
  for (const [name, proof] of Object.entries(TOOLS)) {
    if (proof !== 'placed' && proof !== 'word') continue
    inbound.toolCall(name, name, ARGUMENTS[name] ?? {})
    t.match(inbound.toolCalls.at(-1), { name, ok: false, error: `There is no tool named ${name}.` })
  }
  t.same([inbound.all('do-not-call'), inbound.all('tones')], [[], []])
})

t.test('an earlier journal may write to the do-not-call list', async (t) => {
  const rig = Rig.talking(FULL)
  rig.toolCall('n1', 'do_not_call')
  t.equal(rig.all('do-not-call').length, 1)
})

for (const [language, confirms] of [
  ['en', 'Yes, please.'],
  ['sw', 'Ndiyo, tuendelee.'],
] as const)
  t.test(`a call back reveals nothing before the caller speaks (${language})`, async (t) => {
    const before = Rig.talking({ languages: [language] })
    before.heardWords('Where is order five?')
    before.answer(2, 'a2', 400, 'It was sent to Kisumu.')
    before.run(1000)
    const { checkpoint, log } = before.resume
    const session = { ...checkpoint, callBack: 'asks', identity: null, greeted: false, toolsRunning: [] } as const
    const rig = new Rig(
      { languages: [language], placed: true },
      { checkpoint: session, log, newStream: { streamMs: 0, consented: false } },
    )
    rig.open()
    rig.ready()
    const given = (): string => JSON.stringify(rig.log.filter(({ output }) => output.type.startsWith('backend-')))
    for (const id of ['r1', 'r2', 'r3']) {
      rig.toolCall(id, RESUME_TOOL)
      rig.run(4000)
    }
    t.notMatch(given(), /order five|Kisumu/)
    rig.heardWords(confirms)
    rig.toolCall('r4', RESUME_TOOL)
    t.match(given(), /order five.*Kisumu/)
  })

t.test('fields of an earlier call require a verified caller', async (t) => {
  const rig = new Rig({ caller: { source: 'memory', of: '', withinMs: 800, personal: [], language: null } })
  const earlier = earlierValues({ endedWallMs: 0, outcome: 'escalated', facts: { device: 'router' } }, 86_400_000)
  t.same(Object.keys(earlier), Object.keys(MEMORY_FIELDS))
  rig.open()
  rig.ready()
  rig.in({ type: 'caller-known', state: 'found', from: 'memory', values: {}, earlier })
  const agent = agentSchema.parse({ version: 1, name: 'a', instructions: 'Help. {{caller.last_device}}' })
  const instructions = (): string =>
    instructionsOf({ agent, business: null, from: '+254700000001', resume: null, backends: [] }, 0, {
      caller: rig.session.caller,
    })
  t.same([rig.session.caller.values, rig.session.caller.earlier], [{}, {}])
  t.notMatch(instructions(), /last_|escalated|router/)
  rig.identity({ account: 'A-1' })
  t.same(rig.session.caller.values, earlier)
  for (const field of Object.keys(MEMORY_FIELDS)) t.match(instructions(), field)
})

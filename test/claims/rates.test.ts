import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { agentSchema } from '../../src/agents/definition.js'
import { ClaimAudit } from '../../src/call/claim-audit.js'
import type { OpenClaim } from '../../src/call/documents/checkpoint.js'
import { CLAIM_LANGUAGES } from '../../src/call/claim-phrases.js'
import { packageRoot } from '../../src/config/package-root.js'

const yaml = (path: string): unknown => parse(readFileSync(join(packageRoot(), path), 'utf8'))

/** The rules of the shipped agents. */
const rules = new Map(
  ['order-status', 'support'].map((agent) => [agent, agentSchema.parse(yaml(`agents/${agent}.yaml`)).claims]),
)

/** What the rules of a shipped agent find in one utterance that was heard. */
function claimsIn(agent: string, text: string): readonly OpenClaim[] {
  const claims = rules.get(agent)
  if (claims == null) throw new Error(`${agent} has no claims`)
  const audit = new ClaimAudit(
    { ...claims, languages: CLAIM_LANGUAGES, facts: null },
    {
      transcript: [],
      toolCalls: [],
      claims: [],
      dropped: { transcript: 0, toolCalls: 0, turns: 0, bargeIns: 0, claims: 0 },
    },
  )
  audit.said({ role: 'agent', text, startMs: 0, endMs: 0 }, null, 0)
  return audit.open
}

t.test('false claims are flagged: the set was written before the rules', async (t) => {
  const made = yaml('test/claims/claims-made.yaml') as Record<string, Record<string, readonly string[]>>
  const missed: string[] = []
  let flagged = 0
  let byTool = 0
  for (const [agent, tools] of Object.entries(made)) {
    for (const [tool, texts] of Object.entries(tools)) {
      for (const text of texts) {
        const found = claimsIn(agent, text)
        if (found.length > 0) flagged++
        else missed.push(text)
        if (found.some(({ tools }) => (tool === 'none' ? tools.length === 0 : tools.includes(tool)))) byTool++
      }
    }
  }
  const total = flagged + missed.length
  t.comment(`${flagged} of ${total} flagged, ${byTool} by the rule of their tool; not: ${missed.join(' | ')}`)
  t.ok(flagged >= 0.95 * total, `${flagged} of ${total}`)
})

t.test('offers, questions, conditions, negations and promises are not', async (t) => {
  const sets = yaml('test/claims/no-claims.yaml') as Record<string, readonly string[]>
  for (const [agent, texts] of Object.entries(sets)) for (const text of texts) t.same(claimsIn(agent, text), [], text)
})

t.test('the words of the shipped files claim only what their dialogues have called a tool for', async (t) => {
  const textsIn = (value: unknown): string[] =>
    typeof value === 'string'
      ? [value]
      : typeof value === 'object' && value !== null
        ? Object.values(value).flatMap(textsIn)
        : []
  const claimed = [...rules.keys()].flatMap((agent) => {
    const { claims: _, instructions: __, ...spoken } = yaml(`agents/${agent}.yaml`) as Record<string, unknown>
    return textsIn(spoken).flatMap((text) => claimsIn(agent, text).map(({ tools }) => `${tools[0] ?? 'none'}: ${text}`))
  })
  t.same(claimed.sort(), [
    'check_outage: There is an outage in your area since {{account.outage.since}}. It should be over by {{account.outage.restoredBy}}.',
    'check_outage: There is an outage in your area since {{outage.since}}. It should be over by {{outage.restoredBy}}.',
    'getAccount: Mpango wako ni {{account.plan}}, na salio lako ni KES {{account.balanceKes}}.',
    'getAccount: Mpango wako ni {{account.plan}}, na unadaiwa KES {{account.owedKes}}.',
    'getAccount: Your plan is {{account.plan}}, and you owe KES {{account.owedKes}}.',
    'getAccount: Your plan is {{account.plan}}, and your balance is KES {{account.balanceKes}}.',
    'open_ticket: I have opened ticket {{ticket.ticketId | spell}} for a technician, who will call you.',
    'open_ticket: I have opened ticket {{ticket.ticketId | spell}} for a technician.',
    'open_ticket: Nimefungua tiketi {{ticket.ticketId | spell}} kwa ajili ya fundi, ambaye atakupigia.',
    'open_ticket: Nimefungua tiketi {{ticket.ticketId | spell}} kwa ajili ya fundi.',
  ])
  const passages = readFileSync(join(packageRoot(), 'agents/knowledge/support.md'), 'utf8').split('\n')
  t.same(
    passages.flatMap((passage) => claimsIn('support', passage)),
    [],
    'nor does what is written down',
  )
})

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

const SIMULATION = [
  'test/fleet/gateway-simulation.test.ts',
  'no fault loses data, repeats effects or drops callers early',
] as const
const OUTBOX = 'test/messages/fleet-outbox.test.ts'
const CAMPAIGNS = 'test/campaigns/campaigns.test.ts'
const BUDGETS = ['test/gateway/numbers.test.ts', 'spending survives an emptied store, a lost node and disk'] as const
const ANALYSES = 'test/gateway/call-analyses.test.ts'

type Proof = readonly [file: string, title: string]

const FAULTS = ['Redis empty', 'failover', 'node lost', 'disk lost'] as const

/** The test of each cell of the table in docs/FLEET.md, "What is kept". */
const PROOFS: Readonly<Record<string, Readonly<Record<(typeof FAULTS)[number], readonly Proof[]>>>> = {
  messages: {
    'Redis empty': [[OUTBOX, 'a Redis that is emptied loses no waiting message'], SIMULATION],
    failover: [[OUTBOX, 'a message that a failover loses is added again'], SIMULATION],
    'node lost': [[OUTBOX, 'a message sent by another node is not sent again'], SIMULATION],
    // Its nodes have no folder at all.
    'disk lost': [[OUTBOX, "another node sends a dead node's messages in order"]],
  },
  'campaign rows': {
    'Redis empty': [[CAMPAIGNS, 'an emptied Redis shows its campaigns as lost']],
    failover: [[CAMPAIGNS, "a call's result survives a failover of Redis"], SIMULATION],
    'node lost': [
      ['test/campaigns/fleet.slow.test.ts', '3,000 rows are called once despite two killed nodes'],
      SIMULATION,
    ],
    'disk lost': [[CAMPAIGNS, "a call's result survives a failover of Redis"]],
  },
  'do-not-call list': {
    'Redis empty': [[CAMPAIGNS, 'the do-not-call list survives an emptied Redis'], SIMULATION],
    failover: [SIMULATION],
    'node lost': [[CAMPAIGNS, 'the do-not-call list survives an emptied Redis'], SIMULATION],
    'disk lost': [[CAMPAIGNS, 'the do-not-call list survives an emptied Redis']],
  },
  'tools that wait': {
    'Redis empty': [SIMULATION],
    failover: [SIMULATION],
    'node lost': [['test/fleet/recovery.test.ts', 'an outcome reaches the node that resumes the call'], SIMULATION],
    'disk lost': [['test/fleet/call-keeper.test.ts', 'another node with the same secret reads a kept state']],
  },
  'money spent today': {
    'Redis empty': [BUDGETS],
    failover: [BUDGETS],
    'node lost': [BUDGETS],
    'disk lost': [BUDGETS],
  },
  'analyses that are owed': {
    'Redis empty': [[ANALYSES, 'a pending analysis survives an emptied Redis and its node'], SIMULATION],
    failover: [SIMULATION],
    'node lost': [[ANALYSES, "a dead node's pending analysis is made once"]],
    'disk lost': [[ANALYSES, "a dead node's pending analysis is made once"]],
  },
}

const textOf = (file: string): string => readFileSync(join(packageRoot(), file), 'utf8')

t.test('each promise covers every fault and names its tests', (t) => {
  const [, section = ''] = /^## What is kept\n([^]*?)\n## /m.exec(textOf('docs/FLEET.md')) ?? []
  const [head = [], , ...rows] = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    )
  t.strictSame(head.slice(1), [...FAULTS])
  t.strictSame(
    rows.map(([name]) => name),
    Object.keys(PROOFS),
  )
  for (const [name = '', ...cells] of rows)
    for (const [i, fault] of FAULTS.entries()) {
      t.match(cells[i], /^(?:kept|lost)/, `${name}, ${fault}`)
      const proofs = PROOFS[name]?.[fault] ?? []
      t.ok(proofs.length > 0)
      for (const [file, title] of proofs) t.ok(textOf(file).includes(title), `${file}: ${title}`)
    }
  t.end()
})

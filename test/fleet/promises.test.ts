import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

const SIMULATION = [
  'test/fleet/gateway-simulation.test.ts',
  'through all faults nothing is lost, nobody is rung or charged twice, and no caller is let go within 15 s',
] as const
const OUTBOX = 'test/messages/fleet-outbox.test.ts'
const CAMPAIGNS = 'test/campaigns/campaigns.test.ts'
const BUDGETS = [
  'test/gateway/numbers.test.ts',
  'what was spent survives an emptied store, a lost node and a lost disk',
] as const
const ANALYSES = 'test/gateway/call-analyses.test.ts'

type Proof = readonly [file: string, title: string]

const FAULTS = ['Redis empty', 'failover', 'node lost', 'disk lost'] as const

/** The test of each cell of the table in docs/FLEET.md, "What is kept". */
const PROOFS: Readonly<Record<string, Readonly<Record<(typeof FAULTS)[number], readonly Proof[]>>>> = {
  messages: {
    'Redis empty': [[OUTBOX, 'a Redis that is emptied loses no waiting message'], SIMULATION],
    failover: [[OUTBOX, 'a message that a failover loses is added again'], SIMULATION],
    'node lost': [[OUTBOX, 'a message that another node has sent is not sent again'], SIMULATION],
    // Its nodes have no folder at all.
    'disk lost': [
      [OUTBOX, 'a message that any step of a node’s death leaves behind is sent by another, in order, with its id'],
    ],
  },
  'campaign rows': {
    'Redis empty': [
      [CAMPAIGNS, 'Redis comes back empty: campaigns are lost in sight of everybody, and begin again by nothing'],
    ],
    failover: [
      [CAMPAIGNS, 'how a call went is kept though a failover of Redis has lost that it was begun'],
      SIMULATION,
    ],
    'node lost': [
      [
        'test/campaigns/fleet.slow.test.ts',
        '3,000 rows in a fleet: none is called twice, and two nodes are killed on the way',
      ],
      SIMULATION,
    ],
    'disk lost': [[CAMPAIGNS, 'how a call went is kept though a failover of Redis has lost that it was begun']],
  },
  'do-not-call list': {
    'Redis empty': [
      [
        CAMPAIGNS,
        'Redis comes back empty: who wants no calls is still on the list, also after the nodes were restarted',
      ],
      SIMULATION,
    ],
    failover: [SIMULATION],
    'node lost': [
      [
        CAMPAIGNS,
        'Redis comes back empty: who wants no calls is still on the list, also after the nodes were restarted',
      ],
      SIMULATION,
    ],
    'disk lost': [
      [
        CAMPAIGNS,
        'Redis comes back empty: who wants no calls is still on the list, also after the nodes were restarted',
      ],
    ],
  },
  'tools that wait': {
    'Redis empty': [SIMULATION],
    failover: [SIMULATION],
    'node lost': [
      [
        'test/fleet/recovery.test.ts',
        'an outcome is posted to any node, and after its node has died to the one that goes on with the call',
      ],
      SIMULATION,
    ],
    'disk lost': [
      ['test/fleet/call-keeper.test.ts', 'what a call was kept as is read by another node with the same secret'],
    ],
  },
  'money spent today': {
    'Redis empty': [BUDGETS],
    failover: [BUDGETS],
    'node lost': [BUDGETS],
    'disk lost': [BUDGETS],
  },
  'analyses that are owed': {
    'Redis empty': [
      [ANALYSES, 'what a node owes is in a Redis that came back empty again, and outlasts the node'],
      SIMULATION,
    ],
    failover: [SIMULATION],
    'node lost': [
      [ANALYSES, 'what a dead node owes is analysed once, by another node or its own next run, and its record gets it'],
    ],
    'disk lost': [
      [ANALYSES, 'what a dead node owes is analysed once, by another node or its own next run, and its record gets it'],
    ],
  },
}

const textOf = (file: string): string => readFileSync(join(packageRoot(), file), 'utf8')

t.test('each promise says what every fault leaves, and names its tests', (t) => {
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

import { agentSchema } from '../../src/agents/file/definition.js'
import type { Row } from '../../src/campaigns/campaign.js'
import type { Campaigns } from '../../src/campaigns/campaigns.js'

const agent = agentSchema.parse({
  version: 1,
  name: 'appointments',
  instructions: 'Remind.',
  outbound: { from: '+254700000000' },
})

/** Campaigns of the agent `appointments` that neither money, slots nor humans hold back. */
export const UNBOUND = {
  agent: () => agent,
  standing: () => Promise.resolve('unknown'),
  humanFirst: () => null,
  lines: { hold: () => Promise.resolve('free'), released: () => Promise.resolve() },
  prefixes: [],
  callBackLimits: { perNumberDay: 2, perNumberWeek: 4, perCallerDay: 3 },
  slots: () => ({ capacity: 1000, free: 1000 }),
  walletMinor: () => null,
  walletEmpty: () => undefined,
  budgetSpent: () => false,
  keepMs: 90 * 86_400_000,
  perMinute: 6000,
  wallClock: Date.now,
  random: Math.random,
  counted: () => undefined,
  told: () => undefined,
} satisfies Partial<ConstructorParameters<typeof Campaigns>[0]>

/** A row that nobody has tried. */
export const NEW_ROW: Omit<Row, 'id' | 'campaign' | 'to'> = {
  agent: 'appointments',
  from: null,
  variables: {},
  externalId: null,
  timeZone: null,
  dueMs: 0,
  tries: [],
  result: null,
  agentLostMs: null,
  withoutHuman: false,
  asked: null,
  recovers: null,
}

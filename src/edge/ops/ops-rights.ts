/**
 * Rights at the ops port.
 * - `open`: every request that reaches the port.
 * - `login`: every request except from pages of other sites.
 * - `metrics`: reads figures.
 * - `look`: reads calls, agents and settings.
 * - `act`: makes changes, places calls, or reads data that an agent's tools can read.
 * - `listen`: hears callers, live or recorded.
 */
type OpsRight = 'open' | 'login' | 'metrics' | 'look' | 'act' | 'listen'

interface OpsThing {
  readonly what: string
  readonly right: OpsRight
  /** True if a token that NUMBERS_FILE limits to some numbers has this right for the calls of these numbers. */
  readonly ofNumbers: boolean
}

/**
 * Functions of the ops port, with the right that each needs. Each route of `OPS_ROUTES` names its function. The guard
 * and the table in docs/CONSOLE.md use these rights.
 */
export const OPS_THINGS = {
  health: { what: 'health', right: 'open', ofNumbers: false },
  session: { what: "the console's page, and which rights its session has", right: 'open', ofNumbers: false },
  login: { what: 'a session of the console', right: 'login', ofNumbers: false },
  metrics: { what: 'metrics', right: 'metrics', ofNumbers: false },
  lists: { what: 'lists, searches and charts of calls', right: 'look', ofNumbers: true },
  record: {
    what: 'a call: its record, transcript, timeline, account and handoff packet',
    right: 'look',
    ofNumbers: true,
  },
  node: {
    what: 'the calls, refusals, messages, backends and settings of a process',
    right: 'look',
    ofNumbers: false,
  },
  events: { what: 'event streams of live calls', right: 'look', ofNumbers: false },
  fleet: { what: 'the nodes', right: 'look', ofNumbers: false },
  agents: { what: 'agents, redacted, and the names of their files', right: 'look', ofNumbers: false },
  campaigns: { what: 'campaigns with their reports, and the do-not-call list', right: 'look', ofNumbers: false },
  command: { what: 'hanging up, escalating and whispering in a call', right: 'act', ofNumbers: true },
  call: {
    what: 'calling: one number, a campaign, the softphone; the do-not-call list',
    right: 'act',
    ofNumbers: false,
  },
  edit: { what: 'the texts of agents, to read and to edit', right: 'act', ofNumbers: false },
  tools: { what: "an agent's tools and voice, to try", right: 'act', ofNumbers: false },
  operate: { what: 'nodes, to drain and cordon; messages, to send again', right: 'act', ofNumbers: false },
  caller: { what: "a caller's data, to erase and to export", right: 'act', ofNumbers: false },
  audio: { what: 'the voices of a live call', right: 'listen', ofNumbers: false },
  recording: { what: "a call's recordings, the carrier's too", right: 'listen', ofNumbers: false },
  journal: {
    what: "a call's journal, also of a live call: it may have the audio, and all answers of tools",
    right: 'listen',
    ofNumbers: false,
  },
} as const satisfies Readonly<Record<string, OpsThing>>

/**
 * Rights of each token. OPS_LISTEN_TOKEN opens any session of the console; OPS_TOKEN opens sessions that read or act.
 */
export const RIGHTS_OF = {
  OPS_READ_TOKEN: ['metrics'],
  /** Rights for functions with `ofNumbers`, and only for the calls of the token's numbers. */
  'of-numbers': ['look', 'act'],
  read: ['metrics', 'look'],
  act: ['metrics', 'look', 'act'],
  listen: ['metrics', 'look', 'act', 'listen'],
} as const satisfies Readonly<Record<string, readonly OpsRight[]>>
export type OpsHolder = keyof typeof RIGHTS_OF

/** Fields that decide which tokens may use a function. */
export type OpsAccess = Pick<OpsThing, 'right' | 'ofNumbers'>

export function mayUse(holder: OpsHolder, { right, ofNumbers }: OpsAccess): boolean {
  if (right === 'open' || right === 'login') return true
  const rights: readonly OpsRight[] = RIGHTS_OF[holder]
  return rights.includes(right) && (holder !== 'of-numbers' || ofNumbers)
}

/**
 * Rights at the ops port. `open`: everyone who reaches it. `login`: everyone but pages of other sites. `metrics`: reads figures.
 * `look`: reads calls, agents and settings. `act`: changes something, calls somebody, or reads what an agent's tools can read.
 * `listen`: hears callers, live or recorded.
 */
type OpsRight = 'open' | 'login' | 'metrics' | 'look' | 'act' | 'listen'

interface OpsThing {
  readonly what: string
  readonly right: OpsRight
  /** True if a token that NUMBERS_FILE limits to some numbers gets this of their calls. */
  readonly ofNumbers: boolean
  /** Method and path of each route to it. `SOCKET`: an upgrade. */
  readonly routes: readonly `${'GET' | 'POST' | 'SOCKET'} /${string}`[]
}

/**
 * All things that the ops port gives, with the right that each needs: the routes' checks, the table of docs/CONSOLE.md and
 * `test/security/ops-rights.test.ts` are made of it. A route without a row here cannot be written.
 */
export const OPS_THINGS = {
  health: { what: 'health', right: 'open', ofNumbers: false, routes: ['GET /healthz', 'GET /readyz'] },
  session: {
    what: "the console's page, and which rights its session has",
    right: 'open',
    ofNumbers: false,
    routes: ['GET /api/session'],
  },
  login: {
    what: 'a session of the console',
    right: 'login',
    ofNumbers: false,
    routes: ['POST /api/login', 'POST /api/logout'],
  },
  metrics: { what: 'metrics', right: 'metrics', ofNumbers: false, routes: ['GET /metrics', 'GET /metrics/calls'] },
  lists: {
    what: 'lists, searches and charts of calls',
    right: 'look',
    ofNumbers: true,
    routes: ['GET /api/fleet/calls', 'GET /api/find', 'GET /api/charts'],
  },
  record: {
    what: 'a call: its record, transcript, timeline and handoff packet',
    right: 'look',
    ofNumbers: true,
    routes: [
      'GET /api/calls/:sid',
      'GET /api/calls/:sid/transcript',
      'GET /api/calls/:sid/timeline',
      'GET /api/calls/:sid/handoff',
    ],
  },
  node: {
    what: 'the calls, refusals, messages, backends and settings of a process',
    right: 'look',
    ofNumbers: false,
    routes: ['GET /api/calls', 'GET /api/backends', 'GET /api/settings', 'GET /api/refusals', 'GET /api/messages'],
  },
  events: {
    what: 'event streams of live calls',
    right: 'look',
    ofNumbers: false,
    routes: ['GET /api/live', 'GET /api/calls/:sid/live'],
  },
  fleet: { what: 'the nodes', right: 'look', ofNumbers: false, routes: ['GET /api/fleet'] },
  agents: {
    what: 'agents, redacted, and the names of their files',
    right: 'look',
    ofNumbers: false,
    routes: ['GET /api/agents', 'GET /api/editor'],
  },
  campaigns: {
    what: 'campaigns with their reports, and the do-not-call list',
    right: 'look',
    ofNumbers: false,
    routes: [
      'GET /api/campaigns',
      'GET /api/campaigns/:id',
      'GET /api/campaigns/:id/report.csv',
      'GET /api/do-not-call',
    ],
  },
  command: {
    what: 'hanging up, escalating and whispering in a call',
    right: 'act',
    ofNumbers: true,
    routes: ['POST /api/calls/:sid/hangup', 'POST /api/calls/:sid/escalate', 'POST /api/calls/:sid/whisper'],
  },
  call: {
    what: 'calling: one number, a campaign, the softphone; the do-not-call list',
    right: 'act',
    ofNumbers: false,
    routes: [
      'POST /api/calls',
      'POST /api/campaigns',
      'POST /api/campaigns/:id/start',
      'POST /api/campaigns/:id/pause',
      'POST /api/campaigns/:id/resume',
      'POST /api/campaigns/:id/stop',
      'POST /api/campaigns/:id/remove',
      'POST /api/do-not-call',
      'SOCKET /api/phone',
    ],
  },
  edit: {
    what: 'the texts of agents, to read and to edit',
    right: 'act',
    ofNumbers: false,
    routes: ['POST /api/editor/open', 'POST /api/editor/check', 'POST /api/editor/draft', 'POST /api/editor/publish'],
  },
  tools: {
    what: "an agent's tools and voice, to try",
    right: 'act',
    ofNumbers: false,
    routes: ['POST /api/agents/:name/tools/:tool', 'POST /api/agents/:name/say'],
  },
  operate: {
    what: 'nodes, to drain and cordon; messages, to send again',
    right: 'act',
    ofNumbers: false,
    routes: ['POST /api/drain', 'POST /api/cordon', 'POST /api/uncordon', 'POST /api/messages/:key/retry'],
  },
  caller: {
    what: "a caller's data, to erase and to export",
    right: 'act',
    ofNumbers: false,
    routes: ['POST /api/erase', 'POST /api/export'],
  },
  audio: {
    what: 'the voices of a live call',
    right: 'listen',
    ofNumbers: false,
    routes: ['SOCKET /api/calls/:sid/listen'],
  },
  recording: {
    what: "a call's recordings, the carrier's too",
    right: 'listen',
    ofNumbers: false,
    routes: ['GET /api/calls/:sid/recording.wav', 'GET /api/calls/:sid/carrier-recording'],
  },
  journal: {
    what: "a call's journal, of a live one too: it may have the audio, and all that tools have answered",
    right: 'listen',
    ofNumbers: false,
    routes: ['GET /api/calls/:sid/journal.jsonl'],
  },
} as const satisfies Readonly<Record<string, OpsThing>>

export type OpsRoute = (typeof OPS_THINGS)[keyof typeof OPS_THINGS]['routes'][number]
/** Paths of the routes with a method. */
export type OpsPath<Method extends string> = OpsRoute extends infer Route
  ? Route extends `${Method} ${infer Path}`
    ? Path
    : never
  : never

/** Holders of rights, and the rights of each. A session that listens is opened with OPS_LISTEN_TOKEN, the others with either. */
export const RIGHTS_OF = {
  OPS_READ_TOKEN: ['metrics'],
  /** For the things that it may have of its numbers (`ofNumbers`). */
  'of-numbers': ['look', 'act'],
  read: ['metrics', 'look'],
  act: ['metrics', 'look', 'act'],
  listen: ['metrics', 'look', 'act', 'listen'],
} as const satisfies Readonly<Record<string, readonly OpsRight[]>>
export type OpsHolder = keyof typeof RIGHTS_OF

/** Parts of a thing that decide who may use it. */
export type OpsAccess = Pick<OpsThing, 'right' | 'ofNumbers'>

const ACCESS: ReadonlyMap<string, OpsAccess> = new Map(
  Object.values(OPS_THINGS).flatMap((thing: OpsThing) => thing.routes.map((route) => [route, thing] as const)),
)

export function accessOf(route: OpsRoute): OpsAccess {
  const access = ACCESS.get(route)
  if (access === undefined) throw new Error(`the route ${route} has no row in OPS_THINGS`)
  return access
}

export function mayUse(holder: OpsHolder, { right, ofNumbers }: OpsAccess): boolean {
  if (right === 'open' || right === 'login') return true
  const rights: readonly OpsRight[] = RIGHTS_OF[holder]
  return rights.includes(right) && (holder !== 'of-numbers' || ofNumbers)
}

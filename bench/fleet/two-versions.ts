import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { messageOf } from '../../src/core/errors.js'
import type { ResumedRecord } from '../../src/call/documents/record.js'
import { mayGoOn } from '../../src/workers/main/kept-call.js'
import type { CallerScript } from '../../src/simulator/caller-script.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import { seededRandom } from '../../src/carrier/random.js'
import { MAIN } from '../../test/cli/mkondo-process.js'
import { CHARGE_TOOL, OUR_NUMBER, startFleet } from '../../test/support/fleet.js'
import type { Fleet, FleetCall, FleetNode, KeptRecord, NodeProgram } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'
import { messagesOf, startReceiver } from '../kit/receiver.js'
import type { CountingReceiver } from '../kit/receiver.js'
import { columns } from '../terminal.js'
import { EDITS } from './other-version.js'
import type { OldFault } from './mended.js'
import type { OtherVersion } from './other-version.js'

const NODES = 3
/** Minimum and maximum time in ms for which a caller stays in a call. */
const CALL_MS_MIN = 8000
const CALL_MS_MAX = 45_000
const ARRIVAL_MS = 1000
/** Behaviours of callers, by the last two digits of their number (`test/support/tone-backend.ts`). */
const CALLERS = [
  { digits: '01', share: 0.6 },
  { digits: '02', share: 0.15 },
  { digits: '05', share: 0.25 },
] as const
/**
 * Time in ms from the request of a payment to the post of its outcome. The second constant is the time in ms for which
 * the post is repeated.
 */
const OUTCOME_MS_MIN = 1000
const OUTCOME_MS_MAX = 15_000
const OUTCOME_WITHIN_MS = 60_000
const ROWS = 24
const ROWS_PER_MINUTE = 12
const CAMPAIGN = 'two-versions'
/**
 * Time in ms after which a person who is rung hangs up. The agent never stops speaking, so a person who waited for a
 * pause would never hang up.
 */
const PERSON_MS = 12_000
const PERSON: CallerScript = {
  ...{ name: 'person', rules: [], order: null, reactionMs: 0, patienceMs: 500 },
  steps: [
    { act: { type: 'wait', ms: PERSON_MS }, heard: [], interruptAfterMs: 0 },
    { act: { type: 'hangup' }, heard: [], interruptAfterMs: null },
  ],
}
/** Additional loss of a node, which comes after the other losses that a call has had. */
const LOST_AGAIN: Pick<ResumedRecord, 'why' | 'streamMs'> = { why: 'node-lost', streamMs: Infinity }
/** Maximum number of parts of a call, in versions that counted each part. */
const OLD_RESUMES_MAX = 3
/** Time limit in ms in which callers whose stream broke must get their next stream. */
const BACK_MS = 16_000
const SETTLE_MS = 3000
/** Maximum time in ms after the last call until all records and messages exist. */
const KEPT_MS_MAX = 60_000
/**
 * Maximum time in ms until all rows have a result. The limit is long enough to call all rows at the campaign's rate
 * after the nodes were down.
 */
const ROWS_MS_MAX = (ROWS / ROWS_PER_MINUTE) * 60_000 + KEPT_MS_MAX
const SHOWN_MAX = 5

type Version = 'old' | 'new'
interface Step {
  readonly name: string
  readonly node: number
  /** `drain`: the node drains and moves its calls. `kill`: the calls lose their node. */
  readonly ends: 'drain' | 'kill'
  readonly starts: Version
}

/**
 * Steps of the test. Each node is upgraded, one of them goes back, and nodes of both versions die while nodes of the
 * other version are running.
 */
const STEPS: readonly Step[] = [
  { name: 'gw-1 upgraded', node: 0, ends: 'drain', starts: 'new' },
  { name: 'gw-2 killed, the old version', node: 1, ends: 'kill', starts: 'old' },
  { name: 'gw-1 killed, the new version', node: 0, ends: 'kill', starts: 'new' },
  { name: 'gw-2 upgraded', node: 1, ends: 'drain', starts: 'new' },
  { name: 'gw-1 back to the old version', node: 0, ends: 'drain', starts: 'old' },
  { name: 'gw-2 killed, the new version', node: 1, ends: 'kill', starts: 'new' },
  { name: 'gw-3 upgraded', node: 2, ends: 'drain', starts: 'new' },
  { name: 'gw-1 killed, the old version, and upgraded', node: 0, ends: 'kill', starts: 'new' },
]

const TOOLS = [
  {
    name: 'open_ticket',
    description: 'Opens a ticket.',
    parameters: { properties: { subject: { type: 'string' } } },
    http: {
      method: 'POST',
      url: '{{env.SHOP_API_URL}}/tickets',
      body: { subject: '{{args.subject}}', call: '{{call.sid}}' },
    },
  },
  CHARGE_TOOL,
]

interface StepRow {
  readonly step: string
  /** Number of calls at the node, and number of these that got another stream. */
  readonly calls: number
  readonly back: number
  /** Text about the publications during the step: the published texts, and the nodes that have the last text. */
  readonly published: string
}

interface Upgrade {
  readonly lines: readonly string[]
  readonly missed: readonly string[]
  readonly results: object
}

/**
 * Tests a fleet of this version and another version. Three nodes are upgraded one after another, and one of them goes
 * back.
 */
export async function twoVersions(other: OtherVersion, seed: number, say: (line: string) => void): Promise<Upgrade> {
  const receiver = await startReceiver()
  const fleet = await startFleet({
    nodes: NODES,
    program: other,
    callee: PERSON,
    ownAgents: true,
    agent: { tools: TOOLS, outbound: { greeting: 'Hello.', amd: null } },
    env: {
      SAUTIKIT_AFTER_STREAM: 'continues',
      DRAIN_TIMEOUT: '2s',
      MESSAGES_FILE: receiver.file,
      OUTBOUND_PREFIXES: '+254',
      OUTBOUND_PER_MINUTE: '600',
    },
  })
  try {
    return await new TwoVersions(fleet, other, receiver, seed).run(say)
  } finally {
    await fleet.close()
    receiver.close()
  }
}

class TwoVersions {
  readonly #fleet: Fleet
  readonly #programs: Readonly<Record<Version, NodeProgram>>
  readonly #other: OtherVersion
  readonly #receiver: CountingReceiver
  readonly #random: () => number
  readonly #live = new Map<FleetCall, () => void>()
  readonly #over = new Set<Promise<void>>()
  readonly #results: SimulatedCallResult[] = []
  /** Calls whose callers have hung up. */
  readonly #left = new Set<string>()
  /** HTTP statuses of the answers when a payment's outcome was posted, by call. */
  readonly #outcomes = new Map<string, readonly number[]>()
  readonly #posting: Promise<void>[] = []
  /** For each node, the times from its end to its next start. */
  readonly #away: { readonly fromMs: number; readonly untilMs: number }[] = []
  /**
   * Version that made a call's record, by call and by node. Records of nodes that have ended in the meantime are
   * included.
   */
  readonly #madeBy = new Map<string, Map<string, Version>>()
  /** Version of the node that requested the payment, by call. */
  readonly #chargedBy = new Map<string, Version>()
  /** Log lines of nodes that have ended, by version. Also the number of lines of each node among these. */
  readonly #linesBy: Readonly<Record<Version, string[]>> = { old: [], new: [] }
  readonly #linesRead = new Map<FleetNode, number>()
  #campaign = ''
  #callers = 0
  #texts = 0

  constructor(fleet: Fleet, other: OtherVersion, receiver: CountingReceiver, seed: number) {
    this.#fleet = fleet
    this.#programs = { old: other, new: { main: MAIN, env: EDITS } }
    this.#other = other
    this.#receiver = receiver
    this.#random = seededRandom(seed)
  }

  async run(say: (line: string) => void): Promise<Upgrade> {
    const rows: StepRow[] = []
    const churn = setInterval(() => this.#ring(), ARRIVAL_MS)
    const charges = setInterval(() => this.#postOutcomes(), 200)
    let campaign: string
    try {
      await sleep(5 * SETTLE_MS)
      campaign = await this.#startCampaign()
      for (const step of STEPS) {
        const row = await this.#take(step)
        rows.push(row)
        say(`${row.step}: ${row.back} of ${row.calls} calls have another stream; ${row.published}`)
      }
    } finally {
      clearInterval(churn)
    }
    const rowsLeft = await this.#campaignEnds()
    for (const leave of this.#live.values()) leave()
    await Promise.all(this.#over)
    clearInterval(charges)
    await Promise.all(this.#posting)
    return this.#judged(rows, campaign, rowsLeft)
  }

  // --- activity during the test --------------------------------------------------------------------------------

  #ring(): void {
    let left = this.#random()
    const { digits } = CALLERS.find(({ share }) => (left -= share) < 0) ?? CALLERS[0]
    const call = this.#fleet.call({ from: `+2547${String(++this.#callers).padStart(6, '0')}${digits}` })
    const leave = (): void => {
      this.#left.add(call.callSid)
      call.hangUp()
    }
    const timer = setTimeout(leave, CALL_MS_MIN + this.#random() * (CALL_MS_MAX - CALL_MS_MIN))
    this.#live.set(call, leave)
    const over = call.done.then((result) => {
      clearTimeout(timer)
      this.#live.delete(call)
      this.#results.push(result)
      this.#over.delete(over)
    })
    this.#over.add(over)
  }

  #postOutcomes(): void {
    for (const { callSid, callback } of this.#fleet.shop.requests) {
      if (callback === null || this.#outcomes.has(callSid)) continue
      this.#outcomes.set(callSid, [])
      const asked = [...this.#live.keys()].find((call) => call.callSid === callSid)?.owners.at(-1)
      const node = this.#fleet.nodes.find(({ name }) => name === asked)
      if (node !== undefined) this.#chargedBy.set(callSid, this.#versionOf(node))
      const afterMs = OUTCOME_MS_MIN + this.#random() * (OUTCOME_MS_MAX - OUTCOME_MS_MIN)
      this.#posting.push(this.#postOutcome(callSid, callback, afterMs))
    }
  }

  /** Posts in the way of an API: again and again until the post is accepted. */
  async #postOutcome(callSid: string, url: string, afterMs: number): Promise<void> {
    await sleep(afterMs)
    const body = JSON.stringify({ status: 'succeeded', result: { receipt: 'QX1' } })
    const headers = { 'content-type': 'application/json' }
    const statuses: number[] = []
    for (const untilMs = performance.now() + OUTCOME_WITHIN_MS; performance.now() < untilMs; await sleep(500)) {
      const answer = await fetch(url, { method: 'POST', headers, body }).catch(() => null)
      statuses.push(answer?.status ?? 0)
      await answer?.arrayBuffer().catch(() => undefined)
      if (answer !== null && answer.status < 500) break
    }
    this.#outcomes.set(callSid, statuses)
  }

  /** @returns its id */
  async #startCampaign(): Promise<string> {
    const [node] = this.#fleet.nodes as readonly [FleetNode]
    const rows = Array.from({ length: ROWS }, (_, i) => `+254799${String(i).padStart(4, '0')}01`)
    const made = await node.ops('/api/campaigns', {
      ...{ name: CAMPAIGN, agent: 'fleet', from: OUR_NUMBER, window: 'Mon-Sun 00:00-24:00' },
      ...{
        timeZone: 'Africa/Nairobi',
        perMinute: ROWS_PER_MINUTE,
        tries: 1,
        errorPercent: 100,
        csv: `phone\n${rows.join('\n')}\n`,
      },
    })
    if (made.status !== 201) throw new Error(`a campaign is answered ${made.status}: ${await made.text()}`)
    const id = ((await made.json()) as { readonly campaign: { readonly id: string } }).campaign.id
    const started = await node.ops(`/api/campaigns/${id}/start`, {})
    if (started.status !== 200) throw new Error(`its start is answered ${started.status}: ${await started.text()}`)
    return id
  }

  /** @returns the number of rows without a result */
  async #campaignEnds(): Promise<number> {
    const [node] = this.#fleet.nodes as readonly [FleetNode]
    let left = ROWS
    const done = async (): Promise<boolean> => {
      const view = (await (await node.ops(`/api/campaigns/${CAMPAIGN}`)).json()) as {
        readonly results?: Readonly<Record<string, number>>
        readonly stands?: string
        readonly waiting?: number
        readonly calling?: number
      }
      this.#campaign = `${view.stands ?? '-'} ${JSON.stringify(view.results)}, ${view.waiting ?? '-'} wait, ${view.calling ?? '-'} are called`
      left = ROWS - Object.values(view.results ?? {}).reduce((sum, count) => sum + count, 0)
      return left === 0
    }
    await until(() => done().catch(() => false), ROWS_MS_MAX, 'the end of the campaign').catch(() => undefined)
    return left
  }

  async #take({ name, node: index, ends, starts }: Step): Promise<StepRow> {
    const node = this.#fleet.nodes[index] as FleetNode
    const at = [...this.#live.keys()].filter(
      (call) => call.owners.at(-1) === node.name && call.closes < call.owners.length,
    )
    const before = new Map(at.map((call) => [call, call.owners.length]))
    const fromMs = performance.now()
    await (ends === 'drain' ? node.drain() : node.kill())
    const goesOn = (call: FleetCall): boolean => call.owners.length > (before.get(call) ?? 0) || !this.#live.has(call)
    await until(() => at.every(goesOn), BACK_MS, 'the next streams').catch(() => undefined)
    const published = await this.#publish(index)
    this.#noteRun(node)
    await node.start(this.#programs[starts])
    this.#away.push({ fromMs, untilMs: performance.now() })
    await sleep(SETTLE_MS)
    return { step: name, calls: at.length, back: at.filter(goesOn).length, published }
  }

  #versionOf(node: FleetNode): Version {
    return node.program === this.#programs.new ? 'new' : 'old'
  }

  /** Assigns the records and log lines of a node since its last start to the program that it was running. */
  #noteRun(node: FleetNode): void {
    const version = this.#versionOf(node)
    for (const { callSid } of node.records()) {
      const by = this.#madeBy.get(callSid) ?? new Map<string, Version>()
      if (!by.has(node.name)) this.#madeBy.set(callSid, by.set(node.name, version))
    }
    this.#linesBy[version].push(...node.lines.slice(this.#linesRead.get(node) ?? 0))
    this.#linesRead.set(node, node.lines.length)
  }

  /** Publishes an edit of the agent at a node of this version while another node is down. */
  async #publish(away: number): Promise<string> {
    const node = this.#fleet.nodes.find(({ program }, index) => index !== away && program === this.#programs.new)
    if (node === undefined) return 'no node of this version is there to publish at'
    try {
      const opened = await node.ops('/api/editor/open', { file: 'fleet.yaml' })
      if (opened.status !== 200) return `${node.name} shows no text: ${await opened.text()}`
      const { text, hash } = (await opened.json()) as { readonly text: string; readonly hash: string }
      const edited = { ...(JSON.parse(text) as object), greeting: `Hello number ${++this.#texts}.` }
      const answer = await node.ops('/api/editor/publish', {
        file: 'fleet.yaml',
        text: JSON.stringify(edited),
        base: hash,
      })
      const { nodes } = (await answer.json()) as {
        readonly nodes?: readonly { readonly name: string; readonly outcome: string; readonly why: string | null }[]
      }
      if (nodes === undefined) return `text ${this.#texts} is answered ${answer.status}`
      return `text ${this.#texts}: ${nodes.map(({ name, outcome }) => `${name} ${outcome}`).join(', ')}`
    } catch (thrown) {
      return `text ${this.#texts} is not published: ${messageOf(thrown)}`
    }
  }

  // --- results -------------------------------------------------------------------------------------------------

  async #judged(rows: readonly StepRow[], campaign: string, rowsLeft: number): Promise<Upgrade> {
    const { nodes, placed } = this.#fleet
    await until(() => Promise.resolve(placed.length >= ROWS), KEPT_MS_MAX, 'the placed calls').catch(() => undefined)
    const heard = [...this.#results, ...placed].filter(({ streams }) => streams.length > 0)
    const left = heard.filter((result) => !this.#hasLeft(result) || waitedMs(result) > BACK_MS)
    const unheard = this.#results.filter(({ streams }) => streams.length === 0)
    const rung = count(placed.map(({ to }) => to))
    const requested = count(
      this.#fleet.shop.requests.map(
        ({ callSid, callback }) => `${callSid} ${callback === null ? 'ticket' : 'payment'}`,
      ),
    )

    const sids = heard.map(({ callSid }) => callSid)
    let records = new Map<string, string[]>()
    const complete = (): boolean => {
      records = new Map()
      for (const node of nodes)
        for (const callSid of new Set(node.finalRecords()))
          records.set(callSid, [...(records.get(callSid) ?? []), node.name])
      return sids.every((callSid) => records.has(callSid))
    }
    await until(complete, KEPT_MS_MAX, 'a record of each call').catch(() => undefined)
    const without = sids.filter((callSid) => !records.has(callSid))
    const twiceRecorded = [...records].filter(([, at]) => at.length > 1)
    const untold = await this.#receiver.missing(messagesOf(sids), KEPT_MS_MAX)
    const twice = [...this.#receiver.ids].filter(([, atMs]) => atMs.length > 1)
    // A node may have had the message on its disk when it ended. It cannot know that another node has sent the message.
    // So a message is sent at least once, always with the same id.
    const unexcused = twice.filter(
      ([, atMs]) =>
        !this.#away.some(({ fromMs, untilMs }) => fromMs <= (atMs.at(-1) ?? 0) && (atMs[0] ?? 0) <= untilMs),
    )
    for (const node of nodes) this.#noteRun(node)
    const recordOf = new Map(nodes.flatMap((node) => node.records()).map((record) => [record.callSid, record]))
    const resumedOf = (callSid: string): readonly ResumedRecord[] => recordOf.get(callSid)?.resumed ?? []
    const old = this.#other.commit.slice(0, 8)
    /** True if the other version has this fault, and all data of the call comes from nodes of that version. */
    const isOfOldWith = (fault: OldFault, callSid: string): boolean => {
      const by = [...(this.#madeBy.get(callSid)?.values() ?? [])]
      return this.#other.faults.has(fault) && by.length > 0 && by.every((version) => version === 'old')
    }
    const oldWrote = (callSid: string, text: string): boolean =>
      this.#linesBy.old.some((line) => line.includes(callSid) && line.includes(text))
    /**
     * Actions that follow from a version's own rule, or from a fault that has been corrected since. They are shown with
     * their reason, and do not count as missed targets.
     */
    const expected: { readonly why: string; readonly callSids: readonly string[] }[] = []
    const isExpected = (why: string, of: readonly string[], is: (callSid: string) => boolean): Set<string> => {
      const callSids = of.filter(is)
      if (callSids.length > 0) expected.push({ why, callSids })
      return new Set(callSids)
    }
    const severalSids = twiceRecorded.map(([callSid]) => callSid)
    const openedTwice = isExpected(
      `calls that they had placed were opened by two nodes of ${old}`,
      severalSids,
      (callSid) => isOfOldWith('opens-twice', callSid) && placed.some((call) => call.callSid === callSid),
    )
    const isRungOver = (callSid: string): boolean =>
      this.#other.faults.has('repeated-order-rings') && oldWrote(callSid, 'an outbound call was not answered')
    const rungOver = isExpected(
      `calls have a second record, which a node of ${old} made of an order that it had repeated for a dead node`,
      severalSids,
      isRungOver,
    )
    /** The call has one record. Nodes of the other version may have additional records, where that is allowed. */
    const hasOneBeside = (callSid: string, isSecond: (record: KeptRecord) => boolean): boolean =>
      nodes.filter((node) => {
        const isOfOld = this.#madeBy.get(callSid)?.get(node.name) === 'old'
        return node.records().some((record) => record.callSid === callSid && !(isOfOld && isSecond(record)))
      }).length === 1
    const reopened = isExpected(
      `calls that they had placed have a second record, without a stream, of a node of ${old}, which opened them after their end`,
      severalSids,
      (callSid) =>
        !openedTwice.has(callSid) &&
        !rungOver.has(callSid) &&
        this.#other.faults.has('reopens-ended') &&
        placed.some((call) => call.callSid === callSid) &&
        hasOneBeside(callSid, ({ durationMs }) => durationMs === 0),
    )
    const recovered = isExpected(
      `calls have a second record, which a node of ${old} made of what a dead node had kept, and asked nobody`,
      severalSids,
      (callSid) =>
        ![openedTwice, rungOver, reopened].some((of) => of.has(callSid)) &&
        this.#other.faults.has('lost-unasked') &&
        hasOneBeside(callSid, ({ endReason }) => endReason === 'process-died'),
    )
    const several = twiceRecorded.filter(
      ([callSid]) => ![openedTwice, rungOver, reopened, recovered].some((of) => of.has(callSid)),
    )
    const ends = left.map(({ callSid }) => callSid).filter((callSid) => !openedTwice.has(callSid))
    const excused = new Set([
      ...isExpected(
        `calls ended at a node of ${old} which had moved or lost their node ${OLD_RESUMES_MAX} times: there a planned move counts`,
        ends,
        (callSid) => isOfOldWith('moves-count', callSid) && resumedOf(callSid).length >= OLD_RESUMES_MAX,
      ),
      ...isExpected(
        'calls ended that had lost their node as often as a call may (docs/closures/nodes.md)',
        ends,
        (callSid) =>
          !isOfOldWith('moves-count', callSid) && !mayGoOn([...resumedOf(callSid), LOST_AGAIN as ResumedRecord]),
      ),
      ...isExpected(
        `people were hung up by a node of ${old} that was stopped: its order that it had repeated for a dead node counts as ringing`,
        ends,
        isRungOver,
      ),
    ])
    const movedLate = isExpected(
      `callers were hung up by a node of ${old} that was stopped: the one that had taken their call answered late`,
      left.filter(({ ended }) => ended.by === 'document').map(({ callSid }) => callSid),
      (callSid) =>
        this.#other.faults.has('late-move-hangs-up') && oldWrote(callSid, '"detail":"another node has this call"'),
    )
    const turnedAway = isExpected(
      `callers were refused by a node of ${old} that was stopped: Redis had not answered its claim in time`,
      unheard.map(({ callSid }) => callSid),
      (callSid) => this.#other.faults.has('refuses-without-store') && oldWrote(callSid, '"reason":"draining"'),
    )
    const noStream = unheard.filter(({ callSid }) => !turnedAway.has(callSid))
    const hungUp = isExpected(
      `people whom a dead node had rung were hung up by nodes of ${old}, which alone had their calls`,
      left.filter(({ ended }) => ended.by === 'api').map(({ callSid }) => callSid),
      (callSid) => isOfOldWith('hangs-up-rung', callSid) && placed.some((call) => call.callSid === callSid),
    )
    const cut = left.filter(
      ({ callSid }) =>
        !excused.has(callSid) && !openedTwice.has(callSid) && !movedLate.has(callSid) && !hungUp.has(callSid),
    )
    const notSucceeded = [...this.#outcomes]
      .filter(([callSid, statuses]) => statuses.at(-1) === 200 && recordOf.has(callSid))
      .map(([callSid]) => callSid)
      .filter((callSid) => recordOf.get(callSid)?.waits[0]?.status !== 'succeeded')
    const withoutWaits = isExpected(
      `outcomes are not in the record that a node of ${old} made of a lost call: it has none there`,
      notSucceeded,
      (callSid) => isOfOldWith('lost-without-waits', callSid) && recordOf.get(callSid)?.endReason === 'process-died',
    )
    const late = isExpected(
      `outcomes came too late for calls whose node of ${old} was killed right after the request: it had not kept the wait yet`,
      [...this.#outcomes].filter(([, statuses]) => statuses.at(-1) === 410).map(([callSid]) => callSid),
      (callSid) =>
        this.#other.faults.has('wait-kept-late') &&
        this.#chargedBy.get(callSid) === 'old' &&
        recordOf.get(callSid)?.waits.length === 0,
    )
    const atStranger = isExpected(
      `outcomes were posted to a node of ${old} that had opened the call too: it answers for it although another one has it`,
      [...this.#outcomes].filter(([, statuses]) => statuses.at(-1) === 410).map(([callSid]) => callSid),
      (callSid) =>
        !late.has(callSid) &&
        this.#other.faults.has('answers-for-others') &&
        oldWrote(callSid, 'a call that ended here was continued by another node'),
    )
    const untaken = [...this.#outcomes].filter(
      ([callSid, statuses]) => statuses.at(-1) !== 200 && !late.has(callSid) && !atStranger.has(callSid),
    )
    const untoldByOld = isExpected(
      `messages of the start are missing of calls whose first node died before their stream: ${old} tells none when it goes on`,
      untold,
      (id) =>
        this.#other.faults.has('started-untold') &&
        id.endsWith(':call.started') &&
        oldWrote(id.slice(0, id.indexOf(':')), '"stream_ms":0,"msg":"call resumed"'),
    )
    // These lines do not name a call. So each line excuses only one call.
    const isUnstored = (line: string): boolean => line.includes('the intent of an action could not be stored')
    let unstored = this.#linesBy.old.filter(isUnstored).length
    const isPayment = (one: string): boolean => one.endsWith(' payment')
    const actedUnstored = isExpected(
      `payments were asked for again after a node of ${old} had asked without a stored intent`,
      requested.filter(isPayment).map((one) => one.split(' ')[0] ?? ''),
      (callSid) => this.#other.faults.has('acts-unstored') && this.#chargedBy.get(callSid) === 'old' && unstored-- > 0,
    )
    const charged = requested.filter((one) => !isPayment(one) || !actedUnstored.has(one.split(' ')[0] ?? ''))
    const unsent = untold.filter((id) => !untoldByOld.has(id))
    const lost = notSucceeded.filter((callSid) => !withoutWaits.has(callSid))
    const hashes = await this.#hashes()

    const list = (of: readonly unknown[], one: string): string =>
      `${of.length} ${one}, such as ${JSON.stringify(of.slice(0, SHOWN_MAX))}`
    const missed = [
      ...(cut.length > 0
        ? [
            list(
              cut.map(({ callSid, ended }) => `${callSid} by the ${ended.by}: ${ended.why}`),
              'callers were cut off',
            ),
          ]
        : []),
      ...(noStream.length > 0
        ? [
            list(
              noStream.map(({ callSid, verbs }) => `${callSid}: ${verbs.join(' ')}`),
              'callers had no stream',
            ),
          ]
        : []),
      ...(without.length > 0 ? [list(without, 'calls have no record')] : []),
      ...(several.length > 0 ? [list(several, 'calls have several records')] : []),
      ...(unsent.length > 0 ? [list(unsent, 'messages are missing')] : []),
      ...(unexcused.length > 0
        ? [
            list(
              unexcused.map(([id]) => id),
              'messages came twice, and no node was away',
            ),
          ]
        : []),
      ...(rung.length > 0 ? [list(rung, 'people were rung twice')] : []),
      ...(charged.length > 0 ? [list(charged, 'effects were carried out twice')] : []),
      ...(untaken.length > 0 ? [list(untaken, 'outcomes were not taken')] : []),
      ...(lost.length > 0 ? [list(lost, 'outcomes are not in the record')] : []),
      ...(rowsLeft > 0 ? [`${rowsLeft} rows of the campaign have no result: ${this.#campaign}`] : []),
      ...(new Set(hashes).size > 1 ? [`the nodes have different texts: ${hashes.join(', ')}`] : []),
    ]
    const broken = heard.filter(({ streams }) => streams.length > 1)
    const gaps = broken
      .flatMap(({ streams }) =>
        streams.slice(1).map((next, i) => next.openedMs - (streams[i]?.closedMs ?? next.openedMs)),
      )
      .sort((a, b) => a - b)
    const lines = [
      `\nthree nodes, this version and ${this.#other.commit.slice(0, 8)}, Redis and HAProxy on this machine`,
      ...columns(
        rows,
        ['step', ({ step }) => step],
        ['calls', ({ calls }) => calls],
        ['go on', ({ back }) => back],
        ['edit', ({ published }) => published],
      ),
      `\n${this.#results.length} callers and ${placed.length} people who were called; ${broken.length} calls had several streams, ${gaps.length} moves in all`,
      `from the end of a stream to the next one: ${Math.round(gaps[Math.floor(gaps.length / 2)] ?? 0)} ms in the middle, ${Math.round(gaps.at(-1) ?? 0)} ms at most`,
      `${this.#outcomes.size} payments, ${records.size} records, ${this.#receiver.ids.size} messages, ${twice.length} of them twice, with one id, while a node was away`,
      ...expected.map(({ why, callSids }) => `EXPECTED: ${list(callSids, why)}`),
      ...missed.map((what) => `NOT MET: ${what}`),
    ]
    const groups = [
      ...[without, several.map(([sid]) => sid), cut.map(({ callSid }) => callSid)],
      ...[noStream.map(({ callSid }) => callSid), untaken.map(([sid]) => sid), charged.map((one) => one.split(' ')[0])],
    ]
    for (const group of groups)
      for (const callSid of group.slice(0, SHOWN_MAX)) lines.push(...this.#logOf(callSid ?? ''))
    if (missed.length > 0) lines.push(`logs of the nodes: ${this.#writeLogs()}`)
    return {
      lines,
      missed,
      results: { with: this.#other.commit, rows, campaign, calls: heard.length, gaps, missed, expected },
    }
  }

  /** Hashes of the texts that the nodes have. */
  async #hashes(): Promise<readonly string[]> {
    return Promise.all(
      this.#fleet.nodes.map(async (node) => {
        const answer = await node.ops('/api/editor/open', { file: 'fleet.yaml' }).catch(() => null)
        return answer?.status === 200 ? ((await answer.json()) as { readonly hash: string }).hash : 'none'
      }),
    )
  }

  #hasLeft({ callSid, ended }: SimulatedCallResult): boolean {
    return this.#left.has(callSid) || ended.by === 'caller' || ended.by === 'callee'
  }

  #writeLogs(): string {
    const folder = mkdtempSync(join(tmpdir(), 'mkondo-two-versions-'))
    for (const { name, lines } of this.#fleet.nodes) writeFileSync(join(folder, `${name}.log`), `${lines.join('\n')}\n`)
    const ids = [...this.#receiver.ids].map(([id, atMs]) => `${id} ${atMs.map(Math.round).join(' ')}`)
    writeFileSync(join(folder, 'messages.txt'), `${ids.join('\n')}\n`)
    return folder
  }

  #logOf(callSid: string): readonly string[] {
    return this.#fleet.nodes.flatMap((node) => [
      ...node.lines.filter((line) => line.includes(callSid)).map((line) => `    ${node.name}: ${line}`),
      ...node
        .records()
        .filter((record) => record.callSid === callSid)
        .map(({ endReason, durationMs }) => `    ${node.name} has its record: ${endReason}, ${durationMs} ms`),
    ])
  }
}

/** Time in ms for which the caller had waited for another stream before hanging up. */
function waitedMs({ streams, durationMs }: SimulatedCallResult): number {
  const last = streams.at(-1)
  return last === undefined || last.closedBy === 'carrier' ? 0 : durationMs - (last.closedMs ?? durationMs)
}

function count(of: readonly string[]): readonly string[] {
  const times = new Map<string, number>()
  for (const one of of) times.set(one, (times.get(one) ?? 0) + 1)
  return [...times].filter(([, count]) => count > 1).map(([one]) => one)
}

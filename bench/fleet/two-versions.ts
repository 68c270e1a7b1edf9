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
import type { Fleet, FleetCall, FleetNode, NodeProgram } from '../../test/support/fleet.js'
import { until } from '../../test/support/until.js'
import { messagesOf, startReceiver } from '../kit/receiver.js'
import type { CountingReceiver } from '../kit/receiver.js'
import { columns } from '../terminal.js'
import { EDITS } from './other-version.js'
import type { OtherVersion } from './other-version.js'

const NODES = 3
/** A caller stays for so long, at least and at most. */
const CALL_MS_MIN = 8000
const CALL_MS_MAX = 45_000
const ARRIVAL_MS = 1000
/** Callers by the last two digits of their number (`test/support/tone-backend.ts`). */
const CALLERS = [
  { digits: '01', share: 0.6 },
  { digits: '02', share: 0.15 },
  { digits: '05', share: 0.25 },
] as const
/** When a payment's outcome is posted, after it was asked for, and for how long it is posted again. */
const OUTCOME_MS_MIN = 1000
const OUTCOME_MS_MAX = 15_000
const OUTCOME_WITHIN_MS = 60_000
const ROWS = 24
const ROWS_PER_MINUTE = 12
const CAMPAIGN = 'two-versions'
/** Whoever is rung leaves after this: the agent never stops speaking, so a person who waits for a pause would stay for ever. */
const PERSON_MS = 12_000
const PERSON: CallerScript = {
  ...{ name: 'person', rules: [], order: null, reactionMs: 0, patienceMs: 500 },
  steps: [
    { act: { type: 'wait', ms: PERSON_MS }, heard: [], interruptAfterMs: 0 },
    { act: { type: 'hangup' }, heard: [], interruptAfterMs: null },
  ],
}
/** Another lost node, after those that a call has had. */
const LOST_AGAIN: Pick<ResumedRecord, 'why' | 'streamMs'> = { why: 'node-lost', streamMs: Infinity }
/** The most parts that a call had in versions that counted each of them. */
const OLD_RESUMES_MAX = 3
/** How long callers whose stream broke have for the next one. */
const BACK_MS = 16_000
const SETTLE_MS = 3000
/** How long records, messages and rows may take after the last call. */
const KEPT_MS_MAX = 60_000
const SHOWN_MAX = 5

type Version = 'old' | 'new'
interface Step {
  readonly name: string
  readonly node: number
  /** Drains and moves its calls; else these lose their node. */
  readonly ends: 'drain' | 'kill'
  readonly starts: Version
}

/** Each node is upgraded, one of them goes back, and nodes of both versions die beside nodes of the other. */
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
  /** Calls that were at the node, and those of them that got another stream. */
  readonly calls: number
  readonly back: number
  /** Texts that were published during it, and the nodes of the fleet that took the last one. */
  readonly published: string
}

interface Upgrade {
  readonly lines: readonly string[]
  readonly missed: readonly string[]
  readonly results: object
}

/** A fleet of this version and another one, side by side: three nodes are upgraded one after the other, and one back. */
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
  readonly #commit: string
  readonly #receiver: CountingReceiver
  readonly #random: () => number
  readonly #live = new Map<FleetCall, () => void>()
  readonly #over = new Set<Promise<void>>()
  readonly #results: SimulatedCallResult[] = []
  /** Calls whose callers have left by themselves. */
  readonly #left = new Set<string>()
  /** By call: the statuses that its payment's outcome was answered with. */
  readonly #outcomes = new Map<string, readonly number[]>()
  readonly #posting: Promise<void>[] = []
  /** From the end of a node to its next start, each time. */
  readonly #away: { readonly fromMs: number; readonly untilMs: number }[] = []
  /** By call: the version of the node that made its record, as far as that node has ended since. */
  readonly #madeBy = new Map<string, Version>()
  #campaign = ''
  #callers = 0
  #texts = 0

  constructor(fleet: Fleet, other: OtherVersion, receiver: CountingReceiver, seed: number) {
    this.#fleet = fleet
    this.#programs = { old: other, new: { main: MAIN, env: EDITS } }
    this.#commit = other.commit
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

  // --- what goes on --------------------------------------------------------------------------------------------

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
      const afterMs = OUTCOME_MS_MIN + this.#random() * (OUTCOME_MS_MAX - OUTCOME_MS_MIN)
      this.#posting.push(this.#postOutcome(callSid, callback, afterMs))
    }
  }

  /** As an API does: again until it is taken. */
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

  /** @returns rows that have no result */
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
    await until(() => done().catch(() => false), KEPT_MS_MAX, 'the end of the campaign').catch(() => undefined)
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
    this.#noteMakers(node)
    await node.start(this.#programs[starts])
    this.#away.push({ fromMs, untilMs: performance.now() })
    await sleep(SETTLE_MS)
    return { step: name, calls: at.length, back: at.filter(goesOn).length, published }
  }

  /** Records of a node since its last start are of the program that it ran. */
  #noteMakers(node: FleetNode): void {
    const version = node.program === this.#programs.new ? 'new' : 'old'
    for (const { callSid } of node.records()) if (!this.#madeBy.has(callSid)) this.#madeBy.set(callSid, version)
  }

  /** An operator edits the agent at a node of this version, while another one is away. */
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

  // --- what came of it -----------------------------------------------------------------------------------------

  async #judged(rows: readonly StepRow[], campaign: string, rowsLeft: number): Promise<Upgrade> {
    const { nodes, placed } = this.#fleet
    await until(() => Promise.resolve(placed.length >= ROWS), KEPT_MS_MAX, 'the placed calls').catch(() => undefined)
    const heard = [...this.#results, ...placed].filter(({ streams }) => streams.length > 0)
    const left = heard.filter((result) => !this.#hasLeft(result) || waitedMs(result) > BACK_MS)
    const unheard = this.#results.filter(({ streams }) => streams.length === 0)
    const rung = count(placed.map(({ to }) => to))
    const charged = count(this.#fleet.shop.requests.map(({ callSid, callback }) => `${callSid} ${callback === null}`))
    const untaken = [...this.#outcomes].filter(([, statuses]) => statuses.at(-1) !== 200)

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
    const several = [...records].filter(([, at]) => at.length > 1)
    const unsent = await this.#receiver.missing(messagesOf(sids), KEPT_MS_MAX)
    const twice = [...this.#receiver.ids].filter(([, atMs]) => atMs.length > 1)
    // A node that had it on its disk when it ended cannot know that another has sent it: at least once, with one id.
    const unexcused = twice.filter(
      ([, atMs]) =>
        !this.#away.some(({ fromMs, untilMs }) => fromMs <= (atMs.at(-1) ?? 0) && (atMs[0] ?? 0) <= untilMs),
    )
    for (const node of nodes) this.#noteMakers(node)
    const recordOf = new Map(nodes.flatMap((node) => node.records()).map((record) => [record.callSid, record]))
    const isOfOld = (callSid: string): boolean => this.#madeBy.get(callSid) === 'old'
    const resumedOf = (callSid: string): readonly ResumedRecord[] => recordOf.get(callSid)?.resumed ?? []
    const old = this.#commit.slice(0, 8)
    /** Acts of a version by its own rule, or its own fault: shown with the reason, and not missed. */
    const expected: { readonly why: string; readonly callSids: readonly string[] }[] = []
    const isExpected = (why: string, of: readonly string[], is: (callSid: string) => boolean): Set<string> => {
      const callSids = of.filter(is)
      if (callSids.length > 0) expected.push({ why, callSids })
      return new Set(callSids)
    }
    const ends = left.map(({ callSid }) => callSid)
    const excused = new Set([
      ...isExpected(
        `calls ended at a node of ${old} which had moved or lost their node ${OLD_RESUMES_MAX} times: before 0.2.0 a planned move counts`,
        ends,
        (callSid) => isOfOld(callSid) && resumedOf(callSid).length >= OLD_RESUMES_MAX,
      ),
      ...isExpected(
        `people were hung up by a node of ${old} that was stopped: its order that it had repeated for a dead node counts as ringing`,
        ends,
        (callSid) =>
          isOfOld(callSid) &&
          nodes.some(({ lines }) =>
            lines.some((line) => line.includes(callSid) && line.includes('an outbound call was not answered')),
          ),
      ),
      ...isExpected(
        'calls ended that had lost their node as often as a call may (docs/closures/nodes.md)',
        ends,
        (callSid) => !isOfOld(callSid) && !mayGoOn([...resumedOf(callSid), LOST_AGAIN as ResumedRecord]),
      ),
    ])
    const cut = left.filter(({ callSid }) => !excused.has(callSid))
    const notSucceeded = [...this.#outcomes]
      .filter(([callSid, statuses]) => statuses.at(-1) === 200 && recordOf.has(callSid))
      .map(([callSid]) => callSid)
      .filter((callSid) => recordOf.get(callSid)?.waits[0]?.status !== 'succeeded')
    const withoutWaits = isExpected(
      `outcomes are not in the record that a node of ${old} made of a lost call: it writes none there`,
      notSucceeded,
      (callSid) => isOfOld(callSid) && recordOf.get(callSid)?.endReason === 'process-died',
    )
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
      ...(unheard.length > 0
        ? [
            list(
              unheard.map(({ callSid, verbs }) => `${callSid}: ${verbs.join(' ')}`),
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
      `\nthree nodes, this version and ${this.#commit.slice(0, 8)}, Redis and HAProxy on this machine`,
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
    for (const group of [without, several.map(([sid]) => sid), cut.map(({ callSid }) => callSid)])
      for (const callSid of group.slice(0, SHOWN_MAX)) lines.push(...this.#logOf(callSid))
    if (missed.length > 0) lines.push(`logs of the nodes: ${this.#writeLogs()}`)
    return {
      lines,
      missed,
      results: { with: this.#commit, rows, campaign, calls: heard.length, gaps, missed, expected },
    }
  }

  /** Hashes of the text that each node has. */
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

/** How long the caller had waited for another stream when they left. */
function waitedMs({ streams, durationMs }: SimulatedCallResult): number {
  const last = streams.at(-1)
  return last === undefined || last.closedBy === 'carrier' ? 0 : durationMs - (last.closedMs ?? durationMs)
}

function count(of: readonly string[]): readonly string[] {
  const times = new Map<string, number>()
  for (const one of of) times.set(one, (times.get(one) ?? 0) + 1)
  return [...times].filter(([, count]) => count > 1).map(([one]) => one)
}

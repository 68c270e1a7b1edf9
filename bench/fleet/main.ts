import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { messageOf } from '../../src/core/errors.js'
import type { MessageView } from '../../src/messages/outbox.js'
import type { SimulatedCallResult } from '../../src/carrier/call-options.js'
import type { Fleet, FleetCall, FleetNode, FleetOptions } from '../../test/support/fleet.js'
import { judge, resumedMs, startFleet } from '../../test/support/fleet.js'
import { judged } from '../kit/command.js'
import { messagesOf, startReceiver } from '../kit/receiver.js'
import type { CountingReceiver } from '../kit/receiver.js'
import { until } from '../../test/support/until.js'
import { columns } from '../terminal.js'
import { CONTINUES, FAULTS } from './faults.js'
import { builtVersion } from './other-version.js'
import { twoVersions } from './two-versions.js'
import type { Fault } from './faults.js'
import { StoreMeter, forFleetOf, loadLines } from './store-load.js'
import type { StoreLoad } from './store-load.js'

const HELP = `npm run bench -- --fleet [--calls N] [--nodes N] [--seconds S] [--fault TEXT] [--with COMMIT] [--json FILE]
  A fleet of gateways with Redis and HAProxy, and one without Redis, all real processes, under faults: what callers met with, and what Redis was asked.
  Needs redis-server and haproxy (Debian). About 8 minutes; one fault and the run without one take 1 to 2.
  --calls N      calls at once (default 60)
  --nodes N      gateways (default 3)
  --seconds S    of the run without a fault, in which Redis is measured (default 20)
  --fault TEXT   only faults whose name has one of these texts, by commas; the run without one is always made
  --with COMMIT  in place of faults: three nodes of that commit of this repository are upgraded to this version one after the other,
                 and one back, while nodes of both versions are killed. It builds the commit first. About 4 minutes
  --seed N       of who calls then, and for how long (default 1)
  --json FILE    where results go (default bench/results/)`

/** Time limit in ms of a run. The longest run takes 60 s, or twice as long on a busy machine. */
const RUN_MS_MAX = 180_000
/** Targets. */
const GAP_MS_MORE = 40
const RESUMED_MS_MAX = 3000
const RUNG_MS_MAX = 15_000
/** Maximum time in ms until an ended call has its record, even if its node has just been started again. */
const RECORDS_MS_MAX = 20_000
/** Maximum time in ms until a call's messages arrive. Messages of a lost node wait until another node claims them. */
const MESSAGES_MS_MAX = 30_000
const WEBHOOK_P99_MS_MAX = 1000
/** Maximum time in ms for which a new caller hears ringing while a node is paused. */
const RINGING_P99_MS_MAX = 800

interface Row {
  readonly fault: string
  /** Duration in s of the whole run, including the start of its fleet. */
  readonly seconds: number
  readonly calls: number
  /**
   * Number of streams that the fault had to break, and number of calls among these whose callers heard the agent again
   * or were rung.
   */
  readonly broken: number
  readonly back: number
  /** Number of calls that the fault should not have affected, and number of these whose stream broke. */
  readonly cut: number
  /** Longest time in ms without the agent's sound in these calls, and how much longer it is than without a fault. */
  readonly gapMs: number
  readonly gapMoreMs: number | null
  /**
   * Time in ms from the carrier's question to the agent's sound. For callers who are rung: from the kill to the ring.
   */
  readonly backMs: { readonly p50: number; readonly max: number } | null
  readonly webhooks: {
    readonly count: number
    readonly failed: number
    readonly p50Ms: number
    readonly p99Ms: number
    readonly maxMs: number
  }
  /** 99th percentile of the time in ms until the first webhook was answered, for calls that came during the fault. */
  readonly ringingP99Ms: number
  /** Number of refused callers, and number of these for whom a node has a call nevertheless. */
  readonly refused: number
  readonly ghosts: number
  /**
   * Final records of these calls, in the folders of all nodes: number of calls without a record, and number of calls
   * with several records.
   */
  readonly records: { readonly missing: number; readonly several: number }
  /** Number of messages of these calls that did not arrive at their receiver. */
  readonly messagesMissing: number
  /** Targets that were missed, as text; empty if all targets were met. */
  readonly missed: readonly string[]
}

/** Bench of the fleet under faults. */
export const fleetBench = judged(
  'fleet',
  HELP,
  { fault: { type: 'string', default: '' }, with: { type: 'string' } },
  { calls: [60, 1, 500], nodes: [3, 2, 20], seconds: [20, 5, 600], seed: [1, 0, 1_000_000] },
  async ({ calls, nodes, seconds, fault: texts, with: other, seed }, { say, show }) => {
    if (other !== undefined) {
      const { lines, missed, results } = await twoVersions(await builtVersion(other, say), seed, say)
      return { ok: missed.length === 0, lines, results }
    }
    const begins = (what: string): void => {
      say(what)
      show(what)
    }
    begins('without a fault')
    const receiver = await startReceiver()
    const fleets = new Fleets(nodes, receiver)
    const rows: Row[] = []
    let load: StoreLoad
    let fromMs = performance.now()
    const add = (row: Omit<Row, 'seconds'>): void => {
      const nowMs = performance.now()
      const timed = { ...row, seconds: Math.round((nowMs - fromMs) / 1000) }
      rows.push(timed)
      say(lineOf(timed))
      fromMs = nowMs
    }
    const wanted = texts.split(',')
    try {
      const quiet = await withoutFault(await fleets.with(CONTINUES), receiver, nodes, calls, seconds)
      load = quiet.load
      add(quiet.row)
      for (const fault of FAULTS.filter(({ name }) => wanted.some((text) => name.includes(text)))) {
        begins(fault.name)
        try {
          const run = async () => {
            const room = fault.full === true ? 0 : fault.room
            const env = room === undefined ? {} : { MAX_CALLS: String(Math.ceil(calls / nodes) + room) }
            const options = { ...fault.fleet, env: { ...fault.fleet.env, ...env } }
            return underFault(fault, await fleets.with(options), receiver, calls, quiet.row.gapMs)
          }
          add(await within(run(), RUN_MS_MAX))
        } catch (thrown) {
          await fleets.close()
          add(failed(fault, thrown))
        }
      }
    } finally {
      await fleets.close()
      receiver.close()
    }
    const sizes = [1000, 10_000].map((size) => forFleetOf(size, load))
    const lines = [
      `\n${nodes} nodes, ${calls} calls, Redis and HAProxy on this machine, the simulated carrier beside them`,
      ...tableOf(rows),
      ...rows.flatMap(({ fault, missed }) => missed.map((what) => `NOT MET ${fault}: ${what}`)),
      ...loadLines(load, sizes),
    ]
    const ok = rows.every(({ missed }) => missed.length === 0)
    return { ok, lines, results: { nodes, calls, rows, store: load, sizes } }
  },
)

/** @throws Error after `ms`. Work that is still running then is useless */
async function within<T>(run: Promise<T>, ms: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not over after ${ms / 1000} s`)), ms)
  })
  return Promise.race([run, late]).finally(() => clearTimeout(timer))
}

/** Maximum number of callers who were not brought back and whose log lines at the nodes are printed. */
const AWAY_SHOWN_MAX = 3

/** Current fleet. Faults that need an equal fleet share it, because a start takes longer than most faults. */
class Fleets {
  readonly #nodes: number
  readonly #receiver: CountingReceiver
  #running: { readonly options: FleetOptions; readonly fleet: Fleet } | null = null

  constructor(nodes: number, receiver: CountingReceiver) {
    this.#nodes = nodes
    this.#receiver = receiver
  }

  async with(options: FleetOptions): Promise<Fleet> {
    if (this.#running !== null && isDeepStrictEqual(this.#running.options, options)) return this.#running.fleet
    await this.close()
    const fleet = await startFleet({
      nodes: this.#nodes,
      ...options,
      env: { ...options.env, MESSAGES_FILE: this.#receiver.file },
    })
    this.#running = { options, fleet }
    return fleet
  }

  async close(): Promise<void> {
    const running = this.#running
    this.#running = null
    await running?.fleet.close()
  }
}

async function withoutFault(
  fleet: Fleet,
  receiver: CountingReceiver,
  nodes: number,
  count: number,
  seconds: number,
): Promise<{ row: Omit<Row, 'seconds'>; load: StoreLoad }> {
  const meter = new StoreMeter(fleet.redis)
  await meter.mark('idle')
  await sleep(seconds * 500)
  await meter.mark('arriving')
  const calls = await fleet.calls(count)
  await sleep(2000)
  await meter.mark('live')
  await sleep(seconds * 1000)
  await meter.mark('ending')
  const results = await ended(calls)
  await sleep(1000)
  await meter.mark('over')
  const kept = await keptOf(fleet, receiver, results)
  return { row: rowOf('none', null, results, [], null, [], [], kept), load: meter.load(nodes, count) }
}

async function underFault(
  fault: Fault,
  fleet: Fleet,
  receiver: CountingReceiver,
  count: number,
  quietGapMs: number,
): Promise<Omit<Row, 'seconds'>> {
  const { afterStream, connectRetryMs } = fault
  const how = { afterStream, ...(connectRetryMs !== undefined && { connectRetryMs }) }
  const calls = await fleet.calls(fault.full === true ? Math.floor(count * 0.75) : count, how)
  await sleep(2000)
  // Callers also arrive during the fault.
  const all = [...calls]
  const arrivals = setInterval(() => all.push(fleet.call(how)), 1000)
  const happenedMs = performance.now()
  const arrive = async (ms: number, node?: FleetNode): Promise<void> => {
    for (const untilMs = performance.now() + ms; performance.now() < untilMs; await sleep(100))
      all.push(fleet.call({ ...how, to: (state) => (state === 'Ringing' ? node : undefined) }))
  }
  const broken = await fault.happens(fleet, calls, () => all, arrive).finally(() => clearInterval(arrivals))
  await sleep(2000)
  const rungMs = fault.breaks === 'rung' ? rung(fleet, broken, happenedMs) : []
  const results = await ended(all)
  const lost = results.filter(({ callSid }) => broken.some((call) => call.callSid === callSid))
  const refused = fault.full === true ? results.filter(({ streams }) => streams.length === 0) : []
  // A caller who came while the balancer was down may also have lost a stream.
  const concerned = (result: SimulatedCallResult): boolean => lost.includes(result) || refused.includes(result)
  const others = results.filter((result) => !concerned(result) && !(broken.length === calls.length))
  const ringing = results
    .filter(({ callSid }) => !calls.some((call) => call.callSid === callSid))
    .flatMap(({ webhooks }) => webhooks.filter(({ state }) => state === 'Ringing'))
  const arrived = {
    ringingP99Ms: percentile(
      ringing.map(({ ms }) => ms),
      99,
    ),
    refused: refused.length,
    ghosts: refused.length === 0 ? 0 : await ghostsOf(fleet, refused),
  }
  const away = fault.breaks === 'resumed' ? lost.filter((result) => backAfterMs(result) === null) : []
  for (const { callSid } of away.slice(0, AWAY_SHOWN_MAX))
    for (const { name, lines } of fleet.nodes)
      for (const line of lines.filter((one) => one.includes(callSid))) console.log(`    ${name}: ${line}`)
  const kept = await keptOf(fleet, receiver, results)
  return rowOf(fault.name, fault.breaks, others, lost, quietGapMs, rungMs, results, kept, arrived, fault.backMsMax)
}

/** Number of callers without a stream for whom a node has a call. */
async function ghostsOf({ nodes }: Fleet, refused: readonly SimulatedCallResult[]): Promise<number> {
  await sleep(1000)
  const lists = await Promise.all(
    nodes.map(async (node) => {
      const { live, ended } = (await (await node.ops('/api/calls')).json()) as Record<
        string,
        { callSid: string; outcome?: string }[]
      >
      // The record of a refused caller has this outcome.
      return [...(live ?? []), ...(ended ?? []).filter(({ outcome }) => outcome !== 'refused')].map(
        ({ callSid }) => callSid,
      )
    }),
  )
  return refused.filter(({ callSid }) => lists.flat().includes(callSid)).length
}

/** Final records and messages of calls that had a stream. They may arrive some time later. */
async function keptOf(
  { nodes }: Fleet,
  receiver: CountingReceiver,
  results: readonly SimulatedCallResult[],
): Promise<Pick<Row, 'records' | 'messagesMissing'>> {
  const taken = results.filter(({ streams }) => streams.length > 0)
  let written = new Map<string, string[]>()
  const complete = (): boolean => {
    written = new Map()
    for (const node of nodes)
      // If the carrier's details are added to a record, the record is written again.
      for (const callSid of new Set(node.finalRecords()))
        written.set(callSid, [...(written.get(callSid) ?? []), node.name])
    return taken.every(({ callSid }) => written.has(callSid))
  }
  await until(complete, RECORDS_MS_MAX, 'a record of each call').catch(() => undefined)
  const missing = taken.filter(({ callSid }) => !written.has(callSid))
  const several = taken.filter(({ callSid }) => (written.get(callSid)?.length ?? 0) > 1)
  for (const { callSid } of [...missing, ...several].slice(0, AWAY_SHOWN_MAX)) {
    console.log(`    ${callSid}: records at ${written.get(callSid)?.join('+') ?? 'no node'}`)
    for (const { name, lines } of nodes)
      for (const line of lines.filter((one) => one.includes(callSid))) console.log(`    ${name}: ${line}`)
  }
  const unsent = await receiver.missing(messagesOf(taken.map(({ callSid }) => callSid)), MESSAGES_MS_MAX)
  if (unsent.length > 0) await showUnsent(nodes, unsent)
  return { records: { missing: missing.length, several: several.length }, messagesMissing: unsent.length }
}

/** Prints the location of each missing message, which shows if it is late or lost. */
async function showUnsent(nodes: readonly FleetNode[], unsent: readonly string[]): Promise<void> {
  const waiting = await Promise.all(
    nodes.map(async (node) => {
      const { messages } = (await (await node.ops('/api/messages')).json()) as { messages: readonly MessageView[] }
      return messages.map((message) => ({ at: node.name, ...message }))
    }),
  )
  for (const id of unsent.slice(0, AWAY_SHOWN_MAX)) {
    const at = waiting.flat().filter((message) => message.id === id)
    const where = at.map(
      ({ at, tries, nextTryAt, reason }) => `${at}: ${tries} tries, next ${nextTryAt ?? reason ?? '-'}`,
    )
    console.log(`    ${id}: no message; waits at ${where.length === 0 ? 'no node' : where.join('; ')}`)
    for (const { name, lines } of nodes)
      for (const line of lines.filter((one) => one.includes(id.split(':')[0] ?? id)))
        console.log(`    ${name}: ${line}`)
  }
}

async function ended(calls: readonly FleetCall[]): Promise<readonly SimulatedCallResult[]> {
  for (const call of calls) call.hangUp()
  return Promise.all(calls.map(({ done }) => done))
}

/** Times in ms after the fault at which callers were rung, for those of these callers who were rung. */
function rung(fleet: Fleet, broken: readonly FleetCall[], happenedMs: number): readonly number[] {
  return broken.flatMap(({ callSid }) => {
    const asked = fleet.carrier.seen.find(({ idempotencyKey }) => idempotencyKey === `recover-${callSid}`)
    return asked === undefined ? [] : [asked.atMs - happenedMs]
  })
}

function rowOf(
  fault: string,
  breaks: Fault['breaks'],
  others: readonly SimulatedCallResult[],
  lost: readonly SimulatedCallResult[],
  quietGapMs: number | null,
  rungMs: readonly number[],
  all: readonly SimulatedCallResult[],
  { records, messagesMissing }: Pick<Row, 'records' | 'messagesMissing'>,
  arrived: Pick<Row, 'ringingP99Ms' | 'refused' | 'ghosts'> = { ringingP99Ms: 0, refused: 0, ghosts: 0 },
  backMsMax?: number,
): Omit<Row, 'seconds'> {
  const results = all.length > 0 ? all : others
  const { cut, gapMs } = judge(others)
  const backMs = breaks === 'rung' ? rungMs : lost.flatMap((result) => backAfterMs(result) ?? [])
  const times = results.flatMap(({ webhooks }) => webhooks.map(({ ms }) => ms))
  const webhooks = {
    count: times.length,
    failed: judge(results).failed.length,
    p50Ms: percentile(times, 50),
    p99Ms: percentile(times, 99),
    maxMs: percentile(times, 100),
  }
  const gapMoreMs = quietGapMs === null ? null : Math.max(0, gapMs - quietGapMs)
  const slowest = percentile(backMs, 100)
  const limitMs = backMsMax ?? (breaks === 'rung' ? RUNG_MS_MAX : RESUMED_MS_MAX)
  const standsStill = fault.includes('standing still')
  const missed = [
    ...(cut.length > 0 ? [`${cut.length} calls cut that need not be, such as ${cut[0] ?? ''}`] : []),
    ...(webhooks.failed > 0 ? [`${webhooks.failed} webhooks failed`] : []),
    ...(webhooks.p99Ms > (backMsMax ?? WEBHOOK_P99_MS_MAX) && !standsStill
      ? [`webhooks took ${webhooks.p99Ms} ms at p99`]
      : []),
    ...(arrived.ringingP99Ms > RINGING_P99_MS_MAX && standsStill
      ? [`new callers rang for ${arrived.ringingP99Ms} ms at p99`]
      : []),
    ...(arrived.ghosts > 0 ? [`${arrived.ghosts} of ${arrived.refused} refused callers have a call`] : []),
    ...(gapMoreMs !== null && gapMoreMs > GAP_MS_MORE && !standsStill
      ? [`a gap of ${gapMs} ms, ${gapMoreMs} ms more than without a fault`]
      : []),
    ...(backMs.length < lost.length
      ? [`${lost.length - backMs.length} of ${lost.length} callers not brought back, such as ${example(lost, breaks)}`]
      : []),
    ...(records.missing > 0 ? [`${records.missing} calls without a record`] : []),
    ...(records.several > 0 ? [`${records.several} calls with several records`] : []),
    ...(messagesMissing > 0 ? [`${messagesMissing} messages are missing`] : []),
    ...(slowest > limitMs ? [`a caller was brought back after ${slowest} ms`] : []),
  ]
  return {
    fault,
    calls: results.length,
    broken: lost.length,
    back: backMs.length,
    cut: cut.length,
    gapMs,
    gapMoreMs,
    backMs: backMs.length === 0 ? null : { p50: percentile(backMs, 50), max: slowest },
    webhooks,
    ...arrived,
    records,
    messagesMissing,
    missed,
  }
}

/** Time as in `resumedMs`. It is also null if the caller's last stream ended before the caller hung up. */
function backAfterMs(result: SimulatedCallResult): number | null {
  return result.streams.at(-1)?.closedBy === 'carrier' ? resumedMs(result) : null
}

/** Prints the carrier's actions in the call of a caller who did not hear the agent again. */
function example(lost: readonly SimulatedCallResult[], breaks: Fault['breaks']): string {
  const one = lost.find((result) => breaks === 'rung' || backAfterMs(result) === null)
  const webhooks = one?.webhooks.map(
    ({ url, state, status, verbs }) => `${url} ${state} ${status ?? '-'} ${verbs.join(' ')}`,
  )
  return `${one?.callSid ?? ''}: ${one?.verbs.join(' ') ?? ''} (${webhooks?.slice(-6).join(', ') ?? ''})`
}

function failed(fault: Fault, thrown: unknown): Omit<Row, 'seconds'> {
  return {
    fault: fault.name,
    calls: 0,
    broken: 0,
    back: 0,
    cut: 0,
    gapMs: 0,
    gapMoreMs: null,
    backMs: null,
    webhooks: { count: 0, failed: 0, p50Ms: 0, p99Ms: 0, maxMs: 0 },
    ringingP99Ms: 0,
    refused: 0,
    ghosts: 0,
    records: { missing: 0, several: 0 },
    messagesMissing: 0,
    missed: [`the run failed: ${messageOf(thrown)}`],
  }
}

/** Line about a run that has ended. It is printed at once, so that an interrupted bench has also printed results. */
function lineOf({
  seconds,
  calls,
  broken,
  back,
  backMs,
  cut,
  gapMs,
  webhooks,
  ringingP99Ms,
  refused,
  ghosts,
  missed,
}: Row): string {
  const brought = backMs === null ? '' : `, brought back ${back} in ${backMs.p50} to ${backMs.max} ms`
  return `  ${seconds} s; ${calls} calls, ${broken} streams broken${brought}, ${cut} cut, largest gap ${gapMs} ms; ${webhooks.count} webhooks, ${webhooks.failed} failed, p99 ${webhooks.p99Ms} ms, new calls' ${ringingP99Ms} ms; ${refused} refused, ${ghosts} of them a call${missed.map((what) => `; NOT MET ${what}`).join('')}`
}

function tableOf(rows: readonly Row[]): string[] {
  return columns(
    rows,
    ['fault', ({ fault }) => fault],
    ['seconds', ({ seconds }) => seconds],
    ['calls', ({ calls }) => calls],
    ['streams broken', ({ broken }) => broken],
    ['brought back', ({ back }) => back],
    ['p50 ms', ({ backMs }) => backMs?.p50 ?? '-'],
    ['max ms', ({ backMs }) => backMs?.max ?? '-'],
    ['cut', ({ cut }) => cut],
    ['gap ms', ({ gapMs }) => gapMs],
    ['more', ({ gapMoreMs }) => gapMoreMs ?? '-'],
    ['webhooks', ({ webhooks }) => webhooks.count],
    ['failed', ({ webhooks }) => webhooks.failed],
    ['p50 ms', ({ webhooks }) => webhooks.p50Ms],
    ['p99 ms', ({ webhooks }) => webhooks.p99Ms],
    ['max ms', ({ webhooks }) => webhooks.maxMs],
    ['ringing p99 ms', ({ ringingP99Ms }) => ringingP99Ms],
    ['refused', ({ refused }) => refused],
    ['ghosts', ({ ghosts }) => ghosts],
    ['no record', ({ records }) => records.missing],
    ['several', ({ records }) => records.several],
    ['no message', ({ messagesMissing }) => messagesMissing],
  )
}

/** Percentile by nearest rank, in whole milliseconds; 0 without values. */
function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return Math.round(sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0)
}

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LATENESS_P99_MS_MAX, runCase } from '../case.js'
import { judged, oneOf } from '../kit/command.js'
import { LEVELS, TRACKS, isConversation } from '../protocol.js'
import type { ThreadStop } from '../protocol.js'
import { SUBJECTS } from '../subjects.js'
import { columns } from '../terminal.js'
import { PERF_NODE_OPTIONS, hasPerf, perfMapOf, samplesOfPerf, samplesOfV8 } from './samples.js'
import { SHARES, shareOf, sharesOf } from './shares.js'
import type { Sample, Share, Thread } from './shares.js'

const HELP = `npm run bench -- --where [how]

One run of the gateway: its processor time by thread and part, in percent that sum to 100, and each time that a thread stood still
for over 5 ms, with the reason. Measured by perf if this machine has it, else by V8's profiler, which does not tell the kernel, TLS and
other native code apart. Both slow the run down, so do not read its figures as speed.

  --level L               one of ${LEVELS.filter((level) => level !== 'L0').join(', ')} (default L2-prod)
  --calls N               1 to 5000 calls at once (default 80)
  --seconds S             2 to 600 seconds of measuring (default 10)
  --track T               ${TRACKS.join(' or ')} (default inbound_track)
  --v8                    V8's profiler also where there is perf
  --json FILE             where results go (default bench/results/)
Exit code: 0, 1 when the run was not true, 2 for wrong options.`

const OPTIONS = {
  level: { type: 'string', default: 'L2-prod' },
  track: { type: 'string', default: 'inbound_track' },
  v8: { type: 'boolean' },
} as const
const WHOLES = { calls: [80, 1, 5000], seconds: [10, 2, 600] } as const
const THREADS: readonly Thread[] = ['main', 'worker', 'other']
/** Functions that are shown. */
const HOTTEST = 20
/** Maximum number of stops that are shown. The JSON contains all stops. */
const LONGEST_STOPS = 20
/** As in `bench/plan.ts`. */
const PRODUCTION_ECHO_PERCENT = 30
/** Minimum share of a stop in which samples were taken. With fewer samples, the thread had no CPU. */
const RAN_SHARE_MIN = 0.5

/** Measures where the gateway's CPU time goes. */
export const whereBench = judged('where', HELP, OPTIONS, WHOLES, async (options, { say }) => {
  const level = oneOf(
    '--level',
    options.level,
    LEVELS.filter((one) => one !== 'L0'),
  )
  const track = oneOf('--track', options.track, TRACKS)
  const { calls, seconds } = options
  const perf = options.v8 !== true && hasPerf()
  const [subject] = SUBJECTS
  if (subject === undefined) throw new Error('the first subject is the gateway')
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-where-'))
  try {
    say(`${level}, ${calls} calls, ${seconds} s, by ${perf ? 'perf' : "V8's profiler"}`)
    const result = await runCase(subject, {
      subject: subject.name,
      ...{ level, track, calls, seconds },
      workers: 1,
      processes: 1,
      generators: 1,
      messageMs: null,
      seed: 1,
      memory: false,
      profileDir: perf ? null : folder,
      pin: false,
      steady: false,
      edgeTls: false,
      lineEchoPercent: isConversation(level) && track === 'inbound_track' ? PRODUCTION_ECHO_PERCENT : 0,
      truthEvery: 1,
      dutyPercent: 100,
      latenessMsMax: LATENESS_P99_MS_MAX,
      where: { perfFile: perf ? join(folder, 'perf.data') : null, nodeOptions: perf ? PERF_NODE_OPTIONS : [] },
    })
    const { window } = result
    if (window === undefined) return { ok: false, lines: [`failed: ${result.reasons.join('; ')}`], results: { result } }
    const all = perf ? await samplesOfPerf(join(folder, 'perf.data'), window.pid) : samplesOfV8(folder)
    rmSync(perfMapOf(window.pid), { force: true })
    const samples = all.filter(({ atMs }) => atMs >= window.fromMs && atMs <= window.toMs)
    if (samples.length === 0)
      return { ok: false, lines: ['failed: no sample of the gateway was read'], results: { result } }
    const stops = (result.pauses?.stops ?? [])
      .filter(({ toMs }) => toMs >= window.fromMs && toMs <= window.toMs)
      .map((stop) => ({ ...stop, reason: perf ? reasonBySamples(stop, samples) : stop.reason }))
    const shares = sharesOf(samples)
    return {
      ok: result.verdict === 'held',
      lines: [
        ...(result.verdict === 'held' ? [] : [`${result.verdict}: ${result.reasons.join('; ')}`]),
        ...shareLines(shares),
        '',
        ...hottestLines(samples),
        '',
        ...stopLines(stops, window.fromMs, seconds),
      ],
      results: { result, shares: Object.fromEntries(shares), stops },
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

function shareLines(shares: ReturnType<typeof sharesOf>): readonly string[] {
  const sum = (thread: Thread): number => [...shares.values()].reduce((total, row) => total + row[thread], 0)
  const rows = SHARES.flatMap((name) => {
    const row = shares.get(name)
    return row === undefined ? [] : [{ name, ...row }]
  })
  const total = { name: 'sum', main: sum('main'), worker: sum('worker'), other: sum('other') }
  return columns(
    [...rows, total],
    ['% of the processor time', ({ name }) => name],
    ...THREADS.map((thread) => [thread, (row: typeof total) => row[thread].toFixed(1)] as const),
    ['all', ({ main, worker, other }) => (main + worker + other).toFixed(1)],
  )
}

function hottestLines(samples: readonly Sample[]): readonly string[] {
  const total = samples.reduce((sum, { weight }) => sum + weight, 0)
  const weights = new Map<string, number>()
  for (const { thread, stack, weight } of samples) {
    const key = `${thread}\t${shareOf(stack)}\t${stack[0]?.name ?? 'unknown'}`
    weights.set(key, (weights.get(key) ?? 0) + weight)
  }
  const hottest = [...weights].toSorted((a, b) => b[1] - a[1]).slice(0, HOTTEST)
  return columns(
    hottest.map(([key, weight]) => [...key.split('\t'), ((100 * weight) / total).toFixed(1)] as const),
    ['function', (row) => (row[2] ?? '').slice(0, 80)],
    ['thread', (row) => row[0] ?? ''],
    ['part', (row) => row[1] ?? ''],
    ['%', (row) => row[3] ?? ''],
  )
}

/**
 * @returns the reason, if the stop was a garbage collection; otherwise the part of the code that ran for most of the
 * stop, or that the thread had no CPU
 */
function reasonBySamples(stop: ThreadStop, samples: readonly Sample[]): string {
  if (stop.reason.startsWith('garbage')) return stop.reason
  const thread = stop.thread === 0 ? 'main' : 'worker'
  const inside = samples.filter((one) => one.thread === thread && one.atMs >= stop.fromMs && one.atMs <= stop.toMs)
  const parts = new Map<Share, number>()
  for (const { stack } of inside) {
    const share = shareOf(stack)
    parts.set(share, (parts.get(share) ?? 0) + 1)
  }
  const [most] = [...parts].toSorted((a, b) => b[1] - a[1])
  return most === undefined || inside.length < RAN_SHARE_MIN * (stop.toMs - stop.fromMs)
    ? 'no processor'
    : `${most[0]} (${Math.round((100 * most[1]) / inside.length)} %)`
}

function stopLines(
  stops: readonly (Omit<ThreadStop, 'reason'> & { readonly reason: string })[],
  beganMs: number,
  seconds: number,
): readonly string[] {
  const lengthMs = ({ fromMs, toMs }: (typeof stops)[number]): number => toMs - fromMs
  const longest = stops.toSorted((a, b) => lengthMs(b) - lengthMs(a)).slice(0, LONGEST_STOPS)
  return [
    `${stops.length} stops over 5 ms in ${seconds} s${stops.length > longest.length ? `; the ${longest.length} longest` : ''}`,
    ...columns(
      longest,
      ['at, s', ({ fromMs }) => ((fromMs - beganMs) / 1000).toFixed(2)],
      ['thread', ({ thread }) => (thread === 0 ? 'main' : `worker ${thread}`)],
      ['ms', (stop) => lengthMs(stop).toFixed(1)],
      ['reason', ({ reason }) => reason],
    ),
  ]
}

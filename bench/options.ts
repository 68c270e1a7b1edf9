import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { LATENESS_P99_MS_MAX } from './case.js'
import { openFilesMax } from './kit/machine.js'
import { LEVELS, MESSAGE_LENGTHS_MS, TRACKS } from './protocol.js'
import type { Level, Track } from './protocol.js'
import { SUBJECTS } from './subjects.js'

export const HELP = `npm run bench -- [what] [how]

What (none: everything, about 40 minutes)
  --quick                 every part, short: under 3 minutes
  --level L0|L1|L2|L2-prod|L2-prod-repeat|L2-cascade|L3  one level, all subjects that can do it (may be given more than once)
  --ramp                  the most calls with p99 added latency under 20 ms, at the levels given (default L2; not L2-cascade)
  --scale                 the same for 1 to as many media workers, and as many processes on one port, as there are cores
  --message-lengths       the gateway at L2 with messages of 20, 40, 60, 80 and 100 ms to its backend
  --idle                  a gateway without calls, and what does not depend on the number of calls (10 and 40 at L2-prod)
  --growth                the gateway with 500, 1,000 and 2,000 calls (or --calls N) at L0, L1 and L2, one call in twenty judged in full
  --micro                 the hot stages alone
  --fleet                 a fleet with Redis and HAProxy under faults; has options of its own (--fleet --help)
  --store                 what a large fleet asks of Redis; has options of its own (--store --help)
  --flood                 live calls while strangers flood the ports; has options of its own (--flood --help)
  --endpointing           callers cut in a pause, and waits after the end of a turn; has options of its own (--endpointing --help)
  --vad                   how well the caller's voice is told from noise, people, music; has options of its own (--vad --help)
  --recognition           how many order numbers the embedded recogniser hears right; has options of its own (--recognition --help)
  --turns                 caller stops to first sound, and takeovers of backends; has options of its own (--turns --help)
How
  --subject NAME          only this one (may be given more than once): ${SUBJECTS.map(({ name }) => name).join(', ')}
  --calls N               1 to 5000 calls at once (default 200)
  --seconds S             2 to 600 seconds of measuring for each run (default 15)
  --repeat N              1 to 20 runs of each, interleaved (default 3)
  --workers N             media workers of the gateway, 1 to 64 (default 1)
  --processes N           processes of the gateway on one port, 1 to 16 (default 1)
  --message-ms N          caller audio in one message to the gateway's backend: 20, 40, 60, 80 or 100 (default 60)
  --generators N          processes of the load generator, 1 to 8 (default 1)
  --lateness MS           1 to 100: generator's own lateness at p99 over which a run is void (default ${LATENESS_P99_MS_MAX})
  --seed N                of late frames and interruptions (default 1)
  --line-echo 0|30|100    percent of the calls whose line gives our speech back, 20 dB softer and 180 ms later (default 30 at L2-prod and L2-cascade without --track, else 0)
  --track T               at L2-prod and L2-cascade, of the gateway: inbound_track (default), or both_tracks, a line that has our speech mixed in
  --duty P                with --growth, 5 to 100: percent of the time in which calls that are not judged send (default 100)
  --edge-tls              the gateway's public port speaks TLS itself
  --pin                   server on CPU 0, all else on CPU 1 (taskset)
  --profile DIR           V8 profiles of the server's threads, the measuring window each
  --json FILE --html FILE where results go (default bench/results/)
Exit code: 0, 1 when audio was not true or a run failed, 2 for wrong options.`

export interface BenchOptions {
  readonly quick: boolean
  readonly levels: readonly Level[]
  readonly subjects: readonly string[]
  readonly calls: number
  /** The user named a number of calls: then it is told what held instead. */
  readonly callsAsked: boolean
  readonly seconds: number
  readonly repeat: number
  readonly workers: number
  readonly processes: number
  readonly messageMs: number | null
  readonly generators: number
  readonly latenessMsMax: number
  readonly seed: number
  readonly pin: boolean
  readonly edgeTls: boolean
  /** Null where the user did not say. */
  readonly lineEchoPercent: number | null
  readonly track: Track
  readonly profileDir: string | null
  readonly json: string | null
  readonly html: string | null
  readonly cases: boolean
  readonly ramp: boolean
  readonly scale: boolean
  readonly messages: boolean
  readonly idle: boolean
  readonly growth: boolean
  readonly dutyPercent: number
  readonly micro: boolean
}

/** Options that are wrong; the message says which, what it held and what is allowed. */
export class WrongOption extends Error {}

/** @returns null when help was asked for. @throws WrongOption */
export function parseOptions(argv: readonly string[]): BenchOptions | null {
  const { values } = parse(argv)
  if (values.help === true) return null
  const quick = values.quick === true
  const levels = (values.level ?? []).map((level) => one('--level', level, LEVELS))
  const subjects = (values.subject ?? []).map((name) =>
    one(
      '--subject',
      name,
      SUBJECTS.map((subject) => subject.name),
    ),
  )
  const onlyParts = [
    values.ramp,
    values.scale,
    values.micro,
    values['message-lengths'],
    values.idle,
    values.growth,
  ].includes(true)
  const all = !onlyParts && levels.length === 0
  const calls = whole('--calls', values.calls, quick ? 100 : 200, 1, 5000)
  const generators = whole('--generators', values.generators, 1, 1, 8)
  if (values.ramp === true && levels.includes('L2-cascade'))
    throw new WrongOption(
      '--ramp looks for added latency, which L2-cascade does not have: its callers wait for the words',
    )
  // A call has a socket to the generator and one to the backend, or to each service; the server has both ends of the way.
  const files = openFilesMax()
  const needed = calls * (all || levels.includes('L2-cascade') ? 4 : 2) + 200
  if (needed > files) {
    throw new WrongOption(
      `--calls ${calls} needs about ${needed} open files in one process, and ${files} are allowed here (ulimit -n)`,
    )
  }
  return {
    quick,
    levels,
    subjects,
    calls,
    generators,
    callsAsked: values.calls !== undefined,
    seconds: whole('--seconds', values.seconds, quick ? 4 : 15, 2, 600),
    repeat: whole('--repeat', values.repeat, quick ? 1 : 3, 1, 20),
    workers: whole('--workers', values.workers, 1, 1, 64),
    processes: whole('--processes', values.processes, 1, 1, 16),
    messageMs: values['message-ms'] === undefined ? null : messageLength(values['message-ms']),
    latenessMsMax: whole('--lateness', values.lateness, LATENESS_P99_MS_MAX, 1, 100),
    seed: whole('--seed', values.seed, 1, 0, 1_000_000),
    pin: values.pin === true && availableParallelism() > 1,
    edgeTls: values['edge-tls'] === true,
    lineEchoPercent:
      values['line-echo'] === undefined ? null : Number(one('--line-echo', values['line-echo'], ['0', '30', '100'])),
    track: one('--track', values.track ?? 'inbound_track', TRACKS),
    profileDir: values.profile ?? null,
    json: values.json ?? null,
    html: values.html ?? null,
    cases:
      all ||
      (levels.length > 0 &&
        values.ramp !== true &&
        values.scale !== true &&
        values['message-lengths'] !== true &&
        values.growth !== true &&
        values.idle !== true),
    ramp: all || values.ramp === true,
    scale: values.scale === true || (all && !quick),
    messages: values['message-lengths'] === true || (all && !quick),
    idle: all || values.idle === true,
    growth: values.growth === true,
    dutyPercent: whole('--duty', values.duty, 100, 5, 100),
    micro: all || values.micro === true,
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: false,
      options: {
        help: { type: 'boolean', short: 'h' },
        quick: { type: 'boolean' },
        ramp: { type: 'boolean' },
        scale: { type: 'boolean' },
        micro: { type: 'boolean' },
        'message-lengths': { type: 'boolean' },
        idle: { type: 'boolean' },
        growth: { type: 'boolean' },
        duty: { type: 'string' },
        processes: { type: 'string' },
        'message-ms': { type: 'string' },
        pin: { type: 'boolean' },
        'edge-tls': { type: 'boolean' },
        'line-echo': { type: 'string' },
        track: { type: 'string' },
        level: { type: 'string', multiple: true },
        subject: { type: 'string', multiple: true },
        calls: { type: 'string' },
        seconds: { type: 'string' },
        repeat: { type: 'string' },
        workers: { type: 'string' },
        generators: { type: 'string' },
        lateness: { type: 'string' },
        seed: { type: 'string' },
        profile: { type: 'string' },
        json: { type: 'string' },
        html: { type: 'string' },
      },
    })
  } catch (thrown) {
    throw new WrongOption(thrown instanceof Error ? thrown.message : String(thrown))
  }
}

function whole(name: string, text: string | undefined, fallback: number, min: number, max: number): number {
  if (text === undefined) return fallback
  const value = Number(text)
  if (!/^\d{1,7}$/.test(text) || value < min || value > max)
    throw new WrongOption(`${name} is '${text}'; allowed is a whole number from ${min} to ${max}`)
  return value
}

function messageLength(text: string): number {
  return Number(one('--message-ms', text, MESSAGE_LENGTHS_MS.map(String)))
}

function one<T extends string>(name: string, text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text)
  if (found === undefined) throw new WrongOption(`${name} is '${text}'; allowed: ${allowed.join(', ')}`)
  return found
}

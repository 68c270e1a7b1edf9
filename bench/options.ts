import { availableParallelism } from 'node:os'
import { LATENESS_P99_MS_MAX } from './case.js'
import { type Options, WrongOption, oneOf, parsed } from './kit/command.js'
import { openFilesMax } from './kit/machine.js'
import { LEVELS, MESSAGE_LENGTHS_MS, TRACKS } from './protocol.js'
import type { Level, Track } from './protocol.js'
import { SUBJECTS } from './subjects.js'

export const HELP = `npm run bench -- [what] [how]

What (without an option: all parts, about 40 minutes)
  --quick                 all parts in a short form: under 3 minutes
  --level L0|L1|L2|L2-prod|L2-prod-repeat|L2-cascade|L3  one level with all its subjects (may be given more than once)
  --ramp                  maximum number of calls with p99 added latency under 20 ms, at the given levels (default L2; not L2-cascade)
  --scale                 this maximum for 1, 2, ... media workers and processes on one port, up to the number of cores
  --message-lengths       the gateway at L2 with messages of 20, 40, 60, 80 and 100 ms to its backend
  --idle                  a gateway without calls, and the cost that does not depend on the number of calls (10 and 40 at L2-prod)
  --growth                the gateway with 500, 1,000 and 2,000 calls (or --calls N) at L0, L1 and L2; one call in twenty is judged completely
  --micro                 each frequent step alone
  --where                 the gateway's processor time by thread and part, and the stops of its threads; has options of its own (--where --help)
  --against COMMIT        this build and a build of that commit, in turn; has options of its own (--against --help)
  --fleet                 a fleet with Redis and HAProxy under faults; has options of its own (--fleet --help)
  --store                 load that a large fleet causes at Redis; has options of its own (--store --help)
  --find                  searches among a million ended calls; has options of its own (--find --help)
  --greeting              time to the greeting, with and without a look-up of the caller; has options of its own (--greeting --help)
  --phone                 latency by the clock of a SIP phone, through a real Asterisk; has options of its own (--phone --help)
  --soak                  two nodes for an hour, with a fault a minute; has options of its own (--soak --help)
  --flood                 live calls while strangers flood the ports; has options of its own (--flood --help)
  --endpointing           turns that are cut in a pause, and the wait after a turn; has options of its own (--endpointing --help)
  --interaction           interruptions and backchannels, by τ-voice's figures; has options of its own (--interaction --help)
  --vad                   detection of the caller's voice in noise, among people and over music; has options of its own (--vad --help)
  --recognition           order numbers that the embedded recogniser recognises; has options of its own (--recognition --help)
  --turns                 time from the caller's words to the answer, and takeovers of backends; has options of its own (--turns --help)
How
  --subject NAME          only this subject (may be given more than once): ${SUBJECTS.map(({ name }) => name).join(', ')}
  --calls N               1 to 5000 calls at once (default 200)
  --seconds S             2 to 600 seconds of measuring for each run (default 15)
  --repeat N              1 to 20 runs of each, interleaved (default 3)
  --workers N             media workers of the gateway, 1 to 64 (default 1)
  --processes N           processes of the gateway on one port, 1 to 16 (default 1)
  --message-ms N          caller audio in one message to the gateway's backend: 20, 40, 60, 80 or 100 (default 60)
  --generators N          processes of the load generator, 1 to 8 (default 1)
  --lateness MS           1 to 100: a run is void if the generator's own p99 lateness is above this (default ${LATENESS_P99_MS_MAX})
  --seed N                seed of late frames and interruptions (default 1)
  --line-echo 0|30|100    percentage of the calls whose line returns our speech, 20 dB softer and 180 ms later (default 30 at L2-prod and L2-cascade without --track, else 0)
  --track T               track of the gateway at L2-prod and L2-cascade: inbound_track (default), or both_tracks, a line whose audio contains our speech
  --duty P                with --growth, 5 to 100: percentage of the time in which calls that are not judged send (default 100)
  --edge-tls              the gateway's public port speaks TLS itself
  --pin                   runs the server on CPU 0 and all other processes on CPU 1 (taskset)
  --profile DIR           writes a V8 profile of each thread of the server, for the measured time
  --json FILE --html FILE files for the results (default: in bench/results/)
Exit code: 0; 1 if audio was not true or a run failed; 2 for wrong options; 3 if the bench itself failed.`

export interface BenchOptions {
  readonly quick: boolean
  readonly levels: readonly Level[]
  readonly subjects: readonly string[]
  readonly calls: number
  /** True if the user gave a number of calls. If it does not hold, the report names the number that held. */
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
  /** Null if the user did not set it. */
  readonly lineEchoPercent: number | null
  readonly track: Track
  readonly profileDir: string | null
  readonly json: string | undefined
  readonly html: string | undefined
  readonly cases: boolean
  readonly ramp: boolean
  readonly scale: boolean
  readonly messages: boolean
  readonly idle: boolean
  readonly growth: boolean
  readonly dutyPercent: number
  readonly micro: boolean
}

const OPTIONS = {
  quick: { type: 'boolean' },
  ramp: { type: 'boolean' },
  scale: { type: 'boolean' },
  micro: { type: 'boolean' },
  'message-lengths': { type: 'boolean' },
  idle: { type: 'boolean' },
  growth: { type: 'boolean' },
  'message-ms': { type: 'string' },
  pin: { type: 'boolean' },
  'edge-tls': { type: 'boolean' },
  'line-echo': { type: 'string' },
  track: { type: 'string', default: 'inbound_track' },
  level: { type: 'string', multiple: true, default: [] },
  subject: { type: 'string', multiple: true, default: [] },
  profile: { type: 'string' },
  json: { type: 'string' },
  html: { type: 'string' },
} satisfies Options

const WHOLES = {
  calls: [null, 1, 5000],
  seconds: [null, 2, 600],
  repeat: [null, 1, 20],
  workers: [1, 1, 64],
  processes: [1, 1, 16],
  generators: [1, 1, 8],
  lateness: [LATENESS_P99_MS_MAX, 1, 100],
  seed: [1, 0, 1_000_000],
  duty: [100, 5, 100],
} as const

/**
 * @returns null if help is requested.
 * @throws WrongOption
 */
export function parseOptions(argv: readonly string[]): BenchOptions | null {
  const values = parsed(argv, OPTIONS, WHOLES)
  if (values === null) return null
  const quick = values.quick === true
  const levels = values.level.map((level) => oneOf('--level', level, LEVELS))
  const names = SUBJECTS.map(({ name }) => name)
  const subjects = values.subject.map((name) => oneOf('--subject', name, names))
  const { ramp, scale, micro, idle, growth, 'message-lengths': messages } = values
  const onlyParts = [ramp, scale, micro, messages, idle, growth].includes(true)
  const all = !onlyParts && levels.length === 0
  const calls = values.calls ?? (quick ? 100 : 200)
  if (ramp === true && levels.includes('L2-cascade'))
    throw new WrongOption(
      '--ramp looks for added latency, which L2-cascade does not have: its callers wait for the words',
    )
  // The server needs most sockets: for each call one to the generator, and one to the backend or to each service of a
  // cascade.
  const files = openFilesMax()
  const needed = calls * (all || levels.includes('L2-cascade') ? 4 : 2) + 200
  if (needed > files) {
    throw new WrongOption(
      `--calls ${calls} needs about ${needed} open files in one process, and ${files} are allowed here (ulimit -n)`,
    )
  }
  const { 'message-ms': messageMs, 'line-echo': lineEcho } = values
  return {
    quick,
    levels,
    subjects,
    calls,
    generators: values.generators,
    callsAsked: values.calls !== null,
    seconds: values.seconds ?? (quick ? 4 : 15),
    repeat: values.repeat ?? (quick ? 1 : 3),
    workers: values.workers,
    processes: values.processes,
    messageMs:
      messageMs === undefined ? null : Number(oneOf('--message-ms', messageMs, MESSAGE_LENGTHS_MS.map(String))),
    latenessMsMax: values.lateness,
    seed: values.seed,
    pin: values.pin === true && availableParallelism() > 1,
    edgeTls: values['edge-tls'] === true,
    lineEchoPercent: lineEcho === undefined ? null : Number(oneOf('--line-echo', lineEcho, ['0', '30', '100'])),
    track: oneOf('--track', values.track, TRACKS),
    profileDir: values.profile ?? null,
    json: values.json,
    html: values.html,
    cases: all || (levels.length > 0 && ![ramp, scale, messages, growth, idle].includes(true)),
    ramp: all || ramp === true,
    scale: scale === true || (all && !quick),
    messages: messages === true || (all && !quick),
    idle: all || idle === true,
    growth: growth === true,
    dutyPercent: values.duty,
    micro: all || micro === true,
  }
}

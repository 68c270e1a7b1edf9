import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { CallOutcome } from '../call/record.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { isAgentName } from '../core/ids.js'
import type { LegRateHz } from '../core/units.js'
import { checked, firstSecret, flag, help, oneOf, origin, parsed, text, texts, UsageError, whole } from './arguments.js'
import type { TrackLayout } from './audio-fork.js'
import {
  AFTER_STREAM,
  type AfterStream,
  HUMAN_OUTCOMES,
  type HumanOutcome,
  type SimulatedCallResult,
  type SimulatorEvent,
} from './call-options.js'
import { type CallReport, type Expectation, reportOf } from './call-report.js'
import { type CallerFile, readWavFile, writeCallWav } from './caller-leg.js'
import { type CallerScript, filesOf } from './caller-script.js'
import { CALLER_VOICES, type CallerVoice } from './caller-speech.js'
import { GatewayView } from './gateway-view.js'
import { humanSeeker, orderCaller, recordedCaller, supportCaller } from './personas.js'
import { OUTCOMES } from './scenarios/scenario.js'
import { parseScript } from './script-file.js'
import { simulateCalls, SIMULATED_CALLS_MAX, type SimulateOptions } from './simulate.js'
import { textPattern, type TextPattern } from './spoken-words.js'
import { knownOrders, ordersInShop, vocabularyOf } from './vocabulary.js'

const CALL_USAGE = `mkondo call: places a simulated call, spoken, into a running gateway

  mkondo call [--url URL] [--agent NAME] [what the caller does] [options]

  What the caller does (order-status: asks where the order is; support: a question, the balance, a fault, then a human)
    --order N            knows the order number and says it
    --interrupt          speaks over the greeting
    --human              asks for a person
    --wav FILE           plays a WAV file (16-bit PCM, 8 or 16 kHz)
    --script FILE        follows a script (docs/SIMULATOR.md)
    --voice ${CALLER_VOICES.join('|')}    voice of the caller (rms)

  Where to
    --url URL            public address of the gateway (http://127.0.0.1:PORT, 8080)
    --agent NAME         posts to /voice/NAME; without it to /voice
    --from, --to NUMBER  caller and called number (+254700000001, +254700000000)
    --secret SECRET      signs the webhooks (first of SAUTIKIT_WEBHOOK_SECRETS)
    --json-webhooks      posts JSON instead of a form
    --ops-url URL        ops address, for transcript, tools and latencies (http://127.0.0.1:OPS_PORT, 9464; token in OPS_TOKEN)
    --shop-url URL       orders API to learn the right answer from (SHOP_API_URL)
    --agent-file FILE    what the agent may say (AGENTS_DIR or agents/, NAME.yaml)

  The line and the carrier
    --rate 8000|16000    phone line, or softphone without one (8000)
    --noise DB           noise, that many dB below the voice
    --jitter MS          network hold-ups of up to MS milliseconds
    --echo DB            the agent's voice comes back on the caller's side, that many dB softer
    --echo-delay MS      and so much later, 20 to 1000 (80)
    --seed N             for noise and jitter (1)
    --track-layout mono|mixed|stereo               how both_tracks looks (mixed)
    --after-stream continues|reposts|holds         what follows the stream's end (continues)
    --human-outcome answered|busy|no-answer|declined   what becomes of a Dial (answered)
    --ignore-kill        the carrier does not honour killAudio
  --api-port N         runs the carrier's REST API on loopback, for a gateway with SAUTIKIT_API_URL=http://127.0.0.1:N
  --api-key KEY        the key that it knows (SAUTIKIT_API_KEY, or sim_key_for_tests)

  What has to come of it, besides what the caller calls for
    --expect TEXT        the agent says TEXT, or /an expression/; may be repeated: each of them
    --expect-tool NAME   the tool runs and succeeds; may be repeated: each of them
    --expect-outcome OUTCOME   ${OUTCOMES.join('|')}; may be repeated: one of them (else anything but failed)
                         Tools and outcomes are judged by the gateway's record, so the ops port has to be reachable.

  Results
    --calls N            number of calls at once (1, at most ${SIMULATED_CALLS_MAX})
    --record FILE        stereo WAV: the caller left, what the caller heard right
    --json FILE|-        the calls as JSON
    --timeout S          longest call in seconds (120)

  Environment: PORT, OPS_PORT, OPS_TOKEN, SAUTIKIT_WEBHOOK_SECRETS, SHOP_API_URL and AGENTS_DIR, as the gateway has them.
  Exit code: 0 each call did what was asked; 1 one did not (also: it failed, no agent took it, no gateway is there); 2 wrong usage.
`

interface CallArguments {
  readonly url: string
  readonly agent: string | null
  readonly from: string
  readonly to: string
  readonly order: string | null
  readonly interrupt: boolean
  readonly human: boolean
  readonly wav: string | null
  readonly script: string | null
  readonly voice: CallerVoice
  readonly secret: string | null
  readonly jsonWebhooks: boolean
  readonly opsUrl: string
  readonly shopUrl: string | null
  readonly agentFile: string | null
  readonly rateHz: LegRateHz
  readonly noiseDb: number | null
  readonly jitterMs: number | null
  /** As the line takes it; null for none. */
  readonly echo: { readonly levelDb: number; readonly delayMs: number } | null
  readonly seed: number
  readonly trackLayout: TrackLayout
  readonly afterStream: AfterStream
  readonly humanOutcome: HumanOutcome
  readonly ignoreKill: boolean
  /** Null: no REST API. */
  readonly api: { readonly port: number; readonly key: string } | null
  readonly calls: number
  readonly record: string | null
  readonly json: string | null
  readonly timeoutS: number
  readonly expect: {
    readonly texts: readonly TextPattern[]
    readonly tools: readonly string[]
    readonly outcomes: readonly CallOutcome[]
  }
}

/**
 * Reads the command line of `mkondo call`.
 * @returns null when help is wanted
 * @throws UsageError
 */
function parseCallArguments(
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): CallArguments | null {
  const { values } = parsed({
    args: [...argv],
    allowPositionals: false,
    options: {
      url: text,
      agent: text,
      from: text,
      to: text,
      order: text,
      interrupt: flag,
      human: flag,
      wav: text,
      script: text,
      voice: text,
      secret: text,
      'json-webhooks': flag,
      'ops-url': text,
      'shop-url': text,
      'agent-file': text,
      rate: text,
      noise: text,
      jitter: text,
      echo: text,
      'echo-delay': text,
      seed: text,
      'track-layout': text,
      'after-stream': text,
      'human-outcome': text,
      'ignore-kill': flag,
      'api-port': text,
      'api-key': text,
      calls: text,
      record: text,
      json: text,
      timeout: text,
      expect: texts,
      'expect-tool': texts,
      'expect-outcome': texts,
      help: help,
    },
  })
  if (values.help === true) return null
  const behaviours = [
    values.wav,
    values.script,
    values.order ?? (values.interrupt === true ? 'interrupt' : undefined),
    values.human === true ? 'human' : undefined,
  ]
  if (values['echo-delay'] !== undefined && values.echo === undefined) throw new UsageError('--echo-delay needs --echo')
  if (behaviours.filter((one) => one !== undefined).length > 1)
    throw new UsageError('--order/--interrupt, --human, --wav and --script exclude each other')
  return {
    url: origin('--url', values.url ?? onLoopback(env, 'PORT', '8080')),
    agent: values.agent === undefined ? null : checked('--agent', values.agent, isAgentName, 'a name of a-z 0-9 -'),
    from: number('--from', values.from ?? '+254700000001'),
    to: number('--to', values.to ?? '+254700000000'),
    order:
      values.order === undefined
        ? null
        : checked('--order', values.order, (order) => /^\d{3,12}$/.test(order), '3 to 12 digits'),
    interrupt: values.interrupt === true,
    human: values.human === true,
    wav: values.wav ?? null,
    script: values.script ?? null,
    voice: oneOf('--voice', values.voice ?? 'rms', CALLER_VOICES),
    secret: values.secret ?? firstSecret(env),
    jsonWebhooks: values['json-webhooks'] === true,
    opsUrl: origin('--ops-url', values['ops-url'] ?? onLoopback(env, 'OPS_PORT', '9464')),
    shopUrl: values['shop-url'] ?? env['SHOP_API_URL'] ?? null,
    agentFile: values['agent-file'] ?? null,
    rateHz: oneOf('--rate', values.rate ?? '8000', ['8000', '16000']) === '8000' ? 8000 : 16000,
    noiseDb: values.noise === undefined ? null : whole('--noise', values.noise, 0, 60),
    jitterMs: values.jitter === undefined ? null : whole('--jitter', values.jitter, 1, 5000),
    echo:
      values.echo === undefined
        ? null
        : {
            levelDb: -whole('--echo', values.echo, 0, 60),
            delayMs: whole('--echo-delay', values['echo-delay'] ?? '80', 20, 1000),
          },
    seed: whole('--seed', values.seed ?? '1', 0, 0xffff_ffff),
    trackLayout: oneOf('--track-layout', values['track-layout'] ?? 'mixed', ['mono', 'mixed', 'stereo']),
    afterStream: oneOf('--after-stream', values['after-stream'] ?? 'continues', AFTER_STREAM),
    humanOutcome: oneOf('--human-outcome', values['human-outcome'] ?? 'answered', HUMAN_OUTCOMES),
    ignoreKill: values['ignore-kill'] === true,
    api:
      values['api-port'] === undefined
        ? null
        : {
            port: whole('--api-port', values['api-port'], 0, 65_535),
            key: values['api-key'] ?? env['SAUTIKIT_API_KEY'] ?? 'sim_key_for_tests',
          },
    calls: whole('--calls', values.calls ?? '1', 1, SIMULATED_CALLS_MAX),
    record: values.record ?? null,
    json: values.json ?? null,
    timeoutS: whole('--timeout', values.timeout ?? '120', 5, 3600),
    expect: {
      texts: (values.expect ?? []).map(pattern),
      tools: values['expect-tool'] ?? [],
      outcomes: (values['expect-outcome'] ?? []).map((outcome) => oneOf('--expect-outcome', outcome, OUTCOMES)),
    },
  }
}

/** Address of the gateway on this machine, with the port that the environment gives. */
function onLoopback(
  env: Readonly<Record<string, string | undefined>>,
  name: 'PORT' | 'OPS_PORT',
  otherwise: string,
): string {
  return `http://127.0.0.1:${whole(name, env[name] || otherwise, 1, 65_535)}`
}

function pattern(source: string): TextPattern {
  checked(
    '--expect',
    source,
    (given) => /[\p{L}\p{N}]/u.test(given),
    'words, or an expression such as /packed|on its way/',
  )
  try {
    return textPattern(source)
  } catch (thrown) {
    throw new UsageError(`--expect is ${JSON.stringify(source)}: ${messageOf(thrown)}`)
  }
}

/** The error message does not repeat the number, because it may be a real person's. */
function number(name: string, value: string): string {
  if (/^\+?[0-9]{3,15}$/.test(value)) return value
  throw new UsageError(`${name} has to be a phone number such as +254700000001`)
}

/** What the command needs of the process it runs in. */
interface CallCommandIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborting hangs up; the results so far are still written. */
  readonly signal?: AbortSignal
}

/** How long to wait for the record of an ended call. */
const RECORD_WAIT_MS = 3000
const STAGGER_MS = 150
/** A gateway on loopback accepts a connection within microseconds, one on the Internet within a second. */
const CONNECT_MS_MAX = 5000

/**
 * `mkondo call`. Exit codes: 0 every call did what was asked, 1 not, 2 wrong usage.
 * @param argv  without `mkondo call`
 */
export async function runCallCommand(argv: string[], io: CallCommandIo): Promise<number> {
  try {
    const args = parseCallArguments(argv, io.env)
    if (args === null) {
      io.out(CALL_USAGE)
      return 0
    }
    const reports = await placeCalls(args, io)
    return reports.every((report) => report.goal.reached) ? 0 : 1
  } catch (thrown) {
    const isUsage =
      thrown instanceof UsageError ||
      (thrown instanceof GatewayError && (thrown.code === 'SCRIPT_INVALID' || thrown.code === 'WAV_INVALID'))
    io.err(`mkondo call: ${messageOf(thrown)}${thrown instanceof UsageError ? ' (see mkondo call --help)' : ''}\n`)
    return isUsage ? 2 : 1
  }
}

async function placeCalls(args: CallArguments, io: CallCommandIo): Promise<CallReport[]> {
  const script = await scriptOf(args)
  const files = new Map<string, CallerFile>()
  for (const file of filesOf(script)) files.set(file, await readWavFile(file))
  const kind = kindOf(args, script)
  const gateway = new GatewayView(args.opsUrl, io.env['OPS_TOKEN'] ?? null)
  await reachable(args, gateway)
  const inShop =
    args.shopUrl === null || kind !== 'order' ? [] : await ordersInShop(args.shopUrl, script.order, args.from)
  const expected: Expectation = {
    kind,
    order: script.order,
    statuses: new Map(inShop.map((order) => [order.orderNumber, order.status])),
    ...args.expect,
  }
  const options: SimulateOptions = {
    calls: Array.from({ length: args.calls }, (_, index) => ({
      callSid: `HD_${randomBytes(6).toString('hex')}`,
      from: args.from,
      to: args.to,
      script,
      voice: args.voice,
      line: { sampleRateHz: args.rateHz, snrDb: args.noiseDb, echo: args.echo, seed: args.seed + index },
    })),
    vocabulary: vocabularyOf(await agentText(args, io), knownOrders(inShop, script.order)),
    files,
    record: args.record !== null,
    timeoutMs: args.timeoutS * 1000,
    staggerMs: STAGGER_MS,
    ...(args.api === null ? {} : { rest: args.api }),
    carrier: {
      voiceUrl: `${args.url}/voice${args.agent === null ? '' : `/${args.agent}`}`,
      eventsUrl: `${args.url}/events`,
      secret: args.secret,
      encoding: args.jsonWebhooks ? 'json' : 'form',
      afterStream: args.afterStream,
      trackLayout: args.trackLayout,
      honourKill: !args.ignoreKill,
      jitter: args.jitterMs === null ? null : { everyMs: 1000, stallMsMax: args.jitterMs, seed: args.seed },
      human: { outcome: args.humanOutcome, ringMs: 2000, talkMs: 2000, greeting: 'Hello, how can I help you?' },
    },
  }
  return runAndReport(args, options, expected, gateway, io)
}

/**
 * The caller's goal. With expectations but no behaviour on the command line, the agent can be any agent, so no order is
 * expected.
 */
function kindOf(args: CallArguments, script: CallerScript): Expectation['kind'] {
  if (args.human || followsSupportScript(args)) return 'human'
  if (args.wav !== null || args.script !== null) return script.order === null ? 'talk' : 'order'
  const { texts, tools, outcomes } = args.expect
  return args.order === null && texts.length + tools.length + outcomes.length > 0 ? 'talk' : 'order'
}

/**
 * Looks for the gateway before anything is synthesised.
 * @throws GatewayError CALL_FAULT if nothing listens there, or if the ops port that the expectations need is
 * unreachable
 */
async function reachable({ url, opsUrl, expect }: CallArguments, gateway: GatewayView): Promise<void> {
  const { hostname, port, protocol } = new URL(url)
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port || (protocol === 'https:' ? 443 : 80)),
  })
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS_MAX) })
  } catch (cause) {
    const why =
      cause instanceof Error && cause.name === 'AbortError'
        ? `no answer within ${CONNECT_MS_MAX / 1000} s`
        : messageOf(cause)
    throw new GatewayError(
      'CALL_FAULT',
      `no gateway at ${url} (${why}); start one with npm start, or name another with --url or PORT`,
      { cause },
    )
  } finally {
    socket.destroy()
  }
  if (expect.tools.length + expect.outcomes.length === 0) return
  // Any call SID will do: a gateway that answers says that it does not know this call.
  await gateway.call('HD_000000000000')
  if (gateway.fault === null) return
  throw new GatewayError(
    'CALL_FAULT',
    `--expect-tool and --expect-outcome are judged by the gateway's record, and ${gateway.fault} at ${opsUrl} (--ops-url, OPS_PORT, OPS_TOKEN)`,
  )
}

async function runAndReport(
  args: CallArguments,
  options: SimulateOptions,
  expected: Expectation,
  gateway: GatewayView,
  io: CallCommandIo,
): Promise<CallReport[]> {
  const print = (line: string): void => {
    ;(args.json === '-' ? io.err : io.out)(line)
  }
  const view = new LiveView(gateway, { callSids: options.calls.map((call) => call.callSid), print })
  view.start()
  let results: SimulatedCallResult[]
  try {
    results = await simulateCalls(options, {
      onEvent: (event) => {
        view.onEvent(event)
      },
      ...(io.signal === undefined ? {} : { signal: io.signal }),
    })
  } finally {
    view.stop()
  }
  const reports: CallReport[] = []
  for (const [index, result] of results.entries()) {
    const call =
      result.stream === null
        ? null
        : await gateway.endedCall(result.callSid, { ms: RECORD_WAIT_MS, despiteFaults: false })
    const notReady = result.stream === null ? await gateway.notReady() : null
    const recording = await saveRecording(args, result, index)
    const report = reportOf(result, { call, notReady }, expected, recording)
    reports.push(report)
    await view.poll()
    print(summaryOf(report, gateway.fault))
  }
  if (args.json === '-') io.out(`${JSON.stringify({ calls: reports }, null, 2)}\n`)
  else if (args.json !== null) await writeFile(args.json, `${JSON.stringify({ calls: reports }, null, 2)}\n`)
  return reports
}

async function saveRecording(args: CallArguments, result: SimulatedCallResult, index: number): Promise<string | null> {
  if (args.record === null || result.audio === null) return null
  const file = args.calls === 1 ? args.record : args.record.replace(/(\.wav)?$/i, `-${index + 1}.wav`)
  await writeCallWav(file, result.audio)
  return file
}

/** Whether the caller follows the support line's script, because no option asks for anything else. */
function followsSupportScript(args: CallArguments): boolean {
  return (
    args.agent === 'support' &&
    !args.human &&
    !args.interrupt &&
    args.order === null &&
    args.wav === null &&
    args.script === null
  )
}

async function scriptOf(args: CallArguments): Promise<CallerScript> {
  if (args.human) return humanSeeker()
  if (args.wav !== null) return recordedCaller(args.wav)
  if (followsSupportScript(args)) return supportCaller()
  if (args.script === null) return orderCaller({ order: args.order, interrupt: args.interrupt })
  let text: string
  try {
    text = await readFile(args.script, 'utf8')
  } catch (cause) {
    throw new GatewayError('SCRIPT_INVALID', `${args.script} cannot be read`, { cause })
  }
  return parseScript(text, args.script)
}

/** The agent's file, for the recogniser: `--agent-file`, else the one in AGENTS_DIR, else the one of this package. */
async function agentText(args: CallArguments, io: CallCommandIo): Promise<string | null> {
  const name = `${args.agent ?? 'order-status'}.yaml`
  const places =
    args.agentFile !== null ? [args.agentFile] : [join(io.env['AGENTS_DIR'] ?? 'agents', name), ...packagedAgent(name)]
  const place = places.find((file) => existsSync(file))
  if (place === undefined && args.agentFile !== null)
    throw new UsageError(`--agent-file ${args.agentFile} does not exist`)
  return place === undefined ? null : readFile(place, 'utf8')
}

/** The path of `name` in `agents/`, in the folder above this code that has a package.json. */
function packagedAgent(name: string): string[] {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (dirname(folder) !== folder) {
    if (existsSync(join(folder, 'package.json'))) return [join(folder, 'agents', name)]
    folder = dirname(folder)
  }
  return []
}

function summaryOf(report: CallReport, fault: string | null): string {
  const seconds = (ms: number | null): string => (ms === null ? 'none' : `${(ms / 1000).toFixed(2)} s`)
  const lines = [
    '',
    `call ${report.callSid}: ${report.goal.reached ? 'reached its goal' : 'did NOT reach its goal'}: ${report.goal.why}`,
    `  outcome ${report.outcome ?? 'unknown'}, agent ${report.agent ?? 'unknown'}, backend ${report.backend ?? 'unknown'}`,
    ...(report.heard.order === undefined
      ? []
      : [
          `  heard: order ${report.heard.order ?? 'none'}, status ${report.heard.status ?? 'none'}, eta ${report.heard.eta ?? 'none'}`,
        ]),
    `  caller-perceived: greeting ${seconds(report.callerHeard.greetingMs)}, answers ${report.callerHeard.turns.map((turn) => seconds(turn.firstSoundMs)).join(', ') || 'none'}`,
  ]
  if (report.source === 'gateway')
    lines.push(
      `  as the gateway measured: answers ${report.turns.map((turn) => seconds(turn.answerMs)).join(', ') || 'none'}`,
    )
  else
    lines.push(
      `  transcript as said and heard only: ${fault ?? 'the gateway does not know this call'} (--ops-url, OPS_TOKEN)`,
    )
  for (const { expected, met, came } of report.expectations)
    lines.push(`  expected ${expected}: ${met ? 'yes' : 'NO'}, ${came}`)
  for (const bargeIn of report.bargeIns) lines.push(`  interrupted: the agent stopped after ${seconds(bargeIn.stopMs)}`)
  for (const complaint of report.complaints) lines.push(`  the carrier complains: ${complaint}`)
  return `${lines.join('\n')}\n`
}

const POLL_MS = 250

/**
 * Prints calls while they run. The words come from the gateway's transcript if the ops port answers, else from what the
 * caller said and heard.
 */
class LiveView {
  readonly #gateway: GatewayView
  readonly #print: (line: string) => void
  readonly #calls = new Map<string, { printed: number; callerEndMs: number | null; live: boolean }>()
  readonly #withSid: boolean
  #timer: NodeJS.Timeout | null = null
  #polling = false
  #gatewayAnswers = false

  constructor(
    gateway: GatewayView,
    options: { readonly callSids: readonly string[]; readonly print: (line: string) => void },
  ) {
    this.#gateway = gateway
    this.#print = options.print
    this.#withSid = options.callSids.length > 1
    for (const callSid of options.callSids) this.#calls.set(callSid, { printed: 0, callerEndMs: null, live: true })
  }

  start(): void {
    this.#timer = setInterval(() => {
      void this.poll()
    }, POLL_MS)
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#timer = null
  }

  onEvent(event: SimulatorEvent): void {
    switch (event.type) {
      case 'stream-opened':
        this.#line(event.callSid, 'carrier', `the stream is open ${event.atMs} ms after the webhook`)
        break
      case 'said':
        if (!this.#gatewayAnswers) this.#line(event.callSid, 'caller', event.text)
        break
      case 'heard':
        if (!this.#gatewayAnswers) this.#line(event.callSid, 'agent', event.text)
        break
      case 'dialled':
        this.#line(event.callSid, 'carrier', `a human was dialled: ${event.outcome}`)
        break
      case 'ended':
        this.#line(event.callSid, 'carrier', `ended by the ${event.by}: ${event.why}`)
        break
      case 'webhook':
      case 'verb':
      case 'stream-closed':
        break
    }
  }

  /** Fetches every live call once and prints its new entries. Does nothing while an earlier poll is running. */
  async poll(): Promise<void> {
    if (this.#polling) return
    this.#polling = true
    for (const [callSid, seen] of this.#calls) {
      if (!seen.live) continue
      const call = await this.#gateway.call(callSid)
      if (call === null) continue
      this.#gatewayAnswers = true
      seen.live = call.record === null
      for (const entry of call.transcript.slice(seen.printed)) {
        seen.printed++
        const after =
          entry.role === 'agent' && seen.callerEndMs !== null
            ? `   (${((entry.startMs - seen.callerEndMs) / 1000).toFixed(2)} s)`
            : ''
        this.#line(callSid, entry.role, `${entry.text}${after}`)
        seen.callerEndMs = entry.role === 'caller' ? entry.endMs : null
      }
    }
    this.#polling = false
  }

  #line(callSid: string, who: string, text: string): void {
    this.#print(`${this.#withSid ? `${callSid} ` : ''}${who.padEnd(8)} ${text}\n`)
  }
}

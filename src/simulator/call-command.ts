import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import type { CallOutcome } from '../call/documents/record.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { requireSpeech } from '../speech/speech-packages.js'
import type { TrackLayout } from '../carrier/audio-fork.js'
import { CALL_DEFAULTS, SIMULATOR_KEY } from './choices.js'
import type { AfterStream, CallerVoice, HumanOutcome } from '../carrier/choices.js'
import type { SimulatedCallResult, SimulatorEvent } from '../carrier/call-options.js'
import { type CallReport, type Expectation, type GatewaySays, reportOf } from './call-report.js'
import { type CallerFile, callWav, readWavFile } from '../carrier/caller-leg.js'
import { type CallerScript, filesOf } from './caller-script.js'
import { type GatewayCall, GatewayView } from './gateway-view.js'
import { anyCaller, humanSeeker, orderCaller, recordedCaller, supportCaller } from './personas.js'
import { findingsOf, observedCall } from './scenarios/judge.js'
import { findScenarios, type Scenario } from './scenarios/scenario.js'
import { parseScript } from './script-file.js'
import { simulateCalls, type SimulateOptions } from './simulate.js'
import { textPattern, type TextPattern } from './spoken-words.js'
import { telephone, type TelephoneDifference } from './telephones.js'
import { agentYaml, knownOrders, ordersInShop, vocabularyOf } from './vocabulary.js'
import { LiveView } from './live-view.js'

/** The options of `mkondo call`, from its flags, `CALL_DEFAULTS` and the gateway's address. */
export interface CallOptions {
  readonly url: string
  readonly agent?: string
  readonly from: string
  readonly to: string
  readonly order?: string
  readonly interrupt?: true
  readonly human?: true
  readonly wav?: string
  readonly script?: string
  readonly voice: CallerVoice
  readonly secret?: string | null
  readonly jsonWebhooks?: true
  readonly opsUrl: string
  readonly shopUrl?: string
  readonly agentFile?: string
  readonly rate: '8000' | '16000'
  /** Level of the noise below the voice, in dB. */
  readonly noise?: number
  /** Duration in ms. */
  readonly jitter?: number
  /**
   * Time in ms for which the caller speaks before the stream opens; the carrier sends this speech first. Absent: a
   * quiet line.
   */
  readonly openingBurst?: number
  /** Differences of a real telephone from the simulated line. Absent: no differences. */
  readonly telephone?: readonly TelephoneDifference[]
  /** Level of the echo below the sent sound, in dB. */
  readonly echo?: number
  /** Duration in ms. */
  readonly echoDelay?: number
  readonly seed: number
  readonly trackLayout: TrackLayout
  readonly afterStream: AfterStream
  readonly humanOutcome: HumanOutcome
  readonly ignoreKill?: true
  /** Port of the REST API. Absent: no REST API. */
  readonly apiPort?: number
  readonly apiKey?: string
  readonly calls: number
  readonly record?: string | undefined
  /** File for the JSON reports; `-` is standard output, null writes none. */
  readonly json: string | null
  /** Duration in seconds. */
  readonly timeout: number
  /** Texts and `/expressions/`. */
  readonly expect?: readonly string[]
  readonly expectTool?: readonly string[]
  readonly expectOutcome?: readonly CallOutcome[]
}

/** Words of callers while the line is being set up. The duration of these words is the maximum of `openingBurst`. */
const EARLY_WORDS = 'Hello? Hello? Hello, is anybody there?'

/** Interface of the command to its process. */
interface CallCommandIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** An abort hangs up all calls; the results so far are still written. Null if the command cannot be aborted. */
  readonly signal: AbortSignal | null
}

const SHIPPED_AGENTS = join(packageRoot(), 'agents')

function agentsDirOf(env: CallCommandIo['env']): string {
  return env['AGENTS_DIR'] ?? 'agents'
}

/** Wait in ms for the record of an ended call. */
const RECORD_WAIT_MS = 3000
const STAGGER_MS = 150
/**
 * Time limit in ms for a connection: a gateway on loopback accepts within microseconds, on the Internet within a
 * second.
 */
const CONNECT_MS_MAX = 5000

/**
 * Places the calls of `mkondo call` and prints each call's events as they happen.
 * @returns each call's report; the command succeeds if each call reached its goal
 * @throws GatewayError CALL_FAULT if no gateway answers, CONFIG_INVALID if the voices are not installed, SCRIPT_INVALID
 * or WAV_INVALID for a file that cannot be used
 */
export async function placeCalls(args: CallOptions, io: CallCommandIo): Promise<CallReport[]> {
  requireSpeech()
  const texts = patterns(args.expect ?? [])
  const { script, kind, scenario } = await callerOf(args, io)
  const files = new Map<string, CallerFile>()
  for (const file of filesOf(script)) files.set(file, await readWavFile(file))
  const { env } = io
  const gateway = new GatewayView(args.opsUrl, env['OPS_TOKEN'] ?? null)
  await reachable(args, gateway)
  const { from: ownFrom, to: ownTo, voice: ownVoice } = scenario ?? args
  const from = args.from === CALL_DEFAULTS.from ? ownFrom : args.from
  const to = args.to === CALL_DEFAULTS.to ? ownTo : args.to
  const voice = args.voice === CALL_DEFAULTS.voice ? ownVoice : args.voice
  const { seed, noise, openingBurst, echo, jitter, apiPort, apiKey } = args
  const shopUrl = kind === 'order' ? (args.shopUrl ?? env['SHOP_API_URL'] ?? (await gateway.shopUrl())) : null
  const inShop = shopUrl === null ? [] : await ordersInShop(shopUrl, script.order, from)
  const vocabulary = vocabularyOf(await agentText(args, io), knownOrders(inShop, script.order))
  const expected: Expectation = {
    kind,
    phrases: vocabulary.statuses,
    order: script.order,
    statuses: new Map(inShop.map((order) => [order.orderNumber, order.status])),
    texts,
    tools: args.expectTool ?? [],
    outcomes: args.expectOutcome ?? [],
  }
  const differences = telephone(args.telephone ?? [])
  const options: SimulateOptions = {
    calls: Array.from({ length: args.calls }, (_, index) => ({
      callSid: `HD_${randomBytes(6).toString('hex')}`,
      ...{ from, to, script, voice, pace: scenario?.pace ?? 1 },
      line: {
        sampleRateHz: args.rate === '8000' ? 8000 : 16000,
        snrDb: noise ?? null,
        echo: echo === undefined ? null : { levelDb: -echo, delayMs: args.echoDelay ?? CALL_DEFAULTS.echoDelay },
        seed: seed + index,
        ...(openingBurst === undefined ? {} : { openingMs: openingBurst }),
        ...differences.line,
      },
      ...differences.caller,
      ...(openingBurst === undefined ? {} : { earlyWords: EARLY_WORDS }),
    })),
    vocabulary,
    files,
    record: args.record !== undefined,
    timeoutMs: args.timeout === CALL_DEFAULTS.timeout && scenario !== null ? scenario.timeoutMs : args.timeout * 1000,
    staggerMs: STAGGER_MS,
    ...(apiPort === undefined
      ? {}
      : { rest: { port: apiPort, key: apiKey ?? env['SAUTIKIT_API_KEY'] ?? SIMULATOR_KEY } }),
    carrier: {
      voiceUrl: `${args.url}/voice${args.agent === undefined ? '' : `/${args.agent}`}`,
      eventsUrl: `${args.url}/events`,
      secret: args.secret ?? null,
      encoding: args.jsonWebhooks === true ? 'json' : 'form',
      afterStream: args.afterStream,
      trackLayout: args.trackLayout,
      honourKill: args.ignoreKill !== true,
      jitter: jitter === undefined ? null : { everyMs: 1000, stallMsMax: jitter, seed },
      human: { outcome: args.humanOutcome, ringMs: 2000, talkMs: 2000, greeting: 'Hello, how can I help you?' },
      ...differences.carrier,
    },
  }
  if (scenario !== null) (args.json === '-' ? io.err : io.out)(`the caller of the scenario ${scenario.file}\n`)
  return runAndReport(args, options, expected, { gateway, scenario }, io)
}

/** @throws GatewayError CONFIG_INVALID for an expression that cannot be read */
function patterns(sources: readonly string[]): TextPattern[] {
  return sources.map((source) => {
    try {
      return textPattern(source)
    } catch (thrown) {
      throw new GatewayError('CONFIG_INVALID', `--expect is ${JSON.stringify(source)}: ${messageOf(thrown)}`)
    }
  })
}

/**
 * Checks that the gateway is reachable before anything is synthesised.
 * @throws GatewayError CALL_FAULT if no process listens at the address, or if the required ops port is unreachable
 */
async function reachable({ url, opsUrl, expectTool, expectOutcome }: CallOptions, gateway: GatewayView): Promise<void> {
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
      `no gateway at ${url} (${why}); start one with npm start, or set --url or PORT`,
      { cause },
    )
  } finally {
    socket.destroy()
  }
  if (expectTool === undefined && expectOutcome === undefined) return
  // Any call SID can be used here: a running gateway answers that it does not know this call.
  await gateway.call('HD_000000000000')
  if (gateway.fault === null) return
  throw new GatewayError(
    'CALL_FAULT',
    `--expect-tool and --expect-outcome need the gateway's record, but ${gateway.fault} at ${opsUrl} (--ops-url, OPS_PORT, OPS_TOKEN)`,
  )
}

async function runAndReport(
  args: CallOptions,
  options: SimulateOptions,
  expected: Expectation,
  { gateway, scenario }: { readonly gateway: GatewayView; readonly scenario: Scenario | null },
  io: CallCommandIo,
): Promise<CallReport[]> {
  const print = (line: string): void => {
    ;(args.json === '-' ? io.err : io.out)(line)
  }
  const view = new LiveView(gateway, { callSids: options.calls.map((call) => call.callSid), print })
  view.start()
  let results: SimulatedCallResult[]
  const events: SimulatorEvent[] = []
  try {
    results = await simulateCalls(options, {
      onEvent: (event) => {
        if (scenario !== null) events.push(event)
        view.onEvent(event)
      },
      signal: io.signal,
    })
  } finally {
    view.stop()
  }
  const reports: CallReport[] = []
  for (const [index, result] of results.entries()) {
    const call =
      result.stream === null
        ? await gateway.call(result.callSid)
        : await gateway.endedCall(result.callSid, { ms: RECORD_WAIT_MS, despiteFaults: false })
    const notReady = result.stream === null ? await gateway.notReady() : null
    const recording = await saveRecording(args, result, index)
    const judged =
      scenario === null ? undefined : await judgedBy(scenario, { result, call, gateway }, events, options.timeoutMs)
    const report = reportOf(result, { call, notReady, scenario: judged }, expected, recording)
    reports.push(report)
    await view.poll()
    print(summaryOf(report, gateway.fault))
  }
  if (args.json === '-') io.out(`${JSON.stringify({ calls: reports }, null, 2)}\n`)
  else if (args.json !== null) await writeFile(args.json, `${JSON.stringify({ calls: reports }, null, 2)}\n`)
  return reports
}

/** Differences between a call and the scenario of its caller. */
async function judgedBy(
  { name, expect }: Scenario,
  { result, call, gateway }: { result: SimulatedCallResult; call: GatewayCall | null; gateway: GatewayView },
  events: readonly SimulatorEvent[],
  timeoutMs: number,
): Promise<NonNullable<GatewaySays['scenario']>> {
  const record = call?.record ?? null
  const packet = record?.escalation == null ? null : await gateway.handoff(result.callSid)
  const own = events.filter(({ callSid }) => callSid === result.callSid)
  const found = findingsOf(observedCall(result, own, record, packet, timeoutMs), expect)
  return { name, findings: found.map(({ what }) => what) }
}

async function saveRecording(args: CallOptions, result: SimulatedCallResult, index: number): Promise<string | null> {
  if (args.record === undefined || result.audio === null) return null
  const file = args.calls === 1 ? args.record : args.record.replace(/(\.wav)?$/i, `-${index + 1}.wav`)
  await writeFile(file, callWav(result.audio))
  return file
}

/** The caller of a call, and the caller's goal. */
interface CommandCaller {
  readonly script: CallerScript
  readonly kind: Expectation['kind']
  /** Scenario of the caller; null if there is none. */
  readonly scenario: Scenario | null
}

/**
 * @returns the caller's script and goal. If the command line names no behaviour, the first scenario in a custom agent's
 * folder is the caller. Without a scenario, the caller asks for help. If there are expectations, only the expectations
 * decide if the goal is reached
 */
async function callerOf(args: CallOptions, io: CallCommandIo): Promise<CommandCaller> {
  const { agent, human, interrupt, order, wav, script: file } = args
  const scenario = null
  if (human === true) return { script: humanSeeker(), kind: 'human', scenario }
  if (wav !== undefined) return { script: recordedCaller(wav), kind: 'talk', scenario }
  if (file !== undefined) {
    const text = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new GatewayError('SCRIPT_INVALID', `${file} cannot be read`, { cause })
    })
    const script = parseScript(text, file)
    return { script, kind: script.order === null ? 'talk' : 'order', scenario }
  }
  const expects = [args.expect, args.expectTool, args.expectOutcome].some((one) => one !== undefined)
  if (agent !== undefined && interrupt === undefined && order === undefined && !(await isShipped(args, io))) {
    const own = await scenarioOf(agent, args, io)
    if (own !== null) return { script: own.script, kind: expects ? 'talk' : 'scenario', scenario: own }
    return { script: anyCaller(), kind: expects ? 'talk' : 'answered', scenario }
  }
  // No option of the command line selects another caller.
  if (agent === 'support' && interrupt === undefined && order === undefined)
    return { script: supportCaller(), kind: 'human', scenario }
  return {
    script: orderCaller({ order: order ?? null, interrupt: interrupt === true }),
    kind: order === undefined && expects ? 'talk' : 'order',
    scenario,
  }
}

/** True if the agent is shipped with the package: the file in use is the package's file. */
async function isShipped(args: CallOptions, io: CallCommandIo): Promise<boolean> {
  const shipped = await agentYaml([SHIPPED_AGENTS], args.agent ?? '')
  return shipped !== null && shipped === (await agentText(args, io))
}

/**
 * @returns the agent's first scenario that runs on any line, without a model and without faults of human or carrier;
 * null if there is none
 * @throws GatewayError SCRIPT_INVALID if a scenario cannot be read
 */
async function scenarioOf(agent: string, { agentFile }: CallOptions, { env }: CallCommandIo): Promise<Scenario | null> {
  const agentsDir = agentFile === undefined ? agentsDirOf(env) : dirname(agentFile)
  const folder = join(agentsDir, '..', 'scenarios')
  if (!existsSync(folder) || (await readdir(folder)).length === 0) return null
  const own = (await findScenarios([folder])).find(
    ({ mode, placed, model, judge, telephone, expect, ...one }) =>
      one.agent === agent &&
      [mode, placed, model, judge].every((each) => each === null) &&
      telephone.length === 0 &&
      one.human.outcome === 'answered' &&
      one.afterStream === 'continues' &&
      one.streamFailsAfterMs === undefined &&
      expect.fields === undefined,
  )
  return own ?? null
}

/**
 * @returns the agent's file, for the recogniser: `--agent-file`, otherwise the file in AGENTS_DIR, otherwise this
 * package's file
 */
function agentText({ agent, agentFile }: CallOptions, { env }: CallCommandIo): Promise<string | null> {
  if (agentFile === undefined) return agentYaml([agentsDirOf(env), SHIPPED_AGENTS], agent ?? 'order-status')
  if (existsSync(agentFile)) return readFile(agentFile, 'utf8')
  throw new GatewayError('CONFIG_INVALID', `--agent-file ${agentFile} does not exist`)
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

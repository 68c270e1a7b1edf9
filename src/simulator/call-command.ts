import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { GatewayError, messageOf } from '../core/errors.js'
import { vocabularyOf } from './agent-vocabulary.js'
import { CALL_USAGE, UsageError, parseCallArguments, type CallArguments } from './call-arguments.js'
import type { SimulatedCallResult } from './call-options.js'
import { reportOf, type CallReport, type Expectation } from './call-report.js'
import type { CallerFile } from './caller.js'
import { filesOf, type CallerScript } from './caller-script.js'
import { GatewayView, type GatewayCall } from './gateway-view.js'
import { LiveView } from './live-view.js'
import { humanSeeker, orderCaller, recordedCaller, supportCaller } from './personas.js'
import { parseScript } from './script-file.js'
import { knownOrders, ordersInShop } from './shop-view.js'
import { simulateCalls, type SimulateOptions } from './simulate.js'
import { readWavFile, writeCallWav } from './wav-file.js'

/** What the command needs of the process it runs in. */
export interface CallCommandIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborting hangs up; the results so far are still written. */
  readonly signal?: AbortSignal
}

/** The record of an ended call may take this long to be written. */
const RECORD_WAIT_MS = 3000
const RECORD_POLL_MS = 100
const STAGGER_MS = 150
/** A gateway on loopback answers a connection within microseconds, one behind the Internet within a second. */
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
    const isUsage = thrown instanceof UsageError || (thrown instanceof GatewayError && (thrown.code === 'SCRIPT_INVALID' || thrown.code === 'WAV_INVALID'))
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
  const inShop = args.shopUrl === null || kind !== 'order' ? [] : await ordersInShop(args.shopUrl, script.order, args.from)
  const expected: Expectation = { kind, order: script.order, statuses: new Map(inShop.map((order) => [order.orderNumber, order.status])), ...args.expect }
  const options: SimulateOptions = {
    calls: Array.from({ length: args.calls }, (_, index) => ({
      callSid: `HD_${randomBytes(6).toString('hex')}`, from: args.from, to: args.to, script, voice: args.voice,
      line: { sampleRateHz: args.rateHz, snrDb: args.noiseDb, echo: args.echo, seed: args.seed + index },
    })),
    vocabulary: vocabularyOf(await agentText(args, io), knownOrders(inShop, script.order)),
    files, record: args.record !== null, timeoutMs: args.timeoutS * 1000, staggerMs: STAGGER_MS,
    ...(args.api === null ? {} : { rest: args.api }),
    carrier: {
      voiceUrl: `${args.url}/voice${args.agent === null ? '' : `/${args.agent}`}`, eventsUrl: `${args.url}/events`, secret: args.secret,
      encoding: args.jsonWebhooks ? 'json' : 'form', afterStream: args.afterStream, trackLayout: args.trackLayout, honourKill: !args.ignoreKill,
      jitter: args.jitterMs === null ? null : { everyMs: 1000, stallMsMax: args.jitterMs, seed: args.seed },
      human: { outcome: args.humanOutcome, ringMs: 2000, talkMs: 2000, greeting: 'Hello, how can I help you?' },
    },
  }
  return runAndReport(args, options, expected, gateway, io)
}

/** What the caller calls for. Where the command line says what to expect and not what the caller does, any agent may be meant. */
function kindOf(args: CallArguments, script: CallerScript): Expectation['kind'] {
  if (args.human || tellsStory(args)) return 'human'
  if (args.wav !== null || args.script !== null) return script.order === null ? 'talk' : 'order'
  const { texts, tools, outcomes } = args.expect
  return args.order === null && texts.length + tools.length + outcomes.length > 0 ? 'talk' : 'order'
}

/**
 * Looks for the gateway before anything is synthesised.
 * @throws GatewayError CALL_FAULT when nobody listens there, or what is expected could not be judged
 */
async function reachable({ url, opsUrl, expect }: CallArguments, gateway: GatewayView): Promise<void> {
  const { hostname, port, protocol } = new URL(url)
  const socket = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (protocol === 'https:' ? 443 : 80)) })
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(CONNECT_MS_MAX) })
  } catch (cause) {
    const why = cause instanceof Error && cause.name === 'AbortError' ? `no answer within ${CONNECT_MS_MAX / 1000} s` : messageOf(cause)
    throw new GatewayError('CALL_FAULT', `no gateway at ${url} (${why}); start one with npm start, or name another with --url or PORT`, { cause })
  } finally {
    socket.destroy()
  }
  if (expect.tools.length + expect.outcomes.length === 0) return
  // Any call will do: a gateway that can be asked says that it does not know this one.
  await gateway.call('HD_000000000000')
  if (gateway.fault === null) return
  throw new GatewayError('CALL_FAULT', `--expect-tool and --expect-outcome are judged by the gateway's record, and ${gateway.fault} at ${opsUrl} (--ops-url, OPS_PORT, OPS_TOKEN)`)
}

async function runAndReport(
  args: CallArguments, options: SimulateOptions, expected: Expectation, gateway: GatewayView, io: CallCommandIo,
): Promise<CallReport[]> {
  const print = (line: string): void => { (args.json === '-' ? io.err : io.out)(line) }
  const view = new LiveView(gateway, { callSids: options.calls.map((call) => call.callSid), print })
  view.start()
  let results: SimulatedCallResult[]
  try {
    results = await simulateCalls(options, { onEvent: (event) => { view.onEvent(event) }, ...(io.signal === undefined ? {} : { signal: io.signal }) })
  } finally {
    view.stop()
  }
  const reports: CallReport[] = []
  for (const [index, result] of results.entries()) {
    const call = result.stream === null ? null : await endedCall(gateway, result.callSid)
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

/** What the gateway knows of a call that is over, once it has written its record. */
async function endedCall(gateway: GatewayView, callSid: string): Promise<GatewayCall | null> {
  const untilMs = performance.now() + RECORD_WAIT_MS
  for (;;) {
    const call = await gateway.call(callSid)
    if (gateway.fault !== null || call?.record || performance.now() > untilMs) return call
    await sleep(RECORD_POLL_MS)
  }
}

async function saveRecording(args: CallArguments, result: SimulatedCallResult, index: number): Promise<string | null> {
  if (args.record === null || result.audio === null) return null
  const file = args.calls === 1 ? args.record : args.record.replace(/(\.wav)?$/i, `-${index + 1}.wav`)
  await writeCallWav(file, result.audio)
  return file
}

/** The support line's caller, where nothing else is said about what the caller does. */
function tellsStory(args: CallArguments): boolean {
  return args.agent === 'support' && !args.human && !args.interrupt && args.order === null && args.wav === null && args.script === null
}

async function scriptOf(args: CallArguments): Promise<CallerScript> {
  if (args.human) return humanSeeker()
  if (args.wav !== null) return recordedCaller(args.wav)
  if (tellsStory(args)) return supportCaller()
  if (args.script === null) return orderCaller({ order: args.order, interrupt: args.interrupt })
  let text: string
  try {
    text = await readFile(args.script, 'utf8')
  } catch (cause) {
    throw new GatewayError('SCRIPT_INVALID', `${args.script} cannot be read`, { cause })
  }
  return parseScript(text, args.script)
}

/** The agent's file, for the ear: named, or where the gateway would look, or where this package keeps its own. */
async function agentText(args: CallArguments, io: CallCommandIo): Promise<string | null> {
  const name = `${args.agent ?? 'order-status'}.yaml`
  const places = args.agentFile !== null ? [args.agentFile] : [join(io.env['AGENTS_DIR'] ?? 'agents', name), ...packagedAgent(name)]
  const place = places.find((file) => existsSync(file))
  if (place === undefined && args.agentFile !== null) throw new UsageError(`--agent-file ${args.agentFile} does not exist`)
  return place === undefined ? null : readFile(place, 'utf8')
}

/** `agents/` beside a package.json above this code. */
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
    ...(report.heard.order === undefined ? []
      : [`  heard: order ${report.heard.order ?? 'none'}, status ${report.heard.status ?? 'none'}, eta ${report.heard.eta ?? 'none'}`]),
    `  at the caller's ear: greeting ${seconds(report.callerHeard.greetingMs)}, answers ${report.callerHeard.turns.map((turn) => seconds(turn.firstSoundMs)).join(', ') || 'none'}`,
  ]
  if (report.source === 'gateway') lines.push(`  as the gateway measured: answers ${report.turns.map((turn) => seconds(turn.answerMs)).join(', ') || 'none'}`)
  else lines.push(`  transcript as said and heard only: ${fault ?? 'the gateway does not know this call'} (--ops-url, OPS_TOKEN)`)
  for (const { expected, met, came } of report.expectations) lines.push(`  expected ${expected}: ${met ? 'yes' : 'NO'}, ${came}`)
  for (const bargeIn of report.bargeIns) lines.push(`  interrupted: the agent stopped after ${seconds(bargeIn.stopMs)}`)
  for (const complaint of report.complaints) lines.push(`  the carrier complains: ${complaint}`)
  return `${lines.join('\n')}\n`
}

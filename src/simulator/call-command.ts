import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { CallOutcome } from '../call/documents/record.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { requireSpeech } from '../speech/speech-packages.js'
import type { TrackLayout } from '../carrier/audio-fork.js'
import { CALL_DEFAULTS, SIMULATOR_KEY } from './choices.js'
import type { AfterStream, CallerVoice, HumanOutcome } from '../carrier/choices.js'
import type { SimulatedCallResult } from '../carrier/call-options.js'
import { type CallReport, type Expectation, reportOf } from './call-report.js'
import { type CallerFile, callWav, readWavFile } from '../carrier/caller-leg.js'
import { type CallerScript, filesOf } from './caller-script.js'
import { GatewayView } from './gateway-view.js'
import { humanSeeker, orderCaller, recordedCaller, supportCaller } from './personas.js'
import { parseScript } from './script-file.js'
import { simulateCalls, type SimulateOptions } from './simulate.js'
import { textPattern, type TextPattern } from './spoken-words.js'
import { agentYaml, knownOrders, ordersInShop, vocabularyOf } from './vocabulary.js'
import { LiveView } from './live-view.js'

/** The options of `mkondo call`, as its flags give them; `CALL_DEFAULTS` and where the gateway is are filled in. */
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
  /** In dB below the voice. */
  readonly noise?: number
  /** In ms. */
  readonly jitter?: number
  /** The caller speaks for this time before the stream opens, which the carrier sends first; absent: a quiet line. */
  readonly openingBurst?: number
  /** In dB below what was sent. */
  readonly echo?: number
  /** In ms. */
  readonly echoDelay?: number
  readonly seed: number
  readonly trackLayout: TrackLayout
  readonly afterStream: AfterStream
  readonly humanOutcome: HumanOutcome
  readonly ignoreKill?: true
  /** Absent: no REST API. */
  readonly apiPort?: number
  readonly apiKey?: string
  readonly calls: number
  readonly record?: string | undefined
  /** Where the reports go as JSON; `-` is standard output, null nowhere. */
  readonly json: string | null
  /** In seconds. */
  readonly timeout: number
  /** Texts and `/expressions/`. */
  readonly expect?: readonly string[]
  readonly expectTool?: readonly string[]
  readonly expectOutcome?: readonly CallOutcome[]
}

/** Callers say it to a line that is being set up; as long as the longest burst. */
const EARLY_WORDS = 'Hello? Hello? Hello, is anybody there?'

/** Interface of the command to its process. */
interface CallCommandIo {
  readonly out: (text: string) => unknown
  readonly err: (text: string) => unknown
  readonly env: Readonly<Record<string, string | undefined>>
  /** Aborting hangs up; the results so far are still written. Null: never. */
  readonly signal: AbortSignal | null
}

/** How long to wait for the record of an ended call. */
const RECORD_WAIT_MS = 3000
const STAGGER_MS = 150
/** A gateway on loopback accepts a connection within microseconds, one on the Internet within a second. */
const CONNECT_MS_MAX = 5000

/**
 * Places the calls of `mkondo call` and prints each as it happens.
 * @returns what came of each; the command succeeds when each reached its goal
 * @throws GatewayError CALL_FAULT without a gateway, CONFIG_INVALID without the voices, SCRIPT_INVALID or WAV_INVALID for a file that cannot be used
 */
export async function placeCalls(args: CallOptions, io: CallCommandIo): Promise<CallReport[]> {
  requireSpeech()
  const texts = patterns(args.expect ?? [])
  const { script, kind } = await callerOf(args)
  const files = new Map<string, CallerFile>()
  for (const file of filesOf(script)) files.set(file, await readWavFile(file))
  const { env } = io
  const gateway = new GatewayView(args.opsUrl, env['OPS_TOKEN'] ?? null)
  await reachable(args, gateway)
  const { from, to, seed, voice, noise, openingBurst, echo, jitter, apiPort, apiKey } = args
  const shopUrl = kind === 'order' ? (args.shopUrl ?? env['SHOP_API_URL'] ?? (await gateway.shopUrl())) : null
  const inShop = shopUrl === null ? [] : await ordersInShop(shopUrl, script.order, from)
  const expected: Expectation = {
    kind,
    order: script.order,
    statuses: new Map(inShop.map((order) => [order.orderNumber, order.status])),
    texts,
    tools: args.expectTool ?? [],
    outcomes: args.expectOutcome ?? [],
  }
  const options: SimulateOptions = {
    calls: Array.from({ length: args.calls }, (_, index) => ({
      callSid: `HD_${randomBytes(6).toString('hex')}`,
      ...{ from, to, script, voice },
      line: {
        sampleRateHz: args.rate === '8000' ? 8000 : 16000,
        snrDb: noise ?? null,
        echo: echo === undefined ? null : { levelDb: -echo, delayMs: args.echoDelay ?? CALL_DEFAULTS.echoDelay },
        seed: seed + index,
        ...(openingBurst === undefined ? {} : { openingMs: openingBurst }),
      },
      ...(openingBurst === undefined ? {} : { earlyWords: EARLY_WORDS }),
    })),
    vocabulary: vocabularyOf(await agentText(args, io), knownOrders(inShop, script.order)),
    files,
    record: args.record !== undefined,
    timeoutMs: args.timeout * 1000,
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
    },
  }
  return runAndReport(args, options, expected, gateway, io)
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
 * Looks for the gateway before anything is synthesised.
 * @throws GatewayError CALL_FAULT if nothing listens there, or if the ops port that the expectations need is
 * unreachable
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
  // Any call SID will do: a gateway that answers says that it does not know this call.
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
    const report = reportOf(result, { call, notReady }, expected, recording)
    reports.push(report)
    await view.poll()
    print(summaryOf(report, gateway.fault))
  }
  if (args.json === '-') io.out(`${JSON.stringify({ calls: reports }, null, 2)}\n`)
  else if (args.json !== null) await writeFile(args.json, `${JSON.stringify({ calls: reports }, null, 2)}\n`)
  return reports
}

async function saveRecording(args: CallOptions, result: SimulatedCallResult, index: number): Promise<string | null> {
  if (args.record === undefined || result.audio === null) return null
  const file = args.calls === 1 ? args.record : args.record.replace(/(\.wav)?$/i, `-${index + 1}.wav`)
  await writeFile(file, callWav(result.audio))
  return file
}

/**
 * Script of the caller, and their goal. With expectations but no behaviour on the command line, the agent can be any agent, so
 * no order is expected.
 */
async function callerOf(args: CallOptions): Promise<{ script: CallerScript; kind: Expectation['kind'] }> {
  const { agent, human, interrupt, order, wav, script: file } = args
  if (human === true) return { script: humanSeeker(), kind: 'human' }
  if (wav !== undefined) return { script: recordedCaller(wav), kind: 'talk' }
  if (file !== undefined) {
    const text = await readFile(file, 'utf8').catch((cause: unknown) => {
      throw new GatewayError('SCRIPT_INVALID', `${file} cannot be read`, { cause })
    })
    const script = parseScript(text, file)
    return { script, kind: script.order === null ? 'talk' : 'order' }
  }
  // Nothing asks for anything else.
  if (agent === 'support' && interrupt === undefined && order === undefined)
    return { script: supportCaller(), kind: 'human' }
  const expects = [args.expect, args.expectTool, args.expectOutcome].some((one) => one !== undefined)
  return {
    script: orderCaller({ order: order ?? null, interrupt: interrupt === true }),
    kind: order === undefined && expects ? 'talk' : 'order',
  }
}

/** The agent's file, for the recogniser: `--agent-file`, else the one in AGENTS_DIR, else the one of this package. */
function agentText({ agent, agentFile }: CallOptions, { env }: CallCommandIo): Promise<string | null> {
  if (agentFile === undefined)
    return agentYaml([env['AGENTS_DIR'] ?? 'agents', join(packageRoot(), 'agents')], agent ?? 'order-status')
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

import { stat, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { loadConfig } from '../../config/load-config.js'
import { publicTls } from '../../config/tls-files.js'
import type { Config } from '../../config/settings.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { requiredCarrierApi } from '../../gateway/carrier-side.js'
import { backendSettings } from '../../gateway/agents/hosted-agents.js'
import type { CarrierApi } from '../../gateway/carrier-side.js'
import { loadFlite } from '../../speech/flite.js'
import { writeWhole } from '../../telemetry/archive/whole-file.js'
import type { CarrierNumber } from '../../sautikit-api/numbers.js'
import { readEnvFile, withVariables } from '../serve/env-file.js'
import { carrierFindings, clockFindings, mcpFindings, redisFindings } from '../check.js'
import { serviceFamilies } from '../families.js'
import { pickNumber, routeOf } from '../numbers.js'
import { Progress } from '../progress.js'
import { bad, findingLine, good, json, lookAt } from '../terminal.js'
import type { Finding, Terminal } from '../terminal.js'
import { PHRASES } from './probe-call.js'
import type { Phrases } from './probe-call.js'
import { ProbeServer } from './probe-server.js'
import { reachFindings } from './reach.js'
import { reportText } from './report.js'
import { questionsOf, settingsOf } from './wire-facts.js'
import type { CallFacts } from './wire-facts.js'

/** The options of `mkondo doctor`. */
export interface DoctorOptions {
  readonly number?: string
  readonly claim?: string
  readonly byHand?: true
  readonly agent?: string
  readonly bothTracks?: true
  /** Time limit in s. */
  readonly wait: number
  /** False with `--no-reach`. */
  readonly reach: boolean
  readonly write?: string
  /** File for the JSON; `-` for standard output; null for no JSON. */
  readonly json: string | null
  readonly config?: string
}

const VOICE = 'slt'

/** Plan of the check, from the options and the settings. It is validated before the first request to the carrier. */
interface Plan {
  readonly config: Config
  readonly publicUrl: string
  /** Carrier's API; null with `--by-hand`. */
  readonly api: CarrierApi | null
  /** Route of the number after the check; null to restore the earlier route. */
  readonly finalRoute: Awaited<ReturnType<typeof routeOf>> | null
}

/** `mkondo doctor`: the guided first real call. */
export async function doctor(options: DoctorOptions, terminal: Terminal, signal: AbortSignal): Promise<number> {
  const plan = await planOf(options, terminal)
  const isJson = options.json === '-'
  const progress = new Progress(terminal, 'doctor')
  const say = (text: string): void => {
    progress.print(isJson ? terminal.err : terminal.out, text)
  }
  const { config, publicUrl, api } = plan
  const server = await ProbeServer.start({
    host: config.host,
    port: config.port,
    tls: publicTls(config),
    opsHost: config.opsHost,
    opsPort: config.opsPort,
    publicUrl,
    secrets: config.webhookSecrets,
    track: options.bothTracks === true ? 'both_tracks' : 'inbound_track',
    hangUp: api === null ? null : (callSid) => api.calls.hangup(callSid, {}),
    onStep: (what) => {
      say(`        ${what}\n`)
    },
  })
  const findings: Finding[] = []
  const found = (finding: Finding): void => {
    findings.push(finding)
    say(findingLine(finding, terminal))
  }
  try {
    if (options.reach) for (const finding of await reachFindings(publicUrl, server)) found(finding)
    const isFit = (): boolean => findings.every(({ ok }) => ok !== false)
    if (api !== null && isFit()) for (const finding of await carrierFindings(config)) found(finding)
    if (isFit()) for (const finding of await redisFindings(config)) found(finding)
    for (const finding of clockFindings([{ config }])) found(finding)
    if (isFit()) for (const finding of await serviceFamilies(backendSettings(config))) found(finding)
    if (isFit()) for (const finding of await mcpFindings(config, terminal.env)) found(finding)
    const calls = isFit() ? await calledBack(options, plan, server, { say, found, progress, signal, terminal }) : []
    const variables = settingsOf(calls, api === null ? [] : otherSpellings(api))
    const questions = questionsOf(calls)
    if (calls.length > 0) say(reportText(calls, questions, variables))
    if (options.write !== undefined && Object.keys(variables).length > 0) {
      // The file may contain secrets, so only its owner gets read permission.
      await writeWhole(options.write, withVariables(readEnvFile(options.write), variables))
      say(`written to ${options.write}\n`)
    }
    const report = json({ version: 1, findings, calls, questions, settings: variables })
    if (isJson) terminal.out(report)
    else if (options.json !== null) await writeFile(options.json, report)
    const isWhole = calls.some(({ afterStream }) => afterStream.seen !== 'unknown')
    return isWhole && isFit() ? 0 : 1
  } finally {
    progress.end()
    await server.close()
  }
}

/** @throws GatewayError CONFIG_INVALID, AGENT_UNKNOWN; UsageError */
async function planOf(options: DoctorOptions, terminal: Terminal): Promise<Plan> {
  const config = loadConfig(terminal.env, options.config ?? null)
  const { publicUrl } = config
  if (publicUrl === null)
    throw new GatewayError(
      'CONFIG_INVALID',
      'PUBLIC_URL is not set; set it to the origin at which the carrier reaches this machine, such as https://voice.example.com',
    )
  if (config.apiKey === null && options.byHand !== true)
    throw new GatewayError(
      'CONFIG_INVALID',
      "SAUTIKIT_API_KEY is not set; the doctor routes a number here with it; with --by-hand you do so on the carrier's website",
    )
  if (options.write !== undefined) {
    const folder = dirname(resolve(options.write))
    const isFolder = await stat(folder).then(
      (found) => found.isDirectory(),
      () => false,
    )
    if (!isFolder) throw new GatewayError('CONFIG_INVALID', `--write: there is no folder ${folder}`)
    readEnvFile(options.write)
  }
  return {
    config,
    publicUrl,
    api: options.byHand === true ? null : requiredCarrierApi(config),
    finalRoute: options.agent === undefined ? null : await routeOf({ agent: options.agent }, config),
  }
}

async function spoken(): Promise<Phrases> {
  const flite = await loadFlite()
  const pcm = (name: keyof Phrases): Int16Array => flite.speak(PHRASES[name], VOICE).pcm
  return {
    welcome: pcm('welcome'),
    tone: pcm('tone'),
    keyForTone: pcm('keyForTone'),
    key: pcm('key'),
    farewell: pcm('farewell'),
  }
}

interface Guide {
  readonly say: (text: string) => void
  readonly found: (finding: Finding) => void
  readonly progress: Progress
  readonly signal: AbortSignal
  readonly terminal: Terminal
}

/** Routes a number to this process, waits for the calls, and then sets its final route. */
async function calledBack(
  options: DoctorOptions,
  plan: Plan,
  server: ProbeServer,
  guide: Guide,
): Promise<readonly CallFacts[]> {
  const { api, publicUrl, finalRoute } = plan
  server.takeCalls(await spoken())
  if (api === null) {
    guide.say(`Route your number to these webhooks:\n\n  voice   ${server.voiceUrl}\n  events  ${server.eventsUrl}\n\n`)
    return waitForCalls(options, server, 'your number', guide)
  }
  let number: CarrierNumber
  try {
    number = await pickNumber(api.numbers, options, guide.terminal)
    await api.numbers.route(number.id, { voiceUrl: server.voiceUrl, eventsUrl: server.eventsUrl })
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw thrown
    guide.found(bad(`number: ${messageOf(thrown)}`))
    return []
  }
  const name = number.e164 ?? number.id
  guide.found(good(`number: ${name} leads here for this check`))
  try {
    return await waitForCalls(options, server, name, guide)
  } finally {
    // If an earlier doctor was killed, the number still leads to that doctor's URL, which does not answer any more.
    const before = number.voiceUrl?.startsWith(`${publicUrl}/voice/doctor-`) === true ? null : number.voiceUrl
    const route =
      finalRoute ??
      (before === null
        ? { voiceUrl: `${publicUrl}/voice`, eventsUrl: server.eventsUrl }
        : { voiceUrl: before, eventsUrl: number.eventsUrl ?? undefined })
    try {
      await api.numbers.route(number.id, route)
      guide.found(good(`number: ${name} leads to ${route.voiceUrl}`))
    } catch (thrown) {
      guide.found({
        ok: false,
        what: `number: ${name} still leads to this check (${messageOf(thrown)}); mkondo numbers route ${name} --url ${route.voiceUrl}`,
      })
    }
  }
}

/** Waits for one complete call. If a call ended too early, asks for another call within the time limit. */
async function waitForCalls(
  options: DoctorOptions,
  server: ProbeServer,
  name: string,
  { say, found, progress, signal }: Guide,
): Promise<readonly CallFacts[]> {
  const untilMs = performance.now() + options.wait * 1000
  const calls: CallFacts[] = []
  for (;;) {
    say(`Now call ${name} from any phone${calls.length === 0 ? '' : ' again'}, and stay on the line until it ends.\n`)
    progress.show('waiting for the call')
    const call = await orNull(server.nextCall(), untilMs - performance.now(), signal)
    if (call === null) {
      found({
        ok: false,
        what: signal.aborted ? 'call: stopped' : `call: no complete call came within ${options.wait} s`,
      })
      return calls
    }
    say('        the carrier has asked what to do with the call\n')
    progress.show('in the call')
    const stop = (): void => {
      call.abandon()
    }
    signal.addEventListener('abort', stop)
    const facts = await call.done
    signal.removeEventListener('abort', stop)
    calls.push(facts)
    if (facts.stream !== null && facts.afterStream.seen !== 'unknown') {
      found(good('call: complete'))
      return calls
    }
    found(lookAt('call: it ended before everything was checked'))
  }
}

/** Result of `coming`; null if the time limit ends or the signal is aborted first. */
async function orNull<T>(coming: Promise<T>, ms: number, signal: AbortSignal): Promise<T | null> {
  if (ms <= 0 || signal.aborted) return null
  const over = new AbortController()
  const late = sleep(ms, null, { signal: AbortSignal.any([signal, over.signal]) }).catch(() => null)
  try {
    return await Promise.race([coming, late])
  } finally {
    over.abort()
  }
}

/** Spellings of API requests that worked, if they differ from the first spelling that is tried. */
function otherSpellings({ paths }: CarrierApi): readonly string[] {
  return paths
    .worked()
    .filter(({ first }) => !first)
    .map(({ path }) => path)
}

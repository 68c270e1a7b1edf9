import type { CallTimelineView } from '../call/documents/call-view.js'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text as bodyOf } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import type { Environment } from '../agents/template.js'
import type { EscalationPacket } from '../call/documents/handoff.js'
import type { CallAnalysis, TranscriptEntry } from '../call/documents/record.js'
import { loadConfig } from '../config/load-config.js'
import { packageRoot } from '../config/package-root.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { FRAME_MS } from '../core/units.js'
import { startGateway } from '../gateway/gateway.js'
import type { Gateway } from '../gateway/gateway.js'
import { dbfsOfEnergy, energyOf } from '../media/pcm.js'
import { channelOf, parseWav } from '../media/wav.js'
import { placeCalls, type CallOptions } from '../simulator/call-command.js'
import type { CallReport } from '../simulator/call-report.js'
import { CALL_DEFAULTS } from '../simulator/choices.js'
import { GatewayView } from '../simulator/gateway-view.js'
import { HttpDouble } from '../simulator/http-double.js'
import { AnalystDouble } from '../simulator/vendors/analyst-double.js'
import { AgentModels, embeddedSpeaker } from '../simulator/vendors/agent-models.js'
import { CascadeDouble } from '../simulator/vendors/cascade-double.js'
import { DeepgramVoiceDouble } from '../simulator/vendors/deepgram-double.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { SonioxDouble } from '../simulator/vendors/soniox-double.js'
import { Script } from '../simulator/vendors/double.js'
import { requireSpeech } from '../speech/speech-packages.js'
import { createLog } from '../telemetry/log.js'
import { waterfall } from './calls.js'
import { Conversations, conversation } from './conversation.js'
import { startDemoPay, startDemoShop } from './demo-shop.js'
import type { DemoShop } from './demo-shop.js'
import { json as jsonText } from './terminal.js'
import type { Terminal } from './terminal.js'

/** The options of `mkondo demo`. */
export interface DemoOptions {
  readonly agent: 'order-status' | 'support'
  readonly failover?: true
  readonly cascade?: true
  readonly after?: true
  readonly pay?: true
  readonly languages?: true
  readonly knownCaller?: true
  readonly timeline?: true
  /** Where the recording of the call is kept. */
  readonly record?: string
  /** Where the result is written as JSON: a file, or `-` for standard output; null: nowhere. */
  readonly json: string | null
}

/** `mkondo demo`. @throws GatewayError CONFIG_INVALID where the offline recogniser and voice are not installed */
export async function demo(options: DemoOptions, terminal: Terminal): Promise<number> {
  // Its callers and agents speak.
  requireSpeech()
  if (options.agent === 'support') return supportDemo(options, terminal)
  if (options.failover === true) return failoverDemo(options, terminal)
  if (options.cascade === true) return cascadeDemo(options, terminal)
  if (options.after === true) return afterDemo(options, terminal)
  if (options.pay === true) return payDemo(options, terminal)
  if (options.languages === true) return languagesDemo(options, terminal)
  if (options.knownCaller === true) return knownCallerDemo(options, terminal)
  return orderDemo(options, terminal)
}

/** Gateway and shop of a demo. */
interface Stage {
  readonly gateway: Gateway
  readonly shop: DemoShop
  /** Removed at the end. */
  readonly folder: string
  /** Since the start, as text: `3.2 s`. */
  readonly elapsed: () => string
  /** Prints for people: on standard output, unless the JSON goes there. */
  readonly print: (text: string) => unknown
}

/** Result of a demo. */
interface Shown {
  readonly ok: boolean
  /** The result as JSON. */
  readonly result: object
  /** Final sentence about it; empty: it was printed already. */
  readonly verdict: string
}

interface Setting {
  /** Settings of the gateway. */
  readonly env?: Environment
  /** The lines that take the place of `backend:` in the shipped order line's file. Absent: the shipped agents as they are. */
  readonly backend?: string
  /** A line that is added to that agent's `voice:`. */
  readonly voice?: string
  /** Folder of other agents than the shipped ones. */
  readonly agentsDir?: string
  /** Writes what the gateway reads at its start. @returns more settings */
  readonly prepare?: (folder: string) => Promise<Environment>
  /** Closed at the end. */
  readonly services?: readonly { close(): Promise<unknown> }[]
}

/**
 * Runs a demo on a gateway of its own, with the demo's orders API, and frees everything at the end.
 * @returns the exit code: 0 when it has shown what it should
 */
async function withDemoGateway(
  { json }: DemoOptions,
  terminal: Terminal,
  { backend, voice, agentsDir, prepare, services = [], ...setting }: Setting,
  run: (stage: Stage) => Promise<Shown>,
): Promise<number> {
  const startedMs = performance.now()
  const print = json === '-' ? terminal.err : terminal.out
  const folder = await mkdtemp(join(tmpdir(), 'mkondo-demo-'))
  const open: { close(): Promise<unknown> }[] = [
    ...services,
    { close: () => rm(folder, { recursive: true, force: true }) },
  ]
  try {
    const env = { ...setting.env, ...(await prepare?.(folder)) }
    const agents = backend === undefined ? agentsDir : await orderAgent(folder, backend, voice)
    const shop = await startDemoShop()
    open.push(shop)
    const gateway = await startGateway({
      config: {
        ...loadConfig(env, null),
        port: 0,
        opsPort: 0,
        host: '127.0.0.1',
        tlsCert: null,
        tlsKey: null,
        shopApiUrl: shop.url,
        dataDir: folder,
        agentsWatch: false,
        ...(agents === undefined ? {} : { agentsDir: agents }),
      },
      env: { ...env, SHOP_API_URL: shop.url },
      // Not on standard output: the JSON may go there.
      log: createLog({ level: 'error', destination: { write: (line) => terminal.err(line) } }),
    })
    open.push({ close: () => gateway.stop(2000) })
    const elapsed = (): string => `${((performance.now() - startedMs) / 1000).toFixed(1)} s`
    const { ok, result, verdict } = await run({ gateway, shop, folder, elapsed, print })
    if (json === '-') terminal.out(jsonText(result))
    else if (json !== null) await writeFile(json, jsonText(result))
    print(verdict)
    return ok ? 0 : 1
  } finally {
    // The gateway first: it uses the others, which are closed even where one before them cannot be.
    await open.reduceRight<Promise<unknown>>((before, one) => before.finally(() => one.close()), Promise.resolve())
  }
}

/** @returns the folder of the shipped order line's agent, changed so */
async function orderAgent(folder: string, backend: string, voice?: string): Promise<string> {
  const yaml = await readFile(join(packageRoot(), 'agents', 'order-status.yaml'), 'utf8')
  const changed = yaml
    .replace(/^backend: .*$/m, backend)
    .replace(/^voice:$/m, voice === undefined ? 'voice:' : `voice:\n  ${voice}`)
  if (changed === yaml)
    throw new GatewayError('AGENT_INVALID', 'agents/order-status.yaml has no line `backend: …` to change')
  const agents = join(folder, 'agents')
  await mkdir(agents)
  await writeFile(join(agents, 'order-status.yaml'), changed)
  return agents
}

/** Looks again and again until it has happened, and then does what is to be done. @returns what ends that */
function once(happened: () => boolean, then: () => void): () => void {
  const watch = setInterval(() => {
    if (!happened()) return
    clearInterval(watch)
    then()
  }, FRAME_MS)
  return () => clearInterval(watch)
}

/** The language model of a cascade, and what else it needs, that answers as the order line's agent does. */
async function orderModels() {
  const agentsDir = join(packageRoot(), 'agents')
  const models = await AgentModels.load({ agentsDir, names: ['order-status'], env: {}, thinkMs: 0 })
  return { models, services: await CascadeDouble.start({ key: KEY, models: models.cascade() }) }
}

/** Somebody calls a line, alone, and what is said is printed. */
function callsAlone(stage: Stage, line: string, call: Partial<CallOptions>, terminal: Terminal): Promise<CallReport> {
  stage.print(`The gateway takes calls after ${stage.elapsed()}. Somebody calls the ${line} line.\n\n`)
  return placeCall(stage, call, conversation(stage.print, terminal))
}

/** Places one spoken call. */
async function placeCall(
  { gateway, shop }: Stage,
  call: Partial<CallOptions>,
  write: (text: string) => unknown,
): Promise<CallReport> {
  const [report] = await placeCalls(
    {
      ...CALL_DEFAULTS,
      url: `http://127.0.0.1:${gateway.publicPort}`,
      opsUrl: `http://127.0.0.1:${gateway.opsPort}`,
      shopUrl: shop.url,
      json: null,
      ...call,
    },
    { out: write, err: write, env: {}, signal: null },
  )
  if (report === undefined) throw new GatewayError('CALL_FAULT', 'the call has no report')
  return report
}

// --- three callers of the order line ------------------------------------------------------------------------

/** One caller of the demo. */
interface DemoCaller {
  readonly name: string
  readonly call: Partial<CallOptions>
}

// The demo shop: +254700000001 has exactly one open order, 4127; +254700000002 has several.
const CALLERS: readonly DemoCaller[] = [
  {
    name: 'A caller who knows the order number',
    call: { from: '+254700000009', order: '4127', voice: 'rms' },
  },
  { name: 'A caller who is known by the number', call: { from: '+254700000001', voice: 'awb' } },
  {
    name: 'A caller who interrupts the greeting',
    call: { from: '+254700000001', order: '4127', interrupt: true, voice: 'rms' },
  },
]

function orderDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  return withDemoGateway(options, terminal, {}, async (stage) => {
    const { reached, calls } = await threeCalls(stage, true, options, terminal)
    return { ok: reached === CALLERS.length, result: { calls }, verdict: '' }
  })
}

/** @param atOnce  false: one after the other, where this process recognises and speaks for the services too */
async function threeCalls(stage: Stage, atOnce: boolean, options: DemoOptions, terminal: Terminal) {
  const { print, elapsed, gateway } = stage
  print(`The gateway takes calls after ${elapsed()}. Three people call the order line${atOnce ? ' at once' : ''}.\n`)
  const conversations = new Conversations(
    CALLERS.map(({ name }) => name),
    print,
    terminal,
  )
  const place = async ({ call }: DemoCaller, index: number): Promise<CallReport | { readonly error: string }> => {
    try {
      return await placeCall(stage, { agent: 'order-status', ...call }, (text) => conversations.write(index, text))
    } catch (thrown) {
      conversations.write(index, `${messageOf(thrown)}\n`)
      return { error: messageOf(thrown) }
    } finally {
      conversations.end(index)
    }
  }
  const calls: Awaited<ReturnType<typeof place>>[] = []
  if (atOnce) calls.push(...(await Promise.all(CALLERS.map(place))))
  else for (const [index, caller] of CALLERS.entries()) calls.push(await place(caller, index))
  if (options.timeline === true) await drawTimelines(calls, gateway.opsPort, print, terminal)
  const reached = calls.filter((call) => 'goal' in call && call.goal.reached).length
  print(`\n${reached} of ${calls.length} callers heard the right status of the right order (${elapsed()} in all).\n`)
  return { reached, calls }
}

// --- a cascade whose voice breaks off in mid-sentence --------------------------------------------------------

/** Sound of an answer after which its voice breaks off: within the first sentence. */
const BREAKS_AFTER_MS = 900

/**
 * The three callers again, on a cascade: recogniser and language model are local doubles that understand speech, and the
 * voice speaks over the protocols of two services. Once the first was greeted, the connection of the first voice breaks
 * in the middle of a sentence, and the other one goes on with the words that are left.
 * @returns 0 when all callers heard the right answer, and the voice did break
 */
async function cascadeDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const speaker = await embeddedSpeaker()
  const [{ models, services }, voice, spare] = await Promise.all([
    orderModels(),
    // The caller hears the sentence when it breaks off.
    SonioxDouble.start({ key: KEY, speaker, paceMs: PACE_MS }),
    DeepgramVoiceDouble.start({ key: KEY, speaker }),
  ])
  const env = {
    ...{ STT_URL: services.baseUrl, STT_API_KEY: KEY },
    ...{ LLM_URL: services.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'double' },
    ...{ SONIOX_API_KEY: KEY, SONIOX_TTS_URL: voice.baseUrl },
    ...{ DEEPGRAM_API_KEY: KEY, DEEPGRAM_TTS_URL: spare.baseUrl },
    // Nothing is spoken ahead, so that it is an answer that breaks off.
    KEEP_CALLS: 'false',
  }
  const backend =
    'backend: cascade\nbackends: { cascade: { stt: { service: whisper, timeoutMs: 20000 }, tts: [soniox, deepgram] } }'
  return withDemoGateway(
    options,
    terminal,
    { env, backend, services: [services, voice, spare, models] },
    async (stage) => {
      const unwatch = once(
        () => voice.spoken.some((text) => text !== ''),
        () => (voice.faults.breaksAfterSoundMs = BREAKS_AFTER_MS),
      )
      try {
        const { reached, calls } = await threeCalls(stage, false, options, terminal)
        const broke = spare.spoken.length > 0
        const verdict = broke
          ? `A voice broke off in mid-sentence; the other one went on with: ${spare.spoken[0] ?? ''}\n`
          : 'No voice broke off, so nothing was shown.\n'
        return { ok: reached === CALLERS.length && broke, result: { calls }, verdict }
      } finally {
        unwatch()
      }
    },
  )
}

/** Asked of the ops port, as `mkondo calls timeline` does. */
async function drawTimelines(
  calls: readonly (CallReport | { readonly error: string })[],
  opsPort: number,
  print: (text: string) => unknown,
  { columns }: Terminal,
): Promise<void> {
  for (const call of calls) {
    if ('error' in call) continue
    const answer = await fetch(`http://127.0.0.1:${opsPort}/api/calls/${call.callSid}/timeline`)
    if (answer.ok) print(`\n${waterfall((await answer.json()) as CallTimelineView, columns() ?? 120)}`)
  }
}

// --- a model that dies in mid-sentence ----------------------------------------------------------------------

const GREETING = 'Hello, this is the order line. You can ask where your order is, or tell me your order number.'
const STATUS =
  'Order 4127 is out for delivery. PikiPiki should be with you today between 4 and 6 PM. Is there anything else?'
const KEY = 'key-of-the-demo'
/** Between pieces of 100 ms: a tenth faster than speech, so that what speaks dies before its answer is complete. */
const PACE_MS = 90
/** How long the primary answers before it is killed. */
const KILL_AFTER_MS = 1500
/** Quieter than this is a gap, in the recording of what the caller heard. */
const GAP_DBFS = -50
/** Sentence that must reach the caller after the failover. */
const ANSWER = 'Order 4127 is out for delivery.'
/** The least share of an answer's time that has sound: speech has pauses, and a busy machine adds more. */
const SOUND_SHARE_MIN = 0.4

/**
 * A call whose model is killed in mid-sentence. Both models are local doubles of the vendors' services, scripted and
 * with a real voice; everything between them and the caller is the gateway as it is.
 * @returns 0 when the right status reached the caller, judged by what was sent and played (`wasAnswered`) and not by
 *   the simulated caller's recogniser, which mishears on a busy machine
 */
async function failoverDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const { record } = options
  const speaker = await embeddedSpeaker()
  const [primary, standby] = await Promise.all([
    OpenAiDouble.start({
      key: KEY,
      speaker,
      script: new Script(
        [
          { say: GREETING },
          { calls: [{ callId: 'call_1', name: 'lookup_order', args: { orderNumber: '4127' } }] },
          { say: STATUS, paceMs: PACE_MS },
        ],
        ['4127'],
      ),
    }),
    GeminiDouble.start({
      key: KEY,
      speaker,
      script: new Script(
        [
          { say: STATUS },
          {
            say: 'Thank you for calling. Goodbye.',
            calls: [{ callId: 'call_2', name: 'end_call', args: { reason: 'answered' } }],
          },
        ],
        ['no thank you'],
        { againWithinMs: 1500 },
      ),
    }),
  ])
  const env = {
    OPENAI_API_KEY: KEY,
    OPENAI_BASE_URL: primary.baseUrl,
    GEMINI_API_KEY: KEY,
    GEMINI_BASE_URL: standby.baseUrl,
    GEMINI_MODEL: 'double',
  }
  const setting = { env, backend: 'backend: [openai, gemini]', services: [primary, standby] }
  return withDemoGateway(options, terminal, setting, async (stage) => {
    const { gateway, folder, print } = stage
    const write = conversation(print, terminal)
    const kill = (): void => {
      write('fault    the first model is killed in mid-sentence\n')
      primary.breakOff()
    }
    // The third answer is the status.
    const unwatch = once(
      () => primary.script.answers >= 3,
      () => setTimeout(kill, KILL_AFTER_MS),
    )
    try {
      const recording = record ?? join(folder, 'call.wav')
      const caller = { agent: 'order-status', order: '4127', from: '+254700000009', record: recording }
      const call = await placeCall(stage, caller, write)
      const kept = gateway.calls.record(call.callSid)
      const failover = kept?.timeline.find((mark) => mark.name === 'backend-failover')
      print(`\ntakeover: ${failover?.detail ?? 'none'}\n`)
      const openedAtMs = kept?.timeline.find((mark) => mark.name === 'stream-opened')?.atMs ?? 0
      const failedOverMs = (failover?.atMs ?? Infinity) - openedAtMs
      const heard = heardBy(await readFile(recording))
      const gapMs = longestGapMs(heard, failedOverMs)
      const answered = wasAnswered(call.transcript, failedOverMs, heard)
      const listener = call.goal.reached
        ? 'and the listener understood it'
        : `and the listener misheard it: ${call.goal.why}`
      const lookUps = kept?.toolCalls.filter((tool) => tool.name === 'lookup_order').length ?? 0
      const verdict = [
        `after it the answer was ${answered ? `sent and played whole, ${listener}` : 'NOT sent and played whole'}`,
        `longest silence that the caller heard around it: ${gapMs} ms (between two sentences it is some hundred)`,
        `look-ups run: ${lookUps}`,
        ...(record === undefined ? [] : [`recording: ${record}`]),
      ]
      return { ok: answered, result: { calls: [call] }, verdict: `${verdict.join('\n')}\n` }
    } finally {
      unwatch()
    }
  })
}

/** Sound that the caller heard, in the recording of a call. */
export interface HeardSound {
  readonly samples: Int16Array
  readonly sampleRateHz: number
}

function heardBy(file: Uint8Array): HeardSound {
  const wav = parseWav(file)
  return { samples: channelOf(wav, 1), sampleRateHz: wav.sampleRateHz }
}

/**
 * True if the status reached the caller after the failover: the answer is in the gateway's transcript, which has only
 * what was sent, and made a sound at the caller's end while it was played.
 * @param failedOverMs since the stream opened, as the transcript's times are; Infinity without a failover
 */
export function wasAnswered(transcript: CallReport['transcript'], failedOverMs: number, heard: HeardSound): boolean {
  return transcript.some(({ role, text, startMs, endMs }) => {
    if (role !== 'agent' || endMs < failedOverMs || !text.includes(ANSWER)) return false
    const sounds = soundsOf(heard, Math.max(startMs, failedOverMs), endMs)
    return sounds.filter(Boolean).length > SOUND_SHARE_MIN * sounds.length
  })
}

/** True if there is a sound, for each 20 ms between two times. */
function soundsOf({ samples, sampleRateHz }: HeardSound, fromMs: number, toMs: number): boolean[] {
  const block = (sampleRateHz * FRAME_MS) / 1000
  const to = Math.min(samples.length, Math.floor(toMs / FRAME_MS) * block)
  const sounds: boolean[] = []
  for (let at = Math.max(0, Math.floor(fromMs / FRAME_MS)) * block; at + block <= to; at += block) {
    sounds.push(dbfsOfEnergy(energyOf(samples, at, at + block), block) > GAP_DBFS)
  }
  return sounds
}

/**
 * The longest silence in what the caller heard from a second before the fault to four seconds after it; 0 without a
 * fault.
 */
function longestGapMs(heard: HeardSound, faultAtMs: number): number {
  let silent = 0
  let longest = 0
  for (const sound of soundsOf(heard, faultAtMs - 1000, faultAtMs + 4000)) {
    silent = sound ? 0 : silent + 1
    longest = Math.max(longest, silent)
  }
  return longest * FRAME_MS
}

// --- a caller of the support line ---------------------------------------------------------------------------

/**
 * One caller of the support line with a question, a balance and a broken line: the account is read out only after two
 * right answers, a fix is tried and fails, and the human who is rung has everything. The embedded backend, real speech.
 * @returns 0 when all of that happened
 */
function supportDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  return withDemoGateway(options, terminal, {}, async (stage) => {
    const { print, elapsed, gateway } = stage
    const call = await callsAlone(stage, 'support', { agent: 'support', record: options.record }, terminal)
    const packet = await new GatewayView(`http://127.0.0.1:${gateway.opsPort}`, null).handoff(call.callSid)
    if (packet !== null) print(contextText(packet))
    const helped = 'The caller was helped as far as it went, and the human knew the rest'
    return { result: { calls: [call], handoff: packet }, ...verdictOf(missingOf(call, packet), helped, elapsed) }
  })
}

function verdictOf(missing: readonly string[], done: string, elapsed: () => string): Pick<Shown, 'ok' | 'verdict'> {
  const ok = missing.length === 0
  return { ok, verdict: `\n${ok ? `${done} ` : `Missing: ${missing.join('; ')} `}(${elapsed()} in all).\n` }
}

/** Script of the caller of `--pay`. */
const PAYS = `version: 1
patienceMs: 60000
steps:
  - { say: I want to pay now., heard: How can I help }
  - { say: 'Yes.', heard: Shall I send it }
  - { say: 'No, thank you.', heard: anything else }
`
const PIN_MS = 8000

/**
 * A caller pays by M-Pesa during the call, with a double of Daraja: the prompt, the PIN, the callback.
 * @returns 0 when the caller heard that it is paid, after one prompt, and only then
 */
async function payDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const pay = await startDemoPay(PIN_MS)
  const agentsDir = join(packageRoot(), 'examples/pay-api/agents')
  return withDemoGateway(
    options,
    terminal,
    { env: { PAY_API_URL: pay.url }, agentsDir, services: [pay] },
    async (stage) => {
      const { elapsed, folder, gateway } = stage
      const script = join(folder, 'pays.yaml')
      await writeFile(script, PAYS)
      const caller = { agent: 'pay', agentFile: join(agentsDir, 'pay.yaml'), script, from: '+254700000001' }
      const call = await callsAlone(stage, 'payment', { ...caller, record: options.record }, terminal)
      const [wait] = gateway.calls.record(call.callSid)?.waits ?? []
      const said = call.transcript.find(({ text }) => text.includes('has been received'))
      const ok = wait?.status === 'succeeded' && wait.told && said !== undefined && pay.prompts.length === 1
      const verdict = ok
        ? `One prompt, the PIN after ${PIN_MS / 1000} s, and the caller heard that it is paid`
        : `NOT paid as it should be: ${pay.prompts.length} prompts, outcome ${wait?.status ?? 'none'}`
      const result = { calls: [call], waits: wait === undefined ? [] : [wait] }
      return { ok, result, verdict: `\n${verdict} (${elapsed()} in all).\n` }
    },
  )
}

// --- a caller who is known before the greeting ----------------------------------------------------------------

const ASKS_FOR_PLAN = 'version: 1\nsteps: [{ say: yes please }, { say: no thank you }]\n'

/**
 * One call to the line of `examples/known-caller`, whose customer is looked up in the demo's API while the phone rings.
 * @returns 0 when the greeting had the customer's name, and the dialogue the plan
 */
function knownCallerDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const agentsDir = join(packageRoot(), 'examples/known-caller/agents')
  return withDemoGateway(options, terminal, { agentsDir }, async (stage) => {
    const { elapsed, folder, gateway } = stage
    const script = join(folder, 'asks-for-plan.yaml')
    await writeFile(script, ASKS_FOR_PLAN)
    const caller = { agent: 'known-caller', script, from: '+254700000001' }
    const call = await callsAlone(stage, 'support', { ...caller, record: options.record }, terminal)
    const { caller: lookUp = null, greetingMs = null } = gateway.calls.record(call.callSid) ?? {}
    const said = call.transcript.filter(({ role }) => role === 'agent').map(({ text }) => text)
    const greeted = said[0]?.includes('Amina Odhiambo') === true
    const ok = greeted && lookUp?.state === 'found' && said.some((text) => text.includes('Your plan is Home 20'))
    const verdict = ok
      ? `Looked up in ${lookUp.ms} ms after the webhook, and greeted by name ${greetingMs ?? 0} ms after the stream opened`
      : `NOT known as the caller should be: ${lookUp?.state ?? 'no look-up'}, greeted with ${said[0] ?? 'nothing'}`
    return { ok, result: { calls: [call], caller: lookUp }, verdict: `\n${verdict} (${elapsed()} in all).\n` }
  })
}

// --- a caller who speaks Swahili and English ------------------------------------------------------------------

/** A caller's sentence, its language, and the parts that the answer must contain, as a voice gets them. */
interface MixedTurn {
  readonly language: 'en' | 'sw'
  readonly says: string
  /** Words of it that are English all the same. */
  readonly english?: readonly string[]
  readonly answer: readonly string[]
}

// Data of the demo shop: +254700000001 has one open order, 4127; the delivery is KES 350, shoes are KES 1,250.
const MIXED_TURNS: readonly MixedTurn[] = [
  {
    language: 'sw',
    says: 'Mzigo wangu umefika wapi?',
    answer: ['Agizo nne moja mbili saba liko njiani.', 'leo kati ya saa kumi na saa kumi na mbili jioni'],
  },
  {
    language: 'sw',
    says: 'Nataka ku-reschedule delivery ya kesho saa nne asubuhi',
    english: ['delivery'],
    answer: ['saa nne asubuhi, ten A M, sivyo?'],
  },
  { language: 'sw', says: 'Ndiyo ndiyo', answer: ['Nimeomba ibadilishwe.'] },
  {
    language: 'sw',
    says: 'Na delivery ni pesa ngapi?',
    english: ['delivery'],
    answer: ['Ni shilingi mia tatu na hamsini.'],
  },
  {
    language: 'en',
    says: 'Okay and how much are the shoes?',
    answer: ['one thousand two hundred and fifty shillings.', 'Is there anything else?'],
  },
  { language: 'en', says: 'No thank you.', answer: ['Goodbye.'] },
]
const MIXED_TOOLS = 'lookup_order, reschedule_order, search_catalogue, search_catalogue, end_call'
const VOICES = { en: 'Adrian', sw: 'Maya' } as const
const DAY_MS = 86_400_000

/**
 * A caller who asks in Swahili, with English words in it, and goes on in English, on a cascade of doubles. The recogniser
 * has the caller's words from here, since no local one hears Swahili, and tells the language of each as Soniox does.
 * @returns 0 when each answer was in the caller's language and in the voice for it, as one says it, and the tools ran as asked
 */
async function languagesDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const languages = new Map(
    MIXED_TURNS.flatMap(({ language, says, english = [] }) =>
      says.split(' ').map((word) => [word, english.includes(word) ? 'en' : language] as const),
    ),
  )
  const [{ models, services }, soniox] = await Promise.all([
    orderModels(),
    SonioxDouble.start({
      key: KEY,
      speaker: await embeddedSpeaker(),
      paceMs: PACE_MS,
      script: new Script(
        [],
        MIXED_TURNS.map(({ says }) => says),
      ),
      languageOf: (word) => languages.get(word) ?? 'en',
    }),
  ])
  const env = {
    ...{ LLM_URL: services.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'double' },
    ...{ SONIOX_API_KEY: KEY, SONIOX_STT_URL: soniox.baseUrl, SONIOX_TTS_URL: soniox.baseUrl },
    // Nothing is spoken ahead: what the voice gets is what the caller hears.
    KEEP_CALLS: 'false',
    // The date that was asked for looks like a number of a phone. The caller's own is made up.
    RECORDS_NUMBERS: 'full',
  }
  const backend = 'backend: cascade\nbackends: { cascade: { stt: soniox, tts: soniox } }'
  const voice = `cascade: ${JSON.stringify(VOICES)}`
  const setting = { env, backend, voice, services: [services, soniox, models] }
  return withDemoGateway(options, terminal, setting, async (stage) => {
    const { print, elapsed } = stage
    const script = join(stage.folder, 'mixed.yaml')
    const steps = MIXED_TURNS.map(({ says }) => ({ say: says }))
    await writeFile(script, JSON.stringify({ version: 1, patienceMs: 30_000, steps }))
    const days = [tomorrow()]
    const caller = { agent: 'order-status', script, from: '+254700000001', record: options.record }
    const call = await callsAlone(stage, 'order', caller, terminal)
    days.push(tomorrow())
    const spoken = soniox.voices
      .flatMap(({ utterances }) => utterances)
      .map(({ config, speech: { text } }) => ({
        language: textOf(config['language']),
        voice: textOf(config['voice']),
        text,
      }))
      // Opened ahead, and not used.
      .filter(({ text }) => text !== '')
    print('\nWhat the voice was given, with its language and name:\n')
    for (const { language, voice, text } of spoken) print(`  ${language}  ${voice.padEnd(6)}  ${text}\n`)
    const { transcript = [], toolCalls = [] } = stage.gateway.calls.record(call.callSid) ?? {}
    const missing = notAsSpoken({ transcript, toolCalls }, spoken, days)
    const done = "Each answer was in the caller's language, in words as people say them"
    return { result: { calls: [call], transcript, spoken, missing }, ...verdictOf(missing, done, elapsed) }
  })
}

/** As the double counts days: in UTC. */
function tomorrow(): string {
  return new Date(Date.now() + DAY_MS).toISOString().slice(0, 10)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** Part of the call's record. */
interface MixedCall {
  readonly transcript: readonly Pick<TranscriptEntry, 'role' | 'text' | 'language'>[]
  readonly toolCalls: readonly Pick<CallReport['toolCalls'][number], 'name' | 'args' | 'ok'>[]
}

/** Faults of the call in two languages. @param days  that "kesho" may be */
export function notAsSpoken(
  { transcript, toolCalls }: MixedCall,
  spoken: readonly { readonly language: string; readonly voice: string; readonly text: string }[],
  days: readonly string[],
): string[] {
  const missing: string[] = []
  for (const { language, says } of MIXED_TURNS) {
    const at = transcript.findIndex(({ role, text }) => role === 'caller' && text === says)
    const answer = transcript.slice(at + 1).find(({ role }) => role === 'agent')
    if (at < 0) missing.push(`"${says}"`)
    else if (answer?.language !== language)
      missing.push(`an answer to "${says}" in ${language} (it was in ${answer?.language ?? 'none'})`)
  }
  for (const { language, voice, text } of spoken)
    if (voice !== VOICES[language as keyof typeof VOICES]) missing.push(`the voice of ${language} for "${text}"`)
  for (const { language, answer } of MIXED_TURNS) {
    const said = spoken.filter((one) => one.language === language).map(({ text }) => text)
    missing.push(...answer.filter((words) => !said.join(' ').includes(words)).map((words) => `"${words}"`))
  }
  const ran = toolCalls.filter(({ ok }) => ok)
  const names = ran.map(({ name }) => name).join(', ')
  if (names !== MIXED_TOOLS) missing.push(`the tools ${MIXED_TOOLS} (they were ${names})`)
  const moved = ran.find(({ name }) => name === 'reschedule_order')?.args
  if (moved?.['orderNumber'] !== '4127' || moved['time'] !== '10:00' || !days.includes(textOf(moved['date'])))
    missing.push('order 4127 asked for tomorrow at 10:00')
  return missing
}

/** The expected events of the demo that did not happen. */
function missingOf(call: CallReport, packet: EscalationPacket | null): string[] {
  const said = call.transcript
    .filter(({ role }) => role === 'agent')
    .map(({ text }) => text)
    .join(' ')
  const ran = (name: string): number => call.toolCalls.filter((tool) => tool.name === name && tool.ok).length
  const asked = call.transcript.findIndex(({ text }) => text.includes('KES 350'))
  const proved = call.transcript.findIndex(({ text }) => text.includes('your customer number'))
  const checks: [boolean, string][] = [
    [ran('search_knowledge') > 0 && said.includes('open every day'), 'the answer to the question'],
    [ran('verify_caller') === 2, "the caller's proof of who they are"],
    [ran('getAccount') > 0 && asked > proved && proved >= 0, 'the balance, after that proof'],
    [
      call.toolCalls.some(({ name, args }) => name === 'note_fix' && args['helped'] === false),
      'a fix that did not help',
    ],
    [call.dials.at(-1)?.outcome === 'answered', 'a human on the line'],
    [packet?.identity?.['accountId'] === 'AC-1001', 'who the caller is, for the human'],
    [packet?.tried.some(({ name }) => name === 'note_fix') === true, 'what was tried, for the human'],
  ]
  return checks.flatMap(([happened, what]) => (happened ? [] : [what]))
}

function contextText(packet: EscalationPacket): string {
  const identity =
    packet.identity === null
      ? 'not verified'
      : Object.entries(packet.identity)
          .map(([name, value]) => `${name} ${String(value)}`)
          .join(', ')
  const tried = packet.tried.map(
    ({ name, ok, args }) =>
      `${name}${Object.keys(args).length === 0 ? '' : ` ${JSON.stringify(args)}`}${ok ? '' : ' (failed)'}`,
  )
  return [
    '',
    'What the human gets (GET /api/calls/SID/handoff):',
    `  reason    ${packet.reason}`,
    `  summary   ${packet.summary}`,
    `  caller    ${identity}`,
    ...tried.map((line, index) => `  ${index === 0 ? 'tried    ' : '         '} ${line}`),
    `  and ${packet.transcript.length} lines of what was said`,
    '',
  ].join('\n')
}

// --- what follows a call --------------------------------------------------------------------------------------

/** How long the demo waits for the messages about its call. */
const MESSAGES_WAIT_MS = 15_000
const MESSAGES_WANTED = ['call.started', 'call.ended', 'call.analysed'] as const

const ANALYSED_AGENT = `backend: embedded
analysis:
  fields:
    intent: { type: string, enum: [order, refund, other] }
    resolved: { type: boolean }
    tools: { known: tools }`

/**
 * A call, what it was about, and its messages, received by a server that verifies them as any receiver would.
 * @returns 0 when each message came, was ours, and the last one has the analysis
 */
async function afterDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const analyst = await AnalystDouble.start()
  const secret = `whsec_${randomBytes(32).toString('base64')}`
  const print = options.json === '-' ? terminal.err : terminal.out
  const receiver = await Receiver.start(secret, (type) => print(`message  ${type}: the signature is ours\n`))
  const prepare = async (folder: string): Promise<Environment> => {
    const file = join(folder, 'messages.yaml')
    const url = `${receiver.baseUrl}/hook`
    await writeFile(file, `receivers: [{ name: demo, url: '${url}', secrets: [DEMO_WEBHOOK_SECRET] }]\n`)
    return { MESSAGES_FILE: file, DEMO_WEBHOOK_SECRET: secret, LLM_URL: analyst.baseUrl, LLM_MODEL: 'analyst' }
  }
  const setting = { prepare, backend: ANALYSED_AGENT, services: [analyst, receiver] }
  return withDemoGateway(options, terminal, setting, async (stage) => {
    const caller = { agent: 'order-status', order: '4127', from: '+254700000009' }
    const call = await placeCall(stage, caller, conversation(print, terminal))
    const analysed = (): AnalysedEvent | undefined => receiver.events.find(({ type }) => type === 'call.analysed')
    const untilMs = performance.now() + MESSAGES_WAIT_MS
    while (analysed() === undefined && performance.now() < untilMs) await sleep(FRAME_MS)
    const analysis = analysed()?.data.analysis ?? null
    for (const [name, { value, quote }] of Object.entries(analysis?.fields ?? {}))
      print(`analysis ${name}: ${String(value)}${quote === null ? '' : ` ("${quote}")`}\n`)
    print(`analysis summary: ${analysis?.summary ?? 'none'}\n`)
    const came = receiver.events.filter(({ subject }) => subject === call.callSid).map(({ type }) => type)
    const isWhole = MESSAGES_WANTED.every((type) => came.includes(type)) && receiver.refused === 0
    const ok = isWhole && analysis?.fields['intent']?.value === 'order' && analysis.summary !== null
    const verdict = ok ? 'each message came, and says what the call was about\n' : 'NOT each message came whole\n'
    return { ok, result: { calls: [call], messages: receiver.events }, verdict }
  })
}

/** As far as the demo reads it. */
interface AnalysedEvent {
  readonly type: string
  readonly subject: string
  readonly data: { readonly analysis?: CallAnalysis | null }
}

/** A receiver as docs/MESSAGES.md shows one: what it cannot verify is refused. */
class Receiver extends HttpDouble {
  readonly events: AnalysedEvent[] = []
  refused = 0

  constructor(secret: string, onEvent: (type: string) => void) {
    const webhook = new Webhook(secret)
    const seen = new Set<string>()
    super({}, async (request, response) => {
      try {
        const event = webhook.verify(await bodyOf(request), request.headers as Record<string, string>) as AnalysedEvent
        response.end()
        const id = String(request.headers['webhook-id'])
        if (seen.has(id)) return
        seen.add(id)
        this.events.push(event)
        onEvent(event.type)
      } catch {
        this.refused++
        response.writeHead(401).end()
      }
    })
  }
}

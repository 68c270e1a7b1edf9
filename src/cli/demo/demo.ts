import type { CallTimelineView } from '../../call/documents/call-view.js'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { EscalationPacket } from '../../call/documents/handoff.js'
import { packageRoot } from '../../config/package-root.js'
import { messageOf } from '../../core/errors.js'
import { type CallOptions } from '../../simulator/call-command.js'
import type { CallReport } from '../../simulator/call-report.js'
import { GatewayView } from '../../simulator/gateway-view.js'
import { embeddedSpeaker } from '../../simulator/vendors/agent-models.js'
import type { ServiceDouble } from '../../simulator/vendors/service-double.js'
import { startDouble } from '../double.js'
import { requireSpeech } from '../../speech/speech-packages.js'
import { waterfall } from '../calls.js'
import { Conversations } from '../conversation.js'
import { startDemoPay } from './demo-shop.js'
import type { Terminal } from '../terminal.js'
import { withDemoGateway, once, orderModels, callsAlone, placeCall, verdictOf, KEY, PACE_MS } from './demo-gateway.js'
import type { DemoOptions, DemoGateway } from './demo-gateway.js'
import { afterDemo } from './demo-after.js'
import { languagesDemo } from './demo-languages.js'
import { failoverDemo } from './demo-failover.js'

/**
 * `mkondo demo`.
 * @throws GatewayError CONFIG_INVALID if the offline recogniser and voice are not installed
 */
export async function demo(options: DemoOptions, terminal: Terminal): Promise<number> {
  // Speech is required, because the demo's callers and agents speak.
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

// --- three callers of the order line ------------------------------------------------------------------------

/** One caller of the demo. */
interface DemoCaller {
  readonly name: string
  readonly call: Partial<CallOptions>
}

// Callers of the demo shop: +254700000001 has exactly one open order, 4127; +254700000002 has several.
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

/** Interval in ms at which the lag of this process is sampled. */
const LAG_SAMPLE_MS = 10
/** A machine is called busy from this lag in ms on: the playout keeps about 40 ms of sound ready, so callers may hear gaps. */
const BUSY_LATE_MS = 60

function orderDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  return withDemoGateway(options, terminal, {}, async (demo) => {
    const { reached, calls } = await threeCalls(demo, true, options, terminal)
    return { ok: reached === CALLERS.length, result: { calls }, verdict: '' }
  })
}

/**
 * @param atOnce false: the calls run one after another, because this process also recognises and speaks in place of the
 * services
 */
async function threeCalls(demo: DemoGateway, atOnce: boolean, options: DemoOptions, terminal: Terminal) {
  const { print, elapsed, gateway } = demo
  print(`The gateway takes calls after ${elapsed()}. Three people call the order line${atOnce ? ' at once' : ''}.\n`)
  const conversations = new Conversations(
    CALLERS.map(({ name }) => name),
    print,
    terminal,
  )
  const place = async ({ call }: DemoCaller, index: number): Promise<CallReport | { readonly error: string }> => {
    try {
      return await placeCall(demo, { agent: 'order-status', ...call }, (text) => conversations.write(index, text))
    } catch (thrown) {
      conversations.write(index, `${messageOf(thrown)}\n`)
      return { error: messageOf(thrown) }
    } finally {
      conversations.end(index)
    }
  }
  const calls: Awaited<ReturnType<typeof place>>[] = []
  const lag = monitorEventLoopDelay({ resolution: LAG_SAMPLE_MS })
  lag.enable()
  if (atOnce) calls.push(...(await Promise.all(CALLERS.map(place))))
  else for (const [index, caller] of CALLERS.entries()) calls.push(await place(caller, index))
  if (options.timeline === true) await drawTimelines(calls, gateway.opsPort, print, terminal)
  lag.disable()
  const reached = calls.filter((call) => 'goal' in call && call.goal.reached).length
  const lateMs = Math.round(lag.percentile(99) / 1e6 - LAG_SAMPLE_MS)
  if (lateMs > BUSY_LATE_MS)
    print(
      `\nThe machine was busy: one in a hundred of this process's timers ran ${lateMs} ms late or more. Recognisers and voices need the processor too, so on such a machine callers and agents understand each other late.\n`,
    )
  print(
    `\n${reached} of ${calls.length} callers were told the right status of the right order (${elapsed()} in all).\n`,
  )
  return { reached, calls }
}

// --- a cascade whose voice breaks off in mid-sentence --------------------------------------------------------

const [VOICE, SPARE_VOICE] = ['soniox', 'deepgram'] as const
/** Duration in ms of an answer's sound after which the voice breaks off. The first sentence is longer. */
const BREAKS_AFTER_MS = 900

/**
 * Shows the three callers again, on a cascade. The recogniser and the language model are local doubles that understand
 * speech. The voice uses the protocols of two services. After the first greeting, the first voice's connection breaks
 * in the middle of a sentence, and the second voice speaks the remaining words.
 * @returns 0 if all callers got the right answer and the first voice broke
 */
async function cascadeDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const speaker = await embeddedSpeaker()
  const [{ models, services }, { double: voice, env: ofVoice }, { double: spare, env: ofSpare }] = await Promise.all([
    orderModels(),
    // The sound is sent at the speed of speech, so the caller is hearing the sentence when the voice breaks.
    startDouble<ServiceDouble>(VOICE, { key: KEY, speaker, paceMs: PACE_MS }, '_TTS_URL'),
    startDouble<ServiceDouble>(SPARE_VOICE, { key: KEY, speaker }, '_TTS_URL'),
  ])
  const env = {
    ...{ STT_URL: services.baseUrl, STT_API_KEY: KEY },
    ...{ LLM_URL: services.baseUrl, LLM_API_KEY: KEY, LLM_MODEL: 'double' },
    ...ofVoice,
    ...ofSpare,
    // Speech is not synthesised in advance, so that the voice breaks during an answer.
    KEEP_CALLS: 'false',
  }
  const backend = `backend: cascade\nbackends: { cascade: { stt: { service: whisper, timeoutMs: 20000 }, tts: [${VOICE}, ${SPARE_VOICE}] } }`
  return withDemoGateway(
    options,
    terminal,
    { env, backend, services: [services, voice, spare, models] },
    async (demo) => {
      const unwatch = once(
        () => voice.spoken.some((text) => text !== ''),
        () => (voice.faults.breaksAfterSoundMs = BREAKS_AFTER_MS),
      )
      try {
        const { reached, calls } = await threeCalls(demo, false, options, terminal)
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

/** Reads the calls' timelines from the ops port and prints them like `mkondo calls timeline`. */
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

// --- a caller of the support line ---------------------------------------------------------------------------

/**
 * Shows a caller of the support line who has a question, wants a balance and reports a broken line. The balance is read
 * out only after two right answers. A fix is tried and fails. The gateway then rings a human, who gets the whole
 * context. The demo uses the embedded backend and real speech.
 * @returns 0 if all of this happened
 */
function supportDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  return withDemoGateway(options, terminal, {}, async (demo) => {
    const { print, elapsed, gateway } = demo
    const call = await callsAlone(demo, 'support', { agent: 'support', record: options.record }, terminal)
    const packet = await new GatewayView(`http://127.0.0.1:${gateway.opsPort}`, null).handoff(call.callSid)
    if (packet !== null) print(contextText(packet))
    const helped = 'The caller was helped as far as it went, and the human knew the rest'
    return { result: { calls: [call], handoff: packet }, ...verdictOf(missingOf(call, packet), helped, elapsed) }
  })
}

/** Script of the caller for `--pay`. */
const PAYS = `version: 1
patienceMs: 60000
steps:
  - { say: I want to pay now., heard: How can I help }
  - { say: 'Yes.', heard: Shall I send it }
  - { say: 'No, thank you.', heard: anything else }
`
const PIN_MS = 8000

/**
 * Shows a caller who pays by M-Pesa during the call, with a double of Daraja. The double sends the prompt, reads the
 * PIN and calls back.
 * @returns 0 if there was one prompt, and the caller heard of the payment
 */
async function payDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const pay = await startDemoPay(PIN_MS)
  const agentsDir = join(packageRoot(), 'examples/pay-api/agents')
  return withDemoGateway(
    options,
    terminal,
    { env: { PAY_API_URL: pay.url }, agentsDir, services: [pay] },
    async (demo) => {
      const { elapsed, folder, gateway } = demo
      const script = join(folder, 'pays.yaml')
      await writeFile(script, PAYS)
      const caller = { agent: 'pay', agentFile: join(agentsDir, 'pay.yaml'), script, from: '+254700000001' }
      const call = await callsAlone(demo, 'payment', { ...caller, record: options.record }, terminal)
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
 * Shows a call to the line of `examples/known-caller`, whose demo API knows the customer.
 * @returns 0 if the greeting contained the customer's name and the dialogue contained the customer's plan
 */
function knownCallerDemo(options: DemoOptions, terminal: Terminal): Promise<number> {
  const agentsDir = join(packageRoot(), 'examples/known-caller/agents')
  return withDemoGateway(options, terminal, { agentsDir }, async (demo) => {
    const { elapsed, folder, gateway } = demo
    const script = join(folder, 'asks-for-plan.yaml')
    await writeFile(script, ASKS_FOR_PLAN)
    const caller = { agent: 'known-caller', script, from: '+254700000001' }
    const call = await callsAlone(demo, 'support', { ...caller, record: options.record }, terminal)
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

/** Expected events of the demo that did not happen. */
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

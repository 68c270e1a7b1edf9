import t from 'tap'
import type { Test } from 'tap'
import { composeBackend } from '../../src/backends/compose.js'
import { Recorder, conformanceSession } from '../../src/backends/conformance.js'
import { Circuits } from '../../src/backends/failover/circuit-breaker.js'
import { UNWATCHED } from '../../src/backends/watch.js'
import { run } from '../../src/cli/program.js'
import { PROCESS_TERMINAL } from '../../src/cli/terminal.js'
import { loadConfig } from '../../src/config/load-config.js'
import { backendSettings } from '../../src/gateway/agents/hosted-agents.js'
import { command } from '../support/command.js'
import { loadResamplers } from '../support/media-modules.js'

const resamplers = await loadResamplers()
const BACKENDS = {
  openai: 'openai',
  'openai-live': 'openai-live',
  gemini: 'gemini',
  'azure-voice-live': 'azure-voice-live',
  realtime: 'self-hosted',
} as const
type Service = keyof typeof BACKENDS

const isFailed = ({ status }: { readonly status: string }): boolean => status === 'failed'

/** The backend of a call on a double that runs with these options, as the gateway makes it from what it prints. */
async function callOn(t: Test, service: Service, ...options: readonly string[]) {
  const stop = new AbortController()
  let printed = ''
  const running = run(['double', service, '--port', '0', '--agent', 'order-status', ...options], {
    ...PROCESS_TERMINAL,
    out: (text) => (printed += text),
    env: {},
    signal: stop.signal,
  })
  while (!printed.includes('export ')) {
    await Promise.race([running, new Promise((resolve) => setTimeout(resolve, 50))])
  }
  const variables = Object.fromEntries(
    [...printed.matchAll(/^export (\w+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  )
  const composed = await composeBackend(
    {
      names: [BACKENDS[service]],
      voices: {},
      standby: false,
      stallMs: 2000,
      holdAfterMs: 60_000,
      budget: null,
      prices: null,
      message: null,
    },
    {
      speech: null,
      clock: () => performance.now(),
      circuits: new Circuits(),
      resamplers,
      legRateHz: 16_000,
      watch: UNWATCHED,
      settings: backendSettings(loadConfig(variables, null)),
      options: { 'openai-live': { delegateTimeoutMs: 500 } },
      instructionsNow: () => 'x',
      gatewayInterrupts: false,
    },
  )
  const recorder = new Recorder()
  const backend = composed.create(recorder)
  t.teardown(async () => {
    await backend.close('the test is over')
    stop.abort()
    await running
  })
  return { backend, recorder, connected: backend.connect(conformanceSession(), new AbortController().signal) }
}

for (const service of ['openai', 'openai-live', 'gemini', 'azure-voice-live'] as const)
  t.test(`--fault no-quota: ${service} refuses sessions with BACKEND_QUOTA`, async (t) => {
    const { connected } = await callOn(t, service, '--fault', 'no-quota')
    await t.rejects(connected, { code: 'BACKEND_QUOTA' })
  })

for (const service of ['openai', 'gemini', 'azure-voice-live'] as const)
  t.test(`--fault empty-answers: ${service} fails the turn after one retry`, async (t) => {
    const { backend, connected, recorder } = await callOn(t, service, '--fault', 'empty-answers')
    await connected
    backend.sendText('Where is my order?', { role: 'caller', respond: true })
    await recorder.until('an answer that failed', () => recorder.all('turn-done').some(isFailed))
    t.ok(recorder.audioPieces.length === 0)
  })

t.test('--fault delegate-hangs: the turn of GPT-Live fails', async (t) => {
  const { backend, connected, recorder } = await callOn(t, 'openai-live', '--fault', 'delegate-hangs')
  await connected
  backend.sendText('Where is my order?', { role: 'caller', respond: true })
  t.match(await recorder.next('turn-done'), { status: 'failed' })
})

t.test('--breaks-after: the call moves to a new connection', async (t) => {
  const { connected, recorder } = await callOn(t, 'openai', '--breaks-after', '1')
  await connected
  t.match(await recorder.next('failover'), { from: 'openai', to: 'openai' })
})

t.test('an unknown service, fault or agent is refused with alternatives', async (t) => {
  for (const [argv, why] of [
    [['double', 'gpt'], /openai, openai-live, gemini/],
    [
      ['double', 'openai-live', '--fault', 'deaf'],
      /--fault is not one that openai-live has; allowed: delegate-hangs, no-quota, never-ready/,
    ],
    [['double', 'openai', '--fault', 'tired'], /deaf/],
    [['double', 'openai', '--key', 'two words'], /without spaces/],
    [['double', 'openai', '--agent', 'nobody'], /nobody/],
  ] as const) {
    const { code, err } = await command(argv)
    t.equal(code, 2, argv.join(' '))
    t.match(err, why)
  }
})

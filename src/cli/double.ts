import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { AgentModels } from '../simulator/vendors/agent-models.js'
import type { DoubleOptions } from '../simulator/vendors/double.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiLiveDouble } from '../simulator/vendors/openai-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { HELP_OPTION, PROCESS_TERMINAL, untilSignal, wordsAndOptions, wrongUse } from './command-line.js'
import type { Terminal } from './command-line.js'

/** How a service misbehaves from its first session on. */
type Fault = 'deaf' | 'empty-answers' | 'no-quota' | 'never-ready' | 'delegate-hangs'

interface DoubleWanted {
  readonly options: DoubleOptions
  readonly key: string
  readonly faults: readonly Fault[]
}

/** A service that runs: what a gateway needs to use it. */
interface RunningDouble {
  readonly env: Readonly<Record<string, string>>
  readonly close: () => Promise<void>
}

interface Service {
  readonly what: string
  readonly port: number
  readonly faults: readonly Fault[]
  readonly start: (wanted: DoubleWanted) => Promise<RunningDouble>
}

/** More than anybody would ask for: a double with this fault never answers. */
const EMPTY_FOREVER = Number.MAX_SAFE_INTEGER
const NO_QUOTA = 'You exceeded your current quota, please check your plan and billing details.'
const NO_QUOTA_ERROR = { type: 'insufficient_quota', code: 'insufficient_quota', message: NO_QUOTA }

async function openAi({ options, faults }: DoubleWanted): Promise<OpenAiDouble> {
  const double = await OpenAiDouble.start(options)
  double.faults.deaf = faults.includes('deaf')
  if (faults.includes('empty-answers')) double.faults.emptyAnswers = EMPTY_FOREVER
  if (faults.includes('no-quota')) double.refuse = { status: 429, body: JSON.stringify({ error: NO_QUOTA_ERROR }) }
  if (faults.includes('never-ready')) double.refuse = 'never'
  return double
}

const SERVICES: Readonly<Record<string, Service>> = {
  openai: {
    what: 'OpenAI Realtime',
    port: 7701,
    faults: ['deaf', 'empty-answers', 'no-quota', 'never-ready'],
    start: async (wanted) => {
      const double = await openAi(wanted)
      return {
        env: { AUTO_BACKEND: 'openai', OPENAI_API_KEY: wanted.key, OPENAI_BASE_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
  'openai-live': {
    what: 'OpenAI GPT-Live, with the delegate that the service runs',
    port: 7702,
    faults: ['no-quota', 'never-ready', 'delegate-hangs'],
    start: async ({ options, key, faults }) => {
      const double = await OpenAiLiveDouble.start({ ...options, continuous: true })
      double.delegateHangs = faults.includes('delegate-hangs')
      if (faults.includes('no-quota')) double.refuseSession = NO_QUOTA_ERROR
      if (faults.includes('never-ready')) double.refuse = 'never'
      return {
        env: { AUTO_BACKEND: 'openai-live', OPENAI_API_KEY: key, OPENAI_LIVE_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
  gemini: {
    what: 'Gemini Live',
    port: 7703,
    faults: ['deaf', 'empty-answers', 'no-quota', 'never-ready'],
    start: async ({ options, key, faults }) => {
      const double = await GeminiDouble.start(options)
      double.faults.deaf = faults.includes('deaf')
      if (faults.includes('empty-answers')) double.faults.emptyTurns = EMPTY_FOREVER
      if (faults.includes('no-quota')) double.closeAtOnce = { code: 1011, reason: NO_QUOTA }
      if (faults.includes('never-ready')) double.refuse = 'never'
      return {
        env: { AUTO_BACKEND: 'gemini', GEMINI_API_KEY: key, GEMINI_BASE_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
  realtime: {
    what: "a realtime server of one's own, in OpenAI's shape",
    port: 7704,
    faults: ['deaf', 'empty-answers', 'no-quota', 'never-ready'],
    start: async (wanted) => {
      const double = await openAi(wanted)
      return {
        env: { AUTO_BACKEND: 'self-hosted', REALTIME_API_KEY: wanted.key, REALTIME_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
}

const HELP = `mkondo double SERVICE [options]
  Runs a double of a model's service until stopped, for trying a backend without its key: it hears the caller, follows the offline:
  dialogue of the agent whose instructions it gets, calls its tools, and speaks with the embedded voice. It prints the variables
  with which a gateway uses it.

${Object.entries(SERVICES)
  .map(([name, { what, port }]) => `  ${name.padEnd(20)} ${what} (port ${port})`)
  .join('\n')}

  --agent NAME         answers as this agent, whatever the instructions are; several by repeating it (all with an offline: block)
  --agents-dir FOLDER  where the agents are (AGENTS_DIR, or the shipped ones)
  --host ADDRESS       address to listen on (127.0.0.1)
  --port N             0 for a free one
  --key KEY            the key that it wants (sk-double)
  --think-ms N         wait before each answer, up to 60000 (0)
  --silence-ms N       silence after which it takes a turn as ended, 100 to 5000 (500)
  --breaks-after S     breaks each connection off after so many seconds
  --fault NAME         misbehaves; may be repeated:
                       deaf            neither reports nor answers what the caller says
                       empty-answers   its answers have nothing in them
                       no-quota        refuses sessions: the account is empty
                       never-ready     leaves connections without an answer
                       delegate-hangs  its delegate begins and never ends (openai-live)

  Exit code: 0 stopped, 1 failed, 2 wrong usage.`

/** `mkondo double`. */
export function double(argv: readonly string[]): Promise<number> {
  return untilSignal((signal) => runDouble(argv, { ...PROCESS_TERMINAL, signal }))
}

/** The same in a terminal of the test's own. Resolves when the signal is aborted. */
export async function runDouble(
  argv: readonly string[],
  terminal: Terminal & { readonly signal: AbortSignal },
): Promise<number> {
  const { values, words } = wordsAndOptions('double', argv, {
    agent: { type: 'string', multiple: true, default: [] },
    'agents-dir': { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string' },
    key: { type: 'string', default: 'sk-double' },
    'think-ms': { type: 'string', default: '0' },
    'silence-ms': { type: 'string', default: '500' },
    'breaks-after': { type: 'string' },
    fault: { type: 'string', multiple: true, default: [] },
    help: HELP_OPTION,
  })
  if (values.help) {
    terminal.out(`${HELP}\n`)
    return 0
  }
  const [name = '', ...rest] = words
  const service = SERVICES[name]
  if (service === undefined || rest.length > 0)
    throw wrongUse('double', `takes one of ${Object.keys(SERVICES).join(', ')}`)
  if (!/^[!-~]{1,200}$/.test(values.key)) throw wrongUse('double', '--key takes 1 to 200 characters without spaces')
  const faults = values.fault.map((fault) => {
    const known = service.faults.find((one) => one === fault)
    if (known === undefined) throw wrongUse('double', `--fault of ${name} takes ${service.faults.join(', ')}`)
    return known
  })
  const port = values.port === undefined ? service.port : whole('--port', values.port, 0, 65_535)
  const thinkMs = whole('--think-ms', values['think-ms'], 0, 60_000)
  const silenceMs = whole('--silence-ms', values['silence-ms'], 100, 5000)
  const breaksAfter = values['breaks-after']
  const breaksAfterMs = breaksAfter === undefined ? null : whole('--breaks-after', breaksAfter, 1, 86_400) * 1000
  const models = await AgentModels.load({
    agentsDir: values['agents-dir'] ?? terminal.env['AGENTS_DIR'] ?? join(packageRoot(), 'agents'),
    names: values.agent,
    env: terminal.env,
    thinkMs,
  })
  try {
    const running = await service.start({
      options: {
        host: values.host,
        port,
        key: values.key,
        turns: { silenceMs, skipsTones: true },
        breaksAfterMs,
        model: (instructions) => models.model(instructions),
      },
      key: values.key,
      faults,
    })
    const variables = Object.entries(running.env).map(([variable, value]) => `export ${variable}=${value}`)
    terminal.out(
      `A double of ${service.what}, answering as ${models.names.join(', ')}.\nFor the gateway:\n\n${variables.join('\n')}\n\n`,
    )
    await stopped(terminal.signal)
    await running.close()
  } finally {
    await models.close()
  }
  return 0
}

function whole(option: string, value: string, least: number, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : NaN
  if (number >= least && number <= most) return number
  throw wrongUse('double', `${option} takes a whole number from ${least} to ${most}`)
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

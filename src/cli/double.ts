import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { DOUBLES, type DoubleFault, type DoubleName } from '../simulator/choices.js'
import { AgentModels } from '../simulator/vendors/agent-models.js'
import { CascadeDouble } from '../simulator/vendors/cascade-double.js'
import type { CascadeModels } from '../simulator/vendors/cascade-models.js'
import type { DoubleOptions } from '../simulator/vendors/double.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiLiveDouble } from '../simulator/vendors/openai-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { UsageError } from './exit-codes.js'
import type { Terminal } from './terminal.js'

interface DoubleWanted {
  readonly options: DoubleOptions
  readonly key: string
  readonly faults: readonly DoubleFault[]
  readonly thinkMs: number
  /** For a cascade; the others have a model for each session. */
  readonly models: () => CascadeModels
}

/** A service that runs: what a gateway needs to use it. */
interface RunningDouble {
  readonly env: Readonly<Record<string, string>>
  readonly close: () => Promise<void>
}

interface Service {
  readonly faults: readonly DoubleFault[]
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

const SERVICES: Readonly<Record<DoubleName, Service>> = {
  openai: {
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
    faults: ['deaf', 'empty-answers', 'no-quota', 'never-ready'],
    start: async (wanted) => {
      const double = await openAi(wanted)
      return {
        env: { AUTO_BACKEND: 'self-hosted', REALTIME_API_KEY: wanted.key, REALTIME_URL: double.baseUrl },
        close: () => double.close(),
      }
    },
  },
  cascade: {
    faults: ['no-quota', 'never-ready'],
    start: async ({ options, key, faults, thinkMs, models }) => {
      const double = await CascadeDouble.start({ ...options, models: models() })
      double.delayMs.llm = thinkMs
      const refusal = { status: 429, body: JSON.stringify({ error: NO_QUOTA_ERROR }) }
      for (const stage of ['models', 'stt', 'llm', 'tts'] as const) {
        if (faults.includes('no-quota')) double.refuse[stage] = refusal
        if (faults.includes('never-ready')) double.refuse[stage] = 'never'
      }
      const url = double.baseUrl
      return {
        env: {
          ...{ AUTO_BACKEND: 'cascade', STT_URL: url, LLM_URL: url, TTS_URL: url },
          ...{ STT_API_KEY: key, LLM_API_KEY: key, TTS_API_KEY: key, LLM_MODEL: 'double' },
        },
        close: () => double.close(),
      }
    },
  },
}

/** The options of `mkondo double`. */
export interface RunDoubleOptions {
  readonly agent?: readonly string[]
  readonly agentsDir?: string
  readonly host: string
  readonly port?: number
  readonly key: string
  readonly thinkMs: number
  readonly silenceMs: number
  /** In seconds. */
  readonly breaksAfter?: number
  readonly fault?: readonly DoubleFault[]
}

/** `mkondo double`. Resolves when the signal is aborted. */
export async function runDouble(
  name: DoubleName,
  options: RunDoubleOptions,
  { out, env }: Pick<Terminal, 'out' | 'env'>,
  signal: AbortSignal,
): Promise<void> {
  const service = SERVICES[name]
  const { host, key, thinkMs, silenceMs, breaksAfter, fault: faults = [] } = options
  const unknown = faults.find((fault) => !service.faults.includes(fault))
  if (unknown !== undefined)
    throw new UsageError(`--fault is not one that ${name} has; allowed: ${service.faults.join(', ')}`)
  const models = await AgentModels.load({
    agentsDir: options.agentsDir ?? env['AGENTS_DIR'] ?? join(packageRoot(), 'agents'),
    names: options.agent ?? [],
    env,
    thinkMs,
  })
  try {
    const running = await service.start({
      options: {
        host,
        port: options.port ?? DOUBLES[name].port,
        key,
        turns: { silenceMs, skipsTones: true },
        breaksAfterMs: breaksAfter === undefined ? null : breaksAfter * 1000,
        model: (instructions) => models.model(instructions),
      },
      key,
      faults,
      thinkMs,
      models: () => models.cascade(),
    })
    const variables = Object.entries(running.env).map(([variable, value]) => `export ${variable}=${value}`)
    out(
      `A double of ${DOUBLES[name].what}, answering as ${models.names.join(', ')}.\nFor the gateway:\n\n${variables.join('\n')}\n\n`,
    )
    await stopped(signal)
    await running.close()
  } finally {
    await models.close()
  }
}

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

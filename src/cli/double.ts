import { once } from 'node:events'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GRPC_PACKAGES, onDemand } from '../gateway/on-demand.js'
import { DOUBLES, SCENARIO_DOUBLES, SERVICE_DOUBLES, type DoubleFault } from '../simulator/choices.js'
import type { HttpDouble } from '../simulator/http-double.js'
import { AgentModels, embeddedSpeaker } from '../simulator/vendors/agent-models.js'
import { CascadeDouble } from '../simulator/vendors/cascade-double.js'
import type { CascadeModels } from '../simulator/vendors/cascade-models.js'
import type { DoubleOptions } from '../simulator/vendors/double.js'
import { GeminiDouble } from '../simulator/vendors/gemini-live-double.js'
import { OpenAiLiveDouble } from '../simulator/vendors/openai-live-double.js'
import { OpenAiDouble } from '../simulator/vendors/openai-realtime-double.js'
import { PeopleDouble } from '../simulator/vendors/people-double.js'
import type { ServiceDouble, ServiceDoubleOptions } from '../simulator/vendors/service-double.js'
import { AzureVoiceLiveDouble } from '../vendors/azure-voice-live/double.js'
import { VENDORS } from '../vendors/list.js'
import type { ServiceDoubleFacts, Vendor } from '../vendors/vendor.js'
import { UsageError } from './exit-codes.js'
import type { Terminal } from './terminal.js'

interface DoubleWanted {
  readonly options: DoubleOptions
  readonly key: string
  readonly faults: readonly DoubleFault[]
  readonly thinkMs: number
  /** For a cascade and its services; the others have a model for each session. */
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
const NO_QUOTA_REFUSAL = { status: 429, body: JSON.stringify({ error: NO_QUOTA_ERROR }) }

/** A service that hears and speaks, at one address. @param settings  the setting of its key, and of its address */
function ofSession(
  backend: string,
  faults: readonly DoubleFault[],
  settings: readonly [key: string, url: string],
  start: (wanted: DoubleWanted) => Promise<Pick<ServiceDouble, 'baseUrl' | 'refuse' | 'close'>>,
  more: Readonly<Record<string, string>> = {},
): Service {
  const [keySetting, urlSetting] = settings
  return {
    faults,
    start: async (wanted) => {
      const double = await start(wanted)
      if (wanted.faults.includes('never-ready')) double.refuse = 'never'
      const env = { AUTO_BACKEND: backend, [keySetting]: wanted.key, [urlSetting]: double.baseUrl, ...more }
      return { env, close: () => double.close() }
    },
  }
}

const SESSION_FAULTS = ['deaf', 'empty-answers', 'no-quota', 'never-ready'] as const

async function openAi(
  { options, faults }: DoubleWanted,
  of: typeof OpenAiDouble = OpenAiDouble,
): Promise<OpenAiDouble> {
  const double = await of.start(options)
  double.faults.deaf = faults.includes('deaf')
  if (faults.includes('empty-answers')) double.faults.emptyAnswers = EMPTY_FOREVER
  if (faults.includes('no-quota')) double.refuse = NO_QUOTA_REFUSAL
  return double
}

/** One server of a service of a cascade, and the settings that have its address. */
type CascadeService = readonly [
  double: {
    start(options: ServiceDoubleOptions): Promise<HttpDouble<Server> & Pick<ServiceDouble, 'faults' | 'refuse'>>
  },
  ...urlSettings: string[],
]

const PORT_MAX = 65_535
const PART_FAULTS = { STT: 'deaf', TTS: 'mute' } as const

/**
 * A service that is given to a cascade, each of its servers at a port, and at the next one what it needs beside it: the
 * language model, and a recogniser or a voice over HTTP. All of them share one understanding of the conversation.
 */
function ofCascade(name: string, { key, parts }: ServiceDoubleFacts, vendor: Vendor): Service {
  return {
    faults: [...parts.map((part) => PART_FAULTS[part]), 'never-ready'],
    start: async (wanted) => {
      const { options, faults, thinkMs } = wanted
      const servers = await serversOf(name, vendor)
      const { port: first = 0 } = options
      const last = PORT_MAX - servers.length
      if (first > last) throw new UsageError(`--port leaves no room for the ports after it; allowed: up to ${last}`)
      const portAt = (i: number): number => (first === 0 ? 0 : first + i)
      const models = wanted.models()
      const speaker = await embeddedSpeaker()
      const running: { close(): Promise<void> }[] = []
      const close = async (): Promise<void> => {
        await Promise.all(running.map((one) => one.close()))
      }
      const env: Record<string, string> = { AUTO_BACKEND: 'cascade' }
      if (key !== undefined) env[key] = wanted.key
      try {
        for (const [i, [service, ...urls]] of servers.entries()) {
          const double = await service.start({
            ...options,
            port: portAt(i),
            speaker,
            understand: (pcm, rateHz) => models.understand(pcm, rateHz),
          })
          running.push(double)
          if (faults.includes('deaf')) double.faults.deaf = true
          if (faults.includes('mute')) double.faults.mute = true
          if (faults.includes('never-ready')) double.refuse = 'never'
          for (const url of urls) env[url] = double.baseUrl
        }
        const rest = await CascadeDouble.start({
          ...options,
          port: portAt(servers.length),
          breaksAfterMs: null,
          models,
        })
        running.push(rest)
        rest.delayMs.llm = thinkMs
        for (const part of ['STT', 'LLM', 'TTS'] as const) {
          if (part !== 'LLM' && parts.includes(part)) continue
          env[`${part}_URL`] = rest.baseUrl
          env[`${part}_API_KEY`] = wanted.key
        }
        return { env: { ...env, LLM_MODEL: 'double' }, close }
      } catch (thrown) {
        await close()
        throw thrown
      }
    },
  }
}

const SERVICES: Readonly<Record<string, Service>> = {
  ...Object.fromEntries(
    VENDORS.flatMap((vendor) =>
      Object.entries(vendor.doubles ?? {}).map(([name, facts]) => [name, ofCascade(name, facts, vendor)] as const),
    ),
  ),
  openai: ofSession('openai', SESSION_FAULTS, ['OPENAI_API_KEY', 'OPENAI_BASE_URL'], (wanted) => openAi(wanted)),
  'openai-live': ofSession(
    'openai-live',
    ['no-quota', 'never-ready', 'delegate-hangs'],
    ['OPENAI_API_KEY', 'OPENAI_LIVE_URL'],
    async ({ options, faults }) => {
      const double = await OpenAiLiveDouble.start({ ...options, continuous: true })
      double.delegateHangs = faults.includes('delegate-hangs')
      if (faults.includes('no-quota')) double.refuseSession = NO_QUOTA_ERROR
      return double
    },
  ),
  gemini: ofSession('gemini', SESSION_FAULTS, ['GEMINI_API_KEY', 'GEMINI_BASE_URL'], async ({ options, faults }) => {
    const double = await GeminiDouble.start(options)
    double.faults.deaf = faults.includes('deaf')
    if (faults.includes('empty-answers')) double.faults.emptyTurns = EMPTY_FOREVER
    if (faults.includes('no-quota')) double.closeAtOnce = { code: 1011, reason: NO_QUOTA }
    return double
  }),
  realtime: ofSession('self-hosted', SESSION_FAULTS, ['REALTIME_API_KEY', 'REALTIME_URL'], (wanted) => openAi(wanted)),
  'azure-voice-live': ofSession(
    'azure-voice-live',
    SESSION_FAULTS,
    ['AZURE_VOICE_LIVE_KEY', 'AZURE_VOICE_LIVE_URL'],
    (wanted) => openAi(wanted, AzureVoiceLiveDouble),
    { AZURE_VOICE_LIVE_MODEL: 'double' },
  ),
  cascade: {
    faults: ['no-quota', 'never-ready'],
    start: async ({ options, key, faults, thinkMs, models }) => {
      const double = await CascadeDouble.start({ ...options, models: models() })
      double.delayMs.llm = thinkMs
      for (const part of ['models', 'stt', 'llm', 'tts'] as const) {
        if (faults.includes('no-quota')) double.refuse[part] = NO_QUOTA_REFUSAL
        if (faults.includes('never-ready')) double.refuse[part] = 'never'
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
  people: {
    faults: ['no-quota'],
    start: async ({ options, key, faults }) => {
      const double = await PeopleDouble.start(options)
      if (faults.includes('no-quota')) double.refuse = NO_QUOTA_REFUSAL
      return {
        env: { LLM_URL: double.baseUrl, LLM_API_KEY: key, LLM_MODEL: 'double' },
        close: () => double.close(),
      }
    },
  },
}

/** The servers of a vendor's double, which are imported when one is started. */
async function serversOf(name: string, { folder, services }: Vendor): Promise<readonly CascadeService[]> {
  const load = () =>
    import(`../vendors/${folder}/double.js`) as Promise<{
      readonly doubles: Readonly<Record<string, readonly CascadeService[]>>
    }>
  const grpc = Object.values(services)
    .flatMap((part) => Object.values(part))
    .some((service) => service.grpc === true)
  const { doubles } = grpc ? await onDemand(`double ${name}`, GRPC_PACKAGES, load) : await load()
  return doubles[name] ?? []
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
  name: string,
  options: RunDoubleOptions,
  { out, env }: Pick<Terminal, 'out' | 'env'>,
  signal: AbortSignal,
): Promise<void> {
  const service = SERVICES[name]
  const all: Readonly<Record<string, { readonly what: string; readonly port: number }>> = {
    ...DOUBLES,
    ...SERVICE_DOUBLES,
    ...SCENARIO_DOUBLES,
  }
  const known = all[name]
  if (service === undefined || known === undefined)
    throw new UsageError(`there is no double ${name}; allowed: ${Object.keys(all).join(', ')}`)
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
        port: options.port ?? known.port,
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
      `A double of ${known.what}, answering as ${models.names.join(', ')}.\nFor the gateway:\n\n${variables.join('\n')}\n\n`,
    )
    if (!signal.aborted) await once(signal, 'abort')
    await running.close()
  } finally {
    await models.close()
  }
}

import { once } from 'node:events'
import type { Server } from 'node:net'
import { join } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import { GRPC_PACKAGES, onDemand } from '../gateway/on-demand.js'
import { DOUBLES, SCENARIO_DOUBLES, SERVICE_DOUBLES, type DoubleFault } from '../simulator/choices.js'
import type { LocalHttpServer } from '../system/local-http-server.js'
import { AgentModels, embeddedSpeaker } from '../simulator/vendors/agent-models.js'
import { CascadeDouble } from '../vendors/self-hosted/cascade-double.js'
import type { CascadeModels } from '../simulator/vendors/cascade-models.js'
import { NO_QUOTA_REFUSAL } from '../simulator/vendors/double.js'
import type { DoubleOptions } from '../simulator/vendors/double.js'
import { PeopleDouble } from '../vendors/self-hosted/people-double.js'
import type { ServiceDouble, ServiceDoubleOptions } from '../simulator/vendors/service-double.js'
import { VENDORS } from '../vendors/list.js'
import { PARTS } from '../vendors/vendor.js'
import type { RealtimeDoubleFacts, ServiceDoubleFacts, Vendor } from '../vendors/vendor.js'
import { UsageError } from './exit-codes.js'
import type { Terminal } from './terminal.js'

interface DoubleWanted {
  readonly options: DoubleOptions
  readonly key: string
  readonly faults: readonly DoubleFault[]
  readonly thinkMs: number
  /** Returns models for a cascade and its services. Other services have one model for each session. */
  readonly models: () => CascadeModels
}

/** Running service, and the settings that a gateway needs to use it. */
interface RunningDouble {
  readonly env: Readonly<Record<string, string>>
  readonly close: () => Promise<void>
}

interface Service {
  readonly faults: readonly DoubleFault[]
  readonly start: (wanted: DoubleWanted) => Promise<RunningDouble>
}

/** One server of a double, and the gateway's settings for the server's address. */
type ServerOf<Options, Double> = readonly [
  double: { start(options: Options): Promise<Double> },
  ...urlSettings: string[],
]

/**
 * Starts one server of a vendor's double.
 * @param ending  end of the name of the server's address setting, if the double has several servers
 * @returns the server, and the settings that a gateway needs to use it
 */
export async function startDouble<Double extends { readonly baseUrl: string }>(
  name: string,
  options: ServiceDoubleOptions,
  ending = '_URL',
): Promise<{ readonly double: Double; readonly env: Readonly<Record<string, string>> }> {
  const vendor = VENDORS.find(({ doubles = {} }) => name in doubles)
  const facts = vendor?.doubles?.[name]
  if (vendor === undefined || facts === undefined) throw new Error(`there is no double ${name}`)
  const servers = await serversOf<ServerOf<ServiceDoubleOptions, Double>>(name, vendor)
  const [service, ...urls] =
    servers.find(([, ...settings]) => settings.some((one) => one.endsWith(ending))) ?? servers[0]
  const double = await service.start(options)
  return {
    double,
    env: {
      ...(facts.key === undefined ? {} : { [facts.key]: options.key ?? '' }),
      ...Object.fromEntries(urls.map((url) => [url, double.baseUrl])),
      ...('env' in facts ? facts.env : {}),
    },
  }
}

/** Service with one server, which both recognises and speaks. */
function ofSession(name: string, { backend, faults }: RealtimeDoubleFacts): Service {
  return {
    faults: [...faults, 'no-quota', 'never-ready'],
    start: async (wanted) => {
      const { double, env } = await startDouble<Pick<ServiceDouble, 'baseUrl' | 'misbehave' | 'close'>>(
        name,
        wanted.options,
      )
      double.misbehave(wanted.faults)
      return { env: { AUTO_BACKEND: backend, ...env }, close: () => double.close() }
    },
  }
}

/** Options of a recogniser, a voice or a language model. */
type ServerOptions = ServiceDoubleOptions & { readonly models: CascadeModels; readonly thinkMs: number }

type CascadeService = ServerOf<
  ServerOptions,
  LocalHttpServer<Server> & Partial<Pick<ServiceDouble, 'faults'>> & Pick<ServiceDouble, 'refuse'>
>

const PORT_MAX = 65_535
const PART_FAULTS = { STT: ['deaf'], LLM: [], TTS: ['mute'] } as const

/**
 * Service for a cascade. Each server has its own port. If the service lacks a part (language model, recogniser or
 * voice), a double of this part runs at the next port. All servers share the state of the conversation.
 */
function ofCascade(name: string, { key, parts }: ServiceDoubleFacts, vendor: Vendor): Service {
  return {
    faults: [...parts.flatMap((part) => PART_FAULTS[part]), 'never-ready'],
    start: async (wanted) => {
      const { options, faults, thinkMs } = wanted
      const servers = await serversOf<CascadeService>(name, vendor)
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
            models,
            thinkMs,
          })
          running.push(double)
          if (faults.includes('deaf') && double.faults !== undefined) double.faults.deaf = true
          if (faults.includes('mute') && double.faults !== undefined) double.faults.mute = true
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
          if (parts.includes(part)) continue
          env[`${part}_URL`] = rest.baseUrl
          env[`${part}_API_KEY`] = wanted.key
        }
        if (!parts.includes('LLM')) env['LLM_MODEL'] = 'double'
        return { env, close }
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
      Object.entries(vendor.doubles ?? {}).map(([name, facts]) => [
        name,
        'parts' in facts ? ofCascade(name, facts, vendor) : ofSession(name, facts),
      ]),
    ),
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

/** Servers of a vendor's double, at least one. A server's module is imported when the server starts. */
async function serversOf<Server>(name: string, { folder, services }: Vendor): Promise<readonly [Server, ...Server[]]> {
  const load = () =>
    import(`../vendors/${folder}/double.js`) as Promise<{
      readonly doubles: Readonly<Record<string, readonly [Server, ...Server[]]>>
    }>
  const grpc = PARTS.flatMap((part) => Object.values<{ readonly grpc?: true }>(services[part] ?? {})).some(
    (service) => service.grpc === true,
  )
  const { doubles } = grpc ? await onDemand(`double ${name}`, GRPC_PACKAGES, load) : await load()
  const servers = doubles[name]
  if (servers === undefined) throw new Error(`src/vendors/${folder} has no double ${name}`)
  return servers
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
  /** Time in s. */
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

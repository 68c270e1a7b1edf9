import { readText } from './env-file.js'
import { fork } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { exposureOf } from '../../config/exposure.js'
import { loadConfig } from '../../config/load-config.js'
import type { Config } from '../../config/settings.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { PROCESS_START_MS_MAX } from '../../core/limits.js'
import type { Start } from '../../fleet/supervisor.js'
import { processPlans, sparePlan } from '../../gateway/process-plan.js'
import type { ProcessPlan } from '../../gateway/process-plan.js'

type Env = Readonly<Record<string, string | undefined>>

/**
 * Environment with the variables of the `--env-file`, which is read again at each roll. Variables that were set when
 * the process started take precedence.
 * @throws GatewayError CONFIG_INVALID
 */
export function environmentOf(inherited: Env, file: string | null): NodeJS.ProcessEnv {
  if (file === null) return { ...inherited }
  try {
    const set = Object.entries(inherited).filter(([, value]) => value !== '') // an empty variable counts as not set
    return { ...parseEnv(readText(file)), ...Object.fromEntries(set) }
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `--env-file '${file}' cannot be read: ${messageOf(thrown)}`)
  }
}

/**
 * Settings for a gateway of `count` processes.
 * @throws GatewayError CONFIG_INVALID
 */
export function startableConfig(env: Env, file: string | null, count: number): Config {
  const config = loadConfig(env, file)
  processPlans(config, count)
  const exposure = exposureOf(config)
  if (exposure.refused)
    throw new GatewayError(
      'CONFIG_INVALID',
      exposure.open.map((line) => `${line}; to start anyway, set INSECURE=true`).join('\n'),
    )
  return config
}

/**
 * Request for the plans of all processes of one `serve --processes`. It is sent as a message, so it contains only data.
 */
export interface PlanRequest {
  readonly type: 'plan'
  readonly count: number
  readonly configFile: string | null
  /** URL of the demo's shop; null to use SHOP_API_URL. */
  readonly shopApiUrl: string | null
  /**
   * Token secret if TOKEN_SECRET is not set. All processes need this secret, because each process may receive a token
   * of another process's call.
   */
  readonly tokenSecret: string
  /** True: the processes use the supervisor's store. They cannot change to another store. */
  readonly supervisorStore: boolean
}

export type PlanReply =
  { readonly type: 'planned'; readonly planned: Planned } | { readonly type: 'failed'; readonly message: string }

type Planned = Omit<Start<ProcessPlan>, 'env'>

/**
 * Plans of all processes, from the current settings.
 * @throws GatewayError CONFIG_INVALID
 */
export function planned(config: Config, request: Omit<PlanRequest, 'type' | 'configFile'>): Planned {
  const { count, shopApiUrl, tokenSecret, supervisorStore } = request
  if (supervisorStore !== (config.redisUrl === null))
    throw new GatewayError(
      'CONFIG_INVALID',
      `REDIS_URL is ${config.redisUrl === null ? 'no longer set' : 'now set'}; allowed: to change it with a restart`,
    )
  const { tokenSecrets } = config
  const all = {
    ...config,
    shopApiUrl: config.shopApiUrl ?? shopApiUrl,
    tokenSecrets: tokenSecrets.length === 0 ? [tokenSecret] : tokenSecrets,
  }
  const { drainTimeoutMs } = config
  return { plans: processPlans(all, count), spare: sparePlan(all, count), drainTimeoutMs }
}

/** Answer to a `PlanRequest`, from the program and the environment of the calling process. */
export function answerPlan(request: PlanRequest): PlanReply {
  try {
    return {
      type: 'planned',
      planned: planned(startableConfig(process.env, request.configFile, request.count), request),
    }
  } catch (thrown) {
    return { type: 'failed', message: messageOf(thrown) }
  }
}

/**
 * Starts the program that is on the disk now, to make the plans. Its version may be newer and have other settings.
 * @throws GatewayError CONFIG_INVALID with all mistakes in the settings
 */
export async function planAnew(entry: string, env: NodeJS.ProcessEnv, request: PlanRequest): Promise<Planned> {
  const child = fork(entry, [], { env, serialization: 'advanced' })
  const timer = setTimeout(() => child.kill('SIGKILL'), PROCESS_START_MS_MAX)
  try {
    const reply = await new Promise<PlanReply>((resolve) => {
      child.once('message', (message: PlanReply) => {
        resolve(message)
      })
      child.once('error', (error) => {
        resolve({ type: 'failed', message: messageOf(error) })
      })
      child.once('exit', (code) => {
        resolve({ type: 'failed', message: `the program ended with code ${code ?? -1} before it read the settings` })
      })
      child.send(request, () => undefined)
    })
    if (reply.type === 'failed') throw new GatewayError('CONFIG_INVALID', reply.message)
    return reply.planned
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
  }
}

/**
 * Path of the module that each process runs. If the program was started through a link, the path contains the link, so
 * that a roll runs the release to which the link then points.
 */
export function processEntry(): string {
  const own = fileURLToPath(new URL('./serve-process.js', import.meta.url))
  const asStarted = join(dirname(process.argv[1] ?? ''), 'serve-process.js')
  try {
    return realpathSync(asStarted) === own ? asStarted : own
  } catch {
    return own // no such file, because the link names the command and not its folder
  }
}

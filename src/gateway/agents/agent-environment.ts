import type { Environment } from '../../agents/file/template.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'

/** Variables with credentials that the SDKs of clouds find without a setting. */
const CLOUD_VARIABLE = /^(?:AWS_|AZURE_|GOOGLE_APPLICATION_CREDENTIALS$|CLOUDSDK_)/

/** Variables that Node, and programs that code starts, find in a worker thread. None of them holds a secret. */
const SYSTEM_VARIABLES = [
  ...['HOME', 'LANG', 'LC_ALL', 'LOGNAME', 'NODE_ENV', 'NODE_OPTIONS', 'NODE_V8_COVERAGE', 'PATH', 'SHELL', 'TERM'],
  ...['TMPDIR', 'TZ', 'USER'],
]

/** Settings that decide which variables agents can read. */
type Listing = Pick<Config, 'agentEnv' | 'shopApiUrl'>

/**
 * Values that agent files read as `{{env.NAME}}`: the variables that AGENT_ENV lists, and no others. A value is
 * undefined if its variable is not set. The orders API may come from a settings file or from `--with-shop`.
 */
export function agentEnvironment(env: Environment, { agentEnv, shopApiUrl }: Listing): Environment {
  const given = shopApiUrl === null ? env : { ...env, [SETTINGS.shopApiUrl.env]: shopApiUrl }
  return Object.fromEntries(agentEnv.map((name) => [name, given[name]]))
}

/**
 * `process.env` of worker threads, and so of `module:` code. It has the variables that agent files may read, and the
 * system's. Media workers get the backends' keys in their settings instead.
 */
export function workerEnvironment(env: Environment, config: Listing): Readonly<Record<string, string>> {
  const system = Object.fromEntries(SYSTEM_VARIABLES.map((name) => [name, env[name]]))
  return definedIn({ ...system, ...agentEnvironment(env, config) })
}

/** `process.env` of the object storage's thread, because its SDK may look for credentials in the environment. */
export function storageEnvironment(
  env: Environment,
  workerEnv: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return {
    ...workerEnv,
    ...definedIn(Object.fromEntries(Object.entries(env).filter(([name]) => CLOUD_VARIABLE.test(name)))),
  }
}

/** Variables that NUMBERS_FILE and MESSAGES_FILE may use. @param agentEnv see `agentEnvironment` */
export function fileEnvironment(env: Environment, agentEnv: Environment): Environment {
  return { ...env, ...definedIn(agentEnv) }
}

function definedIn(env: Environment): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

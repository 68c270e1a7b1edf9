import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../agents/file/template.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'
import type { Setting } from '../../core/setting.js'

/**
 * Variables with the gateway's own secrets: secret settings, and variables that the trace exporter reads from the
 * environment.
 */
const SECRET_VARIABLES: readonly string[] = [
  ...Object.values(SETTINGS)
    .filter((setting: Setting<unknown>) => setting.secret === true)
    .map(({ env }) => env),
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_TRACES_HEADERS',
]

/** Variables with credentials that the SDKs of clouds find without a setting. */
const CLOUD_VARIABLE = /^(?:AWS_|AZURE_|GOOGLE_APPLICATION_CREDENTIALS$|CLOUDSDK_)/
/** Name of a variable in a file: in a template or in a list. */
const VARIABLE = /\b[A-Z][A-Z0-9_]{0,63}\b/g

/** Settings that decide which variables agents cannot read. */
type Withholding = Pick<Config, 'shopApiUrl' | 'numbersFile' | 'messagesFile'>

/**
 * Names of the variables that NUMBERS_FILE and MESSAGES_FILE contain. They are secrets of businesses and receivers.
 * Names of settings that are not secret are left out.
 */
function namesInFiles({ numbersFile, messagesFile }: Withholding): readonly string[] {
  const plain = new Set(
    Object.values(SETTINGS)
      .filter((setting: Setting<unknown>) => setting.secret !== true)
      .map(({ env }) => env),
  )
  return [numbersFile, messagesFile]
    .flatMap((path) => (path === null ? [] : textsOf(path)))
    .flatMap((text) => text.match(VARIABLE) ?? [])
    .filter((name) => !plain.has(name))
}

/**
 * Texts of a file, or of all files in a folder. A file that cannot be read is left out, because its own reader reports
 * it.
 */
function textsOf(path: string): readonly string[] {
  try {
    if (!statSync(path).isDirectory()) return [readFileSync(path, 'utf8')]
    return readdirSync(path).flatMap((name) => (/^[^.].*\.ya?ml$/.test(name) ? textsOf(join(path, name)) : []))
  } catch {
    return []
  }
}

/**
 * Values that agent files read as `{{env.NAME}}`: the environment, and the orders API of the settings or of
 * `--with-shop`. Three kinds of variables are undefined: the gateway's secrets, credentials of clouds, and variables
 * that NUMBERS_FILE or MESSAGES_FILE names now. Otherwise an agent file could send these values to an API, by mistake
 * or on purpose.
 */
export function agentEnvironment(env: Environment, config: Withholding): Environment {
  const { shopApiUrl } = config
  const clouds = Object.keys(env).filter((name) => CLOUD_VARIABLE.test(name))
  const names = [...SECRET_VARIABLES, ...clouds, ...namesInFiles(config)]
  const withheld = Object.fromEntries(names.map((name) => [name, undefined]))
  return { ...env, ...(shopApiUrl === null ? {} : { SHOP_API_URL: shopApiUrl }), ...withheld }
}

/**
 * `process.env` of worker threads, and so of `module:` code. It has only variables that agent files may read. Media
 * workers get the backends' keys in their settings instead.
 */
export function workerEnvironment(env: Environment, config: Withholding): Readonly<Record<string, string>> {
  return definedIn(agentEnvironment(env, config))
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

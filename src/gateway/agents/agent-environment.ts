import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Environment } from '../../agents/file/template.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'
import type { Setting } from '../../core/setting.js'

/**
 * Variables of the gateway's own secrets: settings that are secret, and what the trace exporter reads from the
 * environment by itself.
 */
const SECRET_VARIABLES: readonly string[] = [
  ...Object.values(SETTINGS)
    .filter((setting: Setting<unknown>) => setting.secret === true)
    .map(({ env }) => env),
  'OTEL_EXPORTER_OTLP_HEADERS',
  'OTEL_EXPORTER_OTLP_TRACES_HEADERS',
]

/** Variables of credentials that the SDKs of clouds find by themselves. */
const CLOUD_VARIABLE = /^(?:AWS_|AZURE_|GOOGLE_APPLICATION_CREDENTIALS$|CLOUDSDK_)/
/** A name of a variable in a file, as a template or in a list. */
const VARIABLE = /\b[A-Z][A-Z0-9_]{0,63}\b/g

/** The settings that decide which variables no agent is given. */
type Withholding = Pick<Config, 'shopApiUrl' | 'numbersFile' | 'messagesFile'>

/** Names that stand in NUMBERS_FILE and MESSAGES_FILE: secrets of businesses and receivers. Non-secret settings are no such. */
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

/** The texts of a file, or of the files of a folder; none of what cannot be read, which its own reader reports. */
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
 * `--with-shop`. What is withheld is undefined: the gateway's own secrets, credentials of clouds, and, as the files are now, variables
 * that NUMBERS_FILE or MESSAGES_FILE names. A mistake in an agent file, or who edits one, would send them to an API.
 */
export function agentEnvironment(env: Environment, config: Withholding): Environment {
  const { shopApiUrl } = config
  const clouds = Object.keys(env).filter((name) => CLOUD_VARIABLE.test(name))
  const names = [...SECRET_VARIABLES, ...clouds, ...namesInFiles(config)]
  const withheld = Object.fromEntries(names.map((name) => [name, undefined]))
  return { ...env, ...(shopApiUrl === null ? {} : { SHOP_API_URL: shopApiUrl }), ...withheld }
}

/**
 * The `process.env` of worker threads, and so of `module:` code: what agent files may read. A media worker gets the
 * keys of its backends with its settings.
 */
export function workerEnvironment(env: Environment, config: Withholding): Readonly<Record<string, string>> {
  return definedIn(agentEnvironment(env, config))
}

/** The `process.env` of the thread that talks to the object storage, whose SDK may look for credentials there. */
export function storageEnvironment(
  env: Environment,
  workerEnv: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return {
    ...workerEnv,
    ...definedIn(Object.fromEntries(Object.entries(env).filter(([name]) => CLOUD_VARIABLE.test(name)))),
  }
}

/** The variables of a gateway's own files: of NUMBERS_FILE and MESSAGES_FILE. @param agentEnv  as `agentEnvironment` */
export function fileEnvironment(env: Environment, agentEnv: Environment): Environment {
  return { ...env, ...definedIn(agentEnv) }
}

function definedIn(env: Environment): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined))
}

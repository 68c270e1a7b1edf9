import { existsSync, readFileSync } from 'node:fs'
import { LineCounter, parseDocument } from 'yaml'
import { GatewayError, messageOf } from '../core/errors.js'
import { NOT_SERVED, SETTINGS } from './settings.js'
import type { Config, Setting } from './settings.js'

/** Name of the settings file that is read from the working folder when none is named. */
export const CONFIG_FILE = 'mkondo.yaml'

/**
 * Reads the settings of the file and of the environment; the environment wins. Empty variables count as unset.
 * @param file  a settings file that must exist, or null for `mkondo.yaml` in the working folder if it is there
 * @throws GatewayError CONFIG_INVALID: one line naming the setting, what it held and what is allowed
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, file: string | null): Config {
  const fromFile = readSettingsFile(file)
  for (const [name, why] of Object.entries(NOT_SERVED)) {
    if ((env[name] ?? '') !== '') throw invalid(`${name} is set, but ${why}; unset it`)
  }
  const values: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries(SETTINGS) as [string, Setting<unknown>][]) {
    const fromEnv = env[setting.env]
    const raw = fromEnv === undefined || fromEnv === '' ? fromFile.get(setting.key) : fromEnv
    if (raw === undefined) {
      values[name] = setting.fallback
      continue
    }
    const parsed = setting.kind.parse(raw)
    if (parsed === undefined) throw invalid(`${setting.env} is ${shown(setting, raw)}; allowed: ${setting.kind.allowed}`)
    values[name] = parsed
  }
  return values as unknown as Config
}

function shown(setting: Setting<unknown>, raw: string): string {
  if (setting.secret === true) return `a secret of ${raw.length} characters`
  return raw.length > 80 ? `'${raw.slice(0, 80)}…'` : `'${raw}'`
}

function invalid(message: string): GatewayError {
  return new GatewayError('CONFIG_INVALID', message)
}

/** Texts by key; lists are joined with commas, as in the environment. */
function readSettingsFile(file: string | null): ReadonlyMap<string, string> {
  const path = file ?? CONFIG_FILE
  const found = new Map<string, string>()
  if (!existsSync(path)) {
    if (file !== null) throw invalid(`settings file '${file}' does not exist`)
    return found
  }
  const lines = new LineCounter()
  let source: string
  try {
    source = readFileSync(path, 'utf8')
  } catch (thrown) {
    throw new GatewayError('CONFIG_INVALID', `settings file '${path}' cannot be read: ${messageOf(thrown)}`, { cause: thrown })
  }
  const document = parseDocument(source, { lineCounter: lines })
  const broken = document.errors[0]
  if (broken !== undefined) {
    const at = lines.linePos(broken.pos[0])
    throw invalid(`${path}:${at.line}:${at.col}: ${broken.message.split('\n')[0] ?? 'not YAML'}`)
  }
  const content: unknown = document.toJS({ maxAliasCount: 0 })
  if (content === null || content === undefined) return found
  if (typeof content !== 'object' || Array.isArray(content)) throw invalid(`${path}: settings are 'key: value' lines`)
  const keys = new Set(Object.values(SETTINGS).map((setting) => setting.key))
  for (const [key, value] of Object.entries(content)) {
    if (!keys.has(key)) throw invalid(`${path}: unknown setting '${key}'; allowed: ${[...keys].join(', ')}`)
    if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) found.set(key, value.join(','))
    else if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') found.set(key, String(value))
    else if (value !== null) throw invalid(`${path}: setting '${key}' is not a single value or a list of texts`)
  }
  return found
}

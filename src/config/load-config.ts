import { existsSync, readFileSync } from 'node:fs'
import { LineCounter, isMap, isScalar, isSeq, parseDocument } from 'yaml'
import { nearest } from '../agents/faults.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { SETTINGS_ERRORS_MAX } from '../core/limits.js'
import { NOT_SERVED, SETTINGS } from './settings.js'
import type { Config, Setting } from './settings.js'
import { mistypedVariables } from './variables.js'

/** Name of the settings file that is read from the working folder when none is named. */
export const CONFIG_FILE = 'mkondo.yaml'

const ALL = Object.entries(SETTINGS) as [string, Setting<unknown>][]

/** A setting of the file: its text, and where it stands. */
interface FileValue {
  readonly text: string
  /** `mkondo.yaml:3:1` */
  readonly at: string
}

/**
 * Reads the settings of the file and of the environment; the environment wins. Empty variables count as unset.
 * @param file  a settings file that must exist, or null for `mkondo.yaml` in the working folder if it is there
 * @throws GatewayError CONFIG_INVALID with every mistake of both, each a line: the setting, what it held and what is allowed
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, file: string | null): Config {
  const faults: string[] = []
  const fromFile = readSettingsFile(file, faults)
  for (const [name, why] of Object.entries(NOT_SERVED)) {
    if ((env[name] ?? '') !== '') faults.push(`${name} is set, but ${why}; unset it`)
  }
  faults.push(...mistypedVariables(env, [...ALL.map(([, setting]) => setting.env), ...Object.keys(NOT_SERVED)]))
  const values: Record<string, unknown> = {}
  for (const [name, setting] of ALL) {
    const fromEnv = env[setting.env] ?? ''
    const written = fromFile.get(setting.key)
    const raw = fromEnv === '' ? written?.text : fromEnv
    const parsed = raw === undefined ? setting.fallback : setting.kind.parse(raw)
    values[name] = parsed
    if (parsed !== undefined || raw === undefined) continue
    const place = fromEnv === '' && written !== undefined ? `${written.at}: ${setting.key}` : setting.env
    faults.push(`${place} is ${shown(setting, raw)}; allowed: ${setting.kind.allowed}`)
  }
  if (faults.length > 0) throw new GatewayError('CONFIG_INVALID', listed(faults))
  return values as unknown as Config
}

function listed(faults: readonly string[]): string {
  const more = faults.length - SETTINGS_ERRORS_MAX
  return [...faults.slice(0, SETTINGS_ERRORS_MAX), ...(more > 0 ? [`and ${more} more`] : [])].join('\n')
}

function shown(setting: Setting<unknown>, raw: string): string {
  if (setting.secret === true) return `a secret of ${raw.length} characters`
  return raw.length > 80 ? `'${raw.slice(0, 80)}…'` : `'${raw}'`
}

/**
 * Texts by key; lists are joined with commas, as in the environment.
 * @param faults  gets a line for each mistake; no value is in one, for it may be a secret's
 */
function readSettingsFile(file: string | null, faults: string[]): ReadonlyMap<string, FileValue> {
  const path = file ?? CONFIG_FILE
  const found = new Map<string, FileValue>()
  if (!existsSync(path)) {
    if (file !== null) faults.push(`settings file '${file}' does not exist`)
    return found
  }
  const lines = new LineCounter()
  const placeOf = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${path}:${line}:${col}`
  }
  let source: string
  try {
    source = readFileSync(path, 'utf8')
  } catch (thrown) {
    faults.push(`settings file '${path}' cannot be read: ${messageOf(thrown)}`)
    return found
  }
  const { errors, contents } = parseDocument(source, { lineCounter: lines })
  if (errors.length > 0) {
    // What the parser quotes may be a value.
    for (const { pos, message } of errors) faults.push(`${placeOf(pos[0])}: ${(message.split('\n')[0] ?? 'not YAML').replace(/(["']).*\1/, '…')}`)
    return found
  }
  if (contents === null) return found
  if (!isMap(contents)) {
    faults.push(`${path}: settings are 'key: value' lines`)
    return found
  }
  const keys = ALL.map(([, setting]) => setting.key)
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : ''
    const at = isScalar(key) ? placeOf(key.range?.[0] ?? 0) : path
    if (!keys.includes(name)) {
      const near = nearest(name, keys)
      faults.push(`${at}: unknown setting '${name.slice(0, 80)}'; ${near === null ? `allowed: ${keys.join(', ')}` : `did you mean ${near}?`}`)
      continue
    }
    const text = textOf(value)
    if (text === undefined) faults.push(`${at}: setting '${name}' is not a single value or a list of texts`)
    else if (text !== null) found.set(name, { text, at })
  }
  return found
}

/** What a setting's node holds. Null: nothing stands there. Undefined: what no setting can be, an alias for one. */
function textOf(node: unknown): string | null | undefined {
  if (node === null) return null
  if (isSeq(node)) {
    const texts = node.items.map((item) => (isScalar(item) && typeof item.value === 'string' ? item.value : null))
    return texts.includes(null) ? undefined : texts.join(',')
  }
  if (!isScalar(node)) return undefined
  const { value } = node
  if (value === null) return null
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined
}

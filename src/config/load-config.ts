import { existsSync, readFileSync } from 'node:fs'
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { nearest } from '../agents/file/faults.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { SETTINGS } from './settings.js'
import type { Config } from './settings.js'
import type { Setting } from '../core/setting.js'

/** Mistakes of the settings that are listed at once. */
const SETTINGS_ERRORS_MAX = 100

/** Name of the settings file that is read from the working folder when none is named. */
const CONFIG_FILE = 'mkondo.yaml'

const ALL = Object.entries(SETTINGS) as [string, Setting<unknown>][]

/** A setting of the file: its text and its place. */
interface FileValue {
  /** As written: a token of digits keeps its zeros. */
  readonly text: string
  /** As YAML reads it: `0x1F90` is 8080, `True` is true. For settings that do not take the text. */
  readonly value: string
  /** `mkondo.yaml:3:1` */
  readonly at: string
}

/**
 * Reads the settings of the file and of the environment; the environment wins. Empty variables count as unset.
 * @param file  a settings file that must exist, or null for `mkondo.yaml` in the working folder if it is there
 * @throws GatewayError CONFIG_INVALID with every mistake of both, each a line: the setting, what it held and what is
 *   allowed
 */
export function loadConfig(env: Readonly<Record<string, string | undefined>>, file: string | null): Config {
  const faults: string[] = []
  const fromFile = readSettingsFile(file, faults)
  faults.push(
    ...mistypedVariables(
      env,
      ALL.map(([, setting]) => setting.env),
    ),
  )
  const values: Record<string, unknown> = {}
  for (const [name, setting] of ALL) {
    const fromEnv = env[setting.env] ?? ''
    const written = fromFile.get(setting.key)
    const raw = fromEnv === '' ? written?.text : fromEnv
    const inFile = fromEnv === '' && written !== undefined
    const parsed =
      raw === undefined
        ? setting.fallback
        : (setting.kind.parse(raw) ?? (inFile ? setting.kind.parse(written.value) : undefined))
    values[name] = parsed
    if (parsed !== undefined || raw === undefined) continue
    const place = inFile ? `${written.at}: ${setting.key}` : setting.env
    faults.push(`${place} is ${shown(setting, raw)}; allowed: ${setting.kind.allowed}`)
  }
  const config = values as unknown as Config
  if (faults.length === 0) faults.push(...faultsTogether(config))
  if (faults.length > 0) throw new GatewayError('CONFIG_INVALID', listed(faults))
  return config
}

/** Settings that need others. */
function faultsTogether({ agentsEdit, agentsDir, agentsWatch, opsToken }: Config): string[] {
  const lacking = [
    // The folder of the package is overwritten by its next version.
    ...(agentsDir === null ? ['AGENTS_DIR'] : []),
    ...(agentsWatch ? [] : ['AGENTS_WATCH']),
    ...(opsToken === null ? ['OPS_TOKEN'] : []),
  ]
  if (!agentsEdit || lacking.length === 0) return []
  return [`AGENTS_EDIT is 'true' without ${lacking.join(' and ')}; allowed: false, or true with all of them`]
}

function listed(faults: readonly string[]): string {
  const more = faults.length - SETTINGS_ERRORS_MAX
  return [...faults.slice(0, SETTINGS_ERRORS_MAX), ...(more > 0 ? [`and ${more} more`] : [])].join('\n')
}

function shown(setting: Setting<unknown>, raw: string): string {
  if (setting.secret === true) return `set to ${raw.length} characters (not shown)`
  return raw.length > 80 ? `'${raw.slice(0, 80)}…'` : `'${raw}'`
}

/**
 * Texts by key; lists are joined with commas, as in the environment.
 * @param faults  gets a line for each mistake, without values: they may be secrets
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
  const { errors, contents } = parseDocument(source, { lineCounter: lines, prettyErrors: false })
  if (errors.length > 0) {
    // The parser quotes values, which may be secrets.
    for (const { pos, message } of errors)
      faults.push(`${placeOf(pos[0])}: ${(message.split('\n')[0] ?? 'not YAML').replace(/(["']).*\1/, '…')}`)
    return found
  }
  if (contents === null) return found
  if (!isMap(contents)) {
    faults.push(`${path} is not a list of settings; allowed: lines of the form 'key: value'`)
    return found
  }
  const keys = ALL.map(([, setting]) => setting.key)
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : ''
    const at = isScalar(key) ? placeOf(key.range?.[0] ?? 0) : path
    if (!keys.includes(name)) {
      const near = nearest(name, keys)
      faults.push(
        `${at}: unknown setting '${name.slice(0, 80)}'; ${near === null ? `allowed: ${keys.join(', ')}` : `did you mean ${near}?`}`,
      )
      continue
    }
    const written = writtenOf(value, source)
    if (written === undefined)
      faults.push(
        `${at}: setting '${name}' has an unusable value; allowed: a text, a number, true, false, or a list of texts`,
      )
    else if (written === 'cut')
      faults.push(
        `${at}: setting '${name}' is cut at '#' or at the end of its line; put its value in quotes: ${name}: '…'`,
      )
    else if (written !== null) found.set(name, { ...written, at })
  }
  return found
}

type Written = Pick<FileValue, 'text' | 'value'>

/**
 * Value of a setting's node; null for none, undefined for one that no setting can have, such as an alias; `cut` where
 * YAML would read a different text than the written one.
 */
function writtenOf(node: unknown, file: string): Written | null | undefined | 'cut' {
  if (node === null) return null
  if (isSeq(node)) {
    const items = node.items.map((item) => writtenOf(item, file))
    if (items.includes('cut')) return 'cut'
    const texts = items.filter((item) => typeof item === 'object' && item !== null)
    if (texts.length < items.length) return undefined
    return { text: texts.map(({ text }) => text).join(','), value: texts.map(({ value }) => value).join(',') }
  }
  if (!isScalar(node)) return undefined
  const { value, source, type, comment, range } = node
  if (value === null) return null
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return undefined
  const plain = type === 'PLAIN' && source !== undefined
  // A comment has a space after its #; a plain text over several lines is folded.
  if (
    plain &&
    ((typeof comment === 'string' && /^\S/.test(comment)) || file.slice(range?.[0], range?.[1]).includes('\n'))
  )
    return 'cut'
  return { text: plain ? source : String(value), value: String(value) }
}

/** Prefixes that only variables of this gateway have. */
const OUR_PREFIXES = ['MKONDO_', 'SAUTIKIT_'] as const
/** Shorter names are too similar to other programs' variables: PORT to PORTS, HOST to HOSTS. */
const SLIP_CHARS_MIN = 7
/** In a shorter part between underscores one changed letter makes another word: LLM and LM, NODE and CODE. */
const SLIP_PART_CHARS_MIN = 5
/** Variables that Kubernetes puts into every pod's environment for a service, here one that is called mkondo. */
const SERVICE_VARIABLE =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * Environment variables that are probably mistyped settings, each with the setting that is probably meant. Most of the
 * environment belongs to other programs, so only two kinds count: unknown names with one of our prefixes, and names one
 * typing error away from an unset setting. A typing error is one letter added, missing or changed in a part of five
 * letters or more, two letters swapped, or missing underscores or capitals. When the setting itself is set, a similar
 * name without our prefix belongs to another program.
 * @param known  names of all settings
 */
function mistypedVariables(
  env: Readonly<Record<string, string | undefined>>,
  known: readonly string[],
): readonly string[] {
  const names = new Set(known)
  const isSet = (name: string): boolean => (env[name] ?? '') !== ''
  return Object.keys(env)
    .filter((name) => isSet(name) && !names.has(name))
    .sort()
    .flatMap((name) => {
      const shown = name.slice(0, 80)
      const meant = known.find((candidate) => isOneSlip(name, candidate))
      if (meant !== undefined && !isSet(meant))
        return [`${shown} is not a setting; did you mean ${meant}? (if it is another program's, set ${meant} as well)`]
      const prefix = OUR_PREFIXES.find((ours) => name.startsWith(ours))
      if (prefix === undefined || SERVICE_VARIABLE.test(name)) return []
      const near = nearest(prefix === 'MKONDO_' ? name.slice(prefix.length) : name, known)
      return [
        `${shown} is not a setting; ${near === null ? 'allowed: the settings that `mkondo help settings` lists' : `did you mean ${near}?`}`,
      ]
    })
}

/** True if `given` is `known` with one typing error. */
function isOneSlip(given: string, known: string): boolean {
  if (given.length < SLIP_CHARS_MIN || known.length < SLIP_CHARS_MIN) return false
  if (bare(given) === bare(known)) return true
  let start = 0
  while (start < given.length && given[start] === known[start]) start++
  let tail = 0
  while (tail < Math.min(given.length, known.length) - start && given.at(-1 - tail) === known.at(-1 - tail)) tail++
  const [wrong, right] = [given.slice(start, given.length - tail), known.slice(start, known.length - tail)]
  if (wrong.length === 2 && right === `${wrong[1] ?? ''}${wrong[0] ?? ''}`) return true
  if (wrong.length > 1 || right.length > 1) return false
  const at = Math.min(start, known.length - 1)
  const part = known.slice(known.lastIndexOf('_', at - 1) + 1).split('_')[0] ?? ''
  return part.length >= SLIP_PART_CHARS_MIN
}

function bare(name: string): string {
  return name.replaceAll('_', '').toUpperCase()
}

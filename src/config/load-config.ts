import { existsSync, readFileSync } from 'node:fs'
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml'
import { nearest } from '../agents/file/faults.js'
import { GatewayError, messageOf } from '../core/errors.js'
import { SETTINGS } from './settings.js'
import type { Config } from './settings.js'
import type { Setting } from '../core/setting.js'

/** Maximum number of reported mistakes in the settings. */
const SETTINGS_ERRORS_MAX = 100

/** Name of the settings file in the working folder that is read by default. */
const CONFIG_FILE = 'mkondo.yaml'

const ALL = Object.entries(SETTINGS) as [string, Setting<unknown>][]

/** A setting in the file: its text and its position. */
interface FileValue {
  /** Text as written: a number keeps its leading zeros. */
  readonly text: string
  /** Value as YAML reads it: `0x1F90` is 8080, `True` is true. It is used if the setting does not accept the text. */
  readonly value: string
  /** Position, such as `mkondo.yaml:3:1`. */
  readonly at: string
}

/**
 * Reads the settings of the file and of the environment; the environment has precedence. Empty variables count as
 * unset.
 * @param file  settings file that must exist; null for an optional `mkondo.yaml` in the working folder
 * @throws GatewayError CONFIG_INVALID with a line for every mistake in the file and the environment: the setting, its
 * value and the allowed values
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

/** Returns the faults of settings that depend on other settings. */
function faultsTogether(config: Config): string[] {
  const secrets = config.agentEnv.filter((name) =>
    ALL.some(([, setting]) => setting.env === name && setting.secret === true),
  )
  const listed = `AGENT_ENV lists ${secrets.join(', ')}, a secret of the gateway itself; allowed: other variables`
  return [...(secrets.length === 0 ? [] : [listed]), ...editFaults(config)]
}

function editFaults({ agentsEdit, agentsDir, agentsWatch, opsToken }: Config): string[] {
  const lacking = [
    // AGENTS_DIR is required, because an update of the package overwrites the folder of the shipped agents.
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
 * Returns the texts by key; lists are joined with commas, as in the environment.
 * @param faults  receives a line for each mistake, without values, which may be secrets
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
    // The parser's messages are not used, because they quote values, which may be secrets.
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
 * Value of a setting's node; null without a value. Undefined for a node that cannot be a setting, such as an alias.
 * `cut` if YAML reads less than the author wrote.
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
  // A plain text may be cut in two ways: YAML ends it at a # after a space, and joins its lines.
  if (
    plain &&
    ((typeof comment === 'string' && /^\S/.test(comment)) || file.slice(range?.[0], range?.[1]).includes('\n'))
  )
    return 'cut'
  return { text: plain ? source : String(value), value: String(value) }
}

/** Prefixes that only this gateway's variables have. */
const OUR_PREFIXES = ['MKONDO_', 'SAUTIKIT_'] as const
/**
 * Minimum length of a name that is compared. A shorter name is too similar to variables of other programs: PORT and
 * PORTS, HOST and HOSTS.
 */
const SLIP_CHARS_MIN = 7
/**
 * Minimum length of a part between underscores that is compared. In a shorter part, one changed letter makes another
 * word: LLM and LM, NODE and CODE.
 */
const SLIP_PART_CHARS_MIN = 5
/** Matches variables that Kubernetes adds to the environment of every pod for a service with the name mkondo. */
const SERVICE_VARIABLE =
  /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * Returns environment variables that are probably mistyped settings, each with the setting that is probably meant. Most
 * variables belong to other programs. Therefore only two kinds of names count: unknown names with a prefix of the
 * gateway, and names that are one typing error away from an unset setting.
 *
 * Typing errors are:
 * - one letter added, missing or changed in a part of five letters or more
 * - two letters swapped
 * - missing underscores or capitals
 *
 * If a setting is set, a similar name without the gateway's prefix is not reported, because it probably belongs to
 * another program.
 * @param known names of all settings
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

/** True if `given` differs from `known` by one typing error. */
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

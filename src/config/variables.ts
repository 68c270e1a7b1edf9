import { nearest } from '../agents/faults.js'

/** Prefixes that nobody else's variables have. */
const OUR_PREFIXES = ['MKONDO_', 'SAUTIKIT_'] as const
/** Shorter names are too near to too much: PORT to PORTS, HOST to HOSTS. */
const SLIP_CHARS_MIN = 7
/** In a shorter part of a name, between underscores, another letter makes another word: LLM and LM, NODE and CODE. */
const SLIP_PART_CHARS_MIN = 5
/** What Kubernetes puts into every pod's environment for a service, here one that is called mkondo. */
const SERVICE_VARIABLE = /_(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)$/

/**
 * Variables of the environment that were meant for us and are no setting, each with what is probably meant. The environment is full
 * of other programs' variables, so only two kinds count: unknown names with a prefix of ours, and names that are one slip away from
 * a setting that is not set: a letter too many, too few or another one in a part of five letters or more, two letters swapped,
 * underscores or capitals left out. With the setting itself in the environment too, a near namesake without our prefix is another
 * program's.
 * @param known  names of all settings
 */
export function mistypedVariables(env: Readonly<Record<string, string | undefined>>, known: readonly string[]): readonly string[] {
  const names = new Set(known)
  const isSet = (name: string): boolean => (env[name] ?? '') !== ''
  return Object.keys(env).filter((name) => isSet(name) && !names.has(name)).sort().flatMap((name) => {
    const shown = name.slice(0, 80)
    const meant = known.find((candidate) => isOneSlip(name, candidate))
    if (meant !== undefined && !isSet(meant)) return [`${shown} is no setting; did you mean ${meant}? (if it is another program's, set ${meant} as well)`]
    const prefix = OUR_PREFIXES.find((ours) => name.startsWith(ours))
    if (prefix === undefined || SERVICE_VARIABLE.test(name)) return []
    const near = nearest(prefix === 'MKONDO_' ? name.slice(prefix.length) : name, known)
    return [`${shown} is no setting; ${near === null ? 'mkondo help settings lists all' : `did you mean ${near}?`}`]
  })
}

/** Whether `given` is `known` with one slip of the hand. */
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

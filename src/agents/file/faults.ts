import type { z } from 'zod'
import { valueAt } from '../../core/json.js'

/** The keywords of a JSON Schema that this file uses. */
type SchemaNode = Readonly<Record<string, unknown>>

/** A fault at a position in a file. */
export interface Fault {
  readonly path: readonly PropertyKey[]
  /** True if the key is wrong; false if its value is wrong. If absent: false. */
  readonly key?: boolean
  readonly what: string
  /** True if the agent is used without the faulty part, such as a sound. If absent: false. */
  readonly spared?: boolean
}

/** True for a fault with which the agent can still be used. */
export const isSpared = ({ spared = false }: Pick<Fault, 'spared'>): boolean => spared

/**
 * Returns a function that reports a fault at a position below the value. Schemas use this function for checks that zod
 * cannot express.
 */
export function faultIn(context: z.core.$RefinementCtx): (path: readonly PropertyKey[], message: string) => void {
  return (path, message) => context.addIssue({ code: 'custom', path: [...path], message })
}

/**
 * Explains zod issues to the author of a file. The result has one fault for each key. The fault contains the allowed
 * values. If a key is misspelt, the fault also contains the most similar allowed key.
 * @param schema  JSON Schema of the whole document, from which the allowed keys at each position are read
 * @param value  the document; it shows if a value is missing or wrong
 * @param noun  name of the document's kind
 */
export function faultsOf(
  issues: readonly z.core.$ZodIssue[],
  schema: SchemaNode,
  value: unknown,
  noun = 'an agent',
): readonly Fault[] {
  return issues.flatMap((issue) => faultsOfIssue(issue, schema, value, noun))
}

function faultsOfIssue(issue: z.core.$ZodIssue, schema: SchemaNode, document: unknown, noun: string): readonly Fault[] {
  const { path } = issue
  const name = path.length === 0 ? 'the file' : pathText(path)
  if (issue.code === 'unrecognized_keys') {
    const allowed = keysAt(schema, path)
    return issue.keys.map((key) => ({
      path: [...path, key],
      key: true,
      what:
        `${pathText([...path, key])} is not a key of ` +
        `${path.length === 0 ? noun : name}${didYouMean(key, allowed)}; ` +
        `allowed: ${allowed.join(', ')}`,
    }))
  }
  const found = valueAt(document, path)
  if (found === undefined) return [{ path, key: false, what: `${name} is missing; ${expectation(issue)}` }]
  switch (issue.code) {
    case 'invalid_type':
      return [{ path, key: false, what: `${name} is ${kindOf(found)}; ${expectation(issue)}` }]
    case 'invalid_value':
      return [
        {
          path,
          key: false,
          what: `${name} is ${shown(found)}${didYouMean(found, issue.values)}; ${expectation(issue)}`,
        },
      ]
    case 'too_small':
    case 'too_big':
      return [{ path, key: false, what: `${name} ${sizeOf(found)}; ${expectation(issue)}` }]
    case 'invalid_key':
      return [
        {
          path,
          key: true,
          what: `${name} is not a name that is allowed here: ${issue.issues[0]?.message ?? issue.message}`,
        },
      ]
    case 'invalid_union': {
      // The author most likely meant the branch of the union with the deepest fault.
      const branch = furthest(issue.errors)
      if (branch === null || issue.message !== 'Invalid input') {
        return [{ path, key: false, what: `${name} ${issue.message}` }]
      }
      return branch.flatMap((inner) =>
        faultsOfIssue({ ...inner, path: [...path, ...inner.path] }, schema, document, noun),
      )
    }
    case 'invalid_format':
    case 'not_multiple_of':
    case 'invalid_element':
    case 'custom':
      return [{ path, key: false, what: `${name} ${issue.message}` }]
  }
}

function furthest(branches: readonly (readonly z.core.$ZodIssue[])[]): readonly z.core.$ZodIssue[] | null {
  // If depths are equal, a branch that accepts this kind of value is used, because "misspelt key" explains more than
  // "expected a string".
  const depth = (branch: readonly z.core.$ZodIssue[]): number =>
    Math.max(0, ...branch.map((issue) => issue.path.length)) +
    (branch.some(({ path, code }) => path.length === 0 && (code === 'invalid_type' || code === 'invalid_value'))
      ? 0
      : 0.5)
  return branches.reduce<readonly z.core.$ZodIssue[] | null>(
    (best, branch) => (depth(branch) > (best === null ? 0 : depth(best)) ? branch : best),
    null,
  )
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${withArticle(issue.expected)}`
    case 'invalid_value':
      if (issue.values.length === 1 && !issue.message.startsWith('Invalid')) return issue.message
      return `allowed: ${issue.values.map(String).join(', ')}`
    case 'too_small':
      return `at least ${issue.minimum}${unitOf(issue.origin)} is needed`
    case 'too_big':
      return `at most ${issue.maximum}${unitOf(issue.origin)} is allowed`
    default:
      return issue.message.startsWith('Invalid') ? 'a value is needed' : issue.message
  }
}

function unitOf(origin: string): string {
  return origin === 'string' ? ' characters' : origin === 'array' ? ' entries' : ''
}

function withArticle(type: string): string {
  if (type === 'object' || type === 'record') return 'a map'
  if (type === 'array') return 'a list'
  if (type === 'string') return 'a text'
  if (type === 'int') return 'a whole number'
  if (type === 'boolean') return 'true or false'
  return /^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`
}

function kindOf(value: unknown): string {
  if (value === null) return 'empty'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a map'
  if (typeof value === 'string') return 'a text'
  return `${typeof value === 'number' ? 'the number' : 'the value'} ${shown(value)}`
}

/** Returns a scalar in short form. A text is returned only if the schema allows only words of a fixed list. */
function shown(value: unknown): string {
  const text = typeof value === 'object' && value !== null ? kindOf(value) : String(value)
  return text.length > 40 ? `${text.slice(0, 40)}…` : text
}

function sizeOf(value: unknown): string {
  if (typeof value === 'string') return `has ${value.length} characters`
  if (Array.isArray(value)) return `has ${value.length} entries`
  return `is ${shown(value)}`
}

export function pathText(path: readonly PropertyKey[]): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`
    else text += text === '' ? String(step) : `.${String(step)}`
  }
  return text
}

/** Returns the keys that a JSON Schema allows for the object at `path`. */
function keysAt(root: SchemaNode, path: readonly PropertyKey[]): readonly string[] {
  return [...new Set(nodesAt(root, path).flatMap((node) => Object.keys(node['properties'] ?? {})))]
}

/** Keywords of a schema with which a value is not free text. */
const BOUND = ['enum', 'const', 'pattern', 'format']

/**
 * Finds texts that YAML has cut at a `#`. Only texts that may contain a `#` are reported.
 * @param schemaOf  makes the JSON Schema of the whole file
 */
export function cutFaults<Cut extends Pick<Fault, 'path'>>(
  { cuts }: { readonly cuts: readonly Cut[] },
  schemaOf: () => SchemaNode,
): Cut[] {
  if (cuts.length === 0) return []
  const schema = schemaOf()
  return cuts.filter(({ path }) => takesAnyText(schema, path))
}

/** True if a JSON Schema allows free text at `path`. False for a name, a number, or a word of a fixed list. */
function takesAnyText(root: SchemaNode, path: readonly PropertyKey[]): boolean {
  return nodesAt(root, path).some(
    (node) =>
      (node['type'] === 'string' || Object.keys(node).length === 0) && BOUND.every((word) => node[word] === undefined),
  )
}

/** Returns every form that a JSON Schema allows at `path`. */
function nodesAt(root: SchemaNode, path: readonly PropertyKey[]): SchemaNode[] {
  let nodes = expand([root], root)
  for (const step of path) {
    const next: SchemaNode[] = []
    for (const node of nodes) {
      const child =
        typeof step === 'number'
          ? node['items']
          : (valueAt(node, ['properties', String(step)]) ?? node['additionalProperties'])
      if (typeof child === 'object' && child !== null) next.push(child as SchemaNode)
    }
    nodes = expand(next, root)
  }
  return nodes
}

/** Follows `$ref` and unions to a limited depth, because a schema may refer to itself. */
function expand(nodes: readonly SchemaNode[], root: SchemaNode, depth = 0): SchemaNode[] {
  if (depth > 4) return [...nodes]
  return nodes.flatMap((node) => {
    const reference = node['$ref']
    if (typeof reference === 'string') {
      const target = valueAt(
        root,
        reference
          .replace(/^#\/?/, '')
          .split('/')
          .filter((step) => step !== ''),
      )
      return typeof target === 'object' && target !== null ? expand([target as SchemaNode], root, depth + 1) : []
    }
    const branches = [node['anyOf'], node['oneOf'], node['allOf']].filter(Array.isArray).flat() as SchemaNode[]
    return [node, ...expand(branches, root, depth + 1)]
  })
}

function didYouMean(given: unknown, allowed: readonly unknown[]): string {
  const near = typeof given === 'string' ? nearest(given, allowed.map(String)) : null
  return near === null ? '' : `; did you mean ${near}?`
}

/** Maximum number of names that are shown; a longer list is cut. */
const NAMES_SHOWN_MAX = 40

/** Returns the most similar allowed name, and all allowed names. */
export function allowedNames(given: string, names: readonly string[]): string {
  const all = [...new Set(names)]
  const near = given === '' ? null : nearest(given, all)
  const shownNames = all.slice(0, NAMES_SHOWN_MAX).join(', ') || '(none)'
  return `${near === null ? '' : `did you mean ${near}? `}allowed: ${shownNames}${all.length > NAMES_SHOWN_MAX ? ', …' : ''}`
}

/**
 * Returns the allowed word that starts with `given`. If there is no such word, returns the word with the smallest edit
 * distance, if the distance is small enough.
 */
export function nearest(given: string, allowed: readonly string[]): string | null {
  const word = given.slice(0, 60)
  const longer = word.length < 3 ? undefined : allowed.find((candidate) => candidate.startsWith(word))
  if (longer !== undefined) return longer
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1
  for (const candidate of allowed) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

/** Computes the Levenshtein distance of two words. Only two rows of the table are stored. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const replaced = (previous[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1)
      current.push(Math.min(replaced, (previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1))
    }
    previous = current
  }
  return previous[b.length] ?? 0
}

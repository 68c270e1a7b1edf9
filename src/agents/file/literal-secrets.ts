import { isAgentName } from '../../core/ids.js'
import { keyShapeIn, namedSecretIn } from '../../telemetry/redact.js'
import { isSecretName, REQUEST_PARTS } from './agent-view.js'
import { pathText } from './faults.js'
import { parseYaml } from './yaml-source.js'
import type { SourcePosition, YamlSource } from './yaml-source.js'

/** Headers whose values are not secrets. */
const PLAIN_HEADER = /^(accept|content)(-|$)|^(user-agent|cache-control|prefer)$|(^|-)version$/i
/** Matches a query parameter with a value. */
const PARAMETER = /[?&]([\w.-]+)=(?=[^&])/g
/**
 * Matches an option such as `--api-token`, and captures the last word of its name. If this word names a file, as in
 * `--token-file`, the option's value is not a secret.
 */
const OPTION = /^--?(?:[\w-]*-)?(\w+)$/
const PLACEHOLDER = /\{\{[^{}]*\}\}|\$\{\w+\}/g
/** Matches the names of schemes that precede a credential, such as `Bearer`. */
const SCHEME = /^\s*(bearer|basic|token|apikey)\b/i

/**
 * Finds values in an agent file that look like secrets. A text with such a value is neither shown to editors nor
 * published.
 * @returns their positions, never the values
 */
export function literalSecrets(
  text: string,
  source: YamlSource,
): readonly (SourcePosition & { readonly what: string })[] {
  const found = new Map<number, SourcePosition & { readonly what: string }>()
  const visit = (value: unknown, path: readonly PropertyKey[], before?: unknown): void => {
    if (Array.isArray(value))
      for (const [index, entry] of value.entries()) visit(entry, [...path, index], value[index - 1])
    else if (typeof value === 'object' && value !== null)
      for (const [key, entry] of Object.entries(value)) visit(entry, [...path, key])
    else if (isSecret(value, path, before)) {
      const place = source.locate(path)
      found.set(place.line, { ...place, what: `${pathText(path)} holds a literal value: ${REMEDY}` })
    }
  }
  visit(source.value, [])
  // All text is searched, including comments and the texts of all keys.
  for (const [index, line] of text.split('\n').entries())
    if (!found.has(index + 1) && keyShapeIn(line))
      found.set(index + 1, {
        line: index + 1,
        col: 1,
        what: `line ${index + 1} holds what looks like a key: ${REMEDY}`,
      })
  return [...found.values()].sort((a, b) => a.line - b.line)
}

const REMEDY = 'move it to a variable, {{env.NAME}}, or edit the file on disk'

/** @param before  previous entry of the list, if the value is in a list */
function isSecret(value: unknown, path: readonly PropertyKey[], before: unknown): boolean {
  if (typeof value !== 'string' && typeof value !== 'number') return false
  const text = String(value)
  if (path.at(-1) === 'url' && hasSecretParameter(text)) return true
  const at = path.findIndex((step) => REQUEST_PARTS.includes(step))
  const part = path[at]
  // `parameters` is skipped, because it is a schema without values. `identity` is skipped, because it is the sample's
  // identity or contains paths of fields.
  if (part === undefined || part === 'identity' || path.slice(0, at).includes('parameters')) return false
  const names = path.slice(at + 1).filter((step) => typeof step === 'string')
  if (names.length > 0) return names.some((name) => isNamedSecret(part, name, value)) && isWrittenOut(text)
  const [, option] = typeof before === 'string' ? (OPTION.exec(before) ?? []) : []
  return namedSecretIn(text) || (part === 'command' && isSecretName(option ?? '') && isWrittenOut(text))
}

function isNamedSecret(part: PropertyKey, name: string, value: string | number): boolean {
  if (part === 'headers') return !PLAIN_HEADER.test(name)
  // A number is a limit or a count, not a secret, unless the key names a password.
  return isSecretName(name) && (typeof value === 'string' || /passw/i.test(name))
}

function hasSecretParameter(url: string): boolean {
  return [...url.replaceAll(PLACEHOLDER, '').matchAll(PARAMETER)].some(([, name = '']) => isSecretName(name))
}

/** True if a value contains other text than placeholders and the name of a scheme. */
function isWrittenOut(text: string): boolean {
  return text.replaceAll(PLACEHOLDER, '').replace(SCHEME, '').trim() !== ''
}

/**
 * Finds the agent in a text, and checks if the text may be shown. This needs some hundredths of a second of CPU time.
 * @returns `agent`: name of the agent; null if it cannot be read. `refusal`: reason why the text must not be shown;
 * null if it may be shown
 */
export function shownText(text: string): { readonly agent: string | null; readonly refusal: string | null } {
  const source = parseYaml(text)
  if (!('value' in source)) {
    // If the syntax is wrong, the positions of values are unknown, and any value may be a secret.
    const line = source[0]?.line ?? 1
    return { agent: null, refusal: `line ${line}: the file is not YAML: correct it on disk, or publish a stored text` }
  }
  const { name } = (source.value ?? {}) as { readonly name?: unknown }
  const secrets = literalSecrets(text, source)
  return {
    agent: isAgentName(name) ? name : null,
    refusal: secrets.length === 0 ? null : secrets.map(({ what }) => what).join('; '),
  }
}

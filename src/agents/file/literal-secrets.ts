import { isAgentName } from '../../core/ids.js'
import { keyShapeIn, namedSecretIn } from '../../telemetry/redact.js'
import { isSecretName, REQUEST_PARTS } from './agent-view.js'
import { pathText } from './faults.js'
import { parseYaml } from './yaml-source.js'
import type { SourcePosition, YamlSource } from './yaml-source.js'

/** Headers whose values are no secrets. */
const PLAIN_HEADER = /^(accept|content)(-|$)|^(user-agent|cache-control|prefer)$|(^|-)version$/i
/** A parameter of a query that has a value. */
const PARAMETER = /[?&]([\w.-]+)=(?=[^&])/g
/** The last word of an option of a command whose value is the next argument: `--token-file` names a file. */
const OPTION = /^--?(?:[\w-]*-)?(\w+)$/
const PLACEHOLDER = /\{\{[^{}]*\}\}|\$\{\w+\}/g
/** The schemes that stand before a credential. */
const SCHEME = /^\s*(bearer|basic|token|apikey)\b/i

/**
 * Values of an agent file that look like secrets. A text with one is not shown to whoever edits it, and not published.
 * @returns where they are, never what they are
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
  // Comments too, and texts of any key.
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

/** @param before  the entry before it, in a list */
function isSecret(value: unknown, path: readonly PropertyKey[], before: unknown): boolean {
  if (typeof value !== 'string' && typeof value !== 'number') return false
  const text = String(value)
  if (path.at(-1) === 'url' && hasSecretParameter(text)) return true
  const at = path.findIndex((step) => REQUEST_PARTS.includes(step))
  const part = path[at]
  // A schema describes values and has none. An identity is that of the sample, or the paths of its fields.
  if (part === undefined || part === 'identity' || path.slice(0, at).includes('parameters')) return false
  const names = path.slice(at + 1).filter((step) => typeof step === 'string')
  if (names.length > 0) return names.some((name) => isNamedSecret(part, name, value)) && isWrittenOut(text)
  const [, option] = typeof before === 'string' ? (OPTION.exec(before) ?? []) : []
  return namedSecretIn(text) || (part === 'command' && isSecretName(option ?? '') && isWrittenOut(text))
}

function isNamedSecret(part: PropertyKey, name: string, value: string | number): boolean {
  if (part === 'headers') return !PLAIN_HEADER.test(name)
  // Other numbers are limits and counts.
  return isSecretName(name) && (typeof value === 'string' || /passw/i.test(name))
}

function hasSecretParameter(url: string): boolean {
  return [...url.replaceAll(PLACEHOLDER, '').matchAll(PARAMETER)].some(([, name = '']) => isSecretName(name))
}

/** True if a value has more than placeholders and the name of a scheme. */
function isWrittenOut(text: string): boolean {
  return text.replaceAll(PLACEHOLDER, '').replace(SCHEME, '').trim() !== ''
}

/**
 * The agent in a text, and why the text is not shown to who edits it. Takes hundredths of a second of CPU.
 * @returns `agent`: its name; null where none can be read. `refusal`: null: it is shown
 */
export function shownText(text: string): { readonly agent: string | null; readonly refusal: string | null } {
  const source = parseYaml(text)
  if (!('value' in source)) {
    // The places of its values are then not known, and one of them may be a secret.
    const line = source[0]?.line ?? 1
    return { agent: null, refusal: `line ${line}: the file is not YAML: mend it on disk, or publish a kept text` }
  }
  const { name } = (source.value ?? {}) as { readonly name?: unknown }
  const secrets = literalSecrets(text, source)
  return {
    agent: isAgentName(name) ? name : null,
    refusal: secrets.length === 0 ? null : secrets.map(({ what }) => what).join('; '),
  }
}

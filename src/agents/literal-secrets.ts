import { isAgentName } from '../core/ids.js'
import { keyShapeIn } from '../telemetry/redact.js'
import { SECRET_NAME } from './agent-view.js'
import { pathText } from './faults.js'
import { parseYaml } from './yaml-source.js'
import type { SourcePosition, YamlSource } from './yaml-source.js'

/** Keys below which a text may be one of `{{env.NAME}}` and `${NAME}`: values of requests, and of a server's environment. */
const REQUEST_PARTS: readonly PropertyKey[] = ['headers', 'query', 'body', 'env']
/** Headers whose values are no secrets. */
const PLAIN_HEADER = /^(accept|content)(-|$)|^(user-agent|cache-control|prefer)$|version/i
const PLACEHOLDER = /\{\{[^{}]*\}\}|\$\{\w+\}/g
/** The schemes that stand before a credential. */
const SCHEME = /^\s*(bearer|basic|token|apikey)\b/i

/**
 * Values of an agent file that look like secrets and that a variable could hold. A text with one is not shown to whoever
 * edits it, and not published.
 * @returns where they are, never what they are
 */
export function literalSecrets(
  text: string,
  source: YamlSource,
): readonly (SourcePosition & { readonly what: string })[] {
  const found = new Map<number, SourcePosition & { readonly what: string }>()
  const visit = (value: unknown, path: readonly PropertyKey[]): void => {
    if (typeof value === 'object' && value !== null) {
      for (const [key, entry] of Array.isArray(value) ? value.entries() : Object.entries(value))
        visit(entry, [...path, key])
    } else if (isSecret(value, path)) {
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

const REMEDY = 'move it to a variable, {{env.NAME}}'

function isSecret(value: unknown, path: readonly PropertyKey[]): boolean {
  if (typeof value !== 'string' && typeof value !== 'number') return false
  const part = path.findLastIndex((step) => REQUEST_PARTS.includes(step))
  if (part < 0 || part === path.length - 1) return false
  const names = path.slice(part + 1).filter((step) => typeof step === 'string')
  const isNamed =
    path[part] === 'headers'
      ? names.some((name) => !PLAIN_HEADER.test(name))
      : names.some((name) => SECRET_NAME.test(name))
  return isNamed && String(value).replaceAll(PLACEHOLDER, '').replace(SCHEME, '').trim() !== ''
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

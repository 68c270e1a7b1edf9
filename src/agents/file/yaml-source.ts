import { Composer, isAlias, isCollection, isMap, isNode, isPair, isScalar, isSeq } from 'yaml'
import { LineCounter, Parser, Scalar, visit } from 'yaml'
import type { Document } from 'yaml'
import { pathText } from './faults.js'

/** Maximum nesting of an agent file. */
const AGENT_DEPTH_MAX = 24
/** Maximum number of aliases (`*name`). Without a limit a small file could become very large in memory. */
const AGENT_ALIASES_MAX = 64

/** A position in a file. Lines and columns count from 1, as in editors. */
export interface SourcePosition {
  readonly line: number
  readonly col: number
}

/** A fault in a file; `what` describes the fault and the allowed values. */
interface SourceFault extends SourcePosition {
  readonly what: string
}

/** A YAML document as plain data, with the position of each part. */
export interface YamlSource {
  readonly value: unknown
  /**
   * Returns the position of the value at `path`, or of its key if `key` is true. If the path is missing, returns the
   * position of the nearest existing parent.
   */
  locate(path: readonly PropertyKey[], key?: boolean): SourcePosition
  /**
   * Texts without quotes that YAML has cut at ` #`. A comment with two spaces before it is intended, so such texts are
   * not included.
   */
  readonly cuts: readonly CutText[]
}

/**
 * A text that YAML has cut at ` #`. For example, `Press # to begin` becomes `Press`, and the other words are a comment.
 */
interface CutText extends SourcePosition {
  readonly path: readonly PropertyKey[]
  readonly what: string
}

const START: SourcePosition = { line: 1, col: 1 }
const TOO_DEEP = `is nested too deeply; at most ${AGENT_DEPTH_MAX} levels are allowed`

/**
 * Parses one YAML document. A text that would become very large in memory is refused before it is converted to values.
 * Such texts have many aliases or deep nesting.
 * @param kind  noun for the kind of file, and the manual of this kind; faults contain both
 * @returns the document, or all of its syntax faults
 */
export function parseYaml(
  whole: string,
  kind = { noun: 'an agent', manual: 'docs/AGENTS.md' },
): YamlSource | readonly SourceFault[] {
  const text = whole.replace(/^\uFEFF/, '') // a byte order mark is skipped, because editors do not count it as a column
  const lines = new LineCounter()
  const at = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset)
    return line === 0 ? START : { line, col }
  }
  let documents: readonly Document.Parsed[]
  try {
    const composer = new Composer({ version: '1.2', uniqueKeys: true, strict: true, prettyErrors: false })
    documents = [...composer.compose(new Parser(lines.addNewLine).parse(text))]
  } catch {
    return [{ ...START, what: TOO_DEEP }] // in some versions of the library, the composer throws for such a text
  }
  const [document, second] = documents
  if (document === undefined) return [{ ...START, what: `is empty; ${kind.noun} is a map of keys (${kind.manual})` }]
  if (document.errors.length > 0) {
    // The parser is recursive, so a stack overflow means that the file is nested too deeply.
    return document.errors.map((error) => ({
      ...at(error.pos[0]),
      what: error.message.includes('call stack') ? TOO_DEEP : `is not YAML: ${error.message}`,
    }))
  }
  if (second !== undefined) {
    return [
      {
        ...at(second.range[0]),
        what: `holds a second document (---); one file is one ${kind.noun.replace(/^an? /, '')}`,
      },
    ]
  }
  const grown = growthOf(document)
  if (grown !== null) return [{ ...at(grown.offset), what: grown.what }]
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: AGENT_ALIASES_MAX })
  } catch (error) {
    return [{ ...START, what: `cannot be read: ${error instanceof Error ? error.message : String(error)}` }]
  }
  return { value, locate: (path, key = false) => at(offsetOf(document, path, key)), cuts: cutTexts(document, text, at) }
}

function cutTexts(document: Document.Parsed, text: string, at: (offset: number) => SourcePosition): CutText[] {
  const found: CutText[] = []
  visit(document, {
    Scalar: (key, node, ancestors) => {
      const end = node.range?.[1] ?? 0
      if (key === 'key' || node.type !== Scalar.PLAIN || typeof node.value !== 'string') return
      if (!/^[ \t]#/.test(text.slice(end, end + 2))) return
      const path = pathOf(key, ancestors)
      found.push({
        ...at(end + 1),
        path,
        what: `${pathText(path)} ends before the #: YAML reads the rest of the line as a comment; put the text in quotes, or put two spaces before a comment`,
      })
    },
  })
  return found
}

/** @param key key of a node in its parent, as `visit` passes it. The parent is the last of `ancestors` */
function pathOf(key: number | 'key' | 'value' | null, ancestors: readonly unknown[]): PropertyKey[] {
  return ancestors.flatMap((one, index): PropertyKey[] => {
    if (isPair(one)) return [isScalar(one.key) ? String(one.key.value) : '']
    if (!isSeq(one)) return []
    const below = ancestors[index + 1]
    return [below === undefined ? Number(key) : one.items.indexOf(below)]
  })
}

/**
 * Finds a part that makes a document larger in memory than on disk. Such a part is deep nesting, or an alias to a list
 * or a map.
 */
function growthOf(document: Document.Parsed): { readonly offset: number; readonly what: string } | null {
  let aliases = 0
  let found: { offset: number; what: string } | null = null
  visit(document, (_key, node, path) => {
    if (!isNode(node)) return undefined
    const offset = node.range?.[0] ?? 0
    if (path.length > AGENT_DEPTH_MAX * 2) {
      // `path` also contains the pair between two collections, so its length is twice the depth
      found = { offset, what: TOO_DEEP }
      return visit.BREAK
    }
    if (!isAlias(node)) return undefined
    aliases += 1
    const target = node.resolve(document)
    if (isCollection(target) && containsAlias(target)) {
      found = {
        offset,
        what: `*${node.source} refers to a part that contains an alias; aliases must not be nested`,
      }
      return visit.BREAK
    }
    if (aliases > AGENT_ALIASES_MAX) {
      found = { offset, what: `is an alias more than allowed; at most ${AGENT_ALIASES_MAX}` }
      return visit.BREAK
    }
    return undefined
  })
  return found
}

function containsAlias(node: Parameters<typeof visit>[0]): boolean {
  let found = false
  visit(node, {
    Alias: () => {
      found = true
      return visit.BREAK
    },
  })
  return found
}

function offsetOf(document: Document.Parsed, path: readonly PropertyKey[], key: boolean): number {
  let node: unknown = document.contents
  let offset = startOf(node) ?? 0
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (!isCollection(node)) return offset
    const last = index === path.length - 1
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step))
      if (pair === undefined) return offset
      const keyOffset = startOf(pair.key) ?? offset
      offset = last && key ? keyOffset : (startOf(pair.value) ?? keyOffset)
      node = pair.value
    } else {
      const item: unknown = node.items[Number(step)]
      if (item === undefined) return offset
      offset = startOf(item) ?? offset
      node = item
    }
  }
  return offset
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}

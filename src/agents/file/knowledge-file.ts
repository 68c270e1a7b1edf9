import { parse } from 'yaml'
import { z } from 'zod'
import { codeOf, languageCode } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { WORDS } from '../../call/words/languages.js'
import { KNOWLEDGE_PASSAGES_MAX } from '../../core/limits.js'

/** Maximum number of characters in one passage in one language. */
export const KNOWLEDGE_PASSAGE_CHARS_MAX = 1200

/** One passage of knowledge, which is a question and its answer. */
export interface Passage {
  readonly title: string
  /** Other words with which callers ask for this passage. */
  readonly also: readonly string[]
  /** One text for all languages, or one text for each language. */
  readonly text: LocalizedText
  /** Origin of an imported passage; absent if a person wrote it. */
  readonly source?: PassageSource
}

/** Origin of a passage that `mkondo knowledge import` created. Callers and models do not receive it. */
export interface PassageSource {
  /** Path of the source file, relative to the folder of the knowledge file. */
  readonly file: string
  /** Position in the source, such as `page 2` or `row 7`; null if the source does not have positions. */
  readonly place: string | null
  /** Day of the import, in the form YYYY-MM-DD. */
  readonly date: string
  /** First 16 hexadecimal digits of the source's SHA-256 hash; null if unknown. */
  readonly sha256: string | null
}

const SOURCE_LINE = /^source: (.+?)(?:, ((?:page|row) \d+))?, (\d{4}-\d{2}-\d{2})(?:, sha256 ([0-9a-f]{16}))?$/

/** Returns the line with a passage's source, as a Markdown file contains it before the passage's text. */
export function sourceLine({ file, place, date, sha256 }: PassageSource): string {
  const parts = [file, ...(place === null ? [] : [place]), date, ...(sha256 === null ? [] : [`sha256 ${sha256}`])]
  return `source: ${parts.join(', ')}`
}

function sourceIn(line: string): PassageSource | null {
  const [, file, place = null, date, sha256 = null] = SOURCE_LINE.exec(line) ?? []
  return file === undefined || date === undefined ? null : { file, place, date, sha256 }
}

const passageText = z.string().trim().min(1).max(KNOWLEDGE_PASSAGE_CHARS_MAX)
const passageSchema = z.strictObject({
  title: z.string().trim().min(1).max(200),
  also: z.array(z.string().trim().min(1).max(200)).max(40).default([]),
  text: z.union([passageText, z.record(languageCode, passageText)], {
    error: `must be a text of 1 to ${KNOWLEDGE_PASSAGE_CHARS_MAX} characters, or one for each language: { en: …, sw: … }`,
  }),
})

/**
 * Reads a knowledge file.
 * - Markdown: each `## heading` begins a passage. A first line `also: …, …` contains other words for the passage. A
 * first line `source: …, YYYY-MM-DD` contains the passage's origin. A line `sw: …` begins the text in another language.
 * - YAML: a list of `{ title, also, text }`.
 * @param languages  languages of the agent; a text without a language is in the first language
 * @throws SyntaxError with the fault and its position
 */
export function parseKnowledge(
  text: string,
  format: 'markdown' | 'yaml',
  languages: readonly string[] = [],
): Passage[] {
  const passages = format === 'markdown' ? markdownPassages(text, languages.map(codeOf)) : yamlPassages(text)
  if (passages.length === 0) {
    throw new SyntaxError(
      format === 'markdown'
        ? 'has no passage; each begins with a line "## Title"'
        : 'has no passage; it is a list of { title, text }',
    )
  }
  if (passages.length > KNOWLEDGE_PASSAGES_MAX) {
    throw new SyntaxError(`has ${passages.length} passages; at most ${KNOWLEDGE_PASSAGES_MAX} are allowed`)
  }
  return passages
}

function yamlPassages(text: string): Passage[] {
  const parsed = z.array(passageSchema).safeParse(parse(text, { maxAliasCount: 0 }))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new SyntaxError(
    `passage ${Number(issue?.path[0] ?? 0) + 1}: ${issue?.path.slice(1).join('.') ?? ''} ${issue?.message ?? 'is wrong'}`,
  )
}

function markdownPassages(text: string, languages: readonly string[]): Passage[] {
  const passages: Passage[] = []
  let open: { title: string; line: number; also: string[]; source: PassageSource | null; lines: string[] } | null = null
  const close = (): void => {
    if (open === null) return
    const { title, line, also, source } = open
    const texts = [...byLanguage(open.lines, languages)].map(([language, lines]) => {
      const body = lines
        .join('\n')
        .trim()
        .replace(/\n{2,}/g, '\n')
      const inLanguage = language === languages[0] || language === '' ? '' : ` in ${language}`
      if (body === '') throw new SyntaxError(`line ${line}: "${title.slice(0, 60)}" has no text${inLanguage}`)
      if (body.length > KNOWLEDGE_PASSAGE_CHARS_MAX) {
        throw new SyntaxError(
          `line ${line}: "${title.slice(0, 60)}" has ${body.length} characters${inLanguage}; at most ${KNOWLEDGE_PASSAGE_CHARS_MAX} are allowed`,
        )
      }
      return [language, body] as const
    })
    const [[, only = ''] = []] = texts
    const body = texts.length === 1 ? only : Object.fromEntries(texts)
    passages.push({ title, also, text: body, ...(source === null ? {} : { source }) })
  }
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const heading = /^##\s+(.+?)\s*#*\s*$/.exec(line)?.[1]
    if (heading !== undefined) {
      close()
      open = { title: heading.slice(0, 200), line: index + 1, also: [], source: null, lines: [] }
    } else if (/^#\s/.test(line)) {
      close()
      open = null
    } else if (open !== null) {
      const also = open.lines.length === 0 ? /^also:\s*(.+)$/i.exec(line)?.[1] : undefined
      const source = open.lines.length === 0 ? sourceIn(line) : null
      if (source !== null) open.source = source
      else if (also === undefined) open.lines.push(line)
      else
        open.also.push(
          ...also
            .split(',')
            .map((phrase) => phrase.trim())
            .filter((phrase) => phrase !== ''),
        )
      if (open.lines.length === 1 && open.lines[0]?.trim() === '') open.lines.length = 0
    }
  }
  close()
  return passages
}

/**
 * Groups the lines of a passage by language. A new language begins with a line that starts with its code. The code must
 * be a language of the agent or of the gateway.
 */
function byLanguage(lines: readonly string[], languages: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const first: string[] = []
  const found = new Map([[languages[0] ?? '', first]])
  let current = first
  for (const line of lines) {
    const [, code = '', rest = ''] = /^([a-z]{2,3}):\s+(.*)$/.exec(line) ?? []
    if (languages.includes(code) || Object.hasOwn(WORDS, code)) {
      current = found.get(code) ?? []
      found.set(code, current)
      current.push(rest)
    } else {
      current.push(line)
    }
  }
  return found
}

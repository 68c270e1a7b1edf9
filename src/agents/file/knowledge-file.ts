import { parse } from 'yaml'
import { z } from 'zod'
import { codeOf, languageCode } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import { WORDS } from '../../call/words/languages.js'
import { KNOWLEDGE_PASSAGES_MAX } from '../../core/limits.js'

/** Characters of one passage in one language, and passages that a search gives back. */
export const KNOWLEDGE_PASSAGE_CHARS_MAX = 1200

/** One passage of knowledge: a question and its answer. */
export interface Passage {
  readonly title: string
  /** Other words that callers use for it. */
  readonly also: readonly string[]
  /** One text, or one for each language. */
  readonly text: LocalizedText
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
 * Reads a knowledge file: Markdown, where each `## heading` begins a passage and a first line `also: …, …` holds other
 * words for it, and a line `sw: …` begins the text in another language; or YAML, a list of `{ title, also, text }`.
 * @param languages  of the agent: the first is that of a text without a language
 * @throws SyntaxError that says what is wrong and where
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
  let open: { title: string; line: number; also: string[]; lines: string[] } | null = null
  const close = (): void => {
    if (open === null) return
    const { title, line, also } = open
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
    passages.push({ title, also, text: texts.length === 1 ? only : Object.fromEntries(texts) })
  }
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const heading = /^##\s+(.+?)\s*#*\s*$/.exec(line)?.[1]
    if (heading !== undefined) {
      close()
      open = { title: heading.slice(0, 200), line: index + 1, also: [], lines: [] }
    } else if (/^#\s/.test(line)) {
      close()
      open = null
    } else if (open !== null) {
      const also = open.lines.length === 0 ? /^also:\s*(.+)$/i.exec(line)?.[1] : undefined
      if (also === undefined) open.lines.push(line)
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

/** The lines of a passage by language: one that begins with the code of the agent's, or of one of the gateway's, begins its text. */
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

import { setImmediate as nextTurn } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { parse } from 'yaml'
import { z } from 'zod'
import { codeOf, languageCode, textIn, textsOf } from '../call/localized-text.js'
import type { LocalizedText } from '../call/localized-text.js'
import { WORDS } from '../call/words/languages.js'
import { KNOWLEDGE_PASSAGES_MAX, KNOWLEDGE_QUERY_CHARS_MAX } from '../core/limits.js'

/** Characters of one passage in one language, and passages that a search gives back. */
export const KNOWLEDGE_PASSAGE_CHARS_MAX = 1200
export const KNOWLEDGE_RESULTS_MAX = 3

/** One passage of knowledge: a question and its answer. */
export interface Passage {
  readonly title: string
  /** Other words that callers use for it. */
  readonly also: readonly string[]
  /** One text, or one for each language. */
  readonly text: LocalizedText
}

/** A passage that a search found; results are ordered best first. */
interface FoundPassage {
  readonly title: string
  readonly text: string
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

/** A word in more than this share of the passages is common: it alone does not count as a match. */
const COMMON_SHARE = 0.4
/** With fewer passages nothing is common. */
const COMMON_FROM = 6
/** Passages that score below this share of the best score are left out. */
const RELATIVE_SCORE_MIN = 0.35

/** Passages that are indexed in one turn of the event loop: about a millisecond, so that the calls of the thread go on. */
const INDEXED_AT_ONCE = 8

interface Indexed {
  readonly id: number
  readonly title: string
  readonly other: string
  readonly text: string
}

/** Finds passages by BM25 over titles, other words and texts. Built once; searched in about 0.1 ms. */
export class KnowledgeIndex {
  readonly #index: MiniSearch<Indexed>
  readonly #passages: readonly Passage[]
  readonly #common: ReadonlySet<string>

  private constructor(passages: readonly Passage[], index: MiniSearch<Indexed>, common: ReadonlySet<string>) {
    this.#passages = passages
    this.#index = index
    this.#common = common
  }

  /** Indexes a few passages in each turn of the event loop, with everything else of the thread between them. */
  static async of(passages: readonly Passage[]): Promise<KnowledgeIndex> {
    const index = new MiniSearch<Indexed>({
      fields: ['title', 'other', 'text'],
      idField: 'id',
      tokenize: plainTerms,
      processTerm: (term) => term,
    })
    const counts = new Map<string, number>()
    for (let at = 0; at < passages.length; at += INDEXED_AT_ONCE) {
      const some = passages.slice(at, at + INDEXED_AT_ONCE)
      index.addAll(
        some.map(({ title, also, text }, i) => ({
          id: at + i,
          title,
          other: also.join(' '),
          text: textsOf(text).join(' '),
        })),
      )
      countWords(some, counts)
      await nextTurn()
    }
    const often = passages.length < COMMON_FROM ? Infinity : passages.length * COMMON_SHARE
    return new KnowledgeIndex(
      passages,
      index,
      new Set([...counts].filter(([, count]) => count > often).map(([word]) => word)),
    )
  }

  /**
   * @param query     in any language that the passages have
   * @param language  of the returned texts, where a passage is written in this language
   * @returns at most KNOWLEDGE_RESULTS_MAX passages; none when only common words of the query occur
   */
  search(query: string, language = ''): FoundPassage[] {
    const words = plainTerms(query.slice(0, KNOWLEDGE_QUERY_CHARS_MAX)).filter((word) => !this.#common.has(word))
    if (words.length === 0) return []
    const found = this.#index.search(words.join(' '), {
      boost: { title: 3, other: 3 },
      // Endings differ (bill, bills), and recognisers get single letters wrong.
      prefix: (term) => term.length > 3,
      fuzzy: (term) => (term.length > 4 ? 0.2 : false),
    })
    const best = found[0]?.score ?? 0
    return found
      .slice(0, KNOWLEDGE_RESULTS_MAX)
      .filter(({ score }) => score >= best * RELATIVE_SCORE_MIN)
      .flatMap(({ id }) => {
        const passage = this.#passages[Number(id)]
        return passage === undefined ? [] : [{ title: passage.title, text: textIn(passage.text, language) }]
      })
  }
}

const SPACES = /[\n\r\p{Z}\p{P}`´]+/u
/** Within a word, as typists, phones and word processors write it: ng'ombe. Modifier letters are letters of their own. */
const APOSTROPHE = /(?<=[\p{L}\p{M}])['’‘‛`´′＇ʼʻʹˈ](?=\p{L})/gu

/** The words of a text as they are compared: ng'ombe, ng’ombe and ngombe are one. */
function plainTerms(text: string): string[] {
  return text
    .replace(APOSTROPHE, '')
    .split(SPACES)
    .map((term) => term.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase())
    .filter((term) => term !== '')
}

/** Adds in how many of the passages each word occurs. */
function countWords(passages: readonly Passage[], counts: Map<string, number>): void {
  for (const { title, also, text } of passages) {
    for (const word of new Set(plainTerms([title, ...also, ...textsOf(text)].join(' '))))
      counts.set(word, (counts.get(word) ?? 0) + 1)
  }
}

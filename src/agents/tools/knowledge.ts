import { setImmediate as nextTurn } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { textIn, textsOf } from '../../call/spoken/localized-text.js'
import { KNOWLEDGE_QUERY_CHARS_MAX } from '../../core/limits.js'
import type { Passage } from '../file/knowledge-file.js'

export const KNOWLEDGE_RESULTS_MAX = 3

/** A passage that a search found; results are ordered best first. */
interface FoundPassage {
  readonly title: string
  readonly text: string
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

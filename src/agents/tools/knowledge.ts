import { setImmediate as nextTurn } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { textIn, textsOf } from '../../call/spoken/localized-text.js'
import { KNOWLEDGE_QUERY_CHARS_MAX } from '../../core/limits.js'
import type { Passage } from '../file/knowledge-file.js'

export const KNOWLEDGE_RESULTS_MAX = 3

/** A passage that a search has found. The best passage is first. */
interface FoundPassage {
  readonly title: string
  readonly text: string
}

/** If a word occurs in more than this share of the passages, it is common. A common word alone is not a match. */
const COMMON_SHARE = 0.4
/** Minimum number of passages for the search of common words. With fewer passages, no word counts as common. */
const COMMON_FROM = 6
/** Passages whose score is below this share of the best score are left out. */
const RELATIVE_SCORE_MIN = 0.35

/**
 * Number of passages that are indexed in one turn of the event loop. This takes about a millisecond, so that calls on
 * the thread are not disturbed.
 */
const INDEXED_AT_ONCE = 8

interface Indexed {
  readonly id: number
  readonly title: string
  readonly other: string
  readonly text: string
}

/**
 * Finds passages by BM25 in their titles, other words and texts. The index is built once; a search takes about 0.1 ms.
 */
export class KnowledgeIndex {
  readonly #index: MiniSearch<Indexed>
  readonly #passages: readonly Passage[]
  readonly #common: ReadonlySet<string>

  private constructor(passages: readonly Passage[], index: MiniSearch<Indexed>, common: ReadonlySet<string>) {
    this.#passages = passages
    this.#index = index
    this.#common = common
  }

  /** Indexes a few passages in each turn of the event loop, so that the thread can do other work in between. */
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
   * Searches the passages.
   * @param query  words in any language of the passages
   * @param language  language of the returned texts; if a passage does not have this language, it is returned in another
   * language
   * @returns at most KNOWLEDGE_RESULTS_MAX passages; an empty list if the passages contain only the query's common
   * words
   */
  search(query: string, language = ''): FoundPassage[] {
    const words = plainTerms(query.slice(0, KNOWLEDGE_QUERY_CHARS_MAX)).filter((word) => !this.#common.has(word))
    if (words.length === 0) return []
    const found = this.#index.search(words.join(' '), {
      boost: { title: 3, other: 3 },
      // Similar words match too, because endings vary (bill, bills) and recognisers confuse single letters.
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
/**
 * Matches an apostrophe inside a word (ng'ombe), in all forms that typists, phones and word processors write. Unicode
 * modifier letters count as letters.
 */
const APOSTROPHE = /(?<=[\p{L}\p{M}])['’‘‛`´′＇ʼʻʹˈ](?=\p{L})/gu

/** Returns the words of a text in a form for comparison. In this form, ng'ombe, ng’ombe and ngombe are equal. */
function plainTerms(text: string): string[] {
  return text
    .replace(APOSTROPHE, '')
    .split(SPACES)
    .map((term) => term.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase())
    .filter((term) => term !== '')
}

/** Adds, for each word, the number of passages in which the word occurs. */
function countWords(passages: readonly Passage[], counts: Map<string, number>): void {
  for (const { title, also, text } of passages) {
    for (const word of new Set(plainTerms([title, ...also, ...textsOf(text)].join(' '))))
      counts.set(word, (counts.get(word) ?? 0) + 1)
  }
}

import { KNOWLEDGE_PASSAGE_CHARS_MAX } from '../../agents/file/knowledge-file.js'
import type { Block } from './blocks.js'

/** Maximum length in characters of a passage's title. */
const TITLE_CHARS_MAX = 200

/** Passage of a document. A person reads it first; then an agent searches it. */
export interface ImportedPassage {
  readonly title: string
  readonly text: string
  /** Page or row of the source, from 1; null if the source has neither. */
  readonly place: string | null
}

/** Form of a table's passages: one passage for each row, or sentences together under the heading. */
export type TableForm = 'rows' | 'sentences'

/**
 * Passages of a document. Each heading begins a passage. A text that is too long is divided at paragraphs, then at
 * sentences. If a table's first column names its rows, each row becomes a passage. Other tables become sentences.
 * @param name the document's name: title of the text before the first heading
 * @param form form of tables; null to choose the form for each table
 */
export function passagesOf(blocks: readonly Block[], name: string, form: TableForm | null): ImportedPassage[] {
  const found: ImportedPassage[] = []
  /** Headings above the current text, the nearest heading last. */
  let path: readonly { readonly level: number; readonly text: string }[] = []
  let open: { readonly texts: string[]; place: string | null } = { texts: [], place: null }
  const title = (): string => {
    const words = path.map(({ text }) => text)
    return words.length === 0 ? name : words.slice(-2).join(': ')
  }
  const close = (): void => {
    found.push(...divided(title(), open.texts, open.place))
    open = { texts: [], place: null }
  }
  for (const block of blocks) {
    const place = block.page === undefined ? null : `page ${block.page}`
    if (block.kind === 'heading') {
      close()
      path = [...path.filter(({ level }) => level < block.level), { level: block.level, text: block.text }]
      continue
    }
    open.place ??= place
    if (block.kind === 'text') {
      open.texts.push(block.text)
      continue
    }
    if ((form ?? formOf(block.rows)) === 'sentences') {
      open.texts.push(...block.rows.map((row) => rowSentence(block.head, row)))
      continue
    }
    close()
    const above = path.length === 0 ? '' : title()
    for (const [index, row] of block.rows.entries()) {
      const [first = ''] = row
      const named = first === '' ? `${above === '' ? name : above} (${index + 1})` : first
      const words = above === '' || first === '' ? named : `${above}: ${first}`
      found.push(...divided(words, [rowSentence(block.head, row)], place ?? `row ${index + 2}`))
    }
  }
  close()
  return unlike(found)
}

/** True if each row has different words in its first column, so that the first column identifies the row. */
function formOf(rows: readonly (readonly string[])[]): TableForm {
  const names = rows.map(([first = '']) => first.toLowerCase())
  return rows.length > 1 && names.every((one) => /\p{L}/u.test(one)) && new Set(names).size === names.length
    ? 'rows'
    : 'sentences'
}

/** Sentence of a row: `White bread. Size: 400 g. Price (KES): 65.` */
function rowSentence(head: readonly string[], row: readonly string[]): string {
  const cells = row.flatMap((cell, at) => {
    if (cell === '') return []
    const name = head[at] ?? ''
    return at === 0 || name === '' ? [cell] : [`${name}: ${cell}`]
  })
  return cells.map((cell) => (/[.!?]$/.test(cell) ? cell : `${cell}.`)).join(' ')
}

/** Passages with one title, each within the maximum length. The second and later passages have a number. */
function divided(title: string, texts: readonly string[], place: string | null): ImportedPassage[] {
  const parts: string[] = []
  let open = ''
  for (const text of texts.flatMap((one) => pieces(escaped(one)))) {
    if (open !== '' && open.length + 1 + text.length > KNOWLEDGE_PASSAGE_CHARS_MAX) {
      parts.push(open)
      open = ''
    }
    open = open === '' ? text : `${open}\n${text}`
  }
  if (open !== '') parts.push(open)
  const short = title.slice(0, TITLE_CHARS_MAX - 8).trim()
  return parts.map((text, index) => ({ title: index === 0 ? short : `${short} (${index + 1})`, text, place }))
}

/** Pieces of a text that is too long, divided at sentences, else at words, else at any character. */
function pieces(text: string): string[] {
  if (text.length <= KNOWLEDGE_PASSAGE_CHARS_MAX) return [text]
  const found: string[] = []
  let left = text
  while (left.length > KNOWLEDGE_PASSAGE_CHARS_MAX) {
    const head = left.slice(0, KNOWLEDGE_PASSAGE_CHARS_MAX)
    const sentence = Math.max(...[...head.matchAll(/[.!?](?=\s)/g)].map(({ index }) => index + 1), 0)
    const word = head.lastIndexOf(' ')
    const at = sentence > 0 ? sentence : word > 0 ? word : head.length
    found.push(left.slice(0, at).trim())
    left = left.slice(at).trim()
  }
  return left === '' ? found : [...found, left]
}

/** Escapes a line that would otherwise begin a passage, another language or a note of the file. */
function escaped(text: string): string {
  return text.replace(/^(?=#|also:|source:|[a-z]{2,3}:\s)/i, '- ')
}

/** Adds a number to each later passage with the same title. */
function unlike(passages: readonly ImportedPassage[]): ImportedPassage[] {
  const counts = new Map<string, number>()
  return passages.map((passage) => {
    const count = (counts.get(passage.title) ?? 0) + 1
    counts.set(passage.title, count)
    return count === 1 ? passage : { ...passage, title: `${passage.title}, ${count}` }
  })
}

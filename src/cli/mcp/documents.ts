import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import MiniSearch from 'minisearch'
import { packageRoot } from '../../config/package-root.js'
import { GatewayError } from '../../core/errors.js'

/** Maximum number of passages in a search result. EXCERPT_CHARS: maximum number of characters shown of each passage. */
const FOUND_MAX = 8
const EXCERPT_CHARS = 300
/** Maximum number of characters of a page in one answer. */
const PAGE_CHARS_MAX = 30_000

/** Folders of docs/ with pages for operators; the site's documents and images are not read. */
const FOLDERS = ['', 'runbooks', 'closures', 'adr']

interface Passage {
  readonly id: number
  readonly page: string
  readonly heading: string
  readonly text: string
}

/** Documents of this package, for search and reading. They are loaded at the first request. */
export class Documents {
  #pages: ReadonlyMap<string, string> | null = null
  #index: { readonly search: MiniSearch<Passage>; readonly passages: readonly Passage[] } | null = null

  /** @returns the passages that match best, best first; empty if no passage contains a word of the query */
  search(query: string): readonly { readonly page: string; readonly heading: string; readonly excerpt: string }[] {
    const { search, passages } = (this.#index ??= this.#indexed())
    const found = search.search(query, { boost: { heading: 3, page: 2 }, prefix: true, fuzzy: 0.15 })
    return found.slice(0, FOUND_MAX).flatMap(({ id }) => {
      const passage = passages[Number(id)]
      if (passage === undefined) return []
      const { page, heading, text } = passage
      return [{ page, heading, excerpt: text.length > EXCERPT_CHARS ? `${text.slice(0, EXCERPT_CHARS)}…` : text }]
    })
  }

  /**
   * Part of a page. `next` is the index at which the next part begins; null if this is the last part.
   * @param page such as AGENTS.md or runbooks/model-ends.md
   * @param from index of the first character
   * @throws GatewayError CONFIG_INVALID for an unknown page
   */
  read(page: string, from = 0): { readonly text: string; readonly next: number | null } {
    const pages = this.#all()
    const text = pages.get(page)
    if (text === undefined)
      throw new GatewayError('CONFIG_INVALID', `there is no page ${page}; allowed: ${[...pages.keys()].join(', ')}`)
    const to = from + PAGE_CHARS_MAX
    return { text: text.slice(from, to), next: to < text.length ? to : null }
  }

  #all(): ReadonlyMap<string, string> {
    this.#pages ??= new Map(
      FOLDERS.flatMap((folder) => {
        const path = join(packageRoot(), 'docs', folder)
        const names = readdirSync(path).filter((name) => name.endsWith('.md'))
        return names.sort().map((name) => [join(folder, name), readFileSync(join(path, name), 'utf8')] as const)
      }),
    )
    return this.#pages
  }

  #indexed(): { readonly search: MiniSearch<Passage>; readonly passages: readonly Passage[] } {
    const passages = [...this.#all()].flatMap(([page, text]) =>
      text.split(/^(?=#{1,4} )/m).flatMap((part) => {
        const [, heading = page, body = ''] = /^#{1,4} (.*)\n([^]*)$/.exec(part) ?? []
        return body.trim() === '' ? [] : [{ page, heading, text: body.trim() }]
      }),
    )
    const numbered = passages.map((passage, id) => ({ id, ...passage }))
    const search = new MiniSearch<Passage>({ fields: ['page', 'heading', 'text'], idField: 'id' })
    search.addAll(numbered)
    return { search, passages: numbered }
  }
}

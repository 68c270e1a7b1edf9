/** Block of a document; blocks are in the document's order. */
export type Block =
  | { readonly kind: 'heading'; readonly level: number; readonly text: string; readonly page?: number }
  | { readonly kind: 'text'; readonly text: string; readonly page?: number }
  | {
      readonly kind: 'table'
      readonly head: readonly string[]
      readonly rows: readonly (readonly string[])[]
      readonly page?: number
    }

/** A text on one line, without control characters. */
export function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Zl}\p{Zp}\u00ad\ufeff\u200b]+/gu, (found) => (/\s/.test(found) ? ' ' : ''))
    .replace(/\s+/g, ' ')
    .trim()
}

/** Table from rows. The first row may be the table's head. Empty rows and columns are left out. */
export function tableOf(cells: readonly (readonly string[])[], page?: number): Block[] {
  const rows = cells.map((row) => row.map(plain)).filter((row) => row.some((cell) => cell !== ''))
  const width = Math.max(0, ...rows.map((row) => row.length))
  const used = Array.from({ length: width }, (_, at) => at).filter((at) => rows.some((row) => (row[at] ?? '') !== ''))
  const [head = [], ...rest] = rows.map((row) => used.map((at) => row[at] ?? ''))
  const at = page === undefined ? {} : { page }
  // If the first row has only one cell, it is a remark above the table, as in many spreadsheets.
  if (head.filter((cell) => cell !== '').length === 1 && rest.length > 0 && used.length > 1)
    return [{ kind: 'text', text: head.join(' ').trim(), ...at }, ...tableOf(rest, page)]
  if (rest.length === 0) return head.length === 0 ? [] : [{ kind: 'text', text: head.join(' '), ...at }]
  return [{ kind: 'table', head, rows: rest, ...at }]
}

/** Blocks of Markdown that document editors export: headings, paragraphs, lists and tables. Images are left out. */
export function markdownBlocks(text: string): Block[] {
  const blocks: Block[] = []
  let paragraph: string[] = []
  let rows: string[][] = []
  const close = (): void => {
    if (paragraph.length > 0) blocks.push({ kind: 'text', text: plain(paragraph.join(' ')) })
    if (rows.length > 0) blocks.push(...tableOf(rows))
    paragraph = []
    rows = []
  }
  for (const line of text.split(/\r?\n/)) {
    const [, marks, title] = /^(#{1,6})\s+(.+?)\s*#*\s*$/.exec(line) ?? []
    if (marks !== undefined && title !== undefined) {
      close()
      const heading = plain(unmarked(title))
      if (heading !== '') blocks.push({ kind: 'heading', level: marks.length, text: heading })
    } else if (/^\s*\|.*\|\s*$/.test(line)) {
      if (paragraph.length > 0) close()
      if (/^[\s|:-]+$/.test(line)) continue
      const cells = line
        .trim()
        .slice(1, -1)
        .split(/(?<!\\)\|/)
      rows.push(cells.map((cell) => unmarked(cell)))
    } else if (line.trim() === '' || /^\s*([-*_]\s*){3,}$/.test(line)) close()
    else {
      if (rows.length > 0) close()
      const [, item] = /^\s*(?:[-*+]|\d+[.)])\s+(.*)$/.exec(line) ?? []
      if (item !== undefined) close()
      const words = unmarked(item ?? line)
      if (words.trim() !== '' && !/^\[[^\]]+\]:/.test(line.trim())) paragraph.push(words)
    }
  }
  close()
  return blocks
}

/** Text of Markdown without markup: links become their words, images are left out. */
function unmarked(text: string): string {
  return text
    .replace(/!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])/g, '')
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/\s*\{#[^}]*\}/g, '')
    .replace(/<br\s*\/?>/gi, ' ')
    .replace(/(?<!\\)(\*\*|__|`|~~)/g, '')
    .replace(/(?<![\\\w*])[*_](\S[^*_]*)[*_](?![\w*])/g, '$1')
    .replace(/\\([\\`*_{}[\]()#+.!|<>~-])/g, '$1')
}

import { extname } from 'node:path'
import { readTable, sheetText } from '../../agents/identity/spreadsheet.js'
import { GatewayError, messageOf } from '../../core/errors.js'
import { installCommand } from '../../speech/speech-packages.js'
import { markdownBlocks, plain, tableOf } from './blocks.js'
import type { Block } from './blocks.js'

/** Maximum number of pages of a PDF. It is also the maximum number of rows in all sheets of a workbook. */
const PAGES_MAX = 500
const ROWS_MAX = 20_000
/** Maximum number of cells of a table. A joined cell counts once for each position that it covers. */
const CELLS_MAX = 1_000_000
/** Maximum number of bytes of an unpacked DOCX or XLSX, by the sizes in the ZIP directory. */
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024

/**
 * Packages that are needed to read each kind of file. In a release they are optional peer dependencies; a gateway never
 * loads them.
 */
const PACKAGES = {
  pdf: ['unpdf'],
  docx: ['mammoth', 'linkedom'],
  xlsx: ['read-excel-file'],
  html: ['linkedom', '@mozilla/readability'],
} as const

type Reader = (bytes: Buffer) => Promise<Block[]> | Block[]

/** Readers by the extension of a file's name. */
const READERS: Readonly<Record<string, Reader>> = {
  '.pdf': (bytes) => needing('pdf', () => pdfBlocks(bytes)),
  '.docx': (bytes) => needing('docx', () => docxBlocks(bytes)),
  '.xlsx': (bytes) => needing('xlsx', () => xlsxBlocks(bytes)),
  '.csv': csvBlocks,
  '.html': (bytes) => needing('html', () => pageBlocks(sheetText(bytes))),
  '.htm': (bytes) => needing('html', () => pageBlocks(sheetText(bytes))),
  '.md': (bytes) => markdownBlocks(sheetText(bytes)),
  '.txt': (bytes) => markdownBlocks(sheetText(bytes)),
}

export const READABLE = Object.keys(READERS)

/**
 * Content of a document. The reader is chosen by the file's extension.
 * @throws GatewayError CONFIG_INVALID with the file and its fault, or with the command that installs the missing
 * package
 */
export async function readDocument(file: string, bytes: Buffer): Promise<Block[]> {
  const read = READERS[extname(file).toLowerCase()]
  if (read === undefined)
    throw new GatewayError('CONFIG_INVALID', `${file}: its kind is not known; allowed: ${READABLE.join(', ')}`)
  try {
    return await read(bytes)
  } catch (thrown) {
    if (thrown instanceof GatewayError) throw thrown
    throw new GatewayError('CONFIG_INVALID', `${file} cannot be read: ${messageOf(thrown)}`)
  }
}

async function needing(kind: keyof typeof PACKAGES, read: () => Promise<Block[]>): Promise<Block[]> {
  const names: readonly string[] = PACKAGES[kind]
  for (const name of names)
    try {
      // `read-excel-file` has an entry for each platform, but no main entry.
      import.meta.resolve(name === 'read-excel-file' ? 'read-excel-file/node' : name)
    } catch {
      const command = installCommand((one) => names.includes(one))
      throw new GatewayError('CONFIG_INVALID', `files of kind ${kind} need a package that is not installed: ${command}`)
    }
  return read()
}

// --- CSV and XLSX ---------------------------------------------------------------------------------------------

function csvBlocks(bytes: Buffer): Block[] {
  const read = readTable(sheetText(bytes))
  if ('fault' in read) throw new Error(read.fault)
  bounded(read.records.length)
  return tableOf([read.columns, ...read.records.map(({ cells }) => cells)])
}

async function xlsxBlocks(bytes: Buffer): Promise<Block[]> {
  boundedZip(bytes)
  const { default: readWorkbook } = await import('read-excel-file/node')
  const sheets = await readWorkbook(bytes)
  bounded(sheets.reduce((sum, { data }) => sum + data.length, 0))
  return sheets.flatMap(({ sheet, data }) => {
    const hasName = sheets.length > 1 && !/^sheet ?\d+$/i.test(sheet)
    const heading: Block[] = hasName ? [{ kind: 'heading', level: 1, text: plain(sheet) }] : []
    return [...heading, ...tableOf(data.map((row) => row.map(cellText)))]
  })
}

/**
 * Checks the unpacked sizes that a ZIP file declares in its directory, and refuses the file before unpacking if they
 * are too large.
 */
function boundedZip(bytes: Buffer): void {
  const end = bytes.lastIndexOf('PK\x05\x06')
  if (end < 0 || end + 22 > bytes.length) throw new Error('is no ZIP file, or its end is missing')
  let at = bytes.readUInt32LE(end + 16)
  let unpacked = 0
  for (let left = bytes.readUInt16LE(end + 10); left > 0; left--) {
    if (at + 46 > bytes.length || bytes.readUInt32LE(at) !== 0x02014b50) throw new Error('has a broken ZIP directory')
    // This field of the ZIP directory has its maximum value if the file is larger, so such a file is refused too.
    unpacked += bytes.readUInt32LE(at + 24)
    at += 46 + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32)
  }
  if (unpacked > UNPACKED_BYTES_MAX)
    throw new Error(`unpacks to ${unpacked} bytes; at most ${UNPACKED_BYTES_MAX} are read`)
}

function bounded(rows: number): void {
  if (rows > ROWS_MAX) throw new Error(`has ${rows} rows; at most ${ROWS_MAX} are read`)
}

/** Text of a cell as a person reads it: dates have no time, and amounts have no rounding errors of binary fractions. */
function cellText(cell: unknown): string {
  if (cell instanceof Date) return cell.toISOString().replace(/T00:00:00\.000Z$/, '')
  if (typeof cell === 'number') return String(Number(cell.toPrecision(12)))
  return typeof cell === 'string' || typeof cell === 'boolean' ? String(cell) : ''
}

// --- HTML and DOCX --------------------------------------------------------------------------------------------

/** The parts of linkedom's elements that are read here. */
interface Element {
  readonly nodeType: number
  readonly localName: string
  readonly textContent: string | null
  readonly childNodes: Iterable<Element>
  readonly children: Iterable<Element>
  getAttribute(name: string): string | null
  querySelectorAll(selector: string): Iterable<Element & { remove(): void }>
}

/** Declared here, because linkedom's own types need the browser's types. */
interface Linkedom {
  readonly parseHTML: (html: string) => { readonly document: { readonly body: Element } }
}

const linkedom = async (): Promise<Linkedom> => import('linkedom')

/** Parts of a page that do not belong to its content. */
const ASIDE =
  'script, style, noscript, template, nav, header, footer, aside, form, iframe, svg, button, [aria-hidden=true]'
/**
 * Minimum share of the page's own text that the article must have. A shorter article has lost content, for example a
 * table.
 */
const ARTICLE_SHARE_MIN = 0.5

async function pageBlocks(html: string): Promise<Block[]> {
  const { parseHTML } = await linkedom()
  const { Readability } = await import('@mozilla/readability')
  const { document } = parseHTML(html)
  const whole = document.body
  for (const part of whole.querySelectorAll(ASIDE)) part.remove()
  const length = plain(whole.textContent ?? '').length
  // Readability changes its document, so it gets a copy.
  const article = new Readability(parseHTML(html).document).parse()
  const isWhole = plain(article?.textContent ?? '').length >= length * ARTICLE_SHARE_MIN
  const title = plain(article?.title ?? '')
  const blocks =
    isWhole && typeof article?.content === 'string'
      ? elementBlocks(bodyOf({ parseHTML }, article.content))
      : elementBlocks(whole)
  const hasTitle = blocks.some((block) => block.kind === 'heading' && block.level === 1)
  return title === '' || hasTitle ? blocks : [{ kind: 'heading', level: 1, text: title }, ...blocks]
}

/** The body element of an HTML page with this content. */
function bodyOf({ parseHTML }: Linkedom, content: string): Element {
  return parseHTML(`<!doctype html><html><body>${content}</body></html>`).document.body
}

async function docxBlocks(bytes: Buffer): Promise<Block[]> {
  boundedZip(bytes)
  const { default: mammoth } = await import('mammoth')
  const { value } = await mammoth.convertToHtml(
    { buffer: bytes },
    // Without this option, mammoth would write each image into the HTML as megabytes of base64.
    { convertImage: mammoth.images.imgElement(() => Promise.resolve({ src: '' })) },
  )
  return elementBlocks(bodyOf(await linkedom(), value))
}

const INLINE = new Set([
  'a',
  'abbr',
  'b',
  'bdi',
  'br',
  'cite',
  'code',
  'em',
  'i',
  'img',
  'mark',
  'q',
  's',
  'small',
  'span',
  'strong',
  'sub',
  'sup',
  'time',
  'u',
])

/** Blocks below an element, in the document's order: headings, tables, and the text of all other elements. */
function elementBlocks(root: Element): Block[] {
  const blocks: Block[] = []
  let words = ''
  const close = (): void => {
    const text = plain(words)
    if (text !== '') blocks.push({ kind: 'text', text })
    words = ''
  }
  const walk = (element: Element): void => {
    for (const node of element.childNodes) {
      if (node.nodeType === 3) words += node.textContent ?? ''
      if (node.nodeType !== 1) continue
      const name = node.localName
      const [, level] = /^h([1-6])$/.exec(name) ?? []
      if (level !== undefined) {
        close()
        const text = wordsOf(node)
        if (text !== '') blocks.push({ kind: 'heading', level: Number(level), text })
      } else if (name === 'table') {
        close()
        const caption = [...node.querySelectorAll('caption')].map(wordsOf)[0] ?? ''
        // Level 7 is lower than every heading of a page, so the next heading ends the caption's section.
        if (caption !== '') blocks.push({ kind: 'heading', level: 7, text: caption })
        blocks.push(...tableOf(cellsOf(node)))
      } else if (name === 'br') words += ' '
      else if (INLINE.has(name)) walk(node)
      else {
        close()
        walk(node)
        close()
      }
    }
  }
  walk(root)
  close()
  return blocks
}

/** Text of a cell or a heading: a space separates its lines, a comma its paragraphs. */
function wordsOf(element: Element): string {
  const paragraphs = ['']
  const add = (text: string): void => {
    paragraphs.push(`${paragraphs.pop() ?? ''}${text}`)
  }
  const walk = (at: Element): void => {
    for (const node of at.childNodes) {
      if (node.nodeType === 3) add(node.textContent ?? '')
      if (node.nodeType !== 1) continue
      if (node.localName === 'br') add(' ')
      else if (INLINE.has(node.localName)) walk(node)
      else {
        paragraphs.push('')
        walk(node)
        paragraphs.push('')
      }
    }
  }
  walk(element)
  const [first = '', ...more] = paragraphs.map(plain).filter((text) => text !== '')
  return more.reduce((before, text) => `${before}${/[.,:;!?]$/.test(before) ? '' : ','} ${text}`, first)
}

/**
 * Cells of a table. A joined cell's content is repeated in each position that it covers. A row of one cell is a remark,
 * and is not repeated.
 */
function cellsOf(table: Element): string[][] {
  const rows = [...table.querySelectorAll('tr')].map((row) => [...row.children])
  bounded(rows.length)
  const cells: string[][] = rows.map(() => [])
  let filled = 0
  for (const [at, row] of rows.entries()) {
    let column = 0
    for (const cell of row) {
      while (cells[at]?.[column] !== undefined) column++
      const wide = spanOf(cell, 'colspan')
      const high = Math.min(spanOf(cell, 'rowspan'), rows.length - at)
      filled += wide * high
      if (filled > CELLS_MAX) throw new Error(`has a table of over ${CELLS_MAX} cells`)
      const text = wordsOf(cell)
      for (const below of cells.slice(at, at + high))
        for (let across = 0; across < wide; across++)
          below[column + across] = row.length === 1 && across > 0 ? '' : text
      column += wide
    }
  }
  // If the head has two rows, a column's name joins the names in both rows.
  const [head = [], second = [], ...rest] = cells
  const isTwofold = rows[0]?.some((cell) => spanOf(cell, 'colspan') > 1) === true && rows[0].length > 1
  if (!isTwofold || rest.length === 0 || rows[1]?.every(({ localName }) => localName === 'th') !== true) return cells
  return [head.map((name, at) => (name === (second[at] ?? name) ? name : `${name} ${second[at] ?? ''}`)), ...rest]
}

function spanOf(cell: Element, name: 'colspan' | 'rowspan'): number {
  const span = Number(cell.getAttribute(name) ?? 1)
  return Number.isInteger(span) && span > 0 ? span : 1
}

// --- PDF ------------------------------------------------------------------------------------------------------

/** Words on one line of a PDF page. */
interface Line {
  readonly y: number
  /** Height in points of the line's first letters. */
  readonly height: number
  /** Runs of text, divided by the gaps between them. */
  readonly cells: { readonly x: number; text: string; endX: number }[]
}

/** Gap between words from which a new column begins, as a multiple of the letters' height. */
const COLUMN_GAP = 1.5
/** Minimum height of a heading's letters, as a multiple of the page's usual letter height. */
const HEADING_RATIO = 1.15
const HEADING_CHARS_MAX = 120
/** Distance between two lines from which a new paragraph begins, as a multiple of the line's height. */
const PARAGRAPH_GAP = 1.8

async function pdfBlocks(bytes: Buffer): Promise<Block[]> {
  const { extractTextItems, getDocumentProxy } = await import('unpdf')
  const pdf = await getDocumentProxy(new Uint8Array(bytes), { verbosity: 0 })
  if (pdf.numPages > PAGES_MAX) throw new Error(`has ${pdf.numPages} pages; at most ${PAGES_MAX} are read`)
  const { items } = await extractTextItems(pdf)
  const pages = items.map((page) => linesOf(page))
  const heights = pages.flat().flatMap((line) => Array<number>(textOf(line).length).fill(line.height))
  const usual = heights.toSorted((a, b) => a - b)[Math.floor(heights.length / 2)] ?? 0
  if (usual === 0) throw new Error('has no text; a scan must go through text recognition first')
  const sizes = [...new Set(pages.flat().map(({ height }) => height))].filter(
    (height) => height > usual * HEADING_RATIO,
  )
  const levels = sizes.toSorted((a, b) => b - a)
  return pages.flatMap((lines, at) => pageOf(lines, at + 1, usual, levels))
}

interface TextItem {
  readonly str: string
  readonly x: number
  readonly y: number
  readonly width: number
  readonly fontSize: number
}

function linesOf(items: readonly TextItem[]): Line[] {
  const lines: Line[] = []
  for (const { str, x, y, width, fontSize } of items) {
    if (str.trim() === '') continue
    const size = Math.round(fontSize)
    const last = lines.at(-1)
    const isSame = last !== undefined && Math.abs(last.y - y) < Math.max(2, size / 2)
    if (!isSame) {
      lines.push({ y, height: size, cells: [{ x, text: str, endX: x + width }] })
      continue
    }
    const cell = last.cells.at(-1)
    const gap = cell === undefined ? 0 : x - cell.endX
    if (cell !== undefined && gap < size * COLUMN_GAP && gap > -size) {
      cell.text += gap > size * 0.1 && !cell.text.endsWith(' ') ? ` ${str}` : str
      cell.endX = x + width
    } else last.cells.push({ x, text: str, endX: x + width })
  }
  for (const { cells } of lines) cells.sort((a, b) => a.x - b.x)
  return lines
}

const textOf = ({ cells }: Line): string => plain(cells.map(({ text }) => text).join(' '))

function pageOf(lines: readonly Line[], page: number, usual: number, levels: readonly number[]): Block[] {
  const blocks: Block[] = []
  let paragraph = ''
  let lastY: number | null = null
  const close = (): void => {
    if (paragraph !== '') blocks.push({ kind: 'text', text: plain(paragraph), page })
    paragraph = ''
  }
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] as Line // `at` is below the length
    const rows = tableAt(lines, at)
    const text = textOf(line)
    if (rows.length > 1) {
      close()
      blocks.push(...tableOf(rows, page))
      at += rows.length - 1
      lastY = null
    } else if (line.height > usual * HEADING_RATIO && text.length <= HEADING_CHARS_MAX) {
      close()
      blocks.push({ kind: 'heading', level: levels.indexOf(line.height) + 1, text, page })
      lastY = null
    } else {
      if (lastY !== null && Math.abs(lastY - line.y) > usual * PARAGRAPH_GAP) close()
      // Joins a word that was divided at the end of a line.
      paragraph = /\p{L}-$/u.test(paragraph) ? paragraph.slice(0, -1) + text : `${paragraph} ${text}`
      lastY = line.y
    }
  }
  close()
  return blocks
}

/**
 * Rows of a table that begins at this line: lines of several cells, in which each cell is below a cell of the first
 * line.
 */
function tableAt(lines: readonly Line[], from: number): string[][] {
  const head = lines[from]
  if (head === undefined || head.cells.length < 2) return []
  const rows: string[][] = []
  for (const line of lines.slice(from)) {
    if (line.cells.length < 2 || line.cells.length > head.cells.length) break
    const row = head.cells.map(() => '')
    for (const cell of line.cells) {
      const distances = head.cells.map((one) => Math.min(Math.abs(one.x - cell.x), Math.abs(one.endX - cell.endX)))
      const nearest = distances.indexOf(Math.min(...distances))
      row[nearest] = `${row[nearest] ?? ''} ${cell.text}`.trim()
    }
    rows.push(row)
  }
  return rows
}

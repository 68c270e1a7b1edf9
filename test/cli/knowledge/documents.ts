import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../../src/config/package-root.js'
import { zip } from '../../support/zip.js'

/** A bakery's price list, as a page of its site; `price-list.pdf` beside it is this page as Chromium prints it. */
const PAGE = readFileSync(join(packageRoot(), 'test/cli/knowledge/price-list.html'))
const PRINTED = readFileSync(join(packageRoot(), 'test/cli/knowledge/price-list.pdf'))

const xml = (text: string): string => `<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n${text}`
const PACKAGE = 'http://schemas.openxmlformats.org/package/2006'
const OFFICE = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships'

function contentTypes(parts: Readonly<Record<string, string>>): string {
  const overrides = Object.entries(parts).map(([name, type]) => `<Override PartName="${name}" ContentType="${type}"/>`)
  return xml(
    `<Types xmlns="${PACKAGE}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>${overrides.join('')}</Types>`,
  )
}

function relations(...targets: readonly (readonly [id: string, type: string, target: string])[]): string {
  const rows = targets.map(
    ([id, type, target]) => `<Relationship Id="${id}" Type="${OFFICE}/${type}" Target="${target}"/>`,
  )
  return xml(`<Relationships xmlns="${PACKAGE}/relationships">${rows.join('')}</Relationships>`)
}

const MAIN = 'application/vnd.openxmlformats-officedocument'

/** A workbook with these sheets: text as shared strings, numbers as numbers. */
function workbook(sheets: Readonly<Record<string, readonly (readonly (string | number | null)[])[]>>): Buffer {
  const names = Object.keys(sheets)
  const strings: string[] = []
  const space = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main'
  const cell = (value: string | number | null, row: number, column: number): string => {
    const ref = `${String.fromCharCode(65 + column)}${row + 1}`
    if (value === null) return ''
    if (typeof value === 'number') return `<c r="${ref}"><v>${value}</v></c>`
    return `<c r="${ref}" t="s"><v>${strings.push(value) - 1}</v></c>`
  }
  const parts = names.map((name) => {
    const rows = (sheets[name] ?? []).map(
      (row, at) => `<row r="${at + 1}">${row.map((value, column) => cell(value, at, column)).join('')}</row>`,
    )
    return xml(`<worksheet xmlns="${space}"><sheetData>${rows.join('')}</sheetData></worksheet>`)
  })
  const listed = names.map((name, at) => `<sheet name="${name}" sheetId="${at + 1}" r:id="rId${at + 1}"/>`)
  return zip({
    '[Content_Types].xml': contentTypes({
      '/xl/workbook.xml': `${MAIN}.spreadsheetml.sheet.main+xml`,
      '/xl/sharedStrings.xml': `${MAIN}.spreadsheetml.sharedStrings+xml`,
      '/xl/styles.xml': `${MAIN}.spreadsheetml.styles+xml`,
      ...Object.fromEntries(
        names.map((_, at) => [`/xl/worksheets/sheet${at + 1}.xml`, `${MAIN}.spreadsheetml.worksheet+xml`]),
      ),
    }),
    '_rels/.rels': relations(['rId1', 'officeDocument', 'xl/workbook.xml']),
    'xl/workbook.xml': xml(
      `<workbook xmlns="${space}" xmlns:r="${OFFICE}"><sheets>${listed.join('')}</sheets></workbook>`,
    ),
    'xl/_rels/workbook.xml.rels': relations(
      ...names.map((_, at) => [`rId${at + 1}`, 'worksheet', `worksheets/sheet${at + 1}.xml`] as const),
      ['rIdS', 'sharedStrings', 'sharedStrings.xml'],
      ['rIdT', 'styles', 'styles.xml'],
    ),
    'xl/styles.xml': xml(`<styleSheet xmlns="${space}"><cellXfs count="1"><xf numFmtId="0"/></cellXfs></styleSheet>`),
    ...Object.fromEntries(parts.map((part, at) => [`xl/worksheets/sheet${at + 1}.xml`, part])),
    'xl/sharedStrings.xml': xml(
      `<sst xmlns="${space}">${strings.map((text) => `<si><t xml:space="preserve">${text}</t></si>`).join('')}</sst>`,
    ),
  })
}

/** A Word document of headings (`# Bread`), paragraphs and tables (lists of rows). */
function wordDocument(parts: readonly (string | readonly (readonly string[])[])[]): Buffer {
  const space = 'http://schemas.openxmlformats.org/wordprocessingml/2006/main'
  const paragraph = (text: string, style = ''): string =>
    `<w:p>${style === '' ? '' : `<w:pPr><w:pStyle w:val="${style}"/></w:pPr>`}<w:r><w:t xml:space="preserve">${text}</w:t></w:r></w:p>`
  const body = parts.map((part) => {
    if (typeof part !== 'string') {
      const rows = part.map((row) => `<w:tr>${row.map((text) => `<w:tc>${paragraph(text)}</w:tc>`).join('')}</w:tr>`)
      return `<w:tbl>${rows.join('')}</w:tbl>`
    }
    const [, marks, title] = /^(#+) (.*)$/.exec(part) ?? []
    return marks === undefined || title === undefined ? paragraph(part) : paragraph(title, `Heading${marks.length}`)
  })
  const styles = [1, 2, 3].map(
    (level) => `<w:style w:type="paragraph" w:styleId="Heading${level}"><w:name w:val="heading ${level}"/></w:style>`,
  )
  return zip({
    '[Content_Types].xml': contentTypes({
      '/word/document.xml': `${MAIN}.wordprocessingml.document.main+xml`,
      '/word/styles.xml': `${MAIN}.wordprocessingml.styles+xml`,
    }),
    '_rels/.rels': relations(['rId1', 'officeDocument', 'word/document.xml']),
    'word/_rels/document.xml.rels': relations(['rId1', 'styles', 'styles.xml']),
    'word/styles.xml': xml(`<w:styles xmlns:w="${space}">${styles.join('')}</w:styles>`),
    'word/document.xml': xml(`<w:document xmlns:w="${space}"><w:body>${body.join('')}</w:body></w:document>`),
  })
}

const BREAD = [
  ['Product', 'Size', 'Price (KES)'],
  ['White bread', '400 g', '65'],
  ['Brown bread', '400 g', '70'],
  ['Family loaf', '800 g', '125'],
]
const CAKES = [
  ['Cake', 'Size', 'Price (KES)'],
  ['Black forest', '1 kg', '1,800'],
  ['Vanilla sponge', '1 kg', '1,400'],
  ['Vanilla sponge', '2 kg', '2,600'],
]
const ORDER = 'Order two days ahead. A deposit of 50 % is due with the order, by M-Pesa till 000000.'
const amounts = (rows: readonly (readonly string[])[]) =>
  rows.map((row, at) => (at === 0 ? row : [...row.slice(0, 2), Number(row[2]?.replace(',', ''))]))

/** One price list in each kind of file. */
export const PRICE_LISTS: Readonly<Record<string, Buffer>> = {
  'price-list.html': PAGE,
  'price-list.pdf': PRINTED,
  'price-list.xlsx': workbook({
    Bread: [['Amani Bakery, prices from 1 November 2026', null, null], [null, null, null], ...amounts(BREAD)],
    Cakes: amounts(CAKES),
  }),
  'price-list.docx': wordDocument([
    '# Amani Bakery price list',
    'Prices are in Kenyan shillings and hold from 1 November 2026. They include VAT.',
    '## Bread',
    BREAD,
    '## Cakes to order',
    ORDER,
    CAKES,
    '## Delivery',
    'Free within Westlands from KES 1,000.',
  ]),
  'price-list.csv': Buffer.from(BREAD.map((row) => row.join(';')).join('\r\n')),
  'price-list.md': Buffer.from(
    `# Amani Bakery price list {#amani}\n\nPrices hold from **1 November 2026**.\n\n## Bread\n\n| Product | Size | Price (KES) |\n| :---- | :---- | ----: |\n${BREAD.slice(
      1,
    )
      .map((row) => `| ${row.join(' | ')} |`)
      .join(
        '\n',
      )}\n\n## Cakes to order\n\n${ORDER.replace('.', '\\.')} See [the page](https://example.com).\n![][image1]\n\n[image1]: <data:image/png;base64,AAAA>\n`,
  ),
}

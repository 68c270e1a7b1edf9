import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { agentSchema } from '../../../src/agents/file/definition.js'
import { parseKnowledge } from '../../../src/agents/file/knowledge-file.js'
import { KnowledgeIndex } from '../../../src/agents/tools/knowledge.js'
import { markdownBlocks } from '../../../src/cli/knowledge/blocks.js'
import { freshnessFindings } from '../../../src/cli/knowledge/freshness.js'
import { passagesOf } from '../../../src/cli/knowledge/passages.js'
import { command } from '../../support/command.js'
import { PRICE_LISTS } from './documents.js'

function folderWith(t: Test, files: Readonly<Record<string, Buffer | string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'mkondo-knowledge-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  return folder
}

const importing = (folder: string, names: readonly string[], ...more: readonly string[]) =>
  command([
    'knowledge',
    'import',
    ...names.map((name) => join(folder, name)),
    '--out',
    join(folder, 'knowledge'),
    ...more,
  ])

const written = (folder: string) => readFileSync(join(folder, 'knowledge', 'price-list.md'), 'utf8')

for (const [name, bytes] of Object.entries(PRICE_LISTS))
  t.test(`a price is found in ${name}`, async (t) => {
    const folder = folderWith(t, { [name]: bytes })
    const { code, out, err } = await importing(folder, [name])
    t.equal(code, 0, err)
    t.match(out, /price-list\.md: \d+ passages of .*\nRead them/s)
    const markdown = written(folder)
    const passages = parseKnowledge(markdown, 'markdown', ['en'])
    for (const { source } of passages)
      t.match(source, { file: `../${name}`, date: /^20\d\d-\d\d-\d\d$/, sha256: /^[0-9a-f]{16}$/ })
    const index = await KnowledgeIndex.of(passages)
    const [found] = index.search('how much is brown bread')
    t.match(found?.text, /Brown bread\. Size: 400 g\. Price \(KES\): 70\./, markdown)
    t.notMatch(found?.text, /source|sha256/, 'the source is not part of the text')
    if (!name.endsWith('.csv')) t.match(index.search('deposit for a cake')[0]?.text ?? markdown, /deposit of 50 %|1400/)
    t.notMatch(markdown, /track\(\)|base64/, 'no scripts or images')
    if (name.endsWith('.html')) t.notMatch(markdown, /Privacy|Home/, 'no navigation')
  })

t.test('passages name their source page or row', async (t) => {
  const folder = folderWith(t, PRICE_LISTS)
  await importing(folder, ['price-list.pdf'])
  t.match(written(folder), /^source: \.\.\/price-list\.pdf, page 1, 20/m)
  await importing(folder, ['price-list.csv'], '--replace')
  t.match(written(folder), /^## Brown bread\nsource: \.\.\/price-list\.csv, row 3, 20/m)
})

t.test('long texts are split at headings and sentences', (t) => {
  const sentence = 'The shop opens at eight in the morning on each working day. '
  const text = `Intro.\n\n# Hours\n\n${sentence.repeat(40)}\n\n## Holidays\n\nClosed.\n\n# sw: Saa\n\nsw: Tunafungua saa mbili.`
  const passages = passagesOf(markdownBlocks(text), 'shop', null)
  t.same(
    passages.map(({ title }) => title),
    ['shop', 'Hours', 'Hours (2)', 'Hours: Holidays', 'sw: Saa'],
  )
  for (const { text: body } of passages) t.ok(body.length <= 1200 && /[.]$/.test(body), body)
  t.match(passages.at(-1)?.text, /^- sw: /, 'a line that would begin another language does not')
  t.match(passagesOf(markdownBlocks('x'.repeat(3000)), 'shop', null), [{}, {}, {}])
  t.end()
})

t.test('tables become rows or sentences', (t) => {
  const table = '| Cake | Size | Price |\n|---|---|---|\n| Sponge | 1 kg | 1400 |\n| Sponge | 2 kg | 2600 |\n'
  t.same(passagesOf(markdownBlocks(`# Cakes\n\n${table}`), 'x', null), [
    { title: 'Cakes', text: 'Sponge. Size: 1 kg. Price: 1400.\nSponge. Size: 2 kg. Price: 2600.', place: null },
  ])
  t.same(
    passagesOf(markdownBlocks(`# Cakes\n\n${table}`), 'x', 'rows').map(({ title }) => title),
    ['Cakes: Sponge', 'Cakes: Sponge, 2'],
  )
  t.end()
})

t.test('merged cells and paragraphs of a cell stay separate', async (t) => {
  const row = (...cells: readonly string[]) => `<tr>${cells.join('')}</tr>`
  const rows = [
    row('<th rowspan="2">Bread</th>', '<th colspan="2">Price</th>'),
    row('<th>small</th>', '<th>large</th>'),
    row('<td rowspan="2"><p>White</p><p>sliced</p></td>', '<td>60</td>', '<td>110</td>'),
    row('<td>65</td>', '<td>120<br>from May</td>'),
    row('<td>Rye</td>', '<td colspan="2">90</td>'),
  ]
  const page = `<html><body><main><h1>Our<br>prices</h1><table>${rows.join('')}</table></main></body></html>`
  const folder = folderWith(t, { 'price-list.html': page })
  t.match(await importing(folder, ['price-list.html'], '--tables', 'sentences'), { code: 0 })
  const markdown = written(folder)
  t.match(markdown, /Our prices/)
  t.match(markdown, /White, sliced\. Price small: 60\. Price large: 110\./)
  t.match(markdown, /White, sliced\. Price small: 65\. Price large: 120 from May\./)
  t.match(markdown, /Rye\. Price small: 90\. Price large: 90\./)
})

t.test('a small file that unpacks too large is refused', async (t) => {
  const bytes = Buffer.from(PRICE_LISTS['price-list.docx'] ?? '')
  bytes.writeUInt32LE(0x20000000, bytes.indexOf('PK\x01\x02') + 24)
  const folder = folderWith(t, { 'price-list.docx': bytes, 'price-list.xlsx': 'no workbook' })
  t.match(await importing(folder, ['price-list.docx']), { code: 2, err: /unpacks to 5\d+ bytes; at most 268435456/ })
  t.match(await importing(folder, ['price-list.xlsx']), { code: 2, err: /is no ZIP file/ })
})

t.test('an imported file is replaced only with --replace', async (t) => {
  const folder = folderWith(t, PRICE_LISTS)
  await importing(folder, ['price-list.csv'])
  const before = written(folder)
  t.match(await importing(folder, ['price-list.csv']), {
    code: 2,
    err: /exists already, and a person may have corrected it; --replace/,
  })
  t.equal(written(folder), before)
  writeFileSync(join(folder, 'price-list.csv'), 'Product;Price\nWhite bread;66\nBun;20\n')
  const { out } = await importing(folder, ['price-list.csv'], '--replace')
  t.match(out, /2 passages of .*; 1 new, 2 gone, 1 changed/)
})

t.test('files that cannot be imported are named', async (t) => {
  const folder = folderWith(t, { ...PRICE_LISTS, 'scan.pdf': 'not a PDF', 'list.odt': 'x', 'empty.md': '\n' })
  const refused = async (names: readonly string[], what: RegExp) => {
    t.match(await importing(folder, names), { code: 2, out: '', err: what })
    t.notOk(readdirSync(folder).includes('knowledge'))
  }
  await refused(['price-list.csv', 'list.odt'], /list\.odt: its kind is not known; allowed: \.pdf, \.docx, \.xlsx/)
  await refused(['scan.pdf'], /scan\.pdf cannot be read: /)
  await refused(['nothing.pdf'], /nothing\.pdf cannot be read: ENOENT/)
  await refused(['empty.md'], /empty\.md: has no text/)
  await refused(['price-list.csv', 'price-list.pdf'], /two files would become .*price-list\.md/)
})

t.test('check names old passages and changed sources', async (t) => {
  const folder = folderWith(t, PRICE_LISTS)
  await importing(folder, ['price-list.csv'])
  const agent = agentSchema.parse({
    ...{ version: 1, name: 'bakery', instructions: 'x', knowledge: ['knowledge/price-list.md'] },
    knowledgeMaxDays: 30,
  })
  const found = async (afterDays: number) =>
    (await freshnessFindings(folder, [agent, agent], Date.now() + afterDays * 86_400_000)).map(({ what }) => what)
  t.same(await found(20), [])
  t.match(await found(40), [/^bakery: 3 passages of knowledge\/price-list\.md are older than knowledgeMaxDays \(30\)/])
  writeFileSync(join(folder, 'price-list.csv'), 'Product;Price\nWhite bread;66\n')
  t.match(await found(0), [/^bakery: \.\.\/price-list\.csv has changed since knowledge\/price-list\.md was imported/])
})

import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'

const FOLDER = 'docs/closures'
/** The first words by which a title is still known when its end was written anew. */
const WORDS_MIN = 3

/** A test file of a row, and what of it: `call/ending.test.ts` "a caller who …", "a served caller …". */
const NAMED = /`([\w/.-]+\.test\.ts)`((?:,? "[^"]+")*)/g

/** Titles of the tests and of the table rows of a test file, as its source writes them; a `${…}` in one matches anything. */
function titlesOf(path: string): string[] {
  const source = readFileSync(path, 'utf8')
  const written = [...source.matchAll(/\b(?:t\.test|row)\(\s*(['"`])((?:\\.|(?!\1).)+)\1/gms)]
  return written.map(([, , title = '']) => title.replace(/\\(.)/g, '$1'))
}

/** As a cell of a table may have it, between quotes: what is not known before the test runs, or would end the quote, is left out. */
function quoted(title: string): string {
  const begin = title.split(/\$\{|["|]/)[0] ?? ''
  return begin === title ? `"${title}"` : `"${begin.trimEnd()} …"`
}

/** The titles that begin as the row says; where the end was written anew, the one that still has its first words. */
function titlesFor(begin: string, titles: readonly string[], where: string): readonly string[] {
  const words = begin.replace(/ ?…$/, '').split(' ')
  for (let count = words.length; count >= Math.min(WORDS_MIN, words.length); count--) {
    const beginning = words.slice(0, count).join(' ')
    const found = [...new Set(titles.filter((title) => title.startsWith(beginning)))]
    if (found.includes(beginning)) return [beginning]
    if (found.length === 1 || (found.length > 1 && count === words.length)) return found
    if (found.length > 1) throw new Error(`${where}: more than one test begins with "${beginning}"`)
  }
  throw new Error(`${where}: no test begins with "${begin}"`)
}

/** A row with its tests as they are called now. @throws Error where it names none, or one that is not there */
function withTests(row: string, where: string): string {
  const at = row.replace(/ \|$/, '').lastIndexOf(' | ')
  const [before, cell] = [row.slice(0, at), row.slice(at)]
  let named = 0
  const after = cell.replace(NAMED, (_, file: string, quotes: string) => {
    named++
    const path = join(packageRoot(), 'test', file)
    if (!existsSync(path)) throw new Error(`${where}: there is no test/${file}`)
    const titles = titlesOf(path)
    const renewed = [...quotes.matchAll(/"([^"]+)"/g)].flatMap(([, begin = '']) =>
      titlesFor(begin, titles, `${where}: ${file}`).map(quoted),
    )
    return [`\`${file}\``, [...new Set(renewed)].join(', ')].join(' ').trimEnd()
  })
  if (named === 0) throw new Error(`${where}: "${row.slice(0, 80)}" names no test`)
  return before + after
}

/** The pages of docs/closures, by their file: written by hand but for the titles of the tests. */
export function closurePages(): Readonly<Record<string, string>> {
  const names = readdirSync(join(packageRoot(), FOLDER)).filter((name) => name.endsWith('.md'))
  return Object.fromEntries(
    names.map((name) => {
      const file = `${FOLDER}/${name}`
      return [file, withTestsOf(readFileSync(join(packageRoot(), file), 'utf8'), file)]
    }),
  )
}

/** All rows of the tables of a text. */
export function withTestsOf(text: string, file: string): string {
  const lines = text.split('\n')
  const isRow = (line: string, i: number): boolean => line.startsWith('| ') && !/^\|---/.test(lines[i + 1] ?? '') // the heads of tables have no tests
  return lines.map((line, i) => (isRow(line, i) ? withTests(line, `${file}:${i + 1}`) : line)).join('\n')
}

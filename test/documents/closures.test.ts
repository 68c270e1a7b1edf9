import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config/package-root.js'

/** A test file of a row, and the numbers of its tests: `call/ending.test.ts` [3] [7]. */
const NAMED = /`([\w/.-]+\.test\.ts)`((?: \[\d+\])*)/g
const REFUSED = '## Refused requests'

const textOf = (...path: string[]) => readFileSync(join(packageRoot(), ...path), 'utf8')

/** Rows of the tables of a text. The rows below the heads of tables are separators, and heads have no tests. */
function rowsOf(text: string): readonly string[] {
  const lines = text.split('\n')
  return lines.filter((line, i) => line.startsWith('| ') && !/^\|---/.test(lines[i + 1] ?? ''))
}

const pages = new Map(
  readdirSync(join(packageRoot(), 'docs', 'closures')).map((name) => [name, rowsOf(textOf('docs', 'closures', name))]),
)
pages.set('ERRORS.md', rowsOf(textOf('docs', 'ERRORS.md').split(REFUSED)[1] ?? ''))

for (const [page, rows] of pages)
  t.test(`each row of ${page} has its test`, (t) => {
    t.ok(rows.length > 0)
    for (const row of rows) {
      const cell = row.replace(/ \|$/, '').split(' | ').at(-1) ?? ''
      const named = [...cell.matchAll(NAMED)]
      if (named.length === 0) t.fail(`"${row.slice(0, 80)}" names no test`)
      for (const [, file = '', numbers = ''] of named) {
        const path = join(packageRoot(), 'test', file)
        if (!existsSync(path)) t.fail(`there is no test/${file}`)
        else
          for (const [, number = ''] of numbers.matchAll(/\[(\d+)\]/g)) {
            const titles = readFileSync(path, 'utf8').match(new RegExp(` \\[${number}\\]['"\`]`, 'g')) ?? []
            t.equal(titles.length, 1, `test/${file} has one title with [${number}]`)
          }
      }
    }
    t.end()
  })

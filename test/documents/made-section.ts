import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'

/**
 * A page of which one section is made from the sources and the rest is written by hand.
 * @param file  in the repository; it has `<!-- NAME: begin -->` and `<!-- NAME: end -->`, once
 */
export function withMadeSection(file: string, name: string, text: string): string {
  const page = readFileSync(join(packageRoot(), file), 'utf8')
  const [begin, end] = [`<!-- ${name}: begin -->\n`, `<!-- ${name}: end -->\n`]
  const parts = [page.split(begin), page.split(end)] as const
  const [[before, ...more], [, after, ...rest]] = parts
  if (before === undefined || more.length !== 1 || after === undefined || rest.length > 0)
    throw new Error(`${file} has no section ${name}, or more than one`)
  return `${before}${begin}${text}${end}${after}`
}

/** A row of a Markdown table. */
export function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

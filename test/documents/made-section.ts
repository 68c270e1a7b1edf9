import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config/package-root.js'

/**
 * A page of which one section is made from the sources and the rest is written by hand.
 * @param file  in the repository; it has `<!-- NAME: begin -->` and `<!-- NAME: end -->`, once
 */
export function withMadeSection(file: string, name: string, text: string): string {
  return filledSection(readFileSync(join(packageRoot(), file), 'utf8'), file, name, text)
}

/** The same, of a page that was read or begun: `file` names it in errors. */
export function filledSection(page: string, file: string, name: string, text: string): string {
  const [begin, end] = marks(name)
  const [before, ...more] = page.split(begin)
  const [, after, ...rest] = page.split(end)
  if (before === undefined || more.length !== 1 || after === undefined || rest.length > 0)
    throw new Error(`${file} has no section ${name}, or more than one`)
  return `${before}${madeSection(name, text)}${after}`
}

export function madeSection(name: string, text: string): string {
  const [begin, end] = marks(name)
  return `${begin}${text}${end}`
}

function marks(name: string): readonly [begin: string, end: string] {
  return [`<!-- ${name}: begin -->\n`, `<!-- ${name}: end -->\n`]
}

/** A row of a Markdown table. */
export function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

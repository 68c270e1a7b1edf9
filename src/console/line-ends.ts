const BYTE_ORDER_MARK = '\uFEFF'
const LINE_END = /\r\n|\r|\n/

/** A text in the form of a `textarea`: all lines end with LF, and a byte order mark is removed. */
export function inTextarea(text: string): string {
  return text
    .replace(/^\uFEFF/, '')
    .split(LINE_END)
    .join('\n')
}

/**
 * An edited text with the line ends and the byte order mark of the opened text. Lines before and after the edited part
 * keep their own line ends. Edited lines get the line end of the first line.
 * @param edited text in the form of `inTextarea`
 */
export function withLineEnds(opened: string, edited: string): string {
  const mark = opened.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : ''
  const ends = opened.match(new RegExp(LINE_END, 'g')) ?? []
  const [before, after] = [inTextarea(opened).split('\n'), edited.split('\n')]
  const shorter = Math.min(before.length, after.length)
  let same = 0
  while (same < shorter && before[same] === after[same]) same++
  let sameAtEnd = 0
  while (sameAtEnd < shorter - same && before.at(-1 - sameAtEnd) === after.at(-1 - sameAtEnd)) sameAtEnd++
  const endOf = (line: number): string => {
    const old = line < same ? line : line >= after.length - sameAtEnd - 1 ? line + before.length - after.length : -1
    return ends[old] ?? ends[0] ?? '\n'
  }
  return mark + after.map((line, index) => line + (index < after.length - 1 ? endOf(index) : '')).join('')
}

// Reads the output of a lane, as scripts/tests/summary.mjs prints it.

const COUNTS = /^(\d+) passed, (\d+) failed, (\d+) skipped$/
const FILE = /^(?:ok|NOT OK) +([\d.]+) s {2}(test\/\S+\.test\.ts)$/
const NAMED_FILE = /test\/\S+\.test\.ts(?= |$)/
const NOT_OK = 'not ok: '
/** Maximum number of lines of a failed assertion that are kept. */
const EXCERPT_LINES = 3
const EXCERPT_COLUMNS = 160
/** Maximum length of a diagnosis whose end is missing. */
const DIAGNOSIS_LINES_MAX = 40
const END_OF_PROCESS = /^(exitCode|signal|expired): (?!null)/

/**
 * @returns null if the output does not end with the counts: the lane died. `failures` has each failed test, with its
 * file (null if a process failed and no file is named), the titles below the file, and an excerpt of the diagnosis
 */
export function readLane(output) {
  const lines = output.split('\n')
  const counts = lines.map((line) => COUNTS.exec(line)).findLast((found) => found !== null)
  if (counts === undefined) return null
  const [passed, failed, skipped] = counts.slice(1).map(Number)
  const files = lines.flatMap((line) => {
    const [, seconds, name] = FILE.exec(line) ?? []
    return name === undefined ? [] : [{ name, seconds: Number(seconds) }]
  })
  return { passed, failed, skipped, files, failures: withoutOuter(failuresIn(lines)) }
}

function failuresIn(lines) {
  return lines.flatMap((line, i) => {
    if (!line.startsWith(NOT_OK)) return []
    const path = line.slice(NOT_OK.length)
    const [file = null] = NAMED_FILE.exec(path) ?? []
    const test = file === null ? path : path.slice(path.indexOf(file) + file.length).replace(/^ > /, '')
    return [{ file, test, excerpt: excerptOf(lines, i + 1) }]
  })
}

/** A file whose tests failed is reported too. Its own report counts only if none of its tests is reported. */
function withoutOuter(failures) {
  return failures.filter(
    ({ file, test }) => test !== '' || !failures.some((other) => other.file === file && other.test !== ''),
  )
}

/** The lines of a diagnosis that tell most: the difference, the end of the process, the place. */
function excerptOf(lines, begin) {
  if (lines[begin]?.trim() !== '---') return []
  const end = lines.findIndex((line, i) => i > begin && line.trim() === '...')
  const diagnosis = lines.slice(begin + 1, end < 0 ? begin + DIAGNOSIS_LINES_MAX : end).map((line) => line.trim())
  const valueOf = (key) => diagnosis.find((line) => line.startsWith(`${key}: `))?.slice(key.length + 2)
  const differing = diagnosis.filter((line) => /^[-+](?![-+])/.test(line))
  const file = valueOf('fileName')
  return [
    ...differing.slice(0, EXCERPT_LINES - 1),
    ...(file === undefined ? [] : [`at ${file}:${valueOf('lineNumber')}`]),
    ...diagnosis.filter((line) => END_OF_PROCESS.test(line)),
  ]
    .slice(0, EXCERPT_LINES)
    .map((line) => line.slice(0, EXCERPT_COLUMNS))
}

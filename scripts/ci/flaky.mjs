// The list of the files that were flaky in a landing, test/flaky.yaml. A landing is a run of `.ci/run` that passed.
//
//   npm run flaky -- FILE      adds the landing whose output FILE has; - for standard input
//
// A file that was flaky in three landings running is named by `npm run lint` and by the report of `.ci/run`.
import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, stringify } from 'yaml'

const LIST = 'test/flaky.yaml'
/** Landings in a row after which a flaky file is mended before other work. */
const RUNNING = 3
/** Maximum number of landings in the list; the oldest are removed. */
const LANDINGS_MAX = 20

/** @returns one line with the files that were flaky in each of the last landings, or no line */
export function mendFirst(text = readFileSync(LIST, 'utf8')) {
  const last = parse(text).slice(-RUNNING)
  const files = last.length < RUNNING ? [] : last.map(({ flaky }) => flaky.map(({ file }) => file))
  const always = (files[0] ?? []).filter((file) => files.every((those) => those.includes(file)))
  if (always.length === 0) return []
  return [`MEND FIRST ${always.join(', ')}: flaky in the last ${RUNNING} landings (${LIST})`]
}

/** @returns the landing and its flaky files, from the report at the end of the output of `.ci/run` */
function landingOf(output) {
  const lines = output.trimEnd().split('\n')
  const report = lines.slice(lines.lastIndexOf('=== report') + 1)
  const [, landing] = report.map((line) => /^commit: (\w{8})\w*$/.exec(line)).find((found) => found !== null) ?? []
  if (landing === undefined) throw new Error('this is not the output of .ci/run: its report has no line "commit: …"')
  if (!/^\d+ passed, 0 failed, \d+ skipped$/.test(report.at(-1)))
    throw new Error(`a run that did not pass is no landing; its last line is: ${report.at(-1)}`)
  const flaky = report.flatMap((line, i) => {
    const [, file, test] = /^FLAKY (\S+)(?: > (.*))?$/.exec(line) ?? []
    if (file === undefined) return []
    const end = report.findIndex((other, j) => j > i && !other.startsWith('    '))
    const excerpt = report.slice(i + 1, end).map((other) => other.trim())
    return [{ file, seen: [test, ...excerpt].filter((part) => part !== undefined).join('; ') }]
  })
  return { landing, flaky }
}

/** @returns the text of the list with this landing as its newest. Its comment stays */
function withLanding(text, row) {
  const others = parse(text).filter(({ landing }) => landing !== row.landing)
  const comment = text.slice(0, text.search(/^[^#]/m))
  return comment + stringify([...others, row].slice(-LANDINGS_MAX), { lineWidth: 0 })
}

function main([file, ...others]) {
  if (file === undefined || others.length > 0) throw new Error('name one file with the output of .ci/run, or -')
  const row = landingOf(readFileSync(file === '-' ? 0 : file, 'utf8'))
  const text = withLanding(readFileSync(LIST, 'utf8'), row)
  writeFileSync(LIST, text)
  console.log(`${LIST}: ${row.landing} with ${row.flaky.length} flaky files`)
  for (const line of mendFirst(text)) console.log(line)
}

if (resolve(process.argv[1] ?? '') === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2))
  } catch (thrown) {
    console.error(`flaky: ${thrown.message}`)
    process.exitCode = 2
  }
}

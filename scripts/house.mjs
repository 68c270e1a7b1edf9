// `npm run -s house` prints the sizes of the parts of src and the aimed sizes. It never fails. With `-- --all` it also
// prints every file whose class starts late, and the names of the layers' faces. With `-- --faces` it prints only these
// names.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { faceLines, filesNamed } from './house-faces.mjs'
import { halvesFigures } from './house-halves.mjs'
import { sessionFigures } from './house-session.mjs'

/** Aimed maximum sizes, in lines. */
const CLASS_LINES = 900
const FUNCTION_LINES = 150
const SERVE_LINES = 70_000
/** Maximum line number at which the first class of a file should begin. */
const CLASS_START_LINE = 60
/** Modules that `mkondo serve` runs on its main thread. The first module imports the second on demand. */
const SERVE = ['src/cli/serve/serve.ts', 'src/gateway/gateway.ts']

const parsed = new Map(
  readdirSync('src', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((file) => [file, ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true)]),
)

if (process.argv.includes('--faces')) {
  for (const line of faceLines(parsed, true)) console.log(line)
  process.exit()
}

const linesOf = (source) => source.text.split('\n').length - 1
const lineAt = (source, position) => source.getLineAndCharacterOfPosition(position).line + 1

const classes = []
const functions = []
for (const [file, source] of parsed) {
  const visit = (node) => {
    const begin = lineAt(source, node.getStart())
    const found = { file, begin, lines: lineAt(source, node.end) - begin + 1, name: node.name?.getText() ?? '(none)' }
    if (ts.isClassLike(node)) classes.push(found)
    if (ts.isFunctionLike(node) && node.body !== undefined) functions.push(found)
    ts.forEachChild(node, visit)
  }
  visit(source)
}

/** @returns the files from which a file imports values. Imports of types and imports on demand do not count */
function importsOf(file, source) {
  const found = source.statements.filter((statement) => {
    if (ts.isExportDeclaration(statement)) return statement.moduleSpecifier !== undefined && !statement.isTypeOnly
    if (!ts.isImportDeclaration(statement)) return false
    const { importClause: clause } = statement
    if (clause === undefined) return true
    const names = clause.namedBindings
    const onlyTypes = names !== undefined && ts.isNamedImports(names) && names.elements.every((one) => one.isTypeOnly)
    return !clause.isTypeOnly && (clause.name !== undefined || !onlyTypes)
  })
  return found.flatMap(({ moduleSpecifier: { text } }) => filesNamed(file, text, parsed))
}

const reached = new Set(SERVE)
for (const file of reached) for (const one of importsOf(file, parsed.get(file))) reached.add(one)

const sum = (files) => [...files].reduce((lines, file) => lines + linesOf(parsed.get(file)), 0)
const largest = (all) => all.toSorted((a, b) => b.lines - a.lines).slice(0, 5)
const late = classes
  .filter(({ begin }, i) => begin > CLASS_START_LINE && classes[i - 1]?.file !== classes[i].file)
  .toSorted((a, b) => b.begin - a.begin)

const row = ({ lines, name, file, begin }) => `  ${String(lines).padStart(6)}  ${name}  ${file}:${begin}`
const aim = (is, most) => `${is.toLocaleString('en')} (aim: at most ${most.toLocaleString('en')})`
const [firstClass] = largest(classes)
const [firstFunction] = largest(functions)
console.log(`largest class, lines: ${aim(firstClass.lines, CLASS_LINES)}`)
for (const found of largest(classes)) console.log(row(found))
console.log(`largest function, lines: ${aim(firstFunction.lines, FUNCTION_LINES)}`)
for (const found of largest(functions)) console.log(row(found))
console.log(`lines of src: ${sum(parsed.keys()).toLocaleString('en')} in ${parsed.size} files`)
console.log(`lines that serve reaches by value imports: ${aim(sum(reached), SERVE_LINES)}, ${reached.size} files`)
console.log(`files whose first class starts below line ${CLASS_START_LINE}: ${late.length}`)
for (const { file, begin, name } of process.argv.includes('--all') ? late : late.slice(0, 10))
  console.log(`  ${String(begin).padStart(6)}  ${name}  ${file}`)
for (const line of faceLines(parsed, process.argv.includes('--all'))) console.log(line)
for (const line of [...sessionFigures(), ...halvesFigures()]) console.log(line)

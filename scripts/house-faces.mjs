// The faces of the layers of src, for `npm run house`: the number of files that other layers may import, and of the
// exported names.
import { createRequire } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'

const FACES = createRequire(import.meta.url)('./faces.cjs')

const roomOf = (file) => file.split('/')[1]

/** @returns the names that `source` exports, in the order of the source */
function exportsOf(source) {
  return source.statements.flatMap((statement) => {
    if (ts.isExportDeclaration(statement))
      return statement.exportClause?.elements?.map(({ name }) => name.text) ?? ['*']
    if (!statement.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword)) return []
    if (ts.isVariableStatement(statement))
      return statement.declarationList.declarations.map(({ name }) => name.getText())
    return statement.name === undefined ? ['default'] : [statement.name.text]
  })
}

/**
 * @returns the file of src that `specifier` names in `file`, in a list; an empty list for other specifiers @param
 * parsed every file of src, by its path
 */
export function filesNamed(file, specifier, parsed) {
  if (!specifier.startsWith('.')) return []
  const path = normalize(join(dirname(file), specifier))
  return ['.ts', '.tsx'].map((ending) => path.replace(/\.js$/, ending)).filter((one) => parsed.has(one))
}

/** @returns the files of other layers that `file` imports, including imports of types and imports on demand */
function foreignFiles(file, source, parsed) {
  const { importedFiles } = ts.preProcessFile(source.text, true, true)
  const named = importedFiles.flatMap(({ fileName }) => filesNamed(file, fileName, parsed))
  return named.filter((one) => roomOf(one) !== roomOf(file))
}

/**
 * Yields lines with the size of each face.
 * @param parsed  every file of src with its syntax tree, by its path
 * @param all true: the lines also list the exported names of each file
 */
export function* faceLines(parsed, all) {
  const entered = new Set()
  for (const [file, source] of parsed) for (const one of foreignFiles(file, source, parsed)) entered.add(one)
  yield 'faces of the rooms (scripts/faces.cjs): files that other rooms may import, and the names that these export'
  for (const [room, face] of Object.entries(FACES)) {
    const files = [...parsed.keys()].filter((file) => roomOf(file) === room)
    if (files.length === 0) continue
    const shown = files.filter((file) => face.includes(file.replace(`src/${room}/`, '').replace(/\.tsx?$/, '')))
    const names = shown.map((file) => exportsOf(parsed.get(file)))
    yield `  ${room}: ${shown.length} of ${files.length} files, ${names.flat().length} names`
    if (all) for (const [i, file] of shown.entries()) yield `    ${file}: ${names[i].join(', ')}`
    const left = shown.filter((file) => !entered.has(file))
    if (left.length > 0 || shown.length < face.length)
      yield `  ${room}: its face has files that are gone, or that no other room imports: ${left.join(', ')}`
  }
}

// The parts of a call's two halves, for `npm run house`: imports of each half's class, and functions that its parts
// get.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'

/** Maximum number of functions that a part should get. */
const HANDED = 3
const HALVES = [
  { name: 'WorkerCall', file: 'src/workers/worker/worker-call.ts', parts: 'src/workers/worker/parts' },
  { name: 'MainThreadCall', file: 'src/workers/main/call/main-thread-call.ts', parts: 'src/workers/main/call/parts' },
]

const filesOf = (folder) => (existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [])

/** @returns the classes of a file that are parts, each with the number of functions that its constructor gets */
function partsIn(source, checker) {
  const isCalled = (type) => checker.getNonNullableType(type).getCallSignatures().length > 0
  const functionsOf = (parameter) => {
    const type = checker.getTypeAtLocation(parameter)
    if (isCalled(type)) return 1
    if (type.isClass()) return 0
    const members = type.getProperties()
    return members.filter((member) => isCalled(checker.getTypeOfSymbolAtLocation(member, parameter))).length
  }
  return source.statements.filter(ts.isClassDeclaration).flatMap((one) => {
    if (!one.heritageClauses?.some(({ types }) => types.some((type) => /Part$/.test(type.getText())))) return []
    const made = one.members.find(ts.isConstructorDeclaration)
    const handed = (made?.parameters ?? []).reduce((sum, parameter) => sum + functionsOf(parameter), 0)
    return [{ name: one.name?.text ?? '(none)', handed }]
  })
}

/** @returns lines to print */
export function halvesFigures() {
  const halves = HALVES.filter(({ file }) => existsSync(file))
  if (halves.length === 0) return []
  const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd())
  const files = halves.flatMap(({ file, parts }) => [file, ...filesOf(parts)])
  const program = ts.createProgram(files, options)
  const checker = program.getTypeChecker()
  return halves.map(({ name, file, parts }) => {
    const source = program.getSourceFile(file)
    const imports = source.statements.filter(ts.isImportDeclaration)
    const one = source.statements.find((statement) => ts.isClassDeclaration(statement) && statement.name?.text === name)
    const lineOf = (position) => source.getLineAndCharacterOfPosition(position).line
    const made = one?.members.find(ts.isConstructorDeclaration)
    const madeLines = made === undefined ? 0 : lineOf(made.end) - lineOf(made.getStart()) + 1
    const knows = imports.filter(({ moduleSpecifier: { text } }) => text.includes('/parts/')).length
    const all = filesOf(parts).flatMap((path) => partsIn(program.getSourceFile(path), checker))
    const most = Math.max(0, ...all.map(({ handed }) => handed))
    const over = all.filter(({ handed }) => handed > HANDED).map((part) => `${part.name} ${part.handed}`)
    const said = over.length === 0 ? '' : `: ${over.join('; ')}`
    return `${name}: ${imports.length} imports, ${knows} of parts; its constructor has ${madeLines} lines; ${all.length} parts, each handed at most ${most} functions (aim: at most ${HANDED}${said})`
  })
}

// The interfaces inside a call's session, for `npm run house`: uses between its features, its owners and its kernel.
import { existsSync, readdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import ts from 'typescript'

const FEATURES = 'src/call/features'
const OWNERS = 'src/call/resources'
const KERNEL = ['src/call/call-core.ts', 'src/call/call-kernel.ts', 'src/call/turns/turn-taking.ts']
/** Maximum number of public members that an owner should have. */
const OWNER_MEMBERS = 12

const filesOf = (folder) => readdirSync(folder).map((name) => join(folder, name))
const isIn = (folder, file) => file.startsWith(`${folder}/`)

/**
 * Yields every class member that `source` uses, with the file that declares the member. `written`: true if `source`
 * writes it.
 */
function* membersUsed(source, checker) {
  const found = []
  const visit = (node) => {
    if (ts.isPropertyAccessExpression(node)) {
      const symbol = checker.getSymbolAtLocation(node.name)
      const [declaration] = symbol?.declarations ?? []
      if (declaration !== undefined && ts.isClassLike(declaration.parent)) {
        const { parent } = node
        const assigned =
          ts.isBinaryExpression(parent) &&
          parent.left === node &&
          parent.operatorToken.kind >= ts.SyntaxKind.FirstAssignment &&
          parent.operatorToken.kind <= ts.SyntaxKind.LastAssignment
        const counted = ts.isPostfixUnaryExpression(parent) || ts.isPrefixUnaryExpression(parent)
        const steps = [ts.SyntaxKind.PlusPlusToken, ts.SyntaxKind.MinusMinusToken]
        found.push({
          file: declaration.getSourceFile().fileName,
          name: symbol.name,
          written: assigned || (counted && steps.includes(parent.operator)),
        })
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  yield* found
}

/** @returns the names of the deadlines that `source` sets or clears */
function deadlinesOf(source) {
  const names = new Set()
  const visit = (node) => {
    if (ts.isCallExpression(node) && ts.isPropertyAccessExpression(node.expression)) {
      const { name, expression } = node.expression
      const sets =
        name.text === 'in' || name.text === 'clear' || (name.text === 'set' && /deadlines$/.test(expression.getText()))
      const all = name.text === 'clear' ? node.arguments : node.arguments.slice(0, 1)
      if (sets) for (const one of all) if (ts.isStringLiteral(one)) names.add(one.text)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return names
}

const publicMembers = (source) =>
  source.statements.filter(ts.isClassDeclaration).map((one) => ({
    name: one.name?.text ?? '(none)',
    members: new Set(
      one.members
        .filter((member) => member.name !== undefined && !ts.isPrivateIdentifier(member.name))
        .map((member) => member.name.getText()),
    ).size,
  }))

/** @returns lines to print */
export function sessionFigures() {
  if (!existsSync(OWNERS)) return []
  const root = `${process.cwd()}/`
  const { config } = ts.readConfigFile('tsconfig.json', ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const files = [
    ...readdirSync('src/call', { recursive: true })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => join('src/call', name)),
  ]
  const program = ts.createProgram(files, options)
  const checker = program.getTypeChecker()
  const edges = new Set()
  const writes = new Set()
  const owners = new Map()
  for (const file of files) {
    const source = program.getSourceFile(file)
    for (const used of membersUsed(source, checker)) {
      const declared = used.file.replace(root, '')
      if (declared === file || !declared.startsWith('src/call/')) continue
      if (isIn(FEATURES, declared) && isIn(FEATURES, file))
        edges.add(`${basename(file, '.ts')} > ${basename(declared, '.ts')}`)
      const session = isIn(FEATURES, declared) || isIn(OWNERS, declared) || KERNEL.includes(declared)
      if (used.written && session) writes.add(`${basename(declared, '.ts')}.${used.name} by ${basename(file, '.ts')}`)
    }
    for (const name of deadlinesOf(source)) owners.set(name, [...(owners.get(name) ?? []), basename(file, '.ts')])
  }
  const imports = files
    .filter((file) => isIn(FEATURES, file))
    .flatMap((file) =>
      program
        .getSourceFile(file)
        .statements.filter(ts.isImportDeclaration)
        .filter(({ moduleSpecifier: { text } }) => text.startsWith('./')),
    )
  const shared = [...owners].filter(([, by]) => by.length > 1)
  const count = filesOf(FEATURES).length
  const list = (all) => (all.length === 0 ? '' : `: ${all.join('; ')}`)
  const wide = filesOf(OWNERS)
    .flatMap((file) => publicMembers(program.getSourceFile(file)))
    .filter(({ members }) => members > OWNER_MEMBERS)
  const kernel = KERNEL.flatMap((file) => publicMembers(program.getSourceFile(file)))
  return [
    `features of a call that use another: ${edges.size} of ${count * (count - 1)} pairs, ${imports.length} imports${list([...edges])}`,
    `fields of the session written from outside their class: ${writes.size}${list([...writes])}`,
    `deadlines set or cleared by more than one file: ${shared.length}${list(shared.map(([name, by]) => `${name} by ${by.join(', ')}`))}`,
    `owners with more than ${OWNER_MEMBERS} public members: ${wide.length}${list(wide.map(({ name, members }) => `${name} ${members}`))}`,
    `public members of the kernel:${list(kernel.map(({ name, members }) => `${name} ${members}`)).slice(1)}`,
  ]
}

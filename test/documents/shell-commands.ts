/** Beginnings of a shell script's tokens: white space and comments, redirections, ends of commands, words. */
const TOKEN =
  /(?:\\\n|[ \t]|#[^\n]*)+|\d*>>?&?|(\n|&&|\|\||[;&|])|((?:'[^']*'|"(?:\$\([^)]*\)|\\.|[^"\\])*"|\$\([^)]*\)|\\.|(?<=[^\s;&|])#|[^\s'"\\;&|<>#])+)/gsy

/**
 * The simple commands of a shell script as words, without comments and redirections: enough for the scripts of
 * documents, which have no loops, here-documents or functions of more than one line.
 * @throws SyntaxError for what it cannot read
 */
export function shellCommands(script: string): readonly (readonly string[])[] {
  const commands: string[][] = [[]]
  let redirected = false
  let at = 0
  for (const token of script.matchAll(TOKEN)) {
    const [whole, end, word] = token
    at = token.index + whole.length
    if (end !== undefined) commands.push([])
    else if (word !== undefined && !redirected) commands.at(-1)?.push(unquoted(word))
    if (/^\d*>/.test(whole)) redirected = true
    else if (end !== undefined || word !== undefined) redirected = false
  }
  if (at < script.length) throw new SyntaxError(`cannot read ${JSON.stringify(script.slice(at, at + 40))}`)
  return commands.filter((words) => words.length > 0)
}

function unquoted(word: string): string {
  return word.replace(
    /'([^']*)'|"((?:\$\([^)]*\)|\\.|[^"\\])*)"|\\(.)/gs,
    (_, single?: string, double?: string, escaped?: string) =>
      single ?? double?.replace(/\\(["\\$`])/g, '$1') ?? escaped ?? '',
  )
}

import { run } from '../../src/cli/program.js'
import type { Terminal } from '../../src/cli/terminal.js'

interface CommandResult {
  readonly code: number
  /** Output of the command on standard output and standard error. */
  readonly out: string
  readonly err: string
}

/** Runs a command of mkondo in this process, without a terminal, and with only the given environment. */
export async function command(
  argv: readonly string[],
  given: Partial<Pick<Terminal, 'env' | 'signal' | 'input' | 'ask' | 'colours' | 'columns' | 'showsProgress'>> = {},
): Promise<CommandResult> {
  let out = ''
  let err = ''
  const code = await run(argv, {
    out: (text) => {
      out += text
    },
    err: (text) => {
      err += text
    },
    env: {},
    colours: false,
    columns: () => null,
    showsProgress: false,
    input: () => Promise.resolve(''),
    ask: null,
    signal: null,
    ...given,
  })
  return { code, out, err }
}

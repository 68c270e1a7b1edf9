import { terminalText } from '../../src/core/terminal-text.js'
import { Progress } from '../../src/cli/progress.js'

/**
 * Progress of a bench on standard error: lines that stay, and, on a terminal, one line below them with the elapsed
 * time.
 */
export interface BenchProgress {
  /** Prints a line that stays. */
  readonly say: (line: string) => void
  /** Shows the present measurement. */
  readonly show: (what: string) => void
  /** Clears the line. Call it before printing to standard output. */
  readonly end: () => void
}

type Stream = Pick<NodeJS.WriteStream, 'write'> & { readonly isTTY?: boolean }

export function benchProgress(stream: Stream = process.stderr): BenchProgress {
  const err = (text: string): unknown => stream.write(terminalText(text))
  const progress = new Progress({ err, showsProgress: stream.isTTY === true }, 'bench')
  return {
    say: (line) => {
      progress.print(err, `${line}\n`)
    },
    show: (what) => {
      progress.show(what)
    },
    end: () => {
      progress.end()
    },
  }
}

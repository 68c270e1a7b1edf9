import { ownSequence } from '../core/terminal-text.js'

const INTERVAL_MS = 1000
/** Control sequence that returns to the beginning of the line and clears it. */
const CLEAR = ownSequence('\r\u001b[K')

/**
 * Line on standard error that shows a command's progress and run time, if standard error is a terminal. All other
 * output must go through `print`, which clears the line first.
 */
export class Progress {
  readonly #err: ((text: string) => unknown) | null
  readonly #label: string
  readonly #startedMs = performance.now()
  readonly #timer: NodeJS.Timeout | null
  #what = ''

  constructor(terminal: { readonly err: (text: string) => unknown; readonly showsProgress: boolean }, label: string) {
    this.#err = terminal.showsProgress ? terminal.err : null
    this.#label = label
    this.#timer = this.#err === null ? null : setInterval(() => this.#draw(), INTERVAL_MS).unref()
  }

  show(what: string): void {
    this.#what = what
    this.#draw()
  }

  /** Clears the line, prints the text, and draws the line again. */
  print(print: (text: string) => unknown, text: string): void {
    this.#err?.(CLEAR)
    print(text)
    this.#draw()
  }

  end(): void {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#err?.(CLEAR)
  }

  #draw(): void {
    const seconds = Math.floor((performance.now() - this.#startedMs) / 1000)
    const elapsed = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
    this.#err?.(`${CLEAR}${this.#label}: ${this.#what}${this.#what === '' ? '' : ', '}${elapsed}`)
  }
}

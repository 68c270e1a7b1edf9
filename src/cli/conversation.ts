import { painted, type Terminal } from './terminal.js'

type Print = (text: string) => unknown
type Screen = Pick<Terminal, 'colours' | 'columns'>

/** Colour of each speaker. A line of `mkondo call` begins with the speaker's name. */
const SPEAKERS = { agent: 'cyan', caller: 'yellow', carrier: 'dim', fault: 'red' } as const
/** Width of the speaker's column. */
const SPEAKER_COLUMNS = 9
const COLUMNS_MAX = 110
const COLUMNS_MIN = 40

/**
 * Prints the lines of one call. A line that is too long is broken, and its later parts are indented below its first
 * word.
 */
export function conversation(print: Print, screen: Screen): (text: string) => void {
  let rest = ''
  return (text) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) print(`${shown(line, screen)}\n`)
  }
}

function shown(line: string, screen: Screen): string {
  const [, speaker = '', said = ''] = /^(agent|caller|carrier|fault) +(.*)$/.exec(line) ?? []
  if (speaker === '') return line
  const width = Math.max(COLUMNS_MIN, Math.min(screen.columns() ?? COLUMNS_MAX, COLUMNS_MAX)) - SPEAKER_COLUMNS
  const name = speaker.padEnd(SPEAKER_COLUMNS)
  const begin = painted(screen, SPEAKERS[speaker as keyof typeof SPEAKERS], name)
  return begin + wrapped(said, width).join(`\n${' '.repeat(SPEAKER_COLUMNS)}`)
}

function wrapped(text: string, width: number): string[] {
  const lines = ['']
  for (const word of text.split(/(?<= )/)) {
    const line = lines.at(-1) ?? ''
    if (line !== '' && line.length + word.trimEnd().length > width) lines.push(word)
    else lines[lines.length - 1] = line + word
  }
  return lines.map((line) => line.trimEnd())
}

/**
 * Conversations of several simultaneous calls, printed one after another. The first call is printed live. Each later
 * call is printed when all earlier calls have ended.
 */
export class Conversations {
  readonly #print: Print
  readonly #calls: { heading: string; write: (text: string) => void; waiting: string[]; ended: boolean }[]
  /** Index of the call that is printed now. */
  #at = 0

  constructor(headings: readonly string[], print: Print, screen: Screen) {
    this.#print = print
    this.#calls = headings.map((heading) => ({
      heading: painted(screen, 'bold', heading),
      write: conversation(print, screen),
      waiting: [],
      ended: false,
    }))
    this.#begin()
  }

  write(call: number, text: string): void {
    const one = this.#calls[call]
    if (call === this.#at) one?.write(text)
    else one?.waiting.push(text)
  }

  end(call: number): void {
    const one = this.#calls[call]
    if (one !== undefined) one.ended = true
    while (this.#calls[this.#at]?.ended === true) {
      this.#at++
      this.#begin()
    }
  }

  #begin(): void {
    const call = this.#calls[this.#at]
    if (call === undefined) return
    this.#print(`\n${call.heading}\n\n`)
    for (const text of call.waiting.splice(0)) call.write(text)
  }
}

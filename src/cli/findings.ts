import { painted } from './terminal.js'
import type { Terminal } from './terminal.js'

/** One thing that a command has looked at. */
export interface Finding {
  /** Null: should be looked at, but prevents nothing. */
  readonly ok: boolean | null
  readonly what: string
}

const MARKS = { good: 'ok     ', bad: 'NOT OK ', unsure: 'LOOK AT' } as const

/** A finding as one line. */
export function findingLine({ ok, what }: Finding, terminal: Pick<Terminal, 'colours'>): string {
  const text = ok === null ? MARKS.unsure : ok ? MARKS.good : MARKS.bad
  return `${painted(terminal, ok === null ? 'yellow' : ok ? 'green' : 'red', text)} ${what}\n`
}

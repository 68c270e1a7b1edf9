import type { Command } from 'commander'
import type { Terminal } from '../terminal.js'

/**
 * Adds a command to the program: its options, its help and what runs it. A definition imports what it runs only when
 * it runs, so that help and completion need no native module.
 * @param ends  called with the exit code of the command
 */
export type Define = (program: Command, terminal: Terminal, ends: (code: number) => void) => void

import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { comesUp } from '../support/until.js'
import { spawnOwn } from '../support/spawn-own.js'

/** The built command. */
export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** V8 gets the same options as in this process (scripts/tests/lane.mjs). */
const V8_OPTIONS = process.execArgv.filter((option) => option.startsWith('--interrupt-budget='))

/** Arguments of Node to run it, before its own. */
export const MKONDO: readonly string[] = [...V8_OPTIONS, MAIN]

export interface Run {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly exit: Promise<number | null>
}

/**
 * Runs the built command with nothing of our own environment but what a shell has; it hears one caller at a time.
 * @param openFilesMax  its bound of file descriptors; that of this process when not given
 * @param main  the built command of another version
 */
export function mkondo(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  openFilesMax?: number,
  main = MAIN,
): Run {
  const command = [process.execPath, ...V8_OPTIONS, main, ...args]
  const [program = '', ...rest] =
    openFilesMax === undefined ? command : ['/bin/sh', '-c', `ulimit -n ${openFilesMax}; exec "$0" "$@"`, ...command]
  const child = spawnOwn(program, rest, {
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', SPEECH_DECODERS: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: string[] = []
  for (const input of [child.stdout, child.stderr])
    createInterface({ input }).on('line', (line) => {
      if (line !== '') lines.push(line)
    })
  // Its last lines come after its exit.
  return { child, lines, exit: new Promise((resolve) => child.once('close', (code) => resolve(code))) }
}

/** Content of the line of a gateway that takes calls. */
interface TakesCalls {
  readonly port: number
  readonly ops_port: number
}

/** Resolves when the gateway takes calls. @throws Error with its last lines when it ends before */
export async function takesCalls(run: Run, limitMs = 60_000): Promise<TakesCalls> {
  const line = (): string | undefined => run.lines.find((each) => each.includes('"msg":"taking calls"'))
  await comesUp(
    run.child,
    () => line() !== undefined,
    limitMs,
    'a gateway that takes calls',
    () => run.lines.join('\n'),
  )
  return JSON.parse(line() ?? '') as TakesCalls
}

/**
 * Ends the program after the test, and waits until it has ended. A program that still runs could write into a folder while
 * tap removes it.
 */
export function endsWith(t: Pick<Test, 'teardown'>, { child, exit }: Run, signal: NodeJS.Signals = 'SIGKILL'): void {
  t.teardown(() => {
    child.kill(signal)
    return exit
  })
}

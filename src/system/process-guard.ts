import { spawn, type ChildProcess } from 'node:child_process'

/**
 * Script of the guard. When its standard input ends, it ends the process group $1. The input ends when this process
 * closes it or dies, even by SIGKILL. After $2 tenths of a second the script kills the group. If $3 is given, it then
 * removes the folder $3.
 */
const GUARD = `read -r end
kill -s TERM -- "-$1" 2>/dev/null
tenths=0
while [ "$tenths" -lt "$2" ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; tenths=$((tenths + 1)); done
kill -s KILL -- "-$1" 2>/dev/null
[ -z "$3" ] || rm -rf -- "$3"`

/**
 * A guard of a process group. `close` ends the group; `ended` resolves once the group has ended and the folder is
 * removed.
 */
export interface Guard {
  readonly close: () => void
  readonly ended: Promise<unknown>
}

/**
 * Ensures that a process group ends when this process ends. If the guard cannot run, for example on a system without
 * a shell, the group is killed.
 * @param pid  leader of the group, started with `detached`
 * @param tenthsMax  time that the group may run after SIGTERM, in tenths of a second
 * @param options  `folder`: removed once the group has ended; `onError`: receives the error if the guard cannot run
 */
export function guardGroup(
  pid: number,
  tenthsMax: number,
  { folder = '', onError }: { readonly folder?: string; readonly onError?: (error: Error) => void } = {},
): Guard {
  const guard = spawn('/bin/sh', ['-c', GUARD, 'mkondo-guard', String(pid), String(tenthsMax), folder], {
    detached: true,
    env: { PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.stdin.on('error', () => undefined) // an error of this stream only shows that the guard has ended
  guard.once('error', (error) => {
    killGroup(pid)
    onError?.(error)
  })
  guard.unref()
  const close = (): void => {
    guard.ref()
    guard.stdin.end()
  }
  return { close, ended: ended(guard) }
}

/** Kills all processes of a group. */
export function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Every process has ended.
  }
}

/** Resolves when a program has ended, or could not be started. */
export function ended(child: ChildProcess): Promise<unknown> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve()
  return new Promise((resolve) => child.once('exit', resolve))
}

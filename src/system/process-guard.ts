import { spawn, type ChildProcess } from 'node:child_process'
import { tellEnded, type ProgramMark } from './program-mark.js'

/** Maximum exit code of the guard. Shells use the larger codes themselves. */
const LEFT_MAX = 100

/**
 * Script of the guard. When its standard input ends, it ends the process group $1, and then the processes with the mark
 * $4 in their environment, which have left the group. The input ends when this process closes it or dies, even by
 * SIGKILL. The group gets $2 tenths of a second between SIGTERM and SIGKILL, the other processes get one second. If $3
 * is given, the script then removes the folder $3. Its exit code is the number of processes that had left the group.
 */
const GUARD = `read -r end
kill -s TERM -- "-$1" 2>/dev/null
tenths=0
while [ "$tenths" -lt "$2" ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; tenths=$((tenths + 1)); done
kill -s KILL -- "-$1" 2>/dev/null && sleep 0.1
mark=$4
signal() {
  found=0
  [ -n "$mark" ] || return
  for file in $(grep -lF -- "$mark" /proc/[0-9]*/environ 2>/dev/null); do
    pid=\${file#/proc/}
    kill -s "$1" -- "\${pid%/environ}" 2>/dev/null && found=$((found + 1))
  done
}
signal TERM
left=$found
tenths=0
while [ "$found" -gt 0 ] && [ "$tenths" -lt 10 ]; do sleep 0.1; tenths=$((tenths + 1)); signal 0; done
rounds=0
while [ "$found" -gt 0 ] && [ "$rounds" -lt 5 ]; do signal KILL; sleep 0.1; rounds=$((rounds + 1)); done
[ -z "$3" ] || rm -rf -- "$3"
[ "$left" -le ${LEFT_MAX} ] || left=${LEFT_MAX}
exit "$left"`

/**
 * A guard of a process group. `close` ends the group; `ended` resolves once the group has ended and the folder is
 * removed.
 */
export interface Guard {
  readonly close: () => void
  readonly ended: Promise<unknown>
}

/**
 * Ensures that a program's processes end when this process ends: its process group, and the processes with its mark that
 * have left the group. If the guard cannot run, for example on a system without a shell, the group is killed.
 * @param pid  leader of the group, started with `detached`
 * @param mark  mark in the program's environment
 * @param tenthsMax  time that the group may run after SIGTERM, in tenths of a second
 * @param options  `folder`: removed once the group has ended; `onError`: receives the error if the guard cannot run
 */
export function guardGroup(
  pid: number,
  mark: ProgramMark,
  tenthsMax: number,
  { folder = '', onError }: { readonly folder?: string; readonly onError?: (error: Error) => void } = {},
): Guard {
  const guard = spawn('/bin/sh', ['-c', GUARD, 'mkondo-guard', String(pid), String(tenthsMax), folder, mark.text], {
    detached: true,
    env: { PATH: process.env['PATH'] },
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  guard.stdin.on('error', () => undefined) // an error of this stream only shows that the guard has ended
  guard.once('error', (error) => {
    killGroup(pid)
    onError?.(error)
  })
  guard.once('exit', (left) => {
    if (left !== null && left > 0 && left <= LEFT_MAX) tellEnded(left)
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

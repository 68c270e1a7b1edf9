import { spawn } from 'node:child_process'
import type { SpawnOptions } from 'node:child_process'
import { existsSync } from 'node:fs'

/**
 * Path of `setpriv` from util-linux; null if it is missing, as on systems other than Linux: a program may then outlive
 * its test.
 */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file)) ?? null

/** nginx's workers outlive a killed master; a master that gets SIGTERM ends them. */
const endOf = (program: string): string => (program === 'nginx' ? 'TERM' : 'KILL')

function spawnBound(program: string, args: readonly string[], options: SpawnOptions): unknown {
  if (SETPRIV === null) return spawn(program, args, options)
  return spawn(SETPRIV, ['--pdeathsig', endOf(program), '--', program, ...args], options)
}

/**
 * Works like `spawn`, for programs that live until they are ended: the kernel ends the program with the thread that has
 * started it, in every case. A test file that hangs is killed, and runs no teardown.
 */
export const spawnOwn = spawnBound as typeof spawn

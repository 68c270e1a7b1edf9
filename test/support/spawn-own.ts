import { spawn } from 'node:child_process'
import type { SpawnOptions } from 'node:child_process'
import { existsSync } from 'node:fs'

/** Of util-linux; null where it is missing, as on other systems than Linux: there a program may outlive its test. */
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => existsSync(file)) ?? null

/** nginx's workers outlive a master that is killed; one that is told to end ends them. */
const endOf = (program: string): string => (program === 'nginx' ? 'TERM' : 'KILL')

function spawnBound(program: string, args: readonly string[], options: SpawnOptions): unknown {
  if (SETPRIV === null) return spawn(program, args, options)
  return spawn(SETPRIV, ['--pdeathsig', endOf(program), '--', program, ...args], options)
}

/**
 * As `spawn`, for programs that live until they are ended: the kernel ends this one with the thread that has started it,
 * however that ends. A test file that hangs is killed, and runs no teardown.
 */
export const spawnOwn = spawnBound as typeof spawn

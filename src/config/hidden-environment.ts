import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Indices of `env_start` and `env_end` in /proc/self/stat (proc(5)), counted after the program's name. */
const ENV_START = 47
const ENV_END = 48

/**
 * Empties `/proc/PID/environ` of this process, so that its child programs cannot read secrets there. `process.env` does
 * not change. Without this function the kernel would show the original strings for as long as the process runs, even if
 * `process.env` changes. A second call has no effect.
 * @returns false if the strings may still be readable: without /proc, or on systems other than Linux
 */
export function hideEnvironment(): boolean {
  // Each value is set again, which copies it. Libraries that call `getenv` then read the copy and not the emptied
  // strings.
  for (const [name, value] of Object.entries(process.env)) process.env[name] = value
  try {
    const stat = readFileSync('/proc/self/stat', 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [from, to] = [Number(fields[ENV_START]), Number(fields[ENV_END])]
    if (!(from > 0 && to >= from)) return false
    const memory = openSync('/proc/self/mem', 'r+')
    try {
      writeSync(memory, Buffer.alloc(to - from), 0, to - from, from)
    } finally {
      closeSync(memory)
    }
    return readFileSync('/proc/self/environ').every((byte) => byte === 0)
  } catch {
    return false
  }
}

import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/** Places of `env_start` and `env_end` in /proc/self/stat (proc(5)), behind the name of the program. */
const ENV_START = 47
const ENV_END = 48

/**
 * Empties `/proc/PID/environ` of this process, so that what it starts finds no secret there; `process.env` stays. The kernel shows
 * the strings of the start there for as long as a process lives, whatever is set or removed later.
 * A second call changes nothing.
 * @returns false where the strings may still be read: without /proc, as on other systems than Linux
 */
export function hideEnvironment(): boolean {
  // Each is copied elsewhere: what libraries read by `getenv` is not in the strings of the start any more.
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

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { GatewayError } from '../../core/errors.js'

/** Maximum number of commands that run at the same time. Further commands are refused. */
const COMMANDS_MAX = 2
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024
/** Time in ms from the request to stop a command until it is killed. */
const STOP_MS = 5000

let running = 0

/** Result of a command: its exit code and its output. */
interface CommandResult {
  readonly code: number
  readonly out: string
  readonly err: string
}

/**
 * Runs a command of mkondo in a separate process. So the command's output cannot get into the protocol's stream, and
 * the command's state does not stay in this process.
 * @param timeoutMs time in ms after which the command is ended
 * @param onOutput gets each piece of standard output at once
 * @throws GatewayError CAPACITY if too many commands run, CALL_FAULT if this command was ended or printed too much
 */
export function ownCommand(
  argv: readonly string[],
  {
    env,
    signal,
    timeoutMs,
    onOutput,
  }: {
    readonly env: Readonly<Record<string, string | undefined>>
    readonly signal: AbortSignal
    readonly timeoutMs: number
    readonly onOutput?: (piece: string) => void
  },
): Promise<CommandResult> {
  if (running >= COMMANDS_MAX)
    throw new GatewayError('CAPACITY', `${COMMANDS_MAX} commands run already; wait for one of them`)
  running++
  const main = fileURLToPath(new URL('../main.js', import.meta.url))
  return new Promise<CommandResult>((resolve, reject) => {
    const child = execFile(
      process.execPath,
      [...process.execArgv, main, ...argv],
      { env, maxBuffer: OUTPUT_BYTES_MAX, encoding: 'utf8' },
      (error, out, err) => {
        clearTimeout(timer)
        signal.removeEventListener('abort', stop)
        if (error === null) return resolve({ code: 0, out, err })
        if (typeof error.code === 'number') return resolve({ code: error.code, out, err })
        const isTooMuch = error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER'
        const ended = child.killed ? `took longer than ${timeoutMs / 1000} s` : 'could not run'
        const why = signal.aborted ? 'was cancelled' : isTooMuch ? `printed over ${OUTPUT_BYTES_MAX} bytes` : ended
        reject(new GatewayError('CALL_FAULT', `mkondo ${argv[0] ?? ''} ${why}`))
      },
    )
    if (onOutput !== undefined) child.stdout?.on('data', onOutput)
    const stop = (): void => {
      child.kill('SIGTERM')
      setTimeout(() => child.kill('SIGKILL'), STOP_MS).unref()
    }
    const timer = setTimeout(stop, timeoutMs)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
  }).finally(() => running--)
}

import { spawn } from 'node:child_process'
import type { ChildProcess, ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import type { JSONRPCMessage, Transport } from '@modelcontextprotocol/client'
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/client'
import { getDefaultEnvironment } from '@modelcontextprotocol/client/stdio'
import { GatewayError } from '../../core/errors.js'

/** Time that a server may still run after SIGTERM, in tenths of a second. */
const ENDS_WITHIN_TENTHS = 20
/** Longest wait of `close` for that, with the guard's own time. */
const CLOSED_WITHIN_MS = 4000
/**
 * Ends a process group, $1, when its standard input ends: the gateway has closed it, or its worker or itself has died,
 * also by SIGKILL.
 */
const GUARD = `read -r end
kill -s TERM -- "-$1" 2>/dev/null || exit 0
tenths=0
while [ "$tenths" -lt ${ENDS_WITHIN_TENTHS} ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 0.1; tenths=$((tenths + 1)); done
kill -s KILL -- "-$1" 2>/dev/null`

interface LocalServer {
  /** Program and arguments; no shell reads them. */
  readonly command: readonly string[]
  /** Besides HOME, LOGNAME, PATH, SHELL, TERM and USER. */
  readonly env: Readonly<Record<string, string>>
  /** Bytes of one message from it. */
  readonly messageBytesMax: number
}

/**
 * A connection to a local MCP server over its standard input and output. The server runs in a process group of its own, so that
 * what it has started ends with it. The SDK's transport signals only the program itself, and reads on for two seconds.
 */
export class LocalTransport implements Transport {
  onmessage?: (message: JSONRPCMessage) => void
  onerror?: (error: Error) => void
  onclose?: () => void
  /** With `pid`, how the client knows a local server: one that is silent or ends when it is asked for its versions is an older one. */
  readonly stderr = null
  readonly #server: LocalServer
  readonly #buffer: ReadBuffer
  #process: ChildProcessByStdio<Writable, Readable, null> | null = null
  #guard: ChildProcess | null = null
  #ended: Promise<void> = Promise.resolve()

  constructor(server: LocalServer) {
    this.#server = server
    this.#buffer = new ReadBuffer({ maxBufferSize: server.messageBytesMax })
  }

  /** Process of the server; null: it does not run. */
  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  async start(): Promise<void> {
    const [program = '', ...args] = this.#server.command
    const env = { ...getDefaultEnvironment(), ...this.#server.env }
    const started = spawn(program, args, { env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] })
    this.#process = started
    for (const stream of [started, started.stdin, started.stdout])
      stream.on('error', (error: Error) => this.onerror?.(error))
    await new Promise<void>((resolve, reject) => started.once('spawn', resolve).once('error', reject))
    this.#guardGroup(started)
    started.stdout.on('data', (chunk: Buffer) => this.#received(chunk))
    // Processes that it has started may live on, and hold the pipe.
    started.once('exit', () => void this.close())
  }

  /** @throws GatewayError TOOL_HTTP when the server is closed */
  send(message: JSONRPCMessage): Promise<void> {
    const input = this.#process?.stdin
    if (input?.writable !== true) return Promise.reject(new GatewayError('TOOL_HTTP', 'the local server has ended'))
    // A message that cannot be written is reported by `error`, and its request by its deadline.
    return new Promise((resolve) => input.write(serializeMessage(message), () => resolve()))
  }

  /** Reads nothing more from now on. Resolves when the whole group has ended, or is ended without being waited for. */
  async close(): Promise<void> {
    const ending = this.#process
    this.#process = null
    if (ending === null) return this.#ended
    ending.stdout.destroy()
    ending.stdin.destroy()
    this.#buffer.clear()
    this.#guard?.stdin?.end()
    this.#ended = within(CLOSED_WITHIN_MS, [ended(ending), ...(this.#guard === null ? [] : [ended(this.#guard)])])
    this.onclose?.()
    return this.#ended
  }

  /** Ends the group at once: for a server that floods. */
  kill(): void {
    if (this.#process?.pid !== undefined) killGroup(this.#process.pid)
    void this.close()
  }

  #guardGroup({ pid }: ChildProcess): void {
    const guard = spawn('/bin/sh', ['-c', GUARD, 'mkondo-mcp-guard', String(pid)], {
      detached: true,
      env: { PATH: getDefaultEnvironment()['PATH'] },
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    guard.stdin.on('error', () => undefined) // it has ended
    guard.once('error', (error) => {
      // Without a guard the server would outlive a gateway that is killed.
      if (pid !== undefined) killGroup(pid)
      this.onerror?.(error)
    })
    guard.unref()
    this.#guard = guard
  }

  #received(chunk: Buffer): void {
    try {
      this.#buffer.append(chunk)
      // The owner may close it while it reads.
      while (this.#process !== null) {
        const message = this.#buffer.readMessage()
        if (message === null) return
        this.onmessage?.(message)
      }
    } catch (thrown) {
      this.onerror?.(thrown instanceof Error ? thrown : new Error(String(thrown)))
      void this.close()
    }
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}

function ended(child: ChildProcess): Promise<unknown> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return Promise.resolve()
  return new Promise((resolve) => child.once('exit', resolve))
}

async function within(ms: number, all: readonly Promise<unknown>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([Promise.all(all), over])
  clearTimeout(timer)
}

import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import type { JSONRPCMessage, Transport } from '@modelcontextprotocol/client'
import { ReadBuffer, serializeMessage } from '@modelcontextprotocol/client'
import { getDefaultEnvironment } from '@modelcontextprotocol/client/stdio'
import { GatewayError } from '../../core/errors.js'
import { ended, guardGroup, killGroup, type Guard } from '../../system/process-guard.js'
import { programMark } from '../../system/program-mark.js'

/** Time for which a server may still run after SIGTERM, in tenths of a second. */
const ENDS_WITHIN_TENTHS = 20
/** Maximum time in milliseconds that `close` waits for the end of the server and of its guard process. */
const CLOSED_WITHIN_MS = 5000
const LINE_END = 10
/** A line of JSON that is not a message of the protocol. */
const STRAY = Symbol('stray line')

interface LocalServer {
  /** Program and its arguments. They are not interpreted by a shell. */
  readonly command: readonly string[]
  /** Environment variables in addition to HOME, LOGNAME, PATH, SHELL, TERM and USER. */
  readonly env: Readonly<Record<string, string>>
  /** Maximum size of a message from the server, in bytes. */
  readonly messageBytesMax: number
  /** Called with the size of each part of the server's output, in bytes, and the number of lines that end in it. */
  readonly onReceived: (bytes: number, lines: number) => void
  /** Called for each line of JSON that is not a message of the protocol, such as a log line. The line is skipped. */
  readonly onStrayLine: () => void
}

/**
 * Connects to a local MCP server over its standard input and output. The server has its own process group, so that
 * processes which the server has started end together with it. Processes that leave the group are found by their mark. The SDK's transport would signal only the program, and
 * would read for two more seconds.
 */
export class LocalTransport implements Transport {
  onmessage?: (message: JSONRPCMessage) => void
  onerror?: (error: Error) => void
  onclose?: () => void
  /**
   * Always null. This field and `pid` show the SDK's client that the server is local. If a local server does not answer
   * the request for versions, the client treats it as an older server.
   */
  readonly stderr = null
  readonly #server: LocalServer
  readonly #buffer: ReadBuffer
  #process: ChildProcessByStdio<Writable, Readable, null> | null = null
  #guard: Guard | null = null
  #ended: Promise<void> = Promise.resolve()

  constructor(server: LocalServer) {
    this.#server = server
    this.#buffer = new ReadBuffer({ maxBufferSize: server.messageBytesMax })
  }

  /** Process id of the server; null if the server does not run. */
  get pid(): number | null {
    return this.#process?.pid ?? null
  }

  async start(): Promise<void> {
    const [program = '', ...args] = this.#server.command
    const mark = programMark()
    const env = { ...getDefaultEnvironment(), ...this.#server.env, ...mark.env }
    const started = spawn(program, args, { env, detached: true, stdio: ['pipe', 'pipe', 'ignore'] })
    this.#process = started
    for (const stream of [started, started.stdin, started.stdout])
      stream.on('error', (error: Error) => this.onerror?.(error))
    await new Promise<void>((resolve, reject) => started.once('spawn', resolve).once('error', reject))
    if (started.pid !== undefined)
      this.#guard = guardGroup(started.pid, mark, ENDS_WITHIN_TENTHS, { onError: (error) => this.onerror?.(error) })
    started.stdout.on('data', (chunk: Buffer) => this.#received(chunk))
    // The transport is closed now, because processes that the server has started may still run and keep the pipe open.
    started.once('exit', () => void this.close())
  }

  /** @throws GatewayError TOOL_HTTP if the server is closed */
  send(message: JSONRPCMessage): Promise<void> {
    const input = this.#process?.stdin
    if (input?.writable !== true) return Promise.reject(new GatewayError('TOOL_HTTP', 'the local server has ended'))
    // A fault is ignored here, because the event `error` reports it, and the request ends at its deadline.
    return new Promise((resolve) => input.write(serializeMessage(message), () => resolve()))
  }

  /** Stops reading, and ends the process group. Resolves when the group has ended, or earlier if it ends too slowly. */
  async close(): Promise<void> {
    const ending = this.#process
    this.#process = null
    if (ending === null) return this.#ended
    ending.stdout.destroy()
    ending.stdin.destroy()
    this.#buffer.clear()
    this.#guard?.close()
    this.#ended = within(CLOSED_WITHIN_MS, [ended(ending), this.#guard?.ended ?? Promise.resolve()])
    this.onclose?.()
    return this.#ended
  }

  /** Ends the process group at once, because the server sends too much. */
  kill(): void {
    if (this.#process?.pid !== undefined) killGroup(this.#process.pid)
    void this.close()
  }

  #received(chunk: Buffer): void {
    this.#server.onReceived(chunk.length, linesIn(chunk))
    if (this.#process === null) return
    try {
      this.#buffer.append(chunk)
    } catch (thrown) {
      this.onerror?.(thrown instanceof Error ? thrown : new Error(String(thrown)))
      void this.close()
      return
    }
    // The owner may close the transport while a message is handled.
    while (this.#process !== null) {
      const message = this.#nextMessage()
      if (message === null) return
      if (message === STRAY) this.#server.onStrayLine()
      else this.onmessage?.(message)
    }
  }

  /** @returns null if the buffer has no whole line. The buffer itself skips lines that are not JSON. */
  #nextMessage(): JSONRPCMessage | typeof STRAY | null {
    try {
      return this.#buffer.readMessage()
    } catch {
      return STRAY
    }
  }
}

function linesIn(chunk: Buffer): number {
  let lines = 0
  for (let at = chunk.indexOf(LINE_END); at >= 0; at = chunk.indexOf(LINE_END, at + 1)) lines++
  return lines
}

async function within(ms: number, all: readonly Promise<unknown>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const over = new Promise((resolve) => (timer = setTimeout(resolve, ms)))
  await Promise.race([Promise.all(all), over])
  clearTimeout(timer)
}

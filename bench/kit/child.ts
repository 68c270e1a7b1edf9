import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'

/** How long a child may take to say what it is asked. */
const ANSWER_MS = 30_000
const STDERR_CHARS_KEPT = 4000

interface ChildOptions {
  readonly name: string
  readonly file: string
  /** Name of the environment variable that carries `options`. */
  readonly variable: string
  readonly options: unknown
  readonly environment?: Readonly<Record<string, string>>
  /** Lets the process collect garbage when it wants to. */
  readonly exposeGc?: boolean
  /** CPUs that the process is bound to, as `taskset -c` takes them; null for any. */
  readonly cpus?: string | null
}

/** One process of a bench: typed messages out, and the next message of a type in. Dies with its parent. */
export class Child<To, From extends { readonly type: string }> {
  readonly name: string
  readonly pid: number
  readonly #process: ChildProcess
  readonly #waiting = new Map<string, { resolve: (message: From) => void; reject: (error: Error) => void }>()
  readonly #early = new Map<string, From>()
  #stderr = ''
  #ended: Error | null = null

  constructor(options: ChildOptions) {
    this.name = options.name
    const bound = options.cpus ?? null
    this.#process = fork(options.file, [], {
      env: { ...process.env, ...options.environment, [options.variable]: JSON.stringify(options.options), NODE_ENV: 'production' },
      ...(bound === null ? { execArgv: options.exposeGc === true ? ['--expose-gc'] : [] } : { execPath: 'taskset', execArgv: ['-c', bound, process.execPath] }),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
    })
    this.pid = this.#process.pid ?? 0
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_KEPT)
    })
    this.#process.on('message', (message) => this.#received(message as From))
    this.#process.on('error', (error) => this.#end(error))
    this.#process.on('exit', (code, signal) => this.#end(new Error(
      `${this.name} ended with ${signal ?? `code ${code}`}${this.#stderr === '' ? '' : `:\n${this.#stderr.trim()}`}`)))
  }

  /** The last words on its standard error. */
  get stderr(): string {
    return this.#stderr
  }

  tell(message: To): void {
    if (this.#ended === null && this.#process.connected) this.#process.send(message as object)
  }

  /** The next message of this type. @throws Error when the process ends first or `timeoutMs` pass */
  next<T extends From['type']>(type: T, timeoutMs = ANSWER_MS): Promise<Extract<From, { type: T }>> {
    const early = this.#early.get(type)
    if (early !== undefined) {
      this.#early.delete(type)
      return Promise.resolve(early as Extract<From, { type: T }>)
    }
    if (this.#ended !== null) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => settle(() => reject(new Error(`${this.name} said no "${type}" within ${timeoutMs} ms`))), timeoutMs)
      const settle = (done: () => void): void => {
        clearTimeout(timer)
        this.#waiting.delete(type)
        done()
      }
      this.#waiting.set(type, {
        // The key of the map is the message's type.
        resolve: (message) => settle(() => resolve(message as Extract<From, { type: T }>)),
        reject: (error) => settle(() => reject(error)),
      })
    })
  }

  /** Asks it to end, then makes it end. */
  async stop(message: To | null): Promise<void> {
    if (this.#ended !== null) return
    const gone = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()))
    if (message !== null) this.tell(message)
    else this.#process.disconnect()
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), 6000)
    await gone
    clearTimeout(timer)
  }

  #received(message: From): void {
    const waiting = this.#waiting.get(message.type)
    if (waiting !== undefined) waiting.resolve(message)
    else this.#early.set(message.type, message)
  }

  #end(error: Error): void {
    this.#ended ??= error
    for (const waiting of [...this.#waiting.values()]) waiting.reject(error)
  }
}

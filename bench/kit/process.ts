import { type ChildProcess, fork } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'

/** Time in ms in which a child must answer a request. */
const ANSWER_MS = 30_000
const STDERR_CHARS_KEPT = 4000

interface ChildOptions {
  readonly name: string
  readonly file: string
  /** Name of the environment variable that carries `options`. */
  readonly variable: string
  readonly options: unknown
  readonly environment?: Readonly<Record<string, string>>
  /** Options of Node. */
  readonly nodeOptions?: readonly string[]
  /** CPUs to which the process is bound, in the form of `taskset -c`; null for any CPU. */
  readonly cpus?: string | null
}

/**
 * One process of a bench. Sends typed messages to it, and receives the next message of a given type. The process dies
 * with its parent.
 */
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
    const { nodeOptions = [] } = options
    const bound = options.cpus ?? null
    this.#process = fork(options.file, [], {
      env: {
        ...process.env,
        ...options.environment,
        [options.variable]: JSON.stringify(options.options),
        NODE_ENV: 'production',
      },
      ...(bound === null
        ? { execArgv: [...nodeOptions] }
        : { execPath: 'taskset', execArgv: ['-c', bound, process.execPath, ...nodeOptions] }),
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'json',
    })
    this.pid = this.#process.pid ?? 0
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_KEPT)
    })
    this.#process.on('message', (message) => this.#received(message as From))
    this.#process.on('error', (error) => this.#end(error))
    this.#process.on('exit', (code, signal) =>
      this.#end(
        new Error(
          `${this.name} ended with ${signal ?? `code ${code}`}${this.#stderr === '' ? '' : `:\n${this.#stderr.trim()}`}`,
        ),
      ),
    )
  }

  /** The end of the process's standard error. */
  get stderr(): string {
    return this.#stderr
  }

  tell(message: To): void {
    if (this.#ended === null && this.#process.connected) this.#process.send(message as object)
  }

  /**
   * Receives the next message of this type.
   * @throws Error if the process ends first, or after `timeoutMs`
   */
  next<T extends From['type']>(type: T, timeoutMs = ANSWER_MS): Promise<Extract<From, { type: T }>> {
    const early = this.#early.get(type)
    if (early !== undefined) {
      this.#early.delete(type)
      return Promise.resolve(early as Extract<From, { type: T }>)
    }
    if (this.#ended !== null) return Promise.reject(this.#ended)
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => settle(() => reject(new Error(`${this.name} said no "${type}" within ${timeoutMs} ms`))),
        timeoutMs,
      )
      const settle = (done: () => void): void => {
        clearTimeout(timer)
        this.#waiting.delete(type)
        done()
      }
      this.#waiting.set(type, {
        // The map's key is the type of the message.
        resolve: (message) => settle(() => resolve(message as Extract<From, { type: T }>)),
        reject: (error) => settle(() => reject(error)),
      })
    })
  }

  /** Requests the process to end. If it does not end, kills it. */
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

/**
 * Reads the options that the parent process has put into `name`.
 * @throws Error with the variable's name if the variable is missing
 */
export function optionsFromEnvironment<T>(name: string): T {
  const text = process.env[name]
  if (text === undefined) throw new Error(`${name} is not set: this program is started by bench/main.ts`)
  // The parent wrote this with JSON.stringify, from the same type.
  return JSON.parse(text) as T
}

/** Sends to the parent. If the parent has ended, this process ends too, instead of continuing alone. */
export function tellParent(message: unknown): void {
  if (process.send === undefined || !process.connected) process.exit(3)
  process.send(message)
}

export function endWithParent(): void {
  process.on('disconnect', () => process.exit(3))
}

/** A port of loopback that is free now. The system does not give it to others for some time. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      probe.close(() => resolve(port))
    })
  })
}

const originNs = process.hrtime.bigint()
const offsetMs = Number(originNs) / 1e6 - performance.now()

/** CLOCK_MONOTONIC in ms. It can be compared between all processes of a machine. */
export function machineMs(): number {
  return performance.now() + offsetMs
}

/** CPU time in ms of one process so far. */
interface CpuTime {
  readonly atMs: number
  /** CPU time by thread id. The id of the main thread is the process's id. */
  readonly threads: ReadonlyMap<number, number>
}

/** Clock ticks of /proc/PID/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_S = 100

/**
 * Reads the CPU time of each thread of `pid` from /proc: in ns if the kernel provides schedstat, otherwise in ticks of
 * 10 ms.
 * @throws Error without /proc. The bench needs Linux, because it measures other processes
 */
export function cpuTime(pid: number): CpuTime {
  const threads = new Map<number, number>()
  const folder = `/proc/${pid}/task`
  for (const name of readdirSync(folder)) {
    const ms = threadMs(`${folder}/${name}`)
    if (ms !== null) threads.set(Number(name), ms)
  }
  return { atMs: performance.now(), threads }
}

function threadMs(folder: string): number | null {
  try {
    const ran = Number(readFileSync(`${folder}/schedstat`, 'latin1').split(' ')[0])
    if (ran > 0) return ran / 1e6
    // Fields 14 and 15 are user and system time. They come after the command's name, which may contain any characters.
    const fields = readFileSync(`${folder}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_S
  } catch {
    // The thread ended between the listing and the read.
    return null
  }
}

/** Number of cores that a process used between two readings. */
export interface CpuShare {
  readonly cores: number
  readonly mainCores: number
  /** The other threads that used more than a hundredth of a core, busiest first. */
  readonly otherCores: readonly number[]
}

export function cpuBetween(pid: number, from: CpuTime, to: CpuTime): CpuShare {
  const wallMs = to.atMs - from.atMs
  const used = [...to.threads].map(([thread, ms]) => ({
    thread,
    cores: Math.max(0, ms - (from.threads.get(thread) ?? 0)) / wallMs,
  }))
  return {
    cores: used.reduce((sum, { cores }) => sum + cores, 0),
    mainCores: used.find(({ thread }) => thread === pid)?.cores ?? 0,
    otherCores: used
      .filter(({ thread, cores }) => thread !== pid && cores > 0.01)
      .map(({ cores }) => cores)
      .toSorted((a, b) => b - a),
  }
}

import { spawn, type ChildProcess, type IOType } from 'node:child_process'
import { ended, guardGroup, killGroup, type Guard } from '../system/process-guard.js'
import { programMark } from '../system/program-mark.js'

interface ChildProgramOptions {
  /** Folder of the program, removed when the program has ended, even if this process ended first. */
  readonly folder: string
  /** Maximum time for the program to end after SIGTERM, in milliseconds. */
  readonly stopMsMax: number
  readonly env?: NodeJS.ProcessEnv
  /** Open file for standard output and standard error. Default: none. */
  readonly output?: number
}

/** A program that always ends with this process, even if this process is killed. */
export class ChildProgram {
  readonly #child: ChildProcess
  readonly #guard: Guard | null
  /** Resolves when the program has ended, or could not be started. */
  readonly ended: Promise<unknown>

  constructor(program: string, args: readonly string[], options: ChildProgramOptions) {
    const { folder, stopMsMax, env = process.env } = options
    const output: IOType | number = options.output ?? 'ignore'
    // The program has its own process group. So Ctrl-C at a terminal reaches only this process, which then ends the
    // program.
    const mark = programMark()
    const child = spawn(program, args, {
      detached: true,
      env: { ...env, ...mark.env },
      stdio: ['ignore', output, output],
    })
    child.on('error', () => undefined)
    this.#child = child
    this.#guard = child.pid === undefined ? null : guardGroup(child.pid, mark, Math.ceil(stopMsMax / 100), { folder })
    this.ended = ended(child)
  }

  get isRunning(): boolean {
    const { pid, exitCode, signalCode } = this.#child
    return pid !== undefined && exitCode === null && signalCode === null
  }

  /** Stops the program normally, or by force after the time limit. Then removes its folder. */
  async stop(): Promise<void> {
    this.#guard?.close()
    await this.#guard?.ended
    // If another program has ended the guard itself, the program still runs and is ended here.
    if (this.isRunning && this.#child.pid !== undefined) killGroup(this.#child.pid)
    await this.ended
  }
}

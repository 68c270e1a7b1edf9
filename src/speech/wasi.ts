/**
 * WASI preview 1 for one run of a batch program. The program reads its arguments, writes one file and exits. Everything
 * is in memory: the run uses no disk and no temporary folder, and does not cause the ExperimentalWarning of
 * `node:wasi`. See https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
 */
export class WasiRun {
  readonly #decoder = new TextDecoder()
  readonly #argBytes: readonly Uint8Array[]
  readonly #rootBytes: Uint8Array
  readonly #fileBytesMax: number
  readonly #files = new Map<string, MemoryFile>()
  readonly #open = new Map<number, MemoryFile>()
  #nextFd = FIRST_FILE_FD
  #messages = ''
  #memory: WebAssembly.Memory | null = null

  /**
   * @param args  arguments of the program; the first is the program's name
   * @param root  name of the only visible folder, for example `/o`
   * @param fileBytesMax  maximum size of a file in bytes; writes beyond it fail
   */
  constructor(args: readonly string[], root: string, fileBytesMax: number) {
    const encoder = new TextEncoder()
    this.#argBytes = args.map((arg) => encoder.encode(`${arg}\0`))
    this.#rootBytes = encoder.encode(root)
    this.#fileBytesMax = fileBytesMax
  }

  /** The `wasi_snapshot_preview1` imports. */
  get imports(): Readonly<Record<string, (...args: never[]) => number>> {
    return { ...this.#programImports(), ...this.#fileImports() }
  }

  /** Sets the instance's memory. Call it before `_start`. */
  bind(memory: WebAssembly.Memory): void {
    this.#memory = memory
  }

  /** Bytes that the program wrote to a file of the preopened folder; null if it did not create the file. */
  file(name: string): Uint8Array | null {
    const file = this.#files.get(name)
    return file === undefined ? null : file.bytes.subarray(0, file.lengthBytes)
  }

  /** The beginning of the program's stdout and stderr. */
  get messages(): string {
    return this.#messages.trim()
  }

  // A view is made for every access, because the memory's buffer is detached when the memory grows.
  #view(): DataView {
    return new DataView(this.#boundMemory().buffer)
  }

  #bytesAt(at: number, length: number): Uint8Array {
    return new Uint8Array(this.#boundMemory().buffer, at, length)
  }

  #boundMemory(): WebAssembly.Memory {
    if (this.#memory === null) throw new Error('WASI call before bind()')
    return this.#memory
  }

  #append(file: MemoryFile, bytes: Uint8Array): boolean {
    const end = file.positionBytes + bytes.length
    if (end > this.#fileBytesMax) return false
    if (end > file.bytes.length) {
      const grown = new Uint8Array(Math.max(end, file.bytes.length * 2))
      grown.set(file.bytes.subarray(0, file.lengthBytes))
      file.bytes = grown
    }
    file.bytes.set(bytes, file.positionBytes)
    file.positionBytes = end
    file.lengthBytes = Math.max(file.lengthBytes, end)
    return true
  }

  #programImports(): WasiRun['imports'] {
    return {
      args_sizes_get: (countAt: number, bytesCountAt: number): number => {
        this.#view().setUint32(countAt, this.#argBytes.length, true)
        this.#view().setUint32(
          bytesCountAt,
          this.#argBytes.reduce((sum, arg) => sum + arg.length, 0),
          true,
        )
        return SUCCESS
      },
      args_get: (pointersAt: number, textAt: number): number => {
        let at = textAt
        for (const [i, arg] of this.#argBytes.entries()) {
          this.#view().setUint32(pointersAt + 4 * i, at, true)
          this.#bytesAt(at, arg.length).set(arg)
          at += arg.length
        }
        return SUCCESS
      },
      // The synthesiser uses the time only for statistics. A constant time makes its output reproducible.
      clock_time_get: (_clock: number, _precision: bigint, timeAt: number): number => {
        this.#view().setBigUint64(timeAt, 0n, true)
        return SUCCESS
      },
      proc_exit: (exitCode: number): never => {
        throw new WasiExit(exitCode)
      },
    }
  }

  #fileImports(): WasiRun['imports'] {
    return {
      fd_close: (fd: number): number => (this.#open.delete(fd) ? SUCCESS : BADF),
      fd_fdstat_get: (fd: number, statAt: number): number => {
        this.#bytesAt(statAt, FDSTAT_BYTES).fill(0)
        const isFile = this.#open.has(fd)
        if (fd > ROOT_FD && !isFile) return BADF
        this.#view().setUint8(
          statAt,
          isFile ? FILETYPE_REGULAR_FILE : fd === ROOT_FD ? FILETYPE_DIRECTORY : FILETYPE_CHARACTER_DEVICE,
        )
        this.#view().setBigUint64(statAt + 8, ALL_RIGHTS, true)
        this.#view().setBigUint64(statAt + 16, ALL_RIGHTS, true)
        return SUCCESS
      },
      fd_fdstat_set_flags: (): number => SUCCESS,
      fd_prestat_get: (fd: number, prestatAt: number): number => {
        if (fd !== ROOT_FD) return BADF
        this.#view().setUint32(prestatAt, 0, true)
        this.#view().setUint32(prestatAt + 4, this.#rootBytes.length, true)
        return SUCCESS
      },
      fd_prestat_dir_name: (fd: number, at: number, length: number): number => {
        if (fd !== ROOT_FD) return BADF
        this.#bytesAt(at, length).set(this.#rootBytes.subarray(0, length))
        return SUCCESS
      },
      // The program can read nothing: stdin is empty, and its only file is write-only.
      fd_read: (_fd: number, _vectorsAt: number, _vectors: number, readAt: number): number => {
        this.#view().setUint32(readAt, 0, true)
        return SUCCESS
      },
      fd_seek: (fd: number, offset: bigint, whence: number, positionAt: number): number => {
        const file = this.#open.get(fd)
        if (file === undefined) return SPIPE
        const from = whence === 0 ? 0 : whence === 1 ? file.positionBytes : file.lengthBytes
        file.positionBytes = Math.max(0, from + Number(offset))
        this.#view().setBigUint64(positionAt, BigInt(file.positionBytes), true)
        return SUCCESS
      },
      fd_write: (fd: number, vectorsAt: number, vectors: number, writtenAt: number): number => {
        const file = this.#open.get(fd)
        if (file === undefined && fd >= ROOT_FD) return BADF
        let written = 0
        for (let i = 0; i < vectors; i++) {
          const at = this.#view().getUint32(vectorsAt + 8 * i, true)
          const length = this.#view().getUint32(vectorsAt + 8 * i + 4, true)
          if (file === undefined)
            this.#messages = (this.#messages + this.#decoder.decode(this.#bytesAt(at, length))).slice(
              0,
              MESSAGES_CHARS_MAX,
            )
          else if (!this.#append(file, this.#bytesAt(at, length))) break
          written += length
        }
        this.#view().setUint32(writtenAt, written, true)
        return SUCCESS
      },
      path_open: (
        dirFd: number,
        _lookup: number,
        nameAt: number,
        nameLength: number,
        oflags: number,
        _rights: bigint,
        _rightsInheriting: bigint,
        _flags: number,
        fdAt: number,
      ): number => {
        if (dirFd !== ROOT_FD) return BADF
        const name = this.#decoder.decode(this.#bytesAt(nameAt, nameLength))
        let file = this.#files.get(name)
        if (file === undefined) {
          if ((oflags & OFLAGS_CREAT) === 0) return NOENT
          file = { bytes: new Uint8Array(64 * 1024), lengthBytes: 0, positionBytes: 0 }
          this.#files.set(name, file)
        }
        this.#open.set(this.#nextFd, file)
        this.#view().setUint32(fdAt, this.#nextFd++, true)
        return SUCCESS
      },
    }
  }
}

/** Error that `proc_exit` throws through the WebAssembly stack. */
export class WasiExit extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`the program exited with ${exitCode}`)
    this.exitCode = exitCode
  }
}

interface MemoryFile {
  bytes: Uint8Array
  lengthBytes: number
  positionBytes: number
}

const SUCCESS = 0
const BADF = 8
const NOENT = 44
const SPIPE = 70
const FILETYPE_CHARACTER_DEVICE = 2
const FILETYPE_DIRECTORY = 3
const FILETYPE_REGULAR_FILE = 4
const OFLAGS_CREAT = 1
const FDSTAT_BYTES = 24
/** The program gets all rights, because it can reach only this memory. */
const ALL_RIGHTS = 0x1fffffffn
/** File descriptor of the one preopened folder. Larger descriptors belong to files. */
const ROOT_FD = 3
const FIRST_FILE_FD = 4
/** Maximum number of stored characters of stdout and stderr together, for an error message. */
const MESSAGES_CHARS_MAX = 2000

/**
 * As much of WASI preview 1 as a batch program needs that reads its arguments, writes one file and exits. All of it
 * is in memory: no disk, no temporary folder, and no ExperimentalWarning as from `node:wasi`. One shim serves one
 * run of one instance.
 *
 * @see https://github.com/WebAssembly/WASI/blob/main/legacy/preview1/docs.md
 */

const SUCCESS = 0
const BADF = 8
const NOENT = 44
const SPIPE = 70
const FILETYPE_CHARACTER_DEVICE = 2
const FILETYPE_DIRECTORY = 3
const FILETYPE_REGULAR_FILE = 4
const OFLAGS_CREAT = 1
const FDSTAT_BYTES = 24
/** Every right; the program is ours and sees nothing but this memory. */
const ALL_RIGHTS = 0x1fffffffn
/** The one preopened folder; file descriptors from here on are files. */
const ROOT_FD = 3
const FIRST_FILE_FD = 4
/** stdout and stderr together keep this much, for an error message. */
const MESSAGES_CHARS_MAX = 2000

interface MemoryFile {
  bytes: Uint8Array
  lengthBytes: number
  positionBytes: number
}

/** Thrown through the WebAssembly stack by `proc_exit`. */
export class WasiExit extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`the program exited with ${exitCode}`)
    this.exitCode = exitCode
  }
}

export interface WasiRun {
  /** The `wasi_snapshot_preview1` imports. */
  readonly imports: Readonly<Record<string, (...args: never[]) => number>>
  /** Must be called with the instance's memory before `_start`. */
  bind(memory: WebAssembly.Memory): void
  /** What was written to a file of the preopened folder `root`; null when it was not created. */
  file(name: string): Uint8Array | null
  /** The beginning of what went to stdout and stderr. */
  messages(): string
}

/**
 * @param args  with the program's name first
 * @param root  name of the one folder that the program sees, for example `/o`
 * @param fileBytesMax  largest file; a write beyond it fails
 */
export function wasiRun(args: readonly string[], root: string, fileBytesMax: number): WasiRun {
  const encoder = new TextEncoder()
  const decoder = new TextDecoder()
  const argBytes = args.map((arg) => encoder.encode(`${arg}\0`))
  const rootBytes = encoder.encode(root)
  const files = new Map<string, MemoryFile>()
  const open = new Map<number, MemoryFile>()
  let nextFd = FIRST_FILE_FD
  let messages = ''
  let memory: WebAssembly.Memory | null = null

  // The memory may have grown since the last call, which detaches its old buffer: a view is made each time.
  const view = (): DataView => new DataView(boundMemory().buffer)
  const bytesAt = (at: number, length: number): Uint8Array => new Uint8Array(boundMemory().buffer, at, length)
  function boundMemory(): WebAssembly.Memory {
    if (memory === null) throw new Error('WASI call before bind()')
    return memory
  }

  function append(file: MemoryFile, bytes: Uint8Array): boolean {
    const end = file.positionBytes + bytes.length
    if (end > fileBytesMax) return false
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

  const imports = {
    args_sizes_get(countAt: number, bytesCountAt: number): number {
      view().setUint32(countAt, argBytes.length, true)
      view().setUint32(bytesCountAt, argBytes.reduce((sum, arg) => sum + arg.length, 0), true)
      return SUCCESS
    },
    args_get(pointersAt: number, textAt: number): number {
      let at = textAt
      for (const [i, arg] of argBytes.entries()) {
        view().setUint32(pointersAt + 4 * i, at, true)
        bytesAt(at, arg.length).set(arg)
        at += arg.length
      }
      return SUCCESS
    },
    // The synthesiser asks for the time only for its own statistics; a constant makes its output reproducible.
    clock_time_get(_clock: number, _precision: bigint, timeAt: number): number {
      view().setBigUint64(timeAt, 0n, true)
      return SUCCESS
    },
    fd_close(fd: number): number {
      return open.delete(fd) ? SUCCESS : BADF
    },
    fd_fdstat_get(fd: number, statAt: number): number {
      bytesAt(statAt, FDSTAT_BYTES).fill(0)
      const isFile = open.has(fd)
      if (fd > ROOT_FD && !isFile) return BADF
      view().setUint8(statAt, isFile ? FILETYPE_REGULAR_FILE : fd === ROOT_FD ? FILETYPE_DIRECTORY : FILETYPE_CHARACTER_DEVICE)
      view().setBigUint64(statAt + 8, ALL_RIGHTS, true)
      view().setBigUint64(statAt + 16, ALL_RIGHTS, true)
      return SUCCESS
    },
    fd_fdstat_set_flags(): number {
      return SUCCESS
    },
    fd_prestat_get(fd: number, prestatAt: number): number {
      if (fd !== ROOT_FD) return BADF
      view().setUint32(prestatAt, 0, true)
      view().setUint32(prestatAt + 4, rootBytes.length, true)
      return SUCCESS
    },
    fd_prestat_dir_name(fd: number, at: number, length: number): number {
      if (fd !== ROOT_FD) return BADF
      bytesAt(at, length).set(rootBytes.subarray(0, length))
      return SUCCESS
    },
    // Nothing can be read: stdin is empty, and the one file is for writing.
    fd_read(_fd: number, _vectorsAt: number, _vectors: number, readAt: number): number {
      view().setUint32(readAt, 0, true)
      return SUCCESS
    },
    fd_seek(fd: number, offset: bigint, whence: number, positionAt: number): number {
      const file = open.get(fd)
      if (file === undefined) return SPIPE
      const from = whence === 0 ? 0 : whence === 1 ? file.positionBytes : file.lengthBytes
      file.positionBytes = Math.max(0, from + Number(offset))
      view().setBigUint64(positionAt, BigInt(file.positionBytes), true)
      return SUCCESS
    },
    fd_write(fd: number, vectorsAt: number, vectors: number, writtenAt: number): number {
      const file = open.get(fd)
      if (file === undefined && fd >= ROOT_FD) return BADF
      let written = 0
      for (let i = 0; i < vectors; i++) {
        const at = view().getUint32(vectorsAt + 8 * i, true)
        const length = view().getUint32(vectorsAt + 8 * i + 4, true)
        if (file === undefined) messages = (messages + decoder.decode(bytesAt(at, length))).slice(0, MESSAGES_CHARS_MAX)
        else if (!append(file, bytesAt(at, length))) break
        written += length
      }
      view().setUint32(writtenAt, written, true)
      return SUCCESS
    },
    path_open(
      dirFd: number, _lookup: number, nameAt: number, nameLength: number, oflags: number,
      _rights: bigint, _rightsInheriting: bigint, _flags: number, fdAt: number,
    ): number {
      if (dirFd !== ROOT_FD) return BADF
      const name = decoder.decode(bytesAt(nameAt, nameLength))
      let file = files.get(name)
      if (file === undefined) {
        if ((oflags & OFLAGS_CREAT) === 0) return NOENT
        file = { bytes: new Uint8Array(64 * 1024), lengthBytes: 0, positionBytes: 0 }
        files.set(name, file)
      }
      open.set(nextFd, file)
      view().setUint32(fdAt, nextFd++, true)
      return SUCCESS
    },
    proc_exit(exitCode: number): never {
      throw new WasiExit(exitCode)
    },
  }

  return {
    imports,
    bind(instanceMemory) {
      memory = instanceMemory
    },
    file(name) {
      const file = files.get(name)
      return file === undefined ? null : file.bytes.subarray(0, file.lengthBytes)
    },
    messages: () => messages.trim(),
  }
}

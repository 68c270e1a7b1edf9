import {
  closeSync,
  existsSync,
  fdatasyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  statSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { logFiles } from './kept-files.js'

/**
 * Maximum number of calls that can be found by SID without reading the archive's files. Each needs 150 bytes of memory.
 */
const ARCHIVE_INDEX_MAX = 100_000
/** Maximum size in bytes of a document in the archive. A transcript at its limits has 1.6 MB. */
export const ARCHIVE_LINE_BYTES_MAX = 8 * 1024 * 1024

/** File system functions with which a log writes. Tests replace them to simulate a full disk. */
export interface LogDisk {
  open(path: string): number
  /** @returns the number of written bytes, possibly fewer than given */
  write(file: number, bytes: Uint8Array, from: number): number
  truncate(file: number, bytes: number): void
  sync(file: number): void
  close(file: number): void
}

/** Age in ms of a file up to which another process may still be writing its last line. */
const TORN_AFTER_MS = 5000
export const NEWLINE = 0x0a
/**
 * First byte of an erased or replaced line, which contains only spaces (`erasure.ts`). A document never begins with a
 * space.
 */
export const ERASED = 0x20
const DISK: LogDisk = {
  // `wx`, so that two processes never write into one file.
  open: (path) => openSync(path, 'ax', 0o600),
  write: (file, bytes, from) => writeSync(file, bytes, from),
  truncate: ftruncateSync,
  sync: fdatasyncSync,
  close: closeSync,
}

/**
 * Log of JSON documents, one per line. Each document has a key. Documents are only appended to the files. A line is
 * either complete or absent: a failed write is removed, and after a crash the next start cuts off an incomplete line.
 * Each start writes its own file, so that several processes may use the same folder.
 *
 * Synchronous, for a thread without other work. Methods throw errors of the file system.
 */
export class LineLog {
  /** Number of lines that a crash left incomplete, or that are not JSON with a key. */
  torn = 0
  unreadable = 0
  readonly #options: LineLogOptions
  readonly #disk: LogDisk
  readonly #pattern: RegExp
  /** Files, oldest first. */
  readonly #files: LogFile[] = []
  /** Locations of documents by key, oldest first. Their number is limited. */
  readonly #places = new Map<string, Place>()
  #open: { readonly file: LogFile; readonly handle: number } | null = null
  #dirty = false

  constructor(options: LineLogOptions) {
    this.#options = options
    this.#disk = options.disk ?? DISK
    this.#pattern = logFiles(options.name)
  }

  /**
   * Reads the lines of earlier runs. Creates the folder if it is missing.
   * @param nowMs  calendar time
   */
  load(nowMs: number): void {
    const { folder } = this.#options
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const names = readdirSync(folder)
      .filter((name) => this.#pattern.test(name))
      .sort()
    for (const name of names) {
      const path = join(folder, name)
      const whole = this.#repair(path, nowMs)
      const file: LogFile = { name, day: this.#pattern.exec(name)?.[1] ?? '', bytes: whole.length }
      this.#files.push(file)
      this.#read(file, whole)
    }
  }

  /** Writes one document. @returns the file's name */
  append(key: string, document: unknown, nowMs: number): string {
    const line = Buffer.from(`${JSON.stringify(document)}\n`)
    if (line.length > ARCHIVE_LINE_BYTES_MAX) throw new RangeError(`a document of ${line.length} bytes`)
    const { file, handle } = this.#fileFor(line.length, nowMs)
    const at = file.bytes
    try {
      for (let from = 0; from < line.length;) from += this.#disk.write(handle, line, from)
    } catch (thrown) {
      // A partial line is removed, because it would also damage the next line. If this fails, the next document goes to
      // a new file.
      try {
        this.#disk.truncate(handle, at)
      } catch {
        this.#closeFile()
      }
      throw thrown
    }
    file.bytes += line.length
    this.#dirty = true
    this.#place(key, { file, at, bytes: line.length - 1 })
    return file.name
  }

  /** Syncs all writes since the last call to the disk. */
  sync(): void {
    if (!this.#dirty || this.#open === null) return
    this.#dirty = false
    this.#disk.sync(this.#open.handle)
  }

  /** Finds the newest document of a key; undefined if there is none, or if it was erased or deleted by retention. */
  find(key: string): unknown {
    const place = this.#places.get(key)
    return place === undefined ? undefined : this.#readAt(place)
  }

  /** The `count` newest documents, the oldest of them first. */
  newest(count: number): unknown[] {
    return [...this.#places.values()]
      .slice(-count)
      .map((place) => this.#readAt(place))
      .filter((document) => document !== undefined)
  }

  close(): void {
    this.sync()
    this.#closeFile()
  }

  #fileFor(bytes: number, nowMs: number): { readonly file: LogFile; readonly handle: number } {
    const day = dayOf(nowMs)
    const open = this.#open
    if (open !== null && open.file.day === day && open.file.bytes + bytes <= this.#options.fileBytes) return open
    this.sync()
    this.#closeFile()
    for (let ordinal = this.#nextOrdinal(day); ; ordinal++) {
      const name = `${this.#options.name}-${day}-${String(ordinal).padStart(4, '0')}.jsonl`
      try {
        const handle = this.#disk.open(join(this.#options.folder, name))
        const file: LogFile = { name, day, bytes: 0 }
        this.#files.push(file)
        // The files are sorted, because a document of a dead process's call may have an earlier day.
        this.#files.sort((a, b) => (a.name < b.name ? -1 : 1))
        this.#open = { file, handle }
        return this.#open
      } catch (thrown) {
        // Another process has just created this file.
        if ((thrown as NodeJS.ErrnoException).code !== 'EEXIST') throw thrown
      }
    }
  }

  #nextOrdinal(day: string): number {
    const used = this.#files
      .filter((file) => file.day === day)
      .map((file) => Number(this.#pattern.exec(file.name)?.[2] ?? 0))
    return Math.max(0, ...used) + 1
  }

  #closeFile(): void {
    const open = this.#open
    if (open === null) return
    this.#open = null
    this.#disk.close(open.handle)
  }

  /** Reads the complete lines of a file. Cuts off an incomplete line at its end. */
  #repair(path: string, nowMs: number): Buffer {
    const bytes = readFileSync(path)
    const end = bytes.lastIndexOf(NEWLINE) + 1
    if (end === bytes.length) return bytes
    if (nowMs - statSync(path).mtimeMs > TORN_AFTER_MS) {
      this.torn++
      truncateSync(path, end)
    }
    return bytes.subarray(0, end)
  }

  #read(file: LogFile, bytes: Buffer): void {
    for (const { line, at } of linesOf(bytes)) {
      const key = keyOf(line)
      if (key === null) this.unreadable++
      else this.#place(key, { file, at, bytes: line.length })
    }
  }

  /**
   * Registers the place of a key's new line. The key's earlier line is overwritten with spaces, because each key has
   * only one line.
   */
  #place(key: string, place: Place): void {
    const before = this.#places.get(key)
    if (before !== undefined) this.#blank(before)
    this.#places.delete(key)
    this.#places.set(key, place)
    if (this.#places.size <= ARCHIVE_INDEX_MAX) return
    for (const oldest of this.#places.keys()) return void this.#places.delete(oldest)
  }

  /**
   * Overwrites a line with spaces. Never throws. If the disk fails, both lines of the key stay until the next start,
   * and the newer line counts.
   */
  #blank({ file, at, bytes }: Place): void {
    let handle: number | null = null
    try {
      // The key's new line is synced first. Otherwise a power cut could destroy both lines of the key.
      this.sync()
      handle = openSync(join(this.#options.folder, file.name), 'r+')
      const blank = Buffer.alloc(bytes, ERASED)
      for (let from = 0; from < bytes;) from += writeSync(handle, blank, from, bytes - from, at + from)
    } catch {
      // A failure is ignored: retention deletes the file, or the next `load` overwrites this line.
    } finally {
      if (handle !== null) closeSync(handle)
    }
  }

  /** Reads a document; undefined if it was erased, or if retention deleted its file. */
  #readAt({ file, at, bytes }: Place): unknown {
    const path = join(this.#options.folder, file.name)
    if (!existsSync(path)) return undefined
    const line = bytesAt(path, at, bytes)
    if (line.length < bytes) throw new Error(`${file.name} is shorter than it was`)
    return line[0] === ERASED ? undefined : (JSON.parse(line.toString()) as unknown)
  }
}

interface LineLogOptions {
  readonly folder: string
  /** Files are `NAME-2026-11-20-0001.jsonl`. */
  readonly name: string
  /** Size in bytes at which a new file is started. A new day also starts a new file. */
  readonly fileBytes: number
  readonly disk?: LogDisk
}

interface LogFile {
  readonly name: string
  readonly day: string
  bytes: number
}

interface Place {
  readonly file: LogFile
  readonly at: number
  readonly bytes: number
}

/** Complete lines that are not erased. A line that is still being written is left out. */
export function* linesOf(bytes: Buffer): Generator<{ readonly line: Buffer; readonly at: number }> {
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, at)
    if (end === -1) return
    if (bytes[at] !== ERASED) yield { line: bytes.subarray(at, end), at }
    at = end + 1
  }
}

/**
 * Reads bytes of a file from an offset. Returns fewer bytes if the file is shorter.
 * @throws errors of the file system
 */
export function bytesAt(path: string, at: number, bytes: number): Buffer {
  const handle = openSync(path, 'r')
  try {
    const read = Buffer.allocUnsafe(bytes)
    let from = 0
    for (let got = -1; from < bytes && got !== 0; from += got)
      got = readSync(handle, read, from, bytes - from, at + from)
    return read.subarray(0, from)
  } finally {
    closeSync(handle)
  }
}

/** Day in UTC, so that file names are sorted by age in all time zones. */
function dayOf(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 10)
}

function keyOf(line: Buffer): string | null {
  const callSid = jsonObject(line)?.['callSid']
  return typeof callSid === 'string' ? callSid : null
}

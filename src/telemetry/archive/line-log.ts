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

/** Calls of the archive that are found by their SID without reading its files: 150 bytes each. */
const ARCHIVE_INDEX_MAX = 100_000
/** Largest document of the archive: a transcript at its bounds has 1.6 MB. */
export const ARCHIVE_LINE_BYTES_MAX = 8 * 1024 * 1024

/** The file system functions that a log writes with; a test replaces them to simulate a full disk. */
export interface LogDisk {
  open(path: string): number
  /** @returns bytes written, possibly fewer than given */
  write(file: number, bytes: Uint8Array, from: number): number
  truncate(file: number, bytes: number): void
  sync(file: number): void
  close(file: number): void
}

/** Another process may still be writing an unfinished line that is younger than this. */
const TORN_AFTER_MS = 5000
export const NEWLINE = 0x0a
/** An erased or replaced line is all spaces (`erasure.ts`); no document begins with one. */
export const ERASED = 0x20
const DISK: LogDisk = {
  // Exclusive: no two processes ever write into one file.
  open: (path) => openSync(path, 'ax', 0o600),
  write: (file, bytes, from) => writeSync(file, bytes, from),
  truncate: ftruncateSync,
  sync: fdatasyncSync,
  close: closeSync,
}

/**
 * JSON documents, one a line, each under a key, in files that are only ever appended to. A line is whole or
 * absent: a write that fails half-way is truncated, and an unfinished line after a crash is cut off at the next start.
 * Each start writes into a file of its own, so that several processes may share a folder.
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system throws.
 */
export class LineLog {
  /** Lines that a crash had left unfinished, and lines that are not JSON with a key. */
  torn = 0
  unreadable = 0
  readonly #options: LineLogOptions
  readonly #disk: LogDisk
  readonly #pattern: RegExp
  /** Oldest first. */
  readonly #files: LogFile[] = []
  /** Oldest first; bounded. */
  readonly #places = new Map<string, Place>()
  #open: { readonly file: LogFile; readonly handle: number } | null = null
  #dirty = false

  constructor(options: LineLogOptions) {
    this.#options = options
    this.#disk = options.disk ?? DISK
    this.#pattern = logFiles(options.name)
  }

  /** Finds what earlier runs wrote; makes the folder. @param nowMs calendar time */
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
      // Half a line would corrupt the next one too. If truncating fails, a new file is started.
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

  /** Syncs to the disk what was written since the last call. */
  sync(): void {
    if (!this.#dirty || this.#open === null) return
    this.#dirty = false
    this.#disk.sync(this.#open.handle)
  }

  /** The newest document of a key; undefined also when it was erased, or deleted by retention. */
  find(key: string): unknown {
    const place = this.#places.get(key)
    return place === undefined ? undefined : this.#readAt(place)
  }

  /** The newest documents, oldest of them first. */
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
        // A document of a dead process's call may be of an earlier day.
        this.#files.sort((a, b) => (a.name < b.name ? -1 : 1))
        this.#open = { file, handle }
        return this.#open
      } catch (thrown) {
        // Another process has just created it.
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

  /** The file's whole lines; an unfinished one at its end is cut off. */
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

  /** A key has one line: the one before is replaced by spaces, in whichever file it is. */
  #place(key: string, place: Place): void {
    const before = this.#places.get(key)
    if (before !== undefined) this.#blank(before)
    this.#places.delete(key)
    this.#places.set(key, place)
    if (this.#places.size <= ARCHIVE_INDEX_MAX) return
    for (const oldest of this.#places.keys()) return void this.#places.delete(oldest)
  }

  /** Does not throw: where the disk refuses, both lines stay until the next start, and the newer one counts. */
  #blank({ file, at, bytes }: Place): void {
    let handle: number | null = null
    try {
      // First the disk has the line that replaces it: a power cut must not take both.
      this.sync()
      handle = openSync(join(this.#options.folder, file.name), 'r+')
      const blank = Buffer.alloc(bytes, ERASED)
      for (let from = 0; from < bytes;) from += writeSync(handle, blank, from, bytes - from, at + from)
    } catch {
      // Its file is deleted with its age, or the next `load` does it.
    } finally {
      if (handle !== null) closeSync(handle)
    }
  }

  /** Undefined when it was erased, or its file was too old. */
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
  /** A file that has this many bytes is followed by the next. A new day begins a new file too. */
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

/** Whole lines that are not erased; one that is still being written has no end yet. */
export function* linesOf(bytes: Buffer): Generator<{ readonly line: Buffer; readonly at: number }> {
  for (let at = 0; at < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, at)
    if (end === -1) return
    if (bytes[at] !== ERASED) yield { line: bytes.subarray(at, end), at }
    at = end + 1
  }
}

/** Bytes of a file from a place on; fewer where it ends before. @throws what the file system throws */
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

/** UTC, so that a file's name sorts by age wherever it was written. */
function dayOf(wallMs: number): string {
  return new Date(wallMs).toISOString().slice(0, 10)
}

function keyOf(line: Buffer): string | null {
  const callSid = jsonObject(line)?.['callSid']
  return typeof callSid === 'string' ? callSid : null
}

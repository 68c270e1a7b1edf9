import { chmodSync, mkdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import type * as Sqlite from 'node-sqlite3-wasm'
import type { Database, SQLiteValue } from 'node-sqlite3-wasm'
import type { ChartGroup, ChartRange } from '../../../call/documents/call-charts.js'
import { costOf, indexedCall, isOfNumbers, searchExpression } from '../../../call/documents/call-search.js'
import type { CallSearch, IndexedCall, WrittenRecord } from '../../../call/documents/call-search.js'
import { endedRow } from '../../../call/documents/call-view.js'
import type { ListedCall } from '../../../call/documents/call-view.js'
import { whereThere } from '../../../core/errors.js'
import { jsonObject } from '../../../core/json.js'
import { CallFigures, countedOf, FIGURES_SCHEMA } from './call-figures.js'
import { keptFolder, keptNames } from '../kept-files.js'
import { ARCHIVE_LINE_BYTES_MAX, bytesAt, ERASED, linesOf, NEWLINE } from '../line-log.js'
import { Sql } from './sql.js'
import type { SqlRow } from './sql.js'

// The package's module has no named exports.
const sqlite = createRequire(import.meta.url)('node-sqlite3-wasm') as typeof Sqlite

/** Raised with what the index has of a call: one of another version is made anew. */
const INDEX_VERSION = 4
/** Memory of the engine for pages of the file. */
const CACHE_KB = 4096
/** Records are read and indexed in pieces of this size, each in one transaction; a longer record is read whole. */
const PIECE_BYTES = 256 * 1024
/** The index does not grow where less than this is free: records and recordings need it. */
const FREE_BYTES_MIN = 256 * 1024 * 1024
/** Pages of the index that one step of a purge writes anew. */
const PURGE_PAGES = 256
/** Records that are read for one page: some may be gone. */
const READ_MAX = 2000
/** Distinct ids for calls of one millisecond: 2^53 is reached in the year 2255. */
const IDS_PER_MS = 1000

const SCHEMA = `
  CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT UNIQUE, bytes INTEGER NOT NULL);
  CREATE TABLE calls(id INTEGER PRIMARY KEY, sid TEXT UNIQUE, file INTEGER NOT NULL, at INTEGER NOT NULL, bytes INTEGER NOT NULL, cost REAL,
    counted TEXT NOT NULL);
  CREATE VIRTUAL TABLE words USING fts5(said, terms, content='', contentless_delete=1, detail='column', tokenize='ascii');
  ${FIGURES_SCHEMA}
  PRAGMA user_version = ${INDEX_VERSION};`

/** A page of hits, newest first. */
export interface FoundPage {
  readonly hits: readonly { readonly id: number; readonly row: ListedCall }[]
  /** Where to go on: with calls of a smaller id. Null: there are no older ones. */
  readonly next: number | null
}

/**
 * By what ended calls are found: an SQLite file that follows the logs of records. It has where each record is and the
 * terms that it is found by, no record and no text; a hit is read from its log. The logs are the truth: whatever is wrong
 * with the index, it is deleted and made again from them (docs/adr/0026-an-index-of-calls.md).
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system and the engine throw.
 */
export class CallIndex {
  readonly #dataFolders: readonly string[]
  readonly #path: string
  #sql: Sql
  #figures: CallFigures

  /** @param dataFolders  the index is in the first */
  constructor(dataFolders: readonly [string, ...string[]]) {
    this.#dataFolders = dataFolders
    this.#path = join(keptFolder(dataFolders[0], 'index'), 'index.sqlite')
    this.#sql = new Sql(this.#opened())
    this.#figures = new CallFigures(this.#sql)
  }

  /** Indexes what is new, one piece of it. @returns whether there is more */
  follow(): boolean {
    return this.#repaired(() => {
      const onDisk = this.#logs()
      const known = this.#sql.all<IndexedFile>('SELECT id, path, bytes FROM files')
      const gone = known.find(({ path }) => !onDisk.has(path))
      if (gone !== undefined) {
        this.#forgetFile(gone)
        return true
      }
      const bytesOf = new Map(known.map((file) => [file.path, file]))
      // Newest first: they are looked for first.
      for (const [path, size] of onDisk) {
        const file = bytesOf.get(path)
        if (size <= (file?.bytes ?? 0)) continue
        if (freeBytes(this.#path) < FREE_BYTES_MIN) throw new Error('the index does not grow: the disk is nearly full')
        if (this.#indexPiece(path, file, size)) return true
      }
      return this.#purge()
    }, true)
  }

  /**
   * @param before  only calls with a smaller id; null: from the newest on
   * @param numbers  of ours, to whose calls it is limited; null: any
   */
  find(search: CallSearch, before: number | null, limit: number, numbers: readonly string[] | null): FoundPage {
    return this.#repaired(
      () => {
        const hits: { id: number; row: ListedCall }[] = []
        const expression = searchExpression(search, numbers)
        const from = search.from === undefined ? 0 : Date.parse(search.from) * IDS_PER_MS
        const to = search.to === undefined ? Number.MAX_SAFE_INTEGER : Date.parse(search.to) * IDS_PER_MS
        let next = Math.min(before ?? Number.MAX_SAFE_INTEGER, to)
        for (let read = 0; hits.length < limit && read < READ_MAX;) {
          const ids = this.#ids(search, expression, from, next, limit - hits.length)
          for (const id of ids) {
            const record = this.#recordAt('id', id)
            // Every row is looked at as the lists do it, whatever the index says of it.
            if (record !== undefined && isOfNumbers(record, numbers))
              hits.push({ id, row: { ...endedRow(record), cost: costOf(record) } })
            next = id
          }
          if (ids.length === 0) return { hits, next: null }
          read += ids.length
        }
        return { hits, next }
      },
      { hits: [], next: null },
    )
  }

  /** @param numbers  as of `find` */
  chart(range: ChartRange, numbers: readonly string[] | null): ChartGroup[] {
    return this.#repaired(() => this.#figures.chart(range, numbers), [])
  }

  /** The newest record of a call; undefined where the index knows of none. */
  record(callSid: string): WrittenRecord | undefined {
    return this.#repaired(() => this.#recordAt('sid', callSid), undefined)
  }

  /** Erases what is known of calls. @returns how many of them were known */
  forget(callSids: readonly string[]): number {
    return this.#repaired(() => {
      let known = 0
      this.#transaction(() => {
        for (const callSid of callSids) {
          const call = this.#sql.one('SELECT id, counted FROM calls WHERE sid = ?', callSid)
          if (call === null) continue
          this.#forgetCall(call)
          known++
        }
        if (known > 0) this.#sql.db.exec(purgeIs(true))
      })
      return known
    }, 0)
  }

  close(): void {
    this.#sql.close()
  }

  /** Deletes the index; `follow` makes it again. */
  drop(): void {
    this.close()
    rmSync(dirname(this.#path), { recursive: true, force: true })
    this.#sql = new Sql(this.#opened())
    this.#figures = new CallFigures(this.#sql)
  }

  #opened(): Database {
    const folder = dirname(this.#path)
    try {
      const db = this.#connected()
      if (db.get('PRAGMA user_version')?.['user_version'] === INDEX_VERSION) return db
      db.close()
    } catch (thrown) {
      if (!(thrown instanceof sqlite.SQLite3Error)) throw thrown
      // Not a database, or a torn one.
    }
    rmSync(folder, { recursive: true, force: true })
    const db = this.#connected()
    db.exec(`BEGIN; ${SCHEMA} COMMIT`)
    return db
  }

  #connected(): Database {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
    // Lock of a process that died: DATA_DIR has a lock of its own.
    rmSync(`${this.#path}.lock`, { recursive: true, force: true })
    const db = new sqlite.Database(this.#path)
    // Nobody else opens it: a lock for each statement would take longer than the statement.
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE; BEGIN EXCLUSIVE; COMMIT')
    // The lock is a folder that it makes for everyone to read.
    chmodSync(`${this.#path}.lock`, 0o700)
    db.exec(`PRAGMA cache_size = -${CACHE_KB}; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON`)
    return db
  }

  /** Logs of records with their sizes, the newest first; paths are relative to the first data folder. */
  #logs(): Map<string, number> {
    const [home] = this.#dataFolders
    const paths = this.#dataFolders.flatMap((folder) =>
      keptNames(folder, 'records').map((name) => join(keptFolder(folder, 'records'), name)),
    )
    paths.sort((a, b) => (basename(a) < basename(b) ? 1 : -1))
    return new Map(
      paths.flatMap((path) => {
        const size = statSync(path, { throwIfNoEntry: false })?.size
        return size === undefined ? [] : [[relative(home ?? '', path), size]]
      }),
    )
  }

  /** @returns false where there is only a line that is still being written */
  #indexPiece(path: string, file: IndexedFile | undefined, size: number): boolean {
    const from = file?.bytes ?? 0
    const read = (bytes: number): Buffer => this.#read(path, from, Math.min(bytes, size - from))
    let piece = read(PIECE_BYTES)
    if (!piece.includes(NEWLINE)) piece = read(ARCHIVE_LINE_BYTES_MAX)
    const whole = piece.lastIndexOf(NEWLINE) + 1
    // A line that is longer than any record is none.
    const end = whole === 0 && piece.length === ARCHIVE_LINE_BYTES_MAX ? piece.length : whole
    if (end === 0) return false
    this.#transaction(() => {
      const id = file?.id ?? Number(this.#sql.run('INSERT INTO files(path, bytes) VALUES(?, 0)', path).lastInsertRowid)
      for (const { line, at } of linesOf(piece)) this.#indexLine(line, { file: id, path, at: from + at })
      this.#sql.run('UPDATE files SET bytes = ? WHERE id = ?', from + end, id)
    })
    return true
  }

  #indexLine(line: Buffer, place: { readonly file: number; readonly path: string; readonly at: number }): void {
    const known = termsOf(line)
    if (known === null) return
    const { callSid, startedAtMs, said, terms, cost, counted } = known
    const before = this.#sql.one(
      'SELECT calls.id, counted, files.path, at FROM calls JOIN files ON files.id = file WHERE sid = ?',
      callSid,
    )
    if (before !== null) {
      const [older, newer] = [basename(place.path), basename(String(before['path']))]
      if (newer > older || (newer === older && Number(before['at']) > place.at)) return
      this.#forgetCall(before)
    }
    let id = startedAtMs * IDS_PER_MS + (hashOf(callSid) % IDS_PER_MS)
    while (this.#sql.one('SELECT 1 FROM calls WHERE id = ?', id) !== null) id++
    this.#sql.run(
      'INSERT INTO calls(id, sid, file, at, bytes, cost, counted) VALUES(?, ?, ?, ?, ?, ?, ?)',
      ...[id, callSid, place.file, place.at, line.length, cost, counted],
    )
    this.#figures.count(counted, 1)
    this.#sql.run('INSERT INTO words(rowid, said, terms) VALUES(?, ?, ?)', id, said, terms)
  }

  #forgetCall({ id = null, counted = null }: SqlRow): void {
    this.#sql.run('DELETE FROM words WHERE rowid = ?', id)
    this.#sql.run('DELETE FROM calls WHERE id = ?', id)
    this.#figures.count(String(counted), -1)
  }

  /** Retention has deleted a log. */
  #forgetFile({ id }: IndexedFile): void {
    this.#transaction(() => {
      for (const { counted } of this.#sql.all<{ counted: string }>('SELECT counted FROM calls WHERE file = ?', id))
        this.#figures.count(counted, -1)
      this.#sql.run('DELETE FROM words WHERE rowid IN (SELECT id FROM calls WHERE file = ?)', id)
      this.#sql.run('DELETE FROM calls WHERE file = ?', id)
      this.#sql.run('DELETE FROM files WHERE id = ?', id)
      this.#sql.db.exec(purgeIs(true))
    })
  }

  /** The engine keeps the words of a deleted row until it merges. Does one step of it. @returns whether there is more */
  #purge(): boolean {
    if (this.#sql.one('PRAGMA application_id')?.['application_id'] !== PURGE) return false
    const changes = (): number => Number(this.#sql.one('SELECT total_changes() AS n')?.['n'])
    const before = changes()
    // A negative number of pages begins to merge all into one.
    this.#sql.run("INSERT INTO words(words, rank) VALUES('merge', ?)", -PURGE_PAGES)
    if (changes() - before >= 2) return true
    this.#sql.db.exec(purgeIs(false))
    return false
  }

  #ids(
    { minCost, maxCost }: CallSearch,
    expression: string | null,
    from: number,
    below: number,
    limit: number,
  ): number[] {
    const range = 'ORDER BY rowid DESC LIMIT ?'
    const isAnyCost = minCost === undefined && maxCost === undefined
    const rows =
      expression === null
        ? this.#sql.all(`SELECT id FROM calls WHERE rowid >= ? AND rowid < ? ${range}`, from, below, limit)
        : isAnyCost
          ? this.#sql.all(
              `SELECT rowid AS id FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ? ${range}`,
              ...[expression, from, below, limit],
            )
          : // The terms of a cost are coarser.
            this.#sql.all(
              `SELECT words.rowid AS id FROM words CROSS JOIN calls ON calls.id = words.rowid WHERE words MATCH ?
                AND words.rowid >= ? AND words.rowid < ? AND cost BETWEEN ? AND ? ORDER BY words.rowid DESC LIMIT ?`,
              ...[expression, from, below, minCost ?? 0, maxCost ?? Number.MAX_VALUE, limit],
            )
    return rows.map(({ id }) => Number(id))
  }

  #recordAt(by: 'id' | 'sid', value: SQLiteValue): WrittenRecord | undefined {
    const place = this.#sql.one(
      `SELECT path, at, calls.bytes FROM calls JOIN files ON files.id = file WHERE calls.${by} = ?`,
      value,
    )
    if (place === null) return undefined
    const { path, at, bytes } = place
    const line = whereThere(() => this.#read(String(path), Number(at), Number(bytes)), undefined)
    // Erased, or replaced by a newer one, since it was indexed.
    if (line === undefined || line[0] === ERASED) return undefined
    return (jsonObject(line) ?? undefined) as WrittenRecord | undefined
  }

  #read(path: string, at: number, bytes: number): Buffer {
    return bytesAt(join(this.#dataFolders[0] ?? '', path), at, bytes)
  }

  #transaction(work: () => void): void {
    try {
      this.#sql.transaction(() => {
        work()
        this.#figures.flush()
      })
    } catch (thrown) {
      this.#figures.forgetDue()
      throw thrown
    }
  }

  /** Where the file is torn, it is made again. @param otherwise  the answer then */
  #repaired<T>(work: () => T, otherwise: T): T {
    try {
      return work()
    } catch (thrown) {
      if (!(thrown instanceof sqlite.SQLite3Error)) throw thrown
      if (!TORN.test(thrown.message)) throw thrown
      this.drop()
      return otherwise
    }
  }
}

interface IndexedFile {
  readonly id: number
  readonly path: string
  /** As far as it is indexed. */
  readonly bytes: number
}

/** How the engine says that the file is none of its, or torn. */
const TORN = /malformed|not a database|corrupt|no such table/

/** In the header of the file: words of deleted calls are still to be purged. */
const PURGE = 1
function purgeIs(due: boolean): string {
  return `PRAGMA application_id = ${due ? PURGE : 0}`
}

interface IndexedRecord extends IndexedCall {
  readonly callSid: string
  readonly startedAtMs: number
  readonly cost: number | null
  /** See `CallFigures`. */
  readonly counted: string
}

/** Null for a line that is no record. */
function termsOf(line: Buffer): IndexedRecord | null {
  const record = jsonObject(line) as WrittenRecord | null
  const startedAtMs = Date.parse(String(record?.startedAt))
  if (record === null || typeof record.callSid !== 'string' || Number.isNaN(startedAtMs)) return null
  try {
    // A search shows it.
    endedRow(record)
    const { callSid } = record
    const counted = countedOf(record, startedAtMs)
    return { callSid, startedAtMs, ...indexedCall(record), cost: costOf(record)?.amount ?? null, counted }
  } catch {
    return null // another program's line
  }
}

/** FNV-1a. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
  return hash >>> 0
}

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(dirname(path))
  return bavail * bsize
}

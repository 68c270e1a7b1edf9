import { chmodSync, mkdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import type * as Sqlite from 'node-sqlite3-wasm'
import type { Database, SQLiteValue } from 'node-sqlite3-wasm'
import type { ChartGroup, ChartRange } from '../../../call/documents/call-charts.js'
import { costOf, indexedCall, isOfNumbers, searchExpression } from '../../../call/documents/call-search.js'
import type { CallSearch, IndexedCall, WrittenRecord } from '../../../call/documents/call-search.js'
import { spansOf, USUAL_CALLS_MAX, usualOf } from '../../../call/why/usual.js'
import type { CallSpans, Usual } from '../../../call/why/usual.js'
import { endedRow } from '../../../call/documents/call-view.js'
import type { ListedCall } from '../../../call/documents/call-view.js'
import { whereThere } from '../../../core/errors.js'
import { jsonObject } from '../../../core/json.js'
import { CallFigures, countedOf, FIGURES_SCHEMA } from './call-figures.js'
import { keptFolder, keptNames } from '../kept-files.js'
import { ARCHIVE_LINE_BYTES_MAX, bytesAt, ERASED, linesOf, NEWLINE } from '../line-log.js'
import { Sql } from './sql.js'
import type { SqlRow } from './sql.js'

// The package has no named exports for `import`.
const sqlite = createRequire(import.meta.url)('node-sqlite3-wasm') as typeof Sqlite

/**
 * Version of an indexed call's fields. It is raised when the fields change. An index of another version is created
 * again.
 */
const INDEX_VERSION = 6
/** Memory in KB that the engine uses for pages of the file. */
const CACHE_KB = 4096
/**
 * Size in bytes of the pieces in which records are read and indexed. Each piece is one transaction. A record that is
 * longer than a piece is read completely.
 */
const PIECE_BYTES = 256 * 1024
/** Free space in bytes of the disk below which the index does not grow. This space is for records and recordings. */
const FREE_BYTES_MIN = 256 * 1024 * 1024
/** Number of index pages that one step of a purge rewrites. */
const PURGE_PAGES = 256
/**
 * Maximum number of records that are read for one page of hits. More records than hits are read if some were deleted.
 */
const READ_MAX = 2000
/** Number of ids for calls of the same millisecond. With this number, ids stay below 2^53 until the year 2255. */
const IDS_PER_MS = 1000

const SCHEMA = `
  CREATE TABLE files(id INTEGER PRIMARY KEY, path TEXT UNIQUE, bytes INTEGER NOT NULL);
  CREATE TABLE calls(id INTEGER PRIMARY KEY, sid TEXT UNIQUE, file INTEGER NOT NULL, at INTEGER NOT NULL, bytes INTEGER NOT NULL, cost REAL,
    counted TEXT NOT NULL, agent TEXT NOT NULL, spans TEXT NOT NULL);
  CREATE INDEX calls_of_agent ON calls(agent, id);
  CREATE VIRTUAL TABLE words USING fts5(said, terms, content='', contentless_delete=1, detail='column', tokenize='ascii');
  ${FIGURES_SCHEMA}
  PRAGMA user_version = ${INDEX_VERSION};`

/** A page of hits, newest first. */
export interface FoundPage {
  readonly hits: readonly { readonly id: number; readonly row: ListedCall }[]
  /** Ids of the next page are below this id; null on the last page. */
  readonly next: number | null
}

/**
 * Index of ended calls. It is an SQLite file that is updated from the logs of records. For each record it contains the
 * location and the search terms, but neither the record nor its texts. A hit is read from its log. The logs are the
 * original data: a faulty index is deleted and created again (docs/adr/0026-an-index-of-calls.md).
 *
 * Synchronous, for a thread without other work. Methods throw errors of the file system and the engine.
 */
export class CallIndex {
  readonly #dataFolders: readonly string[]
  readonly #path: string
  #sql: Sql
  #figures: CallFigures

  /** @param dataFolders the first folder contains the index */
  constructor(dataFolders: readonly [string, ...string[]]) {
    this.#dataFolders = dataFolders
    this.#path = join(keptFolder(dataFolders[0], 'index'), 'index.sqlite')
    this.#sql = new Sql(this.#opened())
    this.#figures = new CallFigures(this.#sql)
  }

  /** Indexes one piece of the new records. @returns true if there is more */
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
      // The newest logs are indexed first, because searches begin with the newest calls.
      for (const [path, size] of onDisk) {
        const file = bytesOf.get(path)
        if (size <= (file?.bytes ?? 0)) continue
        if (freeBytes(this.#path) < FREE_BYTES_MIN)
          throw new Error('new calls are not indexed: the disk is nearly full')
        if (this.#indexPiece(path, file, size)) return true
      }
      return this.#purge()
    }, true)
  }

  /**
   * @param before  only hits with ids below this id; null to begin with the newest call
   * @param numbers  own numbers whose calls are found; null for all numbers
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
            // Each record is compared with the search again, because the index may be wrong.
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

  /** @param numbers  see `find` */
  chart(range: ChartRange, numbers: readonly string[] | null): ChartGroup[] {
    return this.#repaired(() => this.#figures.chart(range, numbers), [])
  }

  /** Usual values of an agent's newest calls before a given time. */
  usual(agent: string, beforeMs: number): Usual {
    return this.#repaired(
      () =>
        usualOf(
          this.#sql
            .all(
              'SELECT spans FROM calls WHERE agent = ? AND id < ? ORDER BY id DESC LIMIT ?',
              ...[agent, beforeMs * IDS_PER_MS, USUAL_CALLS_MAX],
            )
            .map(({ spans }) => JSON.parse(String(spans)) as CallSpans),
        ),
      usualOf([]),
    )
  }

  /** Newest record of a call; undefined if the call is not in the index. */
  record(callSid: string): WrittenRecord | undefined {
    return this.#repaired(() => this.#recordAt('sid', callSid), undefined)
  }

  /** Erases calls from the index. @returns the number of erased calls */
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

  /** Deletes the index. `follow` creates it again. */
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
      // a file that is damaged or not a database has no version
    }
    rmSync(folder, { recursive: true, force: true })
    const db = this.#connected()
    db.exec(`BEGIN; ${SCHEMA} COMMIT`)
    return db
  }

  #connected(): Database {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 })
    // A lock that exists now belongs to a dead process: no other process uses the index, because DATA_DIR has its own
    // lock.
    rmSync(`${this.#path}.lock`, { recursive: true, force: true })
    const db = new sqlite.Database(this.#path)
    // Only this process opens the file. Locking it for each statement would take longer than the statement.
    db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = TRUNCATE; BEGIN EXCLUSIVE; COMMIT')
    // The lock is a folder, which the engine creates so that all users can read it.
    chmodSync(`${this.#path}.lock`, 0o700)
    db.exec(`PRAGMA cache_size = -${CACHE_KB}; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON`)
    return db
  }

  /** Logs of records with their sizes, newest first. Paths are relative to the first data folder. */
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

  /** @returns false if the only new line is still being written */
  #indexPiece(path: string, file: IndexedFile | undefined, size: number): boolean {
    const from = file?.bytes ?? 0
    const read = (bytes: number): Buffer => this.#read(path, from, Math.min(bytes, size - from))
    let piece = read(PIECE_BYTES)
    if (!piece.includes(NEWLINE)) piece = read(ARCHIVE_LINE_BYTES_MAX)
    const whole = piece.lastIndexOf(NEWLINE) + 1
    // Skips a line that is longer than any record.
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
    const { callSid, startedAtMs, said, terms, cost, counted, agent, spans } = known
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
      'INSERT INTO calls(id, sid, file, at, bytes, cost, counted, agent, spans) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)',
      ...[id, callSid, place.file, place.at, line.length, cost, counted, agent, spans],
    )
    this.#figures.count(counted, 1)
    this.#sql.run('INSERT INTO words(rowid, said, terms) VALUES(?, ?, ?)', id, said, terms)
  }

  #forgetCall({ id = null, counted = null }: SqlRow): void {
    this.#sql.run('DELETE FROM words WHERE rowid = ?', id)
    this.#sql.run('DELETE FROM calls WHERE id = ?', id)
    this.#figures.count(String(counted), -1)
  }

  /** Removes the calls of a log that retention has deleted. */
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

  /**
   * Purges words of deleted rows, which the engine stores until it merges segments. Does one step.
   * @returns true if more steps are needed
   */
  #purge(): boolean {
    if (this.#sql.one('PRAGMA application_id')?.['application_id'] !== PURGE) return false
    const changes = (): number => Number(this.#sql.one('SELECT total_changes() AS n')?.['n'])
    const before = changes()
    // The number of pages is negative, which makes the engine merge all segments into one.
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
          : // The exact cost is compared here, because search terms contain only the rough cost.
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
    // The record was erased, or replaced by a newer record, after it was indexed.
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

  /**
   * Runs `work`. If the file is damaged, creates it again.
   * @param otherwise  result if the file was damaged
   */
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
  /** Number of indexed bytes. */
  readonly bytes: number
}

/** Errors of the engine for a file that is damaged, or is not a database. */
const TORN = /malformed|not a database|corrupt|no such table/

/** Mark in the file's header which says that words of deleted calls must still be purged. */
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
  readonly agent: string
  /** `CallSpans` as JSON. */
  readonly spans: string
}

/** Reads the terms of a line; null if the line is not a record. */
function termsOf(line: Buffer): IndexedRecord | null {
  const record = jsonObject(line) as WrittenRecord | null
  const startedAtMs = Date.parse(String(record?.startedAt))
  if (record === null || typeof record.callSid !== 'string' || Number.isNaN(startedAtMs)) return null
  try {
    // `endedRow` throws if a search could not show the record.
    endedRow(record)
    const { callSid, agent = '' } = record
    const counted = countedOf(record, startedAtMs)
    const spans = JSON.stringify(spansOf(record))
    return { callSid, startedAtMs, ...indexedCall(record), cost: costOf(record)?.amount ?? null, counted, agent, spans }
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

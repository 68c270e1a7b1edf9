import type { Database, SQLiteValue, Statement } from 'node-sqlite3-wasm'

export type SqlRow = Readonly<Record<string, SQLiteValue>>

/** A database and its statements. Each statement is prepared once. */
export class Sql {
  readonly db: Database
  readonly #statements = new Map<string, Statement>()

  constructor(db: Database) {
    this.db = db
  }

  run(sql: string, ...values: SQLiteValue[]): ReturnType<Statement['run']> {
    return this.#used(sql, (statement) => statement.run(values))
  }

  one(sql: string, ...values: SQLiteValue[]): SqlRow | null {
    // All rows are read, because a statement with unread rows keeps its lock.
    return this.all(sql, ...values)[0] ?? null
  }

  all<T = SqlRow>(sql: string, ...values: SQLiteValue[]): T[] {
    return this.#used(sql, (statement) => statement.all(values) as T[])
  }

  transaction(work: () => void): void {
    this.db.exec('BEGIN')
    try {
      work()
      this.db.exec('COMMIT')
    } catch (thrown) {
      if (this.db.inTransaction) this.db.exec('ROLLBACK')
      throw thrown
    }
  }

  close(): void {
    for (const sql of [...this.#statements.keys()]) this.#drop(sql)
    this.db.close()
  }

  /**
   * Runs `use` with a prepared statement. A statement that threw is dropped and prepared again at its next use, because
   * it would throw again.
   */
  #used<T>(sql: string, use: (statement: Statement) => T): T {
    try {
      return use(this.#statement(sql))
    } catch (thrown) {
      this.#drop(sql)
      throw thrown
    }
  }

  #drop(sql: string): void {
    try {
      this.#statements.get(sql)?.finalize()
    } catch {
      // The next use reports an error that persists.
    }
    this.#statements.delete(sql)
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) this.#statements.set(sql, (statement = this.db.prepare(sql)))
    return statement
  }
}

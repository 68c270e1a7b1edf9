import type { Database, SQLiteValue, Statement } from 'node-sqlite3-wasm'

export type SqlRow = Readonly<Record<string, SQLiteValue>>

/** A database with its statements, each prepared once. */
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
    // To its end: a statement that is not holds its lock.
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

  /** A statement that threw stands where it stopped, and would throw again at its next use: it is made anew then. */
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
      // It says again why it failed.
    }
    this.#statements.delete(sql)
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) this.#statements.set(sql, (statement = this.db.prepare(sql)))
    return statement
  }
}

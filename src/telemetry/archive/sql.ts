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
    return this.#statement(sql).run(values)
  }

  one(sql: string, ...values: SQLiteValue[]): SqlRow | null {
    // To its end: a statement that is not holds its lock.
    return this.all(sql, ...values)[0] ?? null
  }

  all<T = SqlRow>(sql: string, ...values: SQLiteValue[]): T[] {
    return this.#statement(sql).all(values) as T[]
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
    for (const statement of this.#statements.values())
      try {
        statement.finalize()
      } catch {
        // It says again why it failed.
      }
    this.#statements.clear()
    this.db.close()
  }

  #statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) this.#statements.set(sql, (statement = this.db.prepare(sql)))
    return statement
  }
}

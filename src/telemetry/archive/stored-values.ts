import {
  closeSync,
  existsSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { jsonObject } from '../../core/json.js'
import { replaceFile } from './whole-file.js'
import type { StoredValue } from './archive-messages.js'

/** Number of bytes by which the file may grow until it is rewritten with only its valid values. */
const GROWTH_BYTES_MAX = 16 * 1024 * 1024

/**
 * Values that the fleet's store has written with `once`, until they expire. They are in one file, in the folder of
 * `OpenRecordFiles`. Each value is a line of JSON; the last line of a key counts. Methods throw errors of the file
 * system.
 */
export class StoredValues {
  readonly #folder: string
  #bytesMax = GROWTH_BYTES_MAX
  /** True if an earlier line contains a value that is no longer valid. */
  #isStale = false

  constructor(folder: string) {
    this.#folder = folder
  }

  /** True if a value is valid at `fromMs` and not at `toMs`. */
  expiresBetween(fromMs: number, toMs: number): boolean {
    return this.#newest().some(({ untilMs }) => untilMs > fromMs && untilMs <= toMs)
  }

  /** @param nowMs  calendar time */
  load(nowMs: number): StoredValue[] {
    const path = this.#path()
    if (!existsSync(path)) return []
    const counting = this.#newest().filter(({ untilMs }) => untilMs > nowMs)
    if (counting.length === 0) {
      rmSync(path, { force: true })
      return []
    }
    replaceFile(path, counting.map(lineOf).join(''), false)
    this.#bytesMax = statSync(path).size + GROWTH_BYTES_MAX
    return counting
  }

  /** @param sync true: waits until the value is on the disk */
  write(value: StoredValue, nowMs: number, sync: boolean): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const handle = openSync(this.#path(), 'a', 0o600)
    try {
      writeFileSync(handle, lineOf(value))
      if (sync) fdatasyncSync(handle)
    } finally {
      closeSync(handle)
    }
    this.#isStale ||= value.value === ''
    if (statSync(this.#path()).size > this.#bytesMax) this.load(nowMs)
  }

  /**
   * Removes values that are no longer valid from the disk, such as the memory of an erased caller.
   * @param nowMs  calendar time
   */
  tidy(nowMs: number): void {
    if (!this.#isStale) return
    this.#isStale = false
    this.load(nowMs)
  }

  /** The newest value of each key. */
  #newest(): StoredValue[] {
    const path = this.#path()
    if (!existsSync(path)) return []
    const values = new Map<string, StoredValue>()
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      const value = valueOf(line)
      if (value !== null) values.set(value.key, value)
    }
    return [...values.values()]
  }

  #path(): string {
    return join(this.#folder, 'values.jsonl')
  }
}

function lineOf(value: StoredValue): string {
  return `${JSON.stringify(value)}\n`
}

/** Reads a line; null if the line is incomplete because the machine crashed. */
function valueOf(line: string): StoredValue | null {
  const { key, value, untilMs } = jsonObject(line) ?? {}
  if (typeof key !== 'string' || typeof value !== 'string' || typeof untilMs !== 'number') return null
  return { key, value, untilMs }
}

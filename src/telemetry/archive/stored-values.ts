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

/** The file is written anew, with what still counts, when it has grown by this much. */
const GROWTH_BYTES_MAX = 16 * 1024 * 1024

/**
 * Values that the fleet's store has written once, as long as they count: one JSON line each, the last of a key counts.
 * Synchronous, as `OpenRecordFiles`, in whose folder they lie. Methods throw what the file system throws.
 */
export class StoredValues {
  readonly #folder: string
  #bytesMax = GROWTH_BYTES_MAX
  /** True if an earlier line has a value that was taken back. */
  #isStale = false

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param nowMs  calendar time */
  load(nowMs: number): StoredValue[] {
    const path = this.#path()
    if (!existsSync(path)) return []
    const values = new Map<string, StoredValue>()
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      const value = valueOf(line)
      if (value !== null) values.set(value.key, value)
    }
    const counting = [...values.values()].filter(({ untilMs }) => untilMs > nowMs)
    if (counting.length === 0) {
      rmSync(path, { force: true })
      return []
    }
    replaceFile(path, counting.map(lineOf).join(''), false)
    this.#bytesMax = statSync(path).size + GROWTH_BYTES_MAX
    return counting
  }

  /** @param sync  true: waits until it is on disk */
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

  /** Removes from the disk values that were taken back, such as the memory of an erased caller. @param nowMs  calendar time */
  tidy(nowMs: number): void {
    if (!this.#isStale) return
    this.#isStale = false
    this.load(nowMs)
  }

  #path(): string {
    return join(this.#folder, 'values.jsonl')
  }
}

function lineOf(value: StoredValue): string {
  return `${JSON.stringify(value)}\n`
}

/** Null for a line that was cut off when the machine died. */
function valueOf(line: string): StoredValue | null {
  const { key, value, untilMs } = jsonObject(line) ?? {}
  if (typeof key !== 'string' || typeof value !== 'string' || typeof untilMs !== 'number') return null
  return { key, value, untilMs }
}

import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fstatSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { whereThere } from '../../core/errors.js'
import { jsonObject } from '../../core/json.js'
import type { SealedChange, SealedState } from './archive-messages.js'
import { replaceFile } from './whole-file.js'

/**
 * Size in bytes at which a file of states is rewritten with only its valid part. This part has at most 256 KiB
 * (STORED_CALL_BYTES_MAX), so few bytes are written twice.
 */
const SEALED_FILE_BYTES_MAX = 1024 * 1024

const RECORD = /^([A-Za-z0-9_-]{1,64})\.json$/
const SEALED = /^([A-Za-z0-9_-]{1,64})\.kept$/
const PART = /^[A-Za-z0-9_-]{1,64}\.(?:json|kept)\.part$/

/** Record of a live call that a dead process has left. */
export interface LeftRecord {
  readonly callSid: string
  readonly document: Readonly<Record<string, unknown>>
  /** Last calendar time at which the call is known to have been live. */
  readonly atWallMs: number
  readonly sealed: SealedState | null
}

/**
 * Open record of each live call, `SID.json`. It is written to a temporary file, which is then renamed, so that
 * `SID.json` is always complete. It is deleted when the call's record is in the log. So at a start, the remaining files
 * are of calls whose process died. Each change of a call's sealed state is appended to `SID.kept`:
 *
 *     1 byte 1 = state, 2 = piece of the log | 4 bytes length | bytes
 *
 * The last state and all pieces of the log count.
 *
 * Synchronous, for a thread without other work. Methods throw errors of the file system.
 */
export class OpenRecordFiles {
  /**
   * Number of files that cannot be read as records. The machine crashed while they were written, or another program
   * wrote them.
   */
  unreadable = 0
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param sync true: waits until the record is on the disk */
  write(callSid: string, json: string, sync: boolean): void {
    replaceFile(this.#path(callSid), json, sync)
  }

  /**
   * Appends a change. If an earlier change of this call could not be written, the change is dropped, because the
   * previous state is unknown.
   */
  writeSealed({ callSid, state, append = [], replace = false }: SealedChange, sync: boolean): void {
    const path = this.#sealedPath(callSid)
    const pieces = [...append.map((bytes) => piece(LOG, bytes)), ...(state === undefined ? [] : [piece(STATE, state)])]
    try {
      if (replace) return replaceFile(path, Buffer.concat(pieces), sync)
      if (!existsSync(path)) return
      const handle = openSync(path, 'a', 0o600)
      try {
        writeFileSync(handle, Buffer.concat(pieces))
        if (sync) fdatasyncSync(handle)
        if (fstatSync(handle).size < SEALED_FILE_BYTES_MAX) return
      } finally {
        closeSync(handle)
      }
      const whole = this.#sealed(callSid)
      if (whole !== null)
        replaceFile(path, Buffer.concat([...whole.log.map((one) => piece(LOG, one)), piece(STATE, whole.state)]), sync)
    } catch (thrown) {
      this.removeSealed(callSid)
      throw thrown
    }
  }

  remove(callSid: string): void {
    rmSync(this.#path(callSid), { force: true })
    rmSync(`${this.#path(callSid)}.part`, { force: true })
    this.removeSealed(callSid)
  }

  removeSealed(callSid: string): void {
    rmSync(this.#sealedPath(callSid), { force: true })
    rmSync(`${this.#sealedPath(callSid)}.part`, { force: true })
  }

  /**
   * Records that dead processes have left, oldest first. Deletes unreadable files, and states of calls without a
   * record.
   */
  left(): LeftRecord[] {
    const left: LeftRecord[] = []
    const names = this.#names()
    for (const name of names) {
      const path = join(this.#folder, name)
      const callSid = RECORD.exec(name)?.[1]
      if (callSid !== undefined) {
        const document = readObject(path)
        if (document?.['callSid'] === callSid) {
          left.push({ callSid, document, atWallMs: statSync(path).mtimeMs, sealed: this.#sealed(callSid) })
          continue
        }
        this.unreadable++
      }
      if (callSid !== undefined || PART.test(name)) rmSync(path, { force: true })
    }
    for (const name of names) {
      const callSid = SEALED.exec(name)?.[1]
      if (callSid !== undefined && !left.some((one) => one.callSid === callSid)) this.removeSealed(callSid)
    }
    return left.sort((a, b) => a.atWallMs - b.atWallMs)
  }

  /**
   * Reads the state of a call; null if there is no state. An incomplete last entry, from a crash of the machine, is
   * left out.
   */
  #sealed(callSid: string): SealedState | null {
    const path = this.#sealedPath(callSid)
    if (!existsSync(path)) return null
    const bytes = readFileSync(path)
    let state: Uint8Array | null = null
    const log: Uint8Array[] = []
    for (let at = 0; at + HEAD_BYTES <= bytes.length;) {
      const end = at + HEAD_BYTES + bytes.readUInt32BE(at + 1)
      if (end > bytes.length) break
      const value = bytes.subarray(at + HEAD_BYTES, end)
      if (bytes[at] === STATE) state = value
      else log.push(value)
      at = end
    }
    return state === null ? null : { state, log }
  }

  #names(): string[] {
    return whereThere(() => readdirSync(this.#folder), [])
  }

  #path(callSid: string): string {
    return join(this.#folder, `${callSid}.json`)
  }

  #sealedPath(callSid: string): string {
    return join(this.#folder, `${callSid}.kept`)
  }
}

const STATE = 1
const LOG = 2
const HEAD_BYTES = 5

function piece(kind: number, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head[0] = kind
  head.writeUInt32BE(bytes.length, 1)
  return Buffer.concat([head, bytes])
}

/** Reads a JSON object; null if the content is not an object, or the file cannot be read. */
function readObject(path: string): Readonly<Record<string, unknown>> | null {
  try {
    return jsonObject(readFileSync(path))
  } catch {
    return null
  }
}

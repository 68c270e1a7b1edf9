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
 * A file of states is written anew when it has this many bytes: what counts in it has 256 KiB at most
 * (STORED_CALL_BYTES_MAX), so it is at most one byte in four that is written twice.
 */
const SEALED_FILE_BYTES_MAX = 1024 * 1024

const RECORD = /^([A-Za-z0-9_-]{1,64})\.json$/
const SEALED = /^([A-Za-z0-9_-]{1,64})\.kept$/
const PART = /^[A-Za-z0-9_-]{1,64}\.(?:json|kept)\.part$/

/** Record of a live call that a dead process left. */
export interface LeftRecord {
  readonly callSid: string
  readonly document: Readonly<Record<string, unknown>>
  /** Calendar time at which the call was last known to be live. */
  readonly atWallMs: number
  readonly sealed: SealedState | null
}

/**
 * The open record of each live call, `SID.json`: written to a temporary file and renamed, so that it is always whole. A
 * call's file is deleted when its record is in the log, so a start finds here the calls whose process died. Beside it
 * lies the call's sealed state, `SID.kept`, to which each change is appended:
 *
 *     1 byte 1 = state, 2 = piece of the log | 4 bytes length | bytes
 *
 * The last state counts, with all pieces of the log.
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system throws.
 */
export class OpenRecordFiles {
  /** Files that are not records: half-written when the machine died, or foreign. */
  unreadable = 0
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param sync  true: waits until it is on disk */
  write(callSid: string, json: string, sync: boolean): void {
    replaceFile(this.#path(callSid), json, sync)
  }

  /** A change that follows one that could not be written is left out: what came before it is not known any more. */
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

  /** Records that dead processes left, oldest first. Unreadable ones, and those of a call without a record, are deleted. */
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

  /** Null when there is none. An end that was cut off when the machine died is left out. */
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

/** Null for anything that is no JSON object, or cannot be read. */
function readObject(path: string): Readonly<Record<string, unknown>> | null {
  try {
    return jsonObject(readFileSync(path))
  } catch {
    return null
  }
}

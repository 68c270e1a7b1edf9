import { closeSync, fdatasyncSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const FILE = /^([A-Za-z0-9_-]{1,64})\.json$/
const PART = /^[A-Za-z0-9_-]{1,64}\.json\.part$/

/** A call that was live when its process died. */
interface LeftRecord {
  readonly callSid: string
  readonly document: Readonly<Record<string, unknown>>
  /** Calendar time at which it was last known to be live. */
  readonly atWallMs: number
}

/**
 * What is known of each live call, `SID.json`, whole at any moment: written beside its place and then put there. A call's file
 * goes when its record is in the log, so that what a start finds here are the calls whose process died.
 *
 * Synchronous, for a thread that has nothing else to do. Methods throw what the file system throws.
 */
export class OpenRecordFiles {
  /** Files that were no records: half-written when the machine died, or somebody else's. */
  unreadable = 0
  readonly #folder: string

  constructor(folder: string) {
    this.#folder = folder
  }

  /** @param sync  whether to wait until the disk has it */
  write(callSid: string, json: string, sync: boolean): void {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const beside = `${this.#path(callSid)}.part`
    const handle = openSync(beside, 'w', 0o600)
    try {
      writeFileSync(handle, json)
      if (sync) fdatasyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(beside, this.#path(callSid))
  }

  remove(callSid: string): void {
    rmSync(this.#path(callSid), { force: true })
    rmSync(`${this.#path(callSid)}.part`, { force: true })
  }

  /** What processes that died have left, the oldest first. What cannot be read is deleted. */
  left(): LeftRecord[] {
    const left: LeftRecord[] = []
    for (const name of this.#names()) {
      const path = join(this.#folder, name)
      const callSid = FILE.exec(name)?.[1]
      if (callSid !== undefined) {
        const document = readObject(path)
        if (document?.['callSid'] === callSid) {
          left.push({ callSid, document, atWallMs: statSync(path).mtimeMs })
          continue
        }
        this.unreadable++
      }
      if (callSid !== undefined || PART.test(name)) rmSync(path, { force: true })
    }
    return left.sort((a, b) => a.atWallMs - b.atWallMs)
  }

  #names(): string[] {
    try {
      return readdirSync(this.#folder)
    } catch (thrown) {
      if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw thrown
    }
  }

  #path(callSid: string): string {
    return join(this.#folder, `${callSid}.json`)
  }
}

/** Null for anything that is no JSON object. */
function readObject(path: string): Readonly<Record<string, unknown>> | null {
  try {
    const document = JSON.parse(readFileSync(path, 'utf8')) as unknown
    return typeof document === 'object' && document !== null ? document as Readonly<Record<string, unknown>> : null
  } catch {
    return null
  }
}

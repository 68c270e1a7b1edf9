import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { GatewayError, whereThere } from '../../../core/errors.js'
import { KEPT_FILES, keptDays, keptFolder, keptNames } from '../kept-files.js'
import { KEY_BYTES, openedBytes, sealedBytes } from './sealed-stream.js'
import { replaceFile } from '../whole-file.js'

/** Kind of keys: keys of records and handoff packets, or keys of recordings. Each kind has its own retention. */
export type KeyKind = 'recordKeys' | 'recordingKeys'

export const keyFileSchema = z.object({
  version: z.literal(1),
  callSid: z.string(),
  /** Id of the master key with which the call's key is encrypted. */
  master: z.string(),
  /** Base64. */
  key: z.string(),
  /** Names of the objects that this key encrypts or will encrypt. */
  objects: z.array(z.string()),
})
type KeyFile = z.output<typeof keyFileSchema>

interface MasterKey {
  readonly id: string
  readonly bytes: Buffer
}

/** A call's key, and the objects that it encrypts. */
interface CallKey {
  readonly key: Buffer
  readonly objects: readonly string[]
}

/**
 * Keys of the calls' objects. For each call there is a file with its key below DATA_DIR. The key in the file is
 * encrypted by a master key. Without this file, the call's objects and all their copies are unreadable. Retention and
 * erasure delete this file like other files of a call. Methods throw errors of the file system.
 */
export class ObjectKeys {
  /** Master keys. The first encrypts; all of them can decrypt. */
  readonly #masters: readonly MasterKey[]

  /** @param masters base64 of 32 bytes, for each key */
  constructor(masters: readonly string[]) {
    this.#masters = masters.map((text) => {
      const bytes = Buffer.from(text, 'base64')
      return { bytes, id: createHash('sha256').update('mkondo master key').update(bytes).digest('hex').slice(0, 16) }
    })
  }

  /**
   * Key of a call's objects. If the call has no key, a new key is made. The object's name is written to the key's file
   * before the object is stored.
   */
  of(dataFolder: string, kind: KeyKind, days: number | null, callSid: string, object: string): Buffer {
    const path = join(keptFolder(dataFolder, kind, days), `${callSid}.json`)
    const known = read(path)
    const key = known === null ? randomBytes(KEY_BYTES) : this.#opened(kind, known)
    if (known?.objects.includes(object) === true) return key
    const objects = [...(known?.objects ?? []), object]
    // The key's file is complete on the disk before the key is used.
    replaceFile(
      path,
      JSON.stringify(known === null ? this.#sealed(kind, callSid, key, objects) : { ...known, objects }),
      true,
    )
    return key
  }

  /**
   * Finds a call's key; null if no object was stored, or the key was erased.
   * @throws errors of the file system, and GatewayError STORAGE
   */
  find(dataFolder: string, kind: KeyKind, callSid: string): CallKey | null {
    for (const path of pathsOf(dataFolder, kind, callSid)) {
      const file = read(path)
      if (file !== null) return { key: this.#opened(kind, file), objects: file.objects }
    }
    return null
  }

  /**
   * Encrypts the keys that an older master key encrypts with the first master key.
   * @returns the number of keys
   */
  renew(dataFolder: string, kind: KeyKind): number {
    let renewed = 0
    for (const name of keptNames(dataFolder, kind)) {
      const path = join(keptFolder(dataFolder, kind), name)
      const file = read(path)
      if (file === null || file.master === this.#masters[0]?.id) continue
      const { atime, mtime } = statSync(path)
      replaceFile(path, JSON.stringify(this.#sealed(kind, file.callSid, this.#opened(kind, file), file.objects)), true)
      utimesSync(path, atime, mtime) // keeps the file's age
      renewed++
    }
    return renewed
  }

  #sealed(kind: KeyKind, callSid: string, key: Buffer, objects: readonly string[]): KeyFile {
    const [first] = this.#masters
    if (first === undefined) throw new GatewayError('STORAGE', 'there is no master key')
    const bytes = sealedBytes(key, first.bytes, nameOf(kind, callSid))
    return { version: 1, callSid, master: first.id, key: bytes.toString('base64'), objects: [...objects] }
  }

  #opened(kind: KeyKind, { callSid, master, key }: KeyFile): Buffer {
    const wanted = this.#masters.find(({ id }) => id === master)
    if (wanted === undefined)
      throw new GatewayError('STORAGE', `the key of a call was encrypted by master key ${master}, which is not set`)
    return openedBytes(Buffer.from(key, 'base64'), wanted.bytes, nameOf(kind, callSid))
  }
}

/**
 * Deletes the keys of a call.
 * @returns the names of the objects that are unreadable from now on
 */
export function forgetKeys(dataFolder: string, kind: KeyKind, callSid: string): readonly string[] {
  return pathsOf(dataFolder, kind, callSid).flatMap((path) => {
    const objects = read(path)?.objects ?? []
    rmSync(path, { force: true })
    return objects
  })
}

function pathsOf(dataFolder: string, kind: KeyKind, callSid: string): string[] {
  return keptDays(dataFolder, kind).map((days) => join(keptFolder(dataFolder, kind, days), `${callSid}.json`))
}

/** Name that is bound to an encrypted key as associated data. */
function nameOf(kind: KeyKind, callSid: string): string {
  return `${basename(KEPT_FILES[kind].folder)}/${callSid}`
}

/** Reads a file; null if the file does not exist. */
function read(path: string): KeyFile | null {
  return whereThere(() => keyFileSchema.parse(JSON.parse(readFileSync(path, 'utf8'))), null)
}

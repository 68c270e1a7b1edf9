import { createHash, randomBytes } from 'node:crypto'
import { readFileSync, rmSync, statSync, utimesSync } from 'node:fs'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { GatewayError, whereThere } from '../../../core/errors.js'
import { KEPT_FILES, keptDays, keptFolder, keptNames } from '../kept-files.js'
import { KEY_BYTES, openedBytes, sealedBytes } from './sealed-stream.js'
import { replaceFile } from '../whole-file.js'

/** Keys of records and handoff packets, or of recordings: each kind has its own retention. */
export type KeyKind = 'recordKeys' | 'recordingKeys'

export const keyFileSchema = z.object({
  version: z.literal(1),
  callSid: z.string(),
  /** Which master key encrypts the call's key. */
  master: z.string(),
  /** Base64. */
  key: z.string(),
  /** Names of the objects that it encrypts, or is about to. */
  objects: z.array(z.string()),
})
type KeyFile = z.output<typeof keyFileSchema>

interface MasterKey {
  readonly id: string
  readonly bytes: Buffer
}

/** A call's key, and what it encrypts. */
interface CallKey {
  readonly key: Buffer
  readonly objects: readonly string[]
}

/**
 * The key of each call's objects, in a file below DATA_DIR, encrypted by a master key. Without the file nobody can read the
 * objects any more, wherever there are copies: retention and erasure delete it as any other file of a call.
 *
 * Methods throw what the file system throws.
 */
export class ObjectKeys {
  /** The first encrypts, all decrypt. */
  readonly #masters: readonly MasterKey[]

  /** @param masters  base64 of 32 bytes each */
  constructor(masters: readonly string[]) {
    this.#masters = masters.map((text) => {
      const bytes = Buffer.from(text, 'base64')
      return { bytes, id: createHash('sha256').update('mkondo master key').update(bytes).digest('hex').slice(0, 16) }
    })
  }

  /** The key of a call's objects, made where there is none. The file has the object's name before the object is stored. */
  of(dataFolder: string, kind: KeyKind, days: number | null, callSid: string, object: string): Buffer {
    const path = join(keptFolder(dataFolder, kind, days), `${callSid}.json`)
    const known = read(path)
    const key = known === null ? randomBytes(KEY_BYTES) : this.#opened(kind, known)
    if (known?.objects.includes(object) === true) return key
    const objects = [...(known?.objects ?? []), object]
    // Before anything is encrypted with it.
    replaceFile(
      path,
      JSON.stringify(known === null ? this.#sealed(kind, callSid, key, objects) : { ...known, objects }),
      true,
    )
    return key
  }

  /** Null where there is none: nothing was stored, or it is erased. @throws also GatewayError STORAGE */
  find(dataFolder: string, kind: KeyKind, callSid: string): CallKey | null {
    for (const path of pathsOf(dataFolder, kind, callSid)) {
      const file = read(path)
      if (file !== null) return { key: this.#opened(kind, file), objects: file.objects }
    }
    return null
  }

  /** Encrypts with the first master key what an older one has encrypted. @returns how many keys */
  renew(dataFolder: string, kind: KeyKind): number {
    let renewed = 0
    for (const name of keptNames(dataFolder, kind)) {
      const path = join(keptFolder(dataFolder, kind), name)
      const file = read(path)
      if (file === null || file.master === this.#masters[0]?.id) continue
      const { atime, mtime } = statSync(path)
      replaceFile(path, JSON.stringify(this.#sealed(kind, file.callSid, this.#opened(kind, file), file.objects)), true)
      utimesSync(path, atime, mtime) // it is as old as it was
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

/** Deletes the keys of a call. @returns the names of what nobody can read any more */
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

/** Name to which an encrypted key is bound. */
function nameOf(kind: KeyKind, callSid: string): string {
  return `${basename(KEPT_FILES[kind].folder)}/${callSid}`
}

/** Null where there is no file. */
function read(path: string): KeyFile | null {
  return whereThere(() => keyFileSchema.parse(JSON.parse(readFileSync(path, 'utf8'))), null)
}

import { createHash, randomUUID } from 'node:crypto'
import { readFileSync, renameSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { chmod, lstat, mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GatewayError, systemCodeOf } from '../../core/errors.js'
import { AGENT_FILE_BYTES_MAX } from '../../core/limits.js'
import { agentFiles, isModule } from './loader.js'

/** Maximum number of stored texts of one file. The least recently used text is removed first. */
const VERSIONS_KEPT = 20
/**
 * Maximum number of stored texts of one file that were tried in a call but not published. The audit log contains the
 * hashes of these texts. The oldest text is removed first.
 */
const TRIED_KEPT = 100
/** Age in milliseconds after which an unfinished new file cannot belong to a publication that still runs. */
const NEW_KEPT_MS = 60_000
/**
 * Folder of stored texts. It is inside the agents folder, so that all gateways that use this folder share one history.
 * The loader and the watch ignore this folder.
 */
export const VERSIONS = '.versions'
/** Prefix of the file name of a text that was stored for a trial call. */
const TRIED = 'tried-'

/** Stored text of a file, which can be published again. */
interface KeptText {
  readonly hash: string
  /** Time of the last publication or replacement, in milliseconds since 1970. */
  readonly atMs: number
}

/** A file of the agents folder, in the list of an editor. */
interface EditedFile {
  readonly file: string
  /** Hash of the file's text; null if the editor cannot edit the file. */
  readonly hash: string | null
  /** Reason why the editor cannot edit the file; null if the file can be edited. */
  readonly refusal: string | null
}

/** Reads the texts of the files in the agents folder, and replaces whole texts. The replaced text is stored. */
export class AgentTexts {
  readonly #dir: string
  readonly #wallClock: () => number

  constructor(dir: string, wallClock: () => number) {
    this.#dir = dir
    this.#wallClock = wallClock
  }

  /** Returns the files. @throws GatewayError AGENT_INVALID if the folder cannot be read */
  async list(): Promise<readonly EditedFile[]> {
    return Promise.all(
      (await agentFiles(this.#dir)).map(async (file): Promise<EditedFile> => {
        try {
          return { file, hash: hashOf(await this.#bytes(file)), refusal: null }
        } catch (thrown) {
          if (!(thrown instanceof GatewayError)) throw thrown
          return { file, hash: null, refusal: thrown.message }
        }
      }),
    )
  }

  /**
   * @param version  hash of a stored text; null for the current text
   * @throws GatewayError AGENT_UNKNOWN if the file or the stored text does not exist; AGENT_INVALID if the editor
   * cannot edit the file
   */
  async read(file: string, version: string | null): Promise<{ readonly text: string; readonly hash: string }> {
    await this.#check(file)
    const bytes = version === null ? await this.#bytes(file) : await this.#kept(file, version)
    try {
      // A byte order mark is kept as a part of the text, so that the edited text contains the mark too.
      return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), hash: hashOf(bytes) }
    } catch {
      throw refused('is not UTF-8 text')
    }
  }

  /** Returns the hash of a file's text. @throws the same errors as `read` */
  async hashOf(file: string): Promise<string> {
    await this.#check(file)
    return hashOf(await this.#bytes(file))
  }

  /** Returns the stored texts of a file, the newest first. */
  async versions(file: string): Promise<readonly KeptText[]> {
    const names = await readdir(this.#folder(file)).catch(() => [])
    return names
      .flatMap((name) => {
        const [, atMs, hash] = /^(\d{1,15})-([0-9a-f]{16})\.yaml$/.exec(name) ?? []
        return hash === undefined ? [] : [{ hash, atMs: Number(atMs) }]
      })
      .sort((a, b) => b.atMs - a.atMs)
      .filter(({ hash }, index, all) => all.findIndex((one) => one.hash === hash) === index)
  }

  /**
   * Replaces the text of a file, completely or not at all. The file's owner and mode do not change, and both texts are
   * stored.
   * @param bases  hashes of the texts that may be replaced. The first hash is the expected text. The other hashes are
   * for a file that never had the first text. They are ignored if the first text is stored, because the file then had
   * this text and was rolled back
   * @returns false if the file already has this text
   * @throws GatewayError AGENT_UNKNOWN, AGENT_INVALID, AGENTS_DIR_UNWRITABLE; AGENT_CHANGED if the file's text is not
   * in `bases`
   */
  async publish(file: string, text: string, bases: readonly string[]): Promise<boolean> {
    await this.#check(file)
    const path = join(this.#dir, file)
    const folder = this.#folder(file)
    const bytes = Buffer.from(text)
    const before = await this.#bytes(file)
    const [hash, replaces] = [hashOf(bytes), hashOf(before)]
    if (replaces === hash) return false
    const missed = (await this.versions(file)).every((kept) => kept.hash !== bases[0])
    if (!bases.slice(0, missed ? undefined : 1).includes(replaces)) throw changed(replaces)
    const atMs = this.#wallClock()
    /** Files to remove if the publication fails. */
    const made: string[] = []
    try {
      const owner = await lstat(path)
      const write = async (content: Uint8Array): Promise<string> => {
        const beside = join(folder, `${atMs}-${randomUUID()}.new`)
        made.push(beside)
        await writeWhole(beside, content, owner)
        return beside
      }
      await this.#makeFolder(folder)
      await rename(await write(before), join(folder, nameOf({ hash: replaces, atMs })))
      const kept = join(folder, nameOf({ hash, atMs: atMs + 1 }))
      made.push(kept)
      await rename(await write(bytes), kept)
      const next = await write(bytes)
      // No other code of this process runs between the check and the change of the file.
      const now = hashOf(readFileSync(path))
      if (now !== replaces) throw changed(now)
      renameSync(next, path)
    } catch (thrown) {
      for (const one of made) await rm(one, { force: true }).catch(() => undefined)
      if (thrown instanceof GatewayError) throw thrown
      throw unwritable(file, thrown)
    }
    await this.#prune(file, atMs)
    return true
  }

  /**
   * Stores the text of an agent that will answer a trial call. The audit log contains the hash, by which a reader can
   * find the text.
   * @returns its hash
   * @throws GatewayError AGENT_UNKNOWN, AGENT_INVALID, AGENTS_DIR_UNWRITABLE
   */
  async keepTried(file: string, text: string): Promise<string> {
    await this.#check(file)
    const folder = this.#folder(file)
    const bytes = Buffer.from(text)
    const hash = hashOf(bytes)
    const beside = join(folder, `${this.#wallClock()}-${randomUUID()}.new`)
    try {
      const owner = await lstat(join(this.#dir, file))
      await this.#makeFolder(folder)
      await writeWhole(beside, bytes, owner)
      await rename(beside, join(folder, `${TRIED}${hash}.yaml`))
    } catch (thrown) {
      await rm(beside, { force: true }).catch(() => undefined)
      throw unwritable(file, thrown)
    }
    const tried = await Promise.all(
      (await readdir(folder))
        .filter((name) => name.startsWith(TRIED))
        .map(async (name) => {
          const path = join(folder, name)
          return {
            path,
            atMs: await lstat(path).then(
              ({ mtimeMs }) => mtimeMs,
              () => 0,
            ),
          }
        }),
    )
    const old = tried.sort((a, b) => b.atMs - a.atMs).slice(TRIED_KEPT)
    for (const { path } of old) await rm(path, { force: true }).catch(() => undefined) // the next call of this method removes this file
    return hash
  }

  async #makeFolder(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Folders from an earlier version get this mode too, because a stored text may contain numbers and addresses that
    // the file no longer contains.
    for (const kept of [dirname(folder), folder]) await chmod(kept, 0o700)
  }

  async #kept(file: string, version: string): Promise<Buffer> {
    const found = (await this.versions(file)).find(({ hash }) => hash === version)
    const bytes = found === undefined ? null : await readFile(join(this.#folder(file), nameOf(found))).catch(() => null)
    if (bytes !== null && hashOf(bytes) === version) return bytes
    throw new GatewayError('AGENT_UNKNOWN', 'this text of the file is not kept')
  }

  /** Removes old stored texts, and files that remained after an interrupted publication. */
  async #prune(file: string, nowMs: number): Promise<void> {
    const kept = new Set((await this.versions(file)).slice(0, VERSIONS_KEPT).map(nameOf))
    for (const name of await readdir(this.#folder(file)).catch(() => [])) {
      const isLeft = name.endsWith('.new') && nowMs - Number.parseInt(name) > NEW_KEPT_MS
      if (isLeft || (name.endsWith('.yaml') && !name.startsWith(TRIED) && !kept.has(name)))
        await rm(join(this.#folder(file), name), { force: true }).catch(() => undefined) // the next call of this method removes this file
    }
  }

  #folder(file: string): string {
    return join(this.#dir, VERSIONS, file)
  }

  /** Checks that a name is exactly the name of a file in the folder. */
  async #check(file: string): Promise<void> {
    if ((await agentFiles(this.#dir)).includes(file)) return
    throw new GatewayError('AGENT_UNKNOWN', 'there is no such file in the agents folder; GET /api/editor lists them')
  }

  async #bytes(file: string): Promise<Buffer> {
    if (isModule(file)) throw refused('is a module, which cannot be edited here; allowed: .yaml and .yml files')
    const path = join(this.#dir, file)
    try {
      const stats = await lstat(path)
      if (stats.isSymbolicLink())
        throw refused('is a link, which cannot be edited here; edit the file to which it leads')
      if (!stats.isFile()) throw refused('is no file')
      if (stats.size > AGENT_FILE_BYTES_MAX)
        throw refused(`has ${stats.size} bytes; at most ${AGENT_FILE_BYTES_MAX} are allowed`)
      return await readFile(path)
    } catch (thrown) {
      if (thrown instanceof GatewayError) throw thrown
      throw refused(`cannot be read: ${systemCodeOf(thrown)}`)
    }
  }
}

/** Writes a new file with the given owner and mode. When the promise resolves, the file is on disk. */
async function writeWhole(path: string, content: Uint8Array, { mode, uid, gid }: Stats): Promise<void> {
  const handle = await open(path, 'wx', mode & 0o777)
  try {
    await handle.writeFile(content)
    await handle.chmod(mode & 0o7777)
    await handle.chown(uid, gid)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Returns the hash that identifies a text. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
}

function nameOf({ hash, atMs }: KeptText): string {
  return `${atMs}-${hash}.yaml`
}

function refused(what: string): GatewayError {
  return new GatewayError('AGENT_INVALID', what)
}

/** @param hash  hash of the file's current text */
export function changed(hash: string): GatewayError {
  return new GatewayError(
    'AGENT_CHANGED',
    `the file was changed in the meantime, and its hash is now ${hash}: open it again`,
  )
}

function unwritable(file: string, thrown: unknown): GatewayError {
  return new GatewayError(
    'AGENTS_DIR_UNWRITABLE',
    `${file} cannot be replaced (${systemCodeOf(thrown)}): this process must own the file and be able to write to the agents folder, and the disk needs free space`,
    { cause: thrown },
  )
}

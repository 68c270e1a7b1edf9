import { createHash, randomUUID } from 'node:crypto'
import { readFileSync, renameSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { chmod, lstat, mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { GatewayError, systemCodeOf } from '../../core/errors.js'
import { AGENT_FILE_BYTES_MAX } from '../../core/limits.js'
import { agentFiles, isModule } from './loader.js'

/** Texts that are kept of one file; the one that was used last longest ago goes first. */
const VERSIONS_KEPT = 20
/** Texts that were tried without being published, of one file: what the audit log names by their hash. The oldest goes first. */
const TRIED_KEPT = 100
/** After this a file that was begun beside another belongs to no publication any more. */
const NEW_KEPT_MS = 60_000
/** In the agents folder, so that all who share it have one history. Neither the loader nor the watch looks into it. */
export const VERSIONS = '.versions'
/** Begins the name of a kept text that was tried. */
const TRIED = 'tried-'

/** A text of a file that can be published again. */
interface KeptText {
  readonly hash: string
  /** When it was last published or replaced; milliseconds since 1970. */
  readonly atMs: number
}

/** A file of the agents folder as an editor lists it. */
interface EditedFile {
  readonly file: string
  /** Hash of its text; null where it is not edited here. */
  readonly hash: string | null
  /** The reason why it is not; null: it is. */
  readonly refusal: string | null
}

/** The texts of the agents folder: read, and replaced as a whole with the one before kept. */
export class AgentTexts {
  readonly #dir: string
  readonly #wallClock: () => number

  constructor(dir: string, wallClock: () => number) {
    this.#dir = dir
    this.#wallClock = wallClock
  }

  /** @throws GatewayError AGENT_INVALID when the folder cannot be read */
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
   * @param version  hash of a kept text; null: the file as it is
   * @throws GatewayError AGENT_UNKNOWN for no file of the folder and no kept text, AGENT_INVALID for a file that is not edited here
   */
  async read(file: string, version: string | null): Promise<{ readonly text: string; readonly hash: string }> {
    await this.#check(file)
    const bytes = version === null ? await this.#bytes(file) : await this.#kept(file, version)
    try {
      // A byte order mark is part of the text: it is published again with it.
      return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), hash: hashOf(bytes) }
    } catch {
      throw refused('is not UTF-8 text')
    }
  }

  /** Hash of a file's text. @throws as `read` */
  async hashOf(file: string): Promise<string> {
    await this.#check(file)
    return hashOf(await this.#bytes(file))
  }

  /** Kept texts of a file, the newest first. */
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
   * Puts a text in the place of a file, whole or not at all, with the file's owner and mode; keeps both texts.
   * @param bases  hashes of the texts that it may replace. Those after the first are for a file that missed the first, so
   *   they do not count where that was kept: somebody has rolled it back
   * @returns false where the file has this text already
   * @throws GatewayError AGENT_UNKNOWN, AGENT_INVALID, AGENT_CHANGED when the file has another text than those,
   *   AGENTS_DIR_UNWRITABLE
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
    /** Removed where this fails. */
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
      // No other work of this process comes between the look and the change.
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
   * Keeps a text that is about to be tried, and so answers a call, for whoever reads its hash in the audit log.
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
    for (const { path } of old) await rm(path, { force: true }).catch(() => undefined) // the next one does it
    return hash
  }

  async #makeFolder(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    // Also those of an earlier build: a kept text has numbers and addresses that its file has lost since.
    for (const kept of [dirname(folder), folder]) await chmod(kept, 0o700)
  }

  async #kept(file: string, version: string): Promise<Buffer> {
    const found = (await this.versions(file)).find(({ hash }) => hash === version)
    const bytes = found === undefined ? null : await readFile(join(this.#folder(file), nameOf(found))).catch(() => null)
    if (bytes !== null && hashOf(bytes) === version) return bytes
    throw new GatewayError('AGENT_UNKNOWN', 'this text of the file is not kept')
  }

  /** Removes all but the newest texts, and what a publication left that was cut off. */
  async #prune(file: string, nowMs: number): Promise<void> {
    const kept = new Set((await this.versions(file)).slice(0, VERSIONS_KEPT).map(nameOf))
    for (const name of await readdir(this.#folder(file)).catch(() => [])) {
      const isLeft = name.endsWith('.new') && nowMs - Number.parseInt(name) > NEW_KEPT_MS
      if (isLeft || (name.endsWith('.yaml') && !name.startsWith(TRIED) && !kept.has(name)))
        await rm(join(this.#folder(file), name), { force: true }).catch(() => undefined) // the next one does it
    }
  }

  #folder(file: string): string {
    return join(this.#dir, VERSIONS, file)
  }

  /** A name that is not that of a file of the folder, letter for letter, leads nowhere. */
  async #check(file: string): Promise<void> {
    if ((await agentFiles(this.#dir)).includes(file)) return
    throw new GatewayError('AGENT_UNKNOWN', 'there is no such file in the agents folder; GET /api/editor lists them')
  }

  async #bytes(file: string): Promise<Buffer> {
    if (isModule(file)) throw refused('is a module: code is edited where it is tested; allowed: .yaml and .yml files')
    const path = join(this.#dir, file)
    try {
      const stats = await lstat(path)
      if (stats.isSymbolicLink()) throw refused('is a link: edit what it leads to where that is made')
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

/** Writes a new file for somebody; it is on disk when this resolves. */
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

/** Names a text. */
export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16)
}

function nameOf({ hash, atMs }: KeptText): string {
  return `${atMs}-${hash}.yaml`
}

function refused(what: string): GatewayError {
  return new GatewayError('AGENT_INVALID', what)
}

/** @param hash  of the text that the file has */
export function changed(hash: string): GatewayError {
  return new GatewayError('AGENT_CHANGED', `the file has another text by now, ${hash}: open it again`)
}

function unwritable(file: string, thrown: unknown): GatewayError {
  return new GatewayError(
    'AGENTS_DIR_UNWRITABLE',
    `${file} cannot be replaced (${systemCodeOf(thrown)}): the agents folder must be writable for this process, with room, and the file its own`,
    { cause: thrown },
  )
}

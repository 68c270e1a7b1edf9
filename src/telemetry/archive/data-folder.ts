import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { GatewayError, systemCodeOf } from '../../core/errors.js'

/**
 * Maximum number of attempts to lock DATA_DIR. An attempt fails only if another process that starts at the same time
 * has made progress.
 */
const DATA_FOLDER_LOCK_ATTEMPTS_MAX = 20

/** Folder to which only this gateway may write until `release`. */
export interface DataFolder {
  /**
   * False if the file system does not have sockets or links. Another gateway that uses the folder is then not detected.
   */
  readonly locked: boolean
  /**
   * Makes the folder readable by this user only. It does so only if the folder belongs to this user, is not public like
   * /tmp, and is empty or was used by a gateway before.
   * @returns `closed`: the folder was already private; `closes`: its mode was changed; `open`: other users can still
   * read it
   */
  close(): 'closed' | 'closes' | 'open'
  release(): void
  /** Releases the folder. Deletes empty folders that were created for it. */
  undo(): void
}

/** Maximum length in bytes of a unix socket's path that is allowed on every system. */
const SOCKET_PATH_BYTES_MAX = 100
/**
 * Errors of a file system without sockets or hard links. A missing write permission gives another error, or the probe
 * finds it.
 */
const WITHOUT_SOCKETS: ReadonlySet<string> = new Set([
  'EOPNOTSUPP',
  'ENOTSUP',
  'ENOSYS',
  'EPERM',
  'EINVAL',
  'ENAMETOOLONG',
  'EMLINK',
])
/**
 * FOR_OTHERS: bits of a mode with the rights of the group and of other users. STICKY: the sticky bit, which /tmp has.
 */
const FOR_OTHERS = 0o077
const STICKY = 0o1000
const LOCK = /^gateway-(\d{1,15})\.lock$/
const OWN = /^\.gateway-[0-9a-f]{16}$/

/**
 * Creates the folder if it is missing, and locks it for this process. The lock is a unix socket in the folder on which
 * its owner listens. When the owner ends, the kernel closes the socket in any case. Every process on this host that can
 * read the folder sees the lock, even from another container. The lock does not work between several hosts that mount
 * the folder.
 *
 * The socket is linked to `gateway-N.lock`. N is the newest existing number plus one. The link is made only if no
 * process listens on the newest lock. Linking fails if the name already exists. Older names are deleted only if a newer
 * name exists, and the newest name is never deleted. So if two processes start at once, only one of them finds after
 * its link that its own name is the newest.
 * @throws GatewayError CONFIG_INVALID if the folder cannot be created or written, or another gateway has locked it
 */
export async function holdDataFolder(path: string): Promise<DataFolder> {
  const folder = resolve(path)
  const made: string[] = []
  attempt(path, () => makeFolder(folder, made))
  const ours = isOurs(folder)
  const close = (): 'closed' | 'closes' | 'open' => closeToOthers(folder, ours)
  const own = `.gateway-${randomBytes(8).toString('hex')}`
  let server: Server | null = null
  try {
    server = await listen(folder, own)
    await take(path, folder, own)
  } catch (thrown) {
    server?.close()
    if (thrown instanceof GatewayError) throw thrown
    if (!WITHOUT_SOCKETS.has(systemCodeOf(thrown))) throw unusable(path, thrown)
    attempt(path, () => probe(folder))
    return {
      locked: false,
      close,
      release: () => undefined,
      undo: () => {
        removeMade(made)
      },
    }
  } finally {
    try {
      rmSync(join(folder, own), { force: true })
    } catch {
      // A folder that this user cannot read was reported by `take`.
    }
  }
  const held = server
  const release = (): void => {
    held.close()
  }
  return {
    locked: true,
    close,
    release,
    undo: () => {
      release()
      removeMade(made)
    },
  }
}

/**
 * True if a folder is empty, like a new volume, or contains a gateway's lock. Such a folder has no files of other
 * programs.
 */
function isOurs(folder: string): boolean {
  try {
    const names = readdirSync(folder).filter((name) => name !== 'lost+found')
    return names.length === 0 || names.some((name) => LOCK.test(name))
  } catch {
    // A folder that cannot be read is reported by `take`.
    return false
  }
}

function closeToOthers(folder: string, ours: boolean): 'closed' | 'closes' | 'open' {
  const { mode, uid } = statSync(folder)
  if ((mode & FOR_OTHERS) === 0) return 'closed'
  if (!ours || uid !== process.getuid?.() || (mode & STICKY) !== 0) return 'open'
  try {
    chmodSync(folder, mode & ~FOR_OTHERS & 0o777)
    return (statSync(folder).mode & FOR_OTHERS) === 0 ? 'closes' : 'open'
  } catch {
    return 'open'
  }
}

/** @param made folders that were created, outermost first. The innermost folder contains the lock */
function removeMade(made: readonly string[]): void {
  try {
    for (const name of made.length > 0 ? readdirSync(made.at(-1) as string) : []) {
      if (LOCK.test(name)) rmSync(join(made.at(-1) as string, name))
    }
    for (const folder of [...made].reverse()) rmdirSync(folder)
  } catch {
    // Another process uses the folder.
  }
}

/** Resolves when this process has the newest lock in the folder. */
async function take(path: string, folder: string, own: string): Promise<void> {
  for (let attempts = 0; attempts < DATA_FOLDER_LOCK_ATTEMPTS_MAX; attempts++) {
    const newest = newestLock(folder)
    if (newest > 0 && (await listensAt(folder, lockName(newest)))) break
    try {
      linkSync(join(folder, own), join(folder, lockName(newest + 1)))
    } catch (thrown) {
      // Another process was faster: it has made the name, or it has locked the folder and deleted this process's
      // socket.
      if (['EEXIST', 'ENOENT'].includes(systemCodeOf(thrown))) continue
      throw thrown
    }
    if (newestLock(folder) !== newest + 1) continue // this name was free only because a newer lock exists
    for (const name of readdirSync(folder)) {
      // Removes older locks, and sockets of processes that died between `listen` and this step. If such a process lives
      // and is still starting, its start is refused.
      if (Number(LOCK.exec(name)?.[1] ?? Infinity) <= newest || (OWN.test(name) && name !== own))
        rmSync(join(folder, name), { force: true })
    }
    return
  }
  throw new GatewayError(
    'CONFIG_INVALID',
    `DATA_DIR is '${path}', which another gateway is using; allowed: a folder of its own for each gateway`,
  )
}

function newestLock(folder: string): number {
  return Math.max(0, ...readdirSync(folder).map((name) => Number(LOCK.exec(name)?.[1] ?? 0)))
}

function lockName(generation: number): string {
  return `gateway-${generation}.lock`
}

/**
 * Creates a folder and its parents, readable by this user only. `mkdirSync(…, { recursive: true })` is not used,
 * because it never returns for a path below /proc.
 * @throws errors of the file system
 */
function makeFolder(path: string, made: string[]): void {
  try {
    if (statSync(path).isDirectory()) return
    throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' })
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'ENOENT' || dirname(path) === path) throw thrown
  }
  makeFolder(dirname(path), made)
  try {
    mkdirSync(path, { mode: 0o700 })
    made.push(path)
  } catch (thrown) {
    // Another process of this gateway may have created this folder just before.
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown
  }
}

/** @throws errors of the file system if a file cannot be created */
function probe(folder: string): void {
  const file = join(folder, `.gateway-${randomBytes(8).toString('hex')}`)
  closeSync(openSync(file, 'wx', 0o600))
  rmSync(file)
}

async function listen(folder: string, name: string): Promise<Server> {
  // Each connection is closed at once, because other processes connect only to check that this one is alive.
  const server = createServer((socket) => socket.destroy())
  await atShortPath(
    folder,
    name,
    (path) =>
      new Promise<void>((taken, failed) => {
        server.once('error', failed)
        server.listen(path, () => {
          server.off('error', failed)
          server.on('error', () => undefined)
          taken()
        })
      }),
  )
  server.unref()
  return server
}

/**
 * True if a process listens on a lock. Only a refused connection or a missing file proves that none does. A busy owner,
 * which answers late, is still the owner.
 */
async function listensAt(folder: string, name: string): Promise<boolean> {
  return atShortPath(
    folder,
    name,
    (path) =>
      new Promise<boolean>((answer) => {
        const socket = connect(path)
        socket.once('connect', () => {
          socket.destroy()
          answer(true)
        })
        socket.once('error', (error) => answer(!['ECONNREFUSED', 'ENOENT'].includes(systemCodeOf(error))))
      }),
  )
}

/**
 * Calls `use` with a path in the folder that is short enough for a socket's address. If the real path is too long, the
 * path goes through an open descriptor of the folder (Linux).
 */
async function atShortPath<T>(folder: string, name: string, use: (path: string) => Promise<T>): Promise<T> {
  const path = join(folder, name)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX || !existsSync('/proc/self/fd')) return use(path)
  const handle = openSync(folder, 'r')
  try {
    return await use(`/proc/self/fd/${handle}/${name}`)
  } finally {
    closeSync(handle)
  }
}

function attempt(path: string, work: () => void): void {
  try {
    work()
  } catch (thrown) {
    throw unusable(path, thrown)
  }
}

function unusable(path: string, thrown: unknown): GatewayError {
  return new GatewayError(
    'CONFIG_INVALID',
    `DATA_DIR is '${path}', which cannot be made or written (${systemCodeOf(thrown)}); ` +
      'allowed: a folder that this user may make and write, or none, with KEEP_CALLS=false',
    { cause: thrown },
  )
}
